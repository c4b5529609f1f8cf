"""The audit log as people read it, and the refusals that stand in it.

Whoever holds `audit_read` for the whole tree reads everything. For a part of it one reads what was done there, by
whomever; and of what belongs to no node, what was done by staff all of whose roles lie in that part.
A refusal is written after its answer, so that nobody waits for it; `refused` is its action, and its details say which
permission was missing, for what. `skipped` are refusals of the same actor before it that were only counted
(`api.refusals`).
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, and_, or_, select

from jishan_server import audit
from jishan_server.errors import DomainError
from jishan_server.instants import iso
from jishan_server.organizations.roles import Permission, permit_everywhere, scope
from jishan_server.organizations.tables import staff_roles
from jishan_server.writer import Operation, Outcome

REFUSED: Final = "refused"
NODE: Final = "organization"
NO_NODE: Final = "-"
"""The subject of a refusal that concerns no single node."""


@dataclass(frozen=True, slots=True)
class NoteRefusal:
    """`actor` was refused: `permission` was missing for `method` on `route`, at a node if one was asked about."""

    actor: str
    permission: str
    method: str
    route: str
    organization_id: str | None
    skipped: int = 0


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which entries: what is None does not matter. Days are of the scheme's zone, both included."""

    actor: str | None = None
    subject_type: str | None = None
    subject_id: str | None = None
    action: str | None = None
    first_day: date | None = None
    last_day: date | None = None


def note_refusals(connection: Connection, noted: Sequence[Operation], now: datetime) -> list[Outcome]:
    """Write refusals down, all in one statement."""
    audit.record_all(
        connection,
        now,
        [
            audit.Entry(
                one.body.actor,
                REFUSED,
                (NODE, one.body.organization_id or NO_NODE),
                one.id,
                {
                    "permission": one.body.permission,
                    "method": one.body.method,
                    "route": one.body.route,
                    "skipped": one.body.skipped,
                },
            )
            for one in noted
        ],
    )
    return [Outcome() for _ in noted]


def entries(
    connection: Connection, actor: str, wanted: Wanted, zone: ZoneInfo, before: int | None, limit: int
) -> tuple[list[dict[str, Any]], int | None]:
    """The audit log, newest first, and where the next page starts. Refusal: forbidden."""
    e = audit.entries.c
    query = select(audit.entries).order_by(e.number.desc()).limit(limit + 1)
    try:
        permit_everywhere(connection, actor, Permission.AUDIT_READ)
    except DomainError:
        visible = scope(connection, actor, Permission.AUDIT_READ)
        of_staff = select(staff_roles.c.staff_id)
        query = query.where(
            or_(
                e.organization_id.in_(visible),
                and_(
                    e.organization_id.is_(None),
                    e.actor.in_(of_staff.where(staff_roles.c.organization_id.in_(visible))),
                    e.actor.not_in(of_staff.where(staff_roles.c.organization_id.not_in(visible))),
                    or_(e.subject_type != NODE, e.subject_id.in_(visible | {NO_NODE})),
                ),
            )
        )
    for column, value in (
        (e.actor, wanted.actor),
        (e.subject_type, wanted.subject_type),
        (e.subject_id, wanted.subject_id),
        (e.action, wanted.action),
    ):
        if value is not None:
            query = query.where(column == value)
    if wanted.first_day is not None:
        query = query.where(e.recorded_at >= _start(wanted.first_day, zone))
    if wanted.last_day is not None:
        query = query.where(e.recorded_at < _start(wanted.last_day + timedelta(days=1), zone))
    if before is not None:
        query = query.where(e.number < before)
    rows = connection.execute(query).mappings().all()
    shown = [
        {**row, "recorded_at": iso(row["recorded_at"]), "details": json.loads(row["details"])} for row in rows[:limit]
    ]
    return shown, rows[limit - 1]["number"] if len(rows) > limit else None


def _start(day: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, time(), zone)
