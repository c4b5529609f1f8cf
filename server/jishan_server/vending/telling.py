"""What the resident is told of a redemption that did not simply end well, and by when there is an answer.

Told in the transaction of what it is about, once for each turn. The day by which a doubt is answered is fixed when the
doubt begins: a promise does not move with the calendar. Every give-back that the machine itself brought about makes a
report that is over already, so that what went wrong can be counted and the resident has a ticket for it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime, tzinfo
from typing import Final

from sqlalchemy import Connection, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from jishan_protocol.redemption import Event, State
from jishan_server.db import remembered
from jishan_server.organizations.calendar import calendar
from jishan_server.people.message_texts import TEXTS, Words
from jishan_server.people.messages import Message, tell
from jishan_server.vending.model import Redemption
from jishan_server.vending.report_tables import reports
from jishan_server.vending.tables import alerts, products

REDEMPTION_OPEN: Final = "redemption_open"
"""The alert that a redemption in doubt, or open for too long, has; its number is the ticket that a resident is told."""

_PRODUCT_NAMES: Final = "names of products"
DONE: Final = "redemption_done"
IN_DOUBT: Final = "redemption_in_doubt"
REFUNDED: Final = "redemption_refunded"

_AFTER_DOUBT: Final[Mapping[tuple[State, Event], str]] = {
    (State.CAPTURED, Event.DISPENSED): "redemption_proved",
    (State.CAPTURED, Event.PROVED_DISPENSED): "redemption_proved",
    (State.CAPTURED, Event.RESOLVED_DISPENSED): "redemption_decided_against",
    (State.VOIDED, Event.NOT_STARTED): REFUNDED,
}
_WITHOUT_DOUBT: Final[Mapping[tuple[State, Event], str]] = {(State.CAPTURED, Event.DISPENSED): DONE}
_ALWAYS: Final[Mapping[tuple[State, Event], str]] = {
    (State.VOIDED, Event.NOT_DISPENSED): REFUNDED,
    (State.VOIDED, Event.PROVED_NOT_DISPENSED): REFUNDED,
    (State.VOIDED, Event.RESOLVED_NOT_DISPENSED): "redemption_decided_for",
    (State.REVERSED, Event.REVERSED): "redemption_decided_for",
}


def kind_of(before: State, after: State, event: Event) -> str | None:
    """The kind of message for a turn of a redemption; None where no points were taken or given back."""
    if after is State.IN_DOUBT:
        return None if before is State.IN_DOUBT else IN_DOUBT
    turn = (after, event)
    return _ALWAYS.get(turn) or (_AFTER_DOUBT if before is State.IN_DOUBT else _WITHOUT_DOUBT).get(turn)


def answer_day(connection: Connection, now: datetime, zone: tzinfo, working_days: int) -> str:
    """The local day by which there is an answer to what came up `now`, as YYYY-MM-DD."""
    return calendar(connection).after(now.astimezone(zone).date(), working_days).isoformat()


def tickets(connection: Connection, redemption_ids: Collection[str]) -> dict[str, int]:
    """The ticket of each redemption that has one: the number of its first alert."""
    query = (
        select(alerts.c.subject, func.min(alerts.c.number))
        .where(alerts.c.kind == REDEMPTION_OPEN, alerts.c.subject.in_(redemption_ids))
        .group_by(alerts.c.subject)
    )
    return {row[0]: row[1] for row in connection.execute(query)}


def report_ticket(number: int) -> str:
    """A report's number as the resident is told it: `R12`, so that nobody takes it for a redemption's ticket."""
    return f"R{number}"


def words_of_doubt(points: int | None, answer_by: str | None, ticket: int | None) -> Words | None:
    """What the resident of a redemption in doubt reads; None where no day was promised."""
    if answer_by is None:
        return None
    fields = _fields(points, answer_by, str(ticket or ""))
    words = TEXTS[IN_DOUBT]
    return Words(words.zh.format_map(fields), words.en.format_map(fields))


def day_fields(answer_by: str | None) -> dict[str, object]:
    """The fields for a text that names a day."""
    day = date.fromisoformat(answer_by) if answer_by else None
    return {} if day is None else {"answer_by": answer_by, "month": day.month, "day": day.day}


def _fields(points: int | None, answer_by: str | None, ticket: str) -> dict[str, object]:
    return {"points": points, "ticket": ticket} | day_fields(answer_by)


def tell_turns(connection: Connection, turns: Sequence[tuple[str, Redemption]], now: datetime) -> None:
    """Tell residents of the turns (kind, redemption after it) of a batch; their alerts are written already."""
    known_to = [(kind, one) for kind, one in turns if one.resident_id is not None]
    told = [(kind, one) for kind, one in known_to if kind != DONE]
    tell(connection, now, _receipts(connection, [one for kind, one in known_to if kind == DONE]))
    if not told:
        return
    ids = {one.id for _, one in told}
    _close_reports(connection, told, now)
    known = {id: str(number) for id, number in tickets(connection, ids).items()}
    numbered = select(reports.c.redemption_id, reports.c.number).where(reports.c.redemption_id.in_(ids))
    known = {row[0]: report_ticket(row[1]) for row in connection.execute(numbered)} | known
    tell(
        connection,
        now,
        [
            Message(
                one.resident_id or "",
                kind,
                _fields(one.points, one.answer_by if kind == IN_DOUBT else None, known.get(one.id, ""))
                | {"redemption_id": one.id},
            )
            for kind, one in told
        ],
    )


def _receipts(connection: Connection, captured: Sequence[Redemption]) -> list[Message]:
    """What the residents of simple captures are told: on the hot path, so that nothing is read but new products."""
    # A product is made once and never renamed.
    names: dict[str | None, tuple[str, str]] = remembered(connection).setdefault(_PRODUCT_NAMES, {})
    if unknown := {one.product_id for one in captured} - names.keys():
        p = products.c
        for row in connection.execute(select(p.id, p.name_zh, p.name_en).where(p.id.in_(unknown))):
            names[row.id] = (row.name_zh, row.name_en)
    return [
        Message(
            one.resident_id or "",
            DONE,
            {"points": one.points, "redemption_id": one.id}
            | dict(zip(("product_zh", "product_en"), names.get(one.product_id, ("", "")), strict=True)),
        )
        for one in captured
    ]


def _close_reports(connection: Connection, told: Sequence[tuple[str, Redemption]], now: datetime) -> None:
    """Make the reports of what the machine gave back, and close those that somebody made of what is given back now."""
    rows = [
        {
            "estate_id": one.estate_id,
            "resident_id": one.resident_id,
            "redemption_id": one.id,
            "machine_id": one.machine_id,
            "kind": "not_out",
            "words": "",
            "attachment_ids": "[]",
            "made_via": "automatic",
            "made_by": "system",
            "state": "given_back",
            "decided_by": "system",
            "decided_at": now,
            "recorded_at": now,
        }
        for kind, one in told
        if kind == REFUNDED
    ]
    if rows:
        dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
        connection.execute(dialect.insert(reports).on_conflict_do_nothing(), rows)
    back = [one.id for _, one in told if one.state in (State.VOIDED, State.REVERSED)]
    if back:
        connection.execute(
            update(reports)
            .where(reports.c.redemption_id.in_(back), reports.c.state.in_(("open", "proposed")))
            .values(state="given_back", decided_by="system", decided_at=now)
        )
