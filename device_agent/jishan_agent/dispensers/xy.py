"""The driver of an XY vending controller: the host's side of the protocol, without I/O and without a clock.

The controller (VMC) is the master: this side speaks only when polled, and acknowledges what it is told. Rules:

1. A POLL is answered in the call that brings it, with a command or with ACK; a POLL that has something after it in the
   same read is over and gets no command.
2. One exchange at a time: a command, its ACK, and the frame that answers it. A query without ACK is sent again with the
   same PackNO, at most five times. A command that is not taken for 10 s is dropped, never sent late.
3. **06 leaves at most once.** Past `not_after_ms` it never leaves. Whether the VMC took it is told by 04 alone.
4. Each VMC frame is acknowledged at once, doubles (CMD, PackNO, TEXT) too; only the final 04 of the vend waits until
   the agent has it on disk (`release`).
5. A vend whose result did not come, or came with a code on no list, or during which the VMC restarted, is unknown.
   Nothing is driven then until the VMC is at rest: the longest vend is over, a new 0x31 exchange has brought all
   reports. Then the readings are compared (`proof`).
6. Nothing but a vend turns a motor, and no vend opens a cabinet: 84 and 85 leave only when a person in front of the
   machine asks (`service`), and never while a vend is in hand. What cancels a choice never follows an 06.

Source: docs/protocols/xy-vmc.md; the frames are in `jishan_protocol.dispensers.xy`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from jishan_agent.dispensers import base
from jishan_protocol.dispensers import xy
from jishan_protocol.errors import ProtocolError

COMMAND_KEPT_MS: Final = 10_000
"""A queued command that was not taken for so long is dropped (xy-vmc.md, "What running machines teach")."""

RESPONSE_MS: Final = 5_000
"""The frame that answers an acknowledged query comes within a few polls; the longest interval is 2 s."""

STATUS_MS: Final = 30_000
"""A running vend reports at least so often."""

SILENCE_MS: Final = 5_000
"""No frame for so long: twice the longest poll interval, and the VMC is not there."""

CUT_FRAME_MS: Final = 60
"""The longest frame, 260 bytes, takes 46 ms at 57600 baud: a longer gap inside a frame means that its rest is lost."""

DRAIN_MS: Final = 3_000
"""After this much listening no frame of before the start is still on its way (five resends at 200 ms and more)."""

REPORTS_QUIET_MS: Final = 2_000
"""No further report for so long: all have come."""

REPORTS_QUIET_POLLS: Final = 4
"""The same for a VMC that polls slowly: a report comes in two polls, and one may be lost."""

REPORTS_MS: Final = 60_000
"""100 selections at one report in two polls take 40 s; after that the exchange is tried again."""

REPORTS_POLLS: Final = 300
"""The same for a VMC that polls slowly."""

STATE_EVERY_MS: Final = 30_000
"""How often door and temperature are asked for."""

AGAIN_MS: Final = 5_000
"""Pause before a failed synchronisation or reading is tried again."""

SELF_ANSWER_MS: Final = 2_000
"""An 0x31 that comes so soon after ours answers it; a later one says that the VMC has started again."""

MAX_REMEMBERED: Final = 8
"""The VMC has one frame under way at a time: a double follows its original closely."""

HEATING_STATUSES: Final = frozenset({0x21, 0x22, 0x23, 0x24})
HEATED_VEND_MS: Final = 300_000
"""A heated vend may take five minutes (xy-vmc.md)."""

BUSY_TICK_MS: Final = 200
IDLE_TICK_MS: Final = 1_000

Answer = Callable[[xy.Message | None, int], None]


@dataclass(slots=True)
class _Exchange:
    """One command under way. `answer` gets the answering message, or None when there was none."""

    message: xy.Message
    answered_by: type[xy.Message] | None
    answer: Answer
    drop_at_ms: int
    raw: bytes = b""
    sends: int = 0
    sent_at_ms: int = 0
    is_acked: bool = False


@dataclass(slots=True)
class _Flight:
    """The vend in hand, from `vend` (or `recover`, after a restart) until its result, or until the VMC is at rest."""

    selection: int
    not_after_ms: int
    drop_at_ms: int
    sent_at_ms: int | None = None
    sign_at_ms: int = 0
    longest_ms: int = 0
    is_unknown: bool = False
    result: int | None = None


@dataclass(slots=True)
class _Recovery:
    """The way to rest. `reported` fills up after the new 0x31."""

    selection: int
    before: base.Readings | None
    due_at_ms: int
    is_under_way: bool = False
    is_disturbed: bool = False
    reported: set[int] | None = None
    synchronised_at_ms: int = 0
    report_at_ms: int = 0


def proof(profile: xy.XyProfile, before: base.Readings | None, after: base.Readings) -> bool | None:
    """What readings before and after a vend prove: True = dispensed, False = not dispensed, None = nothing.

    An item has left if the sales counter of its selection went up by exactly one. None has left if the counter stands
    still and either the jam is new or the profile says that the counter survives a power cut. An open door, a stock
    that disagrees where the profile says that it counts, or any other difference proves nothing.
    """
    if not profile.sales_count_host_vends or before is None or before.keys() != after.keys():
        return None
    if before["door_open"] or after["door_open"]:
        return None
    sold = after["sales_count"] - before["sales_count"]
    if profile.stock_counts_host_vends and before.get("stock", 0) - after.get("stock", 0) != sold:
        return None
    is_new_jam = after["jammed"] > before["jammed"]
    if sold == 1 and not is_new_jam:
        return True
    if sold == 0 and (is_new_jam or profile.counter_survives_power_cut):
        return False
    return None


class XyDispenser:
    """One VMC. `pack_number` is the last PackNO that a former run may have used."""

    def __init__(self, profile: xy.XyProfile, pack_number: int) -> None:
        self._profile = profile
        self._pack_number = pack_number
        self._parser = xy.Parser()
        self._output = bytearray()
        self._events: list[base.DispenserEvent] = []
        self._queue: deque[_Exchange] = deque()
        self._exchange: _Exchange | None = None
        self._flight: _Flight | None = None
        self._recovery: _Recovery | None = None
        self._remembered: deque[xy.Frame] = deque(maxlen=MAX_REMEMBERED)
        self._unreleased: xy.Frame | None = None
        self._unreleased_at_ms = 0
        self._last_result: xy.DispensingStatus | None = None
        self._reports: dict[int, xy.SelectionReport] = {}
        self._door = "unknown"
        self._lift = 0
        self._polled_ms: int | None = None
        self._poll_gap_ms = xy.POLL_INTERVAL_MS
        self._first_heard_ms: int | None = None
        self._heard_ms: int | None = None
        self._synchronised_ms: int | None = None
        self._synchronise_at_ms: int | None = 0
        self._is_online = False
        self._state_due_ms = 0
        self._ticked_ms = 0
        self.bad_bytes = 0

    @property
    def name(self) -> str:
        """The profile's name."""
        return f"xy:{self._profile.name}"

    @property
    def pack_number(self) -> int:
        """The last PackNO used."""
        return self._pack_number

    @property
    def next_wakeup_ms(self) -> int | None:
        """Polls bring most calls; `tick` looks after their absence."""
        is_busy = self._exchange or self._queue or self._flight or self._recovery
        return self._ticked_ms + (BUSY_TICK_MS if is_busy else IDLE_TICK_MS)

    def take_output(self) -> bytes:
        """Give the bytes to be written now."""
        output = bytes(self._output)
        self._output.clear()
        return output

    def take_events(self) -> list[base.DispenserEvent]:
        """Give what has happened."""
        events, self._events = self._events, []
        return events

    # What the agent asks for.

    def begin(self, points: int, now_ms: int) -> None:
        """Nothing: the VMC asks for no credit."""

    def cancel(self, now_ms: int) -> None:
        """05 with selection 0, where the profile says that the VMC then forgets the choice."""
        if self._profile.cancels_choice and self._flight is None and self._recovery is None and self._is_online:
            self._ask(xy.Selected(0), None, lambda answer, now_ms: None, now_ms)

    @property
    def services(self) -> Mapping[str, str]:
        """What a person in front of the machine may ask for."""
        return {name: one.meaning for name, one in _SERVICES.items()}

    def service(self, name: str, number: int | None, now_ms: int) -> None:
        """Ask the VMC, unless a vend is in hand or not yet understood. ValueError for a number that does not fit."""
        asked = _SERVICES[name]
        if ("NUMBER" in asked.meaning) != (number is not None):
            raise ValueError(f"{name}: {'a number is missing' if number is None else 'takes no number'}")
        message = asked.message(*(() if number is None else (number,)))
        xy.write(message, 1, self._profile)

        def served(answer: xy.Message | None, now_ms: int) -> None:
            words = {} if answer is None else xy.in_words(answer)
            is_done = answer is not None and words.get("done", True) is True
            told = ", ".join(f"{field} {value}" for field, value in words.items()) or "no answer"
            self._events.append(base.Served(name, is_done, told))

        if self._flight is not None or self._recovery is not None:
            self._events.append(base.Served(name, False, "a vend is in hand"))
        else:
            self._ask(message, asked.answered_by, served, now_ms)

    def check(self, selection: int, now_ms: int) -> None:
        """01, and the readings before the vend where the profile says that they prove something."""

        def checked(answer: xy.Message | None, now_ms: int) -> None:
            if not isinstance(answer, xy.CheckResult):
                self._events.append(base.Checked(selection, False, "no_answer"))
            elif answer.selection != selection:
                self._events.append(base.Checked(selection, False, "wrong_answer"))
            elif answer.status != xy.CHECK_NORMAL:
                closes: base.Closes | None = "machine" if xy.check_closes_machine(answer.status) else None
                self._events.append(base.Checked(selection, False, f"xy_{answer.status:02x}", closes))
            elif self._profile.sales_count_host_vends:
                self._read(selection, now_ms, lambda before: self._events.append(_checked(selection, before)))
            else:
                self._events.append(base.Checked(selection, True, "ready"))

        self._state_due_ms = now_ms + STATE_EVERY_MS
        self._ask(xy.Check(selection), xy.CheckResult, checked, now_ms)

    def vend(self, selection: int, not_after_ms: int, now_ms: int) -> None:
        """Let 06 leave at the next POLL, unless it is too late by then."""
        assert self._flight is None, "one vend at a time"
        assert self._recovery is None, "no vend before the dispenser is at rest"
        self._forget_cancels(now_ms)
        drop_at_ms = min(not_after_ms, now_ms + COMMAND_KEPT_MS)
        self._flight = _Flight(selection, not_after_ms, drop_at_ms, longest_ms=self._profile.longest_vend_ms)
        self._last_result = None

    def _forget_cancels(self, now_ms: int) -> None:
        """A former choice's cancel that still waits must not reach the VMC in this vend."""
        for queued in [queued for queued in self._queue if isinstance(queued.message, xy.Selected)]:
            self._queue.remove(queued)
            queued.answer(None, now_ms)

    def release(self, now_ms: int) -> None:
        """The result is on disk: acknowledge it now if the VMC still listens, else when it says it again."""
        if self._unreleased is not None and now_ms - self._unreleased_at_ms < xy.ANSWER_WITHIN_MS:
            self._write_ack()
        self._unreleased = None
        if self._recovery is None:
            self._flight = None

    def recover(self, selection: int, readings: base.Readings | None, now_ms: int) -> None:
        """Wait for the VMC to come to rest, then compare the readings."""
        flight = self._flight
        if flight is None:
            # A former run's vend: nobody knows how long ago it began.
            flight = self._flight = _Flight(selection, now_ms, now_ms, now_ms, now_ms, self._profile.longest_vend_ms)
        flight.is_unknown = True
        begun_ms = now_ms if flight.sent_at_ms is None else flight.sent_at_ms
        self._recovery = _Recovery(selection, readings, max(now_ms, begun_ms + flight.longest_ms))

    def set_clock(self, local_time: tuple[int, int, int, int, int, int], now_ms: int) -> None:
        """70/09."""
        year, *rest = local_time
        digits = f"{year:04d}" + "".join(f"{part:02d}" for part in rest)
        self._ask(xy.SetClock(digits), xy.ClockSet, lambda answer, now_ms: None, now_ms)

    # Bytes in.

    def receive(self, data: bytes, now_ms: int) -> None:
        """Take bytes; each POLL that still waits is answered in this call."""
        if self._parser.waiting and self._heard_ms is not None and now_ms - self._heard_ms > CUT_FRAME_MS:
            self._take(self._parser.finish(), now_ms)
        self._heard_ms = now_ms
        if self._first_heard_ms is None:
            self._first_heard_ms = now_ms
        self._take(self._parser.feed(data), now_ms)

    def _take(self, found: list[xy.Frame | xy.BadBytes], now_ms: int) -> None:
        for place, item in enumerate(found, start=1):
            if isinstance(item, xy.BadBytes):
                self.bad_bytes += len(item.raw)
                continue
            if item.cmd == xy.POLL:
                self._measure_poll(now_ms)
                if place == len(found) and not self._parser.waiting:
                    self._answer_poll(now_ms)
                continue
            if item.cmd == xy.ACK:
                self._acked(now_ms)
                continue
            self._take_frame(item, now_ms)

    def _measure_poll(self, now_ms: int) -> None:
        """How long the VMC waits between two POLLs: all patience is counted in it."""
        if self._polled_ms is not None:
            self._poll_gap_ms = min(max(now_ms - self._polled_ms, xy.POLL_STEP_MS), xy.LONGEST_POLL_INTERVAL_MS)
        self._polled_ms = now_ms

    def _take_frame(self, frame: xy.Frame, now_ms: int) -> None:
        if frame in self._remembered:
            if frame != self._unreleased:
                self._write_ack()
            else:
                self._unreleased_at_ms = now_ms
            return
        self._remembered.append(frame)
        try:
            message = xy.read(frame)
        except ProtocolError:
            # A right XOR around the wrong text: saying it again would not mend it.
            self.bad_bytes += len(frame.text)
            self._write_ack()
            return
        if isinstance(message, xy.DispensingStatus) and self._take_status(message):
            self._unreleased, self._unreleased_at_ms = frame, now_ms
            return
        self._write_ack()
        self._take_message(message, now_ms)

    def _take_message(self, message: xy.Message, now_ms: int) -> None:
        match message:
            case xy.DispensingStatus():
                self._status_without_result(message, now_ms)
            case xy.Synchronise():
                self._vmc_synchronised(now_ms)
            case xy.Selected():
                pressed = base.Pressed(message.selection) if message.selection else base.CancelPressed()
                self._events.append(pressed)
            case xy.SelectionReport():
                self._take_report(message, now_ms)
            case xy.MachineState():
                self._take_state(message)
            case xy.LiftState():
                self._take_lift(message)
            case xy.MoneyReceived():
                self._events.append(base.Ignored("xy_money", f"mode {message.mode}, amount {message.amount}"))
            case xy.Credit():
                self._events.append(base.Ignored("xy_credit", f"amount {message.amount}"))
            case _:
                pass
        exchange = self._exchange
        if exchange is not None and exchange.answered_by is not None and isinstance(message, exchange.answered_by):
            # An answer is also the ACK of its question, where that was lost.
            self._finish(exchange, message, now_ms)

    def _take_report(self, report: xy.SelectionReport, now_ms: int) -> None:
        former = self._reports.get(report.selection)
        self._reports[report.selection] = report
        if former is None or (former.status, former.stock) != (report.status, report.stock):
            code = f"xy_{report.status:02x}"
            self._events.append(base.SelectionReported(report.selection, report.status == 0, code, report.stock))
        if self._recovery is not None and self._recovery.reported is not None:
            self._recovery.reported.add(report.selection)
            self._recovery.report_at_ms = now_ms

    def _take_state(self, state: xy.MachineState) -> None:
        self._door = "open" if state.door_open else "closed"
        if self._recovery is not None and state.door_open:
            self._recovery.is_disturbed = True
        self._events.append(base.StateRead(self._door, state.temperature_tenths_c))

    def _take_lift(self, lift: xy.LiftState) -> None:
        """A lift in trouble is told once; with a product in it, or its door open, somebody is about to take it."""
        if lift.state != self._lift and lift.state in xy.LIFT_TROUBLES:
            self._events.append(base.Troubled(f"xy_lift_{lift.state:02x}"))
        self._lift = lift.state

    # The vend.

    def _is_of(self, flight: _Flight, status: xy.DispensingStatus) -> bool:
        """Whether a status is of the vend in hand. The short form of 23 has the seconds where the selection is."""
        if flight.sent_at_ms is None:
            return False
        names_none = status.status == xy.SECONDS_LEFT and status.extra is None
        return names_none or flight.selection == status.selection

    def _take_status(self, status: xy.DispensingStatus) -> bool:
        """Take a final status of the vend in hand; True when it must stay unacknowledged until it is on disk."""
        flight = self._flight
        outcome = xy.outcome_of(status.status)
        if flight is None or not self._is_of(flight, status):
            return False
        if outcome not in (xy.Outcome.DISPENSED, xy.Outcome.NOT_DISPENSED) or flight.result is not None:
            return False
        flight.result = status.status
        self._last_result = status
        code = f"xy_{status.status:02x}"
        if outcome is xy.Outcome.DISPENSED:
            is_verified = self._profile.watches(flight.selection)
            self._events.append(base.VendSucceeded(flight.selection, is_verified, code))
        else:
            closes: base.Closes = "machine" if xy.closes_machine(status.status) else "selection"
            self._events.append(base.VendFailed(flight.selection, code, closes))
        return True

    def _status_without_result(self, status: xy.DispensingStatus, now_ms: int) -> None:
        """Progress, a code on no list, or a status that belongs to no vend of ours."""
        flight = self._flight
        code = f"xy_{status.status:02x}"
        outcome = xy.outcome_of(status.status)
        if flight is None or not self._is_of(flight, status):
            if self._recovery is not None:
                self._recovery.is_disturbed = True
            # The same result once more says nothing new; progress claims nothing.
            if outcome is not xy.Outcome.PROGRESS and status != self._last_result:
                self._events.append(base.StrayResult(status.selection, code))
            return
        flight.sign_at_ms = now_ms
        if status.status in HEATING_STATUSES:
            flight.longest_ms = max(flight.longest_ms, HEATED_VEND_MS)
        if flight.result is not None:
            if outcome is not xy.Outcome.PROGRESS and status.status != flight.result:
                self._events.append(base.StrayResult(status.selection, code))
        elif outcome is xy.Outcome.PROGRESS:
            self._events.append(base.Progressed(flight.selection, code))
        else:
            self._lose(code)

    def _lose(self, reason: str) -> None:
        """The vend that was sent is unknown from here on, until a late result or a proof."""
        flight = self._flight
        if flight is not None and flight.result is None and not flight.is_unknown:
            flight.is_unknown = True
            self._events.append(base.VendUnknown(flight.selection, reason))

    def _drop_drive(self, flight: _Flight) -> None:
        """06 has not left and never will."""
        self._flight = None
        self._events.append(base.VendFailed(flight.selection, "never_sent", "selection"))

    # The VMC starts, is there, goes away.

    def _vmc_synchronised(self, now_ms: int) -> None:
        is_ours = self._exchange is not None and isinstance(self._exchange.message, xy.Synchronise)
        ours_ms = self._synchronised_ms
        if is_ours or (ours_ms is not None and now_ms - ours_ms < SELF_ANSWER_MS):
            return
        self._events.append(base.Restarted())
        synchronise = self._remembered[-1]
        # It counts its PackNO anew: what it says from now on is no double of what it said before.
        self._remembered.clear()
        self._remembered.append(synchronise)
        self._unreleased = None
        self._synchronised_ms = None
        flight = self._flight
        if flight is not None and flight.sent_at_ms is None:
            self._drop_drive(flight)
        else:
            self._lose("dispenser_restarted")
        self._abandon(now_ms)
        if self._recovery is not None:
            self._recovery.is_under_way, self._recovery.reported = False, None
            self._recovery.due_at_ms = max(self._recovery.due_at_ms, now_ms + AGAIN_MS)
        self._synchronise_at_ms = now_ms

    def _abandon(self, now_ms: int) -> None:
        """End what is under way or queued without an answer."""
        waiting = [*([self._exchange] if self._exchange else []), *self._queue]
        self._exchange = None
        self._queue.clear()
        for exchange in waiting:
            exchange.answer(None, now_ms)

    def _synchronise(self, now_ms: int) -> None:
        """0x31 at our start, and in answer to the VMC's own."""

        def synchronised(answer: xy.Message | None, now_ms: int) -> None:
            if answer is None:
                self._synchronise_at_ms = now_ms + AGAIN_MS
            else:
                self._synchronised_ms = now_ms
                self._state_due_ms = now_ms
                if self._profile.poll_interval_ms:
                    steps = xy.SetPollInterval(self._profile.poll_interval_ms // xy.POLL_STEP_MS)
                    self._ask(steps, None, lambda answer, now_ms: None, now_ms)

        self._synchronise_at_ms = None
        self._ask(xy.Synchronise(), None, synchronised, now_ms)

    def tick(self, now_ms: int) -> None:
        """Look after what does not come."""
        self._ticked_ms = now_ms
        if self._parser.waiting and self._heard_ms is not None and now_ms - self._heard_ms > CUT_FRAME_MS:
            self._take(self._parser.finish(), now_ms)
        self._watch_presence(now_ms)
        exchange = self._exchange
        if exchange is not None and now_ms - exchange.sent_at_ms >= RESPONSE_MS:
            self._finish(exchange, None, now_ms)
        for queued in [queued for queued in self._queue if now_ms >= queued.drop_at_ms]:
            self._queue.remove(queued)
            queued.answer(None, now_ms)
        self._watch_flight(now_ms)
        self._watch_recovery(now_ms)
        if self._is_online and now_ms >= self._state_due_ms and self._flight is None and self._recovery is None:
            self._state_due_ms = now_ms + STATE_EVERY_MS
            self._ask(xy.MachineStateQuery(), xy.MachineState, lambda answer, now_ms: None, now_ms)
            if self._profile.lift:
                self._ask(xy.LiftQuery(), xy.LiftState, lambda answer, now_ms: None, now_ms)

    def _watch_presence(self, now_ms: int) -> None:
        heard_ms, first_ms = self._heard_ms, self._first_heard_ms
        if heard_ms is None or first_ms is None:
            return
        if now_ms - heard_ms >= SILENCE_MS:
            self._heard_ms = self._first_heard_ms = self._synchronised_ms = None
            self._synchronise_at_ms = 0
            self._abandon(now_ms)
            self._set_online(False)
            return
        if self._synchronise_at_ms is not None and now_ms >= self._synchronise_at_ms:
            self._synchronise(now_ms)
        self._set_online(self._synchronised_ms is not None and now_ms - first_ms >= DRAIN_MS)

    def _set_online(self, is_online: bool) -> None:
        if is_online != self._is_online:
            self._is_online = is_online
            self._events.append(base.OnlineChanged(is_online))

    def _watch_flight(self, now_ms: int) -> None:
        flight = self._flight
        if flight is None or flight.is_unknown or flight.result is not None:
            return
        if flight.sent_at_ms is None:
            if now_ms >= flight.drop_at_ms:
                self._drop_drive(flight)
        elif now_ms - flight.sent_at_ms >= flight.longest_ms:
            self._lose("no_result")
        elif now_ms - max(flight.sent_at_ms, flight.sign_at_ms) >= STATUS_MS:
            self._lose("no_status")

    # To rest, and what can be proved there.

    def _watch_recovery(self, now_ms: int) -> None:
        recovery = self._recovery
        if recovery is None:
            return
        if recovery.reported is not None:
            known = self._reports.keys() <= recovery.reported
            quiet_ms = max(REPORTS_QUIET_MS, REPORTS_QUIET_POLLS * self._poll_gap_ms)
            is_quiet = now_ms - max(recovery.report_at_ms, recovery.synchronised_at_ms) >= quiet_ms
            if known and is_quiet:
                recovery.reported = None
                self._read(recovery.selection, now_ms, self._judge)
            elif now_ms - recovery.synchronised_at_ms >= max(REPORTS_MS, REPORTS_POLLS * self._poll_gap_ms):
                self._recover_again(now_ms)
        elif not recovery.is_under_way and self._is_online and now_ms >= recovery.due_at_ms:
            recovery.is_under_way = True
            self._ask(xy.Synchronise(), None, self._collect_reports, now_ms)

    def _collect_reports(self, answer: xy.Message | None, now_ms: int) -> None:
        recovery = self._recovery
        if recovery is None:
            return
        if answer is None:
            self._recover_again(now_ms)
            return
        self._synchronised_ms = now_ms
        recovery.reported = set()
        recovery.synchronised_at_ms = now_ms

    def _recover_again(self, now_ms: int) -> None:
        if self._recovery is not None:
            self._recovery.is_under_way, self._recovery.reported = False, None
            self._recovery.due_at_ms = now_ms + AGAIN_MS

    def _judge(self, after: base.Readings | None) -> None:
        """The VMC is at rest, and these are its readings (None: it did not answer all of them)."""
        recovery, flight = self._recovery, self._flight
        if recovery is None:
            return
        if after is None:
            self._recover_again(self._ticked_ms)
            return
        has_result = flight is not None and flight.result is not None
        proved = None if has_result or recovery.is_disturbed else proof(self._profile, recovery.before, after)
        self._recovery = self._flight = None
        if proved is None:
            self._events.append(base.AtRest())
            return
        evidence = f"before {_words(recovery.before)}; after {_words(after)}"
        self._events.append(base.VendProved(recovery.selection, proved, evidence))

    def _read(self, selection: int, now_ms: int, then: Callable[[base.Readings | None], None]) -> None:
        """Read what a proof compares: door, jam list, sales counter, and the stock last reported."""
        readings: dict[str, int] = {}

        def door_read(answer: xy.Message | None, now_ms: int) -> None:
            if not isinstance(answer, xy.MachineState):
                then(None)
                return
            readings["door_open"] = int(answer.door_open)
            self._ask(xy.ReadJamList(), xy.JamList, jams_read, now_ms)

        def jams_read(answer: xy.Message | None, now_ms: int) -> None:
            if not isinstance(answer, xy.JamList):
                then(None)
                return
            readings["jammed"] = int(selection in answer.springs + answer.belts)
            self._ask(xy.ReadSales(selection), xy.Sales, sales_read, now_ms)

        def sales_read(answer: xy.Message | None, now_ms: int) -> None:
            if not isinstance(answer, xy.Sales):
                then(None)
                return
            readings["sales_count"] = answer.count
            if selection in self._reports:
                readings["stock"] = self._reports[selection].stock
            then(readings)

        self._ask(xy.MachineStateQuery(), xy.MachineState, door_read, now_ms)

    # One exchange at a time.

    def _ask(self, message: xy.Message, answered_by: type[xy.Message] | None, answer: Answer, now_ms: int) -> None:
        self._queue.append(_Exchange(message, answered_by, answer, now_ms + COMMAND_KEPT_MS))

    def _answer_poll(self, now_ms: int) -> None:
        exchange = self._exchange
        if exchange is not None:
            if exchange.is_acked:
                self._write_ack()
            elif exchange.sends < xy.MAX_SENDS:
                exchange.sends += 1
                self._output += exchange.raw
            else:
                self._exchange = None
                exchange.answer(None, now_ms)
                self._write_ack()
            return
        flight = self._flight
        if flight is not None and flight.sent_at_ms is None:
            if now_ms < flight.not_after_ms and now_ms < flight.drop_at_ms:
                self._send_drive(flight, now_ms)
                return
            self._drop_drive(flight)
        while self._queue:
            exchange = self._queue.popleft()
            if now_ms < exchange.drop_at_ms:
                self._send(exchange, now_ms)
                return
            exchange.answer(None, now_ms)
        self._write_ack()

    def _send_drive(self, flight: _Flight, now_ms: int) -> None:
        """The only place where 06 is made. Nothing keeps its bytes: they leave now or never."""
        flight.sent_at_ms = flight.sign_at_ms = now_ms
        self._pack_number = xy.next_pack_no(self._pack_number)
        profile, selection = self._profile, flight.selection
        drive = xy.Drive(profile.watches(selection), profile.lifts(selection), selection)
        self._output += xy.write(drive, self._pack_number, self._profile)
        self._events.append(base.DriveSent(flight.selection))

    def _send(self, exchange: _Exchange, now_ms: int) -> None:
        self._pack_number = xy.next_pack_no(self._pack_number)
        exchange.raw = xy.write(exchange.message, self._pack_number, self._profile)
        exchange.sends, exchange.sent_at_ms = 1, now_ms
        self._exchange = exchange
        self._output += exchange.raw

    def _acked(self, now_ms: int) -> None:
        exchange = self._exchange
        if exchange is None:
            return
        exchange.is_acked = True
        if exchange.answered_by is None:
            self._finish(exchange, xy.Ack(), now_ms)

    def _finish(self, exchange: _Exchange, answer: xy.Message | None, now_ms: int) -> None:
        if self._exchange is exchange:
            self._exchange = None
        exchange.answer(answer, now_ms)

    def _write_ack(self) -> None:
        self._output += _ACK


@dataclass(frozen=True, slots=True)
class _Service:
    """A question or an order of a person; one that wants a number has it in its message."""

    meaning: str
    message: Callable[..., xy.Message]
    answered_by: type[xy.Message]


_SERVICES: Final[dict[str, _Service]] = {
    "state": _Service("door, temperatures, money devices", xy.MachineStateQuery, xy.MachineState),
    "lift": _Service("what the lift does", xy.LiftQuery, xy.LiftState),
    "clock": _Service("the controller's clock", xy.ReadClock, xy.Clock),
    "jams": _Service("the selections that have jammed", xy.ReadJamList, xy.JamList),
    base.CLEAR_JAMS: _Service("forget the jams, after the coils were freed", xy.ClearJamList, xy.JamListCleared),
    "sales": _Service("items and money of selection NUMBER", xy.ReadSales, xy.Sales),
    "selection": _Service("the settings of selection NUMBER", xy.ReadSelectionConfig, xy.SelectionConfig),
    "open-cabinet": _Service("open grid cabinet NUMBER; 99 opens all", xy.OpenCabinet, xy.MenuResponse),
    "open-layer": _Service("open layer NUMBER of the grid cabinet", xy.OpenLayer, xy.MenuResponse),
}

_ACK: Final = xy.encode(xy.Frame(xy.ACK, None))


def _checked(selection: int, before: base.Readings | None) -> base.Checked:
    """Without readings nothing could be proved later, but the vend itself is as good: it goes on without them."""
    return base.Checked(selection, True, "ready", readings=before)


def _words(readings: base.Readings | None) -> str:
    return ", ".join(f"{name} {number}" for name, number in sorted((readings or {}).items()))
