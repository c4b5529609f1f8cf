"""Vouchers for residents: an item reserved beforehand on one machine, for days on which it has no link.

Made by the resident on the phone, or at the desk. Points and item are held at once, by the same rules as at the
machine; what may not be redeemed there may not be reserved either. Giving one back asks the machine to close its
number, and the points come back when the machine has said so (`voucher_books`): until then it may be taken after all.
A machine makes vouchers possible only where its operator says how many, and after it has the key.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, func, insert, select, update

from jishan_protocol.messages import Authorize
from jishan_protocol.redemption import State
from jishan_protocol.vouchers import Voucher, redemption_id
from jishan_server import audit
from jishan_server.errors import DomainError
from jishan_server.instants import iso
from jishan_server.organizations.roles import Permission, permit
from jishan_server.people.credentials import Identified, account_of, masked
from jishan_server.people.one_person import records_of, whose
from jishan_server.people.residents import estate_of, living
from jishan_server.people.tables import residents
from jishan_server.vending import tables
from jishan_server.vending.changes import insert_new
from jishan_server.vending.keys import Keys
from jishan_server.vending.limits import LimitsOn
from jishan_server.vending.model import Machine, lock_machines, read_machine
from jishan_server.vending.redemptions import reserve
from jishan_server.vending.rules import Rules
from jishan_server.vending.voucher_books import ask, base_of, is_told
from jishan_server.vending.voucher_tables import voucher_books as books
from jishan_server.vending.voucher_tables import vouchers
from jishan_server.writer import Operation

MAX_ON_MACHINE = 1_000
"""More items than a machine holds; it also bounds what one disk that was rolled back can cost."""


@dataclass(frozen=True, slots=True)
class IssueVoucher:
    """`product_id` and `points` are what the resident was shown of the selection."""

    actor: str
    resident_id: str
    machine_id: str
    selection: int
    product_id: str
    points: int


@dataclass(frozen=True, slots=True)
class GiveVoucherBack:
    actor: str
    voucher_id: str


@dataclass(frozen=True, slots=True)
class OfferVouchers:
    """At most `most` vouchers may be open on this machine; 0 makes no new ones."""

    actor: str
    machine_id: str
    most: int


def issue(
    connection: Connection, operation: Operation, now: datetime, rules: Rules, limits_on: LimitsOn
) -> dict[str, Any]:
    """Reserve an item and hold its points, under the machine's next number.

    Refusals: resident_unknown, resident_merged, resident_closed, resident_frozen, consent_needed, forbidden,
    machine_unknown, vouchers_not_here, vouchers_not_now, vouchers_too_many, vouchers_machine_full, and those of
    `redemptions.reserve`.
    """
    body: IssueVoucher = operation.body
    machine = lock_machines(connection, [body.machine_id]).get(body.machine_id)
    permit(connection, body.actor, Permission.VOUCHER_WRITE, estate_of(connection, body.resident_id), body.resident_id)
    if machine is None:
        raise DomainError("machine_unknown")
    who = _person(connection, body.resident_id)
    book = connection.execute(select(books).where(books.c.machine_id == machine.id).with_for_update()).one_or_none()
    if book is None or book.most == 0:
        raise DomainError("vouchers_not_here")
    if machine.journal_id is None or not is_told(book, machine):
        raise DomainError("vouchers_not_now")
    own = vouchers.c.resident_id.in_(records_of(connection, body.resident_id))
    if _open(connection, own) >= rules.vouchers_of_resident:
        raise DomainError("vouchers_too_many", most=rules.vouchers_of_resident)
    if _open(connection, vouchers.c.machine_id == machine.id) >= book.most:
        raise DomainError("vouchers_machine_full", most=book.most)
    number = max(book.last_number, base_of(machine)) + 1
    id = redemption_id(machine.id, machine.journal_id, number)
    wish = Authorize(id, "", body.selection, machine.planogram_version, body.product_id, body.points)
    reserve(connection, wish, who, machine, rules, limits_on, now)
    connection.execute(update(books).where(books.c.machine_id == machine.id).values(last_number=number))
    connection.execute(
        insert(vouchers).values(
            redemption_id=id,
            machine_id=machine.id,
            journal_id=machine.journal_id,
            number=number,
            resident_id=body.resident_id,
            issued_by=body.actor,
            expires_at=now + rules.voucher_lives,
            recorded_at=now,
        )
    )
    _note(connection, operation, now, "voucher_issued", id)
    return view(connection, id)


def give_back(connection: Connection, operation: Operation, now: datetime) -> dict[str, Any]:
    """Ask the machine to close it; asked again, or of one that has ended, nothing changes.

    Refusals: voucher_unknown, forbidden.
    """
    body: GiveVoucherBack = operation.body
    row = connection.execute(select(vouchers).where(vouchers.c.redemption_id == body.voucher_id)).one_or_none()
    if row is None:
        raise DomainError("voucher_unknown")
    about = whose(connection, body.actor, row.resident_id)
    permit(connection, body.actor, Permission.VOUCHER_WRITE, estate_of(connection, row.resident_id), about)
    lock_machines(connection, [row.machine_id])
    open_ones = vouchers.c.taken_at.is_(None) & vouchers.c.ended_at.is_(None) & vouchers.c.ends_at.is_(None)
    asked = connection.execute(
        update(vouchers)
        .where(vouchers.c.redemption_id == body.voucher_id, open_ones)
        .values(ends_at=now, ends_why="given_back")
    )
    if asked.rowcount:
        ask(connection, [row.machine_id], now)
        _note(connection, operation, now, "voucher_given_back", body.voucher_id)
    return view(connection, body.voucher_id)


def offer(connection: Connection, operation: Operation, now: datetime) -> dict[str, Any]:
    """Say how many vouchers a machine may have open. Refusals: machine_unknown, forbidden, fields_invalid."""
    body: OfferVouchers = operation.body
    machine = lock_machines(connection, [body.machine_id]).get(body.machine_id)
    if machine is None:
        raise DomainError("machine_unknown")
    permit(connection, body.actor, Permission.MACHINE_WRITE, machine.estate_id)
    if not 0 <= body.most <= MAX_ON_MACHINE:
        raise DomainError("fields_invalid", names="most")
    new = {"machine_id": machine.id, "most": body.most, "last_number": base_of(machine), "closed_upto": 0}
    insert_new(connection, books, [new | {"asked_at": now, "recorded_at": now}])
    connection.execute(update(books).where(books.c.machine_id == machine.id).values(most=body.most))
    audit.record(
        connection,
        now,
        actor=body.actor,
        action="vouchers_offered",
        subject=("machine", machine.id),
        operation_id=operation.id,
        details={"most": body.most},
    )
    return _book(connection, machine)


# looking


def view(connection: Connection, voucher_id: str) -> dict[str, Any]:
    """One voucher, without what it is taken with; refusal: voucher_unknown."""
    found = _views(connection, vouchers.c.redemption_id == voucher_id)
    if not found:
        raise DomainError("voucher_unknown")
    return found[0]


def of_resident(connection: Connection, actor: str, resident_id: str) -> list[dict[str, Any]]:
    """A person's vouchers, newest first. Refusals: resident_unknown, forbidden."""
    permit(connection, actor, Permission.VOUCHER_READ, estate_of(connection, resident_id), resident_id)
    return _views(connection, vouchers.c.resident_id.in_(records_of(connection, resident_id)))


def book(connection: Connection, actor: str, machine_id: str) -> dict[str, Any]:
    """What a machine has of vouchers: numbers, and nobody's name. Refusals: machine_unknown, forbidden."""
    machine = read_machine(connection, machine_id)
    if machine is None:
        raise DomainError("machine_unknown")
    permit(connection, actor, Permission.MACHINE_READ, machine.estate_id)
    return _book(connection, machine)


def shown(connection: Connection, keys: Keys, seen: dict[str, Any]) -> dict[str, Any]:
    """A voucher with its text and digits while they are worth something: made anew each time, never stored."""
    machine = read_machine(connection, seen["machine_id"])
    secret: tuple[str | None, str | None] = (None, None)
    if machine is not None and seen["state"] in ("open", "ending") and seen["journal_id"] == machine.journal_id:
        one = Voucher(
            machine.id,
            seen["journal_id"],
            seen["number"],
            seen["selection"],
            seen["product_id"],
            seen["points"],
            seen["resident_id"],
        )
        secret = keys.write_voucher(one, machine.key_id)
    rest = {name: value for name, value in seen.items() if name not in ("journal_id", "resident_id")}
    return rest | {"text": secret[0], "digits": secret[1]}


def _views(connection: Connection, chosen: ColumnElement[bool]) -> list[dict[str, Any]]:
    past, machines, products = tables.redemptions, tables.machines, tables.products
    query = (
        select(
            vouchers,
            past.c.state,
            past.c.selection,
            past.c.product_id,
            past.c.points,
            machines.c.name.label("machine_name"),
            products.c.name_zh,
            products.c.name_en,
        )
        .join(past, past.c.id == vouchers.c.redemption_id)
        .join(machines, machines.c.id == vouchers.c.machine_id)
        .join(products, products.c.id == past.c.product_id)
        .where(chosen)
        .order_by(vouchers.c.recorded_at.desc(), vouchers.c.number.desc())
    )
    return [
        {
            "id": row.redemption_id,
            "machine_id": row.machine_id,
            "machine_name": row.machine_name,
            "journal_id": row.journal_id,
            "resident_id": row.resident_id,
            "number": row.number,
            "selection": row.selection,
            "product_id": row.product_id,
            "product_zh": row.name_zh,
            "product_en": row.name_en,
            "points": row.points,
            "state": _state(row),
            "redemption_state": row.state,
            "ends_why": row.ends_why,
            "expires_at": iso(row.expires_at),
            "recorded_at": iso(row.recorded_at),
        }
        for row in connection.execute(query)
    ]


def _state(row: Row[Any]) -> str:
    """open, ending (the machine has not said yet that it closed it), taken, ended, or lost with its machine."""
    if row.taken_at is not None:
        return "taken"
    if row.ended_at is not None:
        return "ended"
    if row.state != State.HELD:
        return "lost"
    return "open" if row.ends_at is None else "ending"


def _open(connection: Connection, chosen: ColumnElement[bool]) -> int:
    past = tables.redemptions.c
    held = vouchers.join(tables.redemptions, past.id == vouchers.c.redemption_id)
    query = select(func.count()).select_from(held).where(chosen, past.state == State.HELD)
    return connection.scalar(query.where(vouchers.c.taken_at.is_(None))) or 0


def _book(connection: Connection, machine: Machine) -> dict[str, Any]:
    row = connection.execute(select(books).where(books.c.machine_id == machine.id)).one_or_none()
    return {
        "machine_id": machine.id,
        "most": 0 if row is None else row.most,
        "open": _open(connection, vouchers.c.machine_id == machine.id),
        "last_number": 0 if row is None else row.last_number,
        "closed_upto": 0 if row is None else row.closed_upto,
        "is_ready": row is not None and is_told(row, machine),
        "asked_at": None if row is None else iso(row.asked_at),
        "reported_at": None if row is None else iso(row.reported_at),
    }


def _person(connection: Connection, resident_id: str) -> Identified:
    """A resident who may redeem; at the desk and on the phone they are known, as with a PIN."""
    living(connection, resident_id)
    row = connection.execute(select(residents).where(residents.c.id == resident_id)).one()
    if row.state != "active":
        raise DomainError("resident_frozen")
    if row.consent_state == "awaiting":
        raise DomainError("consent_on_phone")
    return Identified(row.id, account_of(row.id), row.estate_id, masked(row.name), with_pin=True)


def _note(connection: Connection, operation: Operation, now: datetime, action: str, voucher_id: str) -> None:
    actor, subject = operation.body.actor, ("redemption", voucher_id)
    audit.record(connection, now, actor=actor, action=action, subject=subject, operation_id=operation.id)
