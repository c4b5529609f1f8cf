"""The driver of ZDM8 spring boards: a Modbus RTU master whose status register is cleared by being read.

Rules:

1. **Reading the status takes the result away.** So it is read only in a check, in a vend and on the way to rest, never
   to see whether the board is there: another register serves for that. A result of a former run stays in the board
   until `recover`.
2. What was read is handed out, and then nothing at all is said to the board until `release`: the result is on disk
   before anything else happens.
3. The register reads idle just before the start: `vend` asks once more, and the start leaves in the call that brings
   the answer, once, and never past `not_after_ms`. So whatever result comes later belongs to this vend.
4. A status that is idle again, with no result seen, proves nothing: the answer that held the result may have been lost,
   or the board has started anew. A result that comes after it is not this vend's either. Only a profile can say that a
   register which was idle in every reading since the start shows that the start never came.
5. A board that refuses the start with a code that says so has not started. No echo is no refusal.
6. At rest is a board that has read idle twice when the longest vend is over.

Source: docs/protocols/modbus-board.md; the frames are in `jishan_protocol.dispensers.modbus_board`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from jishan_agent.dispensers import base
from jishan_agent.dispensers.board import BoardDriver
from jishan_protocol.dispensers import modbus_board as codec
from jishan_protocol.dispensers.modbus_board import Lane, State

ANSWER_MS: Final = 3_000
"""A board answers within some 50 ms. An answer that comes late is still waited for: the question after it must not be
answered by it."""

ECHO_MS: Final = 300
"""So long the echo is waited for before the status is asked; it counts when it comes later too."""

TRIES: Final = 2
CHECKS: Final = 3
"""So many results of former vends may lie in the register, one after another, before it is called out of order."""

COMMAND_KEPT_MS: Final = 10_000
"""A start that could not leave for so long is dropped, never sent late."""

POLL_MS: Final = 300
GAP_MS: Final = 700
"""Between two readings that lie no further apart no spring drops an item: the shortest turn takes longer."""

REST_POLL_MS: Final = 1_000
REST_READINGS: Final = 2
PRESENCE_MS: Final = 2_000
CLIMATE_MS: Final = 500  # a board that is there answers at once; one that is not must not hold up the others
SILENCE_MS: Final = 10_000
"""No answer of any board for so long: nobody is there."""


StatusRead = Callable[[codec.Status | None, int], None]
"""Called with the status, or None where no status came, and the time."""


@dataclass(slots=True)
class _Flight:
    """The vend in hand, from `vend` (or `recover`, after a restart) until its result, or until the board is at rest.

    `is_watched`: every reading since the start was answered, without a gap. `owns_result`: the register was idle before
    the start and not since, so that a result in it is this vend's. `idle_readings`: how many in a row were idle.
    """

    selection: int
    place: Lane
    not_after_ms: int
    drop_at_ms: int
    sent_at_ms: int | None = None
    read_at_ms: int = 0
    has_echo: bool = False
    has_run: bool = False
    is_watched: bool = True
    owns_result: bool = True
    has_result: bool = False
    is_unknown: bool = False
    idle_readings: int = 0


class ModbusBoardDispenser(BoardDriver[codec.Message]):
    """All boards of one line."""

    def __init__(self, profile: codec.ModbusBoardProfile) -> None:
        super().__init__(f"modbus-board:{profile.name}", codec.reader(), codec.SILENCE_MS)
        self._profile = profile
        self._flight: _Flight | None = None
        self._rest_due_ms: int | None = None
        self._poll_at_ms = 0
        self._is_unreleased = False
        self._last_selection = 0
        self._presence_at_ms = 0
        self._next_unit = 1
        self._temperature_tenths_c: int | None = None

    # What the agent asks for.

    def check(self, selection: int, now_ms: int) -> None:
        """Read the status: only an idle board is sold from. What a former vend left there is told, and gone."""
        place = self._profile.place(selection)
        if place is None:
            self._events.append(base.Checked(selection, False, "no_such_selection"))
            return

        def read(status: codec.Status | None, now_ms: int, left: int = CHECKS) -> None:
            if status is not None and status.state in (State.SUCCEEDED, State.FAILED) and left > 0:
                self._stray(selection, status)
                self._read(place, lambda status, now_ms: read(status, now_ms, left - 1), TRIES, now_ms)
            elif status is None:
                self._events.append(base.Checked(selection, False, "no_answer"))
            elif status.state == State.IDLE:
                self._events.append(base.Checked(selection, True, "ready", readings={"state": int(State.IDLE)}))
            else:
                self._events.append(base.Checked(selection, False, _code(status)))

        self._read(place, read, TRIES, now_ms)

    def vend(self, selection: int, not_after_ms: int, now_ms: int) -> None:
        """Read the status once more; if it is idle, let the start leave at once."""
        assert self._flight is None, "one vend at a time"
        place = self._profile.place(selection)
        if place is None:
            self._events.append(base.VendFailed(selection, "never_sent", "selection"))
            return
        self._flight = _Flight(selection, place, not_after_ms, now_ms + COMMAND_KEPT_MS)
        self._last_selection = selection
        self._look(self._flight, now_ms)

    def release(self, now_ms: int) -> None:
        """The result is on disk: the board may be spoken to again."""
        self._is_unreleased = False
        self._asking.go_on(now_ms)
        if self._rest_due_ms is None:
            self._flight = None

    def recover(self, selection: int, readings: base.Readings | None, now_ms: int) -> None:
        """Read the status until the board is at rest; a result in it is the vend's, if the register was idle before."""
        flight = self._flight
        if flight is None:
            place = self._profile.place(selection)
            if place is None:
                self._events.append(base.AtRest())
                return
            # A former run's vend: nobody knows how long ago it began.
            owns_result = readings is not None and readings.get("state") == State.IDLE
            flight = _Flight(selection, place, now_ms, now_ms, sent_at_ms=now_ms, owns_result=owns_result)
            self._flight = flight
            self._last_selection = selection
        flight.is_unknown = True
        begun_ms = now_ms if flight.sent_at_ms is None else flight.sent_at_ms
        self._rest_due_ms = begun_ms + self._profile.longest_vend_ms
        self._poll_at_ms = now_ms

    # Bytes in.

    @property
    def _is_vending(self) -> bool:
        return self._flight is not None

    def _take_frame(self, frame: bytes, now_ms: int) -> None:
        message = codec.read(frame)
        # What only a master says is our own word, given back by the adapter.
        if not isinstance(message, codec.ReadRegisters | codec.WriteRegisters):
            self._heard_ms = now_ms
            self._note_echo(message)
            self._asking.take(message, now_ms)

    def _note_echo(self, message: codec.Message) -> None:
        flight = self._flight
        if flight is not None and flight.sent_at_ms is not None and _is_echo(message, flight.place):
            flight.has_echo = True

    def _read(self, place: Lane, then: StatusRead, tries: int, now_ms: int) -> None:
        """Read the status, **and so clear it**."""

        def is_answer(message: codec.Message) -> bool:
            return message.unit == place.unit and codec.read_status(message) is not None

        def answered(message: codec.Message | None, now_ms: int) -> None:
            then(None if message is None else codec.read_status(message), now_ms)

        raw = codec.write(codec.ReadRegisters(place.unit, codec.STATUS_REGISTER, 1))
        self._asking.ask(raw, is_answer, answered, answer_ms=ANSWER_MS, tries=tries, now_ms=now_ms)

    # The vend.

    def _look(self, flight: _Flight, now_ms: int, left: int = CHECKS) -> None:
        def seen(status: codec.Status | None, now_ms: int) -> None:
            is_late = now_ms >= min(flight.not_after_ms, flight.drop_at_ms)
            if is_late:
                self._drop(flight, "never_sent")
            elif status is None:
                self._look(flight, now_ms, left)
            elif status.state == State.IDLE:
                self._start(flight, now_ms)
            elif status.state in (State.SUCCEEDED, State.FAILED) and left > 0:
                self._stray(flight.selection, status)
                self._look(flight, now_ms, left - 1)
            else:
                self._drop(flight, _code(status))

        self._read(flight.place, seen, 1, now_ms)

    def _start(self, flight: _Flight, now_ms: int) -> None:
        """The only place where the start is made. Nothing keeps its bytes: they leave now or never."""
        flight.sent_at_ms = flight.read_at_ms = now_ms
        told = codec.Start(flight.place.lane, self._profile.lane_kind, self._profile.drop_sensor, self._profile.lift)

        def echoed(message: codec.Message | None, now_ms: int) -> None:
            self._poll_at_ms = now_ms
            if isinstance(message, codec.Refusal) and message.code in codec.NOT_CARRIED_OUT:
                self._fail(flight, f"refused_{message.code:02x}")

        self._asking.tell(
            codec.write(codec.start(flight.place.unit, told)),
            lambda message: (
                _is_echo(message, flight.place)
                or (message.unit == flight.place.unit and _refuses(message, codec.WRITE))
            ),
            echoed,
            answer_ms=ECHO_MS,
            now_ms=now_ms,
        )
        self._events.append(base.DriveSent(flight.selection))

    def _drop(self, flight: _Flight, code: str) -> None:
        """The start has not left and never will."""
        self._flight = None
        self._events.append(base.VendFailed(flight.selection, code, "selection"))

    def _watch_flight(self, now_ms: int) -> None:
        flight = self._flight
        if flight is None or flight.sent_at_ms is None or flight.has_result or flight.is_unknown:
            return
        if now_ms - flight.sent_at_ms >= self._profile.longest_vend_ms:
            self._lose(flight, "no_result")
        elif now_ms >= self._poll_at_ms and self._asking.is_free:
            self._poll_at_ms = now_ms + POLL_MS
            self._read(flight.place, lambda status, now_ms: self._note(flight, status, now_ms), 1, now_ms)

    def _note(self, flight: _Flight, status: codec.Status | None, now_ms: int) -> None:
        """One reading of the register after the start."""
        if flight is not self._flight:
            return
        flight.is_watched &= status is not None and now_ms - flight.read_at_ms <= GAP_MS
        flight.read_at_ms = now_ms
        if status is None:
            flight.idle_readings = 0
            return
        flight.idle_readings = flight.idle_readings + 1 if status.state == State.IDLE else 0
        flight.owns_result &= not (status.state == State.IDLE and self._must_have_begun(flight, now_ms))
        match status.state:
            case State.RUNNING:
                flight.has_run = True
            case State.SUCCEEDED | State.FAILED:
                self._take_result(flight, status)
            case State.IDLE:
                self._note_idle(flight, now_ms)
            case _ if not (flight.has_result or flight.is_unknown):
                self._lose(flight, _code(status))

    def _must_have_begun(self, flight: _Flight, now_ms: int) -> bool:
        """If it ever did. A register that is idle now has lost its result, and what comes later is not this vend's."""
        begun_ms = now_ms if flight.sent_at_ms is None else flight.sent_at_ms
        return flight.has_run or not flight.is_watched or now_ms - begun_ms >= self._profile.starts_within_ms

    def _take_result(self, flight: _Flight, status: codec.Status) -> None:
        if flight.has_result or not flight.owns_result:
            self._stray(flight.selection, status)
            return
        if status.state == State.SUCCEEDED:
            flight.has_result = True
            self._events.append(base.VendSucceeded(flight.selection, self._profile.drop_sensor, _code(status)))
            self._fall_silent()
        else:
            self._fail(flight, _code(status))

    def _fail(self, flight: _Flight, code: str) -> None:
        """Nothing left. No list of faults is known: on a machine with a lift any of them may be the lift's."""
        flight.has_result = True
        closes: base.Closes = "machine" if self._profile.lift else "selection"
        self._events.append(base.VendFailed(flight.selection, code, closes))
        self._fall_silent()

    def _fall_silent(self) -> None:
        """Nothing is said to the board until the result is on disk."""
        self._is_unreleased = True
        self._asking.hold()

    def _note_idle(self, flight: _Flight, now_ms: int) -> None:
        """Idle without a result: it never started, or its result is gone."""
        if flight.has_result or flight.is_unknown:
            return
        if flight.has_run or not flight.is_watched:
            self._lose(flight, "result_lost")
        elif self._must_have_begun(flight, now_ms):
            if flight.has_echo or not self._profile.idle_proves_not_started:
                self._lose(flight, "state_lost" if flight.has_echo else "no_echo")
            else:
                self._fail(flight, "not_started")

    def _lose(self, flight: _Flight, reason: str) -> None:
        flight.is_unknown = True
        self._events.append(base.VendUnknown(flight.selection, reason))

    def _stray(self, selection: int, status: codec.Status) -> None:
        """A result that nobody asked for. It is the last vend's, if there was one in this run."""
        self._events.append(base.StrayResult(self._last_selection or selection, _code(status)))

    # To rest.

    def _watch_rest(self, now_ms: int) -> None:
        due_ms, flight = self._rest_due_ms, self._flight
        if due_ms is None or flight is None or self._is_unreleased:
            return
        if now_ms >= due_ms and flight.idle_readings >= REST_READINGS:
            self._rest_due_ms = self._flight = None
            self._events.append(base.AtRest())
        elif now_ms >= self._poll_at_ms and self._asking.is_free:
            self._poll_at_ms = now_ms + REST_POLL_MS
            self._read(flight.place, lambda status, now_ms: self._note(flight, status, now_ms), 1, now_ms)

    # Time.

    def tick(self, now_ms: int) -> None:
        """Look after what does not come, and ask what is to be known."""
        self._pass_time(now_ms)
        self._watch_flight(now_ms)
        self._watch_rest(now_ms)
        self._ask_presence(now_ms)
        if not self._is_unreleased:
            self._hear_for(SILENCE_MS, now_ms)

    def _ask_presence(self, now_ms: int) -> None:
        """One board after another, by a register that may be read at any time."""
        if self._flight is not None or now_ms < self._presence_at_ms or not self._asking.is_free:
            return
        self._presence_at_ms = now_ms + PRESENCE_MS // self._profile.units
        unit = self._next_unit
        self._next_unit = unit % self._profile.units + 1

        def is_answer(message: codec.Message) -> bool:
            return message.unit == unit and (codec.read_climate(message) is not None or _refuses(message, codec.READ))

        def answered(message: codec.Message | None, now_ms: int) -> None:
            climate = None if message is None else codec.read_climate(message)
            if climate is not None and unit == 1 and climate.temperature_tenths_c != self._temperature_tenths_c:
                self._temperature_tenths_c = climate.temperature_tenths_c
                self._events.append(base.StateRead("unknown", climate.temperature_tenths_c))

        raw = codec.write(codec.ReadRegisters(unit, codec.CLIMATE_REGISTER, 2))
        self._asking.ask(raw, is_answer, answered, answer_ms=CLIMATE_MS, tries=1, now_ms=now_ms)


def _is_echo(message: codec.Message, place: Lane) -> bool:
    return message == codec.Written(place.unit, codec.START_REGISTER, 2)


def _refuses(message: codec.Message, function: int) -> bool:
    return isinstance(message, codec.Refusal) and message.function == function


def _code(status: codec.Status) -> str:
    fault = f"_{status.fault:02x}" if status.state == State.FAILED else ""
    return f"zdm8_{status.state:02x}{fault}"
