"""What somebody has looked at among the things that looked odd, and what they found. The things themselves are rows
elsewhere, and are found anew each time.
"""

from sqlalchemy import Column, ForeignKey, Index, String, Table, Text

from jishan_server.db import Instant, metadata

anomaly_looks = Table(
    "anomaly_looks",
    metadata,
    # The same as long as the same things are seen (`anomalies.Seen`).
    Column("id", String(40), primary_key=True),
    Column("kind", String(40), nullable=False),
    Column("estate_id", String(40), ForeignKey("organizations.id"), nullable=False),
    # Whom it is about, where it is about one person: their words are forgotten with them.
    Column("resident_id", String(40), ForeignKey("residents.id")),
    Column("reason", Text, info={"personal": True}),
    Column("looked_by", String(64), nullable=False),
    Column("looked_at", Instant, nullable=False),
    Index("ix_anomaly_looks_resident_id", "resident_id"),
)
