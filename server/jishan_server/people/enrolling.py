"""Registering many people at once, in a handful of statements for each thousand, and taking such a registration back.

What is kept of a person and who may say so is as in `residents`, `profiles` and `consents`; the caller has checked the
rows (an import shows them first) and holds the permission.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from typing import Any, Final

from sqlalchemy import Connection, delete, func, insert, select, update

from jishan_server import audit
from jishan_server.db import metadata
from jishan_server.ids import derived_id
from jishan_server.ledger.model import resident_accounts
from jishan_server.ledger.store import freeze, open_accounts
from jishan_server.ledger.tables import accounts, balances
from jishan_server.people import consents
from jishan_server.people.consent_tables import guardians
from jishan_server.people.credentials import account_of
from jishan_server.people.member_numbers import FIRST_SERIAL, member_number
from jishan_server.people.message_tables import message_channels
from jishan_server.people.profiles import IdNumber, Skill, columns
from jishan_server.people.tables import cards, residents, skills

MAX_IDS: Final = 1_000
"""Ids in one statement of a search through many tables."""
REGISTRATION: Final = frozenset(
    {
        "card_greetings",
        "cards",
        "consents",
        "guardians",
        "message_channels",
        "message_sendings",
        "messages",
        "resident_skills",
        "resident_tokens",
    }
)
"""Tables whose rows come with a registration, and mean nothing without it."""
TAKEN_BACK: Final = "（导入已撤销）"


@dataclass(frozen=True, slots=True)
class NewResident:
    """One person as checked; without `consent` they await it. `card` is (hash, last four digits)."""

    estate_id: str
    name: str
    phone: str | None = None
    sex: str | None = None
    birth_day: str | None = None
    building: str | None = None
    unit: str | None = None
    room: str | None = None
    email: str | None = None
    category: str | None = None
    language: str = "zh"
    skills: tuple[str, ...] = ()
    id_number: IdNumber | None = field(default=None, repr=False)
    card: tuple[str, str] | None = field(default=None, repr=False)
    consent: consents.NewConsent | None = None


def create_many(
    connection: Connection, actor: str, operation_id: str, rows: Sequence[NewResident], now: datetime, zone: tzinfo
) -> list[str]:
    """Register people, each with the next member number, points accounts and perhaps a card; their ids, in order.

    Refusals: those of `profiles.columns`.
    """
    if not rows:
        return []
    ids = [derived_id(operation_id, f"resident {place}") for place in range(len(rows))]
    first = (connection.scalar(select(func.max(residents.c.member_serial))) or FIRST_SERIAL - 1) + 1
    values: list[dict[str, Any]] = []
    for place, (id, row) in enumerate(zip(ids, rows, strict=True)):
        kept = {name: getattr(row, name) for name in _PROFILE}
        values.append(
            columns(kept, row.id_number, now, zone)
            | {
                "id": id,
                "estate_id": row.estate_id,
                "member_serial": first + place,
                "member_number": member_number(first + place),
                "state": "active",
                "pin_wrong_tries": 0,
                "created_at": now,
            }
        )
    connection.execute(insert(residents), values)
    pairs = list(zip(ids, rows, strict=True))
    open_accounts(connection, [one for id, row in pairs for one in resident_accounts(id, row.estate_id)], now)
    _add_skills(connection, [(id, tuple(Skill(name) for name in row.skills)) for id, row in pairs if row.skills])
    bound = [
        {
            "id": derived_id(operation_id, f"card {id}"),
            "hash": row.card[0],
            "resident_id": id,
            "state": "active",
            "ending": row.card[1],
            "bound_at": now,
        }
        for id, row in pairs
        if row.card is not None
    ]
    if bound:
        connection.execute(insert(cards), bound)
    _agree(connection, actor, operation_id, now, pairs)
    audit.record_all(
        connection,
        now,
        [
            audit.Entry(actor, "resident_created", ("resident", id), operation_id, {"estate_id": row.estate_id})
            for id, row in pairs
        ],
    )
    return ids


_PROFILE: Final = (
    "name",
    "phone",
    "sex",
    "birth_day",
    "building",
    "unit",
    "room",
    "email",
    "category",
    "language",
    "id_number",
)


def _add_skills(connection: Connection, shown: Sequence[tuple[str, tuple[Skill, ...]]]) -> None:
    if shown:
        connection.execute(
            insert(skills),
            [
                {"resident_id": id, "position": place, "name": one.name, "licence": None, "expires_on": None}
                for id, of_person in shown
                for place, one in enumerate(of_person)
            ],
        )


def _agree(
    connection: Connection, actor: str, operation_id: str, now: datetime, pairs: Sequence[tuple[str, NewResident]]
) -> None:
    """Write down who agreed, on which form and day; for a child its guardian did."""
    entries, agreed_for = [], []
    for id, row in pairs:
        if row.consent is None:
            continue
        entry_id = None
        if row.consent.guardian is not None:
            entry_id = derived_id(operation_id, f"guardian {id}")
            agreed_for.append(
                {
                    "id": entry_id,
                    "resident_id": id,
                    "guardian_id": row.consent.guardian.resident_id,
                    "name": row.consent.guardian.name,
                    "phone": row.consent.guardian.phone,
                    "recorded_at": now,
                }
            )
        agreed = row.consent
        entries.append(consents.Entry(id, True, agreed.how, actor, agreed.form_number, agreed.form_day, entry_id))
    if agreed_for:
        connection.execute(insert(guardians), agreed_for)
    consents.write(connection, now, entries)


def referred_to(connection: Connection, resident_ids: Collection[str]) -> dict[str, str]:
    """Those of whom something is known beside their registration: the name of a table that says so. Somebody with
    points, past or present, is one of them."""
    ids, found = sorted(resident_ids), dict[str, str]()
    for start in range(0, len(ids), MAX_IDS):
        some = ids[start : start + MAX_IDS]
        for table in metadata.sorted_tables:
            for key in table.foreign_keys:
                if key.column is not residents.c.id or (
                    table.name in REGISTRATION and key.parent.name == "resident_id"
                ):
                    continue
                for id in connection.scalars(select(key.parent).where(key.parent.in_(some)).distinct()):
                    found.setdefault(id, table.name)
        own = {account_of(id): id for id in some}
        moved = select(accounts.c.id).join(balances, balances.c.number == accounts.c.number)
        for account_id in connection.scalars(moved.where(accounts.c.id.in_(own), balances.c.last_sequence > 0)):
            found.setdefault(own[account_id], "transfers")
    return found


def take_back(
    connection: Connection, actor: str, operation_id: str, resident_ids: Sequence[str], now: datetime
) -> dict[str, str]:
    """Undo registrations: nothing personal is left, cards are free again, the account is closed to all. People to whom
    something refers are left as they are and given back, with the table that refers to them (`referred_to`).
    """
    kept = referred_to(connection, resident_ids)
    gone = [id for id in resident_ids if id not in kept]
    for start in range(0, len(gone), MAX_IDS):
        some = gone[start : start + MAX_IDS]
        agreed = consents.with_consent(connection, some)
        consents.write(connection, now, [consents.Entry(id, False, "desk", actor) for id in sorted(agreed)])
        connection.execute(delete(cards).where(cards.c.resident_id.in_(some)))
        connection.execute(delete(skills).where(skills.c.resident_id.in_(some)))
        connection.execute(delete(message_channels).where(message_channels.c.resident_id.in_(some)))
        connection.execute(
            update(guardians).where(guardians.c.resident_id.in_(some)).values(name=TAKEN_BACK, phone=None)
        )
        connection.execute(
            update(residents)
            .where(residents.c.id.in_(some))
            .values(dict.fromkeys(_ERASED) | {"name": TAKEN_BACK, "state": "frozen", "erased_at": now})
        )
        freeze(connection, [account_of(id) for id in some], True)
    audit.record_all(
        connection, now, [audit.Entry(actor, "resident_taken_back", ("resident", id), operation_id) for id in gone]
    )
    return kept


_ERASED: Final = (
    "phone",
    "sex",
    "birth_day",
    "of_age_at",
    "building",
    "unit",
    "room",
    "email",
    "category",
    "pin_hash",
    "id_number_hash",
    "id_number_ending",
)
