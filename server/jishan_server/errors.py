"""What may go wrong by a person's doing, and the words for it.

A `DomainError` is the person's: it has a stable code, fields that say what it is about, an HTTP status and a text in
Chinese and in English. `CODES` is the only table of them; whoever needs a new refusal appends a row to its section.
Codes never change once released; texts may. A text says what happened, and that nothing was lost where that is true.
This module imports nothing of the server, so that every part of it may raise these errors.
"""

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

Language = Literal["zh", "en"]


class Code(NamedTuple):
    """The HTTP status of a refusal and its text in both languages; `{name}` is filled from the error's fields."""

    status: int
    zh: str
    en: str


CODES: Final[dict[str, Code]] = {
    # The ledger
    "account_closed": Code(
        409,
        "这个账户已注销，不能再使用。没有改动。",
        "This account is closed and takes nothing any more. Nothing was changed.",
    ),
    "account_exists": Code(
        409, "这个账户已经有了，没有重复建立。", "This account exists already; nothing was changed."
    ),
    "account_frozen": Code(
        409,
        "这个账户已冻结，暂时不能使用积分。积分都在，请联系小区工作人员。",
        "This account is frozen. The points are safe; please ask the estate's staff.",
    ),
    "account_merged": Code(
        409,
        "这个账户已合并到另一个账户，没有改动。积分都在，请使用合并后的账户。",
        "This account was merged into another one. Nothing was changed; the points are there, please use that one.",
    ),
    "account_unknown": Code(404, "没有找到这个积分账户。", "There is no such points account."),
    "already_reversed": Code(
        409, "这一笔已经冲正过了，没有重复处理。", "This entry was reversed before; nothing was done twice."
    ),
    "capture_not_whole": Code(
        409, "扣除的积分必须与预留的一致，没有改动。", "A capture takes the whole hold; nothing was changed."
    ),
    "cause_booked": Code(409, "这件事已经记过账了，没有重复处理。", "This was booked before; nothing was done twice."),
    "clock_in_doubt": Code(
        409,
        "服务器时钟可能不准，没有改动。请先确认日期。",
        "The server's clock is in doubt. Nothing was changed; please confirm the date first.",
    ),
    "demo_unknown": Code(
        404,
        "没有找到演示用的工作人员，没有改动。请先运行 jishan-server init --demo。",
        "The demo's staff is not here, so nothing was changed. Please run jishan-server init --demo first.",
    ),
    "date_differs": Code(
        409,
        "服务器时钟显示今天是{today}，不是{day}，没有改动。请先校准服务器时钟。",
        "The server's clock says {today}, not {day}. Nothing was changed; please set the clock right first.",
    ),
    "expiry_day_ahead": Code(
        422,
        "{day}还没有到，不能为这一天办理到期。没有改动。",
        "Nothing was changed: {day} has not begun, so nothing of it can be ended.",
    ),
    "expiry_invalid": Code(
        422, "有效期必须晚于现在，没有改动。", "Points must end later than now. Nothing was changed."
    ),
    "expiry_run_unknown": Code(404, "没有找到这次到期处理。", "There is no such expiry run."),
    "hold_closed": Code(
        409, "这笔预留的积分已经处理过了，没有重复处理。", "This hold was closed before; nothing was done twice."
    ),
    "hold_unknown": Code(404, "没有找到这笔预留的积分。", "There is no such hold."),
    "idempotency_conflict": Code(
        409,
        "同一个请求编号已用于另一项内容，这次没有改动。请换一个编号再提交。",
        "This request id was used for something else. Nothing was changed; please send it with a new id.",
    ),
    "not_enough_points": Code(
        409,
        "积分不够，没有扣分。这件要{needed}分，您现在可用{available}分。",
        "Not enough points: this takes {needed}, and {available} are available. Nothing was taken.",
    ),
    "not_owed": Code(409, "只欠{owed}分，没有改动。", "Only {owed} points are owed. Nothing was changed."),
    "not_reversible": Code(409, "这一笔不能冲正，没有改动。", "This entry cannot be reversed. Nothing was changed."),
    "points_owed": Code(
        409,
        "账户还欠{owed}分，不能注销。没有改动。",
        "The account owes {owed} points and cannot be closed. Nothing was changed.",
    ),
    "points_invalid": Code(
        422,
        "积分必须是 1 到 1000000 之间的整数，没有改动。",
        "Points must be a whole number from 1 to 1000000. Nothing was changed.",
    ),
    "same_account": Code(
        422,
        "转出和转入不能是同一个账户，没有改动。",
        "Points cannot move from an account to itself. Nothing was changed.",
    ),
    "transfer_unknown": Code(404, "没有找到这一笔记录。", "There is no such entry."),
    # People: residents, cards, member number and PIN
    "card_blocked": Code(
        403,
        "这张卡已停用，积分都在。请到小区服务点补卡。",
        "This card is blocked. The points are safe; please have it replaced at the estate's desk.",
    ),
    "card_invalid": Code(
        422,
        "卡号格式不对：应为卡芯片号的十六进制大写，高位在前。没有改动。",
        "This is not a card number: uppercase hex of the chip's UID, most significant byte first. Nothing was changed.",
    ),
    "card_taken": Code(409, "这张卡已经登记过了，没有改动。", "This card is bound already. Nothing was changed."),
    "card_unknown": Code(
        404,
        "这张卡还没有登记，没有扣分。请到小区服务点登记。",
        "This card is not known. Nothing was taken; please register it at the estate's desk.",
    ),
    "code_expired": Code(
        403,
        "这个码已经过期，没有扣分。请在手机上打开新的个人码。",
        "This code is too old. Nothing was taken; please open a new one on your phone.",
    ),
    "code_unknown": Code(
        403,
        "没有认出这个码，没有扣分。请在手机上打开个人码再扫。",
        "This code is not known. Nothing was taken; please open your personal code on your phone.",
    ),
    "code_used": Code(
        403,
        "这个码已经用过，没有重复扣分，积分都在。请用手机上的新码。",
        "This code was used before. Nothing was taken for it again; please use the next one on your phone.",
    ),
    "consent_on_phone": Code(
        403,
        "记录服务和积分要您先同意，没有扣分。请在手机上看过告知书，再点同意。",
        "Recording your service and points needs your consent. Nothing was taken; please give it on your phone first.",
    ),
    "estate_unknown": Code(404, "没有找到这个小区。", "There is no such estate."),
    "estate_exists": Code(409, "这个小区编号已经有了，没有改动。", "This estate id is taken. Nothing was changed."),
    "member_unknown": Code(
        403,
        "会员号或密码不对，没有扣分。请核对后再试。",
        "The member number or the PIN is wrong. Nothing was taken; please check both.",
    ),
    "phone_invalid": Code(422, "电话号码格式不对，没有改动。", "This is not a phone number. Nothing was changed."),
    "pin_invalid": Code(422, "密码应为 4 到 8 位数字，没有改动。", "A PIN has 4 to 8 digits. Nothing was changed."),
    "pin_locked": Code(
        429,
        "密码输错{tries}次了，{minutes}分钟内不能用会员号兑换。积分都在，您仍可以刷卡。",
        "The PIN was wrong {tries} times: number and PIN rest for {minutes} minutes. "
        "The points are safe, and the card still works.",
    ),
    "pin_required": Code(
        403,
        "今天免密的额度已用完，没有扣分。请输入密码。",
        "Today's limit without a PIN is reached; please enter the PIN. Nothing was taken.",
    ),
    "pin_wrong": Code(
        403, "密码不对，没有扣分。请再试一次。", "The PIN is wrong. Nothing was taken; please try again."
    ),
    "resident_frozen": Code(
        403,
        "您的账户已冻结，暂时不能兑换。积分都在，请联系小区工作人员。",
        "This account is frozen. The points are safe; please ask the estate's staff.",
    ),
    "resident_unknown": Code(404, "没有找到这位居民。", "There is no such resident."),
    "resident_elsewhere": Code(
        403,
        "账户属于别的小区，不能在这里使用。积分没有变动。",
        "This account belongs to another estate and cannot be used here. No points moved.",
    ),
    # The calendar of working days
    "calendar_day_unknown": Code(
        404, "日历里没有{day}这一天，没有改动。", "The calendar does not name {day}. Nothing was changed."
    ),
    "calendar_unknown": Code(
        404, "没有名为{name}的日历，没有改动。", "There is no calendar {name}. Nothing was changed."
    ),
    "day_invalid": Code(
        422,
        "日期要写成 2026-03-02 的样子，没有改动。",
        "A day is written like 2026-03-02. Nothing was changed.",
    ),
    # People: consent
    "birth_day_invalid": Code(
        422,
        "出生日期应在 1900 年以后，不能晚于今天。没有改动。",
        "A birth date lies between 1900 and today. Nothing was changed.",
    ),
    "email_invalid": Code(422, "邮箱格式不对，没有改动。", "This is not an e-mail address. Nothing was changed."),
    "id_number_invalid": Code(
        422,
        "身份证号不对，请核对 18 位号码。没有改动。",
        "This is not an ID number; please check its 18 signs. Nothing was changed.",
    ),
    "merge_elsewhere": Code(
        409,
        "两份记录不在同一个小区，不能合并。没有改动。",
        "The two records are of different estates and cannot be merged. Nothing was changed.",
    ),
    "merge_own": Code(
        403, "不能合并自己的记录，没有改动。", "Nobody merges a record of their own. Nothing was changed."
    ),
    "merge_same": Code(
        422, "请选择两份不同的记录，没有改动。", "Please name two different records. Nothing was changed."
    ),
    "resident_closed": Code(
        409,
        "这位居民的账户已注销，不能再使用。没有扣分，没有改动。",
        "This resident's account is closed. Nothing was taken, and nothing was changed.",
    ),
    "resident_merged": Code(
        409,
        "这个会员号已合并到同一人的另一个会员号，请使用那个号码或卡。没有扣分，积分都在。",
        "This member number was merged into another one of the same person; please use that number or a card. "
        "Nothing was taken; the points are there.",
    ),
    "pair_invalid": Code(422, "请选两位不同的居民，没有改动。", "These are one record. Nothing was changed."),
    "consent_text_changed": Code(
        409,
        "告知书刚刚更新，请看过新的再点同意。没有改动。",
        "The text has just changed; please read the new one first. Nothing was changed.",
    ),
    "resident_busy": Code(
        409,
        "还有兑换没有处理完，处理完才能匿名。没有改动。",
        "A redemption is still open; it has to end first. Nothing was changed.",
    ),
    "resident_erased": Code(
        409,
        "这位居民的个人信息已经匿名，不能恢复。没有改动。",
        "What was kept of this person is gone for good. Nothing was changed.",
    ),
    "consent_needed": Code(
        403,
        "记录服务和积分要用您的姓名等信息，没有扣分。同意请在{minutes}分钟内再刷一次卡，不同意就不刷。",
        "Recording your service and points needs your name. Nothing was taken. If you agree, tap again "
        "within {minutes} minutes; if not, do not.",
    ),
    "consent_not_given": Code(
        409, "现在没有生效的同意，没有改动。", "There is no consent to withdraw. Nothing was changed."
    ),
    "consent_text_day": Code(
        422,
        "新的告知书不能从已经过去的日子开始，没有改动。",
        "A new text cannot hold from a day that is over. Nothing was changed.",
    ),
    "form_day_invalid": Code(
        422,
        "纸质表的日期在今天以后，没有改动。请核对。",
        "The day of the paper form is still to come. Nothing was changed.",
    ),
    "guardian_invalid": Code(
        422,
        "监护人请填一位成年居民，或者填姓名，二选一。没有改动。",
        "A guardian is either a resident of age or a name, not both. Nothing was changed.",
    ),
    "guardian_needed": Code(
        403,
        "不满{years}周岁要由监护人到服务点签字同意，没有扣分，没有改动。",
        "Below {years} years a guardian agrees at the desk. Nothing was taken, nothing was changed.",
    ),
    # The region tree and its groups
    "code_taken": Code(409, "编号{code}已经用过，没有改动。", "The code {code} is taken. Nothing was changed."),
    "estate_inside_estate": Code(
        422, "小区不能放在另一个小区里面，没有改动。", "An estate cannot stand inside another. Nothing was changed."
    ),
    "group_closed": Code(409, "这个小组已经停用，没有改动。", "This group is closed. Nothing was changed."),
    "group_unknown": Code(404, "没有找到这个小组。", "There is no such group."),
    "level_fixed": Code(
        409,
        "这个节点的层级是{level}，不能改，没有改动。",
        "The level of this node is {level} and stays so. Nothing was changed.",
    ),
    "membership_exists": Code(
        409,
        "这段时间里已经有相同的成员记录，没有改动。",
        "There is such a membership at that time already. Nothing was changed.",
    ),
    "membership_over": Code(409, "这条成员记录已经结束，没有改动。", "This membership is over. Nothing was changed."),
    "membership_unknown": Code(404, "没有找到这条成员记录。", "There is no such membership."),
    "membership_where": Code(
        422,
        "请在节点和小组中选填一项，没有改动。",
        "Give either a node or a group. Nothing was changed.",
    ),
    "days_reversed": Code(
        422, "结束日期不能早于开始日期，没有改动。", "The last day is before the first. Nothing was changed."
    ),
    "move_day_invalid": Code(
        422,
        "移动日期要在上次移动（{last}）与今天（{today}）之间，没有改动。",
        "A node moves between its last move ({last}) and today ({today}). Nothing was changed.",
    ),
    "organization_circle": Code(
        409, "节点不能移到自己的下级里面，没有改动。", "A node cannot stand below itself. Nothing was changed."
    ),
    "organization_elsewhere": Code(
        409,
        "编号{code}已经在别的上级下面，导入不会移动它。",
        "The code {code} stands below another node; a list moves nothing.",
    ),
    "organization_incomplete": Code(
        422, "这一行缺少内容或内容太长：{names}。", "This row lacks something, or it is too long: {names}."
    ),
    "organization_root": Code(
        409, "顶级节点不能移动，也不能移到另一棵树里，没有改动。", "A root stays, and so do trees. Nothing was changed."
    ),
    "organization_there_already": Code(
        409, "它已经在这个上级下面，没有改动。", "It stands there already. Nothing was changed."
    ),
    "parent_unknown": Code(
        422, "没有找到编号为{code}的上级，这一行没有导入。", "There is no parent {code}; this row was left out."
    ),
    # Staff, roles and tokens
    "forbidden": Code(
        403, "您没有做这件事的权限，没有改动。", "You are not permitted to do this. Nothing was changed."
    ),
    "account_disabled": Code(
        403, "这个账号已停用，请联系管理员。", "This account is disabled; please ask an administrator."
    ),
    "grant_not_held": Code(
        403,
        "您自己没有{permission}权限，不能授予或收回这个角色，也不能管理有此角色的账号。没有改动。",
        "You do not hold {permission} there yourself, so a role or an account with it is not yours to change. "
        "Nothing was changed.",
    ),
    "grants_missing": Code(
        422,
        "账号至少要有一个角色，没有改动。不再使用的账号请停用。",
        "An account keeps at least one role. Nothing was changed; disable an account that is not used any more.",
    ),
    "password_wrong": Code(403, "原密码不对，没有改动。", "The old password is wrong. Nothing was changed."),
    "role_not_grantable": Code(
        422, "居民角色不能授予，没有改动。", "The role of residents cannot be granted. Nothing was changed."
    ),
    "staff_self": Code(
        409, "不能对自己的账号这样做，没有改动。", "Nobody does this to their own account. Nothing was changed."
    ),
    "code_required": Code(
        401,
        "请再输入验证器上的 6 位数字。",
        "Please type the six digits of your authenticator as well.",
    ),
    "code_wrong": Code(
        401,
        "验证码不对或已经用过，请等下一组数字。",
        "This code is wrong or was used already; please wait for the next one.",
    ),
    "passwords_differ": Code(
        422,
        "两次输入的新密码不一样，没有改动。",
        "The new passwords differ. Nothing was changed.",
    ),
    "second_factor_there": Code(
        409,
        "已经开启了两步验证，没有改动。",
        "There is a second factor already. Nothing was changed.",
    ),
    "second_factor_missing": Code(
        409,
        "没有开启两步验证，没有改动。",
        "There is no second factor. Nothing was changed.",
    ),
    "login_failed": Code(401, "账号或密码不对。", "The login or the password is wrong."),
    "login_invalid": Code(
        422,
        "账号名应为 3 到 40 个小写字母、数字或 . _ -，以字母开头。没有改动。",
        "A login has 3 to 40 lower-case letters, digits or . _ -, and starts with a letter. Nothing was changed.",
    ),
    "login_locked": Code(
        429,
        "连续错误次数太多，请{minutes}分钟后再试。",
        "Too many wrong tries; please try again in {minutes} minutes.",
    ),
    "login_taken": Code(409, "这个账号名已被使用，没有改动。", "This login is taken. Nothing was changed."),
    "password_invalid": Code(
        422, "密码至少 10 个字符，没有改动。", "A password has at least 10 characters. Nothing was changed."
    ),
    "staff_unknown": Code(404, "没有找到这位工作人员。", "There is no such member of staff."),
    "token_expired": Code(401, "登录已过期，请重新登录。", "The token has expired; please log in again."),
    "token_invalid": Code(401, "请先登录。", "Please log in first."),
    # Credits
    "credit_amount": Code(
        422,
        "分钟数和积分请只填一项，没有改动。",
        "Give either minutes or points, not both and not neither. Nothing was changed.",
    ),
    "credit_closed": Code(
        409,
        "这条记录已经处理过了，没有重复处理。",
        "This credit was decided before; nothing was done twice.",
    ),
    "credit_not_approved": Code(
        409,
        "这条记录没有通过审核，没有积分可以冲正。",
        "This credit is not approved; there are no points to take back.",
    ),
    "credit_own": Code(
        403, "不能审核给自己的积分，没有改动。", "Nobody approves a credit to themselves. Nothing was changed."
    ),
    "credit_same_person": Code(
        403,
        "记录人和审核人不能是同一个人，没有改动。请另一位同事审核。",
        "The recorder cannot be the approver. Nothing was changed; please ask a colleague.",
    ),
    "credit_unknown": Code(404, "没有找到这条积分记录。", "There is no such credit."),
    "minutes_invalid": Code(
        422,
        "分钟数应为 1 到 1440 的整数，没有改动。",
        "Minutes are a whole number from 1 to 1440. Nothing was changed.",
    ),
    "reversal_own": Code(
        403, "不能冲正自己的积分，没有改动。", "Nobody reverses a credit of their own. Nothing was changed."
    ),
    # Rules, notice, appeals, adjustments
    "anomaly_looked_at": Code(
        409,
        "已经有人看过并写了结果，没有重复记录。",
        "Somebody has looked at this one already and said what they found. Nothing was written twice.",
    ),
    "anomaly_own": Code(
        403,
        "这件事与您本人有关，请别的工作人员来看。",
        "This one is about yourself. Somebody else has to look at it.",
    ),
    "anomaly_unknown": Code(
        404,
        "没有找到这一条。数据可能已经更正，请刷新清单。",
        "There is no such entry. The data may have been corrected since; please load the list again.",
    ),
    "figures_by": Code(
        422,
        "人员数字不能按活动类别分。可以按月、小区或楼栋。",
        "People are not split by the type of activity; by month, estate or building they are.",
    ),
    "span_invalid": Code(
        422,
        "起止日期不对：开始不能晚于结束，最多{most}天。",
        "These days are no span: the first comes before the last, and they are at most {most} days.",
    ),
    "adjustment_closed": Code(
        409,
        "这次调整已经处理过了，没有重复处理。",
        "This adjustment was decided before; nothing was done twice.",
    ),
    "adjustment_own": Code(
        403,
        "不能提出或批准给自己的积分调整，没有改动。",
        "Nobody proposes or approves an adjustment of their own points. Nothing was changed.",
    ),
    "adjustment_same_person": Code(
        403,
        "提出人和批准人不能是同一个人，没有改动。请另一位同事批准。",
        "Who proposed it cannot approve it. Nothing was changed; please ask a colleague.",
    ),
    "adjustment_too_large": Code(
        422,
        "一次最多调整{most}分，没有改动。",
        "One adjustment is at most {most} points. Nothing was changed.",
    ),
    "adjustment_unknown": Code(
        404,
        "没有找到这次积分调整。",
        "There is no such adjustment.",
    ),
    "appeal_closed": Code(
        409,
        "这次申诉已经处理过了，没有重复处理。",
        "This appeal was decided before; nothing was done twice.",
    ),
    "appeal_not_possible": Code(
        409,
        "这条记录现在不能这样申诉，没有改动。",
        "This credit cannot be appealed like that now. Nothing was changed.",
    ),
    "appeal_open": Code(
        409,
        "这条记录已有申诉在处理中，没有重复提交。",
        "An appeal about this credit is being looked at; nothing was filed twice.",
    ),
    "appeal_too_late": Code(
        409,
        "申诉要在{last_day}前（含当天）提出，没有改动。",
        "An appeal had to be filed by {last_day}. Nothing was changed.",
    ),
    "appeal_unknown": Code(
        404,
        "没有找到这次申诉。",
        "There is no such appeal.",
    ),
    "correction_open": Code(
        409,
        "这条记录已有更正在处理中，没有改动。",
        "A correction of this credit is under way. Nothing was changed.",
    ),
    "correction_same": Code(
        422,
        "更正后的时长和原来一样，没有改动。",
        "The correction says what stands already. Nothing was changed.",
    ),
    "credit_not_in_notice": Code(
        409,
        "这条记录不在公示期，不能提出异议，没有改动。",
        "This credit is not in its notice; there is nothing to object to now. Nothing was changed.",
    ),
    "objection_closed": Code(
        409,
        "这次异议已经处理过了，没有重复处理。",
        "This objection was decided before; nothing was done twice.",
    ),
    "objection_unknown": Code(
        404,
        "没有找到这次异议。",
        "There is no such objection.",
    ),
    "period_invalid": Code(
        422,
        "起止日期不对：结束不能早于开始，最多{most}天，没有改动。",
        "The period is wrong: it ends before it begins, or is longer than {most} days. Nothing was changed.",
    ),
    "rules_day_past": Code(
        422,
        "新规则最早从明天起生效，{day}不行，没有改动。",
        "New rules begin tomorrow at the earliest, not on {day}. Nothing was changed.",
    ),
    "rules_invalid": Code(
        422,
        "规则里的“{field}”不对，应为{expected}，没有改动。",
        "In the rules, {field} is wrong; it should be {expected}. Nothing was changed.",
    ),
    "rules_unknown": Code(
        404,
        "没有找到这一版规则。",
        "There is no such version of the rules.",
    ),
    "second_reviewer_required": Code(
        403,
        "处理人不能是记录人、原审核人或提出人，没有改动。请另一位同事处理。",
        "Who decides is not the recorder, not who decided before and not who filed it; please ask a colleague.",
    ),
    "voucher_unknown": Code(404, "没有这张兑换凭证，没有改动。", "There is no such voucher. Nothing was changed."),
    "vouchers_machine_full": Code(
        409,
        "这台机器预留的商品已满（{most}件），没有扣分。请以后再试或换一台机器。",
        "This machine has all the vouchers that it may have ({most}). Nothing was taken; try later or another machine.",
    ),
    "vouchers_not_here": Code(
        409,
        "这台机器不提供预留，没有扣分。",
        "This machine takes no vouchers. Nothing was taken.",
    ),
    "vouchers_not_now": Code(
        409,
        "这台机器还没有报到，暂时不能预留，没有扣分。请以后再试。",
        "This machine has not reported yet, so nothing can be reserved on it. Nothing was taken; please try later.",
    ),
    "vouchers_too_many": Code(
        409,
        "您已有{most}张没有用的兑换凭证，没有扣分。请先使用或退回。",
        "You have {most} open vouchers already. Nothing was taken; please use one or give one back.",
    ),
    "worked_day_ahead": Code(
        422,
        "服务日期不能晚于今天，没有改动。",
        "The day of the work lies ahead. Nothing was changed.",
    ),
    # Files
    "attachment_unknown": Code(404, "没有找到这个文件。", "There is no such file."),
    "file_broken": Code(
        422, "这张图片打不开，没有保存。请重新拍一张。", "This picture cannot be opened; it was not kept. Take another."
    ),
    "file_empty": Code(422, "请附上一个文件，没有改动。", "Please send one file. Nothing was changed."),
    "file_too_large": Code(
        422,
        "文件不能超过 {limit_mib} MiB，没有保存。",
        "A file has at most {limit_mib} MiB; this one was not kept.",
    ),
    "file_type": Code(
        422, "只收 JPEG、PNG、WebP 图片和 PDF，没有保存。", "Only JPEG, PNG, WebP and PDF; this file was not kept."
    ),
    # Activities, sessions and attendance
    "activity_cancelled": Code(409, "这项活动已取消，没有改动。", "This activity was cancelled. Nothing was changed."),
    "activity_fixed": Code(
        409,
        "活动发布后不能再改类型、组织和队伍，没有改动。请取消后另建一项。",
        "Type, organization and group stay once an activity is published. Nothing was changed; please make a new one.",
    ),
    "activity_not_published": Code(
        409, "这项活动还没有发布，没有改动。", "This activity is not published yet. Nothing was changed."
    ),
    "activity_type_inactive": Code(
        409, "这个活动类型已停用，没有改动。", "This activity type is no longer used. Nothing was changed."
    ),
    "activity_type_unknown": Code(404, "没有找到这个活动类型。", "There is no such activity type."),
    "activity_unknown": Code(404, "没有找到这项活动。", "There is no such activity."),
    "attendance_amount": Code(
        422, "离开时间和分钟数请只填一项，没有改动。", "Give either check-out or minutes. Nothing was changed."
    ),
    "attendance_before_confirming": Code(
        409, "还没有签退，没有改动。", "There is no check-out yet. Nothing was changed."
    ),
    "attendance_card_unknown": Code(
        422,
        "这张卡没有登记或已停用，这一行没有保存。",
        "This card is unknown or blocked. This row was not saved.",
    ),
    "attendance_code_locked": Code(
        429,
        "签到码输错{tries}次了，没有签到。请找活动负责人登记。",
        "The code was wrong {tries} times. Nothing was recorded; please ask the person in charge.",
    ),
    "attendance_code_old": Code(
        410,
        "扫码已超过10分钟，没有登记。请再扫一次现在显示的码。",
        "The code was scanned more than ten minutes ago. Nothing was recorded; please scan the one shown now.",
    ),
    "attendance_code_wrong": Code(
        403,
        "签到码不对或已过期，没有签到。请看现在显示的签到码。",
        "The code is wrong or over. Nothing was recorded; please read the one that is shown now.",
    ),
    "attendance_credited": Code(
        409,
        "这条出勤已经记入积分，不能再改。请更正对应的积分记录（{credit_id}）。",
        "This attendance was credited. Nothing was changed; please correct the credit ({credit_id}).",
    ),
    "attendance_day_full": Code(
        422,
        "这个人在{day}的时长合计{total}分钟，超过24小时，没有保存。",
        "This would be {total} minutes on {day}, more than 24 hours. It was not saved.",
    ),
    "attendance_duplicate": Code(
        409,
        "这个人在本场已有出勤记录，内容不同，没有改动。要修改请用更正。",
        "This person has another attendance of this session. Nothing was changed; please correct that one.",
    ),
    "attendance_elsewhere": Code(
        422,
        "这个人属于别的小区，不能参加这项活动，没有保存。",
        "This person belongs to another estate, which the activity is not for. It was not saved.",
    ),
    "attendance_future": Code(422, "时间在将来，没有保存。", "The time lies in the future. It was not saved."),
    "attendance_number_ambiguous": Code(
        422,
        "名单上有几个人的会员号都以此结尾，没有保存。请填完整的会员号。",
        "Several people on the list have a number that ends so. It was not saved; please give the whole number.",
    ),
    "attendance_out_first": Code(
        422, "离开时间不晚于到达时间，没有保存。", "Check-out is not after check-in. It was not saved."
    ),
    "attendance_outside": Code(
        422,
        "时间不在本场之内（最早可在开始前{minutes}分钟签到），没有保存。",
        "The time is not that of the session (check-in from {minutes} minutes before it). It was not saved.",
    ),
    "attendance_overlap": Code(
        422,
        "这个人同一时间参加了“{title}”，没有保存。",
        'This person was at "{title}" at the same time. It was not saved.',
    ),
    "attendance_person_closed": Code(
        422,
        "这个人的账户已冻结、注销或合并（{state}），没有保存。",
        "This person's account is frozen, closed or merged ({state}). It was not saved.",
    ),
    "attendance_person_unknown": Code(
        422,
        "没有找到这个人，没有保存。请核对会员号、行码或卡。",
        "There is no such person. It was not saved; please check the member number, row code or card.",
    ),
    "attendance_person_withdrew": Code(
        422,
        "这个人已撤回同意，不再记录，没有保存。",
        "This person has withdrawn consent; nothing is recorded any more. It was not saved.",
    ),
    "attendance_reason_required": Code(
        422,
        "补录请填写原因，没有保存。",
        "What is recorded so late needs a reason. It was not saved.",
    ),
    "attendance_row_invalid": Code(
        422,
        "每行请只填一种身份：居民、卡或会员号。没有保存。",
        "Say who it is in one way for each row: resident, card or number. It was not saved.",
    ),
    "attendance_time_invalid": Code(
        422,
        "时间格式不对，应为“14:05”或带时区的完整时间，没有保存。",
        'This is not a time: write "14:05", or a whole instant with its offset. It was not saved.',
    ),
    "attendance_too_long": Code(
        422,
        "超过了这类活动最长的{minutes}分钟，没有保存。",
        "This is longer than the {minutes} minutes of this type of activity. It was not saved.",
    ),
    "attendance_unknown": Code(404, "没有找到这条出勤记录。", "There is no such attendance."),
    "attendance_unpublished": Code(
        422,
        "到达时间早于活动发布时间，没有保存。",
        "Check-in is before the activity was published. It was not saved.",
    ),
    "attendance_void": Code(409, "这条出勤已作废，没有改动。", "This attendance is void. Nothing was changed."),
    "backdating_reason_required": Code(
        422,
        "这一场已经开始或结束，补录请填写原因，没有改动。",
        "This session has begun or is over. Nothing was changed; please give the reason for entering it now.",
    ),
    "capacity_taken": Code(
        409,
        "已有{taken}人报名，名额不能更少，没有改动。",
        "There are {taken} people signed up; there cannot be fewer places. Nothing was changed.",
    ),
    "check_in_closed": Code(
        409,
        "现在不能签到，没有改动。签到从开始前{minutes}分钟到结束为止。",
        "Check-in is not open: it is from {minutes} minutes before the start to the end. Nothing was changed.",
    ),
    "check_out_closed": Code(
        409,
        "签退时间已过，已按计划结束时间处理，等工作人员核对。没有改动。",
        "Check-out is over; the planned end was taken, and staff will look at it. Nothing was changed.",
    ),
    "not_checked_in": Code(
        409, "还没有签到，没有改动。请先签到。", "There is no check-in. Nothing was changed; please check in first."
    ),
    "session_cancelled": Code(409, "这一场已取消，没有改动。", "This session was cancelled. Nothing was changed."),
    "session_has_attendances": Code(
        409,
        "这一场已有出勤记录，不能改时间或取消，没有改动。",
        "People have attended this session; its times stay. Nothing was changed.",
    ),
    "session_started": Code(409, "这一场已经开始，没有改动。", "This session has begun. Nothing was changed."),
    "session_times_invalid": Code(
        422,
        "结束时间必须晚于开始时间，休息不能占满全场。没有改动。",
        "A session ends after its start, and a break is shorter than it. Nothing was changed.",
    ),
    "session_too_long": Code(
        422,
        "这类活动一场最长{minutes}分钟，没有改动。",
        "A session of this type has at most {minutes} minutes. Nothing was changed.",
    ),
    "session_unknown": Code(404, "没有找到这一场。", "There is no such session."),
    "sign_up_clash": Code(
        409,
        "时间与已报名的“{title}”冲突，没有报名。",
        'This clashes with "{title}", which you signed up for. Nothing was changed.',
    ),
    "sign_up_closed": Code(409, "报名已截止，没有改动。", "Signing up has ended. Nothing was changed."),
    "sign_up_elsewhere": Code(
        403,
        "这项活动不面向这位居民的小区，没有报名。",
        "This activity is not for the estate of this resident. Nothing was changed.",
    ),
    "sign_up_person_closed": Code(
        403,
        "账户已冻结、注销或合并（{state}），没有报名。",
        "The account is frozen, closed or merged ({state}). Nothing was changed.",
    ),
    "sign_up_unknown": Code(404, "没有找到这次报名。", "There is no such sign-up."),
    "template_unknown": Code(404, "没有找到这个活动模板。", "There is no such template."),
    # Messages
    "channel_address": Code(
        422,
        "还没有{channel}的联系方式，没有改动。请先登记再选择。",
        "There is no address for {channel} yet, so nothing was changed. Please add it first.",
    ),
    "channel_consent": Code(
        403,
        "还没有同意登记个人信息，没有改动。同意之后才能往外发消息。",
        "Nothing was changed: messages go out only after the person has agreed to records about them.",
    ),
    "channel_off": Code(
        409,
        "这里没有开通{channel}，没有改动。消息在收件箱里一直能看到。",
        "This server has no channel {channel}, so nothing was changed. Messages are always in the inbox.",
    ),
    "message_answered": Code(
        409, "这条消息已经答复过了，没有重复处理。", "This message was answered before; nothing was done twice."
    ),
    "message_disputed": Code(
        409,
        "您已经告诉过我们不是本人，工作人员会答复您。",
        "You have told us before that this was not you; the staff will answer.",
    ),
    "message_not_disputed": Code(
        409, "没有人对这条消息提出过疑问，没有改动。", "Nobody has disputed this message; nothing was changed."
    ),
    "message_unknown": Code(404, "没有找到这条消息。", "There is no such message."),
    "sending_not_failed": Code(
        409,
        "这条消息没有发送失败，没有重发。",
        "This message did not fail, so it was not sent again.",
    ),
    "sending_unknown": Code(404, "没有找到这条发送记录。", "There is no such sending."),
    # Trainings, awards, evaluations, claims of past work
    "claim_closed": Code(
        409, "这条补报已经处理过了，没有重复处理。", "This claim was decided before; nothing was done twice."
    ),
    "claim_own": Code(
        403, "不能处理自己的补报，没有改动。", "Nobody decides on a claim of their own. Nothing was changed."
    ),
    "claim_unknown": Code(404, "没有找到这条补报。", "There is no such claim."),
    "entry_own": Code(
        403, "不能给自己登记，没有改动。请另一位同事登记。", "Nobody records this of themselves. Nothing was changed."
    ),
    "entry_unknown": Code(404, "没有找到这条记录。", "There is no such entry."),
    "entry_withdrawn": Code(
        409, "这条记录已经撤回过了，没有重复处理。", "This entry was withdrawn before; nothing was done twice."
    ),
    "proof_required": Code(422, "请先上传证明材料，没有改动。", "Please attach the proof first. Nothing was changed."),
    # Certificates
    "certificate_empty": Code(
        409,
        "这段时间没有已生效的服务记录，没有出具证明。",
        "There are no service records that count in this time. No certificate was issued.",
    ),
    "certificate_forgotten": Code(
        410,
        "本人资料已匿名，这份证明不能再打印。编号仍可核对。",
        "The person was made anonymous; this certificate cannot be printed again. Its number can still be checked.",
    ),
    "certificate_long": Code(
        422,
        "这段时间的记录超过{limit}条，没有出具证明。请缩短时间，分几份出具。",
        "There are more than {limit} records in this time. No certificate was issued; please choose a shorter time.",
    ),
    "certificate_number_wrong": Code(
        422,
        "编号不对，应为15位数字。请对照证明再输一次。",
        "This number is wrong; it has 15 digits. Please compare it with the paper and type it again.",
    ),
    "certificate_revoked": Code(
        409, "这份证明已经作废，没有重复处理。", "This certificate was revoked before; nothing was done twice."
    ),
    "certificate_unknown": Code(404, "没有找到这份证明。", "There is no such certificate."),
    # Tasks
    "task_minutes": Code(
        409,
        "还有人没有写时长，请先退回补上。没有改动。",
        "Somebody's minutes are missing; please send it back first. Nothing was changed.",
    ),
    "task_not_there": Code(
        409, "任务现在不能做这一步，没有改动。", "The task is not at that point. Nothing was changed."
    ),
    "task_part": Code(
        422,
        "这一步要写明谁来办，角色要对应（{part}）。没有改动。",
        "This step names people of other parts (not {part}), or needs one. Nothing was changed.",
    ),
    "task_people_many": Code(
        422, "一项任务最多 {limit} 人，没有改动。", "A task has at most {limit} people. Nothing was changed."
    ),
    "task_same_person": Code(
        403,
        "参加的人和登记办结的人不能自己确认，请另一位同事确认。没有改动。",
        "Who took part or wrote it down cannot confirm it; please ask a colleague. Nothing was changed.",
    ),
    "task_unknown": Code(404, "没有找到这项任务。", "There is no such task."),
    # Machines, planograms and redemptions
    "another_redemption_open": Code(
        409,
        "您上一件还在出货，请稍等。这次没有扣分。",
        "Another redemption of yours is still open; please wait a moment. Nothing was taken.",
    ),
    "changed": Code(
        409,
        "商品或积分刚刚更新，没有扣分。请重新选择。",
        "The item or its price has just changed. Nothing was taken; please choose again.",
    ),
    "alert_still_open": Code(
        409,
        "这次兑换还没有处理完，处理完后提醒会自动结束。没有改动。",
        "The redemption is still open; the alert ends with it. Nothing was changed.",
    ),
    "alert_unknown": Code(404, "没有找到这条提醒。", "There is no such alert."),
    "claim_code_expired": Code(
        410, "注册码已过期，请重新生成。", "This claim code has expired; please make a new one."
    ),
    "claim_code_unknown": Code(
        404, "注册码不对，请核对后再输入。", "This claim code is wrong; please check it and type it again."
    ),
    "claim_code_used": Code(
        409, "注册码已经用过了，请重新生成。", "This claim code was used before; please make a new one."
    ),
    "daily_limit": Code(
        409, "今天的兑换额度已用完，没有扣分。", "Today's redemption limit is reached. Nothing was taken."
    ),
    "decision_own": Code(
        403,
        "不能处理自己的兑换，没有改动。",
        "Nobody decides on a redemption of their own. Nothing was changed.",
    ),
    "journal_must_be_new": Code(
        409,
        "这台机器不能再用旧的记录，请换新记录重新注册。没有改动。",
        "This machine's old journal is not let in again; enrol it with a new one. Nothing was changed.",
    ),
    "machine_catching_up": Code(
        409,
        "机器正在补传记录，请稍后再试。没有扣分。",
        "The machine is still catching up; please try again soon. Nothing was taken.",
    ),
    "machine_closed": Code(409, "机器暂停服务，没有扣分。", "The machine is closed for now. Nothing was taken."),
    "machine_busy": Code(
        409,
        "机器正在为别人出货，没有扣分。请稍等，再扫屏幕上的码。",
        "The machine is serving somebody. Nothing was taken; please wait, then scan it again.",
    ),
    "machine_enrolled_too_often": Code(
        409,
        "这台机器注册次数已达上限（{limit}），请换一个机器编号。",
        "This machine was enrolled {limit} times; please give it a new id.",
    ),
    "machine_exists": Code(409, "这个机器编号已经有了，没有改动。", "This machine id is taken. Nothing was changed."),
    "machine_must_enroll": Code(
        409,
        "这台机器需要重新注册，没有改动。",
        "This machine has to enrol again. Nothing was changed.",
    ),
    "machine_not_selling": Code(
        409,
        "机器现在不能出货，没有扣分。原因请看机器屏幕。",
        "The machine cannot sell right now. Nothing was taken; its screen says why.",
    ),
    "machine_offline": Code(
        409,
        "机器现在没有联网，没有扣分。请稍后再试。",
        "The machine is not connected right now. Nothing was taken; please try again later.",
    ),
    "machine_silent": Code(
        409,
        "机器没有回应，没有扣分。请重新扫机器屏幕上的码。",
        "The machine did not answer. Nothing was taken; please scan it again.",
    ),
    "machine_unknown": Code(404, "没有找到这台机器。", "There is no such machine."),
    "planogram_conflict": Code(
        409,
        "货道表已被别人更新，没有改动。请刷新后再提交。",
        "The planogram was changed by someone else. Nothing was changed; please load it again.",
    ),
    "planogram_invalid": Code(
        422, "货道表有误：{detail}。没有改动。", "The planogram is wrong: {detail}. Nothing was changed."
    ),
    "product_exists": Code(409, "这个商品编号已经有了，没有改动。", "This product id is taken. Nothing was changed."),
    "reason_required": Code(422, "请填写原因，没有改动。", "Please give a reason. Nothing was changed."),
    "redemption_not_captured": Code(
        409,
        "这次兑换没有扣过分，没有可退的积分。",
        "This redemption took no points; there is nothing to give back.",
    ),
    "redemption_not_in_doubt": Code(
        409,
        "这次兑换不需要人工确认，没有改动。",
        "This redemption is not in doubt. Nothing was changed.",
    ),
    "redemption_not_open": Code(409, "这次兑换已经结束，没有改动。", "This redemption is over. Nothing was changed."),
    "day_limit_reached": Code(
        409,
        "今天的兑换已到上限，没有扣分。请明天再来。",
        "Today's limit is reached. Nothing was taken; please come again tomorrow.",
    ),
    "month_limit_reached": Code(
        409,
        "这个月的兑换已到上限，没有扣分。请下个月再来。",
        "This month's limit is reached. Nothing was taken; please come again next month.",
    ),
    "quarter_limit_reached": Code(
        409,
        "这个季度的兑换已到上限，没有扣分。请下个季度再来。",
        "This quarter's limit is reached. Nothing was taken; please come again next quarter.",
    ),
    "redemption_unknown": Code(404, "没有找到这次兑换。", "There is no such redemption."),
    "redemption_still_open": Code(
        409, "这次兑换还没有结束，请稍后再处理。没有改动。", "This redemption is not over yet. Nothing was changed."
    ),
    "report_closed": Code(
        409, "这条反映已经处理过了，没有重复处理。", "This report was decided before; nothing was done twice."
    ),
    "report_exists": Code(
        409,
        "这次兑换已经有人反映过，编号{ticket}，没有重复登记。",
        "This redemption was reported before, ticket {ticket}; nothing was done twice.",
    ),
    "report_not_refused": Code(
        409, "这条反映不需要复核，没有改动。", "This report needs no second look. Nothing was changed."
    ),
    "report_reopened": Code(
        409, "这条反映已经复核过一次，没有改动。", "This report was looked at once more already. Nothing was changed."
    ),
    "report_same_person": Code(
        403,
        "复核要由另一位工作人员来做，没有改动。",
        "Somebody else must look at it this time. Nothing was changed.",
    ),
    "report_unknown": Code(404, "没有找到这条反映。", "There is no such report."),
    "report_without_redemption": Code(
        409,
        "这条反映没有对应的兑换，没有可退的积分。",
        "This report is about no redemption; there is nothing to give back.",
    ),
    "scan_expired": Code(
        410,
        "扫码后过了{minutes}分钟，没有扣分。请重新扫机器屏幕上的码。",
        "More than {minutes} minutes have passed since the scan. Nothing was taken; please scan the machine again.",
    ),
    "scan_over": Code(
        409,
        "机器前换了人，或者等得太久，没有扣分。请重新扫机器屏幕上的码。",
        "Somebody else has used the machine, or it took too long. Nothing was taken; please scan the machine again.",
    ),
    "scan_unknown": Code(
        404,
        "没有找到这次扫码，没有扣分。请重新扫机器屏幕上的码。",
        "There is no such scan. Nothing was taken; please scan the machine again.",
    ),
    "scan_used": Code(
        409,
        "这次扫码已经选过商品，没有重复扣分。还要换请重新扫机器屏幕上的码。",
        "An item was chosen with this scan already; nothing was taken twice. For another, please scan again.",
    ),
    "screen_code_old": Code(
        410,
        "这个码已经过期，没有扣分。请扫机器屏幕上现在的码。",
        "This code is too old. Nothing was taken; please scan the one that the machine shows now.",
    ),
    "screen_code_used": Code(
        409,
        "这个码已经有人扫过，没有扣分。请等屏幕换成新码再扫。",
        "Somebody has scanned this code already. Nothing was taken; please wait for the next one on the screen.",
    ),
    "second_person_required": Code(
        403,
        "30 天内这类处理较多，需要再请一位工作人员确认。没有改动。",
        "There were several in 30 days: a second person must confirm. Nothing was changed.",
    ),
    "selection_closed": Code(
        409,
        "这个货道暂停使用，没有扣分。请选别的。",
        "This selection is closed. Nothing was taken; please choose another.",
    ),
    "selection_unknown": Code(
        404,
        "没有这个货道号，没有扣分。请重新选择。",
        "There is no such selection. Nothing was taken; please choose another.",
    ),
    "sold_out": Code(409, "这件已经兑完，没有扣分。请选别的。", "Sold out. Nothing was taken; please choose another."),
    "stock_invalid": Code(
        422,
        "库存应为 0 到容量之间的整数，没有改动。",
        "Stock is a whole number from 0 to capacity. Nothing was changed.",
    ),
    "too_many_unknown_cards": Code(
        429,
        "没登记的卡刷得太多了，请稍后再试。没有扣分。",
        "Too many unknown cards; please try again soon. Nothing was taken.",
    ),
    # Files, imports and exports
    "sheet_broken": Code(
        422,
        "文件已损坏，打不开。没有改动。请重新保存后再上传。",
        "The file is damaged and cannot be opened. Nothing was changed; please save it again and send that.",
    ),
    "sheet_columns": Code(
        422,
        "表格列数太多（上限{limit}列），没有改动。请删去多余的列。",
        "The sheet has too many columns (at most {limit}). Nothing was changed; please delete those not needed.",
    ),
    "sheet_empty": Code(422, "文件里没有内容，没有改动。", "There is nothing in the file. Nothing was changed."),
    "sheet_encoding": Code(
        422,
        "看不懂文件的文字编码，没有改动。请另存为 XLSX 或 UTF-8 的 CSV 再上传。",
        "The file's text is in no encoding we know. Nothing was changed; please save it as XLSX or as UTF-8 CSV.",
    ),
    "sheet_format": Code(
        415,
        "只能读 CSV、XLSX 和 XLS 文件，没有改动。请另存为 XLSX 再上传。",
        "Only CSV, XLSX and XLS files can be read. Nothing was changed; please save it as XLSX.",
    ),
    "sheet_locked": Code(
        422,
        "文件设了密码，没有改动。请去掉密码后再上传。",
        "The file has a password. Nothing was changed; please take it off and send the file again.",
    ),
    "sheet_rows": Code(
        422,
        "表格行数太多（上限{limit}行），没有改动。请分成几个文件。",
        "The sheet has too many rows (at most {limit}). Nothing was changed; please send it in parts.",
    ),
    "sheet_too_large": Code(
        413,
        "文件太大（上限 {limit} MB），没有改动。请分成几个文件。",
        "The file is too large (at most {limit} MB). Nothing was changed; please send it in parts.",
    ),
    "header_not_found": Code(
        422,
        "前{rows}行里没有找到表头（至少要有：{wanted}）。没有改动。",
        "No header was found in the first {rows} rows (it has at least: {wanted}). Nothing was changed.",
    ),
    "import_busy": Code(
        503,
        "正在处理别的文件，请稍后再试。没有改动。",
        "Another file is being read. Please try again in a moment; nothing was changed.",
    ),
    "import_column_missing": Code(
        422,
        "还没有说明哪一列是：{wanted}。没有改动。请先指定列的对应关系。",
        "It is not known which column is: {wanted}. Nothing was changed; please say so in the mapping.",
    ),
    "import_forgotten": Code(
        410,
        "文件内容已按期限删除，没有改动。请重新上传。",
        "The file's content was deleted after its time. Nothing was changed; please send it again.",
    ),
    "import_same_person": Code(
        403,
        "上传人和批准人不能是同一个人，没有改动。请另一位同事批准。",
        "Who sent the file cannot approve it. Nothing was changed; please ask a colleague.",
    ),
    "import_state": Code(
        409,
        "这次导入现在是“{state}”，不能这样做。没有改动。",
        "This import is {state} now and does not take this. Nothing was changed.",
    ),
    "import_unknown": Code(404, "没有找到这次导入。", "There is no such import."),
    "mapping_invalid": Code(
        422, "列的对应关系不对：{names}。没有改动。", "The mapping is wrong: {names}. Nothing was changed."
    ),
    # HTTP
    "bad_request": Code(400, "请求格式不对，没有改动。", "The request is malformed. Nothing was changed."),
    "choice_missing": Code(422, "请先选一项，没有改动。", "Please choose one first. Nothing was changed."),
    "text_too_long": Code(
        422,
        "文字太长了，最多{limit}个字，没有改动。",
        "The text is too long; {limit} signs at most. Nothing was changed.",
    ),
    "form_too_old": Code(
        400,
        "页面放得太久了，没有改动。请回到前一页，刷新后再试一次。",
        "The page was open for too long. Nothing was changed. Please go back, reload and try again.",
    ),
    "body_too_large": Code(
        413,
        "内容太大（上限{limit}字节），没有改动。",
        "The body is too large (at most {limit} bytes). Nothing was changed.",
    ),
    "cursor_invalid": Code(
        400, "翻页已失效，请从第一页重新查询。", "The cursor is not one of ours; please start over."
    ),
    "fields_invalid": Code(
        422, "有字段填写不对：{names}。没有改动。", "Some fields are wrong: {names}. Nothing was changed."
    ),
    "idempotency_key_invalid": Code(
        400,
        "Idempotency-Key 应为 8 到 80 个可见字符，没有改动。",
        "An Idempotency-Key has 8 to 80 visible ASCII characters. Nothing was changed.",
    ),
    "idempotency_key_required": Code(
        400, "请带上 Idempotency-Key，没有改动。", "An Idempotency-Key header is required. Nothing was changed."
    ),
    "internal_error": Code(
        500,
        "系统出错了。请用同一个编号再试一次，不会重复处理。",
        "Something failed on our side. Please repeat it with the same key; nothing is done twice.",
    ),
    "json_invalid": Code(400, "内容不是有效的 JSON，没有改动。", "The body is not valid JSON. Nothing was changed."),
    "json_too_deep": Code(400, "JSON 嵌套太深，没有改动。", "The JSON is nested too deeply. Nothing was changed."),
    "media_type_unsupported": Code(
        415, "请用 application/json 提交，没有改动。", "Please send application/json. Nothing was changed."
    ),
    "method_not_allowed": Code(405, "这个地址不支持这种操作。", "This address does not take this method."),
    "not_acceptable": Code(406, "没有这种格式。", "There is no such representation."),
    "not_found": Code(404, "没有找到。", "Not found."),
    "rate_limited": Code(429, "请求太频繁，请稍后再试。", "Too many requests; please try again later."),
    "unavailable": Code(
        503,
        "系统正忙或正在停止，没有改动。请稍后用同一个编号再试。",
        "The server is busy or stopping. Please repeat it soon with the same key; nothing is done twice.",
    ),
}


class _Places(dict[str, object]):
    """Fields for a text; one that is missing shows as `?`, because a refusal must never fail itself."""

    def __missing__(self, key: str) -> str:
        return "?"


class DomainError(Exception):
    """A refusal that a person can understand: `DomainError("sold_out", selection=3)`.

    `code` is a key of `CODES` (KeyError otherwise: ours to notice at once); `fields` are plain JSON values.
    """

    def __init__(self, code: str, /, **fields: object) -> None:
        super().__init__(code)
        self.code: Final = code
        self.fields: Final[Mapping[str, object]] = fields
        self.status: Final = CODES[code].status

    def text(self, language: Language = "zh") -> str:
        """The refusal in words, with its fields filled in."""
        row = CODES[self.code]
        return (row.en if language == "en" else row.zh).format_map(_Places(self.fields))

    def __repr__(self) -> str:
        return f"DomainError({self.code!r}, {dict(self.fields)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DomainError) and (self.code, self.fields) == (other.code, other.fields)

    __hash__ = Exception.__hash__
