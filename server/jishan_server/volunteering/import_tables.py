"""Imports: the file that was sent, in sealed pieces, what became of its rows, and what is wrong with the others.

Cells may hold ID numbers, so the pieces are sealed under the server's key and forgotten after a time; what stays is
what was booked, and why a row was not.
"""

from sqlalchemy import (
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
)

from jishan_server.db import Instant, Serial, metadata

imports = Table(
    "imports",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("kind", String(20), nullable=False),
    Column("organization_id", String(40), ForeignKey("organizations.id"), nullable=False),
    Column("file_name", Text, nullable=False),
    # SHA-256 of the bytes as sent.
    Column("file_hash", String(64), nullable=False),
    # How the file was written, as JSON: format, encoding, delimiter, sheet, other sheets.
    Column("written", Text, nullable=False),
    # `headers.Header` as JSON: row, names, fields.
    Column("header", Text, nullable=False),
    Column("year", Integer, nullable=False),
    Column("half_day_minutes", Integer, nullable=False),
    Column("state", String(10), nullable=False),
    # Counts of rows: all, new, known, bad; and the rows that were left out, as JSON [[row, why], ...].
    Column("row_count", Integer, nullable=False),
    Column("new_count", Integer, nullable=False),
    Column("known_count", Integer, nullable=False),
    Column("bad_count", Integer, nullable=False),
    Column("left_out", Text, nullable=False),
    Column("booked_count", Integer, nullable=False),
    Column("kept_count", Integer, nullable=False),
    Column("chunk_count", Integer, nullable=False),
    Column("next_chunk", Integer, nullable=False),
    Column("sent_by", String(64), nullable=False),
    Column("sent_at", Instant, nullable=False),
    Column("booked_by", String(64)),
    # Random, for the notes with the words of what it books (`ledger.notes`); forgotten when all is booked.
    Column("note_salt", String(64), info={"not_exported": True}),
    Column("booked_at", Instant),
    Column("undone_by", String(64)),
    Column("undone_at", Instant),
    Column("undo_reason", Text),
    Column("forgotten_at", Instant),
    CheckConstraint(
        "state IN ('reading', 'previewed', 'booking', 'booked', 'undoing', 'undone')",
        name="state_known",
    ),
    Index("ix_imports_organization_id", "organization_id", "sent_at", "id"),
    Index("ix_imports_file_hash", "file_hash"),
    Index("ix_imports_sent_at", "sent_at"),
)

import_chunks = Table(
    "import_chunks",
    metadata,
    Column("import_id", String(40), ForeignKey("imports.id"), nullable=False),
    Column("number", Integer, nullable=False),
    # The rows with their cells; null once forgotten.
    Column("sealed", LargeBinary),
    # JSON [[row, id of what it became], ...]; null until booked.
    Column("booked", Text),
    PrimaryKeyConstraint("import_id", "number"),
)

import_refusals = Table(
    "import_refusals",
    metadata,
    Column("number", Serial, primary_key=True, autoincrement=True),
    Column("import_id", String(40), ForeignKey("imports.id"), nullable=False),
    Column("row", Integer, nullable=False),
    Column("column_name", Text, nullable=False),
    # `sheets.problems.PROBLEMS` and its fields as JSON; no ID number and no whole phone number.
    Column("code", String(40), nullable=False),
    Column("fields", Text, nullable=False),
    Column("recorded_at", Instant, nullable=False),
    Index("ix_import_refusals_import_id", "import_id", "row"),
)

import_candidates = Table(
    "import_candidates",
    metadata,
    # Residents whom a refused row may be about: what answers "why did I get nothing?".
    Column("import_id", String(40), ForeignKey("imports.id"), nullable=False),
    Column("row", Integer, nullable=False),
    Column("resident_id", String(40), nullable=False),
    PrimaryKeyConstraint("import_id", "row", "resident_id"),
    Index("ix_import_candidates_resident_id", "resident_id"),
)

import_mappings = Table(
    "import_mappings",
    metadata,
    Column("kind", String(20), nullable=False),
    # `headers.Header.fingerprint`.
    Column("fingerprint", String(64), nullable=False),
    # What each column means, as JSON {word: field or null}.
    Column("mapping", Text, nullable=False),
    Column("saved_by", String(64), nullable=False),
    Column("saved_at", Instant, nullable=False),
    PrimaryKeyConstraint("kind", "fingerprint"),
)
