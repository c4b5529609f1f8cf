"""The signed webhook: its body and its signature, and the check that a receiver makes. Pure.

The body is a JSON object; over the time and the bytes of the body goes an HMAC-SHA256 under the secret both sides know.
Vectors: `docs/vectors/webhook.json`; explained in `docs/messages.md`.
"""

import hmac
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from jishan_server.db import to_ms
from jishan_server.instants import iso
from jishan_server.people.outbox import Letter

ID: Final = "Jishan-Message-Id"
TIMESTAMP: Final = "Jishan-Timestamp"
SIGNATURE: Final = "Jishan-Signature"
TOLERANCE_S: Final = 300
"""A receiver takes nothing that was signed longer ago, or longer ahead: a replay is worth nothing then."""


def body_of(letter: Letter) -> bytes:
    """What is posted; the same for each try."""
    content = {
        "id": letter.id,
        "kind": letter.kind,
        "resident_id": letter.resident_id,
        "member_number": letter.member_number,
        "language": letter.language,
        "text": letter.text,
        "fields": json.loads(letter.fields),
        "recorded_at": iso(letter.recorded_at),
    }
    return json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def signature(secret: str, timestamp: int, body: bytes) -> str:
    """`v1=` and 64 lower-case hex digits: HMAC-SHA256(secret, timestamp as decimal digits, a full stop, the body)."""
    return "v1=" + hmac.digest(secret.encode(), f"{timestamp}.".encode() + body, "sha256").hex()


def headers_of(letter: Letter, secret: str, body: bytes, now: datetime) -> dict[str, str]:
    """The headers beside the body."""
    timestamp = to_ms(now) // 1000
    return {
        "Content-Type": "application/json; charset=utf-8",
        ID: letter.id,
        TIMESTAMP: str(timestamp),
        SIGNATURE: signature(secret, timestamp, body),
    }


def is_signed(secret: str, headers: Mapping[str, str], body: bytes, now: datetime) -> bool:
    """The check of a receiver, which then takes each id once."""
    said, timestamp = headers.get(SIGNATURE, ""), headers.get(TIMESTAMP, "")
    if not (timestamp.isascii() and timestamp.isdecimal() and len(timestamp) <= 12):
        return False
    if abs(to_ms(now) // 1000 - int(timestamp)) > TOLERANCE_S:
        return False
    return hmac.compare_digest(said.encode(), signature(secret, int(timestamp), body).encode())
