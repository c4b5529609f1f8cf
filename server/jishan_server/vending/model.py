"""Machines and redemptions as rows that were read: frozen, and written back only by `changes.write`."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, select

from jishan_protocol.redemption import State
from jishan_server.vending.tables import identity, machines, redemptions
from jishan_server.vending.voucher_tables import vouchers


@dataclass(frozen=True, slots=True)
class Machine:
    """One row of `machines`, without its last report."""

    id: str
    estate_id: str
    name: str
    shard: int
    state: str
    closed_reason: str | None
    key_id: int
    journal_id: str | None
    last_seq: int
    caught_up_with: str | None
    session_boot: int | None
    session_connection: int | None
    session_tag: str | None
    session_since_at: datetime | None
    beat_number: int | None
    last_heartbeat_at: datetime | None
    is_offline: bool
    planogram_version: int
    desired_version: int
    reported_version: int


@dataclass(frozen=True, slots=True)
class Redemption:
    """One row of `redemptions`."""

    id: str
    machine_id: str
    estate_id: str
    resident_id: str | None
    account_id: str | None
    selection: int | None
    product_id: str | None
    points: int | None
    planogram_version: int | None
    state: State
    reason: str | None
    reason_fields: str | None
    is_with_pin: bool
    is_reserved: bool
    hold_id: str | None
    request_hash: str | None
    occurred_at: datetime | None
    recorded_at: datetime
    changed_at: datetime
    watch_grade: int
    in_doubt_at: datetime | None = None
    # The local day by which a doubt is answered, YYYY-MM-DD.
    answer_by: str | None = None


_MACHINE_COLUMNS = [machines.c[name] for name in Machine.__dataclass_fields__]
_REDEMPTION_COLUMNS = [redemptions.c[name] for name in Redemption.__dataclass_fields__]
_STATE = list(Redemption.__dataclass_fields__).index("state")


def lock_machines(connection: Connection, ids: Collection[str]) -> dict[str, Machine]:
    """Read machines and lock their rows until the transaction ends.

    Whoever changes a machine, its slots or its redemptions calls this first: rows are locked in id order, machines
    before everything else and accounts last, so that two gateways cannot wait for each other.
    """
    query = select(*_MACHINE_COLUMNS).where(machines.c.id.in_(sorted(set(ids)))).order_by(machines.c.id)
    return {row[0]: Machine(*row) for row in connection.execute(query.with_for_update())}


def read_machine(connection: Connection, machine_id: str) -> Machine | None:
    """Read one machine without a lock."""
    row = connection.execute(select(*_MACHINE_COLUMNS).where(machines.c.id == machine_id)).one_or_none()
    return Machine(*row) if row else None


def broker_key_id(connection: Connection, machine_id: str) -> int | None:
    """The key id from which a machine's password at the broker is derived; None for a machine that may not connect."""
    m = machines.c
    found: int | None = connection.execute(
        select(m.key_id).where(m.id == machine_id, m.key_id > 0)
    ).scalar_one_or_none()
    return found


def read_redemptions(connection: Connection, ids: Collection[str]) -> dict[str, Redemption]:
    """Read redemptions by id; the caller holds their machines' locks if it means to change them."""
    query = select(*_REDEMPTION_COLUMNS).where(redemptions.c.id.in_(sorted(set(ids))))
    return {row[0]: _redemption(row) for row in connection.execute(query)} if ids else {}


def open_redemptions(connection: Connection, machine_ids: Collection[str]) -> list[Redemption]:
    """Read the held and vending redemptions of machines, oldest first."""
    query = (
        select(*_REDEMPTION_COLUMNS)
        .where(redemptions.c.machine_id.in_(sorted(machine_ids)))
        .where(redemptions.c.state.in_([State.HELD, State.VENDING]))
        .order_by(redemptions.c.recorded_at, redemptions.c.id)
    )
    return [_redemption(row) for row in connection.execute(query)]


def open_before(connection: Connection, before: datetime) -> list[Redemption]:
    """Read every open redemption, in doubt or not, that was recorded before an instant, oldest first."""
    query = (
        select(*_REDEMPTION_COLUMNS)
        .where(redemptions.c.state.in_([State.REQUESTED, State.HELD, State.VENDING, State.IN_DOUBT]))
        .where(redemptions.c.recorded_at < before)
        # A voucher waits for days, and begins when it is taken.
        .where(redemptions.c.id.not_in(_not_begun(before)))
        .order_by(redemptions.c.recorded_at, redemptions.c.id)
    )
    return [_redemption(row) for row in connection.execute(query)]


def _not_begun(before: datetime) -> Select[tuple[str]]:
    """The redemptions of vouchers that wait, and of those taken since an instant, where nobody gave them up."""
    waits = vouchers.c.taken_at.is_(None) & vouchers.c.ended_at.is_(None) & (redemptions.c.state == State.HELD)
    return (
        select(vouchers.c.redemption_id)
        .join(redemptions, redemptions.c.id == vouchers.c.redemption_id)
        .where(waits | (vouchers.c.taken_at >= before))
    )


def ledger_id(connection: Connection) -> str:
    """Which ledger this database holds; a database without one was not set up by `jishan-server init`."""
    found: str = connection.execute(select(identity.c.ledger_id)).scalar_one()
    return found


def _redemption(row: Row[Any]) -> Redemption:
    values: list[Any] = list(row)
    values[_STATE] = State(values[_STATE])
    return Redemption(*values)
