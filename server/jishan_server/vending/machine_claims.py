"""A phone in front of a machine: it opens the code on the screen, chooses, and the machine asks for it.

One door (docs/adr/0010-a-phone-claims-at-the-machine.md). Nothing here moves a motor or a point: an offer waits for the
machine that showed the code, and what that machine then asks is judged by `redemptions.authorize` like any other.

Rules:
- A screen code is checked from the machine's key and its present connection; nothing is kept of one until it is opened,
  once, by one browser. That browser then has OPENED to log in and to choose, once.
- An offer is refused while that still costs the person nothing (sold out, too few points, another estate); whatever is
  found out later is the redemption's own refusal.
- An offer that the machine has not asked for within OFFERED is over. Until then it is told to the machine again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, Row, bindparam, delete, insert, select, update

from jishan_protocol import topics
from jishan_protocol.envelope import Envelope, Session, seal
from jishan_protocol.messages import Authorize, Waiting, encode
from jishan_protocol.screen_codes import made_at
from jishan_server.db import to_ms
from jishan_server.errors import CODES, DomainError
from jishan_server.instants import iso
from jishan_server.ledger import store as ledger
from jishan_server.organizations.roles import resident_actor
from jishan_server.people.credentials import Prepared, account_of
from jishan_server.people.tables import residents
from jishan_server.vending import tables
from jishan_server.vending.claim_tables import machine_claims
from jishan_server.vending.deciding import MachineView, SlotView, goods_refusal
from jishan_server.vending.keys import Keys
from jishan_server.vending.model import Machine, ledger_id, lock_machines, read_machine
from jishan_server.writer import Operation

OPENED: Final = timedelta(minutes=10)
"""The first login on a new phone, with the member number looked up on paper, fits into it."""

OFFERED: Final = timedelta(seconds=20)
"""An agent that is there asks within a second; whoever has waited longer looks at the screen."""

KEPT: Final = timedelta(days=1)

MAX_OFFERS: Final = 200
"""Told to machines at once, oldest first: far more than phones there are at machines in one moment."""

DECLINED: Final[Mapping[str, str]] = {
    "claim_over": "scan_over",
    "busy": "machine_busy",
    "changed": "changed",
    "no_such_selection": "selection_unknown",
    "selection_disabled": "selection_closed",
}
"""Why a machine does not begin it, in its words and in ours; anything else is why it does not sell at all."""

_c = machine_claims.c


@dataclass(frozen=True, slots=True)
class OpenClaim:
    """Whoever has scanned a machine's screen, logged in or not."""

    claim_id: str
    machine_id: str
    screen_code: str


@dataclass(frozen=True, slots=True)
class OfferClaim:
    """A resident's choice at the machine, at what they were shown."""

    resident_id: str
    claim_id: str
    selection: int
    product_id: str
    points: int
    planogram_version: int

    @property
    def actor(self) -> str:
        """Whoever chooses pays."""
        return resident_actor(self.resident_id)


# the phone


def require_screen_code(connection: Connection, keys: Keys, machine_id: str, screen_code: str, now: datetime) -> None:
    """Refuse, as screen_code_old, what is not on the machine's screen now, or was not a moment ago."""
    machine = read_machine(connection, machine_id)
    if machine is None or machine.session_tag is None:
        raise DomainError("screen_code_old")
    key = keys.machine_key(machine.id, machine.key_id)
    if made_at(key, machine.session_tag, screen_code, to_ms(now) // 1000) is None:
        raise DomainError("screen_code_old")


def open_claim(connection: Connection, operation: Operation, now: datetime) -> dict[str, Any]:
    """Open a screen's code that the caller has checked, once. Refusals: screen_code_old, screen_code_used."""
    body: OpenClaim = operation.body
    machine = lock_machines(connection, [body.machine_id]).get(body.machine_id)
    if machine is None:
        raise DomainError("screen_code_old")
    seen = select(_c.id).where(_c.machine_id == machine.id, _c.screen_code == body.screen_code)
    if connection.execute(seen).first() is not None:
        raise DomainError("screen_code_used")
    connection.execute(delete(machine_claims).where(_c.machine_id == machine.id, _c.opened_at < now - KEPT))
    connection.execute(
        insert(machine_claims).values(
            id=body.claim_id,
            machine_id=machine.id,
            screen_code=body.screen_code,
            state="opened",
            opened_at=now,
            expires_at=now + OPENED,
        )
    )
    return opened(connection, body.claim_id)


def opened(connection: Connection, claim_id: str) -> dict[str, Any]:
    """What the browser that opened it sees: the machine, and what it sells; refusal: scan_unknown."""
    row = _read(connection, claim_id)
    machine = read_machine(connection, row.machine_id)
    assert machine is not None, "machines are never deleted"
    return {
        "claim_id": row.id,
        "state": row.state,
        "expires_at": iso(row.expires_at),
        "machine_id": machine.id,
        "machine_name": machine.name,
        "estate_id": machine.estate_id,
        "is_selling": machine.state == "enrolled" and not machine.is_offline,
        "planogram_version": machine.planogram_version,
        "slots": _slots(connection, machine),
    }


def offer_claim(connection: Connection, operation: Operation, now: datetime) -> dict[str, Any]:
    """Offer a choice to the machine. Refusals: scan_unknown, scan_expired, scan_used, machine_offline, those of the
    goods, resident_elsewhere, resident_frozen, consent_on_phone, not_enough_points."""
    body: OfferClaim = operation.body
    known = _read(connection, body.claim_id)
    machine = lock_machines(connection, [known.machine_id])[known.machine_id]
    row = _read(connection, body.claim_id, lock=True)
    if row.state != "opened":
        raise DomainError("scan_used")
    if now >= row.expires_at:
        raise DomainError("scan_expired", minutes=OPENED // timedelta(minutes=1))
    if machine.state == "enrolled" and (machine.is_offline or machine.session_tag is None):
        raise DomainError("machine_offline")
    wish = Authorize(row.id, "", body.selection, body.planogram_version, body.product_id, body.points)
    refusal = _goods_refusal(connection, machine, wish) or _person_refusal(connection, machine, body)
    if refusal is not None:
        raise refusal
    connection.execute(
        update(machine_claims)
        .where(_c.id == row.id)
        .values(
            state="offered",
            resident_id=body.resident_id,
            selection=body.selection,
            product_id=body.product_id,
            points=body.points,
            planogram_version=body.planogram_version,
            offered_at=now,
        )
    )
    return claim(connection, body.resident_id, row.id, now)


def claim(connection: Connection, resident_id: str, claim_id: str, now: datetime) -> dict[str, Any]:
    """What became of one's own choice, for the phone to ask again and again; refusal: scan_unknown.

    `redemption_id` is there as soon as the machine has asked; from then on the redemption tells the rest.
    """
    row = _read(connection, claim_id)
    if row.resident_id != resident_id:
        raise DomainError("scan_unknown")
    state, reason = row.state, row.reason
    if state == "offered" and now >= row.offered_at + OFFERED:
        state, reason = "ended", "machine_silent"
    words = CODES[reason] if reason else None
    return {
        "claim_id": row.id,
        "machine_id": row.machine_id,
        "state": state,
        "reason": reason,
        "told_zh": words.zh if words else None,
        "told_en": words.en if words else None,
        "selection": row.selection,
        "product_id": row.product_id,
        "points": row.points,
        "redemption_id": row.redemption_id,
        "offered_at": iso(row.offered_at),
    }


def _read(connection: Connection, claim_id: str, *, lock: bool = False) -> Row[Any]:
    query = select(machine_claims).where(_c.id == claim_id)
    row = connection.execute(query.with_for_update() if lock else query).one_or_none()
    if row is None:
        raise DomainError("scan_unknown")
    return row


def _slots(connection: Connection, machine: Machine) -> list[dict[str, Any]]:
    """What the machine shows, with what is left."""
    p, s, goods = tables.planogram_slots.c, tables.slots.c, tables.products.c
    query = (
        select(p.selection, p.product_id, p.points, p.is_enabled, goods.name_zh, goods.name_en)
        .add_columns(s.stock - s.reserved, s.closed_reason)
        .join(tables.slots, (s.machine_id == p.machine_id) & (s.selection == p.selection))
        .join(tables.products, goods.id == p.product_id)
        .where(p.machine_id == machine.id, p.version == machine.planogram_version)
        .order_by(p.selection)
    )
    return [
        {
            "selection": row[0],
            "product_id": row[1],
            "points": row[2],
            "name_zh": row[4],
            "name_en": row[5],
            "is_available": bool(row[3]) and row[7] is None and row[6] > 0,
        }
        for row in connection.execute(query)
    ]


def _goods_refusal(connection: Connection, machine: Machine, wish: Authorize) -> DomainError | None:
    p, s = tables.planogram_slots.c, tables.slots.c
    query = (
        select(p.product_id, p.points, p.is_enabled, s.closed_reason.is_not(None), s.stock - s.reserved)
        .join(tables.slots, (s.machine_id == p.machine_id) & (s.selection == p.selection))
        .where(p.machine_id == machine.id, p.version == machine.planogram_version, p.selection == wish.selection)
    )
    row = connection.execute(query).one_or_none()
    is_caught_up = machine.caught_up_with == ledger_id(connection)
    view = MachineView(machine.estate_id, machine.state, is_caught_up, machine.planogram_version, 0)
    return goods_refusal(wish, view, SlotView(*row) if row else None, 0)


def _person_refusal(connection: Connection, machine: Machine, body: OfferClaim) -> DomainError | None:
    r = residents.c
    who = connection.execute(select(r.estate_id, r.state, r.consent_state).where(r.id == body.resident_id)).one()
    if who.estate_id != machine.estate_id:
        return DomainError("resident_elsewhere")
    if who.state != "active":
        return DomainError("resident_frozen")
    if who.consent_state == "awaiting":
        return DomainError("consent_on_phone")
    account = account_of(body.resident_id)
    available = ledger.available_points(connection, [account])[account]
    if available < body.points:
        return DomainError("not_enough_points", needed=body.points, available=max(available, 0))
    return None


# the machine


def offers(connection: Connection, keys: Keys, shards: Collection[int], now: datetime) -> list[tuple[str, bytes]]:
    """(topic, payload) of each choice that waits for a machine of these shards: one statement, nearly always empty."""
    m = tables.machines.c
    query = (
        select(machine_claims, m.shard, m.key_id, m.journal_id, m.session_boot, m.session_connection, m.session_tag)
        .join(tables.machines, m.id == _c.machine_id)
        .where(_c.state == "offered", _c.offered_at > now - OFFERED)
        .where(m.state == "enrolled", m.session_tag.is_not(None))
        .order_by(_c.offered_at)
        .limit(MAX_OFFERS)
    )
    return [_offer(row, keys, now) for row in connection.execute(query) if row.shard in shards]


def _offer(row: Row[Any], keys: Keys, now: datetime) -> tuple[str, bytes]:
    message = Waiting(row.id, row.screen_code, row.selection, row.planogram_version, row.product_id, row.points)
    type_name, body = encode(message)
    topic = topics.down(row.shard, row.machine_id, "offer")
    envelope = Envelope(
        id=hashlib.sha256(f"offer\n{row.id}\n{to_ms(now)}".encode()).hexdigest()[:32],
        type=type_name,
        body=body,
        journal_id=row.journal_id,
        session=Session(row.session_boot, row.session_connection, row.session_tag),
        key_id=row.key_id,
        issued_at_ms=to_ms(now),
    )
    return topic, seal(envelope, topic, keys.machine_key(row.machine_id, row.key_id))


def decline(connection: Connection, said: Sequence[tuple[str, str, str]], now: datetime) -> None:
    """Note (machine, claim, why) of choices that their machines do not begin; anybody else's are left alone."""
    connection.execute(
        update(machine_claims)
        .where(_c.id == bindparam("claim"), _c.machine_id == bindparam("machine"), _c.state == "offered")
        .values(state="ended", reason=bindparam("why")),
        [
            {"machine": machine_id, "claim": claim_id, "why": DECLINED.get(code, "machine_not_selling")}
            for machine_id, claim_id, code in said
        ],
    )


def taken(
    connection: Connection, asked: Sequence[tuple[str, Authorize, Prepared]], now: datetime
) -> list[Prepared | DomainError]:
    """Who stands behind each (machine, wish, credential): the resident of a claim, who is spent by it, or scan_over.

    Credentials of other kinds come back as they are, and then nothing is read.
    """
    ids = {one.credential.claim for _, _, one in asked if one.credential.claim is not None}
    if not ids:
        return [one for _, _, one in asked]
    query = select(machine_claims).where(_c.id.in_(sorted(ids))).order_by(_c.id).with_for_update()
    waiting = {row.id: row for row in connection.execute(query)}
    found: list[Prepared | DomainError] = []
    for machine_id, wish, one in asked:
        if one.credential.claim is None:
            found.append(one)
            continue
        row = waiting.get(one.credential.claim)
        if row is None or not _is_for(row, machine_id, wish, now):
            found.append(DomainError("scan_over"))
            continue
        del waiting[row.id]
        connection.execute(
            update(machine_claims).where(_c.id == row.id).values(state="taken", redemption_id=wish.redemption_id)
        )
        found.append(replace(one, resident_id=row.resident_id))
    return found


def _is_for(row: Row[Any], machine_id: str, wish: Authorize, now: datetime) -> bool:
    """Whether this machine may ask for exactly this now."""
    return (
        row.state == "offered"
        and now < row.offered_at + OFFERED
        and (row.machine_id, row.selection, row.product_id, row.points, row.planogram_version)
        == (machine_id, wish.selection, wish.product_id, wish.points, wish.planogram_version)
    )
