"""Hours from before: what another system or a paper file kept, booked at once, final, by two people.

Its notice was long ago, so none is held; everything else is as for any credit: the rules of the day of the work, one
record for each row, and waiting where the person has not agreed. The same row again changes nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from functools import cache
from typing import Final, NamedTuple

from sqlalchemy import Connection, select

from jishan_server import audit
from jishan_server.errors import DomainError
from jishan_server.ids import derived_id
from jishan_server.organizations.roles import Permission, permit
from jishan_server.people.one_person import is_same_person
from jishan_server.people.staff import resident_of
from jishan_server.volunteering.credit_states import Event, follow
from jishan_server.volunteering.crediting import GENERAL, MAX_IDS, Work, go_on, price, record, with_notes
from jishan_server.volunteering.rule_versions import ensure_first
from jishan_server.volunteering.rules import CreditRules, Source
from jishan_server.volunteering.tables import credits
from jishan_server.writer import Operation

MAX_ROWS: Final = 2_000
"""In one call: the writer's other work waits for it."""


@dataclass(frozen=True, slots=True)
class PastWork:
    """One row. `key` is the same for the same row whenever it comes; `minutes` are 1..1440, None where only `points`
    are known. Points that are given are booked as they are; without them the rules of the day decide by `source`.
    """

    key: str
    resident_id: str
    estate_id: str
    day: date
    minutes: int | None
    title: str
    points: int | None = None
    source: Source = Source.CLAIMED_LATER
    worked_at: datetime | None = None
    activity_type: str = GENERAL
    counts_as_service: bool = True
    organization_id: str | None = None
    category: str | None = None
    place: str | None = None
    person_in_charge: str | None = None


class Outcome(NamedTuple):
    """What became of a row: its credit, or why not; `is_new` is false for one that was booked before."""

    credit_id: str
    is_new: bool
    error: DomainError | None = None


def book_history(
    connection: Connection,
    rows: Sequence[PastWork],
    operation: Operation,
    now: datetime,
    settings: CreditRules,
    *,
    recorded_by: str,
    approved_by: str,
    reason: str,
    salt: str | None = None,
) -> list[Outcome]:
    """Book at most MAX_ROWS rows, in a handful of statements; an outcome for each, in order. `salt`: random, for the
    notes with the words (`ledger.notes`).

    The caller has permitted `recorded_by`. Refusals for all: credit_same_person, forbidden (of `approved_by`). For a
    row: credit_own (the approver's own), worked_day_ahead, and the ledger's, each of which leaves nothing behind.
    """
    assert len(rows) <= MAX_ROWS
    if recorded_by == approved_by:
        raise DomainError("credit_same_person")
    for estate_id in sorted({row.estate_id for row in rows}):
        permit(connection, approved_by, Permission.CREDIT_APPROVE, estate_id)
    own, today = resident_of(connection, approved_by), now.astimezone(settings.zone).date()
    is_own = cache(lambda resident_id: is_same_person(connection, own, resident_id))
    ids = [derived_id(row.key, "past work") for row in rows]
    seen = _known(connection, ids)
    known = set(seen)
    errors: dict[str, DomainError] = {}
    works = []
    for id, row in zip(ids, rows, strict=True):
        if id in seen:
            continue
        seen.add(id)
        if is_own(row.resident_id):
            errors[id] = DomainError("credit_own")
        elif row.day > today:
            errors[id] = DomainError("worked_day_ahead")
        else:
            works.append(_work(id, row, reason, settings))
    ensure_first(connection, settings, now)
    # What the ledger would refuse is found in a savepoint, and left out of it.
    while works:
        savepoint = connection.begin_nested()
        made = record(connection, price(connection, with_notes(connection, works, salt), told=True), recorded_by, now)
        for credit in made:
            credit["state"] = follow(credit["state"], Event.APPROVED).value
            credit |= {"decided_by": approved_by, "decided_at": now, "notice_ends_at": now}
        refused = go_on(connection, made, now, settings)
        if not refused:
            savepoint.commit()
            break
        savepoint.rollback()
        errors |= refused
        works = [work for work in works if work.id not in refused]
    noted = [audit.Entry(approved_by, "past_work_booked", ("credit", work.id), operation.id) for work in works]
    audit.record_all(connection, now, noted)
    fresh = {work.id for work in works} - known
    return [_outcome(id, fresh, errors) for id in ids]


def _outcome(id: str, fresh: set[str], errors: dict[str, DomainError]) -> Outcome:
    # The same row twice in one call is new once.
    is_new = id in fresh
    fresh.discard(id)
    return Outcome(id, is_new, errors.get(id))


def _known(connection: Connection, ids: Sequence[str]) -> set[str]:
    found: set[str] = set()
    for start in range(0, len(ids), MAX_IDS):
        some = ids[start : start + MAX_IDS]
        found |= set(connection.scalars(select(credits.c.id).where(credits.c.id.in_(some))))
    return found


def _work(id: str, row: PastWork, reason: str, settings: CreditRules) -> Work:
    return Work(
        id=id,
        resident_id=row.resident_id,
        estate_id=row.estate_id,
        minutes=row.minutes,
        points=row.points,
        source=row.source,
        title=row.title,
        reason=reason,
        worked_at=row.worked_at or datetime.combine(row.day, time(), settings.zone),
        day=row.day,
        activity_type=row.activity_type,
        counts_as_service=row.counts_as_service,
        organization_id=row.organization_id,
        category=row.category,
        place=row.place,
        person_in_charge=row.person_in_charge,
    )
