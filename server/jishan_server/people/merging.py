"""The end of a resident's record: merged into another record of the same person, or closed.

Rules. Both records are of one estate. The survivor keeps name, number and PIN, and gets the cards and the points of the
other one (`ledger.endings`); a member of staff who was the one is the other now. What people go on with moves too:
memberships, sign-ups, attendances, tasks, claims, trainings, files (every `resident_id` whose column says `MOVES`), but
for what the survivor has as well, as where both were at one session. Everything else stays with the record that it was
made for, and is read of both (`people.one_person`). The old member number is refused with words that say so. Nobody
merges a record that is their own.
Source: decisions, "The ledger".
"""

from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from typing import Any

from sqlalchemy import Connection, PrimaryKeyConstraint, Table, UniqueConstraint, exists, update

from jishan_server import audit
from jishan_server.db import MOVES, all_tables
from jishan_server.errors import DomainError
from jishan_server.ids import derived_id
from jishan_server.ledger import endings, notes
from jishan_server.organizations.roles import Permission, permit, resident_of_actor
from jishan_server.people import consents, sessions
from jishan_server.people.attachment_tables import attachments
from jishan_server.people.credentials import account_of
from jishan_server.people.messages import Message, tell
from jishan_server.people.one_person import is_same_person
from jishan_server.people.residents import estate_of, living, resident
from jishan_server.people.staff import resident_of
from jishan_server.people.tables import cards, residents, staff
from jishan_server.writer import Operation


@dataclass(frozen=True, slots=True)
class MergeResidents:
    """`resident_id` ends, `into_id` survives. The reason lies in a note of its own (`ledger.notes`), with `salt`."""

    actor: str
    resident_id: str
    into_id: str
    reason: str
    salt: str = field(repr=False, metadata={"secret": True})


@dataclass(frozen=True, slots=True)
class CloseResident:
    """As `MergeResidents`, without a survivor."""

    actor: str
    resident_id: str
    reason: str
    salt: str = field(repr=False, metadata={"secret": True})


def merge_residents(connection: Connection, operation: Operation, now: datetime, zone: tzinfo) -> dict[str, Any]:
    """Merge one record into another; gives the survivor.

    Refusals: merge_same, resident_unknown, forbidden, merge_elsewhere, merge_own, reason_required, resident_merged,
    resident_closed, resident_erased, and those of `endings.merge`.
    """
    body: MergeResidents = operation.body
    estates = set()
    for id in (body.resident_id, body.into_id):
        estate_id = estate_of(connection, id)
        permit(connection, body.actor, Permission.RESIDENT_MERGE, estate_id)
        estates.add(estate_id)
    if len(estates) > 1:
        raise DomainError("merge_elsewhere")
    if body.resident_id == body.into_id:
        raise DomainError("merge_same")
    own = resident_of(connection, body.actor)
    if any(is_same_person(connection, own, id) for id in (body.resident_id, body.into_id)):
        raise DomainError("merge_own")
    if not body.reason.strip():
        raise DomainError("reason_required")
    for id in sorted((body.resident_id, body.into_id)):
        living(connection, id)
    note = _write(connection, operation)
    endings.merge(connection, account_of(body.resident_id), account_of(body.into_id), body.actor, now, zone, note)
    for table in (cards, staff):
        connection.execute(
            update(table).where(table.c.resident_id == body.resident_id).values(resident_id=body.into_id)
        )
    _move(connection, body.resident_id, body.into_id)
    _end(connection, body.resident_id, merged_into=body.into_id)
    consents.carry_over(connection, body.into_id)
    tell(connection, now, [Message(body.into_id, "account_merged", {})])
    _note(connection, operation, now, "resident_merged", body.resident_id, {"into": body.into_id})
    return resident(connection, body.actor, body.into_id)


def close_resident(connection: Connection, operation: Operation, now: datetime, zone: tzinfo) -> dict[str, Any]:
    """Close a resident's record: cards and number open nothing any more. The points go when nothing is open.
    Residents close their own.

    Refusals: resident_unknown, forbidden, reason_required, resident_merged, resident_closed, and those of
    `endings.close`.
    """
    body: CloseResident = operation.body
    if resident_of_actor(body.actor) != body.resident_id:
        permit(connection, body.actor, Permission.RESIDENT_FREEZE, estate_of(connection, body.resident_id))
    if not body.reason.strip():
        raise DomainError("reason_required")
    living(connection, body.resident_id)
    endings.close(connection, account_of(body.resident_id), body.actor, now, zone, _write(connection, operation))
    connection.execute(
        update(cards)
        .where(cards.c.resident_id == body.resident_id, cards.c.state == "active")
        .values(state="blocked", blocked_at=now, blocked_reason="closed")
    )
    _end(connection, body.resident_id, closed_at=now)
    _note(connection, operation, now, "resident_closed", body.resident_id, {})
    return resident(connection, body.actor, body.resident_id)


def _move(connection: Connection, resident_id: str, into_id: str) -> None:
    """Give the survivor the rows that may move (MOVES), but for those of which they have one themselves."""
    for table in all_tables().sorted_tables:
        column = table.c.get("resident_id")
        if column is None or not column.info.get(MOVES):
            continue
        moved = update(table).where(column == resident_id)
        theirs = table.alias("theirs")
        for key in _unique_with(table, "resident_id"):
            same = (theirs.c[name] == table.c[name] for name in key)
            moved = moved.where(~exists().where(theirs.c.resident_id == into_id, *same))
        connection.execute(moved.values(resident_id=into_id))
    # A file about a person alone names them twice.
    files = attachments.c
    of_person = (files.resident_id == resident_id) & (files.subject_type == "resident")
    connection.execute(update(attachments).where(of_person).values(resident_id=into_id, subject_id=into_id))


def _unique_with(table: Table, name: str) -> list[list[str]]:
    """The other columns of each unique key of a table that a column is part of."""
    unique = [one for one in table.constraints if isinstance(one, UniqueConstraint | PrimaryKeyConstraint)]
    keys = [list(one.columns.keys()) for one in unique]
    return [[other for other in key if other != name] for key in keys if name in key]


def _write(connection: Connection, operation: Operation) -> str:
    body: MergeResidents | CloseResident = operation.body
    return notes.write(connection, derived_id(operation.id, "note"), body.resident_id, body.reason, body.salt)


def _end(connection: Connection, resident_id: str, **how: object) -> None:
    """Write down how a record ends; nobody logs in with it any more."""
    connection.execute(
        update(residents)
        .where(residents.c.id == resident_id)
        .values(pin_hash=None, pin_wrong_tries=0, pin_locked_until_at=None, **how)
    )
    sessions.end_all(connection, resident_id)


def _note(
    connection: Connection,
    operation: Operation,
    now: datetime,
    action: str,
    resident_id: str,
    details: dict[str, object],
) -> None:
    audit.record(
        connection,
        now,
        actor=operation.body.actor,
        action=action,
        subject=("resident", resident_id),
        operation_id=operation.id,
        details=details,
    )
