"""Residents on their own phone: logging in, what they see and change, and that the rest of the API is not theirs."""

from __future__ import annotations

from typing import Any

from office import Office
from werkzeug.test import TestResponse

from jishan_protocol.sealing import Credential
from jishan_server.db import writing
from jishan_server.errors import DomainError
from jishan_server.people.credentials import identify, prepare


def log_in(office: Office, resident: int = 0, pin: str | None = None) -> TestResponse:
    one = office.people.residents[resident]
    body = {"member_number": one.member_number, "pin": pin or one.pin}
    return office.send("POST", "/auth/resident-token", body, as_=None)


def token_of(office: Office, resident: int = 0) -> dict[str, str]:
    """The header of a resident who has logged in."""
    answer = log_in(office, resident)
    assert answer.status_code == 201, answer.text
    return {"Authorization": f"Bearer {answer.get_json()['token']}"}


def mine(office: Office, headers: dict[str, str], method: str, path: str, body: Any = None) -> Any:
    answer = office.send(method, path, body, as_=None, headers=headers)
    assert answer.status_code < 300, answer.text
    return answer.get_json() if answer.data else None


def test_a_resident_logs_in_with_number_and_pin_and_sees_themselves_whole(office: Office) -> None:
    one = office.people.residents[0]
    me = mine(office, token_of(office), "GET", "/me")
    assert (me["id"], me["name"], me["is_masked"]) == (one.id, one.name, False)
    assert "roles" not in me


def test_a_resident_changes_phone_mail_and_language_and_nothing_else(office: Office) -> None:
    headers = token_of(office)
    me = mine(office, headers, "PUT", "/me", {"phone": "13800000000", "email": "a@b.cn", "language": "en"})
    assert (me["phone"], me["email"], me["language"]) == ("13800000000", "a@b.cn", "en")
    assert mine(office, headers, "PUT", "/me", {"email": None})["email"] is None
    for body in ({"name": "别人"}, {"birth_day": "1950-01-01"}):
        office.refused(422, "fields_invalid", "PUT", "/me", body, as_=None, headers=headers)
    office.refused(422, "email_invalid", "PUT", "/me", {"email": "nobody"}, as_=None, headers=headers)


def test_a_residents_token_opens_nothing_of_the_staffs(office: Office) -> None:
    headers, one = token_of(office), office.people.residents[0]
    for path in ("/residents", f"/residents/{one.id}", f"/residents/{one.id}/balance", "/estates", "/staff", "/alerts"):
        office.refused(403, "forbidden", "GET", path, as_=None, headers=headers)
    office.refused(403, "forbidden", "POST", "/residents", {"estate_id": "x", "name": "x"}, as_=None, headers=headers)
    office.refused(403, "forbidden", "DELETE", "/auth/token", as_=None, headers=headers)
    office.refused(403, "forbidden", "PUT", "/me", {"language": "en"}, as_="coordinator")


def test_a_token_ends_by_logging_out_by_a_new_pin_and_by_time(office: Office) -> None:
    one = office.people.residents[0]
    first, second, third = token_of(office), token_of(office), token_of(office, 1)
    mine(office, first, "DELETE", "/auth/resident-token")
    office.refused(401, "token_invalid", "GET", "/me", as_=None, headers=first)
    mine(office, second, "GET", "/me")
    office.ok("PUT", f"/residents/{one.id}/pin", {"pin": "86420"})
    office.refused(401, "token_invalid", "GET", "/me", as_=None, headers=second)
    office.tick(days=30)
    office.refused(401, "token_expired", "GET", "/me", as_=None, headers=third)


def test_wrong_pins_count_in_one_place_for_phone_and_machine(office: Office) -> None:
    one, hashing = office.people.residents[0], office.parts.hashing
    assert [log_in(office, pin="0000").get_json()["code"] for _ in range(3)] == ["login_failed"] * 3
    wrong = [Credential(member=one.member_number, pin="0000")] * 2
    with writing(office.parts.engine) as connection:
        answers = identify(connection, prepare(connection, wrong, hashing), hashing, office.now)
    assert [one.code for one in answers if isinstance(one, DomainError)] == ["pin_wrong", "pin_locked"]
    assert log_in(office).get_json()["code"] == "login_locked"
    office.tick(minutes=15)
    assert log_in(office).status_code == 201


def test_a_number_of_nobody_is_refused_like_a_wrong_pin(office: Office) -> None:
    made = office.ok("POST", "/residents", {"estate_id": "jiangpan", "name": "无密码"})
    for number in ("10000001", "x", made["member_number"]):
        body = {"member_number": number, "pin": "123456"}
        office.refused(401, "login_failed", "POST", "/auth/resident-token", body, as_=None)
