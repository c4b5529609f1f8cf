"""Network-connected boards (ESP32 and the like): what an agent and a board say to each other over MQTT.

The contract is ours: docs/protocols/mqtt-board.md says what a board has to store and when. Vectors:
docs/vectors/mqtt-board.json. In short:

- Two topics for each board, `jishan/board/v1/<board>/d` down to it and `.../u` up from it.
- The payload is `<64 hex digits>.<JSON>`: the MAC of `jishan_protocol.envelope`, over direction LF topic LF JSON.
- The JSON is one flat object with `v`, `type` and exactly the members of its type; integers only, below 2^53.
- A driver sees a stream of lines, `d <JSON>` and `u <JSON>`: whoever owns the MQTT connection seals and unseals.

`LineReader` takes pieces of any size, and goes on after every line that is none.
"""

from __future__ import annotations

import hmac
import json
import re
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any, Final, Literal
from urllib.parse import parse_qs, urlsplit

from jishan_protocol import envelope
from jishan_protocol.dispensers.profiles import check_range
from jishan_protocol.envelope import MAX_INTEGER
from jishan_protocol.errors import ProtocolError

VERSION: Final = 1
PREFIX: Final = "jishan/board/v1"
BAUD_RATE: Final = 0
"""There is no line; what makes ports asks each protocol for one."""

MAX_PAYLOAD_BYTES: Final = 1024
"""Small boards have small buffers; the longest message takes half of it."""

MAX_LINE_BYTES: Final = MAX_PAYLOAD_BYTES + 2
"""A letter, a blank, and the content, which is shorter than its payload."""

MAX_TTL_MS: Final = 60_000
"""No approval lasts longer than a resident waits."""

MAX_SELECTION: Final = 65_535
KEY_BYTES: Final = 32
STORE_BITS: Final = 48
NONCE_BITS: Final = 48
"""Random numbers that every JSON parser keeps exact, and no one guesses within a time to live."""

RECORDS: Final = 8
"""Results that a board keeps until they are acknowledged. One vend at a time: it needs one, and room for lost acks."""

Direction = Literal["d", "u"]
_BOARD_ID: Final = re.compile(r"[0-9A-Za-z_-]{1,32}")


class Outcome(StrEnum):
    """What a board can say about one number of one store. Only RUNNING ever changes."""

    RUNNING = "running"
    DISPENSED = "dispensed"
    NOT_DISPENSED = "not_dispensed"
    """It was begun, and nothing left."""
    REFUSED = "refused"
    """No motor got power for it, and none ever will."""
    UNKNOWN = "unknown"
    """The power went while the motor had it."""
    ACKNOWLEDGED = "acknowledged"
    """The agent has said that it has the result; the board has forgotten it, and will not vend."""
    OTHER_STORE = "other_store"
    """The board's store is another one: nothing is known, and nothing was changed."""
    NOT_GIVEN = "not_given"
    """A number beyond the next one: this board has never given it. Nothing was changed."""


FINAL: Final = frozenset({Outcome.DISPENSED, Outcome.NOT_DISPENSED, Outcome.REFUSED, Outcome.UNKNOWN})


# Down: the agent to the board.


@dataclass(frozen=True, slots=True)
class Hello:
    """What are you? Answered by State."""

    ask: int


@dataclass(frozen=True, slots=True)
class Check:
    """Can this selection be sold? Answered by Ready, which gives a number and a nonce."""

    ask: int
    selection: int


@dataclass(frozen=True, slots=True)
class Vend:
    """Turn the motor once, for `number` of `store`, unless `ttl_ms` have passed since `nonce` was given."""

    store: int
    number: int
    nonce: int
    selection: int
    ttl_ms: int


@dataclass(frozen=True, slots=True)
class Query:
    """What became of this number? One that the board has not taken yet is refused for ever before it answers."""

    store: int
    number: int


@dataclass(frozen=True, slots=True)
class Ack:
    """The results of this number and all before it are on the agent's disk."""

    store: int
    number: int


# Up: the board to the agent.


@dataclass(frozen=True, slots=True)
class State:
    """What the board is: on a connection, every 10 s, when something changed (`ask` 0), and after a Hello.

    `boot` counts its starts in this store, `last` is the highest number taken.
    """

    ask: int
    store: int
    boot: int
    last: int
    is_busy: bool
    door: str
    temperature_tenths_c: int | None


@dataclass(frozen=True, slots=True)
class Ready:
    """The answer to a Check. `code` says why it cannot be sold."""

    ask: int
    selection: int
    store: int
    number: int
    nonce: int
    is_sellable: bool
    code: str


@dataclass(frozen=True, slots=True)
class Result:
    """What the board knows of a number. `nonce` and `selection` are those of the vend it took; 0 where it took none."""

    store: int
    number: int
    nonce: int
    selection: int
    outcome: Outcome
    code: str
    is_verified: bool


@dataclass(frozen=True, slots=True)
class Pressed:
    """Somebody pressed a selection, or 0 to cancel. `press` counts in one boot."""

    boot: int
    press: int
    selection: int


@dataclass(frozen=True, slots=True)
class Slot:
    """The board's own view of one selection; its stock is evidence for a person."""

    selection: int
    is_sellable: bool
    code: str
    stock: int


Down = Hello | Check | Vend | Query | Ack
Up = State | Ready | Result | Pressed | Slot
Message = Down | Up

TYPES: Final[dict[Direction, dict[str, type[Any]]]] = {
    "d": {"hello": Hello, "check": Check, "vend": Vend, "query": Query, "ack": Ack},
    "u": {"state": State, "ready": Ready, "result": Result, "pressed": Pressed, "slot": Slot},
}
_NAMES: Final = {form: (direction, name) for direction, forms in TYPES.items() for name, form in forms.items()}


# What differs between boards.


@dataclass(frozen=True, slots=True)
class MqttBoardProfile:
    """What differs from board to board. The contract leaves no more than this open.

    `drop_sensor`: a vend counts as dispensed when it was seen to fall, else when the motor has turned.
    `stores_drop_at_once`: a drop is in the store the moment it is seen, so that a power cut after it leaves no doubt.
    `has_keys`: selections are pressed on the board.
    `longest_vend_ms`: after it no motor of that board is turning any more.
    """

    name: str
    drop_sensor: bool = True
    stores_drop_at_once: bool = True
    has_keys: bool = False
    longest_vend_ms: int = 60_000

    def __post_init__(self) -> None:
        check_range(self, "longest_vend_ms", 1_000, 600_000)


PROFILES: Final[dict[str, MqttBoardProfile]] = {
    profile.name: profile
    for profile in (
        MqttBoardProfile(name="default"),
        MqttBoardProfile(name="late-store", stores_drop_at_once=False),
        MqttBoardProfile(name="no-drop-sensor", drop_sensor=False),
        MqttBoardProfile(name="keys", has_keys=True),
    )
}


# Messages and their JSON.


def encode(message: Message) -> bytes:
    """The JSON of a message, as it is signed and sent. ValueError for a value that is out of its range."""
    _, name = _NAMES[type(message)]
    members: dict[str, Any] = {"v": VERSION, "type": name}
    for one in fields(message):
        members[one.name] = getattr(message, one.name)
    content = json.dumps(members, separators=(",", ":")).encode()
    try:
        decode(_NAMES[type(message)][0], content)
    except ProtocolError as error:
        raise ValueError(f"{message}: {error.detail}") from None
    return content


def decode(direction: Direction, content: bytes) -> Message:
    """Read the JSON of a message. Raises ProtocolError `malformed`, `unknown_type` or `bad_body`, naming the member."""
    members = envelope.read_members(content)
    if not isinstance(members, dict):
        raise ProtocolError("malformed", "not an object")
    if type(members.get("v")) is not int or members["v"] != VERSION:
        raise ProtocolError("malformed", f"version {members.get('v')!r}, not {VERSION}"[:80])
    name = members.get("type")
    form = TYPES[direction].get(str(name))
    if form is None:
        raise ProtocolError("unknown_type", f"{name!r}"[:40])
    wanted = {one.name for one in fields(form)} | {"v", "type"}
    if members.keys() != wanted:
        odd = sorted(members.keys() ^ wanted)[0]
        raise ProtocolError("bad_body", f"{name}.{odd[:40]} is {'missing' if odd in wanted else 'unknown'}")
    message: Message = form(*[_READERS[one.name](members[one.name], f"{name}.{one.name}") for one in fields(form)])
    return message


Reader = Callable[[Any, str], Any]


def _whole(least: int, most: int, *, or_none: bool = False) -> Reader:
    def read(value: Any, where: str) -> int | None:
        if value is None and or_none:
            return None
        if type(value) is not int or not least <= value <= most:
            raise ProtocolError("bad_body", f"{where} is not a whole number from {least} to {most}")
        return value

    return read


def _truth(value: Any, where: str) -> bool:
    if not isinstance(value, bool):
        raise ProtocolError("bad_body", f"{where} is neither true nor false")
    return value


def _text(form: str) -> Reader:
    def read(value: Any, where: str) -> str:
        if not isinstance(value, str) or re.fullmatch(form, value) is None:
            raise ProtocolError("bad_body", f"{where} does not fit {form}")
        return value

    return read


def _outcome(value: Any, where: str) -> Outcome:
    try:
        return Outcome(value)
    except ValueError:
        raise ProtocolError("bad_body", f"{where} is none of {', '.join(Outcome)}") from None


_READERS: Final[dict[str, Reader]] = {
    "ask": _whole(0, MAX_INTEGER),
    "store": _whole(1, MAX_INTEGER),
    "number": _whole(1, MAX_INTEGER),
    "nonce": _whole(0, MAX_INTEGER),
    "selection": _whole(0, MAX_SELECTION),
    "ttl_ms": _whole(1, MAX_TTL_MS),
    "boot": _whole(1, MAX_INTEGER),
    "last": _whole(0, MAX_INTEGER),
    "press": _whole(1, MAX_INTEGER),
    "stock": _whole(0, 65_535),
    "temperature_tenths_c": _whole(-1_000, 2_000, or_none=True),
    "is_busy": _truth,
    "is_sellable": _truth,
    "is_verified": _truth,
    "door": _text("open|closed|unknown"),
    "code": _text("[0-9a-z_]{1,30}"),
    "outcome": _outcome,
}
"""How each member is read, whatever message it stands in."""


# The payload.


def topic(board_id: str, direction: Direction) -> str:
    """The topic down to a board (`d`) or up from it (`u`)."""
    return f"{PREFIX}/{board_id}/{direction}"


def seal(content: bytes, board_id: str, direction: Direction, key: bytes) -> bytes:
    """The payload of a message's JSON."""
    mac = envelope.mac_of(key, direction, topic(board_id, direction), content)
    return mac.encode() + b"." + content


def unseal(payload: bytes, board_id: str, direction: Direction, key: bytes) -> bytes:
    """The JSON of a payload, its MAC checked. Raises ProtocolError `oversized`, `malformed` or `forged`."""
    claimed, content = envelope.split(payload, MAX_PAYLOAD_BYTES)
    right = envelope.mac_of(key, direction, topic(board_id, direction), content)
    if not hmac.compare_digest(right.encode(), claimed):
        raise ProtocolError("forged", "the board's key does not make that MAC")
    if b"\n" in content:
        raise ProtocolError("malformed", "a message is one line")
    return content


# The stream of lines.


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that is no message."""

    raw: bytes
    error: str
    detail: str


def line(message: Message) -> bytes:
    """A message as a line of the stream."""
    return line_of(_NAMES[type(message)][0], encode(message))


def line_of(direction: Direction, content: bytes) -> bytes:
    """A message's JSON as a line of the stream."""
    return direction.encode() + b" " + content + b"\n"


def split_lines(data: bytes) -> Iterator[tuple[Direction, bytes]]:
    """Direction and JSON of whole lines that `line_of` made."""
    for one in data.splitlines():
        yield "d" if one[:1] == b"d" else "u", one[2:]


class LineReader:
    """Lines of one direction into messages."""

    def __init__(self, direction: Direction) -> None:
        self._direction: Direction = direction
        self._waiting = b""
        self._is_skipping = False

    def feed(self, data: bytes) -> list[Message | BadLine]:
        """Take bytes; give the messages that are whole now, and every line that is none."""
        *whole, rest = (self._waiting + data).split(b"\n")
        found: list[Message | BadLine] = []
        for one in whole:
            if self._is_skipping:
                self._is_skipping = False
            elif one:
                found.append(self._read(one))
        self._waiting = rest
        if self._is_skipping:
            self._waiting = b""
        elif len(rest) > MAX_LINE_BYTES:
            found.append(BadLine(rest[:MAX_LINE_BYTES], "oversized", f"more than {MAX_LINE_BYTES} bytes"))
            self._waiting, self._is_skipping = b"", True
        return found

    def _read(self, one: bytes) -> Message | BadLine:
        try:
            if len(one) > MAX_LINE_BYTES:
                raise ProtocolError("oversized", f"more than {MAX_LINE_BYTES} bytes")
            if one[:2] != f"{self._direction} ".encode():
                raise ProtocolError("malformed", f"no line that begins with {self._direction!r}")
            return decode(self._direction, one[2:])
        except ProtocolError as error:
            return BadLine(one, error.reason, error.detail)


def describe(one: bytes) -> dict[str, object]:
    """One captured line in words: `d JSON`, or `TOPIC PAYLOAD` as mosquitto_sub -v prints it; the MAC is not checked.

    Raises ProtocolError for what is no message.
    """
    place, _, content = one.strip().partition(b" ")
    parts = place.decode("utf-8", "replace").split("/")
    if len(parts) > 1 and ("/".join(parts[:3]) != PREFIX or len(parts) != 5):
        raise ProtocolError("foreign_topic", "/".join(parts)[:64])
    if parts[-1] not in ("d", "u"):
        raise ProtocolError("malformed", "no line that begins with d, u or a board's topic")
    direction: Direction = "d" if parts[-1] == "d" else "u"
    mac = None
    if not content.startswith(b"{"):
        claimed, content = envelope.split(content, MAX_PAYLOAD_BYTES)
        mac = claimed.decode("ascii", "replace")
    message = decode(direction, content)
    words: dict[str, object] = {one.name: getattr(message, one.name) for one in fields(message)}
    return {
        "direction": direction,
        "board": parts[3] if len(parts) > 1 else None,
        "name": _NAMES[type(message)][1],
        "fields": words,
        "mac": mac,
    }


# Where a board is, and its secrets.


@dataclass(frozen=True, slots=True)
class Address:
    """`mqtt://HOST:PORT/BOARD?secrets=FILE`, taken apart."""

    host: str
    port: int
    is_tls: bool
    board_id: str
    secrets_file: str


def parse_url(url: str) -> Address:
    """Take a port's address apart. ValueError says what is wrong with it."""
    parts = urlsplit(url)
    board_id = parts.path.removeprefix("/")
    query = parse_qs(parts.query)
    if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname:
        raise ValueError("not of the form mqtt://HOST:PORT/BOARD?secrets=FILE")
    if _BOARD_ID.fullmatch(board_id) is None:
        raise ValueError("the board's id is not 1 to 32 of 0-9 A-Z a-z _ -")
    if query.keys() != {"secrets"} or len(query["secrets"]) != 1:
        raise ValueError("?secrets=FILE names the file with the board's key")
    if parts.username is not None:
        raise ValueError("user name and password belong into the file of secrets")
    is_tls = parts.scheme == "mqtts"
    return Address(parts.hostname, parts.port or (8883 if is_tls else 1883), is_tls, board_id, query["secrets"][0])


@dataclass(frozen=True, slots=True)
class Secrets:
    """What the file of secrets holds. `key` signs; the others are for the broker, and may be empty."""

    key: bytes = field(repr=False)
    username: str = ""
    password: str = field(default="", repr=False)
    ca_file: str = ""


def read_secrets(text: str) -> Secrets:
    """Read TOML with `key` (64 hex digits), `username`, `password`, `ca_file`. A ValueError never shows a value."""
    try:
        given = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise ValueError("not TOML") from None
    odd = given.keys() - {"key", "username", "password", "ca_file"}
    if odd:
        raise ValueError(f"{min(odd)}: there is no such setting")
    if not all(isinstance(value, str) for value in given.values()):
        raise ValueError("every setting is text")
    key = given.pop("key", "")
    if re.fullmatch(r"[0-9a-f]{64}", key) is None:
        raise ValueError(f"key: not {KEY_BYTES} bytes in hex")
    return Secrets(bytes.fromhex(key), **given)
