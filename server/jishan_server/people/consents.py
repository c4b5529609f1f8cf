"""Consent to keeping records about a person: asked before, in plain words, and as easily withdrawn as given.

- Nobody's service earns points, is shown publicly or leaves the scheme in a file before they agreed: `with_consent`
  says who did. Whoever only awaits consent may take part, and their hours may be recorded.
- What was said, to which version of the text, how, when and who wrote it down are rows that only ever get more. The
  newest one is repeated in `residents.consent_state`, in the same transaction, so that the hot path reads it for free.
- After a withdrawal nothing new is recorded or shown. Points that are there were earned before and can still be used,
  and the account can be closed and exported: a withdrawal does not undo what was done while consent was given.
- For a child under 14 a guardian agrees, at the desk or on paper, never a card or the child's own phone.

Source: 个人信息保护法 art. 14-17, 31; 志愿服务记录与证明出具办法 art. 6.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, tzinfo
from typing import Any, Final, Literal

from sqlalchemy import Connection, RowMapping, func, insert, select, update

from jishan_server import audit
from jishan_server.errors import DomainError
from jishan_server.ids import derived_id
from jishan_server.instants import iso
from jishan_server.organizations.roles import Permission, permit, resident_of_actor
from jishan_server.organizations.tables import organizations
from jishan_server.people.consent_tables import consent_texts, consents, guardians
from jishan_server.people.consent_words import FIRST_EN, FIRST_ZH
from jishan_server.people.one_person import persons, records_of
from jishan_server.people.tables import residents
from jishan_server.writer import Operation

How = Literal["desk", "paper", "phone", "card_tap", "keypad"]
GUARDIAN_UNDER_YEARS: Final = 14
MAX_IDS: Final = 10_000
"""Ids in one statement: far below what both databases take."""


@dataclass(frozen=True, slots=True)
class Guardian:
    """Who agrees for a child: a resident, or a name (and phone) of somebody who is none."""

    resident_id: str | None = None
    name: str | None = None
    phone: str | None = None


@dataclass(frozen=True, slots=True)
class NewConsent:
    """How somebody agreed who is being registered: at the desk, or on a paper form with its number and day."""

    how: Literal["desk", "paper"] = "desk"
    form_number: str | None = None
    form_day: str | None = None
    guardian: Guardian | None = None


@dataclass(frozen=True, slots=True)
class GiveConsent:
    actor: str
    resident_id: str
    how: How
    form_number: str | None = None
    form_day: str | None = None
    guardian: Guardian | None = None


@dataclass(frozen=True, slots=True)
class WithdrawConsent:
    actor: str
    resident_id: str
    how: How


@dataclass(frozen=True, slots=True)
class PublishConsentText:
    """The next version of the text, in force from `from_day`, which is not over yet."""

    actor: str
    zh: str
    en: str
    from_day: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that somebody said about their records; `written_by` is the actor who wrote it down."""

    resident_id: str
    is_given: bool
    how: How
    written_by: str
    form_number: str | None = None
    form_day: str | None = None
    guardian_entry_id: str | None = None
    machine_id: str | None = None


def with_consent(connection: Connection, resident_ids: Collection[str]) -> frozenset[str]:
    """Those among `resident_ids` who have agreed, to whichever version, and not withdrawn."""
    ids = list(resident_ids)
    r = residents.c
    return frozenset(
        id
        for start in range(0, len(ids), MAX_IDS)
        for id in connection.scalars(
            select(r.id).where(r.id.in_(ids[start : start + MAX_IDS]), r.consent_state == "given")
        )
    )


def state(connection: Connection, resident_id: str) -> str:
    """`awaiting`, `given` or `withdrawn`; refusal: resident_unknown."""
    return str(_person(connection, resident_id).consent_state)


def history(connection: Connection, resident_id: str) -> list[dict[str, Any]]:
    """Everything that was said, newest first, with the guardian where one spoke."""
    rows = connection.execute(
        select(consents, guardians.c.name, guardians.c.guardian_id)
        .outerjoin(guardians, guardians.c.id == consents.c.guardian_entry_id)
        .where(consents.c.resident_id.in_(records_of(connection, resident_id)))
        .order_by(consents.c.number.desc())
    ).mappings()
    return [_view(row) for row in rows]


def of_age_at(birth_day: str | None, zone: tzinfo) -> datetime | None:
    """When somebody born on this day turns 14; a 29 February has its birthday on 1 March."""
    if birth_day is None:
        return None
    born = date.fromisoformat(birth_day)
    year = born.year + GUARDIAN_UNDER_YEARS
    try:
        day = born.replace(year=year)
    except ValueError:
        day = date(year, 3, 1)
    return datetime.combine(day, time(), zone).astimezone(UTC)


def write(connection: Connection, now: datetime, entries: Sequence[Entry]) -> None:
    """Write down what was said and what holds now, for any number of residents, each at most once.

    For children under 14 the caller has seen to the guardian.
    """
    if not entries:
        return
    version = ensured_text(connection, now)
    connection.execute(
        insert(consents),
        [
            {
                "resident_id": entry.resident_id,
                "text_version": version,
                "is_given": entry.is_given,
                "how": entry.how,
                "written_by": entry.written_by,
                "form_number": entry.form_number,
                "form_day": entry.form_day,
                "guardian_entry_id": entry.guardian_entry_id,
                "machine_id": entry.machine_id,
                "recorded_at": now,
            }
            for entry in entries
        ],
    )
    for is_given, reached in ((True, "given"), (False, "withdrawn")):
        ids = [entry.resident_id for entry in entries if entry.is_given is is_given]
        for start in range(0, len(ids), MAX_IDS):
            # What was merged into a record waits for, and is shown with, the consent of the same person.
            connection.execute(
                update(residents)
                .where(residents.c.id.in_(persons(connection, ids[start : start + MAX_IDS])))
                .values(consent_state=reached, consent_asked_at=None, consent_asked_by=None)
            )


def carry_over(connection: Connection, resident_id: str) -> None:
    """Let all records of a person hold what the one that stays says; where it was never asked, what another one says.

    Asked once, after a merge.
    """
    r = residents.c
    ids = records_of(connection, resident_id)
    states = dict(connection.execute(select(r.id, r.consent_state).where(r.id.in_(ids))).all())
    said = [states[resident_id], *sorted(states.values(), key=("withdrawn", "given", "awaiting").index)]
    holds = next((state for state in said if state != "awaiting"), "awaiting")
    connection.execute(update(residents).where(r.id.in_(ids)).values(consent_state=holds))


def begin(
    connection: Connection, operation: Operation, now: datetime, resident_id: str, new: NewConsent, zone: tzinfo
) -> None:
    """The consent of somebody who is being registered by `operation`; refusals as those of `give_consent`."""
    body = operation.body
    _give(
        connection,
        operation,
        now,
        GiveConsent(body.actor, resident_id, new.how, new.form_number, new.form_day, new.guardian),
        zone,
    )


def give_consent(connection: Connection, operation: Operation, now: datetime, zone: tzinfo) -> dict[str, Any]:
    """Write down that somebody agreed. Residents say so themselves by phone, staff for them at the desk or on paper.

    Refusals: resident_unknown, forbidden, guardian_needed, form_day_invalid.
    """
    body: GiveConsent = operation.body
    person = _person(connection, body.resident_id)
    permit(connection, body.actor, Permission.CONSENT_WRITE, person.estate_id, about=body.resident_id)
    _give(connection, operation, now, body, zone)
    _note(connection, operation, now, "consent_given", body.resident_id)
    return history(connection, body.resident_id)[0]


def withdraw_consent(connection: Connection, operation: Operation, now: datetime) -> dict[str, Any]:
    """Write down that somebody does not agree any more. Refusals: resident_unknown, forbidden, consent_not_given."""
    body: WithdrawConsent = operation.body
    person = _person(connection, body.resident_id)
    permit(connection, body.actor, Permission.CONSENT_WRITE, person.estate_id, about=body.resident_id)
    if person.consent_state != "given":
        raise DomainError("consent_not_given")
    how: How = "phone" if resident_of_actor(body.actor) else body.how
    write(connection, now, [Entry(body.resident_id, False, how, body.actor)])
    _note(connection, operation, now, "consent_withdrawn", body.resident_id)
    return history(connection, body.resident_id)[0]


def publish_text(connection: Connection, operation: Operation, now: datetime, zone: tzinfo) -> dict[str, Any]:
    """Add the next version of the text. Refusals: forbidden, consent_text_day."""
    body: PublishConsentText = operation.body
    root = connection.scalar(select(organizations.c.id).where(organizations.c.parent_id.is_(None)).limit(1))
    permit(connection, body.actor, Permission.RULES_WRITE, root)
    day = date.fromisoformat(body.from_day)
    if day < now.astimezone(zone).date():
        raise DomainError("consent_text_day")
    ensured_text(connection, now)
    version = connection.execute(select(func.max(consent_texts.c.version))).scalar_one() + 1
    from_at = max(datetime.combine(day, time(), zone).astimezone(UTC), now)
    _add_text(connection, now, version, body.zh, body.en, from_at, body.actor)
    audit.record(
        connection,
        now,
        actor=body.actor,
        action="consent_text_published",
        subject=("consent_text", str(version)),
        operation_id=operation.id,
        details={"from_day": body.from_day},
    )
    return {"version": version, "zh": body.zh, "en": body.en, "from_at": iso(from_at)}


def texts(connection: Connection) -> list[dict[str, Any]]:
    """Every version, oldest first; the built-in first one also before anybody has agreed to it."""
    rows = connection.execute(select(consent_texts).order_by(consent_texts.c.version)).all()
    if not rows:
        return [{"version": 1, "zh": FIRST_ZH, "en": FIRST_EN, "from_at": None}]
    return [{"version": row.version, "zh": row.zh, "en": row.en, "from_at": iso(row.from_at)} for row in rows]


def text_now(connection: Connection, now: datetime) -> dict[str, Any]:
    """The text that holds now."""
    known = texts(connection)
    held = [text for text in known if text["from_at"] is None or text["from_at"] <= (iso(now) or "")]
    return (held or known[:1])[-1]


def ensured_text(connection: Connection, now: datetime) -> int:
    """The version that holds now; the first use writes the built-in one."""
    t = consent_texts.c
    version = connection.scalar(select(func.max(t.version)).where(t.from_at <= now))
    if version is not None:
        return int(version)
    if connection.scalar(select(func.count()).select_from(consent_texts)):
        # A clock behind the first text: it is still the first that people agree to.
        return int(connection.execute(select(func.min(t.version))).scalar_one())
    _add_text(connection, now, 1, FIRST_ZH, FIRST_EN, now, "system")
    return 1


def _give(connection: Connection, operation: Operation, now: datetime, body: GiveConsent, zone: tzinfo) -> None:
    person = _person(connection, body.resident_id)
    is_child = person.of_age_at is not None and now < person.of_age_at
    if is_child and (body.guardian is None or resident_of_actor(body.actor)):
        raise DomainError("guardian_needed", years=GUARDIAN_UNDER_YEARS)
    if body.form_day is not None and date.fromisoformat(body.form_day) > now.astimezone(zone).date():
        raise DomainError("form_day_invalid")
    entry_id = None
    if body.guardian is not None:
        entry_id = _add_guardian(connection, operation, now, body.resident_id, body.guardian)
    how: How = "phone" if resident_of_actor(body.actor) else body.how
    entry = Entry(body.resident_id, True, how, body.actor, body.form_number, body.form_day, entry_id)
    write(connection, now, [entry])


def _add_guardian(
    connection: Connection, operation: Operation, now: datetime, resident_id: str, guardian: Guardian
) -> str:
    if (guardian.resident_id is None) == (guardian.name is None) or guardian.resident_id == resident_id:
        raise DomainError("guardian_invalid")
    if guardian.resident_id is not None:
        of_age = _person(connection, guardian.resident_id).of_age_at
        if of_age is not None and now < of_age:
            raise DomainError("guardian_invalid")
    id = derived_id(operation.id, "guardian")
    connection.execute(
        insert(guardians).values(
            id=id,
            resident_id=resident_id,
            guardian_id=guardian.resident_id,
            name=guardian.name,
            phone=guardian.phone,
            recorded_at=now,
        )
    )
    return id


def _add_text(
    connection: Connection, now: datetime, version: int, zh: str, en: str, from_at: datetime, actor: str
) -> None:
    connection.execute(
        insert(consent_texts).values(version=version, zh=zh, en=en, from_at=from_at, written_by=actor, recorded_at=now)
    )


def _person(connection: Connection, resident_id: str) -> Any:
    r = residents.c
    row = connection.execute(select(r.estate_id, r.consent_state, r.of_age_at).where(r.id == resident_id)).one_or_none()
    if row is None:
        raise DomainError("resident_unknown", id=resident_id)
    return row


def _view(row: RowMapping) -> dict[str, Any]:
    shown = ("resident_id", "text_version", "is_given", "how", "written_by", "form_number", "form_day", "machine_id")
    return {name: row[name] for name in shown} | {
        "guardian_id": row["guardian_id"],
        "guardian_name": row["name"],
        "recorded_at": iso(row["recorded_at"]),
    }


def _note(connection: Connection, operation: Operation, now: datetime, action: str, resident_id: str) -> None:
    audit.record(
        connection,
        now,
        actor=operation.body.actor,
        action=action,
        subject=("resident", resident_id),
        operation_id=operation.id,
    )
