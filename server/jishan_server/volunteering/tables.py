"""Credits: what one person recorded, another approved, and everybody could see before it was final.

`credit_states` says which state follows which. What was worked (minutes, day, place) is written when a credit is
recorded and never changes; a correction is another credit that names the first by `corrects_id`.
"""

from sqlalchemy import Boolean, CheckConstraint, Column, ForeignKey, Index, Integer, String, Table, Text, text

from jishan_server.db import Instant, metadata

credits = Table(
    "credits",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("resident_id", String(40), ForeignKey("residents.id"), nullable=False),
    Column("estate_id", String(40), ForeignKey("organizations.id"), nullable=False),
    # Null where points were recorded as such and no time was told.
    Column("minutes", Integer),
    # What the rules of the day make of it, caps included; 0 for what counts as hours only.
    Column("points", Integer, nullable=False),
    Column("rule_version", String(40), nullable=False),
    Column("activity", Text, nullable=False),
    # Words about a person, which are forgotten with them.
    Column("reason", Text, info={"personal": True}),
    # The hash of the note with activity and reason, which the row in the ledger carries (`ledger.notes`).
    Column("note", String(64), info={"not_exported": True}),
    Column("state", String(20), nullable=False),
    Column("recorded_by", String(64), nullable=False),
    Column("recorded_at", Instant, nullable=False),
    Column("decided_by", String(64)),
    Column("decided_at", Instant),
    Column("decision_reason", Text, info={"personal": True}),
    Column("transfer_id", String(40), unique=True),
    Column("reversed_by", String(64)),
    Column("reversed_at", Instant),
    Column("reversal_reason", Text, info={"personal": True}),
    Column("reversal_transfer_id", String(40), unique=True),
    # The work: when it began, the local day of it (YYYY-MM-DD), and of which activity and sitting it was, if of any.
    Column("worked_at", Instant),
    Column("day", String(10)),
    Column("activity_id", String(40)),
    Column("session_id", String(40)),
    Column("attendance_id", String(40)),
    Column("organization_id", String(40)),
    Column("activity_type", String(40)),
    Column("category", String(40)),
    Column("place", Text),
    Column("person_in_charge", Text),
    Column("counts_as_service", Boolean),
    # How it is known, `rules.Source`.
    Column("source", String(1)),
    # What counts towards the caps on minutes, and how the points came about: [[rule, before, after], ...].
    Column("minutes_counted", Integer),
    Column("worth_steps", Text),
    # The public notice ends here, and the points become final.
    Column("notice_ends_at", Instant),
    Column("finalised_at", Instant),
    # What reached the ledger: less than `points` where the cap on the balance cut it.
    Column("booked_points", Integer),
    # The final credit that this one takes the place of, when it is final itself.
    Column("corrects_id", String(40), ForeignKey("credits.id")),
    CheckConstraint(
        "state IN ('recorded', 'waiting_consent', 'approved', 'objected', 'final', 'rejected', 'reversed')",
        name="state_known",
    ),
    CheckConstraint("reversal_transfer_id IS NULL OR state = 'reversed'", name="reversed_in_the_ledger"),
    CheckConstraint("points >= 0", name="points_not_negative"),
    CheckConstraint("decided_by <> recorded_by", name="two_people"),
    Index("ix_credits_estate_id", "estate_id", "recorded_at", "id"),
    Index("ix_credits_resident_id", "resident_id"),
    # One credit for an attendance: recording a session twice changes nothing. A rejected one may be recorded anew.
    Index(
        "ix_credits_attendance_id",
        "attendance_id",
        unique=True,
        sqlite_where=text("state <> 'rejected'"),
        postgresql_where=text("state <> 'rejected'"),
    ),
    Index("ix_credits_session_id", "session_id"),
    Index(
        "ix_credits_corrects_id",
        "corrects_id",
        unique=True,
        sqlite_where=text("state <> 'rejected'"),
        postgresql_where=text("state <> 'rejected'"),
    ),
    Index(
        "ix_credits_due",
        "notice_ends_at",
        "id",
        sqlite_where=text("state = 'approved'"),
        postgresql_where=text("state = 'approved'"),
    ),
    Index(
        "ix_credits_open",
        "state",
        "id",
        sqlite_where=text("state IN ('recorded', 'waiting_consent', 'objected')"),
        postgresql_where=text("state IN ('recorded', 'waiting_consent', 'objected')"),
    ),
)
