"""The XY driver frame by frame: what it answers, what it sends again, and what it never sends twice."""

from __future__ import annotations

import pytest

from jishan_agent.dispensers import base
from jishan_agent.dispensers.xy import COMMAND_KEPT_MS, DRAIN_MS, XyDispenser, proof
from jishan_protocol.dispensers import xy
from jishan_protocol.dispensers.profiles import chosen

PROFILE = xy.PROFILES["default"]
POLL = xy.encode(xy.Frame(xy.POLL, None))
ACK = xy.encode(xy.Frame(xy.ACK, None))


class Line:
    """A hand-driven VMC: each call is one moment on the wire."""

    def __init__(self, profile: xy.XyProfile = PROFILE, *, ready: bool = True) -> None:
        self.driver = XyDispenser(profile, 0)
        self.now_ms = 1_000
        self.pack_no = 0
        self.events: list[base.DispenserEvent] = []
        if ready:
            while not any(isinstance(event, base.OnlineChanged) for event in self.events):
                self.settle()
            self.settle()
            self.events.clear()

    def pass_ms(self, duration_ms: int) -> None:
        self.now_ms += duration_ms
        self.driver.tick(self.now_ms)
        self.events += self.driver.take_events()

    def hear(self, raw: bytes) -> bytes:
        self.driver.receive(raw, self.now_ms)
        self.events += self.driver.take_events()
        return self.driver.take_output()

    def poll(self) -> bytes:
        return self.hear(POLL)

    def say(self, message: xy.Message, pack_no: int | None = None) -> bytes:
        if pack_no is None:
            self.pack_no = xy.next_pack_no(self.pack_no)
        return self.hear(xy.write(message, pack_no or self.pack_no, PROFILE))

    def settle(self) -> None:
        """One poll, and what a healthy VMC does with the answer."""
        self.pass_ms(200)
        answer = self.poll()
        if answer != ACK:
            self.hear(ACK)
        if answer[2] == 0x51:
            self.say(xy.MachineState(0, 0, 0, 0, 5, 0, 0, 0, b"0000000001", bytes(8)))
        if answer[2] == 0x53:
            self.say(xy.LiftState(0))

    def drive(self, selection: int = 60) -> bytes:
        self.driver.vend(selection, self.now_ms + 30_000, self.now_ms)
        return self.poll()


def test_the_first_thing_said_is_synchronise() -> None:
    line = Line(ready=False)
    assert line.poll() == ACK
    line.pass_ms(200)
    assert line.poll() == bytes.fromhex("FA FB 31 01 01 30")
    assert line.hear(ACK) == b""
    line.pass_ms(DRAIN_MS)
    line.poll()
    line.pass_ms(200)
    assert base.OnlineChanged(True) in line.events


def test_every_poll_is_answered_in_the_call_that_brings_it_also_one_byte_at_a_time() -> None:
    line = Line()
    for _ in range(5):
        line.pass_ms(200)
        assert [line.hear(bytes([byte])) for byte in POLL] == [b"", b"", b"", b"", ACK]


def test_a_poll_that_is_over_gets_no_command() -> None:
    line = Line()
    line.driver.vend(60, line.now_ms + 30_000, line.now_ms)
    stale = POLL + xy.write(xy.DisplayText(b" " * 16, 0, 0), 200, PROFILE)
    assert line.hear(stale) == ACK
    assert line.poll() == xy.write(xy.Drive(True, False, 60), line.driver.pack_number, PROFILE)


def test_drive_leaves_once_even_if_it_is_not_acknowledged() -> None:
    line = Line()
    assert line.drive()[2] == 0x06
    for _ in range(100):
        line.pass_ms(200)
        assert line.poll()[2] != 0x06
    assert sum(isinstance(event, base.DriveSent) for event in line.events) == 1


def test_a_status_of_the_selection_stands_for_the_lost_acknowledgement() -> None:
    line = Line()
    line.drive()
    assert line.say(xy.DispensingStatus(0x01, 60)) == ACK
    assert line.say(xy.DispensingStatus(0x02, 60)) == b""
    assert line.events[-1] == base.VendSucceeded(60, True, "xy_02")


def test_past_the_deadline_no_byte_leaves() -> None:
    line = Line()
    line.driver.vend(60, line.now_ms + 100, line.now_ms)
    line.now_ms += 100
    assert line.poll() == ACK
    assert line.events == [base.VendFailed(60, "never_sent", "selection")]
    line.pass_ms(200)
    assert line.poll() == ACK


def test_a_drive_that_nobody_polls_for_is_dropped() -> None:
    line = Line()
    line.driver.vend(60, line.now_ms + 60_000, line.now_ms)
    line.pass_ms(COMMAND_KEPT_MS)
    assert base.VendFailed(60, "never_sent", "selection") in line.events
    assert line.poll()[2] != 0x06


def test_the_final_status_is_acknowledged_only_when_it_is_on_disk() -> None:
    line = Line()
    line.drive()
    line.hear(ACK)
    assert line.say(xy.DispensingStatus(0x02, 60), 9) == b""
    line.now_ms += 10
    line.driver.release(line.now_ms)
    assert line.driver.take_output() == ACK


def test_an_fsync_that_takes_long_lets_the_controller_say_it_again() -> None:
    line = Line()
    line.drive()
    line.hear(ACK)
    line.say(xy.DispensingStatus(0x02, 60), 9)
    line.now_ms += 200
    assert line.say(xy.DispensingStatus(0x02, 60), 9) == b""
    line.now_ms += 150
    line.driver.release(line.now_ms)
    assert line.driver.take_output() == b""
    line.now_ms += 50
    assert line.say(xy.DispensingStatus(0x02, 60), 9) == ACK
    assert sum(isinstance(event, base.VendSucceeded) for event in line.events) == 1


def test_a_double_is_acknowledged_and_dropped() -> None:
    line = Line()
    assert line.say(xy.Selected(13), 7) == ACK
    assert line.say(xy.Selected(13), 7) == ACK
    assert line.events == [base.Pressed(13)]


@pytest.mark.parametrize("raw", ["FA FB 04 04 11 02 00 3C 12", "FA FB 53 01 02 52"])
def test_a_wrong_checksum_is_neither_believed_nor_acknowledged(raw: str) -> None:
    line = Line()
    line.drive()
    line.hear(ACK)
    before = len(line.events)
    assert line.hear(bytes.fromhex(raw)) == b""
    line.pass_ms(100)
    assert line.events[before:] == []
    assert line.poll() == ACK
    assert line.driver.bad_bytes > 0


def test_both_lengths_of_a_status_are_read() -> None:
    for raw in ("FA FB 04 04 A4 02 00 3C 9B", "FA FB 04 05 A4 02 00 3C 00 9A"):
        line = Line()
        line.drive()
        line.hear(bytes.fromhex(raw))
        assert line.events[-1] == base.VendSucceeded(60, True, "xy_02")


def test_a_query_is_sent_again_with_its_number_at_most_five_times() -> None:
    line = Line()
    line.driver.check(13, line.now_ms)
    first = line.poll()
    assert first[2] == 0x01
    for _ in range(4):
        line.pass_ms(200)
        assert line.poll() == first
    line.pass_ms(200)
    assert line.poll() == ACK
    assert base.Checked(13, False, "no_answer") in line.events


def test_an_answer_that_never_comes_is_given_up() -> None:
    line = Line()
    line.driver.check(13, line.now_ms)
    line.poll()
    line.hear(ACK)
    for _ in range(30):
        line.pass_ms(200)
        assert line.poll() == ACK
    assert base.Checked(13, False, "no_answer") in line.events


def test_a_code_on_no_list_is_unknown_and_a_later_result_still_counts() -> None:
    line = Line()
    line.drive()
    line.hear(ACK)
    assert line.say(xy.DispensingStatus(0x77, 60)) == ACK
    assert line.events[-1] == base.VendUnknown(60, "xy_77")
    line.driver.recover(60, None, line.now_ms)
    assert line.say(xy.DispensingStatus(0x03, 60)) == b""
    assert line.events[-1] == base.VendFailed(60, "xy_03", "selection")


def test_a_second_different_result_is_told_and_the_same_one_is_not() -> None:
    line = Line()
    line.drive()
    line.say(xy.DispensingStatus(0x02, 60))
    line.driver.release(line.now_ms)
    line.driver.take_output()
    assert line.say(xy.DispensingStatus(0x02, 60)) == ACK
    assert not any(isinstance(event, base.StrayResult) for event in line.events)
    assert line.say(xy.DispensingStatus(0x03, 60)) == ACK
    assert line.events[-1] == base.StrayResult(60, "xy_03")


def test_a_result_of_another_selection_is_not_ours() -> None:
    line = Line()
    line.drive(60)
    assert line.say(xy.DispensingStatus(0x02, 61)) == ACK
    assert line.events[-1] == base.StrayResult(61, "xy_02")


def test_a_restart_of_the_controller_before_the_drive_left_sends_nothing() -> None:
    line = Line()
    line.pass_ms(5_000)
    line.driver.vend(60, line.now_ms + 30_000, line.now_ms)
    assert line.say(xy.Synchronise(), 1) == ACK
    assert base.VendFailed(60, "never_sent", "selection") in line.events
    line.pass_ms(200)
    assert line.poll()[2] == 0x31


def test_a_restart_of_the_controller_in_mid_vend_is_unknown() -> None:
    line = Line()
    line.pass_ms(5_000)
    line.poll()
    line.drive()
    line.hear(ACK)
    line.say(xy.DispensingStatus(0x01, 60))
    line.say(xy.Synchronise(), 1)
    assert base.VendUnknown(60, "dispenser_restarted") in line.events


def test_a_silent_controller_is_offline_until_it_polls_again() -> None:
    line = Line()
    line.pass_ms(6_000)
    assert line.events[-1] == base.OnlineChanged(False)
    while base.OnlineChanged(True) not in line.events:
        line.pass_ms(200)
        if line.poll() != ACK:
            line.hear(ACK)


def test_a_refused_choice_is_cancelled_once_and_never_in_a_vend() -> None:
    line = Line()
    line.driver.cancel(line.now_ms)
    assert line.poll() == xy.write(xy.Selected(0), line.driver.pack_number, PROFILE)
    assert line.hear(ACK) == b""
    line.pass_ms(200)
    assert line.poll() == ACK
    line.driver.cancel(line.now_ms)
    assert line.drive()[2] == 0x06, "a cancel that still waited is forgotten"
    line.driver.cancel(line.now_ms)
    for _ in range(20):
        line.pass_ms(200)
        assert line.poll() == ACK
    silent = Line(chosen(xy.PROFILES, "ours", {"cancels_choice": False}))
    silent.driver.cancel(silent.now_ms)
    assert silent.poll() == ACK


def test_a_vend_uses_the_lift_and_the_sensor_where_the_profile_has_them() -> None:
    profile = chosen(xy.PROFILES, "lift", {"without_lift": "60", "without_drop_sensor": "61"})
    for selection, watched, lift in ((60, True, False), (61, False, True), (62, True, True)):
        line = Line(profile)
        line.settle()
        assert line.drive(selection)[5:9] == bytes([watched, lift, 0, selection])
        line.say(xy.DispensingStatus(0x02, selection))
        assert line.events[-1] == base.VendSucceeded(selection, watched, "xy_02")


def test_what_heats_may_say_seconds_in_the_place_of_the_selection() -> None:
    line = Line()
    line.drive()
    line.say(xy.DispensingStatus(0x22, 60))
    for seconds in range(120, 0, -1):
        line.pass_ms(1_000)
        assert line.say(xy.DispensingStatus(xy.SECONDS_LEFT, seconds)) == ACK
    assert line.say(xy.DispensingStatus(0x02, 60)) == b""
    assert not any(isinstance(event, base.VendUnknown | base.StrayResult) for event in line.events)
    assert line.events[-1] == base.VendSucceeded(60, True, "xy_02")


def test_what_comes_after_a_success_is_no_other_result_unless_it_is_one() -> None:
    line = Line()
    line.drive()
    line.say(xy.DispensingStatus(0x02, 60))
    line.driver.release(line.now_ms)
    line.driver.take_output()
    line.events.clear()
    for status in (0x22, xy.SECONDS_LEFT, 0x26, 0x24):
        line.say(xy.DispensingStatus(status, 60))
    assert line.events == []
    line.say(xy.DispensingStatus(0x30, 60))
    assert line.events == [base.StrayResult(60, "xy_30")]


def test_the_interval_of_the_polls_is_set_once_the_vmc_is_there() -> None:
    line = Line(chosen(xy.PROFILES, "ours", {"poll_interval_ms": 500}), ready=False)
    said = []
    for _ in range(30):
        line.pass_ms(200)
        answer = line.poll()
        if answer != ACK:
            said.append(answer[2])
            line.hear(ACK)
    assert said[:2] == [0x31, 0x16]
    assert said.count(0x16) == 1


def test_a_lift_in_trouble_is_told_once() -> None:
    line = Line(xy.PROFILES["lift"])
    for state in (0, 1, 3, 3, 0, 4):
        line.say(xy.LiftState(state))
    assert line.events == [base.Troubled("xy_lift_03"), base.Troubled("xy_lift_04")]


def test_staff_may_ask_and_open_and_never_in_a_vend() -> None:
    line = Line()
    line.driver.service("open-cabinet", 0, line.now_ms)
    assert line.poll()[5:-1] == bytes.fromhex("84 01 00")
    line.hear(ACK)
    line.say(xy.MenuResponse(0x84, 1, b"\x00"))
    line.driver.service("clear-jams", None, line.now_ms)
    line.pass_ms(200)
    line.poll()
    line.say(xy.JamListCleared(1))
    served = [event for event in line.events if isinstance(event, base.Served)]
    assert [(one.name, one.is_done) for one in served] == [("open-cabinet", True), ("clear-jams", False)]
    assert line.drive()[2] == 0x06
    line.driver.service("open-cabinet", 99, line.now_ms)
    line.pass_ms(200)
    assert line.poll() == ACK
    assert base.Served("open-cabinet", False, "a vend is in hand") in line.driver.take_events() + line.events
    with pytest.raises(ValueError, match="300"):
        Line().driver.service("open-cabinet", 300, 0)


def test_a_frame_whose_rest_was_lost_does_not_swallow_the_poll_after_it() -> None:
    line = Line()
    line.hear(bytes.fromhex("FA FB 04 04 A4 02"))
    line.now_ms += 200
    assert line.poll() == ACK


def test_money_and_unknown_frames_are_acknowledged_and_ignored() -> None:
    line = Line()
    assert line.hear(bytes.fromhex("FA FB 21 06 83 08 00 01 86 A0 8A")) == ACK
    assert line.hear(xy.encode(xy.Frame(0x7F, 3, b"what"))) == ACK
    assert line.say(xy.Credit(500), 9) == ACK
    assert line.events == [
        base.Ignored("xy_money", "mode 8, amount 100000"),
        base.Ignored("xy_credit", "amount 500"),
    ]


COUNTING = xy.PROFILES["counting"]
VOLATILE = xy.PROFILES["counting-volatile"]
STOCK = xy.PROFILES["counting-stock"]
BEFORE = {"door_open": 0, "jammed": 0, "sales_count": 10, "stock": 5}


@pytest.mark.parametrize(
    ("profile", "after", "proved"),
    [
        (PROFILE, {"sales_count": 11}, None),
        (COUNTING, {"sales_count": 11}, True),
        (COUNTING, {}, False),
        (COUNTING, {"sales_count": 12}, None),
        (COUNTING, {"sales_count": 0}, None),
        (COUNTING, {"sales_count": 11, "door_open": 1}, None),
        (COUNTING, {"sales_count": 11, "jammed": 1}, None),
        (VOLATILE, {}, None),
        (VOLATILE, {"jammed": 1}, False),
        (STOCK, {"sales_count": 11}, None),
        (STOCK, {"sales_count": 11, "stock": 4}, True),
        (STOCK, {}, False),
    ],
)
def test_a_proof_needs_exactly_one_vend_and_nothing_between(
    profile: xy.XyProfile, after: dict[str, int], proved: bool | None
) -> None:
    assert proof(profile, BEFORE, BEFORE | after) is proved
    assert proof(profile, None, BEFORE | after) is None
    assert proof(profile, BEFORE | {"door_open": 1}, BEFORE | after) is None
