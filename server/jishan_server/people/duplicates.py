"""Residents who may be one person, registered twice: the pairs, each with what speaks for it. No score: a person looks.

Evidence is an equal phone, an equal ID number (by its hash), an equal name in the same building of an estate, or an
equal name and birth date. A pair that somebody has looked at and dismissed does not come again. What follows a pair
that is one person is a merge.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, and_, exists, insert, literal, select, union_all

from jishan_server import audit
from jishan_server.errors import DomainError
from jishan_server.organizations.roles import Permission, permit
from jishan_server.people.privacy_tables import not_duplicates
from jishan_server.people.profiles import masked_phone
from jishan_server.people.residents import estate_of
from jishan_server.people.tables import residents
from jishan_server.writer import Operation

MAX_PAIRS: Final = 500
"""Rows of evidence in one answer: more than anybody looks at in a day; dismissed and merged ones make room."""


@dataclass(frozen=True, slots=True)
class DismissDuplicate:
    """These two are not one person."""

    actor: str
    first_id: str
    second_id: str


def pairs(connection: Connection, estate_ids: Collection[str]) -> list[dict[str, Any]]:
    """Likely pairs, both of these estates, those with the most kinds of evidence first."""
    first, second = residents.alias("first"), residents.alias("second")
    same: dict[str, ColumnElement[bool]] = {
        "phone": first.c.phone == second.c.phone,
        "id_number": first.c.id_number_hash == second.c.id_number_hash,
        "name_and_building": and_(
            first.c.name == second.c.name,
            first.c.building == second.c.building,
            first.c.estate_id == second.c.estate_id,
        ),
        "name_and_birth_day": and_(first.c.name == second.c.name, first.c.birth_day == second.c.birth_day),
    }
    known = exists().where(not_duplicates.c.first_id == first.c.id, not_duplicates.c.second_id == second.c.id)
    found: dict[tuple[str, str], list[str]] = {}
    queries = [
        select(first.c.id, second.c.id, literal(evidence))
        .join_from(first, second, and_(condition, first.c.id < second.c.id))
        .where(first.c.estate_id.in_(estate_ids), second.c.estate_id.in_(estate_ids))
        .where(first.c.erased_at.is_(None), second.c.erased_at.is_(None))
        .where(first.c.merged_into.is_(None), second.c.merged_into.is_(None))
        .where(~known)
        for evidence, condition in same.items()
    ]
    for one, other, evidence in connection.execute(union_all(*queries).limit(MAX_PAIRS)):
        found.setdefault((one, other), []).append(evidence)
    shown = _shown(connection, {id for pair in found for id in pair})
    ordered = sorted(found.items(), key=lambda pair: (-len(pair[1]), pair[0]))
    return [
        {"first": shown[one], "second": shown[other], "evidence": sorted(evidence)}
        for (one, other), evidence in ordered
    ]


def dismiss(connection: Connection, operation: Operation, now: datetime) -> None:
    """Write down that two residents are not one person; twice is once. Refusals: resident_unknown, forbidden,
    pair_invalid."""
    body: DismissDuplicate = operation.body
    if body.first_id == body.second_id:
        raise DomainError("pair_invalid")
    one, other = sorted((body.first_id, body.second_id))
    for id in (one, other):
        permit(connection, body.actor, Permission.RESIDENT_WRITE, estate_of(connection, id))
    n = not_duplicates.c
    if connection.scalar(select(n.first_id).where(n.first_id == one, n.second_id == other)) is not None:
        return
    connection.execute(
        insert(not_duplicates).values(first_id=one, second_id=other, dismissed_by=body.actor, dismissed_at=now)
    )
    audit.record(
        connection,
        now,
        actor=body.actor,
        action="duplicate_dismissed",
        subject=("resident", one),
        operation_id=operation.id,
        details={"other": other},
    )


def _shown(connection: Connection, ids: Collection[str]) -> dict[str, dict[str, Any]]:
    r = residents.c
    rows = connection.execute(
        select(r.id, r.estate_id, r.name, r.member_number, r.phone, r.building).where(r.id.in_(ids))
    ).mappings()
    return {row["id"]: {**row, "phone": masked_phone(row["phone"])} for row in rows}
