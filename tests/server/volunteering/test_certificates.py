"""Certificates: made of service records alone, the same each time, checked by anybody, outdated by a correction."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path += [str(Path(__file__).parent), *(str(Path(__file__).parents[1] / name) for name in ("", "printing"))]

from link_world import World
from office import Office, opened
from pdf_text import texts_of
from sqlalchemy import delete, update
from sqlalchemy.exc import DBAPIError
from test_crediting import Desk

from jishan_server.db import all_tables, writing
from jishan_server.organizations.roles import SYSTEM
from jishan_server.organizations.tree import CreateOrganization
from jishan_server.people.member_numbers import check_digit
from jishan_server.people.privacy import EraseResident
from jishan_server.volunteering import service_records
from jishan_server.volunteering.certificate_tables import certificate_records, certificates
from jishan_server.volunteering.certificates import new_number
from jishan_server.writer import Operation


@pytest.fixture
def desk(office: Office) -> Desk:
    return Desk(office)


def issue(desk: Desk, resident: int = 0, **more: Any) -> dict[str, Any]:
    path = f"/residents/{desk.people[resident].id}/certificates"
    made: dict[str, Any] = desk.office.ok("POST", path, more)
    return made


def printed(desk: Desk, number: str, language: str = "zh") -> bytes:
    answer = desk.office.send("GET", f"/certificates/{number}/certificate.pdf?language={language}")
    assert answer.status_code == 200, answer.text
    assert answer.content_type == "application/pdf"
    return answer.data


def checked(desk: Desk, number: str) -> dict[str, Any]:
    found: dict[str, Any] = desk.office.ok("GET", f"/certificates/{number}/check", as_=None)
    return found


def test_a_certificate_is_issued_printed_and_checked_by_anybody(desk: Desk) -> None:
    desk.credit(0, 125)
    desk.credit(0, 60)
    made = issue(desk)
    assert (made["minutes"], made["hours"], made["record_count"], made["state"]) == (185, "3.0", 2, "valid")
    number = made["number"]
    assert len(number) == 15
    assert number[-1] == check_digit(number[:-1])
    assert checked(desk, number) == {
        "number": number,
        "first_day": "2026-03-02",
        "last_day": "2026-03-02",
        "hours": "3.0",
        "unit_name": "江畔家园",
        "state": "valid",
    }
    text = "".join(texts_of(printed(desk, number)))
    assert "王建华" in text
    assert "3.0小时" in text
    assert f"/c/{number}" in text.replace(" ", "")
    [listed] = desk.office.ok("GET", f"/residents/{desk.people[0].id}/certificates")["items"]
    assert listed == made
    [registered] = desk.office.ok("GET", "/certificates?state=valid", as_="admin")["items"]
    assert registered["number"] == number


def test_a_number_may_be_typed_as_people_type_and_a_wrong_one_is_told_from_an_unknown_one(desk: Desk) -> None:
    desk.credit(0)
    number = issue(desk)["number"]
    assert checked(desk, f"{number[:4]}-{number[4:]}")["number"] == number
    swapped = number[:-1] + str((int(number[-1]) + 1) % 10)
    desk.office.refused(422, "certificate_number_wrong", "GET", f"/certificates/{swapped}/check", as_=None)
    other = new_number("another", 2026)
    desk.office.refused(404, "certificate_unknown", "GET", f"/certificates/{other}/check", as_=None)
    full_width = "".join(chr(ord(digit) - ord("0") + 0xFF10) for digit in number)
    page = desk.office.client.get("/c", query_string={"number": f"{full_width[:4]} {full_width[4:]}"})
    assert page.status_code == 200
    assert number in page.text


def test_the_page_says_it_in_both_languages_without_a_name_or_a_script(desk: Desk) -> None:
    desk.credit(0)
    number = issue(desk)["number"]
    client = desk.office.client
    zh = client.get(f"/c/{number}")
    en = client.get(f"/c/{number}", headers={"Accept-Language": "en"})
    assert "有效" in zh.text
    assert "Valid" in en.text
    assert "2 March 2026" in en.text
    for page in (zh, en):
        assert page.status_code == 200
        assert "王" not in page.text
        assert "<script>" not in page.text
        assert "2.0" in page.text
    assert client.get("/c").status_code == 200
    assert client.get("/c/123").status_code == 422
    assert "编号不对" in client.get("/c/123").text
    assert client.get("/c/<b>").text.count("&lt;b&gt;") >= 1
    assert client.get(f"/c/{new_number('x', 2026)}").status_code == 404
    # A choice of language stays for the visit.
    for address in (f"/c/{number}?lang=en", f"/c/{number}"):
        assert "Valid" in client.get(address).text


def test_the_same_certificate_is_the_same_bytes_whatever_happens_after(desk: Desk) -> None:
    first = desk.credit(0, 120)
    number = issue(desk)["number"]
    before = {language: printed(desk, number, language) for language in ("zh", "en")}
    assert before["zh"] != before["en"]
    desk.office.tick(days=3)
    desk.credit(0, 60)
    desk.office.ok("POST", f"/credits/{first['id']}/reverse", {"reason": "twice"}, as_="approver")
    resident = desk.office.ok("GET", f"/residents/{desk.people[0].id}", as_="admin")
    desk.office.ok("PUT", f"/residents/{resident['id']}", {"name": "王建国"}, as_="admin")
    assert {language: printed(desk, number, language) for language in ("zh", "en")} == before


def test_a_correction_makes_it_outdated_and_a_new_one_takes_its_place(desk: Desk) -> None:
    credit = desk.credit(0, 120)
    desk.credit(0, 30)
    number = issue(desk)["number"]
    body = {"reason": "没到那么久", "minutes": 60}
    better = desk.office.ok("POST", f"/credits/{credit['id']}/correct", body, as_="admin")
    assert checked(desk, number)["state"] == "valid"
    desk.approve(better)
    assert checked(desk, number)["state"] == "outdated"
    path = f"/residents/{desk.people[0].id}/messages"
    (told,) = [one for one in desk.office.ok("GET", path)["items"] if one["kind"] == "certificate_outdated"]
    assert number in told["text"]
    assert "需要重新出具" in desk.office.client.get(f"/c/{number}").text
    [listed] = desk.office.ok("GET", "/certificates?state=outdated", as_="admin")["items"]
    assert (listed["number"], listed["minutes"]) == (number, 150)
    assert desk.office.ok("GET", "/certificates?state=valid", as_="admin")["items"] == []
    new = issue(desk, replaces=number)
    assert (new["minutes"], new["state"]) == (90, "valid")
    old = desk.office.ok("GET", f"/certificates/{number}")
    assert (old["state"], old["replaced_by"]) == ("replaced", new["number"])
    path = f"/residents/{desk.people[0].id}/certificates"
    desk.office.refused(409, "certificate_revoked", "POST", path, {"replaces": number})
    assert len(desk.office.ok("GET", "/certificates", as_="admin")["items"]) == 2


def test_the_person_of_each_certificate_is_told_once_that_it_no_longer_holds(desk: Desk) -> None:
    credits = [desk.credit(0, 120), desk.credit(0, 30)]
    numbers = {issue(desk)["number"] for _ in range(2)}
    revoked = issue(desk)["number"]
    desk.office.ok("POST", f"/certificates/{revoked}/revoke", {"reason": "开错了"}, as_="admin")
    for credit in credits:
        desk.office.ok("POST", f"/credits/{credit['id']}/reverse", {"reason": "没来"}, as_="approver")
    items = desk.office.ok("GET", f"/residents/{desk.people[0].id}/messages")["items"]
    told = [one["text"] for one in items if one["kind"] == "certificate_outdated"]
    assert len(told) == 2
    assert {number for number in numbers if any(number in one for one in told)} == numbers


def test_a_revoked_one_says_so_and_is_not_revoked_twice(desk: Desk) -> None:
    desk.credit(0)
    number = issue(desk)["number"]
    path = f"/certificates/{number}/revoke"
    desk.office.refused(403, "forbidden", "POST", path, {"reason": "x"})
    done = desk.office.ok("POST", path, {"reason": "发错了人"}, as_="admin")
    assert (done["state"], done["revoke_reason"]) == ("revoked", "发错了人")
    assert checked(desk, number)["state"] == "revoked"
    told = [one["text"] for one in desk.office.ok("GET", f"/residents/{desk.people[0].id}/messages")["items"]]
    assert [number in one for one in told[:2]] == [True, True]
    assert "发错了人" not in desk.office.client.get(f"/c/{number}").text
    desk.office.refused(409, "certificate_revoked", "POST", path, {"reason": "x"}, as_="admin")


def test_a_redemption_changes_neither_hours_nor_a_certificate(desk: Desk) -> None:
    desk.credit(0, 600)
    number = issue(desk)["number"]
    before = printed(desk, number)
    world = World(desk.office.parts.engine)
    world.now = desk.office.now
    box = world.machine()
    for _ in range(2):
        box.dispense(box.vend())
    world.close()
    resident = desk.people[0].id
    assert desk.office.balances()[f"res:{resident}"] == (6, 0)
    with desk.office.parts.engine.connect() as connection:
        assert service_records.total_minutes(connection, resident) == 600
    assert printed(desk, number) == before
    assert checked(desk, number)["state"] == "valid"
    again = issue(desk)
    assert (again["minutes"], again["hours"]) == (600, "10.0")


def test_a_certificate_reads_no_points(desk: Desk) -> None:
    body = {"resident_id": desk.people[0].id, "activity": "答谢", "reason": "x", "points": 9}
    desk.approve(desk.office.ok("POST", "/credits", body))
    desk.office.refused(409, "certificate_empty", "POST", f"/residents/{desk.people[0].id}/certificates", {})
    desk.credit(0, 5)
    assert issue(desk)["hours"] == "0.0"


def test_a_period_takes_the_records_of_its_days_only(desk: Desk) -> None:
    desk.credit(0, 60)
    path = f"/residents/{desk.people[0].id}/certificates"
    february = {"first_day": "2026-02-01", "last_day": "2026-02-28"}
    desk.office.refused(409, "certificate_empty", "POST", path, february)
    made = issue(desk, first_day="2026-01-01", last_day="2026-12-31")
    assert (made["first_day"], made["last_day"], made["record_count"]) == ("2026-01-01", "2026-12-31", 1)


def test_a_resident_issues_and_prints_their_own_and_nobody_elses(desk: Desk) -> None:
    desk.credit(0)
    desk.credit(1)
    other = issue(desk, 1)["number"]
    own = desk.office.ok("POST", "/me/certificates", {}, **desk.as_resident(0))["number"]
    answer = desk.office.send("GET", f"/me/certificates/{own}/certificate.pdf", **desk.as_resident(0))
    assert answer.data == printed(desk, own)
    assert "filename*=UTF-8''%E5%BF%97%E6%84%BF" in answer.headers["Content-Disposition"]
    assert [one["number"] for one in desk.office.ok("GET", "/me/certificates", **desk.as_resident(0))["items"]] == [own]
    path = f"/me/certificates/{other}/certificate.pdf"
    desk.office.refused(404, "certificate_unknown", "GET", path, **desk.as_resident(0))
    desk.office.refused(
        404, "certificate_unknown", "POST", "/me/certificates", {"replaces": other}, **desk.as_resident(0)
    )
    assert checked(desk, other)["state"] == "valid"


def test_staff_of_another_estate_see_and_issue_none(desk: Desk) -> None:
    desk.credit(0)
    number = issue(desk)["number"]
    body = CreateOrganization(SYSTEM, "qingyijiang", "estate", "河畔", "hepan")
    desk.office.parts.writer.call(Operation("other-estate", "create_organization", body))
    roles = [{"role": "estate_secretary", "organization_id": "hepan"}]
    who = {"login": "beside", "name": "x", "password": "a long password", "roles": roles}
    desk.office.ok("POST", "/staff", who, as_="admin")
    desk.office.refused(403, "forbidden", "GET", f"/certificates/{number}/certificate.pdf", **desk.as_login("beside"))
    path = f"/residents/{desk.people[0].id}/certificates"
    desk.office.refused(403, "forbidden", "POST", path, {}, **desk.as_login("beside"))
    assert desk.office.ok("GET", "/certificates", **desk.as_login("beside"))["items"] == []


def test_the_same_request_twice_issues_one(desk: Desk) -> None:
    desk.credit(0)
    path = f"/residents/{desk.people[0].id}/certificates"
    first = desk.office.ok("POST", path, {}, key="certificate-1")
    assert desk.office.ok("POST", path, {}, key="certificate-1") == first
    assert len(desk.office.ok("GET", path)["items"]) == 1


def test_whoever_is_made_anonymous_leaves_a_number_that_can_be_checked(desk: Desk) -> None:
    desk.credit(0)
    number = issue(desk)["number"]
    body = EraseResident(SYSTEM, desk.people[0].id, "asked")
    desk.office.parts.writer.call(Operation("erase", "erase_resident", body))
    assert checked(desk, number)["state"] == "valid"
    assert desk.office.ok("GET", f"/certificates/{number}", as_="admin")["name"] is None
    path = f"/certificates/{number}/certificate.pdf"
    desk.office.refused(410, "certificate_forgotten", "GET", path, as_="admin")
    path = f"/residents/{desk.people[0].id}/certificates"
    desk.office.refused(409, "resident_erased", "POST", path, {}, as_="admin")


def test_certificates_of_a_merged_record_stay_the_persons(desk: Desk) -> None:
    desk.credit(0, 60)
    desk.credit(1, 30)
    number = issue(desk, 0)["number"]
    path = f"/residents/{desk.people[0].id}/merge"
    desk.office.ok("POST", path, {"into_id": desk.people[1].id, "reason": "同一人"}, as_="admin")
    found = desk.office.ok("GET", "/me/certificates", **desk.as_resident(1))["items"]
    assert [one["number"] for one in found] == [number]
    both = desk.office.ok("POST", "/me/certificates", {"replaces": number}, **desk.as_resident(1))
    assert both["minutes"] == 90
    assert checked(desk, number)["state"] == "replaced"


def test_the_database_refuses_to_change_what_a_certificate_says(desk: Desk) -> None:
    desk.credit(0)
    number = issue(desk)["number"]
    c = certificates.c
    for statement in (
        update(certificates).where(c.number == number).values(minutes=9_999),
        update(certificates).where(c.number == number).values(unit_name="别处"),
        delete(certificates).where(c.number == number),
        delete(certificate_records),
    ):
        with pytest.raises(DBAPIError, match="append-only"), writing(desk.office.parts.engine) as connection:
            connection.execute(statement)


@pytest.fixture
def slow_office(sqlite_template: Path, tmp_path: Path) -> Iterator[Office]:
    with opened(sqlite_template, tmp_path, logins_per_minute=5) as made:
        yield made


def test_numbers_are_not_tried_out(slow_office: Office) -> None:
    client = slow_office.client
    answers = [client.get(f"/api/v1/certificates/{new_number(str(n), 2026)}/check").status_code for n in range(4)]
    assert answers == [404] * 4
    assert client.get("/c/1").status_code == 422
    assert client.get("/c/2").status_code == 429
    assert client.get("/api/v1/certificates/1/check").status_code == 429
    # Who wants to log in is not kept from it.
    slow_office.token("admin")


def test_both_tables_are_laid() -> None:
    assert {"certificates", "certificate_records"} <= all_tables().tables.keys()
