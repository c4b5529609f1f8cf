"""Residents: registering, freezing, their cards and their PIN.

Each use case is one operation of the writer: permission first, then the change and its row in the audit log. What they
answer are plain values, so that an operation sent again is answered as the first time.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Any, Final, Literal

from sqlalchemy import Connection, func, insert, select, update

from jishan_protocol.cards import normalise
from jishan_protocol.errors import ProtocolError
from jishan_server import audit
from jishan_server.errors import DomainError
from jishan_server.ids import derived_id
from jishan_server.instants import iso
from jishan_server.ledger.model import resident_accounts
from jishan_server.ledger.store import freeze, open_accounts
from jishan_server.organizations.roles import Permission, permit
from jishan_server.organizations.tree import ESTATE, organization
from jishan_server.people import consents
from jishan_server.people.credentials import account_of
from jishan_server.people.hashing import Hashing
from jishan_server.people.member_numbers import FIRST_SERIAL, member_number
from jishan_server.people.tables import cards, residents
from jishan_server.writer import Operation

PIN_FORM: Final = re.compile(r"[0-9]{4,8}", re.ASCII)
PHONE_FORM: Final = re.compile(r"\+?[0-9][0-9 -]{3,18}", re.ASCII)


@dataclass(frozen=True, slots=True)
class CreateResident:
    """`consent` None: registered without having agreed yet. Whoever registers a person at the desk has asked them."""

    actor: str
    estate_id: str
    name: str
    phone: str | None = None
    consent: consents.NewConsent | None = consents.NewConsent()  # noqa: RUF009 (frozen)


@dataclass(frozen=True, slots=True)
class FreezeResident:
    """`state` is what the resident is to be afterwards."""

    actor: str
    resident_id: str
    state: Literal["active", "frozen"]
    reason: str


@dataclass(frozen=True, slots=True)
class BindCard:
    """A card, already hashed: a UID is never written anywhere."""

    actor: str
    resident_id: str
    hash: str
    ending: str


@dataclass(frozen=True, slots=True)
class BlockCard:
    actor: str
    card_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class ReplaceCard:
    """Block `card_id` and bind another card to its resident, in one step."""

    actor: str
    card_id: str
    hash: str
    ending: str
    reason: str


@dataclass(frozen=True, slots=True)
class SetPin:
    actor: str
    resident_id: str
    pin_hash: str


def hashed_card(hashing: Hashing, uid: str) -> tuple[str, str]:
    """(hash, last four digits) of a card's UID as typed or read in hex; refusal: card_invalid."""
    try:
        identity = normalise(uid)
    except ProtocolError as error:
        raise DomainError("card_invalid") from error
    return hashing.card(identity), identity[-4:]


def hashed_pin(hashing: Hashing, pin: str, operation_id: str) -> str:
    """The hash of a new PIN of 4 to 8 digits; refusal: pin_invalid. Slow on purpose: not inside a transaction."""
    if PIN_FORM.fullmatch(pin) is None:
        raise DomainError("pin_invalid")
    return hashing.secret(pin, operation_id)


def create_resident(connection: Connection, operation: Operation, now: datetime, zone: tzinfo) -> dict[str, Any]:
    """Register a resident with the next member number and a points account.

    Refusals: estate_unknown, phone_invalid, and those of `consents.give_consent`.
    """
    body: CreateResident = operation.body
    if organization(connection, body.estate_id)["level"] != ESTATE:
        raise DomainError("estate_unknown", id=body.estate_id)
    permit(connection, body.actor, Permission.RESIDENT_WRITE, body.estate_id)
    if body.phone is not None and PHONE_FORM.fullmatch(body.phone) is None:
        raise DomainError("phone_invalid")
    id = derived_id(operation.id, "resident")
    serial = (connection.scalar(select(func.max(residents.c.member_serial))) or FIRST_SERIAL - 1) + 1
    connection.execute(
        insert(residents).values(
            id=id,
            estate_id=body.estate_id,
            name=body.name,
            phone=body.phone,
            member_serial=serial,
            member_number=member_number(serial),
            state="active",
            pin_wrong_tries=0,
            created_at=now,
        )
    )
    open_accounts(connection, resident_accounts(id, body.estate_id), now)
    if body.consent is not None:
        consents.begin(connection, operation, now, id, body.consent, zone)
    _note(connection, operation, now, "resident_created", id, {"estate_id": body.estate_id})
    return view(connection, id)


def freeze_resident(connection: Connection, operation: Operation, now: datetime) -> dict[str, Any]:
    """Freeze or unfreeze: a frozen resident redeems nothing, the points stay. Refusal: resident_unknown."""
    body: FreezeResident = operation.body
    _permit(connection, body.actor, Permission.RESIDENT_FREEZE, body.resident_id)
    connection.execute(update(residents).where(residents.c.id == body.resident_id).values(state=body.state))
    freeze(connection, [account_of(body.resident_id)], body.state == "frozen")
    _note(connection, operation, now, f"resident_{body.state}", body.resident_id, {})
    return view(connection, body.resident_id)


def bind_card(connection: Connection, operation: Operation, now: datetime) -> dict[str, Any]:
    """Give a resident a card. Refusals: resident_unknown, card_taken."""
    body: BindCard = operation.body
    _permit(connection, body.actor, Permission.RESIDENT_WRITE, body.resident_id)
    return _bind(connection, operation, now, body.resident_id, body.hash, body.ending)


def block_card(connection: Connection, operation: Operation, now: datetime) -> dict[str, Any]:
    """Block a lost card. Refusals: card_unknown, card_blocked if it is already."""
    body: BlockCard = operation.body
    return _block(connection, operation, now, body.actor, body.card_id, body.reason)


def replace_card(connection: Connection, operation: Operation, now: datetime) -> dict[str, Any]:
    """Block a card and bind another in one step; the points stay on the account. An already blocked card may be
    replaced too. Refusals: card_unknown, card_taken."""
    body: ReplaceCard = operation.body
    old = _card(connection, body.actor, body.card_id)
    if old["state"] == "active":
        _block(connection, operation, now, body.actor, body.card_id, body.reason)
    return _bind(connection, operation, now, old["resident_id"], body.hash, body.ending)


def set_pin(connection: Connection, operation: Operation, now: datetime) -> dict[str, Any]:
    """Set or change a PIN; it ends a lock. Refusal: resident_unknown."""
    body: SetPin = operation.body
    _permit(connection, body.actor, Permission.RESIDENT_WRITE, body.resident_id)
    connection.execute(
        update(residents)
        .where(residents.c.id == body.resident_id)
        .values(pin_hash=body.pin_hash, pin_wrong_tries=0, pin_locked_until_at=None)
    )
    _note(connection, operation, now, "pin_set", body.resident_id, {})
    return view(connection, body.resident_id)


def resident(connection: Connection, actor: str, resident_id: str) -> dict[str, Any]:
    """One resident with cards, for `actor`; refusals: resident_unknown, forbidden."""
    _permit(connection, actor, Permission.RESIDENT_READ, resident_id)
    return view(connection, resident_id)


def page(
    connection: Connection, estate_ids: Collection[str], after: int, limit: int
) -> tuple[list[dict[str, Any]], int | None]:
    """Residents of these estates by member number, from the serial `after`; and where the next page starts."""
    rows = (
        connection.execute(
            select(residents)
            .where(residents.c.estate_id.in_(estate_ids), residents.c.member_serial > after)
            .order_by(residents.c.member_serial)
            .limit(limit + 1)
        )
        .mappings()
        .all()
    )
    shown = rows[:limit]
    found = cards_of(connection, [row["id"] for row in shown])
    views = [_view(dict(row), found.get(row["id"], [])) for row in shown]
    return views, shown[-1]["member_serial"] if len(rows) > limit else None


def view(connection: Connection, resident_id: str) -> dict[str, Any]:
    """One resident with cards; refusal: resident_unknown."""
    row = connection.execute(select(residents).where(residents.c.id == resident_id)).mappings().one_or_none()
    if row is None:
        raise DomainError("resident_unknown", id=resident_id)
    return _view(dict(row), cards_of(connection, [resident_id]).get(resident_id, []))


def estate_of(connection: Connection, resident_id: str) -> str:
    """The estate a resident belongs to; refusal: resident_unknown."""
    estate_id: str | None = connection.scalar(select(residents.c.estate_id).where(residents.c.id == resident_id))
    if estate_id is None:
        raise DomainError("resident_unknown", id=resident_id)
    return estate_id


def cards_of(connection: Connection, resident_ids: Collection[str]) -> dict[str, list[dict[str, Any]]]:
    """The cards of each resident, oldest first."""
    found: dict[str, list[dict[str, Any]]] = {}
    rows = connection.execute(
        select(cards).where(cards.c.resident_id.in_(resident_ids)).order_by(cards.c.bound_at, cards.c.id)
    ).mappings()
    for row in rows:
        found.setdefault(row["resident_id"], []).append(_card_view(dict(row)))
    return found


def _bind(
    connection: Connection, operation: Operation, now: datetime, resident_id: str, hash: str, ending: str
) -> dict[str, Any]:
    if connection.scalar(select(cards.c.id).where(cards.c.hash == hash)) is not None:
        raise DomainError("card_taken")
    id = derived_id(operation.id, "card")
    connection.execute(
        insert(cards).values(id=id, hash=hash, resident_id=resident_id, state="active", ending=ending, bound_at=now)
    )
    _note(connection, operation, now, "card_bound", resident_id, {"card_id": id})
    return _card_by_id(connection, id)


def _block(
    connection: Connection, operation: Operation, now: datetime, actor: str, card_id: str, reason: str
) -> dict[str, Any]:
    card = _card(connection, actor, card_id)
    if card["state"] == "blocked":
        raise DomainError("card_blocked", id=card_id)
    connection.execute(
        update(cards).where(cards.c.id == card_id).values(state="blocked", blocked_at=now, blocked_reason=reason)
    )
    _note(connection, operation, now, "card_blocked", card["resident_id"], {"card_id": card_id, "reason": reason})
    return _card_by_id(connection, card_id)


def _card(connection: Connection, actor: str, card_id: str) -> dict[str, Any]:
    card = _card_by_id(connection, card_id)
    _permit(connection, actor, Permission.RESIDENT_WRITE, card["resident_id"])
    return card


def _card_by_id(connection: Connection, card_id: str) -> dict[str, Any]:
    row = connection.execute(select(cards).where(cards.c.id == card_id)).mappings().one_or_none()
    if row is None:
        raise DomainError("card_unknown", id=card_id)
    return _card_view(dict(row))


def _permit(connection: Connection, actor: str, permission: Permission, resident_id: str) -> None:
    permit(connection, actor, permission, estate_of(connection, resident_id))


def _view(row: dict[str, Any], of_resident: list[dict[str, Any]]) -> dict[str, Any]:
    shown = ("id", "estate_id", "name", "phone", "member_number", "state")
    return {name: row[name] for name in shown} | {
        "has_pin": row["pin_hash"] is not None,
        "pin_locked_until_at": iso(row["pin_locked_until_at"]),
        "consent_state": row["consent_state"],
        "cards": of_resident,
        "created_at": iso(row["created_at"]),
    }


def _card_view(row: dict[str, Any]) -> dict[str, Any]:
    shown = ("id", "resident_id", "state", "ending", "blocked_reason")
    return {name: row[name] for name in shown} | {
        "bound_at": iso(row["bound_at"]),
        "blocked_at": iso(row["blocked_at"]),
    }


def _note(
    connection: Connection,
    operation: Operation,
    now: datetime,
    action: str,
    resident_id: str,
    details: dict[str, object],
) -> None:
    audit.record(
        connection,
        now,
        actor=operation.body.actor,
        action=action,
        subject=("resident", resident_id),
        operation_id=operation.id,
        details=details,
    )
