"""Correcting a final credit: a new one with other minutes or points takes its place, by two people and with a reason.

The original stays. It stays valid too until the new one is final: only then its points are taken back and its service
record is corrected, in the transaction that books the new ones.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection

from jishan_server import audit
from jishan_server.errors import DomainError
from jishan_server.ids import derived_id, timed_derived_id
from jishan_server.ledger import notes
from jishan_server.volunteering.crediting import Work, price, record
from jishan_server.volunteering.credits import final_credit, one
from jishan_server.volunteering.rules import MAX_MINUTES, MAX_POINTS, Source
from jishan_server.writer import Operation


@dataclass(frozen=True, slots=True)
class CorrectCredit:
    """Either `minutes` or `points`, as they should have been; to take a credit back altogether, reverse it."""

    actor: str
    credit_id: str
    minutes: int | None
    points: int | None
    reason: str
    # Random, for the note with the words (`ledger.notes`).
    salt: str | None = field(default=None, repr=False, metadata={"secret": True})


def correct_credit(connection: Connection, operation: Operation, now: datetime) -> dict[str, Any]:
    """Record what takes the place of a final credit; it waits for another person's approval.

    Refusals: reason_required, credit_unknown, forbidden, reversal_own, credit_not_approved, already_reversed,
    correction_open, correction_same, credit_amount, minutes_invalid, points_invalid.
    """
    body: CorrectCredit = operation.body
    if not body.reason.strip():
        raise DomainError("reason_required")
    old = final_credit(connection, body.credit_id, body.actor)
    id = timed_derived_id(operation.id, "credit", now)
    work = replace(
        again(old, id, body.minutes, body.points, body.reason), corrects_id=body.credit_id, attendance_id=None
    )
    if body.salt is not None:
        words = f"{work.title}\n{body.reason}"
        note = notes.write(connection, derived_id(operation.id, "note"), work.resident_id, words, body.salt)
        work = replace(work, note=note)
    record(connection, price(connection, [work]), body.actor, now)
    noted = {"corrects": body.credit_id}
    entry = audit.Entry(body.actor, "credit_correction_recorded", ("credit", id), operation.id, noted)
    audit.record_all(connection, now, [entry])
    return one(connection, id)


def again(old: Mapping[str, Any], id: str, minutes: int | None, points: int | None, reason: str) -> Work:
    """The work of a credit once more, with other minutes or points.

    Refusals: credit_amount, minutes_invalid, points_invalid, correction_same.
    """
    if (minutes is None) == (points is None):
        raise DomainError("credit_amount")
    if minutes is not None and not 1 <= minutes <= MAX_MINUTES:
        raise DomainError("minutes_invalid")
    if points is not None and not 1 <= points <= MAX_POINTS:
        raise DomainError("points_invalid")
    if (minutes, points) == (old["minutes"], None if old["minutes"] else old["points"]):
        raise DomainError("correction_same")
    return _work(old, id, minutes, points, reason)


def same_again(old: Mapping[str, Any], id: str, reason: str) -> Work:
    """The work of a credit once more, as it was."""
    return _work(old, id, old["minutes"], None if old["minutes"] else old["points"], reason)


def _work(old: Mapping[str, Any], id: str, minutes: int | None, points: int | None, reason: str) -> Work:
    return Work(
        id=id,
        resident_id=old["resident_id"],
        estate_id=old["estate_id"],
        minutes=minutes,
        points=points,
        source=Source(old["source"]),
        title=old["activity"],
        reason=reason,
        worked_at=old["worked_at"],
        day=date.fromisoformat(old["day"]),
        activity_type=old["activity_type"],
        counts_as_service=old["counts_as_service"],
        organization_id=old["organization_id"],
        category=old["category"],
        place=old["place"],
        person_in_charge=old["person_in_charge"],
        activity_id=old["activity_id"],
        session_id=old["session_id"],
    )
