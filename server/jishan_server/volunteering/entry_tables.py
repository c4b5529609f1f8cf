"""What is kept of a person beside hours and points: trainings, awards, evaluations; and claims of past work."""

from sqlalchemy import CheckConstraint, Column, ForeignKey, Index, Integer, String, Table, Text

from jishan_server.db import MOVES, Instant, metadata

entries = Table(
    "record_entries",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("resident_id", String(40), ForeignKey("residents.id"), nullable=False, info={MOVES: True}),
    Column("estate_id", String(40), ForeignKey("organizations.id"), nullable=False),
    # training, award or evaluation
    Column("kind", String(12), nullable=False),
    Column("title", Text, nullable=False),
    # Who trained, awarded or evaluated.
    Column("unit_name", Text, nullable=False),
    # Local days, YYYY-MM-DD; a training may take several.
    Column("first_day", String(10), nullable=False),
    Column("last_day", String(10), nullable=False),
    # How long a training was.
    Column("minutes", Integer),
    # What came of it: a grade, a level, a sentence.
    Column("result", Text, info={"personal": True}),
    # Ids of attachments, as JSON.
    Column("attachment_ids", Text, nullable=False),
    Column("recorded_by", String(64), nullable=False),
    Column("recorded_at", Instant, nullable=False),
    Column("withdrawn_by", String(64)),
    Column("withdrawn_at", Instant),
    Column("withdrawal_reason", Text, info={"personal": True}),
    CheckConstraint("kind IN ('training', 'award', 'evaluation')", name="kind_known"),
    Index("ix_record_entries_resident_id", "resident_id", "first_day"),
    Index("ix_record_entries_estate_id", "estate_id", "id"),
)

claims = Table(
    "claims",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("resident_id", String(40), ForeignKey("residents.id"), nullable=False, info={MOVES: True}),
    Column("estate_id", String(40), ForeignKey("organizations.id"), nullable=False),
    Column("title", Text, nullable=False),
    Column("words", Text, info={"personal": True}),
    Column("place", Text),
    Column("category", String(40)),
    # The local day of the work, YYYY-MM-DD.
    Column("day", String(10), nullable=False),
    Column("minutes", Integer, nullable=False),
    Column("attachment_ids", Text, nullable=False),
    # open, accepted (its credit then goes its own way) or refused
    Column("state", String(10), nullable=False),
    Column("made_by", String(64), nullable=False),
    Column("recorded_at", Instant, nullable=False),
    Column("decided_by", String(64)),
    Column("decided_at", Instant),
    Column("reason", Text, info={"personal": True}),
    Column("credit_id", String(40), ForeignKey("credits.id"), unique=True),
    CheckConstraint("state IN ('open', 'accepted', 'refused')", name="state_known"),
    CheckConstraint("(state = 'accepted') = (credit_id IS NOT NULL)", name="accepted_has_a_credit"),
    Index("ix_claims_resident_id", "resident_id", "id"),
    Index("ix_claims_estate_id", "estate_id", "state", "id"),
)
