"""Redemptions over HTTP: what staff see of a machine's work, and what they decide."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from link_world import SELECTION, STOCK, Box, World
from office import Office

from jishan_protocol.messages import NotDispensed, OutcomeUnknown


@pytest.fixture
def world(office: Office) -> Iterator[World]:
    """The machine's side of the office's own database."""
    made = World(office.parts.engine)
    made.now = office.now
    yield made
    made.close()


@pytest.fixture
def box(office: Office, world: World) -> Box:
    office.credit(0, 10)
    return world.machine()


def in_doubt(box: Box) -> str:
    id = box.vend()
    box.say(OutcomeUnknown(id, "restarted"))
    return id


def test_staff_see_a_redemption_with_its_history(office: Office, box: Box) -> None:
    id = box.vend()
    box.dispense(id)
    shown = office.ok("GET", f"/redemptions/{id}", as_="operator")
    assert (shown["state"], shown["points"], shown["selection"]) == ("captured", 2, SELECTION)
    assert [one["event"] for one in shown["history"]] == ["approved", "vend_started", "dispensed"]
    assert "王建华" not in office.send("GET", f"/redemptions/{id}", as_="operator").text
    [line, *_] = office.ok("GET", f"/residents/{office.people.residents[0].id}/statement")["items"]
    assert (line["kind"], line["posted_points"], line["cause_id"]) == ("capture", 8, id)
    machine = office.ok("GET", "/machines/box-1", as_="operator")
    assert machine["state"] == "enrolled"
    [slot, *_] = office.ok("GET", "/machines/box-1/planogram", as_="operator")["slots"]
    assert (slot["stock"], slot["reserved"]) == (STOCK - 1, 0)


def test_a_redemption_in_doubt_is_decided_for_the_resident_by_either_side(office: Office, box: Box) -> None:
    id = in_doubt(box)
    assert office.balances()[f"res:{office.people.residents[0].id}"] == (10, 2)
    [listed] = office.ok("GET", "/redemptions?state=in_doubt", as_="operator")["items"]
    assert listed["id"] == id
    [alert] = [one for one in office.ok("GET", "/alerts", as_="operator")["items"] if one["redemption_id"] == id]
    office.refused(409, "alert_still_open", "POST", f"/alerts/{alert['number']}/resolve", as_="operator")
    body = {"verdict": "not_dispensed", "reason": "货还在", "evidence": "库存3"}
    done = office.ok("POST", f"/redemptions/{id}/resolve", body, as_="operator", key="resolve-0001")
    assert done["state"] == "voided"
    assert office.balances()[f"res:{office.people.residents[0].id}"] == (10, 0)
    with office.unchanged():
        again = office.ok("POST", f"/redemptions/{id}/resolve", body, as_="operator", key="resolve-0001")
        assert again == done
        body["verdict"] = "dispensed"
        office.refused(
            409, "idempotency_conflict", "POST", f"/redemptions/{id}/resolve", body, as_="operator", key="resolve-0001"
        )
        office.refused(409, "redemption_not_in_doubt", "POST", f"/redemptions/{id}/resolve", body, as_="approver")


def test_against_the_resident_only_the_estates_side_decides_with_evidence(office: Office, box: Box) -> None:
    id = in_doubt(box)
    body = {"verdict": "dispensed", "reason": "货道空了", "evidence": "录像"}
    with office.unchanged():
        office.refused(403, "forbidden", "POST", f"/redemptions/{id}/resolve", body, as_="operator")
        without = body | {"evidence": ""}
        office.refused(422, "reason_required", "POST", f"/redemptions/{id}/resolve", without, as_="approver")
        office.refused(
            400, "idempotency_key_required", "POST", f"/redemptions/{id}/resolve", body, as_="approver", key=""
        )
    assert office.ok("POST", f"/redemptions/{id}/resolve", body, as_="approver")["state"] == "captured"
    assert office.balances()[f"res:{office.people.residents[0].id}"] == (8, 0)


def test_a_captured_redemption_is_reversed_once_by_the_estates_side(office: Office, box: Box) -> None:
    id = box.vend()
    box.dispense(id)
    path = f"/redemptions/{id}/reverse"
    with office.unchanged():
        office.refused(403, "forbidden", "POST", path, {"reason": "坏的"}, as_="operator")
    assert office.ok("POST", path, {"reason": "坏的"}, as_="approver")["state"] == "reversed"
    assert office.balances()[f"res:{office.people.residents[0].id}"] == (10, 0)
    with office.unchanged():
        office.refused(409, "redemption_not_captured", "POST", path, {"reason": "再来"}, as_="approver")


def test_a_contradiction_is_listed_and_moves_nothing(office: Office, box: Box) -> None:
    id = box.vend()
    box.dispense(id)
    with office.unchanged():
        box.say(NotDispensed(id, "03", "selection"))
        [shown] = office.ok("GET", "/contradictions", as_="operator")["items"]
    assert (shown["redemption_id"], shown["state"], shown["event"]) == (id, "captured", "not_dispensed")


def test_a_message_about_a_redemption_that_never_was_is_listed_and_moves_nothing(office: Office, box: Box) -> None:
    with office.unchanged():
        box.say(NotDispensed("f" * 32, "03", "selection"))
        [shown] = office.ok("GET", "/rejected-messages", as_="operator")["items"]
    assert shown["type"] == "not_dispensed"
    assert shown["reason"]


def test_a_machine_is_closed_and_opened_by_a_person_with_a_reason(office: Office, box: Box) -> None:
    path = "/machines/box-1/state"
    office.refused(403, "forbidden", "PUT", path, {"is_open": False, "reason": "x"})
    office.refused(422, "fields_invalid", "PUT", path, {"is_open": "no", "reason": "x"}, as_="operator")
    assert office.ok("PUT", path, {"is_open": False, "reason": "检修"}, as_="operator")["state"] == "closed"
    assert office.ok("PUT", path, {"is_open": True, "reason": "修好了"}, as_="operator")["state"] == "enrolled"
    slot = f"/machines/box-1/slots/{SELECTION}/state"
    closed = office.ok("PUT", slot, {"is_open": False, "reason": "卡货"}, as_="operator")["slots"][0]
    assert closed["closed_reason"] == "by_person"


def test_what_is_not_there_is_refused(office: Office) -> None:
    office.refused(404, "redemption_unknown", "GET", "/redemptions/nothing")
    office.refused(404, "machine_unknown", "GET", "/machines/nothing")
    office.refused(404, "machine_unknown", "GET", "/machines/nothing/planogram")
    office.refused(404, "alert_unknown", "POST", "/alerts/99/acknowledge", as_="operator")
