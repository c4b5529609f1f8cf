"""Who came, from when to when, and how it is known: what credits are made from.

Rules. One person comes to one session once. Only what is closed (checked out, or closed by the plan and then looked
at), has at least one minute, and is not credited yet can be credited. Once it is credited its minutes stand; what is
wrong then is corrected by a correction of the credit. Service is entered within ten working days (Order 67, article
11): `uncredited` says what is due when.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, and_, bindparam, case, func, or_, select, update

from jishan_server.db import from_ms, to_ms
from jishan_server.organizations.calendar import calendar
from jishan_server.volunteering.activity_tables import activities, attendances, sessions
from jishan_server.volunteering.judging import DUE_WORKING_DAYS, due_day
from jishan_server.volunteering.planned import day_start

MOST: Final = 200
"""Sessions in one page of `uncredited`."""


@dataclass(frozen=True, slots=True)
class Attendance:
    """A closed attendance with what a credit needs to know of its session and activity.

    `source` is a, b, c or d; `minutes` are whole and may be 0; `estate_id` is where the person belonged that day.
    """

    id: str
    session_id: str
    activity_id: str
    resident_id: str
    estate_id: str
    activity_type: str
    counts_as_service: bool
    starts_at: datetime
    minutes: int
    source: str
    flags: frozenset[str]
    recorded_by: str
    title: str
    place: str
    organization_id: str
    category: str
    person_in_charge: str


@dataclass(frozen=True, slots=True)
class Uncredited:
    """A session with attendances that are not credited yet, and the last day for it, local."""

    session_id: str
    activity_id: str
    organization_id: str
    title: str
    starts_at: datetime
    attendances: int
    to_review: int
    due_day: date


def closed_attendances(connection: Connection, session_id: str) -> list[Attendance]:
    """What of a session can be credited, by check-in: closed, a minute or more, waiting for no review, not credited."""
    a = attendances.c
    query = (
        select(attendances, sessions.c.activity_id, sessions.c.starts_at, activities)
        .join(sessions, sessions.c.id == a.session_id)
        .join(activities, activities.c.id == sessions.c.activity_id)
        .where(
            a.session_id == session_id,
            a.state == "closed",
            a.credited_at.is_(None),
            a.is_to_review.is_(False),
            a.minutes >= 1,
        )
        .order_by(a.checked_in_at, a.id)
    )
    return [
        Attendance(
            id=row[a.id],
            session_id=session_id,
            activity_id=row[sessions.c.activity_id],
            resident_id=row[a.resident_id],
            estate_id=row[a.estate_id],
            activity_type=row[activities.c.activity_type],
            counts_as_service=row[activities.c.counts_as_service],
            starts_at=row[sessions.c.starts_at],
            minutes=row[a.minutes],
            source=row[a.source],
            flags=frozenset(row[a.flags].split()),
            recorded_by=row[a.recorded_by],
            title=row[activities.c.title],
            place=row[activities.c.place],
            organization_id=row[activities.c.organization_id],
            category=row[activities.c.category],
            person_in_charge=row[activities.c.person_in_charge],
        )
        for row in connection.execute(query).mappings()
    ]


def mark_credited(connection: Connection, credit_ids: Mapping[str, str], now: datetime) -> None:
    """Say which credit each attendance (attendance id -> credit id) became; from now on its minutes stand."""
    if credit_ids:
        connection.execute(
            update(attendances)
            .where(attendances.c.id == bindparam("attendance"))
            .values(credit_id=bindparam("credit"), credited_at=now),
            [{"attendance": attendance, "credit": credit} for attendance, credit in credit_ids.items()],
        )


def release(connection: Connection, credit_ids: Collection[str]) -> None:
    """Let the attendances behind rejected credits be corrected, and credited again."""
    connection.execute(
        update(attendances).where(attendances.c.credit_id.in_(credit_ids)).values(credit_id=None, credited_at=None)
    )


def uncredited(
    connection: Connection,
    organization_ids: Collection[str],
    before_day: date,
    zone: ZoneInfo,
    after: tuple[int, str] | None = None,
    limit: int = MOST,
) -> tuple[list[Uncredited], tuple[int, str] | None]:
    """Sessions of these nodes that were due before a day and have attendances that nobody credited, oldest first.

    Also where the next page starts. With today it is what is overdue; with a later day what soon will be.
    """
    a, s = attendances.c, sessions.c
    # No ten working days are fewer days than that; the calendar says the rest.
    last = day_start(before_day - timedelta(days=DUE_WORKING_DAYS), zone)
    query = (
        select(
            s.id,
            s.activity_id,
            activities.c.organization_id,
            activities.c.title,
            s.starts_at,
            func.count().label("found"),
            func.sum(case((a.is_to_review.is_(True), 1), else_=0)).label("to_review"),
        )
        .join(sessions, s.id == a.session_id)
        .join(activities, activities.c.id == s.activity_id)
        .where(a.credited_at.is_(None), a.state == "closed", or_(a.minutes >= 1, a.is_to_review.is_(True)))
        .where(s.starts_at < last, activities.c.organization_id.in_(organization_ids))
        .group_by(s.id, s.activity_id, activities.c.organization_id, activities.c.title, s.starts_at)
    )
    if after is not None:
        at = from_ms(after[0])
        query = query.where(or_(s.starts_at > at, and_(s.starts_at == at, s.id > after[1])))
    rows = connection.execute(query.order_by(s.starts_at, s.id).limit(limit + 1)).all()
    days = calendar(connection)
    dated = [(row, due_day(row.starts_at, days, zone)) for row in rows]
    due = [
        Uncredited(
            row.id, row.activity_id, row.organization_id, row.title, row.starts_at, row.found, row.to_review, day
        )
        for row, day in dated
        if day < before_day
    ]
    if len(due) <= limit:
        return due, None
    return due[:limit], (to_ms(due[limit - 1].starts_at), due[limit - 1].session_id)
