"""What a resident says went wrong at a machine: it did not come out, it was the wrong one, it was bad, it is stuck.

Said by the resident, or by staff for a person whom a card or a name finds; nobody has to keep a number, because the
person's last redemptions are listed to choose from. Beside the claim stands what the machine showed. A person of the
estate's side decides within a number of working days: the points go back in the same operation, or a reason is given.
Who has made several refusals of late needs a second person, by the rule of decisions. A refused report is looked at
once more if the resident asks, by somebody else. What was given back by the machine's own word is over at once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final, Literal

from sqlalchemy import Connection, Row, insert, select, update

from jishan_protocol.redemption import Event, Party, State
from jishan_server import audit
from jishan_server.attachments import require
from jishan_server.errors import DomainError
from jishan_server.instants import iso
from jishan_server.organizations.roles import Permission, permit, scope
from jishan_server.people.messages import Message, tell
from jishan_server.people.one_person import is_same_person, records_of, whose
from jishan_server.people.residents import estate_of
from jishan_server.people.staff import resident_of
from jishan_server.vending import tables
from jishan_server.vending.decisions import say, sign
from jishan_server.vending.model import Redemption, lock_machines, read_machine, read_redemptions
from jishan_server.vending.report_tables import reports
from jishan_server.vending.rules import Rules
from jishan_server.vending.telling import answer_day, day_fields, report_ticket, tickets, words_of_doubt
from jishan_server.writer import Operation

KINDS: Final = ("not_out", "wrong_item", "bad_item", "stuck", "other")
STATES: Final = ("open", "proposed", "given_back", "refused")
CANDIDATES: Final = 20
"""As many of a person's last redemptions as one looks through with them."""
AROUND: Final = timedelta(hours=1)
"""Alerts of the machine this long before and after belong to the picture."""
NEIGHBOURS: Final = 3
"""What the same selection did before and after says whether it was the coil."""

_BACK: Final = (State.VOIDED, State.REVERSED, State.DENIED)
_SYSTEM: Final = "system"


@dataclass(frozen=True, slots=True)
class MakeReport:
    """`redemption_id` is one of the resident's; None only where nothing was redeemed."""

    actor: str
    resident_id: str
    kind: str
    words: str = ""
    redemption_id: str | None = None
    machine_id: str | None = None
    attachment_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DecideReport:
    """`give_back` returns the points; `refuse` says why not, and of a redemption in doubt also the evidence."""

    actor: str
    number: int
    verdict: Literal["give_back", "refuse"]
    reason: str
    evidence: str = ""


@dataclass(frozen=True, slots=True)
class ReopenReport:
    actor: str
    number: int
    reason: str


def make_report(connection: Connection, operation: Operation, now: datetime, rules: Rules) -> dict[str, Any]:
    """Take a report down. Of a redemption whose points are back already it is over at once.

    Refusals: resident_unknown, forbidden, redemption_unknown, machine_unknown, report_exists, attachment_unknown.
    """
    body: MakeReport = operation.body
    estate_id = estate_of(connection, body.resident_id)
    permit(connection, body.actor, Permission.REPORT_WRITE, estate_id, body.resident_id)
    redemption = None
    if body.redemption_id is not None:
        redemption = read_redemptions(connection, [body.redemption_id]).get(body.redemption_id)
        if redemption is None or not is_same_person(connection, redemption.resident_id, body.resident_id):
            raise DomainError("redemption_unknown")
        known = connection.scalar(select(reports.c.number).where(reports.c.redemption_id == redemption.id))
        if known is not None:
            raise DomainError("report_exists", number=known, ticket=report_ticket(known))
    elif body.machine_id is not None and read_machine(connection, body.machine_id) is None:
        raise DomainError("machine_unknown")
    require(connection, body.attachment_ids, "resident", body.resident_id)
    is_back = redemption is not None and redemption.state in _BACK
    answer_by = None if is_back else answer_day(connection, now, rules.zone, rules.report_answer_days)
    made = connection.execute(
        insert(reports)
        .values(
            estate_id=redemption.estate_id if redemption else estate_id,
            resident_id=body.resident_id,
            redemption_id=body.redemption_id,
            machine_id=redemption.machine_id if redemption else body.machine_id,
            kind=body.kind,
            words=body.words,
            attachment_ids=json.dumps(body.attachment_ids),
            made_via="resident" if body.actor.endswith(f":{body.resident_id}") else "staff",
            made_by=body.actor,
            state="given_back" if is_back else "open",
            answer_by=answer_by,
            decided_by=_SYSTEM if is_back else None,
            decided_at=now if is_back else None,
            recorded_at=now,
        )
        .returning(reports.c.number)
    ).scalar_one()
    _tell(connection, now, body.resident_id, made, "report_given_back" if is_back else "report_received", answer_by)
    _note(connection, operation, now, "report_made", made)
    return view(connection, made)


def decide_report(connection: Connection, operation: Operation, now: datetime, rules: Rules) -> dict[str, Any]:
    """Give the points back, or refuse to, or propose to where a second person must sign: the same words by another.

    Refusals: report_unknown, forbidden, decision_own, reason_required, report_closed, report_same_person,
    redemption_still_open, report_without_redemption.
    """
    body: DecideReport = operation.body
    report = _lock(connection, body.number)
    permit(connection, body.actor, Permission.REPORT_DECIDE, report.estate_id)
    if is_same_person(connection, resident_of(connection, body.actor), report.resident_id):
        raise DomainError("decision_own")
    if not body.reason.strip():
        raise DomainError("reason_required")
    if report.state not in ("open", "proposed"):
        raise DomainError("report_closed", state=report.state)
    if report.first_decided_by == body.actor:
        raise DomainError("report_same_person")
    redemption = None
    if report.redemption_id is not None:
        redemption = read_redemptions(connection, [report.redemption_id])[report.redemption_id]
    is_told = False
    if body.verdict == "give_back":
        is_told = _give_back(connection, body, redemption, now, rules)
    elif not _may_refuse(connection, body, redemption, now, rules):
        values = {"state": "proposed", "decided_by": body.actor, "reason": body.reason}
        connection.execute(update(reports).where(reports.c.number == body.number).values(values))
        _note(connection, operation, now, "report_refusal_proposed", body.number)
        return view(connection, body.number)
    state = "given_back" if body.verdict == "give_back" else "refused"
    is_second = report.state == "proposed" and state == "refused"
    connection.execute(
        update(reports)
        .where(reports.c.number == body.number)
        .values(
            state=state,
            decided_by=report.decided_by if is_second else body.actor,
            seconded_by=body.actor if is_second else None,
            decided_at=now,
            reason=body.reason,
        )
    )
    if not is_told:
        _tell(connection, now, report.resident_id, body.number, f"report_{state}", reason=body.reason)
    _note(connection, operation, now, f"report_{state}", body.number)
    return view(connection, body.number)


def reopen_report(connection: Connection, operation: Operation, now: datetime, rules: Rules) -> dict[str, Any]:
    """Have a refused report looked at once more, by somebody else.

    Refusals: report_unknown, forbidden, reason_required, report_not_refused, report_reopened.
    """
    body: ReopenReport = operation.body
    report = _lock(connection, body.number)
    about = whose(connection, body.actor, report.resident_id)
    permit(connection, body.actor, Permission.REPORT_WRITE, report.estate_id, about)
    if not body.reason.strip():
        raise DomainError("reason_required")
    if report.reopened_at is not None:
        raise DomainError("report_reopened")
    if report.state != "refused":
        raise DomainError("report_not_refused", state=report.state)
    answer_by = answer_day(connection, now, rules.zone, rules.report_answer_days)
    connection.execute(
        update(reports)
        .where(reports.c.number == body.number)
        .values(
            state="open",
            answer_by=answer_by,
            first_decided_by=report.decided_by,
            first_reason=report.reason,
            decided_by=None,
            seconded_by=None,
            decided_at=None,
            reason=None,
            reopened_at=now,
            reopened_by=body.actor,
            reopen_reason=body.reason,
        )
    )
    _tell(connection, now, report.resident_id, body.number, "report_received", answer_by)
    _note(connection, operation, now, "report_reopened", body.number)
    return view(connection, body.number)


def _give_back(
    connection: Connection, body: DecideReport, redemption: Redemption | None, now: datetime, rules: Rules
) -> bool:
    """Return the points; gives whether the resident was told by that already."""
    if redemption is None:
        raise DomainError("report_without_redemption")
    match redemption.state:
        case State.CAPTURED:
            say(connection, redemption, Event.REVERSED, body.actor, body.reason, now, rules)
        case State.IN_DOUBT:
            sign(connection, redemption, body.actor, "not_dispensed", body.reason, body.evidence, now, rules)
            say(connection, redemption, Event.RESOLVED_NOT_DISPENSED, body.actor, body.evidence, now, rules)
        case State.VOIDED | State.REVERSED | State.DENIED:
            return False
        case _:
            raise DomainError("redemption_still_open")
    return True


def _may_refuse(
    connection: Connection, body: DecideReport, redemption: Redemption | None, now: datetime, rules: Rules
) -> bool:
    """Whether the refusal holds, or waits for a second person; of one in doubt it takes the points."""
    if redemption is None or redemption.state in _BACK:
        return True
    if redemption.state not in (State.CAPTURED, State.IN_DOUBT):
        raise DomainError("redemption_still_open")
    is_doubtful = redemption.state is State.IN_DOUBT
    if is_doubtful and not body.evidence.strip():
        raise DomainError("reason_required")
    if sign(connection, redemption, body.actor, "dispensed", body.reason, body.evidence, now, rules) != "done":
        return False
    if is_doubtful:
        say(connection, redemption, Event.RESOLVED_DISPENSED, body.actor, body.evidence, now, rules)
    return True


def _lock(connection: Connection, number: int) -> Row[Any]:
    """Lock a report, its machine first, as everywhere; refusal: report_unknown."""
    machine_id = connection.execute(select(reports.c.machine_id).where(reports.c.number == number)).one_or_none()
    if machine_id is None:
        raise DomainError("report_unknown")
    lock_machines(connection, [id for id in machine_id if id is not None])
    return connection.execute(select(reports).where(reports.c.number == number).with_for_update()).one()


# looking


def view(connection: Connection, number: int) -> dict[str, Any]:
    """One report, as those may see it who may see the resident."""
    return _view(connection.execute(select(reports).where(reports.c.number == number)).one())


def report(connection: Connection, actor: str, number: int) -> dict[str, Any]:
    """One report with what the machine showed; refusals: report_unknown, forbidden."""
    found = _of(connection, number)
    permit(connection, actor, Permission.REPORT_READ, found.estate_id, found.resident_id)
    return _view(found) | {"evidence": _evidence(connection, found)}


def evidence(connection: Connection, actor: str, number: int) -> dict[str, Any]:
    """What the machine showed, without the resident and their words: for those who run machines.

    Refusals: report_unknown, forbidden.
    """
    found = _of(connection, number)
    permit(connection, actor, Permission.MACHINE_READ, found.estate_id)
    return {"number": number, "kind": found.kind, "state": found.state} | _evidence(connection, found)


def page(
    connection: Connection,
    actor: str,
    *,
    state: str | None,
    resident_id: str | None,
    overdue_on: date | None,
    after: int | None,
    limit: int,
) -> tuple[list[dict[str, Any]], int | None]:
    """Reports in the actor's scope, newest first, those of the machine's own word too; and where the next page starts.

    `overdue_on`: only those that should have been decided before that day. Refusal: forbidden.
    """
    r = reports.c
    query = select(reports).where(r.estate_id.in_(scope(connection, actor, Permission.REPORT_READ)))
    if state is not None:
        query = query.where(r.state == state)
    if resident_id is not None:
        query = query.where(r.resident_id.in_(records_of(connection, resident_id)))
    if overdue_on is not None:
        query = query.where(r.state.in_(("open", "proposed")), r.answer_by < overdue_on.isoformat())
    return _paged(connection, query, after, limit)


def own(
    connection: Connection, resident_id: str, after: int | None, limit: int
) -> tuple[list[dict[str, Any]], int | None]:
    """A resident's reports, newest first."""
    of_person = reports.c.resident_id.in_(records_of(connection, resident_id))
    return _paged(connection, select(reports).where(of_person), after, limit)


def require_own(connection: Connection, resident_id: str, number: int) -> None:
    """Refuse with `report_unknown` what is not this resident's."""
    if _of(connection, number).resident_id not in records_of(connection, resident_id):
        raise DomainError("report_unknown")


def candidates(connection: Connection, actor: str, resident_id: str) -> list[dict[str, Any]]:
    """A person's last redemptions, newest first, to find the one that a report is about, each with how it ended and
    what the resident is told of it. Refusals: resident_unknown, forbidden."""
    permit(connection, actor, Permission.REPORT_WRITE, estate_of(connection, resident_id), resident_id)
    past, machines, products, r = tables.redemptions, tables.machines, tables.products, reports.c
    rows = connection.execute(
        select(
            past,
            machines.c.name.label("machine_name"),
            products.c.name_zh,
            products.c.name_en,
            r.number,
            r.state.label("report_state"),
        )
        .select_from(
            past.outerjoin(machines, machines.c.id == past.c.machine_id)
            .outerjoin(products, products.c.id == past.c.product_id)
            .outerjoin(reports, r.redemption_id == past.c.id)
        )
        .where(past.c.resident_id.in_(records_of(connection, resident_id)), past.c.state != State.DENIED)
        .order_by(past.c.recorded_at.desc(), past.c.id)
        .limit(CANDIDATES)
    ).all()
    known = tickets(connection, [row.id for row in rows])
    return [_candidate(row, known.get(row.id)) for row in rows]


def _candidate(row: Row[Any], ticket: int | None) -> dict[str, Any]:
    words = words_of_doubt(row.points, row.answer_by, ticket) if row.state == State.IN_DOUBT else None
    return {
        "redemption_id": row.id,
        "machine_id": row.machine_id,
        "machine_name": row.machine_name,
        "selection": row.selection,
        "product_zh": row.name_zh,
        "product_en": row.name_en,
        "points": row.points,
        "state": row.state,
        "is_being_checked": row.watch_grade > 0 or row.state == State.IN_DOUBT,
        "recorded_at": iso(row.recorded_at),
        "changed_at": iso(row.changed_at),
        "ticket": ticket,
        "answer_by": row.answer_by if row.state == State.IN_DOUBT else None,
        "told_zh": words.zh if words else None,
        "told_en": words.en if words else None,
        "report": row.number,
        "report_state": row.report_state,
    }


def _of(connection: Connection, number: int) -> Row[Any]:
    found = connection.execute(select(reports).where(reports.c.number == number)).one_or_none()
    if found is None:
        raise DomainError("report_unknown")
    return found


def _paged(
    connection: Connection, query: Any, after: int | None, limit: int
) -> tuple[list[dict[str, Any]], int | None]:
    if after is not None:
        query = query.where(reports.c.number < after)
    rows = connection.execute(query.order_by(reports.c.number.desc()).limit(limit + 1)).all()
    return [_view(row) for row in rows[:limit]], rows[limit - 1].number if len(rows) > limit else None


def _view(row: Row[Any]) -> dict[str, Any]:
    instants = ("recorded_at", "decided_at", "reopened_at")
    shown = dict(row._mapping) | {name: iso(getattr(row, name)) for name in instants}
    return shown | {
        "ticket": report_ticket(row.number),
        "attachment_ids": json.loads(row.attachment_ids),
        "words": row.words or "",
    }


def _evidence(connection: Connection, report: Row[Any]) -> dict[str, Any]:
    """The machine's side: what it said of this redemption, what contradicts it, its alerts, its stock, its neighbours.

    What people wrote is left out, and who the resident is.
    """
    past = tables.redemptions
    redemption = (
        None
        if report.redemption_id is None
        else connection.execute(select(past).where(past.c.id == report.redemption_id)).one()
    )
    at = redemption.recorded_at if redemption else report.recorded_at
    end = (redemption.changed_at if redemption else at) + AROUND
    alerts = select(tables.alerts).where(
        tables.alerts.c.machine_id == report.machine_id,
        tables.alerts.c.opened_at.between(at - AROUND, end),
    )
    counted = (
        select(audit.entries.c.recorded_at, audit.entries.c.details)
        .where(audit.entries.c.subject_type == "machine", audit.entries.c.subject_id == report.machine_id)
        .where(audit.entries.c.action == "stock_counted", audit.entries.c.recorded_at >= at - AROUND)
        .order_by(audit.entries.c.number)
        .limit(NEIGHBOURS)
    )
    return {
        "machine_id": report.machine_id,
        "redemption": None if redemption is None else _of_redemption(connection, redemption),
        "alerts": [
            {"kind": row.kind, "detail": json.loads(row.detail), "opened_at": iso(row.opened_at)}
            for row in connection.execute(alerts.order_by(tables.alerts.c.number))
        ],
        "counts": [
            {"recorded_at": iso(row.recorded_at), "counts": json.loads(row.details).get("counts", {})}
            for row in connection.execute(counted)
        ],
    }


def _of_redemption(connection: Connection, redemption: Row[Any]) -> dict[str, Any]:
    past, events, against, slots = tables.redemptions, tables.redemption_events, tables.contradictions, tables.slots
    slot = connection.execute(
        select(slots).where(slots.c.machine_id == redemption.machine_id, slots.c.selection == redemption.selection)
    ).one_or_none()
    same = select(past.c.id, past.c.state, past.c.recorded_at).where(
        past.c.machine_id == redemption.machine_id, past.c.selection == redemption.selection
    )
    before = same.where(past.c.recorded_at < redemption.recorded_at).order_by(past.c.recorded_at.desc())
    after = same.where(past.c.recorded_at > redemption.recorded_at).order_by(past.c.recorded_at)
    said = connection.execute(
        select(events).where(events.c.redemption_id == redemption.id).order_by(events.c.number)
    ).all()
    contradictions = connection.execute(
        select(against).where(against.c.redemption_id == redemption.id).order_by(against.c.number)
    )
    return {
        "id": redemption.id,
        "selection": redemption.selection,
        "product_id": redemption.product_id,
        "points": redemption.points,
        "state": redemption.state,
        "recorded_at": iso(redemption.recorded_at),
        "history": [
            {
                "event": one.event,
                "party": one.party,
                "verdict": one.verdict,
                "evidence": {} if one.party == Party.PERSON else json.loads(one.evidence),
                "recorded_at": iso(one.recorded_at),
            }
            for one in said
        ],
        "contradictions": [
            {"event": one.event, "evidence": json.loads(one.evidence), "recorded_at": iso(one.recorded_at)}
            for one in contradictions
        ],
        "slot": None
        if slot is None
        else {name: slot._mapping[name] for name in ("stock", "reserved", "closed_reason")},
        "before": _neighbours(connection, before),
        "after": _neighbours(connection, after),
    }


def _neighbours(connection: Connection, query: Any) -> list[dict[str, Any]]:
    rows = connection.execute(query.limit(NEIGHBOURS))
    return [{"id": row.id, "state": row.state, "recorded_at": iso(row.recorded_at)} for row in rows]


def _tell(
    connection: Connection,
    now: datetime,
    resident_id: str,
    number: int,
    kind: str,
    answer_by: str | None = None,
    **more: object,
) -> None:
    fields: Mapping[str, object] = {"ticket": report_ticket(number), "report": number} | day_fields(answer_by) | more
    tell(connection, now, [Message(resident_id, kind, fields)])


def _note(connection: Connection, operation: Operation, now: datetime, action: str, number: int) -> None:
    actor, subject = operation.body.actor, ("report", str(number))
    audit.record(connection, now, actor=actor, action=action, subject=subject, operation_id=operation.id)
