"""The driver of a network-connected board: the agent's side of the contract, without I/O and without a clock.

A line is a message, and any message may be lost, doubled, late or overtaken. Rules:

1. **A vend leaves at most once**, under the number and the nonce of the board's newest Ready, in the call of `vend` or
   never. Its time to live is what is left of the approval, counted from when that Ready came: the board counts it from
   when it gave the nonce, which was earlier, and a 64th is taken off for clocks that do not run alike.
2. What became of it is asked for by number (`Query`), again and again. An answer about (store, number) is true for
   ever, whenever it was said: so old and doubled ones do no harm. One that the board never took it has refused for ever
   by the time it answers: then nothing left the machine, and nothing will.
3. Store, number and nonce are the readings that the agent journals with the vend. A new run asks with them. If the
   board's store is another one, nothing is proved.
4. A result is acknowledged (`Ack`) only after `release`.

Source: docs/protocols/mqtt-board.md; the messages are in `jishan_protocol.dispensers.mqtt_board`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from jishan_agent.dispensers import base
from jishan_protocol.dispensers import mqtt_board as board

SILENCE_MS: Final = 25_000
"""A board says its state every 10 s; two of them may be lost."""

HELLO_AGAIN_MS: Final = 5_000
"""How often a board that is not there is asked what it is."""

ASK_AGAIN_MS: Final = 1_000
"""A check that was not answered is asked again, with the same ask."""

MAX_ASKS: Final = 5
"""Then the selection cannot be sold: the resident has waited for 5 s."""

QUERY_AGAIN_MS: Final = 3_000
"""Without a word about the vend for so long, it is asked for; longer than a turn, a round trip and an fsync."""

STATUS_MS: Final = 20_000
"""After so many unanswered queries the outcome is unknown: the resident must be told something."""

DRIFT: Final = 64
"""The agent's clock and the board's may differ by one part in so many; crystals are a hundred times better."""

MAX_TOLD: Final = 16
"""Strays that were told; a board repeats what nobody acknowledges."""

BUSY_TICK_MS: Final = 200
IDLE_TICK_MS: Final = 1_000

CLOSES_MACHINE: Final = frozenset({"drop_sensor", "motor_power", "store_failed", "number_taken"})
"""Codes after which nothing can be sold until a person has looked."""


@dataclass(slots=True)
class _Check:
    """A check under way."""

    selection: int
    ask: int
    asked_at_ms: int
    asks: int = 1


@dataclass(slots=True)
class _Flight:
    """The vend in hand, from `vend` (or `recover`, after a restart) until its end. Store 0: a former run's, unnamed."""

    selection: int
    store: int
    number: int
    nonce: int
    sent_at_ms: int
    sign_at_ms: int
    asked_at_ms: int
    hello: int = 0
    is_unknown: bool = False
    is_recovering: bool = False
    result: board.Result | None = None


class MqttBoard:
    """One board. Nothing is kept between runs but what the agent journals."""

    def __init__(self, profile: board.MqttBoardProfile) -> None:
        self._profile = profile
        self._reader = board.LineReader("u")
        self._output = bytearray()
        self._events: list[base.DispenserEvent] = []
        self._check: _Check | None = None
        self._ready: board.Ready | None = None
        self._ready_at_ms = 0
        self._flight: _Flight | None = None
        self._state: board.State | None = None
        self._pressed = (0, 0)
        self._released: board.Result | None = None
        self._told: deque[board.Result] = deque(maxlen=MAX_TOLD)
        self._last_ask = 0
        self._hello_at_ms = 0
        self._heard_ms = 0
        self._ticked_ms = 0
        self._is_online = False
        self.bad_lines = 0

    @property
    def name(self) -> str:
        """The profile's name."""
        return f"mqtt:{self._profile.name}"

    @property
    def pack_number(self) -> int:
        """Always 0: the board gives the numbers, and keeps them."""
        return 0

    @property
    def next_wakeup_ms(self) -> int | None:
        """`tick` looks after what does not come."""
        is_busy = self._check is not None or self._flight is not None or not self._is_online
        return self._ticked_ms + (BUSY_TICK_MS if is_busy else IDLE_TICK_MS)

    def take_output(self) -> bytes:
        """Give the lines to be published now."""
        output = bytes(self._output)
        self._output.clear()
        return output

    def take_events(self) -> list[base.DispenserEvent]:
        """Give what has happened."""
        events, self._events = self._events, []
        return events

    # What the agent asks for.

    def begin(self, points: int, now_ms: int) -> None:
        """Nothing: a board asks for no credit."""

    def cancel(self, now_ms: int) -> None:
        """Nothing: a board does not wait for a word about a choice."""

    def set_clock(self, local_time: tuple[int, int, int, int, int, int], now_ms: int) -> None:
        """Nothing: a board has no clock but the one that counts from its start."""

    def check(self, selection: int, now_ms: int) -> None:
        """Ask for a Ready. Its store, number and nonce are the readings before the vend."""
        self._ready = None
        self._check = _Check(selection, self._next_ask(now_ms), now_ms)
        self._say(board.Check(self._check.ask, selection))

    def vend(self, selection: int, not_after_ms: int, now_ms: int) -> None:
        """The only place where a Vend is made. It leaves now, or never."""
        assert self._flight is None, "one vend at a time, and none before the board is at rest"
        ready, self._ready = self._ready, None
        ttl_ms = min((not_after_ms - self._ready_at_ms) * (DRIFT - 1) // DRIFT, board.MAX_TTL_MS)
        is_late = now_ms >= not_after_ms or ttl_ms <= 0
        if is_late or not self._is_online or ready is None or ready.selection != selection:
            self._events.append(base.VendFailed(selection, "never_sent", "selection"))
            return
        self._flight = _Flight(selection, ready.store, ready.number, ready.nonce, now_ms, now_ms, now_ms)
        self._say(board.Vend(ready.store, ready.number, ready.nonce, selection, ttl_ms))
        self._events.append(base.DriveSent(selection))

    def release(self, now_ms: int) -> None:
        """The result is on disk: the board may forget it."""
        flight = self._flight
        if flight is None or flight.result is None:
            return
        self._released = flight.result
        if flight.result.code != "number_taken":
            self._say(board.Ack(flight.store, flight.number))
        self._flight = None
        if flight.is_recovering:
            self._events.append(base.AtRest())

    def recover(self, selection: int, readings: base.Readings | None, now_ms: int) -> None:
        """Ask the board about the number in the readings until it answers."""
        if self._flight is None:
            self._flight = _flight_of(selection, readings, now_ms)
        self._flight.is_unknown = self._flight.is_recovering = True
        if self._flight.result is None:
            self._inquire(self._flight, now_ms)

    # What the board says.

    def receive(self, data: bytes, now_ms: int) -> None:
        """Take lines, in pieces of any size."""
        for found in self._reader.feed(data):
            if isinstance(found, board.BadLine):
                self.bad_lines += 1
            else:
                self._heard_ms = now_ms
                self._take(found, now_ms)

    def _take(self, message: board.Message, now_ms: int) -> None:
        match message:
            case board.State():
                self._take_state(message, now_ms)
            case board.Ready():
                self._take_ready(message, now_ms)
            case board.Result():
                self._take_result(message, now_ms)
            case board.Pressed():
                self._take_press(message)
            case board.Slot():
                self._events.append(
                    base.SelectionReported(message.selection, message.is_sellable, message.code, message.stock)
                )
            case _:
                self.bad_lines += 1

    def _take_state(self, state: board.State, now_ms: int) -> None:
        former, self._state = self._state, state
        self._events.append(base.StateRead(state.door, state.temperature_tenths_c))
        flight = self._flight
        if former is not None and (former.store, former.boot) != (state.store, state.boot):
            self._events.append(base.Restarted())
            if flight is not None and flight.result is None:
                self._inquire(flight, now_ms)
        if flight is not None and flight.store == 0 and state.ask == flight.hello and not state.is_busy:
            self._rest()
        self._set_online(True)

    def _take_ready(self, ready: board.Ready, now_ms: int) -> None:
        check = self._check
        if check is None or (ready.ask, ready.selection) != (check.ask, check.selection):
            return
        if ready.code == "store_full" and self._flight is None:
            # No vend is open here: of all that it keeps, nothing is waited for any more.
            self._say(board.Ack(ready.store, ready.number - 1))
            check.ask = self._next_ask(now_ms)
            self._check_again(check, now_ms)
            return
        self._check = None
        if ready.is_sellable:
            self._ready, self._ready_at_ms = ready, now_ms
            readings = {"store": ready.store, "number": ready.number, "nonce": ready.nonce}
            self._events.append(base.Checked(ready.selection, True, "ready", readings=readings))
        else:
            closes: base.Closes | None = "machine" if ready.code in CLOSES_MACHINE else None
            self._events.append(base.Checked(ready.selection, False, f"mqtt_{ready.code}", closes))

    def _take_press(self, pressed: board.Pressed) -> None:
        """A press that is not newer than the last of its boot is a double, or late: nobody stands there any more."""
        if pressed.boot == self._pressed[0] and pressed.press <= self._pressed[1]:
            return
        self._pressed = (pressed.boot, pressed.press)
        self._events.append(base.Pressed(pressed.selection) if pressed.selection else base.CancelPressed())

    # The vend.

    def _take_result(self, result: board.Result, now_ms: int) -> None:
        flight = self._flight
        if flight is None or (result.store, result.number) != (flight.store, flight.number):
            self._take_other_result(result)
            return
        flight.sign_at_ms = now_ms
        if flight.result is not None:
            self._take_second_result(flight.result, result)
            return
        if result.outcome in _TAKEN and (result.nonce, result.selection) != (flight.nonce, flight.selection):
            # The board took this number from somebody else, and no number is taken twice: ours never ran.
            self._fail(flight, board.Result(flight.store, flight.number, 0, 0, result.outcome, "number_taken", False))
            return
        match result.outcome:
            case board.Outcome.RUNNING:
                self._events.append(base.Progressed(flight.selection, f"mqtt_{result.code}"))
            case board.Outcome.DISPENSED:
                flight.result = result
                code = f"mqtt_{result.code}"
                self._events.append(base.VendSucceeded(flight.selection, result.is_verified, code))
            case board.Outcome.NOT_DISPENSED | board.Outcome.REFUSED:
                self._fail(flight, result)
            case _:
                self._end_unknown(flight, result.outcome)

    def _fail(self, flight: _Flight, result: board.Result) -> None:
        flight.result = result
        closes: base.Closes = "machine" if result.code in CLOSES_MACHINE else "selection"
        self._events.append(base.VendFailed(flight.selection, f"mqtt_{result.code}", closes))

    def _end_unknown(self, flight: _Flight, outcome: board.Outcome) -> None:
        """The board itself does not know, or has another store: it is at rest, and there is nothing more to learn."""
        if not flight.is_recovering:
            self._lose(flight, f"mqtt_{outcome}")
            return
        if outcome is board.Outcome.UNKNOWN:
            # Asked again, a board that has forgotten it says as little as one that does not know.
            self._say(board.Ack(flight.store, flight.number))
        self._rest()

    def _rest(self) -> None:
        self._flight = None
        self._events.append(base.AtRest())

    def _lose(self, flight: _Flight, reason: str) -> None:
        if not flight.is_unknown:
            flight.is_unknown = True
            self._events.append(base.VendUnknown(flight.selection, reason))

    def _take_second_result(self, first: board.Result, second: board.Result) -> None:
        """The same again says nothing new; another one is what a board never says."""
        if second.outcome in board.FINAL and second.outcome is not first.outcome and first.code != "number_taken":
            self._tell_stray(second)

    def _take_other_result(self, result: board.Result) -> None:
        """A result of another number: one whose acknowledgement was lost, or one that nobody here knows."""
        released = self._released
        if result.outcome not in board.FINAL or result.outcome is board.Outcome.REFUSED:
            return
        if released is None or result.store != released.store or result.number > released.number:
            self._tell_stray(result)
            return
        if result.number == released.number:
            self._take_second_result(released, result)
        if released.code != "number_taken":
            self._say(board.Ack(released.store, released.number))

    def _tell_stray(self, result: board.Result) -> None:
        if result not in self._told:
            self._told.append(result)
            self._events.append(base.StrayResult(result.selection, f"mqtt_{result.code}"))

    # Time.

    def tick(self, now_ms: int) -> None:
        """Look after what does not come."""
        self._ticked_ms = now_ms
        if self._is_online and now_ms - self._heard_ms >= SILENCE_MS:
            self._set_online(False)
        if not self._is_online and now_ms >= self._hello_at_ms:
            self._hello(now_ms)
        check = self._check
        if check is not None and now_ms - check.asked_at_ms >= ASK_AGAIN_MS:
            self._check_again(check, now_ms)
        flight = self._flight
        if flight is not None and flight.result is None:
            self._watch(flight, now_ms)

    def _check_again(self, check: _Check, now_ms: int) -> None:
        if check.asks >= MAX_ASKS:
            self._check = None
            self._events.append(base.Checked(check.selection, False, "no_answer"))
            return
        check.asks, check.asked_at_ms = check.asks + 1, now_ms
        self._say(board.Check(check.ask, check.selection))

    def _watch(self, flight: _Flight, now_ms: int) -> None:
        if not flight.is_recovering:
            if now_ms - flight.sent_at_ms >= self._profile.longest_vend_ms:
                self._lose(flight, "no_result")
            elif now_ms - flight.sign_at_ms >= STATUS_MS:
                self._lose(flight, "no_answer")
        if now_ms - max(flight.sign_at_ms, flight.asked_at_ms) >= QUERY_AGAIN_MS:
            self._inquire(flight, now_ms)

    def _inquire(self, flight: _Flight, now_ms: int) -> None:
        flight.asked_at_ms = now_ms
        if flight.store:
            self._say(board.Query(flight.store, flight.number))
        else:
            flight.hello = self._hello(now_ms)

    def _hello(self, now_ms: int) -> int:
        ask = self._next_ask(now_ms)
        self._hello_at_ms = now_ms + HELLO_AGAIN_MS
        self._say(board.Hello(ask))
        return ask

    def _next_ask(self, now_ms: int) -> int:
        """Never the same twice in a run; by the clock, so that the next run does not begin at 1 again."""
        self._last_ask = max(self._last_ask + 1, now_ms)
        return self._last_ask

    def _set_online(self, is_online: bool) -> None:
        if is_online != self._is_online:
            self._is_online = is_online
            self._events.append(base.OnlineChanged(is_online))

    def _say(self, message: board.Down) -> None:
        self._output += board.line(message)


_TAKEN: Final = frozenset(
    {board.Outcome.RUNNING, board.Outcome.DISPENSED, board.Outcome.NOT_DISPENSED, board.Outcome.UNKNOWN}
)


def _flight_of(selection: int, readings: Mapping[str, int] | None, now_ms: int) -> _Flight:
    """A former run's vend, by the readings that it journaled; without them it was no vend of this protocol."""
    known = readings or {}
    names = ("store", "number", "nonce")
    store, number, nonce = (known[name] for name in names) if known.keys() >= set(names) else (0, 0, 0)
    return _Flight(selection, store, number, nonce, now_ms, now_ms, now_ms)
