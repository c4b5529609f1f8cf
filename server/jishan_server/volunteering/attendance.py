"""Who came, from when to when, and how it is known: what credits are made from.

Rules. One person comes to one session once. Only what is closed (checked out, or closed by the plan and then looked at)
and not credited yet can be credited. Once it is credited its minutes stand; what is wrong then is corrected by a
correction of the credit.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, bindparam, select, update

from jishan_server.volunteering.activity_tables import activities, attendances, sessions


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


def closed_attendances(connection: Connection, session_id: str) -> list[Attendance]:
    """What of a session can be credited, by time of check-in: closed, waiting for nobody's review, not credited yet."""
    a = attendances.c
    query = (
        select(attendances, sessions.c.activity_id, sessions.c.starts_at, activities)
        .join(sessions, sessions.c.id == a.session_id)
        .join(activities, activities.c.id == sessions.c.activity_id)
        .where(a.session_id == session_id, a.state == "closed", a.credited_at.is_(None), a.is_to_review.is_(False))
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
