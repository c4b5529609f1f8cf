"""Who belongs to which node of the tree or which group, as what, from when to when."""

from sqlalchemy import CheckConstraint, Column, ForeignKey, Index, String, Table

from jishan_server.db import MOVES, Instant, metadata

memberships = Table(
    "memberships",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("resident_id", String(40), ForeignKey("residents.id"), nullable=False, info={MOVES: True}),
    Column("organization_id", String(40), ForeignKey("organizations.id")),
    Column("group_id", String(40), ForeignKey("groups.id")),
    # In the scheme's own words: building head, captain, member. It permits nothing.
    Column("role", String(100), nullable=False),
    # First and last day, YYYY-MM-DD, local to the scheme; without a last day it goes on.
    Column("from_day", String(10), nullable=False),
    Column("to_day", String(10)),
    Column("recorded_by", String(64), nullable=False),
    Column("recorded_at", Instant, nullable=False),
    Column("ended_by", String(64)),
    Column("ended_at", Instant),
    CheckConstraint("(organization_id IS NULL) <> (group_id IS NULL)", name="one_place"),
    Index("ix_memberships_resident_id", "resident_id"),
    Index("ix_memberships_organization_id", "organization_id"),
    Index("ix_memberships_group_id", "group_id"),
)
