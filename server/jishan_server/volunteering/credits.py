"""Credits: recorded by one person, approved by another, and only then posted to the ledger, in the same transaction.

The recorder never approves, and nobody approves a credit to themselves. A wrong credit is corrected by a reversal and a
new one; nothing is edited. A reversal takes what is available; what is spent already becomes owed, and later credits
pay it first (decisions, "The ledger").
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Connection, and_, bindparam, insert, or_, select, update

from jishan_server import audit
from jishan_server.db import from_ms, to_ms
from jishan_server.errors import DomainError
from jishan_server.ids import timed_derived_id
from jishan_server.instants import iso
from jishan_server.ledger.model import Cause, Kind, Refused, Transfer
from jishan_server.ledger.store import book
from jishan_server.memory import once
from jishan_server.organizations.roles import Permission, is_permitted, permit, scope
from jishan_server.people.credentials import account_of
from jishan_server.people.residents import estate_of
from jishan_server.people.staff import resident_of
from jishan_server.volunteering.rules import CreditRules, expires_at, points_of
from jishan_server.volunteering.tables import credits
from jishan_server.writer import Operation, Outcome


@dataclass(frozen=True, slots=True)
class RecordCredit:
    """Either `minutes` or `points`; `activity` says what was done, `reason` why it is credited."""

    actor: str
    resident_id: str
    minutes: int | None
    points: int | None
    activity: str
    reason: str


@dataclass(frozen=True, slots=True)
class DecideCredit:
    """`reason` is required to reject."""

    actor: str
    credit_id: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ReverseCredit:
    """Take an approved credit back; `reason` is required."""

    actor: str
    credit_id: str
    reason: str


def record_credit(connection: Connection, operation: Operation, now: datetime, rules: CreditRules) -> dict[str, Any]:
    """Record a credit that waits for another person's approval. No points move yet.

    Refusals: resident_unknown, forbidden, resident_elsewhere, and those of `points_of`.
    """
    body: RecordCredit = operation.body
    estate_id = estate_of(connection, body.resident_id)
    if not is_permitted(connection, body.actor, Permission.CREDIT_RECORD, estate_id):
        scope(connection, body.actor, Permission.CREDIT_RECORD)
        raise DomainError("resident_elsewhere")
    id = timed_derived_id(operation.id, "credit", now)
    connection.execute(
        insert(credits).values(
            id=id,
            resident_id=body.resident_id,
            estate_id=estate_id,
            minutes=body.minutes,
            points=points_of(rules, body.minutes, body.points),
            rule_version=rules.version,
            activity=body.activity,
            reason=body.reason,
            state="recorded",
            recorded_by=body.actor,
            recorded_at=now,
        )
    )
    entry = audit.Entry(body.actor, "credit_recorded", ("credit", id), operation.id)
    audit.record_all(connection, now, [entry])
    return view(connection, id)


def approve_credits(
    connection: Connection, operations: Sequence[Operation], now: datetime, rules: CreditRules
) -> list[Outcome]:
    """Approve recorded credits and post their points: a mass kind, a handful of statements for any number.

    Refusals: credit_unknown, forbidden, credit_closed, credit_same_person, credit_own, and the ledger's.
    """
    return once(connection, operations, now, lambda fresh: _approve(connection, fresh, now, rules))


def _approve(
    connection: Connection, operations: Sequence[Operation], now: datetime, rules: CreditRules
) -> list[Outcome]:
    bodies: list[DecideCredit] = [operation.body for operation in operations]
    found = _locked(connection, {body.credit_id for body in bodies})
    judge = _Judge(connection, found)
    errors = [judge.refusal(body) for body in bodies]
    # The first approval of a credit that is not refused wins; those after it in the batch see it closed.
    transfers: dict[str, tuple[int, Transfer]] = {}
    for place, body in enumerate(bodies):
        if errors[place] is None and body.credit_id in transfers:
            errors[place] = DomainError("credit_closed", state="approved")
        elif errors[place] is None:
            transfers[body.credit_id] = (place, _posting(found[body.credit_id], body.actor, rules, now))
    answers = book(connection, [transfer for _, transfer in transfers.values()], now, rules.zone)
    booked: list[tuple[Operation, str]] = []
    for (place, transfer), answer in zip(transfers.values(), answers, strict=True):
        if isinstance(answer, Refused):
            errors[place] = DomainError(answer.code, **answer.fields)
        else:
            booked.append((operations[place], transfer.id))
    _close(connection, booked, "approved", now)
    views = credits_by_id(connection, {operation.body.credit_id for operation, _ in booked})
    return [
        Outcome(views[body.credit_id]) if error is None else Outcome(error=error)
        for body, error in zip(bodies, errors, strict=True)
    ]


def _posting(credit: dict[str, Any], actor: str, rules: CreditRules, now: datetime) -> Transfer:
    return Transfer(
        id=f"{credit['id']}-post",
        kind=Kind.POST,
        debit=f"sys:issuance:{credit['estate_id']}",
        credit=account_of(credit["resident_id"]),
        points=credit["points"],
        cause=Cause("credit", credit["id"]),
        actor=actor,
        reason="credit_approved",
        rule_version=credit["rule_version"],
        expires_at=expires_at(rules.expiry, now, rules.zone),
    )


def reject_credit(connection: Connection, operation: Operation, now: datetime) -> dict[str, Any]:
    """Reject a recorded credit, with a reason. No points move.

    Refusals: reason_required, credit_unknown, forbidden, credit_same_person, credit_closed.
    """
    body: DecideCredit = operation.body
    if not body.reason.strip():
        raise DomainError("reason_required")
    error = _Judge(connection, _locked(connection, {body.credit_id})).refusal(body, is_approval=False)
    if error is not None:
        raise error
    _close(connection, [(operation, None)], "rejected", now)
    return view(connection, body.credit_id)


def reverse_credit(connection: Connection, operation: Operation, now: datetime, rules: CreditRules) -> dict[str, Any]:
    """Take an approved credit's points back, once: what is available at once, the rest as what the resident owes.

    Refusals: reason_required, credit_unknown, forbidden, reversal_own, already_reversed, credit_not_approved.
    """
    body: ReverseCredit = operation.body
    if not body.reason.strip():
        raise DomainError("reason_required")
    found = _locked(connection, {body.credit_id}).get(body.credit_id)
    if found is None:
        raise DomainError("credit_unknown", id=body.credit_id)
    permit(connection, body.actor, Permission.CREDIT_REVERSE, found["estate_id"])
    if resident_of(connection, body.actor) == found["resident_id"]:
        raise DomainError("reversal_own")
    if found["state"] == "reversed":
        raise DomainError("already_reversed")
    if found["state"] != "approved":
        raise DomainError("credit_not_approved", state=found["state"])
    reversal = Transfer(
        id=f"{body.credit_id}-back",
        kind=Kind.REVERSAL,
        debit=account_of(found["resident_id"]),
        credit=f"sys:issuance:{found['estate_id']}",
        points=found["points"],
        cause=Cause("credit", body.credit_id),
        actor=body.actor,
        reason="credit_reversed",
        rule_version=found["rule_version"],
        reverses_id=found["transfer_id"],
    )
    (answer,) = book(connection, [reversal], now, rules.zone)
    if isinstance(answer, Refused):
        raise DomainError(answer.code, **answer.fields)
    connection.execute(
        update(credits)
        .where(credits.c.id == body.credit_id)
        .values(
            state="reversed",
            reversed_by=body.actor,
            reversed_at=now,
            reversal_reason=body.reason,
            reversal_transfer_id=reversal.id,
        )
    )
    entry = audit.Entry(body.actor, "credit_reversed", ("credit", body.credit_id), operation.id)
    audit.record_all(connection, now, [entry])
    return view(connection, body.credit_id)


def credit(connection: Connection, actor: str, credit_id: str) -> dict[str, Any]:
    """One credit for `actor`; refusals: credit_unknown, forbidden."""
    found = view(connection, credit_id)
    permit(connection, actor, Permission.CREDIT_READ, found["estate_id"])
    return found


def page(
    connection: Connection,
    estate_ids: Collection[str],
    *,
    state: str | None,
    resident_id: str | None,
    after: tuple[int, str] | None,
    limit: int,
) -> tuple[list[dict[str, Any]], tuple[int, str] | None]:
    """Credits of these estates, oldest first, from `after` (ms of recording, id); and where the next page starts."""
    query = select(credits).where(credits.c.estate_id.in_(estate_ids))
    if state is not None:
        query = query.where(credits.c.state == state)
    if resident_id is not None:
        query = query.where(credits.c.resident_id == resident_id)
    if after is not None:
        at, id = from_ms(after[0]), after[1]
        query = query.where(or_(credits.c.recorded_at > at, and_(credits.c.recorded_at == at, credits.c.id > id)))
    rows = connection.execute(query.order_by(credits.c.recorded_at, credits.c.id).limit(limit + 1)).mappings().all()
    shown = rows[:limit]
    last = (to_ms(shown[-1]["recorded_at"]), shown[-1]["id"]) if len(rows) > limit else None
    return [_view(dict(row)) for row in shown], last


def view(connection: Connection, credit_id: str) -> dict[str, Any]:
    """One credit; refusal: credit_unknown."""
    row = connection.execute(select(credits).where(credits.c.id == credit_id)).mappings().one_or_none()
    if row is None:
        raise DomainError("credit_unknown", id=credit_id)
    return _view(dict(row))


def credits_by_id(connection: Connection, credit_ids: Collection[str]) -> dict[str, dict[str, Any]]:
    """The credits behind rows of a statement, by id."""
    rows = connection.execute(select(credits).where(credits.c.id.in_(credit_ids))).mappings()
    return {row["id"]: _view(dict(row)) for row in rows}


def _locked(connection: Connection, credit_ids: Collection[str]) -> dict[str, dict[str, Any]]:
    """Credits by id, their rows locked in id order until the transaction ends."""
    query = select(credits).where(credits.c.id.in_(credit_ids)).order_by(credits.c.id).with_for_update()
    return {row["id"]: dict(row) for row in connection.execute(query).mappings()}


class _Judge:
    """Says why a credit may not be decided; asks once for each person and estate of a batch."""

    def __init__(self, connection: Connection, found: dict[str, dict[str, Any]]) -> None:
        self._found = found
        self._may = cache(lambda actor, estate: is_permitted(connection, actor, Permission.CREDIT_APPROVE, estate))
        self._resident_of = cache(lambda actor: resident_of(connection, actor))

    def refusal(self, body: DecideCredit, *, is_approval: bool = True) -> DomainError | None:
        """Why this decision is refused, if it is."""
        credit = self._found.get(body.credit_id)
        if credit is None:
            return DomainError("credit_unknown", id=body.credit_id)
        if not self._may(body.actor, credit["estate_id"]):
            return DomainError("forbidden", permission=Permission.CREDIT_APPROVE.value)
        if credit["state"] != "recorded":
            return DomainError("credit_closed", state=credit["state"])
        if credit["recorded_by"] == body.actor:
            return DomainError("credit_same_person")
        if is_approval and self._resident_of(body.actor) == credit["resident_id"]:
            return DomainError("credit_own")
        return None


def _close(connection: Connection, decided: Sequence[tuple[Operation, str | None]], state: str, now: datetime) -> None:
    """Write decisions (operation, transfer id) on credits that are locked."""
    if not decided:
        return
    connection.execute(
        update(credits)
        .where(credits.c.id == bindparam("credit"))
        .values(
            state=state,
            decided_by=bindparam("actor"),
            decided_at=now,
            decision_reason=bindparam("why"),
            transfer_id=bindparam("transfer"),
        ),
        [
            {
                "credit": operation.body.credit_id,
                "actor": operation.body.actor,
                "why": operation.body.reason or None,
                "transfer": transfer_id,
            }
            for operation, transfer_id in decided
        ],
    )
    noted = [
        audit.Entry(operation.body.actor, f"credit_{state}", ("credit", operation.body.credit_id), operation.id)
        for operation, _ in decided
    ]
    audit.record_all(connection, now, noted)


def _view(row: dict[str, Any]) -> dict[str, Any]:
    return row | {name: iso(row[name]) for name in ("recorded_at", "decided_at", "reversed_at")}
