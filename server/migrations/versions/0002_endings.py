"""Checkpoints of long accounts."""

from typing import Final

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# A 64-bit key that SQLite can use as its row id.
SERIAL: Final = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "checkpoints",
        sa.Column("number", SERIAL, autoincrement=False, nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("lots", sa.Text(), nullable=False),
        sa.Column("entries", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_checkpoints")),
    )
    op.create_index(
        "ix_checkpoints_due",
        "checkpoints",
        ["number"],
        unique=False,
        sqlite_where=sa.text("entries >= 1000"),
        postgresql_where=sa.text("entries >= 1000"),
    )
