"""What a batch does to redemptions, collected first and written once, with the ledger, in one transaction.

Rules: a state changes only by `step`, which asks the one table (`jishan_protocol.redemption`); leaving for CAPTURED
books a capture, for VOIDED a void; slot stock follows (decisions, "Slot stock"); whatever a person must see becomes an
alert, at most one open for each kind and subject, and what a resident must know a message (`telling`). `write` raises
if the ledger refuses what the table allowed: the two disagree then, and nothing of the batch may stay.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, tzinfo
from typing import Any, Final

from sqlalchemy import Connection, Table, bindparam, case, insert, update
from sqlalchemy.dialects import postgresql, sqlite

from jishan_protocol.redemption import CLOSED, Event, Party, State, Verdict, advance
from jishan_server.ids import derived_id
from jishan_server.ledger import store as ledger
from jishan_server.ledger.model import Cause, Kind, Transfer
from jishan_server.ledger.tables import ID as MAX_ID
from jishan_server.vending import tables
from jishan_server.vending.model import Redemption
from jishan_server.vending.rules import DOUBT_ANSWER_DAYS
from jishan_server.vending.telling import IN_DOUBT, REDEMPTION_OPEN, answer_day, kind_of, tell_turns

_JSON: Final = json.JSONEncoder(ensure_ascii=False, sort_keys=True)


@dataclass(frozen=True, slots=True)
class Said:
    """Who said an event, by which message, and what they showed for it."""

    party: Party
    actor: str
    message_id: str | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class _SlotChange:
    stock: int = 0
    reserved: int = 0
    # A reason to close the slot for; "" opens one that was closed only because a vend was in doubt.
    closes: str | None = None


@dataclass(slots=True)
class Changes:
    """Everything a batch will write, in memory. `zone`: whose days the scheme's are; `doubt_answer_days`: the working
    days within which a doubt is answered."""

    now: datetime
    zone: tzinfo
    doubt_answer_days: int = DOUBT_ANSWER_DAYS
    redemptions: dict[str, Redemption] = field(default_factory=dict)
    new: set[str] = field(default_factory=set)
    touched: set[str] = field(default_factory=set)
    transfers: list[Transfer] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    contradictions: list[dict[str, Any]] = field(default_factory=list)
    alerts: list[dict[str, Any]] = field(default_factory=list)
    settled: list[str] = field(default_factory=list)
    slots: dict[tuple[str, int], _SlotChange] = field(default_factory=dict)
    closed_machines: dict[str, str] = field(default_factory=dict)
    reported: dict[str, int] = field(default_factory=dict)
    # (kind of message, redemption): what residents are told.
    told: list[tuple[str, str]] = field(default_factory=list)

    def slot(self, redemption: Redemption) -> _SlotChange:
        """The change of the slot that a redemption is about."""
        if redemption.selection is None:
            return _SlotChange()
        return self.slots.setdefault((redemption.machine_id, redemption.selection), _SlotChange())

    def add(self, redemption: Redemption) -> None:
        """Take up a redemption that has no row yet."""
        self.redemptions[redemption.id] = redemption
        self.new.add(redemption.id)

    def note(self, redemption: Redemption, event: Event, said: Said, verdict: Verdict) -> None:
        """Append to the redemption's history; the redemption is as the event left it."""
        self.events.append(
            {
                "redemption_id": redemption.id,
                "event": event,
                "party": said.party,
                "actor": said.actor,
                "verdict": verdict,
                "state": redemption.state,
                "message_id": said.message_id,
                "evidence": _JSON.encode(said.evidence),
                "recorded_at": self.now,
            }
        )

    def alert(
        self, grade: str, kind: str, subject: str, estate_id: str, detail: Mapping[str, Any], **about: str | None
    ) -> None:
        """Tell a person, once while the alert is open."""
        self.alerts.append(
            {
                "grade": grade,
                "kind": kind,
                "subject": subject,
                "estate_id": estate_id,
                "machine_id": about.get("machine_id"),
                "redemption_id": about.get("redemption_id"),
                "detail": _JSON.encode(detail),
                "opened_at": self.now,
            }
        )


def step(changes: Changes, redemption: Redemption, event: Event, said: Said) -> Redemption:
    """Let `event` act on a redemption, with all that follows from it; gives the redemption after it.

    Raises IllegalTransition, with nothing changed.
    """
    moved = advance(redemption.state, event, said.party)
    after = redemption
    if moved.verdict is Verdict.MOVED:
        after = _follow(changes, redemption, moved.state, event, said)
        changes.touched.add(after.id)
        if (kind := kind_of(redemption.state, after.state, event)) is not None:
            changes.told.append((kind, after.id))
    changes.redemptions[after.id] = after
    changes.note(after, event, said, moved.verdict)
    if moved.verdict is Verdict.CONTRADICTS:
        changes.contradictions.append(
            {
                "redemption_id": after.id,
                "machine_id": after.machine_id,
                "state": after.state,
                "event": event,
                "message_id": said.message_id,
                "evidence": _JSON.encode(said.evidence),
                "recorded_at": changes.now,
            }
        )
        changes.alert(
            "urgent",
            "contradiction",
            f"{after.id}:{event}",
            after.estate_id,
            {"state": after.state, "event": event},
            machine_id=after.machine_id,
            redemption_id=after.id,
        )
    return after


def _follow(changes: Changes, before: Redemption, state: State, event: Event, said: Said) -> Redemption:
    is_over = state in (State.CAPTURED, State.VOIDED)
    after = replace(before, state=state, changed_at=changes.now, is_reserved=before.is_reserved and not is_over)
    slot = changes.slot(before)
    match state:
        case State.CAPTURED | State.VOIDED:
            if before.hold_id is not None:
                changes.transfers.append(
                    end_of_hold(before, Kind.CAPTURE if state is State.CAPTURED else Kind.VOID, said)
                )
            if before.is_reserved:
                slot.reserved -= 1
                slot.stock -= 1 if state is State.CAPTURED else 0
            if event in (Event.NOT_DISPENSED, Event.PROVED_NOT_DISPENSED):
                # What should have left and stayed is a coil for a person to look at, whoever found it out.
                slot.closes = "not_dispensed"
            elif before.state is State.IN_DOUBT and said.party is Party.AGENT and slot.closes != "not_dispensed":
                slot.closes = ""
        case State.REVERSED:
            changes.transfers.append(_reversal(before, said))
        case State.IN_DOUBT if before.state is not State.IN_DOUBT:
            if event is Event.OUTCOME_UNKNOWN and slot.closes != "not_dispensed":
                slot.closes = "in_doubt"
            after = replace(after, in_doubt_at=changes.now)
            changes.alert(
                "urgent",
                REDEMPTION_OPEN,
                after.id,
                after.estate_id,
                {"why": event, "selection": after.selection, "points": after.points},
                machine_id=after.machine_id,
                redemption_id=after.id,
            )
        case _:
            pass
    if state in CLOSED and (before.state is State.IN_DOUBT or before.watch_grade > 0):
        changes.settled.append(before.id)
    return after


def redeemed_account(estate_id: str) -> str:
    """The account that points go to when an item has left a machine of the estate."""
    return f"sys:redeemed:{estate_id}"


def hold_of(redemption_id: str, estate_id: str, account_id: str, points: int, actor: str) -> Transfer:
    """The hold of a redemption's points on an account."""
    return Transfer(
        id=hold_id_of(redemption_id),
        kind=Kind.HOLD,
        debit=account_id,
        credit=redeemed_account(estate_id),
        points=points,
        cause=Cause("redemption", redemption_id),
        actor=actor,
        reason="redemption",
    )


def hold_id_of(redemption_id: str) -> str:
    """The id of a redemption's hold: the same on a server restored from a backup."""
    id = _beside(redemption_id, Kind.HOLD)
    return id if len(id) <= MAX_ID else derived_id(redemption_id, Kind.HOLD.value)


def transfer_id_of(redemption_id: str, hold_id: str | None, kind: Kind) -> str:
    """The id of what ends a redemption's hold or takes its capture back, each of which there is once.

    It stands beside the hold's. Where that one is derived (the redemption began before ids stood beside each other, or
    its own id leaves no room), this one is too.
    """
    is_beside = hold_id == _beside(redemption_id, Kind.HOLD)
    return _beside(redemption_id, kind) if is_beside else derived_id(redemption_id, kind.value)


def _beside(redemption_id: str, kind: Kind) -> str:
    """A neighbour of the redemption in an index; no two kinds have the same initial."""
    return f"{redemption_id}-{kind.value[0]}"


def end_of_hold(redemption: Redemption, kind: Kind, said: Said) -> Transfer:
    """The capture or void of a redemption's whole hold."""
    assert redemption.account_id is not None
    assert redemption.points is not None
    return Transfer(
        id=transfer_id_of(redemption.id, redemption.hold_id, kind),
        kind=kind,
        debit=redemption.account_id,
        credit=redeemed_account(redemption.estate_id),
        points=redemption.points,
        cause=Cause("redemption", redemption.id),
        actor=said.actor,
        reason="redemption",
        pending_id=redemption.hold_id,
    )


def _reversal(redemption: Redemption, said: Said) -> Transfer:
    assert redemption.account_id is not None
    assert redemption.points is not None
    return Transfer(
        id=transfer_id_of(redemption.id, redemption.hold_id, Kind.REVERSAL),
        kind=Kind.REVERSAL,
        debit=redeemed_account(redemption.estate_id),
        credit=redemption.account_id,
        points=redemption.points,
        cause=Cause("redemption", redemption.id),
        actor=said.actor,
        reason="redemption_reversed",
        reverses_id=transfer_id_of(redemption.id, redemption.hold_id, Kind.CAPTURE),
    )


def write(connection: Connection, changes: Changes) -> None:
    """Write all of it, the ledger last because its accounts are locked last."""
    _promise(connection, changes)
    rows = [_row(changes.redemptions[id]) for id in changes.redemptions if id in changes.new]
    if rows:
        connection.execute(insert(tables.redemptions), rows)
    moved = [changes.redemptions[id] for id in changes.redemptions if id in changes.touched - changes.new]
    if moved:
        connection.execute(_UPDATE_REDEMPTION, [_moved(redemption) for redemption in moved])
    if changes.events:
        connection.execute(insert(tables.redemption_events), changes.events)
    if changes.contradictions:
        connection.execute(insert(tables.contradictions), changes.contradictions)
    _write_slots(connection, changes)
    _write_machines(connection, changes)
    settle_alerts(connection, REDEMPTION_OPEN, changes.settled, "system", changes.now)
    insert_new(connection, tables.alerts, changes.alerts)
    tell_turns(connection, [(kind, changes.redemptions[id]) for kind, id in changes.told], changes.now)
    for transfer, answer in zip(
        changes.transfers, ledger.book(connection, changes.transfers, changes.now, changes.zone), strict=True
    ):
        assert not isinstance(answer, ledger.Refused), f"the ledger refuses {transfer} as {answer}"


def _promise(connection: Connection, changes: Changes) -> None:
    """Say by which day those that became doubtful are answered."""
    doubtful = [id for kind, id in changes.told if kind == IN_DOUBT]
    if doubtful:
        answer_by = answer_day(connection, changes.now, changes.zone, changes.doubt_answer_days)
        for id in doubtful:
            changes.redemptions[id] = replace(changes.redemptions[id], answer_by=answer_by)


def settle_alerts(connection: Connection, kind: str, subjects: Sequence[str], actor: str, now: datetime) -> None:
    """Resolve the open alerts of one kind about some subjects."""
    if subjects:
        connection.execute(
            update(tables.alerts)
            .where(tables.alerts.c.kind == kind)
            .where(tables.alerts.c.subject.in_(subjects))
            .where(tables.alerts.c.resolved_at.is_(None))
            .values(resolved_at=now, resolved_by=actor)
        )


def insert_new(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert the rows that break no unique key, and leave out the others."""
    if rows:
        dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
        connection.execute(dialect.insert(table).on_conflict_do_nothing(), list(rows))


_UPDATE_REDEMPTION: Final = (
    update(tables.redemptions)
    .where(tables.redemptions.c.id == bindparam("key"))
    .values(
        {
            name: bindparam(name)
            for name in ("state", "is_reserved", "changed_at", "watch_grade", "in_doubt_at", "answer_by")
        }
    )
)

_SLOT: Final = (tables.slots.c.machine_id == bindparam("machine")) & (tables.slots.c.selection == bindparam("number"))


def _not_below_zero(column: Any, change: str) -> Any:
    # A count may have taken the item away already; stock is what people counted, not what we computed.
    return case((column + bindparam(change) < 0, 0), else_=column + bindparam(change))


_COUNT_SLOT: Final = (
    update(tables.slots)
    .where(_SLOT)
    .values(
        stock=_not_below_zero(tables.slots.c.stock, "stock_change"),
        reserved=_not_below_zero(tables.slots.c.reserved, "reserved_change"),
    )
)
_CLOSED_REASON: Final = tables.slots.c.closed_reason
_CLOSE_SLOT: Final = (
    update(tables.slots)
    .where(_SLOT & (_CLOSED_REASON.is_(None) | (_CLOSED_REASON == "in_doubt")))
    .values(closed_reason=bindparam("why"), closed_at=bindparam("when"))
)
_OPEN_SLOT: Final = (
    update(tables.slots).where(_SLOT & (_CLOSED_REASON == "in_doubt")).values(closed_reason=None, closed_at=None)
)


def _write_slots(connection: Connection, changes: Changes) -> None:
    slots: list[tuple[dict[str, Any], _SlotChange]] = [
        ({"machine": machine, "number": number}, slot) for (machine, number), slot in changes.slots.items()
    ]
    counted = [
        place | {"stock_change": slot.stock, "reserved_change": slot.reserved}
        for place, slot in slots
        if slot.stock or slot.reserved
    ]
    closed = [place | {"why": slot.closes, "when": changes.now} for place, slot in slots if slot.closes]
    opened = [place for place, slot in slots if slot.closes == ""]
    for statement, rows in ((_COUNT_SLOT, counted), (_CLOSE_SLOT, closed), (_OPEN_SLOT, opened)):
        if rows:
            connection.execute(statement, rows)
    bump_desired(connection, {place["machine"] for place in closed + opened})


def _write_machines(connection: Connection, changes: Changes) -> None:
    machines = tables.machines
    closed = [{"key": id, "why": why} for id, why in changes.closed_machines.items()]
    if closed:
        connection.execute(
            update(machines)
            .where((machines.c.id == bindparam("key")) & (machines.c.state == "enrolled"))
            .values(state="closed", closed_reason=bindparam("why")),
            closed,
        )
        bump_desired(connection, changes.closed_machines)
    reported = [{"key": id, "version": version} for id, version in changes.reported.items()]
    if reported:
        connection.execute(
            update(machines).where(machines.c.id == bindparam("key")).values(reported_version=bindparam("version")),
            reported,
        )


def bump_desired(connection: Connection, machine_ids: Collection[str], by: int = 1) -> None:
    """Let machines fetch their desired document anew: something that it says has changed."""
    if machine_ids:
        connection.execute(
            update(tables.machines)
            .where(tables.machines.c.id.in_(sorted(machine_ids)))
            .values(desired_version=tables.machines.c.desired_version + by)
        )


def _row(redemption: Redemption) -> dict[str, Any]:
    return {name: getattr(redemption, name) for name in Redemption.__dataclass_fields__}


def _moved(redemption: Redemption) -> dict[str, Any]:
    return {
        "key": redemption.id,
        "state": redemption.state,
        "is_reserved": redemption.is_reserved,
        "changed_at": redemption.changed_at,
        "watch_grade": redemption.watch_grade,
        "in_doubt_at": redemption.in_doubt_at,
        "answer_by": redemption.answer_by,
    }
