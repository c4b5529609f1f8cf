"""Machines as people find them: what is left, for how many points, and whether they sell now."""

from __future__ import annotations

from link_world import MACHINE, SELECTION, STOCK, Box

from jishan_server.organizations.roles import SYSTEM
from jishan_server.vending import finding, machines


def test_a_machine_is_found_by_its_name_with_what_may_still_be_chosen(box: Box) -> None:
    world = box.world
    box.beat()
    (found,) = finding.around(world.connection, {world.people.estate_id})
    assert (found["name"], found["estate_name"], found["state"]) == ("门口", "江畔家园", "selling")
    # One line for each product and price: the disabled slot counts for nothing.
    assert [(line["product_zh"], line["points"], line["left"]) for line in found["goods"]] == [
        ("肥皂", 2, STOCK),
        ("肥皂", 5, STOCK),
    ]
    world.connection.rollback()
    world.give(0, 10)
    box.vend()
    (found,) = finding.around(world.connection, name="畔家")
    assert found["goods"][0]["left"] == STOCK - 1
    for nothing in ("%", "\\", "nowhere"):
        assert finding.around(world.connection, name=nothing) == []
    assert finding.around(world.connection, set()) == []
    world.connection.rollback()


def test_a_machine_says_that_it_is_closed_or_away_and_hides_before_it_is_enrolled(box: Box) -> None:
    world = box.world
    world.call("create_machine", machines.CreateMachine(SYSTEM, "box-9", world.people.estate_id, "新机器"))
    box.beat()
    world.call("set_slot_open", machines.SetSlotOpen(SYSTEM, MACHINE, SELECTION, False, "修"))
    (found,) = finding.around(world.connection)
    # Closed for a jam, not sold out: people are told apart what will be filled and what will be mended.
    assert [(line["left"], line["is_open"]) for line in found["goods"]] == [(0, False), (STOCK, True)]
    world.connection.rollback()
    world.tick(hours=1)
    world.watch()
    assert finding.around(world.connection)[0]["state"] == "offline"
    world.connection.rollback()
    world.call("set_machine_open", machines.SetMachineOpen(SYSTEM, MACHINE, False, "修"))
    assert finding.around(world.connection)[0]["state"] == "closed"
    world.connection.rollback()
