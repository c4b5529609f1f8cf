"""What a host sees on the wire of a simulated XY controller: when nothing is wrong, and under each fault."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from jishan_protocol.dispensers import xy
from jishan_sim.cabinet import DROP_AFTER_MS, TURN_MS
from jishan_sim.faults import START_DELAY_MS

VEND_MS = 12_000  # longer than any vend without a hold

NewBench = Callable[..., Any]


def certain(**faults: Any) -> dict[str, object]:
    return {"vend": faults}


# --- nothing is wrong ----------------------------------------------------------------------------------------------


def test_it_says_31_when_it_starts_and_then_polls_every_200_ms(bench: NewBench) -> None:
    machine = bench()
    machine.face.power_on(0)
    machine.run(3_000)
    assert [(at_ms, type(message)) for at_ms, message in machine.heard] == [(1_000, xy.Synchronise)]
    machine.forget()
    machine.run(2_000)
    assert machine.frames_sent(xy.POLL) == 10
    assert machine.heard == []


def test_after_a_31_of_the_host_it_reports_every_selection(bench: NewBench) -> None:
    machine = bench().started()
    machine.say(xy.Synchronise())
    machine.run(1_000)
    assert [report.selection for report in machine.said(xy.SelectionReport)] == [1, 2, 3, 60]
    assert machine.said(xy.SelectionReport)[0] == xy.SelectionReport(1, 100, 5, 10, 0, 0)


@pytest.mark.parametrize("profile", ["default", "paper"])
def test_a_vend_goes_check_drive_progress_success(bench: NewBench, profile: str) -> None:
    machine = bench(profile).started()
    machine.say(xy.Check(60))
    machine.run(1_000)
    assert machine.said(xy.CheckResult) == [xy.CheckResult(xy.CHECK_NORMAL, 60)]
    machine.drive(60)
    machine.run(VEND_MS)
    assert machine.statuses() == [0x01, 0x02]
    assert machine.cabinet.items_dropped(60) == 1
    extra = 0 if profile == "paper" else None
    assert machine.said(xy.DispensingStatus)[-1] == xy.DispensingStatus(0x02, 60, extra)


def test_the_drive_of_the_captures_turns_selection_60(bench: NewBench) -> None:
    machine = bench().started()
    machine.to_say.append(bytes.fromhex("FA FB 06 05 A6 01 00 00 3C 99"))
    machine.run(VEND_MS)
    assert machine.statuses() == [0x01, 0x02]
    assert machine.cabinet.items_dropped(60) == machine.cabinet.items_dropped() == 1


def test_a_lift_says_where_it_is(bench: NewBench) -> None:
    machine = bench("lift").started()
    machine.drive(1, lift=True)
    machine.run(VEND_MS)
    assert machine.statuses() == [0x01, 0x10, 0x11, 0x02]


def test_a_heated_vend_counts_the_seconds_down_and_then_succeeds(bench: NewBench) -> None:
    machine = bench("heated").started()
    machine.drive(1, lift=True)
    machine.run(VEND_MS)
    assert machine.statuses() == [0x01, 0x10, 0x11, 0x22, 0x23, 0x23, 0x23, 0x02, 0x24]
    assert [one.seconds_left for one in machine.said(xy.DispensingStatus) if one.status == 0x23] == [3, 2, 1]


def test_an_early_success_comes_before_the_heating_and_checks_wait_for_its_end(bench: NewBench) -> None:
    machine = bench("heated-early").started()
    machine.drive(1, lift=True)
    machine.run(5_000)
    assert machine.statuses()[:4] == [0x01, 0x10, 0x11, 0x02]
    machine.say(xy.Check(2))
    machine.run(1_000)
    machine.run(VEND_MS)
    machine.say(xy.Check(2))
    machine.run(1_000)
    assert machine.statuses()[4:] == [0x22, 0x23, 0x23, 0x23, 0x24]
    assert machine.said(xy.CheckResult) == [xy.CheckResult(0x13, 2), xy.CheckResult(xy.CHECK_NORMAL, 2)]


def test_a_choice_stands_until_the_host_cancels_or_drives_it(bench: NewBench) -> None:
    machine = bench().started()
    for ends in (xy.Selected(0), xy.Drive(True, False, 2)):
        machine.face.press(2, machine.now_ms)
        machine.run(1_000)
        assert machine.face.chosen == 2
        machine.say(ends)
        machine.run(1_000)
        assert machine.face.chosen == 0


@pytest.mark.parametrize(("opens", "menu"), [(xy.OpenCabinet(99), 0x84), (xy.OpenLayer(3), 0x85)])
def test_a_grid_cabinet_opens_for_staff_and_lets_no_item_go(bench: NewBench, opens: xy.Message, menu: int) -> None:
    machine = bench("grid").started()
    machine.say(opens)
    machine.run(1_000)
    assert machine.said(xy.MenuResponse) == [xy.MenuResponse(menu, xy.OP_WRITE, b"\x00")]
    assert machine.cabinet.door_open
    assert machine.cabinet.turns == 0


def test_a_selection_that_is_not_there_fails_the_check_and_has_no_motor(bench: NewBench) -> None:
    machine = bench().started()
    machine.say(xy.Check(77))
    machine.drive(77)
    machine.run(VEND_MS)
    assert machine.said(xy.CheckResult) == [xy.CheckResult(0x03, 77)]
    assert machine.statuses() == [0x06]


def test_a_check_of_an_empty_selection_says_out_of_stock(bench: NewBench) -> None:
    machine = bench().started()
    machine.say(xy.SetStock(2, 0), xy.Check(2))
    machine.run(1_000)
    assert machine.said(xy.CheckResult) == [xy.CheckResult(0x02, 2)]


def test_an_answer_to_press_03_is_the_check(bench: NewBench) -> None:
    machine = bench().started()
    machine.say(xy.Press(1))
    machine.run(1_000)
    assert machine.said(xy.CheckResult) == [xy.CheckResult(0x01, 1)]
    assert machine.cabinet.turns == 0


@pytest.mark.parametrize(
    ("selection", "changed"), [(0, {1, 2, 3, 60}), (1000, {1, 2, 3}), (1006, {60}), (2, {2}), (999, set())]
)
def test_settings_are_for_one_selection_a_tray_or_all(bench: NewBench, selection: int, changed: set[int]) -> None:
    machine = bench().started()
    machine.say(
        xy.SetPrice(selection, 250),
        xy.SetStock(selection, 7),
        xy.SetCapacity(selection, 9),
        xy.SetProduct(selection, 8),
    )
    machine.say(xy.Synchronise())
    machine.run(3_000)
    for report in machine.said(xy.SelectionReport):
        expected = (250, 7, 9, 8) if report.selection in changed else (100, 5, 10, 0)
        assert (report.price, report.stock, report.capacity, report.product) == expected


def test_the_poll_interval_can_be_set_and_a_wrong_one_is_ignored(bench: NewBench) -> None:
    machine = bench().started()
    machine.say(xy.SetPollInterval(5), xy.SetPollInterval(0), xy.SetPollInterval(21))
    machine.run(3_000)
    machine.forget()
    machine.run(5_000)
    assert machine.frames_sent(xy.POLL) == 10


def test_the_machine_state_tells_door_and_temperature(bench: NewBench) -> None:
    machine = bench().started()
    machine.say(xy.MachineStateQuery())
    machine.run(500)
    machine.cabinet.open_door(True)
    machine.cabinet.set_temperature(-4)
    machine.say(xy.MachineStateQuery())
    machine.run(500)
    machine.cabinet.set_temperature(None)
    machine.say(xy.MachineStateQuery())
    machine.run(500)
    states = machine.said(xy.MachineState)
    assert [(one.door_open, one.temperature_tenths_c) for one in states] == [(False, 50), (True, -40), (True, None)]


def test_the_clock_can_be_set_runs_and_is_lost_with_the_power(bench: NewBench) -> None:
    machine = bench().started()
    machine.say(xy.SetClock("20261001235959"))
    machine.run(2_000)
    machine.say(xy.ReadClock())
    machine.run(500)
    assert machine.said(xy.ClockSet) == [xy.ClockSet(0)]
    assert machine.said(xy.Clock)[-1].digits in ("20261002000000", "20261002000001")
    machine.face.power_cut(machine.now_ms)
    machine.started()
    machine.say(xy.ReadClock())
    machine.run(500)
    assert machine.said(xy.Clock)[-1].digits.startswith("20000101")


@pytest.mark.parametrize("digits", ["20261301000000", "00010101000000", "99991231235959"])
def test_a_clock_that_is_no_time_is_refused(bench: NewBench, digits: str) -> None:
    machine = bench().started()
    machine.say(xy.SetClock(digits))
    machine.run(500)
    assert machine.said(xy.ClockSet) == [xy.ClockSet(1)]


def test_keypad_and_money_come_as_the_controllers_own_data(bench: NewBench) -> None:
    machine = bench().started()
    machine.face.press(13, machine.now_ms)
    machine.face.insert_money(8, 100_000, machine.now_ms)
    machine.run(1_000)
    assert [message for _, message in machine.heard] == [
        xy.Selected(13),
        xy.MoneyReceived(8, 100_000),
        xy.Credit(100_000),
    ]


def test_lift_config_and_cabinet_questions_are_answered(bench: NewBench) -> None:
    machine = bench().started()
    machine.say(xy.LiftQuery(), xy.ReadSelectionConfig(60), xy.OpenCabinet(0))
    machine.run(1_500)
    assert machine.said(xy.LiftState) == [xy.LiftState(0)]
    assert machine.said(xy.SelectionConfig) == [xy.SelectionConfig(100, 5, 10, 0, 1, 0, 0, 0)]
    assert machine.said(xy.MenuResponse) == [xy.MenuResponse(0x84, 1, b"\x00")]
    assert machine.cabinet.door_open


def test_an_unknown_command_is_acknowledged_and_a_mangled_one_is_not(bench: NewBench) -> None:
    machine = bench().started()
    machine.to_say.append(xy.encode(xy.Frame(0x99, 1, b"?")))
    machine.run(500)
    assert [type(message) for _, message in machine.heard] == [xy.Ack]
    machine.forget()
    machine.to_say.append(xy.encode(xy.Frame(0x06, 1, b"?")))
    machine.to_say.append(bytes.fromhex("FA FB 06 05 01 01 00 00 0D 0E"))
    machine.run(1_000)
    assert machine.heard == []
    assert machine.cabinet.turns == 0
    assert machine.face.bad_bytes == 10


# --- master of the line --------------------------------------------------------------------------------------------


def test_data_without_ack_is_sent_five_times_with_one_pack_no_and_then_dropped(bench: NewBench) -> None:
    machine = bench().started()
    machine.answers = False
    machine.face.press(2, machine.now_ms)
    machine.face.press(3, machine.now_ms)
    machine.run(3_000)
    sent = [xy.encode(one) for one in _frames(machine) if one.cmd == 0x05]
    assert sent == [xy.encode(xy.Frame(0x05, 2, b"\x00\x02"))] * 5 + [xy.encode(xy.Frame(0x05, 3, b"\x00\x03"))] * 5


def test_the_pack_no_of_the_controller_counts_its_own_exchanges(bench: NewBench) -> None:
    machine = bench().started()
    for _ in range(3):
        machine.face.press(1, machine.now_ms)
        machine.run(500)
    assert [one.pack_no for one in _frames(machine) if one.cmd == 0x05] == [2, 3, 4]
    machine.face.power_cut(machine.now_ms)
    machine.forget()
    machine.face.power_on(machine.now_ms)
    machine.run(2_000)
    assert [one.pack_no for one in _frames(machine) if one.cmd == 0x31] == [1]


@pytest.mark.parametrize(("profile", "turned"), [("default", 2), ("counting-stock", 1)])
def test_a_repeated_drive_turns_again_unless_the_firmware_ignores_it(
    bench: NewBench, profile: str, turned: int
) -> None:
    machine = bench(profile).started()
    machine.drive(1)
    machine.to_say.append(machine.to_say[0])
    machine.run(2 * VEND_MS)
    assert machine.frames_sent(xy.ACK) == 2
    assert machine.cabinet.items_dropped(1) == turned


def test_late_answers_are_counted_and_only_taken_where_the_controller_is_patient(bench: NewBench) -> None:
    machine = bench().started()
    machine.answer_after_ms = 150
    machine.say(xy.Check(1))
    machine.run(1_000)
    assert machine.said(xy.CheckResult) == [xy.CheckResult(0x01, 1)]
    assert machine.face.late_answers > 0
    machine.forget()
    machine.set_faults({"refuse_late_answers": True})
    machine.say(xy.Check(1))
    machine.run(1_000)
    assert machine.heard == []


def test_a_host_that_answers_at_once_is_never_late(bench: NewBench) -> None:
    machine = bench(faults={"refuse_late_answers": True}).started()
    machine.answer_after_ms = 90
    machine.drive(1)
    machine.run(VEND_MS)
    assert machine.statuses() == [0x01, 0x02]
    assert machine.face.late_answers == 0


# --- counters and memory -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("profile", "counted", "stock"), [("default", 0, 5), ("counting", 1, 5), ("counting-stock", 1, 4)]
)
def test_counters_count_host_vends_where_the_profile_says_so(
    bench: NewBench, profile: str, counted: int, stock: int
) -> None:
    machine = bench(profile).started()
    machine.drive(3)
    machine.run(VEND_MS)
    machine.say(xy.ReadSales(3), xy.ReadSales(1), xy.Synchronise())
    machine.run(2_000)
    assert machine.said(xy.Sales) == [xy.Sales(counted, 100 * counted), xy.Sales(0, 0)]
    assert [one.stock for one in machine.said(xy.SelectionReport) if one.selection == 3][-1] == stock


def test_a_jam_is_listed_reported_and_checked_until_the_list_is_cleared(bench: NewBench) -> None:
    machine = bench(faults={"once": [{"selection": 1, "no_drop": 1}]}).started()
    machine.drive(1)
    machine.run(VEND_MS)
    machine.say(xy.ReadJamList(), xy.Check(1))
    machine.run(1_000)
    assert machine.statuses() == [0x01, 0x03]
    assert [one.status for one in machine.said(xy.SelectionReport)] == [3]
    assert machine.said(xy.JamList) == [xy.JamList((1,))]
    assert machine.said(xy.CheckResult) == [xy.CheckResult(0x04, 1)]
    machine.forget()
    machine.say(xy.ClearJamList(), xy.ReadJamList(), xy.Check(1))
    machine.run(1_500)
    assert machine.said(xy.JamListCleared) == [xy.JamListCleared(0)]
    assert machine.said(xy.JamList) == [xy.JamList(())]
    assert machine.said(xy.CheckResult) == [xy.CheckResult(0x01, 1)]


def test_jams_and_sales_survive_a_power_cut(bench: NewBench) -> None:
    machine = bench("counting", {"once": [{"no_drop": 1}]}).started()
    machine.drive(1)
    machine.run(VEND_MS)
    machine.drive(2)
    machine.run(VEND_MS)
    machine.face.power_cut(machine.now_ms)
    machine.started()
    machine.say(xy.ReadJamList(), xy.ReadSales(2))
    machine.run(1_000)
    assert machine.said(xy.JamList) == [xy.JamList((1,))]
    assert machine.said(xy.Sales) == [xy.Sales(1, 100)]


# --- each fault of a vend ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("profile", "faults", "statuses", "dropped"),
    [
        ("default", certain(jam=1), [0x01, 0x03], 0),
        ("default", certain(no_drop=1), [0x01, 0x03], 0),
        ("no-drop-sensor", certain(no_drop=1), [0x01, 0x02], 0),
        ("default", certain(double_drop=1), [0x01, 0x02], 2),
        ("default", certain(motor_missing=1), [0x06], 0),
        ("default", certain(motor_runs_on=1), [0x01, 0x04], 0),
        ("default", certain(slow=1), [0x01, 0x02], 1),
        ("default", certain(status_lost=1), [0x01], 1),
        ("default", certain(status_doubled=1), [0x01, 0x02, 0x02], 1),
        ("default", certain(wrong_status=1), [0x01, 0x02, 0x03], 1),
        ("default", certain(wrong_status=1, jam=1), [0x01, 0x03, 0x02], 0),
        ("default", {"drop_sensor": "blind"}, [0x01, 0x03], 1),
        ("default", {"drop_sensor": "stuck"}, [0x0A], 0),
        ("no-drop-sensor", {"drop_sensor": "stuck"}, [0x01, 0x02], 1),
        ("default", {"selections": {"1": {"jam": 1}, "2": {}}}, [0x01, 0x03], 0),
        ("default", {"selections": {"2": {"jam": 1}}}, [0x01, 0x02], 1),
    ],
)
def test_each_fault_of_a_vend_is_seen_on_the_wire(
    bench: NewBench, profile: str, faults: dict[str, object], statuses: list[int], dropped: int
) -> None:
    machine = bench(profile, faults).started()
    machine.drive(1)
    machine.run(VEND_MS)
    assert machine.statuses() == statuses
    assert machine.cabinet.items_dropped(1) == machine.cabinet.items_dropped() == dropped


def test_a_slow_motor_takes_three_times_as_long(bench: NewBench) -> None:
    machine = bench(faults=certain(slow=1)).started()
    machine.drive(1)
    machine.run(VEND_MS)
    dispensed_ms = machine.heard[-1][0]
    assert 3 * TURN_MS <= dispensed_ms - 3_000 <= 3 * TURN_MS + 1_000


def test_a_doubled_status_comes_under_two_pack_nos(bench: NewBench) -> None:
    machine = bench(faults=certain(status_doubled=1)).started()
    machine.drive(1)
    machine.run(VEND_MS)
    finals = [one for one in _frames(machine) if one.cmd == 0x04 and one.text[0] == 0x02]
    assert len({one.pack_no for one in finals}) == 2


def test_a_held_status_comes_so_much_later(bench: NewBench) -> None:
    machine = bench(faults=certain(hold_status_ms=20_000)).started()
    machine.drive(1)
    machine.run(20_000)
    assert machine.statuses() == [0x01]
    assert machine.cabinet.items_dropped() == 1
    machine.run(5_000)
    assert machine.statuses() == [0x01, 0x02]


def test_a_lost_ack_leaves_the_host_guessing_while_the_motor_turns(bench: NewBench) -> None:
    machine = bench(faults=certain(ack_lost=1)).started()
    machine.drive(1)
    machine.run(VEND_MS)
    assert machine.frames_sent(xy.ACK) == 0
    assert machine.statuses() == [0x01, 0x02]
    assert machine.cabinet.items_dropped() == 1


def test_with_the_door_open_a_check_is_paused_and_no_motor_turns(bench: NewBench) -> None:
    machine = bench().started()
    machine.cabinet.open_door(True)
    machine.say(xy.Check(1))
    machine.drive(1)
    machine.run(VEND_MS)
    assert machine.said(xy.CheckResult) == [xy.CheckResult(0x04, 1)]
    assert machine.statuses() == [0xFF]
    assert machine.cabinet.turns == 0


@pytest.mark.parametrize(
    ("cut_ms", "dropped", "turns"),
    [
        (-START_DELAY_MS, 0, 0),
        (-1, 0, 0),
        (0, 0, 0),
        (1, 0, 1),
        (DROP_AFTER_MS - 1, 0, 1),
        (DROP_AFTER_MS, 1, 1),
        (TURN_MS, 1, 1),
    ],
)
@pytest.mark.parametrize("off_ms", [0, 5_000])
def test_after_a_power_cut_in_a_vend_the_host_hears_31_and_no_result(
    bench: NewBench, cut_ms: int, dropped: int, turns: int, off_ms: int
) -> None:
    faults = {"power_cut": 1, "power_cut_ms": cut_ms, "power_off_ms": off_ms}
    machine = bench("counting", {"once": [faults]}).started()
    machine.drive(1)
    machine.run(VEND_MS)
    assert [status for status in machine.statuses() if status != 0x01] == []
    assert len(machine.said(xy.Synchronise)) == 1
    assert (machine.cabinet.items_dropped(), machine.cabinet.turns) == (dropped, turns)
    machine.say(xy.ReadSales(1))
    machine.run(1_000)
    assert machine.said(xy.Sales) == [xy.Sales(dropped, 100 * dropped)]


def test_a_status_cut_off_by_the_power_while_it_was_repeated_is_gone(bench: NewBench) -> None:
    machine = bench(faults={"once": [{"power_cut": 1, "power_cut_ms": TURN_MS + 500}]}).started()
    machine.drive(1)
    machine.run(START_DELAY_MS + TURN_MS)
    machine.answers = False
    machine.run(VEND_MS)
    finals = [one for one in _frames(machine) if one.cmd == 0x04 and one.text[0] == 0x02]
    assert 1 <= len(finals) <= 4
    assert machine.cabinet.items_dropped() == 1


def test_a_one_shot_fault_is_used_up_by_its_own_selection(bench: NewBench) -> None:
    machine = bench(faults={"once": [{"selection": 3, "jam": 1}, {"no_drop": 1}]}).started()
    machine.drive(3)
    machine.run(VEND_MS)
    assert machine.statuses() == [0x01, 0x03]
    assert len(machine.face.faults.once) == 1
    machine.drive(2)
    machine.run(VEND_MS)
    machine.drive(60)
    machine.run(VEND_MS)
    assert machine.statuses() == [0x01, 0x03, 0x01, 0x03, 0x01, 0x02]
    assert machine.face.faults.once == ()


def test_a_clock_jump_moves_the_clock_until_it_is_set_again(bench: NewBench) -> None:
    machine = bench().started()
    machine.say(xy.SetClock("20261001120000"))
    machine.run(500)
    machine.set_faults({"clock_jump_s": -86_400})
    machine.say(xy.ReadClock())
    machine.run(500)
    assert machine.said(xy.Clock)[-1].digits.startswith("202609301200")
    machine.say(xy.SetClock("20261001120000"), xy.ReadClock())
    machine.run(500)
    assert machine.said(xy.Clock)[-1].digits.startswith("202610011200")


# --- each fault of the line ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["silent", "unplugged"])
def test_a_silent_controller_sends_nothing_until_it_speaks_again(bench: NewBench, fault: str) -> None:
    machine = bench().started()
    machine.set_faults({fault: True})
    machine.face.receive(xy.write(xy.Check(1), 9, machine.profile), machine.now_ms)
    machine.run(5_000)
    assert machine.raw == b""
    machine.set_faults({})
    machine.run(5_000)
    assert machine.frames_sent(xy.POLL) > 0


def test_a_bad_checksum_is_seen_as_bad_bytes_and_the_data_comes_again(bench: NewBench) -> None:
    machine = bench().started()
    machine.set_faults({"line": {"bad_checksum": 0.5}})
    machine.face.press(2, machine.now_ms)
    machine.run(3_000)
    assert machine.said(xy.Selected) == [xy.Selected(2)]
    assert any(bad.error == "bad_checksum" for bad in machine.bad)


@pytest.mark.parametrize(
    "line",
    [
        {"bad_checksum": 1},
        {"frame_loss": 1},
        {"byte_loss": 1},
        {"cut_frame": 1},
    ],
)
def test_with_every_frame_spoilt_no_frame_is_heard(bench: NewBench, line: dict[str, float]) -> None:
    machine = bench(faults={"line": line})
    machine.face.power_on(0)
    machine.run(10_000)
    assert machine.heard == []
    assert machine.frames_sent(0x31) == 0


def test_a_doubled_frame_is_on_the_wire_twice(bench: NewBench) -> None:
    machine = bench().started()
    machine.set_faults({"line": {"frame_double": 1}})
    machine.face.press(2, machine.now_ms)
    machine.run(1_000)
    assert machine.frames_sent(0x05) == 2
    assert machine.said(xy.Selected) == [xy.Selected(2)]


def test_noise_between_frames_hides_none_of_them(bench: NewBench) -> None:
    machine = bench(faults={"line": {"noise": 1}}, seed=3)
    machine.face.power_on(0)
    machine.run(3_000)
    assert machine.said(xy.Synchronise) == [xy.Synchronise()]
    assert machine.bad


def test_delayed_bytes_keep_their_order_and_come_later(bench: NewBench) -> None:
    machine = bench(faults={"line": {"delay_ms": 60}}).started()
    machine.drive(1)
    machine.run(VEND_MS)
    assert machine.statuses() == [0x01, 0x02]
    assert machine.bad == []


@pytest.mark.parametrize("seed", range(20))
def test_on_a_bad_line_nothing_that_is_heard_is_false(bench: NewBench, seed: int) -> None:
    line = {
        "byte_loss": 0.01,
        "byte_flip": 0.01,
        "byte_double": 0.01,
        "cut_frame": 0.02,
        "frame_loss": 0.05,
        "noise": 0.05,
    }
    machine = bench(faults={"line": line}, seed=seed).started()
    for _ in range(5):
        machine.drive(1)
        machine.run(VEND_MS)
    assert machine.statuses().count(0x02) <= machine.cabinet.items_dropped() <= 5


# --- determinism ---------------------------------------------------------------------------------------------------


def _story(new: NewBench, seed: int) -> bytes:
    faults = {
        "vend": {"jam": 0.2, "no_drop": 0.2, "power_cut": 0.3, "status_lost": 0.2, "slow": 0.3},
        "line": {"byte_flip": 0.01, "delay_ms": 30, "noise": 0.1},
    }
    machine = new("counting", faults, seed).started()
    chance = Random(seed)
    for _ in range(10):
        machine.drive(chance.choice([1, 2, 3, 60]))
        machine.run(VEND_MS)
    return bytes(machine.raw) + repr(machine.cabinet.snapshot()).encode()


def test_one_seed_makes_one_story(bench: NewBench) -> None:
    assert _story(bench, 7) == _story(bench, 7)
    assert _story(bench, 7) != _story(bench, 8)


def test_a_late_tick_runs_everything_in_its_order(bench: NewBench) -> None:
    machine = bench().started()
    machine.drive(1)
    machine.run(500)
    machine.face.tick(machine.now_ms + 60_000)
    assert machine.cabinet.dropped[0].at_ms < machine.now_ms + TURN_MS


def _frames(machine: Any) -> list[xy.Frame]:
    parser = xy.Parser()
    return [one for one in parser.feed(bytes(machine.raw)) + parser.finish() if isinstance(one, xy.Frame)]
