"""Activities, their sessions, who signed up, and who came.

An attendance is one person at one session. Its times and minutes may be corrected until it is credited; each correction
leaves a row in `attendance_changes`, which is never changed.
"""

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from jishan_server.db import MOVES, Instant, Serial, append_only, metadata

activity_types = Table(
    "activity_types",
    metadata,
    Column("code", String(40), primary_key=True),
    Column("name_zh", String(100), nullable=False),
    Column("name_en", String(100), nullable=False),
    Column("category", String(40), nullable=False),
    # What is no volunteer service is not recorded as such (Order 67, article 19); points may be given either way.
    Column("counts_as_service", Boolean, nullable=False),
    Column("longest_session_minutes", Integer, nullable=False),
    # After the planned end: how long check-out stays open before the plan closes what was forgotten.
    Column("grace_minutes", Integer, nullable=False),
    Column("is_active", Boolean, nullable=False),
    Column("created_at", Instant, nullable=False),
    CheckConstraint("longest_session_minutes BETWEEN 1 AND 1440", name="longest_is_a_day"),
)

activity_templates = Table(
    "activity_templates",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("organization_id", String(40), ForeignKey("organizations.id"), nullable=False),
    Column("title", String(100), nullable=False),
    Column("activity_type", String(40), ForeignKey("activity_types.code"), nullable=False),
    Column("place", String(200), nullable=False),
    Column("description", Text, nullable=False),
    Column("risk_note", Text, nullable=False),
    Column("person_in_charge", String(100), nullable=False),
    Column("contact", String(100), nullable=False),
    Column("is_active", Boolean, nullable=False),
    Column("created_by", String(64), nullable=False),
    Column("created_at", Instant, nullable=False),
    Index("ix_activity_templates_organization_id", "organization_id"),
)

activities = Table(
    "activities",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("organization_id", String(40), ForeignKey("organizations.id"), nullable=False),
    Column("group_id", String(40)),
    Column("template_id", String(40), ForeignKey("activity_templates.id")),
    Column("title", String(100), nullable=False),
    Column("activity_type", String(40), ForeignKey("activity_types.code"), nullable=False),
    # As the type had it when the activity was made: a type changed later changes no record.
    Column("category", String(40), nullable=False),
    Column("counts_as_service", Boolean, nullable=False),
    Column("place", String(200), nullable=False),
    Column("description", Text, nullable=False),
    Column("risk_note", Text, nullable=False),
    Column("person_in_charge", String(100), nullable=False),
    Column("contact", String(100), nullable=False),
    # Signing up ends so long before a session starts.
    Column("sign_up_ends_minutes", Integer, nullable=False),
    Column("state", String(10), nullable=False),
    Column("published_at", Instant),
    Column("published_by", String(64)),
    Column("cancelled_at", Instant),
    Column("cancel_reason", Text),
    Column("created_by", String(64), nullable=False),
    Column("created_at", Instant, nullable=False),
    CheckConstraint("state IN ('draft', 'published', 'cancelled')", name="state_known"),
    CheckConstraint("state <> 'published' OR published_at IS NOT NULL", name="published_when"),
    Index("ix_activities_organization_id", "organization_id", "created_at", "id"),
)

sessions = Table(
    "sessions",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("activity_id", String(40), ForeignKey("activities.id"), nullable=False),
    Column("starts_at", Instant, nullable=False),
    Column("ends_at", Instant, nullable=False),
    # The planned end and the grace of the type: check-out ends, and the plan closes what was forgotten.
    Column("closes_at", Instant, nullable=False),
    # Null is without a limit.
    Column("capacity", Integer),
    Column("break_minutes", Integer, nullable=False),
    Column("state", String(10), nullable=False),
    # Why a session was entered, or its activity published, when it had begun already; such a session is flagged by it.
    Column("backdating_reason", Text),
    Column("cancelled_at", Instant),
    Column("cancel_reason", Text),
    Column("created_by", String(64), nullable=False),
    Column("created_at", Instant, nullable=False),
    CheckConstraint("state IN ('open', 'cancelled', 'done')", name="state_known"),
    CheckConstraint("ends_at > starts_at", name="ends_after_its_start"),
    CheckConstraint("capacity >= 1", name="capacity_positive"),
    Index("ix_sessions_activity_id", "activity_id", "starts_at"),
    Index("ix_sessions_starts_at", "starts_at", "id"),
    Index("ix_sessions_state", "state", "closes_at"),
)

sign_ups = Table(
    "sign_ups",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("session_id", String(40), ForeignKey("sessions.id"), nullable=False),
    Column("resident_id", String(40), ForeignKey("residents.id"), nullable=False, info={MOVES: True}),
    # First come, first served; who cancels and comes again goes to the end.
    Column("number", Integer, nullable=False),
    Column("state", String(10), nullable=False),
    Column("signed_up_by", String(64), nullable=False),
    Column("signed_up_at", Instant, nullable=False),
    Column("moved_up_at", Instant),
    Column("cancelled_by", String(64)),
    Column("cancelled_at", Instant),
    CheckConstraint("state IN ('signed_up', 'waiting', 'cancelled')", name="state_known"),
    UniqueConstraint("session_id", "resident_id", name="uq_sign_ups_session_resident"),
    UniqueConstraint("session_id", "number", name="uq_sign_ups_session_number"),
    Index("ix_sign_ups_resident_id", "resident_id", "state"),
)

attendances = Table(
    "attendances",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("session_id", String(40), ForeignKey("sessions.id"), nullable=False),
    Column("resident_id", String(40), ForeignKey("residents.id"), nullable=False, info={MOVES: True}),
    # Where the person belonged when it was recorded.
    Column("estate_id", String(40), ForeignKey("organizations.id"), nullable=False),
    Column("checked_in_at", Instant, nullable=False),
    Column("checked_out_at", Instant),
    Column("minutes", Integer),
    # How it is known: a own code or card, b list ticked on the spot, c signed sheet with its photo, d claimed later.
    Column("source", String(1), nullable=False),
    # Codes with a space between them, in the order of the alphabet.
    Column("flags", String(200), nullable=False),
    Column("state", String(10), nullable=False),
    # Whether a person still has to look at the minutes.
    Column("is_to_review", Boolean, nullable=False),
    # Why it was recorded late.
    Column("reason", Text),
    Column("attachment_id", String(40)),
    Column("recorded_by", String(64), nullable=False),
    Column("recorded_at", Instant, nullable=False),
    Column("credit_id", String(40)),
    Column("credited_at", Instant),
    CheckConstraint("state IN ('open', 'closed', 'void')", name="state_known"),
    CheckConstraint("source IN ('a', 'b', 'c', 'd')", name="source_known"),
    CheckConstraint("state <> 'closed' OR (checked_out_at IS NOT NULL AND minutes IS NOT NULL)", name="closed_whole"),
    CheckConstraint("checked_out_at >= checked_in_at", name="out_after_in"),
    CheckConstraint("minutes BETWEEN 0 AND 1440", name="minutes_of_a_day"),
    UniqueConstraint("session_id", "resident_id", name="uq_attendances_session_resident"),
    Index("ix_attendances_resident_id", "resident_id", "checked_in_at"),
    Index("ix_attendances_credit_id", "credit_id"),
    Index("ix_attendances_is_to_review", "is_to_review", "session_id"),
)

attendance_changes = Table(
    "attendance_changes",
    metadata,
    Column("number", Serial, primary_key=True, autoincrement=True),
    Column("attendance_id", String(40), ForeignKey("attendances.id"), nullable=False),
    # confirmed, corrected, voided, or recorded_again after a void.
    Column("change", String(20), nullable=False),
    Column("checked_in_at_before", Instant, nullable=False),
    Column("checked_out_at_before", Instant),
    Column("minutes_before", Integer),
    Column("source_before", String(1), nullable=False),
    Column("reason", Text, nullable=False),
    Column("actor", String(64), nullable=False),
    Column("recorded_at", Instant, nullable=False),
    Index("ix_attendance_changes_attendance_id", "attendance_id"),
)
append_only(attendance_changes)

code_tries = Table(
    "attendance_code_tries",
    metadata,
    Column("session_id", String(40), ForeignKey("sessions.id"), primary_key=True),
    Column("resident_id", String(40), ForeignKey("residents.id"), primary_key=True),
    Column("wrong_tries", Integer, nullable=False),
)
