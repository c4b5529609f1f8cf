"""The ledger's tables: facts that are only ever added to, and two caches.

`transfers`, `batches`, `days`, `endings` and `clock_checks` are append-only by trigger. `balances` is the cache of what
the rows of a limited account come to, `checkpoints` that of their fold up to one of them; `ledger verify` rebuilds
both. No foreign keys on the hot table: the join that finds the accounts is the check, `ledger verify` the proof. No
index on accounts either: each row names the row before it of either account, and `balances` the newest, so a new row
touches the end of few pages, and an account's history is a walk.
A row's sequence is `batch serial * BATCH_STEP + position` (`ledger.model`).
"""

# The triggers' statements are put together from constants only.
# ruff: noqa: S608

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ColumnElement,
    Index,
    Integer,
    LargeBinary,
    Sequence,
    String,
    Table,
    Text,
    UniqueConstraint,
    and_,
    literal_column,
)

from jishan_server.db import Instant, Serial, append_only, metadata, on_create
from jishan_server.ledger.model import BATCH_STEP

ID: Final = 40
ACCOUNT_ID: Final = 60
CODE: Final = 40

accounts: Final = Table(
    "accounts",
    metadata,
    Column("number", Serial, primary_key=True),
    Column("id", String(ACCOUNT_ID), nullable=False, unique=True),
    Column("kind", String(CODE), nullable=False),
    Column("owner", String(ACCOUNT_ID), nullable=False),
    Column("may_not_go_negative", Boolean, nullable=False),
    Column("may_not_go_positive", Boolean, nullable=False),
    # Where its owner's debt stands, and where its ended points go; null where it has none.
    Column("owed_id", String(ACCOUNT_ID)),
    Column("expired_id", String(ACCOUNT_ID)),
    Column("opened_at", Instant, nullable=False),
)

_owes = accounts.c.owed_id.is_not(None)
Index("ix_accounts_owed_id", accounts.c.owed_id, sqlite_where=_owes, postgresql_where=_owes)

balances: Final = Table(
    "balances",
    metadata,
    Column("number", Serial, primary_key=True, autoincrement=False),
    Column("posted", BigInteger, nullable=False),
    Column("held", BigInteger, nullable=False),
    # Never later than the next moment at which points of the account end.
    Column("next_expiry_at", Instant),
    Column("last_sequence", BigInteger, nullable=False),
    Column("is_frozen", Boolean, nullable=False),
    Column("may_not_go_negative", Boolean, nullable=False),
    Column("may_not_go_positive", Boolean, nullable=False),
    # As `endings` has it, null while the account is alive.
    Column("heir", BigInteger),
    CheckConstraint("held >= 0", name="held_not_negative"),
    CheckConstraint("NOT may_not_go_negative OR posted - held >= 0", name="available_not_negative"),
    CheckConstraint("NOT may_not_go_positive OR posted <= 0", name="posted_not_positive"),
    # Room on the page for the next version of a row: balances change all the time.
    postgresql_with={"fillfactor": 50},
)

_ends = balances.c.next_expiry_at.is_not(None)
Index(
    "ix_balances_next_expiry_at",
    balances.c.next_expiry_at,
    balances.c.number,
    sqlite_where=_ends,
    postgresql_where=_ends,
)

_has_an_heir = balances.c.heir.is_not(None)
Index("ix_balances_heir", balances.c.heir, sqlite_where=_has_an_heir, postgresql_where=_has_an_heir)

# Accounts that were merged into another, their heir; or closed, and then the heir is an account without a limit.
endings: Final = Table(
    "endings",
    metadata,
    Column("number", Serial, primary_key=True, autoincrement=False),
    Column("heir", BigInteger, nullable=False),
    Column("actor", String(ACCOUNT_ID), nullable=False),
    Column("recorded_at", Instant, nullable=False),
    # The hash of the note that says why.
    Column("note", String(64)),
    CheckConstraint("number <> heir", name="two_accounts"),
)

# What people wrote about a movement. The words and their salt can be forgotten; the hash stays, as in the row.
notes: Final = Table(
    "notes",
    metadata,
    Column("id", String(ID), primary_key=True),
    # Whom the words are about.
    Column("resident_id", String(ID), nullable=False),
    Column("salt", String(64), info={"personal": True, "not_exported": True}),
    Column("words", Text, info={"personal": True}),
    Column("hash", String(64), nullable=False, unique=True),
    CheckConstraint("(salt IS NULL) = (words IS NULL)", name="forgotten_as_a_whole"),
    Index("ix_notes_resident_id", "resident_id"),
)

transfers: Final = Table(
    "transfers",
    metadata,
    Column("sequence", Serial, primary_key=True, autoincrement=False),
    Column("id", String(ID), nullable=False),
    Column("kind", String(8), nullable=False),
    # Numbers of accounts.
    Column("debit", BigInteger, nullable=False),
    Column("credit", BigInteger, nullable=False),
    Column("points", BigInteger, nullable=False),
    Column("cause_type", String(CODE), nullable=False),
    Column("cause_id", String(ID), nullable=False),
    Column("cause_revision", BigInteger, nullable=False),
    Column("actor", String(ACCOUNT_ID), nullable=False),
    Column("reason", String(CODE), nullable=False),
    Column("rule_version", String(CODE)),
    # The sequence of the hold that a capture or void ends: one of the two, once.
    Column("pending", BigInteger),
    # The sequence of the transfer that a reversal takes back.
    Column("reverses", BigInteger),
    Column("expires_at", Instant),
    Column("occurred_at", Instant),
    Column("recorded_at", Instant, nullable=False),
    # The sequence of the account's row before, 0 for its first, null if the account has no limit.
    Column("debit_previous", BigInteger),
    Column("credit_previous", BigInteger),
    Column("row_hash", LargeBinary(32), nullable=False),
    # The hash of the note with the words that belong to it (`ledger.notes`).
    Column("note", String(64)),
    UniqueConstraint("id"),
    UniqueConstraint("cause_id", "kind", "cause_type", "cause_revision", name="uq_transfers_cause"),
    CheckConstraint("points > 0", name="points_positive"),
    CheckConstraint("debit <> credit", name="two_accounts"),
)

# Only over the rows that have one: most rows would be an entry for nothing.
for _name in ("pending", "reverses"):
    _is_there = transfers.c[_name].is_not(None)
    Index(
        f"uq_transfers_{_name}",
        transfers.c[_name],
        unique=True,
        sqlite_where=_is_there,
        postgresql_where=_is_there,
    )

# Numbers a PostgreSQL batch; taken while the accounts are locked, so an account's rows are in the order of its changes.
batch_serial: Final = Sequence("batch_serial", metadata=metadata)

batches: Final = Table(
    "batches",
    metadata,
    Column("serial", Serial, primary_key=True, autoincrement=False),
    # One chain of digests for each writer; `number` counts from 1 without a gap.
    Column("writer", Integer, nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("length", Integer, nullable=False),
    Column("previous", LargeBinary(32), nullable=False),
    Column("digest", LargeBinary(32), nullable=False),
    # The scheme's local date, as 2026-01-31.
    Column("day", String(10), nullable=False),
    Column("recorded_at", Instant, nullable=False),
)

# Several writers may find the end of one chain only on PostgreSQL; SQLite's one writer takes it from the newest serial.
Index("uq_batches_writer_number", batches.c.writer, batches.c.number, unique=True).ddl_if(dialect="postgresql")

days: Final = Table(
    "days",
    metadata,
    Column("day", String(10), primary_key=True),
    Column("rows", BigInteger, nullable=False),
    Column("root", LargeBinary(32), nullable=False),
    Column("closed_at", Instant, nullable=False),
)

# Entries of an account after which its fold is kept: a few milliseconds of work. Rare in a fold, and rare in a year.
CHECKPOINT_ENTRIES: Final = 1_000

checkpoints: Final = Table(
    "checkpoints",
    metadata,
    Column("number", Serial, primary_key=True, autoincrement=False),
    # The row of the account up to which `lots` is the fold (`lots.pack`); 0 and no lots before the first.
    Column("sequence", BigInteger, nullable=False),
    Column("lots", Text, nullable=False),
    # The account's entries of the days that were closed since: says only who is due.
    Column("entries", BigInteger, nullable=False),
)
# A constant in the statement, without which the index would not be used.
IS_DUE: Final = checkpoints.c.entries >= literal_column(str(CHECKPOINT_ENTRIES))
Index("ix_checkpoints_due", checkpoints.c.number, sqlite_where=IS_DUE, postgresql_where=IS_DUE)

# When the server's clock was doubted and when a person confirmed it (`ledger.clock`); the newest row holds.
clock_checks: Final = Table(
    "clock_checks",
    metadata,
    Column("number", Serial, primary_key=True, autoincrement=True),
    Column("is_doubted", Boolean, nullable=False),
    # The newest instant that the ledger goes by: what the clock was compared with, or what was confirmed.
    Column("known_at", Instant, nullable=False),
    # The newest batch then. A later one is what the clock is compared with.
    Column("newest_serial", BigInteger, nullable=False),
    Column("actor", String(ACCOUNT_ID), nullable=False),
)

for _table in (transfers, batches, days, endings, clock_checks):
    append_only(_table)

# The last line behind `store.close_day`: what a day's root covers is complete.
_CLOSED: Final = "a closed day takes no more batches"
_DAY_IS_OPEN: Final = {
    "sqlite": [
        "CREATE TRIGGER batches_day_is_open BEFORE INSERT ON batches WHEN NEW.day <= (SELECT max(day) FROM days) "
        f"BEGIN SELECT RAISE(ABORT, '{_CLOSED}'); END"
    ],
    "postgresql": [
        "CREATE FUNCTION refuse_closed_day() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "IF NEW.day <= (SELECT max(day) FROM days) THEN "
        f"RAISE EXCEPTION '{_CLOSED}'; END IF; RETURN NEW; END $$",
        "CREATE TRIGGER batches_day_is_open BEFORE INSERT ON batches FOR EACH ROW EXECUTE FUNCTION refuse_closed_day()",
    ],
}
for _dialect, _statements in _DAY_IS_OPEN.items():
    for _statement in _statements:
        on_create(batches, _statement, _dialect)


def is_of_day(day: str) -> ColumnElement[bool]:
    """For a query over `transfers` and `batches`: each transfer of a day with its batch."""
    t, b = transfers.c, batches.c
    return and_(b.day == day, t.sequence >= b.serial * BATCH_STEP, t.sequence < (b.serial + 1) * BATCH_STEP)
