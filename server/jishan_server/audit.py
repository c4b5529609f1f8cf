"""The audit log: who changed what, when, in the same transaction as the change. Rows are only ever added.

Details are codes and ids, never secrets and never free text about a person. Each row says at which node of the region
tree it was done, as far as its subject belongs to one (`PLACES`): so who looks after an estate reads the log of it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    Column,
    Connection,
    Index,
    Integer,
    ScalarSelect,
    String,
    Table,
    Text,
    bindparam,
    cast,
    insert,
    select,
)

from jishan_server.db import Instant, Serial, append_only, metadata

entries = Table(
    "audit_entries",
    metadata,
    Column("number", Serial, primary_key=True, autoincrement=True),
    Column("recorded_at", Instant, nullable=False),
    Column("actor", String(64), nullable=False),
    Column("action", String(40), nullable=False),
    Column("subject_type", String(40), nullable=False),
    Column("subject_id", String(64), nullable=False),
    Column("operation_id", String(64), nullable=False),
    Column("details", Text, nullable=False),
    # The node that the subject belonged to then; null for what concerns no single one.
    Column("organization_id", String(40)),
    Index("ix_audit_entries_organization_id", "organization_id", "number"),
    Index("ix_audit_entries_subject", "subject_type", "subject_id"),
    Index("ix_audit_entries_actor", "actor", "number"),
    Index("ix_audit_entries_recorded_at", "recorded_at"),
)
append_only(entries)

PLACES: Final[Mapping[str, tuple[str, str]]] = {
    "organization": ("organizations", "id"),
    "group": ("groups", "organization_id"),
    "resident": ("residents", "estate_id"),
    "activity": ("activities", "organization_id"),
    "session": ("sessions", "activity_id"),
    "attendance": ("attendances", "estate_id"),
    "credit": ("credits", "estate_id"),
    "objection": ("objections", "estate_id"),
    "appeal": ("appeals", "estate_id"),
    "adjustment": ("adjustments", "estate_id"),
    "entry": ("record_entries", "estate_id"),
    "claim": ("claims", "estate_id"),
    "task": ("tasks", "organization_id"),
    "import": ("imports", "organization_id"),
    "machine": ("machines", "estate_id"),
    "product": ("products", "estate_id"),
    "redemption": ("redemptions", "estate_id"),
    "report": ("reports", "estate_id"),
    "alert": ("alerts", "estate_id"),
}
"""By type of subject: the table that has it, and the column that says where it belongs, or of which activity it is."""


@dataclass(frozen=True, slots=True)
class Entry:
    """`actor` did `action` to `subject` (type, id) by an operation."""

    actor: str
    action: str
    subject: tuple[str, str]
    operation_id: str
    details: Mapping[str, object] = field(default_factory=dict)


def record(
    connection: Connection,
    now: datetime,
    *,
    actor: str,
    action: str,
    subject: tuple[str, str],
    operation_id: str,
    details: Mapping[str, object] | None = None,
) -> None:
    """Note that `actor` did `action` to `subject` (type, id)."""
    record_all(connection, now, [Entry(actor, action, subject, operation_id, details or {})])


def record_all(connection: Connection, now: datetime, noted: Sequence[Entry]) -> None:
    """Note many changes, in one statement for each type of subject."""
    by_type: dict[str, list[dict[str, Any]]] = {}
    for entry in noted:
        row = {
            "recorded_at": now,
            "actor": entry.actor,
            "action": entry.action,
            "subject_type": entry.subject[0],
            "subject_id": entry.subject[1],
            "operation_id": entry.operation_id,
            "details": json.dumps(dict(entry.details), ensure_ascii=False, sort_keys=True),
        }
        by_type.setdefault(entry.subject[0], []).append(row)
    for subject_type, rows in by_type.items():
        place = _place_of(subject_type)
        if place is None:
            connection.execute(insert(entries), rows)
        else:
            asked = [row | {"subject": row["subject_id"]} for row in rows]
            connection.execute(insert(entries).values(organization_id=place), asked)


def _place_of(subject_type: str) -> ScalarSelect[Any] | None:
    """Where the subject of a row belongs; None for what belongs nowhere."""
    name, place = PLACES.get(subject_type, ("", ""))
    table = metadata.tables.get(name)
    if table is None:
        return None
    (key,) = table.primary_key.columns
    # Numbers stand in the log as text.
    subject = bindparam("subject", type_=String)
    asked = cast(subject, key.type) if isinstance(key.type.as_generic(), Integer) else subject
    query = select(table.c[place]).where(key == asked)
    if place == "activity_id":
        activities = metadata.tables["activities"]
        query = select(activities.c.organization_id).where(activities.c.id == table.c.activity_id, key == asked)
    return query.scalar_subquery()
