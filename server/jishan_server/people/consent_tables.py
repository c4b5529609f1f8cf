"""Consent to keeping records: its texts, who gave or withdrew it and how, and the guardians of children under 14.

Texts and what was said to them are facts: rows are only ever added. A guardian's name and phone are personal and can
be forgotten, so they stand in a table of their own.
"""

from sqlalchemy import Boolean, CheckConstraint, Column, ForeignKey, Index, Integer, String, Table, Text

from jishan_server.db import Instant, Serial, append_only, metadata

consent_texts = Table(
    "consent_texts",
    metadata,
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("zh", Text, nullable=False),
    Column("en", Text, nullable=False),
    # The text of an instant is the newest version whose time has come.
    Column("from_at", Instant, nullable=False),
    Column("written_by", String(64), nullable=False),
    Column("recorded_at", Instant, nullable=False),
)
append_only(consent_texts)

guardians = Table(
    "guardians",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("resident_id", String(40), ForeignKey("residents.id"), nullable=False),
    # Either a resident, or somebody of whom only this is known.
    Column("guardian_id", String(40), ForeignKey("residents.id"), info={"personal": True}),
    Column("name", String(100), info={"personal": True}),
    Column("phone", String(20), info={"personal": True}),
    Column("recorded_at", Instant, nullable=False),
    Index("ix_guardians_resident_id", "resident_id"),
)

consents = Table(
    "consents",
    metadata,
    Column("number", Serial, primary_key=True, autoincrement=True),
    Column("resident_id", String(40), ForeignKey("residents.id"), nullable=False),
    Column("text_version", Integer, ForeignKey("consent_texts.version"), nullable=False),
    # False: withdrawn.
    Column("is_given", Boolean, nullable=False),
    Column("how", String(10), nullable=False),
    Column("written_by", String(64), nullable=False),
    Column("form_number", String(40)),
    Column("form_day", String(10)),
    # A row of `guardians`, which may have been forgotten since.
    Column("guardian_entry_id", String(40)),
    Column("machine_id", String(40)),
    Column("recorded_at", Instant, nullable=False),
    CheckConstraint("how IN ('desk', 'paper', 'phone', 'card_tap', 'keypad')", name="how_known"),
    Index("ix_consents_resident_id", "resident_id", "number"),
)
append_only(consents)
