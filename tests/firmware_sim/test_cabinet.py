"""The cabinet: what falls, what stays, and what a power cut takes."""

from __future__ import annotations

import json

import pytest

from jishan_sim.cabinet import DROP_AFTER_MS, OVERRUN_MS, TURN_MS, Cabinet, Drop, Motion, Slot, TurnEnd


def cabinet(**counts: bool) -> Cabinet:
    made = Cabinet([Slot(1, 3, 3), Slot(2, 1, 1)], **counts)
    made.restore_power()
    return made


def test_an_item_falls_within_the_turn_and_the_turn_ends_after_it() -> None:
    machine = cabinet()
    machine.turn(1, Motion(), 1_000)
    assert machine.next_event_ms == 1_000 + DROP_AFTER_MS
    assert machine.tick(1_000 + DROP_AFTER_MS - 1) == []
    assert machine.items_dropped() == 0
    assert machine.tick(1_000 + DROP_AFTER_MS) == []
    assert machine.dropped == [Drop(1_000 + DROP_AFTER_MS, 1, 1, True)]
    (ended,) = machine.tick(1_000 + TURN_MS)
    assert (ended.selection, ended.end, machine.turning, machine.slots[1].items) == (1, TurnEnd.DISPENSED, None, 2)


def test_a_late_look_finds_the_drop_at_its_own_time() -> None:
    machine = cabinet()
    machine.turn(1, Motion(), 0)
    (ended,) = machine.tick(60_000)
    assert ended.at_ms == TURN_MS
    assert machine.dropped[0].at_ms == DROP_AFTER_MS


@pytest.mark.parametrize(("cut_ms", "fallen"), [(0, 0), (DROP_AFTER_MS - 1, 0), (DROP_AFTER_MS, 1), (TURN_MS - 1, 1)])
def test_a_power_cut_leaves_what_has_not_fallen_and_brings_nothing_back(cut_ms: int, fallen: int) -> None:
    machine = cabinet()
    machine.turn(1, Motion(), 0)
    machine.tick(cut_ms)
    machine.cut_power()
    machine.restore_power()
    assert machine.tick(60_000) == []
    assert (machine.items_dropped(), machine.slots[1].items) == (fallen, 3 - fallen)


@pytest.mark.parametrize(
    ("motion", "end", "fallen", "length_ms"),
    [
        (Motion(stalls=True), TurnEnd.STALLED, 0, TURN_MS),
        (Motion(falls=0), TurnEnd.NO_DROP_SEEN, 0, TURN_MS),
        (Motion(falls=0, watched=False), TurnEnd.DISPENSED, 0, TURN_MS),
        (Motion(falls=2), TurnEnd.DISPENSED, 2, TURN_MS),
        (Motion(runs_on=True), TurnEnd.RAN_ON, 0, OVERRUN_MS),
    ],
)
def test_each_motion_ends_as_the_motor_and_the_sensor_see_it(
    motion: Motion, end: TurnEnd, fallen: int, length_ms: int
) -> None:
    machine = cabinet()
    machine.turn(1, motion, 0)
    (ended,) = machine.tick(60_000)
    assert (ended.end, machine.items_dropped(1), ended.at_ms) == (end, fallen, length_ms)


def test_an_empty_coil_turns_and_drops_nothing() -> None:
    machine = cabinet()
    machine.slots[2].items = 0
    machine.turn(2, Motion(), 0)
    assert [ended.end for ended in machine.tick(60_000)] == [TurnEnd.NO_DROP_SEEN]
    assert machine.dropped == []


def test_a_double_drop_takes_no_more_than_there_is() -> None:
    machine = cabinet()
    machine.turn(2, Motion(falls=2), 0)
    machine.tick(60_000)
    assert machine.items_dropped() == 1


def test_a_blind_sensor_sees_no_drop_and_the_item_is_gone() -> None:
    machine = cabinet()
    machine.drop_sensor = "blind"
    machine.turn(1, Motion(), 0)
    assert [ended.end for ended in machine.tick(60_000)] == [TurnEnd.NO_DROP_SEEN]
    assert machine.dropped == [Drop(DROP_AFTER_MS, 1, 1, False)]


def test_a_jammed_coil_stays_stuck_until_a_person_frees_it() -> None:
    machine = cabinet()
    machine.turn(1, Motion(stalls=True), 0)
    machine.tick(10_000)
    machine.turn(1, Motion(), 10_000)
    assert [ended.end for ended in machine.tick(20_000)] == [TurnEnd.STALLED]
    machine.refill(1)
    machine.turn(1, Motion(), 20_000)
    assert [ended.end for ended in machine.tick(30_000)] == [TurnEnd.DISPENSED]


@pytest.mark.parametrize(("at_drop", "counted_after_the_cut"), [(True, 1), (False, 0)])
def test_a_counter_that_survives_is_written_at_the_drop(at_drop: bool, counted_after_the_cut: int) -> None:
    machine = cabinet(counts_sales=True, counts_at_drop=at_drop)
    machine.turn(1, Motion(), 0)
    machine.tick(DROP_AFTER_MS)
    machine.cut_power()
    assert machine.memory.sales.get(1, [0, 0])[0] == counted_after_the_cut


@pytest.mark.parametrize("counts_at_drop", [True, False])
@pytest.mark.parametrize("watched", [True, False])
def test_a_sale_is_counted_once(counts_at_drop: bool, watched: bool) -> None:
    machine = cabinet(counts_sales=True, counts_stock=True, counts_at_drop=counts_at_drop)
    machine.turn(1, Motion(watched=watched), 0)
    machine.tick(60_000)
    assert (machine.memory.sales, machine.slots[1].stock) == ({1: [1, 100]}, 2)


def test_counters_that_do_not_count_host_vends_stand_still() -> None:
    machine = cabinet()
    machine.turn(1, Motion(), 0)
    machine.tick(60_000)
    assert (machine.memory.sales, machine.slots[1].stock) == ({}, 3)


def test_what_survives_goes_through_json_and_back() -> None:
    machine = cabinet(counts_sales=True)
    machine.turn(1, Motion(stalls=False), 0)
    machine.tick(60_000)
    machine.add_jam(2)
    machine.open_door(True)
    machine.set_temperature(None)
    other = cabinet()
    other.restore(json.loads(json.dumps(machine.snapshot())))
    assert other.snapshot() == machine.snapshot()
    assert other.dropped == machine.dropped


def test_the_revision_grows_with_every_drop() -> None:
    machine = cabinet()
    before = machine.revision
    machine.turn(1, Motion(), 0)
    machine.tick(DROP_AFTER_MS)
    assert machine.revision > before


def test_a_motor_turns_only_with_power_and_alone() -> None:
    machine = cabinet()
    machine.turn(1, Motion(), 0)
    with pytest.raises(AssertionError, match="one motor"):
        machine.turn(2, Motion(), 1)
    machine.cut_power()
    with pytest.raises(AssertionError, match="power"):
        machine.turn(2, Motion(), 1)
