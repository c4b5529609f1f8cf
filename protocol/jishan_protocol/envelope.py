"""The envelope around every message between agent and server.

Layout of an MQTT payload: 64 lower-case hex digits, a full stop, then JSON in UTF-8. The hex digits are
HMAC-SHA256(key, direction LF topic LF JSON), over the JSON bytes exactly as sent: they are checked before anything is
parsed, and nobody serialises a message again. `direction` is the topic's own `u` or `d`.

The JSON object has exactly these members: `v` (1), `id`, `type`, `body`, `journal` (the agent's journal id), `session`
([boot, connection, tag]), `seq` (contiguous in one journal; null outside the outbox), `kid` (key id), `issued` and
`expires` (milliseconds on the *server's* clock, as echoed by the agent; null where unknown or never). Integers only,
below 2^53. Vectors: `docs/vectors/link.json`.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from jishan_protocol import topics
from jishan_protocol.errors import ProtocolError

VERSION: Final = 1

MAX_PAYLOAD_BYTES: Final = 32 * 1024
"""The smallest limit among the brokers that must work is 64 KiB; half of it leaves room for their own headers."""

MAX_INTEGER: Final = 2**53 - 1
"""The largest integer that every JSON parser keeps exact."""

MAX_NESTING: Final = 8
"""A body needs three levels; a limit keeps a parser from being driven into its stack's end."""

_MAC_HEX_DIGITS: Final = 64
_ID: Final = re.compile(r"[0-9a-z_-]{1,40}")
_MEMBERS: Final = frozenset({"v", "id", "type", "body", "journal", "session", "seq", "kid", "issued", "expires"})


@dataclass(frozen=True, slots=True, order=True)
class Session:
    """One connection of one run of an agent: how often it started, which connection this is, and a random tag."""

    boot: int
    connection: int
    tag: str


@dataclass(frozen=True, slots=True)
class Envelope:
    """One message with what proves its place: who, which journal, which position, and until when."""

    id: str
    type: str
    body: dict[str, Any]
    journal_id: str
    session: Session
    key_id: int
    seq: int | None = None
    issued_at_ms: int | None = None
    expires_at_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Opened:
    """A message whose MAC was right, with the SHA-256 of its JSON bytes (64 hex digits)."""

    envelope: Envelope
    sha256_hex: str


def mac(key: bytes, topic: str, content: bytes) -> str:
    """HMAC-SHA256 over direction, topic and content, as 64 lower-case hex digits."""
    return mac_of(key, topics.parse(topic).direction, topic, content)


def mac_of(key: bytes, direction: topics.Direction, topic: str, content: bytes) -> str:
    """The same for a topic of another layout, whose direction the caller knows."""
    return hmac.digest(key, f"{direction}\n{topic}\n".encode() + content, "sha256").hex()


def split(payload: bytes, most_bytes: int) -> tuple[bytes, bytes]:
    """The claimed MAC and the content. Raises ProtocolError("oversized") or ProtocolError("malformed")."""
    if len(payload) > most_bytes:
        raise ProtocolError("oversized", f"{len(payload)} bytes, at most {most_bytes}")
    if len(payload) <= _MAC_HEX_DIGITS or payload[_MAC_HEX_DIGITS : _MAC_HEX_DIGITS + 1] != b".":
        raise ProtocolError("malformed", "no full stop after 64 hex digits")
    return payload[:_MAC_HEX_DIGITS], payload[_MAC_HEX_DIGITS + 1 :]


def seal(envelope: Envelope, topic: str, key: bytes) -> bytes:
    """Make the payload for `topic`.

    Raises ProtocolError("oversized") if it would be larger than MAX_PAYLOAD_BYTES.
    """
    session = envelope.session
    content = _ENCODER.encode(
        {
            "v": VERSION,
            "id": envelope.id,
            "type": envelope.type,
            "body": envelope.body,
            "journal": envelope.journal_id,
            "session": [session.boot, session.connection, session.tag],
            "seq": envelope.seq,
            "kid": envelope.key_id,
            "issued": envelope.issued_at_ms,
            "expires": envelope.expires_at_ms,
        }
    ).encode()
    payload = mac(key, topic, content).encode() + b"." + content
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise ProtocolError("oversized", f"{len(payload)} bytes, at most {MAX_PAYLOAD_BYTES}")
    return payload


def unseal(payload: bytes, topic: str, keys: Mapping[int, bytes]) -> Opened:
    """Check and open a payload that came on `topic`; `keys` are the sender's keys by key id.

    Raises ProtocolError with reason `oversized`, `malformed` or `forged`. Order, expiry and doubles are for the
    receiver to judge: they need memory.
    """
    claimed, content = split(payload, MAX_PAYLOAD_BYTES)
    right = (number for number, key in keys.items() if hmac.compare_digest(mac(key, topic, content).encode(), claimed))
    key_id = next(right, None)
    if key_id is None:
        raise ProtocolError("forged", "no key of this machine makes that MAC")
    envelope = _read(content)
    if envelope.key_id != key_id:
        raise ProtocolError("forged", f"signed with key {key_id}, says key {envelope.key_id}")
    return Opened(envelope, hashlib.sha256(content).hexdigest())


def _no_float(text: str) -> Any:
    raise ProtocolError("malformed", f"{text[:20]} is not an integer")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ProtocolError("malformed", "a member stands twice in one object")
    _check_integers(members.values())
    return members


def _check_integers(values: Iterable[Any]) -> None:
    """Refuse integers that not every parser keeps exact, in lists too; objects have checked their own members."""
    for value in values:
        if type(value) is int and not -MAX_INTEGER <= value <= MAX_INTEGER:
            raise ProtocolError("malformed", "an integer is not below 2^53")
        if type(value) is list:
            _check_integers(value)


_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)
_DECODER: Final = json.JSONDecoder(parse_float=_no_float, parse_constant=_no_float, object_pairs_hook=_object)


def _check_nesting(content: bytes) -> None:
    """Bound the nesting before the parser recurses; brackets inside strings do not count."""
    depth, in_string, escaped = 0, False, False
    for byte in content:
        if in_string:
            if escaped:
                escaped = False
            elif byte == 0x5C:
                escaped = True
            elif byte == 0x22:
                in_string = False
        elif byte == 0x22:
            in_string = True
        elif byte in b"[{":
            depth += 1
            if depth > MAX_NESTING:
                raise ProtocolError("malformed", f"nested deeper than {MAX_NESTING}")
        elif byte in b"]}":
            depth -= 1


def read_members(content: bytes) -> Any:
    """Parse JSON as every message must be: integers below 2^53 only, no member twice, not nested too deep.

    Raises ProtocolError("malformed").
    """
    # Counting opening brackets is enough for nearly every message; only a suspicious one is walked.
    if content.count(b"[") + content.count(b"{") > MAX_NESTING:
        _check_nesting(content)
    try:
        return _DECODER.decode(content.decode())
    except (ValueError, RecursionError) as error:
        raise ProtocolError("malformed", "not JSON") from error


def _read(content: bytes) -> Envelope:
    members = read_members(content)
    if not isinstance(members, dict) or members.keys() != _MEMBERS:
        raise ProtocolError("malformed", "not an envelope's members")
    if members["v"] != VERSION:
        raise ProtocolError("malformed", f"version {members['v']!r}, not {VERSION}")
    session = members["session"]
    if not isinstance(session, list) or len(session) != 3:
        raise ProtocolError("malformed", "session is not [boot, connection, tag]")
    body = members["body"]
    if not isinstance(body, dict):
        raise ProtocolError("malformed", "body is not an object")
    return Envelope(
        id=_text(members["id"], "id"),
        type=_text(members["type"], "type"),
        body=body,
        journal_id=_text(members["journal"], "journal"),
        session=Session(_whole(session[0], "session"), _whole(session[1], "session"), _text(session[2], "session")),
        key_id=_whole(members["kid"], "kid"),
        seq=_whole_or_none(members["seq"], "seq"),
        issued_at_ms=_whole_or_none(members["issued"], "issued"),
        expires_at_ms=_whole_or_none(members["expires"], "expires"),
    )


def _text(value: Any, member: str) -> str:
    if not isinstance(value, str) or _ID.fullmatch(value) is None:
        raise ProtocolError("malformed", f"{member} is not an id")
    return value


def _whole(value: Any, member: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ProtocolError("malformed", f"{member} is not a whole number")
    return value


def _whole_or_none(value: Any, member: str) -> int | None:
    return None if value is None else _whole(value, member)
