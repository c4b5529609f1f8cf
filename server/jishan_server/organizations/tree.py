"""The region tree: making its nodes and looking at them.

An estate is a node of level `estate`; with it come the ledger's system accounts of that estate.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, insert, select

from jishan_server import audit
from jishan_server.errors import DomainError
from jishan_server.ids import derived_id
from jishan_server.instants import iso
from jishan_server.ledger.model import estate_accounts
from jishan_server.ledger.store import open_accounts
from jishan_server.organizations.roles import Permission, permit, scope
from jishan_server.organizations.tables import organizations
from jishan_server.writer import Operation

ESTATE: Final = "estate"


@dataclass(frozen=True, slots=True)
class CreateOrganization:
    """A node below `parent_id` (None only for the root, which `init` makes); without `id` it gets one."""

    actor: str
    parent_id: str | None
    level: str
    name: str
    id: str | None = None


def create_organization(connection: Connection, operation: Operation, now: datetime) -> dict[str, Any]:
    """Make a node of the tree; for an estate also its system accounts. Refusals: estate_unknown, estate_exists."""
    body: CreateOrganization = operation.body
    if body.parent_id is not None:
        organization(connection, body.parent_id)
    permit(connection, body.actor, Permission.ESTATE_WRITE, body.parent_id)
    id = body.id or derived_id(operation.id, "organization")
    if connection.scalar(select(organizations.c.id).where(organizations.c.id == id)) is not None:
        raise DomainError("estate_exists", id=id)
    connection.execute(
        insert(organizations).values(id=id, parent_id=body.parent_id, level=body.level, name=body.name, created_at=now)
    )
    if body.level == ESTATE:
        open_accounts(connection, estate_accounts(id), now)
    audit.record(
        connection,
        now,
        actor=body.actor,
        action="organization_created",
        subject=("organization", id),
        operation_id=operation.id,
        details={"level": body.level, "parent_id": body.parent_id},
    )
    return organization(connection, id)


def organization(connection: Connection, id: str) -> dict[str, Any]:
    """One node, whatever its level; refusal: estate_unknown."""
    row = connection.execute(select(organizations).where(organizations.c.id == id)).mappings().one_or_none()
    if row is None:
        raise DomainError("estate_unknown", id=id)
    return {**row, "created_at": iso(row["created_at"])}


def estate(connection: Connection, actor: str, id: str) -> dict[str, Any]:
    """One node for `actor`; refusals: estate_unknown, forbidden."""
    found = organization(connection, id)
    permit(connection, actor, Permission.ESTATE_READ, id)
    return found


def estates(connection: Connection, actor: str) -> list[dict[str, Any]]:
    """The estates that `actor` may see, ordered by id; refusal: forbidden."""
    visible = scope(connection, actor, Permission.ESTATE_READ)
    rows = connection.execute(
        select(organizations).where(organizations.c.level == ESTATE).order_by(organizations.c.id)
    ).mappings()
    return [{**row, "created_at": iso(row["created_at"])} for row in rows if row["id"] in visible]
