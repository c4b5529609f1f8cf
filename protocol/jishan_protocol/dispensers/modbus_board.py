"""The ZDM8 spring board, Modbus RTU: bytes <-> typed messages, without I/O and without a clock.

Frame: `unit function ... CRC`, CRC-16 of Modbus with its low byte first. Numbers inside are big-endian.

Rules kept here:
- Three functions' worth of Modbus: 03 reads registers, 10 writes several, and a function with its high bit set refuses
  one. Answers of 03 and commands of 10 have an odd size, all else an even one, so both directions are read by one
  reader.
- A vend is two registers written at 2001: lane, kind, drop sensor, lift. Its state is register 0003: state, fault.
- **Reading register 0003 clears it**: after success or failure the next reading says idle. The fault stays as it was,
  so that it means something only beside a failure.
- The vendor's table of faults is not public: a fault is shown as its number.

Source: the vendor's protocol as public programs quote it, with its examples; Modbus Application Protocol 1.1b3 and
Modbus over Serial Line 1.02. See docs/protocols/modbus-board.md. The vectors are in `docs/vectors/modbus-board.json`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import IntEnum
from typing import Final, Literal, NamedTuple

from jishan_protocol.dispensers.cutting import NO_FRAME, Broken, Cutter
from jishan_protocol.dispensers.profiles import check_range

BAUD_RATE: Final = 9_600
SILENCE_MS: Final = 60  # a frame takes 30 ms at most, and an USB adapter holds bytes for 16; then its end is lost
MAX_UNIT: Final = 8
LANES: Final = 100
MAX_SELECTION: Final = 999
MAX_REGISTERS: Final = 10  # the longest known write has ten

READ: Final = 0x03
WRITE: Final = 0x10
REFUSED: Final = 0x80
STATUS_REGISTER: Final = 0x0003
CLIMATE_REGISTER: Final = 0x0004
START_REGISTER: Final = 0x2001


class State(IntEnum):
    """The first byte of register 0003."""

    IDLE = 0
    RUNNING = 1
    SUCCEEDED = 2
    FAILED = 3


REFUSALS: Final = {
    1: "no such function",
    2: "no such register",
    3: "no such value",
    4: "checksum error",
    5: "acknowledged, takes longer",
    6: "busy",
    7: "fault",
    8: "acknowledged, takes longer",
}
NOT_CARRIED_OUT: Final = frozenset({1, 2, 3, 6})
"""Refusals that say for certain that nothing was done. 4 is a wrong checksum in the vendor's table, but a failure in
mid-work in the standard's; 7 is one in both."""


# --- what differs between boards -----------------------------------------------------------------------------------


class Lane(NamedTuple):
    """One motor on the line: the unit of its board, 1..8, and its lane there, 0..99; the tens are the row."""

    unit: int
    lane: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ModbusBoardProfile:
    """What differs from machine to machine. The defaults claim least.

    `units`: how many boards stand on the line (addresses 1, 2, ...), a hundred selections each.
    `first_selection`: the selection of lane 0 of unit 1; 11 for machines that count rows and columns from one.
    `lane_kind`: what moves the goods: 1 spring, 2 magnet lock, 3 belt, 4 by time.
    `drop_sensor`, `lift`: what a vend uses.
    `starts_within_ms`: after the command came, the state is no longer idle.
    `idle_proves_not_started`: a state that was idle in every reading of all that time, with no echo and no answer lost,
    shows that the command never came.
    `longest_vend_ms`: after it no motor is turning any more.
    """

    name: str
    units: int = 1
    first_selection: int = 1
    lane_kind: Literal[1, 2, 3, 4] = 1
    drop_sensor: bool = True
    lift: bool = False
    starts_within_ms: int = 1_000
    idle_proves_not_started: bool = False
    longest_vend_ms: int = 30_000

    def __post_init__(self) -> None:
        check_range(self, "units", 1, MAX_UNIT)
        check_range(self, "first_selection", 1, LANES)
        check_range(self, "starts_within_ms", 500, 5_000)
        check_range(self, "longest_vend_ms", 5_000, 600_000)

    def selection(self, lane: Lane) -> int:
        """The selection that a resident presses for a lane."""
        return (lane.unit - 1) * LANES + lane.lane + self.first_selection

    def place(self, selection: int) -> Lane | None:
        """The lane of a selection; None where there is none."""
        board, lane = divmod(selection - self.first_selection, LANES)
        return Lane(board + 1, lane) if 0 <= board < self.units and selection <= MAX_SELECTION else None


PROFILES: Final[dict[str, ModbusBoardProfile]] = {
    profile.name: profile
    for profile in (
        ModbusBoardProfile(name="default"),
        ModbusBoardProfile(name="rows", first_selection=11),
        ModbusBoardProfile(name="no-drop-sensor", drop_sensor=False),
        ModbusBoardProfile(name="belt", lane_kind=3),
        ModbusBoardProfile(name="lift", lift=True, longest_vend_ms=60_000),
        ModbusBoardProfile(name="two-units", units=2),
        ModbusBoardProfile(name="prompt", idle_proves_not_started=True),
    )
}


# --- messages ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ReadRegisters:
    """03, host."""

    unit: int
    register: int
    count: int


@dataclass(frozen=True, slots=True)
class Registers:
    """03, board: the registers that were asked for; which they are only the question says."""

    unit: int
    content: bytes


@dataclass(frozen=True, slots=True)
class WriteRegisters:
    """10, host."""

    unit: int
    register: int
    content: bytes


@dataclass(frozen=True, slots=True)
class Written:
    """10, board: the echo. The registers are written; a vend begins."""

    unit: int
    register: int
    count: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """A board does not do what it was told; `code` is one of REFUSALS."""

    unit: int
    function: int
    code: int


Message = ReadRegisters | Registers | WriteRegisters | Written | Refusal


class Start(NamedTuple):
    """What is written at 2001: **turn this lane's motor**."""

    lane: int
    kind: int
    drop_sensor: bool
    lift: bool


class Status(NamedTuple):
    """What register 0003 holds. `state` may be on no list; `fault` means something only beside FAILED."""

    state: int
    fault: int


class Climate(NamedTuple):
    """What registers 0004 and 0005 hold, in tenths of a degree Celsius and of a per cent."""

    temperature_tenths_c: int
    humidity_tenths: int


def start(unit: int, told: Start) -> WriteRegisters:
    """The command that turns a motor. ValueError where a number does not fit."""
    if not 0 <= told.lane < LANES:
        raise ValueError(f"lane {told.lane} is not in 0..{LANES - 1}")
    return WriteRegisters(unit, START_REGISTER, bytes(told))


def read_start(message: WriteRegisters) -> Start | None:
    """What a write tells a motor to do; None where it is another write."""
    if message.register != START_REGISTER or len(message.content) != 4:
        return None
    lane, kind, drop_sensor, lift = message.content
    return Start(lane, kind, bool(drop_sensor), bool(lift))


def read_status(message: Message) -> Status | None:
    """The status in an answer to a question for register 0003; None where its size is another's."""
    return Status(*message.content) if isinstance(message, Registers) and len(message.content) == 2 else None


def read_climate(message: Message) -> Climate | None:
    """The climate in an answer to a question for registers 0004 and 0005; None where its size is another's."""
    if not isinstance(message, Registers) or len(message.content) != 4:
        return None
    return Climate(*(int.from_bytes(message.content[at : at + 2], "big", signed=True) for at in (0, 2)))


def reader() -> Cutter:
    """Cuts what passes the line into whole frames; either direction, or both."""
    return Cutter(_measure, 9 + 2 * MAX_REGISTERS)


def read(frame: bytes) -> Message:
    """The message in a whole frame."""
    unit, function = frame[:2]
    if function & REFUSED:
        return Refusal(unit, function & ~REFUSED, frame[2])
    if function == READ and len(frame) % 2:
        return Registers(unit, frame[3:-2])
    register, count = (int.from_bytes(frame[at : at + 2], "big") for at in (2, 4))
    if function == READ:
        return ReadRegisters(unit, register, count)
    return WriteRegisters(unit, register, frame[7:-2]) if len(frame) % 2 else Written(unit, register, count)


def write(message: Message) -> bytes:
    """The bytes of a message. ValueError where a number does not fit."""
    match message:
        case ReadRegisters(unit, register, count):
            return _frame(unit, READ, _two(register) + _two(_counted(count)))
        case Registers(unit, content):
            return _frame(unit, READ, bytes([2 * _registers(content)]) + content)
        case WriteRegisters(unit, register, content):
            count = _registers(content)
            return _frame(unit, WRITE, _two(register) + _two(count) + bytes([2 * count]) + content)
        case Written(unit, register, count):
            return _frame(unit, WRITE, _two(register) + _two(_counted(count)))
        case Refusal(unit, function, code):
            return _frame(unit, function | REFUSED, bytes([code]))


def crc(raw: bytes) -> bytes:
    """The two bytes that end a frame: Modbus CRC-16 (polynomial A001, from FFFF), low byte first."""
    register = 0xFFFF
    for byte in raw:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (0xA001 if register & 1 else 0)
    return register.to_bytes(2, "little")


def describe(frame: bytes) -> dict[str, object]:
    """A whole frame in words, for a person in front of a machine: name, unit, fields.

    An answer of 03 does not say what was asked: two bytes are told as a status, four as a climate.
    """
    message = read(frame)
    fields: dict[str, object] = {
        name: value.hex(" ") if isinstance(value, bytes) else value for name, value in asdict(message).items()
    }
    unit = fields.pop("unit")
    if isinstance(message, WriteRegisters) and (told := read_start(message)) is not None:
        fields |= told._asdict()
    elif (status := read_status(message)) is not None:
        names = {one.value: one.name.lower() for one in State}
        fields |= {**status._asdict(), "meaning": names.get(status.state, "on no list")}
    elif (climate := read_climate(message)) is not None:
        fields |= climate._asdict()
    elif isinstance(message, Refusal):
        fields["meaning"] = REFUSALS.get(message.code, "on no list")
    return {"name": _NAMES[type(message)], "unit": unit, "fields": fields}


_NAMES: Final[dict[type[Message], str]] = {
    ReadRegisters: "read_registers",
    Registers: "registers",
    WriteRegisters: "write_registers",
    Written: "written",
    Refusal: "refusal",
}


# --- bytes ---------------------------------------------------------------------------------------------------------


def _measure(raw: bytes) -> int | Broken | None:
    """The size of the frame at the beginning of `raw`."""
    if not 1 <= raw[0] <= MAX_UNIT:
        return NO_FRAME
    if len(raw) < 3:
        return None if len(raw) == 1 or raw[1] in (READ, WRITE, READ | REFUSED, WRITE | REFUSED) else NO_FRAME
    most = 2 * MAX_REGISTERS
    match raw[1]:
        case 0x03:
            sizes = [5 + raw[2]] * (raw[2] in range(2, most + 1, 2)) + [8]
        case 0x10:
            sizes = [8] if len(raw) < 7 else [8] + [9 + raw[6]] * (raw[6] in range(2, most + 1, 2))
        case 0x83 | 0x90:
            sizes = [5]
        case _:
            return NO_FRAME
    for size in sizes:
        if len(raw) >= size and crc(raw[: size - 2]) == raw[size - 2 : size]:
            return size
    if len(raw) < max(sizes):
        return None
    size = min(sizes)
    right = crc(raw[: size - 2]).hex(" ").upper()
    return Broken("bad_checksum", f"CRC {raw[size - 2 : size].hex(' ').upper()}, {right} is right")


def _frame(unit: int, function: int, body: bytes) -> bytes:
    if not 1 <= unit <= MAX_UNIT:
        raise ValueError(f"unit {unit} is not in 1..{MAX_UNIT}")
    raw = bytes([unit, function]) + body
    return raw + crc(raw)


def _two(number: int) -> bytes:
    try:
        return number.to_bytes(2, "big")
    except OverflowError:
        raise ValueError(f"{number} is not two bytes") from None


def _counted(count: int) -> int:
    if not 1 <= count <= MAX_REGISTERS:
        raise ValueError(f"{count} registers, 1..{MAX_REGISTERS} are read or written")
    return count


def _registers(content: bytes) -> int:
    if len(content) % 2:
        raise ValueError(f"{len(content)} bytes are not whole registers")
    return _counted(len(content) // 2)
