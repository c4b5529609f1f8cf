"""Refusals are written down, sparingly, and who may read the audit log reads them there."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from office import Office

from jishan_server.api.refusals import PER_ACTOR, PER_HOUR, Allowance
from jishan_server.writer import Operation

NOW = datetime(2026, 3, 2, 4, 0, tzinfo=UTC)


def entries(office: Office, query: str = "action=refused", **more: Any) -> list[dict[str, Any]]:
    # What queued before it is written when the writer answers this.
    office.parts.writer.call(Operation(f"ping-{next(office.keys)}", "ping", None))
    found: list[dict[str, Any]] = office.ok("GET", f"/audit?{query}", **{"as_": "admin"} | more)["items"]
    return found


def id_of(office: Office, login: str) -> str:
    return next(one.id for one in office.people.staff if one.login == login)


def test_a_refusal_is_written_with_who_what_and_where(office: Office) -> None:
    resident = office.people.residents[0].id
    said = office.refused(403, "forbidden", "GET", f"/residents/{resident}", as_="operator")
    assert said["fields"] == {"permission": "resident_read"}
    office.refused(403, "forbidden", "POST", "/calendar/presets/china-2026", as_="operator")
    second, first = entries(office)
    assert first["actor"] == id_of(office, "operator")
    assert (first["subject_type"], first["subject_id"]) == ("organization", "jiangpan")
    assert first["details"] == {
        "permission": "resident_read",
        "method": "GET",
        "route": "/api/v1/residents/<id:resident_id>",
        "skipped": 0,
    }
    assert first["operation_id"] == said["request_id"]
    assert second["details"]["permission"] == "calendar_write"
    assert resident not in str(first)


def test_who_is_refused_all_the_time_does_not_fill_the_disk(office: Office) -> None:
    for _ in range(PER_ACTOR + 5):
        office.refused(403, "forbidden", "GET", "/audit", as_="operator")
    office.refused(403, "forbidden", "GET", "/audit", as_="coordinator")
    assert len(entries(office, "action=refused&limit=200")) == PER_ACTOR + 1
    office.tick(hours=1)
    office.refused(403, "forbidden", "GET", "/audit", as_="operator")
    newest, *_ = entries(office)
    assert newest["details"]["skipped"] == 5


def test_all_together_are_limited_too() -> None:
    allowance = Allowance()
    taken = [allowance.take(f"staff-{number}", NOW) for number in range(PER_HOUR + 10)]
    assert taken.count(0) == PER_HOUR
    assert taken[-1] is None
    assert allowance.take(f"staff-{PER_HOUR}", NOW + timedelta(hours=1)) == 1


def test_the_log_is_filtered_and_comes_in_pages(office: Office) -> None:
    made = office.ok("POST", "/residents", {"estate_id": "jiangpan", "name": "新人"})
    office.ok("POST", f"/residents/{made['id']}/freeze", {"reason": "x"}, as_="approver")
    about = f"subject_type=resident&subject_id={made['id']}"
    newest = entries(office, about)[0]
    assert (newest["action"], newest["actor"]) == ("resident_frozen", id_of(office, "approver"))
    assert [one["action"] for one in entries(office, f"{about}&actor={id_of(office, 'coordinator')}")] == [
        "resident_created"
    ]
    today = entries(office, f"{about}&first_day=2026-03-02&last_day=2026-03-02")
    assert today
    assert entries(office, f"{about}&last_day=2026-03-01") == []
    assert entries(office, f"{about}&first_day=2026-03-03") == []
    found, cursor = [], ""
    while cursor is not None:
        query = f"?limit=7&cursor={cursor}" if cursor else "?limit=7"
        page = office.ok("GET", f"/audit{query}", as_="admin")
        found += [one["number"] for one in page["items"]]
        cursor = page["next_cursor"]
    assert found == sorted(found, reverse=True)
    assert len(set(found)) == len(found) > 14


def hired(office: Office, login: str, role: str, node: str) -> dict[str, Any]:
    """A new member of staff; what makes `entries` ask as them."""
    roles = [{"role": role, "organization_id": node}]
    body = {"login": login, "name": "x", "password": "a long password", "roles": roles}
    office.ok("POST", "/staff", body, as_="admin")
    token = office.ok("POST", "/auth/token", {"login": login, "password": "a long password"}, as_=None)["token"]
    return {"as_": None, "headers": {"Authorization": f"Bearer {token}"}}


def test_an_inspector_of_a_part_reads_what_was_done_there(office: Office) -> None:
    inspector = hired(office, "inspector", "inspector", "jiangpan")
    office.ok("POST", "/residents", {"estate_id": "jiangpan", "name": "新人"})
    seen = entries(office, "limit=200", **inspector)
    assert {id_of(office, "coordinator"), "system"} <= {one["actor"] for one in seen}
    # Making the inspector was the county's own act, and of no node.
    assert not {one["actor"] for one in seen} & {id_of(office, "admin"), id_of(office, "secretary")}
    assert {one["organization_id"] for one in seen} == {"jiangpan"}


def test_a_secretary_reads_the_log_of_the_own_estate_whoever_did_it(office: Office) -> None:
    office.ok("POST", "/estates", {"id": "hepan", "parent_id": "qingyijiang", "name": "河畔"}, as_="admin")
    here, there = (hired(office, f"secretary-{id}", "estate_secretary", id) for id in ("jiangpan", "hepan"))
    resident = office.people.residents[0].id
    office.ok("POST", f"/residents/{resident}/freeze", {"reason": "x"}, as_="admin")
    office.ok("POST", f"/residents/{resident}/unfreeze", {"reason": "x"}, as_="admin")
    credit = office.credit(0, 3)
    machine = {"machine_id": "east", "estate_id": "jiangpan", "name": "东门"}
    office.ok("POST", "/machines", machine, as_="operator")
    office.ok("POST", "/residents", {"estate_id": "hepan", "name": "邻居"}, as_="admin")
    report = {"resident_id": resident, "kind": "stuck", "words": "黑屏"}
    number = str(office.ok("POST", "/reports", report)["number"])
    seen = {(one["subject_type"], one["subject_id"], one["action"]) for one in entries(office, "limit=200", **here)}
    assert {
        ("resident", resident, "resident_frozen"),
        ("credit", credit["id"], "credit_approved"),
        ("report", number, "report_made"),
    } <= seen
    assert ("machine", "east") in {one[:2] for one in seen}
    of_others = entries(office, "limit=200", **there)
    assert {one["organization_id"] for one in of_others} <= {"hepan", None}
    assert [one["action"] for one in of_others if one["subject_type"] == "resident"] == ["resident_created"]
