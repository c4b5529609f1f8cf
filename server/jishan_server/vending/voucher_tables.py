"""Vouchers: approvals given early, and for each machine what it has been told and has said about their numbers.

Numbers of one machine count up for ever, over journals too. A voucher's row says what became of its number; what became
of its points stands with the redemption.
"""

from typing import Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    UniqueConstraint,
    text,
)

from jishan_server.db import Instant, metadata

ID: Final = 40

voucher_books = Table(
    "voucher_books",
    metadata,
    Column("machine_id", String(32), primary_key=True),
    # So many may be open at once; 0 makes no new ones.
    Column("most", Integer, nullable=False),
    Column("last_number", BigInteger, nullable=False),
    # Whose word it was: the journal and the key with which the machine last said what it has closed.
    Column("told_journal", String(ID)),
    Column("told_key_id", Integer),
    Column("closed_upto", BigInteger, nullable=False),
    # Since when there is something that the machine has not said; null when there is nothing.
    Column("asked_at", Instant),
    Column("reported_at", Instant),
    Column("recorded_at", Instant, nullable=False),
    CheckConstraint("most >= 0", name="most_not_negative"),
)

vouchers = Table(
    "vouchers",
    metadata,
    Column("redemption_id", String(ID), primary_key=True),
    Column("machine_id", String(32), nullable=False),
    Column("journal_id", String(ID), nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("resident_id", String(ID), ForeignKey("residents.id"), nullable=False),
    Column("issued_by", String(64), nullable=False),
    Column("expires_at", Instant, nullable=False),
    # It is to end: given_back or expired. Until the machine has said so, it may still be taken.
    Column("ends_at", Instant),
    Column("ends_why", String(20)),
    # The machine said `vend_started` with it, or said that it will never take it.
    Column("taken_at", Instant),
    Column("ended_at", Instant),
    Column("recorded_at", Instant, nullable=False),
    UniqueConstraint("machine_id", "journal_id", "number"),
    CheckConstraint("ends_why IN ('given_back', 'expired')", name="ends_why_known"),
    Index("ix_vouchers_resident_id", "resident_id", "recorded_at"),
)
_WAITING = text("taken_at IS NULL AND ended_at IS NULL")
Index(
    "ix_vouchers_waiting",
    vouchers.c.machine_id,
    vouchers.c.number,
    sqlite_where=_WAITING,
    postgresql_where=_WAITING,
)
