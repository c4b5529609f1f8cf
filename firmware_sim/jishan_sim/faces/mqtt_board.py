"""The cabinet behind a network-connected board: the board's side of docs/protocols/mqtt-board.md.

The order of things is the contract's, and it is the same on a real board:

1. Whatever is said about a number is in the store before it is said. `Store` is all that survives a power cut: its
   random id, the boot count, the highest number taken (`last`), the highest acknowledged (`acked`), and the records of
   the numbers between them for which a vend was begun. A number up to `last` without a record was refused, for ever.
2. A record is `accepted` before anything moves, `turning` before the motor gets power, `dropped` when the sensor has
   seen the item (where the firmware stores that at once), and final at the end. After a power cut `accepted` has become
   `not_dispensed`, `dropped` has become `dispensed`, and `turning` is `unknown`.
3. A vend is carried out if its number is the next one, its nonce the newest given, and its time to live not over by the
   board's own clock. Anything else about a next number refuses it for ever.
4. A final result is said when it is there, and again until it is acknowledged, RESULT_SENDS times in one boot; a Query
   is answered always.

What passes between board and agent are whole messages: `_Link` loses, doubles, delays and re-orders them, both ways.
A message that is spoilt on its way (`bad_checksum`, `cut_frame`, `noise`) comes as a line that is none: with the MAC it
would be refused.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from random import Random
from typing import Any, Final, Literal

from jishan_protocol.dispensers import mqtt_board as board
from jishan_protocol.dispensers.mqtt_board import Outcome
from jishan_sim.cabinet import DROP_AFTER_MS, TURN_MS, Cabinet, Motion, Slot, TurnEnd, TurnEnded
from jishan_sim.faces.base import MAX_LOG, Logged
from jishan_sim.faults import START_DELAY_MS, Faults, LineFaults, VendFaults, happens

BOOT_MS: Final = 1_500  # from power to the first message: a board looks for its network first
STATE_EVERY_MS: Final = 10_000
RESULT_AGAIN_MS: Final = 5_000
RESULT_SENDS: Final = 10
OVERTAKEN_MS: Final = 2_000  # the longest that a re-ordered message stays behind
MAX_UNDER_WAY: Final = 1_000

Phase = Literal["accepted", "turning", "dropped", "dispensed", "not_dispensed", "unknown"]
AFTER_POWER_CUT: Final[dict[Phase, tuple[Phase, str]]] = {
    "accepted": ("not_dispensed", "power_cut"),
    "turning": ("unknown", "power_cut"),
    "dropped": ("dispensed", "power_cut"),
}
CODE_OF_END: Final = {
    TurnEnd.DISPENSED: "dispensed",
    TurnEnd.NO_DROP_SEEN: "no_drop",
    TurnEnd.STALLED: "jammed",
    TurnEnd.RAN_ON: "motor_ran_on",
}


@dataclass(frozen=True, slots=True)
class Record:
    """What the store holds of one vend."""

    number: int
    nonce: int
    selection: int
    phase: Phase
    code: str
    is_verified: bool = False


@dataclass(frozen=True, slots=True)
class Store:
    """The board's non-volatile memory. Each change is written whole, before anything is said of it."""

    id: int
    boot: int = 0
    last: int = 0
    acked: int = 0
    records: tuple[Record, ...] = ()

    def record(self, number: int) -> Record | None:
        """The record of a number, if there is one."""
        return next((one for one in self.records if one.number == number), None)

    def with_record(self, record: Record) -> Store:
        """The store with a record put in, or in place of the one of its number."""
        others = tuple(one for one in self.records if one.number != record.number)
        return replace(self, last=max(self.last, record.number), records=(*others, record))

    def acknowledged(self, number: int) -> Store:
        """The store without what is final up to a number."""
        upto = max(self.acked, min(number, self.last))
        return replace(self, acked=upto, records=tuple(one for one in self.records if one.number > upto))

    def started(self) -> Store:
        """The store after the power has come back."""
        records = (
            replace(one, phase=AFTER_POWER_CUT[one.phase][0], code=AFTER_POWER_CUT[one.phase][1])
            if one.phase in AFTER_POWER_CUT
            else one
            for one in self.records
        )
        return replace(self, boot=self.boot + 1, records=tuple(records))


def store_from(kept: dict[str, Any]) -> Store | None:
    """The store that was kept; None where there is none, or none that can be read."""
    try:
        return Store(**{**kept, "records": tuple(Record(**one) for one in kept["records"])})
    except (KeyError, TypeError):
        return None


class _Link:
    """One direction between board and agent: whole messages, some of which fare badly."""

    def __init__(self, faults: LineFaults, random: Random) -> None:
        self.faults = faults
        self._random = random
        self._under_way: list[tuple[int, bytes]] = []
        self._last_due_ms = 0

    def send(self, message: bytes, now_ms: int) -> None:
        """Put a line on its way."""
        faults, random = self.faults, self._random
        if happens(faults.frame_loss, random) or len(self._under_way) >= MAX_UNDER_WAY:
            return
        if happens(faults.noise, random):
            message = random.randbytes(random.randint(1, 8)).replace(b"\n", b"?") + b"\n" + message
        if happens(faults.bad_checksum, random):
            message = b"?" + message
        if happens(faults.cut_frame, random):
            message = message[: random.randrange(1, len(message))] + b"\n"
        due_ms = max(now_ms + (random.randint(0, faults.delay_ms) if faults.delay_ms else 0), self._last_due_ms)
        self._last_due_ms = due_ms
        for _ in range(2 if happens(faults.frame_double, random) else 1):
            is_overtaken = happens(faults.frame_reorder, random)
            self._under_way.append((due_ms + (random.randint(1, OVERTAKEN_MS) if is_overtaken else 0), message))
        self._under_way.sort(key=lambda one: one[0])

    def take(self, now_ms: int) -> list[bytes]:
        """The lines that have come through by now."""
        arrived = [message for due_ms, message in self._under_way if due_ms <= now_ms]
        self._under_way = self._under_way[len(arrived) :]
        return arrived

    @property
    def next_due_ms(self) -> int | None:
        """When the next line comes through."""
        return self._under_way[0][0] if self._under_way else None


@dataclass(frozen=True, slots=True)
class _Given:
    """The newest nonce, which check it answers, and when it was given."""

    ready: board.Ready
    at_ms: int


@dataclass(slots=True)
class _Ram:
    """Everything that a power cut takes. `pushes` is number -> (when to say its result again, how often yet)."""

    store: Store = Store(1)
    is_up: bool = False
    up_at_ms: int = 0
    state_due_ms: int = 0
    told: tuple[bool, str] | None = None
    given: _Given | None = None
    vend: VendFaults | None = None
    number: int = 0
    start_ms: int | None = None
    concluding: tuple[int, Record] | None = None
    power_cut: tuple[int, int, bool] | None = None
    pushes: dict[int, tuple[int, int]] = field(default_factory=dict)
    presses: int = 0


class MqttBoardFace:
    """One board. `cabinet` is the machine behind it, `random` the only source of chance."""

    def __init__(self, cabinet: Cabinet, profile: board.MqttBoardProfile, faults: Faults, random: Random) -> None:
        self.cabinet = cabinet
        self.profile = profile
        self.faults = faults
        self.bad_bytes = self.late_answers = 0
        self.log: deque[Logged] = deque(maxlen=MAX_LOG)
        self._random = random
        self._output = bytearray()
        self._from_host, self._to_host = _Link(faults.line, random), _Link(faults.line, random)
        self._arriving = b""
        self._reader = board.LineReader("d")
        self._power_on_at_ms: int | None = None
        self._ram = _Ram()
        self._drops = len(cabinet.dropped)
        self.set_faults(faults)

    def set_faults(self, faults: Faults) -> None:
        """Replace every fault from now on; a vend under way keeps its own. What is used up leaves `faults`."""
        self.faults = replace(faults, clock_jump_s=0)
        self._to_host.faults = self._from_host.faults = faults.line
        self.cabinet.drop_sensor = faults.drop_sensor

    # --- what the world does to it ---

    def power_on(self, now_ms: int) -> None:
        """Power comes: it boots, and says its state. Nothing happens if it has power."""
        self.tick(now_ms)
        if not self.cabinet.powered:
            self._boot(now_ms)

    def power_cut(self, now_ms: int) -> None:
        """Power goes: the motor stops, everything volatile is lost, nothing more is sent."""
        self.tick(now_ms)
        self._die()
        self._power_on_at_ms = None

    def receive(self, data: bytes, now_ms: int) -> None:
        """Lines from the host, in pieces of any size."""
        self.tick(now_ms)
        *lines, self._arriving = (self._arriving + data).split(b"\n")
        self._arriving = self._arriving[: board.MAX_LINE_BYTES + 1]
        for one in lines:
            if not self.faults.unplugged:
                self._from_host.send(one + b"\n", now_ms)
        self.tick(now_ms)

    def take_output(self) -> bytes:
        """The lines that have come through since the last call, up to the last `tick`."""
        output = bytes(self._output)
        self._output.clear()
        return output

    def press(self, selection: int, now_ms: int) -> None:
        """A person presses a selection on the board's keys; 0 cancels. Nothing where it has none."""
        self.tick(now_ms)
        if self.profile.has_keys and self._ram.is_up:
            self._ram.presses += 1
            self._say(board.Pressed(self._ram.store.boot, self._ram.presses, selection), now_ms)

    def insert_money(self, mode: int, amount: int, now_ms: int) -> None:
        """Nothing: a board takes no money."""

    def report(self, selection: int, now_ms: int) -> None:
        """A person has freed and filled a slot: its jam is forgotten, and the host is told."""
        self.tick(now_ms)
        self.cabinet.clear_jam(selection)
        if self._ram.is_up:
            code = self._check(selection)
            self._say(board.Slot(selection, code == "ready", code, self.cabinet.slots[selection].stock), now_ms)

    # --- time ---

    @property
    def next_wakeup_ms(self) -> int | None:
        """When `tick` has something to do; None while there is no power and nothing brings it back."""
        ram = self._ram
        due: list[int | None] = [self._power_on_at_ms, self._to_host.next_due_ms, self._from_host.next_due_ms]
        if self.cabinet.powered:
            due += [ram.up_at_ms if not ram.is_up else ram.state_due_ms, ram.start_ms, self.cabinet.next_event_ms]
            due += [ram.power_cut[0] if ram.power_cut else None, ram.concluding[0] if ram.concluding else None]
            due += [at_ms for at_ms, _ in ram.pushes.values()]
        return min((one for one in due if one is not None), default=None)

    def tick(self, now_ms: int) -> None:
        """Do everything that was due by now, in order."""
        while (due_ms := self.next_wakeup_ms) is not None and due_ms <= now_ms:
            self._step(due_ms)
        if self._ram.is_up and self._ram.told != (self._is_busy, self._door):
            self._step(now_ms)  # somebody has opened or closed the door

    def _step(self, now_ms: int) -> None:
        """Everything that is due at this moment. The order decides ties: the world first, the link last."""
        ended = self.cabinet.tick(now_ms)
        self._see_drop()
        for turn in ended:
            self._finish(turn)
        ram = self._ram
        if ram.power_cut is not None and ram.power_cut[0] <= now_ms:
            _, off_ms, is_store_lost = ram.power_cut
            self._die()
            if is_store_lost:
                self.cabinet.keep({})
            self._power_on_at_ms = now_ms + off_ms
        if _due(self._power_on_at_ms, now_ms):
            self._boot(now_ms)
        if _due(self._ram.start_ms, now_ms):
            self._start_motor(now_ms)
        if self._ram.concluding is not None and self._ram.concluding[0] <= now_ms:
            self._conclude(self._ram.concluding[1], now_ms)
        for one in self._from_host.take(now_ms):
            if self._ram.is_up:
                self._hear(one, now_ms)
        if self.cabinet.powered:
            self._speak(now_ms)
        for one in self._to_host.take(now_ms):
            self._output += one

    def _boot(self, now_ms: int) -> None:
        """The store is read, and what a power cut left open in it is closed, before anything else is done."""
        self.cabinet.restore_power()
        self._power_on_at_ms = None
        self._ram = _Ram(up_at_ms=now_ms + BOOT_MS)
        self._drops = len(self.cabinet.dropped)
        kept = store_from(self.cabinet.memory.firmware)
        if kept is None:
            kept = Store(self._random.randrange(1, 2**board.STORE_BITS))
        self._keep(kept.started())

    def _die(self) -> None:
        self.cabinet.cut_power()
        self._ram = _Ram()

    def _keep(self, store: Store) -> None:
        """Write the store. It returns when it is written: nothing is said or moved before."""
        self._ram.store = store
        self.cabinet.keep(asdict(store))

    # --- saying ---

    def _speak(self, now_ms: int) -> None:
        ram = self._ram
        if not ram.is_up:
            if ram.up_at_ms > now_ms:
                return
            ram.is_up = True
            ram.pushes = {one.number: (now_ms, 0) for one in ram.store.records}
        told = (self._is_busy, self._door)
        if ram.state_due_ms <= now_ms or ram.told != told:
            ram.told = told
            self._say(self._state(0), now_ms)
            ram.state_due_ms = now_ms + STATE_EVERY_MS
        for number, (at_ms, sends) in list(ram.pushes.items()):
            if at_ms <= now_ms:
                self._say(self._known(number), now_ms)
                if sends + 1 < RESULT_SENDS:
                    ram.pushes[number] = (now_ms + RESULT_AGAIN_MS, sends + 1)
                else:
                    del ram.pushes[number]

    def _say(self, message: board.Up, now_ms: int) -> None:
        if self.faults.silent or self.faults.unplugged:
            return
        raw = board.line(message)
        self.log.append(Logged(now_ms, "board", raw))
        self._to_host.send(raw, now_ms)

    def _state(self, ask: int) -> board.State:
        store, celsius = self._ram.store, self.cabinet.temperature_c
        tenths_c = None if celsius is None else 10 * celsius
        return board.State(ask, store.id, store.boot, store.last, self._is_busy, self._door, tenths_c)

    def _known(self, number: int) -> board.Result:
        """What is true of a number that has been taken; it changes nothing."""
        store = self._ram.store
        record = store.record(number)
        if record is None:
            outcome = Outcome.ACKNOWLEDGED if number <= store.acked else Outcome.REFUSED
            return self._about(number, outcome, outcome.value)
        is_running = record.phase in AFTER_POWER_CUT
        outcome = Outcome.RUNNING if is_running else Outcome(record.phase)
        return board.Result(
            store.id,
            number,
            record.nonce,
            record.selection,
            outcome,
            record.code,
            record.is_verified and not is_running,
        )

    def _about(self, number: int, outcome: Outcome, code: str, store: int | None = None) -> board.Result:
        return board.Result(self._ram.store.id if store is None else store, number, 0, 0, outcome, code, False)

    @property
    def _is_busy(self) -> bool:
        return self._ram.vend is not None

    @property
    def _door(self) -> str:
        return "open" if self.cabinet.door_open else "closed"

    # --- hearing ---

    def _hear(self, one: bytes, now_ms: int) -> None:
        for found in self._reader.feed(one):
            if isinstance(found, board.BadLine):
                self.bad_bytes += len(found.raw)
                self.log.append(Logged(now_ms, "host", found.raw + b"\n"))
            else:
                self.log.append(Logged(now_ms, "host", board.line(found)))
                self._obey(found, now_ms)

    def _obey(self, message: board.Message, now_ms: int) -> None:
        match message:
            case board.Hello(ask):
                self._say(self._state(ask), now_ms)
            case board.Check():
                self._take_check(message, now_ms)
            case board.Vend(store, number) | board.Query(store, number):
                self._take_number(message, store, number, now_ms)
            case board.Ack(store, number):
                self._take_ack(store, number)

    def _take_check(self, check: board.Check, now_ms: int) -> None:
        """Give a nonce, and make every earlier one worthless; asked again with the same ask, give the same."""
        given = self._ram.given
        if given is None or (given.ready.ask, given.ready.selection) != (check.ask, check.selection):
            store, code = self._ram.store, self._check(check.selection)
            nonce = self._random.randrange(1, 2**board.NONCE_BITS)
            is_sellable = code == "ready"
            ready = board.Ready(check.ask, check.selection, store.id, store.last + 1, nonce, is_sellable, code)
            given = self._ram.given = _Given(ready, now_ms)
        self._say(given.ready, now_ms)

    def _take_number(self, message: board.Vend | board.Query, store_id: int, number: int, now_ms: int) -> None:
        """The heart of it: a number of another store, a known one, one never given, or the next."""
        store = self._ram.store
        if store_id != store.id:
            self._say(self._about(number, Outcome.OTHER_STORE, "other_store", store_id), now_ms)
        elif number > store.last + 1:
            self._say(self._about(number, Outcome.NOT_GIVEN, "not_given"), now_ms)
        elif number <= store.last:
            self._say(self._known(number), now_ms)
        elif isinstance(message, board.Query):
            self._refuse(number, "fenced", now_ms)
        elif (why_not := self._why_not(message, now_ms)) is not None:
            self._refuse(number, why_not, now_ms)
        else:
            self._accept(message, now_ms)

    def _refuse(self, number: int, code: str, now_ms: int) -> None:
        """First into the store: a number up to `last` that has no record is refused for ever. Then the answer."""
        self._ram.given = None
        self._keep(replace(self._ram.store, last=number))
        self._say(self._about(number, Outcome.REFUSED, code), now_ms)

    def _take_ack(self, store_id: int, number: int) -> None:
        store = self._ram.store
        if store_id != store.id or (self._is_busy and number >= self._ram.number):
            return
        if store.acknowledged(number) != store:
            self._keep(store.acknowledged(number))
        self._ram.pushes = {one: due for one, due in self._ram.pushes.items() if one > number}

    # --- a vend ---

    def _why_not(self, vend: board.Vend, now_ms: int) -> str | None:
        given, self._ram.given = self._ram.given, None
        if given is None or (given.ready.nonce, given.ready.selection) != (vend.nonce, vend.selection):
            return "nonce"
        if now_ms - given.at_ms > vend.ttl_ms:
            return "expired"
        code = self._check(vend.selection, is_vend=True)
        return None if code == "ready" else code

    def _accept(self, vend: board.Vend, now_ms: int) -> None:
        faults, self.faults = self.faults.for_vend(vend.selection)
        ram = self._ram
        ram.vend, ram.number = faults, vend.number
        if self._happens(faults.power_cut):
            after_ms = faults.power_cut_ms
            if after_ms is None:
                after_ms = self._random.randint(-START_DELAY_MS, TURN_MS + START_DELAY_MS)
            is_store_lost = self._happens(faults.store_lost)
            ram.power_cut = (now_ms + START_DELAY_MS + after_ms, faults.power_off_ms, is_store_lost)
        record = Record(vend.number, vend.nonce, vend.selection, "accepted", "accepted")
        self._keep(ram.store.with_record(record))
        if not self._happens(faults.ack_lost):
            self._say(self._known(vend.number), now_ms)
        if self._happens(faults.motor_missing):
            self._end_at(now_ms, replace(record, phase="not_dispensed", code="motor_missing"))
        else:
            ram.start_ms = now_ms + START_DELAY_MS

    def _start_motor(self, now_ms: int) -> None:
        ram, faults = self._ram, self._vend
        ram.start_ms = None
        self._advance("turning", "turning")
        slowness = 3 if self._happens(faults.slow) else 1
        motion = Motion(
            TURN_MS * slowness,
            DROP_AFTER_MS * slowness,
            falls=0 if self._happens(faults.no_drop) else 2 if self._happens(faults.double_drop) else 1,
            stalls=self._happens(faults.jam),
            runs_on=self._happens(faults.motor_runs_on),
            watched=self.profile.drop_sensor,
        )
        self.cabinet.turn(self._record.selection, motion, now_ms)

    def _see_drop(self) -> None:
        """The sensor has seen an item: that is stored at once, where the firmware does so."""
        drops = self.cabinet.dropped[self._drops :]
        self._drops += len(drops)
        if self.profile.stores_drop_at_once and self._ram.vend is not None and any(drop.seen for drop in drops):
            self._advance("dropped", "dropped", is_verified=True)

    def _finish(self, ended: TurnEnded) -> None:
        """The motor stands still."""
        if ended.end is TurnEnd.STALLED or ended.end is TurnEnd.NO_DROP_SEEN:
            self.cabinet.add_jam(ended.selection)
        is_done = ended.end is TurnEnd.DISPENSED or self._record.phase == "dropped"
        phase: Phase = "dispensed" if is_done else "not_dispensed"
        is_verified = is_done and self.profile.drop_sensor
        done = replace(self._record, phase=phase, code=CODE_OF_END[ended.end], is_verified=is_verified)
        self._end_at(ended.at_ms, done)

    def _end_at(self, at_ms: int, done: Record) -> None:
        self._ram.concluding = (at_ms + self._vend.hold_status_ms, done)

    def _conclude(self, done: Record, now_ms: int) -> None:
        """The vend is over: first into the store, then said, as far as the faults let it."""
        faults, ram = self._vend, self._ram
        ram.vend, ram.concluding = None, None
        self._keep(ram.store.with_record(done))
        if self._happens(faults.status_lost):
            return
        ram.pushes[done.number] = (now_ms, 0)
        if self._happens(faults.status_doubled):
            self._say(self._known(done.number), now_ms)
        if self._happens(faults.wrong_status):
            true = self._known(done.number)
            lie = Outcome.NOT_DISPENSED if true.outcome is Outcome.DISPENSED else Outcome.DISPENSED
            self._say(true, now_ms)
            self._say(replace(true, outcome=lie), now_ms)

    def _advance(self, phase: Phase, code: str, *, is_verified: bool = False) -> None:
        self._keep(self._ram.store.with_record(replace(self._record, phase=phase, code=code, is_verified=is_verified)))

    @property
    def _vend(self) -> VendFaults:
        assert self._ram.vend is not None, "a motor turns only for a vend"
        return self._ram.vend

    @property
    def _record(self) -> Record:
        record = self._ram.store.record(self._ram.number)
        assert record is not None, "a vend under way has its record"
        return record

    def _happens(self, probability: float) -> bool:
        return happens(probability, self._random)

    # --- what it knows ---

    def _check(self, selection: int, *, is_vend: bool = False) -> str:
        """Why a selection cannot be sold now; `ready` if it can. A vend does not look at the stock."""
        cabinet = self.cabinet
        slot = cabinet.slots.get(selection)
        reasons = (
            ("no_such_selection", slot is None),
            ("busy", self._is_busy),
            ("door_open", cabinet.door_open),
            ("drop_sensor", self.profile.drop_sensor and cabinet.drop_sensor == "stuck"),
            ("store_full", len(self._ram.store.records) >= board.RECORDS),
            ("paused", slot is not None and slot.paused),
            ("jammed", selection in cabinet.memory.jammed),
            ("empty", not is_vend and slot is not None and slot.stock == 0),
        )
        return next((code for code, holds in reasons if holds), "ready")


def face_for(slots: Iterable[Slot], profile: board.MqttBoardProfile, faults: Faults, random: Random) -> MqttBoardFace:
    """A board with a cabinet of its own, whose stock it counts down."""
    cabinet = Cabinet(slots, counts_sales=True, counts_stock=True, counts_at_drop=profile.stores_drop_at_once)
    return MqttBoardFace(cabinet, profile, faults, random)


def _due(at_ms: int | None, now_ms: int) -> bool:
    return at_ms is not None and at_ms <= now_ms
