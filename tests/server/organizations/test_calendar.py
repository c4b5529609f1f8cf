"""Working days: the rule, the year 2026 as the State Council arranged it, and who may edit the calendar."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from office import Office

from jishan_server.errors import DomainError
from jishan_server.organizations import calendar
from jishan_server.organizations.calendar import Calendar

DAYS = st.dates(date(2026, 1, 1), date(2026, 12, 31))
CALENDARS = st.builds(Calendar, st.frozensets(DAYS, max_size=20), st.frozensets(DAYS, max_size=20))
CHINA_2026 = Calendar(
    frozenset(one.day for one in calendar.preset("china-2026") if not one.is_working),
    frozenset(one.day for one in calendar.preset("china-2026") if one.is_working),
)


def test_without_a_calendar_the_weekday_says_it() -> None:
    assert [Calendar().is_working(date(2026, 3, 2) + timedelta(days=n)) for n in range(7)] == [True] * 5 + [False] * 2


@pytest.mark.parametrize(
    ("day", "n", "then"),
    [
        # Friday before the Spring Festival: Saturday the 14th is worked, then nine days are not.
        (date(2026, 2, 13), 1, date(2026, 2, 14)),
        (date(2026, 2, 13), 2, date(2026, 2, 24)),
        (date(2026, 2, 13), 10, date(2026, 3, 5)),
        (date(2026, 3, 2), 10, date(2026, 3, 16)),
        (date(2026, 3, 2), 0, date(2026, 3, 2)),
        (date(2026, 9, 30), 3, date(2026, 10, 10)),
    ],
)
def test_deadlines_of_2026_skip_holidays_and_count_days_made_up(day: date, n: int, then: date) -> None:
    assert CHINA_2026.after(day, n) == then


def test_the_preset_has_every_day_of_the_arrangement_once() -> None:
    days = calendar.preset("china-2026")
    assert (len(days), len({one.day for one in days})) == (39, 39)
    worked = [one.day.isoformat()[5:] for one in days if one.is_working]
    assert worked == ["01-04", "02-14", "02-28", "05-09", "09-20", "10-10"]
    assert all(one.day.weekday() >= 5 for one in days if one.is_working)


@given(CALENDARS, DAYS, st.integers(1, 40))
def test_after_and_count_agree(known: Calendar, day: date, n: int) -> None:
    then = known.after(day, n)
    assert known.is_working(then)
    assert known.count(day + timedelta(days=1), then) == n
    assert known.count(then, day) == (known.is_working(day) if then == day else 0)


@pytest.mark.parametrize("text", ["2026-2-1", "20260201", "2026-W05-1", "2026-02-30", "x", ""])
def test_what_is_no_day_is_refused(text: str) -> None:
    with pytest.raises(DomainError, match="day_invalid"):
        calendar.parse_day(text)


def test_an_administrator_edits_days_and_loads_a_preset(office: Office) -> None:
    office.ok("PUT", "/calendar/2026-12-31", {"is_working": False, "name": "x"}, as_="admin")
    loaded = office.ok("POST", "/calendar/presets/china-2026", as_="admin")
    assert len(loaded["days"]) == 39
    office.ok("PUT", "/calendar/2026-02-28", {"is_working": False, "name": "y"}, as_="admin")
    office.ok("DELETE", "/calendar/2026-01-04", as_="admin")
    office.refused(404, "calendar_day_unknown", "DELETE", "/calendar/2026-01-04", as_="admin")
    shown = {one["day"]: one for one in office.ok("GET", "/calendar?year=2026", as_="operator")["items"]}
    assert len(shown) == 39
    assert list(shown) == sorted(shown)
    assert shown["2026-12-31"] == {"day": "2026-12-31", "is_working": False, "name": "x"}
    assert office.ok("GET", "/calendar?year=2027")["items"] == []
    with office.parts.engine.connect() as connection:
        known = calendar.calendar(connection)
    assert not known.is_working(date(2026, 2, 28))
    assert not known.is_working(date(2026, 1, 4))
    assert known.is_working(date(2026, 2, 14))


def test_who_holds_it_for_a_part_only_does_not_edit_the_calendar_of_all(office: Office) -> None:
    for login in ("coordinator", "secretary", "approver", "operator"):
        office.refused(403, "forbidden", "POST", "/calendar/presets/china-2026", as_=login)
        office.refused(403, "forbidden", "DELETE", "/calendar/2026-01-04", as_=login)
    office.refused(404, "calendar_unknown", "POST", "/calendar/presets/..", as_="admin")
    office.refused(422, "day_invalid", "PUT", "/calendar/2026-02-30", {"is_working": True, "name": "x"}, as_="admin")
    assert office.ok("GET", "/calendar?year=2026")["items"] == []
