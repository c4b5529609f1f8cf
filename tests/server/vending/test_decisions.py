"""What people decide about redemptions, and what only the clock tells."""

from __future__ import annotations

import pytest
from link_world import MACHINE, SELECTION, STOCK, Box, World
from sqlalchemy import Engine, update

from jishan_protocol.messages import Dispensed, NotDispensed, OutcomeUnknown, ProvedDispensed
from jishan_protocol.redemption import Party
from jishan_server.errors import DomainError
from jishan_server.ledger import store as ledger
from jishan_server.ledger.model import Kind
from jishan_server.organizations.roles import SYSTEM
from jishan_server.people.tables import staff
from jishan_server.vending.alerts import MarkAlert
from jishan_server.vending.changes import Said, end_of_hold
from jishan_server.vending.decisions import GiveUp, Resolve, Reverse
from jishan_server.vending.machines import CountStock, LoseMachine, SetSlotOpen
from jishan_server.vending.model import read_redemptions
from jishan_server.vending.reading import redemption_view


def doubtful(world: World, box: Box, resident: int = 0) -> str:
    id = box.vend(resident)
    box.say(OutcomeUnknown(id, "restarted"))
    return id


def refusal(world: World, kind: str, body: object) -> str:
    with pytest.raises(DomainError) as refused:
        world.call(kind, body)
    return refused.value.code


def test_a_person_gives_the_points_of_a_doubtful_redemption_back(world: World, box: Box) -> None:
    id = doubtful(world, box)
    view = world.call("resolve", Resolve(world.staff("operator"), id, "not_dispensed", "nothing in the flap"))
    assert view["state"] == "voided"
    assert world.balance(0) == (10, 0)
    assert world.slot() == (STOCK, 0, "in_doubt")
    assert world.alerts() == []


def test_a_person_of_the_estate_takes_the_points_of_a_doubtful_redemption(world: World, box: Box) -> None:
    id = doubtful(world, box)
    decision = Resolve(world.staff("approver"), id, "dispensed", "seen on the camera", "camera 14:03")
    view = world.call("resolve", decision)
    assert view["state"] == "captured"
    assert view["decisions"][0]["decided_by"] == world.staff("approver")
    assert world.balance(0) == (8, 0)
    assert world.slot() == (STOCK - 1, 0, "in_doubt")


def test_against_a_resident_an_operator_may_not_decide(world: World, box: Box) -> None:
    id = doubtful(world, box)
    assert refusal(world, "resolve", Resolve(world.staff("operator"), id, "dispensed", "x", "y")) == "forbidden"
    assert world.balance(0) == (10, 2)


def test_against_a_resident_a_reason_and_the_evidence_are_needed(world: World, box: Box) -> None:
    id = doubtful(world, box)
    decision = Resolve(world.staff("approver"), id, "dispensed", "seen", " ")
    assert refusal(world, "resolve", decision) == "reason_required"
    assert world.balance(0) == (10, 2)


def test_nobody_decides_about_a_redemption_of_their_own(world: World, box: Box) -> None:
    id = doubtful(world, box)
    approver = world.staff("approver")
    own = update(staff).where(staff.c.id == approver).values(resident_id=world.people.residents[0].id)
    world.connection.execute(own)
    world.connection.commit()
    for verdict in ("dispensed", "not_dispensed"):
        assert refusal(world, "resolve", Resolve(approver, id, verdict, "x", "y")) == "decision_own"
    assert world.balance(0) == (10, 2)


def test_above_three_in_a_month_a_second_person_signs(world: World) -> None:
    box = world.machine(stock=10)
    approver, admin = world.staff("approver"), world.staff("admin")
    for resident in (0, 1):
        world.give(resident, 20)

    def doubt(resident: int) -> str:
        """A redemption in doubt, at a slot that was looked at since the last one."""
        world.call("set_slot_open", SetSlotOpen(SYSTEM, MACHINE, SELECTION, True, "looked at it"))
        return doubtful(world, box, resident)

    for number in range(3):
        decision = Resolve(approver, doubt(number % 2), "dispensed", "seen", "camera")
        assert world.call("resolve", decision)["state"] == "captured"
        world.tick(days=1)
    id = doubt(0)
    before = world.balance(0)
    for _ in range(2):
        view = world.call("resolve", Resolve(approver, id, "dispensed", "seen", "camera"))
        assert (view["state"], view["decisions"][-1]["state"]) == ("in_doubt", "proposed")
    assert world.balance(0) == before
    view = world.call("resolve", Resolve(admin, id, "dispensed", "seen", "camera"))
    assert view["state"] == "captured"
    assert (view["decisions"][0]["decided_by"], view["decisions"][0]["seconded_by"]) == (approver, admin)
    world.tick(days=31)
    assert world.call("resolve", Resolve(approver, doubt(0), "dispensed", "seen", "camera"))["state"] == "captured"


def test_a_decision_holds_against_the_machines_later_word(world: World, box: Box) -> None:
    id = doubtful(world, box)
    world.call("resolve", Resolve(world.staff("operator"), id, "not_dispensed", "nothing there"))
    box.say(ProvedDispensed(id, "sales 4 -> 5"))
    assert world.state(id) == "voided"
    assert world.balance(0) == (10, 0)
    assert ("contradiction", f"{id}:proved_dispensed", "urgent") in world.alerts()


def test_a_redemption_that_is_not_in_doubt_is_not_decided(world: World, box: Box) -> None:
    id = box.vend()
    decision = Resolve(world.staff("operator"), id, "not_dispensed", "nothing there")
    assert refusal(world, "resolve", decision) == "redemption_not_in_doubt"
    assert world.balance(0) == (10, 2)


def test_a_captured_redemption_is_reversed_once(world: World, box: Box) -> None:
    id = box.vend()
    box.dispense(id)
    assert world.call("reverse", Reverse(world.staff("approver"), id, "spoilt"))["state"] == "reversed"
    assert world.balance(0) == (10, 0)
    assert world.slot() == (STOCK - 1, 0, None)
    assert refusal(world, "reverse", Reverse(world.staff("approver"), id, "again")) == "redemption_not_captured"
    assert world.balance(0) == (10, 0)


def test_a_stuck_redemption_is_given_up_and_then_decided(world: World, box: Box) -> None:
    id = box.ask(0).redemption_id
    world.call("give_up", GiveUp(world.staff("operator"), id, "the machine never answers"))
    assert world.state(id) == "in_doubt"
    world.call("resolve", Resolve(world.staff("operator"), id, "not_dispensed", "switched off"))
    assert world.balance(0) == (10, 0)


def test_a_lost_machine_leaves_what_is_open_to_a_person(world: World, box: Box) -> None:
    id = box.vend()
    world.call("lose_machine", LoseMachine(SYSTEM, MACHINE, "stolen"))
    assert world.state(id) == "in_doubt"
    assert world.balance(0) == (10, 2)
    assert world.deliver([box.next(Dispensed(id, True, "02"))]) == []
    assert world.gateway.refused == {"machine_lost": 1}


def test_a_count_drops_the_reservations_of_doubtful_redemptions(world: World, box: Box) -> None:
    id = doubtful(world, box)
    world.call("count_stock", CountStock(SYSTEM, MACHINE, ((13, 2),)))
    assert world.slot() == (2, 0, "in_doubt")
    box.say(Dispensed(id, True, "02"))
    assert world.balance(0) == (8, 0)
    assert world.slot() == (2, 0, None)


def test_a_count_keeps_the_reservations_of_what_is_being_vended(world: World, box: Box) -> None:
    id = box.vend()
    world.call("count_stock", CountStock(SYSTEM, MACHINE, ((13, 3),)))
    assert world.slot() == (3, 1, None)
    box.dispense(id)
    assert world.slot() == (2, 0, None)


# What only the clock tells.


def test_a_redemption_open_too_long_is_told_and_frees_nothing(world: World, box: Box) -> None:
    id = box.vend()
    world.tick(minutes=6, seconds=59)
    world.watch()
    assert world.alerts() == [("offline", MACHINE, "warning")]
    world.tick(seconds=2)
    world.watch()
    world.watch()
    assert ("redemption_open", id, "warning") in world.alerts()
    view = redemption_view(world.connection, id)
    world.connection.rollback()
    assert view["is_being_checked"]
    assert view["ticket"] is not None
    assert world.state(id) == "vending"
    assert world.balance(0) == (10, 2)


def test_after_a_day_the_alert_is_graded_up_and_still_frees_nothing(world: World, box: Box) -> None:
    open_id = box.vend()
    world.give(1, 10)
    doubtful_id = doubtful(world, box, 1)
    world.tick(hours=25)
    world.watch()
    world.watch()
    grades = {subject: grade for kind, subject, grade in world.alerts() if kind == "redemption_open"}
    assert grades == {open_id: "critical", doubtful_id: "critical"}
    assert world.balance(0) == (10, 2)
    assert world.balance(1) == (10, 2)


def test_the_end_of_a_redemption_settles_its_alert(world: World, box: Box) -> None:
    id = box.vend()
    world.tick(hours=25)
    world.watch()
    box.say(NotDispensed(id, "03", "selection"))
    assert [subject for kind, subject, _ in world.alerts() if kind == "redemption_open"] == []


def test_an_alert_about_an_open_redemption_is_not_resolved_by_hand(world: World, box: Box) -> None:
    id = doubtful(world, box)
    ticket = redemption_view(world.connection, id)["ticket"]
    world.connection.rollback()
    operator = world.staff("operator")
    assert world.call("mark_alert", MarkAlert(operator, ticket, "acknowledged"))["acknowledged_by"] == operator
    assert refusal(world, "mark_alert", MarkAlert(operator, ticket, "resolved")) == "alert_still_open"
    assert world.alerts() == [("redemption_open", id, "urgent")]


def test_verify_names_a_capture_for_an_item_that_never_left(database: Engine) -> None:
    world = World(database)
    world.give(0, 10)
    id = world.machine().vend()
    redemption = read_redemptions(world.connection, [id])[id]
    stolen = end_of_hold(redemption, Kind.CAPTURE, Said(Party.PERSON, SYSTEM))
    ledger.book(world.connection, [stolen], world.now)
    world.connection.commit()
    report = world.verify()
    world.close()
    assert not report.ok
    assert report.first_break is not None
    assert (report.first_break.rule, report.first_break.row) == ("captures", stolen.id)
