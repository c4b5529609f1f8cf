"""How long something took, as people write it: 2小时, 2h, 2.5小时, 1小时30分, 90分钟, 半天, 一天, 1:30. Whole minutes.

Pure. A number without a unit is of the unit that its column's header names, else hours; above 24 it is refused,
because 90 is hardly hours and nobody said minutes.
"""

import re
from typing import Final, Literal

from jishan_server.sheets.cells import Cell, CellProblem, text_of

HALF_DAY_MINUTES: Final = 240
"""半天 where the scheme says nothing else: 4 hours; 一天 is two of them."""
MAX_MINUTES: Final = 1440
MAX_HOURS_WITHOUT_UNIT: Final = 24

Unit = Literal["hours", "minutes"]

_NUMERALS: Final = {one: value for value, one in enumerate("零一二三四五六七八九十")} | {"两": 2, "俩": 2, "半": 0.5}
_NUMBER: Final = r"(?P<number>\d+(?:\.\d+)?|[零一二两俩三四五六七八九十半]{1,3})"
_HOURS: Final = r"(?P<hours>个?(?P<and_half>半)?(?:小时|钟头|钟)|时|hours?|hrs?|h)"
_MINUTES: Final = r"(?P<minutes>分钟|分|minutes?|mins?|m|')"
_DAYS: Final = r"(?P<days>个?(?:工作日|天|日)|days?|d)"
_PART: Final = re.compile(rf"{_NUMBER}\s*(?:{_MINUTES}|{_HOURS}|{_DAYS})(?P<half>半)?\s*[零又]?\s*", re.IGNORECASE)
_COLONS: Final = re.compile(r"(\d{1,3}):([0-5]?\d)(?::[0-5]?\d(?:\.\d+)?)?")
_PLAIN: Final = re.compile(r"\d+(?:\.\d+)?")


def unit_of(header: str) -> Unit | None:
    """The unit that a column's header names: 时长(分钟) are minutes, 服务小时 are hours."""
    if re.search(r"分钟|minutes|\bmin\b|/分", header, re.IGNORECASE):
        return "minutes"
    return "hours" if re.search(r"小时|hours|工时|/时", header, re.IGNORECASE) else None


def parse_minutes(cell: Cell, unit: Unit | None = None, half_day_minutes: int = HALF_DAY_MINUTES) -> int:
    """Whole minutes, 1 to 1440, rounded to the nearest; `unit` is that of the column.

    Raises CellProblem: missing, minutes_unreadable, minutes_unit, minutes_range.
    """
    text = text_of(cell)
    if not text:
        raise CellProblem("missing")
    minutes = int(_minutes(text, unit, half_day_minutes) + 0.5)
    if not 1 <= minutes <= MAX_MINUTES:
        raise CellProblem("minutes_range", value=text)
    return minutes


def _minutes(text: str, unit: Unit | None, half_day_minutes: int) -> float:
    if _PLAIN.fullmatch(text):
        number = float(text)
        if unit == "minutes":
            return number
        if unit is None and number > MAX_HOURS_WITHOUT_UNIT:
            raise CellProblem("minutes_unit", value=text)
        return number * 60
    if colons := _COLONS.fullmatch(text):
        return int(colons[1]) * 60 + int(colons[2])
    written = re.sub(r"^(?:约|大约|共|合计)", "", text)
    total, place = 0.0, 0
    while place < len(written):
        part = _PART.match(written, place)
        if part is None:
            # 1小时30: the last number after hours is minutes.
            rest = re.fullmatch(r"[0-5]?\d", written[place:])
            if rest is None or place == 0:
                raise CellProblem("minutes_unreadable", value=text)
            return total + int(rest[0])
        each = 1 if part["minutes"] else 60 if part["hours"] else 2 * half_day_minutes
        number = _number(part["number"], text)
        total += (number + 0.5 * bool(part["and_half"]) + 0.5 * bool(part["half"])) * each
        place = part.end()
    return total


def _number(written: str, text: str) -> float:
    """5, 2.5, 两, 半, 十, 十二, 二十."""
    if written[0].isdigit():
        return float(written)
    if len(written) == 1:
        return float(_NUMERALS[written])
    tens, ten, ones = written.partition("十")
    if not ten or any(len(one) > 1 or one in "零半" for one in (tens, ones) if one):
        raise CellProblem("minutes_unreadable", value=text)
    return float(_NUMERALS.get(tens, 1) * 10 + _NUMERALS.get(ones, 0))
