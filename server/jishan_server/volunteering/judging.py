"""Whether somebody can have been at a session from then to then, for how many minutes, and how it is known. Pure.

Rules. Minutes count from the planned start at the earliest, to check-out; the planned break lies in the middle of the
session, and whoever was there then has it taken off. A span that cannot be is refused with the field that is wrong,
never corrected in silence. How an attendance is known (`source_of`) follows from when and how it was recorded; nobody
chooses it.
Source: rules of records, "Points"; features C4 and C5.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from jishan_server.errors import DomainError
from jishan_server.instants import iso
from jishan_server.organizations.calendar import Calendar
from jishan_server.volunteering.codes import plain
from jishan_server.volunteering.rules import Source

MINUTE: Final = timedelta(minutes=1)
EARLY: Final = timedelta(hours=1)
"""Before the planned start people gather; whoever comes earlier is at another session."""
DAY_MINUTES: Final = 1440
DUE_WORKING_DAYS: Final = 10
"""Order 67, article 11."""
CLOCK_BEFORE: Final = timedelta(hours=6)
"""A time of day on a sheet is the one that lies from 6 hours before the start to 18 hours after it."""
CLOCK: Final = re.compile(r"([01]?[0-9]|2[0-3]):?([0-5][0-9])", re.ASCII)


@dataclass(frozen=True, slots=True)
class Plan:
    """A session as it was planned, with what its activity and type say."""

    session_id: str
    starts_at: datetime
    ends_at: datetime
    closes_at: datetime
    break_minutes: int
    longest_minutes: int
    published_at: datetime
    is_backdated: bool = False


@dataclass(frozen=True, slots=True)
class Span:
    """From check-in to check-out; None is still there."""

    checked_in_at: datetime
    checked_out_at: datetime | None
    by_plan: bool = False
    """Nobody checked out: the end is the planned one, and a person looks at it."""


@dataclass(frozen=True, slots=True)
class Taken:
    """Time of a person that another attendance has; `minutes` are 0 while it is open."""

    session_id: str
    title: str
    starts_at: datetime
    ends_at: datetime
    minutes: int


def minutes_of(plan: Plan, checked_in_at: datetime, checked_out_at: datetime) -> int:
    """Whole minutes of a span, without the part of the planned break that lies in it; at most the type's longest."""
    begin = max(checked_in_at, plan.starts_at)
    from_at, to_at = _break(plan)
    rested = max(timedelta(), min(checked_out_at, to_at) - max(begin, from_at))
    return min(max(0, (checked_out_at - begin - rested) // MINUTE), plan.longest_minutes)


def out_after(plan: Plan, checked_in_at: datetime, minutes: int) -> datetime:
    """The check-out that makes so many minutes of a check-in."""
    begin = max(checked_in_at, plan.starts_at)
    from_at, to_at = _break(plan)
    out = begin + minutes * MINUTE
    return out if out <= from_at or begin >= to_at else out + (to_at - max(begin, from_at))


def _break(plan: Plan) -> tuple[datetime, datetime]:
    middle = plan.starts_at + (plan.ends_at - plan.starts_at) / 2
    half = plan.break_minutes * MINUTE / 2
    return middle - half, middle + half


def span_of(
    plan: Plan,
    now: datetime,
    zone: ZoneInfo,
    *,
    checked_in: str | datetime | None,
    checked_out: str | datetime | None,
    minutes: int | None,
) -> Span:
    """The span that a row tells. Without times: from now on while the session runs, the whole of it afterwards.

    A text is RFC 3339, or a time of day (`14:05`, `1405`) of the session. Refusals: attendance_time_invalid,
    attendance_amount.
    """
    begin = instant(plan, checked_in, zone, "checked_in_at")
    end = instant(plan, checked_out, zone, "checked_out_at")
    is_over = now >= plan.ends_at
    if minutes is not None:
        if end is not None:
            raise DomainError("attendance_amount", field="minutes")
        if not 1 <= minutes <= DAY_MINUTES:
            raise DomainError("minutes_invalid", field="minutes")
        return Span(begin or plan.starts_at, out_after(plan, begin or plan.starts_at, minutes))
    if end is None and begin is None and is_over:
        return Span(plan.starts_at, plan.ends_at)
    if begin is None:
        begin = plan.starts_at if end is not None else now
    if end is None and is_over:
        return Span(begin, plan.ends_at, by_plan=True)
    return Span(begin, end)


def check(plan: Plan, span: Span, now: datetime, taken: Iterable[Taken], zone: ZoneInfo) -> None:
    """Refuse what cannot be. `taken` are the person's other attendances around it.

    Refusals: attendance_out_first, attendance_future, attendance_unpublished, attendance_outside, attendance_too_long,
    attendance_overlap, attendance_day_full.
    """
    begin, end = span.checked_in_at, span.checked_out_at
    if end is not None and end <= begin:
        raise DomainError("attendance_out_first", field="checked_out_at")
    for name, at in (("checked_in_at", begin), ("checked_out_at", end)):
        if at is not None and at > now:
            raise DomainError("attendance_future", field=name)
    if begin < plan.published_at and not plan.is_backdated:
        raise DomainError("attendance_unpublished", field="checked_in_at", published_at=iso(plan.published_at))
    if not plan.starts_at - EARLY <= begin < plan.ends_at or (end is not None and end <= plan.starts_at):
        raise DomainError(
            "attendance_outside",
            field="checked_in_at",
            starts_at=iso(plan.starts_at),
            ends_at=iso(plan.ends_at),
            minutes=EARLY // MINUTE,
        )
    if end is not None and end - max(begin, plan.starts_at) > plan.longest_minutes * MINUTE:
        raise DomainError("attendance_too_long", field="checked_out_at", minutes=plan.longest_minutes)
    others = [one for one in taken if one.session_id != plan.session_id]
    until = end or max(plan.ends_at, begin)
    for one in others:
        if begin < one.ends_at and one.starts_at < until:
            raise DomainError(
                "attendance_overlap",
                field="checked_in_at",
                title=one.title,
                session_id=one.session_id,
                starts_at=iso(one.starts_at),
                ends_at=iso(one.ends_at),
            )
    if end is not None:
        check_day(plan, begin, minutes_of(plan, begin, end), others, zone)


def check_day(plan: Plan, checked_in_at: datetime, minutes: int, others: Iterable[Taken], zone: ZoneInfo) -> None:
    """Refuse minutes that make a local day longer than it is: `attendance_day_full`."""
    sums = by_day(checked_in_at, minutes, zone)
    for one in others:
        if one.session_id != plan.session_id:
            for day, more in by_day(one.starts_at, one.minutes, zone).items():
                if day in sums:
                    sums[day] += more
    for day, total in sums.items():
        if total > DAY_MINUTES:
            raise DomainError("attendance_day_full", field="minutes", day=day.isoformat(), total=total)


def by_day(begin: datetime, minutes: int, zone: ZoneInfo) -> dict[date, int]:
    """Minutes by local day: what is left at midnight counts for the day after."""
    day = begin.astimezone(zone).date()
    midnight = datetime.combine(day + timedelta(days=1), time(), zone).astimezone(UTC)
    first = min(minutes, (midnight - begin) // MINUTE)
    return {day: first, day + timedelta(days=1): minutes - first} if minutes > first else {day: minutes}


def due_day(starts_at: datetime, calendar: Calendar, zone: ZoneInfo) -> date:
    """The last day for entering a session: the tenth working day after its day."""
    return calendar.after(starts_at.astimezone(zone).date(), DUE_WORKING_DAYS)


def source_of(
    plan: Plan, now: datetime, calendar: Calendar, zone: ZoneInfo, *, is_own: bool, has_sheet: bool
) -> Source:
    """How an attendance that is recorded `now` is known.

    a: with the person's own code or card, before check-out closes. b: ticked before check-out closes, or on the day
    itself. c: with the photo of the signed sheet, up to the due day. d: everything else.
    """
    if is_own and now <= plan.closes_at:
        return Source.OWN_CODE
    if now <= plan.closes_at or now.astimezone(zone).date() <= plan.ends_at.astimezone(zone).date():
        return Source.LIST_ON_THE_SPOT
    if has_sheet and now.astimezone(zone).date() <= due_day(plan.starts_at, calendar, zone):
        return Source.SIGNED_SHEET
    return Source.CLAIMED_LATER


def instant(plan: Plan, text: str | datetime | None, zone: ZoneInfo, field: str) -> datetime | None:
    """RFC 3339, or a time of day of the session; None for nothing. Refusal: attendance_time_invalid."""
    if text is None or isinstance(text, datetime):
        return text
    words = plain(text)
    if not words:
        return None
    found = CLOCK.fullmatch(words)
    if found is not None:
        first = plan.starts_at - CLOCK_BEFORE
        day = first.astimezone(zone).date()
        at = datetime.combine(day, time(int(found[1]), int(found[2])), zone).astimezone(UTC)
        return at if at >= first else at + timedelta(days=1)
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError:
        raise DomainError("attendance_time_invalid", field=field) from None
    if at.tzinfo is None or not 2000 <= at.year <= 2100:
        raise DomainError("attendance_time_invalid", field=field)
    return at.astimezone(UTC)
