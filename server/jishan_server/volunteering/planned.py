"""A session as it was planned: read with its activity and its type, for who may."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, RowMapping, Select, select

from jishan_server.errors import DomainError
from jishan_server.organizations.roles import Permission, permit
from jishan_server.volunteering.activity_tables import activities, activity_types, sessions
from jishan_server.volunteering.judging import Plan


def plans(connection: Connection, session_ids: Sequence[str]) -> dict[str, Plan]:
    """What was planned, by session; one of a draft counts as published never."""
    rows = connection.execute(planned_sessions().where(sessions.c.id.in_(session_ids))).mappings()
    return {row["id"]: plan_of(row) for row in rows}


def plan_of(row: RowMapping) -> Plan:
    """The plan in a row of `permitted`."""
    return Plan(
        session_id=row["id"],
        starts_at=row["starts_at"],
        ends_at=row["ends_at"],
        closes_at=row["closes_at"],
        break_minutes=row["break_minutes"],
        longest_minutes=row["longest_session_minutes"],
        published_at=row["published_at"] or row["ends_at"],
        is_backdated=row["backdating_reason"] is not None,
    )


def permitted(
    connection: Connection,
    actor: str,
    permission: Permission,
    session_id: str,
    *,
    about: str | None = None,
    lock: bool = False,
) -> RowMapping:
    """A session with its activity and type, for who has `permission` where it belongs.

    Refusals: session_unknown, forbidden.
    """
    if lock:
        connection.execute(select(sessions.c.id).where(sessions.c.id == session_id).with_for_update())
    row = connection.execute(planned_sessions().where(sessions.c.id == session_id)).mappings().one_or_none()
    if row is None:
        raise DomainError("session_unknown", id=session_id)
    permit(connection, actor, permission, row["organization_id"], about)
    return row


def day_start(day: date, zone: ZoneInfo) -> datetime:
    """When a local day begins."""
    return datetime.combine(day, time(), zone).astimezone(UTC)


def sign_up_until(row: RowMapping) -> datetime:
    """When residents can no longer sign up by themselves for the session in a row of `permitted`."""
    starts_at: datetime = row["starts_at"]
    return starts_at - timedelta(minutes=row["sign_up_ends_minutes"])


def planned_sessions() -> Select[Any]:
    """Sessions with what their activity and its type say."""
    a, t = activities.c, activity_types.c
    return (
        select(
            sessions,
            a.organization_id,
            a.group_id,
            a.title,
            a.place,
            a.published_at,
            a.sign_up_ends_minutes,
            a.state.label("activity_state"),
            t.longest_session_minutes,
            t.grace_minutes,
        )
        .join(activities, a.id == sessions.c.activity_id)
        .join(activity_types, t.code == a.activity_type)
    )
