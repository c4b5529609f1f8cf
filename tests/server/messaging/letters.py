"""A letter to send, and where the time stands in these tests."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from jishan_server.people.outbox import Letter

NOW = datetime(2026, 3, 2, 4, 0, tzinfo=UTC)
LETTER = Letter(
    id="m7-1772424000000-email",
    sending=3,
    tries=1,
    channel="email",
    to="wang@example.cn",
    resident_id="r1",
    member_number="10000012",
    language="zh",
    kind="credit_booked",
    text="您参加“扫雪”得了5分，现在可用。",
    fields='{"activity": "扫雪", "points": 5}',
    recorded_at=NOW,
)


def letter(**changes: Any) -> Letter:
    return replace(LETTER, **changes)
