"""Certificates, what messages go out by which channel, what a card was last told, anomalies that were looked at.

Entries of the audit log say from now on at which node something was done; those from before say nothing about it.
"""

from typing import Final

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# A 64-bit key that SQLite can use as its row id. Instants are milliseconds since the epoch, in a BIGINT.
SERIAL: Final = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    make_tables()
    op.add_column("imports", sa.Column("note_salt", sa.String(length=64), nullable=True))
    op.add_column("audit_entries", sa.Column("organization_id", sa.String(length=40), nullable=True))
    op.create_index("ix_audit_entries_organization_id", "audit_entries", ["organization_id", "number"], unique=False)
    op.create_index(
        "ix_residents_merged_into",
        "residents",
        ["merged_into"],
        unique=False,
        sqlite_where=sa.text("merged_into IS NOT NULL"),
        postgresql_where=sa.text("merged_into IS NOT NULL"),
    )
    keep_what_is_written()


def make_tables() -> None:
    op.create_table(
        "message_marks",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("message_number", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_message_marks")),
    )
    op.create_table(
        "anomaly_looks",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("estate_id", sa.String(length=40), nullable=False),
        sa.Column("resident_id", sa.String(length=40), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("looked_by", sa.String(length=64), nullable=False),
        sa.Column("looked_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["estate_id"], ["organizations.id"], name=op.f("fk_anomaly_looks_estate_id")),
        sa.ForeignKeyConstraint(["resident_id"], ["residents.id"], name=op.f("fk_anomaly_looks_resident_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_anomaly_looks")),
    )
    op.create_index("ix_anomaly_looks_resident_id", "anomaly_looks", ["resident_id"], unique=False)
    op.create_table(
        "card_greetings",
        sa.Column("resident_id", sa.String(length=40), nullable=False),
        sa.Column("available_points", sa.Integer(), nullable=False),
        sa.Column("greeted_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["resident_id"], ["residents.id"], name=op.f("fk_card_greetings_resident_id")),
        sa.PrimaryKeyConstraint("resident_id", name=op.f("pk_card_greetings")),
    )
    op.create_table(
        "certificates",
        sa.Column("number", sa.String(length=15), nullable=False),
        sa.Column("resident_id", sa.String(length=40), nullable=False),
        sa.Column("estate_id", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=True),
        sa.Column("unit_name", sa.Text(), nullable=False),
        sa.Column("first_day", sa.String(length=10), nullable=False),
        sa.Column("last_day", sa.String(length=10), nullable=False),
        sa.Column("minutes", sa.Integer(), nullable=False),
        sa.Column("record_count", sa.Integer(), nullable=False),
        sa.Column("issued_by", sa.String(length=64), nullable=False),
        sa.Column("issued_at", sa.BigInteger(), nullable=False),
        sa.Column("revoked_by", sa.String(length=64), nullable=True),
        sa.Column("revoked_at", sa.BigInteger(), nullable=True),
        sa.Column("revoke_reason", sa.Text(), nullable=True),
        sa.Column("replaced_by", sa.String(length=15), nullable=True),
        sa.CheckConstraint(
            "(revoked_at IS NULL) = (revoked_by IS NULL)", name=op.f("ck_certificates_revoked_by_somebody")
        ),
        sa.CheckConstraint(
            "replaced_by IS NULL OR revoked_at IS NOT NULL", name=op.f("ck_certificates_replaced_is_revoked")
        ),
        sa.ForeignKeyConstraint(["estate_id"], ["organizations.id"], name=op.f("fk_certificates_estate_id")),
        sa.ForeignKeyConstraint(["resident_id"], ["residents.id"], name=op.f("fk_certificates_resident_id")),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_certificates")),
    )
    op.create_index("ix_certificates_estate_id", "certificates", ["estate_id", "issued_at", "number"], unique=False)
    op.create_index("ix_certificates_resident_id", "certificates", ["resident_id", "issued_at"], unique=False)
    op.create_table(
        "message_channels",
        sa.Column("resident_id", sa.String(length=40), nullable=False),
        sa.Column("channel", sa.String(length=10), nullable=False),
        sa.Column("address", sa.String(length=100), nullable=True),
        sa.Column("since_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["resident_id"], ["residents.id"], name=op.f("fk_message_channels_resident_id")),
        sa.PrimaryKeyConstraint("resident_id", "channel", name=op.f("pk_message_channels")),
    )
    op.create_table(
        "message_sendings",
        sa.Column("number", SERIAL, autoincrement=True, nullable=False),
        sa.Column("message_number", sa.BigInteger(), nullable=False),
        sa.Column("channel", sa.String(length=10), nullable=False),
        sa.Column("resident_id", sa.String(length=40), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("is_urgent", sa.Boolean(), nullable=False),
        sa.Column("planned_at", sa.BigInteger(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("problem", sa.String(length=40), nullable=True),
        sa.CheckConstraint(
            "state IN ('waiting', 'sent', 'failed', 'dropped')", name=op.f("ck_message_sendings_state_known")
        ),
        sa.ForeignKeyConstraint(
            ["message_number"], ["messages.number"], name=op.f("fk_message_sendings_message_number")
        ),
        sa.ForeignKeyConstraint(["resident_id"], ["residents.id"], name=op.f("fk_message_sendings_resident_id")),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_message_sendings")),
        sa.UniqueConstraint("message_number", "channel", name=op.f("uq_message_sendings_message_number_channel")),
    )
    op.create_index(
        "ix_message_sendings_due",
        "message_sendings",
        ["due_at"],
        unique=False,
        sqlite_where=sa.text("state = 'waiting'"),
        postgresql_where=sa.text("state = 'waiting'"),
    )
    op.create_index(
        "ix_message_sendings_failed",
        "message_sendings",
        ["number"],
        unique=False,
        sqlite_where=sa.text("state = 'failed'"),
        postgresql_where=sa.text("state = 'failed'"),
    )
    op.create_index("ix_message_sendings_resident_id", "message_sendings", ["resident_id"], unique=False)
    op.create_table(
        "certificate_records",
        sa.Column("number", sa.String(length=15), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("record_id", sa.String(length=40), nullable=False),
        sa.ForeignKeyConstraint(["number"], ["certificates.number"], name=op.f("fk_certificate_records_number")),
        sa.ForeignKeyConstraint(["record_id"], ["service_records.id"], name=op.f("fk_certificate_records_record_id")),
        sa.PrimaryKeyConstraint("number", "position", name=op.f("pk_certificate_records")),
    )
    op.create_index("ix_certificate_records_record_id", "certificate_records", ["record_id"], unique=False)


FACTS: Final = (
    "number, resident_id, estate_id, unit_name, first_day, last_day, minutes, record_count, issued_by, issued_at"
)


def keep_what_is_written() -> None:
    """Of a certificate only the name can be forgotten and the revocation be written; its records stay as they are."""
    for table, changed in (("certificates", f"UPDATE OF {FACTS}"), ("certificate_records", "UPDATE")):
        if op.get_bind().dialect.name == "sqlite":
            for name, event in (("update", changed), ("delete", "DELETE")):
                op.execute(
                    f"CREATE TRIGGER {table}_refuses_{name} BEFORE {event} ON {table} "
                    f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
                )
        else:
            for name, event, scope in (
                ("change", f"{changed} OR DELETE", "ROW"),
                ("truncate", "TRUNCATE", "STATEMENT"),
            ):
                op.execute(
                    f"CREATE TRIGGER {table}_refuses_{name} BEFORE {event} ON {table} "
                    f"FOR EACH {scope} EXECUTE FUNCTION refuse_change()"
                )
