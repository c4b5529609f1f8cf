"""Who stands at the machine: a card (perhaps with a PIN), a member number with its PIN, a personal code, or somebody
whose phone has been believed already.

In two steps, because an argon2 hash takes longer than a commit: `prepare` reads and verifies before the writer's
transaction, `identify` judges inside it, set-based, in the order given. Rules:

- Five wrong PINs in a row close number + PIN for 15 minutes; the card goes on working, as if shown without a PIN. The
  person is told.
- A personal code is spent by being looked at, once, whatever comes of it.
- An unknown card is refused. If a wrongly set reader would have printed a known card so, the refusal says
  `hint="wrong_reader_profile"` for staff; the card is never accepted.
- How many points a card may spend without its PIN is for the caller, who is told `with_pin`.
- Whoever has not agreed yet to records about them is refused with words that say what a second tap means; that second
  tap, of the same person at the same machine within 2 minutes, gives consent and goes on. A child's does not.

The table of tries changes in `identify` only, so a caller that asks it once for each new request counts each try once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection, bindparam, case, select, update

from jishan_protocol.cards import mistaken_forms, normalise
from jishan_protocol.errors import ProtocolError
from jishan_protocol.sealing import Credential
from jishan_server.errors import DomainError
from jishan_server.organizations.roles import resident_actor
from jishan_server.people import consents
from jishan_server.people.code_tables import personal_codes
from jishan_server.people.hashing import Hashing, token_hash
from jishan_server.people.tables import cards, residents

PIN_TRIES: Final = 5
PIN_LOCK: Final = timedelta(minutes=15)
CONSENT_WITHIN: Final = timedelta(minutes=2)
CONSENT_AFTER: Final = timedelta(seconds=2)
"""Sooner is a card that bounced on the reader, not a person who has read."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A credential with its slow work done: whether the PIN fitted the hash that was stored when it was looked at.

    `card_hash` is None where no card was shown, and empty for text that is no card's identity. `resident_id` is set
    where the caller knows who it is: the phone that claimed something at this machine was logged in.
    """

    credential: Credential
    card_hash: str | None
    pin_hash: str | None = None
    pin_fits: bool = False
    resident_id: str | None = None


@dataclass(frozen=True, slots=True)
class Identified:
    """The resident behind a credential. `label` is a masked name, fit for the machine's screen."""

    resident_id: str
    account_id: str
    estate_id: str
    label: str
    with_pin: bool


@dataclass(frozen=True, slots=True)
class _Resident:
    id: str
    estate_id: str
    name: str
    state: str
    pin_hash: str | None
    wrong_tries: int
    locked_until_at: datetime | None
    consent_state: str
    asked_at: datetime | None
    asked_by: str | None
    of_age_at: datetime | None


@dataclass(frozen=True, slots=True)
class _Code:
    resident_id: str
    expires_at: datetime
    used_at: datetime | None


@dataclass(frozen=True, slots=True)
class _Found:
    by_card: dict[str, tuple[str, str]]
    by_number: dict[str, str]
    residents: dict[str, _Resident]
    codes: dict[str, _Code] = field(default_factory=dict)


def account_of(resident_id: str) -> str:
    """The ledger account that holds a resident's points."""
    return f"res:{resident_id}"


def owed_account_of(resident_id: str) -> str:
    """The ledger account of what a resident owes after a reversed credit was spent."""
    return f"owed:{resident_id}"


def masked(name: str) -> str:
    """A name as it may be shown in public: 王建华 becomes 王*华, 王华 becomes 王*."""
    return name[0] + "*" + name[-1] if len(name) > 2 else name[:1] + "*"


def prepare(connection: Connection, credentials: Sequence[Credential], hashing: Hashing) -> list[Prepared]:
    """Verify the PINs among `credentials`, outside of any writing transaction. Nothing is refused here yet."""
    prepared = [unverified(credential, hashing) for credential in credentials]
    found = _find(connection, [one for one in prepared if one.credential.pin is not None])
    return [_verified(one, found, hashing) for one in prepared]


def unverified(credential: Credential, hashing: Hashing) -> Prepared:
    """A credential whose PIN, if it has one, `identify` is to verify itself: slow, and right."""
    return Prepared(credential, _card_hash(credential, hashing))


def identify(
    connection: Connection,
    prepared: Sequence[Prepared],
    hashing: Hashing,
    now: datetime,
    machine_ids: Sequence[str | None] | None = None,
) -> list[Identified | DomainError]:
    """Say for each credential who it is, or why not; counts wrong PINs. A handful of statements for any number.

    `machine_ids` says for each where it was shown; elsewhere nobody gives consent by showing it again.
    Refusals: card_unknown, card_blocked, member_unknown, resident_merged, resident_closed, pin_wrong, pin_locked,
    resident_frozen, consent_needed, consent_on_phone, guardian_needed, code_unknown, code_used, code_expired.
    """
    found = _find(connection, prepared)
    codes = dict(found.codes)
    mistaken = _mistaken(connection, prepared, found, hashing)
    before = dict(found.residents)
    given: dict[str, consents.Entry] = {}
    answers: list[Identified | DomainError] = []
    for one, machine_id in zip(prepared, machine_ids or [None] * len(prepared), strict=True):
        answer = _judge(one, found, mistaken, hashing, now)
        if isinstance(answer, Identified) and found.residents[answer.resident_id].consent_state == "awaiting":
            answer = _asked_for_consent(answer, one, machine_id, found, given, now)
        answers.append(answer)
    changed = [resident for id, resident in found.residents.items() if resident != before[id]]
    if changed:
        connection.execute(
            update(residents)
            .where(residents.c.id == bindparam("resident"))
            .values(
                pin_wrong_tries=bindparam("tries"),
                pin_locked_until_at=bindparam("until"),
                consent_asked_at=bindparam("asked"),
                consent_asked_by=bindparam("by"),
            ),
            [
                {
                    "resident": r.id,
                    "tries": r.wrong_tries,
                    "until": r.locked_until_at,
                    "asked": r.asked_at,
                    "by": r.asked_by,
                }
                for r in changed
            ],
        )
    consents.write(connection, now, list(given.values()))
    spent = [hash for hash, code in found.codes.items() if code != codes[hash]]
    if spent:
        connection.execute(update(personal_codes).where(personal_codes.c.hash.in_(sorted(spent))).values(used_at=now))
    tell_locked(
        connection, [one.id for one in changed if _is_locked(one, now) and not _is_locked(before[one.id], now)], now
    )
    return answers


def tell_locked(connection: Connection, resident_ids: Sequence[str], now: datetime) -> None:
    """Tell residents that their number and PIN rest: it may not have been they who typed."""
    # Imported here: `messages` needs `residents`, which needs this module.
    from jishan_server.people.messages import Message, tell

    fields = {"tries": PIN_TRIES, "minutes": PIN_LOCK // timedelta(minutes=1)}
    tell(connection, now, [Message(id, "pin_locked", fields) for id in resident_ids])


def _judge(
    one: Prepared, found: _Found, mistaken: frozenset[str], hashing: Hashing, now: datetime
) -> Identified | DomainError:
    if one.credential.code is not None and (refusal := _code_refusal(one.credential.code, found, now)) is not None:
        return refusal
    resident = _resident(one, found)
    if resident is None:
        if one.card_hash is None:
            return DomainError("member_unknown")
        return DomainError("card_unknown", **({"hint": "wrong_reader_profile"} if one.card_hash in mistaken else {}))
    if one.card_hash is not None and found.by_card[one.card_hash][1] != "active":
        return DomainError("card_blocked")
    if resident.state in ("merged", "closed"):
        return DomainError(f"resident_{resident.state}")
    by_number = one.credential.member is not None
    # Whoever shows a code, or has chosen on the phone, has logged in there with number and PIN.
    with_pin = one.credential.code is not None or one.resident_id is not None
    if by_number and _is_locked(resident, now):
        return _pin_locked()
    if (by_number or one.credential.pin is not None) and not _is_locked(resident, now):
        with_pin = _pin_fits(one, resident, hashing)
        tried = found.residents[resident.id] = _after_try(resident, with_pin, now)
        if not with_pin:
            return _pin_locked() if _is_locked(tried, now) else DomainError("pin_wrong")
    if resident.state != "active":
        return DomainError("resident_frozen")
    return Identified(resident.id, account_of(resident.id), resident.estate_id, masked(resident.name), with_pin)


def _asked_for_consent(
    who: Identified,
    one: Prepared,
    machine_id: str | None,
    found: _Found,
    given: dict[str, consents.Entry],
    now: datetime,
) -> Identified | DomainError:
    """What becomes of somebody who has not agreed yet: asked, or, asked a moment ago at this machine, let on."""
    resident = found.residents[who.resident_id]
    if resident.of_age_at is not None and now < resident.of_age_at:
        return DomainError("guardian_needed", years=consents.GUARDIAN_UNDER_YEARS)
    if one.card_hash is None and one.credential.member is None:
        return DomainError("consent_on_phone")
    waited = None if resident.asked_at is None or machine_id != resident.asked_by else now - resident.asked_at
    if machine_id is not None and waited is not None and CONSENT_AFTER <= waited <= CONSENT_WITHIN:
        how: consents.How = "keypad" if one.card_hash is None else "card_tap"
        actor = resident_actor(resident.id)
        given[resident.id] = consents.Entry(resident.id, True, how, actor, machine_id=machine_id)
        found.residents[resident.id] = replace(resident, consent_state="given", asked_at=None, asked_by=None)
        return who
    if waited is None or waited > CONSENT_WITHIN:
        found.residents[resident.id] = replace(resident, asked_at=now, asked_by=machine_id)
    return DomainError("consent_needed", minutes=CONSENT_WITHIN // timedelta(minutes=1))


def _code_refusal(code: str, found: _Found, now: datetime) -> DomainError | None:
    """Why a personal code opens nothing; None spends it."""
    hash = token_hash(code)
    known = found.codes.get(hash)
    if known is None:
        return DomainError("code_unknown")
    if known.used_at is not None:
        return DomainError("code_used")
    if now >= known.expires_at:
        return DomainError("code_expired")
    found.codes[hash] = replace(known, used_at=now)
    return None


def _pin_fits(one: Prepared, resident: _Resident, hashing: Hashing) -> bool:
    if one.pin_hash == resident.pin_hash:
        return one.pin_fits
    # A PIN that was set anew since `prepare` looked is verified again, here: rare, and right.
    return resident.pin_hash is not None and hashing.verify(resident.pin_hash, one.credential.pin or "")


def _after_try(resident: _Resident, fits: bool, now: datetime) -> _Resident:
    if fits:
        return replace(resident, wrong_tries=0, locked_until_at=None)
    tries = resident.wrong_tries + 1
    if tries < PIN_TRIES:
        return replace(resident, wrong_tries=tries, locked_until_at=None)
    return replace(resident, wrong_tries=0, locked_until_at=now + PIN_LOCK)


def _is_locked(resident: _Resident, now: datetime) -> bool:
    return resident.locked_until_at is not None and now < resident.locked_until_at


def _pin_locked() -> DomainError:
    return DomainError("pin_locked", tries=PIN_TRIES, minutes=PIN_LOCK // timedelta(minutes=1))


def _find(connection: Connection, prepared: Sequence[Prepared]) -> _Found:
    """Every card, number, code and resident that the credentials name, in a statement for each kind there is."""
    hashes = {one.card_hash for one in prepared if one.card_hash is not None}
    numbers = {one.credential.member for one in prepared if one.credential.member is not None}
    codes = {token_hash(one.credential.code) for one in prepared if one.credential.code is not None}
    known = {one.resident_id for one in prepared if one.resident_id is not None}
    columns = (
        residents.c.id,
        residents.c.estate_id,
        residents.c.name,
        case(
            (residents.c.merged_into.is_not(None), "merged"),
            (residents.c.closed_at.is_not(None), "closed"),
            else_=residents.c.state,
        ),
        residents.c.pin_hash,
        residents.c.pin_wrong_tries,
        residents.c.pin_locked_until_at,
        residents.c.consent_state,
        residents.c.consent_asked_at,
        residents.c.consent_asked_by,
        residents.c.of_age_at,
    )
    found = _Found({}, {}, {})
    if hashes:
        join = cards.join(residents, cards.c.resident_id == residents.c.id)
        carried = select(cards.c.hash, cards.c.state, *columns).select_from(join).where(cards.c.hash.in_(hashes))
        for hash, state, *values in connection.execute(carried):
            found.by_card[hash] = (values[0], state)
            found.residents[values[0]] = _Resident(*values)
    if numbers:
        numbered = select(residents.c.member_number, *columns).where(residents.c.member_number.in_(numbers))
        for number, *values in connection.execute(numbered):
            found.by_number[number] = values[0]
            found.residents[values[0]] = _Resident(*values)
    if codes:
        c = personal_codes.c
        shown = select(c.hash, c.resident_id, c.expires_at, c.used_at).where(c.hash.in_(sorted(codes)))
        # Two gateways that are shown one code: the second waits here, and sees that it is spent.
        for hash, *values in connection.execute(shown.order_by(c.hash).with_for_update()):
            found.codes[hash] = _Code(*values)
            known.add(values[0])
    if known:
        for row in connection.execute(select(*columns).where(residents.c.id.in_(sorted(known)))):
            found.residents[row[0]] = _Resident(*row)
    return found


def _resident(one: Prepared, found: _Found) -> _Resident | None:
    if one.resident_id is not None:
        return found.residents.get(one.resident_id)
    if one.credential.code is not None:
        return found.residents.get(found.codes[token_hash(one.credential.code)].resident_id)
    if one.card_hash is not None:
        known = found.by_card.get(one.card_hash)
        return found.residents[known[0]] if known else None
    id = found.by_number.get(one.credential.member or "")
    return found.residents[id] if id else None


def _verified(one: Prepared, found: _Found, hashing: Hashing) -> Prepared:
    pin = one.credential.pin
    resident = _resident(one, found) if pin is not None else None
    if pin is None or resident is None or resident.pin_hash is None:
        return one
    return replace(one, pin_hash=resident.pin_hash, pin_fits=hashing.verify(resident.pin_hash, pin))


def _card_hash(credential: Credential, hashing: Hashing) -> str | None:
    if credential.card is None:
        return None
    try:
        return hashing.card(normalise(credential.card))
    except ProtocolError:
        return ""


def _mistaken(connection: Connection, prepared: Sequence[Prepared], found: _Found, hashing: Hashing) -> frozenset[str]:
    """Hashes of the unknown cards that a wrongly set reader would have made of a known one."""
    forms = {
        one.card_hash: {hashing.card(form) for form in mistaken_forms(normalise(one.credential.card or ""))}
        for one in prepared
        if one.card_hash and one.card_hash not in found.by_card
    }
    candidates = frozenset[str]().union(*forms.values())
    if not candidates:
        return frozenset()
    known = set(connection.scalars(select(cards.c.hash).where(cards.c.hash.in_(candidates))))
    return frozenset(hash for hash, others in forms.items() if others & known)
