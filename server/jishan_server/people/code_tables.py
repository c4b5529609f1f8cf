"""Residents' rotating personal codes: of each only a hash, kept until it is of no use even to say why it is refused."""

from sqlalchemy import Column, ForeignKey, String, Table

from jishan_server.db import Instant, metadata

personal_codes = Table(
    "personal_codes",
    metadata,
    Column("hash", String(64), primary_key=True, info={"not_exported": True}),
    Column("resident_id", String(40), ForeignKey("residents.id"), nullable=False, index=True),
    Column("issued_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("used_at", Instant),
)
