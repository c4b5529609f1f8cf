"""The region tree (county > street > estate > building, the levels named freely), who has which role in it, and the
calendar of working days.
"""

from sqlalchemy import Boolean, Column, ForeignKey, Index, PrimaryKeyConstraint, String, Table

from jishan_server.db import Instant, metadata

organizations = Table(
    "organizations",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("parent_id", String(40), ForeignKey("organizations.id")),
    Column("level", String(40), nullable=False),
    Column("name", String(200), nullable=False),
    Column("created_at", Instant, nullable=False),
    Index("ix_organizations_parent_id", "parent_id"),
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
