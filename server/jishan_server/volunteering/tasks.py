"""Tasks in four parts: a need is assigned, led, handled, with others assisting, and confirmed by somebody else.

Confirming credits those who led and assisted, through the way of every credit: recorded by who wrote down that it was
done, approved by who confirms it, and then shown in the notice. Who was on duty is paid for it and gets none.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, RowMapping, insert, select, update

from jishan_server import audit
from jishan_server.errors import DomainError
from jishan_server.ids import derived_id, timed_derived_id
from jishan_server.instants import iso
from jishan_server.organizations.calendar import parse_day
from jishan_server.organizations.roles import Permission, permit, scope
from jishan_server.organizations.tree import below, organization, path
from jishan_server.people.one_person import is_same_person
from jishan_server.people.staff import resident_of
from jishan_server.people.tables import residents
from jishan_server.volunteering import credits
from jishan_server.volunteering.crediting import Work, price, record, with_notes
from jishan_server.volunteering.rule_versions import ensure_first
from jishan_server.volunteering.rules import MAX_MINUTES, CreditRules, Source
from jishan_server.volunteering.task_states import CREDITED, PARTS, Event, Part, State, follow
from jishan_server.volunteering.task_tables import task_people, task_steps, tasks
from jishan_server.writer import Operation

MAX_PEOPLE: Final = 50
"""More is an activity with a session, not a task."""


@dataclass(frozen=True, slots=True)
class MakeTask:
    """`due_day` is YYYY-MM-DD."""

    actor: str
    organization_id: str
    title: str
    need: str
    place: str | None = None
    due_day: str | None = None


@dataclass(frozen=True, slots=True)
class Participant:
    """`minutes` is needed by the time the task is confirmed, of those who are to be credited."""

    resident_id: str
    part: Part
    minutes: int | None = None
    is_on_duty: bool = False


@dataclass(frozen=True, slots=True)
class StepTask:
    """Any event but `confirmed`; `people` are named with it, or named anew with other minutes."""

    actor: str
    task_id: str
    event: Event
    note: str = ""
    people: tuple[Participant, ...] = ()


@dataclass(frozen=True, slots=True)
class ConfirmTask:
    actor: str
    task_id: str
    note: str = ""
    # Random, for the notes with the words (`ledger.notes`).
    salt: str | None = field(default=None, repr=False, metadata={"secret": True})


def make_task(connection: Connection, operation: Operation, now: datetime) -> dict[str, Any]:
    """Write a need down. Refusals: estate_unknown, forbidden, day_invalid."""
    body: MakeTask = operation.body
    organization(connection, body.organization_id)
    permit(connection, body.actor, Permission.TASK_WRITE, body.organization_id)
    if body.due_day is not None:
        parse_day(body.due_day)
    id = timed_derived_id(operation.id, "task", now)
    connection.execute(
        insert(tasks).values(
            id=id,
            organization_id=body.organization_id,
            title=body.title,
            need=body.need,
            place=body.place,
            due_day=body.due_day,
            state=State.NEED,
            made_by=body.actor,
            recorded_at=now,
            changed_at=now,
        )
    )
    _note(connection, operation, now, "task_made", id)
    return view(connection, id)


def step_task(connection: Connection, operation: Operation, now: datetime) -> dict[str, Any]:
    """Take a step. Refusals: task_unknown, forbidden, task_not_there, task_part, resident_unknown, resident_elsewhere,
    minutes_invalid, reason_required for what is sent back or cancelled."""
    body: StepTask = operation.body
    task = _locked(connection, body.task_id)
    is_judging = body.event is Event.SENT_BACK
    permission = Permission.TASK_CONFIRM if is_judging else Permission.TASK_WRITE
    permit(connection, body.actor, permission, task["organization_id"])
    after = follow(task["state"], body.event)
    if body.event in (Event.SENT_BACK, Event.CANCELLED) and not body.note.strip():
        raise DomainError("reason_required")
    if body.event is Event.LED and not body.people:
        raise DomainError("task_part", part=Part.LEAD.value)
    _name(connection, task, body)
    values: dict[str, Any] = {"state": after, "changed_at": now}
    if body.event is Event.HANDLED:
        values |= {"handled_by": body.actor, "handled_at": now}
    _move(connection, operation, now, task, body.event, after, body.note, values)
    return view(connection, body.task_id)


def confirm_task(connection: Connection, operation: Operation, now: datetime, rules: CreditRules) -> dict[str, Any]:
    """Confirm what was handled, and credit who led and assisted. The minutes are those written down with it.

    Refusals: task_unknown, forbidden, task_not_there, task_same_person, task_minutes, and those of approving a credit.
    """
    body: ConfirmTask = operation.body
    task = _locked(connection, body.task_id)
    permit(connection, body.actor, Permission.TASK_CONFIRM, task["organization_id"])
    after = follow(task["state"], Event.CONFIRMED)
    if body.actor == task["handled_by"]:
        raise DomainError("task_same_person")
    people = _people(connection, [body.task_id])
    own = resident_of(connection, body.actor)
    if any(is_same_person(connection, own, one["resident_id"]) for one in people):
        raise DomainError("task_same_person")
    credited = [one for one in people if one["part"] in CREDITED and not one["is_on_duty"]]
    if any(one["minutes"] is None for one in credited):
        raise DomainError("task_minutes")
    made = _credit(connection, operation, task, credited, now, rules)
    for resident_id, credit_id in made.items():
        connection.execute(
            update(task_people)
            .where(task_people.c.task_id == body.task_id, task_people.c.resident_id == resident_id)
            .values(credit_id=credit_id)
        )
    values = {"state": after, "changed_at": now, "confirmed_by": body.actor}
    _move(connection, operation, now, task, Event.CONFIRMED, after, body.note, values)
    return view(connection, body.task_id)


def _credit(
    connection: Connection,
    operation: Operation,
    task: RowMapping,
    credited: Sequence[RowMapping],
    now: datetime,
    rules: CreditRules,
) -> dict[str, str]:
    """Record and approve a credit for each of these people; their ids by resident."""
    if not credited:
        return {}
    ensure_first(connection, rules, now)
    day = task["handled_at"].astimezone(rules.zone).date()
    works = [
        Work(
            id=derived_id(operation.id, f"credit {one['resident_id']}"),
            resident_id=one["resident_id"],
            estate_id=one["estate_id"],
            minutes=one["minutes"],
            points=None,
            source=Source.LIST_ON_THE_SPOT,
            title=task["title"],
            reason=task["need"],
            worked_at=task["handled_at"],
            day=day,
            organization_id=task["organization_id"],
            place=task["place"],
        )
        for one in credited
    ]
    works = with_notes(connection, works, operation.body.salt)
    record(connection, price(connection, works), task["handled_by"], now)
    recorded = [audit.Entry(task["handled_by"], "credit_recorded", ("credit", one.id), operation.id) for one in works]
    audit.record_all(connection, now, recorded)
    decisions = [(credits.DecideCredit(operation.body.actor, one.id), operation.id) for one in works]
    errors, _ = credits.approve(connection, decisions, now, rules)
    for error in errors:
        if error is not None:
            raise error
    return {one.resident_id: one.id for one in works}


def _name(connection: Connection, task: RowMapping, body: StepTask) -> None:
    """Write down who takes part; a person has one part of a task."""
    if not body.people:
        return
    allowed = PARTS.get(body.event, frozenset())
    nodes = {node.id for node in path(connection, task["organization_id"])} | below(connection, task["organization_id"])
    wanted = {one.resident_id: one for one in body.people}
    rows = connection.execute(select(residents.c.id, residents.c.estate_id).where(residents.c.id.in_(wanted)))
    estates = {row.id: row.estate_id for row in rows}
    for one in wanted.values():
        if one.part not in allowed:
            raise DomainError("task_part", part=one.part.value)
        if one.resident_id not in estates:
            raise DomainError("resident_unknown", id=one.resident_id)
        if estates[one.resident_id] not in nodes:
            raise DomainError("resident_elsewhere")
        if one.minutes is not None and not 1 <= one.minutes <= MAX_MINUTES:
            raise DomainError("minutes_invalid")
    known = set(connection.scalars(select(task_people.c.resident_id).where(task_people.c.task_id == body.task_id)))
    if len(known | wanted.keys()) > MAX_PEOPLE:
        raise DomainError("task_people_many", limit=MAX_PEOPLE)
    for one in wanted.values():
        values = {"part": one.part, "minutes": one.minutes, "is_on_duty": one.is_on_duty}
        place = {"task_id": body.task_id, "resident_id": one.resident_id}
        if one.resident_id in known:
            t = task_people.c
            same = (t.task_id == body.task_id) & (t.resident_id == one.resident_id)
            connection.execute(update(task_people).where(same).values(values))
        else:
            connection.execute(insert(task_people).values(place | values))


def _move(
    connection: Connection,
    operation: Operation,
    now: datetime,
    task: RowMapping,
    event: Event,
    after: State,
    note: str,
    values: Mapping[str, Any],
) -> None:
    connection.execute(update(tasks).where(tasks.c.id == task["id"]).values(values))
    connection.execute(
        insert(task_steps).values(
            task_id=task["id"], event=event, state=after, actor=operation.body.actor, note=note, recorded_at=now
        )
    )
    _note(connection, operation, now, f"task_{event.value}", task["id"])


# looking


def task(connection: Connection, actor: str, task_id: str) -> dict[str, Any]:
    """One task with its people and steps; refusals: task_unknown, forbidden."""
    found = view(connection, task_id)
    permit(connection, actor, Permission.TASK_READ, found["organization_id"])
    return found


def page(
    connection: Connection, actor: str, *, state: str | None, overdue_on: str | None, after: str | None, limit: int
) -> tuple[list[dict[str, Any]], str | None]:
    """Tasks in the actor's scope, newest first; `overdue_on`: those unfinished that were due before that day.

    Refusal: forbidden.
    """
    t = tasks.c
    query = select(tasks).where(t.organization_id.in_(scope(connection, actor, Permission.TASK_READ)))
    if state is not None:
        query = query.where(t.state == state)
    if overdue_on is not None:
        query = query.where(t.due_day < overdue_on, t.state.not_in([State.CONFIRMED, State.CANCELLED]))
    if after is not None:
        query = query.where(t.id < after)
    rows = connection.execute(query.order_by(t.id.desc()).limit(limit + 1)).mappings().all()
    shown = rows[:limit]
    return [_view(row) for row in shown], shown[-1]["id"] if len(rows) > limit else None


def view(connection: Connection, task_id: str) -> dict[str, Any]:
    """One task with its people and steps; refusal: task_unknown."""
    row = connection.execute(select(tasks).where(tasks.c.id == task_id)).mappings().one_or_none()
    if row is None:
        raise DomainError("task_unknown", id=task_id)
    steps = connection.execute(
        select(task_steps).where(task_steps.c.task_id == task_id).order_by(task_steps.c.number)
    ).mappings()
    return _view(row) | {
        "people": [dict(one) for one in _people(connection, [task_id])],
        "steps": [{**one, "recorded_at": iso(one["recorded_at"])} for one in steps],
    }


def _view(row: RowMapping) -> dict[str, Any]:
    return {**row} | {name: iso(row[name]) for name in ("recorded_at", "changed_at", "handled_at")}


def _people(connection: Connection, task_ids: Sequence[str]) -> Sequence[RowMapping]:
    query = (
        select(task_people, residents.c.estate_id)
        .join(residents, residents.c.id == task_people.c.resident_id)
        .where(task_people.c.task_id.in_(task_ids))
        .order_by(task_people.c.part, task_people.c.resident_id)
    )
    return connection.execute(query).mappings().all()


def _locked(connection: Connection, task_id: str) -> RowMapping:
    row = connection.execute(select(tasks).where(tasks.c.id == task_id).with_for_update()).mappings().one_or_none()
    if row is None:
        raise DomainError("task_unknown", id=task_id)
    return row


def _note(connection: Connection, operation: Operation, now: datetime, action: str, id: str) -> None:
    actor = operation.body.actor
    audit.record(connection, now, actor=actor, action=action, subject=("task", id), operation_id=operation.id)
