"""What protects people from those who keep their records: who looked, what is shown, a copy of everything, forgetting.

- Each look of a member of staff at a person's record is a row; a list is one row with its number of people. The row is
  written by the writer after the answer: nobody waits for it, and no reading fails for it.
- `export` gives a person every row about them, from every table that has a `resident_id`, those of later versions too.
  A column whose `info` says `not_exported`, and hashes of any kind, stay inside; files are fetched one by one.
- `erase` cannot be undone. It forgets what says who somebody is, here and in every nullable column whose `info` says
  `personal`, with the files about that person alone and the words beside their ledger rows. Points, hours and the
  ledger keep the pseudonym (the id and member number), so that sums stay right.
- What is removed by age is the list of who looked (`access_log_months`), and tokens that have ended. Service records,
  the ledger and the audit log are never removed: the rules ask for ten years and more.

Source: 个人信息保护法 art. 44-51; GB/T 40143-2021; 志愿服务记录与证明出具办法 art. 16.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from sqlalchemy import Connection, LargeBinary, Table, delete, insert, select, update

from jishan_server import audit
from jishan_server.db import all_tables
from jishan_server.errors import DomainError
from jishan_server.ids import derived_id
from jishan_server.instants import iso
from jishan_server.ledger import notes
from jishan_server.ledger.store import Mark, balances, freeze, statement
from jishan_server.organizations.roles import Permission, permit, resident_of_actor
from jishan_server.people import accounts, consents, sessions
from jishan_server.people.attachment_tables import attachments
from jishan_server.people.credentials import account_of, masked
from jishan_server.people.one_person import records_of
from jishan_server.people.privacy_tables import KEPT_AT_LEAST_DAYS, personal_accesses
from jishan_server.people.residents import estate_of, view
from jishan_server.people.tables import cards, resident_tokens, residents, skills, staff
from jishan_server.writer import Operation, Outcome, operations

RETAIN: Final = "retain"
DAYS_OF_A_MONTH: Final = 31
"""A month of keeping is never shorter than a month of the calendar."""
MAX_REMOVED_AT_ONCE: Final = 2_000
"""Rows in one call of the timer: some milliseconds."""
PAGE: Final = 500
"""Entries of the ledger read at a time for an export."""
ERASED_NAME: Final = "已匿名"
SECRET_WORDS: Final = ("hash", "password", "token", "secret", "salt")


@dataclass(frozen=True, slots=True)
class NoteAccess:
    """`actor` looked at `what` of a resident, or (None) at a list of so many `people`."""

    actor: str
    what: str
    resident_id: str | None
    people: int
    request_id: str


@dataclass(frozen=True, slots=True)
class EraseResident:
    actor: str
    resident_id: str
    reason: Literal["asked", "left", "died", "no_longer_needed"]


def note_accesses(connection: Connection, noted: Sequence[Operation], now: datetime) -> list[Outcome]:
    """Write down who looked, all in one statement."""
    connection.execute(
        insert(personal_accesses),
        [
            {
                "recorded_at": now,
                "actor": one.body.actor,
                "what": one.body.what,
                "resident_id": one.body.resident_id,
                "people": one.body.people,
                "request_id": one.body.request_id,
            }
            for one in noted
        ],
    )
    return [Outcome() for _ in noted]


def accesses(
    connection: Connection, actor: str, resident_id: str, before: int | None, limit: int
) -> tuple[list[dict[str, Any]], int | None]:
    """Who looked at a resident, newest first, and where the next page starts; for inspectors, and for oneself.

    Refusals: resident_unknown, forbidden.
    """
    estate_id = estate_of(connection, resident_id)
    if resident_of_actor(actor) != resident_id:
        permit(connection, actor, Permission.AUDIT_READ, estate_id)
    a = personal_accesses.c
    query = (
        select(personal_accesses, staff.c.name.label("staff_name"))
        .outerjoin(staff, staff.c.id == a.actor)
        .where(a.resident_id.in_(records_of(connection, resident_id)))
        .order_by(a.number.desc())
        .limit(limit + 1)
    )
    rows = connection.execute(query if before is None else query.where(a.number < before)).all()
    views = [
        {"actor": row.actor, "staff_name": row.staff_name, "what": row.what, "recorded_at": iso(row.recorded_at)}
        for row in rows[:limit]
    ]
    return views, rows[limit - 1].number if len(rows) > limit else None


def public_name(name: str) -> str:
    """A name as it may hang on a board: 王建华 becomes 王*华."""
    return masked(name)


def public_names(connection: Connection, resident_ids: Collection[str]) -> dict[str, str]:
    """The masked names of those among `resident_ids` who have agreed to be shown; nobody else is in it."""
    r = residents.c
    ids = list(resident_ids)
    found: dict[str, str] = {}
    for start in range(0, len(ids), consents.MAX_IDS):
        rows = connection.execute(
            select(r.id, r.name).where(r.id.in_(ids[start : start + consents.MAX_IDS]), r.consent_state == "given")
        )
        found |= {row.id: public_name(row.name) for row in rows}
    return found


def export(connection: Connection, actor: str, resident_id: str, now: datetime) -> dict[str, Any]:
    """Everything that is kept of a person, as one JSON document, for themselves or for staff who hand it to them.

    Refusals: resident_unknown, forbidden.
    """
    permit(connection, actor, Permission.PERSONAL_EXPORT, estate_of(connection, resident_id), about=resident_id)
    ids = records_of(connection, resident_id)
    ending = connection.scalar(select(residents.c.id_number_ending).where(residents.c.id == resident_id))
    return {
        "made_at": iso(now),
        "profile": view(connection, resident_id) | {"id_number_ending": ending},
        "consents": consents.history(connection, resident_id),
        "points": accounts.balance(connection, resident_id),
        "entries": _entries(connection, resident_id),
        "records": {
            table.name: rows
            for table in all_tables().sorted_tables
            if "resident_id" in table.c and (rows := _rows(connection, table, ids))
        },
    }


def _entries(connection: Connection, resident_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    mark: Mark | None = None
    while True:
        lines, mark = statement(connection, account_of(resident_id), mark, PAGE)
        found += [
            {
                "sequence": line.sequence,
                "kind": line.kind.value,
                "posted_change_points": line.posted_change,
                "held_change_points": line.held_change,
                "posted_points": line.posted,
                "held_points": line.held,
                "cause_type": line.cause_type,
                "cause_id": line.cause_id,
                "reason": line.reason,
                "rule_version": line.rule_version,
                "expires_at": iso(line.expires_at),
                "recorded_at": iso(line.recorded_at),
            }
            for line in lines
        ]
        if mark is None:
            return found


def _rows(connection: Connection, table: Table, resident_ids: Collection[str]) -> list[dict[str, Any]]:
    shown = [
        column
        for column in table.columns
        if not column.info.get("not_exported")
        and not any(word in column.name for word in SECRET_WORDS)
        and not isinstance(column.type, LargeBinary)
    ]
    rows = connection.execute(
        select(*shown).where(table.c.resident_id.in_(resident_ids)).order_by(*table.primary_key)
    ).mappings()
    return [{name: iso(value) if isinstance(value, datetime) else value for name, value in row.items()} for row in rows]


def erase(connection: Connection, operation: Operation, now: datetime) -> dict[str, Any]:
    """Make a resident anonymous, for good. Refusals: resident_unknown, forbidden, resident_erased, resident_busy while
    a redemption is open."""
    body: EraseResident = operation.body
    permit(connection, body.actor, Permission.PERSONAL_ERASE, estate_of(connection, body.resident_id))
    r = residents.c
    row = connection.execute(select(r.erased_at, r.consent_state).where(r.id == body.resident_id)).one()
    if row.erased_at is not None:
        raise DomainError("resident_erased")
    account_id = account_of(body.resident_id)
    if balances(connection, [account_id])[account_id].held:
        raise DomainError("resident_busy")
    ids = records_of(connection, body.resident_id)
    if row.consent_state == "given":
        consents.write(connection, now, [consents.Entry(body.resident_id, False, "desk", body.actor)])
    connection.execute(
        update(residents)
        .where(r.id.in_(ids))
        .values(
            name=ERASED_NAME,
            **dict.fromkeys(_FORGOTTEN),
            consent_state="withdrawn",
            state="frozen",
            erased_at=now,
        )
    )
    freeze(connection, [account_id], True)
    _forget_cards(connection, operation, now, ids)
    sessions.end_all(connection, body.resident_id)
    for table in (skills, attachments):
        connection.execute(delete(table).where(table.c.resident_id.in_(ids)))
    for table in all_tables().sorted_tables:
        personal = [column.name for column in table.columns if column.info.get("personal")]
        if personal and "resident_id" in table.c:
            connection.execute(update(table).where(table.c.resident_id.in_(ids)).values(dict.fromkeys(personal)))
    for id in ids:
        notes.forget(connection, id)
    _forget_answers(connection, ids)
    audit.record(
        connection,
        now,
        actor=body.actor,
        action="resident_erased",
        subject=("resident", body.resident_id),
        operation_id=operation.id,
        details={"reason": body.reason},
    )
    return view(connection, body.resident_id)


_FORGOTTEN: Final = (
    "phone",
    "pin_hash",
    "sex",
    "birth_day",
    "of_age_at",
    "id_number_hash",
    "id_number_ending",
    "building",
    "unit",
    "room",
    "email",
    "category",
    "consent_asked_at",
    "consent_asked_by",
)


def _forget_cards(connection: Connection, operation: Operation, now: datetime, resident_ids: Collection[str]) -> None:
    """Leave the rows of the cards, with nothing in them that a card could be known by."""
    c = cards.c
    for id in connection.scalars(select(c.id).where(c.resident_id.in_(resident_ids))).all():
        nobodys = derived_id(operation.id, f"card {id}")
        connection.execute(
            update(cards)
            .where(c.id == id)
            .values(hash=nobodys, ending="", state="blocked", blocked_at=now, blocked_reason="returned")
        )


def _forget_answers(connection: Connection, resident_ids: Collection[str]) -> None:
    """The writer remembers what it answered about this person: sent again, such an operation is refused from now on."""
    e = audit.entries.c
    about = select(e.operation_id).where(e.subject_type == "resident", e.subject_id.in_(resident_ids))
    connection.execute(
        update(operations)
        .where(operations.c.id.in_(about))
        .values(response_json='{"code": "resident_erased", "fields": {}}')
    )


def retain(connection: Connection, asked: Sequence[Operation], now: datetime, months: int) -> list[Outcome]:
    """Remove, a piece at a time, what is older than it is kept: who looked, and residents' tokens that have ended."""
    a = personal_accesses.c
    days = max(months * DAYS_OF_A_MONTH, KEPT_AT_LEAST_DAYS + 1)
    # By the newest row, as the table's trigger does: a clock that jumped ahead lets nothing go.
    newest = connection.scalar(select(a.recorded_at).order_by(a.recorded_at.desc()).limit(1))
    if newest is not None:
        old = (
            select(a.number)
            .where(a.recorded_at < min(now, newest) - timedelta(days=days))
            .order_by(a.recorded_at)
            .limit(MAX_REMOVED_AT_ONCE)
        )
        connection.execute(delete(personal_accesses).where(a.number.in_(old)))
    connection.execute(delete(resident_tokens).where(resident_tokens.c.expires_at < now))
    return [Outcome() for _ in asked]
