"""Appeals: a person asks to look again at a rejection or a reversal, or to correct a credit that is final.

`filed`, then `accepted` or `refused`, by somebody who neither recorded the credit, nor decided on it, nor filed the
appeal. It is filed within the days that the rules give, and once for each decision; a correction may be asked for
again. Accepted, the credit goes the way of every credit: through the notice, and only then points and hours.
Source: Ministry of Civil Affairs Order 67, articles 12-13.
"""

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, insert, select, update

from jishan_server import audit
from jishan_server.errors import DomainError
from jishan_server.ids import timed_derived_id
from jishan_server.instants import iso
from jishan_server.organizations.roles import Permission, permit, resident_of_actor
from jishan_server.people.messages import Message, tell
from jishan_server.people.one_person import is_same_person, records_of, whose
from jishan_server.people.staff import resident_of
from jishan_server.volunteering.attendance import mark_credited
from jishan_server.volunteering.corrections import again, same_again
from jishan_server.volunteering.credit_states import Event, State, follow
from jishan_server.volunteering.credit_tables import appeals, objections
from jishan_server.volunteering.crediting import Work, go_on, locked, price, record, with_notes
from jishan_server.volunteering.rule_versions import Versions
from jishan_server.volunteering.rules import CreditRules
from jishan_server.volunteering.tables import credits
from jishan_server.writer import Operation


@dataclass(frozen=True, slots=True)
class FileAppeal:
    """About a final credit, `wanted_minutes` says what is right; otherwise it is None."""

    actor: str
    credit_id: str
    reason: str
    wanted_minutes: int | None = None


@dataclass(frozen=True, slots=True)
class DecideAppeal:
    actor: str
    appeal_id: str
    is_accepted: bool
    reason: str
    # Random, for the note with the words (`ledger.notes`).
    salt: str | None = field(default=None, repr=False, metadata={"secret": True})


def file_appeal(connection: Connection, operation: Operation, now: datetime, settings: CreditRules) -> dict[str, Any]:
    """File an appeal, for oneself or as staff for a person.

    Refusals: reason_required, credit_unknown, forbidden, appeal_not_possible, appeal_open, appeal_closed,
    appeal_too_late, minutes_invalid, correction_same.
    """
    body: FileAppeal = operation.body
    if not body.reason.strip():
        raise DomainError("reason_required")
    row = locked(connection, {body.credit_id}).get(body.credit_id)
    if row is None:
        raise DomainError("credit_unknown", id=body.credit_id)
    person = whose(connection, body.actor, row["resident_id"])
    # A resident learns of no credit but their own.
    if resident_of_actor(body.actor) not in (None, person):
        raise DomainError("credit_unknown", id=body.credit_id)
    permit(connection, body.actor, Permission.APPEAL_WRITE, row["estate_id"], about=person)
    about, decided_at = _about(connection, row, body.wanted_minutes)
    a = appeals.c
    before = {
        one.state
        for one in connection.execute(select(a.state, a.about).where(a.credit_id == row["id"]))
        if one.state == "filed" or one.about == about != "correction"
    }
    if before:
        raise DomainError("appeal_open" if "filed" in before else "appeal_closed")
    days = timedelta(days=Versions(connection).of(row["rule_version"]).appeal_days)
    today = now.astimezone(settings.zone).date()
    last = decided_at.astimezone(settings.zone).date() + days
    if today > last:
        raise DomainError("appeal_too_late", last_day=last.isoformat())
    id = timed_derived_id(operation.id, "appeal", now)
    connection.execute(
        insert(appeals).values(
            id=id,
            credit_id=row["id"],
            resident_id=row["resident_id"],
            estate_id=row["estate_id"],
            about=about,
            wanted_minutes=body.wanted_minutes,
            filed_by=body.actor,
            filed_at=now,
            due_day=(today + days).isoformat(),
            reason=body.reason,
            state="filed",
        )
    )
    _note(connection, operation, now, "appeal_filed", id, row["id"])
    return appeal(connection, id)


def _about(connection: Connection, row: dict[str, Any], wanted_minutes: int | None) -> tuple[str, datetime]:
    """What an appeal about this credit is against, and when that was decided."""
    state = State(row["state"])
    if state is State.REJECTED and wanted_minutes is None:
        return "rejected", row["decided_at"]
    if state is State.REVERSED and wanted_minutes is None and not _is_replaced(connection, row["id"]):
        return "reversed", row["reversed_at"]
    if state is State.FINAL and row["minutes"] is not None and wanted_minutes is not None:
        again(row, row["id"], wanted_minutes, None, row["reason"])
        return "correction", row["finalised_at"]
    raise DomainError("appeal_not_possible", state=row["state"])


def _is_replaced(connection: Connection, credit_id: str) -> bool:
    """Whether another credit takes, or is to take, this one's place."""
    query = select(credits.c.id).where(credits.c.corrects_id == credit_id, credits.c.state != State.REJECTED)
    return connection.scalar(query) is not None


def decide_appeal(connection: Connection, operation: Operation, now: datetime, settings: CreditRules) -> dict[str, Any]:
    """Accept or refuse an appeal.

    Refusals: reason_required, appeal_unknown, forbidden, appeal_closed, second_reviewer_required, credit_own,
    appeal_not_possible (the credit has changed meanwhile), correction_open, and the ledger's.
    """
    body: DecideAppeal = operation.body
    if not body.reason.strip():
        raise DomainError("reason_required")
    found = appeal(connection, body.appeal_id)
    permit(connection, body.actor, Permission.APPEAL_DECIDE, found["estate_id"])
    row = locked(connection, {found["credit_id"]})[found["credit_id"]]
    if appeal(connection, body.appeal_id)["state"] != "filed":
        raise DomainError("appeal_closed")
    objected = select(objections.c.decided_by, objections.c.filed_by).where(objections.c.credit_id == row["id"])
    involved = {actor for one in connection.execute(objected) for actor in one}
    if body.actor in {row["recorded_by"], row["decided_by"], row["reversed_by"], found["filed_by"], *involved}:
        raise DomainError("second_reviewer_required")
    if is_same_person(connection, resident_of(connection, body.actor), row["resident_id"]):
        raise DomainError("credit_own")
    new_id = _accept(connection, operation, found, row, now, settings) if body.is_accepted else None
    connection.execute(
        update(appeals)
        .where(appeals.c.id == body.appeal_id)
        .values(
            state="accepted" if body.is_accepted else "refused",
            decided_by=body.actor,
            decided_at=now,
            decision_reason=body.reason,
            new_credit_id=new_id,
        )
    )
    kind = "appeal_accepted" if body.is_accepted else "appeal_refused"
    tell(connection, now, [Message(row["resident_id"], kind, {"activity": row["activity"]})])
    _note(connection, operation, now, kind, body.appeal_id, row["id"])
    return appeal(connection, body.appeal_id)


def _accept(
    connection: Connection,
    operation: Operation,
    found: dict[str, Any],
    row: dict[str, Any],
    now: datetime,
    settings: CreditRules,
) -> str | None:
    """Let the credit, or one in its place, go on; the id of the new one."""
    body: DecideAppeal = operation.body
    expected = {"rejected": State.REJECTED, "reversed": State.REVERSED, "correction": State.FINAL}[found["about"]]
    if row["state"] != expected:
        raise DomainError("appeal_not_possible", state=row["state"])
    if found["about"] == "rejected":
        _restore(connection, row, now)
    else:
        if _is_replaced(connection, row["id"]):
            raise DomainError("correction_open")
        row = _in_its_place(connection, operation, found, row, now)
    decided = {"decided_by": body.actor, "decided_at": now, "decision_reason": body.reason, "notice_ends_at": None}
    row |= {"state": follow(row["state"], _EVENTS[found["about"]]).value} | decided
    for refusal in go_on(connection, [row], now, settings).values():
        raise refusal
    return None if found["about"] == "rejected" else str(row["id"])


_EVENTS = {"rejected": Event.RESTORED, "reversed": Event.APPROVED, "correction": Event.APPROVED}


def _restore(connection: Connection, row: dict[str, Any], now: datetime) -> None:
    """A rejected credit takes its attendance, or what it corrects, back; unless another credit has it by now."""
    c = credits.c
    for column in (c.attendance_id, c.corrects_id):
        taken = select(c.id).where(column == row[column.name], c.state != State.REJECTED)
        if row[column.name] is not None and connection.scalar(taken) is not None:
            raise DomainError("appeal_not_possible", state=row["state"])
    if row["attendance_id"] is not None:
        mark_credited(connection, {row["attendance_id"]: row["id"]}, now)


def _in_its_place(
    connection: Connection, operation: Operation, found: dict[str, Any], row: dict[str, Any], now: datetime
) -> dict[str, Any]:
    """A recorded credit of the same work, by whoever filed the appeal."""
    id = timed_derived_id(operation.id, "credit", now)
    work: Work
    if found["about"] == "correction":
        work = replace(again(row, id, found["wanted_minutes"], None, found["reason"]), corrects_id=row["id"])
    else:
        work = same_again(row, id, found["reason"])
    works = with_notes(connection, [work], operation.body.salt)
    (made,) = record(connection, price(connection, works), found["filed_by"], now)
    return made


def appeal(connection: Connection, appeal_id: str) -> dict[str, Any]:
    """One appeal; refusal: appeal_unknown."""
    row = connection.execute(select(appeals).where(appeals.c.id == appeal_id)).mappings().one_or_none()
    if row is None:
        raise DomainError("appeal_unknown", id=appeal_id)
    return _view(dict(row))


def appeals_page(
    connection: Connection,
    *,
    estate_ids: Collection[str] | None = None,
    resident_id: str | None = None,
    state: str | None = None,
    today: date,
    after: str | None,
    limit: int,
) -> tuple[list[dict[str, Any]], str | None]:
    """Appeals of these estates or of a resident, oldest first, with `is_overdue`; and where the next page starts."""
    a = appeals.c
    query = select(appeals)
    if estate_ids is not None:
        query = query.where(a.estate_id.in_(estate_ids))
    if resident_id is not None:
        query = query.where(a.resident_id.in_(records_of(connection, resident_id)))
    if state is not None:
        query = query.where(a.state == state)
    if after is not None:
        query = query.where(a.id > after)
    rows = connection.execute(query.order_by(a.id).limit(limit + 1)).mappings().all()
    shown = [
        _view(dict(row)) | {"is_overdue": row["state"] == "filed" and row["due_day"] < today.isoformat()}
        for row in rows[:limit]
    ]
    return shown, shown[-1]["id"] if len(rows) > limit else None


def _view(row: dict[str, Any]) -> dict[str, Any]:
    return row | {name: iso(row[name]) for name in ("filed_at", "decided_at")}


def _note(connection: Connection, operation: Operation, now: datetime, action: str, id: str, credit_id: str) -> None:
    entry = audit.Entry(operation.body.actor, action, ("appeal", id), operation.id, {"credit_id": credit_id})
    audit.record_all(connection, now, [entry])
