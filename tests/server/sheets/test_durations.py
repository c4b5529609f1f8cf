"""Durations as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jishan_server.sheets.cells import Cell, CellProblem
from jishan_server.sheets.durations import Unit, parse_minutes, unit_of


@pytest.mark.parametrize(
    ("cell", "minutes"),
    [
        ("2小时", 120),
        ("2个小时", 120),
        ("两小时", 120),
        ("２小时", 120),
        ("2h", 120),
        ("2H", 120),
        ("2 hours", 120),
        ("2.5小时", 150),
        ("2小时半", 150),
        ("两个半小时", 150),
        ("1小时30分", 90),
        ("1小时30分钟", 90),
        ("1小时30", 90),
        ("1h30m", 90),
        ("一个半小时", 90),
        ("半小时", 30),
        ("半个小时", 30),
        ("90分钟", 90),
        ("90分", 90),
        ("90min", 90),
        ("四十分钟", 40),
        ("半天", 240),
        ("一天", 480),
        ("1天半", 720),
        ("0.5天", 240),
        ("1:30", 90),
        ("01:30:00", 90),
        ("约2小时", 120),
        (2, 120),
        (1.5, 90),
        (1.33, 80),
        ("十二小时", 720),
    ],
)
def test_a_duration_is_read(cell: Cell, minutes: int) -> None:
    assert parse_minutes(cell) == minutes


@pytest.mark.parametrize(
    ("cell", "code"),
    [
        (None, "missing"),
        ("很久", "minutes_unreadable"),
        ("2小时多", "minutes_unreadable"),
        ("两三小时", "minutes_unreadable"),
        ("小时", "minutes_unreadable"),
        (90, "minutes_unit"),
        ("0", "minutes_range"),
        ("0小时", "minutes_range"),
        ("25小时", "minutes_range"),
        ("-2", "minutes_unreadable"),
    ],
)
def test_what_cannot_be_told_is_refused(cell: Cell, code: str) -> None:
    with pytest.raises(CellProblem) as refused:
        parse_minutes(cell)
    assert refused.value.code == code


def test_half_a_day_is_what_the_scheme_says() -> None:
    assert parse_minutes("半天", half_day_minutes=180) == 180
    assert parse_minutes("一天", half_day_minutes=180) == 360


@pytest.mark.parametrize(
    ("header", "unit"),
    [("时长（分钟）", "minutes"), ("服务小时", "hours"), ("时长(小时)", "hours"), ("时长", None)],
)
def test_the_header_names_the_unit(header: str, unit: Unit | None) -> None:
    assert unit_of(header) == unit
    assert parse_minutes(20, unit) == (20 if unit == "minutes" else 1200)


@given(st.integers(1, 1440))
def test_minutes_written_out_are_read_back(minutes: int) -> None:
    for cell in (f"{minutes}分钟", f"{minutes // 60}小时{minutes % 60}分", f"{minutes // 60}:{minutes % 60:02}"):
        assert parse_minutes(cell) == minutes


@given(st.text() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.booleans() | st.none())
def test_any_cell_is_a_duration_or_a_named_problem(cell: Cell) -> None:
    code, minutes = "missing", 1
    try:
        minutes = parse_minutes(cell)
    except CellProblem as problem:
        code = problem.code
    assert 1 <= minutes <= 1440
    assert code.startswith(("minutes_", "missing"))
