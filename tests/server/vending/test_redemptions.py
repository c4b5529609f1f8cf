"""The life of a redemption at the server, told by one machine over the link."""

from __future__ import annotations

import pytest
from link_world import MACHINE, PRICE, PRODUCT, SELECTION, STOCK, Box, World

from jishan_protocol.messages import (
    Approved,
    Denied,
    Dispensed,
    Found,
    NotDispensed,
    NotStarted,
    OutcomeUnknown,
    ProvedDispensed,
    ProvedNotDispensed,
    VendStarted,
)


def test_an_item_that_leaves_takes_the_points(world: World, box: Box) -> None:
    answer = box.ask(0)
    assert isinstance(answer, Approved)
    assert (answer.available_points, answer.vend_within_s) == (8, 30)
    assert world.balance(0) == (10, 2)
    assert world.slot() == (STOCK, 1, None)
    assert box.start(answer).upto == 1
    assert world.state(answer.redemption_id) == "vending"
    assert box.dispense(answer.redemption_id).upto == 2
    assert world.state(answer.redemption_id) == "captured"
    assert world.balance(0) == (8, 0)
    assert world.slot() == (STOCK - 1, 0, None)
    assert world.alerts() == []


def test_a_jam_gives_the_points_back_and_closes_the_slot(world: World, box: Box) -> None:
    id = box.vend()
    box.say(NotDispensed(id, "03", "selection"))
    assert world.state(id) == "voided"
    assert world.balance(0) == (10, 0)
    assert world.slot() == (STOCK, 0, "not_dispensed")
    assert [kind for kind, _, _ in world.alerts()] == ["slot_closed"]
    refused = box.ask(0)
    assert isinstance(refused, Denied)
    assert refused.code == "selection_closed"


def test_a_vend_that_never_began_gives_the_points_back(world: World, box: Box) -> None:
    answer = box.ask(0)
    box.say(NotStarted(answer.redemption_id, "lapsed"))
    assert world.state(answer.redemption_id) == "voided"
    assert world.balance(0) == (10, 0)
    assert world.slot() == (STOCK, 0, None)


def test_a_redemption_in_doubt_keeps_the_points_and_tells_a_person(world: World, box: Box) -> None:
    id = box.vend()
    box.say(OutcomeUnknown(id, "restarted"))
    assert world.state(id) == "in_doubt"
    assert world.balance(0) == (10, 2)
    assert world.slot() == (STOCK, 1, "in_doubt")
    assert world.alerts() == [("redemption_open", id, "urgent")]


def test_a_proof_ends_the_doubt_opens_the_slot_and_settles_the_alert(world: World, box: Box) -> None:
    id = box.vend()
    box.say(OutcomeUnknown(id, "restarted"))
    box.say(ProvedDispensed(id, "sales 4 -> 5"))
    assert world.state(id) == "captured"
    assert world.balance(0) == (8, 0)
    assert world.slot() == (STOCK - 1, 0, None)
    assert world.alerts() == []


def test_one_in_doubt_does_not_shut_the_resident_out(world: World, box: Box) -> None:
    box.say(OutcomeUnknown(box.vend(), "restarted"))
    assert isinstance(box.ask(0, selection=14, points=5), Approved)
    assert world.balance(0) == (10, 7)


def test_an_authorize_that_is_sent_again_is_answered_from_memory(world: World, box: Box) -> None:
    first = box.ask(0, redemption_id="a" * 32)
    again = box.ask(0, redemption_id="a" * 32)
    assert first == again
    assert world.balance(0) == (10, 2)
    assert isinstance(first, Approved)
    box.start(first)
    assert box.ask(0, redemption_id="a" * 32) == Found("a" * 32, "vending")


def test_an_authorize_twice_in_one_batch_holds_once(world: World, box: Box) -> None:
    wish = box.wish(0, redemption_id="b" * 32)
    answers = box.read(world.deliver([wish, wish]))
    assert len(answers) == 2
    assert answers[0] == answers[1]
    assert world.balance(0) == (10, 2)


def test_a_denial_is_answered_from_memory_in_the_same_words(world: World, box: Box) -> None:
    first = box.ask(1, redemption_id="c" * 32)
    world.give(1, 50)
    assert box.ask(1, redemption_id="c" * 32) == first
    assert isinstance(first, Denied)
    assert "2" in first.text_zh


def test_the_same_id_for_something_else_is_refused(world: World, box: Box) -> None:
    box.ask(0, redemption_id="d" * 32)
    other = box.ask(0, redemption_id="d" * 32, selection=14, points=5)
    assert isinstance(other, Denied)
    assert other.code == "idempotency_conflict"
    assert world.balance(0) == (10, 2)


def test_an_authorize_after_its_not_started_finds_it_voided(world: World, box: Box) -> None:
    box.say(NotStarted("e" * 32, "lapsed"))
    assert box.ask(0, redemption_id="e" * 32) == Found("e" * 32, "voided")
    assert world.balance(0) == (10, 0)
    assert world.slot() == (STOCK, 0, None)


@pytest.mark.parametrize(
    ("wish", "code"),
    [
        ({"selection": 99}, "selection_unknown"),
        ({"selection": 15}, "selection_closed"),
        ({"points": PRICE + 1}, "changed"),
        ({"product": "rice"}, "changed"),
        ({"version": 2}, "changed"),
    ],
)
def test_what_is_not_sold_so_is_refused(world: World, box: Box, wish: dict[str, object], code: str) -> None:
    answer = box.ask(0, **wish)
    assert isinstance(answer, Denied)
    assert answer.code == code
    assert answer.text_zh
    assert answer.text_en
    assert world.balance(0) == (10, 0)
    assert world.slot() == (STOCK, 0, None)


def test_too_few_points_are_refused_with_both_numbers(world: World, box: Box) -> None:
    world.give(1, 1)
    answer = box.ask(1)
    assert isinstance(answer, Denied)
    assert answer.code == "not_enough_points"
    assert "takes 2, and 1" in answer.text_en
    assert world.balance(1) == (1, 0)
    assert world.slot() == (STOCK, 0, None)


def test_a_second_redemption_while_one_is_open_is_refused(world: World, box: Box) -> None:
    box.ask(0)
    answer = box.ask(0, selection=14, points=5)
    assert isinstance(answer, Denied)
    assert answer.code == "another_redemption_open"
    assert world.balance(0) == (10, 2)


def test_the_last_item_goes_to_one_of_two_in_the_same_batch(world: World) -> None:
    box = world.machine(stock=1)
    for resident in (0, 1):
        world.give(resident, 10)
    first, second = box.read(world.deliver([box.wish(0), box.wish(1)]))
    assert isinstance(first, Approved)
    assert isinstance(second, Denied)
    assert second.code == "sold_out"
    assert (world.balance(0), world.balance(1)) == ((10, 2), (10, 0))
    assert world.slot() == (1, 1, None)


def test_who_has_no_points_takes_no_item_from_the_next_in_the_batch(world: World) -> None:
    box = world.machine(stock=1)
    world.give(1, 10)
    first, second = box.read(world.deliver([box.wish(0), box.wish(1)]))
    assert isinstance(first, Denied)
    assert first.code == "not_enough_points"
    assert isinstance(second, Approved)
    assert world.slot() == (1, 1, None)


def test_a_hundred_asks_of_one_batch_hold_exactly_the_stock(world: World) -> None:
    box = world.machine(stock=10)
    for resident in range(6):
        world.give(resident, 100)
    answers = box.read(world.deliver([box.wish(number % 6) for number in range(100)]))
    assert [type(answer) for answer in answers].count(Approved) == 6
    codes = {answer.code for answer in answers if isinstance(answer, Denied)}
    assert codes == {"another_redemption_open"}
    assert world.slot() == (10, 6, None)


def test_an_outcome_told_twice_counts_once(world: World, box: Box) -> None:
    id = box.vend()
    box.dispense(id)
    before = world.balance(0)
    ack = box.dispense(id)
    assert ack.rejected == ()
    assert world.balance(0) == before == (8, 0)
    assert world.slot() == (STOCK - 1, 0, None)
    assert world.alerts() == []


def test_the_opposite_outcome_changes_nothing_and_is_shown_to_a_person(world: World, box: Box) -> None:
    id = box.vend()
    box.dispense(id)
    ack = box.say(NotDispensed(id, "03", "selection"))
    assert ack.rejected == ()
    assert world.state(id) == "captured"
    assert world.balance(0) == (8, 0)
    assert ("contradiction", f"{id}:not_dispensed", "urgent") in world.alerts()


def test_an_outcome_of_a_redemption_the_machine_never_had_is_kept_and_refused(world: World, box: Box) -> None:
    ack = box.say(Dispensed("f" * 32, True, "02"))
    assert (ack.upto, ack.rejected) == (1, (1,))
    assert world.state("f" * 32) is None
    assert world.balance(0) == (10, 0)
    assert world.alerts() == [("rejected_message", f"{MACHINE}:redemption_unknown", "urgent")]


def test_an_outcome_of_another_machines_redemption_is_kept_and_refused(world: World, box: Box) -> None:
    id = box.vend()
    other = world.machine("box-2")
    ack = other.say(Dispensed(id, True, "02"))
    assert (ack.upto, ack.rejected) == (1, (1,))
    assert world.state(id) == "vending"
    assert world.balance(0) == (10, 2)
    assert world.alerts() == [("rejected_message", "box-2:foreign_redemption", "urgent")]


def test_an_outcome_without_a_start_is_kept_and_refused(world: World, box: Box) -> None:
    answer = box.ask(0)
    ack = box.dispense(answer.redemption_id)
    assert ack.rejected == (1,)
    assert world.state(answer.redemption_id) == "held"
    assert world.balance(0) == (10, 2)


def test_a_start_of_something_else_than_was_approved_is_kept_and_refused(world: World, box: Box) -> None:
    answer = box.ask(0)
    assert isinstance(answer, Approved)
    ack = box.say(VendStarted(answer.redemption_id, answer.approval, 14, PRODUCT, PRICE, None))
    assert ack.rejected == (1,)
    assert world.state(answer.redemption_id) == "held"


def test_a_start_after_the_points_went_back_is_a_contradiction(world: World, box: Box) -> None:
    answer = box.ask(0)
    assert isinstance(answer, Approved)
    box.say(NotStarted(answer.redemption_id, "lapsed"))
    box.start(answer)
    assert world.state(answer.redemption_id) == "voided"
    assert world.balance(0) == (10, 0)
    assert ("contradiction", f"{answer.redemption_id}:vend_started", "urgent") in world.alerts()


def test_a_jam_that_closes_the_machine_sells_nothing_more(world: World, box: Box) -> None:
    box.say(NotDispensed(box.vend(), "0a", "machine"))
    answer = box.ask(0, selection=14, points=5)
    assert isinstance(answer, Denied)
    assert answer.code == "machine_closed"
    assert world.balance(0) == (10, 0)
    desired = box.desired(box.beat())
    assert desired is not None
    assert desired.is_closed


def test_whole_redemptions_of_many_machines_in_one_batch(world: World) -> None:
    boxes = [world.machine(f"box-{number}", stock=10) for number in range(5)]
    for resident in range(5):
        world.give(resident, 10)
    approved = [box.ask(resident) for resident, box in enumerate(boxes)]
    batch = []
    for box, answer in zip(boxes, approved, strict=True):
        assert isinstance(answer, Approved)
        batch.append(box.next(VendStarted(answer.redemption_id, answer.approval, SELECTION, PRODUCT, PRICE, None)))
        batch.append(box.next(Dispensed(answer.redemption_id, True, "02")))
    world.deliver(batch)
    assert [world.balance(resident) for resident in range(5)] == [(8, 0)] * 5
    assert {world.slot(box.id) for box in boxes} == {(9, 0, None)}


def test_a_proven_jam_gives_the_points_back_and_closes_the_selection(world: World, box: Box) -> None:
    redemption_id = box.vend()
    box.say(OutcomeUnknown(redemption_id, "restarted"))
    box.say(ProvedNotDispensed(redemption_id, "new in the jam list"))
    assert world.state(redemption_id) == "voided"
    assert world.balance(0) == (10, 0)
    answer = box.ask(0)
    assert isinstance(answer, Denied)
    assert answer.code == "selection_closed"
    assert ("slot_closed", f"{box.id}:13", "warning") in world.alerts()
