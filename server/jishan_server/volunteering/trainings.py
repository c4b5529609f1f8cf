"""Trainings, awards and evaluations: entries of their own beside service records, each with its proof and its days.

Nothing of it is points. An entry is never edited: a wrong one is withdrawn, with a reason, and written anew.
Also the search for a skill whose licence holds on a day.
Source: Ministry of Civil Affairs Order 67, articles 8 to 10.
"""

import json
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

from sqlalchemy import Connection, RowMapping, insert, or_, select, update

from jishan_server import audit
from jishan_server.attachments import require
from jishan_server.errors import DomainError
from jishan_server.ids import timed_derived_id
from jishan_server.instants import iso
from jishan_server.organizations.calendar import parse_day
from jishan_server.organizations.roles import Permission, permit, resident_of_actor, scope
from jishan_server.people.one_person import is_same_person
from jishan_server.people.residents import estate_of
from jishan_server.people.staff import resident_of
from jishan_server.people.tables import residents, skills
from jishan_server.volunteering.entry_tables import entries
from jishan_server.writer import Operation

KINDS: Final = ("training", "award", "evaluation")


@dataclass(frozen=True, slots=True)
class RecordEntry:
    """`first_day` and `last_day` are YYYY-MM-DD; `attachment_ids` are files of the resident's, at least one."""

    actor: str
    resident_id: str
    kind: str
    title: str
    unit_name: str
    first_day: str
    attachment_ids: tuple[str, ...]
    last_day: str | None = None
    minutes: int | None = None
    result: str | None = None


@dataclass(frozen=True, slots=True)
class WithdrawEntry:
    actor: str
    entry_id: str
    reason: str


def record_entry(connection: Connection, operation: Operation, now: datetime) -> dict[str, Any]:
    """Write an entry.

    Refusals: resident_unknown, forbidden, entry_own, proof_required, attachment_unknown, day_invalid,
    days_reversed.
    """
    body: RecordEntry = operation.body
    estate_id = estate_of(connection, body.resident_id)
    permit(connection, body.actor, Permission.RECORD_WRITE, estate_id)
    if is_same_person(connection, resident_of(connection, body.actor), body.resident_id):
        raise DomainError("entry_own")
    if not body.attachment_ids:
        raise DomainError("proof_required")
    require(connection, body.attachment_ids, "resident", body.resident_id)
    first, last = parse_day(body.first_day), parse_day(body.last_day or body.first_day)
    if last < first:
        raise DomainError("days_reversed")
    id = timed_derived_id(operation.id, "entry", now)
    connection.execute(
        insert(entries).values(
            id=id,
            resident_id=body.resident_id,
            estate_id=estate_id,
            kind=body.kind,
            title=body.title,
            unit_name=body.unit_name,
            first_day=first.isoformat(),
            last_day=last.isoformat(),
            minutes=body.minutes,
            result=body.result,
            attachment_ids=json.dumps(body.attachment_ids),
            recorded_by=body.actor,
            recorded_at=now,
        )
    )
    _note(connection, operation, now, f"{body.kind}_recorded", id)
    return view(connection, id)


def withdraw_entry(connection: Connection, operation: Operation, now: datetime) -> dict[str, Any]:
    """Withdraw a wrong entry. Refusals: entry_unknown, forbidden, reason_required, entry_withdrawn."""
    body: WithdrawEntry = operation.body
    query = select(entries).where(entries.c.id == body.entry_id).with_for_update()
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        raise DomainError("entry_unknown", id=body.entry_id)
    permit(connection, body.actor, Permission.RECORD_WRITE, row["estate_id"])
    if not body.reason.strip():
        raise DomainError("reason_required")
    if row["withdrawn_at"] is not None:
        raise DomainError("entry_withdrawn")
    connection.execute(
        update(entries)
        .where(entries.c.id == body.entry_id)
        .values(withdrawn_by=body.actor, withdrawn_at=now, withdrawal_reason=body.reason)
    )
    _note(connection, operation, now, f"{row['kind']}_withdrawn", body.entry_id)
    return view(connection, body.entry_id)


def page(
    connection: Connection,
    actor: str,
    *,
    resident_id: str | None,
    kind: str | None,
    after: str | None,
    limit: int,
) -> tuple[list[dict[str, Any]], str | None]:
    """Entries that `actor` may see, newest first, withdrawn ones too; refusal: forbidden."""
    e, own = entries.c, resident_of_actor(actor)
    query = select(entries)
    if own is None:
        query = query.where(e.estate_id.in_(scope(connection, actor, Permission.RECORD_READ)))
    for column, wanted in ((e.resident_id, own or resident_id), (e.kind, kind)):
        if wanted is not None:
            query = query.where(column == wanted)
    if after is not None:
        query = query.where(e.id < after)
    rows = connection.execute(query.order_by(e.id.desc()).limit(limit + 1)).mappings().all()
    shown = rows[:limit]
    return [_view(row) for row in shown], shown[-1]["id"] if len(rows) > limit else None


def with_skill(
    connection: Connection, actor: str, skill: str, valid_on: date | None, after: str | None, limit: int
) -> tuple[list[dict[str, Any]], str | None]:
    """People with a skill of that name, or with those words in it; refusal: forbidden.

    `valid_on`: whose licence has not expired by then; a skill without a day of expiry does not expire.
    """
    r, s = residents.c, skills.c
    found = (
        select(r.id, r.name, r.estate_id, s.position, s.name.label("skill"), s.licence, s.expires_on)
        .join(skills, s.resident_id == r.id)
        .where(r.estate_id.in_(scope(connection, actor, Permission.RESIDENT_READ)), r.state == "active")
        .where(s.name.contains(skill, autoescape=True))
    )
    if valid_on is not None:
        found = found.where(or_(s.expires_on.is_(None), s.expires_on >= valid_on.isoformat()))
    if after is not None:
        found = found.where(r.id > after)
    # A person stays on one page with all their skills that fit.
    rows = connection.execute(found.order_by(r.id, s.position)).mappings()
    people: dict[str, dict[str, Any]] = {}
    for row in rows:
        if row["id"] not in people and len(people) > limit:
            break
        one = people.setdefault(
            row["id"],
            {"resident_id": row["id"], "name": row["name"], "estate_id": row["estate_id"], "skills": []},
        )
        one["skills"].append({"name": row["skill"], "licence": row["licence"], "expires_on": row["expires_on"]})
    shown = list(people.values())[:limit]
    return shown, shown[-1]["resident_id"] if len(people) > limit else None


def view(connection: Connection, entry_id: str) -> dict[str, Any]:
    """One entry; refusal: entry_unknown."""
    row = connection.execute(select(entries).where(entries.c.id == entry_id)).mappings().one_or_none()
    if row is None:
        raise DomainError("entry_unknown", id=entry_id)
    return _view(row)


def _view(row: RowMapping) -> dict[str, Any]:
    instants = {name: iso(row[name]) for name in ("recorded_at", "withdrawn_at")}
    return {**row} | instants | {"attachment_ids": json.loads(row["attachment_ids"])}


def _note(connection: Connection, operation: Operation, now: datetime, action: str, id: str) -> None:
    actor = operation.body.actor
    audit.record(connection, now, actor=actor, action=action, subject=("entry", id), operation_id=operation.id)
