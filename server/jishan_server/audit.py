"""The audit log: who changed what, when, in the same transaction as the change. Rows are only ever added.

Details are codes and ids, never secrets and never free text about a person.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Column, Connection, Index, String, Table, Text, insert

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
    Index("ix_audit_entries_subject", "subject_type", "subject_id"),
    Index("ix_audit_entries_actor", "actor", "number"),
    Index("ix_audit_entries_recorded_at", "recorded_at"),
)
append_only(entries)


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
    """Note many changes in one statement."""
    if not noted:
        return
    connection.execute(
        insert(entries),
        [
            {
                "recorded_at": now,
                "actor": entry.actor,
                "action": entry.action,
                "subject_type": entry.subject[0],
                "subject_id": entry.subject[1],
                "operation_id": entry.operation_id,
                "details": json.dumps(dict(entry.details), ensure_ascii=False, sort_keys=True),
            }
            for entry in noted
        ],
    )
