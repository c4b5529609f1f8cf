"""What a host sees on the line of a simulated spring board: when nothing is wrong, and under each fault."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from jishan_protocol.dispensers import modbus_board as codec
from jishan_protocol.dispensers.modbus_board import Status
from jishan_sim.cabinet import DROP_AFTER_MS, TURN_MS
from jishan_sim.faces.modbus_board import LIFT_MS, MOTOR_MISSING, NO_DROP_SEEN, RAN_ON, SENSOR_FAILED, STALLED

sys.path.append(str(Path(__file__).parent))
from board_bench import BoardBench

START = "01 10 20 01 00 02 04 00 01 01 00 FB F2"
ECHO = bytes.fromhex("01 10 20 01 00 02 1B C8")
READ_STATUS = "01 03 00 03 00 01 74 0A"
READ_CLIMATE = "01 03 00 04 00 02 85 CA"
IDLE, RUNNING, DONE = Status(0, 0), Status(1, 0), Status(2, 0)
VEND_MS = 12_000


def board(profile: str = "default", **faults: Any) -> BoardBench:
    return BoardBench("modbus-board", profile, **faults)


def vend(**faults: Any) -> BoardBench:
    return board(vend=faults)


def answer(bench: BoardBench, raw: str | bytes) -> codec.Message:
    (frame,) = codec.reader().feed(bench.say(raw))
    assert isinstance(frame, bytes)
    return codec.read(frame)


def status(bench: BoardBench, unit: int = 1) -> Status | None:
    return codec.read_status(answer(bench, codec.write(codec.ReadRegisters(unit, codec.STATUS_REGISTER, 1))))


def started(bench: BoardBench, for_ms: int = VEND_MS) -> BoardBench:
    bench.say(START, for_ms)
    return bench


def test_a_start_is_echoed_runs_succeeds_and_is_cleared_by_being_read() -> None:
    bench = board()
    assert bench.say(READ_STATUS) == bytes.fromhex("01 03 02 00 00 B8 44")
    assert bench.say(START) == ECHO
    assert (status(bench), status(bench)) == (RUNNING, RUNNING)
    bench.run(TURN_MS)
    assert (status(bench), status(bench), status(bench)) == (DONE, IDLE, IDLE)
    assert bench.cabinet.items_dropped(1) == bench.cabinet.items_dropped() == 1


def test_a_result_waits_until_it_is_read() -> None:
    bench = started(board())
    bench.run(3_600_000)
    assert status(bench) == DONE


@pytest.mark.parametrize(
    ("faults", "fault"),
    [
        ({"jam": 1}, STALLED),
        ({"no_drop": 1}, NO_DROP_SEEN),
        ({"motor_runs_on": 1}, RAN_ON),
        ({"motor_missing": 1}, MOTOR_MISSING),
    ],
)
def test_a_failure_says_why_and_its_fault_outlives_the_reading(faults: dict[str, Any], fault: int) -> None:
    bench = started(vend(**faults))
    assert (status(bench), status(bench)) == (Status(3, fault), Status(0, fault))
    assert bench.cabinet.items_dropped() == 0


def test_a_lane_without_a_motor_fails() -> None:
    bench = board()
    bench.say(codec.write(codec.start(1, codec.Start(77, 1, True, False))), VEND_MS)
    assert status(bench) == Status(3, MOTOR_MISSING)


def test_a_drop_sensor_that_fails_its_test_turns_no_motor() -> None:
    bench = started(board(drop_sensor="stuck"))
    assert status(bench) == Status(3, SENSOR_FAILED)
    assert bench.cabinet.turns == 0


def test_a_blind_drop_sensor_makes_the_machine_lie() -> None:
    bench = started(board(drop_sensor="blind"))
    assert status(bench) == Status(3, NO_DROP_SEEN)
    assert bench.cabinet.items_dropped() == 1


def test_without_the_drop_sensor_a_whole_turn_is_a_success() -> None:
    bench = board(vend={"no_drop": 1})
    bench.say(codec.write(codec.start(1, codec.Start(0, 1, False, False))), VEND_MS)
    assert status(bench) == DONE
    assert bench.cabinet.items_dropped() == 0


def test_a_second_start_is_refused_as_busy() -> None:
    bench = started(board(), 1_000)
    assert answer(bench, START) == codec.Refusal(1, codec.WRITE, 6)
    bench.run(VEND_MS)
    assert bench.cabinet.turns == 1


@pytest.mark.parametrize(
    ("raw", "refusal"),
    [
        (codec.WriteRegisters(1, 0x2004, bytes(6)), codec.Refusal(1, codec.WRITE, 3)),
        (codec.WriteRegisters(1, 0x2001, bytes([100, 1, 1, 0])), codec.Refusal(1, codec.WRITE, 3)),
        (codec.ReadRegisters(1, 0x0077, 1), codec.Refusal(1, codec.READ, 2)),
    ],
)
def test_what_it_does_not_know_it_refuses(raw: codec.Message, refusal: codec.Refusal) -> None:
    assert answer(board(), codec.write(raw)) == refusal


def test_the_climate_says_the_temperature_or_is_refused() -> None:
    bench = board()
    bench.cabinet.set_temperature(-4)
    assert codec.read_climate(answer(bench, READ_CLIMATE)) == codec.Climate(-40, 550)
    bench.cabinet.set_temperature(None)
    assert answer(bench, READ_CLIMATE) == codec.Refusal(1, codec.READ, 2)


def test_each_unit_has_its_own_register_and_lanes() -> None:
    bench = BoardBench("modbus-board", "two-units", (1, 101))
    bench.say(codec.write(codec.start(2, codec.Start(0, 1, True, False))), VEND_MS)
    assert bench.cabinet.items_dropped(101) == 1
    assert (status(bench, 1), status(bench, 2), status(bench, 2)) == (IDLE, DONE, IDLE)
    assert bench.say(codec.write(codec.ReadRegisters(3, 3, 1))) == b""


def test_a_lift_takes_longer() -> None:
    bench = board("lift")
    bench.say(codec.write(codec.start(1, codec.Start(0, 1, True, True))), TURN_MS + 500)
    assert status(bench) == RUNNING
    bench.run(2 * LIFT_MS)
    assert status(bench) == DONE


def test_a_slow_motor_takes_three_times_as_long() -> None:
    bench = started(vend(slow=1), 2 * TURN_MS)
    assert status(bench) == RUNNING
    bench.run(TURN_MS + 500)
    assert status(bench) == DONE


def test_the_echo_can_be_lost() -> None:
    bench = vend(ack_lost=1)
    assert bench.say(START) == b""
    assert status(bench) == RUNNING


def test_a_lost_status_is_a_register_that_shows_no_result() -> None:
    bench = started(vend(status_lost=1))
    assert status(bench) == IDLE
    assert bench.cabinet.items_dropped() == 1


def test_a_doubled_status_is_read_twice() -> None:
    bench = started(vend(status_doubled=1))
    assert [status(bench) for _ in range(3)] == [DONE, DONE, IDLE]


def test_a_wrong_status_follows_the_right_one() -> None:
    bench = started(vend(wrong_status=1))
    assert [status(bench) for _ in range(4)] == [DONE, IDLE, Status(3, STALLED), Status(0, STALLED)]


def test_a_held_status_is_running_for_so_much_longer() -> None:
    bench = started(vend(hold_status_ms=20_000))
    assert status(bench) == RUNNING
    assert bench.cabinet.items_dropped() == 1
    bench.run(20_000)
    assert status(bench) == DONE


@pytest.mark.parametrize(
    ("power_cut_ms", "dropped"), [(-100, 0), (DROP_AFTER_MS - 100, 0), (DROP_AFTER_MS + 100, 1), (TURN_MS + 1_000, 1)]
)
def test_a_power_cut_takes_the_register(power_cut_ms: int, dropped: int) -> None:
    bench = started(vend(power_cut=1, power_cut_ms=power_cut_ms))
    assert bench.cabinet.items_dropped() == dropped
    assert status(bench) == IDLE


@pytest.mark.parametrize("fault", ["silent", "unplugged"])
def test_nothing_is_heard_of_a_silent_board(fault: str) -> None:
    bench = board(**{fault: True})
    assert bench.say(START, VEND_MS) == b""
    assert bench.cabinet.items_dropped() == (fault == "silent")


def test_bytes_that_are_no_frame_are_counted() -> None:
    bench = board()
    bench.say(START.replace("FB", "FA"))
    assert status(bench) == IDLE
    assert bench.face.bad_bytes == 13
