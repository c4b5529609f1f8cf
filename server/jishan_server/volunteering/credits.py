"""Credits: recorded by one person, approved by another, and only then posted to the ledger, in the same transaction.

The recorder never approves, and nobody approves a credit to themselves. A wrong credit is corrected by a reversal and a
new one; nothing is edited.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, insert, or_, select, update

from jishan_server import audit
from jishan_server.db import from_ms, to_ms
from jishan_server.errors import DomainError
from jishan_server.ids import derived_id
from jishan_server.instants import iso
from jishan_server.ledger.model import Cause, Kind, Refused, Transfer
from jishan_server.ledger.store import book
from jishan_server.organizations.roles import Permission, is_permitted, permit, scope
from jishan_server.people.credentials import account_of
from jishan_server.people.residents import estate_of
from jishan_server.people.staff import resident_of
from jishan_server.volunteering.rules import CreditRules, expires_at, points_of
from jishan_server.volunteering.tables import credits
from jishan_server.writer import Operation


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


def record_credit(connection: Connection, operation: Operation, now: datetime, rules: CreditRules) -> dict[str, Any]:
    """Record a credit that waits for another person's approval. No points move yet.

    Refusals: resident_unknown, forbidden, resident_elsewhere, and those of `points_of`.
    """
    body: RecordCredit = operation.body
    estate_id = estate_of(connection, body.resident_id)
    if not is_permitted(connection, body.actor, Permission.CREDIT_RECORD, estate_id):
        scope(connection, body.actor, Permission.CREDIT_RECORD)
        raise DomainError("resident_elsewhere")
    id = derived_id(operation.id, "credit")
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
    _note(connection, operation, now, "credit_recorded", id)
    return view(connection, id)


def approve_credit(connection: Connection, operation: Operation, now: datetime, rules: CreditRules) -> dict[str, Any]:
    """Approve a recorded credit and post its points.

    Refusals: credit_unknown, forbidden, credit_same_person, credit_own, credit_closed, and the ledger's.
    """
    body: DecideCredit = operation.body
    credit = _to_decide(connection, body)
    if resident_of(connection, body.actor) == credit["resident_id"]:
        raise DomainError("credit_own")
    transfer = Transfer(
        id=derived_id(body.credit_id, "transfer"),
        kind=Kind.POST,
        debit=f"sys:issuance:{credit['estate_id']}",
        credit=account_of(credit["resident_id"]),
        points=credit["points"],
        cause=Cause("credit", body.credit_id),
        actor=body.actor,
        reason="credit_approved",
        rule_version=credit["rule_version"],
        expires_at=expires_at(rules, now),
    )
    [answer] = book(connection, [transfer], now)
    if isinstance(answer, Refused):
        raise DomainError(answer.code, **answer.fields)
    _decide(connection, operation, now, "approved", transfer.id)
    return view(connection, body.credit_id)


def reject_credit(connection: Connection, operation: Operation, now: datetime) -> dict[str, Any]:
    """Reject a recorded credit, with a reason. No points move.

    Refusals: reason_required, credit_unknown, forbidden, credit_same_person, credit_closed.
    """
    body: DecideCredit = operation.body
    if not body.reason.strip():
        raise DomainError("reason_required")
    _to_decide(connection, body)
    _decide(connection, operation, now, "rejected", None)
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


def _to_decide(connection: Connection, body: DecideCredit) -> dict[str, Any]:
    found = view(connection, body.credit_id)
    permit(connection, body.actor, Permission.CREDIT_APPROVE, found["estate_id"])
    if found["state"] != "recorded":
        raise DomainError("credit_closed", state=found["state"])
    if found["recorded_by"] == body.actor:
        raise DomainError("credit_same_person")
    return found


def _decide(connection: Connection, operation: Operation, now: datetime, state: str, transfer_id: str | None) -> None:
    body: DecideCredit = operation.body
    decided = connection.execute(
        update(credits)
        .where(credits.c.id == body.credit_id, credits.c.state == "recorded")
        .values(
            state=state,
            decided_by=body.actor,
            decided_at=now,
            decision_reason=body.reason or None,
            transfer_id=transfer_id,
        )
    )
    if decided.rowcount != 1:
        # Another process decided between our look and now.
        raise DomainError("credit_closed", state=view(connection, body.credit_id)["state"])
    _note(connection, operation, now, f"credit_{state}", body.credit_id)


def _view(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"recorded_at": iso(row["recorded_at"]), "decided_at": iso(row["decided_at"])}


def _note(connection: Connection, operation: Operation, now: datetime, action: str, credit_id: str) -> None:
    audit.record(
        connection,
        now,
        actor=operation.body.actor,
        action=action,
        subject=("credit", credit_id),
        operation_id=operation.id,
    )
