"""The spring board driver reading by reading: each row of the table in docs/protocols/modbus-board.md."""

from __future__ import annotations

from collections import deque

import pytest

from jishan_agent.dispensers import base
from jishan_agent.dispensers.modbus_board import (
    ANSWER_MS,
    CHECKS,
    COMMAND_KEPT_MS,
    SILENCE_MS,
    ModbusBoardDispenser,
)
from jishan_protocol.dispensers import modbus_board as codec

DEFAULT = codec.PROFILES["default"]
PROMPT = codec.PROFILES["prompt"]
LIFT = codec.PROFILES["lift"]
TWO = codec.PROFILES["two-units"]
STEP_MS = 50
LONGEST_MS = DEFAULT.longest_vend_ms

IDLE, RUNNING, DONE = (0, 0), (1, 0), (2, 0)
LOST = None
"""An answer that gets lost on its way: the board has been read all the same."""


class Line:
    """A hand-driven board. Its register says `status` until `statuses` says what the next readings find."""

    def __init__(self, profile: codec.ModbusBoardProfile = DEFAULT, *, ready: bool = True) -> None:
        self.driver = ModbusBoardDispenser(profile)
        self.now_ms = 1_000
        self.status: tuple[int, int] | None = IDLE
        self.statuses: deque[tuple[int, int] | None] = deque()
        self.echo: codec.Message | None = codec.Written(1, codec.START_REGISTER, 2)
        self.is_there = True
        self.gives_back = False
        self.sent: list[codec.Message] = []
        self.events: list[base.DispenserEvent] = []
        self._reader = codec.reader()
        if ready:
            self.run(3_000)
            self.events.clear()
            self.sent.clear()

    def exchange(self) -> None:
        for frame in self._reader.feed(self.driver.take_output()):
            assert isinstance(frame, bytes)
            message = codec.read(frame)
            self.sent.append(message)
            if self.gives_back:
                self.hear(frame)
            answer = self.answer(message)
            if answer is not None and self.is_there:
                self.say(answer)
        self.events += self.driver.take_events()

    def answer(self, message: codec.Message) -> codec.Message | None:
        match message:
            case codec.ReadRegisters(unit, codec.STATUS_REGISTER):
                status = self.statuses.popleft() if self.statuses else self.status
                return None if status is None else codec.Registers(unit, bytes(status))
            case codec.ReadRegisters(unit):
                return codec.Registers(unit, bytes.fromhex("00 D2 02 26"))
            case codec.WriteRegisters():
                return self.echo
        return None

    def say(self, message: codec.Message) -> None:
        self.hear(codec.write(message))

    def hear(self, raw: bytes) -> None:
        self.driver.receive(raw, self.now_ms)
        self.exchange()

    def run(self, for_ms: int) -> None:
        end_ms = self.now_ms + for_ms
        while self.now_ms < end_ms:
            self.now_ms = min(self.now_ms + STEP_MS, end_ms)
            self.driver.tick(self.now_ms)
            self.exchange()

    def vend(self, *statuses: tuple[int, int] | None, selection: int = 1, then: tuple[int, int] | None = IDLE) -> None:
        """Start from an idle register; the readings after the start find `statuses`, and `then` from there on."""
        self.statuses, self.status = deque([IDLE, *statuses]), then
        self.driver.vend(selection, self.now_ms + 30_000, self.now_ms)
        self.exchange()

    def starts(self) -> list[codec.Message]:
        return [message for message in self.sent if isinstance(message, codec.WriteRegisters)]

    def status_reads(self) -> int:
        return sum(
            isinstance(message, codec.ReadRegisters) and message.register == codec.STATUS_REGISTER
            for message in self.sent
        )

    def of(self, *kinds: type[base.DispenserEvent]) -> list[base.DispenserEvent]:
        return [event for event in self.events if isinstance(event, kinds)]


RESULTS = (base.VendSucceeded, base.VendFailed, base.VendUnknown)
RESTS = (base.AtRest, base.VendProved)


# --- the way there -------------------------------------------------------------------------------------------------


def test_whether_the_board_is_there_is_never_asked_of_the_status() -> None:
    """A result of a former run would be read away."""
    line = Line(ready=False)
    line.run(60_000)
    assert line.events == [base.StateRead("unknown", 210), base.OnlineChanged(True)]
    assert line.status_reads() == 0
    line.is_there = False
    line.run(SILENCE_MS + 3_000)
    assert line.events[-1] == base.OnlineChanged(False)


def test_a_board_without_a_climate_is_there_all_the_same() -> None:
    line = Line(ready=False)
    line.is_there = False
    line.run(2_000)
    line.say(codec.Refusal(1, codec.READ, 2))
    line.run(100)
    assert line.events == [base.OnlineChanged(True)]


def test_our_own_bytes_do_not_make_a_board_be_there() -> None:
    line = Line(ready=False)
    line.is_there, line.gives_back = False, True
    line.run(30_000)
    assert line.events == []


def checked(line: Line, selection: int = 1) -> list[base.DispenserEvent]:
    line.events.clear()
    line.driver.check(selection, line.now_ms)
    line.exchange()
    line.run(3 * ANSWER_MS)
    return line.of(base.Checked, base.StrayResult)


def test_an_idle_board_can_be_sold_from() -> None:
    assert checked(Line()) == [base.Checked(1, True, "ready", readings={"state": 0})]


def test_a_running_board_cannot() -> None:
    line = Line()
    line.status = RUNNING
    assert checked(line) == [base.Checked(1, False, "zdm8_01")]


def test_a_result_that_was_left_in_the_register_is_told_and_the_board_asked_again() -> None:
    line = Line()
    line.statuses.extend([DONE, IDLE])
    assert checked(line) == [
        base.StrayResult(1, "zdm8_02"),
        base.Checked(1, True, "ready", readings={"state": 0}),
    ]


def test_a_register_that_does_not_clear_fails_the_check() -> None:
    line = Line()
    line.status = (3, 4)
    found = checked(line)
    assert found[-1] == base.Checked(1, False, "zdm8_03_04")
    assert set(found[:-1]) == {base.StrayResult(1, "zdm8_03_04")}


def test_a_lost_answer_is_asked_for_once_more_and_then_the_check_fails() -> None:
    line = Line()
    line.statuses.extend([LOST, IDLE])
    assert checked(line) == [base.Checked(1, True, "ready", readings={"state": 0})]
    line.status = LOST
    assert checked(line) == [base.Checked(1, False, "no_answer")]


def test_a_selection_that_names_no_lane_is_not_sellable() -> None:
    line = Line()
    assert checked(line, 101) == [base.Checked(101, False, "no_such_selection")]
    line.vend(selection=101)
    assert line.of(*RESULTS) == [base.VendFailed(101, "never_sent", "selection")]


# --- the start -----------------------------------------------------------------------------------------------------


def test_the_start_leaves_in_the_call_that_brings_the_idle_reading() -> None:
    line = Line()
    line.statuses.append(LOST)
    line.driver.vend(1, line.now_ms + 30_000, line.now_ms)
    line.exchange()
    assert line.starts() == []
    line.say(codec.Registers(1, bytes(IDLE)))
    assert [codec.write(start) for start in line.starts()] == [bytes.fromhex("01 10 20 01 00 02 04 00 01 01 00 FB F2")]
    assert line.of(base.DriveSent) == [base.DriveSent(1)]


def test_past_the_deadline_no_byte_leaves() -> None:
    line = Line()
    line.statuses.append(LOST)
    line.driver.vend(1, line.now_ms + 100, line.now_ms)
    line.exchange()
    line.now_ms += 100
    line.say(codec.Registers(1, bytes(IDLE)))
    assert line.starts() == []
    assert line.of(*RESULTS) == [base.VendFailed(1, "never_sent", "selection")]


def test_a_start_that_could_not_leave_is_dropped() -> None:
    line = Line()
    line.status = LOST
    line.driver.vend(1, line.now_ms + 60_000, line.now_ms)
    line.run(COMMAND_KEPT_MS + 2 * ANSWER_MS)
    assert line.of(*RESULTS) == [base.VendFailed(1, "never_sent", "selection")]
    line.status = IDLE
    line.run(60_000)
    assert line.starts() == []


def test_a_board_that_runs_gets_no_start() -> None:
    line = Line()
    line.status = RUNNING
    line.driver.vend(1, line.now_ms + 30_000, line.now_ms)
    line.run(1_000)
    assert line.starts() == []
    assert line.of(*RESULTS) == [base.VendFailed(1, "zdm8_01", "selection")]


def test_a_result_of_before_is_told_and_the_start_leaves_only_from_idle() -> None:
    line = Line()
    line.statuses = deque([DONE, IDLE, RUNNING])
    line.driver.vend(1, line.now_ms + 30_000, line.now_ms)
    line.exchange()
    assert line.events == [base.StrayResult(1, "zdm8_02"), base.DriveSent(1)]


def test_a_register_that_does_not_clear_gets_no_start() -> None:
    line = Line()
    line.status = DONE
    line.driver.vend(1, line.now_ms + 30_000, line.now_ms)
    line.run(30_000)
    assert line.starts() == []
    assert line.of(*RESULTS) == [base.VendFailed(1, "zdm8_02", "selection")]
    assert line.of(base.StrayResult) == [base.StrayResult(1, "zdm8_02")] * CHECKS


def test_the_start_leaves_once_whatever_comes_back() -> None:
    line = Line()
    line.echo = None
    line.vend(then=LOST)
    line.run(4 * LONGEST_MS)
    assert len(line.starts()) == len(line.of(base.DriveSent)) == 1


def test_each_unit_of_the_line_starts_its_own_lanes() -> None:
    line = Line(TWO)
    line.vend(selection=117)
    (start,) = line.starts()
    assert start == codec.start(2, codec.Start(16, 1, True, False))


@pytest.mark.parametrize(
    ("profile", "told"),
    [
        ("no-drop-sensor", codec.Start(0, 1, False, False)),
        ("belt", codec.Start(0, 3, True, False)),
        ("lift", codec.Start(0, 1, True, True)),
    ],
)
def test_what_a_vend_uses_is_the_profiles(profile: str, told: codec.Start) -> None:
    line = Line(codec.PROFILES[profile])
    line.vend()
    assert line.starts() == [codec.start(1, told)]


# --- the result: each row of the table -----------------------------------------------------------------------------


@pytest.mark.parametrize("has_echo", [True, False])
@pytest.mark.parametrize("readings", [[RUNNING, RUNNING, DONE], [DONE], [IDLE, RUNNING, DONE], [RUNNING, LOST, DONE]])
def test_a_success_is_the_vends_with_or_without_an_echo(has_echo: bool, readings: list[tuple[int, int] | None]) -> None:
    line = Line()
    if not has_echo:
        line.echo = None
    line.vend(*readings)
    line.run(10_000)
    assert line.of(*RESULTS) == [base.VendSucceeded(1, True, "zdm8_02")]


def test_a_success_without_a_drop_sensor_is_not_verified() -> None:
    line = Line(codec.PROFILES["no-drop-sensor"])
    line.vend(DONE)
    line.run(1_000)
    assert line.of(*RESULTS) == [base.VendSucceeded(1, False, "zdm8_02")]


@pytest.mark.parametrize(("profile", "closes"), [(DEFAULT, "selection"), (LIFT, "machine")])
def test_a_failure_closes_what_it_may_concern(profile: codec.ModbusBoardProfile, closes: base.Closes) -> None:
    line = Line(profile)
    line.vend(RUNNING, (3, 0x48))
    line.run(1_000)
    assert line.of(*RESULTS) == [base.VendFailed(1, "zdm8_03_48", closes)]


def test_running_and_then_idle_is_unknown_for_the_result_is_gone() -> None:
    line = Line()
    line.vend(RUNNING, IDLE)
    line.run(2_000)
    assert line.of(*RESULTS) == [base.VendUnknown(1, "result_lost")]


def test_a_lost_answer_and_then_idle_is_unknown_for_the_answer_may_have_held_the_result() -> None:
    line = Line(PROMPT)
    line.echo = None
    line.vend(LOST, IDLE)
    line.run(ANSWER_MS + 2_000)
    assert line.of(*RESULTS) == [base.VendUnknown(1, "result_lost")]


def test_an_answer_with_a_bad_crc_is_a_lost_one() -> None:
    line = Line()
    line.vend(RUNNING, LOST, IDLE)
    line.run(500)
    line.hear(codec.write(codec.Registers(1, bytes(DONE)))[:-1] + b"\x00")
    line.run(ANSWER_MS + 2_000)
    assert line.driver.bad_bytes == 7
    assert line.of(*RESULTS) == [base.VendUnknown(1, "result_lost")]


def test_an_echo_and_then_idle_all_the_time_is_unknown_for_the_board_has_forgotten() -> None:
    line = Line(PROMPT)
    line.vend()
    line.run(PROMPT.starts_within_ms - 200)
    assert line.of(*RESULTS) == [], "the motor may start a little later"
    line.run(1_000)
    assert line.of(*RESULTS) == [base.VendUnknown(1, "state_lost")]


def test_no_echo_and_idle_all_the_time_is_unknown_by_default() -> None:
    line = Line()
    line.echo = None
    line.vend()
    line.run(3_000)
    assert line.of(*RESULTS) == [base.VendUnknown(1, "no_echo")]


def test_no_echo_and_idle_in_every_reading_has_not_started_where_the_profile_says_so() -> None:
    line = Line(PROMPT)
    line.echo = None
    line.vend()
    line.run(3_000)
    assert line.of(*RESULTS) == [base.VendFailed(1, "not_started", "selection")]


def test_a_late_echo_is_an_echo() -> None:
    line = Line(PROMPT)
    line.echo = None
    line.vend()
    line.run(500)
    line.say(codec.Written(1, codec.START_REGISTER, 2))
    line.run(3_000)
    assert line.of(*RESULTS) == [base.VendUnknown(1, "state_lost")]


def test_an_echo_given_back_by_the_adapter_is_our_own_command_and_no_echo() -> None:
    line = Line(PROMPT)
    line.echo, line.gives_back = None, True
    line.vend()
    line.run(3_000)
    assert line.of(*RESULTS) == [base.VendFailed(1, "not_started", "selection")]


@pytest.mark.parametrize("code", sorted(codec.NOT_CARRIED_OUT))
def test_a_refusal_that_says_so_has_not_started(code: int) -> None:
    line = Line()
    line.echo = codec.Refusal(1, codec.WRITE, code)
    line.vend()
    line.run(1_000)
    assert line.of(*RESULTS) == [base.VendFailed(1, f"refused_{code:02x}", "selection")]


@pytest.mark.parametrize("code", [4, 5, 7, 8, 99])
def test_any_other_refusal_leaves_it_to_the_status(code: int) -> None:
    line = Line()
    line.echo = codec.Refusal(1, codec.WRITE, code)
    line.vend(RUNNING, DONE)
    line.run(1_000)
    assert line.of(*RESULTS) == [base.VendSucceeded(1, True, "zdm8_02")]


def test_a_state_on_no_list_is_unknown() -> None:
    line = Line()
    line.vend(RUNNING, (9, 0))
    line.run(1_000)
    assert line.of(*RESULTS) == [base.VendUnknown(1, "zdm8_09")]


def test_a_board_that_falls_silent_is_unknown_when_the_longest_vend_is_over() -> None:
    line = Line()
    line.vend(RUNNING, then=LOST)
    line.run(LONGEST_MS - 1_000)
    assert line.of(*RESULTS) == []
    line.run(2_000)
    assert line.of(*RESULTS) == [base.VendUnknown(1, "no_result")]


def test_a_motor_that_never_ends_is_unknown_when_the_longest_vend_is_over() -> None:
    line = Line()
    line.vend(then=RUNNING)
    line.run(LONGEST_MS + 1_000)
    assert line.of(*RESULTS) == [base.VendUnknown(1, "no_result")]


def test_a_doubled_answer_says_nothing_new() -> None:
    line = Line()
    line.vend(RUNNING, DONE)
    line.run(500)
    line.say(codec.Registers(1, bytes(DONE)))
    line.say(codec.Registers(1, bytes((3, 1))))
    line.run(1_000)
    assert line.of(*RESULTS, base.StrayResult) == [base.VendSucceeded(1, True, "zdm8_02")]


def test_an_answer_of_another_unit_is_nobodys() -> None:
    line = Line(TWO)
    line.vend(LOST, RUNNING, DONE)
    line.run(500)
    line.say(codec.Registers(2, bytes(DONE)))
    assert line.of(*RESULTS) == []


@pytest.mark.parametrize("status", [DONE, (3, 4)])
def test_after_a_result_nothing_is_said_until_it_is_on_disk(status: tuple[int, int]) -> None:
    line = Line()
    line.vend(RUNNING, status)
    line.run(1_000)
    assert len(line.of(*RESULTS)) == 1
    line.sent.clear()
    line.run(60_000)
    assert line.sent == []
    assert base.OnlineChanged(False) not in line.events, "nobody was asked"
    line.driver.release(line.now_ms)
    line.run(5_000)
    assert line.sent != []


# --- to rest -------------------------------------------------------------------------------------------------------


def unknown() -> Line:
    line = Line()
    line.vend(RUNNING, then=LOST)
    line.run(LONGEST_MS + 1_000)
    assert line.of(*RESULTS) == [base.VendUnknown(1, "no_result")]
    line.events.clear()
    line.driver.recover(1, {"state": 0}, line.now_ms)
    return line


def test_a_silent_board_is_not_at_rest() -> None:
    line = unknown()
    line.run(10 * LONGEST_MS)
    assert line.of(*RESTS) == []
    line.status = RUNNING
    line.run(10 * LONGEST_MS)
    assert line.of(*RESTS) == []
    line.status = IDLE
    line.run(10_000)
    assert line.of(*RESTS) == [base.AtRest()]


@pytest.mark.parametrize(
    ("status", "result"),
    [(DONE, base.VendSucceeded(1, True, "zdm8_02")), ((3, 4), base.VendFailed(1, "zdm8_03_04", "selection"))],
)
def test_a_late_result_belongs_to_the_unknown_vend(status: tuple[int, int], result: base.DispenserEvent) -> None:
    line = unknown()
    line.statuses, line.status = deque([status]), IDLE
    line.run(10_000)
    assert line.of(*RESULTS, *RESTS) == [result], "nothing more is asked until it is on disk"
    line.driver.release(line.now_ms)
    line.run(10_000)
    assert line.of(*RESTS) == [base.AtRest()]


def test_a_second_result_is_a_stray() -> None:
    line = unknown()
    line.statuses, line.status = deque([DONE, (3, 1)]), IDLE
    line.run(5_000)
    line.driver.release(line.now_ms)
    line.run(10_000)
    assert line.of(*RESULTS) == [base.VendSucceeded(1, True, "zdm8_02")]
    assert line.of(base.StrayResult) == [base.StrayResult(1, "zdm8_03_01")]


@pytest.mark.parametrize("status", [DONE, (3, 4)])
def test_a_result_that_comes_after_an_idle_reading_is_nobodys(status: tuple[int, int]) -> None:
    """The true result was in the answer that got lost; what a confused board says afterwards is not believed."""
    line = Line()
    line.vend(RUNNING, LOST, IDLE, status)
    line.run(ANSWER_MS + 2_000)
    assert line.of(*RESULTS) == [base.VendUnknown(1, "result_lost")]
    line.driver.recover(1, {"state": 0}, line.now_ms)
    line.run(LONGEST_MS)
    assert len(line.of(*RESULTS)) == 1
    assert len(line.of(base.StrayResult)) == 1
    assert line.of(*RESTS) == [base.AtRest()]


def test_a_new_run_finds_the_result_that_nobody_has_read() -> None:
    line = Line()
    line.statuses = deque([RUNNING, DONE])
    line.driver.recover(1, {"state": 0}, line.now_ms)
    line.run(5_000)
    assert line.of(*RESULTS) == [base.VendSucceeded(1, True, "zdm8_02")]
    line.driver.release(line.now_ms)
    line.run(LONGEST_MS)
    assert line.of(*RESTS) == [base.AtRest()]
    assert line.starts() == []


@pytest.mark.parametrize("readings", [None, {}, {"state": 2}])
def test_a_result_whose_register_was_not_idle_before_is_nobodys(readings: base.Readings | None) -> None:
    line = Line()
    line.statuses = deque([DONE])
    line.driver.recover(1, readings, line.now_ms)
    line.run(LONGEST_MS + 5_000)
    assert line.of(*RESULTS) == []
    assert line.of(base.StrayResult, *RESTS) == [base.StrayResult(1, "zdm8_02"), base.AtRest()]


def test_a_cleared_register_proves_nothing_to_a_new_run() -> None:
    line = Line(PROMPT)
    line.driver.recover(1, {"state": 0}, line.now_ms)
    line.run(LONGEST_MS - 500)
    assert line.of(*RESTS) == []
    line.run(5_000)
    assert line.of(*RESULTS, *RESTS) == [base.AtRest()]


def test_a_vend_of_a_lane_that_is_gone_from_the_profile_is_at_rest() -> None:
    line = Line()
    line.driver.recover(500, {"state": 0}, line.now_ms)
    line.exchange()
    assert line.events == [base.AtRest()]
