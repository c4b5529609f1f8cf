"""Residents with their cards, skills and tokens, and staff with theirs.

Of a card or an ID number only a keyed hash is kept, of a PIN or password only an argon2 hash, of a token a SHA-256.
A column whose `info` says `not_exported` is left out of what a person gets of their own records.
"""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    PrimaryKeyConstraint,
    String,
    Table,
    text,
)

from jishan_server.db import Instant, metadata

residents = Table(
    "residents",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("estate_id", String(40), ForeignKey("organizations.id"), nullable=False),
    Column("name", String(100), nullable=False),
    Column("phone", String(20)),
    Column("member_serial", Integer, nullable=False, unique=True),
    Column("member_number", String(10), nullable=False, unique=True),
    Column("state", String(10), nullable=False),
    Column("pin_hash", String(200), info={"not_exported": True}),
    Column("pin_wrong_tries", Integer, nullable=False, info={"not_exported": True}),
    Column("pin_locked_until_at", Instant),
    Column("created_at", Instant, nullable=False),
    # awaiting | given | withdrawn: the newest row of `consents`, repeated here by `people.consents` for the hot path.
    Column("consent_state", String(10), nullable=False, server_default="awaiting"),
    # The first tap of a card whose second one gives consent, and the machine that it was shown to.
    Column("consent_asked_at", Instant, info={"not_exported": True}),
    Column("consent_asked_by", String(40), info={"not_exported": True}),
    # When a person turns 14 in the scheme's time zone; without a birth date nothing says that they are a child.
    Column("of_age_at", Instant),
    Column("sex", String(1)),
    Column("birth_day", String(10)),
    # HMAC of the ID number under the server's key, and its last four signs, which only its owner's export shows.
    Column("id_number_hash", String(32), info={"not_exported": True}),
    Column("id_number_ending", String(4)),
    Column("building", String(40)),
    Column("unit", String(40)),
    Column("room", String(40)),
    Column("email", String(100)),
    # The kind of service that somebody offers, in the scheme's own words.
    Column("category", String(40)),
    Column("language", String(2), nullable=False, server_default="zh"),
    # Since when nothing but the pseudonym is left.
    Column("erased_at", Instant),
    # The record of the same person that this one was merged into, or since when it is closed (`people.merging`).
    Column("merged_into", String(40)),
    Column("closed_at", Instant),
    CheckConstraint("state IN ('active', 'frozen')", name="state_known"),
    CheckConstraint("consent_state IN ('awaiting', 'given', 'withdrawn')", name="consent_state_known"),
    Index("ix_residents_estate_id", "estate_id", "member_serial"),
    # What duplicates are found by.
    Index("ix_residents_phone", "phone"),
    Index("ix_residents_id_number_hash", "id_number_hash"),
    Index("ix_residents_name", "name"),
    # Few records are ever merged: only those are in it.
    Index(
        "ix_residents_merged_into",
        "merged_into",
        sqlite_where=text("merged_into IS NOT NULL"),
        postgresql_where=text("merged_into IS NOT NULL"),
    ),
)

skills = Table(
    "resident_skills",
    metadata,
    Column("resident_id", String(40), ForeignKey("residents.id"), nullable=False),
    Column("position", Integer, nullable=False),
    Column("name", String(100), nullable=False),
    Column("licence", String(100)),
    # The last day on which the licence holds.
    Column("expires_on", String(10)),
    PrimaryKeyConstraint("resident_id", "position"),
)

resident_tokens = Table(
    "resident_tokens",
    metadata,
    Column("hash", String(64), primary_key=True, info={"not_exported": True}),
    Column("resident_id", String(40), ForeignKey("residents.id"), nullable=False),
    Column("issued_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("revoked_at", Instant),
    Index("ix_resident_tokens_resident_id", "resident_id"),
    Index("ix_resident_tokens_expires_at", "expires_at"),
)

cards = Table(
    "cards",
    metadata,
    Column("id", String(40), primary_key=True),
    # HMAC of the card's one identity (jishan_protocol.cards) under the server's key.
    Column("hash", String(32), nullable=False, unique=True, info={"not_exported": True}),
    Column("resident_id", String(40), ForeignKey("residents.id"), nullable=False),
    Column("state", String(10), nullable=False),
    # The identity's last four hex digits, so that a person can tell two cards apart.
    Column("ending", String(4), nullable=False),
    Column("bound_at", Instant, nullable=False),
    Column("blocked_at", Instant),
    Column("blocked_reason", String(40)),
    CheckConstraint("state IN ('active', 'blocked')", name="state_known"),
    Index("ix_cards_resident_id", "resident_id"),
)

staff = Table(
    "staff",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("login", String(40), nullable=False, unique=True),
    Column("name", String(100), nullable=False),
    Column("password_hash", String(200), nullable=False),
    # The resident that this member of staff is, if any: nobody approves a credit to themselves.
    Column("resident_id", String(40), ForeignKey("residents.id")),
    Column("wrong_tries", Integer, nullable=False),
    Column("locked_until_at", Instant),
    # Since when nobody logs in with it; its roles stay for the day when it is enabled again.
    Column("disabled_at", Instant),
    Column("created_at", Instant, nullable=False),
    # The second factor: the enrolment, since when codes are asked for, and the step of the last one that was taken.
    Column("totp_id", String(40)),
    Column("totp_since_at", Instant),
    Column("totp_step", BigInteger),
)

staff_tokens = Table(
    "staff_tokens",
    metadata,
    Column("hash", String(64), primary_key=True),
    Column("staff_id", String(40), ForeignKey("staff.id"), nullable=False),
    Column("issued_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("revoked_at", Instant),
    Column("device", String(200)),
)
