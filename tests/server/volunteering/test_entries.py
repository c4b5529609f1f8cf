"""Trainings, awards and evaluations, the search for skills, and claims of past work."""

from __future__ import annotations

from typing import Any

from office import Office
from sqlalchemy import insert, update

from jishan_server.db import writing
from jishan_server.people.tables import skills, staff


def resident(office: Office, number: int = 0) -> str:
    return office.people.residents[number].id


def proof(office: Office, number: int = 0) -> str:
    path = f"/attachments?subject_type=resident&subject_id={resident(office, number)}"
    answer = office.send("POST", path, data=b"%PDF-1.7 x", content_type="application/pdf")
    made: str = answer.get_json()["id"]
    return made


def entry(office: Office, **more: Any) -> dict[str, Any]:
    body = {
        "resident_id": resident(office),
        "kind": "training",
        "title": "心肺复苏",
        "unit_name": "县红十字会",
        "first_day": "2026-02-01",
        "last_day": "2026-02-02",
        "minutes": 480,
    }
    return body | {"attachment_ids": [proof(office)]} | more


def claim(office: Office, **more: Any) -> dict[str, Any]:
    body = {"resident_id": resident(office), "title": "抗洪值守", "day": "2025-07-03", "minutes": 300}
    return body | {"attachment_ids": [proof(office)]} | more


def test_a_training_is_kept_with_its_days_and_proof_and_moves_no_points(office: Office) -> None:
    made = office.ok("POST", "/trainings", entry(office))
    assert (made["kind"], made["first_day"], made["last_day"]) == ("training", "2026-02-01", "2026-02-02")
    award = office.ok("POST", "/trainings", entry(office, kind="award", title="县级优秀", last_day=None, minutes=None))
    assert award["last_day"] == "2026-02-01"
    listed = office.ok("GET", f"/trainings?resident_id={resident(office)}&kind=award")["items"]
    assert [one["id"] for one in listed] == [award["id"]]
    assert office.balances()[f"res:{resident(office)}"] == (0, 0)


def test_an_entry_without_proof_or_with_impossible_days_is_refused(office: Office) -> None:
    office.refused(422, "fields_invalid", "POST", "/trainings", entry(office, attachment_ids=[]))
    other = entry(office, attachment_ids=[proof(office, 1)])
    office.refused(404, "attachment_unknown", "POST", "/trainings", other)
    office.refused(422, "days_reversed", "POST", "/trainings", entry(office, last_day="2026-01-31"))
    office.refused(422, "day_invalid", "POST", "/trainings", entry(office, first_day="2026-02-30"))
    assert office.ok("GET", "/trainings")["items"] == []


def test_a_wrong_entry_is_withdrawn_once_and_stays_visible(office: Office) -> None:
    id = office.ok("POST", "/trainings", entry(office))["id"]
    office.ok("POST", f"/trainings/{id}/withdraw", {"reason": "写错人了"})
    office.refused(409, "entry_withdrawn", "POST", f"/trainings/{id}/withdraw", {"reason": "x"})
    [found] = office.ok("GET", "/trainings")["items"]
    assert found["withdrawal_reason"] == "写错人了"


def test_skills_are_found_by_name_and_by_a_licence_that_holds(office: Office) -> None:
    rows = [
        (0, 0, "电工", "低压电工证", "2026-06-30"),
        (1, 0, "电工", "低压电工证", "2025-06-30"),
        (2, 0, "水电工", None, None),
        (3, 0, "理发", None, None),
    ]
    with writing(office.parts.engine) as connection:
        connection.execute(
            insert(skills),
            [
                {
                    "resident_id": resident(office, number),
                    "position": position,
                    "name": name,
                    "licence": licence,
                    "expires_on": day,
                }
                for number, position, name, licence, day in rows
            ],
        )

    def found(query: str) -> set[str]:
        return {one["resident_id"] for one in office.ok("GET", f"/skills?{query}")["items"]}

    assert found("skill=电工") == {resident(office, number) for number in (0, 1, 2)}
    assert found("skill=电工&valid_on=2026-03-02") == {resident(office, number) for number in (0, 2)}
    assert found("skill=电工&valid_on=2026-07-01") == {resident(office, 2)}
    assert found("skill=%25") == set()
    first = office.ok("GET", "/skills?skill=电工&limit=2")
    rest = office.ok("GET", f"/skills?skill=电工&limit=2&cursor={first['next_cursor']}")
    assert [len(first["items"]), len(rest["items"]), rest["next_cursor"]] == [2, 1, None]
    office.refused(403, "forbidden", "GET", "/skills?skill=电工", as_="operator")


def test_a_claim_becomes_hours_when_two_people_agreed(office: Office) -> None:
    id = office.ok("POST", "/claims", claim(office))["id"]
    accepted = office.ok("POST", f"/claims/{id}/decide", {"verdict": "accept", "minutes": 240})
    office.refused(409, "claim_closed", "POST", f"/claims/{id}/decide", {"verdict": "accept"})
    told = office.ok("GET", f"/residents/{resident(office)}/messages")["items"]
    assert [one["kind"] for one in told] == ["claim_accepted"]
    credit = office.ok("GET", f"/credits/{accepted['credit_id']}")
    assert (credit["state"], credit["source"], credit["minutes"], credit["points"]) == ("recorded", "d", 240, 0)
    assert credit["day"] == "2025-07-03"
    final = office.ok("POST", f"/credits/{accepted['credit_id']}/approve", {}, as_="approver")
    assert final["state"] == "final"
    assert office.balances()[f"res:{resident(office)}"] == (0, 0)


def test_a_claim_is_refused_with_a_reason_and_never_by_oneself(office: Office) -> None:
    id = office.ok("POST", "/claims", claim(office))["id"]
    office.refused(422, "reason_required", "POST", f"/claims/{id}/decide", {"verdict": "refuse"})
    more = {"verdict": "accept", "minutes": 301}
    office.refused(422, "minutes_invalid", "POST", f"/claims/{id}/decide", more)
    with writing(office.parts.engine) as connection:
        own = update(staff).where(staff.c.login == "coordinator").values(resident_id=resident(office))
        connection.execute(own)
    office.refused(403, "claim_own", "POST", f"/claims/{id}/decide", {"verdict": "accept"})
    refused = {"verdict": "refuse", "reason": "照片看不清"}
    assert office.ok("POST", f"/claims/{id}/decide", refused, as_="admin")["state"] == "refused"
    assert [one["id"] for one in office.ok("GET", "/claims?state=refused")["items"]] == [id]


def test_a_claim_needs_its_proof_and_a_day_that_has_been(office: Office) -> None:
    office.refused(422, "worked_day_ahead", "POST", "/claims", claim(office, day="2026-03-03"))
    office.refused(422, "fields_invalid", "POST", "/claims", claim(office, attachment_ids=[]))
