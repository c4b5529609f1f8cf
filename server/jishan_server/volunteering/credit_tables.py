"""What stands around credits: dated rules, service records, objections, appeals, adjustments.

Rules and the facts of a service record never change. A record that was wrong becomes `corrected`, once, and a new one
takes its place; it is never edited and never deleted.
"""

from sqlalchemy import CheckConstraint, Column, ForeignKey, Index, Integer, String, Table, Text, UniqueConstraint, text

from jishan_server.db import Instant, append_only, append_only_statements, metadata, on_create

rule_versions = Table(
    "rule_versions",
    metadata,
    Column("version", Integer, primary_key=True, autoincrement=False),
    # The first local day of work (YYYY-MM-DD) that it is for.
    Column("from_day", String(10), nullable=False),
    # What `rules.read` reads.
    Column("document", Text, nullable=False),
    Column("made_by", String(64), nullable=False),
    Column("made_at", Instant, nullable=False),
    Column("note", Text, nullable=False),
)
append_only(rule_versions)

service_records = Table(
    "service_records",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("resident_id", String(40), ForeignKey("residents.id"), nullable=False),
    Column("organization_id", String(40), ForeignKey("organizations.id"), nullable=False),
    Column("estate_id", String(40), ForeignKey("organizations.id"), nullable=False),
    Column("activity_id", String(40)),
    Column("session_id", String(40)),
    Column("credit_id", String(40), ForeignKey("credits.id"), nullable=False, unique=True),
    Column("category", String(40)),
    Column("title", Text, nullable=False),
    Column("place", Text),
    Column("starts_at", Instant, nullable=False),
    Column("day", String(10), nullable=False),
    Column("minutes", Integer, nullable=False),
    # The organising unit as it was called when the record was made, and who was in charge.
    Column("unit_name", Text, nullable=False),
    Column("person_in_charge", Text),
    Column("source", String(1)),
    Column("confirmed_by", String(64), nullable=False),
    Column("finalised_at", Instant, nullable=False),
    # From when on a list could show it: what was "known on a day" is what has this before its end.
    Column("known_from_at", Instant, nullable=False),
    Column("state", String(10), nullable=False),
    Column("corrected_at", Instant),
    Column("corrected_by", String(64)),
    CheckConstraint("state IN ('valid', 'corrected')", name="state_known"),
    CheckConstraint("(state = 'corrected') = (corrected_at IS NOT NULL)", name="corrected_at_a_time"),
    CheckConstraint("minutes >= 1", name="minutes_positive"),
    Index("ix_service_records_resident_id", "resident_id", "day"),
    Index("ix_service_records_estate_id", "estate_id", "day"),
    Index("ix_service_records_organization_id", "organization_id", "day"),
)


def keep_facts(table: Table, changing: frozenset[str]) -> None:
    """Have the database refuse DELETE and TRUNCATE, and UPDATE of every column but those that change."""
    facts = ", ".join(column.name for column in table.columns if column.name not in changing)
    for statement, dialect in append_only_statements(table.name):
        statement = statement.replace("BEFORE UPDATE ON", f"BEFORE UPDATE OF {facts} ON")
        on_create(
            table, statement.replace("BEFORE UPDATE OR DELETE ON", f"BEFORE UPDATE OF {facts} OR DELETE ON"), dialect
        )


keep_facts(service_records, frozenset({"state", "corrected_at", "corrected_by"}))

objections = Table(
    "objections",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("credit_id", String(40), ForeignKey("credits.id"), nullable=False),
    # Whose credit it is.
    Column("resident_id", String(40), ForeignKey("residents.id"), nullable=False),
    Column("estate_id", String(40), ForeignKey("organizations.id"), nullable=False),
    # Who objects, a member of staff or a resident, and for whom staff does it: nothing that the person is given.
    Column("filed_by", String(64), nullable=False, info={"not_exported": True}),
    Column("on_behalf_of", Text, info={"personal": True, "not_exported": True}),
    Column("filed_at", Instant, nullable=False),
    Column("reason", Text, info={"personal": True}),
    Column("state", String(10), nullable=False),
    Column("decided_by", String(64)),
    Column("decided_at", Instant),
    Column("decision_reason", Text, info={"personal": True}),
    CheckConstraint("state IN ('open', 'upheld', 'dismissed')", name="state_known"),
    CheckConstraint("decided_by <> filed_by", name="two_people"),
    Index(
        "ix_objections_credit_id",
        "credit_id",
        unique=True,
        sqlite_where=text("state = 'open'"),
        postgresql_where=text("state = 'open'"),
    ),
    Index("ix_objections_estate_id", "estate_id", "filed_at", "id"),
)

appeals = Table(
    "appeals",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("credit_id", String(40), ForeignKey("credits.id"), nullable=False),
    Column("resident_id", String(40), ForeignKey("residents.id"), nullable=False),
    Column("estate_id", String(40), ForeignKey("organizations.id"), nullable=False),
    # What it is against: a rejection, a reversal, or (a correction request) the hours or points of a final credit.
    Column("about", String(10), nullable=False),
    # What a correction request asks for.
    Column("wanted_minutes", Integer),
    Column("filed_by", String(64), nullable=False),
    Column("filed_at", Instant, nullable=False),
    # The last local day (YYYY-MM-DD) to answer on.
    Column("due_day", String(10), nullable=False),
    Column("reason", Text, info={"personal": True}),
    Column("state", String(10), nullable=False),
    Column("decided_by", String(64)),
    Column("decided_at", Instant),
    Column("decision_reason", Text, info={"personal": True}),
    # The credit that an accepted one led to.
    Column("new_credit_id", String(40), ForeignKey("credits.id")),
    CheckConstraint("about IN ('rejected', 'reversed', 'correction')", name="about_known"),
    CheckConstraint("state IN ('filed', 'accepted', 'refused')", name="state_known"),
    CheckConstraint("decided_by <> filed_by", name="two_people"),
    Index(
        "ix_appeals_credit_id",
        "credit_id",
        unique=True,
        sqlite_where=text("state = 'filed'"),
        postgresql_where=text("state = 'filed'"),
    ),
    Index("ix_appeals_estate_id", "estate_id", "filed_at", "id"),
    Index("ix_appeals_resident_id", "resident_id", "filed_at"),
)

adjustments = Table(
    "adjustments",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("resident_id", String(40), ForeignKey("residents.id"), nullable=False),
    Column("estate_id", String(40), ForeignKey("organizations.id"), nullable=False),
    # More points if positive, fewer if negative.
    Column("points", Integer, nullable=False),
    Column("reason_code", String(40), nullable=False),
    Column("reason", Text, info={"personal": True}),
    Column("state", String(10), nullable=False),
    Column("proposed_by", String(64), nullable=False),
    Column("proposed_at", Instant, nullable=False),
    Column("decided_by", String(64)),
    Column("decided_at", Instant),
    Column("decision_reason", Text, info={"personal": True}),
    Column("transfer_id", String(40)),
    CheckConstraint("state IN ('proposed', 'booked', 'rejected')", name="state_known"),
    CheckConstraint("points <> 0", name="points_not_zero"),
    CheckConstraint("decided_by <> proposed_by", name="two_people"),
    UniqueConstraint("transfer_id"),
    Index("ix_adjustments_estate_id", "estate_id", "proposed_at", "id"),
)
