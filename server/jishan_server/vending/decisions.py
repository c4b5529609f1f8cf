"""What a person decides about a redemption: in doubt, stuck, or captured for an item that was no good.

Rules (decisions, "The redemption table"): giving points back takes one person of either side; taking them takes a
person of the estate's side, a reason and the evidence, and a second person where there were several in a month. Nobody
decides about a redemption of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from sqlalchemy import Connection, Row, func, insert, or_, select, update

from jishan_protocol.errors import IllegalTransition
from jishan_protocol.redemption import Event, Party, State
from jishan_server import audit
from jishan_server.errors import DomainError
from jishan_server.ledger.endings import is_closing
from jishan_server.organizations.roles import Permission, permit
from jishan_server.people.one_person import is_same_person
from jishan_server.people.staff import resident_of
from jishan_server.vending import tables
from jishan_server.vending.changes import Changes, Said, step, write
from jishan_server.vending.model import Redemption, lock_machines, read_redemptions
from jishan_server.vending.reading import redemption_view
from jishan_server.vending.rules import Rules
from jishan_server.writer import Operation

Verdict = Literal["dispensed", "not_dispensed"]


@dataclass(frozen=True, slots=True)
class Resolve:
    """Decide a redemption in doubt: `dispensed` takes the points, `not_dispensed` gives them back."""

    actor: str
    redemption_id: str
    verdict: Verdict
    reason: str
    evidence: str = ""


@dataclass(frozen=True, slots=True)
class Reverse:
    """Give the points of a captured redemption back: the item was no good, or did not come out after all."""

    actor: str
    redemption_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Say that the machine will never tell the end of this redemption: it becomes in doubt."""

    actor: str
    redemption_id: str
    reason: str


_EVENTS: Final[Mapping[str, Event]] = {
    "dispensed": Event.RESOLVED_DISPENSED,
    "not_dispensed": Event.RESOLVED_NOT_DISPENSED,
}


def resolve(connection: Connection, operation: Operation, now: datetime, rules: Rules) -> dict[str, Any]:
    """Decide a redemption in doubt, or propose to, where a second person must sign.

    The same verdict by another person then decides it. Refusals: redemption_unknown, forbidden, decision_own,
    reason_required, redemption_not_in_doubt.
    """
    body: Resolve = operation.body
    is_against = body.verdict == "dispensed"
    permission = Permission.REDEMPTION_RESOLVE_AGAINST if is_against else Permission.REDEMPTION_RESOLVE_FOR
    redemption = _lock(connection, body.actor, body.redemption_id, permission)
    if is_against and not (body.reason.strip() and body.evidence.strip()):
        raise DomainError("reason_required")
    if redemption.state is not State.IN_DOUBT:
        raise DomainError("redemption_not_in_doubt", state=redemption.state)
    signed = sign(connection, redemption, body.actor, body.verdict, body.reason, body.evidence, now, rules)
    if signed != "done":
        if signed == "proposed":
            _note(connection, operation, now, body.actor, "decision_proposed", redemption)
        return redemption_view(connection, redemption.id)
    say(connection, redemption, _EVENTS[body.verdict], body.actor, body.evidence, now, rules)
    _note(connection, operation, now, body.actor, f"resolved_{body.verdict}", redemption)
    return redemption_view(connection, redemption.id)


def sign(
    connection: Connection,
    redemption: Redemption,
    actor: str,
    verdict: Verdict,
    reason: str,
    evidence: str,
    now: datetime,
    rules: Rules,
) -> Literal["done", "proposed", "again"]:
    """Note a decision: `done` if it holds, `proposed` if a second person must say the same, `again` if still so."""
    proposal = _proposal(connection, redemption.id, verdict)
    if proposal is not None and proposal.decided_by == actor:
        return "again"
    if proposal is not None:
        connection.execute(
            update(tables.decisions)
            .where(tables.decisions.c.number == proposal.number)
            .values(state="done", seconded_by=actor)
        )
        return "done"
    is_against = verdict == "dispensed"
    needs_second = is_against and _refusals(connection, redemption, actor, rules, now) >= rules.refusals_alone
    connection.execute(
        insert(tables.decisions).values(
            redemption_id=redemption.id,
            machine_id=redemption.machine_id,
            resident_id=redemption.resident_id,
            verdict=verdict,
            state="proposed" if needs_second else "done",
            decided_by=actor,
            reason=reason,
            evidence=evidence,
            recorded_at=now,
        )
    )
    return "proposed" if needs_second else "done"


def reverse(connection: Connection, operation: Operation, now: datetime, rules: Rules) -> dict[str, Any]:
    """Give a captured redemption's points back. Refusals: as `resolve`, and redemption_not_captured."""
    body: Reverse = operation.body
    redemption = _lock(connection, body.actor, body.redemption_id, Permission.REDEMPTION_REVERSE)
    if not body.reason.strip():
        raise DomainError("reason_required")
    if redemption.state is not State.CAPTURED:
        raise DomainError("redemption_not_captured", state=redemption.state)
    say(connection, redemption, Event.REVERSED, body.actor, body.reason, now, rules)
    _note(connection, operation, now, body.actor, "reversed", redemption)
    return redemption_view(connection, redemption.id)


def give_up(connection: Connection, operation: Operation, now: datetime, rules: Rules) -> dict[str, Any]:
    """Put a held or vending redemption in doubt. Refusals: as `resolve`, and redemption_not_open."""
    body: GiveUp = operation.body
    redemption = _lock(connection, body.actor, body.redemption_id, Permission.REDEMPTION_RESOLVE_FOR)
    if not body.reason.strip():
        raise DomainError("reason_required")
    if redemption.state not in (State.HELD, State.VENDING):
        raise DomainError("redemption_not_open", state=redemption.state)
    say(connection, redemption, Event.MACHINE_LOST, body.actor, body.reason, now, rules)
    _note(connection, operation, now, body.actor, "given_up", redemption)
    return redemption_view(connection, redemption.id)


def _lock(connection: Connection, actor: str, redemption_id: str, permission: Permission) -> Redemption:
    """Lock a redemption's machine and read it; refusals: redemption_unknown, forbidden, decision_own."""
    found = read_redemptions(connection, [redemption_id]).get(redemption_id)
    if found is None:
        raise DomainError("redemption_unknown")
    permit(connection, actor, permission, found.estate_id)
    if is_same_person(connection, resident_of(connection, actor), found.resident_id):
        raise DomainError("decision_own")
    lock_machines(connection, [found.machine_id])
    return read_redemptions(connection, [redemption_id])[redemption_id]


def _proposal(connection: Connection, redemption_id: str, verdict: Verdict) -> Row[Any, Any] | None:
    """The decision that waits for a second person to say the same."""
    decisions = tables.decisions.c
    query = select(decisions.number, decisions.decided_by).where(
        decisions.redemption_id == redemption_id,
        decisions.state == "proposed",
        decisions.verdict == verdict,
    )
    return connection.execute(query).one_or_none()


def _refusals(connection: Connection, redemption: Redemption, actor: str, rules: Rules, now: datetime) -> int:
    """The most decisions against residents of late, by this person, at this machine or about this resident."""
    decisions = tables.decisions.c
    against = (
        (decisions.verdict == "dispensed")
        & (decisions.state == "done")
        & (decisions.recorded_at > now - rules.refusals_span)
    )
    return max(
        connection.scalar(select(func.count()).where(against, about)) or 0
        for about in (
            or_(decisions.decided_by == actor, decisions.seconded_by == actor),
            decisions.machine_id == redemption.machine_id,
            decisions.resident_id == redemption.resident_id,
        )
    )


def say(
    connection: Connection, redemption: Redemption, event: Event, actor: str, evidence: str, now: datetime, rules: Rules
) -> None:
    """Let a person's word act on a redemption whose machine is locked.

    Refusals: redemption_not_in_doubt, account_closed for points that would come back to a closed account.
    """
    if event is Event.REVERSED and redemption.account_id is not None and is_closing(connection, redemption.account_id):
        raise DomainError("account_closed")
    changes = Changes(now, rules.zone, rules.doubt_answer_days)
    try:
        step(changes, redemption, event, Said(Party.PERSON, actor, evidence={"evidence": evidence}))
    except IllegalTransition as error:
        raise DomainError("redemption_not_in_doubt", state=error.state) from error
    write(connection, changes)


def _note(
    connection: Connection, operation: Operation, now: datetime, actor: str, action: str, redemption: Redemption
) -> None:
    audit.record(
        connection, now, actor=actor, action=action, subject=("redemption", redemption.id), operation_id=operation.id
    )
