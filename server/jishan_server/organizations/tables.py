"""The region tree (county > street > estate > building, the levels named freely), its groups, who has which role
in it, and the calendar of working days.
"""

from sqlalchemy import Boolean, Column, ForeignKey, Index, PrimaryKeyConstraint, String, Table

from jishan_server.db import Instant, Serial, append_only, metadata

organizations = Table(
    "organizations",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("parent_id", String(40), ForeignKey("organizations.id")),
    Column("level", String(40), nullable=False),
    Column("name", String(200), nullable=False),
    Column("created_at", Instant, nullable=False),
    # The root above it (its own id for a root), and what other systems know the node by.
    Column("root_id", String(40)),
    Column("code", String(80)),
    Index("uq_organizations_root_id_code", "root_id", "code", unique=True),
    Index("ix_organizations_parent_id", "parent_id"),
)

organization_moves = Table(
    "organization_moves",
    metadata,
    Column("number", Serial, primary_key=True, autoincrement=True),
    Column("organization_id", String(40), ForeignKey("organizations.id"), nullable=False),
    Column("from_parent_id", String(40), ForeignKey("organizations.id"), nullable=False),
    Column("to_parent_id", String(40), ForeignKey("organizations.id"), nullable=False),
    # YYYY-MM-DD, local to the scheme: the first day below the new parent.
    Column("day", String(10), nullable=False),
    Column("reason", String(500), nullable=False),
    Column("moved_by", String(64), nullable=False),
    Column("recorded_at", Instant, nullable=False),
    Index("ix_organization_moves_organization_id", "organization_id", "number"),
)
append_only(organization_moves)

groups = Table(
    "groups",
    metadata,
    Column("id", String(40), primary_key=True),
    # Its home; without one it stands across the estates of the whole scheme.
    Column("organization_id", String(40), ForeignKey("organizations.id")),
    Column("kind", String(40), nullable=False),
    Column("name", String(100), nullable=False),
    Column("code", String(80), unique=True),
    Column("created_at", Instant, nullable=False),
    Column("closed_at", Instant),
    Index("ix_groups_organization_id", "organization_id"),
)

staff_roles = Table(
    "staff_roles",
    metadata,
    Column("staff_id", String(40), ForeignKey("staff.id"), nullable=False),
    Column("role", String(20), nullable=False),
    # The role holds for this node of the region tree and everything below it.
    Column("organization_id", String(40), ForeignKey("organizations.id"), nullable=False),
    PrimaryKeyConstraint("staff_id", "role", "organization_id"),
)

calendar_days = Table(
    "calendar_days",
    metadata,
    # YYYY-MM-DD, local to the scheme. Days that are not here are as their weekday says.
    Column("day", String(10), primary_key=True),
    Column("is_working", Boolean, nullable=False),
    Column("name", String(100), nullable=False),
)
