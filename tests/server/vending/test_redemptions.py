"""The life of a redemption at the server, told by one machine over the link."""

from __future__ import annotations

from link_world import STOCK, Box, World

from jishan_protocol.messages import (
    Approved,
    Denied,
    NotDispensed,
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
