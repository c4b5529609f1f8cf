"""Certificates: one row for each, and which service records it lists.

The facts of a certificate never change; it is revoked or replaced, and its name is forgotten with the person. Whether
it is outdated is no column: it is, as soon as a record on it was corrected.
"""

from sqlalchemy import CheckConstraint, Column, ForeignKey, Index, Integer, PrimaryKeyConstraint, String, Table, Text

from jishan_server.db import Instant, append_only, metadata
from jishan_server.volunteering.credit_tables import keep_facts

certificates = Table(
    "certificates",
    metadata,
    # Fifteen digits, the last of which checks the others; drawn, so that nobody counts them up.
    Column("number", String(15), primary_key=True),
    Column("resident_id", String(40), ForeignKey("residents.id"), nullable=False),
    Column("estate_id", String(40), ForeignKey("organizations.id"), nullable=False),
    # The person and the recording unit as they were called when it was issued.
    Column("name", String(100), info={"personal": True}),
    Column("unit_name", Text, nullable=False),
    Column("first_day", String(10), nullable=False),
    Column("last_day", String(10), nullable=False),
    Column("minutes", Integer, nullable=False),
    Column("record_count", Integer, nullable=False),
    Column("issued_by", String(64), nullable=False),
    Column("issued_at", Instant, nullable=False),
    Column("revoked_by", String(64)),
    Column("revoked_at", Instant),
    Column("revoke_reason", Text, info={"personal": True}),
    # The certificate that was issued in its place.
    Column("replaced_by", String(15)),
    CheckConstraint("(revoked_at IS NULL) = (revoked_by IS NULL)", name="revoked_by_somebody"),
    CheckConstraint("replaced_by IS NULL OR revoked_at IS NOT NULL", name="replaced_is_revoked"),
    Index("ix_certificates_resident_id", "resident_id", "issued_at"),
    Index("ix_certificates_estate_id", "estate_id", "issued_at", "number"),
)
keep_facts(certificates, frozenset({"name", "revoked_by", "revoked_at", "revoke_reason", "replaced_by"}))

certificate_records = Table(
    "certificate_records",
    metadata,
    Column("number", String(15), ForeignKey("certificates.number"), nullable=False),
    Column("position", Integer, nullable=False),
    Column("record_id", String(40), ForeignKey("service_records.id"), nullable=False),
    PrimaryKeyConstraint("number", "position"),
    Index("ix_certificate_records_record_id", "record_id"),
)
append_only(certificate_records)
