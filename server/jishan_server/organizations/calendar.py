"""Working days: Monday to Friday, but for the days that the calendar names.

The calendar is data, one for the whole scheme: public holidays, and the Saturdays and Sundays worked in exchange. Who
holds `calendar_write` for the whole tree edits it day by day, or loads a preset, a file of facts in `calendars/`:
`china-2026` is the State Council's arrangement of 2025-11-04 for the year 2026.
Source: records are entered within 10 working days (Ministry of Civil Affairs Order 67, article 11).
"""

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from importlib import resources
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, delete, insert, select

from jishan_server import audit
from jishan_server.errors import DomainError
from jishan_server.organizations.roles import Permission, permit_everywhere, scope
from jishan_server.organizations.tables import calendar_days
from jishan_server.writer import Operation

A_DAY: Final = timedelta(days=1)
SATURDAY: Final = 5
MAX_STEPS: Final = 3660
"""No rule of a scheme waits longer than ten years of days."""


@dataclass(frozen=True, slots=True)
class Calendar:
    """Which days are worked: `holidays` are not, whatever the weekday; `make_up` are, although at a weekend."""

    holidays: frozenset[date] = frozenset()
    make_up: frozenset[date] = frozenset()

    def is_working(self, day: date) -> bool:
        """Whether `day` is a working day."""
        return day in self.make_up or (day.weekday() < SATURDAY and day not in self.holidays)

    def after(self, day: date, n: int) -> date:
        """The `n`-th working day after `day` (0..2600); `day` itself for 0. `day` never counts."""
        found = day
        for _ in range(MAX_STEPS):
            if n <= 0:
                return found
            found += A_DAY
            n -= self.is_working(found)
        raise AssertionError("a calendar without working days")

    def count(self, first: date, last: date) -> int:
        """How many working days there are from `first` to `last`, both included; 0 if `last` is before `first`."""
        return sum(self.is_working(first + A_DAY * step) for step in range((last - first).days + 1))


class Day(NamedTuple):
    """A day that is not as its weekday says, and why."""

    day: date
    is_working: bool
    name: str


@dataclass(frozen=True, slots=True)
class SetCalendarDay:
    """`day` is YYYY-MM-DD."""

    actor: str
    day: str
    is_working: bool
    name: str


@dataclass(frozen=True, slots=True)
class ClearCalendarDay:
    """`day` (YYYY-MM-DD) becomes what its weekday says."""

    actor: str
    day: str


@dataclass(frozen=True, slots=True)
class LoadCalendar:
    """`preset` is one of `presets()`."""

    actor: str
    preset: str


def parse_day(text: str) -> date:
    """A day written YYYY-MM-DD; refusal: day_invalid."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise DomainError("day_invalid", day=text) from None
    if day.isoformat() != text:
        raise DomainError("day_invalid", day=text)
    return day


def calendar(connection: Connection) -> Calendar:
    """The calendar of the scheme, in one statement."""
    rows = connection.execute(select(calendar_days.c.day, calendar_days.c.is_working)).all()
    return Calendar(
        frozenset(date.fromisoformat(row.day) for row in rows if not row.is_working),
        frozenset(date.fromisoformat(row.day) for row in rows if row.is_working),
    )


def days_of(connection: Connection, actor: str, year: int) -> list[dict[str, Any]]:
    """The named days of a year, in order; refusal: forbidden for who has no role that sees the tree."""
    scope(connection, actor, Permission.ESTATE_READ)
    c = calendar_days.c
    rows = connection.execute(
        select(calendar_days).where(c.day >= f"{year:04}-01-01", c.day <= f"{year:04}-12-31").order_by(c.day)
    ).mappings()
    return [dict(row) for row in rows]


def presets() -> tuple[str, ...]:
    """The names of the calendars that come with the product."""
    folder = resources.files("jishan_server.organizations") / "calendars"
    return tuple(sorted(one.name.removesuffix(".csv") for one in folder.iterdir() if one.name.endswith(".csv")))


def preset(name: str) -> list[Day]:
    """The days of a preset; refusal: calendar_unknown."""
    if name not in presets():
        raise DomainError("calendar_unknown", name=name)
    text = (resources.files("jishan_server.organizations") / "calendars" / f"{name}.csv").read_text("utf-8")
    rows = csv.DictReader(text.splitlines())
    return [Day(parse_day(row["day"]), row["is_working"] == "1", row["name"]) for row in rows]


def set_calendar_day(connection: Connection, operation: Operation, now: datetime) -> dict[str, Any]:
    """Say that a day is worked, or is not. Refusals: forbidden, day_invalid."""
    body: SetCalendarDay = operation.body
    permit_everywhere(connection, body.actor, Permission.CALENDAR_WRITE)
    day = Day(parse_day(body.day), body.is_working, body.name)
    _put(connection, [day])
    _note(connection, operation, now, "calendar_day_set", body.day, {"is_working": body.is_working})
    return _view(day)


def clear_calendar_day(connection: Connection, operation: Operation, now: datetime) -> None:
    """Let a day be what its weekday says. Refusals: forbidden, day_invalid, calendar_day_unknown."""
    body: ClearCalendarDay = operation.body
    permit_everywhere(connection, body.actor, Permission.CALENDAR_WRITE)
    day = parse_day(body.day).isoformat()
    if connection.execute(delete(calendar_days).where(calendar_days.c.day == day)).rowcount == 0:
        raise DomainError("calendar_day_unknown", day=day)
    _note(connection, operation, now, "calendar_day_cleared", day, {})


def load_calendar(connection: Connection, operation: Operation, now: datetime) -> dict[str, Any]:
    """Put all days of a preset; other days stay as they are. Refusals: forbidden, calendar_unknown."""
    body: LoadCalendar = operation.body
    permit_everywhere(connection, body.actor, Permission.CALENDAR_WRITE)
    days = preset(body.preset)
    _put(connection, days)
    _note(connection, operation, now, "calendar_loaded", body.preset, {"days": len(days)})
    return {"name": body.preset, "days": [_view(day) for day in days]}


def _put(connection: Connection, days: Iterable[Day]) -> None:
    rows = [_view(day) for day in days]
    connection.execute(delete(calendar_days).where(calendar_days.c.day.in_([row["day"] for row in rows])))
    connection.execute(insert(calendar_days), rows)


def _view(day: Day) -> dict[str, Any]:
    return {"day": day.day.isoformat(), "is_working": day.is_working, "name": day.name}


def _note(
    connection: Connection, operation: Operation, now: datetime, action: str, id: str, details: dict[str, object]
) -> None:
    audit.record(
        connection,
        now,
        actor=operation.body.actor,
        action=action,
        subject=("calendar", id),
        operation_id=operation.id,
        details=details,
    )
