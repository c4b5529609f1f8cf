"""The words of each kind of message, in Chinese and English; `{name}` is filled from the message's fields."""

from typing import Final, NamedTuple


class Words(NamedTuple):
    zh: str
    en: str


TEXTS: Final[dict[str, Words]] = {
    "account_merged": Words(
        "您的另一份登记已合并到这个账户，原来的积分和服务记录都在。",
        "Your other registration was merged into this account; its points and service records are here.",
    ),
    "certificate_issued": Words(
        "已为您出具志愿服务记录证明，编号{number}。不是您要的，请告诉我们。",
        "A record of volunteer service was issued for you, number {number}. If you did not ask for it, please tell us.",
    ),
    "certificate_outdated": Words(
        "您的志愿服务记录证明（编号{number}）上有一条记录已更正，这张证明不再有效，请重新出具。",
        "A record on your record of volunteer service, number {number}, was corrected: it no longer holds, please have "
        "another one issued.",
    ),
    "certificate_revoked": Words(
        "您的志愿服务记录证明（编号{number}）已作废，原因：{reason}。",
        "Your record of volunteer service, number {number}, was revoked: {reason}.",
    ),
    "claim_accepted": Words(
        "您补报的“{activity}”已采纳，审核后生效。",
        'Your claim of "{activity}" was accepted; it counts once it has been approved.',
    ),
    "claim_refused": Words(
        "您补报的“{activity}”没有通过，原因：{reason}。有新的证明可以再报一次。",
        'Your claim of "{activity}" was not accepted, because: {reason}. With new proof you may claim it again.',
    ),
    "dispute_answered": Words(
        "您说“不是本人”的那条消息，工作人员答复：{words}",
        "You said of a message that it was not you. The staff's answer: {words}",
    ),
    "pin_locked": Words(
        "您的会员号密码连续输错{tries}次，{minutes}分钟内不能用会员号和密码，刷卡照常，积分都在。不是您本人输的，请告诉我们。",
        "Your PIN was wrong {tries} times: number and PIN rest for {minutes} minutes. Your card works, and the points "
        "are safe. If this was not you, please tell us.",
    ),
    # Redemptions
    "redemption_done": Words(
        "您用{points}分换了“{product_zh}”。不是您本人换的，请告诉我们。",
        'You got "{product_en}" for {points} points. If this was not you, please tell us.',
    ),
    "redemption_in_doubt": Words(
        "这次还不能确认有没有出货，您的{points}分先留着，不会丢，{month}月{day}日前答复您。编号{ticket}。",
        "We cannot tell yet whether your item came out. Your {points} points are kept and will not be lost; "
        "you will have an answer by {answer_by}. Ticket {ticket}.",
    ),
    "redemption_refunded": Words(
        "这次没有出货，{points}分已经退回，现在可用。编号{ticket}。",
        "Your item did not come out. {points} points are back and can be used now. Ticket {ticket}.",
    ),
    "redemption_proved": Words(
        "机器后来查明，这件已经出货，{points}分已扣。您没有拿到的话，请告诉我们，编号{ticket}。",
        "The machine has found out that your item came out; {points} points were taken. If you did not get it, "
        "please tell us. Ticket {ticket}.",
    ),
    "redemption_decided_for": Words(
        "已经核实，{points}分退回给您了，现在可用。编号{ticket}。",
        "It was checked: {points} points are back and can be used now. Ticket {ticket}.",
    ),
    "redemption_decided_against": Words(
        "已经核实，这件已经出货，{points}分已扣。您不同意的话，请告诉我们，编号{ticket}。",
        "It was checked: your item came out, and {points} points were taken. If you do not agree, please tell us. "
        "Ticket {ticket}.",
    ),
    "report_received": Words(
        "您反映的问题收到了，{month}月{day}日前答复您。编号{ticket}。",
        "We have your report and will answer by {answer_by}. Ticket {ticket}.",
    ),
    "report_given_back": Words(
        "您反映的问题有结果了，积分已经在您的账户里。编号{ticket}。",
        "There is an answer to your report: the points are in your account. Ticket {ticket}.",
    ),
    "report_refused": Words(
        "您反映的问题有结果了，积分没有退回，原因：{reason}。您不同意的话，可以再提一次，由另一位工作人员复核。编号{ticket}。",
        "There is an answer to your report: no points go back, because: {reason}. If you do not agree, ask once more; "
        "somebody else will look at it. Ticket {ticket}.",
    ),
    # Credits
    "credit_booked": Words(
        "您参加“{activity}”得了{points}分，现在可用。不是您本人参加的，请告诉我们。",
        'You earned {points} points for "{activity}"; they can be used now. If this was not you, please tell us.',
    ),
    "session_cancelled": Words(
        "您报名的“{activity}”（{starts}）已取消，不用来了。",
        'The session of "{activity}" on {starts} that you signed up for was cancelled; you need not come.',
    ),
    "session_changed": Words(
        "您报名的“{activity}”改到{starts}。不能来请取消报名。",
        'The session of "{activity}" that you signed up for is now on {starts}. If you cannot come, please cancel.',
    ),
    "sign_up_moved_up": Words(
        "“{activity}”（{starts}）有人退出，您已从候补转为报名成功。",
        'A place in "{activity}" on {starts} became free: you are signed up and no longer waiting.',
    ),
    "appeal_accepted": Words(
        "您对“{activity}”的申诉已被接受。",
        'Your appeal about "{activity}" was accepted.',
    ),
    "appeal_refused": Words(
        "您对“{activity}”的申诉没有被接受。想知道原因，请找小区工作人员。",
        'Your appeal about "{activity}" was not accepted. For the reason, please ask the estate\'s staff.',
    ),
    "credit_corrected": Words(
        "“{activity}”的记录已更正：时长由{minutes_before}分钟改为{minutes}分钟，积分由{points_before}分改为{points}分。有疑问请告诉我们。",
        'Your record of "{activity}" was corrected: {minutes_before} to {minutes} minutes, '
        "{points_before} to {points} points. If this is wrong, please tell us.",
    ),
    "credit_hours_booked": Words(
        "您参加“{activity}”的{minutes}分钟已记入服务时长，这次不记积分。不是您本人参加的，请告诉我们。",
        '{minutes} minutes of "{activity}" were added to your service hours; they earn no points. If '
        "this was not you, please tell us.",
    ),
    "credit_hours_reversed": Words(
        "“{activity}”的{minutes}分钟因记录有误已撤销。想知道原因或要申诉，请找小区工作人员。",
        '{minutes} minutes of "{activity}" were taken back because the record was wrong. For the reason, or to appeal, '
        "please ask the estate's staff.",
    ),
    "credit_in_notice": Words(
        "您参加“{activity}”的记录（{minutes}分钟，{points}分）正在公示，公示到{last_day}，之后生效。",
        'Your record of "{activity}" ({minutes} minutes, {points} points) is in its public notice until '
        "{last_day}, and counts after that.",
    ),
    "credit_objected": Words(
        "有人对您参加“{activity}”的记录提出异议，核实期间暂不生效。",
        'Somebody objected to your record of "{activity}"; it waits until that is looked into.',
    ),
    "credit_rejected": Words(
        "您在{day}参加“{activity}”的记录没有通过审核。想知道原因或要申诉，请找小区工作人员。",
        'Your record of "{activity}" on {day} was not approved. For the reason, or to appeal, please '
        "ask the estate's staff.",
    ),
    "credit_reversed": Words(
        "“{activity}”的{points}分因记录有误已收回。想知道原因或要申诉，请找小区工作人员。",
        '{points} points of "{activity}" were taken back because the record was wrong. For the reason, '
        "or to appeal, please ask the estate's staff.",
    ),
    "credit_waiting_consent": Words(
        "您参加“{activity}”的记录（{minutes}分钟，{points}分）已审核，等您同意登记个人信息后生效。请到机器上刷卡，或找小区工作人员。",
        'Your record of "{activity}" ({minutes} minutes, {points} points) was approved and waits until you '
        "agree to records about you. Tap your card at the machine, or ask the estate's staff.",
    ),
    "objection_dismissed": Words(
        "对您参加“{activity}”的记录的异议没有成立，记录继续有效。",
        'The objection to your record of "{activity}" did not hold; your record goes on.',
    ),
    "objection_answered": Words(
        "您对“{activity}”提出的异议有结果了：{verdict_zh}。想知道原因，请找小区工作人员。",
        'Your objection about "{activity}" was decided: {verdict_en}. For the reason, please ask the estate\'s staff.',
    ),
    "points_adjusted_down": Words(
        "工作人员从您的积分中扣回{points}分。想知道原因，请找小区工作人员。",
        "{points} points were taken from yours. For the reason, please ask the estate's staff.",
    ),
    "points_expired": Words(
        "您有{points}分已在{day}到期，不能再使用。",
        "{points} of your points ended on {day} and can no longer be used.",
    ),
    "points_expiring": Words(
        "您有{points}分将在{day}到期，请在这天之前使用。",
        "{points} of your points end on {day}; please use them before.",
    ),
    "points_adjusted_up": Words(
        "工作人员给您补了{points}分。想知道原因，请找小区工作人员。",
        "{points} points were added to yours. For the reason, please ask the estate's staff.",
    ),
}
