"""Who may do what, and where in the region tree. Everything that the table does not grant is refused.

A role is held for a node and everything below it. The table is written for reading: one line for each permission.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import Connection, Select, select

from jishan_server.errors import DomainError
from jishan_server.organizations.tables import organizations, staff_roles

SYSTEM: Final = "system"
"""The actor of commands that a person runs on the server itself, and of the server's own acts."""


class Role(StrEnum):
    COUNTY_ADMIN = "county_admin"
    ESTATE_SECRETARY = "estate_secretary"
    COORDINATOR = "coordinator"
    APPROVER = "approver"
    BUILDING_HEAD = "building_head"
    OPERATOR = "operator"
    REFILLER = "refiller"
    INSPECTOR = "inspector"
    RESIDENT = "resident"
    """Everybody who is registered, about themselves only; never granted to staff."""


class Permission(StrEnum):
    ESTATE_READ = "estate_read"
    ESTATE_WRITE = "estate_write"
    CALENDAR_WRITE = "calendar_write"
    STAFF_READ = "staff_read"
    STAFF_WRITE = "staff_write"
    AUDIT_READ = "audit_read"
    RESIDENT_READ = "resident_read"
    RESIDENT_WRITE = "resident_write"
    RESIDENT_FREEZE = "resident_freeze"
    RESIDENT_MERGE = "resident_merge"
    CONSENT_WRITE = "consent_write"
    PERSONAL_EXPORT = "personal_export"
    PERSONAL_ERASE = "personal_erase"
    ACTIVITY_READ = "activity_read"
    ACTIVITY_WRITE = "activity_write"
    ATTENDANCE_WRITE = "attendance_write"
    SIGN_UP = "sign_up"
    RULES_READ = "rules_read"
    RULES_WRITE = "rules_write"
    CREDIT_READ = "credit_read"
    CREDIT_RECORD = "credit_record"
    CREDIT_APPROVE = "credit_approve"
    CREDIT_REVERSE = "credit_reverse"
    OBJECTION_WRITE = "objection_write"
    OBJECTION_DECIDE = "objection_decide"
    APPEAL_WRITE = "appeal_write"
    APPEAL_DECIDE = "appeal_decide"
    ADJUSTMENT_PROPOSE = "adjustment_propose"
    ADJUSTMENT_APPROVE = "adjustment_approve"
    EXPIRY_RUN = "expiry_run"
    RECORD_READ = "record_read"
    RECORD_WRITE = "record_write"
    CERTIFICATE_ISSUE = "certificate_issue"
    CERTIFICATE_REVOKE = "certificate_revoke"
    TASK_READ = "task_read"
    TASK_WRITE = "task_write"
    TASK_CONFIRM = "task_confirm"
    MESSAGE_READ = "message_read"
    IMPORT = "import"
    EXPORT = "export"
    STATISTICS_READ = "statistics_read"
    ANOMALY_READ = "anomaly_read"
    ANOMALY_DECIDE = "anomaly_decide"
    REPORT_WRITE = "report_write"
    REPORT_READ = "report_read"
    REPORT_DECIDE = "report_decide"
    MACHINE_READ = "machine_read"
    MACHINE_WRITE = "machine_write"
    REDEMPTION_READ = "redemption_read"
    REDEMPTION_RESOLVE_FOR = "redemption_resolve_for"
    REDEMPTION_RESOLVE_AGAINST = "redemption_resolve_against"
    REDEMPTION_REVERSE = "redemption_reverse"
    VOUCHER_READ = "voucher_read"
    VOUCHER_WRITE = "voucher_write"


_A, _S, _C, _P = Role.COUNTY_ADMIN, Role.ESTATE_SECRETARY, Role.COORDINATOR, Role.APPROVER
_B, _O, _F, _I, _R = Role.BUILDING_HEAD, Role.OPERATOR, Role.REFILLER, Role.INSPECTOR, Role.RESIDENT

# Those who run machines never see residents. Points against a resident are for the estate's side only.
PERMISSIONS: Final[Mapping[Permission, frozenset[Role]]] = {
    Permission.ESTATE_READ: frozenset({_A, _S, _C, _P, _B, _O, _F, _I}),
    Permission.ESTATE_WRITE: frozenset({_A}),
    Permission.CALENDAR_WRITE: frozenset({_A}),
    Permission.STAFF_READ: frozenset({_A, _S, _I}),
    Permission.STAFF_WRITE: frozenset({_A, _S}),
    Permission.AUDIT_READ: frozenset({_A, _S, _I}),
    Permission.RESIDENT_READ: frozenset({_A, _S, _C, _P, _B, _I, _R}),
    Permission.RESIDENT_WRITE: frozenset({_A, _S, _C}),
    Permission.RESIDENT_FREEZE: frozenset({_A, _S, _P}),
    Permission.RESIDENT_MERGE: frozenset({_A, _S}),
    Permission.CONSENT_WRITE: frozenset({_A, _S, _C, _B, _R}),
    Permission.PERSONAL_EXPORT: frozenset({_A, _S, _R}),
    Permission.PERSONAL_ERASE: frozenset({_A, _S}),
    Permission.ACTIVITY_READ: frozenset({_A, _S, _C, _P, _B, _I, _R}),
    Permission.ACTIVITY_WRITE: frozenset({_A, _S, _C}),
    Permission.ATTENDANCE_WRITE: frozenset({_A, _S, _C, _B}),
    Permission.SIGN_UP: frozenset({_A, _S, _C, _B, _R}),
    Permission.RULES_READ: frozenset({_A, _S, _C, _P, _B, _I}),
    Permission.RULES_WRITE: frozenset({_A}),
    Permission.CREDIT_READ: frozenset({_A, _S, _C, _P, _I, _R}),
    Permission.CREDIT_RECORD: frozenset({_A, _S, _C}),
    Permission.CREDIT_APPROVE: frozenset({_A, _S, _P}),
    Permission.CREDIT_REVERSE: frozenset({_A, _S, _P}),
    Permission.OBJECTION_WRITE: frozenset({_A, _S, _C, _P, _B, _R}),
    Permission.OBJECTION_DECIDE: frozenset({_A, _S, _P}),
    Permission.APPEAL_WRITE: frozenset({_A, _S, _C, _R}),
    Permission.APPEAL_DECIDE: frozenset({_A, _S, _P}),
    Permission.ADJUSTMENT_PROPOSE: frozenset({_A, _S}),
    Permission.ADJUSTMENT_APPROVE: frozenset({_A, _S, _P}),
    Permission.EXPIRY_RUN: frozenset({_A}),
    Permission.RECORD_READ: frozenset({_A, _S, _C, _P, _I, _R}),
    Permission.RECORD_WRITE: frozenset({_A, _S, _C}),
    Permission.CERTIFICATE_ISSUE: frozenset({_A, _S, _C, _R}),
    Permission.CERTIFICATE_REVOKE: frozenset({_A, _S}),
    Permission.TASK_READ: frozenset({_A, _S, _C, _P, _B, _I}),
    Permission.TASK_WRITE: frozenset({_A, _S, _C, _B}),
    Permission.TASK_CONFIRM: frozenset({_A, _S, _P}),
    Permission.MESSAGE_READ: frozenset({_A, _S, _C, _R}),
    Permission.IMPORT: frozenset({_A, _S, _C}),
    Permission.EXPORT: frozenset({_A, _S, _I}),
    Permission.STATISTICS_READ: frozenset({_A, _S, _C, _P, _I}),
    Permission.ANOMALY_READ: frozenset({_A, _S, _I}),
    Permission.ANOMALY_DECIDE: frozenset({_A, _S}),
    Permission.REPORT_WRITE: frozenset({_A, _S, _C, _P, _B, _R}),
    Permission.REPORT_READ: frozenset({_A, _S, _C, _P, _I, _R}),
    Permission.REPORT_DECIDE: frozenset({_A, _S, _P}),
    Permission.MACHINE_READ: frozenset({_A, _S, _C, _P, _B, _O, _F, _I}),
    Permission.MACHINE_WRITE: frozenset({_A, _O}),
    Permission.REDEMPTION_READ: frozenset({_A, _S, _C, _P, _O, _I}),
    Permission.REDEMPTION_RESOLVE_FOR: frozenset({_A, _S, _C, _P, _O}),
    Permission.REDEMPTION_RESOLVE_AGAINST: frozenset({_A, _S, _P}),
    Permission.REDEMPTION_REVERSE: frozenset({_A, _S, _P}),
    Permission.VOUCHER_READ: frozenset({_A, _S, _C, _P, _I, _R}),
    Permission.VOUCHER_WRITE: frozenset({_A, _S, _C, _R}),
}

_RESIDENT_ACTOR: Final = "resident:"


def resident_actor(resident_id: str) -> str:
    """The actor that a resident is: may do what `Role.RESIDENT` may, about that resident only."""
    return _RESIDENT_ACTOR + resident_id


def resident_of_actor(actor: str) -> str | None:
    """The resident that an actor is, None for staff and the system."""
    return actor.removeprefix(_RESIDENT_ACTOR) if actor.startswith(_RESIDENT_ACTOR) else None


def is_permitted(
    connection: Connection,
    actor: str,
    permission: Permission,
    organization_id: str | None,
    about: str | None = None,
) -> bool:
    """Whether `actor` holds a role with `permission` for the node or one above it. None is above the root.

    A resident (`resident_actor`) is permitted what the role of residents may, `about` (a resident's id) themselves.
    """
    if actor == SYSTEM:
        return True
    if (resident := resident_of_actor(actor)) is not None:
        return about == resident and Role.RESIDENT in PERMISSIONS[permission]
    granted = (
        select(staff_roles.c.role)
        .where(staff_roles.c.staff_id == actor, staff_roles.c.role.in_(PERMISSIONS[permission]))
        .where(staff_roles.c.organization_id.in_(_at_or_above(organization_id)))
        .limit(1)
    )
    return connection.scalar(granted) is not None


def permit(
    connection: Connection,
    actor: str,
    permission: Permission,
    organization_id: str | None,
    about: str | None = None,
) -> None:
    """Refuse with `forbidden` what `is_permitted` denies."""
    if not is_permitted(connection, actor, permission, organization_id, about):
        raise DomainError("forbidden", permission=permission.value, organization_id=organization_id)


def permit_everywhere(connection: Connection, actor: str, permission: Permission) -> None:
    """Refuse with `forbidden` who does not hold `permission` for the whole tree: what concerns the scheme as one."""
    if actor == SYSTEM:
        return
    roots = connection.scalars(select(organizations.c.id).where(organizations.c.parent_id.is_(None))).all()
    if not roots or not all(is_permitted(connection, actor, permission, root) for root in roots):
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


def scope_and_above(connection: Connection, actor: str, permission: Permission) -> frozenset[str]:
    """`scope`, and the nodes above it: what stands there stands for those below too. Refusal: forbidden."""
    visible = scope(connection, actor, permission)
    o = organizations.c
    granted = select(staff_roles.c.organization_id).where(
        staff_roles.c.staff_id == actor, staff_roles.c.role.in_(PERMISSIONS[permission])
    )
    above = select(o.id, o.parent_id).where(o.id.in_(granted)).cte("above", recursive=True)
    above = above.union(select(o.id, o.parent_id).where(o.id == above.c.parent_id))
    return visible | frozenset(connection.scalars(select(above.c.id)))


def held(connection: Connection, actor: str, organization_id: str) -> frozenset[Permission]:
    """Everything that a member of staff (or the system) is permitted at a node."""
    if actor == SYSTEM:
        return frozenset(Permission)
    roles = connection.scalars(
        select(staff_roles.c.role).where(
            staff_roles.c.staff_id == actor, staff_roles.c.organization_id.in_(_at_or_above(organization_id))
        )
    )
    return permissions(frozenset(map(Role, roles)))


def permissions(roles: frozenset[Role]) -> frozenset[Permission]:
    """What holders of any of `roles` may do."""
    return frozenset(permission for permission, holders in PERMISSIONS.items() if holders & roles)


def _at_or_above(organization_id: str | None) -> Select[Any]:
    """The ids of a node and of all above it."""
    o = organizations.c
    above = select(o.id, o.parent_id).where(o.id == organization_id).cte("above", recursive=True)
    above = above.union_all(select(o.id, o.parent_id).where(o.id == above.c.parent_id))
    return select(above.c.id)
