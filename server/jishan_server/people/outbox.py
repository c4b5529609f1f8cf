"""The outbox: which messages go to whom on which channel, and what became of each.

- `claim` plans what was told since the mark in `message_marks`, set-based and off the hot path, and takes what is due
  under a lease. Whoever takes it sends outside of this transaction, and says with `conclude` what came of it.
- A row for each message and channel, unique: planning twice makes nothing twice. Two gateways never take one row at
  once; a row whose taker died is taken again when its lease is over. So a message is sent at least once, and always
  under one id (`delivery.sending_id`), by which the other side knows a double.
- Nobody is written to who has not agreed to records about them, or has no address on that channel any more.
- Addresses are in no row of the outbox and in no remembered answer: `claim` looks them up each time.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, RowMapping, bindparam, func, literal, select, update
from sqlalchemy.dialects import postgresql, sqlite

from jishan_server import audit
from jishan_server.db import Instant, to_ms
from jishan_server.errors import DomainError
from jishan_server.instants import iso
from jishan_server.organizations.roles import Permission, permit
from jishan_server.people.delivery import (
    GIVE_UP_AFTER,
    LEASE,
    MAX_AGE,
    MAX_TRIES,
    URGENT,
    Outcome,
    QuietHours,
    next_try,
    sending_id,
)
from jishan_server.people.message_tables import message_channels, message_marks, message_sendings, messages
from jishan_server.people.messages import text_of
from jishan_server.people.residents import estate_of
from jishan_server.people.tables import residents
from jishan_server.writer import Operation
from jishan_server.writer import Outcome as Answer

CLAIM: Final = "claim_sendings"
CONCLUDE: Final = "conclude_sendings"

MAX_PLANNED: Final = 20_000
"""Messages looked at in one call: some ten milliseconds of the writer."""
MAX_CLAIMED: Final = 20
"""Letters taken at once; what is not sent within `delivery.MAX_SENDING` goes back untried."""
SETTLED: Final = timedelta(minutes=1)
"""With several writers a smaller number may be committed later than a larger one, but not so much later."""

_m, _r, _s, _c = messages.c, residents.c, message_sendings.c, message_channels.c


@dataclass(frozen=True, slots=True)
class Letter:
    """One message on its way: `to` is an e-mail address, a phone number, an openid, or for a webhook the resident."""

    id: str
    sending: int
    tries: int
    channel: str
    to: str
    resident_id: str
    member_number: str
    language: str
    kind: str
    text: str
    fields: str
    recorded_at: datetime

    def __repr__(self) -> str:
        """Say which it is: address and words must not reach a log."""
        return f"Letter({self.id})"


@dataclass(frozen=True, slots=True)
class Claim:
    """Ask for what is due on these channels; those that are down now are left out."""

    channels: frozenset[str]


class Tried(NamedTuple):
    """What became of the letter of a sending, taken for the `tries`-th time."""

    sending: int
    tries: int
    outcome: Outcome
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Resend:
    actor: str
    number: int


def claim(
    connection: Connection,
    asked: Sequence[Operation],
    now: datetime,
    channels: Collection[str],
    quiet: QuietHours,
    zone: tzinfo,
) -> list[Answer]:
    """Plan, and give the letters that are due now to the first who asks: a list of Letter, the others' are empty."""
    _plan(connection, channels, now)
    live = sorted({channel for one in asked for channel in one.body.channels})
    due = (
        select(_s.number)
        .where(_s.state == "waiting", _s.due_at <= now, _s.channel.in_(live))
        .order_by(_s.due_at, _s.number)
        .limit(MAX_CLAIMED)
        .with_for_update(skip_locked=True)
    )
    if quiet.holds(now, zone):
        due = due.where(_s.is_urgent.is_(True))
    letters = _taken(connection, connection.scalars(due).all(), now)
    return [Answer(letters if place == 0 else []) for place in range(len(asked))]


def _plan(connection: Connection, channels: Collection[str], now: datetime) -> None:
    """Put what was told since the mark into the outbox of those who chose a channel."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    if connection.scalar(select(message_marks.c.id)) is None:
        connection.execute(dialect.insert(message_marks).values(id=1, message_number=0).on_conflict_do_nothing())
    mark = connection.scalar(select(message_marks.c.message_number).with_for_update(skip_locked=True))
    if mark is None:
        return  # Another gateway is planning.
    window = select(_m.number).where(_m.number > mark).order_by(_m.number).limit(MAX_PLANNED).subquery()
    upto = connection.scalar(select(func.max(window.c.number)))
    if upto is None:
        return
    chosen = (
        select(
            _m.number,
            _c.channel,
            _m.resident_id,
            literal("waiting"),
            _m.kind.in_(sorted(URGENT)),
            literal(now, Instant),
            literal(0),
            literal(now, Instant),
        )
        .join(message_channels, _c.resident_id == _m.resident_id)
        .join(residents, _r.id == _m.resident_id)
        .where(_m.number > mark, _m.number <= upto)
        .where(_m.recorded_at >= _c.since_at, _m.recorded_at >= now - MAX_AGE, _c.channel.in_(channels))
        .where(_r.consent_state == "given")
    )
    columns = ("message_number", "channel", "resident_id", "state", "is_urgent", "planned_at", "tries", "due_at")
    connection.execute(dialect.insert(message_sendings).from_select(columns, chosen).on_conflict_do_nothing())
    if dialect is postgresql:
        # What is planned twice makes nothing twice.
        upto = connection.scalar(
            select(func.max(_m.number)).where(_m.number > mark, _m.number <= upto, _m.recorded_at <= now - SETTLED)
        )
    if upto is not None:
        connection.execute(update(message_marks).values(message_number=upto))


def _taken(connection: Connection, numbers: Sequence[int], now: datetime) -> list[Letter]:
    """Lease these rows and read their letters; those that cannot be sent any more are ended here."""
    if not numbers:
        return []
    connection.execute(
        update(message_sendings).where(_s.number.in_(numbers)).values(tries=_s.tries + 1, due_at=now + LEASE)
    )
    query = (
        select(
            _s.number,
            _s.message_number,
            _s.tries,
            _s.channel,
            _s.resident_id,
            _s.planned_at,
            _m.kind,
            _m.fields,
            _m.recorded_at,
            _c.channel.label("chosen"),
            _c.address,
            _r.email,
            _r.phone,
            _r.member_number,
            _r.language,
            _r.consent_state,
        )
        .select_from(message_sendings)
        .join(messages, _m.number == _s.message_number)
        .join(residents, _r.id == _s.resident_id)
        .outerjoin(message_channels, (_c.resident_id == _s.resident_id) & (_c.channel == _s.channel))
        .where(_s.number.in_(numbers))
        .order_by(_s.number)
    )
    letters, ended = [], []
    for row in connection.execute(query).mappings():
        to, why_not = _address(row), _why_not(row, now)
        if why_not is not None or to is None:
            state = "failed" if why_not in ("lost", "too_late") else "dropped"
            ended.append({"row": row["number"], "became": state, "why": why_not or "no_address"})
        else:
            letters.append(_letter(row, to))
    if ended:
        connection.execute(
            update(message_sendings)
            .where(_s.number == bindparam("row"))
            .values(state=bindparam("became"), problem=bindparam("why"), ended_at=now),
            ended,
        )
    return letters


def _why_not(row: RowMapping, now: datetime) -> str | None:
    if row["consent_state"] != "given":
        return "no_consent"
    if row["chosen"] is None:
        return "switched_off"
    if row["planned_at"] < now - GIVE_UP_AFTER:
        return "too_late"
    # Whoever took it for the last time has died on the way.
    return "lost" if row["tries"] > MAX_TRIES else None


def _address(row: RowMapping) -> str | None:
    found: str | None = {
        "email": row["email"],
        "sms": row["phone"],
        "wechat": row["address"],
        "webhook": row["resident_id"],
    }[row["channel"]]
    return found


def _letter(row: RowMapping, to: str) -> Letter:
    return Letter(
        id=sending_id(row["message_number"], to_ms(row["recorded_at"]), row["channel"]),
        sending=row["number"],
        tries=row["tries"],
        channel=row["channel"],
        to=to,
        resident_id=row["resident_id"],
        member_number=row["member_number"],
        language=row["language"],
        kind=row["kind"],
        text=text_of(row["kind"], row["fields"], row["language"]),
        fields=row["fields"] or "{}",
        recorded_at=row["recorded_at"],
    )


def conclude(connection: Connection, asked: Sequence[Operation], now: datetime) -> list[Answer]:
    """Write down what came of letters; each body is a tuple of Tried. What somebody took anew meanwhile is theirs."""
    rows = [_concluded(one, now) for operation in asked for one in operation.body]
    if rows:
        connection.execute(
            update(message_sendings)
            .where(_s.number == bindparam("row"), _s.tries == bindparam("taken"), _s.state == "waiting")
            .values(
                {name: bindparam(f"new_{name}") for name in ("state", "tries", "due_at", "ended_at", "problem")},
            ),
            rows,
        )
    return [Answer() for _ in asked]


def _concluded(one: Tried, now: datetime) -> dict[str, Any]:
    state, tries, due_at = "waiting", one.tries, now
    match one.outcome:
        case Outcome.SENT:
            state = "sent"
        case Outcome.REFUSED:
            state = "failed"
        case Outcome.UNTRIED:
            tries -= 1
        case Outcome.AGAIN:
            again_at = next_try(one.tries, now)
            state, due_at = ("failed", now) if again_at is None else ("waiting", again_at)
    return {
        "row": one.sending,
        "taken": one.tries,
        "new_state": state,
        "new_tries": tries,
        "new_due_at": due_at,
        "new_ended_at": None if state == "waiting" else now,
        "new_problem": one.problem,
    }


def failed(
    connection: Connection, estate_ids: Collection[str], after: int | None, limit: int
) -> tuple[list[dict[str, Any]], int | None]:
    """What could not be sent to residents of these estates, oldest first, and where the next page starts."""
    query = _failed().where(_s.state == "failed", _r.estate_id.in_(estate_ids))
    if after is not None:
        query = query.where(_s.number > after)
    rows = connection.execute(query.order_by(_s.number).limit(limit + 1)).mappings().all()
    return [_view(row) for row in rows[:limit]], rows[limit - 1]["number"] if len(rows) > limit else None


def resend(connection: Connection, operation: Operation, now: datetime) -> dict[str, Any]:
    """Send once more what has failed, as if it were new. Refusals: sending_unknown, forbidden, sending_not_failed."""
    body: Resend = operation.body
    row = connection.execute(select(message_sendings).where(_s.number == body.number)).mappings().one_or_none()
    if row is None:
        raise DomainError("sending_unknown", number=body.number)
    permit(connection, body.actor, Permission.MESSAGE_READ, estate_of(connection, row["resident_id"]))
    if row["state"] != "failed":
        raise DomainError("sending_not_failed", number=body.number)
    connection.execute(
        update(message_sendings)
        .where(_s.number == body.number)
        .values(state="waiting", planned_at=now, tries=0, due_at=now, ended_at=None, problem=None)
    )
    audit.record(
        connection,
        now,
        actor=body.actor,
        action="message_sent_again",
        subject=("resident", row["resident_id"]),
        operation_id=operation.id,
        details={"number": body.number, "channel": row["channel"]},
    )
    return _view(connection.execute(_failed().where(_s.number == body.number)).mappings().one())


def failures(connection: Connection) -> dict[str, int]:
    """How many have failed and stand in the list, by channel."""
    query = select(_s.channel, func.count()).where(_s.state == "failed").group_by(_s.channel)
    return {row[0]: row[1] for row in connection.execute(query)}


def failed_by_estate(connection: Connection) -> dict[str, tuple[int, datetime]]:
    """How many have failed and stand in the list, and when the last of them did, by the estate of the resident."""
    query = select(_r.estate_id, func.count(), func.max(_s.ended_at)).join(residents, _r.id == _s.resident_id)
    rows = connection.execute(query.where(_s.state == "failed").group_by(_r.estate_id))
    return {row[0]: (row[1], row[2]) for row in rows}


def _failed() -> Any:
    return (
        select(message_sendings, _m.kind, _r.estate_id, _r.name, _r.member_number)
        .join(messages, _m.number == _s.message_number)
        .join(residents, _r.id == _s.resident_id)
    )


def _view(row: RowMapping) -> dict[str, Any]:
    shown = ("number", "message_number", "channel", "resident_id", "state", "tries", "problem", "kind")
    return {name: row[name] for name in (*shown, "estate_id", "name", "member_number")} | {
        name: iso(row[name]) for name in ("due_at", "ended_at")
    }
