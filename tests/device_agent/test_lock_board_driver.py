"""The lock board driver reading by reading: when it opens, what it believes, and what it never says."""

from __future__ import annotations

import pytest

from jishan_agent.dispensers import base
from jishan_agent.dispensers.lock_board import (
    ANSWER_MS,
    COMMAND_KEPT_MS,
    GAP_MS,
    LAST_ASK_MS,
    SILENCE_MS,
    LockBoardDispenser,
)
from jishan_protocol.dispensers import lock_board as codec
from jishan_protocol.dispensers.lock_board import Lock

DEFAULT = codec.PROFILES["default"]
REPORTING = codec.PROFILES["reporting"]
MADE_WHEN_OPEN = codec.PROFILES["made-when-open"]
FOUR = codec.PROFILES["four-boards-hundreds"]
KEYLESS = codec.PROFILES["keyless"]
STEP_MS = 50


class Line:
    """A hand-driven board: it answers every query by `open_doors`, and nothing while `answers` is False."""

    def __init__(self, profile: codec.LockBoardProfile = DEFAULT, *, ready: bool = True) -> None:
        self.profile = profile
        self.driver = LockBoardDispenser(profile)
        self.now_ms = 1_000
        self.open_doors: set[Lock] = set()
        self.dead_boards: set[int] = set()
        self.answers = True
        self.echoes = False
        self.sent: list[codec.Command] = []
        self.events: list[base.DispenserEvent] = []
        self._reader = codec.reader(profile)
        if ready:
            self.run(3_000)
            self.events.clear()

    def exchange(self) -> None:
        for frame in self._reader.feed(self.driver.take_output()):
            assert isinstance(frame, bytes)
            command = codec.read_command(frame)
            assert command is not None
            self.sent.append(command)
            if self.echoes:
                self.hear(frame)
            if self.answers and isinstance(command, codec.Query) and command.board not in self.dead_boards:
                self.say(self.contact(Lock(command.board, command.lock)))
        self.events += self.driver.take_events()

    def contact(self, lock: Lock) -> codec.Contact:
        return codec.Contact(*lock, (lock in self.open_doors) == self.profile.contact_made_when_open)

    def changed(self, lock: Lock, is_open: bool) -> None:
        self.say(codec.ContactChanged(*lock, is_open == self.profile.contact_made_when_open))

    def say(self, answer: codec.Answer) -> None:
        self.hear(codec.write(answer, self.profile))

    def hear(self, raw: bytes) -> None:
        self.driver.receive(raw, self.now_ms)
        self.exchange()

    def run(self, for_ms: int) -> None:
        end_ms = self.now_ms + for_ms
        while self.now_ms < end_ms:
            self.now_ms = min(self.now_ms + STEP_MS, end_ms)
            self.driver.tick(self.now_ms)
            self.exchange()

    def vend(self, selection: int = 1, within_ms: int = 30_000) -> None:
        self.driver.vend(selection, self.now_ms + within_ms, self.now_ms)
        self.exchange()

    def opened(self) -> list[codec.Command]:
        return [command for command in self.sent if not isinstance(command, codec.Query)]

    def of(self, *kinds: type[base.DispenserEvent]) -> list[base.DispenserEvent]:
        return [event for event in self.events if isinstance(event, kinds)]


RESULTS = (base.VendSucceeded, base.VendFailed, base.VendUnknown)
ONE = Lock(1, 1)


# --- the way there -------------------------------------------------------------------------------------------------


def test_a_board_that_answers_is_there_and_one_that_stops_is_gone() -> None:
    line = Line(ready=False)
    line.run(3_000)
    assert line.events == [base.OnlineChanged(True)]
    line.answers = False
    line.run(SILENCE_MS + 1_000)
    assert line.events[-1] == base.OnlineChanged(False)
    line.answers = True
    line.run(3_000)
    assert line.events[-1] == base.OnlineChanged(True)


def test_our_own_bytes_do_not_make_a_board_be_there() -> None:
    line = Line(ready=False)
    line.answers, line.echoes = False, True
    line.run(20_000)
    assert line.events == []


@pytest.mark.parametrize("profile", [DEFAULT, MADE_WHEN_OPEN], ids=lambda profile: profile.name)
def test_a_closed_door_can_be_sold_and_an_open_one_cannot(profile: codec.LockBoardProfile) -> None:
    line = Line(profile)
    line.driver.check(1, line.now_ms)
    line.exchange()
    assert line.of(base.Checked) == [base.Checked(1, True, "ready", readings={"door_open": 0})]
    line.open_doors.add(ONE)
    line.driver.check(1, line.now_ms)
    line.exchange()
    assert line.of(base.Checked)[-1] == base.Checked(1, False, "door_open")


def test_a_lost_answer_is_asked_for_again_before_the_check_fails() -> None:
    line = Line()
    line.answers = False
    line.driver.check(1, line.now_ms)
    line.run(2 * ANSWER_MS)
    assert line.of(base.Checked) == []
    line.run(2 * ANSWER_MS)
    assert line.of(base.Checked) == [base.Checked(1, False, "no_answer")]


def test_a_selection_that_names_no_lock_is_not_sellable() -> None:
    line = Line()
    line.driver.check(25, line.now_ms)
    line.driver.vend(25, line.now_ms + 1_000, line.now_ms)
    line.exchange()
    assert line.events == [
        base.Checked(25, False, "no_such_selection"),
        base.VendFailed(25, "never_sent", "selection"),
    ]
    assert line.opened() == []


@pytest.mark.parametrize(("selection", "lock"), [(101, Lock(1, 1)), (210, Lock(2, 10)), (424, Lock(4, 24))])
def test_each_board_of_the_line_opens_its_own_locks(selection: int, lock: Lock) -> None:
    line = Line(FOUR)
    line.vend(selection)
    assert line.opened() == [codec.Open(*lock)]
    assert codec.write(codec.Open(2, 10), FOUR) == bytes.fromhex("8A 02 0A 11 93")


def test_a_dead_board_takes_only_its_own_selections_out_of_sale() -> None:
    line = Line(FOUR)
    line.dead_boards.add(2)
    line.run(20_000)
    assert base.OnlineChanged(False) not in line.events
    for selection in (201, 301):
        line.driver.check(selection, line.now_ms)
        line.run(2_000)
    first, second = line.of(base.Checked)
    assert (first, second) == (
        base.Checked(201, False, "no_answer"),
        base.Checked(301, True, "ready", readings={"door_open": 0}),
    )


# --- the opening command -------------------------------------------------------------------------------------------


def test_the_command_leaves_in_the_call_that_brings_the_closed_reading() -> None:
    line = Line()
    line.answers = False
    line.vend()
    assert line.opened() == []
    line.say(codec.Contact(1, 1, True))
    assert line.opened() == [codec.Open(1, 1)]
    assert line.events == [base.DriveSent(1)]


def test_a_door_that_has_been_opened_since_the_check_is_no_vend() -> None:
    line = Line()
    line.open_doors.add(ONE)
    line.vend()
    line.run(30_000)
    assert line.opened() == []
    assert line.of(*RESULTS) == [base.VendFailed(1, "door_open", "selection")]


def test_past_the_deadline_no_byte_leaves() -> None:
    line = Line()
    line.answers = False
    line.vend(within_ms=100)
    line.now_ms += 100
    line.say(codec.Contact(1, 1, True))
    assert line.opened() == []
    assert line.of(*RESULTS) == [base.VendFailed(1, "never_sent", "selection")]


def test_a_door_that_cannot_be_read_is_not_opened_late() -> None:
    line = Line()
    line.answers = False
    line.vend(within_ms=60_000)
    line.run(COMMAND_KEPT_MS + 1_000)
    assert line.of(*RESULTS) == [base.VendFailed(1, "never_sent", "selection")]
    line.answers = True
    line.run(60_000)
    assert line.opened() == []


def test_the_command_leaves_once_whatever_comes_back() -> None:
    line = Line()
    line.vend()
    line.answers = False
    line.run(60_000)
    assert line.opened() == [codec.Open(1, 1)]
    assert len(line.of(base.DriveSent)) == 1


@pytest.mark.parametrize("profile", codec.PROFILES.values(), ids=lambda profile: profile.name)
def test_no_vend_ever_opens_all_locks(profile: codec.LockBoardProfile) -> None:
    line = Line(profile)
    for selection in range(-1, 1_000):
        line.vend(selection)
        line.run(50)
        # The driver is new for each: what is looked at is what leaves first.
        line.driver = LockBoardDispenser(profile)
    assert {type(command) for command in line.opened()} == {codec.Open}
    assert all(isinstance(command, codec.Open) and command.lock for command in line.opened())


# --- the result ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", [DEFAULT, MADE_WHEN_OPEN], ids=lambda profile: profile.name)
def test_a_door_that_opens_is_a_dispensed_item(profile: codec.LockBoardProfile) -> None:
    line = Line(profile)
    line.vend()
    line.run(200)
    line.open_doors.add(ONE)
    line.run(1_500)
    assert line.of(*RESULTS) == [base.VendSucceeded(1, True, "door_opened")]
    line.driver.release(line.now_ms)
    line.open_doors.clear()
    line.run(60_000)
    assert len(line.of(*RESULTS)) == 1


@pytest.mark.parametrize("profile", [DEFAULT, MADE_WHEN_OPEN], ids=lambda profile: profile.name)
def test_the_answer_to_the_command_is_not_believed(profile: codec.LockBoardProfile) -> None:
    """With one wiring it says "open", and may be our own bytes, given back by the adapter."""
    line = Line(profile)
    line.echoes = True
    line.vend()
    line.say(codec.OpenAnswer(1, 1, profile.contact_made_when_open))
    line.run(profile.opens_within_ms - 100)
    assert line.of(*RESULTS) == []
    line.run(1_000)
    assert line.of(*RESULTS) == [base.VendFailed(1, "door_stayed_shut", "selection")]


def test_the_contact_says_nothing_while_the_lock_has_current() -> None:
    line = Line(REPORTING)
    line.vend()
    for _ in range(4):
        line.now_ms += 50
        line.changed(ONE, True)
        line.changed(ONE, False)
    line.run(REPORTING.opens_within_ms + 1_000)
    assert line.of(*RESULTS) == [base.VendFailed(1, "door_stayed_shut", "selection")]


def test_one_reading_is_not_enough() -> None:
    line = Line()
    line.vend()
    line.answers = False
    line.run(600)
    line.say(codec.Contact(1, 1, False))
    line.say(codec.Contact(1, 1, True))
    assert line.of(*RESULTS) == []
    line.say(codec.Contact(1, 1, False))
    line.say(codec.Contact(1, 1, False))
    assert line.of(*RESULTS) == [base.VendSucceeded(1, True, "door_opened")]


def test_what_the_board_says_by_itself_counts_as_a_reading() -> None:
    line = Line(REPORTING)
    line.vend()
    line.answers = False
    line.run(600)
    line.changed(ONE, True)
    line.changed(ONE, True)
    assert line.of(*RESULTS) == [base.VendSucceeded(1, True, "door_opened")]


def test_a_reading_of_another_lock_says_nothing_about_ours() -> None:
    line = Line(REPORTING)
    line.vend()
    line.answers = False
    line.run(600)
    for _ in range(3):
        line.say(codec.Contact(1, 2, False))
    assert line.of(*RESULTS) == []


def test_a_lost_answer_is_asked_for_before_anything_is_unknown() -> None:
    """Nothing is heard until long after the door should have opened; then the door is found open."""
    line = Line()
    line.vend()
    line.answers = False
    line.run(DEFAULT.opens_within_ms + 2_000)
    assert line.of(*RESULTS) == []
    line.open_doors.add(ONE)
    line.answers = True
    line.run(1_000)
    assert line.of(*RESULTS) == [base.VendSucceeded(1, True, "door_opened")]


def test_a_door_found_shut_after_a_gap_is_unknown() -> None:
    line = Line()
    line.vend()
    line.run(1_000)
    line.answers = False
    line.run(GAP_MS + 2 * ANSWER_MS)
    line.answers = True
    line.run(DEFAULT.opens_within_ms)
    assert line.of(*RESULTS) == [base.VendUnknown(1, "door_not_watched")]


def test_one_lost_answer_is_no_gap() -> None:
    line = Line()
    line.vend()
    line.run(1_000)
    line.answers = False
    line.run(ANSWER_MS)
    line.answers = True
    line.run(DEFAULT.opens_within_ms)
    assert line.of(*RESULTS) == [base.VendFailed(1, "door_stayed_shut", "selection")]


def test_a_board_that_stays_silent_is_unknown_in_the_end() -> None:
    line = Line()
    line.vend()
    line.answers = False
    line.run(DEFAULT.opens_within_ms + LAST_ASK_MS + 500)
    assert line.of(*RESULTS) == [base.VendUnknown(1, "no_answer")]


# --- to rest -------------------------------------------------------------------------------------------------------


def unknown(profile: codec.LockBoardProfile) -> Line:
    line = Line(profile)
    line.vend()
    line.answers = False
    line.run(profile.opens_within_ms + LAST_ASK_MS + 500)
    assert line.of(*RESULTS) == [base.VendUnknown(1, "no_answer")]
    line.driver.recover(1, {"door_open": 0}, line.now_ms)
    line.run(60_000)
    assert line.of(base.AtRest, base.VendProved) == [], "a silent board is not known to be at rest"
    return line


@pytest.mark.parametrize("is_open", [True, False])
def test_after_an_unknown_vend_nothing_is_proved_by_default(is_open: bool) -> None:
    line = unknown(DEFAULT)
    line.open_doors = {ONE} if is_open else set()
    line.answers = True
    line.run(1_000)
    assert line.of(base.AtRest, base.VendProved) == [base.AtRest()]


def test_where_only_commands_open_doors_an_open_one_proves_the_vend() -> None:
    line = unknown(KEYLESS)
    line.open_doors.add(ONE)
    line.answers = True
    line.run(1_000)
    (proved,) = line.of(base.AtRest, base.VendProved)
    assert isinstance(proved, base.VendProved)
    assert (proved.selection, proved.is_dispensed) == (1, True)


def test_a_shut_door_proves_nothing_anywhere() -> None:
    line = unknown(KEYLESS)
    line.answers = True
    line.run(1_000)
    assert line.of(base.AtRest, base.VendProved) == [base.AtRest()]


@pytest.mark.parametrize("before", [None, {}, {"door_open": 1}])
def test_an_open_door_proves_nothing_unless_it_was_closed_before(before: base.Readings | None) -> None:
    line = Line(KEYLESS)
    line.open_doors.add(ONE)
    line.driver.recover(1, before, line.now_ms)
    line.run(60_000)
    assert line.of(base.AtRest, base.VendProved) == [base.AtRest()]


def test_a_new_run_waits_until_the_door_can_no_longer_open() -> None:
    line = Line()
    line.driver.recover(1, {"door_open": 0}, line.now_ms)
    line.run(DEFAULT.opens_within_ms - 100)
    assert line.of(base.AtRest) == []
    line.run(200)
    assert line.of(base.AtRest) == [base.AtRest()]
    assert line.opened() == []


def test_a_vend_of_a_lock_that_is_gone_from_the_profile_is_at_rest() -> None:
    line = Line()
    line.driver.recover(99, {"door_open": 0}, line.now_ms)
    line.exchange()
    assert line.events == [base.AtRest()]


# --- doors left open -----------------------------------------------------------------------------------------------


def test_a_door_left_open_is_told_once_and_again_when_it_is_shut() -> None:
    line = Line()
    line.vend()
    line.run(200)
    line.open_doors.add(ONE)
    line.run(1_500)
    line.driver.release(line.now_ms)
    line.events.clear()
    line.run(3 * DEFAULT.closes_within_ms)
    assert line.events == [base.SelectionReported(1, False, "door_left_open", 0), base.StateRead("open", None)]
    line.events.clear()
    line.open_doors.clear()
    line.run(3_000)
    assert line.events == [base.SelectionReported(1, True, "door_shut", 0), base.StateRead("closed", None)]


def test_a_door_that_is_shut_in_time_is_no_alarm() -> None:
    line = Line()
    line.vend()
    line.run(200)
    line.open_doors.add(ONE)
    line.run(1_500)
    line.driver.release(line.now_ms)
    line.run(5_000)
    line.open_doors.clear()
    line.run(60_000)
    assert line.of(base.StateRead, base.SelectionReported) == []


def test_a_place_where_no_lock_is_wired_is_no_open_door() -> None:
    """Its contact is never made, which with the usual wiring reads "open"."""
    line = Line(ready=False)
    line.open_doors.add(ONE)
    line.run(3 * DEFAULT.closes_within_ms)
    assert line.events == [base.OnlineChanged(True)]


def test_a_door_that_opens_without_a_vend_is_a_stray_result_and_is_watched() -> None:
    line = Line(REPORTING)
    line.open_doors.add(Lock(1, 7))
    line.changed(Lock(1, 7), True)
    line.changed(Lock(1, 7), True)
    line.run(REPORTING.closes_within_ms + 1_000)
    assert line.events == [
        base.StrayResult(7, "door_opened"),
        base.SelectionReported(7, False, "door_left_open", 0),
        base.StateRead("open", None),
    ]


# --- bad bytes -----------------------------------------------------------------------------------------------------


def test_bytes_that_are_no_frame_are_counted_and_end_with_the_silence() -> None:
    line = Line()
    line.hear(bytes.fromhex("80 01"))
    line.run(200)
    assert line.driver.bad_bytes == 2
    line.hear(bytes.fromhex("8A 01 01 00 8B 00 FF"))
    line.run(200)
    assert line.driver.bad_bytes == 9
    assert line.events == []
