"""Machines: registering, enrolling, what they sell, their stock, and closing them.

Each use case is one operation of the writer: permission first, the machine's lock, the change, its row in the audit
log. A machine is `expected` until it enrols, `enrolled` while it may sell, `closed` by a person or by its own fault,
`forked` when two programs speak for it, `lost` when a person has given it up. Enrolling anew gives it new keys.
"""

from __future__ import annotations

import hashlib
import json
import re
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, delete, func, insert, select, update

from jishan_protocol import messages, topics
from jishan_protocol.redemption import Event, Party, State
from jishan_server import audit
from jishan_server.errors import DomainError
from jishan_server.instants import iso
from jishan_server.organizations.roles import Permission, permit, scope
from jishan_server.organizations.tree import organization
from jishan_server.people import tables as people
from jishan_server.vending import tables
from jishan_server.vending.changes import Changes, Said, bump_desired, insert_new, settle_alerts, step, write
from jishan_server.vending.keys import MAX_KEY_ID, Keys
from jishan_server.vending.model import Machine, ledger_id, lock_machines, open_redemptions, read_machine
from jishan_server.vending.rules import Rules
from jishan_server.writer import Operation

RESTORE_STEP: Final = 1_000_000
"""More changes of one machine's desired document than any backup can be behind."""

ID_FORM: Final = re.compile(r"[0-9a-z_-]{1,32}")


@dataclass(frozen=True, slots=True)
class CreateMachine:
    actor: str
    machine_id: str
    estate_id: str
    name: str


@dataclass(frozen=True, slots=True)
class MakeClaimCode:
    """`code_hash` is `hash_of` the code's secret: the secret itself is shown once and written nowhere."""

    actor: str
    machine_id: str
    code_hash: str


@dataclass(frozen=True, slots=True)
class Enroll:
    """What a machine shows to be let in."""

    code_hash: str
    journal_id: str


@dataclass(frozen=True, slots=True)
class CreateProduct:
    actor: str
    product_id: str
    estate_id: str
    name_zh: str
    name_en: str


@dataclass(frozen=True, slots=True)
class SlotPlan:
    selection: int
    product_id: str
    points: int
    capacity: int
    is_enabled: bool = True


@dataclass(frozen=True, slots=True)
class PublishPlanogram:
    """`replaces` is the version that the person saw: someone else's change in between is a conflict."""

    actor: str
    machine_id: str
    replaces: int
    slots: tuple[SlotPlan, ...]


@dataclass(frozen=True, slots=True)
class CountStock:
    """What a person counted, by selection: (selection, items)."""

    actor: str
    machine_id: str
    counts: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class SetSlotOpen:
    """Open a slot that is closed, or close one; either needs a reason."""

    actor: str
    machine_id: str
    selection: int
    is_open: bool
    reason: str


@dataclass(frozen=True, slots=True)
class SetMachineOpen:
    """Let a closed machine sell again, or close it; either needs a reason."""

    actor: str
    machine_id: str
    is_open: bool
    reason: str


@dataclass(frozen=True, slots=True)
class LoseMachine:
    """Give a machine up: stolen, burnt, its disk gone. Its open redemptions go to a person."""

    actor: str
    machine_id: str
    reason: str


def hash_of(claim_secret: str) -> str:
    """What is kept of a claim code's secret."""
    return hashlib.sha256(f"claim\n{claim_secret}".encode()).hexdigest()


def shard_of(machine_id: str) -> int:
    """The shard of a machine, fixed at its registration."""
    return zlib.crc32(machine_id.encode()) % topics.SHARDS


def set_identity(connection: Connection, ledger: str, now: datetime) -> None:
    """Name the ledger of a new or a restored database.

    After a restore every machine has to catch up before it is given approvals again.
    """
    connection.execute(delete(tables.identity))
    connection.execute(insert(tables.identity).values(number=1, ledger_id=ledger, recorded_at=now))
    # Machines may have newer documents than this backup knows of, and ignore older ones.
    connection.execute(update(tables.machines).values(desired_version=tables.machines.c.desired_version + RESTORE_STEP))


def ensure_identity(connection: Connection, ledger: str, now: datetime) -> None:
    """Name the ledger of a new database; one that has its name keeps it."""
    insert_new(connection, tables.identity, [{"number": 1, "ledger_id": ledger, "recorded_at": now}])


# registering and enrolling


def create_machine(connection: Connection, operation: Operation, now: datetime) -> dict[str, Any]:
    """Register a machine of an estate. Refusals: forbidden, estate_unknown, machine_exists, fields_invalid."""
    body: CreateMachine = operation.body
    if ID_FORM.fullmatch(body.machine_id) is None:
        raise DomainError("fields_invalid", names="machine_id")
    organization(connection, body.estate_id)
    permit(connection, body.actor, Permission.MACHINE_WRITE, body.estate_id)
    if read_machine(connection, body.machine_id) is not None:
        raise DomainError("machine_exists")
    connection.execute(
        insert(tables.machines).values(
            id=body.machine_id,
            estate_id=body.estate_id,
            name=body.name,
            shard=shard_of(body.machine_id),
            state="expected",
            key_id=0,
            last_seq=0,
            is_offline=False,
            planogram_version=0,
            desired_version=1,
            reported_version=0,
            recorded_at=now,
        )
    )
    _note(connection, operation, now, body.actor, "machine_created", body.machine_id)
    return view(connection, body.machine_id)


def make_claim_code(connection: Connection, operation: Operation, now: datetime, rules: Rules) -> dict[str, Any]:
    """Keep the hash of a new claim code; older unused codes of the machine end.

    Refusals: machine_unknown, forbidden.
    """
    body: MakeClaimCode = operation.body
    machine = _lock(connection, body.actor, body.machine_id)
    codes = tables.claim_codes
    connection.execute(delete(codes).where(codes.c.machine_id == machine.id, codes.c.used_at.is_(None)))
    expires_at = now + rules.claim_code_lives
    connection.execute(
        insert(codes).values(
            code_hash=body.code_hash,
            machine_id=machine.id,
            created_by=body.actor,
            recorded_at=now,
            expires_at=expires_at,
        )
    )
    _note(connection, operation, now, body.actor, "claim_code_made", machine.id)
    return {"machine_id": machine.id, "expires_at": iso(expires_at)}


def enroll(connection: Connection, operation: Operation, now: datetime, rules: Rules) -> dict[str, Any]:
    """Let a machine in: its journal, and keys of their own for it. The answer holds no secret; see `credentials_of`.

    The same journal may ask again with its code (the answer was lost) until the code expires; any other is refused.
    Keys are new each time. The same journal goes on where it was; with another one, what was open goes to a person. A
    journal that was forked or lost is never let in again.
    Refusals: claim_code_unknown, claim_code_expired, claim_code_used, journal_must_be_new, machine_enrolled_too_often.
    """
    body: Enroll = operation.body
    codes = tables.claim_codes
    code = connection.execute(select(codes).where(codes.c.code_hash == body.code_hash)).one_or_none()
    if code is None:
        raise DomainError("claim_code_unknown")
    machine = lock_machines(connection, [code.machine_id])[code.machine_id]
    if code.used_at is not None and code.used_by_journal != body.journal_id:
        raise DomainError("claim_code_used")
    if now >= code.expires_at:
        raise DomainError("claim_code_expired")
    if code.used_at is None:
        _take_in(connection, machine, body.journal_id, now, rules)
        connection.execute(
            update(codes)
            .where(codes.c.code_hash == body.code_hash)
            .values(used_at=now, used_by_journal=body.journal_id)
        )
        settle_alerts(connection, "forked", [machine.id], "system", now)
        _note(connection, operation, now, f"machine:{machine.id}", "machine_enrolled", machine.id)
    enrolled = read_machine(connection, machine.id)
    assert enrolled is not None
    return {"machine_id": enrolled.id, "shard": enrolled.shard, "key_id": enrolled.key_id}


def _take_in(connection: Connection, machine: Machine, journal_id: str, now: datetime, rules: Rules) -> None:
    if machine.key_id >= MAX_KEY_ID:
        raise DomainError("machine_enrolled_too_often", limit=MAX_KEY_ID)
    values: dict[str, Any] = {
        "state": "enrolled",
        "closed_reason": None,
        "enrolled_at": now,
        "key_id": machine.key_id + 1,
        "session_boot": None,
        "session_connection": None,
        "session_tag": None,
        "session_since_at": None,
        "beat_number": None,
    }
    if machine.journal_id == journal_id:
        # It goes on where it was; the agent signs again what waits in it.
        if machine.state not in ("enrolled", "closed"):
            raise DomainError("journal_must_be_new")
    else:
        lose_open_redemptions(connection, [machine], Said(Party.SERVER, "server"), now, rules)
        values |= {
            "journal_id": journal_id,
            "last_seq": 0,
            "reported_version": 0,
            "caught_up_with": ledger_id(connection),
        }
    connection.execute(update(tables.machines).where(tables.machines.c.id == machine.id).values(values))
    bump_desired(connection, [machine.id])


def credentials_of(keys: Keys, card_key: bytes, machine_id: str, shard: int, key_id: int) -> dict[str, Any]:
    """What an enrolled machine is given over TLS, once: never stored, derived each time."""
    return {
        "machine_id": machine_id,
        "shard": shard,
        "key_id": key_id,
        "key": keys.machine_key(machine_id, key_id).hex(),
        "card_key": card_key.hex(),
        "mqtt_username": machine_id,
        "mqtt_password": keys.mqtt_password(machine_id, key_id),
    }


# what it sells


def create_product(connection: Connection, operation: Operation, now: datetime) -> dict[str, Any]:
    """Register a product of an estate. Refusals: forbidden, estate_unknown, fields_invalid, product_exists."""
    body: CreateProduct = operation.body
    if re.fullmatch(r"[0-9a-z_-]{1,40}", body.product_id) is None:
        raise DomainError("fields_invalid", names="product_id")
    organization(connection, body.estate_id)
    permit(connection, body.actor, Permission.MACHINE_WRITE, body.estate_id)
    if connection.scalar(select(tables.products.c.id).where(tables.products.c.id == body.product_id)) is not None:
        raise DomainError("product_exists")
    values = {"id": body.product_id, "estate_id": body.estate_id, "name_zh": body.name_zh, "name_en": body.name_en}
    connection.execute(insert(tables.products).values(**values, recorded_at=now))
    audit.record(
        connection,
        now,
        actor=body.actor,
        action="product_created",
        subject=("product", body.product_id),
        operation_id=operation.id,
    )
    return values


def publish_planogram(connection: Connection, operation: Operation, now: datetime) -> dict[str, Any]:
    """Put a new planogram in force. A selection that is new starts with no stock.

    Refusals: machine_unknown, forbidden, planogram_conflict, planogram_invalid.
    """
    body: PublishPlanogram = operation.body
    machine = _lock(connection, body.actor, body.machine_id)
    if machine.planogram_version != body.replaces:
        raise DomainError("planogram_conflict")
    _check_plan(connection, machine, body.slots)
    version = machine.planogram_version + 1
    connection.execute(
        insert(tables.planograms).values(machine_id=machine.id, version=version, actor=body.actor, recorded_at=now)
    )
    if body.slots:
        connection.execute(
            insert(tables.planogram_slots),
            [
                {
                    "machine_id": machine.id,
                    "version": version,
                    "selection": slot.selection,
                    "product_id": slot.product_id,
                    "points": slot.points,
                    "capacity": slot.capacity,
                    "is_enabled": slot.is_enabled,
                }
                for slot in body.slots
            ],
        )
    empty = [{"machine_id": machine.id, "selection": slot.selection, "stock": 0, "reserved": 0} for slot in body.slots]
    insert_new(connection, tables.slots, empty)
    connection.execute(
        update(tables.machines).where(tables.machines.c.id == machine.id).values(planogram_version=version)
    )
    bump_desired(connection, [machine.id])
    _note(connection, operation, now, body.actor, "planogram_published", machine.id, version=version)
    return planogram(connection, machine.id)


def _check_plan(connection: Connection, machine: Machine, plan: Collection[SlotPlan]) -> None:
    if len(plan) > messages.MAX_SLOTS:
        raise DomainError("planogram_invalid", detail=f"{len(plan)} > {messages.MAX_SLOTS}")
    if len({slot.selection for slot in plan}) != len(plan):
        raise DomainError("planogram_invalid", detail="selection")
    for slot in plan:
        if not 1 <= slot.points <= messages.MAX_POINTS:
            raise DomainError("points_invalid")
        if not 0 <= slot.selection < MAX_SELECTION or not 0 <= slot.capacity <= MAX_CAPACITY:
            raise DomainError("planogram_invalid", detail=f"selection {slot.selection}")
    known = set(
        connection.scalars(
            select(tables.products.c.id)
            .where(tables.products.c.id.in_({slot.product_id for slot in plan}))
            .where(tables.products.c.estate_id == machine.estate_id)
        )
    )
    unknown = sorted({slot.product_id for slot in plan} - known)
    if unknown:
        raise DomainError("planogram_invalid", detail=f"product {unknown[0]}")


MAX_SELECTION: Final = 10_000
"""Four digits, as on the largest keypads."""
MAX_CAPACITY: Final = 1_000
"""No coil or cell holds more."""


def count_stock(connection: Connection, operation: Operation, now: datetime) -> dict[str, Any]:
    """Set slots' stock to what a person counted.

    The items of redemptions in doubt are in that count or are gone: their reservations are dropped, and what becomes of
    them later changes no stock. Refusals: machine_unknown, forbidden, selection_unknown, stock_invalid.
    """
    body: CountStock = operation.body
    machine = _lock(connection, body.actor, body.machine_id)
    slots, past = tables.slots, tables.redemptions
    for selection, stock in body.counts:
        capacity = connection.scalar(
            select(tables.planogram_slots.c.capacity).where(
                tables.planogram_slots.c.machine_id == machine.id,
                tables.planogram_slots.c.version == machine.planogram_version,
                tables.planogram_slots.c.selection == selection,
            )
        )
        if capacity is None:
            raise DomainError("selection_unknown")
        if not 0 <= stock <= capacity:
            raise DomainError("stock_invalid")
        in_doubt = (
            (past.c.machine_id == machine.id) & (past.c.selection == selection) & (past.c.state == State.IN_DOUBT)
        )
        connection.execute(update(past).where(in_doubt).values(is_reserved=False))
        still = select(func.count()).where(
            past.c.machine_id == machine.id, past.c.selection == selection, past.c.is_reserved
        )
        connection.execute(
            update(slots)
            .where(slots.c.machine_id == machine.id, slots.c.selection == selection)
            .values(stock=stock, reserved=connection.scalar(still))
        )
    _note(connection, operation, now, body.actor, "stock_counted", machine.id, counts=dict(body.counts))
    return planogram(connection, machine.id)


# opening and closing


def set_slot_open(connection: Connection, operation: Operation, now: datetime) -> dict[str, Any]:
    """Open or close a slot. Refusals: machine_unknown, forbidden, reason_required, selection_unknown."""
    body: SetSlotOpen = operation.body
    machine = _lock(connection, body.actor, body.machine_id)
    if not body.reason.strip():
        raise DomainError("reason_required")
    slots = tables.slots
    changed = connection.execute(
        update(slots)
        .where(slots.c.machine_id == machine.id, slots.c.selection == body.selection)
        .values(closed_reason=None if body.is_open else "by_person", closed_at=None if body.is_open else now)
    )
    if changed.rowcount == 0:
        raise DomainError("selection_unknown")
    bump_desired(connection, [machine.id])
    if body.is_open:
        settle_alerts(connection, "slot_closed", [f"{machine.id}:{body.selection}"], body.actor, now)
    action = "slot_opened" if body.is_open else "slot_closed"
    _note(connection, operation, now, body.actor, action, machine.id, selection=body.selection)
    return planogram(connection, machine.id)


def set_machine_open(connection: Connection, operation: Operation, now: datetime) -> dict[str, Any]:
    """Let a closed machine sell again, or close it. One that is forked, lost or expected has to enrol.

    Refusals: machine_unknown, forbidden, reason_required, machine_must_enroll.
    """
    body: SetMachineOpen = operation.body
    machine = _lock(connection, body.actor, body.machine_id)
    if not body.reason.strip():
        raise DomainError("reason_required")
    if machine.state not in ("enrolled", "closed"):
        raise DomainError("machine_must_enroll", state=machine.state)
    connection.execute(
        update(tables.machines)
        .where(tables.machines.c.id == machine.id)
        .values(state="enrolled" if body.is_open else "closed", closed_reason=None if body.is_open else "by_person")
    )
    bump_desired(connection, [machine.id])
    if body.is_open:
        open_alerts = select(tables.alerts.c.subject).where(
            tables.alerts.c.kind == "machine_closed", tables.alerts.c.machine_id == machine.id
        )
        settle_alerts(connection, "machine_closed", list(connection.scalars(open_alerts)), body.actor, now)
    action = "machine_opened" if body.is_open else "machine_closed"
    _note(connection, operation, now, body.actor, action, machine.id)
    return view(connection, machine.id)


def lose_machine(connection: Connection, operation: Operation, now: datetime, rules: Rules) -> dict[str, Any]:
    """Give a machine up; its open redemptions become in doubt.

    Refusals: machine_unknown, forbidden, reason_required.
    """
    body: LoseMachine = operation.body
    machine = _lock(connection, body.actor, body.machine_id)
    if not body.reason.strip():
        raise DomainError("reason_required")
    lose_open_redemptions(connection, [machine], Said(Party.PERSON, body.actor), now, rules)
    connection.execute(
        update(tables.machines)
        .where(tables.machines.c.id == machine.id)
        .values(state="lost", closed_reason="by_person")
    )
    _note(connection, operation, now, body.actor, "machine_lost", machine.id)
    return view(connection, machine.id)


def fork(
    connection: Connection, found: Mapping[str, str], machines: Mapping[str, Machine], now: datetime, rules: Rules
) -> None:
    """Close machines for which two programs speak (`found`: id -> how it showed); what is open goes to a person."""
    if not found:
        return
    forked = [machines[id] for id in sorted(found)]
    lose_open_redemptions(connection, forked, Said(Party.SERVER, "server"), now, rules)
    connection.execute(
        update(tables.machines)
        .where(tables.machines.c.id.in_(sorted(found)))
        .values(state="forked", closed_reason="forked")
    )
    changes = Changes(now, rules.zone)
    for machine in forked:
        changes.alert(
            "urgent", "forked", machine.id, machine.estate_id, {"why": found[machine.id]}, machine_id=machine.id
        )
    write(connection, changes)


def lose_open_redemptions(
    connection: Connection, machines: Collection[Machine], said: Said, now: datetime, rules: Rules
) -> None:
    """Say `machine_lost` of every held and vending redemption of machines that are locked."""
    changes = Changes(now, rules.zone, rules.doubt_answer_days)
    for redemption in open_redemptions(connection, [machine.id for machine in machines]):
        step(changes, redemption, Event.MACHINE_LOST, said)
    write(connection, changes)


# the desired document


def desired_documents(
    connection: Connection, machine_ids: Collection[str], rules: Rules
) -> dict[str, messages.Desired]:
    """What machines are to show and keep to, by machine id, in four statements for any number."""
    machines, planogram_slots, slots, products = tables.machines, tables.planogram_slots, tables.slots, tables.products
    chosen = machines.c.id.in_(sorted(machine_ids))
    columns = (machines.c.id, machines.c.estate_id, machines.c.state, machines.c.planogram_version)
    heads = list(connection.execute(select(*columns, machines.c.desired_version).where(chosen)))
    query = (
        select(
            planogram_slots.c.machine_id,
            planogram_slots.c.selection,
            planogram_slots.c.product_id,
            products.c.name_zh,
            products.c.name_en,
            planogram_slots.c.points,
            planogram_slots.c.is_enabled & slots.c.closed_reason.is_(None),
        )
        .join(
            machines,
            (machines.c.id == planogram_slots.c.machine_id)
            & (machines.c.planogram_version == planogram_slots.c.version),
        )
        .join(
            slots,
            (slots.c.machine_id == planogram_slots.c.machine_id) & (slots.c.selection == planogram_slots.c.selection),
        )
        .join(products, products.c.id == planogram_slots.c.product_id)
        .where(chosen)
        .order_by(planogram_slots.c.machine_id, planogram_slots.c.selection)
    )
    shown: dict[str, list[messages.Slot]] = {}
    for row in connection.execute(query):
        shown.setdefault(row[0], []).append(messages.Slot(row[1], row[2], row[3], row[4], row[5], bool(row[6])))
    blocked = _blocked_cards(connection, {head.estate_id for head in heads})
    return {
        head.id: messages.Desired(
            version=head.desired_version,
            planogram_version=head.planogram_version,
            is_closed=head.state != "enrolled",
            heartbeat_s=rules.heartbeat_s,
            slots=tuple(shown.get(head.id, ())),
            blocked_cards=blocked.get(head.estate_id, ()),
        )
        for head in heads
    }


def _blocked_cards(connection: Connection, estate_ids: Collection[str]) -> dict[str, tuple[str, ...]]:
    """The newest blocked cards of estates: the machine refuses these before it asks; the server refuses all."""
    cards, residents = people.cards, people.residents
    blocked: dict[str, tuple[str, ...]] = {}
    for estate_id in sorted(estate_ids):
        newest = (
            select(cards.c.hash)
            .join(residents, residents.c.id == cards.c.resident_id)
            .where(residents.c.estate_id == estate_id, cards.c.state == "blocked")
            .order_by(cards.c.blocked_at.desc(), cards.c.id)
            .limit(messages.MAX_BLOCKED_CARDS)
        )
        blocked[estate_id] = tuple(connection.scalars(newest))
    return blocked


# reading


def machine(connection: Connection, actor: str, machine_id: str) -> dict[str, Any]:
    """One machine for a member of staff; refusals: machine_unknown, forbidden."""
    found = view(connection, machine_id)
    permit(connection, actor, Permission.MACHINE_READ, found["estate_id"])
    return found


def view(connection: Connection, machine_id: str) -> dict[str, Any]:
    """One machine as staff see it; refusal: machine_unknown."""
    row = connection.execute(select(tables.machines).where(tables.machines.c.id == machine_id)).one_or_none()
    if row is None:
        raise DomainError("machine_unknown")
    return {
        "id": row.id,
        "estate_id": row.estate_id,
        "name": row.name,
        "state": row.state,
        "closed_reason": row.closed_reason,
        "is_online": row.last_heartbeat_at is not None and not row.is_offline,
        "last_heartbeat_at": iso(row.last_heartbeat_at),
        "planogram_version": row.planogram_version,
        "reported": json.loads(row.reported) if row.reported else None,
        "last_seq": row.last_seq,
        "enrolled_at": iso(row.enrolled_at),
    }


def machines_of(connection: Connection, actor: str) -> list[dict[str, Any]]:
    """The machines in the actor's scope, by id; refusal: forbidden."""
    visible = scope(connection, actor, Permission.MACHINE_READ)
    query = select(tables.machines.c.id).where(tables.machines.c.estate_id.in_(visible)).order_by(tables.machines.c.id)
    return [view(connection, id) for id in connection.scalars(query)]


def planogram(connection: Connection, machine_id: str) -> dict[str, Any]:
    """The planogram in force, with stock; refusal: machine_unknown."""
    machine = read_machine(connection, machine_id)
    if machine is None:
        raise DomainError("machine_unknown")
    planned, slots = tables.planogram_slots, tables.slots
    query = (
        select(planned, slots.c.stock, slots.c.reserved, slots.c.closed_reason)
        .join(slots, (slots.c.machine_id == planned.c.machine_id) & (slots.c.selection == planned.c.selection))
        .where(planned.c.machine_id == machine_id, planned.c.version == machine.planogram_version)
        .order_by(planned.c.selection)
    )
    names = ("selection", "product_id", "points", "capacity", "is_enabled", "stock", "reserved", "closed_reason")
    return {
        "machine_id": machine_id,
        "version": machine.planogram_version,
        "slots": [{name: getattr(row, name) for name in names} for row in connection.execute(query)],
    }


def _lock(connection: Connection, actor: str, machine_id: str) -> Machine:
    """Lock a machine that the actor may change; refusals: machine_unknown, forbidden."""
    machine = lock_machines(connection, [machine_id]).get(machine_id)
    if machine is None:
        raise DomainError("machine_unknown")
    permit(connection, actor, Permission.MACHINE_WRITE, machine.estate_id)
    return machine


def _note(
    connection: Connection,
    operation: Operation,
    now: datetime,
    actor: str,
    action: str,
    machine_id: str,
    **details: object,
) -> None:
    audit.record(
        connection,
        now,
        actor=actor,
        action=action,
        subject=("machine", machine_id),
        operation_id=operation.id,
        details=details,
    )
