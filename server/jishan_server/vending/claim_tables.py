"""What phones have opened at machines' screens, and chosen there. Rows of more than a day are forgotten.

`opened` by a phone, perhaps by somebody not logged in yet; `offered` to the machine by a resident; `taken` by the
machine's `authorize`; `ended` where the machine said that it does not begin it.
"""

from sqlalchemy import BigInteger, Column, Index, Integer, String, Table, UniqueConstraint, text

from jishan_server.db import Instant, metadata
from jishan_server.vending.tables import CODE, ID

machine_claims = Table(
    "machine_claims",
    metadata,
    # Random, and known to the browser that opened it alone until it is offered.
    Column("id", String(ID), primary_key=True),
    Column("machine_id", String(32), nullable=False),
    Column("screen_code", String(ID), nullable=False),
    Column("state", String(10), nullable=False),
    Column("reason", String(CODE)),
    Column("resident_id", String(ID), index=True),
    Column("selection", Integer),
    Column("product_id", String(ID)),
    Column("points", BigInteger),
    Column("planogram_version", BigInteger),
    Column("redemption_id", String(ID)),
    Column("opened_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("offered_at", Instant),
    UniqueConstraint("machine_id", "screen_code"),
)
# Looked at once a second by each gateway: hardly ever is there one.
_OFFERED = text("state = 'offered'")
Index(
    "ix_machine_claims_offered",
    machine_claims.c.offered_at,
    sqlite_where=_OFFERED,
    postgresql_where=_OFFERED,
)
