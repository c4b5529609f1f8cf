"""Files that prove something: photos of signed sheets, certificates of a training, pictures of a wrong item.

They lie in the database: one place to back up, and the same for several processes.
"""

from sqlalchemy import CheckConstraint, Column, ForeignKey, Index, Integer, LargeBinary, String, Table

from jishan_server.db import Instant, metadata

attachments = Table(
    "attachments",
    metadata,
    Column("id", String(40), primary_key=True),
    # What it belongs to: see `jishan_server.attachments.SUBJECTS`.
    Column("subject_type", String(20), nullable=False),
    Column("subject_id", String(40), nullable=False),
    Column("organization_id", String(40), ForeignKey("organizations.id"), nullable=False),
    # The person it is about, if it is one person's: the content goes when that person is made anonymous.
    Column("resident_id", String(40), ForeignKey("residents.id")),
    Column("content_type", String(40), nullable=False),
    Column("size_bytes", Integer, nullable=False),
    # Of what is kept, which for a photo is not what was sent.
    Column("sha256", String(64), info={"personal": True}),
    # Null once the person was made anonymous.
    Column("content", LargeBinary, info={"personal": True, "not_exported": True}),
    Column("uploaded_by", String(64), nullable=False),
    Column("recorded_at", Instant, nullable=False),
    CheckConstraint("(subject_type = 'resident') = (resident_id IS NOT NULL)", name="one_person"),
    Index("ix_attachments_subject", "subject_type", "subject_id"),
    Index("ix_attachments_resident_id", "resident_id"),
)
