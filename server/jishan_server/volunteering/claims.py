"""Claims of past work: hours from before, with proof, by the person or by staff for them.

Two people look at it: who accepts the claim records its credit, and another approves that credit, as every credit.
Its source is (d), claimed later: hours by default, points only where the rules of that day give them.
"""

import json
from dataclasses import dataclass, field
from datetime import datetime, time
from typing import Any, Literal

from sqlalchemy import Connection, RowMapping, insert, select, update

from jishan_server import audit
from jishan_server.attachments import require
from jishan_server.errors import DomainError
from jishan_server.ids import timed_derived_id
from jishan_server.instants import iso
from jishan_server.organizations.calendar import parse_day
from jishan_server.organizations.roles import Permission, permit, resident_of_actor, scope
from jishan_server.people.messages import Message, tell
from jishan_server.people.one_person import is_same_person
from jishan_server.people.residents import estate_of
from jishan_server.people.staff import resident_of
from jishan_server.volunteering.crediting import Work, price, record, with_notes
from jishan_server.volunteering.entry_tables import claims
from jishan_server.volunteering.rule_versions import ensure_first
from jishan_server.volunteering.rules import MAX_MINUTES, CreditRules, Source
from jishan_server.writer import Operation


@dataclass(frozen=True, slots=True)
class MakeClaim:
    """`day` is YYYY-MM-DD; `attachment_ids` are files of the resident's, at least one."""

    actor: str
    resident_id: str
    title: str
    day: str
    minutes: int
    attachment_ids: tuple[str, ...]
    words: str = ""
    place: str | None = None
    category: str | None = None


@dataclass(frozen=True, slots=True)
class DecideClaim:
    """`minutes`: what is accepted, if it is less than claimed; a refusal needs its reason."""

    actor: str
    claim_id: str
    verdict: Literal["accept", "refuse"]
    reason: str = ""
    minutes: int | None = None
    # Random, for the note with the words (`ledger.notes`).
    salt: str | None = field(default=None, repr=False, metadata={"secret": True})


def make_claim(connection: Connection, operation: Operation, now: datetime, rules: CreditRules) -> dict[str, Any]:
    """Claim past work. Refusals: resident_unknown, forbidden, proof_required, attachment_unknown, day_invalid,
    worked_day_ahead, minutes_invalid."""
    body: MakeClaim = operation.body
    estate_id = estate_of(connection, body.resident_id)
    permit(connection, body.actor, Permission.APPEAL_WRITE, estate_id, body.resident_id)
    if not 1 <= body.minutes <= MAX_MINUTES:
        raise DomainError("minutes_invalid")
    if parse_day(body.day) > now.astimezone(rules.zone).date():
        raise DomainError("worked_day_ahead")
    if not body.attachment_ids:
        raise DomainError("proof_required")
    require(connection, body.attachment_ids, "resident", body.resident_id)
    id = timed_derived_id(operation.id, "claim", now)
    connection.execute(
        insert(claims).values(
            id=id,
            resident_id=body.resident_id,
            estate_id=estate_id,
            title=body.title,
            words=body.words,
            place=body.place,
            category=body.category,
            day=body.day,
            minutes=body.minutes,
            attachment_ids=json.dumps(body.attachment_ids),
            state="open",
            made_by=body.actor,
            recorded_at=now,
        )
    )
    _note(connection, operation, now, "claim_made", id)
    return view(connection, id)


def decide_claim(connection: Connection, operation: Operation, now: datetime, rules: CreditRules) -> dict[str, Any]:
    """Accept a claim, which records its credit for another person to approve; or refuse it.

    Refusals: claim_unknown, forbidden, claim_own, claim_closed, reason_required, minutes_invalid.
    """
    body: DecideClaim = operation.body
    query = select(claims).where(claims.c.id == body.claim_id).with_for_update()
    claim = connection.execute(query).mappings().one_or_none()
    if claim is None:
        raise DomainError("claim_unknown", id=body.claim_id)
    permit(connection, body.actor, Permission.CREDIT_RECORD, claim["estate_id"])
    if is_same_person(connection, resident_of(connection, body.actor), claim["resident_id"]):
        raise DomainError("claim_own")
    if claim["state"] != "open":
        raise DomainError("claim_closed", state=claim["state"])
    credit_id = None
    if body.verdict == "accept":
        credit_id = _credit(connection, operation, claim, now, rules)
        tell(connection, now, [Message(claim["resident_id"], "claim_accepted", {"activity": claim["title"]})])
    elif not body.reason.strip():
        raise DomainError("reason_required")
    else:
        told = Message(claim["resident_id"], "claim_refused", {"activity": claim["title"], "reason": body.reason})
        tell(connection, now, [told])
    state = "refused" if credit_id is None else "accepted"
    connection.execute(
        update(claims)
        .where(claims.c.id == body.claim_id)
        .values(state=state, decided_by=body.actor, decided_at=now, reason=body.reason or None, credit_id=credit_id)
    )
    _note(connection, operation, now, f"claim_{state}", body.claim_id)
    return view(connection, body.claim_id)


def _credit(connection: Connection, operation: Operation, claim: RowMapping, now: datetime, rules: CreditRules) -> str:
    body: DecideClaim = operation.body
    minutes = claim["minutes"] if body.minutes is None else body.minutes
    if not 1 <= minutes <= claim["minutes"]:
        raise DomainError("minutes_invalid")
    day = parse_day(claim["day"])
    work = Work(
        id=timed_derived_id(operation.id, "credit", now),
        resident_id=claim["resident_id"],
        estate_id=claim["estate_id"],
        minutes=minutes,
        points=None,
        source=Source.CLAIMED_LATER,
        title=claim["title"],
        reason=body.reason or claim["title"],
        worked_at=datetime.combine(day, time(), rules.zone),
        day=day,
        category=claim["category"],
        place=claim["place"],
    )
    ensure_first(connection, rules, now)
    record(connection, price(connection, with_notes(connection, [work], body.salt)), body.actor, now)
    entry = audit.Entry(body.actor, "credit_recorded", ("credit", work.id), operation.id)
    audit.record_all(connection, now, [entry])
    return work.id


def page(
    connection: Connection, actor: str, *, state: str | None, after: str | None, limit: int
) -> tuple[list[dict[str, Any]], str | None]:
    """Claims that `actor` may see, newest first; refusal: forbidden."""
    c, own = claims.c, resident_of_actor(actor)
    query = select(claims)
    if own is None:
        query = query.where(c.estate_id.in_(scope(connection, actor, Permission.RECORD_READ)))
    else:
        query = query.where(c.resident_id == own)
    if state is not None:
        query = query.where(c.state == state)
    if after is not None:
        query = query.where(c.id < after)
    rows = connection.execute(query.order_by(c.id.desc()).limit(limit + 1)).mappings().all()
    shown = rows[:limit]
    return [_view(row) for row in shown], shown[-1]["id"] if len(rows) > limit else None


def claim(connection: Connection, actor: str, claim_id: str) -> dict[str, Any]:
    """One claim; refusals: claim_unknown, forbidden."""
    found = view(connection, claim_id)
    permit(connection, actor, Permission.RECORD_READ, found["estate_id"], found["resident_id"])
    return found


def view(connection: Connection, claim_id: str) -> dict[str, Any]:
    """One claim; refusal: claim_unknown."""
    row = connection.execute(select(claims).where(claims.c.id == claim_id)).mappings().one_or_none()
    if row is None:
        raise DomainError("claim_unknown", id=claim_id)
    return _view(row)


def _view(row: RowMapping) -> dict[str, Any]:
    instants = {name: iso(row[name]) for name in ("recorded_at", "decided_at")}
    return {**row} | instants | {"attachment_ids": json.loads(row["attachment_ids"]), "words": row["words"] or ""}


def _note(connection: Connection, operation: Operation, now: datetime, action: str, id: str) -> None:
    actor = operation.body.actor
    audit.record(connection, now, actor=actor, action=action, subject=("claim", id), operation_id=operation.id)
