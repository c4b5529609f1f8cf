"""The vectors of `docs/vectors/link.json`: payloads for people who write agents in other languages.

Run `python tests/protocol/link_vectors.py` to write the file anew after a change of the protocol.
"""

from __future__ import annotations

import json
import pathlib
from typing import Any

from jishan_protocol import messages, topics
from jishan_protocol.envelope import MAX_PAYLOAD_BYTES, Envelope, Session, mac, seal

PATH = pathlib.Path(__file__).parents[2] / "docs" / "vectors" / "link.json"
KEY = bytes(range(32))
KEY_ID = 1
SHARD, MACHINE = 7, "m1a2b3"
REDEMPTION = "5b1f0c9d8e7a6b5c4d3e2f1a0b9c8d7e"
SESSION = Session(3, 2, "a1b2c3d4")
APPROVAL = "approval-token_1"
CLAIM = "7d8e9c0b1a2f3e4d5c6b7a8e9d0c1f5b"

GOOD: list[tuple[str, messages.Message, int | None]] = [
    (
        "ask",
        messages.Authorize(REDEMPTION, "c2VhbGVk", 13, 4, "soap", 2),
        None,
    ),
    ("ask", messages.Greet("9c8d7e5b1f0c9d8e7a6b5c4d3e2f1a0b", "c2VhbGVk"), None),
    ("ask", messages.Declined(CLAIM, "busy"), None),
    (
        "beat",
        messages.Heartbeat(9, True, "", "idle", "closed", 231, 0, 41, 4, "0.1.0", "xy"),
        None,
    ),
    ("outbox", messages.NotStarted(REDEMPTION, "lapsed"), 42),
    ("outbox", messages.VendStarted(REDEMPTION, APPROVAL, 13, "soap", 2, {"sales_count": 118}), 43),
    ("outbox", messages.Dispensed(REDEMPTION, True, "02"), 44),
    ("outbox", messages.NotDispensed(REDEMPTION, "03", "selection"), 45),
    ("outbox", messages.OutcomeUnknown(REDEMPTION, "restarted"), 46),
    ("outbox", messages.ProvedDispensed(REDEMPTION, "sales counter 118 to 119"), 47),
    ("outbox", messages.ProvedNotDispensed(REDEMPTION, "new in the jam list"), 48),
    ("outbox", messages.Fault(None, "disk_full", "the journal cannot be written"), 49),
    ("outbox", messages.Reported(6, 4), 50),
    ("outbox", messages.VouchersClosed(17, (19, 23)), 51),
    ("answer", messages.Approved(REDEMPTION, APPROVAL, 20, 37, "王*华"), None),
    ("answer", messages.Denied(REDEMPTION, "not_enough_points", "积分不够", "Not enough points"), None),
    ("answer", messages.Found(REDEMPTION, "voided"), None),
    ("answer", messages.Greeting("9c8d7e5b1f0c9d8e7a6b5c4d3e2f1a0b", "王*华", 37, -2, 1), None),
    ("ack", messages.Ack(50, (45,), "a1b2c3d4", 1_790_000_000_000, None), None),
    (
        "desired",
        messages.Desired(6, 4, False, 15, (messages.Slot(13, "soap", "香皂", "Soap", 2, True),), ("00ff",)),
        None,
    ),
    ("offer", messages.Waiting(CLAIM, "abcdefghijkl2345", 13, 4, "soap", 2), None),
    ("desired", messages.CloseVouchers(17, (19, 23), "A6EHv_POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg"), None),
]


def _topic(kind: str) -> str:
    make = topics.up if kind in topics.UP_KINDS else topics.down
    return make(SHARD, MACHINE, kind)


def _sealed(kind: str, message: messages.Message, seq: int | None, key_id: int = KEY_ID) -> bytes:
    type_name, body = messages.encode(message)
    asked = kind in ("ask", "beat")
    envelope = Envelope(
        id=f"message-{type_name}",
        type=type_name,
        body=body,
        journal_id="journal-1",
        session=SESSION,
        key_id=key_id,
        seq=seq,
        issued_at_ms=1_790_000_000_000 if asked else None,
        expires_at_ms=1_790_000_015_000 if asked else None,
    )
    return seal(envelope, _topic(kind), KEY)


def _signed(kind: str, content: bytes) -> bytes:
    return mac(KEY, _topic(kind), content).encode() + b"." + content


def vectors() -> dict[str, Any]:
    """Everything that the file holds."""
    rows = []

    def add(name: str, kind: str, payload: bytes, expect: str, why: str = "", topic: str | None = None) -> None:
        rows.append(
            {"name": name, "topic": topic or _topic(kind), "payload": payload.decode(), "expect": expect, "why": why}
        )

    for kind, message, seq in GOOD:
        add(f"{messages.encode(message)[0]}", kind, _sealed(kind, message, seq), "ok")
    started = _sealed("outbox", messages.Dispensed(REDEMPTION, True, "02"), 44)
    content = started[65:]
    answer = _sealed("answer", messages.Found(REDEMPTION, "voided"), None)
    flipped = bytes([started[0] ^ 1]) + started[1:]
    add("a MAC with one bit flipped", "outbox", flipped, "forged")
    add("a body changed after signing", "outbox", started.replace(b"true", b"false"), "forged")
    add("another machine's topic", "outbox", started, "forged", topic=topics.up(SHARD, "m9z9z9", "outbox"))
    add("an answer sent back up", "outbox", answer, "forged", "the direction and topic are signed too")
    add("a MAC in capital letters", "outbox", started[:64].upper() + started[64:], "forged", "hex digits are small")
    add("a key id that is not the key's", "outbox", _sealed("outbox", GOOD[6][1], 44, key_id=2), "forged")
    add("no full stop", "outbox", started[:64] + started[65:], "malformed")
    add("empty", "outbox", b"", "malformed")
    add("not JSON", "outbox", _signed("outbox", b"{'v':1}"), "malformed")
    add("white space added inside", "outbox", started[:65] + b" " + content, "forged", "the MAC covers bytes")
    add("a float", "outbox", _signed("outbox", content.replace(b'"seq":44', b'"seq":44.0')), "malformed")
    add("an integer of 2^53", "outbox", _signed("outbox", content.replace(b"44", str(2**53).encode())), "malformed")
    add("a member twice", "outbox", _signed("outbox", content[:-1] + b',"seq":45}'), "malformed")
    add("a member too many", "outbox", _signed("outbox", content[:-1] + b',"x":1}'), "malformed")
    add("nested too deep", "outbox", _signed("outbox", b"[" * 1000 + b"]" * 1000), "malformed")
    add("version 2", "outbox", _signed("outbox", content.replace(b'"v":1', b'"v":2')), "malformed")
    add("33 KiB", "outbox", _signed("outbox", b" " * (MAX_PAYLOAD_BYTES + 1024)), "oversized")
    add(
        "a type that is not one",
        "outbox",
        _signed("outbox", content.replace(b"dispensed", b"exploded")),
        "unknown_type",
    )
    missing = content.replace(b'"verified":true,', b"")
    add("a body without a member", "outbox", _signed("outbox", missing), "bad_body", "dispensed.verified")
    asked = _sealed("ask", GOOD[0][1], None)[65:].replace(b'"points":2', b'"points":0')
    add("zero points", "ask", _signed("ask", asked), "bad_body", "authorize.points")
    return {
        "about": "Payloads of the link. `expect` is `ok`, or the reason for which a payload is refused.",
        "key_hex": KEY.hex(),
        "key_id": KEY_ID,
        "vectors": rows,
    }


def text() -> str:
    """The file's text."""
    return json.dumps(vectors(), ensure_ascii=False, indent=1) + "\n"


if __name__ == "__main__":
    PATH.write_text(text(), encoding="utf-8")
