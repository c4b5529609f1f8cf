"""What may be wrong with a row, in words: the reason, and what to write instead, in Chinese and in English.

`{name}` is filled from the problem's fields. No field holds an ID number or a whole phone number.
"""

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

Language = Literal["zh", "en"]


class Words(NamedTuple):
    """Reason and remedy in both languages."""

    zh: str
    zh_instead: str
    en: str
    en_instead: str


class Problem(NamedTuple):
    """What is wrong in one row: `row` counts from 1 as a spreadsheet shows it, `column` is the header's own word
    (empty if the row as a whole is meant). `subjects` are the ids of those it may be about.
    """

    row: int
    column: str
    code: str
    fields: Mapping[str, object]
    subjects: tuple[str, ...] = ()

    def reason(self, language: Language = "zh") -> str:
        """Why the row is refused."""
        words = PROBLEMS[self.code]
        return (words.en if language == "en" else words.zh).format_map(_Places(self.fields))

    def instead(self, language: Language = "zh") -> str:
        """What to write instead."""
        words = PROBLEMS[self.code]
        return (words.en_instead if language == "en" else words.zh_instead).format_map(_Places(self.fields))


class _Places(dict[str, object]):
    def __missing__(self, key: str) -> str:
        return "?"


PROBLEMS: Final[dict[str, Words]] = {
    "missing": Words("这一格是空的。", "请填写。", "This cell is empty.", "Please fill it in."),
    "too_long": Words(
        "文字太长，最多{limit}个字。", "请写短一些。", "The text is longer than {limit} signs.", "Write less."
    ),
    "name_odd": Words(
        "姓名里有数字或符号。",
        "请只写姓名，例如 王建华。",
        "There are digits or signs in the name.",
        "Write the name only, as 王建华.",
    ),
    "day_unreadable": Words(
        "看不懂日期“{value}”。",
        "请写成 2026-03-05。",
        "“{value}” is not a day.",
        "Write it as 2026-03-05.",
    ),
    "day_impossible": Words(
        "没有“{value}”这一天。",
        "请核对后写成 2026-03-05。",
        "There is no day “{value}”.",
        "Check it and write it as 2026-03-05.",
    ),
    "day_year": Words(
        "日期“{value}”没有写明年份。",
        "请写四位年份，例如 2026-03-05。",
        "“{value}” has no year, or one of two digits.",
        "Write a year of four digits, as 2026-03-05.",
    ),
    "day_order": Words(
        "日期“{value}”分不清月和日。",
        "请按年月日写，例如 2026-03-05。",
        "Day and month cannot be told apart in “{value}”.",
        "Write year, month, day, as 2026-03-05.",
    ),
    "day_incomplete": Words(
        "日期“{value}”没有写到日。",
        "请写到日，例如 2026-03-05。",
        "“{value}” is a month, not a day.",
        "Write the day too, as 2026-03-05.",
    ),
    "day_future": Words(
        "日期{value}还没有到。",
        "请写实际的日期。",
        "{value} is not over yet.",
        "Write the day on which it took place.",
    ),
    "clock_unreadable": Words(
        "看不懂时间“{value}”。", "请写成 14:30。", "“{value}” is not a time of day.", "Write it as 14:30."
    ),
    "minutes_unreadable": Words(
        "看不懂时长“{value}”。",
        "请写成 2小时 或 90分钟。",
        "“{value}” is not a duration.",
        "Write it as 2小时 or 90分钟.",
    ),
    "minutes_unit": Words(
        "时长“{value}”没有写单位，分不清小时还是分钟。",
        "请写成 {value}分钟 或 {value}小时。",
        "“{value}” has no unit: hours or minutes?",
        "Write {value}分钟 or {value}小时.",
    ),
    "minutes_range": Words(
        "时长“{value}”不在 1 分钟到 24 小时之间。",
        "请核对；超过一天的请分成几行。",
        "“{value}” is not between 1 minute and 24 hours.",
        "Check it; more than a day takes several rows.",
    ),
    "phone_scientific": Words(
        "电话被表格改成了“{value}”，后面的数字已经丢失。",
        "请先把这一列设为“文本”，再重新填写 11 位号码。",
        "A spreadsheet turned the phone number into “{value}”; digits are lost.",
        "Make the column text, then type all 11 digits again.",
    ),
    "phone_lost_zero": Words(
        "电话少了开头的 0（共{digits}位）。",
        "请把这一列设为“文本”，写上区号前的 0，例如 028-37401234。",
        "The phone number has lost its leading 0 ({digits} digits are left).",
        "Make the column text, and write the 0 of the area code, as 028-37401234.",
    ),
    "phone_length": Words(
        "电话有{digits}位，手机号应为 11 位。",
        "请核对后填写 11 位手机号。",
        "The phone number has {digits} digits, a mobile number has 11.",
        "Check it and write 11 digits.",
    ),
    "phone_several": Words(
        "一格里有几个电话。",
        "请只写一个。",
        "There are several phone numbers in the cell.",
        "Write one of them.",
    ),
    "phone_unreadable": Words(
        "这不是电话号码。",
        "请写 11 位手机号，例如 13800001111。",
        "This is not a phone number.",
        "Write 11 digits, as 13800001111.",
    ),
    "id_scientific": Words(
        "身份证号被表格改成了“{value}”，后面的数字已经丢失。",
        "请先把这一列设为“文本”，再重新填写 18 位号码。",
        "A spreadsheet turned the ID number into “{value}”; digits are lost.",
        "Make the column text, then type all 18 signs again.",
    ),
    "id_rounded": Words(
        "身份证号的最后几位被表格改成了 0。",
        "请先把这一列设为“文本”，再重新填写 18 位号码。",
        "A spreadsheet turned the last digits of the ID number into 0.",
        "Make the column text, then type all 18 signs again.",
    ),
    "id_old": Words(
        "这是 15 位的旧身份证号。",
        "请填写现在的 18 位号码。",
        "This is an ID number of the old form, with 15 digits.",
        "Write the one with 18 signs.",
    ),
    "id_length": Words(
        "身份证号有{digits}位，应为 18 位。",
        "请对照证件重新填写。",
        "The ID number has {digits} signs instead of 18.",
        "Copy it again from the document.",
    ),
    "id_check": Words(
        "身份证号的校验位不对，可能写错了一位。",
        "请对照证件重新填写。",
        "The ID number's check digit is wrong; one digit may be mistyped.",
        "Copy it again from the document.",
    ),
    "id_birth": Words(
        "身份证号里的出生日期与出生日期一栏不同。",
        "请核对这两格。",
        "The birth date in the ID number differs from the birth date column.",
        "Check both cells.",
    ),
    "member_spoiled": Words(
        "会员号被表格改成了“{value}”。",
        "请把这一列设为“文本”，再填写 8 位会员号。",
        "A spreadsheet turned the member number into “{value}”.",
        "Make the column text, then type all 8 digits.",
    ),
    "member_check": Words(
        "会员号不对，应为 8 位，末位是校验位。",
        "请对照会员卡重新填写。",
        "This is not a member number of 8 digits with its check digit.",
        "Copy it again from the member's card.",
    ),
    "card_unreadable": Words(
        "卡号格式不对。",
        "请写芯片号的十六进制，例如 00745A70。",
        "This is not a card number.",
        "Write the UID in hex, as 00745A70.",
    ),
    "not_in_list": Words(
        "这里不能写“{value}”。",
        "请写其中一个：{allowed}。",
        "“{value}” is not one of the words that may stand here.",
        "Write one of these: {allowed}.",
    ),
    "number_unreadable": Words(
        "“{value}”不是整数。", "请写整数，例如 5。", "“{value}” is not a whole number.", "Write a number, as 5."
    ),
    "same_as_row": Words(
        "与第{other}行是同一个人，内容却不同。",
        "请只留一行。",
        "This is the same person as in row {other}, and says something else.",
        "Keep one of the rows.",
    ),
    "maybe_row": Words(
        "可能与第{other}行是同一个人。",
        "同一个人请删去一行；不是同一个人请在两行都写上电话或身份证号。",
        "This may be the same person as in row {other}.",
        "If so, delete one row; if not, write phone or ID number in both.",
    ),
    "person_unknown": Words(
        "没有找到这个人。",
        "请核对会员号、身份证号或电话；新居民请先登记。",
        "Nobody is registered with this.",
        "Check member number, ID number or phone; register a new resident first.",
    ),
    "person_name_only": Words(
        "只凭姓名不能确定是谁。",
        "请补上会员号、身份证号、电话或楼栋。",
        "A name alone does not say who it is.",
        "Add the member number, the ID number, the phone or the building.",
    ),
    "person_several": Words(
        "有几个人都对得上：{candidates}。",
        "请在会员号一栏写上是哪一位。",
        "Several people fit: {candidates}.",
        "Write which of them it is into the member number column.",
    ),
    "person_differs": Words(
        "{by}对应的是{candidates}，与这一行的姓名不同。",
        "请核对姓名和{by}。",
        "The {by} is that of {candidates}, the row has another name.",
        "Check the name and the {by}.",
    ),
    "person_contradicts": Words(
        "{by}和{other}对应的不是同一个人：{candidates}。",
        "请核对这两格。",
        "The {by} and the {other} belong to different people: {candidates}.",
        "Check both cells.",
    ),
    "person_maybe_known": Words(
        "可能已经登记过：{candidates}。",
        "同一个人请在会员号一栏写上会员号；不是同一个人请在会员号一栏写“新”。",
        "This may be somebody who is registered: {candidates}.",
        "If so, write the member number into its column; if not, write 新 there.",
    ),
    "person_elsewhere": Words(
        "这个人属于别的小区。",
        "请联系那个小区的工作人员。",
        "This person belongs to another estate.",
        "Please ask the staff of that estate.",
    ),
    "card_taken": Words(
        "这张卡已经是{candidates}的。",
        "请核对卡号。",
        "This card belongs to {candidates}.",
        "Check the card number.",
    ),
    "consent_incomplete": Words(
        "同意书编号和签字日期只写了一个。",
        "两格都请填写；还没有签字的两格都留空。",
        "Only one of form number and signing date is given.",
        "Fill in both, or neither where nothing was signed yet.",
    ),
    "guardian_missing": Words(
        "未满 14 岁，需要监护人同意。",
        "请填写监护人姓名；还没有签字的，同意书编号和签字日期都留空。",
        "Under 14, a guardian has to agree.",
        "Write the guardian's name; or leave form number and day empty until it is signed.",
    ),
    "estate_unknown": Words(
        "没有找到小区“{value}”。",
        "请写已登记的小区名称或编号。",
        "There is no estate “{value}” here.",
        "Write the name or code of a registered estate.",
    ),
    "estate_missing": Words(
        "没有写明是哪个小区。",
        "请在小区一栏填写名称或编号。",
        "It is not said which estate this is.",
        "Write the name or code of the estate into its column.",
    ),
    "email_unreadable": Words(
        "这不是电子邮箱。",
        "请写成 name@example.com，或留空。",
        "This is not an e-mail address.",
        "Write it as name@example.com, or nothing.",
    ),
    "organization_unknown": Words(
        "没有找到“{value}”。",
        "请先登记，或核对名称和编号。",
        "There is no “{value}”.",
        "Register it first, or check name and code.",
    ),
    "parent_unknown": Words(
        "没有找到上级“{value}”。",
        "请核对上级编号；上级要写在前面的行里，或已经登记。",
        "There is no parent “{value}”.",
        "Check the parent's code; a parent stands in an earlier row or is registered.",
    ),
    "same_work_as_row": Words(
        "与第{other}行完全相同。",
        "是同一次请删去一行；确实是两次，请在两行都写上开始时间。",
        "This says the same as row {other}.",
        "If it was once, delete one row; if twice, write in both when it began.",
    ),
    "session_unknown": Words(
        "没有找到这场活动。",
        "请核对活动名称和日期，或先导入活动。",
        "There is no such session.",
        "Check title and day, or import the activity first.",
    ),
    "session_several": Words(
        "这一天有几场同名的活动。",
        "请写上开始时间，例如 14:30。",
        "Several sessions of this title are on that day.",
        "Write the time at which it begins, as 14:30.",
    ),
    "not_undone": Words(
        "没有撤销：已有后续记录（{by}）。",
        "请单独更正这一条。",
        "It was not taken back: other records refer to it ({by}).",
        "Correct this one by itself.",
    ),
    "ends_before": Words(
        "结束时间早于开始时间。",
        "请核对这两格。",
        "It ends before it begins.",
        "Check both cells.",
    ),
    "refused": Words(
        "没有记入：{said}",
        "请按提示修改。",
        "It was not booked: {said_en}",
        "Correct what it says.",
    ),
}
