"""Tasks in four parts: who may take which step, and what those who led and assisted get for it."""

from __future__ import annotations

from typing import Any

from office import Office
from sqlalchemy import update

from jishan_server.db import writing
from jishan_server.people.tables import staff


def need(office: Office) -> str:
    body = {"organization_id": office.people.estate_id, "title": "修路灯", "need": "三栋楼下的路灯不亮"}
    made: str = office.ok("POST", "/tasks", body)["id"]
    return made


def person(office: Office, number: int, part: str, minutes: int | None = None, **more: Any) -> dict[str, Any]:
    return {"resident_id": office.people.residents[number].id, "part": part, "minutes": minutes, **more}


def step(office: Office, id: str, event: str, *people: dict[str, Any], note: str = "") -> dict[str, Any]:
    body = {"event": event, "note": note, "people": list(people)}
    done: dict[str, Any] = office.ok("POST", f"/tasks/{id}/steps", body)
    return done


def handled(office: Office) -> str:
    """A task that was led for two hours, assisted for one, and handled by somebody on duty."""
    id = need(office)
    step(office, id, "assigned", note="请物业牵头")
    step(office, id, "led", person(office, 0, "lead"))
    step(office, id, "assisted", person(office, 1, "assist", 60))
    step(
        office,
        id,
        "handled",
        person(office, 0, "lead", 120),
        person(office, 2, "handle", 90),
        person(office, 3, "assist", 60, is_on_duty=True),
    )
    return id


def points(office: Office) -> list[int]:
    balances = office.balances()
    return [balances[f"res:{one.id}"][0] for one in office.people.residents[:4]]


def test_confirming_credits_who_led_and_assisted_and_nobody_on_duty(office: Office) -> None:
    id = handled(office)
    assert points(office) == [0, 0, 0, 0]
    done = office.ok("POST", f"/tasks/{id}/confirm", {"note": "看过了，亮了"}, as_="approver")
    assert done["state"] == "confirmed"
    assert [one["event"] for one in done["steps"]] == ["assigned", "led", "assisted", "handled", "confirmed"]
    assert points(office) == [2, 1, 0, 0]
    credit_ids = [one["credit_id"] for one in done["people"]]
    assert sum(id is not None for id in credit_ids) == 2
    credit = office.ok("GET", f"/credits/{next(id for id in credit_ids if id)}")
    assert (credit["state"], credit["activity"]) == ("final", "修路灯")
    assert credit["recorded_by"] != credit["decided_by"]
    office.refused(409, "task_not_there", "POST", f"/tasks/{id}/confirm", {}, as_="approver")
    assert points(office) == [2, 1, 0, 0]


def test_who_wrote_it_down_or_took_part_does_not_confirm(office: Office) -> None:
    id = handled(office)
    office.refused(403, "forbidden", "POST", f"/tasks/{id}/confirm", {})
    with writing(office.parts.engine) as connection:
        own = update(staff).where(staff.c.login == "approver").values(resident_id=office.people.residents[0].id)
        connection.execute(own)
    office.refused(403, "task_same_person", "POST", f"/tasks/{id}/confirm", {}, as_="approver")
    again = need(office)
    for event, people in (("assigned", []), ("led", [person(office, 1, "lead", 60)]), ("handled", [])):
        body = {"event": event, "people": people}
        office.ok("POST", f"/tasks/{again}/steps", body, as_="admin")
    office.refused(403, "task_same_person", "POST", f"/tasks/{again}/confirm", {}, as_="admin")
    assert points(office) == [0, 0, 0, 0]


def test_a_step_out_of_order_is_refused_and_changes_nothing(office: Office) -> None:
    id = need(office)
    before = office.ok("GET", f"/tasks/{id}")
    body = {"event": "handled", "people": []}
    assert office.refused(409, "task_not_there", "POST", f"/tasks/{id}/steps", body)["fields"]["state"] == "need"
    office.ok("POST", f"/tasks/{id}/steps", {"event": "assigned"})
    office.refused(422, "task_part", "POST", f"/tasks/{id}/steps", {"event": "led"})
    wrong = {"event": "led", "people": [person(office, 0, "assist")]}
    office.refused(422, "task_part", "POST", f"/tasks/{id}/steps", wrong)
    office.refused(422, "reason_required", "POST", f"/tasks/{id}/steps", {"event": "cancelled"})
    after = office.ok("GET", f"/tasks/{id}")
    assert (before["people"], after["people"], after["state"]) == ([], [], "assigned")


def test_minutes_are_needed_before_anybody_is_credited(office: Office) -> None:
    id = need(office)
    step(office, id, "assigned")
    step(office, id, "led", person(office, 0, "lead"))
    step(office, id, "handled")
    office.refused(409, "task_minutes", "POST", f"/tasks/{id}/confirm", {}, as_="approver")
    back = {"event": "sent_back", "note": "写上时长"}
    office.ok("POST", f"/tasks/{id}/steps", back, as_="approver")
    step(office, id, "handled", person(office, 0, "lead", 60))
    office.ok("POST", f"/tasks/{id}/confirm", {}, as_="approver")
    assert points(office)[0] == 1


def test_tasks_that_are_late_are_found(office: Office) -> None:
    body = {"organization_id": office.people.estate_id, "title": "修门", "need": "门坏了", "due_day": "2026-03-01"}
    late = office.ok("POST", "/tasks", body)["id"]
    need(office)
    assert [one["id"] for one in office.ok("GET", "/tasks?overdue=true")["items"]] == [late]
    assert len(office.ok("GET", "/tasks")["items"]) == 2
    office.refused(422, "day_invalid", "POST", "/tasks", body | {"due_day": "1.3.2026"})
