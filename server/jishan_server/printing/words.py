"""Everything that printed papers say, in Chinese and English; `{name}` is filled in.

Nothing here calls a paper of ours official, or conforming to a standard: the rules do not allow it.
"""

from datetime import datetime
from typing import Final, NamedTuple

from jishan_server.errors import Language


class Words(NamedTuple):
    zh: str
    en: str


WORDS: Final[dict[str, Words]] = {
    "page": Words("第{page}页，共{pages}页", "Page {page} of {pages}"),
    "number": Words("序号", "No."),
    "name": Words("姓名", "Name"),
    "building": Words("楼栋", "Building"),
    "activity": Words("活动", "Activity"),
    "day": Words("日期", "Day"),
    "time": Words("时间", "Time"),
    "place": Words("地点", "Place"),
    "category": Words("类别", "Category"),
    "points": Words("积分", "Points"),
    "hours": Words("时长", "Time"),
    "unit": Words("组织单位", "Organised by"),
    "in_charge": Words("负责人", "In charge"),
    "contact": Words("联系方式", "Contact"),
    "total": Words("合计", "Total"),
    "no_category": Words("未分类", "No category"),
    "nothing": Words("—", "—"),
    "to_write": Words("________________", "________________"),
    "minutes": Words("{minutes}分钟", "{minutes} min"),
    "hours_minutes": Words("{hours}小时{minutes}分", "{hours} h {minutes} min"),
    "whole_hours": Words("{hours}小时", "{hours} h"),
    "span": Words("{first}至{last}", "{first} to {last}"),
    "printed": Words("打印日期：{day}", "Printed on {day}"),
    # Certificate
    "certificate": Words("志愿服务记录证明", "Record of Volunteer Service"),
    "certificate_number": Words("编号：{number}", "Number: {number}"),
    "certificate_body": Words(
        "兹证明{name}在{first}至{last}期间参加志愿服务{times}次，服务时长合计{hours}小时。",
        "This is to certify that {name} did volunteer service {times} times between {first} and {last}, "
        "{hours} hours in all.",
    ),
    "certificate_body_once": Words(
        "兹证明{name}在{first}至{last}期间参加志愿服务1次，服务时长合计{hours}小时。",
        "This is to certify that {name} did volunteer service once between {first} and {last}, {hours} hours in all.",
    ),
    "period": Words("服务时段", "Period"),
    "times": Words("服务次数", "Times"),
    "service_hours": Words("服务时长（小时）", "Hours"),
    "hours_of": Words("{hours}（{minutes}分钟）", "{hours} ({minutes} min)"),
    "service_minutes": Words("分钟", "Minutes"),
    "content": Words("服务内容", "Service"),
    "recording_unit": Words("记录单位", "Recorded by"),
    "seal": Words("（盖章）", "(seal)"),
    "issued": Words("出具日期：{day}", "Issued on {day}"),
    "by_category": Words("分类时长", "Hours by category"),
    "entries": Words("服务明细", "What was done"),
    "rounding": Words(
        "时长按分钟记录；换算成小时保留一位小数，不足0.1小时的舍去，合计按总分钟数换算。",
        "Time is recorded in minutes. Hours are shown to one decimal, rounded down; the total is that of all minutes.",
    ),
    "certificate_free": Words(
        "本证明免费出具，只依据志愿服务记录，与积分无关。",
        "Given free of charge, from service records alone; points have no part in it.",
    ),
    "certificate_check": Words(
        "扫码核对，或打开下面的网址。核对页只显示编号、时段、时长、单位和状态。",
        "Scan to check, or open the address below. It shows number, period, hours, unit and state only.",
    ),
    # Notice sheet
    "notice": Words("服务记录公示", "Public notice of service"),
    "notice_intro": Words(
        "下列服务记录正在公示，姓名已部分隐去。对内容有异议的，请在“截止日期”当天或之前提出；没有异议的，期满后生效。",
        "The work below is shown to everybody before it counts; names are masked. "
        "Whoever objects says so on the last day at the latest. What nobody objects to counts after it.",
    ),
    "notice_last_day": Words("截止日期", "Last day"),
    "notice_where": Words("提出异议的地点：{where}", "Where to object: {where}"),
    "notice_telephone": Words("电话：{telephone}", "Telephone: {telephone}"),
    "notice_none": Words("目前没有公示中的记录。", "Nothing is in its public notice at present."),
    "notice_more": Words(
        "本次只打印最先到期的{count}条。", "Only the {count} entries whose notice ends first are printed."
    ),
    # Poster
    "poster": Words("志愿者招募", "Volunteers wanted"),
    "poster_scan": Words("扫码报名", "Scan to sign up"),
    "poster_no_phone": Words("没有手机也可以：请到社区服务台报名。", "No phone? Please sign up at the desk."),
    "poster_no_session": Words("时间另行通知", "The time will be announced"),
    "poster_risk": Words("安全提示", "Please mind"),
    "poster_free": Words("自愿参加，无偿服务", "Voluntary and unpaid"),
    # Attendance sheet
    "attendance": Words("签到表", "Attendance sheet"),
    "attendance_intro": Words(
        "请本人签名，并写明到达和离开时间。不在名单上的，写在空行。",
        "Please sign, and write when you came and left. Whoever is not listed takes an empty line.",
    ),
    "attendance_code": Words("表码：{code}", "Sheet: {code}"),
    "attendance_break": Words("中间休息{minutes}分钟", "Break of {minutes} minutes"),
    "attendance_checked": Words("负责人签名：____________", "In charge, signature: ____________"),
    "attendance_count": Words("到场人数：________", "People present: ________"),
    "member_number": Words("会员号", "Member no."),
    "row_code": Words("行码", "Row"),
    "came": Words("到达", "Came"),
    "left": Words("离开", "Left"),
    "signature": Words("签名", "Signature"),
    # Passbook
    "passbook": Words("积分存折", "Points passbook"),
    "passbook_available": Words("可用积分", "Points to use"),
    "passbook_pending": Words("另有{points}分在公示，期满后可用。", "{points} more are in their public notice."),
    "passbook_held": Words("{points}分正在兑换，暂不能用。", "{points} are held for an open redemption."),
    "passbook_owed": Words("欠{points}分，以后记入的积分先补。", "{points} are owed; the next points pay them."),
    "passbook_expiry": Words("{points}分将在{day}到期。", "{points} end on {day}."),
    "passbook_last": Words("最近{count}笔", "The last {count} entries"),
    "passbook_empty": Words("还没有记录。", "There are no entries yet."),
    "passbook_change": Words("变动", "Change"),
    "passbook_balance": Words("余额", "Balance"),
    "passbook_what": Words("事项", "What for"),
    "entry_credit": Words("服务记分", "Service"),
    "entry_redemption": Words("兑换商品", "Redemption"),
    "entry_reversal": Words("退回", "Given back"),
    "entry_adjustment": Words("人工调整", "Adjustment"),
    "entry_expiry": Words("到期", "Ended"),
    "entry_owed": Words("记为欠分", "Owed"),
    "entry_repaid": Words("偿还欠分", "Paid what was owed"),
    "entry_other": Words("其他", "Other"),
    # Cards
    "cards": Words("志愿者卡", "Volunteer cards"),
    "card": Words("志愿者卡", "Volunteer card"),
    "card_use": Words("扫码或输入会员号，再输密码", "Scan or key in the number, then the PIN"),
    # Why not
    "why_not": Words("积分说明：没有记上的是哪些", "Why there are no points"),
    "why_not_who": Words("{name}，{first}至{last}", "{name}, {first} to {last}"),
    "why_not_none": Words("这段时间没有查到未记上的情况。", "Nothing was found in this time."),
    "why_not_reason": Words("原因", "Where it stopped"),
    "why_not_more": Words("还有更多，请缩短时间再打印。", "There is more; please choose a shorter time."),
    "why_not_ask": Words(
        "如有疑问，请带这张纸到社区服务台，可以申请更正或申诉。",
        "If something is wrong, bring this page to the desk: you may ask for a correction or appeal.",
    ),
    # Yearly report
    "yearly": Words("志愿服务年度报告", "Yearly report of volunteer service"),
    "yearly_known": Words(
        "{year}年，截至{day}已生效的记录。人数不重复计算；人次为服务记录条数。",
        "{year}, as known at the end of {day}. People are counted once; attendances are service records.",
    ),
}

YEARLY_COLUMNS: Final[dict[str, str]] = {
    "小区": "Estate",
    "组织单位": "Organised by",
    "类别": "Category",
    "人数": "People",
    "人次": "Attended",
    "时长（分钟）": "Minutes",
    "时长（小时）": "Hours",
    "之后补记人次": "Later: attended",
    "之后补记分钟": "Later: minutes",
    "之后更正人次": "Corrected: attended",
    "之后更正分钟": "Corrected: minutes",
}
YEARLY_WORDS: Final[dict[str, str]] = {"小计": "Subtotal", "合计": "Total", "未分类": "No category"}


def say(language: Language, key: str, /, **fields: object) -> str:
    """The words of `key`, filled in."""
    words = WORDS[key]
    return (words.en if language == "en" else words.zh).format_map(fields)


def day(language: Language, text: str) -> str:
    """A day (YYYY-MM-DD) as people write it: 2026年3月2日, 2 March 2026."""
    year, month, date = (int(part) for part in text.split("-"))
    if language == "zh":
        return f"{year}年{month}月{date}日"
    return f"{date} {_MONTHS[month - 1]} {year}"


def session_time(language: Language, starts_at: datetime, ends_at: datetime) -> str:
    """Local times of a session as people write them: 2026年3月3日（周二）14:00–16:00."""
    date = day(language, starts_at.date().isoformat())
    weekday = _WEEKDAYS[starts_at.weekday()]
    span = f"{starts_at:%H:%M}–{ends_at:%H:%M}"
    return f"{date}（周{weekday.zh}）{span}" if language == "zh" else f"{weekday.en} {date} {span}"


def hours(minutes: int) -> str:
    """Hours to one decimal, rounded down: what is shown was worked."""
    return f"{minutes // 60}.{minutes % 60 // 6}"


def duration(language: Language, minutes: int) -> str:
    """A time in hours and minutes, exactly."""
    if minutes < 60:
        return say(language, "minutes", minutes=minutes)
    key = "hours_minutes" if minutes % 60 else "whole_hours"
    return say(language, key, hours=minutes // 60, minutes=minutes % 60)


_MONTHS: Final = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
_WEEKDAYS: Final = (
    *(Words("一", "Mon"), Words("二", "Tue"), Words("三", "Wed"), Words("四", "Thu")),
    *(Words("五", "Fri"), Words("六", "Sat"), Words("日", "Sun")),
)
