"""The lock board of grid lockers ("CU", 8A): bytes <-> typed messages, without I/O and without a clock.

Frame: `head board lock last XOR`, five bytes; XOR runs over everything before it, nothing is escaped. Answers about a
whole board are longer (`80 board states... 33 XOR`), and so is the command for several locks (`90 board locks... XOR`).

Rules kept here:
- `last` of an answer is the lock's feedback contact: 11 made, 00 not. What that says about the door is a matter of
  wiring, and so of the profile.
- **The answer to `8A` with 11 is byte for byte the command itself**, and so is what a half-duplex adapter gives back of
  its own bytes. Nobody can tell them apart: only `80` and `82` say something about a door.
- Lock 0 means all locks. `Open` refuses it; `OpenAll` is a message of its own.
- One byte of XOR is weak: a frame must also have one of the known forms, or it is none.

Source: the makers' documents on these boards (24 and 50 locks) and what public programs send and receive; see
docs/protocols/lock-board.md. The vectors are in `docs/vectors/lock-board.json`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial, reduce
from operator import xor
from typing import Final, NamedTuple

from jishan_protocol.dispensers.cutting import NO_FRAME, Broken, Cutter
from jishan_protocol.dispensers.profiles import check_range

BAUD_RATE: Final = 9_600
SILENCE_MS: Final = 60  # a frame takes 12 ms at most, and an USB adapter holds bytes for 16; then its end is lost
MAX_BOARD: Final = 31
MAX_LOCK: Final = 50  # of the largest board
BOARD_STEP: Final = 100  # lock 10 of board 2 is selection 210
MAX_SELECTION: Final = 999

OPEN: Final = 0x8A
QUERY: Final = 0x80
CHANGED: Final = 0x82
OPEN_SEVERAL: Final = 0x90
DO_OPEN: Final = 0x11
DO_QUERY: Final = 0x33
CONTACT: Final = {0x00: False, 0x11: True}
FRAME_BYTES: Final = 5
LEAST_STATE_BYTES: Final = 3  # a board of 8 locks answers for 24


# --- what differs between boards -----------------------------------------------------------------------------------


class Lock(NamedTuple):
    """One lock on the line: board 1..31, lock 1..50."""

    board: int
    lock: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LockBoardProfile:
    """What differs from cabinet to cabinet. The defaults claim least.

    `contact_made_when_open`: the lock's contact closes when the door opens; else when it is shut.
    `boards`, `locks`: how many boards stand on the line (addresses 1, 2, ...), and how many locks each has.
    `hundreds`: a selection is board * 100 + lock; else the numbers run on from board to board.
    `reports_changes`: the board says by itself, with 82, that a contact has changed.
    `only_commands_open`: no key and no button opens a door, so that an open one was opened by a command.
    `pulse_ms`: how long the lock is given current; until then its contact may move with the bolt.
    `opens_within_ms`: a door that is not open so long after the command stays shut.
    `closes_within_ms`: a door that is open for longer has been left open.
    """

    name: str
    contact_made_when_open: bool = False
    boards: int = 1
    locks: int = 24
    hundreds: bool = False
    reports_changes: bool = False
    only_commands_open: bool = False
    pulse_ms: int = 500
    opens_within_ms: int = 10_000
    closes_within_ms: int = 30_000

    def __post_init__(self) -> None:
        check_range(self, "boards", 1, MAX_BOARD)
        check_range(self, "locks", 1, MAX_LOCK)
        check_range(self, "pulse_ms", 50, 1_000)
        check_range(self, "opens_within_ms", 2_000, 60_000)
        check_range(self, "closes_within_ms", 5_000, 3_600_000)
        last = self.selection(Lock(self.boards, self.locks))
        if last > MAX_SELECTION:
            raise ValueError(f"boards: the last lock would be selection {last}, {MAX_SELECTION} is the highest")

    @property
    def state_bytes(self) -> int:
        """How many bytes hold the states of all locks of one board."""
        return max(LEAST_STATE_BYTES, -(-self.locks // 8))

    def selection(self, lock: Lock) -> int:
        """The selection that a resident presses for a lock."""
        return (lock.board * BOARD_STEP if self.hundreds else (lock.board - 1) * self.locks) + lock.lock

    def place(self, selection: int) -> Lock | None:
        """The lock of a selection; None where there is none."""
        board, number = divmod(selection - 1, BOARD_STEP if self.hundreds else self.locks)
        lock = Lock(board if self.hundreds else board + 1, number + 1)
        return lock if 1 <= lock.board <= self.boards and lock.lock <= self.locks else None

    def is_open(self, is_made: bool) -> bool:
        """Whether the door is open, by its contact."""
        return is_made == self.contact_made_when_open


PROFILES: Final[dict[str, LockBoardProfile]] = {
    profile.name: profile
    for profile in (
        LockBoardProfile(name="default"),
        LockBoardProfile(name="made-when-open", contact_made_when_open=True),
        LockBoardProfile(name="reporting", reports_changes=True),
        LockBoardProfile(name="reporting-made-when-open", reports_changes=True, contact_made_when_open=True),
        LockBoardProfile(name="four-boards", boards=4, reports_changes=True),
        LockBoardProfile(name="four-boards-hundreds", boards=4, hundreds=True),
        LockBoardProfile(name="keyless", only_commands_open=True),
    )
}


# --- messages ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Open:
    """8A .. 11, host: give one lock current."""

    board: int
    lock: int


@dataclass(frozen=True, slots=True)
class OpenAll:
    """8A 00 11, host: every lock of a board. A person's command for emptying a cabinet; no vend ever sends it."""

    board: int


@dataclass(frozen=True, slots=True)
class OpenSeveral:
    """90, host: these locks of a board, together. No vend ever sends it either."""

    board: int
    locks: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Query:
    """80 .. 33, host: how is the contact of one lock?"""

    board: int
    lock: int


@dataclass(frozen=True, slots=True)
class QueryAll:
    """80 00 33, host: how are all contacts of a board?"""

    board: int


@dataclass(frozen=True, slots=True)
class OpenAnswer:
    """8A, board: the command came; the contact then. With `is_made` it cannot be told from the command."""

    board: int
    lock: int
    is_made: bool


@dataclass(frozen=True, slots=True)
class Contact:
    """80, board: the contact of one lock."""

    board: int
    lock: int
    is_made: bool


@dataclass(frozen=True, slots=True)
class ContactChanged:
    """82, board, unasked: the contact of one lock has changed to this."""

    board: int
    lock: int
    is_made: bool


@dataclass(frozen=True, slots=True)
class Contacts:
    """80 .. 33, board: the locks of a board whose contact is made."""

    board: int
    made: tuple[int, ...]


Command = Open | OpenAll | OpenSeveral | Query | QueryAll
Answer = OpenAnswer | Contact | ContactChanged | Contacts


def reader(profile: LockBoardProfile) -> Cutter:
    """Cuts what passes the line into whole frames; either direction, or both."""
    return Cutter(partial(_measure, state_bytes=profile.state_bytes), profile.state_bytes + 4)


def read_command(frame: bytes) -> Command | None:
    """The host's words in a whole frame; None where it can only be a board's."""
    head, board, lock = frame[:3]
    match head, frame[3:-1]:
        case 0x8A, b"\x11":
            return Open(board, lock) if lock else OpenAll(board)
        case 0x80, b"\x33":
            return Query(board, lock) if lock else QueryAll(board)
        case 0x90, _:
            return OpenSeveral(board, _locks_in(frame[2:-1]))
    return None


def read_answer(frame: bytes) -> Answer | None:
    """A board's words in a whole frame; None where it can only be the host's, given back by the adapter."""
    head, board, lock, last = frame[:4]
    if head == QUERY and len(frame) > FRAME_BYTES:
        return Contacts(board, _locks_in(frame[2:-2]))
    if head not in _ANSWERS or last not in CONTACT or lock == 0:
        return None
    return _ANSWERS[head](board, lock, CONTACT[last])


def write(message: Command | Answer, profile: LockBoardProfile) -> bytes:
    """The bytes of a message. ValueError where a number does not fit: above all lock 0 of a message for one lock."""
    match message:
        case Open(board, lock):
            return _frame(OPEN, board, _one(lock), DO_OPEN)
        case Query(board, lock):
            return _frame(QUERY, board, _one(lock), DO_QUERY)
        case OpenAll(board):
            return _frame(OPEN, board, 0, DO_OPEN)
        case QueryAll(board):
            return _frame(QUERY, board, 0, DO_QUERY)
        case OpenSeveral(board, locks):
            return _frame(OPEN_SEVERAL, board, *_states_of(locks, profile))
        case Contacts(board, made):
            return _frame(QUERY, board, *_states_of(made, profile), DO_QUERY)
        case OpenAnswer(board, lock, is_made):
            return _frame(OPEN, board, _one(lock), DO_OPEN * is_made)
        case Contact(board, lock, is_made):
            return _frame(QUERY, board, _one(lock), DO_OPEN * is_made)
        case ContactChanged(board, lock, is_made):
            return _frame(CHANGED, board, _one(lock), DO_OPEN * is_made)


def describe(frame: bytes) -> dict[str, object]:
    """A whole frame in words, for a person in front of a cabinet: its name and its fields."""
    command = read_command(frame)
    message = command if command is not None else read_answer(frame)
    assert message is not None, "a whole frame is one side's"
    fields: dict[str, object] = {name: _plain(value) for name, value in asdict(message).items()}
    if isinstance(message, Open):
        fields["note"] = "as an answer: the contact is made"
    return {"name": _NAMES[type(message)], "fields": fields}


# --- bytes ---------------------------------------------------------------------------------------------------------


_ANSWERS: Final[dict[int, Callable[[int, int, bool], Answer]]] = {
    OPEN: OpenAnswer,
    QUERY: Contact,
    CHANGED: ContactChanged,
}
_NAMES: Final[dict[type[Command | Answer], str]] = {
    Open: "open",
    OpenAll: "open_all",
    OpenSeveral: "open_several",
    Query: "query",
    QueryAll: "query_all",
    OpenAnswer: "open_answer",
    Contact: "contact",
    ContactChanged: "contact_changed",
    Contacts: "contacts",
}


def _measure(raw: bytes, state_bytes: int) -> int | Broken | None:
    """The size of the frame at the beginning of `raw`; the longer one where the bytes at hand make two."""
    sizes = {
        OPEN: (FRAME_BYTES,),
        CHANGED: (FRAME_BYTES,),
        QUERY: (state_bytes + 4, FRAME_BYTES),
        OPEN_SEVERAL: (state_bytes + 3,),
    }.get(raw[0])
    if sizes is None:
        return NO_FRAME
    for size in sizes:
        if len(raw) >= size and _is_frame(raw[:size]):
            return size
    if len(raw) < sizes[0]:
        return None
    expected = reduce(xor, raw[: FRAME_BYTES - 1])
    if reduce(xor, raw[:FRAME_BYTES]) == 0:
        return Broken("bad_form", f"a frame of no known form: {raw[:FRAME_BYTES].hex(' ').upper()}")
    return Broken("bad_checksum", f"checksum {raw[FRAME_BYTES - 1]:02X}, {expected:02X} is right")


def _is_frame(raw: bytes) -> bool:
    """Whether these bytes are one whole frame: the XOR fits, and so does the form."""
    head, board, lock, last = raw[:4]
    if reduce(xor, raw) != 0 or not 1 <= board <= MAX_BOARD:
        return False
    if head == OPEN_SEVERAL:
        return True
    if len(raw) > FRAME_BYTES:
        return raw[-2] == DO_QUERY
    is_command = last == {OPEN: DO_OPEN, QUERY: DO_QUERY}.get(head)
    return lock <= MAX_LOCK and (is_command or (last in CONTACT and lock > 0))


def _frame(*body: int) -> bytes:
    if not 1 <= body[1] <= MAX_BOARD:
        raise ValueError(f"board {body[1]} is not in 1..{MAX_BOARD}")
    return bytes([*body, reduce(xor, body)])


def _one(lock: int) -> int:
    if not 1 <= lock <= MAX_LOCK:
        raise ValueError(f"lock {lock} is not in 1..{MAX_LOCK}")
    return lock


def _states_of(locks: tuple[int, ...], profile: LockBoardProfile) -> bytes:
    """One bit for each lock, those of the highest locks first."""
    bits = sum(1 << (_one(lock) - 1) for lock in set(locks))
    try:
        return bits.to_bytes(profile.state_bytes, "big")
    except OverflowError:
        raise ValueError(f"lock {max(locks)} has no place in {profile.state_bytes} bytes") from None


def _locks_in(states: bytes) -> tuple[int, ...]:
    bits = int.from_bytes(states, "big")
    return tuple(lock for lock in range(1, 8 * len(states) + 1) if bits >> (lock - 1) & 1)


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value
