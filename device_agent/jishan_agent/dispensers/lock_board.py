"""The driver of lock boards: grid lockers, where "dispensed" is the door having opened.

The board answers and says little by itself: this side asks. Rules:

1. The door reads closed just before the opening command: `vend` asks once more, and 8A leaves in the call that brings
   the answer, once, and never past `not_after_ms`. A door that is open is no vend.
2. Only 80 and 82 say something about a door. The answer to 8A may be our own bytes, given back by the adapter.
3. A door counts as open when two readings in a row say so, after the current is off: until then the contact may move
   with the bolt.
4. A door counts as having stayed shut when every reading of the whole time said so, without a gap in which somebody
   could have opened and shut it. With a gap, and shut at the end: unknown.
5. A board keeps no record, so nothing waits for `release`; nothing proves a vend afterwards either, unless the profile
   says that only commands open doors and this one, closed before, stands open.
6. A door left open is told, and is no failure. Lock 0, all locks, is never sent.

Source: docs/protocols/lock-board.md; the frames are in `jishan_protocol.dispensers.lock_board`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from jishan_agent.dispensers import base
from jishan_agent.dispensers.board import BoardDriver
from jishan_protocol.dispensers import lock_board as codec
from jishan_protocol.dispensers.lock_board import Lock

ANSWER_MS: Final = 300
"""A board answers within some 50 ms; a line through the network takes a little longer."""

TRIES: Final = 3
COMMAND_KEPT_MS: Final = 10_000
"""A door that could not be read for so long is not opened late."""

POLL_MS: Final = 200
AGREEING: Final = 2
"""So many readings in a row make a door open or shut."""

GAP_MS: Final = 1_500
"""Nobody opens a door, takes the item out and shuts it again between two readings that lie no further apart; and five
readings of before the command that come late cannot fill the shortest wait."""

LAST_ASK_MS: Final = 10_000
"""So long after the door should have opened the board is still asked, before the vend is called unknown."""

OPEN_DOOR_POLL_MS: Final = 1_000
PRESENCE_MS: Final = 2_000
SILENCE_MS: Final = 7_000
"""No answer of any board for so long: three questions each, and nobody is there."""

MAX_DOORS: Final = codec.MAX_SELECTION

Reading = Callable[[bool | None, int], None]
"""Called with whether the door is open (None: no answer), and the time."""


@dataclass(slots=True)
class _Flight:
    """The vend in hand, from `vend` (or `recover`, after a restart) until its result, or until the lock is at rest.

    `is_open` is the last reading, `agreeing` how many in a row said so, `read_at_ms` when it came (at first: when the
    command left).
    """

    selection: int
    lock: Lock
    not_after_ms: int
    drop_at_ms: int
    sent_at_ms: int | None = None
    is_open: bool | None = None
    agreeing: int = 0
    read_at_ms: int = 0
    has_gap: bool = False
    has_result: bool = False
    is_unknown: bool = False


@dataclass(frozen=True, slots=True)
class _Recovery:
    """The way to rest: what was read before the vend, and when the door can no longer open by it."""

    before: base.Readings | None
    due_at_ms: int


@dataclass(slots=True)
class _OpenDoor:
    """A door that is watched until it is shut."""

    since_ms: int
    poll_at_ms: int
    is_told: bool = False


class LockBoardDispenser(BoardDriver[codec.Answer]):
    """All boards of one line."""

    def __init__(self, profile: codec.LockBoardProfile) -> None:
        super().__init__(f"lock-board:{profile.name}", codec.reader(profile), codec.SILENCE_MS)
        self._profile = profile
        self._flight: _Flight | None = None
        self._recovery: _Recovery | None = None
        self._poll_at_ms = 0
        self._doors: set[Lock] = set()
        self._open_doors: dict[Lock, _OpenDoor] = {}
        self._presence_at_ms = 0
        self._next_board = 1

    # What the agent asks for.

    def check(self, selection: int, now_ms: int) -> None:
        """Read the door: only a closed one is sold."""
        lock = self._profile.place(selection)
        if lock is None:
            self._events.append(base.Checked(selection, False, "no_such_selection"))
            return

        def read(is_open: bool | None, now_ms: int) -> None:
            if is_open is None:
                self._events.append(base.Checked(selection, False, "no_answer"))
            elif is_open:
                self._events.append(base.Checked(selection, False, "door_open"))
            else:
                self._events.append(base.Checked(selection, True, "ready", readings={"door_open": 0}))

        self._read(lock, read, TRIES, now_ms)

    def vend(self, selection: int, not_after_ms: int, now_ms: int) -> None:
        """Read the door once more; if it is closed, let 8A leave at once."""
        assert self._flight is None, "one vend at a time"
        lock = self._profile.place(selection)
        if lock is None:
            self._events.append(base.VendFailed(selection, "never_sent", "selection"))
            return
        self._flight = _Flight(selection, lock, not_after_ms, now_ms + COMMAND_KEPT_MS)
        self._look(self._flight, now_ms)

    def release(self, now_ms: int) -> None:
        """The result is on disk. The board has no record of it."""
        if self._recovery is None:
            self._flight = None

    def recover(self, selection: int, readings: base.Readings | None, now_ms: int) -> None:
        """Wait until the door can no longer open by the command, then read it."""
        flight = self._flight
        if flight is None:
            lock = self._profile.place(selection)
            if lock is None:
                self._events.append(base.AtRest())
                return
            # A former run's vend: nobody knows how long ago it began.
            flight = self._flight = _Flight(selection, lock, now_ms, now_ms, sent_at_ms=now_ms)
        flight.is_unknown = True
        flight.agreeing = 0
        begun_ms = now_ms if flight.sent_at_ms is None else flight.sent_at_ms
        self._recovery = _Recovery(readings, begun_ms + self._profile.opens_within_ms)
        self._poll_at_ms = now_ms

    # Bytes in.

    @property
    def _is_vending(self) -> bool:
        return self._flight is not None

    def _take_frame(self, frame: bytes, now_ms: int) -> None:
        answer = codec.read_answer(frame)
        if isinstance(answer, codec.Contact | codec.ContactChanged):
            self._heard_ms = now_ms
            self._take_reading(answer, now_ms)
        if answer is not None:
            self._asking.take(answer, now_ms)

    def _take_reading(self, reading: codec.Contact | codec.ContactChanged, now_ms: int) -> None:
        """What any reading means for the vend in hand, and for a door that stands open."""
        lock = Lock(reading.board, reading.lock)
        is_open = self._profile.is_open(reading.is_made)
        flight = self._flight
        if flight is not None and flight.lock == lock and flight.sent_at_ms is not None:
            self._note(flight, is_open, now_ms)
        elif isinstance(reading, codec.ContactChanged) and is_open and lock not in self._open_doors:
            self._events.append(base.StrayResult(self._profile.selection(lock), "door_opened"))
        if isinstance(reading, codec.ContactChanged):
            self._doors.add(lock)
        self._note_door(lock, is_open, now_ms)

    def _read(self, lock: Lock, then: Reading, tries: int, now_ms: int) -> None:
        """Ask how a door stands. What comes by itself meanwhile is no answer to it."""

        def is_answer(answer: codec.Answer) -> bool:
            return isinstance(answer, codec.Contact) and (answer.board, answer.lock) == lock

        def answered(answer: codec.Answer | None, now_ms: int) -> None:
            is_open = self._profile.is_open(answer.is_made) if isinstance(answer, codec.Contact) else None
            then(is_open, now_ms)

        raw = codec.write(codec.Query(*lock), self._profile)
        self._asking.ask(raw, is_answer, answered, answer_ms=ANSWER_MS, tries=tries, now_ms=now_ms)

    # The vend.

    def _look(self, flight: _Flight, now_ms: int) -> None:
        def seen(is_open: bool | None, now_ms: int) -> None:
            if is_open is None and now_ms < min(flight.not_after_ms, flight.drop_at_ms):
                self._look(flight, now_ms)
            elif is_open is False and now_ms < min(flight.not_after_ms, flight.drop_at_ms):
                self._open(flight, now_ms)
            else:
                self._flight = None
                code = "door_open" if is_open else "never_sent"
                self._events.append(base.VendFailed(flight.selection, code, "selection"))

        self._read(flight.lock, seen, 1, now_ms)

    def _open(self, flight: _Flight, now_ms: int) -> None:
        """The only place where 8A is made. Nothing keeps its bytes: they leave now or never."""
        flight.sent_at_ms = flight.read_at_ms = now_ms
        self._poll_at_ms = now_ms + self._profile.pulse_ms
        # Nothing is asked while the lock has current. Whatever comes back until then says nothing about the door.
        self._asking.tell(
            codec.write(codec.Open(*flight.lock), self._profile),
            lambda answer: False,
            lambda answer, now_ms: None,
            answer_ms=self._profile.pulse_ms,
            now_ms=now_ms,
        )
        self._events.append(base.DriveSent(flight.selection))

    def _note(self, flight: _Flight, is_open: bool, now_ms: int) -> None:
        """One reading of the door that the vend is about."""
        sent_ms = flight.sent_at_ms
        if sent_ms is None or now_ms - sent_ms < self._profile.pulse_ms:
            return
        flight.has_gap |= now_ms - flight.read_at_ms > GAP_MS
        flight.read_at_ms = now_ms
        flight.agreeing = flight.agreeing + 1 if is_open == flight.is_open else 1
        flight.is_open = is_open
        if flight.agreeing < AGREEING or flight.has_result or flight.is_unknown:
            return
        if is_open:
            flight.has_result = True
            self._events.append(base.VendSucceeded(flight.selection, True, "door_opened"))
        elif now_ms - sent_ms >= self._profile.opens_within_ms:
            if flight.has_gap:
                self._lose(flight, "door_not_watched")
                return
            flight.has_result = True
            self._events.append(base.VendFailed(flight.selection, "door_stayed_shut", "selection"))

    def _lose(self, flight: _Flight, reason: str) -> None:
        flight.is_unknown = True
        self._events.append(base.VendUnknown(flight.selection, reason))

    # Doors that stand open.

    def _note_door(self, lock: Lock, is_open: bool, now_ms: int) -> None:
        door = self._open_doors.get(lock)
        selection = self._profile.selection(lock)
        if not is_open:
            self._doors.add(lock)
        elif lock not in self._doors:
            # Never seen shut: perhaps no door is wired to that place. A check of it refuses, and no more.
            return
        if is_open and door is None:
            if len(self._open_doors) < MAX_DOORS and self._profile.place(selection) == lock:
                self._open_doors[lock] = _OpenDoor(now_ms, now_ms + OPEN_DOOR_POLL_MS)
        elif not is_open and door is not None:
            del self._open_doors[lock]
            if door.is_told:
                self._events.append(base.SelectionReported(selection, True, "door_shut", 0))
                if not any(other.is_told for other in self._open_doors.values()):
                    self._events.append(base.StateRead("closed", None))

    def _watch_doors(self, now_ms: int) -> None:
        for lock, door in self._open_doors.items():
            if now_ms - door.since_ms >= self._profile.closes_within_ms and not door.is_told:
                door.is_told = True
                selection = self._profile.selection(lock)
                self._events.append(base.SelectionReported(selection, False, "door_left_open", 0))
                self._events.append(base.StateRead("open", None))
            if now_ms >= door.poll_at_ms and self._asking.is_free:
                door.poll_at_ms = now_ms + OPEN_DOOR_POLL_MS
                self._read(lock, _nothing, 1, now_ms)

    # Time.

    def tick(self, now_ms: int) -> None:
        """Look after what does not come, and ask what is to be known."""
        self._pass_time(now_ms)
        self._watch_flight(now_ms)
        self._watch_recovery(now_ms)
        if self._flight is None:
            self._watch_doors(now_ms)
            self._ask_presence(now_ms)
        self._hear_for(SILENCE_MS, now_ms)

    def _watch_flight(self, now_ms: int) -> None:
        flight = self._flight
        if flight is None or flight.sent_at_ms is None or (flight.has_result and self._recovery is None):
            return
        if now_ms >= self._poll_at_ms and self._asking.is_free:
            self._poll_at_ms = now_ms + POLL_MS
            self._read(flight.lock, _nothing, 1, now_ms)
        longest_ms = self._profile.opens_within_ms + LAST_ASK_MS
        if not (flight.has_result or flight.is_unknown) and now_ms - flight.sent_at_ms >= longest_ms:
            self._lose(flight, "no_answer")

    def _watch_recovery(self, now_ms: int) -> None:
        recovery, flight = self._recovery, self._flight
        if recovery is None or flight is None or now_ms < recovery.due_at_ms:
            return
        if flight.agreeing < AGREEING or now_ms - flight.read_at_ms > GAP_MS:
            return
        self._recovery = self._flight = None
        was_closed = recovery.before is not None and recovery.before.get("door_open") == 0
        if self._profile.only_commands_open and was_closed and flight.is_open and not flight.has_result:
            evidence = "before door_open 0; after door_open 1; only commands open doors"
            self._events.append(base.VendProved(flight.selection, True, evidence))
        else:
            self._events.append(base.AtRest())

    def _ask_presence(self, now_ms: int) -> None:
        """One board after another, so that each is heard of although nobody buys from it."""
        if now_ms >= self._presence_at_ms and self._asking.is_free:
            self._presence_at_ms = now_ms + PRESENCE_MS // self._profile.boards
            self._read(Lock(self._next_board, 1), _nothing, 1, now_ms)
            self._next_board = self._next_board % self._profile.boards + 1


def _nothing(is_open: bool | None, now_ms: int) -> None:
    """Whoever asks only to hear has heard it where the reading came in."""
