"""Residents in nodes of the tree and in groups, each with a role in words and its days; one person may be in several.

Memberships are kept when they are over: who led the choir in May stays known. They permit nothing; what staff may do is
`organizations.roles`. Who keeps a resident's record puts them where their estate belongs: into groups at or above it or
of the whole scheme, and into nodes that they keep records for themselves.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, insert, or_, select, update

from jishan_server import audit
from jishan_server.errors import DomainError
from jishan_server.ids import derived_id
from jishan_server.instants import iso
from jishan_server.organizations.calendar import parse_day
from jishan_server.organizations.groups import group, seen_group
from jishan_server.organizations.roles import Permission, permit, scope
from jishan_server.organizations.tree import path
from jishan_server.people.membership_tables import memberships
from jishan_server.people.residents import estate_of, living
from jishan_server.people.tables import residents
from jishan_server.writer import Operation

MAX_AT_ONCE: Final = 10_000
"""Ids in one statement: SQLite takes 32,766 parameters."""


class NewMembership(NamedTuple):
    """Exactly one of node and group; days are YYYY-MM-DD, both included, no last day is open end."""

    resident_id: str
    organization_id: str | None
    group_id: str | None
    role: str
    from_day: str
    to_day: str | None = None


@dataclass(frozen=True, slots=True)
class AddMembership:
    actor: str
    resident_id: str
    organization_id: str | None
    group_id: str | None
    role: str
    from_day: str
    to_day: str | None = None


@dataclass(frozen=True, slots=True)
class EndMembership:
    """`to_day` is its last day."""

    actor: str
    membership_id: str
    to_day: str


def add_membership(connection: Connection, operation: Operation, now: datetime) -> dict[str, Any]:
    """Put a resident into a node or a group.

    Refusals: membership_where, resident_unknown, forbidden, estate_unknown, group_unknown, group_closed, day_invalid,
    days_reversed, membership_exists, and those of `residents.living`.
    """
    body: AddMembership = operation.body
    if (body.organization_id is None) == (body.group_id is None):
        raise DomainError("membership_where")
    estate_id = estate_of(connection, body.resident_id)
    permit(connection, body.actor, Permission.RESIDENT_WRITE, estate_id)
    living(connection, body.resident_id)
    if body.organization_id is not None:
        path(connection, body.organization_id)
        permit(connection, body.actor, Permission.RESIDENT_WRITE, body.organization_id)
    elif body.group_id is not None:
        found = group(connection, body.group_id)
        home = found["organization_id"]
        if home is not None and home not in {node.id for node in path(connection, estate_id)}:
            permit(connection, body.actor, Permission.RESIDENT_WRITE, home)
        if not found["is_open"]:
            raise DomainError("group_closed")
    _check_days(body.from_day, body.to_day)
    row = NewMembership(body.resident_id, body.organization_id, body.group_id, body.role, body.from_day, body.to_day)
    added = add_many(connection, body.actor, operation.id, [row], now)
    if not added:
        raise DomainError("membership_exists")
    return membership(connection, added[0])


def add_many(
    connection: Connection, actor: str, operation_id: str, rows: Sequence[NewMembership], now: datetime
) -> list[str]:
    """Add memberships that were checked (residents, places, days, permission), in a handful of statements for any
    number; their ids, without those that overlap one of the same person, place and role.
    """
    known: dict[tuple[str, str | None, str | None, str], list[tuple[str, str | None]]] = {}
    m = memberships.c
    people = sorted({row.resident_id for row in rows})
    for start in range(0, len(people), MAX_AT_ONCE):
        query = select(m.resident_id, m.organization_id, m.group_id, m.role, m.from_day, m.to_day)
        for *key, first, last in connection.execute(
            query.where(m.resident_id.in_(people[start : start + MAX_AT_ONCE]))
        ):
            known.setdefault((key[0], key[1], key[2], key[3]), []).append((first, last))
    added: dict[str, NewMembership] = {}
    for place, row in enumerate(rows):
        spans = known.setdefault(row[:4], [])
        if not any(_overlap(row.from_day, row.to_day, *span) for span in spans):
            spans.append((row.from_day, row.to_day))
            added[derived_id(operation_id, f"membership {place}")] = row
    if added:
        connection.execute(
            insert(memberships),
            [{"id": id, "recorded_by": actor, "recorded_at": now, **row._asdict()} for id, row in added.items()],
        )
    noted = [
        audit.Entry(actor, "membership_added", ("resident", row.resident_id), operation_id, {"membership_id": id})
        for id, row in added.items()
    ]
    audit.record_all(connection, now, noted)
    return list(added)


def end_membership(connection: Connection, operation: Operation, now: datetime) -> dict[str, Any]:
    """Say which day was or will be its last.

    Refusals: membership_unknown, forbidden, membership_over, day_invalid, days_reversed.
    """
    body: EndMembership = operation.body
    found = membership(connection, body.membership_id)
    permit(connection, body.actor, Permission.RESIDENT_WRITE, estate_of(connection, found["resident_id"]))
    if found["to_day"] is not None:
        raise DomainError("membership_over")
    _check_days(found["from_day"], body.to_day)
    connection.execute(
        update(memberships)
        .where(memberships.c.id == body.membership_id)
        .values(to_day=body.to_day, ended_by=body.actor, ended_at=now)
    )
    audit.record(
        connection,
        now,
        actor=body.actor,
        action="membership_ended",
        subject=("resident", found["resident_id"]),
        operation_id=operation.id,
        details={"membership_id": body.membership_id, "to_day": body.to_day},
    )
    return membership(connection, body.membership_id)


def membership(connection: Connection, id: str) -> dict[str, Any]:
    """One membership; refusal: membership_unknown."""
    row = connection.execute(select(memberships).where(memberships.c.id == id)).mappings().one_or_none()
    if row is None:
        raise DomainError("membership_unknown", id=id)
    return _view(dict(row))


def memberships_of(connection: Connection, actor: str, resident_id: str) -> list[dict[str, Any]]:
    """Where a resident is and was, oldest first; refusals: resident_unknown, forbidden."""
    permit(connection, actor, Permission.RESIDENT_READ, estate_of(connection, resident_id), about=resident_id)
    m = memberships.c
    query = select(memberships).where(m.resident_id == resident_id).order_by(m.from_day, m.id)
    return [_view(dict(row)) for row in connection.execute(query).mappings()]


def members_of(
    connection: Connection,
    actor: str,
    organization_id: str | None,
    group_id: str | None,
    on_day: date | None,
    after: str,
    limit: int,
) -> tuple[list[dict[str, Any]], str | None]:
    """Who is in a node or group (on a day, if told), as far as `actor` may see them, and where the next page starts.

    Refusals: membership_where, estate_unknown, group_unknown, forbidden.
    """
    if (organization_id is None) == (group_id is None):
        raise DomainError("membership_where")
    visible = scope(connection, actor, Permission.RESIDENT_READ)
    if organization_id is not None:
        path(connection, organization_id)
        permit(connection, actor, Permission.RESIDENT_READ, organization_id)
    elif group_id is not None:
        seen_group(connection, actor, group_id)
    m, r = memberships.c, residents.c
    query = (
        select(memberships, r.name, r.member_number)
        .join(residents, r.id == m.resident_id)
        .where(m.organization_id == organization_id if organization_id is not None else m.group_id == group_id)
        .where(r.estate_id.in_(visible), m.id > after)
        .order_by(m.id)
        .limit(limit + 1)
    )
    if on_day is not None:
        query = query.where(m.from_day <= on_day.isoformat(), or_(m.to_day.is_(None), m.to_day >= on_day.isoformat()))
    rows = connection.execute(query).mappings().all()
    shown = [_view(dict(row)) | {"name": row["name"], "member_number": row["member_number"]} for row in rows[:limit]]
    return shown, shown[-1]["id"] if len(rows) > limit else None


def _check_days(first: str, last: str | None) -> None:
    begins = parse_day(first)
    if last is not None and parse_day(last) < begins:
        raise DomainError("days_reversed")


def _overlap(first: str, last: str | None, other_first: str, other_last: str | None) -> bool:
    return (last is None or other_first <= last) and (other_last is None or first <= other_last)


def _view(row: dict[str, Any]) -> dict[str, Any]:
    shown = ("id", "resident_id", "organization_id", "group_id", "role", "from_day", "to_day")
    return {name: row[name] for name in (*shown, "recorded_by", "ended_by")} | {
        "recorded_at": iso(row["recorded_at"]),
        "ended_at": iso(row["ended_at"]),
    }
