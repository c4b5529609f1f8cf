"""Who looked at whom, and which pairs of residents were looked at and are not one person.

`personal_accesses` is added to, and what is half a year older than its newest row may be removed; nothing else. The
trigger goes by the table's own newest row, so that no wrong clock lets a log go.
"""

from sqlalchemy import CheckConstraint, Column, ForeignKey, Index, Integer, PrimaryKeyConstraint, String, Table

from jishan_server.db import Instant, Serial, append_only_statements, metadata, on_create

KEPT_AT_LEAST_DAYS = 184
"""Six months, whichever they are. Source: GB/T 40143-2021 and 网络安全法 art. 21."""
_KEPT_AT_LEAST_MS = KEPT_AT_LEAST_DAYS * 24 * 60 * 60 * 1000

personal_accesses = Table(
    "personal_accesses",
    metadata,
    Column("number", Serial, primary_key=True, autoincrement=True),
    Column("recorded_at", Instant, nullable=False),
    Column("actor", String(64), nullable=False),
    # record | balance | statement | consents | export | accesses | list | search | duplicates, and what others add.
    Column("what", String(20), nullable=False),
    # Null for a list, of which only the number of people is kept.
    Column("resident_id", String(40)),
    Column("people", Integer, nullable=False),
    Column("request_id", String(64), nullable=False),
    Index("ix_personal_accesses_resident_id", "resident_id", "number"),
    Index("ix_personal_accesses_recorded_at", "recorded_at"),
)
for _statement, _dialect in append_only_statements(personal_accesses.name):
    if "UPDATE ON" in _statement and _dialect == "sqlite":
        on_create(personal_accesses, _statement, _dialect)
    elif "UPDATE OR DELETE" in _statement:
        on_create(personal_accesses, _statement.replace("UPDATE OR DELETE", "UPDATE"), _dialect)
    elif _dialect == "postgresql":
        on_create(personal_accesses, _statement, _dialect)
_TOO_YOUNG = f"OLD.recorded_at > (SELECT max(recorded_at) FROM personal_accesses) - {_KEPT_AT_LEAST_MS}"  # noqa: S608 (ours)
on_create(
    personal_accesses,
    f"CREATE TRIGGER personal_accesses_refuses_delete BEFORE DELETE ON personal_accesses WHEN {_TOO_YOUNG} "
    "BEGIN SELECT RAISE(ABORT, 'personal_accesses is kept for six months'); END",
    "sqlite",
)
on_create(
    personal_accesses,
    "CREATE OR REPLACE FUNCTION refuse_young_access() RETURNS trigger LANGUAGE plpgsql AS "
    f"$$ BEGIN IF {_TOO_YOUNG} THEN RAISE EXCEPTION 'personal_accesses is kept for six months'; END IF; "
    "RETURN OLD; END $$",
    "postgresql",
)
on_create(
    personal_accesses,
    "CREATE TRIGGER personal_accesses_refuses_delete BEFORE DELETE ON personal_accesses "
    "FOR EACH ROW EXECUTE FUNCTION refuse_young_access()",
    "postgresql",
)

not_duplicates = Table(
    "not_duplicates",
    metadata,
    Column("first_id", String(40), ForeignKey("residents.id"), nullable=False),
    Column("second_id", String(40), ForeignKey("residents.id"), nullable=False),
    Column("dismissed_by", String(64), nullable=False),
    Column("dismissed_at", Instant, nullable=False),
    PrimaryKeyConstraint("first_id", "second_id"),
    CheckConstraint("first_id < second_id", name="in_order"),
)
