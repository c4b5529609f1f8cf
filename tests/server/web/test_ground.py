"""What all pages share: the door, the language, forms that count once, refusals as pages, and what goes with them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from office import Office
from reader import Pages

TREE = Path(__file__).parents[3]


def test_a_resident_logs_in_sees_the_points_and_logs_out(browser: Pages, office: Office) -> None:
    office.credit(0, 7)
    assert browser.client.get("/my").headers["Location"].startswith("/login?next=")
    browser.log_in()
    page = browser.get("/my")
    assert "王建华" in page
    assert "<strong>7</strong>" in page
    assert "扫雪" in browser.get("/my/statement")
    browser.send("/logout", page="/my")
    assert browser.client.get("/my").status_code == 303


def test_a_token_that_ended_elsewhere_ends_the_session_here(browser: Pages) -> None:
    browser.log_in()
    with browser.client.session_transaction() as session:
        token = session["token"]
    ended = browser.client.delete("/api/v1/auth/resident-token", headers={"Authorization": f"Bearer {token}"})
    assert ended.status_code == 204
    assert browser.client.get("/my").headers["Location"].startswith("/login")


def test_a_wrong_pin_is_said_and_a_locked_one_too(browser: Pages, office: Office) -> None:
    number = office.people.residents[0].member_number
    for _ in range(4):
        answer = browser.send("/login", number=number, pin="000000")
        assert answer.status_code == 401
        assert 'role="alert"' in answer.text
    assert "15" in browser.send("/login", number=number, pin="000000").text


def test_the_door_leads_on_to_pages_of_this_server_only(browser: Pages, office: Office) -> None:
    one = office.people.residents[0]
    for wanted, leads in (
        ("/my/statement?x=1", "/my/statement?x=1"),
        ("https://elsewhere.example/", "/my"),
        ("//elsewhere.example/", "/my"),
        ("/\\elsewhere.example", "/my"),
    ):
        answer = browser.send("/login", number=one.member_number, pin=one.pin, next=wanted)
        assert answer.headers["Location"] == leads


def test_a_form_without_its_guard_changes_nothing(browser: Pages) -> None:
    browser.log_in()
    answer = browser.client.post("/reading", data={"elder": "1"})
    assert answer.status_code == 400
    assert "没有改动" in answer.text
    assert 'class="elder"' not in browser.get("/my")


def test_large_type_and_language_stay_and_survive_the_login(browser: Pages) -> None:
    browser.send("/reading", page="/login", elder="1")
    browser.send("/reading", page="/login", language="en")
    browser.log_in()
    page = browser.get("/my")
    assert '<html lang="en" class="elder">' in page
    assert "My points" in page
    assert "我的积分" not in page


def test_the_browsers_language_is_the_first_choice(office: Office) -> None:
    assert "Log in" in Pages(office, "en-GB,en;q=0.8").get("/login")
    assert "登录" in Pages(office, "fr").get("/login")


def test_a_resident_is_refused_at_the_desk_and_staff_at_a_residents_page(browser: Pages, office: Office) -> None:
    browser.log_in()
    assert "没有做这件事的权限" in browser.get("/desk", status=403)
    staff = Pages(office)
    staff.log_in_staff("coordinator")
    assert "周敏" in staff.get("/desk")
    assert "没有做这件事的权限" in staff.get("/my", status=403)


def test_an_address_that_is_none_is_a_page_and_below_the_api_json(browser: Pages) -> None:
    page = browser.client.get("/nowhere", headers={"Accept": "text/html"})
    assert (page.status_code, page.mimetype) == (404, "text/html")
    assert browser.client.get("/api/v1/nowhere").mimetype == "application/json"


def test_nothing_comes_from_elsewhere_and_no_script_stands_in_a_page(browser: Pages) -> None:
    browser.log_in()
    answer = browser.client.get("/my")
    policy = answer.headers["Content-Security-Policy"]
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy
    assert not re.search(r'(src|href|action)="(https?:)?//', answer.text)
    assert not re.search(r"<script(?![^>]*src=)|<style|\sstyle=|\son\w+=", answer.text)
    for file in re.findall(r'(?:src|href)="(/(?:static|bootstrap)[^"]*)"', answer.text):
        with browser.client.get(file) as got:
            assert (got.status_code, got.headers["Cache-Control"]) == (200, "public, max-age=3600"), file


def test_the_cookie_is_kept_from_scripts_and_secure_exactly_when_the_address_is_https(
    browser: Pages, office: Office
) -> None:
    cookie = browser.client.get("/login").headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert "Secure" not in cookie


@pytest.mark.parametrize("name", ["words"])
def test_every_text_of_the_pages_has_its_english(name: str) -> None:
    done = subprocess.run([sys.executable, f"tools/{name}.py", "--check"], cwd=TREE, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
