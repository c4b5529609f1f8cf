"""What residents say went wrong at a machine, what the machine showed, and what the estate decides."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import pytest
from link_world import MACHINE, Box, World
from sqlalchemy import select, update

from jishan_protocol.messages import NotDispensed, OutcomeUnknown, ProvedDispensed
from jishan_server.attachments import for_keeping
from jishan_server.errors import DomainError
from jishan_server.organizations.roles import SYSTEM, resident_actor
from jishan_server.people.message_tables import messages
from jishan_server.people.tables import staff
from jishan_server.vending import reports
from jishan_server.vending.decisions import Resolve, Reverse
from jishan_server.vending.machines import CountStock, SetSlotOpen
from jishan_server.vending.reports import DecideReport, MakeReport, ReopenReport


def resident(world: World, number: int = 0) -> str:
    return world.people.residents[number].id


def made(world: World, redemption_id: str | None, number: int = 0, **more: Any) -> dict[str, Any]:
    """A report by the resident."""
    id = resident(world, number)
    body = MakeReport(resident_actor(id), id, more.pop("kind", "not_out"), "没有出来", redemption_id, **more)
    view: dict[str, Any] = world.call("make_report", body)
    return view


def refusal(world: World, kind: str, body: object) -> str:
    with pytest.raises(DomainError) as refused:
        world.call(kind, body)
    return refused.value.code


def decided(world: World, number: int, verdict: Any, login: str = "approver", evidence: str = "") -> dict[str, Any]:
    view: dict[str, Any] = world.call(
        "decide_report", DecideReport(world.staff(login), number, verdict, "looked at it", evidence)
    )
    return view


def captured(world: World, box: Box, number: int = 0) -> str:
    id = box.vend(number)
    box.dispense(id)
    return id


def test_the_points_of_a_captured_redemption_go_back_with_the_decision(world: World, box: Box) -> None:
    id = captured(world, box)
    report = made(world, id)
    assert (report["state"], report["answer_by"], report["ticket"]) == ("open", "2026-03-09", f"R{report['number']}")
    view = decided(world, report["number"], "give_back")
    assert (view["state"], view["decided_by"]) == ("given_back", world.staff("approver"))
    assert world.state(id) == "reversed"
    assert world.balance(0) == (10, 0)
    kinds = world.rows(select(messages.c.kind).order_by(messages.c.number))
    assert [row.kind for row in kinds][-2:] == ["report_received", "redemption_decided_for"]


def test_a_doubt_is_settled_by_the_decision_on_its_report(world: World, box: Box) -> None:
    id = box.vend()
    box.say(OutcomeUnknown(id, "restarted"))
    report = made(world, id)
    body = DecideReport(world.staff("approver"), report["number"], "refuse", "seen on the camera")
    assert refusal(world, "decide_report", body) == "reason_required"
    view = decided(world, report["number"], "refuse", evidence="camera 14:03")
    assert (view["state"], world.state(id), world.balance(0)) == ("refused", "captured", (8, 0))
    # The other way round, a person who resolves it closes the report too.
    world.call("set_slot_open", SetSlotOpen(SYSTEM, MACHINE, 13, True, "looked at it"))
    again = box.vend()
    box.say(OutcomeUnknown(again, "restarted"))
    report = made(world, again)
    world.call("resolve", Resolve(world.staff("operator"), again, "not_dispensed", "nothing there"))
    assert reports.view(world.connection, report["number"])["state"] == "given_back"
    world.connection.rollback()


def test_a_refusal_names_its_reason_and_is_looked_at_once_more_by_another(world: World, box: Box) -> None:
    report = made(world, captured(world, box))
    number, me = report["number"], resident(world)
    approver = world.staff("approver")
    assert refusal(world, "decide_report", DecideReport(approver, number, "refuse", " ")) == "reason_required"
    assert refusal(world, "reopen_report", ReopenReport(resident_actor(me), number, "no")) == "report_not_refused"
    decided(world, number, "refuse")
    [fields] = world.rows(select(messages.c.fields).where(messages.c.kind == "report_refused"))
    assert json.loads(fields[0])["reason"] == "looked at it"
    assert refusal(world, "decide_report", DecideReport(approver, number, "give_back", "x")) == "report_closed"
    view = world.call("reopen_report", ReopenReport(resident_actor(me), number, "我没有拿到"))
    assert (view["state"], view["first_reason"], view["decided_by"]) == ("open", "looked at it", None)
    assert refusal(world, "decide_report", DecideReport(approver, number, "refuse", "x")) == "report_same_person"
    decided(world, number, "refuse", "secretary")
    assert refusal(world, "reopen_report", ReopenReport(resident_actor(me), number, "x")) == "report_reopened"
    assert world.balance(0) == (8, 0)


def test_above_three_refusals_in_a_month_a_second_person_signs(world: World) -> None:
    box = world.machine(stock=10)
    world.give(0, 20)
    for _ in range(3):
        assert decided(world, made(world, captured(world, box))["number"], "refuse")["state"] == "refused"
    number = made(world, captured(world, box))["number"]
    for _ in range(2):
        assert decided(world, number, "refuse")["state"] == "proposed"
    view = decided(world, number, "refuse", "secretary")
    assert (view["state"], view["decided_by"], view["seconded_by"]) == (
        "refused",
        world.staff("approver"),
        world.staff("secretary"),
    )


def test_nobody_decides_on_their_own_and_no_operator_at_all(world: World, box: Box) -> None:
    number = made(world, captured(world, box))["number"]
    approver = world.staff("approver")
    operator = DecideReport(world.staff("operator"), number, "give_back", "x")
    assert refusal(world, "decide_report", operator) == "forbidden"
    world.connection.execute(update(staff).where(staff.c.id == approver).values(resident_id=resident(world)))
    world.connection.commit()
    assert refusal(world, "decide_report", DecideReport(approver, number, "give_back", "x")) == "decision_own"
    assert world.balance(0) == (8, 0)


def test_what_is_back_already_is_answered_at_once_and_reported_once(world: World, box: Box) -> None:
    id = box.vend()
    box.say(NotDispensed(id, "motor_stuck", "selection"))
    me = resident(world)
    body = MakeReport(resident_actor(me), me, "not_out", "", id)
    assert refusal(world, "make_report", body) == "report_exists"
    world.call("set_slot_open", SetSlotOpen(SYSTEM, MACHINE, 13, True, "looked at it"))
    given = captured(world, box)
    world.call("reverse", Reverse(world.staff("approver"), given, "spoilt"))
    view = made(world, given)
    assert (view["state"], view["answer_by"]) == ("given_back", None)


def test_a_report_is_about_ones_own_redemption_and_files(world: World, box: Box) -> None:
    id, other = captured(world, box), resident(world, 1)
    assert refusal(world, "make_report", MakeReport(resident_actor(other), other, "not_out", "", id)) == (
        "redemption_unknown"
    )
    file = for_keeping(SYSTEM, "resident", other, None, b"%PDF-1.7 x")
    file_id = world.call("attach", file)["id"]
    me = resident(world)
    body = MakeReport(resident_actor(me), me, "bad_item", "", id, None, (file_id,))
    assert refusal(world, "make_report", body) == "attachment_unknown"
    assert refusal(world, "make_report", MakeReport(resident_actor(other), me, "not_out", "", id)) == "forbidden"


def test_one_that_still_runs_is_not_decided(world: World, box: Box) -> None:
    number = made(world, box.vend())["number"]
    body = DecideReport(world.staff("approver"), number, "give_back", "x")
    assert refusal(world, "decide_report", body) == "redemption_still_open"
    nothing = made(world, None, machine_id=MACHINE, kind="stuck")["number"]
    body = DecideReport(world.staff("approver"), nothing, "give_back", "x")
    assert refusal(world, "decide_report", body) == "report_without_redemption"
    assert decided(world, nothing, "refuse")["state"] == "refused"


def test_nobody_must_keep_a_number(world: World, box: Box) -> None:
    first, second = captured(world, box), ""
    world.tick(minutes=5)
    second = box.vend()
    box.say(OutcomeUnknown(second, "restarted"))
    found = reports.candidates(world.connection, world.staff("coordinator"), resident(world))
    world.connection.rollback()
    assert [(one["redemption_id"], one["state"], one["product_zh"], one["machine_name"]) for one in found] == [
        (second, "in_doubt", "肥皂", "门口"),
        (first, "captured", "肥皂", "门口"),
    ]
    assert "3月9日前答复您" in found[0]["told_zh"]


def test_the_machines_word_stands_beside_the_claim_and_names_nobody(world: World, box: Box) -> None:
    captured(world, box)
    world.tick(minutes=1)
    id = box.vend()
    box.say(OutcomeUnknown(id, "restarted"))
    world.call("resolve", Resolve(world.staff("operator"), id, "not_dispensed", "王建华 says so", "王建华"))
    box.say(ProvedDispensed(id, "sales 4 -> 5"))
    world.call("count_stock", CountStock(SYSTEM, MACHINE, ((13, 1),)))
    number = made(world, id)["number"]
    shown = reports.evidence(world.connection, world.staff("operator"), number)
    world.connection.rollback()
    text = json.dumps(shown, ensure_ascii=False)
    assert "王建华" not in text
    assert resident(world) not in text
    assert "没有出来" not in text
    redemption = shown["redemption"]
    assert [one["event"] for one in redemption["history"]][-1] == "proved_dispensed"
    assert [one["event"] for one in redemption["contradictions"]] == ["proved_dispensed"]
    assert [one["state"] for one in redemption["before"]] == ["captured"]
    assert redemption["slot"]["stock"] == 1
    assert shown["counts"][-1]["counts"] == {"13": 1}
    assert {one["kind"] for one in shown["alerts"]} >= {"redemption_open", "contradiction"}


def test_overdue_reports_are_found(world: World, box: Box) -> None:
    number = made(world, captured(world, box))["number"]

    def overdue(day: date) -> list[int]:
        wanted: dict[str, Any] = {"state": None, "resident_id": None, "overdue_on": day, "after": None, "limit": 10}
        found, _ = reports.page(world.connection, world.staff("secretary"), **wanted)
        world.connection.rollback()
        return [one["number"] for one in found]

    assert overdue(date(2026, 3, 9)) == []
    assert overdue(date(2026, 3, 10)) == [number]
    decided(world, number, "give_back")
    assert overdue(date(2026, 3, 10)) == []
