"""Days and times of day as people write them: 2026.3.5, 2026年3月5日, 3月5日, 20260305, a sheet's 46086, 下午2点半.

Pure. What could be read in two ways is refused, never guessed: a year of two digits, 3/5/2026, a number cell 3.1.
"""

import re
from datetime import date, time, timedelta
from math import isfinite
from typing import Final

from jishan_server.sheets.cells import Cell, CellProblem, text_of

SERIAL_DAY_0: Final = date(1899, 12, 30)
"""Day 0 of spreadsheets, with their 29 February 1900 counted: right from March 1900 on (ECMA-376 part 1, 18.17.4.1)."""
SERIALS: Final = range(7_305, 80_000)
"""1920 to 2119: what a number without any sign may mean as a day."""
YEARS: Final = range(1900, 2101)

_WEEKDAY: Final = re.compile(r"\s*\(?(?:星期|周|礼拜)[一二三四五六日天]\)?")
_CLOCK: Final = re.compile(
    r"(?P<half>上午|下午|晚上|中午|早上|凌晨|am|pm)?\s*(?P<hour>\d{1,2})\s*(?:[:点时]\s*)"
    r"(?:(?P<minute>\d{1,2})\s*分?(?:\s*:\s*\d{1,2}(?:\.\d+)?)?|(?P<is_half>半)|整)?\s*(?P<after>am|pm)?",
    re.IGNORECASE,
)
_DAY: Final = re.compile(r"(?P<year>\d{4})\s*[-./年]\s*(?P<month>\d{1,2})\s*[-./月]\s*(?P<day>\d{1,2})(?!\d)\s*[日号]?")
_COMPACT: Final = re.compile(r"(?P<year>(?:19|20|21)\d{2})(?P<month>\d{2})(?P<day>\d{2})")
_NO_YEAR: Final = re.compile(r"(?P<month>\d{1,2})\s*[-./月]\s*(?P<day>\d{1,2})(?!\d)\s*[日号]?")
_MONTH: Final = re.compile(r"\d{4}\s*[-./年]\s*\d{1,2}\s*月?|\d{4}\s*年?")
_SHORT_YEAR: Final = re.compile(r"\d{2}\s*[-./年]\s*\d{1,2}\s*[-./月]\s*\d{1,2}\s*[日号]?")
_YEAR_LAST: Final = re.compile(r"\d{1,2}\s*[-./]\s*\d{1,2}\s*[-./]\s*\d{4}")


def parse_day(cell: Cell, year: int | None = None) -> date:
    """The day of a cell; `year` is that of the plan, for days without one. A time after it is left out.

    Raises CellProblem: missing, day_unreadable, day_impossible, day_year, day_order, day_incomplete.
    """
    return parse_moment(cell, year)[0]


def parse_moment(cell: Cell, year: int | None = None) -> tuple[date, time | None]:
    """The day of a cell, and the time of day if one stands behind it. Raises what `parse_day` raises."""
    text = text_of(cell)
    if not text:
        raise CellProblem("missing")
    if isinstance(cell, float) and isfinite(cell) and not cell.is_integer():
        return _serial_moment(cell, text)
    if re.fullmatch(r"\d{4,5}", text) and int(text) in SERIALS:
        return SERIAL_DAY_0 + timedelta(int(text)), None
    written = _WEEKDAY.sub(" ", text).replace("T", " ").strip()
    for pattern in (_DAY, _COMPACT, _NO_YEAR):
        found = pattern.match(written)
        rest = written[found.end() :].strip() if found else ""
        # A time stands apart from the day, or behind 日: 2026-3-55 is no day with a time.
        if found and (
            not rest or (_CLOCK.fullmatch(rest) and not written[found.end() - 1 : found.end() + 1].isdigit())
        ):
            return _built(found, year, text), _clock_of(rest, text) if rest else None
    if _YEAR_LAST.fullmatch(written):
        raise CellProblem("day_order", value=text)
    if _SHORT_YEAR.fullmatch(written):
        raise CellProblem("day_year", value=text)
    if _MONTH.fullmatch(written):
        raise CellProblem("day_incomplete", value=text)
    raise CellProblem("day_unreadable", value=text)


def parse_clock(cell: Cell) -> time:
    """A time of day: 14:30, 下午2点半, 9时, or a spreadsheet's part of a day. Raises CellProblem."""
    text = text_of(cell)
    if not text:
        raise CellProblem("missing")
    if isinstance(cell, float) and 0 <= cell < 1:
        return _time_of(cell)
    written = re.sub(r"^\d{4}-\d{2}-\d{2} ", "", text)
    if _CLOCK.fullmatch(written) is None:
        raise CellProblem("clock_unreadable", value=text)
    return _clock_of(written, text)


def _serial_moment(cell: float, text: str) -> tuple[date, time | None]:
    """A number with a fraction: day and time of a spreadsheet. 3.1 may be the 1st or the 10th, and is refused."""
    if int(cell) in SERIALS:
        return SERIAL_DAY_0 + timedelta(int(cell)), _time_of(cell % 1)
    raise CellProblem("day_incomplete" if int(cell) in YEARS else "day_order", value=text)


def _time_of(part: float) -> time:
    minutes = min(round(part * 1440), 1439)
    return time(minutes // 60, minutes % 60)


def _built(found: re.Match[str], year: int | None, text: str) -> date:
    parts = found.groupdict()
    if "year" not in parts and year is None:
        raise CellProblem("day_year", value=text)
    try:
        built = date(int(parts.get("year") or year or 0), int(parts["month"]), int(parts["day"]))
    except ValueError:
        raise CellProblem("day_impossible", value=text) from None
    if built.year not in YEARS:
        raise CellProblem("day_impossible", value=text)
    return built


def _clock_of(written: str, text: str) -> time:
    found = _CLOCK.fullmatch(written)
    assert found is not None
    hour = int(found["hour"])
    half = (found["half"] or found["after"] or "").lower()
    if half in ("下午", "晚上", "pm") and hour < 12:
        hour += 12
    if half == "中午" and hour < 3:
        hour += 12
    minute = 30 if found["is_half"] else int(found["minute"] or 0)
    if hour > 23 or minute > 59:
        raise CellProblem("clock_unreadable", value=text)
    return time(hour, minute)
