"""The XY vending controller protocol ("FA FB"): bytes <-> typed messages, without I/O and without a clock.

Frame: `FA FB | CMD | LEN | PackNO TEXT... | XOR`. LEN counts PackNO and TEXT, XOR runs over everything before it,
numbers are big-endian, nothing is escaped. POLL and ACK have LEN 0 and no PackNO.

Rules kept here:
- A `Parser` takes reads of any size. On a bad XOR it skips one byte and searches again, so that no byte of noise can
  hide a frame that follows it. What it skips comes out as `BadBytes`: count it, never answer it.
- One byte of XOR is weak against whole frames: a POLL whose LEN was hit by noise fits a run of further POLLs. So a
  header with a LEN that its command cannot have begins no frame, and after SILENCE_MS without a byte a driver calls
  `Parser.finish`.
- Both published lengths of 01 and 04 are read; which one is written is a setting of the `XyProfile`.
- A code on no list is `Outcome.UNKNOWN`. Only 02 is a success.

Source: the vendor's documents V3.0 and V3.2.11 and frames captured from running machines; where they differ, the
captured frames win. The vectors are in `docs/vectors/xy.json`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from functools import reduce
from operator import xor
from typing import Any, Final, Literal, NamedTuple

from jishan_protocol.dispensers.profiles import check_range
from jishan_protocol.errors import ProtocolError

HEADER: Final = b"\xfa\xfb"
POLL: Final = 0x41
ACK: Final = 0x42
FRAME_OVERHEAD: Final = 5  # FA FB CMD LEN and XOR
MAX_TEXT_BYTES: Final = 254  # LEN is one byte and counts PackNO too
MAX_FRAME_BYTES: Final = FRAME_OVERHEAD + 255
MAX_BAD_BYTES: Final = 256  # noise is handed out in pieces, so that a line of noise fills no memory
MAX_SELECTION: Final = 999  # 1000..1009 name whole trays, and only in settings

BAUD_RATE: Final = 57_600
POLL_INTERVAL_MS: Final = 200  # the interval after power on; 0x16 changes it
POLL_STEP_MS: Final = 100  # 0x16 counts in these
LONGEST_POLL_INTERVAL_MS: Final = 2_000
SHORTEST_VEND_MS: Final = 1_000  # no motor turns in less
LONGEST_VEND_MS: Final = 600_000  # twice the longest that is known, of a heated box
ANSWER_WITHIN_MS: Final = 100  # a POLL that waits longer counts as unanswered
SILENCE_MS: Final = 60  # the longest frame takes 46 ms; a frame that pauses longer has lost its end
MAX_SENDS: Final = 5  # both sides send a frame without ACK at most so often


# --- frames --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Frame:
    """One whole frame. `pack_no` is None in POLL and ACK, which carry nothing."""

    cmd: int
    pack_no: int | None
    text: bytes = b""


@dataclass(frozen=True, slots=True)
class BadBytes:
    """Bytes that are no frame. `error` is `noise`, `bad_checksum`, `bad_length` or `incomplete`, `detail` its words."""

    raw: bytes
    error: str
    detail: str


def checksum(raw: bytes | bytearray) -> int:
    """The exclusive or of all bytes."""
    return reduce(xor, raw, 0)


def encode(frame: Frame) -> bytes:
    """The bytes of a frame. ValueError where a number does not fit its place."""
    if frame.pack_no is None:
        if frame.text:
            raise ValueError("a frame without a PackNO carries no text")
        body = b""
    else:
        if not 0 <= frame.pack_no <= 255:
            raise ValueError(f"PackNO {frame.pack_no} is not one byte")
        if len(frame.text) > MAX_TEXT_BYTES:
            raise ValueError(f"text of {len(frame.text)} bytes, {MAX_TEXT_BYTES} fit")
        body = bytes([frame.pack_no]) + frame.text
    raw = HEADER + bytes([frame.cmd, len(body)]) + body
    return raw + bytes([checksum(raw)])


POLL_FRAME: Final = encode(Frame(POLL, None))
ACK_FRAME: Final = encode(Frame(ACK, None))


class Parser:
    """Cuts a byte stream into frames. The frames it finds do not depend on how the stream was cut into reads."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._bad = bytearray()
        self._error = "noise"
        self._detail = ""

    @property
    def waiting(self) -> bool:
        """True while the beginning of a frame waits for its rest."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> list[Frame | BadBytes]:
        """Everything complete so far, in the order of the line."""
        self._buffer += data
        found: list[Frame | BadBytes] = []
        while self._step(found, at_end=False):
            pass
        return found

    def finish(self) -> list[Frame | BadBytes]:
        """Give up waiting: the line fell silent in mid-frame, or the capture ended.

        A driver calls this when nothing came for longer than a whole frame takes; a frame that a false header
        swallowed is found again.
        """
        found: list[Frame | BadBytes] = []
        while self._step(found, at_end=True):
            pass
        self._flush(found)
        return found

    def _step(self, found: list[Frame | BadBytes], *, at_end: bool) -> bool:
        """Take one frame or one piece of noise off the buffer; False when more bytes are needed."""
        buffer = self._buffer
        start = buffer.find(HEADER)
        if start < 0:
            keep = 1 if buffer.endswith(HEADER[:1]) and not at_end else 0
            self._skip(len(buffer) - keep, found)
            return False
        self._skip(start, found)
        size = FRAME_OVERHEAD + buffer[3] if len(buffer) > 3 else FRAME_OVERHEAD
        if len(buffer) > 3 and buffer[3] > LONGEST.get(buffer[2], MAX_TEXT_BYTES + 1):
            self._mark("bad_length", f"length {buffer[3]} of a {_name(buffer[2])} frame", found)
            self._skip(1, found)
            return True
        if len(buffer) < size:
            if at_end:
                self._mark("incomplete", f"{len(buffer)} of {size} bytes of a frame", found)
                self._skip(1, found)
            return at_end
        expected = checksum(buffer[: size - 1])
        if buffer[size - 1] != expected:
            self._mark("bad_checksum", f"checksum {buffer[size - 1]:02X}, {expected:02X} is right", found)
            self._skip(1, found)
            return True
        self._flush(found)
        body = bytes(buffer[4 : size - 1])
        found.append(Frame(buffer[2], body[0], body[1:]) if body else Frame(buffer[2], None))
        del buffer[:size]
        return True

    def _mark(self, error: str, detail: str, found: list[Frame | BadBytes]) -> None:
        """Begin a new piece of bad bytes that has a reason of its own."""
        self._flush(found)
        self._error, self._detail = error, detail

    def _skip(self, count: int, found: list[Frame | BadBytes]) -> None:
        for byte in self._buffer[:count]:
            self._bad.append(byte)
            if len(self._bad) == MAX_BAD_BYTES:
                self._flush(found)
        del self._buffer[:count]

    def _flush(self, found: list[Frame | BadBytes]) -> None:
        if self._bad:
            found.append(BadBytes(bytes(self._bad), self._error, self._detail or "no frame begins here"))
            self._bad.clear()
        self._error, self._detail = "noise", ""


# --- what differs between firmwares --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class XyProfile:
    """What differs from firmware to firmware. The defaults claim least: nothing proves a vend whose status was lost.

    `check_length` and `status_length` are the LEN of the 01 and 04 frames that this firmware sends and takes.
    `sales_count_host_vends` and `stock_counts_host_vends`: menu 47 and the stock report count vends by 06.
    `counter_survives_power_cut`: the sales counter is written at the moment the item passes the drop sensor, so that
    after a power cut an unchanged counter proves that nothing fell.
    `ignores_repeated_drive`: a second 06 with the same PackNO turns no motor.
    `drop_sensor` and `lift`: a vend uses them, but for the selections of `without_drop_sensor` and `without_lift`
    (`1-10,21`). `heats`: a vend heats its box, and says so.
    `success_before_heating`: 02 comes when the box has left its place, and the statuses of the heating after it.
    `cancels_choice`: 05 with selection 0 from the host ends a choice on the keypad.
    `poll_interval_ms`: set at the start by 16; 0 leaves it as it is.
    `longest_vend_ms`: after it no motor of that machine is turning any more.
    """

    name: str
    check_length: Literal[3, 4] = 3
    status_length: Literal[4, 5] = 4
    sales_count_host_vends: bool = False
    stock_counts_host_vends: bool = False
    counter_survives_power_cut: bool = False
    ignores_repeated_drive: bool = False
    drop_sensor: bool = True
    without_drop_sensor: str = ""
    lift: bool = False
    without_lift: str = ""
    heats: bool = False
    success_before_heating: bool = False
    cancels_choice: bool = True
    poll_interval_ms: int = 0
    longest_vend_ms: int = 60_000

    def __post_init__(self) -> None:
        check_range(self, "poll_interval_ms", 0, LONGEST_POLL_INTERVAL_MS)
        check_range(self, "longest_vend_ms", SHORTEST_VEND_MS, LONGEST_VEND_MS)
        if self.poll_interval_ms % POLL_STEP_MS:
            raise ValueError(f"poll_interval_ms: {self.poll_interval_ms} is no multiple of {POLL_STEP_MS}")
        for setting in ("without_drop_sensor", "without_lift"):
            try:
                selections_in(getattr(self, setting))
            except ValueError as error:
                raise ValueError(f"{setting}: {error}") from None

    def watches(self, selection: int) -> bool:
        """Whether the drop sensor decides about a vend of this selection."""
        return self.drop_sensor and selection not in selections_in(self.without_drop_sensor)

    def lifts(self, selection: int) -> bool:
        """Whether a vend of this selection takes the lift."""
        return self.lift and selection not in selections_in(self.without_lift)


def selections_in(text: str) -> frozenset[int]:
    """`1-10,21` as numbers; empty for empty text. ValueError says what is wrong."""
    selections: set[int] = set()
    for part in text.split(",") if text.strip() else ():
        first, dash, last = part.strip().partition("-")
        last = last if dash else first
        if not (first.isdecimal() and last.isdecimal() and 1 <= int(first) <= int(last) <= MAX_SELECTION):
            raise ValueError(f"{part.strip()!r} is no selection and no range within 1..{MAX_SELECTION}")
        selections.update(range(int(first), int(last) + 1))
    return frozenset(selections)


PROFILES: Final[dict[str, XyProfile]] = {
    profile.name: profile
    for profile in (
        XyProfile(name="default"),
        XyProfile(name="paper", check_length=4, status_length=5),
        XyProfile(name="counting", sales_count_host_vends=True, counter_survives_power_cut=True),
        XyProfile(name="counting-volatile", sales_count_host_vends=True),
        XyProfile(
            name="counting-stock",
            sales_count_host_vends=True,
            stock_counts_host_vends=True,
            counter_survives_power_cut=True,
            ignores_repeated_drive=True,
        ),
        XyProfile(name="no-drop-sensor", drop_sensor=False),
        XyProfile(name="grid", drop_sensor=False),
        XyProfile(name="lift", lift=True),
        XyProfile(name="heated", lift=True, heats=True, status_length=5, longest_vend_ms=300_000),
        XyProfile(
            name="heated-early",
            lift=True,
            heats=True,
            success_before_heating=True,
            status_length=5,
            longest_vend_ms=300_000,
        ),
    )
}


# --- status codes --------------------------------------------------------------------------------------------------


class Outcome(StrEnum):
    """What a dispensing status says about the item."""

    DISPENSED = "dispensed"
    NOT_DISPENSED = "not_dispensed"
    PROGRESS = "progress"
    UNKNOWN = "unknown"


class StatusMeaning(NamedTuple):
    """One status code: the outcome it stands for, its words, and whether it closes the whole machine."""

    outcome: Outcome
    meaning: str
    closes_machine: bool = False


_DONE: Final = Outcome.DISPENSED
_FAIL: Final = Outcome.NOT_DISPENSED
_GOES: Final = Outcome.PROGRESS

# Status of 04. The vendor's words: every result but 02 is to be refunded. FF is our reading.
DISPENSING_STATUSES: Final[dict[int, StatusMeaning]] = {
    0x01: StatusMeaning(_GOES, "dispensing"),
    0x02: StatusMeaning(_DONE, "dispensed"),
    0x03: StatusMeaning(_FAIL, "jammed"),
    0x04: StatusMeaning(_FAIL, "motor did not stop"),
    0x06: StatusMeaning(_FAIL, "motor missing"),
    0x07: StatusMeaning(_FAIL, "lift error", True),
    0x0A: StatusMeaning(_FAIL, "drop sensor self-test failed"),
    0x10: StatusMeaning(_GOES, "lift goes up"),
    0x11: StatusMeaning(_GOES, "lift goes down"),
    0x12: StatusMeaning(_FAIL, "lift error on the way up", True),
    0x13: StatusMeaning(_FAIL, "lift error on the way down", True),
    0x14: StatusMeaning(_GOES, "outlet door closes"),
    0x15: StatusMeaning(_FAIL, "outlet door did not close", True),
    0x16: StatusMeaning(_GOES, "inlet door opens"),
    0x17: StatusMeaning(_FAIL, "inlet door did not open", True),
    0x18: StatusMeaning(_GOES, "box is pushed into the microwave"),
    0x19: StatusMeaning(_GOES, "inlet door closes"),
    0x20: StatusMeaning(_FAIL, "inlet door did not close", True),
    0x21: StatusMeaning(_GOES, "no box in the microwave"),
    0x22: StatusMeaning(_GOES, "heating"),
    0x23: StatusMeaning(_GOES, "heating, seconds left"),
    0x24: StatusMeaning(_GOES, "please take the goods"),
    0x25: StatusMeaning(_FAIL, "strut did not return", True),
    0x26: StatusMeaning(_GOES, "pickup door opens"),
    0x27: StatusMeaning(_FAIL, "pickup door did not open", True),
    0x28: StatusMeaning(_FAIL, "strut did not push", True),
    0x29: StatusMeaning(_FAIL, "lift did not enter the microwave", True),
    0x30: StatusMeaning(_FAIL, "lift did not leave the microwave", True),
    0x31: StatusMeaning(_FAIL, "pushrod did not go out", True),
    0x32: StatusMeaning(_FAIL, "pushrod did not come back", True),
    0xFF: StatusMeaning(_FAIL, "purchase terminated"),
}
SECONDS_LEFT: Final = 0x23


class CheckMeaning(NamedTuple):
    """One status of 02: its words, and whether it closes the whole machine until a person has looked."""

    meaning: str
    closes_machine: bool = False


CHECK_NORMAL: Final = 0x01
CHECK_STATUSES: Final[dict[int, CheckMeaning]] = {
    CHECK_NORMAL: CheckMeaning("normal"),
    0x02: CheckMeaning("out of stock"),
    0x03: CheckMeaning("no such selection"),
    0x04: CheckMeaning("paused"),
    0x05: CheckMeaning("product in the lift", True),
    0x06: CheckMeaning("pickup door not closed"),
    0x07: CheckMeaning("lift error", True),
    0x08: CheckMeaning("lift self-test error", True),
    0x09: CheckMeaning("pickup door did not close", True),
    0x10: CheckMeaning("inlet door did not open", True),
    0x11: CheckMeaning("inlet door did not close", True),
    0x12: CheckMeaning("no box"),
    0x13: CheckMeaning("heating"),
    0x14: CheckMeaning("pickup door did not open", True),
    0x15: CheckMeaning("take the box out of the microwave"),
    0x16: CheckMeaning("strut did not return", True),
    0x17: CheckMeaning("main motor error"),
    0x18: CheckMeaning("translation motor error"),
    0x19: CheckMeaning("strut did not push", True),
    0x20: CheckMeaning("lift did not enter the microwave", True),
    0x21: CheckMeaning("lift did not leave the microwave", True),
    0x22: CheckMeaning("pushrod did not go out", True),
    0x23: CheckMeaning("pushrod did not come back", True),
}

# Status of 11. Anything but 0 is not sellable; 3 is seen right after a jam and is on no paper.
SELECTION_STATUSES: Final = {0: "normal", 1: "paused", 3: "jammed"}
LIFT_STATES: Final = {
    0: "normal",
    1: "product in the lift",
    2: "pickup door open",
    3: "lift error",
    4: "self-test error",
}
LIFT_TROUBLES: Final = frozenset({3, 4})
MONEY_MODES: Final = {
    1: "bill",
    2: "coin",
    3: "card",
    4: "bank card",
    5: "WeChat",
    6: "Alipay",
    7: "Jingdong Pay",
    8: "swallowed",
    9: "scanned code",
}
TEMPERATURE_NOT_READ: Final = 0xAA


def outcome_of(status: int) -> Outcome:
    """What a status of 04 says about the item; a code on no list is UNKNOWN."""
    known = DISPENSING_STATUSES.get(status)
    return known.outcome if known else Outcome.UNKNOWN


def closes_machine(status: int) -> bool:
    """True where a status of 04 closes the whole machine, not only its selection."""
    known = DISPENSING_STATUSES.get(status)
    return known is not None and known.closes_machine


def check_closes_machine(status: int) -> bool:
    """True where a status of 02 closes the whole machine, not only its selection."""
    known = CHECK_STATUSES.get(status)
    return known is not None and known.closes_machine


# --- messages ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Poll:
    """41, VMC: has the host anything to say? Answer within ANSWER_WITHIN_MS."""


@dataclass(frozen=True, slots=True)
class Ack:
    """42, both: the frame came, or the host has nothing to say."""


@dataclass(frozen=True, slots=True)
class Check:
    """01, host: may this selection be sold?"""

    selection: int


@dataclass(frozen=True, slots=True)
class CheckResult:
    """02, VMC: the answer to 01 and 03; only CHECK_NORMAL is usable."""

    status: int
    selection: int


@dataclass(frozen=True, slots=True)
class Press:
    """03, host: as if this selection were pressed on the keypad."""

    selection: int


@dataclass(frozen=True, slots=True)
class DispensingStatus:
    """04, VMC. `extra` is the number that only the long form carries."""

    status: int
    selection: int
    extra: int | None = None

    @property
    def seconds_left(self) -> int | None:
        """The last number of a 23: seconds of heating left."""
        if self.status != SECONDS_LEFT:
            return None
        return self.selection if self.extra is None else self.extra


@dataclass(frozen=True, slots=True)
class Selected:
    """05: a selection made on the keypad. 0, and any from the host, cancels."""

    selection: int


@dataclass(frozen=True, slots=True)
class Drive:
    """06, host: turn this selection's motor. The result comes as 04, under a PackNO of the VMC's own."""

    drop_sensor: bool
    lift: bool
    selection: int


@dataclass(frozen=True, slots=True)
class SelectionReport:
    """11, VMC: one selection. `price` in minor units; sellable only with status 0."""

    selection: int
    price: int
    stock: int
    capacity: int
    product: int
    status: int


@dataclass(frozen=True, slots=True)
class SetPrice:
    """12, both. `selection` 1000..1009 is a tray, 0 is all; so in 13, 14 and 15."""

    selection: int
    price: int


@dataclass(frozen=True, slots=True)
class SetStock:
    """13, both."""

    selection: int
    stock: int


@dataclass(frozen=True, slots=True)
class SetCapacity:
    """14, both."""

    selection: int
    capacity: int


@dataclass(frozen=True, slots=True)
class SetProduct:
    """15, both."""

    selection: int
    product: int


@dataclass(frozen=True, slots=True)
class SetPollInterval:
    """16, host: the POLL interval in steps of 100 ms, 1..20."""

    hundred_ms: int


@dataclass(frozen=True, slots=True)
class MoneyReceived:
    """21, VMC: money came in. `card` holds the bytes after the amount, where there are any."""

    mode: int
    amount: int
    card: bytes = b""


@dataclass(frozen=True, slots=True)
class Credit:
    """23, VMC: the credit now."""

    amount: int


@dataclass(frozen=True, slots=True)
class DisplayText:
    """24, VMC: words for a row of the display."""

    text: bytes
    zero: int
    row: int


@dataclass(frozen=True, slots=True)
class Synchronise:
    """31, both: the sender has started; the VMC then reports every selection."""


@dataclass(frozen=True, slots=True)
class HostVersion:
    """32, host."""

    version: int
    text: bytes


@dataclass(frozen=True, slots=True)
class MachineStateQuery:
    """51, host."""


@dataclass(frozen=True, slots=True)
class MachineState:
    """52, VMC. `door` 0 is closed. Temperatures in whole degrees Celsius, signed; AA in `temperatures` = not read."""

    bill: int
    coin: int
    card: int
    temperature_control: int
    temperature: int
    door: int
    bill_change: int
    coin_change: int
    machine_id: bytes
    temperatures: bytes

    @property
    def door_open(self) -> bool:
        return self.door != 0

    @property
    def temperature_tenths_c(self) -> int | None:
        """The first cabinet's temperature; None where it has not been read."""
        return None if self.temperatures[0] == TEMPERATURE_NOT_READ else self.temperature * 10


@dataclass(frozen=True, slots=True)
class LiftQuery:
    """53, host."""


@dataclass(frozen=True, slots=True)
class LiftState:
    """54, VMC."""

    state: int


@dataclass(frozen=True, slots=True)
class MenuRequest:
    """70, host: any menu command. `menu` is the number as printed, read as hex: menu 32 is 0x32."""

    menu: int
    op: int
    params: bytes = b""


@dataclass(frozen=True, slots=True)
class MenuResponse:
    """71, VMC: the answer to a menu command, type and op as asked."""

    menu: int
    op: int
    params: bytes = b""


@dataclass(frozen=True, slots=True)
class ReadClock:
    """70/09 op 00."""


@dataclass(frozen=True, slots=True)
class SetClock:
    """70/09 op 01. `digits` are YYYYMMDDHHMMSS, sent as 7 bytes of two digits each."""

    digits: str


@dataclass(frozen=True, slots=True)
class Clock:
    """71/09 op 00: the VMC's clock, `digits` as in SetClock."""

    digits: str


@dataclass(frozen=True, slots=True)
class ClockSet:
    """71/09 op 01. `result` 0 = done."""

    result: int


@dataclass(frozen=True, slots=True)
class ReadJamList:
    """70/32 op 00."""


@dataclass(frozen=True, slots=True)
class ClearJamList:
    """70/32 op 01."""


@dataclass(frozen=True, slots=True)
class JamList:
    """71/32 op 00: the selections that jammed, spring and belt."""

    springs: tuple[int, ...]
    belts: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class JamListCleared:
    """71/32 op 01. `result` 0 = done."""

    result: int


@dataclass(frozen=True, slots=True)
class ReadSelectionConfig:
    """70/42 op 00."""

    selection: int


@dataclass(frozen=True, slots=True)
class SelectionConfig:
    """71/42 op 00. `drop_sensor_off` 1 = not used; `sells_after_jam` 1 = goes on selling."""

    price: int
    stock: int
    capacity: int
    product: int
    mode: int
    drop_sensor_off: int
    sells_after_jam: int
    quarter_turn: int


@dataclass(frozen=True, slots=True)
class ReadSales:
    """70/47 op 00."""

    selection: int


@dataclass(frozen=True, slots=True)
class Sales:
    """71/47 op 00: items sold and money taken by the selection that was asked for (the answer does not name it)."""

    count: int
    amount: int


@dataclass(frozen=True, slots=True)
class OpenCabinet:
    """70/84 op 01: open a grid cabinet; 99 = all."""

    cabinet: int


@dataclass(frozen=True, slots=True)
class OpenLayer:
    """70/85 op 01: open one layer of a grid cabinet. That it takes one byte, as 84 does, is our reading."""

    layer: int


@dataclass(frozen=True, slots=True)
class Unknown:
    """A command on no list: acknowledge it and go on."""

    cmd: int
    text: bytes


# --- reading and writing -------------------------------------------------------------------------------------------


class _Layout(NamedTuple):
    """How one message lies in TEXT: a struct format whose values are the message's fields in order."""

    type: type[Any]
    cmd: int
    name: str
    format: str


_FIXED: Final = (
    _Layout(Poll, POLL, "poll", ""),
    _Layout(Ack, ACK, "ack", ""),
    _Layout(CheckResult, 0x02, "check_result", ">BH"),
    _Layout(Press, 0x03, "press", ">H"),
    _Layout(Selected, 0x05, "selected", ">H"),
    _Layout(Drive, 0x06, "drive", ">??H"),
    _Layout(SelectionReport, 0x11, "selection_report", ">HIBBHB"),
    _Layout(SetPrice, 0x12, "set_price", ">HI"),
    _Layout(SetStock, 0x13, "set_stock", ">HB"),
    _Layout(SetCapacity, 0x14, "set_capacity", ">HB"),
    _Layout(SetProduct, 0x15, "set_product", ">HH"),
    _Layout(SetPollInterval, 0x16, "set_poll_interval", ">B"),
    _Layout(Credit, 0x23, "credit", ">I"),
    _Layout(DisplayText, 0x24, "display_text", ">16sBB"),
    _Layout(Synchronise, 0x31, "synchronise", ""),
    _Layout(HostVersion, 0x32, "host_version", ">B15s"),
    _Layout(MachineStateQuery, 0x51, "machine_state_query", ""),
    _Layout(MachineState, 0x52, "machine_state", ">BBBBbBII10s8s"),
    _Layout(LiftQuery, 0x53, "lift_query", ""),
    _Layout(LiftState, 0x54, "lift_state", ">B"),
)
_FIXED_BY_CMD: Final = {layout.cmd: layout for layout in _FIXED}
_FIXED_BY_TYPE: Final = {layout.type: layout for layout in _FIXED}

CHECK: Final = 0x01
DISPENSING_STATUS: Final = 0x04
MONEY_RECEIVED: Final = 0x21
MENU_REQUEST: Final = 0x70
MENU_RESPONSE: Final = 0x71
NAMES: Final[dict[int, str]] = {layout.cmd: layout.name for layout in _FIXED} | {
    CHECK: "check",
    DISPENSING_STATUS: "dispensing_status",
    MONEY_RECEIVED: "money_received",
    MENU_REQUEST: "menu_request",
    MENU_RESPONSE: "menu_response",
}

# The longest LEN that a command can have: what is published and a little more, as firmwares add fields at the end.
_ROOM: Final = 8
LONGEST: Final[dict[int, int]] = {
    layout.cmd: 0 if layout.cmd in (POLL, ACK) else 1 + struct.calcsize(layout.format) + _ROOM for layout in _FIXED
} | {CHECK: 4 + _ROOM, DISPENSING_STATUS: 5 + _ROOM}

# Menu commands: (cmd, menu, op) -> (type, format of the params). CLOCK marks seven bytes of two digits each.
MENU_CLOCK: Final = 0x09
MENU_JAM_LIST: Final = 0x32
MENU_SELECTION_CONFIG: Final = 0x42
MENU_SALES: Final = 0x47
MENU_OPEN_CABINET: Final = 0x84
MENU_OPEN_LAYER: Final = 0x85
ALL_CABINETS: Final = 99
OP_READ: Final = 0x00
OP_WRITE: Final = 0x01
MENUS: Final = {
    MENU_CLOCK: "clock",
    0x24: "drop sensor by layer",
    0x27: "what to do after a jam",
    MENU_JAM_LIST: "jam list",
    0x33: "gearbox faults",
    0x34: "lift faults",
    0x35: "quarter-turn faults",
    0x38: "selection test",
    0x41: "selection count",
    MENU_SELECTION_CONFIG: "selection config",
    MENU_SALES: "selection sales",
    MENU_OPEN_CABINET: "open cabinet",
    MENU_OPEN_LAYER: "open layer",
}
_CLOCK: Final = "clock"
_MENU_LAYOUTS: Final[dict[tuple[int, int, int], tuple[type[Any], str]]] = {
    (MENU_REQUEST, MENU_CLOCK, OP_READ): (ReadClock, ""),
    (MENU_REQUEST, MENU_CLOCK, OP_WRITE): (SetClock, _CLOCK),
    (MENU_RESPONSE, MENU_CLOCK, OP_READ): (Clock, _CLOCK),
    (MENU_RESPONSE, MENU_CLOCK, OP_WRITE): (ClockSet, ">B"),
    (MENU_REQUEST, MENU_JAM_LIST, OP_READ): (ReadJamList, ""),
    (MENU_REQUEST, MENU_JAM_LIST, OP_WRITE): (ClearJamList, ""),
    (MENU_RESPONSE, MENU_JAM_LIST, OP_WRITE): (JamListCleared, ">B"),
    (MENU_REQUEST, MENU_SELECTION_CONFIG, OP_READ): (ReadSelectionConfig, ">H"),
    (MENU_RESPONSE, MENU_SELECTION_CONFIG, OP_READ): (SelectionConfig, ">IHBHBBBB"),
    (MENU_REQUEST, MENU_SALES, OP_READ): (ReadSales, ">H"),
    (MENU_RESPONSE, MENU_SALES, OP_READ): (Sales, ">II"),
    (MENU_REQUEST, MENU_OPEN_CABINET, OP_WRITE): (OpenCabinet, ">B"),
    (MENU_REQUEST, MENU_OPEN_LAYER, OP_WRITE): (OpenLayer, ">B"),
}
_MENU_BY_TYPE: Final = {kind: (key, layout) for key, (kind, layout) in _MENU_LAYOUTS.items()}

Message = (
    Poll
    | Ack
    | Check
    | CheckResult
    | Press
    | DispensingStatus
    | Selected
    | Drive
    | SelectionReport
    | SetPrice
    | SetStock
    | SetCapacity
    | SetProduct
    | SetPollInterval
    | MoneyReceived
    | Credit
    | DisplayText
    | Synchronise
    | HostVersion
    | MachineStateQuery
    | MachineState
    | LiftQuery
    | LiftState
    | MenuRequest
    | MenuResponse
    | ReadClock
    | SetClock
    | Clock
    | ClockSet
    | ReadJamList
    | ClearJamList
    | JamList
    | JamListCleared
    | ReadSelectionConfig
    | SelectionConfig
    | ReadSales
    | Sales
    | OpenCabinet
    | OpenLayer
    | Unknown
)


def read(frame: Frame) -> Message:
    """The message in a frame; `Unknown` for a command on no list. ProtocolError where the text does not fit."""
    cmd, text = frame.cmd, frame.text
    if (frame.pack_no is None) != (cmd in (POLL, ACK)):
        raise ProtocolError("length", f"a {_name(cmd)} frame {'without' if frame.pack_no is None else 'with'} PackNO")
    if cmd == CHECK:
        # V3.0 prints LEN 4 with a trailing 00; running machines take LEN 3.
        return Check(*_unpack(frame, ">H" if len(text) == 2 else ">Hx"))
    if cmd == DISPENSING_STATUS:
        # The paper prints LEN 5; running machines send LEN 4.
        return DispensingStatus(*_unpack(frame, ">BH" if len(text) == 3 else ">BHB"))
    if cmd == MONEY_RECEIVED:
        mode, amount = _unpack(Frame(cmd, frame.pack_no, text[:5]), ">BI")
        return MoneyReceived(mode, amount, text[5:])
    if cmd in (MENU_REQUEST, MENU_RESPONSE):
        return _read_menu(frame)
    layout = _FIXED_BY_CMD.get(cmd)
    if layout is None:
        return Unknown(cmd, text)
    message: Message = layout.type(*_unpack(frame, layout.format))
    return message


def write(message: Message, pack_no: int, profile: XyProfile) -> bytes:
    """The bytes of a message; `pack_no` (1..255) is left out of POLL and ACK. ValueError if a number does not fit."""
    cmd, text = _write_text(message, profile)
    if cmd in (POLL, ACK):
        return encode(Frame(cmd, None))
    if not 1 <= pack_no <= 255:
        raise ValueError(f"PackNO {pack_no} is not in 1..255")
    return encode(Frame(cmd, pack_no, text))


def next_pack_no(pack_no: int) -> int:
    """The PackNO after this one: 1..255, around."""
    return pack_no % 255 + 1


def describe(frame: Frame) -> dict[str, object]:
    """A frame in words, for a person in front of a machine: cmd, name, pack_no, fields. ProtocolError as in `read`."""
    message = read(frame)
    return {"cmd": frame.cmd, "name": _name(frame.cmd), "pack_no": frame.pack_no, "fields": _fields(message)}


def _name(cmd: int) -> str:
    return NAMES.get(cmd, "unknown")


def _unpack(frame: Frame, layout: str) -> tuple[Any, ...]:
    try:
        return struct.unpack(layout, frame.text)
    except struct.error:
        detail = f"{_name(frame.cmd)} with {len(frame.text)} bytes of text, {struct.calcsize(layout)} are right"
        raise ProtocolError("length", detail) from None


def _pack(layout: str, message: Message) -> bytes:
    try:
        return struct.pack(layout, *(getattr(message, field.name) for field in fields(message)))
    except struct.error as error:
        raise ValueError(f"{message}: {error}") from None


def _read_menu(frame: Frame) -> Message:
    if len(frame.text) < 2:
        raise ProtocolError("length", f"{_name(frame.cmd)} with {len(frame.text)} bytes of text, 2 at least")
    menu, op, params = frame.text[0], frame.text[1], frame.text[2:]
    if (frame.cmd, menu, op) == (MENU_RESPONSE, MENU_JAM_LIST, OP_READ):
        springs, rest = _read_selections(params)
        belts, rest = _read_selections(rest) if rest else ((), b"")
        if rest:
            raise ProtocolError("length", f"jam list with {len(rest)} bytes too many")
        return JamList(springs, belts)
    known = _MENU_LAYOUTS.get((frame.cmd, menu, op))
    if known is None:
        return (MenuRequest if frame.cmd == MENU_REQUEST else MenuResponse)(menu, op, params)
    kind, layout = known
    if layout == _CLOCK:
        digits = params.hex()
        if len(params) != 7 or not digits.isdecimal():
            raise ProtocolError("clock", f"{digits!r} is not YYYYMMDDHHMMSS in 7 bytes")
        typed: Message = kind(digits)
        return typed
    message: Message = kind(*_unpack(Frame(frame.cmd, frame.pack_no, params), layout))
    return message


def _read_selections(params: bytes) -> tuple[tuple[int, ...], bytes]:
    count = params[0] if params else 0
    end = 1 + 2 * count
    if len(params) < end:
        raise ProtocolError("length", f"jam list says {count} selections and holds {max(0, len(params) - 1)} bytes")
    return struct.unpack(f">{count}H", params[1:end]), params[end:]


def _write_text(message: Message, profile: XyProfile) -> tuple[int, bytes]:
    match message:
        case Check():
            return CHECK, _pack(">H" if profile.check_length == 3 else ">Hx", message)
        case DispensingStatus(status, selection, extra):
            if profile.status_length == 4 and extra is None:
                return DISPENSING_STATUS, struct.pack(">BH", status, selection)
            return DISPENSING_STATUS, struct.pack(">BHB", status, selection, extra or 0)
        case MoneyReceived(mode, amount, card):
            return MONEY_RECEIVED, struct.pack(">BI", mode, amount) + card
        case MenuRequest(menu, op, params):
            return MENU_REQUEST, bytes([menu, op]) + params
        case MenuResponse(menu, op, params):
            return MENU_RESPONSE, bytes([menu, op]) + params
        case JamList(springs, belts):
            lists = b"".join(struct.pack(f">B{len(some)}H", len(some), *some) for some in (springs, belts))
            return MENU_RESPONSE, bytes([MENU_JAM_LIST, OP_READ]) + lists
        case Unknown(cmd, text):
            return cmd, text
    if type(message) in _MENU_BY_TYPE:
        (cmd, menu, op), layout = _MENU_BY_TYPE[type(message)]
        params = _clock_bytes(message) if layout == _CLOCK else _pack(layout, message)
        return cmd, bytes([menu, op]) + params
    fixed = _FIXED_BY_TYPE[type(message)]
    return fixed.cmd, _pack(fixed.format, message)


def _clock_bytes(message: Message) -> bytes:
    assert isinstance(message, SetClock | Clock)
    if len(message.digits) != 14 or not message.digits.isdecimal():
        raise ValueError(f"{message.digits!r} is not YYYYMMDDHHMMSS")
    return bytes.fromhex(message.digits)


# --- words ---------------------------------------------------------------------------------------------------------


def in_words(message: Message) -> dict[str, object]:
    """A message's fields by name, with what its numbers mean beside them."""
    return _fields(message)


def _fields(message: Message) -> dict[str, object]:
    """The message's fields, with what a number means beside it."""
    plain = {name: _plain(value) for name, value in asdict(message).items()}
    words = _WORDS.get(type(message))
    return plain | (words(message) if words else {})


def _plain(value: object) -> object:
    if isinstance(value, bytes):
        return value.decode("ascii") if value.isascii() and value.decode("ascii").isprintable() else value.hex(" ")
    return list(value) if isinstance(value, tuple) else value


def _status_words(message: DispensingStatus) -> dict[str, object]:
    known = DISPENSING_STATUSES.get(message.status)
    words: dict[str, object] = {
        "meaning": known.meaning if known else "on no list",
        "outcome": str(outcome_of(message.status)),
        "closes_machine": closes_machine(message.status),
    }
    return words if message.seconds_left is None else words | {"seconds_left": message.seconds_left}


def _check_words(message: CheckResult) -> dict[str, object]:
    known = CHECK_STATUSES.get(message.status)
    return {
        "meaning": known.meaning if known else "on no list",
        "sellable": message.status == CHECK_NORMAL,
        "closes_machine": check_closes_machine(message.status),
    }


def _report_words(message: SelectionReport) -> dict[str, object]:
    return {
        "meaning": SELECTION_STATUSES.get(message.status, "on no list"),
        "sellable": message.status == 0,
    }


def _which(message: SetPrice | SetStock | SetCapacity | SetProduct) -> dict[str, object]:
    if message.selection == 0:
        return {"applies_to": "all selections"}
    tray = message.selection - 1000
    return {"applies_to": f"tray {tray}" if 0 <= tray <= 9 else f"selection {message.selection}"}


def _menu_words(message: MenuRequest | MenuResponse) -> dict[str, object]:
    return {"menu": f"{message.menu:02X}", "op": f"{message.op:02X}", "meaning": MENUS.get(message.menu, "on no list")}


def _menu(menu: int, verb: str) -> Callable[[Any], dict[str, object]]:
    return lambda message: {"menu": f"{menu:02X}", "meaning": f"{MENUS[menu]}: {verb}"}


def _result(menu: int, verb: str) -> Callable[[Any], dict[str, object]]:
    return lambda message: _menu(menu, verb)(message) | {"done": message.result == 0}


def _state_words(message: MachineState) -> dict[str, object]:
    cabinets = struct.unpack("8b", message.temperatures)
    read_at = [
        None if raw == TEMPERATURE_NOT_READ else degrees
        for raw, degrees in zip(message.temperatures, cabinets, strict=True)
    ]
    return {"door": "open" if message.door_open else "closed", "temperatures": read_at}


_WORDS: Final[dict[type[Any], Callable[[Any], dict[str, object]]]] = {
    DispensingStatus: _status_words,
    CheckResult: _check_words,
    SelectionReport: _report_words,
    SetPrice: _which,
    SetStock: _which,
    SetCapacity: _which,
    SetProduct: _which,
    Selected: lambda message: {"meaning": "selected" if message.selection else "cancelled"},
    SetPollInterval: lambda message: {"interval_ms": message.hundred_ms * 100},
    MoneyReceived: lambda message: {"meaning": MONEY_MODES.get(message.mode, "on no list")},
    MachineState: _state_words,
    LiftState: lambda message: {"meaning": LIFT_STATES.get(message.state, "on no list")},
    MenuRequest: _menu_words,
    MenuResponse: _menu_words,
    ReadClock: _menu(MENU_CLOCK, "read"),
    SetClock: _menu(MENU_CLOCK, "set"),
    Clock: _menu(MENU_CLOCK, "read"),
    ClockSet: _result(MENU_CLOCK, "set"),
    ReadJamList: _menu(MENU_JAM_LIST, "read"),
    ClearJamList: _menu(MENU_JAM_LIST, "clear"),
    JamList: _menu(MENU_JAM_LIST, "read"),
    JamListCleared: _result(MENU_JAM_LIST, "clear"),
    ReadSelectionConfig: _menu(MENU_SELECTION_CONFIG, "read"),
    SelectionConfig: _menu(MENU_SELECTION_CONFIG, "read"),
    ReadSales: _menu(MENU_SALES, "read"),
    Sales: _menu(MENU_SALES, "read"),
    OpenCabinet: _menu(MENU_OPEN_CABINET, "open"),
    OpenLayer: _menu(MENU_OPEN_LAYER, "open"),
}
