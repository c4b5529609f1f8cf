"""The pure part of attendance: spans, minutes, how it is known, codes that rotate."""

from __future__ import annotations

import contextlib
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jishan_server.errors import DomainError
from jishan_server.organizations.calendar import Calendar
from jishan_server.volunteering import codes
from jishan_server.volunteering.judging import (
    DAY_MINUTES,
    Plan,
    Span,
    Taken,
    by_day,
    check,
    due_day,
    minutes_of,
    out_after,
    source_of,
    span_of,
)

ZONE = ZoneInfo("Asia/Shanghai")
START = datetime(2026, 3, 3, 6, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
KEY = codes.attendance_key(bytes(range(32)))


def plan(*, minutes: int = 240, rest: int = 60, longest: int = 600, start: datetime = START) -> Plan:
    end = start + minutes * MINUTE
    return Plan("s", start, end, end + 60 * MINUTE, rest, longest, start - timedelta(days=1))


def at(minutes: int) -> datetime:
    """So many minutes after the start."""
    return START + minutes * MINUTE


@pytest.mark.parametrize(
    ("begin", "end", "minutes"),
    [
        (0, 240, 180),  # the whole session, without its break
        (-30, 240, 180),  # whoever comes early waits
        (0, 90, 90),  # gone when the break begins
        (0, 120, 90),  # gone in its middle
        (100, 140, 0),  # there for the break only
        (150, 250, 100),  # came after it, stayed longer
        (-60, 0, 0),
    ],
)
def test_the_planned_break_lies_in_the_middle(begin: int, end: int, minutes: int) -> None:
    assert minutes_of(plan(), at(begin), at(end)) == minutes


def test_minutes_are_whole_and_never_more_than_the_longest() -> None:
    assert minutes_of(plan(rest=0), at(0), at(10) - timedelta(milliseconds=1)) == 9
    assert minutes_of(plan(rest=0, longest=200), at(0), at(240)) == 200


@given(st.integers(0, 239), st.integers(0, 300), st.integers(1, 60))
def test_staying_longer_never_counts_less(begin: int, stay: int, more: int) -> None:
    first = minutes_of(plan(), at(begin), at(begin + stay))
    assert first <= minutes_of(plan(), at(begin), at(begin + stay + more)) <= first + more


@given(st.integers(-60, 239), st.integers(1, 300))
def test_a_check_out_made_of_minutes_makes_those_minutes(begin: int, minutes: int) -> None:
    assert minutes_of(plan(), at(begin), out_after(plan(), at(begin), minutes)) == minutes


def told(
    now: datetime, checked_in: str | None = None, checked_out: str | None = None, minutes: int | None = None
) -> Span:
    return span_of(plan(), now, ZONE, checked_in=checked_in, checked_out=checked_out, minutes=minutes)


def test_a_row_without_times_is_from_now_on_or_the_whole_session() -> None:
    assert told(at(10)) == Span(at(10), None)
    assert told(at(300)) == Span(at(0), at(240))
    assert told(at(300), "14:30") == Span(at(30), at(240), by_plan=True)
    assert told(at(10), "14:05") == Span(at(5), None)
    assert told(at(100), None, "15:00") == Span(at(0), at(60))


def test_a_time_of_day_is_the_one_of_the_session() -> None:
    night = plan(start=datetime(2026, 3, 3, 14, 0, tzinfo=UTC))
    now = datetime(2026, 3, 4, 4, 0, tzinfo=UTC)
    span = span_of(night, now, ZONE, checked_in="２２：０５", checked_out="1:30", minutes=None)
    assert span.checked_in_at == datetime(2026, 3, 3, 14, 5, tzinfo=UTC)
    assert span.checked_out_at == datetime(2026, 3, 3, 17, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    "words", ["24:00", "14.05", "下午两点", "2026-03-03", "14:05:00Z", "9999-12-31T23:59:59-23:59"]
)
def test_what_is_no_time_is_refused(words: str) -> None:
    with pytest.raises(DomainError) as refused:
        told(at(10), words)
    assert refused.value.code == "attendance_time_invalid"


@given(st.text(max_size=30))
def test_whatever_stands_in_a_row_is_a_time_or_a_refusal(words: str) -> None:
    with contextlib.suppress(DomainError):
        assert told(at(10), words).checked_in_at.tzinfo is not None


@given(st.integers(0, 238), st.integers(1, 240), st.integers(0, 238), st.integers(1, 240))
def test_two_spans_are_refused_exactly_when_they_overlap(a: int, a_stay: int, b: int, b_stay: int) -> None:
    other = Taken("other", "x", at(a), at(a + a_stay), 0)
    is_refused = bool(set(range(a, a + a_stay)) & set(range(b, b + b_stay)))
    with pytest.raises(DomainError, match="attendance_overlap") if is_refused else contextlib.nullcontext():
        check(plan(), Span(at(b), at(b + b_stay)), at(1000), [other], ZONE)


@given(st.integers(0, DAY_MINUTES - 1), st.integers(0, DAY_MINUTES))
def test_minutes_after_midnight_count_for_the_day_after(begin: int, minutes: int) -> None:
    start = datetime(2026, 3, 2, 16, 0, tzinfo=UTC) + begin * MINUTE
    sums = by_day(start, minutes, ZONE)
    assert sum(sums.values()) == minutes
    assert sums[date(2026, 3, 3)] == min(minutes, DAY_MINUTES - begin)


def test_the_tenth_working_day_is_the_last() -> None:
    calendar = Calendar(holidays=frozenset({date(2026, 3, 10)}))
    assert due_day(START, Calendar(), ZONE) == date(2026, 3, 17)
    assert due_day(START, calendar, ZONE) == date(2026, 3, 18)
    last = datetime(2026, 3, 17, 23, 59, tzinfo=ZONE)
    for now, found in ((last, "c"), (last + MINUTE, "d")):
        assert source_of(plan(), now, Calendar(), ZONE, is_own=False, has_sheet=True) == found
    assert source_of(plan(), last, Calendar(), ZONE, is_own=False, has_sheet=False) == "d"


def test_a_code_holds_for_its_window_and_the_next() -> None:
    shown = codes.code(KEY, "s", START)
    assert codes.ends_at(START) == START + codes.WINDOW
    for seconds, fits in ((0, True), (29, True), (59, True), (60, False), (-1, False)):
        assert codes.fits(KEY, "s", shown, START + timedelta(seconds=seconds)) is fits
    assert not codes.fits(KEY, "t", shown, START)
    assert not codes.fits(codes.attendance_key(bytes(32)), "s", shown, START)
    assert codes.fits(KEY, "s", f" {shown[:3]} {shown[3:]}", START)


@given(st.text(max_size=12))
def test_whatever_is_typed_as_a_code_is_judged(typed: str) -> None:
    codes.fits(KEY, "s", typed, START)


def test_row_codes_are_letters_that_nobody_misreads() -> None:
    found = {codes.row_code("s", f"r{number}") for number in range(300)}
    assert len(found) == 300
    assert all(len(one) == codes.ROW_LENGTH and set(one) <= set(codes.ROW_LETTERS) for one in found)
    assert codes.row_code("s", "r1") == codes.row_code("s", "r1") != codes.row_code("t", "r1")
