"""What the faces of boards have in common: a board says nothing until it is asked, and drives one motor at a time.

The parts of a board's own are what it makes of a whole frame (`_obey`), of a motor's end (`_finish`), and what it
forgets without power (`_forget`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Final, NamedTuple

from jishan_protocol.dispensers.cutting import BadBytes, Cutter
from jishan_sim.cabinet import Cabinet, Motion, TurnEnded
from jishan_sim.faces.base import MAX_LOG, Logged
from jishan_sim.faults import START_DELAY_MS, Faults, Line, VendFaults, happens, worn_frame

ANSWER_MS: Final = 10  # from the end of a question to its answer
BOOT_MS: Final = 500  # from power to the first question that is heard
MAX_WAITING: Final = 64  # commands that wait for a motor: a board is told to open all its locks


class Vend(NamedTuple):
    """A command that was taken, and what is going to go wrong with it."""

    selection: int
    faults: VendFaults


@dataclass(slots=True)
class _Ram:
    """Everything that a power cut takes. `held` is said later, `power_cut` is to come: when, and for how long."""

    cutter: Cutter
    ready_ms: int = 0
    heard_ms: int = 0
    held: list[tuple[int, bytes]] = field(default_factory=list)
    waiting: deque[Vend] = field(default_factory=deque)
    vend: Vend | None = None
    start_ms: int | None = None
    power_cut: tuple[int, int] | None = None


class BoardFace(ABC):
    """The boards of one line. `cabinet` is the machine behind them, `random` the only source of chance.

    `new_cutter` makes the reader of the line, which gives up waiting after `silence_ms`; `turn_ms` is a motor's usual
    time.
    """

    def __init__(
        self,
        cabinet: Cabinet,
        faults: Faults,
        random: Random,
        new_cutter: Callable[[], Cutter],
        silence_ms: int,
        turn_ms: int,
    ) -> None:
        self.cabinet = cabinet
        self.late_answers = 0
        self.bad_bytes = 0
        self.log: deque[Logged] = deque(maxlen=MAX_LOG)
        self._random = random
        self._new_cutter = new_cutter
        self._silence_ms = silence_ms
        self._turn_ms = turn_ms
        self._output = bytearray()
        self._to_host = Line(faults.line, random)
        self._from_host = Line(faults.line, random)
        self._power_on_at_ms: int | None = None
        self._ram = _Ram(new_cutter())
        self.faults = faults
        self.set_faults(faults)

    # --- a board's own parts ---

    @abstractmethod
    def _obey(self, frame: bytes, now_ms: int) -> None:
        """A whole frame has come."""

    @abstractmethod
    def _motion(self, vend: Vend, slowness: int) -> Motion | None:
        """What the motor is going to do; None: it does not move."""

    @abstractmethod
    def _finish(self, vend: Vend, ended: TurnEnded | None, now_ms: int) -> None:
        """The motor stands still, or never moved."""

    @abstractmethod
    def _forget(self) -> None:
        """Power is gone, and with it what is volatile."""

    @abstractmethod
    def _happen(self, now_ms: int) -> None:
        """What is due by now besides motors and frames."""

    @abstractmethod
    def _next_happening_ms(self) -> int | None:
        """When `_happen` is due."""

    # --- what the world does to it ---

    def set_faults(self, faults: Faults) -> None:
        """Replace every fault from now on; a vend under way keeps its own. What is used up leaves `faults`."""
        self.faults = faults
        self._to_host.faults = self._from_host.faults = faults.line
        self.cabinet.drop_sensor = faults.drop_sensor

    def power_on(self, now_ms: int) -> None:
        """Power comes. Nothing happens if it has power."""
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

    def press(self, selection: int, now_ms: int) -> None:  # noqa: B027 (it is whole)
        """Nothing: a board has no keypad."""

    def insert_money(self, mode: int, amount: int, now_ms: int) -> None:  # noqa: B027 (it is whole)
        """Nothing: a board takes no money."""

    def report(self, selection: int, now_ms: int) -> None:  # noqa: B027 (it is whole)
        """Nothing: a board has no word for it."""

    # --- time ---

    @property
    def next_wakeup_ms(self) -> int | None:
        """When `tick` has something to do; None while there is nothing to come."""
        ram = self._ram
        due = [self._power_on_at_ms, self._to_host.next_due_ms, self._from_host.next_due_ms, self._next_happening_ms()]
        if self.cabinet.powered:
            due += [ram.start_ms, self.cabinet.next_event_ms]
            due += [ram.power_cut[0] if ram.power_cut else None, ram.held[0][0] if ram.held else None]
        return min((one for one in due if one is not None), default=None)

    def tick(self, now_ms: int) -> None:
        """Do everything that was due by now, in order."""
        while (due_ms := self.next_wakeup_ms) is not None and due_ms <= now_ms:
            self._step(due_ms)

    def _step(self, now_ms: int) -> None:
        """Everything that is due at this moment. The order decides ties: the world first, the line last."""
        for ended in self.cabinet.tick(now_ms):
            self._end(ended, now_ms)
        self._happen(now_ms)
        ram = self._ram
        if ram.power_cut is not None and ram.power_cut[0] <= now_ms:
            off_ms = ram.power_cut[1]
            self._die()
            self._power_on_at_ms = now_ms + off_ms
        if self._power_on_at_ms is not None and self._power_on_at_ms <= now_ms:
            self._boot(now_ms)
        if self._ram.start_ms is not None and self._ram.start_ms <= now_ms:
            self._start_motor(now_ms)
        arrived = self._from_host.take(now_ms)
        if self.cabinet.powered:
            self._hear(arrived, now_ms)
            while self._ram.held and self._ram.held[0][0] <= now_ms:
                self._transmit(self._ram.held.pop(0)[1], now_ms)
        self._output += self._to_host.take(now_ms)

    def _boot(self, now_ms: int) -> None:
        self.cabinet.restore_power()
        self._power_on_at_ms = None
        self._ram = _Ram(self._new_cutter(), ready_ms=now_ms + BOOT_MS)

    def _die(self) -> None:
        self.cabinet.cut_power()
        self._ram = _Ram(self._new_cutter())
        self._forget()

    # --- the line ---

    def _hear(self, arrived: bytes, now_ms: int) -> None:
        ram = self._ram
        if not arrived or now_ms < ram.ready_ms:
            return
        found = ram.cutter.finish() if now_ms - ram.heard_ms > self._silence_ms else []
        ram.heard_ms = now_ms
        for piece in [*found, *ram.cutter.feed(arrived)]:
            raw = piece.raw if isinstance(piece, BadBytes) else piece
            self.log.append(Logged(now_ms, "host", raw))
            if isinstance(piece, BadBytes):
                self.bad_bytes += len(raw)
            else:
                self._obey(piece, now_ms)

    def _say(self, raw: bytes, at_ms: int) -> None:
        """Say it then; what is due at the same moment keeps its order."""
        self._ram.held.append((at_ms, raw))
        self._ram.held.sort(key=lambda held: held[0])

    def _transmit(self, raw: bytes, now_ms: int) -> None:
        if not (self.faults.silent or self.faults.unplugged):
            self.log.append(Logged(now_ms, "board", raw))
            self._to_host.send(worn_frame(raw, self.faults.line, self._random), now_ms)

    # --- a vend ---

    def _take_command(self, selection: int, now_ms: int) -> Vend:
        """Let the motor of a selection move, when those before it have."""
        faults, self.faults = self.faults.for_vend(selection)
        vend = Vend(selection, faults)
        if len(self._ram.waiting) < MAX_WAITING:
            self._ram.waiting.append(vend)
        self._begin_next(now_ms)
        return vend

    @property
    def _is_driving(self) -> bool:
        return self._ram.vend is not None

    def _begin_next(self, now_ms: int) -> None:
        ram = self._ram
        if ram.vend is not None or not ram.waiting:
            return
        vend = ram.vend = ram.waiting.popleft()
        if self._happens(vend.faults.power_cut):
            after_ms = vend.faults.power_cut_ms
            if after_ms is None:
                after_ms = self._random.randint(-START_DELAY_MS, self._turn_ms + START_DELAY_MS)
            ram.power_cut = (now_ms + START_DELAY_MS + after_ms, vend.faults.power_off_ms)
        ram.start_ms = now_ms + START_DELAY_MS

    def _start_motor(self, now_ms: int) -> None:
        vend = self._ram.vend
        assert vend is not None, "a motor moves only for a command"
        self._ram.start_ms = None
        missing = vend.selection not in self.cabinet.slots or self._happens(vend.faults.motor_missing)
        motion = None if missing else self._motion(vend, 3 if self._happens(vend.faults.slow) else 1)
        if motion is None:
            self._close(vend, None, now_ms)
        else:
            self.cabinet.turn(vend.selection, motion, now_ms)

    def _end(self, ended: TurnEnded, now_ms: int) -> None:
        vend = self._ram.vend
        assert vend is not None, "a motor moves only for a command"
        self._close(vend, ended, now_ms)

    def _close(self, vend: Vend, ended: TurnEnded | None, now_ms: int) -> None:
        self._ram.vend = None
        self._finish(vend, ended, now_ms)
        self._begin_next(now_ms)

    def _happens(self, probability: float) -> bool:
        return happens(probability, self._random)
