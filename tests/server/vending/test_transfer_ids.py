"""The transfers of a redemption stand beside it; one that began under derived ids ends under them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from link_world import Box, World
from sqlalchemy import select

from jishan_protocol.messages import Approved, NotDispensed, NotStarted, VendStarted
from jishan_protocol.redemption import Event, Party, State
from jishan_server.ids import derived_id, timed_derived_id
from jishan_server.ledger import tables as ledger_tables
from jishan_server.ledger.model import Kind
from jishan_server.vending.changes import Changes, Said, hold_id_of, hold_of, step, transfer_id_of, write
from jishan_server.vending.decisions import Reverse
from jishan_server.vending.model import read_redemptions

ID = "0123456789ab" + "c" * 20
LONGEST = "d" * 40


def transfer_ids(world: World, redemption_id: str) -> list[str]:
    transfers = ledger_tables.transfers.c
    query = select(transfers.id).where(transfers.cause_id == redemption_id).order_by(transfers.sequence)
    return [row.id for row in world.rows(query)]


def under_derived_ids(world: World, box: Box) -> str:
    """A redemption as servers made it before transfers stood beside it: its hold has a derived id. Gives its id."""
    asked = box.ask(0)
    box.say(NotStarted(asked.redemption_id, "lapsed"))
    like = read_redemptions(world.connection, [asked.redemption_id])[asked.redemption_id]
    old = replace(like, id=ID, state=State.REQUESTED, is_reserved=True, hold_id=derived_id(ID, "hold"))
    assert old.account_id is not None
    assert old.points is not None
    changes = Changes(world.now, world.vending.rules.zone)
    changes.add(old)
    changes.slot(old).reserved += 1
    hold = hold_of(ID, old.estate_id, old.account_id, old.points, box.id)
    changes.transfers.append(replace(hold, id=derived_id(ID, "hold")))
    step(changes, old, Event.APPROVED, Said(Party.SERVER, "server"))
    write(world.connection, changes)
    world.connection.commit()
    assert world.balance(0) == (10, 2)
    return ID


def start(box: Box, redemption_id: str) -> None:
    box.say(VendStarted(redemption_id, "token", 13, "soap", 2, None))


def test_hold_capture_and_reversal_stand_beside_their_redemption(world: World, box: Box) -> None:
    answer = box.ask(0, redemption_id=ID)
    assert isinstance(answer, Approved)
    box.start(answer)
    box.dispense(ID)
    world.call("reverse", Reverse(world.staff("approver"), ID, "spoilt"))
    assert transfer_ids(world, ID) == [f"{ID}-h", f"{ID}-c", f"{ID}-r"]


def test_a_void_stands_beside_its_hold(world: World, box: Box) -> None:
    box.ask(0, redemption_id=ID)
    box.say(NotStarted(ID, "lapsed"))
    assert transfer_ids(world, ID) == [f"{ID}-h", f"{ID}-v"]


def test_a_hold_under_a_derived_id_is_captured_and_taken_back(world: World, box: Box) -> None:
    id = under_derived_ids(world, box)
    start(box, id)
    box.dispense(id)
    assert (world.state(id), world.balance(0)) == ("captured", (8, 0))
    world.call("reverse", Reverse(world.staff("approver"), id, "spoilt"))
    assert (world.state(id), world.balance(0)) == ("reversed", (10, 0))
    assert transfer_ids(world, id) == [derived_id(id, kind) for kind in ("hold", "capture", "reversal")]


def test_a_hold_under_a_derived_id_is_voided(world: World, box: Box) -> None:
    id = under_derived_ids(world, box)
    start(box, id)
    box.say(NotDispensed(id, "03", "selection"))
    assert (world.state(id), world.balance(0)) == ("voided", (10, 0))
    assert transfer_ids(world, id) == [derived_id(id, kind) for kind in ("hold", "void")]


def test_a_redemption_with_the_longest_id_is_redeemed_and_taken_back(world: World, box: Box) -> None:
    answer = box.ask(0, redemption_id=LONGEST)
    assert isinstance(answer, Approved)
    box.start(answer)
    box.dispense(LONGEST)
    world.call("reverse", Reverse(world.staff("approver"), LONGEST, "spoilt"))
    assert world.balance(0) == (10, 0)
    assert len(transfer_ids(world, LONGEST)) == 3


@pytest.mark.parametrize("length", [1, 32, 38, 39, 40])
def test_every_transfer_of_a_redemption_has_an_id_of_its_own(length: int) -> None:
    id = "a" * length
    hold_id = hold_id_of(id)
    ids = [transfer_id_of(id, hold_id, kind) for kind in (Kind.CAPTURE, Kind.VOID, Kind.REVERSAL)]
    assert len({hold_id, *ids}) == 4
    assert all(len(one) <= 40 for one in (hold_id, *ids))


def test_what_an_operation_makes_later_sorts_behind_what_was_made_before(world: World) -> None:
    earlier = timed_derived_id("operation-1", "credit", world.now)
    world.tick(seconds=1)
    later = [timed_derived_id(f"operation-{number}", "credit", world.now) for number in range(100)]
    assert earlier < min(later)
    assert len(set(later)) == 100
    assert timed_derived_id("operation-1", "credit", world.now) == later[1]
