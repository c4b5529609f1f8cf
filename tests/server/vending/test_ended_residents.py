"""Residents whose record is merged or closed while a machine has to do with them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from link_world import Box, World
from sqlalchemy import update

from jishan_protocol.messages import Approved, Denied, NotDispensed, OutcomeUnknown
from jishan_server.errors import DomainError
from jishan_server.gateway.core import Gateway
from jishan_server.organizations.roles import SYSTEM
from jishan_server.people.merging import CloseResident, MergeResidents
from jishan_server.people.tables import staff
from jishan_server.vending.decisions import Resolve, Reverse
from jishan_server.vending.limits import Limit, Limits


def merge(world: World, old: int = 0, into: int = 1) -> None:
    residents = world.people.residents
    world.call("merge_residents", MergeResidents(SYSTEM, residents[old].id, residents[into].id, "登记了两次", "0" * 32))


def close(world: World, one: int = 0) -> None:
    world.call("close_resident", CloseResident(SYSTEM, world.people.residents[one].id, "搬走了", "0" * 32))


def test_an_item_that_left_after_the_merge_was_paid_by_the_old_account(world: World, box: Box) -> None:
    had, _ = world.balance(1)
    id = box.vend(0)
    merge(world)
    assert (world.balance(0), world.balance(1)) == ((2, 2), (had + 8, 0))
    box.dispense(id)
    assert (world.balance(0), world.balance(1)) == ((0, 0), (had + 8, 0))
    assert world.verify().ok


def limited(world: World, limits: Limits) -> Gateway:
    return Gateway(replace(world.vending, limits_on=lambda *_: limits))


def test_what_the_old_record_redeemed_counts_towards_the_survivors_limits(world: World, box: Box) -> None:
    box.dispense(box.vend(0))
    merge(world)
    for limits, code in (
        (Limits((Limit("times", "day", 1),)), "day_limit_reached"),
        (Limits((Limit("points", "month", 3),)), "month_limit_reached"),
        (Limits((), 3), "pin_required"),
    ):
        world.gateway = limited(world, limits)
        answer = box.ask(1)
        assert isinstance(answer, Denied)
        assert answer.code == code
    world.gateway = limited(world, Limits((Limit("times", "day", 2),)))
    assert isinstance(box.ask(1), Approved)


def test_who_is_at_a_machine_with_the_old_record_opens_no_second_redemption(world: World, box: Box) -> None:
    id = box.vend(0)
    merge(world)
    answer = box.ask(1)
    assert isinstance(answer, Denied)
    assert answer.code == "another_redemption_open"
    box.dispense(id)
    assert isinstance(box.ask(1), Approved)


def test_points_of_an_item_that_did_not_leave_come_to_the_survivor(world: World, box: Box) -> None:
    had, _ = world.balance(1)
    id = box.vend(0)
    merge(world)
    box.say(NotDispensed(id, "03", "selection"))
    assert (world.balance(0), world.balance(1)) == ((0, 0), (had + 10, 0))
    assert world.verify().ok


def test_points_that_a_person_gives_back_come_to_the_survivor(world: World, box: Box) -> None:
    had, _ = world.balance(1)
    captured = box.vend(0)
    box.dispense(captured)
    doubtful = box.vend(0)
    box.say(OutcomeUnknown(doubtful, "restarted"))
    merge(world)
    world.call("resolve", Resolve(world.staff("operator"), doubtful, "not_dispensed", "nothing in the flap"))
    world.call("reverse", Reverse(world.staff("approver"), captured, "the item was broken"))
    assert (world.balance(0), world.balance(1)) == ((0, 0), (had + 10, 0))
    assert world.verify().ok


def test_a_closed_resident_gets_nothing_and_is_given_nothing_back(world: World, box: Box) -> None:
    id = box.vend(0)
    close(world)
    assert world.balance(0) == (10, 2)
    box.dispense(id)
    assert world.balance(0) == (0, 0)
    denied = box.ask(0)
    assert isinstance(denied, Denied)
    assert denied.code == "card_blocked"
    with pytest.raises(DomainError) as refused:
        world.call("reverse", Reverse(world.staff("approver"), id, "the item was broken"))
    assert refused.value.code == "account_closed"
    assert world.verify().ok


def test_nobody_decides_on_a_redemption_of_their_own_old_record(world: World, box: Box) -> None:
    id = box.vend(0)
    box.say(OutcomeUnknown(id, "restarted"))
    merge(world)
    with world.engine.begin() as connection:
        own = world.people.residents[1].id
        connection.execute(update(staff).where(staff.c.id == world.staff("operator")).values(resident_id=own))
    with pytest.raises(DomainError) as refused:
        world.call("resolve", Resolve(world.staff("operator"), id, "not_dispensed", "x"))
    assert refused.value.code == "decision_own"
