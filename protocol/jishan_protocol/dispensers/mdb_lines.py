"""MDB cashless through a line adapter: lines of text <-> typed messages, without I/O and without a clock.

The adapter is the cashless device on the machine's bus and speaks to its host in lines of ASCII, fields with commas
between them. A capital first field is the host's, a small one the adapter's answer. The machine (VMC) asks for a vend,
the host approves or denies, the machine says whether the item came out.

Rules kept here:
- A `Parser` takes reads of any size. A line ends with LF, CR or both; an empty one is nothing. A line that is too long
  or not text comes out as `BadLine`: count it, never answer it. A line is taken whole or not at all: words with noise
  before them are no words, because nothing on this line has a checksum.
- Errors come with and without quotes, and older firmware has other words for on and off: both are read. Which are
  written is a setting of the `MdbProfile`; real hosts need only one.
- `r,...` and `x,...` are chatter of the bus. A line on no list is `Unknown`.
- Amounts are `Decimal`, never float.

Source: the adapter maker's public documentation (docs.qibixx.com: vending session examples, always idle,
configuration) and what open hosts have seen; see docs/protocols/mdb-lines.md. Vectors: `docs/vectors/mdb-lines.json`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final, Literal, NamedTuple

from jishan_protocol.dispensers.profiles import check_range
from jishan_protocol.errors import ProtocolError

BAUD_RATE: Final = 115_200
MAX_LINE_BYTES: Final = 128  # the longest that is known, a display text of 32, has 42
MAX_DISPLAY: Final = 32  # characters of a machine's display
MAX_ITEM: Final = 65_535  # the bus carries two bytes; all ones: the machine does not say
MAX_POINTS: Final = 65_533  # the bus carries two bytes; FFFF and FFFE mean something else
LONGEST_VEND_MS: Final = 3_600_000  # an hour: no machine takes so long


# --- the messages --------------------------------------------------------------------------------------------------


class BusState(StrEnum):
    """Where the adapter stands on the bus, as a cashless device."""

    INACTIVE = "INACTIVE"
    DISABLED = "DISABLED"
    ENABLED = "ENABLED"


@dataclass(frozen=True, slots=True)
class Identify:
    """V: who are you?"""


@dataclass(frozen=True, slots=True)
class SwitchOff:
    """C,0: no cashless device any more. Settings are taken only then."""


@dataclass(frozen=True, slots=True)
class SwitchOn:
    """C,1: be a cashless device."""


@dataclass(frozen=True, slots=True)
class Configure:
    """C,SETCONF,name=value."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Approve:
    """C,VEND,amount[,item]: **the machine may turn its motor.** The amount is that of the request."""

    amount: Decimal
    item: int | None = None


@dataclass(frozen=True, slots=True)
class Deny:
    """C,VEND,-1: no."""


@dataclass(frozen=True, slots=True)
class Stop:
    """C,STOP: end the session; a request that waits is denied."""


@dataclass(frozen=True, slots=True)
class Start:
    """C,START,amount: begin a session with so much credit."""

    amount: Decimal


@dataclass(frozen=True, slots=True)
class Display:
    """C,DISPLAY,text: show it on the machine's display. Only in the state ENABLED."""

    text: str


@dataclass(frozen=True, slots=True)
class Version:
    """v,software,id."""

    software: str
    id: str


@dataclass(frozen=True, slots=True)
class WentOff:
    """c,0, or c,STATUS,OFFLINE."""


@dataclass(frozen=True, slots=True)
class WentOn:
    """c,1, or c,STATUS,ONLINE."""


@dataclass(frozen=True, slots=True)
class SettingTaken:
    """c,SET,OK."""


@dataclass(frozen=True, slots=True)
class InState:
    """c,STATUS,...: the machine resets, disables or enables the device, or a session has ended."""

    state: BusState


@dataclass(frozen=True, slots=True)
class InSession:
    """c,STATUS,IDLE[,credit]: a session stands open, no request does."""

    credit: Decimal | None = None


@dataclass(frozen=True, slots=True)
class VendRequested:
    """c,STATUS,VEND,amount,item: the machine asks."""

    amount: Decimal
    item: int


@dataclass(frozen=True, slots=True)
class VendSucceeded:
    """c,VEND,SUCCESS: the machine says that the item came out."""


@dataclass(frozen=True, slots=True)
class Refused:
    """c,ERR,...: `VEND 3` is (VEND, 3), `"START -3"` (START, -3), `-3` ("", -3); words without a number are `words`."""

    command: str
    code: int | None
    words: str = ""


@dataclass(frozen=True, slots=True)
class NotUnderstood:
    """c,UNKNOWN,...: the adapter does not know the command."""

    words: str


@dataclass(frozen=True, slots=True)
class Chatter:
    """r,... or x,...: what passes on the bus. To be skipped."""

    words: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """A line on no list."""

    words: str


Message = (
    Identify
    | SwitchOff
    | SwitchOn
    | Configure
    | Approve
    | Deny
    | Stop
    | Start
    | Display
    | Version
    | WentOff
    | WentOn
    | SettingTaken
    | InState
    | InSession
    | VendRequested
    | VendSucceeded
    | Refused
    | NotUnderstood
    | Chatter
    | Unknown
)

NOT_DISPENSED: Final = Refused("VEND", 3)
"""The machine says that nothing came out: the points go back. Not a fault of the line, and no reason to switch off."""

CANCELLED: Final = Refused("VEND", 1)
"""The machine took its request back; after an approval nobody knows how far it had come."""

MACHINE_RESET: Final = Refused("VEND", 5)
"""The machine began anew in the vend; after an approval nobody knows how far it had come."""

BAD_PAYLOAD: Final = Refused("VEND", -2)
WRONG_STATE: Final = Refused("VEND", -3)
"""The adapter did not take the approval (or the denial): it did not reach the machine."""

ALREADY_ON: Final = Refused("", None, "cashless is on")
ALREADY_OFF: Final = Refused("", None, "cashless is off")


# --- profiles ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class MdbProfile:
    """What differs from adapter to adapter and from machine to machine.

    `always_idle`: the resident presses first; without it the machine wants credit first.
    `deny_by`: `stop` is C,STOP, `vend` is C,VEND,-1. On a line without a checksum the lost sign of -1 would approve:
    `vend` is for machines that need it.
    `approve_names_item`: C,VEND says the item again.
    `row_multiplier`: 0, the item number is the selection; else item = row x 256 + column, and the selection is
    row x `row_multiplier` + column.
    `old_words`: the firmware says ONLINE and OFFLINE, and quotes every error (what a simulated adapter says).
    `display`: tell the resident on the machine's display what to do, in English.
    `drop_sensor`: the machine says SUCCESS only when its sensor saw the item.
    `address`, `currency_code`, `decimal_places`, `scale_factor`: how the device presents itself to the machine.
    `longest_vend_ms`: after it no motor of that machine is turning any more.
    """

    name: str
    always_idle: bool = True
    deny_by: Literal["stop", "vend"] = "stop"
    approve_names_item: bool = False
    row_multiplier: int = 0
    old_words: bool = False
    display: bool = False
    drop_sensor: bool = True
    address: str = "0x10"
    currency_code: str = "0x1156"
    decimal_places: int = 0
    scale_factor: int = 1
    longest_vend_ms: int = 60_000

    def __post_init__(self) -> None:
        check_range(self, "row_multiplier", 0, 1_000)
        check_range(self, "decimal_places", 0, 3)
        check_range(self, "scale_factor", 1, 100)
        check_range(self, "longest_vend_ms", 1_000, LONGEST_VEND_MS)
        for setting in ("address", "currency_code"):
            if re.fullmatch(r"0x[0-9A-Fa-f]{1,4}", getattr(self, setting), re.ASCII) is None:
                raise ValueError(f"{setting}: {getattr(self, setting)!r} is not of the form 0x10")


PROFILES: Final[dict[str, MdbProfile]] = {
    profile.name: profile
    for profile in (
        MdbProfile(name="default"),
        MdbProfile(name="credit-first", always_idle=False),
        MdbProfile(name="deny-by-vend", deny_by="vend", approve_names_item=True),
        MdbProfile(name="old", old_words=True),
        MdbProfile(name="old-credit-first", always_idle=False, old_words=True, deny_by="vend"),
        MdbProfile(name="row-column", row_multiplier=10),
        MdbProfile(name="display", display=True),
        MdbProfile(name="no-drop-sensor", drop_sensor=False),
    )
}

NO_SELECTION: Final = 0
"""The selection of an item number that is none; planograms begin at 1."""


def selection_of(item: int, profile: MdbProfile) -> int:
    """The selection that a machine means by an item number; NO_SELECTION where it means none."""
    if profile.row_multiplier == 0:
        return item
    row, column = divmod(item, 256)
    return row * profile.row_multiplier + column if column < profile.row_multiplier else NO_SELECTION


def item_of(selection: int, profile: MdbProfile) -> int:
    """The item number that a machine sends for a selection. ValueError where it has none."""
    if profile.row_multiplier == 0:
        item = selection
    else:
        row, column = divmod(selection, profile.row_multiplier)
        item = row * 256 + column
    if not 0 <= item <= MAX_ITEM or selection_of(item, profile) != selection:
        raise ValueError(f"selection {selection} has no item number")
    return item


def points_of(amount: Decimal) -> int | None:
    """An amount in points; None where it is no whole number of them, or none at all."""
    return int(amount) if amount == amount.to_integral_value() and 1 <= amount <= MAX_POINTS else None


# --- lines ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class BadLine:
    """Bytes that are no line. `error` is `not_text`, `too_long` or `incomplete`, `detail` its words."""

    raw: bytes
    error: str
    detail: str


class Parser:
    """Cuts a byte stream into lines. The lines it finds do not depend on how the stream was cut into reads."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._is_skipping = False

    @property
    def waiting(self) -> bool:
        """True while the beginning of a line waits for its end."""
        return bool(self._buffer) or self._is_skipping

    def feed(self, data: bytes) -> list[str | BadLine]:
        """Every line that has ended, in the order of the line, without its end and without spaces around it."""
        found: list[str | BadLine] = []
        *ended, rest = re.split(rb"[\r\n]", data)
        for piece in ended:
            self._add(piece, found)
            self._end(found)
        self._add(rest, found)
        return found

    def finish(self) -> list[str | BadLine]:
        """Give up waiting: the capture ended. What stands without its end is no line."""
        raw = bytes(self._buffer)
        self._buffer.clear()
        self._is_skipping = False
        return [BadLine(raw, "incomplete", "the end of the line is missing")] if raw.strip() else []

    def _add(self, piece: bytes, found: list[str | BadLine]) -> None:
        if self._is_skipping:
            return
        self._buffer += piece
        if len(self._buffer) > MAX_LINE_BYTES:
            raw = bytes(self._buffer[:MAX_LINE_BYTES])
            found.append(BadLine(raw, "too_long", f"more than {MAX_LINE_BYTES} bytes without an end"))
            self._buffer.clear()
            self._is_skipping = True

    def _end(self, found: list[str | BadLine]) -> None:
        raw = bytes(self._buffer).strip()
        self._buffer.clear()
        self._is_skipping = False
        if not raw:
            return
        if not raw.isascii() or not (text := raw.decode("ascii")).isprintable():
            found.append(BadLine(raw, "not_text", "a byte that is no printable ASCII"))
        else:
            found.append(text)


# --- reading and writing -------------------------------------------------------------------------------------------

_AMOUNT: Final = r"[0-9]{1,8}(?:\.[0-9]{1,4})?"
_NUMBER: Final = r"-?[0-9]{1,5}"

_PLAIN: Final[dict[str, Message]] = {
    "V": Identify(),
    "C,0": SwitchOff(),
    "C,1": SwitchOn(),
    "C,VEND,-1": Deny(),
    "C,STOP": Stop(),
    "c,0": WentOff(),
    "c,STATUS,OFFLINE": WentOff(),
    "c,1": WentOn(),
    "c,STATUS,ONLINE": WentOn(),
    "c,SET,OK": SettingTaken(),
    "c,STATUS,INACTIVE": InState(BusState.INACTIVE),
    "c,STATUS,DISABLED": InState(BusState.DISABLED),
    "c,STATUS,ENABLED": InState(BusState.ENABLED),
    "c,STATUS,IDLE": InSession(),
    "c,VEND,SUCCESS": VendSucceeded(),
}


class _Form(NamedTuple):
    """Lines with something to fill in."""

    pattern: re.Pattern[str]
    make: Callable[[re.Match[str]], Message]


_FORMS: Final = tuple(
    _Form(re.compile(pattern, re.ASCII), make)
    for pattern, make in (
        (rf"c,STATUS,VEND,({_AMOUNT}),([0-9]{{1,5}})", lambda found: _request(found[1], found[2])),
        (rf"c,STATUS,IDLE,({_AMOUNT})(?:,.*)?", lambda found: InSession(Decimal(found[1]))),
        (r"c,ERR,(?:(\")(.*)\"|(.*))", lambda found: _refusal(found[2] if found[1] else found[3])),
        (r"c,UNKNOWN(?:,(.*))?", lambda found: NotUnderstood((found[1] or "").strip('"').strip())),
        (r"v,([^,]*),(.*)", lambda found: Version(found[1], found[2])),
        (r"[rx],(.*)", lambda found: Chatter(found[0])),
        (rf"C,VEND,({_AMOUNT})(?:,([0-9]{{1,5}}))?", lambda found: Approve(Decimal(found[1]), _item(found[2]))),
        (rf"C,START,({_AMOUNT})(?:,.*)?", lambda found: Start(Decimal(found[1]))),
        (r"C,SETCONF,([a-z-]{1,40})=(.{1,40})", lambda found: Configure(found[1], found[2])),
        (rf"C,DISPLAY,(.{{0,{MAX_DISPLAY}}})", lambda found: Display(found[1])),
    )
)


def read(line: str) -> Message:
    """The message in a line; `Unknown` for one on no list. ProtocolError where a number in it cannot be."""
    plain = _PLAIN.get(line)
    if plain is not None:
        return plain
    for form in _FORMS:
        if (found := form.pattern.fullmatch(line)) is not None:
            return form.make(found)
    return Unknown(line)


def _request(amount: str, item: str) -> Message:
    return VendRequested(Decimal(amount), _item(item) or 0)


def _item(digits: str | None) -> int | None:
    if digits is None:
        return None
    if int(digits) > MAX_ITEM:
        raise ProtocolError("item", f"item {digits}, {MAX_ITEM} is the last")
    return int(digits)


def _refusal(words: str) -> Refused:
    found = re.fullmatch(rf"(?:([A-Z]+) )?({_NUMBER})", words.strip(), re.ASCII)
    return Refused("", None, words.strip()) if found is None else Refused(found[1] or "", int(found[2]))


def write(message: Message, profile: MdbProfile) -> bytes:
    """The bytes of a message, its end included. ValueError where a number or a text does not fit."""
    line = _line(message, profile)
    if len(line) >= MAX_LINE_BYTES or not line.isascii() or not line.isprintable():
        raise ValueError(f"{line!r} is no line")
    return line.encode("ascii") + b"\n"


def _line(message: Message, profile: MdbProfile) -> str:
    old = profile.old_words
    match message:
        case WentOff():
            return "c,STATUS,OFFLINE" if old else "c,0"
        case WentOn():
            return "c,STATUS,ONLINE" if old else "c,1"
        case InState(state):
            return f"c,STATUS,{state}"
        case InSession(credit):
            return "c,STATUS,IDLE" if credit is None else f"c,STATUS,IDLE,{_fixed(credit)}"
        case VendRequested(amount, item):
            return f"c,STATUS,VEND,{_fixed(amount)},{item}"
        case Refused(command, code, words):
            told = words if code is None else f"{command} {code}".strip()
            # What the machine says in a vend comes bare in today's firmware, what the adapter refuses is quoted.
            is_quoted = old or code is None or (code < 0 and command != "")
            return f'c,ERR,"{told}"' if is_quoted else f"c,ERR,{told}"
        case NotUnderstood(words):
            return f'c,UNKNOWN,"{words}"'
        case Version(software, id):
            return f"v,{software},{id}"
        case Chatter(words) | Unknown(words):
            return words
        case Configure(name, value):
            return f"C,SETCONF,{name}={value}"
        case Approve(amount, item):
            return f"C,VEND,{amount}" if item is None else f"C,VEND,{amount},{item}"
        case Start(amount):
            return f"C,START,{amount}"
        case Display(text):
            if len(text) > MAX_DISPLAY:
                raise ValueError(f"{len(text)} characters, a display has {MAX_DISPLAY}")
            return f"C,DISPLAY,{text}"
        case _:
            return _WORDS_OF[message]


_WORDS_OF: Final = {message: line for line, message in reversed(_PLAIN.items())}


def _fixed(amount: Decimal) -> str:
    """As adapters print amounts: with two places, whatever the machine's are."""
    return f"{amount:.2f}"


# --- words ---------------------------------------------------------------------------------------------------------

MEANINGS: Final[dict[Message, str]] = {
    NOT_DISPENSED: "the item did not come: give the points back",
    CANCELLED: "cancelled by the machine; after an approval the outcome is unknown",
    MACHINE_RESET: "the machine was reset; after an approval the outcome is unknown",
    BAD_PAYLOAD: "the approval cannot be read and was not passed on",
    WRONG_STATE: "the approval came in a wrong state and was not passed on",
    ALREADY_ON: "it was on; settings are taken only while it is off",
    ALREADY_OFF: "nothing is passed on while it is off",
}


def describe(line: str) -> dict[str, object]:
    """A line in words, for a person in front of a machine: line, from, name, fields. ProtocolError as in `read`."""
    message = read(line)
    fields: dict[str, Any] = {
        name: str(value) if isinstance(value, Decimal) else value for name, value in asdict(message).items()
    }
    if message in MEANINGS:
        fields["meaning"] = MEANINGS[message]
    sender = "host" if line[0].isupper() else "adapter"
    return {"line": line, "from": sender, "name": _snake(type(message).__name__), "fields": fields}


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
