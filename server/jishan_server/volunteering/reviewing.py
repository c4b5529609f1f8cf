"""Looking at attendances: confirming and correcting minutes, voiding what was not, and the sheet for paper.

Whatever changes keeps what it was before, who changed it and why. What was credited stands: it is corrected through its
credit, which the refusal names.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, RowMapping, and_, or_, select, update

from jishan_server import audit
from jishan_server.db import from_ms, to_ms
from jishan_server.errors import DomainError
from jishan_server.instants import iso
from jishan_server.organizations.roles import Permission
from jishan_server.people.credentials import masked
from jishan_server.people.one_person import records_of
from jishan_server.people.tables import residents
from jishan_server.volunteering.activities import visible
from jishan_server.volunteering.activity_tables import (
    activities,
    attendance_changes,
    attendances,
    sessions,
    sign_ups,
)
from jishan_server.volunteering.codes import row_code
from jishan_server.volunteering.judging import Span, check, check_day, minutes_of
from jishan_server.volunteering.planned import permitted, plan_of
from jishan_server.volunteering.recording import last_time, note_change, shown, taken, view
from jishan_server.volunteering.sessions import flagged
from jishan_server.volunteering.signing_up import shown_people
from jishan_server.writer import Operation

CORRECTED: Final = "corrected"
AROUND: Final = timedelta(days=2)
"""No session is longer than a day: what lies further away overlaps with nothing."""


@dataclass(frozen=True, slots=True)
class ConfirmAttendance:
    """What the plan closed is right as it is."""

    actor: str
    attendance_id: str


@dataclass(frozen=True, slots=True)
class CorrectAttendance:
    """Other times, or other minutes than the times make; what is None stays."""

    actor: str
    attendance_id: str
    reason: str
    checked_in_at: datetime | None = None
    checked_out_at: datetime | None = None
    minutes: int | None = None


@dataclass(frozen=True, slots=True)
class VoidAttendance:
    actor: str
    attendance_id: str
    reason: str


def confirm_attendance(connection: Connection, operation: Operation, now: datetime) -> dict[str, Any]:
    """Say that minutes which wait for a review are right. A second time changes nothing.

    Refusals: attendance_unknown, forbidden, attendance_void, attendance_before_confirming.
    """
    body: ConfirmAttendance = operation.body
    found, _ = _locked(connection, body.actor, body.attendance_id)
    if found["state"] == "open":
        raise DomainError("attendance_before_confirming", id=body.attendance_id)
    if found["is_to_review"]:
        note_change(connection, now, found, "confirmed", "", body.actor)
        connection.execute(update(attendances).where(attendances.c.id == body.attendance_id).values(is_to_review=False))
        _note(connection, operation, now, "attendance_confirmed", found)
    return view(connection, body.attendance_id)


def correct_attendance(connection: Connection, operation: Operation, now: datetime, zone: ZoneInfo) -> dict[str, Any]:
    """Correct times or minutes, with a reason. Minutes may be other than the times make, up to the type's longest.

    Refusals: attendance_unknown, forbidden, reason_required, attendance_void, attendance_credited,
    attendance_before_confirming, minutes_invalid, and those of `judging.check`.
    """
    body: CorrectAttendance = operation.body
    found, session = _locked(connection, body.actor, body.attendance_id)
    if not body.reason.strip():
        raise DomainError("reason_required")
    plan = plan_of(session)
    begin = body.checked_in_at or found["checked_in_at"]
    end = body.checked_out_at or found["checked_out_at"]
    if end is None:
        raise DomainError("attendance_before_confirming", id=body.attendance_id)
    around = taken(connection, [found["resident_id"]], begin - AROUND, end + AROUND)
    others = around.get(found["resident_id"], [])
    check(plan, Span(begin, end), now, others, zone)
    minutes = minutes_of(plan, begin, end)
    if body.minutes is not None:
        if not 0 <= body.minutes <= plan.longest_minutes:
            raise DomainError("attendance_too_long", field="minutes", minutes=plan.longest_minutes)
        minutes = body.minutes
        check_day(plan, begin, minutes, others, zone)
    note_change(connection, now, found, "corrected", body.reason.strip(), body.actor)
    connection.execute(
        update(attendances)
        .where(attendances.c.id == body.attendance_id)
        .values(
            checked_in_at=begin,
            checked_out_at=end,
            minutes=minutes,
            state="closed",
            is_to_review=False,
            flags=flagged(found["flags"], CORRECTED),
        )
    )
    _note(connection, operation, now, "attendance_corrected", found)
    return view(connection, body.attendance_id)


def void_attendance(connection: Connection, operation: Operation, now: datetime) -> dict[str, Any]:
    """Say that somebody was not there, with a reason; they may be recorded again. A second time changes nothing.

    Refusals: attendance_unknown, forbidden, reason_required, attendance_credited.
    """
    body: VoidAttendance = operation.body
    found, _ = _locked(connection, body.actor, body.attendance_id, may_be_void=True)
    if not body.reason.strip():
        raise DomainError("reason_required")
    if found["state"] != "void":
        note_change(connection, now, found, "voided", body.reason.strip(), body.actor)
        connection.execute(
            update(attendances).where(attendances.c.id == body.attendance_id).values(state="void", is_to_review=False)
        )
        _note(connection, operation, now, "attendance_voided", found)
    return view(connection, body.attendance_id)


def attendance(connection: Connection, actor: str, attendance_id: str) -> dict[str, Any]:
    """One attendance with its changes, oldest first; refusals: attendance_unknown, forbidden."""
    found = view(connection, attendance_id)
    permitted(connection, actor, Permission.ACTIVITY_READ, found["session_id"])
    c = attendance_changes.c
    rows = connection.execute(
        select(attendance_changes).where(c.attendance_id == attendance_id).order_by(c.number)
    ).mappings()
    changes = [
        {name: row[name] for name in ("change", "minutes_before", "source_before", "reason", "actor")}
        | {name: iso(row[name]) for name in ("checked_in_at_before", "checked_out_at_before", "recorded_at")}
        for row in rows
    ]
    person = shown_people(connection, actor, [found["resident_id"]])[found["resident_id"]]
    return found | person | {"changes": changes}


def page(
    connection: Connection, actor: str, session_id: str, after: tuple[int, str] | None, limit: int
) -> tuple[list[dict[str, Any]], tuple[int, str] | None]:
    """Who came to a session, by check-in, and where the next page starts; refusals: session_unknown, forbidden."""
    permitted(connection, actor, Permission.ACTIVITY_READ, session_id)
    return _page(connection, actor, attendances.c.session_id == session_id, after, limit)


def to_review(
    connection: Connection,
    actor: str,
    organization_id: str | None,
    after: tuple[int, str] | None,
    limit: int,
) -> tuple[list[dict[str, Any]], tuple[int, str] | None]:
    """What the plan closed and nobody looked at yet, by check-in; refusals: forbidden, estate_unknown."""
    nodes = visible(connection, actor, organization_id)
    waiting = and_(
        attendances.c.is_to_review.is_(True),
        attendances.c.session_id.in_(
            select(sessions.c.id)
            .join(activities, activities.c.id == sessions.c.activity_id)
            .where(activities.c.organization_id.in_(nodes))
        ),
    )
    return _page(connection, actor, waiting, after, limit)


def mine(
    connection: Connection, resident_id: str, after: tuple[int, str] | None, limit: int
) -> tuple[list[dict[str, Any]], tuple[int, str] | None]:
    """A resident's own attendances, the newest first, and where the next page starts."""
    a, s = attendances.c, sessions.c
    query = (
        select(attendances, activities.c.title, activities.c.place)
        .join(sessions, s.id == a.session_id)
        .join(activities, activities.c.id == s.activity_id)
        .where(a.resident_id.in_(records_of(connection, resident_id)), a.state != "void")
    )
    if after is not None:
        at = from_ms(after[0])
        query = query.where(or_(a.checked_in_at < at, and_(a.checked_in_at == at, a.id > after[1])))
    rows = connection.execute(query.order_by(a.checked_in_at.desc(), a.id).limit(limit + 1)).mappings().all()
    last = (to_ms(rows[limit - 1]["checked_in_at"]), rows[limit - 1]["id"]) if len(rows) > limit else None
    return [shown(row) for row in rows[:limit]], last


def suggested_people(connection: Connection, actor: str, session_id: str) -> list[dict[str, Any]]:
    """Who probably comes: those of the activity's session before, then who signed up; `came` says who is there.

    Refusals: session_unknown, forbidden.
    """
    session = permitted(connection, actor, Permission.ATTENDANCE_WRITE, session_id)
    before = last_time(connection, session)
    signed = _signed_up(connection, session_id)
    ids = list(dict.fromkeys([*before, *signed]))
    names = shown_people(connection, actor, ids)
    came = set(_came(connection, session_id))
    return [
        names[id] | {"was_there_before": id in set(before), "signed_up": id in set(signed), "came": id in came}
        for id in ids
        if id in names
    ]


def sheet(connection: Connection, actor: str, session_id: str) -> dict[str, Any]:
    """A session's list for printing: masked names, member numbers and row codes, then room for others.

    Who is on it: who is there already, who signed up, who was there the time before. Refusals: session_unknown,
    forbidden.
    """
    session = permitted(connection, actor, Permission.ATTENDANCE_WRITE, session_id)
    ids = list(
        dict.fromkeys(
            [*_came(connection, session_id), *_signed_up(connection, session_id), *last_time(connection, session)]
        )
    )
    r = residents.c
    found = {row.id: row for row in connection.execute(select(r.id, r.name, r.member_number).where(r.id.in_(ids)))}
    rows = [
        {
            "number": number,
            "name": masked(found[id].name),
            "member_number": found[id].member_number,
            "row_code": row_code(session_id, id),
        }
        for number, id in enumerate(ids, start=1)
    ]
    words = ("title", "place", "break_minutes")
    return (
        {"session_id": session_id, "rows": rows}
        | {name: session[name] for name in words}
        | {name: iso(session[name]) for name in ("starts_at", "ends_at")}
    )


def _signed_up(connection: Connection, session_id: str) -> Sequence[str]:
    u = sign_ups.c
    query = select(u.resident_id).where(u.session_id == session_id, u.state == "signed_up").order_by(u.number)
    return connection.scalars(query).all()


def _came(connection: Connection, session_id: str) -> Sequence[str]:
    a = attendances.c
    query = select(a.resident_id).where(a.session_id == session_id, a.state != "void").order_by(a.checked_in_at, a.id)
    return connection.scalars(query).all()


def _page(
    connection: Connection, actor: str, which: Any, after: tuple[int, str] | None, limit: int
) -> tuple[list[dict[str, Any]], tuple[int, str] | None]:
    a = attendances.c
    query = select(attendances).where(which)
    if after is not None:
        at = from_ms(after[0])
        query = query.where(or_(a.checked_in_at > at, and_(a.checked_in_at == at, a.id > after[1])))
    rows = connection.execute(query.order_by(a.checked_in_at, a.id).limit(limit + 1)).mappings().all()
    names = shown_people(connection, actor, [row["resident_id"] for row in rows[:limit]])
    last = (to_ms(rows[limit - 1]["checked_in_at"]), rows[limit - 1]["id"]) if len(rows) > limit else None
    return [shown(row) | names[row["resident_id"]] for row in rows[:limit]], last


def _locked(
    connection: Connection, actor: str, attendance_id: str, *, may_be_void: bool = False
) -> tuple[RowMapping, RowMapping]:
    """An attendance, locked with its person, and its session; refuses what was credited, and what is void."""
    before = view(connection, attendance_id)
    session = permitted(connection, actor, Permission.ATTENDANCE_WRITE, before["session_id"], lock=True)
    a, r = attendances.c, residents.c
    connection.execute(select(r.id).where(r.id == before["resident_id"]).with_for_update())
    found = connection.execute(select(attendances).where(a.id == attendance_id).with_for_update()).mappings().one()
    if found["state"] == "void" and not may_be_void:
        raise DomainError("attendance_void", id=attendance_id)
    if found["credited_at"] is not None:
        raise DomainError("attendance_credited", credit_id=found["credit_id"])
    return found, session


def _note(connection: Connection, operation: Operation, now: datetime, action: str, found: RowMapping) -> None:
    audit.record(
        connection,
        now,
        actor=operation.body.actor,
        action=action,
        subject=("attendance", found["id"]),
        operation_id=operation.id,
        details={"session_id": found["session_id"], "minutes_before": found["minutes"]},
    )
