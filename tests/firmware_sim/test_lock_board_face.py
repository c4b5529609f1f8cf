"""What a host sees on the line of a simulated grid locker: when nothing is wrong, and under each fault."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from jishan_protocol.dispensers import lock_board as codec
from jishan_sim.faces.lock_board import CLOSES_AFTER_MS, LEFT_OPEN_MS

sys.path.append(str(Path(__file__).parent))
from board_bench import BoardBench

DEFAULT = codec.PROFILES["default"]
OPEN_1 = "8A 01 01 11 9B"
QUERY_1 = "80 01 01 33 B3"
SHUT, STANDS_OPEN = bytes.fromhex("80 01 01 11 91"), bytes.fromhex("80 01 01 00 80")


def locker(profile: str = "default", **faults: Any) -> BoardBench:
    return BoardBench("lock-board", profile, **faults)


def vend(**faults: Any) -> BoardBench:
    return locker("reporting", vend=faults)


def answers(raw: bytes, profile: codec.LockBoardProfile = DEFAULT) -> list[codec.Answer | None]:
    found = codec.reader(profile).feed(raw)
    return [codec.read_answer(one) for one in found if isinstance(one, bytes)]


def test_a_query_is_answered_with_the_contact() -> None:
    bench = locker()
    assert bench.say(QUERY_1) == SHUT
    assert bench.heard[0][0] == 1_010


def test_with_the_other_wiring_the_contact_is_made_when_the_door_is_open() -> None:
    bench = locker("made-when-open")
    assert bench.say(QUERY_1) == STANDS_OPEN, "not made: the door is shut"
    bench.say(OPEN_1, 1_000)
    assert bench.say(QUERY_1) == SHUT, "made: it is open"


def test_the_command_opens_the_door_and_an_item_leaves() -> None:
    bench = locker()
    assert bench.say(OPEN_1, 1_000) == bytes.fromhex("8A 01 01 00 8A")
    assert bench.cabinet.items_dropped(1) == bench.cabinet.items_dropped() == 1
    assert bench.say(QUERY_1) == STANDS_OPEN
    bench.run(CLOSES_AFTER_MS)
    assert bench.say(QUERY_1) == SHUT


def test_an_open_door_lets_nothing_more_out() -> None:
    bench = locker()
    bench.say(OPEN_1, 1_000)
    bench.say(OPEN_1, 1_000)
    assert bench.cabinet.items_dropped() == 1


def test_a_changed_contact_is_told_by_boards_that_do_so() -> None:
    assert locker("reporting").say(OPEN_1, 1_000) == bytes.fromhex("82 01 01 00 82 8A 01 01 00 8A")
    bench = locker("reporting")
    bench.say(OPEN_1, 1_000)
    bench.heard.clear()
    bench.run(CLOSES_AFTER_MS)
    assert [raw for _, raw in bench.heard] == [bytes.fromhex("82 01 01 11 93")]


def test_a_question_for_the_whole_board_is_answered_lock_by_lock() -> None:
    bench = locker()
    assert answers(bench.say("80 01 00 33 B2")) == [codec.Contacts(1, (1, 2, 3, 4))]
    bench.say("8A 01 02 11 98", 1_000)
    assert answers(bench.say("80 01 00 33 B2")) == [codec.Contacts(1, (1, 3, 4))]


def test_all_locks_open_one_after_the_other() -> None:
    bench = locker()
    bench.say("8A 01 00 11 9A", 30_000)
    assert [drop.selection for drop in bench.cabinet.dropped] == [1, 2, 3, 4]


def test_several_locks_open_by_their_bits() -> None:
    bench = locker()
    bench.say(codec.write(codec.OpenSeveral(1, (2, 4)), DEFAULT), 5_000)
    assert [drop.selection for drop in bench.cabinet.dropped] == [2, 4]


def test_each_board_answers_for_itself_and_one_that_is_not_there_says_nothing() -> None:
    profile = codec.PROFILES["four-boards-hundreds"]
    bench = BoardBench("lock-board", profile.name, (101, 210))
    assert bench.say("8A 02 0A 11 93", 1_000) == bytes.fromhex("8A 02 0A 00 82")
    assert bench.cabinet.items_dropped(210) == bench.cabinet.items_dropped() == 1
    assert bench.say(codec.write(codec.Query(5, 1), profile)) == b""


def test_a_lock_that_is_not_wired_reads_not_made() -> None:
    assert locker().say(codec.write(codec.Query(1, 9), DEFAULT)) == codec.write(codec.Contact(1, 9, False), DEFAULT)


@pytest.mark.parametrize("fault", ["jam", "no_drop", "motor_missing"])
def test_a_door_that_does_not_open_lets_nothing_out(fault: str) -> None:
    bench = vend(**{fault: 1})
    assert answers(bench.say(OPEN_1, 2_000)) == [codec.OpenAnswer(1, 1, True)]
    assert bench.cabinet.items_dropped() == 0
    assert bench.say(QUERY_1) == SHUT


def test_a_door_that_is_stuck_stays_so_until_somebody_frees_it() -> None:
    bench = locker(once=[{"jam": 1}])
    bench.say(OPEN_1, 2_000)
    bench.say(OPEN_1, 2_000)
    assert bench.cabinet.items_dropped() == 0
    bench.cabinet.refill(1)
    bench.say(OPEN_1, 2_000)
    assert bench.cabinet.items_dropped() == 1


def test_slow_is_a_resident_who_leaves_the_door_open() -> None:
    bench = vend(slow=1)
    bench.say(OPEN_1, 2_000)
    bench.run(LEFT_OPEN_MS - 5_000)
    assert bench.say(QUERY_1) == STANDS_OPEN
    bench.run(5_000)
    assert bench.say(QUERY_1) == SHUT


def test_double_drop_is_two_items_in_one_cell() -> None:
    bench = vend(double_drop=1)
    bench.say(OPEN_1, 2_000)
    assert bench.cabinet.items_dropped(1) == 2


def test_the_answer_to_the_command_can_be_lost() -> None:
    assert answers(vend(ack_lost=1).say(OPEN_1, 2_000)) == [codec.ContactChanged(1, 1, False)]


@pytest.mark.parametrize(
    ("faults", "told"),
    [
        ({"status_lost": 1}, []),
        ({"status_doubled": 1}, [False, False]),
        ({"wrong_status": 1}, [False, True]),
    ],
)
def test_what_the_board_says_by_itself_can_be_lost_doubled_and_wrong(faults: dict[str, Any], told: list[bool]) -> None:
    found = answers(vend(**faults).say(OPEN_1, 2_000))
    assert [one.is_made for one in found if isinstance(one, codec.ContactChanged)] == told


def test_what_the_board_says_by_itself_can_come_late() -> None:
    bench = vend(hold_status_ms=2_000)
    bench.say(OPEN_1, 5_000)
    assert [at_ms for at_ms, raw in bench.heard if raw.startswith(b"\x82")] == [1_000 + 200 + 100 + 2_000 + 10]


@pytest.mark.parametrize(
    ("power_cut_ms", "dropped"), [(-100, 0), (50, 0), (150, 1)], ids=["before", "within", "after the door opened"]
)
def test_a_power_cut_leaves_the_door_as_it_is(power_cut_ms: int, dropped: int) -> None:
    bench = vend(power_cut=1, power_cut_ms=power_cut_ms)
    bench.say(OPEN_1, 1_000)
    assert bench.cabinet.items_dropped() == dropped
    assert not bench.cabinet.powered
    bench.run(2_500)
    assert bench.say(QUERY_1) == (STANDS_OPEN if dropped else SHUT)


def test_a_board_without_power_says_nothing_and_hears_nothing_until_it_is_up() -> None:
    bench = locker()
    bench.face.power_cut(bench.now_ms)
    assert bench.say(QUERY_1) == b""
    bench.face.power_on(bench.now_ms)
    assert bench.say(QUERY_1) == b""
    bench.run(1_000)
    assert bench.say(QUERY_1) == SHUT


@pytest.mark.parametrize(("contact", "before", "after"), [("blind", SHUT, SHUT), ("stuck", STANDS_OPEN, STANDS_OPEN)])
def test_a_broken_contact_says_always_the_same(contact: str, before: bytes, after: bytes) -> None:
    bench = locker(drop_sensor=contact)
    assert bench.say(QUERY_1) == before
    bench.say(OPEN_1, 1_000)
    assert bench.say(QUERY_1) == after
    assert bench.cabinet.items_dropped() == 1


def test_somebody_with_a_key_opens_every_door() -> None:
    bench = locker()
    bench.cabinet.open_door(True)
    assert bench.say(QUERY_1) == STANDS_OPEN
    bench.say(OPEN_1, 1_000)
    assert bench.cabinet.items_dropped() == 0


@pytest.mark.parametrize("fault", ["silent", "unplugged"])
def test_nothing_is_heard_of_a_silent_board(fault: str) -> None:
    bench = locker(**{fault: True})
    assert bench.say(QUERY_1) == b""
    bench.say(OPEN_1, 1_000)
    assert bench.cabinet.items_dropped() == (fault == "silent")


def test_bytes_that_are_no_frame_are_counted_and_logged() -> None:
    bench = locker()
    bench.say("8A 01 01 11 9A")
    assert bench.say(QUERY_1) == SHUT
    assert bench.face.bad_bytes == 5
    assert [one.sender for one in bench.face.log] == ["host", "host", "board"]
