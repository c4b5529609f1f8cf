"""Crediting a whole session at once: a look before, then one operation to record and one to approve.

The look shows for each person the minutes, the points, and which cap or source cut them; recording does the same sums.
A session may be recorded again: only what has no credit yet gets one, so whoever came later can be added.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, select

from jishan_server import audit
from jishan_server.errors import DomainError
from jishan_server.ids import derived_id
from jishan_server.organizations.roles import Permission, permit
from jishan_server.people.staff import resident_of, who_may
from jishan_server.people.tables import residents
from jishan_server.volunteering.activity_tables import activities, sessions
from jishan_server.volunteering.attendance import Attendance, closed_attendances, mark_credited
from jishan_server.volunteering.credit_states import State
from jishan_server.volunteering.crediting import Priced, Work, price, record, with_notes
from jishan_server.volunteering.credits import DecideCredit, approve
from jishan_server.volunteering.rule_versions import ensure_first
from jishan_server.volunteering.rules import CreditRules, Source
from jishan_server.volunteering.tables import credits
from jishan_server.writer import Operation


@dataclass(frozen=True, slots=True)
class RecordSession:
    actor: str
    session_id: str
    reason: str
    # Random, for the notes with the words (`ledger.notes`); without one the ledger's rows carry no notes.
    salt: str | None = field(default=None, repr=False, metadata={"secret": True})


@dataclass(frozen=True, slots=True)
class ApproveSession:
    """Approve every recorded credit of a session that the actor may approve."""

    actor: str
    session_id: str
    reason: str = ""


def preview(connection: Connection, actor: str, session_id: str, zone: ZoneInfo) -> dict[str, Any]:
    """What recording a session would give now; nothing is written. Refusals: session_unknown, forbidden."""
    organization_id = _permitted(connection, actor, session_id)
    priced, without = _priced(connection, session_id, zone, "preview", "")
    names = dict(
        connection.execute(
            select(residents.c.id, residents.c.name).where(residents.c.id.in_({one.work.resident_id for one in priced}))
        ).all()
    )
    approvers, _ = who_may(connection, Permission.CREDIT_APPROVE, organization_id, but={actor})
    return _summary(session_id, priced, without) | {
        "items": [
            {
                "resident_id": one.work.resident_id,
                "name": names[one.work.resident_id],
                "attendance_id": one.work.attendance_id,
                "minutes": one.work.minutes,
                "source": one.work.source.value,
                "points": one.worth.points,
                "cuts": [list(step) for step in one.worth.cuts],
                "rule_version": one.rules.label,
            }
            for one in priced
        ],
        # Where an estate has nobody else, it goes to the node above.
        "approval_organization_id": approvers,
    }


def record_session(
    connection: Connection, operation: Operation, now: datetime, settings: CreditRules
) -> dict[str, Any]:
    """Record a credit for each attendance of a session that has none. Refusals: session_unknown, forbidden."""
    body: RecordSession = operation.body
    _permitted(connection, body.actor, body.session_id)
    ensure_first(connection, settings, now)
    priced, without = _priced(connection, body.session_id, settings.zone, operation.id, body.reason)
    works = with_notes(connection, [one.work for one in priced], body.salt)
    priced = [one._replace(work=work) for one, work in zip(priced, works, strict=True)]
    record(connection, priced, body.actor, now)
    mark_credited(connection, {one.work.attendance_id or "": one.work.id for one in priced}, now)
    noted = [audit.Entry(body.actor, "credit_recorded", ("credit", one.work.id), operation.id) for one in priced]
    audit.record_all(connection, now, noted)
    return _summary(body.session_id, priced, without)


def approve_session(
    connection: Connection, operation: Operation, now: datetime, settings: CreditRules
) -> dict[str, Any]:
    """Approve what is recorded of a session, each by the same rules as alone; the others come back with the reason.

    Refusals: session_unknown, forbidden (who may approve none of them).
    """
    body: ApproveSession = operation.body
    organization_id = _organization(connection, body.session_id)
    c = credits.c
    open_ = select(c.id).where(c.session_id == body.session_id, c.state == State.RECORDED).order_by(c.id)
    ids = list(connection.scalars(open_))
    decisions = [(DecideCredit(body.actor, id, body.reason), operation.id) for id in ids]
    errors, rows = approve(connection, decisions, now, settings)
    if not ids or all(error is not None and error.code == "forbidden" for error in errors):
        permit(connection, body.actor, Permission.CREDIT_APPROVE, organization_id)
    refused = [(id, error.code) for id, error in zip(ids, errors, strict=True) if error is not None]
    done = [rows[id] for id, error in zip(ids, errors, strict=True) if error is None]
    return {
        "session_id": body.session_id,
        "approved": len(done),
        "points": sum(row["points"] for row in done),
        "refused": [{"credit_id": id, "code": code} for id, code in refused],
    }


def waiting(
    connection: Connection, actor: str, estate_ids: frozenset[str], after: str | None, limit: int
) -> tuple[list[dict[str, Any]], str | None]:
    """Recorded credits that `actor` may approve, the oldest first, each with the node whose approvers are the nearest:
    the one above where an estate has nobody but the recorder.
    """
    own = resident_of(connection, actor)
    c = credits.c
    columns = (c.id, c.estate_id, c.resident_id, c.recorded_by, c.session_id, c.activity, c.day, c.minutes, c.points)
    query = select(*columns)
    query = query.where(c.state == State.RECORDED, c.estate_id.in_(estate_ids), c.recorded_by != actor)
    if own is not None:
        query = query.where(c.resident_id != own)
    if after is not None:
        query = query.where(c.id > after)
    rows = connection.execute(query.order_by(c.id).limit(limit + 1)).mappings().all()
    nearest = {
        pair: who_may(connection, Permission.CREDIT_APPROVE, pair[0], but={pair[1]})[0]
        for pair in {(row["estate_id"], row["recorded_by"]) for row in rows}
    }
    shown = [{**row, "approval_organization_id": nearest[row["estate_id"], row["recorded_by"]]} for row in rows[:limit]]
    return shown, shown[-1]["id"] if len(rows) > limit else None


def _organization(connection: Connection, session_id: str) -> str:
    query = select(activities.c.organization_id).join(sessions, sessions.c.activity_id == activities.c.id)
    organization_id = connection.scalar(query.where(sessions.c.id == session_id))
    if organization_id is None:
        raise DomainError("session_unknown", id=session_id)
    return str(organization_id)


def _permitted(connection: Connection, actor: str, session_id: str) -> str:
    organization_id = _organization(connection, session_id)
    permit(connection, actor, Permission.CREDIT_RECORD, organization_id)
    return organization_id


def _priced(
    connection: Connection, session_id: str, zone: ZoneInfo, operation_id: str, reason: str
) -> tuple[list[Priced], list[Attendance]]:
    """What each attendance without a credit is worth, and those of no minute, which get none."""
    found = closed_attendances(connection, session_id)
    works = [_work(one, zone, operation_id, reason) for one in found if one.minutes]
    return price(connection, works), [one for one in found if not one.minutes]


def _work(one: Attendance, zone: ZoneInfo, operation_id: str, reason: str) -> Work:
    return Work(
        id=derived_id(f"{operation_id} {one.id}", "credit"),
        resident_id=one.resident_id,
        estate_id=one.estate_id,
        minutes=one.minutes,
        points=None,
        source=Source(one.source),
        title=one.title,
        reason=reason,
        worked_at=one.starts_at,
        day=one.starts_at.astimezone(zone).date(),
        activity_type=one.activity_type,
        counts_as_service=one.counts_as_service,
        organization_id=one.organization_id,
        category=one.category,
        place=one.place,
        person_in_charge=one.person_in_charge,
        activity_id=one.activity_id,
        session_id=one.session_id,
        attendance_id=one.id,
    )


def _summary(session_id: str, priced: Sequence[Priced], without: Sequence[Attendance]) -> dict[str, Any]:
    return {
        "session_id": session_id,
        "credits": len(priced),
        "minutes": sum(one.work.minutes or 0 for one in priced),
        "points": sum(one.worth.points for one in priced),
        "without_minutes": len(without),
    }
