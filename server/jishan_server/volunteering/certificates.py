"""Certificates of volunteer service: issued from service records, checked by anybody, revoked, replaced.

A certificate says what the records of a period said when it was issued, and reads nothing else: no points, no
redemption. It is printed as often as wanted, each time the same. Once a record on it is corrected it is `outdated`;
then another one is issued in its place, which revokes the first. Whoever has its number may ask what it says; they
learn the number, the period, the hours, the unit and the state, never whose it is.
Minutes are kept. Hours are shown to one decimal, rounded down, and the total is that of all minutes.
Source: 志愿服务记录与证明出具办法 art. 14-17.
"""

import hashlib
import re
import unicodedata
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, Connection, insert, or_, select, update
from sqlalchemy import exists as there_is

from jishan_server import audit
from jishan_server.db import from_ms, to_ms
from jishan_server.errors import DomainError
from jishan_server.instants import iso
from jishan_server.organizations.calendar import parse_day
from jishan_server.organizations.roles import Permission, permit, resident_of_actor
from jishan_server.organizations.tree import organization
from jishan_server.people.member_numbers import check_digit
from jishan_server.people.messages import Message, tell
from jishan_server.people.one_person import persons
from jishan_server.people.residents import estate_of
from jishan_server.people.tables import residents
from jishan_server.printing.certificate import Certificate, Entry
from jishan_server.printing.words import hours
from jishan_server.volunteering import service_records as records
from jishan_server.volunteering.certificate_tables import certificate_records, certificates
from jishan_server.volunteering.credit_tables import service_records
from jishan_server.writer import Operation

MAX_RECORDS: Final = 2_000
"""On one certificate: some eighty pages. Who has more asks for a shorter period."""
DRAWN_DIGITS: Final = 10
"""Beside the year: nobody finds a number that exists by trying at the speed that is let through."""
NUMBER: Final = re.compile(r"[0-9]{15}")
PATH: Final = "c"
"""The page that checks a number, as printed codes name it."""
STATES: Final = ("valid", "outdated", "replaced", "revoked")

_c = certificates.c
_OUTDATED: Final = there_is().where(
    certificate_records.c.number == _c.number,
    certificate_records.c.record_id == service_records.c.id,
    service_records.c.state == "corrected",
)


@dataclass(frozen=True, slots=True)
class IssueCertificate:
    """From the first to the last of these days (YYYY-MM-DD), or of all records; `replaces` is a number whose place it
    takes.
    """

    actor: str
    resident_id: str
    first_day: str | None = None
    last_day: str | None = None
    replaces: str | None = None


@dataclass(frozen=True, slots=True)
class RevokeCertificate:
    actor: str
    number: str
    reason: str


def issue_certificate(connection: Connection, operation: Operation, now: datetime, zone: ZoneInfo) -> dict[str, Any]:
    """Issue a certificate, as staff of the estate or for oneself.

    Refusals: resident_unknown, forbidden, resident_erased, resident_merged, day_invalid, certificate_empty,
    certificate_long, certificate_unknown or certificate_revoked for the one to replace.
    """
    body: IssueCertificate = operation.body
    estate_id = estate_of(connection, body.resident_id)
    permit(connection, body.actor, Permission.CERTIFICATE_ISSUE, estate_id, about=body.resident_id)
    r = residents.c
    person = connection.execute(
        select(r.name, r.erased_at, r.merged_into).where(r.id == body.resident_id).with_for_update()
    ).one()
    if person.erased_at is not None:
        raise DomainError("resident_erased")
    if person.merged_into is not None:
        raise DomainError("resident_merged")
    first, last = (None if day is None else parse_day(day) for day in (body.first_day, body.last_day))
    found = records.of(connection, body.resident_id, first, last)
    if not found:
        raise DomainError("certificate_empty")
    if len(found) > MAX_RECORDS:
        raise DomainError("certificate_long", limit=MAX_RECORDS)
    number = new_number(operation.id, now.astimezone(zone).year)
    connection.execute(
        insert(certificates).values(
            number=number,
            resident_id=body.resident_id,
            estate_id=estate_id,
            name=person.name,
            unit_name=organization(connection, estate_id)["name"],
            first_day=body.first_day or found[0]["day"],
            last_day=body.last_day or found[-1]["day"],
            minutes=sum(one["minutes"] for one in found),
            record_count=len(found),
            issued_by=body.actor,
            issued_at=now,
        )
    )
    connection.execute(
        insert(certificate_records),
        [{"number": number, "position": place, "record_id": one["id"]} for place, one in enumerate(found, start=1)],
    )
    if body.replaces is not None:
        old = _locked(connection, body.replaces)
        if old["resident_id"] not in persons(connection, [body.resident_id]):
            raise DomainError("certificate_unknown")
        _revoke(connection, old, body.actor, None, number, now)
    if resident_of_actor(body.actor) is None:
        tell(connection, now, [Message(body.resident_id, "certificate_issued", {"number": number})])
    _note(connection, operation, now, "certificate_issued", number, {"replaces": body.replaces})
    return certificate(connection, body.actor, number)


def revoke_certificate(connection: Connection, operation: Operation, now: datetime) -> dict[str, Any]:
    """Revoke a certificate: whoever checks it from now on is told so.

    Refusals: reason_required, certificate_unknown, forbidden, certificate_revoked.
    """
    body: RevokeCertificate = operation.body
    if not body.reason.strip():
        raise DomainError("reason_required")
    found = _locked(connection, body.number)
    permit(connection, body.actor, Permission.CERTIFICATE_REVOKE, found["estate_id"])
    _revoke(connection, found, body.actor, body.reason, None, now)
    said = {"number": found["number"], "reason": body.reason}
    tell(connection, now, [Message(found["resident_id"], "certificate_revoked", said)])
    _note(connection, operation, now, "certificate_revoked", found["number"], {})
    return certificate(connection, body.actor, found["number"])


def outdated_by(connection: Connection, credit_ids: Collection[str]) -> list[Message]:
    """What people are told whose certificates hold until the records of these credits are corrected."""
    r, k = service_records.alias().c, certificate_records.alias().c
    query = (
        select(_c.number, _c.resident_id)
        .distinct()
        .where(r.credit_id.in_(credit_ids), r.state == "valid", k.record_id == r.id, _c.number == k.number)
        .where(_in_state("valid"))
        .order_by(_c.number)
    )
    rows = connection.execute(query)
    return [Message(row.resident_id, "certificate_outdated", {"number": row.number}) for row in rows]


def certificate(connection: Connection, actor: str, number: str) -> dict[str, Any]:
    """One certificate, for staff who may see the person's records and for the person.

    Refusals: certificate_unknown, forbidden.
    """
    row = _row(connection, number)
    mine = resident_of_actor(actor)
    if mine is not None and row["resident_id"] not in persons(connection, [mine]):
        raise DomainError("certificate_unknown")
    permit(connection, actor, Permission.RECORD_READ, row["estate_id"], about=mine)
    return _view(row)


def of_resident(connection: Connection, actor: str, resident_id: str) -> list[dict[str, Any]]:
    """A resident's certificates, those of records merged into theirs too, newest first.

    Refusals: resident_unknown, forbidden.
    """
    permit(connection, actor, Permission.RECORD_READ, estate_of(connection, resident_id), about=resident_id)
    query = _select().where(_c.resident_id.in_(persons(connection, [resident_id])))
    rows = connection.execute(query.order_by(_c.issued_at.desc(), _c.number)).mappings()
    return [_view(row) for row in rows]


def register(
    connection: Connection,
    estate_ids: Collection[str],
    state: str | None,
    after: tuple[int, str] | None,
    limit: int,
) -> tuple[list[dict[str, Any]], tuple[int, str] | None]:
    """The register of these estates, newest first, and where the next page starts; `state` is one of STATES."""
    query = _select().where(_c.estate_id.in_(estate_ids))
    if state is not None:
        query = query.where(_in_state(state))
    if after is not None:
        at = from_ms(after[0])
        query = query.where(or_(_c.issued_at < at, (_c.issued_at == at) & (_c.number > after[1])))
    rows = connection.execute(query.order_by(_c.issued_at.desc(), _c.number).limit(limit + 1)).mappings().all()
    last = (to_ms(rows[limit - 1]["issued_at"]), rows[limit - 1]["number"]) if len(rows) > limit else None
    return [_view(row) for row in rows[:limit]], last


def check(connection: Connection, typed: str) -> dict[str, Any]:
    """What anybody may know of a number: itself, the period, the hours, the unit and the state.

    Full-width digits, spaces and hyphens are forgiven. Refusals: certificate_number_wrong, certificate_unknown.
    """
    number = re.sub(r"[\s-]", "", unicodedata.normalize("NFKC", typed))
    if NUMBER.fullmatch(number) is None or check_digit(number[:-1]) != number[-1]:
        raise DomainError("certificate_number_wrong")
    found = _view(_row(connection, number))
    return {name: found[name] for name in ("number", "first_day", "last_day", "hours", "unit_name", "state")}


def document(connection: Connection, actor: str, number: str, site_url: str, zone: ZoneInfo) -> Certificate:
    """A certificate as it is printed, from its own row and the records it listed then.

    Refusals: certificate_unknown, forbidden, certificate_forgotten (the person was made anonymous).
    """
    found = certificate(connection, actor, number)
    if found["name"] is None:
        raise DomainError("certificate_forgotten")
    r, k = service_records.c, certificate_records.c
    query = (
        select(r.day, r.title, r.category, r.place, r.unit_name, r.minutes)
        .join(certificate_records, k.record_id == r.id)
        .where(k.number == number)
        .order_by(k.position)
    )
    issued_at = datetime.fromisoformat(found["issued_at"])
    return Certificate(
        number=number,
        address=f"{site_url}/{PATH}/{number}",
        name=found["name"],
        unit=found["unit_name"],
        first_day=found["first_day"],
        last_day=found["last_day"],
        entries=[Entry(*row) for row in connection.execute(query)],
        issued_day=issued_at.astimezone(zone).date().isoformat(),
        issued_at=issued_at,
    )


def new_number(operation_id: str, year: int) -> str:
    """Year, ten digits drawn from the operation's id, and an ISO 7064 MOD 11,10 check digit."""
    drawn = int.from_bytes(hashlib.sha256(f"certificate\n{operation_id}".encode()).digest()) % 10**DRAWN_DIGITS
    digits = f"{year:04}{drawn:0{DRAWN_DIGITS}}"
    return digits + check_digit(digits)


def _select() -> Any:
    return select(certificates, _OUTDATED.label("is_outdated"))


def _in_state(state: str) -> ColumnElement[bool]:
    if state == "replaced":
        return _c.replaced_by.is_not(None)
    if state == "revoked":
        return _c.revoked_at.is_not(None) & _c.replaced_by.is_(None)
    return _c.revoked_at.is_(None) & (_OUTDATED if state == "outdated" else ~_OUTDATED)


def _row(connection: Connection, number: str) -> Mapping[Any, Any]:
    row: Mapping[Any, Any] | None = connection.execute(_select().where(_c.number == number)).mappings().one_or_none()
    if row is None:
        raise DomainError("certificate_unknown")
    return row


def _locked(connection: Connection, number: str) -> Mapping[Any, Any]:
    row: Mapping[Any, Any] | None
    query = select(certificates).where(_c.number == number).with_for_update()
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        raise DomainError("certificate_unknown")
    return row


def _revoke(
    connection: Connection, row: Mapping[Any, Any], actor: str, reason: str | None, by: str | None, now: datetime
) -> None:
    if row["revoked_at"] is not None:
        raise DomainError("certificate_revoked")
    connection.execute(
        update(certificates)
        .where(_c.number == row["number"])
        .values(revoked_at=now, revoked_by=actor, revoke_reason=reason, replaced_by=by)
    )


def _view(row: Mapping[Any, Any]) -> dict[str, Any]:
    if row["replaced_by"] is not None:
        state = "replaced"
    elif row["revoked_at"] is not None:
        state = "revoked"
    else:
        state = "outdated" if row["is_outdated"] else "valid"
    shown = {name: value for name, value in row.items() if name != "is_outdated"}
    instants = {name: iso(row[name]) for name in ("issued_at", "revoked_at")}
    return shown | instants | {"hours": hours(row["minutes"]), "state": state}


def _note(
    connection: Connection, operation: Operation, now: datetime, action: str, number: str, details: dict[str, object]
) -> None:
    entry = audit.Entry(operation.body.actor, action, ("certificate", number), operation.id, details)
    audit.record_all(connection, now, [entry])
