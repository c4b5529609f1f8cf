"""Days as people write them, and those that are refused instead of guessed."""

from __future__ import annotations

from datetime import date, time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jishan_server.sheets.cells import Cell, CellProblem
from jishan_server.sheets.dates import SERIAL_DAY_0, parse_clock, parse_day, parse_moment

MARCH_5 = date(2026, 3, 5)


@pytest.mark.parametrize(
    "cell",
    [
        "2026.3.5",
        "2026-3-5",
        "2026/03/05",
        "2026年3月5日",
        "2026年03月05号",
        "2026 年 3 月 5 日",
        "２０２６．３．５",
        "　2026-03-05 ",
        "20260305",
        20260305,
        46086,
        46086.0,
        "46086",
        "2026-03-05 14:30",
        "2026-03-05T14:30:00",
        "2026年3月5日（周四）",
        "2026年3月5日 星期四 下午2点半",
        "3月5日",
        "3.5",
        "03/05",
        "3-5",
    ],
)
def test_a_day_is_read(cell: Cell) -> None:
    assert parse_day(cell, 2026) == MARCH_5


@pytest.mark.parametrize(
    ("cell", "code"),
    [
        (None, "missing"),
        ("  ", "missing"),
        ("下周三", "day_unreadable"),
        ("2026-13-01", "day_impossible"),
        ("2026年2月30日", "day_impossible"),
        ("20261301", "day_impossible"),
        ("26.3.5", "day_year"),
        ("3/5/2026", "day_order"),
        ("2026年3月", "day_incomplete"),
        ("2026.3", "day_incomplete"),
        (2026.3, "day_incomplete"),
        # A number cell 3.1 may have been the 1st or the 10th.
        (3.1, "day_order"),
        (True, "day_unreadable"),
        ("2026-3-55", "day_impossible"),
        ("1638E+05", "day_unreadable"),
    ],
)
def test_what_cannot_be_told_is_refused(cell: Cell, code: str) -> None:
    with pytest.raises(CellProblem) as refused:
        parse_day(cell, 2026)
    assert refused.value.code == code


def test_a_day_without_a_year_needs_the_plans() -> None:
    with pytest.raises(CellProblem) as refused:
        parse_day("3月5日")
    assert refused.value.code == "day_year"


@pytest.mark.parametrize(
    ("cell", "at"),
    [
        ("2026-03-05 14:30", time(14, 30)),
        ("2026年3月5日下午2点半", time(14, 30)),
        ("2026.3.5 9:00", time(9, 0)),
        ("3月5日 9时30分", time(9, 30)),
        (46086.5, time(12, 0)),
        ("2026-03-05", None),
    ],
)
def test_a_time_behind_a_day_is_read(cell: Cell, at: time | None) -> None:
    assert parse_moment(cell, 2026) == (MARCH_5, at)


@pytest.mark.parametrize(
    ("cell", "at"),
    [
        ("14:30", time(14, 30)),
        ("14：30", time(14, 30)),
        ("14:30:00", time(14, 30)),
        ("下午2点", time(14, 0)),
        ("下午 2:30", time(14, 30)),
        ("2:30 PM", time(14, 30)),
        ("9点半", time(9, 30)),
        ("9时", time(9, 0)),
        (0.375, time(9, 0)),
    ],
)
def test_a_time_of_day_is_read(cell: Cell, at: time) -> None:
    assert parse_clock(cell) == at


@pytest.mark.parametrize("cell", ["25:00", "9:75", "上午", "九点", "14"])
def test_a_time_that_is_none_is_refused(cell: Cell) -> None:
    with pytest.raises(CellProblem) as refused:
        parse_clock(cell)
    assert refused.value.code == "clock_unreadable"


@given(st.dates(date(1950, 1, 1), date(2100, 12, 31)))
def test_every_way_of_writing_a_day_reads_the_same(day: date) -> None:
    for cell in (
        day.isoformat(),
        f"{day.year}.{day.month}.{day.day}",
        f"{day.year}年{day.month}月{day.day}日",
        f"{day:%Y%m%d}",
        (day - SERIAL_DAY_0).days,
    ):
        assert parse_day(cell) == day


@given(st.text() | st.integers() | st.floats(allow_nan=False) | st.booleans() | st.none())
def test_any_cell_is_a_day_or_a_named_problem(cell: Cell) -> None:
    for parse in (parse_day, parse_clock):
        code = "missing"
        try:
            parse(cell)
        except CellProblem as problem:
            code = problem.code
        assert code.startswith(("day_", "clock_", "missing"))
