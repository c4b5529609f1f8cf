"""The cabinet speaking Modbus RTU as a ZDM8 spring board does.

How it behaves, after the vendor's examples (`jishan_protocol.dispensers.modbus_board`):
- A start is echoed, and the state is RUNNING from that moment; with a motor turning it is refused as busy.
- The state after a success or a failure lasts until it is read, or until the power goes. The fault stays.
- The climate registers hold the temperature; while it cannot be read they are refused.

Not on paper, and chosen here: the numbers of the faults, and that one motor of all boards turns at a time.

What the faults mean for it: `ack_lost`: no echo. `status_lost`: the register never shows the result. `status_doubled`:
reading does not clear it the first time. `wrong_status`: when it has been read, and idle once, its opposite stands
there. `hold_status_ms`: RUNNING lasts so much longer. The cabinet's door has no meaning, as the board does not know it,
nor have `clock_jump_s` and `refuse_late_answers`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from random import Random
from typing import Final

from jishan_protocol.dispensers import modbus_board as codec
from jishan_protocol.dispensers.modbus_board import State, Status
from jishan_sim.cabinet import DROP_AFTER_MS, TURN_MS, Cabinet, Motion, Slot, TurnEnd, TurnEnded
from jishan_sim.faces.board import ANSWER_MS, BoardFace, Vend
from jishan_sim.faults import Faults

LIFT_MS: Final = 1_500  # the lift goes up before the turn, and down after it
NO_FAULT: Final = 0
STALLED: Final = 1
RAN_ON: Final = 2
MOTOR_MISSING: Final = 3
NO_DROP_SEEN: Final = 4
SENSOR_FAILED: Final = 5
NO_SUCH_REGISTER: Final = 2
NO_SUCH_VALUE: Final = 3
BUSY: Final = 6

RESULTS: Final = {
    TurnEnd.DISPENSED: Status(State.SUCCEEDED, NO_FAULT),
    TurnEnd.NO_DROP_SEEN: Status(State.FAILED, NO_DROP_SEEN),
    TurnEnd.STALLED: Status(State.FAILED, STALLED),
    TurnEnd.RAN_ON: Status(State.FAILED, RAN_ON),
}
AT_POWER_ON: Final = Status(State.IDLE, NO_FAULT)
HUMIDITY_TENTHS: Final = 550


@dataclass(slots=True)
class _Unit:
    """The register of one board. `then` are the statuses that readings will find after this one; volatile."""

    status: Status = AT_POWER_ON
    then: tuple[Status, ...] = ()
    result: tuple[int, Status, Vend] | None = None


class ModbusBoardFace(BoardFace):
    """All boards of one line, with the coils behind them."""

    def __init__(self, cabinet: Cabinet, profile: codec.ModbusBoardProfile, faults: Faults, random: Random) -> None:
        self.profile = profile
        self._units: dict[int, _Unit] = {}
        self._start: codec.Start | None = None
        self._forget()
        super().__init__(cabinet, faults, random, codec.reader, codec.SILENCE_MS, TURN_MS)

    # --- what it is told ---

    def _obey(self, frame: bytes, now_ms: int) -> None:
        message = codec.read(frame)
        unit = self._units.get(message.unit)
        if unit is None:
            return
        match message:
            case codec.ReadRegisters(_, codec.STATUS_REGISTER, 1):
                self._answer(codec.Registers(message.unit, bytes(self._read_away(unit))), now_ms)
            case codec.ReadRegisters(_, codec.CLIMATE_REGISTER, 2):
                self._answer(self._climate(message.unit), now_ms)
            case codec.ReadRegisters():
                self._answer(codec.Refusal(message.unit, codec.READ, NO_SUCH_REGISTER), now_ms)
            case codec.WriteRegisters():
                self._take_write(message, unit, now_ms)

    def _answer(self, message: codec.Message, now_ms: int) -> None:
        self._say(codec.write(message), now_ms + ANSWER_MS)

    def _read_away(self, unit: _Unit) -> Status:
        """The status, and what reading it does to it: the state goes, the fault stays."""
        status = unit.status
        if unit.then:
            unit.status, unit.then = unit.then[0], unit.then[1:]
        elif status.state in (State.SUCCEEDED, State.FAILED):
            unit.status = Status(State.IDLE, status.fault)
        return status

    def _climate(self, unit: int) -> codec.Message:
        celsius = self.cabinet.temperature_c
        if celsius is None:
            return codec.Refusal(unit, codec.READ, NO_SUCH_REGISTER)
        numbers = (10 * celsius, HUMIDITY_TENTHS)
        return codec.Registers(unit, b"".join(number.to_bytes(2, "big", signed=True) for number in numbers))

    # --- a vend ---

    def _take_write(self, message: codec.WriteRegisters, unit: _Unit, now_ms: int) -> None:
        told = codec.read_start(message)
        if told is None or told.lane >= codec.LANES:
            self._answer(codec.Refusal(message.unit, codec.WRITE, NO_SUCH_VALUE), now_ms)
            return
        if self._is_driving or any(other.status.state == State.RUNNING for other in self._units.values()):
            self._answer(codec.Refusal(message.unit, codec.WRITE, BUSY), now_ms)
            return
        self._start = told
        unit.status, unit.then = Status(State.RUNNING, NO_FAULT), ()
        vend = self._take_command(self.profile.selection(codec.Lane(message.unit, told.lane)), now_ms)
        if not self._happens(vend.faults.ack_lost):
            self._answer(codec.Written(message.unit, message.register, 2), now_ms)

    def _motion(self, vend: Vend, slowness: int) -> Motion | None:
        told = self._start
        assert told is not None, "a motor moves only for a start"
        watched = told.drop_sensor and self.profile.drop_sensor
        if watched and self.cabinet.drop_sensor == "stuck":
            return None
        falls = 0 if self._happens(vend.faults.no_drop) else 2 if self._happens(vend.faults.double_drop) else 1
        lift_ms = LIFT_MS if told.lift and self.profile.lift else 0
        return Motion(
            TURN_MS * slowness + 2 * lift_ms,
            DROP_AFTER_MS * slowness + lift_ms,
            falls,
            stalls=self._happens(vend.faults.jam),
            runs_on=self._happens(vend.faults.motor_runs_on),
            watched=watched,
        )

    def _finish(self, vend: Vend, ended: TurnEnded | None, now_ms: int) -> None:
        place = self.profile.place(vend.selection)
        assert place is not None, "a start is for a lane"
        if ended is not None:
            result = RESULTS[ended.end]
        else:
            is_blocked = self.cabinet.drop_sensor == "stuck" and vend.selection in self.cabinet.slots
            result = Status(State.FAILED, SENSOR_FAILED if is_blocked else MOTOR_MISSING)
        if ended is not None and ended.end in (TurnEnd.STALLED, TurnEnd.NO_DROP_SEEN):
            self.cabinet.add_jam(vend.selection)
        self._units[place.unit].result = (now_ms + vend.faults.hold_status_ms, result, vend)
        self._happen(now_ms)

    def _happen(self, now_ms: int) -> None:
        for unit in self._units.values():
            if unit.result is not None and unit.result[0] <= now_ms:
                _, result, vend = unit.result
                unit.result = None
                self._show(unit, result, vend)

    def _show(self, unit: _Unit, result: Status, vend: Vend) -> None:
        """The result stands in the register, as far as the faults let it."""
        if self._happens(vend.faults.status_lost):
            unit.status = Status(State.IDLE, result.fault)
            return
        unit.status, unit.then = result, ()
        if self._happens(vend.faults.status_doubled):
            unit.then = (result,)
        if self._happens(vend.faults.wrong_status):
            is_success = result.state == State.SUCCEEDED
            opposite = Status(State.FAILED, STALLED) if is_success else Status(State.SUCCEEDED, NO_FAULT)
            unit.then += (Status(State.IDLE, result.fault), opposite)

    def _next_happening_ms(self) -> int | None:
        return min((unit.result[0] for unit in self._units.values() if unit.result is not None), default=None)

    def _forget(self) -> None:
        self._start = None
        self._units = {unit: _Unit() for unit in range(1, self.profile.units + 1)}


def face_for(
    slots: Iterable[Slot], profile: codec.ModbusBoardProfile, faults: Faults, random: Random
) -> ModbusBoardFace:
    """A face with a cabinet of its own; a board counts nothing."""
    return ModbusBoardFace(Cabinet(slots), profile, faults, random)
