"""Which gateway looks after which shards. A lease only spreads the work: what keeps it right are unique keys."""

from __future__ import annotations

from sqlalchemy import Column, Integer, String, Table

from jishan_server.db import Instant, metadata

gateways = Table(
    "gateways",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("seen_at", Instant, nullable=False),
)

shard_leases = Table(
    "shard_leases",
    metadata,
    Column("shard", Integer, primary_key=True, autoincrement=False),
    Column("holder", String(40), nullable=False),
    Column("expires_at", Instant, nullable=False),
)
