"""Manual adjustments: points put right by hand, where nothing else fits. Proposed by one, approved by another.

Within the limit of the rules, with a reason; never of one's own points; downwards never more than is available. Hours
are not touched.
"""

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final, Literal

from sqlalchemy import Connection, insert, select, update

from jishan_server import audit
from jishan_server.errors import DomainError
from jishan_server.ids import derived_id, timed_derived_id
from jishan_server.instants import iso
from jishan_server.ledger import notes
from jishan_server.ledger.model import Cause, Kind, Refused, Transfer
from jishan_server.ledger.store import book
from jishan_server.organizations.roles import Permission, permit
from jishan_server.people.credentials import account_of
from jishan_server.people.messages import Message, tell
from jishan_server.people.one_person import is_same_person, survivor_of
from jishan_server.people.residents import estate_of, living
from jishan_server.people.staff import resident_of
from jishan_server.volunteering.credit_tables import adjustments
from jishan_server.volunteering.rule_versions import ensure_first, rules_on
from jishan_server.volunteering.rules import CreditRules, expires_at
from jishan_server.writer import Operation

REASONS: Final = ("machine_fault", "opening_balance", "goodwill", "lost_record", "wrong_booking", "other")
"""Codes of reasons; the words stand beside them."""


@dataclass(frozen=True, slots=True)
class ProposeAdjustment:
    """More points if `points` is positive, fewer if negative."""

    actor: str
    resident_id: str
    points: int
    reason_code: str
    reason: str


@dataclass(frozen=True, slots=True)
class DecideAdjustment:
    """`reason` is required to reject."""

    actor: str
    adjustment_id: str
    decision: Literal["approve", "reject"]
    reason: str = ""
    # Random, for the note with the words (`ledger.notes`).
    salt: str | None = field(default=None, repr=False, metadata={"secret": True})


def propose_adjustment(
    connection: Connection, operation: Operation, now: datetime, settings: CreditRules
) -> dict[str, Any]:
    """Propose an adjustment. Refusals: resident_unknown, forbidden, points_invalid, adjustment_own,
    adjustment_too_large, reason_required.
    """
    body: ProposeAdjustment = operation.body
    estate_id = estate_of(connection, body.resident_id)
    permit(connection, body.actor, Permission.ADJUSTMENT_PROPOSE, estate_id)
    if not body.reason.strip():
        raise DomainError("reason_required")
    if body.points == 0:
        raise DomainError("points_invalid")
    resident_id = survivor_of(connection, body.resident_id)
    living(connection, resident_id)
    if is_same_person(connection, resident_of(connection, body.actor), resident_id):
        raise DomainError("adjustment_own")
    ensure_first(connection, settings, now)
    most = rules_on(connection, now.astimezone(settings.zone).date()).adjustment_most_points
    if abs(body.points) > most:
        raise DomainError("adjustment_too_large", most=most)
    id = timed_derived_id(operation.id, "adjustment", now)
    connection.execute(
        insert(adjustments).values(
            id=id,
            resident_id=resident_id,
            estate_id=estate_id,
            points=body.points,
            reason_code=body.reason_code,
            reason=body.reason,
            state="proposed",
            proposed_by=body.actor,
            proposed_at=now,
        )
    )
    _note(connection, operation, now, "adjustment_proposed", id, {"points": body.points, "code": body.reason_code})
    return adjustment(connection, id)


def decide_adjustment(
    connection: Connection, operation: Operation, now: datetime, settings: CreditRules
) -> dict[str, Any]:
    """Book a proposed adjustment, or reject it. Refusals: adjustment_unknown, forbidden, adjustment_closed,
    adjustment_same_person, adjustment_own, reason_required, and the ledger's (not_enough_points).
    """
    body: DecideAdjustment = operation.body
    query = select(adjustments).where(adjustments.c.id == body.adjustment_id).with_for_update()
    found = connection.execute(query).mappings().one_or_none()
    if found is None:
        raise DomainError("adjustment_unknown", id=body.adjustment_id)
    permit(connection, body.actor, Permission.ADJUSTMENT_APPROVE, found["estate_id"])
    is_booked = body.decision == "approve"
    if not is_booked and not body.reason.strip():
        raise DomainError("reason_required")
    if found["state"] != "proposed":
        raise DomainError("adjustment_closed")
    if found["proposed_by"] == body.actor:
        raise DomainError("adjustment_same_person")
    if is_same_person(connection, resident_of(connection, body.actor), found["resident_id"]):
        raise DomainError("adjustment_own")
    transfer = _transfer(connection, dict(found), body.actor, now, settings) if is_booked else None
    if transfer is not None:
        if body.salt is not None:
            words = "\n".join(one for one in (found["reason"], body.reason) if one)
            note_id = derived_id(operation.id, "note")
            transfer = replace(transfer, note=notes.write(connection, note_id, found["resident_id"], words, body.salt))
        (answer,) = book(connection, [transfer], now, settings.zone)
        if isinstance(answer, Refused):
            raise DomainError(answer.code, **answer.fields)
        kind = "points_adjusted_up" if found["points"] > 0 else "points_adjusted_down"
        tell(connection, now, [Message(found["resident_id"], kind, {"points": abs(found["points"])})])
    connection.execute(
        update(adjustments)
        .where(adjustments.c.id == body.adjustment_id)
        .values(
            state="booked" if is_booked else "rejected",
            decided_by=body.actor,
            decided_at=now,
            decision_reason=body.reason or None,
            transfer_id=transfer.id if transfer is not None else None,
        )
    )
    _note(connection, operation, now, f"adjustment_{'booked' if is_booked else 'rejected'}", body.adjustment_id, {})
    return adjustment(connection, body.adjustment_id)


def _transfer(
    connection: Connection, found: dict[str, Any], actor: str, now: datetime, settings: CreditRules
) -> Transfer:
    own, other = account_of(found["resident_id"]), f"sys:adjustment:{found['estate_id']}"
    is_up = found["points"] > 0
    rules = rules_on(connection, now.astimezone(settings.zone).date())
    return Transfer(
        id=f"{found['id']}-post",
        kind=Kind.POST,
        debit=other if is_up else own,
        credit=own if is_up else other,
        points=abs(found["points"]),
        cause=Cause("adjustment", found["id"]),
        actor=actor,
        reason=found["reason_code"],
        rule_version=rules.label,
        expires_at=expires_at(rules.expiry, now, settings.zone) if is_up else None,
    )


def adjustment(connection: Connection, adjustment_id: str) -> dict[str, Any]:
    """One adjustment; refusal: adjustment_unknown."""
    query = select(adjustments).where(adjustments.c.id == adjustment_id)
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        raise DomainError("adjustment_unknown", id=adjustment_id)
    return _view(dict(row))


def adjustments_page(
    connection: Connection, estate_ids: Collection[str], state: str | None, after: str | None, limit: int
) -> tuple[list[dict[str, Any]], str | None]:
    """Adjustments of these estates, oldest first, and where the next page starts."""
    a = adjustments.c
    query = select(adjustments).where(a.estate_id.in_(estate_ids))
    if state is not None:
        query = query.where(a.state == state)
    if after is not None:
        query = query.where(a.id > after)
    rows = connection.execute(query.order_by(a.id).limit(limit + 1)).mappings().all()
    return [_view(dict(row)) for row in rows[:limit]], rows[limit - 1]["id"] if len(rows) > limit else None


def _view(row: dict[str, Any]) -> dict[str, Any]:
    return row | {name: iso(row[name]) for name in ("proposed_at", "decided_at")}


def _note(
    connection: Connection, operation: Operation, now: datetime, action: str, id: str, details: dict[str, object]
) -> None:
    entry = audit.Entry(operation.body.actor, action, ("adjustment", id), operation.id, details)
    audit.record_all(connection, now, [entry])
