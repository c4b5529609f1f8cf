"""Vouchers at the machine: taken once whatever happens, refused with words, and closed for good."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from jishan_agent import vending
from jishan_agent.dispensers import base
from jishan_agent.journal import JournalBroken
from jishan_agent.keying import Entry, pressed
from jishan_agent.readers.serial_keypad import keys
from jishan_agent.vending import Prompted
from jishan_agent.vouchers import CLOSED_MS, MAX_WRONG, Promised, VoucherShown
from jishan_agent.words import Say
from jishan_protocol import vouchers
from jishan_protocol.messages import CloseVouchers, Fault, Slot, VouchersClosed
from jishan_protocol.vouchers import Voucher

PRIVATE_KEY = bytes(range(32))
KEY, MACHINE = bytes(range(32)), "m1"
SELECTION = 13


class Killed(BaseException):
    """The process ends here."""


def slot(bench: Any) -> Slot:
    found: Slot = next(one for one in bench.server.desired.slots if one.selection == SELECTION)
    return found


def voucher(bench: Any, number: int = 1, **changes: Any) -> Voucher:
    sold = slot(bench)
    one = Voucher(MACHINE, bench.journal.journal_id, number, SELECTION, sold.product_id, sold.points, "resident-1")
    return dataclasses.replace(one, **changes)


def close(bench: Any, up_to: int = 0, *numbers: int) -> None:
    bench.server.send("desired", CloseVouchers(up_to, numbers, vouchers.public_key(PRIVATE_KEY)))
    bench.run(5_000)


def scan(bench: Any, one: Voucher, key: bytes = PRIVATE_KEY) -> None:
    bench.agent.handle(VoucherShown(vouchers.write(one, key)), bench.now_ms)


def type_digits(bench: Any, digits: str | None) -> None:
    assert digits is not None
    bench.agent.handle(VoucherShown(digits), bench.now_ms)


def vends(bench: Any) -> list[str]:
    return [message.redemption_id for message in bench.server.inbox if type(message).__name__ == "VendStarted"]


@pytest.fixture
def known(bench: Any) -> Any:
    """A machine that has the server's key, and whose link is down."""
    close(bench)
    bench.unlink()
    return bench


def test_a_voucher_gives_its_item_while_the_link_is_down(known: Any) -> None:
    one = voucher(known)
    known.press()
    assert known.said == "offline"
    scan(known, one)
    known.run(60_000)
    assert known.said == "dispensed"
    known.link()
    known.until("Dispensed")
    assert known.server.names()[-2:] == ["VendStarted", "Dispensed"]
    started = known.server.inbox[-2]
    assert (started.redemption_id, started.points) == (one.redemption_id, one.points)
    assert vouchers.read(started.approval, vouchers.public_key(PRIVATE_KEY)) == one
    assert not known.server.asks, "nobody was asked"


def test_digits_do_the_same(known: Any) -> None:
    one = voucher(known)
    type_digits(known, vouchers.write_digits(one, KEY))
    known.run(60_000)
    assert known.said == "dispensed"
    type_digits(known, vouchers.write_digits(one, KEY))
    assert known.said == "voucher_used"


def test_a_voucher_is_taken_once(known: Any) -> None:
    one = voucher(known)
    for _ in range(3):
        scan(known, one)
        known.run(60_000)
    assert known.said == "voucher_used"
    known.link()
    known.until("Dispensed")
    assert vends(known) == [one.redemption_id]


def test_with_the_link_up_it_is_the_same(bench: Any) -> None:
    close(bench)
    scan(bench, voucher(bench))
    bench.until("Dispensed")
    assert bench.said == "dispensed"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"machine_id": "m-other"}, "voucher_elsewhere"),
        ({"journal_id": "j-old"}, "voucher_ended"),
        ({"points": 999}, "voucher_changed"),
        ({"product_id": "another"}, "voucher_changed"),
        ({"selection": 99}, "voucher_changed"),
    ],
)
def test_what_does_not_fit_here_is_refused_and_stays(known: Any, changes: dict[str, Any], code: str) -> None:
    scan(known, voucher(known, **changes))
    known.run(10_000)
    assert known.said == code
    scan(known, voucher(known))
    known.run(60_000)
    assert known.said == "dispensed"


def test_what_the_server_did_not_sign_is_refused(known: Any) -> None:
    scan(known, voucher(known), bytes(32))
    assert known.said == "voucher_wrong"
    known.agent.handle(VoucherShown("JSV1:what"), known.now_ms)
    assert known.said == "voucher_unreadable"


def test_a_machine_without_the_key_takes_none(bench: Any) -> None:
    scan(bench, voucher(bench))
    assert bench.said == "voucher_not_here"


def test_a_slot_that_is_closed_refuses_and_the_voucher_stays(bench: Any) -> None:
    close(bench)
    before = bench.server.desired
    slots = tuple(dataclasses.replace(one, is_enabled=False) for one in before.slots)
    bench.server.desired = dataclasses.replace(before, version=before.version + 1, slots=slots)
    bench.run(40_000)
    scan(bench, voucher(bench))
    bench.run(10_000)
    assert bench.said == "voucher_later"
    bench.server.desired = dataclasses.replace(before, version=before.version + 2)
    bench.run(40_000)
    scan(bench, voucher(bench))
    bench.until("Dispensed")


def test_a_selection_that_the_dispenser_cannot_sell_leaves_the_voucher_as_it_was(known: Any) -> None:
    known.vmc.check_status = 0x03
    before = known.journal.last_seq
    scan(known, voucher(known))
    known.run(10_000)
    assert known.said == "voucher_later"
    assert known.journal.voucher_ended(1) == ""
    assert known.journal.last_seq - before <= 1, "a fault for staff, and nothing about the redemption"
    assert not known.journal.redemptions(9)


@pytest.mark.parametrize("up_to", [1, 0])
def test_a_closed_number_is_refused_for_good_and_said_so(bench: Any, up_to: int) -> None:
    close(bench, up_to, *(() if up_to else (1,)))
    bench.run(20_000)
    assert [one for one in bench.server.inbox if isinstance(one, VouchersClosed)][-1].up_to == up_to
    bench.unlink()
    bench.crash()
    bench.start()
    bench.run(20_000)
    scan(bench, voucher(bench))
    bench.run(20_000)
    assert bench.said == "voucher_ended"
    scan(bench, voucher(bench, 2))
    bench.run(60_000)
    assert bench.said == "dispensed"


def test_what_was_shown_does_not_begin_after_its_number_is_closed(bench: Any) -> None:
    close(bench)
    one = voucher(bench)
    scan(bench, one)
    closing = CloseVouchers(1, (), vouchers.public_key(PRIVATE_KEY))
    bench.agent._take_closing(closing, bench.now_ms)
    bench.run(60_000)
    assert bench.said == "voucher_ended"
    assert vends(bench) == []
    assert VouchersClosed(1, ()) in bench.server.inbox


def test_the_same_closing_is_answered_once_while_the_answer_is_under_way(bench: Any) -> None:
    close(bench)
    bench.server.acks = False
    for _ in range(3):
        close(bench, 5)
    assert len([one for one in bench.server.inbox if one == VouchersClosed(5, ())]) == 1


STEPS = ("vending_journaled", "drive_sent", "result_received", "result_journaled")


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("is_typed", [False, True])
def test_a_process_that_dies_at_any_step_gives_one_item_at_most(known: Any, step: str, is_typed: bool) -> None:
    one = voucher(known)

    def show() -> None:
        if is_typed:
            type_digits(known, vouchers.write_digits(one, KEY))
        else:
            scan(known, one)

    known.crash_at(step, Killed)
    try:
        show()
        known.run(60_000)
    except Killed:
        known.crash()
        known.start()
    else:
        raise AssertionError("it was not killed")
    for _ in range(3):
        known.run(120_000)
        show()
    known.run(120_000)
    assert known.said in ("voucher_used", "recovering", "machine_fault")
    known.link()
    known.run(120_000)
    assert vends(known) == [one.redemption_id]


def test_five_wrong_tries_close_the_digits_and_not_the_texts(known: Any) -> None:
    digits = vouchers.write_digits(voucher(known), bytes(32))
    for _ in range(MAX_WRONG):
        type_digits(known, digits)
        assert known.said == "voucher_wrong"
    type_digits(known, vouchers.write_digits(voucher(known), KEY))
    assert known.said == "voucher_digits_closed"
    known.crash()
    known.start()
    known.run(CLOSED_MS - 60_000)
    type_digits(known, vouchers.write_digits(voucher(known), KEY))
    assert known.said == "voucher_digits_closed", "a restart does not open them"
    scan(known, voucher(known, 2))
    known.run(60_000)
    assert known.said == "dispensed"
    known.run(CLOSED_MS)
    type_digits(known, vouchers.write_digits(voucher(known), KEY))
    known.run(60_000)
    assert known.said == "dispensed"
    known.link()
    known.run(20_000)
    assert any(isinstance(one, Fault) and one.code == "voucher_digits" for one in known.server.inbox)


def test_slips_of_the_finger_close_nothing(known: Any) -> None:
    digits = vouchers.write_digits(voucher(known), KEY)
    assert digits is not None
    for _ in range(3 * MAX_WRONG):
        type_digits(known, digits[:-1] + str((int(digits[-1]) + 1) % 10))
        assert known.said == "voucher_unreadable"
    type_digits(known, digits)
    known.run(60_000)
    assert known.said == "dispensed"


def test_a_used_voucher_does_not_forget_the_wrong_tries(known: Any) -> None:
    used = vouchers.write_digits(voucher(known), KEY)
    type_digits(known, used)
    known.run(60_000)
    wrong = vouchers.write_digits(voucher(known, 2), bytes(32))
    for _ in range(MAX_WRONG):
        type_digits(known, used)
        type_digits(known, wrong)
    type_digits(known, used)
    assert known.said == "voucher_digits_closed"


def test_the_journal_itself_refuses_a_second_taking(known: Any) -> None:
    known.journal.write(lambda: known.journal.take_voucher(7))
    with pytest.raises(JournalBroken):
        known.journal.write(lambda: known.journal.take_voucher(7))


def test_a_journal_made_before_vouchers_is_as_good(make_bench: Callable[..., Any]) -> None:
    bench = make_bench()
    bench.connection.execute("DROP TABLE vouchers")
    bench.crash()
    bench.start()
    bench.ready()
    close(bench)
    scan(bench, voucher(bench))
    bench.until("Dispensed")


def test_sixteen_digits_on_a_keypad_are_a_voucher() -> None:
    def typed(text: bytes) -> list[object]:
        entry, found = Entry(), []
        for key in keys(text).keys:
            entry, entered = pressed(entry, key, 0, None)
            found.append(entered)
        return [one for one in found if one is not None]

    assert typed(b"0000 1701 3123 4567\r") == [VoucherShown("0000 1701 3123 4567")]
    assert typed(b"123456789\r") == [Prompted("number_wrong")]


def test_where_the_machine_wants_a_press_the_voucher_waits_for_it(known: Any) -> None:
    sold, one = slot(known), voucher(known)
    around = vending.Surroundings("offline", 3, {SELECTION: sold}, frozenset(), lambda uid: False, "id")
    shown = vending.step(vending.Vending(), Promised(one, "text"), 0, around)
    waiting = vending.step(shown.state, base.Checked(SELECTION, False, base.NOT_PRESSED), 10, around)
    assert not waiting.writes
    assert [type(action) for action in waiting.actions] == [vending.Begin, Say]
    dearer = vending.step(waiting.state, base.Pressed(SELECTION, sold.points + 1), 20, around)
    assert vending.Cancel() in dearer.actions
    pressed = vending.step(waiting.state, base.Pressed(SELECTION, sold.points), 20, around)
    began = vending.step(pressed.state, base.Checked(SELECTION, True, "ready"), 30, around)
    assert vending.Take(1) in began.writes
    closing = CloseVouchers(1, (), vouchers.public_key(PRIVATE_KEY))
    closed = vending.step(waiting.state, closing, 20, around)
    assert closed.state == vending.Vending()
    late = vending.step(waiting.state, vending.TimePassed(), 10 + vending.CHOICE_MS, around)
    assert not late.writes
    assert late.state == vending.Vending()
