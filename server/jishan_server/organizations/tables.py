"""The region tree: county > street > estate > building, with free names for the levels."""

from sqlalchemy import Column, ForeignKey, Index, String, Table

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
