"""Vouchers, for items that are given while a machine has no link."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "voucher_books",
        sa.Column("machine_id", sa.String(length=32), nullable=False),
        sa.Column("most", sa.Integer(), nullable=False),
        sa.Column("last_number", sa.BigInteger(), nullable=False),
        sa.Column("told_journal", sa.String(length=40), nullable=True),
        sa.Column("told_key_id", sa.Integer(), nullable=True),
        sa.Column("closed_upto", sa.BigInteger(), nullable=False),
        sa.Column("asked_at", sa.BigInteger(), nullable=True),
        sa.Column("reported_at", sa.BigInteger(), nullable=True),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("most >= 0", name=op.f("ck_voucher_books_most_not_negative")),
        sa.PrimaryKeyConstraint("machine_id", name=op.f("pk_voucher_books")),
    )
    op.create_table(
        "vouchers",
        sa.Column("redemption_id", sa.String(length=40), nullable=False),
        sa.Column("machine_id", sa.String(length=32), nullable=False),
        sa.Column("journal_id", sa.String(length=40), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("resident_id", sa.String(length=40), nullable=False),
        sa.Column("issued_by", sa.String(length=64), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("ends_at", sa.BigInteger(), nullable=True),
        sa.Column("ends_why", sa.String(length=20), nullable=True),
        sa.Column("taken_at", sa.BigInteger(), nullable=True),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("ends_why IN ('given_back', 'expired')", name=op.f("ck_vouchers_ends_why_known")),
        sa.ForeignKeyConstraint(["resident_id"], ["residents.id"], name=op.f("fk_vouchers_resident_id")),
        sa.PrimaryKeyConstraint("redemption_id", name=op.f("pk_vouchers")),
        sa.UniqueConstraint(
            "machine_id", "journal_id", "number", name=op.f("uq_vouchers_machine_id_journal_id_number")
        ),
    )
    op.create_index("ix_vouchers_resident_id", "vouchers", ["resident_id", "recorded_at"], unique=False)
    op.create_index(
        "ix_vouchers_waiting",
        "vouchers",
        ["machine_id", "number"],
        unique=False,
        sqlite_where=sa.text("taken_at IS NULL AND ended_at IS NULL"),
        postgresql_where=sa.text("taken_at IS NULL AND ended_at IS NULL"),
    )
