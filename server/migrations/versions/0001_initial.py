"""The first schema: every table, the indexes, and the triggers that keep facts as they were written."""

from typing import Final

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# A 64-bit key that SQLite can use as its row id. Instants are milliseconds since the epoch, in a BIGINT.
SERIAL: Final = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

APPEND_ONLY: Final = (
    "audit_entries",
    "batches",
    "clock_checks",
    "contradictions",
    "days",
    "received_messages",
    "redemption_events",
    "rejected_messages",
    "transfers",
)
"""What is written there is never changed: UPDATE and DELETE are refused, and TRUNCATE where there is one."""


def upgrade() -> None:
    create_tables()
    if op.get_bind().dialect.name == "postgresql":
        keep_in_postgresql()
    else:
        keep_in_sqlite()


def keep_in_sqlite() -> None:
    for table in APPEND_ONLY:
        for verb in ("update", "delete"):
            op.execute(
                f"CREATE TRIGGER {table}_refuses_{verb} BEFORE {verb.upper()} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            )
    op.execute(
        "CREATE TRIGGER batches_day_is_open BEFORE INSERT ON batches WHEN NEW.day <= (SELECT max(day) FROM days) "
        "BEGIN SELECT RAISE(ABORT, 'a closed day takes no more batches'); END"
    )


def keep_in_postgresql() -> None:
    op.execute(
        "CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END $$"
    )
    for table in APPEND_ONLY:
        for name, events, scope in (("change", "UPDATE OR DELETE", "ROW"), ("truncate", "TRUNCATE", "STATEMENT")):
            op.execute(
                f"CREATE TRIGGER {table}_refuses_{name} BEFORE {events} ON {table} "
                f"FOR EACH {scope} EXECUTE FUNCTION refuse_change()"
            )
    op.execute("CREATE SEQUENCE batch_serial")
    op.execute(
        "CREATE FUNCTION refuse_closed_day() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "IF NEW.day <= (SELECT max(day) FROM days) "
        "THEN RAISE EXCEPTION 'a closed day takes no more batches'; END IF; RETURN NEW; END $$"
    )
    op.execute(
        "CREATE TRIGGER batches_day_is_open BEFORE INSERT ON batches FOR EACH ROW EXECUTE FUNCTION refuse_closed_day()"
    )
    op.create_index("uq_batches_writer_number", "batches", ["writer", "number"], unique=True)


def create_tables() -> None:
    op.create_table(
        "accounts",
        sa.Column("number", SERIAL, nullable=False),
        sa.Column("id", sa.String(length=60), nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("owner", sa.String(length=60), nullable=False),
        sa.Column("may_not_go_negative", sa.Boolean(), nullable=False),
        sa.Column("may_not_go_positive", sa.Boolean(), nullable=False),
        sa.Column("owed_id", sa.String(length=60), nullable=True),
        sa.Column("expired_id", sa.String(length=60), nullable=True),
        sa.Column("opened_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_accounts")),
        sa.UniqueConstraint("id", name=op.f("uq_accounts_id")),
    )
    op.create_table(
        "alerts",
        sa.Column("number", SERIAL, autoincrement=True, nullable=False),
        sa.Column("grade", sa.String(length=10), nullable=False),
        sa.Column("kind", sa.String(length=30), nullable=False),
        sa.Column("subject", sa.String(length=100), nullable=False),
        sa.Column("estate_id", sa.String(length=40), nullable=False),
        sa.Column("machine_id", sa.String(length=32), nullable=True),
        sa.Column("redemption_id", sa.String(length=40), nullable=True),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("opened_at", sa.BigInteger(), nullable=False),
        sa.Column("acknowledged_at", sa.BigInteger(), nullable=True),
        sa.Column("acknowledged_by", sa.String(length=40), nullable=True),
        sa.Column("resolved_at", sa.BigInteger(), nullable=True),
        sa.Column("resolved_by", sa.String(length=40), nullable=True),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_alerts")),
    )
    op.create_index(op.f("ix_alerts_estate_id"), "alerts", ["estate_id"], unique=False)
    op.create_index(
        "uq_alerts_open",
        "alerts",
        ["kind", "subject"],
        unique=True,
        sqlite_where=sa.text("resolved_at IS NULL"),
        postgresql_where=sa.text("resolved_at IS NULL"),
    )
    op.create_table(
        "audit_entries",
        sa.Column("number", SERIAL, autoincrement=True, nullable=False),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.String(length=64), nullable=False),
        sa.Column("action", sa.String(length=40), nullable=False),
        sa.Column("subject_type", sa.String(length=40), nullable=False),
        sa.Column("subject_id", sa.String(length=64), nullable=False),
        sa.Column("operation_id", sa.String(length=64), nullable=False),
        sa.Column("details", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_audit_entries")),
    )
    op.create_index("ix_audit_entries_subject", "audit_entries", ["subject_type", "subject_id"], unique=False)
    op.create_table(
        "balances",
        sa.Column("number", SERIAL, autoincrement=False, nullable=False),
        sa.Column("posted", sa.BigInteger(), nullable=False),
        sa.Column("held", sa.BigInteger(), nullable=False),
        sa.Column("next_expiry_at", sa.BigInteger(), nullable=True),
        sa.Column("last_sequence", sa.BigInteger(), nullable=False),
        sa.Column("is_frozen", sa.Boolean(), nullable=False),
        sa.Column("may_not_go_negative", sa.Boolean(), nullable=False),
        sa.Column("may_not_go_positive", sa.Boolean(), nullable=False),
        sa.CheckConstraint(
            "NOT may_not_go_negative OR posted - held >= 0", name=op.f("ck_balances_available_not_negative")
        ),
        sa.CheckConstraint("NOT may_not_go_positive OR posted <= 0", name=op.f("ck_balances_posted_not_positive")),
        sa.CheckConstraint("held >= 0", name=op.f("ck_balances_held_not_negative")),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_balances")),
        postgresql_with={"fillfactor": 50},
    )
    op.create_table(
        "batches",
        sa.Column("serial", SERIAL, autoincrement=False, nullable=False),
        sa.Column("writer", sa.Integer(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("length", sa.Integer(), nullable=False),
        sa.Column("previous", sa.LargeBinary(length=32), nullable=False),
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("day", sa.String(length=10), nullable=False),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("serial", name=op.f("pk_batches")),
    )
    op.create_table(
        "claim_codes",
        sa.Column("code_hash", sa.String(length=64), nullable=False),
        sa.Column("machine_id", sa.String(length=32), nullable=False),
        sa.Column("created_by", sa.String(length=40), nullable=False),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("used_at", sa.BigInteger(), nullable=True),
        sa.Column("used_by_journal", sa.String(length=40), nullable=True),
        sa.PrimaryKeyConstraint("code_hash", name=op.f("pk_claim_codes")),
    )
    op.create_index(op.f("ix_claim_codes_machine_id"), "claim_codes", ["machine_id"], unique=False)
    op.create_table(
        "clock_checks",
        sa.Column("number", SERIAL, autoincrement=True, nullable=False),
        sa.Column("is_doubted", sa.Boolean(), nullable=False),
        sa.Column("known_at", sa.BigInteger(), nullable=False),
        sa.Column("newest_serial", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.String(length=60), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_clock_checks")),
    )
    op.create_table(
        "contradictions",
        sa.Column("number", SERIAL, autoincrement=True, nullable=False),
        sa.Column("redemption_id", sa.String(length=40), nullable=False),
        sa.Column("machine_id", sa.String(length=32), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("event", sa.String(length=30), nullable=False),
        sa.Column("message_id", sa.String(length=40), nullable=True),
        sa.Column("evidence", sa.Text(), nullable=False),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_contradictions")),
    )
    op.create_index(op.f("ix_contradictions_redemption_id"), "contradictions", ["redemption_id"], unique=False)
    op.create_table(
        "days",
        sa.Column("day", sa.String(length=10), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("root", sa.LargeBinary(length=32), nullable=False),
        sa.Column("closed_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("day", name=op.f("pk_days")),
    )
    op.create_table(
        "decisions",
        sa.Column("number", SERIAL, autoincrement=True, nullable=False),
        sa.Column("redemption_id", sa.String(length=40), nullable=False),
        sa.Column("machine_id", sa.String(length=32), nullable=False),
        sa.Column("resident_id", sa.String(length=40), nullable=True),
        sa.Column("verdict", sa.String(length=20), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("decided_by", sa.String(length=40), nullable=False),
        sa.Column("seconded_by", sa.String(length=40), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("evidence", sa.Text(), nullable=False),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_decisions")),
    )
    op.create_index("ix_decisions_recorded", "decisions", ["recorded_at"], unique=False)
    op.create_index(op.f("ix_decisions_redemption_id"), "decisions", ["redemption_id"], unique=False)
    op.create_table(
        "gateways",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("seen_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_gateways")),
    )
    op.create_table(
        "identity",
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("ledger_id", sa.String(length=40), nullable=False),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("number = 1", name=op.f("ck_identity_one_row")),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_identity")),
    )
    op.create_table(
        "machines",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("estate_id", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("shard", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("closed_reason", sa.String(length=60), nullable=True),
        sa.Column("key_id", sa.Integer(), nullable=False),
        sa.Column("journal_id", sa.String(length=40), nullable=True),
        sa.Column("last_seq", sa.BigInteger(), nullable=False),
        sa.Column("caught_up_with", sa.String(length=40), nullable=True),
        sa.Column("session_boot", sa.BigInteger(), nullable=True),
        sa.Column("session_connection", sa.BigInteger(), nullable=True),
        sa.Column("session_tag", sa.String(length=40), nullable=True),
        sa.Column("session_since_at", sa.BigInteger(), nullable=True),
        sa.Column("beat_number", sa.BigInteger(), nullable=True),
        sa.Column("last_heartbeat_at", sa.BigInteger(), nullable=True),
        sa.Column("is_offline", sa.Boolean(), nullable=False),
        sa.Column("reported", sa.Text(), nullable=True),
        sa.Column("planogram_version", sa.BigInteger(), nullable=False),
        sa.Column("desired_version", sa.BigInteger(), nullable=False),
        sa.Column("reported_version", sa.BigInteger(), nullable=False),
        sa.Column("blocked_through_at", sa.BigInteger(), nullable=True),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.Column("enrolled_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_machines")),
    )
    op.create_index(op.f("ix_machines_estate_id"), "machines", ["estate_id"], unique=False)
    op.create_table(
        "operations",
        sa.Column("id", sa.String(length=80), nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("request_hash", sa.String(length=64), nullable=False),
        sa.Column("response_json", sa.Text(), nullable=False),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_operations")),
    )
    op.create_table(
        "organizations",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("parent_id", sa.String(length=40), nullable=True),
        sa.Column("level", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["parent_id"], ["organizations.id"], name=op.f("fk_organizations_parent_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_organizations")),
    )
    op.create_index("ix_organizations_parent_id", "organizations", ["parent_id"], unique=False)
    op.create_table(
        "planogram_slots",
        sa.Column("machine_id", sa.String(length=32), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("selection", sa.Integer(), nullable=False),
        sa.Column("product_id", sa.String(length=40), nullable=False),
        sa.Column("points", sa.BigInteger(), nullable=False),
        sa.Column("capacity", sa.Integer(), nullable=False),
        sa.Column("is_enabled", sa.Boolean(), nullable=False),
        sa.CheckConstraint("points >= 1", name=op.f("ck_planogram_slots_points_positive")),
        sa.PrimaryKeyConstraint("machine_id", "version", "selection", name=op.f("pk_planogram_slots")),
    )
    op.create_table(
        "planograms",
        sa.Column("machine_id", sa.String(length=32), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.String(length=40), nullable=False),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("machine_id", "version", name=op.f("pk_planograms")),
    )
    op.create_table(
        "products",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("estate_id", sa.String(length=40), nullable=False),
        sa.Column("name_zh", sa.String(length=200), nullable=False),
        sa.Column("name_en", sa.String(length=200), nullable=False),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_products")),
    )
    op.create_index(op.f("ix_products_estate_id"), "products", ["estate_id"], unique=False)
    op.create_table(
        "received_messages",
        sa.Column("machine_id", sa.String(length=32), nullable=False),
        sa.Column("journal_id", sa.String(length=40), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("message_hash", sa.String(length=64), nullable=False),
        sa.Column("is_rejected", sa.Boolean(), nullable=False),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("machine_id", "journal_id", "seq", name=op.f("pk_received_messages")),
    )
    op.create_table(
        "redemption_events",
        sa.Column("number", SERIAL, autoincrement=True, nullable=False),
        sa.Column("redemption_id", sa.String(length=40), nullable=False),
        sa.Column("event", sa.String(length=30), nullable=False),
        sa.Column("party", sa.String(length=10), nullable=False),
        sa.Column("actor", sa.String(length=40), nullable=False),
        sa.Column("verdict", sa.String(length=20), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("message_id", sa.String(length=40), nullable=True),
        sa.Column("evidence", sa.Text(), nullable=False),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_redemption_events")),
    )
    op.create_index(op.f("ix_redemption_events_redemption_id"), "redemption_events", ["redemption_id"], unique=False)
    op.create_table(
        "redemptions",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("machine_id", sa.String(length=32), nullable=False),
        sa.Column("estate_id", sa.String(length=40), nullable=False),
        sa.Column("resident_id", sa.String(length=40), nullable=True),
        sa.Column("account_id", sa.String(length=40), nullable=True),
        sa.Column("selection", sa.Integer(), nullable=True),
        sa.Column("product_id", sa.String(length=40), nullable=True),
        sa.Column("points", sa.BigInteger(), nullable=True),
        sa.Column("planogram_version", sa.BigInteger(), nullable=True),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("reason", sa.String(length=60), nullable=True),
        sa.Column("reason_fields", sa.Text(), nullable=True),
        sa.Column("is_with_pin", sa.Boolean(), nullable=False),
        sa.Column("is_reserved", sa.Boolean(), nullable=False),
        sa.Column("hold_id", sa.String(length=40), nullable=True),
        sa.Column("request_hash", sa.String(length=64), nullable=True),
        sa.Column("occurred_at", sa.BigInteger(), nullable=True),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.Column("watch_grade", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_redemptions")),
        sa.UniqueConstraint("hold_id", name=op.f("uq_redemptions_hold_id")),
    )
    op.create_index("ix_redemptions_machine", "redemptions", ["machine_id", "recorded_at"], unique=False)
    op.create_index(
        "ix_redemptions_open",
        "redemptions",
        ["resident_id", "recorded_at"],
        unique=False,
        sqlite_where=sa.text("state IN ('requested', 'held', 'vending', 'in_doubt')"),
        postgresql_where=sa.text("state IN ('requested', 'held', 'vending', 'in_doubt')"),
    )
    op.create_index("ix_redemptions_resident", "redemptions", ["resident_id", "recorded_at"], unique=False)
    op.create_index(
        "ix_redemptions_unknown_card",
        "redemptions",
        ["machine_id", "recorded_at"],
        unique=False,
        sqlite_where=sa.text("reason = 'card_unknown'"),
        postgresql_where=sa.text("reason = 'card_unknown'"),
    )
    op.create_table(
        "rejected_messages",
        sa.Column("number", SERIAL, autoincrement=True, nullable=False),
        sa.Column("machine_id", sa.String(length=32), nullable=False),
        sa.Column("journal_id", sa.String(length=40), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("message_id", sa.String(length=40), nullable=False),
        sa.Column("type", sa.String(length=40), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("reason", sa.String(length=60), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_rejected_messages")),
    )
    op.create_index(op.f("ix_rejected_messages_machine_id"), "rejected_messages", ["machine_id"], unique=False)
    op.create_table(
        "shard_leases",
        sa.Column("shard", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("holder", sa.String(length=40), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("shard", name=op.f("pk_shard_leases")),
    )
    op.create_table(
        "slots",
        sa.Column("machine_id", sa.String(length=32), nullable=False),
        sa.Column("selection", sa.Integer(), nullable=False),
        sa.Column("stock", sa.Integer(), nullable=False),
        sa.Column("reserved", sa.Integer(), nullable=False),
        sa.Column("closed_reason", sa.String(length=60), nullable=True),
        sa.Column("closed_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("reserved >= 0", name=op.f("ck_slots_reserved_not_negative")),
        sa.CheckConstraint("stock >= 0", name=op.f("ck_slots_stock_not_negative")),
        sa.PrimaryKeyConstraint("machine_id", "selection", name=op.f("pk_slots")),
    )
    op.create_table(
        "transfers",
        sa.Column("sequence", SERIAL, autoincrement=False, nullable=False),
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("debit", sa.BigInteger(), nullable=False),
        sa.Column("credit", sa.BigInteger(), nullable=False),
        sa.Column("points", sa.BigInteger(), nullable=False),
        sa.Column("cause_type", sa.String(length=40), nullable=False),
        sa.Column("cause_id", sa.String(length=40), nullable=False),
        sa.Column("cause_revision", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.String(length=60), nullable=False),
        sa.Column("reason", sa.String(length=40), nullable=False),
        sa.Column("rule_version", sa.String(length=40), nullable=True),
        sa.Column("pending", sa.BigInteger(), nullable=True),
        sa.Column("reverses", sa.BigInteger(), nullable=True),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.Column("occurred_at", sa.BigInteger(), nullable=True),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.Column("debit_previous", sa.BigInteger(), nullable=True),
        sa.Column("credit_previous", sa.BigInteger(), nullable=True),
        sa.Column("row_hash", sa.LargeBinary(length=32), nullable=False),
        sa.CheckConstraint("debit <> credit", name=op.f("ck_transfers_two_accounts")),
        sa.CheckConstraint("points > 0", name=op.f("ck_transfers_points_positive")),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_transfers")),
        sa.UniqueConstraint("cause_id", "kind", "cause_type", "cause_revision", name="uq_transfers_cause"),
        sa.UniqueConstraint("id", name=op.f("uq_transfers_id")),
    )
    op.create_index(
        "uq_transfers_pending",
        "transfers",
        ["pending"],
        unique=True,
        sqlite_where=sa.text("pending IS NOT NULL"),
        postgresql_where=sa.text("pending IS NOT NULL"),
    )
    op.create_index(
        "uq_transfers_reverses",
        "transfers",
        ["reverses"],
        unique=True,
        sqlite_where=sa.text("reverses IS NOT NULL"),
        postgresql_where=sa.text("reverses IS NOT NULL"),
    )
    op.create_table(
        "residents",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("estate_id", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("phone", sa.String(length=20), nullable=True),
        sa.Column("member_serial", sa.Integer(), nullable=False),
        sa.Column("member_number", sa.String(length=10), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("pin_hash", sa.String(length=200), nullable=True),
        sa.Column("pin_wrong_tries", sa.Integer(), nullable=False),
        sa.Column("pin_locked_until_at", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("state IN ('active', 'frozen')", name=op.f("ck_residents_state_known")),
        sa.ForeignKeyConstraint(["estate_id"], ["organizations.id"], name=op.f("fk_residents_estate_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_residents")),
        sa.UniqueConstraint("member_number", name=op.f("uq_residents_member_number")),
        sa.UniqueConstraint("member_serial", name=op.f("uq_residents_member_serial")),
    )
    op.create_index("ix_residents_estate_id", "residents", ["estate_id", "member_serial"], unique=False)
    op.create_table(
        "cards",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("hash", sa.String(length=32), nullable=False),
        sa.Column("resident_id", sa.String(length=40), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("ending", sa.String(length=4), nullable=False),
        sa.Column("bound_at", sa.BigInteger(), nullable=False),
        sa.Column("blocked_at", sa.BigInteger(), nullable=True),
        sa.Column("blocked_reason", sa.String(length=40), nullable=True),
        sa.CheckConstraint("state IN ('active', 'blocked')", name=op.f("ck_cards_state_known")),
        sa.ForeignKeyConstraint(["resident_id"], ["residents.id"], name=op.f("fk_cards_resident_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cards")),
        sa.UniqueConstraint("hash", name=op.f("uq_cards_hash")),
    )
    op.create_index("ix_cards_resident_id", "cards", ["resident_id"], unique=False)
    op.create_table(
        "credits",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("resident_id", sa.String(length=40), nullable=False),
        sa.Column("estate_id", sa.String(length=40), nullable=False),
        sa.Column("minutes", sa.Integer(), nullable=True),
        sa.Column("points", sa.Integer(), nullable=False),
        sa.Column("rule_version", sa.String(length=40), nullable=False),
        sa.Column("activity", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("recorded_by", sa.String(length=40), nullable=False),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.Column("decided_by", sa.String(length=40), nullable=True),
        sa.Column("decided_at", sa.BigInteger(), nullable=True),
        sa.Column("decision_reason", sa.Text(), nullable=True),
        sa.Column("transfer_id", sa.String(length=40), nullable=True),
        sa.Column("reversed_by", sa.String(length=40), nullable=True),
        sa.Column("reversed_at", sa.BigInteger(), nullable=True),
        sa.Column("reversal_reason", sa.Text(), nullable=True),
        sa.Column("reversal_transfer_id", sa.String(length=40), nullable=True),
        sa.CheckConstraint(
            "(state = 'reversed') = (reversal_transfer_id IS NOT NULL)", name=op.f("ck_credits_reversed_in_the_ledger")
        ),
        sa.CheckConstraint(
            "state IN ('recorded', 'approved', 'rejected', 'reversed')", name=op.f("ck_credits_state_known")
        ),
        sa.CheckConstraint("decided_by <> recorded_by", name=op.f("ck_credits_two_people")),
        sa.CheckConstraint("points >= 1", name=op.f("ck_credits_points_positive")),
        sa.ForeignKeyConstraint(["estate_id"], ["organizations.id"], name=op.f("fk_credits_estate_id")),
        sa.ForeignKeyConstraint(["resident_id"], ["residents.id"], name=op.f("fk_credits_resident_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_credits")),
        sa.UniqueConstraint("reversal_transfer_id", name=op.f("uq_credits_reversal_transfer_id")),
        sa.UniqueConstraint("transfer_id", name=op.f("uq_credits_transfer_id")),
    )
    op.create_index("ix_credits_estate_id", "credits", ["estate_id", "recorded_at", "id"], unique=False)
    op.create_index("ix_credits_resident_id", "credits", ["resident_id"], unique=False)
    op.create_table(
        "staff",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("login", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("password_hash", sa.String(length=200), nullable=False),
        sa.Column("resident_id", sa.String(length=40), nullable=True),
        sa.Column("wrong_tries", sa.Integer(), nullable=False),
        sa.Column("locked_until_at", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["resident_id"], ["residents.id"], name=op.f("fk_staff_resident_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_staff")),
        sa.UniqueConstraint("login", name=op.f("uq_staff_login")),
    )
    op.create_table(
        "staff_roles",
        sa.Column("staff_id", sa.String(length=40), nullable=False),
        sa.Column("role", sa.String(length=20), nullable=False),
        sa.Column("organization_id", sa.String(length=40), nullable=False),
        sa.ForeignKeyConstraint(["organization_id"], ["organizations.id"], name=op.f("fk_staff_roles_organization_id")),
        sa.ForeignKeyConstraint(["staff_id"], ["staff.id"], name=op.f("fk_staff_roles_staff_id")),
        sa.PrimaryKeyConstraint("staff_id", "role", "organization_id", name=op.f("pk_staff_roles")),
    )
    op.create_table(
        "staff_tokens",
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("staff_id", sa.String(length=40), nullable=False),
        sa.Column("issued_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("revoked_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["staff_id"], ["staff.id"], name=op.f("fk_staff_tokens_staff_id")),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_staff_tokens")),
    )
