"""One's own account at the desk: the second factor, the password, where one is logged in."""

from __future__ import annotations

import re

import pyotp
import pytest
from office import Office
from reader import Pages

PASSWORDS = {"old_password": "", "password": "a new long password", "again": "a new long password"}


@pytest.fixture
def admin(browser: Pages) -> Pages:
    """A county administrator, whose role asks for a second factor."""
    browser.log_in_staff("admin")
    return browser


def turn_on(browser: Pages) -> pyotp.TOTP:
    """Set the second factor up as a person does, and give the authenticator."""
    page = browser.send("/account/second-factor", page="/account").text
    found = re.search(r"<code>([A-Z2-7]{32})</code>", page)
    assert found is not None
    authenticator = pyotp.TOTP(found[1])
    code = authenticator.at(browser.office.now)
    assert browser.send("/account/second-factor/confirm", page="/account", code=code).status_code == 303
    browser.office.tick(seconds=60)
    return authenticator


def log_in(browser: Pages, code: str) -> int:
    password = next(one.password for one in browser.office.people.staff if one.login == "admin")
    return browser.send("/staff/login", login="admin", password=password, code=code).status_code


def test_whose_role_asks_for_it_sets_a_second_factor_up_before_anything_else(admin: Pages) -> None:
    assert admin.client.get("/desk").headers["Location"] == "/account"
    turn_on(admin)
    assert admin.client.get("/desk").status_code == 200


def test_a_coordinator_works_without(browser: Pages) -> None:
    browser.log_in_staff("coordinator")
    assert browser.client.get("/desk").status_code == 200


def test_with_a_second_factor_a_password_alone_opens_nothing_and_a_code_is_good_once(
    admin: Pages, office: Office
) -> None:
    authenticator = turn_on(admin)
    fresh = Pages(office)
    assert log_in(fresh, "") == 401
    code = authenticator.at(office.now)
    assert log_in(fresh, code) == 303
    assert log_in(Pages(office), code) == 401
    body = {"login": "admin", "password": next(one.password for one in office.people.staff if one.login == "admin")}
    office.refused(401, "code_required", "POST", "/auth/token", body, as_=None)
    office.refused(401, "code_wrong", "POST", "/auth/token", body | {"code": "000000"}, as_=None)
    office.tick(seconds=60)
    assert office.ok("POST", "/auth/token", body | {"code": authenticator.at(office.now)}, as_=None)["token"]


def test_wrong_codes_close_the_account_as_wrong_passwords_do(admin: Pages, office: Office) -> None:
    authenticator = turn_on(admin)
    for _ in range(5):
        log_in(Pages(office), "000000")
    assert log_in(Pages(office), authenticator.at(office.now)) == 429
    office.tick(minutes=16)
    assert log_in(Pages(office), authenticator.at(office.now)) == 303


def test_a_wrong_first_code_turns_nothing_on(admin: Pages, office: Office) -> None:
    admin.send("/account/second-factor", page="/account")
    answer = admin.send("/account/second-factor/confirm", page="/account", code="123456")
    assert answer.status_code == 401
    assert 'role="alert"' in answer.text
    assert log_in(Pages(office), "") == 303


def test_it_is_turned_off_with_a_code_and_for_another_person_by_who_manages_them(admin: Pages, office: Office) -> None:
    authenticator = turn_on(admin)
    assert admin.send("/account/second-factor/end", page="/account", code="000000").status_code == 401
    office.tick(seconds=60)
    code = authenticator.at(office.now)
    assert admin.send("/account/second-factor/end", page="/account", code=code).status_code == 303
    coordinator = next(one for one in office.people.staff if one.login == "coordinator")
    office.refused(409, "second_factor_missing", "DELETE", f"/staff/{coordinator.id}/second-factor", as_="admin")
    begun = office.ok("POST", "/auth/second-factor", as_="coordinator")
    first = pyotp.TOTP(begun["secret"]).at(office.now)
    assert office.ok("PUT", "/auth/second-factor", {"code": first}, as_="coordinator")["has_second_factor"]
    office.refused(403, "forbidden", "DELETE", f"/staff/{coordinator.id}/second-factor", as_="approver")
    done = office.ok("DELETE", f"/staff/{coordinator.id}/second-factor", as_="admin")
    assert not done["has_second_factor"]


def test_the_secret_stands_in_no_table_and_in_no_remembered_answer(office: Office) -> None:
    begun = office.ok("POST", "/auth/second-factor", as_="coordinator")
    with office.parts.engine.connect() as connection:
        dump = "\n".join(str(one) for one in connection.connection.iterdump())  # type: ignore[attr-defined]
    assert begun["secret"] not in dump
    assert begun["address"].startswith("otpauth://totp/")


def test_sessions_are_listed_and_ended_elsewhere(browser: Pages, office: Office) -> None:
    elsewhere = Pages(office)
    elsewhere.headers["User-Agent"] = "Telephone of Zhou"
    elsewhere.log_in_staff("coordinator")
    browser.log_in_staff("coordinator")
    page = browser.get("/account")
    assert "Telephone of Zhou" in page
    found = re.search(r'action="(/account/sessions/[0-9a-f]+/end)"', page)
    assert found is not None
    assert browser.send(found[1], page="/account").status_code == 303
    assert elsewhere.client.get("/desk").headers["Location"].startswith("/staff/login")
    assert browser.client.get("/desk").status_code == 200


def test_a_new_password_is_typed_twice_and_ends_other_sessions(browser: Pages, office: Office) -> None:
    browser.log_in_staff("coordinator")
    elsewhere = Pages(office)
    elsewhere.log_in_staff("coordinator")
    old = next(one.password for one in office.people.staff if one.login == "coordinator")
    wrong = browser.send("/account/password", page="/account", **PASSWORDS | {"old_password": old, "again": "x"})
    assert wrong.status_code == 422
    assert browser.send("/account/password", page="/account", **PASSWORDS | {"old_password": old}).status_code == 303
    assert elsewhere.client.get("/desk").status_code == 303
    assert browser.client.get("/desk").status_code == 200
