"""Groups of people: volunteer teams, building heads, a choir. Inside a node of the tree, or across all estates.

A group has a kind in the scheme's own words and a home node; one without a home stands for the whole scheme. It is
never deleted, only closed: who was in it stays known (`people.memberships`).
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, or_, select, update

from jishan_server import audit
from jishan_server.errors import DomainError
from jishan_server.ids import derived_id
from jishan_server.instants import iso
from jishan_server.organizations.roles import Permission, permit, permit_everywhere, scope_and_above
from jishan_server.organizations.tables import groups
from jishan_server.organizations.tree import organization
from jishan_server.writer import Operation


@dataclass(frozen=True, slots=True)
class CreateGroup:
    """`organization_id` is its home, None for a group of the whole scheme; `code` is what other systems call it."""

    actor: str
    organization_id: str | None
    kind: str
    name: str
    code: str | None = None


@dataclass(frozen=True, slots=True)
class ChangeGroup:
    """What is None stays as it is."""

    actor: str
    group_id: str
    kind: str | None = None
    name: str | None = None
    code: str | None = None
    is_open: bool | None = None


def create_group(connection: Connection, operation: Operation, now: datetime) -> dict[str, Any]:
    """Make a group. Refusals: estate_unknown, forbidden, code_taken."""
    body: CreateGroup = operation.body
    if body.organization_id is not None:
        organization(connection, body.organization_id)
    _permit(connection, body.actor, body.organization_id)
    _check_code(connection, body.code)
    id = derived_id(operation.id, "group")
    row = {"organization_id": body.organization_id, "kind": body.kind, "name": body.name, "code": body.code}
    connection.execute(insert(groups).values(id=id, created_at=now, **row))
    _note(connection, operation, now, "group_created", id, {"organization_id": body.organization_id})
    return group(connection, id)


def change_group(connection: Connection, operation: Operation, now: datetime) -> dict[str, Any]:
    """Give a group another kind, name or code, close it or open it again.

    Refusals: group_unknown, forbidden, code_taken.
    """
    body: ChangeGroup = operation.body
    found = group(connection, body.group_id)
    _permit(connection, body.actor, found["organization_id"])
    wanted = {"kind": body.kind, "name": body.name, "code": body.code, "is_open": body.is_open}
    changed = {name: value for name, value in wanted.items() if value is not None and value != found[name]}
    if not changed:
        return found
    _check_code(connection, str(changed["code"]) if "code" in changed else None)
    values: dict[str, Any] = {name: value for name, value in changed.items() if name != "is_open"}
    if "is_open" in changed:
        values["closed_at"] = None if changed["is_open"] else now
    connection.execute(update(groups).where(groups.c.id == body.group_id).values(values))
    _note(connection, operation, now, "group_changed", body.group_id, {"fields": sorted(changed)})
    return group(connection, body.group_id)


def group(connection: Connection, id: str) -> dict[str, Any]:
    """One group; refusal: group_unknown."""
    row = connection.execute(select(groups).where(groups.c.id == id)).mappings().one_or_none()
    if row is None:
        raise DomainError("group_unknown", id=id)
    return _view(dict(row))


def seen_group(connection: Connection, actor: str, id: str) -> dict[str, Any]:
    """One group: of a node that `actor` may see, of one above it, or of the whole scheme.

    Refusals: group_unknown, forbidden.
    """
    found = group(connection, id)
    visible = scope_and_above(connection, actor, Permission.ESTATE_READ)
    if found["organization_id"] is not None and found["organization_id"] not in visible:
        raise DomainError("forbidden", permission=Permission.ESTATE_READ.value)
    return found


def groups_of(
    connection: Connection, actor: str, organization_id: str | None, kind: str | None, after: str, limit: int
) -> tuple[list[dict[str, Any]], str | None]:
    """Groups of the nodes that `actor` may see and of those above (of one, if told), and of the whole scheme, by id.

    Refusal: forbidden.
    """
    visible = scope_and_above(connection, actor, Permission.ESTATE_READ)
    g = groups.c
    query = select(groups).where(g.id > after).order_by(g.id).limit(limit + 1)
    if organization_id is not None:
        query = query.where(g.organization_id == organization_id)
    query = query.where(or_(g.organization_id.is_(None), g.organization_id.in_(visible)))
    if kind is not None:
        query = query.where(g.kind == kind)
    rows = [_view(dict(row)) for row in connection.execute(query).mappings()]
    return rows[:limit], rows[limit - 1]["id"] if len(rows) > limit else None


def _permit(connection: Connection, actor: str, organization_id: str | None) -> None:
    if organization_id is None:
        permit_everywhere(connection, actor, Permission.ACTIVITY_WRITE)
    else:
        permit(connection, actor, Permission.ACTIVITY_WRITE, organization_id)


def _check_code(connection: Connection, code: str | None) -> None:
    if code is not None and connection.scalar(select(groups.c.id).where(groups.c.code == code)) is not None:
        raise DomainError("code_taken", code=code)


def _view(row: dict[str, Any]) -> dict[str, Any]:
    shown = ("id", "organization_id", "kind", "name", "code")
    return {name: row[name] for name in shown} | {
        "is_open": row["closed_at"] is None,
        "created_at": iso(row["created_at"]),
        "closed_at": iso(row["closed_at"]),
    }


def _note(
    connection: Connection, operation: Operation, now: datetime, action: str, id: str, details: dict[str, object]
) -> None:
    audit.record(
        connection,
        now,
        actor=operation.body.actor,
        action=action,
        subject=("group", id),
        operation_id=operation.id,
        details=details,
    )
