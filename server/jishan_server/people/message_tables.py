"""What residents are told: one row for each message, which waits in their inbox until it is read."""

from sqlalchemy import Column, ForeignKey, Index, String, Table, Text, text

from jishan_server.db import Instant, Serial, metadata

messages = Table(
    "messages",
    metadata,
    Column("number", Serial, primary_key=True, autoincrement=True),
    Column("resident_id", String(40), ForeignKey("residents.id"), nullable=False),
    Column("kind", String(40), nullable=False),
    # What the text of the kind is filled with, as JSON: codes, ids, numbers and titles; null once a person is erased.
    Column("fields", Text, info={"personal": True}),
    Column("recorded_at", Instant, nullable=False),
    Column("read_at", Instant),
    # When the person said "this is not me", and when somebody answered.
    Column("disputed_at", Instant),
    Column("answered_at", Instant),
    Column("dispute_words", Text, info={"personal": True}),
    Column("answered_by", String(64)),
    Column("answer_words", Text, info={"personal": True}),
    Index("ix_messages_resident_id", "resident_id", "number"),
    # Few messages are ever disputed: only those are in it.
    Index(
        "ix_messages_disputed",
        "number",
        sqlite_where=text("disputed_at IS NOT NULL"),
        postgresql_where=text("disputed_at IS NOT NULL"),
    ),
)
