"""Who may do what, and where in the region tree. Everything that the table does not grant is refused.

A role is held for a node and everything below it. The table is written for reading: one line for each permission.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from sqlalchemy import Connection, select

from jishan_server.errors import DomainError
from jishan_server.organizations.tables import organizations, staff_roles

SYSTEM: Final = "system"
"""The actor of commands that a person runs on the server itself, and of the server's own acts."""


class Role(StrEnum):
    COUNTY_ADMIN = "county_admin"
    COORDINATOR = "coordinator"
    APPROVER = "approver"
    OPERATOR = "operator"


class Permission(StrEnum):
    ESTATE_READ = "estate_read"
    ESTATE_WRITE = "estate_write"
    STAFF_READ = "staff_read"
    STAFF_WRITE = "staff_write"
    RESIDENT_READ = "resident_read"
    RESIDENT_WRITE = "resident_write"
    RESIDENT_FREEZE = "resident_freeze"
    CREDIT_READ = "credit_read"
    CREDIT_RECORD = "credit_record"
    CREDIT_APPROVE = "credit_approve"
    CREDIT_REVERSE = "credit_reverse"
    MACHINE_READ = "machine_read"
    MACHINE_WRITE = "machine_write"
    REDEMPTION_READ = "redemption_read"
    REDEMPTION_RESOLVE_FOR = "redemption_resolve_for"
    REDEMPTION_RESOLVE_AGAINST = "redemption_resolve_against"
    REDEMPTION_REVERSE = "redemption_reverse"


_A, _C, _P, _O = Role.COUNTY_ADMIN, Role.COORDINATOR, Role.APPROVER, Role.OPERATOR

# An operator of machines never sees residents. Points against a resident are for the estate's side only.
PERMISSIONS: Final[Mapping[Permission, frozenset[Role]]] = {
    Permission.ESTATE_READ: frozenset({_A, _C, _P, _O}),
    Permission.ESTATE_WRITE: frozenset({_A}),
    Permission.STAFF_READ: frozenset({_A}),
    Permission.STAFF_WRITE: frozenset({_A}),
    Permission.RESIDENT_READ: frozenset({_A, _C, _P}),
    Permission.RESIDENT_WRITE: frozenset({_A, _C}),
    Permission.RESIDENT_FREEZE: frozenset({_A, _P}),
    Permission.CREDIT_READ: frozenset({_A, _C, _P}),
    Permission.CREDIT_RECORD: frozenset({_A, _C}),
    Permission.CREDIT_APPROVE: frozenset({_A, _P}),
    Permission.CREDIT_REVERSE: frozenset({_A, _P}),
    Permission.MACHINE_READ: frozenset({_A, _C, _P, _O}),
    Permission.MACHINE_WRITE: frozenset({_A, _O}),
    Permission.REDEMPTION_READ: frozenset({_A, _C, _P, _O}),
    Permission.REDEMPTION_RESOLVE_FOR: frozenset({_A, _C, _P, _O}),
    Permission.REDEMPTION_RESOLVE_AGAINST: frozenset({_A, _P}),
    Permission.REDEMPTION_REVERSE: frozenset({_A, _P}),
}


def is_permitted(connection: Connection, actor: str, permission: Permission, organization_id: str | None) -> bool:
    """Whether `actor` holds a role with `permission` for the node or one above it. None is above the root."""
    if actor == SYSTEM:
        return True
    node = select(organizations.c.id, organizations.c.parent_id).where(organizations.c.id == organization_id)
    above = node.cte("above", recursive=True)
    above = above.union_all(
        select(organizations.c.id, organizations.c.parent_id).where(organizations.c.id == above.c.parent_id)
    )
    granted = (
        select(staff_roles.c.role)
        .where(staff_roles.c.staff_id == actor, staff_roles.c.role.in_(PERMISSIONS[permission]))
        .where(staff_roles.c.organization_id.in_(select(above.c.id)))
        .limit(1)
    )
    return connection.scalar(granted) is not None


def permit(connection: Connection, actor: str, permission: Permission, organization_id: str | None) -> None:
    """Refuse with `forbidden` what `is_permitted` denies."""
    if not is_permitted(connection, actor, permission, organization_id):
        raise DomainError("forbidden", permission=permission.value)


def scope(connection: Connection, actor: str, permission: Permission) -> frozenset[str]:
    """Every node for which `actor` has `permission`; refusal: forbidden if there is none."""
    start = select(organizations.c.id)
    if actor != SYSTEM:
        start = start.join(staff_roles, staff_roles.c.organization_id == organizations.c.id).where(
            staff_roles.c.staff_id == actor, staff_roles.c.role.in_(PERMISSIONS[permission])
        )
    below = start.cte("below", recursive=True)
    # `union`, not `union_all`: a role may be held for a node and again for one below it.
    below = below.union(select(organizations.c.id).where(organizations.c.parent_id == below.c.id))
    nodes = frozenset(connection.scalars(select(below.c.id)))
    if not nodes and actor != SYSTEM:
        raise DomainError("forbidden", permission=permission.value)
    return nodes


def permissions(roles: frozenset[Role]) -> frozenset[Permission]:
    """What holders of any of `roles` may do."""
    return frozenset(permission for permission, holders in PERMISSIONS.items() if holders & roles)
