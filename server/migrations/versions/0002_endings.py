"""Checkpoints of long accounts; accounts that are merged or closed; words kept apart from the rows."""

from typing import Final

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# A 64-bit key that SQLite can use as its row id. Instants are milliseconds since the epoch, in a BIGINT.
SERIAL: Final = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    keep_checkpoints()
    end_accounts()
    keep_words_apart()


def keep_checkpoints() -> None:
    op.create_table(
        "checkpoints",
        sa.Column("number", SERIAL, autoincrement=False, nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("lots", sa.Text(), nullable=False),
        sa.Column("entries", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_checkpoints")),
    )
    create_partial_index("ix_checkpoints_due", "checkpoints", "number", "entries >= 1000")


def end_accounts() -> None:
    op.add_column("balances", sa.Column("heir", sa.BigInteger(), nullable=True))
    create_partial_index("ix_balances_heir", "balances", "heir", "heir IS NOT NULL")
    create_partial_index("ix_accounts_owed_id", "accounts", "owed_id", "owed_id IS NOT NULL")
    op.create_table(
        "endings",
        sa.Column("number", SERIAL, autoincrement=False, nullable=False),
        sa.Column("heir", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.String(length=60), nullable=False),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.Column("note", sa.String(length=64), nullable=True),
        sa.CheckConstraint("number <> heir", name=op.f("ck_endings_two_accounts")),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_endings")),
    )
    only_add_to("endings")
    op.add_column("residents", sa.Column("merged_into", sa.String(length=40), nullable=True))
    op.add_column("residents", sa.Column("closed_at", sa.BigInteger(), nullable=True))


def keep_words_apart() -> None:
    op.add_column("transfers", sa.Column("note", sa.String(length=64), nullable=True))
    op.create_table(
        "notes",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("resident_id", sa.String(length=40), nullable=False),
        sa.Column("salt", sa.String(length=64), nullable=True),
        sa.Column("words", sa.Text(), nullable=True),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.CheckConstraint("(salt IS NULL) = (words IS NULL)", name=op.f("ck_notes_forgotten_as_a_whole")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notes")),
        sa.UniqueConstraint("hash", name=op.f("uq_notes_hash")),
    )
    op.create_index("ix_notes_resident_id", "notes", ["resident_id"], unique=False)


def create_partial_index(name: str, table: str, column: str, where: str) -> None:
    op.create_index(name, table, [column], sqlite_where=sa.text(where), postgresql_where=sa.text(where))


def only_add_to(table: str) -> None:
    """What is written there is never changed: UPDATE and DELETE are refused, and TRUNCATE where there is one."""
    if op.get_bind().dialect.name == "sqlite":
        for verb in ("update", "delete"):
            op.execute(
                f"CREATE TRIGGER {table}_refuses_{verb} BEFORE {verb.upper()} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            )
        return
    for name, events, scope in (("change", "UPDATE OR DELETE", "ROW"), ("truncate", "TRUNCATE", "STATEMENT")):
        op.execute(
            f"CREATE TRIGGER {table}_refuses_{name} BEFORE {events} ON {table} "
            f"FOR EACH {scope} EXECUTE FUNCTION refuse_change()"
        )
