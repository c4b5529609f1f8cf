"""The scheme around the ledger: activities, rules, the way of a credit, consent, reports, imports, messages.

Credits that were approved are final, with a service record where time was told; their day is that of Asia/Shanghai.
Who was registered without a word about consent is asked at the next tap of the card.
"""

import hashlib
from datetime import UTC, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# A 64-bit key that SQLite can use as its row id. Instants are milliseconds since the epoch, in a BIGINT.
SERIAL: Final = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
ZONE: Final = ZoneInfo("Asia/Shanghai")
APPEND_ONLY: Final = (
    "consent_texts",
    "daily_lists",
    "daily_open",
    "expiry_bookings",
    "expiry_warnings",
    "rule_versions",
    "organization_moves",
    "consents",
    "task_steps",
    "attendance_changes",
)
"""What is written there is never changed."""


def upgrade() -> None:
    add_columns()
    know_roots()
    make_credits_anew()
    make_tables()
    keep_what_is_written()
    record_service()


def add_columns() -> None:
    op.create_index("ix_audit_entries_actor", "audit_entries", ["actor", "number"], unique=False)
    op.create_index("ix_audit_entries_recorded_at", "audit_entries", ["recorded_at"], unique=False)
    op.create_index(
        "ix_balances_next_expiry_at",
        "balances",
        ["next_expiry_at", "number"],
        unique=False,
        sqlite_where=sa.text("next_expiry_at IS NOT NULL"),
        postgresql_where=sa.text("next_expiry_at IS NOT NULL"),
    )
    op.add_column("organizations", sa.Column("root_id", sa.String(length=40), nullable=True))
    op.add_column("organizations", sa.Column("code", sa.String(length=80), nullable=True))
    op.create_index("uq_organizations_root_id_code", "organizations", ["root_id", "code"], unique=True)
    op.add_column("redemptions", sa.Column("in_doubt_at", sa.BigInteger(), nullable=True))
    op.add_column("redemptions", sa.Column("answer_by", sa.String(length=10), nullable=True))
    op.add_column(
        "residents", sa.Column("consent_state", sa.String(length=10), server_default="awaiting", nullable=False)
    )
    op.add_column("residents", sa.Column("consent_asked_at", sa.BigInteger(), nullable=True))
    op.add_column("residents", sa.Column("consent_asked_by", sa.String(length=40), nullable=True))
    op.add_column("residents", sa.Column("of_age_at", sa.BigInteger(), nullable=True))
    op.add_column("residents", sa.Column("sex", sa.String(length=1), nullable=True))
    op.add_column("residents", sa.Column("birth_day", sa.String(length=10), nullable=True))
    op.add_column("residents", sa.Column("id_number_hash", sa.String(length=32), nullable=True))
    op.add_column("residents", sa.Column("id_number_ending", sa.String(length=4), nullable=True))
    op.add_column("residents", sa.Column("building", sa.String(length=40), nullable=True))
    op.add_column("residents", sa.Column("unit", sa.String(length=40), nullable=True))
    op.add_column("residents", sa.Column("room", sa.String(length=40), nullable=True))
    op.add_column("residents", sa.Column("email", sa.String(length=100), nullable=True))
    op.add_column("residents", sa.Column("category", sa.String(length=40), nullable=True))
    op.add_column("residents", sa.Column("language", sa.String(length=2), server_default="zh", nullable=False))
    op.add_column("residents", sa.Column("erased_at", sa.BigInteger(), nullable=True))
    op.create_index("ix_residents_id_number_hash", "residents", ["id_number_hash"], unique=False)
    op.create_index("ix_residents_name", "residents", ["name"], unique=False)
    op.create_index("ix_residents_phone", "residents", ["phone"], unique=False)
    op.add_column("staff", sa.Column("disabled_at", sa.BigInteger(), nullable=True))
    if op.get_bind().dialect.name == "postgresql":
        # SQLite takes no check for a table that exists.
        op.create_check_constraint(
            op.f("ck_residents_consent_state_known"), "residents", "consent_state IN ('awaiting', 'given', 'withdrawn')"
        )
    op.execute("UPDATE redemptions SET in_doubt_at = changed_at WHERE state = 'in_doubt'")


def know_roots() -> None:
    """Write for each node the root above it."""
    bind = op.get_bind()
    parents = {row.id: row.parent_id for row in bind.execute(sa.text("SELECT id, parent_id FROM organizations"))}
    for id in parents:
        root = id
        while parents[root] is not None:
            root = parents[root]
        bind.execute(sa.text("UPDATE organizations SET root_id = :root WHERE id = :id"), {"root": root, "id": id})


def make_credits_anew() -> None:
    """Lay the table anew, for SQLite changes no column; who looks at its rows by id finds them again."""
    bind = op.get_bind()
    old = [dict(row) for row in bind.execute(sa.text("SELECT * FROM credits")).mappings()]
    op.drop_table("credits")
    op.create_table(
        "credits",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("resident_id", sa.String(length=40), nullable=False),
        sa.Column("estate_id", sa.String(length=40), nullable=False),
        sa.Column("minutes", sa.Integer(), nullable=True),
        sa.Column("points", sa.Integer(), nullable=False),
        sa.Column("rule_version", sa.String(length=40), nullable=False),
        sa.Column("activity", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("note", sa.String(length=64), nullable=True),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("recorded_by", sa.String(length=64), nullable=False),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.Column("decided_by", sa.String(length=64), nullable=True),
        sa.Column("decided_at", sa.BigInteger(), nullable=True),
        sa.Column("decision_reason", sa.Text(), nullable=True),
        sa.Column("transfer_id", sa.String(length=40), nullable=True),
        sa.Column("reversed_by", sa.String(length=64), nullable=True),
        sa.Column("reversed_at", sa.BigInteger(), nullable=True),
        sa.Column("reversal_reason", sa.Text(), nullable=True),
        sa.Column("reversal_transfer_id", sa.String(length=40), nullable=True),
        sa.Column("worked_at", sa.BigInteger(), nullable=True),
        sa.Column("day", sa.String(length=10), nullable=True),
        sa.Column("activity_id", sa.String(length=40), nullable=True),
        sa.Column("session_id", sa.String(length=40), nullable=True),
        sa.Column("attendance_id", sa.String(length=40), nullable=True),
        sa.Column("organization_id", sa.String(length=40), nullable=True),
        sa.Column("activity_type", sa.String(length=40), nullable=True),
        sa.Column("category", sa.String(length=40), nullable=True),
        sa.Column("place", sa.Text(), nullable=True),
        sa.Column("person_in_charge", sa.Text(), nullable=True),
        sa.Column("counts_as_service", sa.Boolean(), nullable=True),
        sa.Column("source", sa.String(length=1), nullable=True),
        sa.Column("minutes_counted", sa.Integer(), nullable=True),
        sa.Column("worth_steps", sa.Text(), nullable=True),
        sa.Column("notice_ends_at", sa.BigInteger(), nullable=True),
        sa.Column("finalised_at", sa.BigInteger(), nullable=True),
        sa.Column("booked_points", sa.Integer(), nullable=True),
        sa.Column("corrects_id", sa.String(length=40), nullable=True),
        sa.CheckConstraint(
            "reversal_transfer_id IS NULL OR state = 'reversed'", name=op.f("ck_credits_reversed_in_the_ledger")
        ),
        sa.CheckConstraint(
            "state IN ('recorded', 'waiting_consent', 'approved', 'objected', 'final', 'rejected', 'reversed')",
            name=op.f("ck_credits_state_known"),
        ),
        sa.CheckConstraint("decided_by <> recorded_by", name=op.f("ck_credits_two_people")),
        sa.CheckConstraint("points >= 0", name=op.f("ck_credits_points_not_negative")),
        sa.ForeignKeyConstraint(["corrects_id"], ["credits.id"], name=op.f("fk_credits_corrects_id")),
        sa.ForeignKeyConstraint(["estate_id"], ["organizations.id"], name=op.f("fk_credits_estate_id")),
        sa.ForeignKeyConstraint(["resident_id"], ["residents.id"], name=op.f("fk_credits_resident_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_credits")),
        sa.UniqueConstraint("reversal_transfer_id", name=op.f("uq_credits_reversal_transfer_id")),
        sa.UniqueConstraint("transfer_id", name=op.f("uq_credits_transfer_id")),
    )
    op.create_index(
        "ix_credits_attendance_id",
        "credits",
        ["attendance_id"],
        unique=True,
        sqlite_where=sa.text("state <> 'rejected'"),
        postgresql_where=sa.text("state <> 'rejected'"),
    )
    op.create_index(
        "ix_credits_corrects_id",
        "credits",
        ["corrects_id"],
        unique=True,
        sqlite_where=sa.text("state <> 'rejected'"),
        postgresql_where=sa.text("state <> 'rejected'"),
    )
    op.create_index(
        "ix_credits_due",
        "credits",
        ["notice_ends_at", "id"],
        unique=False,
        sqlite_where=sa.text("state = 'approved'"),
        postgresql_where=sa.text("state = 'approved'"),
    )
    op.create_index("ix_credits_estate_id", "credits", ["estate_id", "recorded_at", "id"], unique=False)
    op.create_index(
        "ix_credits_open",
        "credits",
        ["state", "id"],
        unique=False,
        sqlite_where=sa.text("state IN ('recorded', 'waiting_consent', 'objected')"),
        postgresql_where=sa.text("state IN ('recorded', 'waiting_consent', 'objected')"),
    )
    op.create_index("ix_credits_resident_id", "credits", ["resident_id"], unique=False)
    op.create_index("ix_credits_session_id", "credits", ["session_id"], unique=False)
    credits = sa.Table("credits", sa.MetaData(), autoload_with=bind)
    if old:
        bind.execute(
            sa.insert(credits), [{column.name: None for column in credits.columns} | _credit(row) for row in old]
        )


def _credit(row: dict[str, Any]) -> dict[str, Any]:
    """A credit as it is told from now on."""
    is_booked = row["state"] in ("approved", "reversed")
    return row | {
        "state": "final" if row["state"] == "approved" else row["state"],
        "rule_version": "1",
        "worked_at": row["recorded_at"],
        "day": _day(row["recorded_at"]),
        "activity_type": "general",
        "counts_as_service": row["minutes"] is not None,
        "source": "b",
        "minutes_counted": row["minutes"] or 0,
        "worth_steps": "[]",
        "notice_ends_at": row["decided_at"] if is_booked else None,
        "finalised_at": row["decided_at"] if is_booked else None,
        "booked_points": row["points"] if is_booked else None,
    }


def _day(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).astimezone(ZONE).date().isoformat()


def make_tables() -> None:
    op.create_table(
        "activity_types",
        sa.Column("code", sa.String(length=40), nullable=False),
        sa.Column("name_zh", sa.String(length=100), nullable=False),
        sa.Column("name_en", sa.String(length=100), nullable=False),
        sa.Column("category", sa.String(length=40), nullable=False),
        sa.Column("counts_as_service", sa.Boolean(), nullable=False),
        sa.Column("longest_session_minutes", sa.Integer(), nullable=False),
        sa.Column("grace_minutes", sa.Integer(), nullable=False),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "longest_session_minutes BETWEEN 1 AND 1440", name=op.f("ck_activity_types_longest_is_a_day")
        ),
        sa.PrimaryKeyConstraint("code", name=op.f("pk_activity_types")),
    )
    op.create_table(
        "calendar_days",
        sa.Column("day", sa.String(length=10), nullable=False),
        sa.Column("is_working", sa.Boolean(), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.PrimaryKeyConstraint("day", name=op.f("pk_calendar_days")),
    )
    op.create_table(
        "consent_texts",
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("zh", sa.Text(), nullable=False),
        sa.Column("en", sa.Text(), nullable=False),
        sa.Column("from_at", sa.BigInteger(), nullable=False),
        sa.Column("written_by", sa.String(length=64), nullable=False),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("version", name=op.f("pk_consent_texts")),
    )
    op.create_table(
        "daily_lists",
        sa.Column("day", sa.String(length=10), nullable=False),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("day", name=op.f("pk_daily_lists")),
    )
    op.create_table(
        "daily_open",
        sa.Column("day", sa.String(length=10), nullable=False),
        sa.Column("redemption_id", sa.String(length=40), nullable=False),
        sa.Column("estate_id", sa.String(length=40), nullable=False),
        sa.Column("machine_id", sa.String(length=32), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("points", sa.Integer(), nullable=True),
        sa.Column("ticket", sa.Integer(), nullable=True),
        sa.Column("grade", sa.String(length=10), nullable=False),
        sa.Column("since_at", sa.BigInteger(), nullable=False),
        sa.Column("answer_by", sa.String(length=10), nullable=True),
        sa.Column("is_overdue", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("day", "redemption_id", name=op.f("pk_daily_open")),
    )
    op.create_index("ix_daily_open_estate_id", "daily_open", ["estate_id", "day"], unique=False)
    op.create_table(
        "expiry_bookings",
        sa.Column("sequence", SERIAL, autoincrement=False, nullable=False),
        sa.Column("run_id", sa.String(length=40), nullable=True),
        sa.Column("resident_id", sa.String(length=40), nullable=False),
        sa.Column("estate_id", sa.String(length=40), nullable=False),
        sa.Column("points", sa.Integer(), nullable=False),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_expiry_bookings")),
    )
    op.create_index("ix_expiry_bookings_resident_id", "expiry_bookings", ["resident_id"], unique=False)
    op.create_index("ix_expiry_bookings_run_id", "expiry_bookings", ["run_id"], unique=False)
    op.create_table(
        "expiry_runs",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("day", sa.String(length=10), nullable=False),
        sa.Column("asked_by", sa.String(length=64), nullable=False),
        sa.Column("asked_at", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("accounts", sa.Integer(), nullable=False),
        sa.Column("points", sa.BigInteger(), nullable=False),
        sa.Column("done_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("state IN ('running', 'done')", name=op.f("ck_expiry_runs_state_known")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_expiry_runs")),
    )
    op.create_index("ix_expiry_runs_asked_at", "expiry_runs", ["asked_at", "id"], unique=False)
    op.create_index(
        "ix_expiry_runs_running",
        "expiry_runs",
        ["asked_at"],
        unique=False,
        sqlite_where=sa.text("state = 'running'"),
        postgresql_where=sa.text("state = 'running'"),
    )
    op.create_table(
        "expiry_told_days",
        sa.Column("day", sa.String(length=10), nullable=False),
        sa.PrimaryKeyConstraint("day", name=op.f("pk_expiry_told_days")),
    )
    op.create_table(
        "expiry_warning_days",
        sa.Column("day", sa.String(length=10), nullable=False),
        sa.Column("after_at", sa.BigInteger(), nullable=True),
        sa.Column("after_number", sa.BigInteger(), nullable=False),
        sa.Column("accounts", sa.Integer(), nullable=False),
        sa.Column("is_done", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("day", name=op.f("pk_expiry_warning_days")),
    )
    op.create_table(
        "expiry_warnings",
        sa.Column("resident_id", sa.String(length=40), nullable=False),
        sa.Column("day", sa.String(length=10), nullable=False),
        sa.Column("distance_days", sa.Integer(), nullable=False),
        sa.Column("points", sa.BigInteger(), nullable=False),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("resident_id", "day", "distance_days", name=op.f("pk_expiry_warnings")),
    )
    op.create_table(
        "import_mappings",
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("mapping", sa.Text(), nullable=False),
        sa.Column("saved_by", sa.String(length=64), nullable=False),
        sa.Column("saved_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "fingerprint", name=op.f("pk_import_mappings")),
    )
    op.create_table(
        "personal_accesses",
        sa.Column("number", SERIAL, autoincrement=True, nullable=False),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.String(length=64), nullable=False),
        sa.Column("what", sa.String(length=20), nullable=False),
        sa.Column("resident_id", sa.String(length=40), nullable=True),
        sa.Column("people", sa.Integer(), nullable=False),
        sa.Column("request_id", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_personal_accesses")),
    )
    op.create_index("ix_personal_accesses_recorded_at", "personal_accesses", ["recorded_at"], unique=False)
    op.create_index("ix_personal_accesses_resident_id", "personal_accesses", ["resident_id", "number"], unique=False)
    op.create_table(
        "rule_versions",
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("from_day", sa.String(length=10), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("made_by", sa.String(length=64), nullable=False),
        sa.Column("made_at", sa.BigInteger(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("version", name=op.f("pk_rule_versions")),
    )
    op.create_table(
        "activity_templates",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("organization_id", sa.String(length=40), nullable=False),
        sa.Column("title", sa.String(length=100), nullable=False),
        sa.Column("activity_type", sa.String(length=40), nullable=False),
        sa.Column("place", sa.String(length=200), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("risk_note", sa.Text(), nullable=False),
        sa.Column("person_in_charge", sa.String(length=100), nullable=False),
        sa.Column("contact", sa.String(length=100), nullable=False),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.Column("created_by", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["activity_type"], ["activity_types.code"], name=op.f("fk_activity_templates_activity_type")
        ),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name=op.f("fk_activity_templates_organization_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_activity_templates")),
    )
    op.create_index("ix_activity_templates_organization_id", "activity_templates", ["organization_id"], unique=False)
    op.create_table(
        "groups",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("organization_id", sa.String(length=40), nullable=True),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("code", sa.String(length=80), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("closed_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["organization_id"], ["organizations.id"], name=op.f("fk_groups_organization_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_groups")),
        sa.UniqueConstraint("code", name=op.f("uq_groups_code")),
    )
    op.create_index("ix_groups_organization_id", "groups", ["organization_id"], unique=False)
    op.create_table(
        "imports",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("organization_id", sa.String(length=40), nullable=False),
        sa.Column("file_name", sa.Text(), nullable=False),
        sa.Column("file_hash", sa.String(length=64), nullable=False),
        sa.Column("written", sa.Text(), nullable=False),
        sa.Column("header", sa.Text(), nullable=False),
        sa.Column("year", sa.Integer(), nullable=False),
        sa.Column("half_day_minutes", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("row_count", sa.Integer(), nullable=False),
        sa.Column("new_count", sa.Integer(), nullable=False),
        sa.Column("known_count", sa.Integer(), nullable=False),
        sa.Column("bad_count", sa.Integer(), nullable=False),
        sa.Column("left_out", sa.Text(), nullable=False),
        sa.Column("booked_count", sa.Integer(), nullable=False),
        sa.Column("kept_count", sa.Integer(), nullable=False),
        sa.Column("chunk_count", sa.Integer(), nullable=False),
        sa.Column("next_chunk", sa.Integer(), nullable=False),
        sa.Column("sent_by", sa.String(length=64), nullable=False),
        sa.Column("sent_at", sa.BigInteger(), nullable=False),
        sa.Column("booked_by", sa.String(length=64), nullable=True),
        sa.Column("booked_at", sa.BigInteger(), nullable=True),
        sa.Column("undone_by", sa.String(length=64), nullable=True),
        sa.Column("undone_at", sa.BigInteger(), nullable=True),
        sa.Column("undo_reason", sa.Text(), nullable=True),
        sa.Column("forgotten_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "state IN ('reading', 'previewed', 'booking', 'booked', 'undoing', 'undone')",
            name=op.f("ck_imports_state_known"),
        ),
        sa.ForeignKeyConstraint(["organization_id"], ["organizations.id"], name=op.f("fk_imports_organization_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_imports")),
    )
    op.create_index("ix_imports_file_hash", "imports", ["file_hash"], unique=False)
    op.create_index("ix_imports_organization_id", "imports", ["organization_id", "sent_at", "id"], unique=False)
    op.create_index("ix_imports_sent_at", "imports", ["sent_at"], unique=False)
    op.create_table(
        "organization_moves",
        sa.Column("number", SERIAL, autoincrement=True, nullable=False),
        sa.Column("organization_id", sa.String(length=40), nullable=False),
        sa.Column("from_parent_id", sa.String(length=40), nullable=False),
        sa.Column("to_parent_id", sa.String(length=40), nullable=False),
        sa.Column("day", sa.String(length=10), nullable=False),
        sa.Column("reason", sa.String(length=500), nullable=False),
        sa.Column("moved_by", sa.String(length=64), nullable=False),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["from_parent_id"], ["organizations.id"], name=op.f("fk_organization_moves_from_parent_id")
        ),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name=op.f("fk_organization_moves_organization_id")
        ),
        sa.ForeignKeyConstraint(
            ["to_parent_id"], ["organizations.id"], name=op.f("fk_organization_moves_to_parent_id")
        ),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_organization_moves")),
    )
    op.create_index(
        "ix_organization_moves_organization_id", "organization_moves", ["organization_id", "number"], unique=False
    )
    op.create_table(
        "tasks",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("organization_id", sa.String(length=40), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("need", sa.Text(), nullable=False),
        sa.Column("place", sa.Text(), nullable=True),
        sa.Column("due_day", sa.String(length=10), nullable=True),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("made_by", sa.String(length=64), nullable=False),
        sa.Column("handled_by", sa.String(length=64), nullable=True),
        sa.Column("handled_at", sa.BigInteger(), nullable=True),
        sa.Column("confirmed_by", sa.String(length=64), nullable=True),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("confirmed_by <> handled_by", name=op.f("ck_tasks_two_people")),
        sa.ForeignKeyConstraint(["organization_id"], ["organizations.id"], name=op.f("fk_tasks_organization_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tasks")),
    )
    op.create_index("ix_tasks_organization_id", "tasks", ["organization_id", "id"], unique=False)
    op.create_table(
        "activities",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("organization_id", sa.String(length=40), nullable=False),
        sa.Column("group_id", sa.String(length=40), nullable=True),
        sa.Column("template_id", sa.String(length=40), nullable=True),
        sa.Column("title", sa.String(length=100), nullable=False),
        sa.Column("activity_type", sa.String(length=40), nullable=False),
        sa.Column("category", sa.String(length=40), nullable=False),
        sa.Column("counts_as_service", sa.Boolean(), nullable=False),
        sa.Column("place", sa.String(length=200), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("risk_note", sa.Text(), nullable=False),
        sa.Column("person_in_charge", sa.String(length=100), nullable=False),
        sa.Column("contact", sa.String(length=100), nullable=False),
        sa.Column("sign_up_ends_minutes", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("published_at", sa.BigInteger(), nullable=True),
        sa.Column("published_by", sa.String(length=64), nullable=True),
        sa.Column("cancelled_at", sa.BigInteger(), nullable=True),
        sa.Column("cancel_reason", sa.Text(), nullable=True),
        sa.Column("created_by", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "state <> 'published' OR published_at IS NOT NULL", name=op.f("ck_activities_published_when")
        ),
        sa.CheckConstraint("state IN ('draft', 'published', 'cancelled')", name=op.f("ck_activities_state_known")),
        sa.ForeignKeyConstraint(["activity_type"], ["activity_types.code"], name=op.f("fk_activities_activity_type")),
        sa.ForeignKeyConstraint(["organization_id"], ["organizations.id"], name=op.f("fk_activities_organization_id")),
        sa.ForeignKeyConstraint(["template_id"], ["activity_templates.id"], name=op.f("fk_activities_template_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_activities")),
    )
    op.create_index(
        "ix_activities_organization_id", "activities", ["organization_id", "created_at", "id"], unique=False
    )
    op.create_table(
        "adjustments",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("resident_id", sa.String(length=40), nullable=False),
        sa.Column("estate_id", sa.String(length=40), nullable=False),
        sa.Column("points", sa.Integer(), nullable=False),
        sa.Column("reason_code", sa.String(length=40), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("proposed_by", sa.String(length=64), nullable=False),
        sa.Column("proposed_at", sa.BigInteger(), nullable=False),
        sa.Column("decided_by", sa.String(length=64), nullable=True),
        sa.Column("decided_at", sa.BigInteger(), nullable=True),
        sa.Column("decision_reason", sa.Text(), nullable=True),
        sa.Column("transfer_id", sa.String(length=40), nullable=True),
        sa.CheckConstraint("state IN ('proposed', 'booked', 'rejected')", name=op.f("ck_adjustments_state_known")),
        sa.CheckConstraint("decided_by <> proposed_by", name=op.f("ck_adjustments_two_people")),
        sa.CheckConstraint("points <> 0", name=op.f("ck_adjustments_points_not_zero")),
        sa.ForeignKeyConstraint(["estate_id"], ["organizations.id"], name=op.f("fk_adjustments_estate_id")),
        sa.ForeignKeyConstraint(["resident_id"], ["residents.id"], name=op.f("fk_adjustments_resident_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_adjustments")),
        sa.UniqueConstraint("transfer_id", name=op.f("uq_adjustments_transfer_id")),
    )
    op.create_index("ix_adjustments_estate_id", "adjustments", ["estate_id", "proposed_at", "id"], unique=False)
    op.create_table(
        "attachments",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("subject_type", sa.String(length=20), nullable=False),
        sa.Column("subject_id", sa.String(length=40), nullable=False),
        sa.Column("organization_id", sa.String(length=40), nullable=False),
        sa.Column("resident_id", sa.String(length=40), nullable=True),
        sa.Column("content_type", sa.String(length=40), nullable=False),
        sa.Column("size_bytes", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=True),
        sa.Column("content", sa.LargeBinary(), nullable=True),
        sa.Column("uploaded_by", sa.String(length=64), nullable=False),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "(subject_type = 'resident') = (resident_id IS NOT NULL)", name=op.f("ck_attachments_one_person")
        ),
        sa.ForeignKeyConstraint(["organization_id"], ["organizations.id"], name=op.f("fk_attachments_organization_id")),
        sa.ForeignKeyConstraint(["resident_id"], ["residents.id"], name=op.f("fk_attachments_resident_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attachments")),
    )
    op.create_index("ix_attachments_resident_id", "attachments", ["resident_id"], unique=False)
    op.create_index("ix_attachments_subject", "attachments", ["subject_type", "subject_id"], unique=False)
    op.create_table(
        "consents",
        sa.Column("number", SERIAL, autoincrement=True, nullable=False),
        sa.Column("resident_id", sa.String(length=40), nullable=False),
        sa.Column("text_version", sa.Integer(), nullable=False),
        sa.Column("is_given", sa.Boolean(), nullable=False),
        sa.Column("how", sa.String(length=10), nullable=False),
        sa.Column("written_by", sa.String(length=64), nullable=False),
        sa.Column("form_number", sa.String(length=40), nullable=True),
        sa.Column("form_day", sa.String(length=10), nullable=True),
        sa.Column("guardian_entry_id", sa.String(length=40), nullable=True),
        sa.Column("machine_id", sa.String(length=40), nullable=True),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "how IN ('desk', 'paper', 'phone', 'card_tap', 'keypad')", name=op.f("ck_consents_how_known")
        ),
        sa.ForeignKeyConstraint(["resident_id"], ["residents.id"], name=op.f("fk_consents_resident_id")),
        sa.ForeignKeyConstraint(["text_version"], ["consent_texts.version"], name=op.f("fk_consents_text_version")),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_consents")),
    )
    op.create_index("ix_consents_resident_id", "consents", ["resident_id", "number"], unique=False)
    op.create_table(
        "guardians",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("resident_id", sa.String(length=40), nullable=False),
        sa.Column("guardian_id", sa.String(length=40), nullable=True),
        sa.Column("name", sa.String(length=100), nullable=True),
        sa.Column("phone", sa.String(length=20), nullable=True),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["guardian_id"], ["residents.id"], name=op.f("fk_guardians_guardian_id")),
        sa.ForeignKeyConstraint(["resident_id"], ["residents.id"], name=op.f("fk_guardians_resident_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_guardians")),
    )
    op.create_index("ix_guardians_resident_id", "guardians", ["resident_id"], unique=False)
    op.create_table(
        "import_candidates",
        sa.Column("import_id", sa.String(length=40), nullable=False),
        sa.Column("row", sa.Integer(), nullable=False),
        sa.Column("resident_id", sa.String(length=40), nullable=False),
        sa.ForeignKeyConstraint(["import_id"], ["imports.id"], name=op.f("fk_import_candidates_import_id")),
        sa.PrimaryKeyConstraint("import_id", "row", "resident_id", name=op.f("pk_import_candidates")),
    )
    op.create_index("ix_import_candidates_resident_id", "import_candidates", ["resident_id"], unique=False)
    op.create_table(
        "import_chunks",
        sa.Column("import_id", sa.String(length=40), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=True),
        sa.Column("booked", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["import_id"], ["imports.id"], name=op.f("fk_import_chunks_import_id")),
        sa.PrimaryKeyConstraint("import_id", "number", name=op.f("pk_import_chunks")),
    )
    op.create_table(
        "import_refusals",
        sa.Column("number", SERIAL, autoincrement=True, nullable=False),
        sa.Column("import_id", sa.String(length=40), nullable=False),
        sa.Column("row", sa.Integer(), nullable=False),
        sa.Column("column_name", sa.Text(), nullable=False),
        sa.Column("code", sa.String(length=40), nullable=False),
        sa.Column("fields", sa.Text(), nullable=False),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["import_id"], ["imports.id"], name=op.f("fk_import_refusals_import_id")),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_import_refusals")),
    )
    op.create_index("ix_import_refusals_import_id", "import_refusals", ["import_id", "row"], unique=False)
    op.create_table(
        "memberships",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("resident_id", sa.String(length=40), nullable=False),
        sa.Column("organization_id", sa.String(length=40), nullable=True),
        sa.Column("group_id", sa.String(length=40), nullable=True),
        sa.Column("role", sa.String(length=100), nullable=False),
        sa.Column("from_day", sa.String(length=10), nullable=False),
        sa.Column("to_day", sa.String(length=10), nullable=True),
        sa.Column("recorded_by", sa.String(length=64), nullable=False),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_by", sa.String(length=64), nullable=True),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("(organization_id IS NULL) <> (group_id IS NULL)", name=op.f("ck_memberships_one_place")),
        sa.ForeignKeyConstraint(["group_id"], ["groups.id"], name=op.f("fk_memberships_group_id")),
        sa.ForeignKeyConstraint(["organization_id"], ["organizations.id"], name=op.f("fk_memberships_organization_id")),
        sa.ForeignKeyConstraint(["resident_id"], ["residents.id"], name=op.f("fk_memberships_resident_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_memberships")),
    )
    op.create_index("ix_memberships_group_id", "memberships", ["group_id"], unique=False)
    op.create_index("ix_memberships_organization_id", "memberships", ["organization_id"], unique=False)
    op.create_index("ix_memberships_resident_id", "memberships", ["resident_id"], unique=False)
    op.create_table(
        "messages",
        sa.Column("number", SERIAL, autoincrement=True, nullable=False),
        sa.Column("resident_id", sa.String(length=40), nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("fields", sa.Text(), nullable=True),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.Column("read_at", sa.BigInteger(), nullable=True),
        sa.Column("disputed_at", sa.BigInteger(), nullable=True),
        sa.Column("answered_at", sa.BigInteger(), nullable=True),
        sa.Column("dispute_words", sa.Text(), nullable=True),
        sa.Column("answered_by", sa.String(length=64), nullable=True),
        sa.Column("answer_words", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["resident_id"], ["residents.id"], name=op.f("fk_messages_resident_id")),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_messages")),
    )
    op.create_index(
        "ix_messages_disputed",
        "messages",
        ["number"],
        unique=False,
        sqlite_where=sa.text("disputed_at IS NOT NULL"),
        postgresql_where=sa.text("disputed_at IS NOT NULL"),
    )
    op.create_index("ix_messages_resident_id", "messages", ["resident_id", "number"], unique=False)
    op.create_table(
        "not_duplicates",
        sa.Column("first_id", sa.String(length=40), nullable=False),
        sa.Column("second_id", sa.String(length=40), nullable=False),
        sa.Column("dismissed_by", sa.String(length=64), nullable=False),
        sa.Column("dismissed_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("first_id < second_id", name=op.f("ck_not_duplicates_in_order")),
        sa.ForeignKeyConstraint(["first_id"], ["residents.id"], name=op.f("fk_not_duplicates_first_id")),
        sa.ForeignKeyConstraint(["second_id"], ["residents.id"], name=op.f("fk_not_duplicates_second_id")),
        sa.PrimaryKeyConstraint("first_id", "second_id", name=op.f("pk_not_duplicates")),
    )
    op.create_table(
        "record_entries",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("resident_id", sa.String(length=40), nullable=False),
        sa.Column("estate_id", sa.String(length=40), nullable=False),
        sa.Column("kind", sa.String(length=12), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("unit_name", sa.Text(), nullable=False),
        sa.Column("first_day", sa.String(length=10), nullable=False),
        sa.Column("last_day", sa.String(length=10), nullable=False),
        sa.Column("minutes", sa.Integer(), nullable=True),
        sa.Column("result", sa.Text(), nullable=True),
        sa.Column("attachment_ids", sa.Text(), nullable=False),
        sa.Column("recorded_by", sa.String(length=64), nullable=False),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.Column("withdrawn_by", sa.String(length=64), nullable=True),
        sa.Column("withdrawn_at", sa.BigInteger(), nullable=True),
        sa.Column("withdrawal_reason", sa.Text(), nullable=True),
        sa.CheckConstraint("kind IN ('training', 'award', 'evaluation')", name=op.f("ck_record_entries_kind_known")),
        sa.ForeignKeyConstraint(["estate_id"], ["organizations.id"], name=op.f("fk_record_entries_estate_id")),
        sa.ForeignKeyConstraint(["resident_id"], ["residents.id"], name=op.f("fk_record_entries_resident_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_record_entries")),
    )
    op.create_index("ix_record_entries_estate_id", "record_entries", ["estate_id", "id"], unique=False)
    op.create_index("ix_record_entries_resident_id", "record_entries", ["resident_id", "first_day"], unique=False)
    op.create_table(
        "reports",
        sa.Column("number", SERIAL, autoincrement=True, nullable=False),
        sa.Column("estate_id", sa.String(length=40), nullable=False),
        sa.Column("resident_id", sa.String(length=40), nullable=False),
        sa.Column("redemption_id", sa.String(length=40), nullable=True),
        sa.Column("machine_id", sa.String(length=32), nullable=True),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("words", sa.Text(), nullable=True),
        sa.Column("attachment_ids", sa.Text(), nullable=False),
        sa.Column("made_via", sa.String(length=10), nullable=False),
        sa.Column("made_by", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("answer_by", sa.String(length=10), nullable=True),
        sa.Column("decided_by", sa.String(length=64), nullable=True),
        sa.Column("seconded_by", sa.String(length=64), nullable=True),
        sa.Column("decided_at", sa.BigInteger(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("reopened_at", sa.BigInteger(), nullable=True),
        sa.Column("reopened_by", sa.String(length=64), nullable=True),
        sa.Column("reopen_reason", sa.Text(), nullable=True),
        sa.Column("first_decided_by", sa.String(length=64), nullable=True),
        sa.Column("first_reason", sa.Text(), nullable=True),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "(state IN ('given_back', 'refused')) = (decided_at IS NOT NULL)", name=op.f("ck_reports_decided_when_over")
        ),
        sa.CheckConstraint(
            "state IN ('open', 'proposed', 'given_back', 'refused')", name=op.f("ck_reports_state_known")
        ),
        sa.ForeignKeyConstraint(["resident_id"], ["residents.id"], name=op.f("fk_reports_resident_id")),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_reports")),
        sa.UniqueConstraint("redemption_id", name=op.f("uq_reports_redemption_id")),
    )
    op.create_index("ix_reports_estate_id", "reports", ["estate_id", "state", "number"], unique=False)
    op.create_index("ix_reports_resident_id", "reports", ["resident_id", "number"], unique=False)
    op.create_table(
        "resident_skills",
        sa.Column("resident_id", sa.String(length=40), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("licence", sa.String(length=100), nullable=True),
        sa.Column("expires_on", sa.String(length=10), nullable=True),
        sa.ForeignKeyConstraint(["resident_id"], ["residents.id"], name=op.f("fk_resident_skills_resident_id")),
        sa.PrimaryKeyConstraint("resident_id", "position", name=op.f("pk_resident_skills")),
    )
    op.create_table(
        "resident_tokens",
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("resident_id", sa.String(length=40), nullable=False),
        sa.Column("issued_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("revoked_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["resident_id"], ["residents.id"], name=op.f("fk_resident_tokens_resident_id")),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_resident_tokens")),
    )
    op.create_index("ix_resident_tokens_expires_at", "resident_tokens", ["expires_at"], unique=False)
    op.create_index("ix_resident_tokens_resident_id", "resident_tokens", ["resident_id"], unique=False)
    op.create_table(
        "task_steps",
        sa.Column("number", SERIAL, autoincrement=True, nullable=False),
        sa.Column("task_id", sa.String(length=40), nullable=False),
        sa.Column("event", sa.String(length=12), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("actor", sa.String(length=64), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["task_id"], ["tasks.id"], name=op.f("fk_task_steps_task_id")),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_task_steps")),
    )
    op.create_index(op.f("ix_task_steps_task_id"), "task_steps", ["task_id"], unique=False)
    op.create_table(
        "appeals",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("credit_id", sa.String(length=40), nullable=False),
        sa.Column("resident_id", sa.String(length=40), nullable=False),
        sa.Column("estate_id", sa.String(length=40), nullable=False),
        sa.Column("about", sa.String(length=10), nullable=False),
        sa.Column("wanted_minutes", sa.Integer(), nullable=True),
        sa.Column("filed_by", sa.String(length=64), nullable=False),
        sa.Column("filed_at", sa.BigInteger(), nullable=False),
        sa.Column("due_day", sa.String(length=10), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("decided_by", sa.String(length=64), nullable=True),
        sa.Column("decided_at", sa.BigInteger(), nullable=True),
        sa.Column("decision_reason", sa.Text(), nullable=True),
        sa.Column("new_credit_id", sa.String(length=40), nullable=True),
        sa.CheckConstraint("about IN ('rejected', 'reversed', 'correction')", name=op.f("ck_appeals_about_known")),
        sa.CheckConstraint("state IN ('filed', 'accepted', 'refused')", name=op.f("ck_appeals_state_known")),
        sa.CheckConstraint("decided_by <> filed_by", name=op.f("ck_appeals_two_people")),
        sa.ForeignKeyConstraint(["credit_id"], ["credits.id"], name=op.f("fk_appeals_credit_id")),
        sa.ForeignKeyConstraint(["estate_id"], ["organizations.id"], name=op.f("fk_appeals_estate_id")),
        sa.ForeignKeyConstraint(["new_credit_id"], ["credits.id"], name=op.f("fk_appeals_new_credit_id")),
        sa.ForeignKeyConstraint(["resident_id"], ["residents.id"], name=op.f("fk_appeals_resident_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_appeals")),
    )
    op.create_index(
        "ix_appeals_credit_id",
        "appeals",
        ["credit_id"],
        unique=True,
        sqlite_where=sa.text("state = 'filed'"),
        postgresql_where=sa.text("state = 'filed'"),
    )
    op.create_index("ix_appeals_estate_id", "appeals", ["estate_id", "filed_at", "id"], unique=False)
    op.create_index("ix_appeals_resident_id", "appeals", ["resident_id", "filed_at"], unique=False)
    op.create_table(
        "claims",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("resident_id", sa.String(length=40), nullable=False),
        sa.Column("estate_id", sa.String(length=40), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("words", sa.Text(), nullable=True),
        sa.Column("place", sa.Text(), nullable=True),
        sa.Column("category", sa.String(length=40), nullable=True),
        sa.Column("day", sa.String(length=10), nullable=False),
        sa.Column("minutes", sa.Integer(), nullable=False),
        sa.Column("attachment_ids", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("made_by", sa.String(length=64), nullable=False),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.Column("decided_by", sa.String(length=64), nullable=True),
        sa.Column("decided_at", sa.BigInteger(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("credit_id", sa.String(length=40), nullable=True),
        sa.CheckConstraint(
            "(state = 'accepted') = (credit_id IS NOT NULL)", name=op.f("ck_claims_accepted_has_a_credit")
        ),
        sa.CheckConstraint("state IN ('open', 'accepted', 'refused')", name=op.f("ck_claims_state_known")),
        sa.ForeignKeyConstraint(["credit_id"], ["credits.id"], name=op.f("fk_claims_credit_id")),
        sa.ForeignKeyConstraint(["estate_id"], ["organizations.id"], name=op.f("fk_claims_estate_id")),
        sa.ForeignKeyConstraint(["resident_id"], ["residents.id"], name=op.f("fk_claims_resident_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_claims")),
        sa.UniqueConstraint("credit_id", name=op.f("uq_claims_credit_id")),
    )
    op.create_index("ix_claims_estate_id", "claims", ["estate_id", "state", "id"], unique=False)
    op.create_index("ix_claims_resident_id", "claims", ["resident_id", "id"], unique=False)
    op.create_table(
        "objections",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("credit_id", sa.String(length=40), nullable=False),
        sa.Column("resident_id", sa.String(length=40), nullable=False),
        sa.Column("estate_id", sa.String(length=40), nullable=False),
        sa.Column("filed_by", sa.String(length=64), nullable=False),
        sa.Column("on_behalf_of", sa.Text(), nullable=True),
        sa.Column("filed_at", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("decided_by", sa.String(length=64), nullable=True),
        sa.Column("decided_at", sa.BigInteger(), nullable=True),
        sa.Column("decision_reason", sa.Text(), nullable=True),
        sa.CheckConstraint("state IN ('open', 'upheld', 'dismissed')", name=op.f("ck_objections_state_known")),
        sa.CheckConstraint("decided_by <> filed_by", name=op.f("ck_objections_two_people")),
        sa.ForeignKeyConstraint(["credit_id"], ["credits.id"], name=op.f("fk_objections_credit_id")),
        sa.ForeignKeyConstraint(["estate_id"], ["organizations.id"], name=op.f("fk_objections_estate_id")),
        sa.ForeignKeyConstraint(["resident_id"], ["residents.id"], name=op.f("fk_objections_resident_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_objections")),
    )
    op.create_index(
        "ix_objections_credit_id",
        "objections",
        ["credit_id"],
        unique=True,
        sqlite_where=sa.text("state = 'open'"),
        postgresql_where=sa.text("state = 'open'"),
    )
    op.create_index("ix_objections_estate_id", "objections", ["estate_id", "filed_at", "id"], unique=False)
    op.create_table(
        "service_records",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("resident_id", sa.String(length=40), nullable=False),
        sa.Column("organization_id", sa.String(length=40), nullable=False),
        sa.Column("estate_id", sa.String(length=40), nullable=False),
        sa.Column("activity_id", sa.String(length=40), nullable=True),
        sa.Column("session_id", sa.String(length=40), nullable=True),
        sa.Column("credit_id", sa.String(length=40), nullable=False),
        sa.Column("category", sa.String(length=40), nullable=True),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("place", sa.Text(), nullable=True),
        sa.Column("starts_at", sa.BigInteger(), nullable=False),
        sa.Column("day", sa.String(length=10), nullable=False),
        sa.Column("minutes", sa.Integer(), nullable=False),
        sa.Column("unit_name", sa.Text(), nullable=False),
        sa.Column("person_in_charge", sa.Text(), nullable=True),
        sa.Column("source", sa.String(length=1), nullable=True),
        sa.Column("confirmed_by", sa.String(length=64), nullable=False),
        sa.Column("finalised_at", sa.BigInteger(), nullable=False),
        sa.Column("known_from_at", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("corrected_at", sa.BigInteger(), nullable=True),
        sa.Column("corrected_by", sa.String(length=64), nullable=True),
        sa.CheckConstraint(
            "(state = 'corrected') = (corrected_at IS NOT NULL)", name=op.f("ck_service_records_corrected_at_a_time")
        ),
        sa.CheckConstraint("state IN ('valid', 'corrected')", name=op.f("ck_service_records_state_known")),
        sa.CheckConstraint("minutes >= 1", name=op.f("ck_service_records_minutes_positive")),
        sa.ForeignKeyConstraint(["credit_id"], ["credits.id"], name=op.f("fk_service_records_credit_id")),
        sa.ForeignKeyConstraint(["estate_id"], ["organizations.id"], name=op.f("fk_service_records_estate_id")),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name=op.f("fk_service_records_organization_id")
        ),
        sa.ForeignKeyConstraint(["resident_id"], ["residents.id"], name=op.f("fk_service_records_resident_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_service_records")),
        sa.UniqueConstraint("credit_id", name=op.f("uq_service_records_credit_id")),
    )
    op.create_index("ix_service_records_estate_id", "service_records", ["estate_id", "day"], unique=False)
    op.create_index("ix_service_records_organization_id", "service_records", ["organization_id", "day"], unique=False)
    op.create_index("ix_service_records_resident_id", "service_records", ["resident_id", "day"], unique=False)
    op.create_table(
        "sessions",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("activity_id", sa.String(length=40), nullable=False),
        sa.Column("starts_at", sa.BigInteger(), nullable=False),
        sa.Column("ends_at", sa.BigInteger(), nullable=False),
        sa.Column("closes_at", sa.BigInteger(), nullable=False),
        sa.Column("capacity", sa.Integer(), nullable=True),
        sa.Column("break_minutes", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("backdating_reason", sa.Text(), nullable=True),
        sa.Column("cancelled_at", sa.BigInteger(), nullable=True),
        sa.Column("cancel_reason", sa.Text(), nullable=True),
        sa.Column("created_by", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("state IN ('open', 'cancelled', 'done')", name=op.f("ck_sessions_state_known")),
        sa.CheckConstraint("capacity >= 1", name=op.f("ck_sessions_capacity_positive")),
        sa.CheckConstraint("ends_at > starts_at", name=op.f("ck_sessions_ends_after_its_start")),
        sa.ForeignKeyConstraint(["activity_id"], ["activities.id"], name=op.f("fk_sessions_activity_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sessions")),
    )
    op.create_index("ix_sessions_activity_id", "sessions", ["activity_id", "starts_at"], unique=False)
    op.create_index("ix_sessions_starts_at", "sessions", ["starts_at", "id"], unique=False)
    op.create_index("ix_sessions_state", "sessions", ["state", "closes_at"], unique=False)
    op.create_table(
        "task_people",
        sa.Column("task_id", sa.String(length=40), nullable=False),
        sa.Column("resident_id", sa.String(length=40), nullable=False),
        sa.Column("part", sa.String(length=10), nullable=False),
        sa.Column("minutes", sa.Integer(), nullable=True),
        sa.Column("is_on_duty", sa.Boolean(), nullable=False),
        sa.Column("credit_id", sa.String(length=40), nullable=True),
        sa.ForeignKeyConstraint(["credit_id"], ["credits.id"], name=op.f("fk_task_people_credit_id")),
        sa.ForeignKeyConstraint(["resident_id"], ["residents.id"], name=op.f("fk_task_people_resident_id")),
        sa.ForeignKeyConstraint(["task_id"], ["tasks.id"], name=op.f("fk_task_people_task_id")),
        sa.PrimaryKeyConstraint("task_id", "resident_id", name=op.f("pk_task_people")),
    )
    op.create_index("ix_task_people_resident_id", "task_people", ["resident_id"], unique=False)
    op.create_table(
        "attendance_code_tries",
        sa.Column("session_id", sa.String(length=40), nullable=False),
        sa.Column("resident_id", sa.String(length=40), nullable=False),
        sa.Column("wrong_tries", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["resident_id"], ["residents.id"], name=op.f("fk_attendance_code_tries_resident_id")),
        sa.ForeignKeyConstraint(["session_id"], ["sessions.id"], name=op.f("fk_attendance_code_tries_session_id")),
        sa.PrimaryKeyConstraint("session_id", "resident_id", name=op.f("pk_attendance_code_tries")),
    )
    op.create_table(
        "attendances",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("session_id", sa.String(length=40), nullable=False),
        sa.Column("resident_id", sa.String(length=40), nullable=False),
        sa.Column("estate_id", sa.String(length=40), nullable=False),
        sa.Column("checked_in_at", sa.BigInteger(), nullable=False),
        sa.Column("checked_out_at", sa.BigInteger(), nullable=True),
        sa.Column("minutes", sa.Integer(), nullable=True),
        sa.Column("source", sa.String(length=1), nullable=False),
        sa.Column("flags", sa.String(length=200), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("is_to_review", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("attachment_id", sa.String(length=40), nullable=True),
        sa.Column("recorded_by", sa.String(length=64), nullable=False),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.Column("credit_id", sa.String(length=40), nullable=True),
        sa.Column("credited_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("source IN ('a', 'b', 'c', 'd')", name=op.f("ck_attendances_source_known")),
        sa.CheckConstraint(
            "state <> 'closed' OR (checked_out_at IS NOT NULL AND minutes IS NOT NULL)",
            name=op.f("ck_attendances_closed_whole"),
        ),
        sa.CheckConstraint("state IN ('open', 'closed', 'void')", name=op.f("ck_attendances_state_known")),
        sa.CheckConstraint("checked_out_at >= checked_in_at", name=op.f("ck_attendances_out_after_in")),
        sa.CheckConstraint("minutes BETWEEN 0 AND 1440", name=op.f("ck_attendances_minutes_of_a_day")),
        sa.ForeignKeyConstraint(["estate_id"], ["organizations.id"], name=op.f("fk_attendances_estate_id")),
        sa.ForeignKeyConstraint(["resident_id"], ["residents.id"], name=op.f("fk_attendances_resident_id")),
        sa.ForeignKeyConstraint(["session_id"], ["sessions.id"], name=op.f("fk_attendances_session_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attendances")),
        sa.UniqueConstraint("session_id", "resident_id", name="uq_attendances_session_resident"),
    )
    op.create_index("ix_attendances_credit_id", "attendances", ["credit_id"], unique=False)
    op.create_index("ix_attendances_is_to_review", "attendances", ["is_to_review", "session_id"], unique=False)
    op.create_index("ix_attendances_resident_id", "attendances", ["resident_id", "checked_in_at"], unique=False)
    op.create_table(
        "sign_ups",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("session_id", sa.String(length=40), nullable=False),
        sa.Column("resident_id", sa.String(length=40), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("signed_up_by", sa.String(length=64), nullable=False),
        sa.Column("signed_up_at", sa.BigInteger(), nullable=False),
        sa.Column("moved_up_at", sa.BigInteger(), nullable=True),
        sa.Column("cancelled_by", sa.String(length=64), nullable=True),
        sa.Column("cancelled_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("state IN ('signed_up', 'waiting', 'cancelled')", name=op.f("ck_sign_ups_state_known")),
        sa.ForeignKeyConstraint(["resident_id"], ["residents.id"], name=op.f("fk_sign_ups_resident_id")),
        sa.ForeignKeyConstraint(["session_id"], ["sessions.id"], name=op.f("fk_sign_ups_session_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sign_ups")),
        sa.UniqueConstraint("session_id", "number", name="uq_sign_ups_session_number"),
        sa.UniqueConstraint("session_id", "resident_id", name="uq_sign_ups_session_resident"),
    )
    op.create_index("ix_sign_ups_resident_id", "sign_ups", ["resident_id", "state"], unique=False)
    op.create_table(
        "attendance_changes",
        sa.Column("number", SERIAL, autoincrement=True, nullable=False),
        sa.Column("attendance_id", sa.String(length=40), nullable=False),
        sa.Column("change", sa.String(length=20), nullable=False),
        sa.Column("checked_in_at_before", sa.BigInteger(), nullable=False),
        sa.Column("checked_out_at_before", sa.BigInteger(), nullable=True),
        sa.Column("minutes_before", sa.Integer(), nullable=True),
        sa.Column("source_before", sa.String(length=1), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("actor", sa.String(length=64), nullable=False),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["attendance_id"], ["attendances.id"], name=op.f("fk_attendance_changes_attendance_id")
        ),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_attendance_changes")),
    )
    op.create_index("ix_attendance_changes_attendance_id", "attendance_changes", ["attendance_id"], unique=False)


def keep_what_is_written() -> None:
    dialect = op.get_bind().dialect.name
    for table in APPEND_ONLY:
        if dialect == "sqlite":
            for verb in ("update", "delete"):
                op.execute(
                    f"CREATE TRIGGER {table}_refuses_{verb} BEFORE {verb.upper()} ON {table} "
                    f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
                )
        else:
            for name, events, scope in (("change", "UPDATE OR DELETE", "ROW"), ("truncate", "TRUNCATE", "STATEMENT")):
                op.execute(
                    f"CREATE TRIGGER {table}_refuses_{name} BEFORE {events} ON {table} "
                    f"FOR EACH {scope} EXECUTE FUNCTION refuse_change()"
                )
    for statement in SPECIAL[dialect]:
        op.execute(statement)


SPECIAL: Final = {
    "sqlite": (
        "CREATE TRIGGER personal_accesses_refuses_update BEFORE UPDATE ON personal_accesses BEGIN SELECT "
        "RAISE(ABORT, 'personal_accesses is append-only'); END",
        "CREATE TRIGGER personal_accesses_refuses_delete BEFORE DELETE ON personal_accesses WHEN "
        "OLD.recorded_at > (SELECT max(recorded_at) FROM personal_accesses) - 15897600000 BEGIN SELECT "
        "RAISE(ABORT, 'personal_accesses is kept for six months'); END",
        "CREATE TRIGGER service_records_refuses_update BEFORE UPDATE OF id, resident_id, "
        "organization_id, estate_id, activity_id, session_id, credit_id, category, title, place, "
        "starts_at, day, minutes, unit_name, person_in_charge, source, confirmed_by, finalised_at, "
        "known_from_at ON service_records BEGIN SELECT RAISE(ABORT, 'service_records is append-only'); "
        "END",
        "CREATE TRIGGER service_records_refuses_delete BEFORE DELETE ON service_records BEGIN SELECT "
        "RAISE(ABORT, 'service_records is append-only'); END",
    ),
    "postgresql": (
        "CREATE TRIGGER personal_accesses_refuses_change BEFORE UPDATE ON personal_accesses FOR EACH ROW "
        "EXECUTE FUNCTION refuse_change()",
        "CREATE TRIGGER personal_accesses_refuses_truncate BEFORE TRUNCATE ON personal_accesses FOR EACH "
        "STATEMENT EXECUTE FUNCTION refuse_change()",
        "CREATE OR REPLACE FUNCTION refuse_young_access() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "IF OLD.recorded_at > (SELECT max(recorded_at) FROM personal_accesses) - 15897600000 THEN RAISE "
        "EXCEPTION 'personal_accesses is kept for six months'; END IF; RETURN OLD; END $$",
        "CREATE TRIGGER personal_accesses_refuses_delete BEFORE DELETE ON personal_accesses FOR EACH ROW "
        "EXECUTE FUNCTION refuse_young_access()",
        "CREATE TRIGGER service_records_refuses_change BEFORE UPDATE OF id, resident_id, "
        "organization_id, estate_id, activity_id, session_id, credit_id, category, title, place, "
        "starts_at, day, minutes, unit_name, person_in_charge, source, confirmed_by, finalised_at, "
        "known_from_at OR DELETE ON service_records FOR EACH ROW EXECUTE FUNCTION refuse_change()",
        "CREATE TRIGGER service_records_refuses_truncate BEFORE TRUNCATE ON service_records FOR EACH "
        "STATEMENT EXECUTE FUNCTION refuse_change()",
    ),
}


def record_service() -> None:
    """A service record for each credit with time that is final."""
    bind = op.get_bind()
    # As the server names it.
    query = sa.text(
        "SELECT c.*, o.name AS unit_name FROM credits c JOIN organizations o ON o.id = c.estate_id "
        "WHERE c.state IN ('final', 'reversed') AND c.minutes IS NOT NULL"
    )
    rows = [
        {
            "id": hashlib.sha256(f"service record\n{row['id']}".encode()).hexdigest()[:32],
            "resident_id": row["resident_id"],
            "organization_id": row["estate_id"],
            "estate_id": row["estate_id"],
            "credit_id": row["id"],
            "title": row["activity"],
            "starts_at": row["worked_at"],
            "day": row["day"],
            "minutes": row["minutes"],
            "unit_name": row["unit_name"],
            "source": "b",
            "confirmed_by": row["decided_by"],
            "finalised_at": row["finalised_at"],
            "known_from_at": row["finalised_at"],
            "state": "valid" if row["state"] == "final" else "corrected",
            "corrected_at": row["reversed_at"],
            "corrected_by": row["reversed_by"],
        }
        for row in bind.execute(query).mappings()
    ]
    if rows:
        bind.execute(sa.insert(sa.Table("service_records", sa.MetaData(), autoload_with=bind)), rows)
