"""Credits: points that one person recorded and another approves before they reach the ledger."""

from sqlalchemy import CheckConstraint, Column, ForeignKey, Index, Integer, String, Table, Text

from jishan_server.db import Instant, metadata

credits = Table(
    "credits",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("resident_id", String(40), ForeignKey("residents.id"), nullable=False),
    Column("estate_id", String(40), ForeignKey("organizations.id"), nullable=False),
    # Null where points were recorded as such and no time was told.
    Column("minutes", Integer),
    Column("points", Integer, nullable=False),
    Column("rule_version", String(40), nullable=False),
    Column("activity", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("state", String(10), nullable=False),
    Column("recorded_by", String(40), nullable=False),
    Column("recorded_at", Instant, nullable=False),
    Column("decided_by", String(40)),
    Column("decided_at", Instant),
    Column("decision_reason", Text),
    Column("transfer_id", String(40), unique=True),
    Column("reversed_by", String(40)),
    Column("reversed_at", Instant),
    Column("reversal_reason", Text),
    Column("reversal_transfer_id", String(40), unique=True),
    CheckConstraint("state IN ('recorded', 'approved', 'rejected', 'reversed')", name="state_known"),
    CheckConstraint("(state = 'reversed') = (reversal_transfer_id IS NOT NULL)", name="reversed_in_the_ledger"),
    CheckConstraint("points >= 1", name="points_positive"),
    CheckConstraint("decided_by <> recorded_by", name="two_people"),
    Index("ix_credits_estate_id", "estate_id", "recorded_at", "id"),
    Index("ix_credits_resident_id", "resident_id"),
)
