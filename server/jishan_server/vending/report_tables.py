"""What residents say went wrong at a machine, and the daily lists of what is still open.

A row of `daily_open` is what was open on the morning of its day: it is never changed, what became of it stands with
the redemption.
"""

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
)

from jishan_server.db import Instant, Serial, append_only, metadata

ID = 40

reports = Table(
    "reports",
    metadata,
    # The ticket that the resident is told, with an R before it.
    Column("number", Serial, primary_key=True, autoincrement=True),
    Column("estate_id", String(ID), nullable=False),
    Column("resident_id", String(ID), ForeignKey("residents.id"), nullable=False),
    # Null where nothing was redeemed: a machine that is stuck.
    Column("redemption_id", String(ID), unique=True),
    Column("machine_id", String(32)),
    # not_out, wrong_item, bad_item, stuck, other
    Column("kind", String(20), nullable=False),
    Column("words", Text, info={"personal": True}),
    # Ids of attachments, as JSON.
    Column("attachment_ids", Text, nullable=False),
    # resident, staff, or automatic: the machine said it, and the points went back by themselves
    Column("made_via", String(10), nullable=False),
    Column("made_by", String(64), nullable=False),
    Column("state", String(12), nullable=False),
    # The local day by which it is to be decided; null for what was over at once.
    Column("answer_by", String(10)),
    Column("decided_by", String(64)),
    Column("seconded_by", String(64)),
    Column("decided_at", Instant),
    Column("reason", Text, info={"personal": True}),
    # Once: who decided first and why, when somebody asked to have it looked at again.
    Column("reopened_at", Instant),
    Column("reopened_by", String(64)),
    Column("reopen_reason", Text, info={"personal": True}),
    Column("first_decided_by", String(64)),
    Column("first_reason", Text, info={"personal": True}),
    Column("recorded_at", Instant, nullable=False),
    CheckConstraint("state IN ('open', 'proposed', 'given_back', 'refused')", name="state_known"),
    CheckConstraint("(state IN ('given_back', 'refused')) = (decided_at IS NOT NULL)", name="decided_when_over"),
    Index("ix_reports_estate_id", "estate_id", "state", "number"),
    Index("ix_reports_resident_id", "resident_id", "number"),
)

daily_lists = Table(
    "daily_lists",
    metadata,
    Column("day", String(10), primary_key=True),
    Column("recorded_at", Instant, nullable=False),
)

daily_open = Table(
    "daily_open",
    metadata,
    Column("day", String(10), nullable=False),
    Column("redemption_id", String(ID), nullable=False),
    Column("estate_id", String(ID), nullable=False),
    Column("machine_id", String(32), nullable=False),
    Column("state", String(20), nullable=False),
    Column("points", Integer),
    Column("ticket", Integer),
    Column("grade", String(10), nullable=False),
    Column("since_at", Instant, nullable=False),
    Column("answer_by", String(10)),
    Column("is_overdue", Boolean, nullable=False),
    PrimaryKeyConstraint("day", "redemption_id"),
    Index("ix_daily_open_estate_id", "estate_id", "day"),
)

for _table in (daily_lists, daily_open):
    append_only(_table)
