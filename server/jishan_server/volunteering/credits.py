"""Credits of single people: recorded by one person, approved by another, rejected, taken back, looked at.

The recorder never approves, and nobody approves a credit to themselves. A wrong credit is corrected by a reversal and a
new one (`corrections`); nothing is edited. A reversal takes what is available; what is spent already becomes owed, and
later credits pay it first (decisions, "The ledger"). What an approval leads to stands in `crediting`.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, time
from functools import cache
from typing import Any, Final

from sqlalchemy import Connection, and_, or_, select

from jishan_server import audit
from jishan_server.db import from_ms, to_ms
from jishan_server.errors import DomainError
from jishan_server.ids import derived_id, timed_derived_id
from jishan_server.ledger import notes
from jishan_server.ledger.model import Refused
from jishan_server.ledger.store import book
from jishan_server.memory import once
from jishan_server.organizations.calendar import parse_day
from jishan_server.organizations.roles import Permission, is_permitted, permit, scope
from jishan_server.people.messages import tell
from jishan_server.people.one_person import is_same_person, records_of, survivor_of, whose
from jishan_server.people.residents import estate_of, living
from jishan_server.people.staff import resident_of
from jishan_server.volunteering.credit_states import Event, State, follow
from jishan_server.volunteering.crediting import (
    GENERAL,
    Work,
    go_on,
    locked,
    price,
    record,
    reversal,
    reversal_message,
    taken_back,
    view,
    views,
    write_decision,
)
from jishan_server.volunteering.rule_versions import ensure_first
from jishan_server.volunteering.rules import MAX_MINUTES, MAX_POINTS, CreditRules, Source
from jishan_server.volunteering.tables import credits
from jishan_server.writer import Operation, Outcome

NOT_DECIDED: Final = (State.RECORDED, State.WAITING_CONSENT)


@dataclass(frozen=True, slots=True)
class RecordCredit:
    """Either `minutes` or `points`; `activity` says what was done, `reason` why it is credited.

    `day` (YYYY-MM-DD) is when it was done, today without it; `source` how it is known, `rules.Source`.
    """

    actor: str
    resident_id: str
    minutes: int | None
    points: int | None
    activity: str
    reason: str
    day: str | None = None
    source: str = Source.LIST_ON_THE_SPOT.value
    activity_type: str = GENERAL
    counts_as_service: bool = True
    category: str | None = None
    place: str | None = None
    person_in_charge: str | None = None
    # Random, for the note with the words (`ledger.notes`); without one the ledger's row carries no note.
    salt: str | None = field(default=None, repr=False, metadata={"secret": True})


@dataclass(frozen=True, slots=True)
class DecideCredit:
    """`reason` is required to reject."""

    actor: str
    credit_id: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ReverseCredit:
    """Take a final credit back; `reason` is required."""

    actor: str
    credit_id: str
    reason: str
    salt: str | None = field(default=None, repr=False, metadata={"secret": True})


def record_credit(connection: Connection, operation: Operation, now: datetime, rules: CreditRules) -> dict[str, Any]:
    """Record a credit that waits for another person's approval. No points move yet.

    Refusals: resident_unknown, forbidden, resident_elsewhere, resident_closed, credit_amount, minutes_invalid,
    points_invalid, day_invalid, worked_day_ahead.
    """
    body: RecordCredit = operation.body
    estate_id = estate_of(connection, body.resident_id)
    if not is_permitted(connection, body.actor, Permission.CREDIT_RECORD, estate_id):
        scope(connection, body.actor, Permission.CREDIT_RECORD)
        raise DomainError("resident_elsewhere")
    if (body.minutes is None) == (body.points is None):
        raise DomainError("credit_amount")
    if body.minutes is not None and not 1 <= body.minutes <= MAX_MINUTES:
        raise DomainError("minutes_invalid")
    if body.points is not None and not 1 <= body.points <= MAX_POINTS:
        raise DomainError("points_invalid")
    # What is recorded for a record that was merged goes to the survivor.
    resident_id = survivor_of(connection, body.resident_id)
    living(connection, resident_id)
    today = now.astimezone(rules.zone).date()
    day = today if body.day is None else parse_day(body.day)
    if day > today:
        raise DomainError("worked_day_ahead")
    id = timed_derived_id(operation.id, "credit", now)
    words = f"{body.activity}\n{body.reason}"
    work = Work(
        id=id,
        resident_id=resident_id,
        estate_id=estate_id,
        minutes=body.minutes,
        points=body.points,
        source=Source(body.source),
        title=body.activity,
        reason=body.reason,
        worked_at=now if day == today else datetime.combine(day, time(), rules.zone),
        day=day,
        activity_type=body.activity_type,
        counts_as_service=body.counts_as_service,
        category=body.category,
        place=body.place,
        person_in_charge=body.person_in_charge,
        note=_noted(connection, operation, body.resident_id, words),
    )
    ensure_first(connection, rules, now)
    (row,) = record(connection, price(connection, [work]), body.actor, now)
    entry = audit.Entry(body.actor, "credit_recorded", ("credit", row["id"]), operation.id)
    audit.record_all(connection, now, [entry])
    return one(connection, row["id"])


def approve_credits(
    connection: Connection, operations: Sequence[Operation], now: datetime, rules: CreditRules
) -> list[Outcome]:
    """Approve recorded credits: a mass kind, a handful of statements for any number.

    Refusals: credit_unknown, forbidden, credit_closed, credit_same_person, credit_own, and the ledger's.
    """
    return once(connection, operations, now, lambda fresh: _approve(connection, fresh, now, rules))


def _approve(
    connection: Connection, operations: Sequence[Operation], now: datetime, rules: CreditRules
) -> list[Outcome]:
    decisions = [(operation.body, operation.id) for operation in operations]
    errors, rows = approve(connection, decisions, now, rules)
    shown = views(rows.values())
    return [
        Outcome(shown[body.credit_id]) if error is None else Outcome(error=error)
        for (body, _), error in zip(decisions, errors, strict=True)
    ]


def approve(
    connection: Connection, decisions: Sequence[tuple[DecideCredit, str]], now: datetime, rules: CreditRules
) -> tuple[list[DomainError | None], dict[str, dict[str, Any]]]:
    """Approve credits by operations (body, id): why not, for each in order, and the credits as they stand by id.

    The first approval of a credit that is not refused wins; those after it see it closed.
    """
    found = locked(connection, {body.credit_id for body, _ in decisions})
    judge = Judge(connection, found)
    errors: list[DomainError | None] = []
    approved: dict[str, tuple[int, DecideCredit, str]] = {}
    for place, (body, operation_id) in enumerate(decisions):
        error = judge.refusal(body)
        errors.append(error)
        if error is None:
            row = found[body.credit_id]
            row["state"] = follow(row["state"], Event.APPROVED).value
            row |= {"decided_by": body.actor, "decided_at": now, "decision_reason": body.reason or None}
            approved[body.credit_id] = (place, body, operation_id)
    refusals = go_on(connection, [found[id] for id in approved], now, rules)
    noted = []
    for id, (place, body, operation_id) in approved.items():
        errors[place] = refusals.get(id)
        if id not in refusals:
            stands = {"state": found[id]["state"]}
            noted.append(audit.Entry(body.actor, "credit_approved", ("credit", id), operation_id, stands))
    audit.record_all(connection, now, noted)
    return errors, found


def reject_credit(connection: Connection, operation: Operation, now: datetime) -> dict[str, Any]:
    """Reject a recorded credit, with a reason. No points move.

    Refusals: reason_required, credit_unknown, forbidden, credit_same_person, credit_closed.
    """
    body: DecideCredit = operation.body
    if not body.reason.strip():
        raise DomainError("reason_required")
    found = locked(connection, {body.credit_id})
    error = Judge(connection, found).refusal(body, is_approval=False)
    if error is not None:
        raise error
    write_decision(connection, found[body.credit_id], Event.REJECTED, body.actor, body.reason, now)
    entry = audit.Entry(body.actor, "credit_rejected", ("credit", body.credit_id), operation.id)
    audit.record_all(connection, now, [entry])
    return one(connection, body.credit_id)


def reverse_credit(connection: Connection, operation: Operation, now: datetime, rules: CreditRules) -> dict[str, Any]:
    """Take a final credit's points back, once: what is available at once, the rest as what the resident owes. Its
    service record is valid no longer.

    Refusals: reason_required, credit_unknown, forbidden, reversal_own, already_reversed, credit_not_approved,
    correction_open.
    """
    body: ReverseCredit = operation.body
    if not body.reason.strip():
        raise DomainError("reason_required")
    found = final_credit(connection, body.credit_id, body.actor)
    if found["transfer_id"] is not None:
        note = _noted(connection, operation, found["resident_id"], body.reason)
        (answer,) = book(connection, [reversal(found, body.actor, "credit_reversed", note)], now, rules.zone)
        if isinstance(answer, Refused):
            raise DomainError(answer.code, **answer.fields)
    taken_back(connection, [(found, body.actor, body.reason)], now)
    tell(connection, now, [reversal_message(found)])
    entry = audit.Entry(body.actor, "credit_reversed", ("credit", body.credit_id), operation.id)
    audit.record_all(connection, now, [entry])
    return one(connection, body.credit_id)


def _noted(connection: Connection, operation: Operation, resident_id: str, words: str) -> str | None:
    """Keep the words of an operation in a note, where it brings a salt; the hash for the ledger's row."""
    salt: str | None = operation.body.salt
    return None if salt is None else notes.write(connection, derived_id(operation.id, "note"), resident_id, words, salt)


def final_credit(connection: Connection, credit_id: str, actor: str) -> dict[str, Any]:
    """A locked credit that `actor` may take back or correct.

    Refusals: credit_unknown, forbidden, reversal_own, already_reversed, credit_not_approved, correction_open.
    """
    found = locked(connection, {credit_id}).get(credit_id)
    if found is None:
        raise DomainError("credit_unknown", id=credit_id)
    permit(connection, actor, Permission.CREDIT_REVERSE, found["estate_id"])
    if is_same_person(connection, resident_of(connection, actor), found["resident_id"]):
        raise DomainError("reversal_own")
    follow(found["state"], Event.REVERSED)
    correction = select(credits.c.id).where(credits.c.corrects_id == credit_id, credits.c.state != State.REJECTED)
    if connection.scalar(correction) is not None:
        raise DomainError("correction_open")
    return found


def credit(connection: Connection, actor: str, credit_id: str) -> dict[str, Any]:
    """One credit for `actor`; refusals: credit_unknown, forbidden."""
    found = one(connection, credit_id)
    about = whose(connection, actor, found["resident_id"])
    permit(connection, actor, Permission.CREDIT_READ, found["estate_id"], about=about)
    return found


def page(
    connection: Connection,
    estate_ids: Collection[str] | None,
    *,
    state: str | None = None,
    resident_id: str | None = None,
    session_id: str | None = None,
    after: tuple[int, str] | None,
    limit: int,
) -> tuple[list[dict[str, Any]], tuple[int, str] | None]:
    """Credits of these estates (None: of any), oldest first, from `after` (ms of recording, id); and where the next
    page starts.
    """
    query = select(credits)
    if estate_ids is not None:
        query = query.where(credits.c.estate_id.in_(estate_ids))
    if resident_id is not None:
        query = query.where(credits.c.resident_id.in_(records_of(connection, resident_id)))
    for column, wanted in (("state", state), ("session_id", session_id)):
        if wanted is not None:
            query = query.where(credits.c[column] == wanted)
    if after is not None:
        at, id = from_ms(after[0]), after[1]
        query = query.where(or_(credits.c.recorded_at > at, and_(credits.c.recorded_at == at, credits.c.id > id)))
    rows = connection.execute(query.order_by(credits.c.recorded_at, credits.c.id).limit(limit + 1)).mappings().all()
    shown = rows[:limit]
    last = (to_ms(shown[-1]["recorded_at"]), shown[-1]["id"]) if len(rows) > limit else None
    return [view(dict(row)) for row in shown], last


def one(connection: Connection, credit_id: str) -> dict[str, Any]:
    """One credit; refusal: credit_unknown."""
    row = connection.execute(select(credits).where(credits.c.id == credit_id)).mappings().one_or_none()
    if row is None:
        raise DomainError("credit_unknown", id=credit_id)
    return view(dict(row))


def credits_by_id(connection: Connection, credit_ids: Collection[str]) -> dict[str, dict[str, Any]]:
    """The credits behind rows of a statement, by id."""
    rows = connection.execute(select(credits).where(credits.c.id.in_(credit_ids))).mappings()
    return views(dict(row) for row in rows)


class Judge:
    """Says why a credit may not be decided; asks once for each person and estate of a batch."""

    def __init__(self, connection: Connection, found: dict[str, dict[str, Any]]) -> None:
        self._found = found
        self._may = cache(lambda actor, estate: is_permitted(connection, actor, Permission.CREDIT_APPROVE, estate))
        self._resident_of = cache(lambda actor: resident_of(connection, actor))
        self._is_same_person = cache(lambda one, other: is_same_person(connection, one, other))

    def refusal(self, body: DecideCredit, *, is_approval: bool = True) -> DomainError | None:
        """Why this decision is refused, if it is."""
        credit = self._found.get(body.credit_id)
        if credit is None:
            return DomainError("credit_unknown", id=body.credit_id)
        if not self._may(body.actor, credit["estate_id"]):
            return DomainError("forbidden", permission=Permission.CREDIT_APPROVE.value)
        if credit["state"] not in (NOT_DECIDED[:1] if is_approval else NOT_DECIDED):
            return DomainError("credit_closed", state=credit["state"])
        if credit["recorded_by"] == body.actor:
            return DomainError("credit_same_person")
        if is_approval and self._is_same_person(self._resident_of(body.actor), credit["resident_id"]):
            return DomainError("credit_own")
        return None
