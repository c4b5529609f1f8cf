"""The inbox: what a resident is told, in the transaction of what it is about, and what they answer to it.

A message is a kind and its fields; the words of each kind stand in `message_texts`, so that a person reads them in
their own language, and a text that was corrected is right in old messages too.

To any message a person may say "this is not me", once. It then waits for the staff of their estate, who look into it
and answer in words; the answer is a message. Nothing is undone by a dispute itself: wrong credits are reversed, lost
cards blocked, by those who may.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, RowMapping, func, insert, select, update

from jishan_server import audit
from jishan_server.errors import DomainError
from jishan_server.instants import iso
from jishan_server.organizations.roles import Permission, permit
from jishan_server.people.message_tables import messages
from jishan_server.people.message_texts import TEXTS
from jishan_server.people.one_person import records_of
from jishan_server.people.residents import estate_of
from jishan_server.people.tables import residents
from jishan_server.writer import Operation

NOTHING: Final = "\u2014"
"""What stands in a text for a field that a message does not have."""

_m, _r = messages.c, residents.c


class Message(NamedTuple):
    """One message to one resident; `fields` fill the text of its kind."""

    resident_id: str
    kind: str
    fields: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class ReadMessage:
    actor: str
    resident_id: str
    number: int


@dataclass(frozen=True, slots=True)
class DisputeMessage:
    """ "This is not me", in the person's own words, which may be none."""

    actor: str
    resident_id: str
    number: int
    words: str = ""


@dataclass(frozen=True, slots=True)
class AnswerDispute:
    actor: str
    number: int
    words: str


def tell(connection: Connection, now: datetime, told: Sequence[Message]) -> None:
    """Put messages into inboxes, all in one statement."""
    if not told:
        return
    assert all(one.kind in TEXTS for one in told), "a message without words"
    connection.execute(
        insert(messages),
        [
            {
                "resident_id": one.resident_id,
                "kind": one.kind,
                "fields": json.dumps(dict(one.fields), ensure_ascii=False, sort_keys=True),
                "recorded_at": now,
            }
            for one in told
        ],
    )


def text_of(kind: str, fields: str | None, language: str) -> str:
    """A message in words; a field that it does not have is a dash, never an error."""
    words = TEXTS[kind].en if language == "en" else TEXTS[kind].zh
    known = json.loads(fields) if fields else {}
    return words.format_map(_Filled({name: NOTHING if value is None else value for name, value in known.items()}))


class _Filled(dict[str, object]):
    def __missing__(self, name: str) -> str:
        return NOTHING


def inbox(
    connection: Connection, actor: str, resident_id: str, before: int | None, limit: int
) -> tuple[list[dict[str, Any]], int | None]:
    """A resident's messages, newest first, and where the next page starts; refusals: resident_unknown, forbidden."""
    permit(connection, actor, Permission.MESSAGE_READ, estate_of(connection, resident_id), about=resident_id)
    query = select(messages, _r.language).join(residents, _r.id == _m.resident_id)
    query = query.where(_m.resident_id.in_(records_of(connection, resident_id)))
    if before is not None:
        query = query.where(_m.number < before)
    rows = connection.execute(query.order_by(_m.number.desc()).limit(limit + 1)).mappings().all()
    return [_view(row) for row in rows[:limit]], rows[limit - 1]["number"] if len(rows) > limit else None


def unread(connection: Connection, resident_id: str) -> int:
    """How many messages a resident has not read."""
    is_own = _m.resident_id.in_(records_of(connection, resident_id))
    query = select(func.count()).where(is_own, _m.read_at.is_(None))
    return int(connection.scalar(query) or 0)


def disputed(
    connection: Connection, estate_ids: Collection[str], is_answered: bool, after: int | None, limit: int
) -> tuple[list[dict[str, Any]], int | None]:
    """Messages of these estates' residents that were disputed, oldest first, and where the next page starts."""
    query = (
        select(messages, _r.language, _r.estate_id, _r.name, _r.member_number)
        .join(residents, _r.id == _m.resident_id)
        .where(_m.disputed_at.is_not(None), _r.estate_id.in_(estate_ids))
        .where(_m.answered_at.is_not(None) if is_answered else _m.answered_at.is_(None))
    )
    if after is not None:
        query = query.where(_m.number > after)
    rows = connection.execute(query.order_by(_m.number).limit(limit + 1)).mappings().all()
    views = [_view(row) | {name: row[name] for name in ("estate_id", "name", "member_number")} for row in rows[:limit]]
    return views, rows[limit - 1]["number"] if len(rows) > limit else None


def read_message(connection: Connection, operation: Operation, now: datetime) -> dict[str, Any]:
    """Note that a person has read a message; a second time changes nothing. Refusals: message_unknown, forbidden."""
    body: ReadMessage = operation.body
    _own(connection, body)
    connection.execute(update(messages).where(_m.number == body.number, _m.read_at.is_(None)).values(read_at=now))
    return _view(_row(connection, body.number))


def dispute_message(connection: Connection, operation: Operation, now: datetime) -> dict[str, Any]:
    """ "This is not me": the staff of the estate see it until they have answered. A message that one disputes is read.

    Refusals: message_unknown, forbidden, message_disputed for a second time.
    """
    body: DisputeMessage = operation.body
    row = _own(connection, body)
    if row["disputed_at"] is not None:
        raise DomainError("message_disputed")
    connection.execute(
        update(messages)
        .where(_m.number == body.number)
        .values(disputed_at=now, dispute_words=body.words, read_at=row["read_at"] or now)
    )
    _note(connection, operation, now, "message_disputed", row)
    return _view(_row(connection, body.number))


def answer_dispute(connection: Connection, operation: Operation, now: datetime) -> dict[str, Any]:
    """Answer a person who said "this is not me"; the answer is a message to them.

    Refusals: reason_required, message_unknown, forbidden, message_not_disputed, message_answered.
    """
    body: AnswerDispute = operation.body
    if not body.words.strip():
        raise DomainError("reason_required")
    row = _row(connection, body.number, to_change=True)
    permit(connection, body.actor, Permission.MESSAGE_READ, estate_of(connection, row["resident_id"]))
    if row["disputed_at"] is None:
        raise DomainError("message_not_disputed")
    if row["answered_at"] is not None:
        raise DomainError("message_answered")
    connection.execute(
        update(messages)
        .where(_m.number == body.number)
        .values(answered_at=now, answered_by=body.actor, answer_words=body.words)
    )
    tell(connection, now, [Message(row["resident_id"], "dispute_answered", {"words": body.words})])
    _note(connection, operation, now, "dispute_answered", row)
    return _view(_row(connection, body.number))


def _own(connection: Connection, body: ReadMessage | DisputeMessage) -> RowMapping:
    """A message of the resident whom the body names, for whoever may see it; somebody else's is unknown."""
    permit(
        connection,
        body.actor,
        Permission.MESSAGE_READ,
        estate_of(connection, body.resident_id),
        about=body.resident_id,
    )
    row = _row(connection, body.number, to_change=True)
    if row["resident_id"] not in records_of(connection, body.resident_id):
        raise DomainError("message_unknown", number=body.number)
    return row


def _row(connection: Connection, number: int, to_change: bool = False) -> RowMapping:
    query = select(messages, _r.language).join(residents, _r.id == _m.resident_id).where(_m.number == number)
    if to_change:
        query = query.with_for_update(of=messages)
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        raise DomainError("message_unknown", number=number)
    return row


def _view(row: RowMapping) -> dict[str, Any]:
    return {
        "number": row["number"],
        "resident_id": row["resident_id"],
        "kind": row["kind"],
        "language": row["language"],
        "text": text_of(row["kind"], row["fields"], row["language"]),
        "fields": json.loads(row["fields"]) if row["fields"] else {},
        "dispute_words": row["dispute_words"],
        "answered_by": row["answered_by"],
        "answer_words": row["answer_words"],
    } | {name: iso(row[name]) for name in ("recorded_at", "read_at", "disputed_at", "answered_at")}


def _note(connection: Connection, operation: Operation, now: datetime, action: str, row: RowMapping) -> None:
    # No words: they stand with the message. About the resident, so that the remembered answer is forgotten with them.
    audit.record(
        connection,
        now,
        actor=operation.body.actor,
        action=action,
        subject=("resident", row["resident_id"]),
        operation_id=operation.id,
        details={"number": row["number"], "kind": row["kind"]},
    )
