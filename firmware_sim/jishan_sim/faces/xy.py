"""The cabinet speaking the XY protocol: a vending machine controller, the master of its line.

It knows no clock and no port: bytes and time come in, bytes go out. `next_wakeup_ms` says when `tick` is due; a late
`tick` runs everything in the order in which it was due.

How it behaves, after the vendor's documents and captured frames (`jishan_protocol.dispensers.xy`):
- It sends one frame and waits: for an answer to a POLL ANSWER_WITHIN_MS, for the ACK of its own data until the next
  POLL would be due, and sends data again with the same PackNO, MAX_SENDS times in all. Then the data is gone.
- Its PackNO counts its own data only, and begins again at 1 with the power.
- It acknowledges every command, says 0x31 when it starts, and reports every selection after a 0x31 of the host.
- Its clock stands at 2000-01-01 after a power cut. Sales counters, jam list and stock survive.
- Whether a repeated 06 turns the motor again, and what the counters count, is the profile's; a 06 that comes while a
  motor turns waits for its end.

Not on paper, and chosen here: tray n is the selections n0 to n9; with the door open a check says "paused" and a drive
"purchase terminated"; after a jam a selection is reported with status 3 and checked as "paused" until the jam list is
cleared.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Final, NamedTuple

from jishan_protocol.dispensers import xy
from jishan_protocol.errors import ProtocolError
from jishan_sim.cabinet import DROP_AFTER_MS, TURN_MS, Cabinet, Motion, Slot, TurnEnd, TurnEnded
from jishan_sim.faces.base import MAX_LOG, Logged
from jishan_sim.faults import START_DELAY_MS, Faults, Line, VendFaults, happens, worn_frame

BOOT_MS: Final = 1_000  # from power to the first frame
DATA_GAP_MS: Final = 10  # between two data frames, when the first is acknowledged
LIFT_MS: Final = 1_500  # the lift goes up before the turn, and down after it
HEATING_S: Final = 3  # a real one heats for minutes; the frames are the same
MAX_QUEUED: Final = 2_000  # data frames waiting; more than any number of selection reports
MAX_WAITING_DRIVES: Final = 8
CLOCK_AT_POWER_ON: Final = datetime(2000, 1, 1, tzinfo=UTC)
CLOCK_FORMAT: Final = "%Y%m%d%H%M%S"
JAMMED_REPORT: Final = 3  # status of 11, seen right after a jam
MACHINE_ID: Final = b"JISHANSIM1"

DISPENSING: Final = 0x01
DISPENSED: Final = 0x02
JAMMED_STATUS: Final = 0x03
RAN_ON: Final = 0x04
MOTOR_MISSING: Final = 0x06
SELF_TEST_FAILED: Final = 0x0A
LIFT_UP: Final = 0x10
LIFT_DOWN: Final = 0x11
HEATING: Final = 0x22
HEATING_CHECK: Final = 0x13
TAKE_GOODS: Final = 0x24
TERMINATED: Final = 0xFF
STATUS_OF_END: Final = {
    TurnEnd.DISPENSED: DISPENSED,
    TurnEnd.NO_DROP_SEEN: JAMMED_STATUS,
    TurnEnd.STALLED: JAMMED_STATUS,
    TurnEnd.RAN_ON: RAN_ON,
}


class _Vend(NamedTuple):
    """A drive that was taken, and what is going to go wrong with it."""

    selection: int
    watched: bool
    lift: bool
    faults: VendFaults


@dataclass(slots=True)
class _Ram:
    """Everything that a power cut takes.

    `unacknowledged` is the data that waits for its ACK, `held` what is said later, `waiting` the drives that wait for
    a motor, `power_cut` a power cut to come: when, and for how long; `chosen` is what was pressed and not yet vended.
    """

    clock_set_ms: int = 0
    next_send_ms: int = 0
    clock: datetime = CLOCK_AT_POWER_ON
    parser: xy.Parser = field(default_factory=xy.Parser)
    queue: deque[xy.Message] = field(default_factory=deque)
    held: list[tuple[int, xy.Message]] = field(default_factory=list)
    waiting: deque[_Vend] = field(default_factory=deque)
    vend: _Vend | None = None
    start_ms: int | None = None
    power_cut: tuple[int, int] | None = None
    pack_no: int = 1
    unacknowledged: bytes | None = None
    sends: int = 0
    polled_ms: int | None = None
    heard_ms: int | None = None
    last_command: xy.Frame | None = None
    interval_ms: int = xy.POLL_INTERVAL_MS
    chosen: int = 0
    heats_until_ms: int = 0


class XyFace:
    """One controller. `cabinet` is the machine behind it, `random` the only source of chance."""

    def __init__(self, cabinet: Cabinet, profile: xy.XyProfile, faults: Faults, random: Random) -> None:
        self.cabinet = cabinet
        self.profile = profile
        self.late_answers = 0
        self.bad_bytes = 0
        self.log: deque[Logged] = deque(maxlen=MAX_LOG)
        self._random = random
        self._output = bytearray()
        self._to_host = Line(faults.line, random)
        self._from_host = Line(faults.line, random)
        self._clock_shift_s = 0
        self._power_on_at_ms: int | None = None
        self._ram = _Ram()
        self.faults = faults
        self.set_faults(faults)

    def set_faults(self, faults: Faults) -> None:
        """Replace every fault from now on; a vend under way keeps its own. What is used up leaves `faults`."""
        self.faults = replace(faults, clock_jump_s=0)
        self._to_host.faults = self._from_host.faults = faults.line
        self.cabinet.drop_sensor = faults.drop_sensor
        self._clock_shift_s += faults.clock_jump_s

    # --- what the world does to it ---

    def power_on(self, now_ms: int) -> None:
        """Power comes: it boots, and says 0x31. Nothing happens if it has power."""
        self.tick(now_ms)
        if not self.cabinet.powered:
            self._boot(now_ms)

    def power_cut(self, now_ms: int) -> None:
        """Power goes: the motor stops, everything volatile is lost, nothing more is sent."""
        self.tick(now_ms)
        self._die()
        self._power_on_at_ms = None

    def receive(self, data: bytes, now_ms: int) -> None:
        """Bytes from the host."""
        self.tick(now_ms)
        if not self.faults.unplugged:
            self._from_host.send(data, now_ms)
        self.tick(now_ms)

    def take_output(self) -> bytes:
        """The bytes that have come out of the cable since the last call, up to the last `tick`."""
        output = bytes(self._output)
        self._output.clear()
        return output

    def press(self, selection: int, now_ms: int) -> None:
        """A person presses a selection on the keypad; 0 cancels."""
        self._say_if_powered(now_ms, xy.Selected(selection))
        if self.cabinet.powered:
            self._ram.chosen = selection

    @property
    def chosen(self) -> int:
        """What stands on the keypad's display: a selection that was pressed and not yet driven; 0 for none."""
        return self._ram.chosen

    def insert_money(self, mode: int, amount: int, now_ms: int) -> None:
        """A person pays, `amount` in minor units."""
        self._say_if_powered(now_ms, xy.MoneyReceived(mode, amount), xy.Credit(amount))

    def report(self, selection: int, now_ms: int) -> None:
        """Tell the host about one selection, as after a refill."""
        self._say_if_powered(now_ms, self._report_of(self.cabinet.slots[selection]))

    # --- time ---

    @property
    def next_wakeup_ms(self) -> int | None:
        """When `tick` has something to do; None while there is no power and nothing brings it back."""
        ram = self._ram
        due: list[int | None] = [self._power_on_at_ms, self._to_host.next_due_ms, self._from_host.next_due_ms]
        if self.cabinet.powered:
            due += [ram.next_send_ms, ram.start_ms, self.cabinet.next_event_ms]
            due += [ram.power_cut[0] if ram.power_cut else None, ram.held[0][0] if ram.held else None]
        return min((one for one in due if one is not None), default=None)

    def tick(self, now_ms: int) -> None:
        """Do everything that was due by now, in order."""
        while (due_ms := self.next_wakeup_ms) is not None and due_ms <= now_ms:
            self._step(due_ms)

    def _step(self, now_ms: int) -> None:
        """Everything that is due at this moment. The order decides ties: the world first, the line last."""
        for ended in self.cabinet.tick(now_ms):
            self._finish(ended)
        if self._ram.power_cut is not None and self._ram.power_cut[0] <= now_ms:
            off_ms = self._ram.power_cut[1]
            self._die()
            self._power_on_at_ms = now_ms + off_ms
        if _due(self._power_on_at_ms, now_ms):
            self._boot(now_ms)
        if _due(self._ram.start_ms, now_ms):
            self._start_motor(now_ms)
        arrived = self._from_host.take(now_ms)
        if self.cabinet.powered:
            self._hear(arrived, now_ms)
            self._speak(now_ms)
        self._output += self._to_host.take(now_ms)

    def _boot(self, now_ms: int) -> None:
        self.cabinet.restore_power()
        self._power_on_at_ms = None
        self._ram = _Ram(clock_set_ms=now_ms, next_send_ms=now_ms + BOOT_MS)
        self._ram.queue.append(xy.Synchronise())

    def _die(self) -> None:
        self.cabinet.cut_power()
        self._ram = _Ram()

    # --- sending ---

    def _say(self, message: xy.Message, now_ms: int) -> None:
        """Queue data for the host. It goes as soon as nothing that was sent waits for an answer."""
        ram = self._ram
        if len(ram.queue) < MAX_QUEUED:
            ram.queue.append(message)
        if ram.unacknowledged is None and ram.polled_ms is None and ram.heard_ms is not None:
            ram.next_send_ms = min(ram.next_send_ms, now_ms + DATA_GAP_MS)

    def _say_if_powered(self, now_ms: int, *messages: xy.Message) -> None:
        self.tick(now_ms)
        for message in messages if self.cabinet.powered else ():
            self._say(message, now_ms)

    def _hold(self, at_ms: int, message: xy.Message) -> None:
        """Say it later."""
        self._ram.held.append((at_ms, message))
        self._ram.held.sort(key=lambda held: held[0])

    def _speak(self, now_ms: int) -> None:
        """One frame goes out when its time has come: the data that waits for its ACK, the next data, or a POLL."""
        ram = self._ram
        while ram.held and ram.held[0][0] <= now_ms:
            self._say(ram.held.pop(0)[1], now_ms)
        if ram.next_send_ms > now_ms:
            return
        if ram.unacknowledged is not None and ram.sends >= xy.MAX_SENDS:
            self._close_exchange()
        if ram.unacknowledged is None and ram.queue:
            ram.unacknowledged = xy.write(ram.queue.popleft(), ram.pack_no, self.profile)
        if ram.unacknowledged is None:
            ram.polled_ms = now_ms
            self._transmit(xy.POLL_FRAME, now_ms)
        else:
            ram.polled_ms = None
            ram.sends += 1
            self._transmit(ram.unacknowledged, now_ms)
        ram.next_send_ms = now_ms + ram.interval_ms

    def _transmit(self, raw: bytes, now_ms: int) -> None:
        if self.faults.silent or self.faults.unplugged:
            return
        if raw != xy.POLL_FRAME:
            self.log.append(Logged(now_ms, "vmc", raw))
        self._to_host.send(worn_frame(raw, self.faults.line, self._random), now_ms)

    def _close_exchange(self) -> None:
        """The data was acknowledged, or is given up."""
        ram = self._ram
        ram.unacknowledged, ram.sends, ram.pack_no = None, 0, xy.next_pack_no(ram.pack_no)

    # --- hearing ---

    def _hear(self, arrived: bytes, now_ms: int) -> None:
        ram = self._ram
        if not arrived:
            return
        quiet = ram.heard_ms is not None and now_ms - ram.heard_ms > xy.SILENCE_MS
        found = ram.parser.finish() if quiet else []
        ram.heard_ms = now_ms
        for one in found + ram.parser.feed(arrived):
            if isinstance(one, xy.BadBytes):
                self.bad_bytes += len(one.raw)
                self.log.append(Logged(now_ms, "host", one.raw))
            elif one.cmd == xy.ACK:
                self._take_ack(now_ms)
            else:
                self.log.append(Logged(now_ms, "host", xy.encode(one)))
                self._take_command(one, now_ms)

    def _take_ack(self, now_ms: int) -> None:
        """An ACK answers the last frame sent: the data, or the POLL."""
        ram = self._ram
        if ram.unacknowledged is not None:
            self._close_exchange()
            ram.next_send_ms = now_ms + DATA_GAP_MS
        elif ram.polled_ms is not None:
            self._note_answer(now_ms)
            if ram.queue:
                ram.next_send_ms = now_ms + DATA_GAP_MS

    def _note_answer(self, now_ms: int) -> bool:
        """The POLL is answered; False if that came too late, or unasked."""
        polled_ms, self._ram.polled_ms = self._ram.polled_ms, None
        in_time = polled_ms is not None and now_ms - polled_ms <= xy.ANSWER_WITHIN_MS
        self.late_answers += not in_time
        return in_time

    def _take_command(self, frame: xy.Frame, now_ms: int) -> None:
        if not self._note_answer(now_ms) and self.faults.refuse_late_answers:
            return
        try:
            message = xy.read(frame)
        except ProtocolError:
            return
        repeated = frame == self._ram.last_command
        self._ram.last_command = frame
        if isinstance(message, xy.Drive):
            self._drive(message, repeated, now_ms)
        elif frame.pack_no is not None:
            self._transmit(xy.ACK_FRAME, now_ms)
            self._obey(message, now_ms)

    def _obey(self, message: xy.Message, now_ms: int) -> None:
        cabinet = self.cabinet
        match message:
            case xy.Check(selection) | xy.Press(selection):
                self._say(xy.CheckResult(self._check(selection, now_ms), selection), now_ms)
            case xy.Selected():
                self._ram.chosen = 0
            case xy.Synchronise():
                for slot in cabinet.slots.values():
                    self._say(self._report_of(slot), now_ms)
            case xy.SetPollInterval(hundred_ms) if 1 <= hundred_ms <= 20:
                self._ram.interval_ms = hundred_ms * 100
            case xy.SetPrice(selection, price):
                for slot in self._slots_named(selection):
                    slot.price = price
            case xy.SetStock(selection, stock):
                for slot in self._slots_named(selection):
                    slot.stock = stock
            case xy.SetCapacity(selection, capacity):
                for slot in self._slots_named(selection):
                    slot.capacity = capacity
            case xy.SetProduct(selection, product):
                for slot in self._slots_named(selection):
                    slot.product = product
            case xy.MachineStateQuery():
                self._say(self._machine_state(), now_ms)
            case xy.LiftQuery():
                self._say(xy.LiftState(0), now_ms)
            case xy.ReadClock():
                self._say(xy.Clock(self._clock_digits(now_ms)), now_ms)
            case xy.SetClock(digits):
                self._say(xy.ClockSet(self._set_clock(digits, now_ms)), now_ms)
            case xy.ReadJamList():
                self._say(xy.JamList(tuple(cabinet.memory.jammed)), now_ms)
            case xy.ClearJamList():
                cabinet.clear_jams()
                self._say(xy.JamListCleared(0), now_ms)
            case xy.ReadSales(selection):
                self._say(xy.Sales(*cabinet.memory.sales.get(selection, (0, 0))), now_ms)
            case xy.ReadSelectionConfig(selection) if selection in cabinet.slots:
                slot = cabinet.slots[selection]
                config = xy.SelectionConfig(slot.price, slot.stock, slot.capacity, slot.product, 1, 0, 0, 0)
                self._say(config, now_ms)
            case xy.OpenCabinet():
                cabinet.open_door(True)
                self._say(xy.MenuResponse(xy.MENU_OPEN_CABINET, xy.OP_WRITE, b"\x00"), now_ms)
            case xy.OpenLayer():
                cabinet.open_door(True)
                self._say(xy.MenuResponse(xy.MENU_OPEN_LAYER, xy.OP_WRITE, b"\x00"), now_ms)

    # --- a vend ---

    def _drive(self, drive: xy.Drive, repeated: bool, now_ms: int) -> None:
        if repeated and self.profile.ignores_repeated_drive:
            self._transmit(xy.ACK_FRAME, now_ms)
            return
        faults, self.faults = self.faults.for_vend(drive.selection)
        if not self._happens(faults.ack_lost):
            self._transmit(xy.ACK_FRAME, now_ms)
        watched = drive.drop_sensor and self.profile.drop_sensor
        self._ram.chosen = 0
        if len(self._ram.waiting) < MAX_WAITING_DRIVES:
            self._ram.waiting.append(_Vend(drive.selection, watched, drive.lift and self.profile.lift, faults))
        self._begin_next(now_ms)

    def _begin_next(self, now_ms: int) -> None:
        """Take up the next drive, unless one is under way: the motor starts a little later, or never."""
        ram = self._ram
        if ram.vend is not None or not ram.waiting:
            return
        vend = ram.vend = ram.waiting.popleft()
        if self._happens(vend.faults.power_cut):
            after_ms = vend.faults.power_cut_ms
            if after_ms is None:
                after_ms = self._random.randint(-START_DELAY_MS, TURN_MS + START_DELAY_MS)
            ram.power_cut = (now_ms + START_DELAY_MS + after_ms, vend.faults.power_off_ms)
        if vend.selection not in self.cabinet.slots or self._happens(vend.faults.motor_missing):
            self._conclude(MOTOR_MISSING, now_ms)
        elif self.cabinet.door_open:
            self._conclude(TERMINATED, now_ms)
        elif vend.watched and self.cabinet.drop_sensor == "stuck":
            self._conclude(SELF_TEST_FAILED, now_ms)
        else:
            self._hold(now_ms, xy.DispensingStatus(DISPENSING, vend.selection))
            if vend.lift:
                self._hold(now_ms, xy.DispensingStatus(LIFT_UP, vend.selection))
            ram.start_ms = now_ms + START_DELAY_MS

    def _start_motor(self, now_ms: int) -> None:
        vend = self._vend
        self._ram.start_ms = None
        faults = vend.faults
        slowness = 3 if self._happens(faults.slow) else 1
        falls = 0 if self._happens(faults.no_drop) else 2 if self._happens(faults.double_drop) else 1
        motion = Motion(
            TURN_MS * slowness,
            DROP_AFTER_MS * slowness,
            falls,
            stalls=self._happens(faults.jam),
            runs_on=self._happens(faults.motor_runs_on),
            watched=vend.watched,
        )
        self.cabinet.turn(vend.selection, motion, now_ms)

    def _finish(self, ended: TurnEnded) -> None:
        """The motor stands still."""
        status, at_ms = STATUS_OF_END[ended.end], ended.at_ms
        if status == JAMMED_STATUS:
            self.cabinet.add_jam(ended.selection)
        if self._vend.lift:
            self._hold(at_ms, xy.DispensingStatus(LIFT_DOWN, ended.selection))
            at_ms += LIFT_MS
        final_ms = at_ms
        if status == DISPENSED and self.profile.heats:
            # A 02 that comes first goes out before the first word of the heating.
            at_ms += 1
            self._hold(at_ms, xy.DispensingStatus(HEATING, ended.selection, 0))
            for seconds_left in range(HEATING_S, 0, -1):
                self._hold(at_ms, self._seconds_left(seconds_left, ended.selection))
                at_ms += 1000
            # "Please take the goods" is the last word, and comes after the result.
            self._hold(at_ms + 1, xy.DispensingStatus(TAKE_GOODS, ended.selection))
            self._ram.heats_until_ms = at_ms
            final_ms = final_ms if self.profile.success_before_heating else at_ms
        self._conclude(status, final_ms)

    def _seconds_left(self, seconds: int, selection: int) -> xy.DispensingStatus:
        """The last number of a 23 is the seconds; the short form has no other."""
        if self.profile.status_length == 4:
            return xy.DispensingStatus(xy.SECONDS_LEFT, seconds)
        return xy.DispensingStatus(xy.SECONDS_LEFT, selection, seconds)

    def _conclude(self, status: int, at_ms: int) -> None:
        """The vend is over: its final status goes out, as far as the faults let it."""
        vend, self._ram.vend = self._vend, None
        said_ms = at_ms + vend.faults.hold_status_ms
        final = xy.DispensingStatus(status, vend.selection)
        if not self._happens(vend.faults.status_lost):
            self._hold(said_ms, final)
            if self._happens(vend.faults.status_doubled):
                self._hold(said_ms, final)
            if self._happens(vend.faults.wrong_status):
                self._hold(said_ms, replace(final, status=JAMMED_STATUS if status == DISPENSED else DISPENSED))
        slot = self.cabinet.slots.get(vend.selection)
        if slot is not None and (status != DISPENSED or self.profile.stock_counts_host_vends):
            self._hold(said_ms, self._report_of(slot))
        self._begin_next(at_ms)

    @property
    def _vend(self) -> _Vend:
        assert self._ram.vend is not None, "a motor turns only for a drive"
        return self._ram.vend

    def _happens(self, probability: float) -> bool:
        return happens(probability, self._random)

    # --- what it knows ---

    def _check(self, selection: int, now_ms: int) -> int:
        if now_ms < self._ram.heats_until_ms:
            return HEATING_CHECK
        slot = self.cabinet.slots.get(selection)
        if slot is None:
            return 0x03
        if slot.paused or self.cabinet.door_open or selection in self.cabinet.memory.jammed:
            return 0x04
        return 0x02 if slot.stock == 0 else xy.CHECK_NORMAL

    def _report_of(self, slot: Slot) -> xy.SelectionReport:
        status = JAMMED_REPORT if slot.selection in self.cabinet.memory.jammed else int(slot.paused)
        return xy.SelectionReport(slot.selection, slot.price, slot.stock, slot.capacity, slot.product, status)

    def _slots_named(self, selection: int) -> list[Slot]:
        """The slots a setting is for: one, a tray, or all."""
        self.cabinet.revision += 1
        slots = self.cabinet.slots
        if selection == 0:
            return list(slots.values())
        if 1000 <= selection <= 1009:
            return [slot for slot in slots.values() if slot.selection // 10 == selection - 1000]
        return [slots[selection]] if selection in slots else []

    def _machine_state(self) -> xy.MachineState:
        read = self.cabinet.temperature_c
        first = xy.TEMPERATURE_NOT_READ if read is None else read & 0xFF
        temperatures = bytes([first] + [xy.TEMPERATURE_NOT_READ] * 7)
        return xy.MachineState(0, 1, 0, 0, read or 0, int(self.cabinet.door_open), 0, 0, MACHINE_ID, temperatures)

    def _clock_digits(self, now_ms: int) -> str:
        ram = self._ram
        at = ram.clock + timedelta(milliseconds=now_ms - ram.clock_set_ms, seconds=self._clock_shift_s)
        return at.strftime(CLOCK_FORMAT)

    def _set_clock(self, digits: str, now_ms: int) -> int:
        """0 when done, 1 for digits that are no time of this century or the next."""
        try:
            clock = datetime.strptime(digits, CLOCK_FORMAT).replace(tzinfo=UTC)
        except ValueError:
            return 1
        if not 2000 <= clock.year < 2200:
            return 1
        self._ram.clock, self._ram.clock_set_ms, self._clock_shift_s = clock, now_ms, 0
        return 0


def cabinet_for(profile: xy.XyProfile, slots: Iterable[Slot]) -> Cabinet:
    """A cabinet whose controller counts as this firmware does."""
    return Cabinet(
        slots,
        counts_sales=profile.sales_count_host_vends,
        counts_stock=profile.stock_counts_host_vends,
        counts_at_drop=profile.counter_survives_power_cut,
    )


def _due(at_ms: int | None, now_ms: int) -> bool:
    return at_ms is not None and at_ms <= now_ms
