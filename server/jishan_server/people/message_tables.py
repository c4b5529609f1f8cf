"""What residents are told: one row for each message, which waits in their inbox until it is read.

Beside it, for those who want it: the channels that a person chose, and the outbox, a row for each message on a channel.
Addresses are not in the outbox; they are looked up when a message leaves.
"""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from jishan_server.db import Instant, Serial, metadata

CHANNELS: Final = ("email", "sms", "webhook", "wechat")

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

message_channels = Table(
    "message_channels",
    metadata,
    Column("resident_id", String(40), ForeignKey("residents.id"), nullable=False),
    Column("channel", String(10), nullable=False),
    # The person's WeChat openid; e-mail address and phone stand with the resident, a webhook needs none.
    Column("address", String(100), info={"personal": True}),
    # Older messages stay in the inbox.
    Column("since_at", Instant, nullable=False),
    PrimaryKeyConstraint("resident_id", "channel"),
)

message_sendings = Table(
    "message_sendings",
    metadata,
    Column("number", Serial, primary_key=True, autoincrement=True),
    Column("message_number", BigInteger, ForeignKey("messages.number"), nullable=False),
    Column("channel", String(10), nullable=False),
    Column("resident_id", String(40), ForeignKey("residents.id"), nullable=False),
    # waiting | sent | failed (after the last try, or refused) | dropped (no address, consent or person any more)
    Column("state", String(10), nullable=False),
    Column("is_urgent", Boolean, nullable=False),
    # When it was put here, or by a person once more.
    Column("planned_at", Instant, nullable=False),
    Column("tries", Integer, nullable=False),
    # When it may be tried next; while it is being sent, when the lease ends.
    Column("due_at", Instant, nullable=False),
    Column("ended_at", Instant),
    # Why the last try did not succeed: a code, never what the other side said.
    Column("problem", String(40)),
    CheckConstraint("state IN ('waiting', 'sent', 'failed', 'dropped')", name="state_known"),
    UniqueConstraint("message_number", "channel"),
    Index("ix_message_sendings_resident_id", "resident_id"),
    Index(
        "ix_message_sendings_due",
        "due_at",
        sqlite_where=text("state = 'waiting'"),
        postgresql_where=text("state = 'waiting'"),
    ),
    Index(
        "ix_message_sendings_failed",
        "number",
        sqlite_where=text("state = 'failed'"),
        postgresql_where=text("state = 'failed'"),
    ),
)

message_marks = Table(
    "message_marks",
    metadata,
    # One row: messages up to here have been looked at for the outbox.
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("message_number", BigInteger, nullable=False),
)

card_greetings = Table(
    "card_greetings",
    metadata,
    # What stood on the account when its card was last tapped at a machine.
    Column("resident_id", String(40), ForeignKey("residents.id"), primary_key=True),
    Column("available_points", Integer, nullable=False),
    Column("greeted_at", Instant, nullable=False),
)
