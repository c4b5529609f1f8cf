"""Personal codes for a machine's scanner, and what a phone claims at a machine's screen."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "personal_codes",
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("resident_id", sa.String(length=40), nullable=False),
        sa.Column("issued_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("used_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["resident_id"], ["residents.id"], name=op.f("fk_personal_codes_resident_id")),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_personal_codes")),
    )
    op.create_index("ix_personal_codes_resident_id", "personal_codes", ["resident_id"], unique=False)
    op.create_table(
        "machine_claims",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("machine_id", sa.String(length=32), nullable=False),
        sa.Column("screen_code", sa.String(length=40), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("reason", sa.String(length=60), nullable=True),
        sa.Column("resident_id", sa.String(length=40), nullable=True),
        sa.Column("selection", sa.Integer(), nullable=True),
        sa.Column("product_id", sa.String(length=40), nullable=True),
        sa.Column("points", sa.BigInteger(), nullable=True),
        sa.Column("planogram_version", sa.BigInteger(), nullable=True),
        sa.Column("redemption_id", sa.String(length=40), nullable=True),
        sa.Column("opened_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("offered_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_machine_claims")),
        sa.UniqueConstraint("machine_id", "screen_code", name=op.f("uq_machine_claims_machine_id_screen_code")),
    )
    op.create_index("ix_machine_claims_resident_id", "machine_claims", ["resident_id"], unique=False)
    op.create_index(
        "ix_machine_claims_offered",
        "machine_claims",
        ["offered_at"],
        unique=False,
        sqlite_where=sa.text("state = 'offered'"),
        postgresql_where=sa.text("state = 'offered'"),
    )
