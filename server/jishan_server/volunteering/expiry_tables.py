"""What ended, who was told, and who asked: beside the ledger, which books an end by itself (`ledger.store.touch`).

Everything here can be lost without a point being wrong.
"""

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Column, Index, Integer, PrimaryKeyConstraint, String, Table
from sqlalchemy import text as sql

from jishan_server.db import Instant, Serial, append_only, metadata

runs = Table(
    "expiry_runs",
    metadata,
    Column("id", String(40), primary_key=True),
    # The local day (YYYY-MM-DD) until whose end it books.
    Column("day", String(10), nullable=False),
    # The server itself, each day that something ends, or a member of staff.
    Column("asked_by", String(64), nullable=False),
    Column("asked_at", Instant, nullable=False),
    # running: the timer goes on with it
    Column("state", String(10), nullable=False),
    Column("accounts", Integer, nullable=False),
    Column("points", BigInteger, nullable=False),
    Column("done_at", Instant),
    CheckConstraint("state IN ('running', 'done')", name="state_known"),
    Index("ix_expiry_runs_asked_at", "asked_at", "id"),
    Index(
        "ix_expiry_runs_running",
        "asked_at",
        sqlite_where=sql("state = 'running'"),
        postgresql_where=sql("state = 'running'"),
    ),
)

bookings = Table(
    "expiry_bookings",
    metadata,
    # The ledger's row, of which its resident was told; without a run it was booked when the account was touched.
    Column("sequence", Serial, primary_key=True, autoincrement=False),
    Column("run_id", String(40)),
    Column("resident_id", String(40), nullable=False),
    Column("estate_id", String(40), nullable=False),
    Column("points", Integer, nullable=False),
    Column("recorded_at", Instant, nullable=False),
    Index("ix_expiry_bookings_run_id", "run_id"),
    Index("ix_expiry_bookings_resident_id", "resident_id"),
)
append_only(bookings)

warnings = Table(
    "expiry_warnings",
    metadata,
    Column("resident_id", String(40), nullable=False),
    # The local day on which the points end, and how many days before it this is for.
    Column("day", String(10), nullable=False),
    Column("distance_days", Integer, nullable=False),
    Column("points", BigInteger, nullable=False),
    Column("recorded_at", Instant, nullable=False),
    PrimaryKeyConstraint("resident_id", "day", "distance_days"),
)
append_only(warnings)

# How far the accounts were looked through for warnings on a day: by next expiry, then number.
warning_days = Table(
    "expiry_warning_days",
    metadata,
    Column("day", String(10), primary_key=True),
    Column("after_at", Instant),
    Column("after_number", BigInteger, nullable=False),
    Column("accounts", Integer, nullable=False),
    Column("is_done", Boolean, nullable=False),
)

# The closed days of the ledger of which everybody was told what ended.
told_days = Table("expiry_told_days", metadata, Column("day", String(10), primary_key=True))
