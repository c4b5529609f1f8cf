"""The tables of machines, slots, redemptions and what goes wrong with them.

Rules: a state of a redemption is written only with the row of `redemption_events` that explains it;
`redemption_events`, `contradictions`, `rejected_messages` and `received_messages` are only ever appended to; an `_at`
column is an `Instant`. No key of a machine lies here: all are derived from the server's secret (`vending/keys.py`).
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Index,
    Integer,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    text,
)

from jishan_server.db import Instant, Serial, append_only, metadata

ID: Final = 40
CODE: Final = 60

machines = Table(
    "machines",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("estate_id", String(ID), nullable=False, index=True),
    Column("name", String(200), nullable=False),
    Column("shard", Integer, nullable=False),
    # expected (not enrolled yet), enrolled, closed (by a person or by its own fault), forked, lost
    Column("state", String(20), nullable=False),
    Column("closed_reason", String(CODE)),
    Column("key_id", Integer, nullable=False),
    Column("journal_id", String(ID)),
    Column("last_seq", BigInteger, nullable=False),
    # The ledger that this machine has caught up with: equal to `identity.ledger_id`, or it gets no approvals.
    Column("caught_up_with", String(ID)),
    Column("session_boot", BigInteger),
    Column("session_connection", BigInteger),
    Column("session_tag", String(ID)),
    Column("session_since_at", Instant),
    Column("beat_number", BigInteger),
    Column("last_heartbeat_at", Instant),
    Column("is_offline", Boolean, nullable=False),
    Column("reported", Text),
    Column("planogram_version", BigInteger, nullable=False),
    Column("desired_version", BigInteger, nullable=False),
    Column("reported_version", BigInteger, nullable=False),
    # The newest blocked card that the desired document of `desired_version` takes in.
    Column("blocked_through_at", Instant),
    Column("recorded_at", Instant, nullable=False),
    Column("enrolled_at", Instant),
)

claim_codes = Table(
    "claim_codes",
    metadata,
    Column("code_hash", String(64), primary_key=True),
    Column("machine_id", String(32), nullable=False, index=True),
    Column("created_by", String(ID), nullable=False),
    Column("recorded_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("used_at", Instant),
    Column("used_by_journal", String(ID)),
)

products = Table(
    "products",
    metadata,
    Column("id", String(ID), primary_key=True),
    Column("estate_id", String(ID), nullable=False, index=True),
    Column("name_zh", String(200), nullable=False),
    Column("name_en", String(200), nullable=False),
    Column("recorded_at", Instant, nullable=False),
)

planograms = Table(
    "planograms",
    metadata,
    Column("machine_id", String(32), nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("actor", String(ID), nullable=False),
    Column("recorded_at", Instant, nullable=False),
    PrimaryKeyConstraint("machine_id", "version"),
)

planogram_slots = Table(
    "planogram_slots",
    metadata,
    Column("machine_id", String(32), nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("selection", Integer, nullable=False),
    Column("product_id", String(ID), nullable=False),
    Column("points", BigInteger, nullable=False),
    Column("capacity", Integer, nullable=False),
    Column("is_enabled", Boolean, nullable=False),
    PrimaryKeyConstraint("machine_id", "version", "selection"),
    CheckConstraint("points >= 1", name="points_positive"),
)

slots = Table(
    "slots",
    metadata,
    Column("machine_id", String(32), nullable=False),
    Column("selection", Integer, nullable=False),
    Column("stock", Integer, nullable=False),
    Column("reserved", Integer, nullable=False),
    Column("closed_reason", String(CODE)),
    Column("closed_at", Instant),
    PrimaryKeyConstraint("machine_id", "selection"),
    CheckConstraint("stock >= 0", name="stock_not_negative"),
    CheckConstraint("reserved >= 0", name="reserved_not_negative"),
)

redemptions = Table(
    "redemptions",
    metadata,
    Column("id", String(ID), primary_key=True),
    Column("machine_id", String(32), nullable=False),
    Column("estate_id", String(ID), nullable=False),
    # Null where a machine said `not_started` before its question came, or where nobody could be identified.
    Column("resident_id", String(ID)),
    Column("account_id", String(ID)),
    Column("selection", Integer),
    Column("product_id", String(ID)),
    Column("points", BigInteger),
    Column("planogram_version", BigInteger),
    Column("state", String(20), nullable=False),
    Column("reason", String(CODE)),
    # The fields of a refusal, so that an answer from memory has the same words.
    Column("reason_fields", Text),
    Column("is_with_pin", Boolean, nullable=False),
    # False once a count has set the slot's stock without this item.
    Column("is_reserved", Boolean, nullable=False),
    Column("hold_id", String(ID), unique=True),
    Column("request_hash", String(64)),
    Column("occurred_at", Instant),
    Column("recorded_at", Instant, nullable=False),
    Column("changed_at", Instant, nullable=False),
    # 0: not said; 1: the resident sees "being checked"; 2: graded up after a day.
    Column("watch_grade", Integer, nullable=False),
    # Since when it was in doubt, and the local day (YYYY-MM-DD) by which the resident was promised an answer.
    Column("in_doubt_at", Instant),
    Column("answer_by", String(10)),
)
_OPEN = text("state IN ('requested', 'held', 'vending', 'in_doubt')")
OF_AN_UNKNOWN_CARD = text("reason = 'card_unknown'")
Index(
    "ix_redemptions_unknown_card",
    redemptions.c.machine_id,
    redemptions.c.recorded_at,
    sqlite_where=OF_AN_UNKNOWN_CARD,
    postgresql_where=OF_AN_UNKNOWN_CARD,
)
Index("ix_redemptions_machine", redemptions.c.machine_id, redemptions.c.recorded_at)
Index("ix_redemptions_resident", redemptions.c.resident_id, redemptions.c.recorded_at)
Index(
    "ix_redemptions_open",
    redemptions.c.resident_id,
    redemptions.c.recorded_at,
    sqlite_where=_OPEN,
    postgresql_where=_OPEN,
)

redemption_events = Table(
    "redemption_events",
    metadata,
    Column("number", Serial, primary_key=True, autoincrement=True),
    Column("redemption_id", String(ID), nullable=False, index=True),
    Column("event", String(30), nullable=False),
    Column("party", String(10), nullable=False),
    Column("actor", String(ID), nullable=False),
    Column("verdict", String(20), nullable=False),
    Column("state", String(20), nullable=False),
    Column("message_id", String(ID)),
    Column("evidence", Text, nullable=False),
    Column("recorded_at", Instant, nullable=False),
)

contradictions = Table(
    "contradictions",
    metadata,
    Column("number", Serial, primary_key=True, autoincrement=True),
    Column("redemption_id", String(ID), nullable=False, index=True),
    Column("machine_id", String(32), nullable=False),
    Column("state", String(20), nullable=False),
    Column("event", String(30), nullable=False),
    Column("message_id", String(ID)),
    Column("evidence", Text, nullable=False),
    Column("recorded_at", Instant, nullable=False),
)

rejected_messages = Table(
    "rejected_messages",
    metadata,
    Column("number", Serial, primary_key=True, autoincrement=True),
    Column("machine_id", String(32), nullable=False, index=True),
    Column("journal_id", String(ID), nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("message_id", String(ID), nullable=False),
    Column("type", String(ID), nullable=False),
    Column("body", Text, nullable=False),
    Column("reason", String(CODE), nullable=False),
    Column("detail", Text, nullable=False),
    Column("recorded_at", Instant, nullable=False),
)

received_messages = Table(
    "received_messages",
    metadata,
    Column("machine_id", String(32), nullable=False),
    Column("journal_id", String(ID), nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("message_hash", String(64), nullable=False),
    Column("is_rejected", Boolean, nullable=False),
    Column("recorded_at", Instant, nullable=False),
    PrimaryKeyConstraint("machine_id", "journal_id", "seq"),
)

alerts = Table(
    "alerts",
    metadata,
    Column("number", Serial, primary_key=True, autoincrement=True),
    Column("grade", String(10), nullable=False),
    Column("kind", String(30), nullable=False),
    Column("subject", String(100), nullable=False),
    Column("estate_id", String(ID), nullable=False, index=True),
    Column("machine_id", String(32)),
    Column("redemption_id", String(ID)),
    Column("detail", Text, nullable=False),
    Column("opened_at", Instant, nullable=False),
    Column("acknowledged_at", Instant),
    Column("acknowledged_by", String(ID)),
    Column("resolved_at", Instant),
    Column("resolved_by", String(ID)),
)
_UNRESOLVED = text("resolved_at IS NULL")
Index(
    "uq_alerts_open",
    alerts.c.kind,
    alerts.c.subject,
    unique=True,
    sqlite_where=_UNRESOLVED,
    postgresql_where=_UNRESOLVED,
)

decisions = Table(
    "decisions",
    metadata,
    Column("number", Serial, primary_key=True, autoincrement=True),
    Column("redemption_id", String(ID), nullable=False, index=True),
    Column("machine_id", String(32), nullable=False),
    Column("resident_id", String(ID)),
    Column("verdict", String(20), nullable=False),
    # proposed (it waits for a second person) or done
    Column("state", String(10), nullable=False),
    Column("decided_by", String(ID), nullable=False),
    Column("seconded_by", String(ID)),
    Column("reason", Text, nullable=False),
    Column("evidence", Text, nullable=False),
    Column("recorded_at", Instant, nullable=False),
)
Index("ix_decisions_recorded", decisions.c.recorded_at)

# One row: which ledger this database holds. A restore writes a new one.
identity = Table(
    "identity",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("ledger_id", String(ID), nullable=False),
    Column("recorded_at", Instant, nullable=False),
    CheckConstraint("number = 1", name="one_row"),
)

for _table in (redemption_events, contradictions, rejected_messages, received_messages):
    append_only(_table)
