"""Sessions of an activity: planned, repeated by the week, changed, cancelled, and closed when their time is over.

A session of a published activity that has begun already is entered with a reason, which stays with it. When check-out
ends (planned end and grace), the clock closes what was forgotten: minutes up to the planned end, flagged
`closed_by_plan`, for a person to look at.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, RowMapping, and_, bindparam, func, insert, or_, select, update

from jishan_server import audit
from jishan_server.db import from_ms, to_ms
from jishan_server.errors import DomainError
from jishan_server.ids import derived_id
from jishan_server.instants import iso
from jishan_server.organizations.roles import Permission
from jishan_server.people.messages import Message, tell
from jishan_server.volunteering import activities as organised
from jishan_server.volunteering.activity_tables import activities, attendances, sessions, sign_ups
from jishan_server.volunteering.judging import minutes_of
from jishan_server.volunteering.planned import day_start, permitted, planned_sessions, plans, sign_up_until
from jishan_server.volunteering.signing_up import move_up
from jishan_server.writer import Operation, Outcome

CLOSE: Final = "close_sessions"
CLOSED_BY_PLAN: Final = "closed_by_plan"
MAX_REPEATS: Final = 52
"""A year of weeks; whoever plans further ahead plans again."""
MAX_CAPACITY: Final = 100_000
MAX_CLOSED: Final = 50
"""Sessions that one turn of the clock closes; the rest waits for the next."""


@dataclass(frozen=True, slots=True)
class CreateSessions:
    """A session, and the same on the following weeks at the same local time. `reason` is for those that have begun."""

    actor: str
    activity_id: str
    starts_at: datetime
    ends_at: datetime
    capacity: int | None = None
    break_minutes: int = 0
    weeks: int = 1
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ChangeSession:
    """The session as it is to be."""

    actor: str
    session_id: str
    starts_at: datetime
    ends_at: datetime
    capacity: int | None
    break_minutes: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class CancelSession:
    actor: str
    session_id: str
    reason: str


def create_sessions(connection: Connection, operation: Operation, now: datetime, zone: ZoneInfo) -> dict[str, Any]:
    """Plan sessions; gives them in order.

    Refusals: activity_unknown, forbidden, activity_cancelled, session_times_invalid, session_too_long,
    backdating_reason_required.
    """
    body: CreateSessions = operation.body
    activity = organised.permitted(connection, body.actor, Permission.ACTIVITY_WRITE, body.activity_id)
    if activity["state"] == "cancelled":
        raise DomainError("activity_cancelled", id=body.activity_id)
    kind = organised.activity_type(connection, activity["activity_type"])
    _check_times(body.starts_at, body.ends_at, body.break_minutes, kind["longest_session_minutes"])
    rows: list[dict[str, Any]] = []
    for week in range(body.weeks):
        starts_at = _weeks_later(body.starts_at, week, zone)
        ends_at = starts_at + (body.ends_at - body.starts_at)
        is_late = activity["state"] == "published" and starts_at < now
        if is_late and not body.reason.strip():
            raise DomainError("backdating_reason_required", sessions=1)
        rows.append(
            {
                "id": derived_id(operation.id, f"session {week}"),
                "activity_id": body.activity_id,
                "starts_at": starts_at,
                "ends_at": ends_at,
                "closes_at": ends_at + timedelta(minutes=kind["grace_minutes"]),
                "capacity": body.capacity,
                "break_minutes": body.break_minutes,
                "state": "open",
                "backdating_reason": body.reason.strip() if is_late else None,
                "created_by": body.actor,
                "created_at": now,
            }
        )
    connection.execute(insert(sessions), rows)
    noted = [
        audit.Entry(
            body.actor,
            "session_created",
            ("session", row["id"]),
            operation.id,
            {"activity_id": body.activity_id, "is_backdated": row["backdating_reason"] is not None},
        )
        for row in rows
    ]
    audit.record_all(connection, now, noted)
    return {"sessions": views(connection, [row["id"] for row in rows])}


def change_session(connection: Connection, operation: Operation, now: datetime, zone: ZoneInfo) -> dict[str, Any]:
    """Change times, places and break; who signed up is told of new times, and who waits moves up into new places.

    Refusals: session_unknown, forbidden, session_cancelled, session_has_attendances, session_times_invalid,
    session_too_long, backdating_reason_required, capacity_taken.
    """
    body: ChangeSession = operation.body
    found = permitted(connection, body.actor, Permission.ACTIVITY_WRITE, body.session_id, lock=True)
    _check_open(found)
    moved = (body.starts_at, body.ends_at, body.break_minutes) != (
        found["starts_at"],
        found["ends_at"],
        found["break_minutes"],
    )
    reason = found["backdating_reason"]
    if moved:
        _check_unattended(connection, body.session_id)
        _check_times(body.starts_at, body.ends_at, body.break_minutes, found["longest_session_minutes"])
        if found["activity_state"] == "published" and body.starts_at < now:
            reason = body.reason.strip() or reason
            if not reason:
                raise DomainError("backdating_reason_required", sessions=1)
    taken = len(_signed_up(connection, body.session_id))
    if body.capacity is not None and body.capacity < taken:
        raise DomainError("capacity_taken", taken=taken)
    connection.execute(
        update(sessions)
        .where(sessions.c.id == body.session_id)
        .values(
            starts_at=body.starts_at,
            ends_at=body.ends_at,
            closes_at=body.ends_at + timedelta(minutes=found["grace_minutes"]),
            capacity=body.capacity,
            break_minutes=body.break_minutes,
            backdating_reason=reason,
            state="open",
        )
    )
    if (body.starts_at, body.ends_at) != (found["starts_at"], found["ends_at"]):
        said = {"activity": found["title"], "starts": organised.local(body.starts_at, zone)}
        people = _signed_up(connection, body.session_id, waiting=True)
        tell(connection, now, [Message(one, "session_changed", said) for one in people])
    move_up(connection, body.session_id, now, zone)
    _note(connection, operation, now, "session_changed", body.session_id, {"moved": moved})
    return view(connection, body.session_id)


def cancel_session(connection: Connection, operation: Operation, now: datetime, zone: ZoneInfo) -> dict[str, Any]:
    """Cancel a session that nobody attended, and tell those who signed up. A second time changes nothing.

    Refusals: session_unknown, forbidden, reason_required, session_has_attendances.
    """
    body: CancelSession = operation.body
    found = permitted(connection, body.actor, Permission.ACTIVITY_WRITE, body.session_id, lock=True)
    if not body.reason.strip():
        raise DomainError("reason_required")
    if found["state"] != "cancelled":
        _check_unattended(connection, body.session_id)
        organised.cancel_coming(connection, body.session_id, body.actor, body.reason.strip(), now, zone)
        _note(connection, operation, now, "session_cancelled", body.session_id, {})
    return view(connection, body.session_id)


def close_sessions(connection: Connection, operations: Sequence[Operation], now: datetime) -> list[Outcome]:
    """Close the sessions whose check-out has ended, and what was forgotten in them. A timed kind: no body."""
    s, a = sessions.c, attendances.c
    over = connection.scalars(
        select(s.id).where(s.state == "open", s.closes_at <= now).order_by(s.closes_at).limit(MAX_CLOSED)
    ).all()
    if not over:
        return [Outcome(0) for _ in operations]
    forgotten = connection.execute(
        select(a.id, a.session_id, a.checked_in_at, a.flags).where(a.session_id.in_(over), a.state == "open")
    ).all()
    found = plans(connection, over)
    if forgotten:
        connection.execute(
            update(attendances)
            .where(a.id == bindparam("attendance"))
            .values(
                state="closed",
                checked_out_at=bindparam("out_at"),
                minutes=bindparam("worked"),
                flags=bindparam("marks"),
                is_to_review=True,
            ),
            [
                {
                    "attendance": one.id,
                    "out_at": found[one.session_id].ends_at,
                    "worked": minutes_of(found[one.session_id], one.checked_in_at, found[one.session_id].ends_at),
                    "marks": flagged(one.flags, CLOSED_BY_PLAN),
                }
                for one in forgotten
            ],
        )
    connection.execute(update(sessions).where(s.id.in_(over)).values(state="done"))
    return [Outcome(len(over)) for _ in operations]


def flagged(flags: str, *more: str) -> str:
    """Flags as they are kept, with more of them."""
    return " ".join(sorted({*flags.split(), *more}))


def session(connection: Connection, actor: str, session_id: str) -> dict[str, Any]:
    """One session for `actor`; refusals: session_unknown, forbidden."""
    permitted(connection, actor, Permission.ACTIVITY_READ, session_id)
    return view(connection, session_id)


def page(
    connection: Connection,
    actor: str,
    zone: ZoneInfo,
    *,
    organization_id: str | None = None,
    activity_id: str | None = None,
    first_day: date | None = None,
    last_day: date | None = None,
    after: tuple[int, str] | None = None,
    limit: int,
) -> tuple[list[dict[str, Any]], tuple[int, str] | None]:
    """Sessions that `actor` may see by their start, and where the next page starts; days are local and both included.

    Refusals: forbidden, estate_unknown.
    """
    s = sessions.c
    nodes = organised.visible(connection, actor, organization_id)
    query = (
        select(s.id, s.starts_at)
        .join(activities, activities.c.id == s.activity_id)
        .where(activities.c.organization_id.in_(nodes))
    )
    if activity_id is not None:
        query = query.where(s.activity_id == activity_id)
    if first_day is not None:
        query = query.where(s.starts_at >= day_start(first_day, zone))
    if last_day is not None:
        query = query.where(s.starts_at < day_start(last_day + timedelta(days=1), zone))
    if after is not None:
        at = from_ms(after[0])
        query = query.where(or_(s.starts_at > at, and_(s.starts_at == at, s.id > after[1])))
    rows = connection.execute(query.order_by(s.starts_at, s.id).limit(limit + 1)).all()
    last = (to_ms(rows[limit - 1].starts_at), rows[limit - 1].id) if len(rows) > limit else None
    return views(connection, [row.id for row in rows[:limit]]), last


def view(connection: Connection, session_id: str) -> dict[str, Any]:
    """One session, with how many signed up, wait, and came."""
    return views(connection, [session_id])[0]


def views(connection: Connection, session_ids: Sequence[str]) -> list[dict[str, Any]]:
    """Sessions in the order of their start."""
    rows = connection.execute(
        planned_sessions().where(sessions.c.id.in_(session_ids)).order_by(sessions.c.starts_at, sessions.c.id)
    ).mappings()
    found = {row["id"]: row for row in rows}
    u, a = sign_ups.c, attendances.c
    counted: dict[str, dict[str, int]] = {id: {} for id in found}
    for table, states in ((u, ("signed_up", "waiting")), (a, ("open", "closed"))):
        query = select(table.session_id, table.state, func.count()).where(table.session_id.in_(session_ids))
        for id, state, number in connection.execute(
            query.where(table.state.in_(states)).group_by(table.session_id, table.state)
        ):
            counted[id][state] = number
    return [
        {name: row[name] for name in ("id", "activity_id", "title", "place", "organization_id", "capacity")}
        | {name: row[name] for name in ("break_minutes", "state", "backdating_reason", "cancel_reason")}
        | {name: iso(row[name]) for name in ("starts_at", "ends_at", "closes_at")}
        | {"sign_up_until_at": iso(sign_up_until(row))}
        | {"is_backdated": row["backdating_reason"] is not None}
        | {
            "signed_up": counted[id].get("signed_up", 0),
            "waiting": counted[id].get("waiting", 0),
            "attended": counted[id].get("open", 0) + counted[id].get("closed", 0),
        }
        for id, row in found.items()
    ]


def _check_times(starts_at: datetime, ends_at: datetime, break_minutes: int, longest_minutes: int) -> None:
    if not starts_at < ends_at or timedelta(minutes=break_minutes) >= ends_at - starts_at:
        raise DomainError("session_times_invalid")
    organised.check_length(starts_at, ends_at, longest_minutes)


def _weeks_later(at: datetime, weeks: int, zone: ZoneInfo) -> datetime:
    """The same local time so many weeks later."""
    there = at.astimezone(zone).replace(tzinfo=None) + timedelta(weeks=weeks)
    return there.replace(tzinfo=zone).astimezone(UTC)


def _check_open(found: RowMapping) -> None:
    if found["activity_state"] == "cancelled":
        raise DomainError("activity_cancelled", id=found["activity_id"])
    if found["state"] == "cancelled":
        raise DomainError("session_cancelled", id=found["id"])


def _check_unattended(connection: Connection, session_id: str) -> None:
    a = attendances.c
    if connection.scalar(select(a.id).where(a.session_id == session_id, a.state != "void").limit(1)) is not None:
        raise DomainError("session_has_attendances", id=session_id)


def _signed_up(connection: Connection, session_id: str, *, waiting: bool = False) -> Sequence[str]:
    states = ("signed_up", "waiting") if waiting else ("signed_up",)
    u = sign_ups.c
    query = select(u.resident_id).where(u.session_id == session_id, u.state.in_(states)).order_by(u.number)
    return connection.scalars(query).all()


def _note(
    connection: Connection, operation: Operation, now: datetime, action: str, session_id: str, details: dict[str, Any]
) -> None:
    audit.record(
        connection,
        now,
        actor=operation.body.actor,
        action=action,
        subject=("session", session_id),
        operation_id=operation.id,
        details=details,
    )
