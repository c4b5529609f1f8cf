"""Which voucher numbers a machine may still take, and what frees the points of those that it may not.

Rules:
1. No clock frees a hold. What is to end (given back, expired) is asked of the machine with `close_vouchers`, at each
   heartbeat until it has said `vouchers_closed`; that word, in order behind every `vend_started`, is `not_started`.
2. A number is used once on one machine, in every journal and over every restored backup: after a restore numbers begin
   a STEP higher, and the machine first closes all that were before.
3. A machine whose journal or key is not the one that last spoke gets no new vouchers until it has spoken.
4. What a new journal says closes nothing of an old one: those redemptions are a person's (`machine_lost`).

`docs/vouchers.md` follows one voucher through.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Row, Select, select, update

from jishan_protocol.messages import MAX_VOUCHERS_CLOSED, CloseVouchers, VouchersClosed
from jishan_protocol.redemption import Event, State
from jishan_server.ledger import clock
from jishan_server.vending import tables
from jishan_server.vending.changes import Changes, Said, settle_alerts, step, write
from jishan_server.vending.keys import Keys
from jishan_server.vending.machines import RESTORE_STEP
from jishan_server.vending.model import Machine, read_redemptions
from jishan_server.vending.rules import Rules
from jishan_server.vending.voucher_tables import voucher_books as books
from jishan_server.vending.voucher_tables import vouchers

STEP: Final = 10_000
"""More vouchers than one machine is given between two backups; 99 restores fit into six digits."""

UNREPORTED: Final = "vouchers_unreported"
"""The alert of a machine that does not say what it has closed; its subject is the machine."""


def waiting() -> Select[tuple[str]]:
    """The redemptions whose voucher is neither taken nor closed: open for as long as that takes."""
    return select(vouchers.c.redemption_id).where(vouchers.c.taken_at.is_(None), vouchers.c.ended_at.is_(None))


def base_of(machine: Machine) -> int:
    """Numbers up to this one are of before the last restore. A machine's desired document counts restores too."""
    return machine.desired_version // RESTORE_STEP * STEP


def is_told(book: Row[Any], machine: Machine) -> bool:
    """Whether the machine that is there now has the key, and has closed what it must not take."""
    return (book.told_journal, book.told_key_id) == (machine.journal_id, machine.key_id) and (
        book.closed_upto >= base_of(machine)
    )


def to_close(connection: Connection, machines: Mapping[str, Machine], keys: Keys) -> dict[str, CloseVouchers]:
    """What machines are to be told now, by id; nothing for those that have said everything."""
    query = select(books).where(books.c.machine_id.in_(sorted(machines)))
    told: dict[str, CloseVouchers] = {}
    for book in connection.execute(query):
        machine = machines[book.machine_id]
        if not is_told(book, machine):
            up_to = max(book.last_number, base_of(machine))
            told[machine.id] = CloseVouchers(up_to, (), keys.voucher_public_key())
        elif book.asked_at is not None:
            told[machine.id] = _asked(connection, book, keys)
    return told


def _asked(connection: Connection, book: Row[Any], keys: Keys) -> CloseVouchers:
    """Everything below the oldest number that somebody still wants, and single ones above it."""
    still = vouchers.c.machine_id == book.machine_id, vouchers.c.journal_id == book.told_journal
    query = (
        select(vouchers.c.number, vouchers.c.ends_at)
        .where(*still, vouchers.c.taken_at.is_(None), vouchers.c.ended_at.is_(None))
        .order_by(vouchers.c.number)
    )
    rows = connection.execute(query).all()
    wanted = [number for number, ends_at in rows if ends_at is None]
    up_to = max(wanted[0] - 1 if wanted else book.last_number, book.closed_upto)
    single = [number for number, ends_at in rows if ends_at is not None and number > up_to]
    return CloseVouchers(up_to, tuple(single[:MAX_VOUCHERS_CLOSED]), keys.voucher_public_key())


def take(connection: Connection, redemption_ids: Collection[str], now: datetime) -> None:
    """Note that machines have said `vend_started` of these, where a voucher was their approval."""
    if redemption_ids:
        connection.execute(
            update(vouchers)
            .where(vouchers.c.redemption_id.in_(sorted(redemption_ids)), vouchers.c.taken_at.is_(None))
            .values(taken_at=now)
        )


def close(
    connection: Connection,
    changes: Changes,
    closed: VouchersClosed,
    machine: Machine,
    said: Said,
    started: Collection[str],
) -> None:
    """Free what the machine says it will never take. `started`: what this very batch says has begun."""
    query = select(vouchers.c.redemption_id).where(
        vouchers.c.machine_id == machine.id,
        vouchers.c.journal_id == machine.journal_id,
        (vouchers.c.number <= closed.up_to) | vouchers.c.number.in_(closed.numbers),
        vouchers.c.taken_at.is_(None),
        vouchers.c.ended_at.is_(None),
        vouchers.c.redemption_id.not_in(sorted(started)),
    )
    ids = list(connection.scalars(query.order_by(vouchers.c.number)))
    known = read_redemptions(connection, [id for id in ids if id not in changes.redemptions]) | changes.redemptions
    for id in ids:
        # A person may have settled it meanwhile, when the machine was given up.
        if known[id].state in (State.HELD, State.IN_DOUBT):
            step(changes, known[id], Event.NOT_STARTED, said)
    connection.execute(update(vouchers).where(vouchers.c.redemption_id.in_(ids)).values(ended_at=changes.now))
    book = books.c.machine_id == machine.id
    before = connection.execute(select(books.c.told_journal, books.c.closed_upto).where(book)).one_or_none()
    if before is None:
        return
    # A new journal counts for itself: what the old one had closed, it has not.
    upto = max(closed.up_to, before.closed_upto if before.told_journal == machine.journal_id else 0)
    values = {"told_journal": machine.journal_id, "told_key_id": machine.key_id, "closed_upto": upto}
    connection.execute(update(books).where(book).values(**values, reported_at=changes.now, asked_at=None))
    left = select(vouchers.c.ends_at).where(
        vouchers.c.machine_id == machine.id,
        vouchers.c.journal_id == machine.journal_id,
        vouchers.c.ends_at.is_not(None),
        vouchers.c.taken_at.is_(None),
        vouchers.c.ended_at.is_(None),
        vouchers.c.redemption_id.not_in(sorted(started)),
    )
    if connection.scalar(left.limit(1)) is not None:
        ask(connection, [machine.id], changes.now)
    settle_alerts(connection, UNREPORTED, [machine.id], "system", changes.now)


def ask(connection: Connection, machine_ids: Collection[str], now: datetime) -> None:
    """There is something for these machines to close."""
    connection.execute(
        update(books)
        .where(books.c.machine_id.in_(sorted(machine_ids)), books.c.asked_at.is_(None))
        .values(asked_at=now)
    )


def watch_vouchers(connection: Connection, now: datetime, rules: Rules) -> None:
    """Have expired vouchers closed, and tell a person of machines that have not answered for long.

    A clock that is doubted ends nothing.
    """
    open_ones = vouchers.c.taken_at.is_(None) & vouchers.c.ended_at.is_(None) & vouchers.c.ends_at.is_(None)
    due = select(vouchers.c.machine_id).where(open_ones, vouchers.c.expires_at <= now).distinct()
    expired = list(connection.scalars(due))
    if expired and clock.doubt(connection, now) is None:
        ending = update(vouchers).where(open_ones, vouchers.c.expires_at <= now)
        connection.execute(ending.values(ends_at=now, ends_why="expired"))
        ask(connection, expired, now)
    machines = tables.machines.c
    late = (
        select(books.c.machine_id, machines.estate_id, books.c.asked_at)
        .join(tables.machines, machines.id == books.c.machine_id)
        .where(books.c.asked_at < now - rules.vouchers_reported_within)
    )
    rows = connection.execute(late).all()
    if rows:
        changes = Changes(now, rules.zone)
        for machine_id, estate_id, asked_at in rows:
            detail = {"asked_at": str(asked_at)}
            changes.alert("urgent", UNREPORTED, machine_id, estate_id, detail, machine_id=machine_id)
        write(connection, changes)
