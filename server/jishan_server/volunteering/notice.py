"""The public notice: what stands in it, and objections to it.

Everybody may look: masked names, the building and no more, what was done and when, and until when one may object. Who
has not agreed to the scheme is not shown. An objection holds the credit until somebody decides who neither recorded nor
approved it. Dismissed, the notice goes on for what was left of it when it was held.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, insert, select, update

from jishan_server import audit
from jishan_server.db import from_ms, to_ms
from jishan_server.errors import DomainError
from jishan_server.ids import timed_derived_id
from jishan_server.instants import iso
from jishan_server.organizations.calendar import calendar
from jishan_server.organizations.roles import Permission, permit, resident_of_actor
from jishan_server.organizations.tree import organization
from jishan_server.people.credentials import masked
from jishan_server.people.messages import Message, tell
from jishan_server.people.one_person import is_same_person
from jishan_server.people.staff import resident_of
from jishan_server.people.tables import residents
from jishan_server.volunteering.credit_states import Event, State, follow
from jishan_server.volunteering.credit_tables import objections
from jishan_server.volunteering.crediting import go_on, last_day, locked, notice_end, write_decision
from jishan_server.volunteering.rules import CreditRules
from jishan_server.volunteering.tables import credits
from jishan_server.writer import Operation


@dataclass(frozen=True, slots=True)
class FileObjection:
    """`on_behalf_of` says for whom a member of staff writes it down."""

    actor: str
    credit_id: str
    reason: str
    on_behalf_of: str | None = None


@dataclass(frozen=True, slots=True)
class DecideObjection:
    actor: str
    objection_id: str
    is_upheld: bool
    reason: str


def notices(
    connection: Connection, estate_id: str, zone: ZoneInfo, after: tuple[int, str] | None, limit: int
) -> tuple[list[dict[str, Any]], tuple[int, str] | None]:
    """What stands in an estate's notice, what ends first first. Takes no permission. Refusal: estate_unknown."""
    organization(connection, estate_id)
    c, r = credits.c, residents.c
    query = (
        select(c.id, c.activity, c.day, c.minutes, c.points, c.notice_ends_at, r.name, r.building)
        .join(residents, r.id == c.resident_id)
        .where(c.state == State.APPROVED, c.estate_id == estate_id, r.consent_state == "given")
    )
    if after is not None:
        at, id = from_ms(after[0]), after[1]
        query = query.where((c.notice_ends_at > at) | ((c.notice_ends_at == at) & (c.id > id)))
    rows = connection.execute(query.order_by(c.notice_ends_at, c.id).limit(limit + 1)).all()
    shown = [
        {
            "credit_id": row.id,
            "name": masked(row.name),
            "building": row.building,
            "activity": row.activity,
            "day": row.day,
            "minutes": row.minutes,
            "points": row.points,
            "last_day": last_day(row.notice_ends_at, zone).isoformat(),
        }
        for row in rows[:limit]
    ]
    last = (to_ms(rows[limit - 1].notice_ends_at), rows[limit - 1].id) if len(rows) > limit else None
    return shown, last


def file_objection(connection: Connection, operation: Operation, now: datetime) -> dict[str, Any]:
    """Object to a credit in its notice: it is held. Anybody who is registered may, and staff for others.

    Refusals: reason_required, credit_unknown, forbidden, credit_not_in_notice.
    """
    body: FileObjection = operation.body
    if not body.reason.strip():
        raise DomainError("reason_required")
    row = locked(connection, {body.credit_id}).get(body.credit_id)
    if row is None:
        raise DomainError("credit_unknown", id=body.credit_id)
    resident = resident_of_actor(body.actor)
    permit(connection, body.actor, Permission.OBJECTION_WRITE, row["estate_id"], about=resident)
    # A resident learns of no credit that is not shown to everybody.
    if resident is not None and row["state"] != State.APPROVED and row["resident_id"] != resident:
        raise DomainError("credit_unknown", id=body.credit_id)
    write_decision(connection, row, Event.OBJECTED, body.actor, body.reason, now)
    id = timed_derived_id(operation.id, "objection", now)
    connection.execute(
        insert(objections).values(
            id=id,
            credit_id=row["id"],
            resident_id=row["resident_id"],
            estate_id=row["estate_id"],
            filed_by=body.actor,
            on_behalf_of=body.on_behalf_of,
            filed_at=now,
            reason=body.reason,
            state="open",
        )
    )
    tell(connection, now, [Message(row["resident_id"], "credit_objected", {"activity": row["activity"]})])
    _note(connection, operation, now, "objection_filed", id, row["id"])
    return objection(connection, id)


def decide_objection(
    connection: Connection, operation: Operation, now: datetime, settings: CreditRules
) -> dict[str, Any]:
    """Uphold an objection (the credit is rejected) or dismiss it (the notice goes on).

    Refusals: reason_required, objection_unknown, forbidden, objection_closed, second_reviewer_required, credit_own.
    """
    body: DecideObjection = operation.body
    if not body.reason.strip():
        raise DomainError("reason_required")
    found = objection(connection, body.objection_id)
    permit(connection, body.actor, Permission.OBJECTION_DECIDE, found["estate_id"])
    row = locked(connection, {found["credit_id"]})[found["credit_id"]]
    if objection(connection, body.objection_id)["state"] != "open":
        raise DomainError("objection_closed")
    if body.actor in (row["recorded_by"], row["decided_by"], found["filed_by"]):
        raise DomainError("second_reviewer_required")
    if is_same_person(connection, resident_of(connection, body.actor), row["resident_id"]):
        raise DomainError("credit_own")
    connection.execute(
        update(objections)
        .where(objections.c.id == body.objection_id)
        .values(
            state="upheld" if body.is_upheld else "dismissed",
            decided_by=body.actor,
            decided_at=now,
            decision_reason=body.reason,
        )
    )
    if body.is_upheld:
        write_decision(connection, row, Event.UPHELD, body.actor, body.reason, now)
    else:
        row["state"] = follow(row["state"], Event.DISMISSED).value
        row["notice_ends_at"] = _going_on(connection, row["notice_ends_at"], found["filed_at"], now, settings)
        for refusal in go_on(connection, [row], now, settings).values():
            raise refusal
        tell(connection, now, [Message(row["resident_id"], "objection_dismissed", {"activity": row["activity"]})])
    filer = resident_of_actor(found["filed_by"])
    if filer is not None:
        tell(connection, now, [Message(filer, "objection_answered", _verdict(row, body.is_upheld))])
    _note(connection, operation, now, "objection_decided", body.objection_id, row["id"])
    return objection(connection, body.objection_id)


def _verdict(row: dict[str, Any], is_upheld: bool) -> dict[str, object]:
    zh, en = ("成立", "it holds") if is_upheld else ("不成立", "it does not hold")
    return {"activity": row["activity"], "verdict_zh": zh, "verdict_en": en}


def _going_on(
    connection: Connection, ends_at: datetime, filed_at: str, now: datetime, settings: CreditRules
) -> datetime:
    """When a notice ends that was held since `filed_at`: after at least the working days that were left then."""
    days = calendar(connection)
    held_on = datetime.fromisoformat(filed_at).astimezone(settings.zone).date()
    left = days.count(held_on, last_day(ends_at, settings.zone))
    return max(ends_at, notice_end(days, now, left, settings.zone)) if left else ends_at


def objection(connection: Connection, objection_id: str) -> dict[str, Any]:
    """One objection; refusal: objection_unknown."""
    query = select(objections).where(objections.c.id == objection_id)
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        raise DomainError("objection_unknown", id=objection_id)
    return _view(dict(row))


def objections_page(
    connection: Connection, estate_ids: Collection[str], state: str | None, after: str | None, limit: int
) -> tuple[list[dict[str, Any]], str | None]:
    """Objections of these estates, oldest first, and where the next page starts."""
    o = objections.c
    query = select(objections).where(o.estate_id.in_(estate_ids))
    if state is not None:
        query = query.where(o.state == state)
    if after is not None:
        query = query.where(o.id > after)
    rows = connection.execute(query.order_by(o.id).limit(limit + 1)).mappings().all()
    return [_view(dict(row)) for row in rows[:limit]], rows[limit - 1]["id"] if len(rows) > limit else None


def _view(row: dict[str, Any]) -> dict[str, Any]:
    return row | {name: iso(row[name]) for name in ("filed_at", "decided_at")}


def _note(connection: Connection, operation: Operation, now: datetime, action: str, id: str, credit_id: str) -> None:
    entry = audit.Entry(operation.body.actor, action, ("objection", id), operation.id, {"credit_id": credit_id})
    audit.record_all(connection, now, [entry])
