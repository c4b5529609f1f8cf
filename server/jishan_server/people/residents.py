"""Residents: registering, freezing, their cards and their PIN.

Each use case is one operation of the writer: permission first, then the change and its row in the audit log. What they
answer are plain values, so that an operation sent again is answered as the first time.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
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
from jishan_server.organizations.roles import Permission, is_permitted, permit, resident_of_actor
from jishan_server.organizations.tree import ESTATE, organization
from jishan_server.people import consents, sessions
from jishan_server.people.credentials import account_of
from jishan_server.people.hashing import Hashing
from jishan_server.people.member_numbers import FIRST_SERIAL, member_number
from jishan_server.people.profiles import (
    EDITABLE,
    OWN,
    PROFILE,
    IdNumber,
    Skill,
    columns,
    masked_view,
    put_skills,
    skills_of,
)
from jishan_server.people.tables import cards, residents
from jishan_server.writer import Operation

PIN_FORM: Final = re.compile(r"[0-9]{4,8}", re.ASCII)


@dataclass(frozen=True, slots=True)
class CreateResident:
    """`consent` None: registered without having agreed yet. Whoever registers a person at the desk has asked them."""

    actor: str
    estate_id: str
    name: str
    phone: str | None = None
    sex: Literal["f", "m"] | None = None
    birth_day: str | None = None
    building: str | None = None
    unit: str | None = None
    room: str | None = None
    email: str | None = None
    category: str | None = None
    language: Literal["zh", "en"] = "zh"
    skills: tuple[Skill, ...] = ()
    id_number: IdNumber | None = field(default=None, repr=False, metadata={"secret": True})
    consent: consents.NewConsent | None = consents.NewConsent()  # noqa: RUF009 (frozen)


@dataclass(frozen=True, slots=True)
class EditResident:
    """`changes` are the fields to set (`profiles.EDITABLE`); `id_number` belongs to a change of that name."""

    actor: str
    resident_id: str
    changes: Mapping[str, Any] = field(repr=False)
    id_number: IdNumber | None = field(default=None, repr=False, metadata={"secret": True})


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

    Refusals: estate_unknown, those of `profiles.columns` and of `consents.give_consent`.
    """
    body: CreateResident = operation.body
    if organization(connection, body.estate_id)["level"] != ESTATE:
        raise DomainError("estate_unknown", id=body.estate_id)
    permit(connection, body.actor, Permission.RESIDENT_WRITE, body.estate_id)
    fields = {name: getattr(body, name) for name in EDITABLE}
    profile = columns(fields, body.id_number, now, zone)
    id = derived_id(operation.id, "resident")
    serial = (connection.scalar(select(func.max(residents.c.member_serial))) or FIRST_SERIAL - 1) + 1
    connection.execute(
        insert(residents).values(
            id=id,
            estate_id=body.estate_id,
            **profile,
            member_serial=serial,
            member_number=member_number(serial),
            state="active",
            pin_wrong_tries=0,
            created_at=now,
        )
    )
    open_accounts(connection, resident_accounts(id, body.estate_id), now)
    put_skills(connection, id, body.skills, is_new=True)
    if body.consent is not None:
        consents.begin(connection, operation, now, id, body.consent, zone)
    _note(connection, operation, now, "resident_created", id, {"estate_id": body.estate_id})
    return view(connection, id)


def edit_resident(connection: Connection, operation: Operation, now: datetime, zone: tzinfo) -> dict[str, Any]:
    """Change some of what is kept of a person; residents change `profiles.OWN` of themselves. The audit log gets the
    names of the fields that changed. Refusals: resident_unknown, resident_erased, forbidden, those of `columns`."""
    body: EditResident = operation.body
    estate_id = estate_of(connection, body.resident_id)
    if resident_of_actor(body.actor) == body.resident_id:
        if not body.changes.keys() <= set(OWN):
            raise DomainError("forbidden", permission=Permission.RESIDENT_WRITE.value)
    else:
        permit(connection, body.actor, Permission.RESIDENT_WRITE, estate_id)
    before = connection.execute(select(residents).where(residents.c.id == body.resident_id)).mappings().one()
    if before["erased_at"] is not None:
        raise DomainError("resident_erased")
    values = columns(body.changes, body.id_number, now, zone)
    changed = {_FIELD_OF.get(name, name) for name, value in values.items() if before[name] != value}
    if changed:
        connection.execute(update(residents).where(residents.c.id == body.resident_id).values(values))
    if "skills" in body.changes:
        had = skills_of(connection, [body.resident_id]).get(body.resident_id, [])
        wanted = [asdict(skill) for skill in body.changes["skills"]]
        if had != wanted:
            put_skills(connection, body.resident_id, body.changes["skills"], is_new=False)
            changed.add("skills")
    if changed:
        _note(connection, operation, now, "resident_edited", body.resident_id, {"fields": sorted(changed)})
    return view(connection, body.resident_id)


_FIELD_OF: Final = {"of_age_at": "birth_day", "id_number_hash": "id_number", "id_number_ending": "id_number"}


def freeze_resident(connection: Connection, operation: Operation, now: datetime) -> dict[str, Any]:
    """Freeze or unfreeze: a frozen resident redeems nothing, the points stay.

    Refusals: resident_unknown, resident_merged, resident_closed.
    """
    body: FreezeResident = operation.body
    _permit(connection, body.actor, Permission.RESIDENT_FREEZE, body.resident_id)
    living(connection, body.resident_id)
    connection.execute(update(residents).where(residents.c.id == body.resident_id).values(state=body.state))
    freeze(connection, [account_of(body.resident_id)], body.state == "frozen")
    _note(connection, operation, now, f"resident_{body.state}", body.resident_id, {})
    return resident(connection, body.actor, body.resident_id)


def bind_card(connection: Connection, operation: Operation, now: datetime) -> dict[str, Any]:
    """Give a resident a card. Refusals: resident_unknown, resident_merged, resident_closed, card_taken."""
    body: BindCard = operation.body
    _permit(connection, body.actor, Permission.RESIDENT_WRITE, body.resident_id)
    living(connection, body.resident_id)
    return _bind(connection, operation, now, body.resident_id, body.hash, body.ending)


def block_card(connection: Connection, operation: Operation, now: datetime) -> dict[str, Any]:
    """Block a lost card; residents block their own. Refusals: card_unknown, card_blocked if it is already."""
    body: BlockCard = operation.body
    card = _card_by_id(connection, body.card_id)
    own = resident_of_actor(body.actor)
    if own is not None and own != card["resident_id"]:
        raise DomainError("card_unknown", id=body.card_id)
    if own is None:
        _permit(connection, body.actor, Permission.RESIDENT_WRITE, card["resident_id"])
    return _block(connection, operation, now, body.card_id, body.reason)


def replace_card(connection: Connection, operation: Operation, now: datetime) -> dict[str, Any]:
    """Block a card and bind another in one step; the points stay on the account. An already blocked card may be
    replaced too. Refusals: card_unknown, card_taken."""
    body: ReplaceCard = operation.body
    old = _card(connection, body.actor, body.card_id)
    living(connection, old["resident_id"])
    if old["state"] == "active":
        _block(connection, operation, now, body.card_id, body.reason)
    return _bind(connection, operation, now, old["resident_id"], body.hash, body.ending)


def set_pin(connection: Connection, operation: Operation, now: datetime) -> dict[str, Any]:
    """Set or change a PIN; it ends a lock, and every token of the resident. Refusal: resident_unknown."""
    body: SetPin = operation.body
    _permit(connection, body.actor, Permission.RESIDENT_WRITE, body.resident_id)
    living(connection, body.resident_id)
    connection.execute(
        update(residents)
        .where(residents.c.id == body.resident_id)
        .values(pin_hash=body.pin_hash, pin_wrong_tries=0, pin_locked_until_at=None)
    )
    sessions.end_all(connection, body.resident_id)
    _note(connection, operation, now, "pin_set", body.resident_id, {})
    return view(connection, body.resident_id)


def resident(connection: Connection, actor: str, resident_id: str) -> dict[str, Any]:
    """One resident with cards as `actor` may see them: masked unless they register people or it is themselves.

    Refusals: resident_unknown, forbidden.
    """
    estate_id = estate_of(connection, resident_id)
    permit(connection, actor, Permission.RESIDENT_READ, estate_id, about=resident_id)
    shown = view(connection, resident_id)
    is_whole = resident_of_actor(actor) == resident_id or is_permitted(
        connection, actor, Permission.RESIDENT_WRITE, estate_id
    )
    return shown if is_whole else masked_view(shown)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What residents are looked for by; None does not matter. `name` is a part of it."""

    name: str | None = None
    member_number: str | None = None
    phone_ending: str | None = None
    card_ending: str | None = None
    building: str | None = None
    consent_state: str | None = None


def page(
    connection: Connection,
    estate_ids: Collection[str],
    after: int,
    limit: int,
    wanted: Wanted = Wanted(),
    whole_in: Collection[str] | None = None,
) -> tuple[list[dict[str, Any]], int | None]:
    """Residents of these estates by member number, from the serial `after`; and where the next page starts.

    Those of estates outside of `whole_in` are masked (None: nobody is).
    """
    r = residents.c
    query = select(residents).where(r.estate_id.in_(estate_ids), r.member_serial > after)
    if wanted.name is not None:
        query = query.where(r.name.contains(wanted.name, autoescape=True))
    if wanted.phone_ending is not None:
        query = query.where(r.phone.endswith(wanted.phone_ending, autoescape=True))
    if wanted.card_ending is not None:
        carried = select(cards.c.resident_id).where(cards.c.ending == wanted.card_ending.upper())
        query = query.where(r.id.in_(carried))
    for name in ("member_number", "building", "consent_state"):
        if (value := getattr(wanted, name)) is not None:
            query = query.where(r[name] == value)
    rows = connection.execute(query.order_by(r.member_serial).limit(limit + 1)).mappings().all()
    shown = rows[:limit]
    ids = [row["id"] for row in shown]
    found, skilled = cards_of(connection, ids), skills_of(connection, ids)
    views = [_view(dict(row), found.get(row["id"], []), skilled.get(row["id"], [])) for row in shown]
    if whole_in is not None:
        views = [one if one["estate_id"] in whole_in else masked_view(one) for one in views]
    return views, shown[-1]["member_serial"] if len(rows) > limit else None


def view(connection: Connection, resident_id: str) -> dict[str, Any]:
    """One resident with cards; refusal: resident_unknown."""
    row = connection.execute(select(residents).where(residents.c.id == resident_id)).mappings().one_or_none()
    if row is None:
        raise DomainError("resident_unknown", id=resident_id)
    own_cards, own_skills = cards_of(connection, [resident_id]), skills_of(connection, [resident_id])
    return _view(dict(row), own_cards.get(resident_id, []), own_skills.get(resident_id, []))


def estate_of(connection: Connection, resident_id: str) -> str:
    """The estate a resident belongs to; refusal: resident_unknown."""
    estate_id: str | None = connection.scalar(select(residents.c.estate_id).where(residents.c.id == resident_id))
    if estate_id is None:
        raise DomainError("resident_unknown", id=resident_id)
    return estate_id


def living(connection: Connection, resident_id: str) -> None:
    """Refuse for a record that has ended, as resident_merged or resident_closed; it cannot end before the commit."""
    r = residents.c
    query = select(r.merged_into, r.closed_at).where(r.id == resident_id).with_for_update()
    row = connection.execute(query).one()
    if row.merged_into is not None:
        raise DomainError("resident_merged")
    if row.closed_at is not None:
        raise DomainError("resident_closed")


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


def _block(connection: Connection, operation: Operation, now: datetime, card_id: str, reason: str) -> dict[str, Any]:
    card = _card_by_id(connection, card_id)
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


def _view(row: dict[str, Any], of_resident: list[dict[str, Any]], skilled: list[dict[str, Any]]) -> dict[str, Any]:
    shown = ("id", "estate_id", "name", "phone", "member_number", "state", *PROFILE, "consent_state")
    state = "merged" if row["merged_into"] is not None else row["state"] if row["closed_at"] is None else "closed"
    return {name: row[name] for name in shown} | {
        "state": state,
        "merged_into": row["merged_into"],
        "has_id_number": row["id_number_hash"] is not None,
        "skills": skilled,
        "has_pin": row["pin_hash"] is not None,
        "pin_locked_until_at": iso(row["pin_locked_until_at"]),
        "cards": of_resident,
        "is_masked": False,
        "created_at": iso(row["created_at"]),
        "erased_at": iso(row["erased_at"]),
        "closed_at": iso(row["closed_at"]),
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
