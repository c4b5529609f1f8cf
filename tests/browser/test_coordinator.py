"""A coordinator's walk in a real browser: a session on the phone, and sixty names of a sheet by keyboard."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from office import Office
from playwright.sync_api import Page, expect
from served import Site

from jishan_server.volunteering.papers import SHEET_CODE

pytestmark = pytest.mark.external

FAMILY = (
    "王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗梁宋郑谢韩唐冯于董萧"
    "程曹袁邓许傅沈曾彭吕苏卢蒋蔡贾丁魏薛叶阎余潘杜戴夏钟汪田任姜"
)
GIVEN = "秀英桂兰建国志强玉梅淑珍德福小红文华丽娟永平春梅国强明霞海燕金凤"
NAMES = 60
MOST_KEYS = 6
"""Keys for a name, the one that ends it included."""


class Keys:
    """A keyboard that counts."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.pressed = 0

    def type(self, text: str) -> None:
        for sign in text:
            self.page.keyboard.press(sign)
        self.pressed += len(text)

    def press(self, key: str) -> None:
        self.page.keyboard.press(key)
        self.pressed += 1


def planned(office: Office) -> dict[str, Any]:
    """A published session that ended an hour ago."""
    kind = {"name_zh": "清洁", "name_en": "Cleaning", "category": "environment", "counts_as_service": True}
    office.ok("PUT", "/activity-types/clean", kind, as_="admin")
    words = {"organization_id": "jiangpan", "title": "楼道清洁", "activity_type": "clean", "place": "3栋"}
    made = office.ok("POST", "/activities", words | {"person_in_charge": "周敏"})
    begin = office.now + timedelta(hours=1)
    plan = {"starts_at": begin.isoformat(), "ends_at": (begin + timedelta(hours=2)).isoformat()}
    (session,) = office.ok("POST", f"/activities/{made['id']}/sessions", plan)["sessions"]
    office.ok("POST", f"/activities/{made['id']}/publish", {})
    office.tick(hours=4)
    return dict(session)


def registered(office: Office) -> list[tuple[str, str]]:
    """Sixty people more, as (name, member number)."""
    people = []
    for place in range(NAMES - 2):
        name = FAMILY[place] + GIVEN[place % 20 * 2 : place % 20 * 2 + 2]
        made = office.ok("POST", "/residents", {"estate_id": "jiangpan", "name": name})
        people.append((name, made["member_number"]))
    for building in ("1栋", "2栋"):
        made = office.ok("POST", "/residents", {"estate_id": "jiangpan", "name": "欧阳秀英", "building": building})
        people.append(("欧阳秀英", made["member_number"]))
    return people


def test_sixty_names_of_a_sheet_are_typed_by_keyboard_alone(site: Site) -> None:
    people = registered(site.office)
    session = planned(site.office)
    page = site.staff("coordinator")
    page.goto("/desk/sheets")
    page.keyboard.type(session["id"][:SHEET_CODE])
    page.keyboard.press("Enter")
    keys = Keys(page)
    begin(page)
    for place, (name, number) in enumerate(people):
        if name == "欧阳秀英":
            keys.type("oyxy")
            options = page.locator("#candidates [role=option]")
            expect(options).to_have_count(2)
            assert "1栋" in page.inner_text("#candidates")
            assert "2栋" in page.inner_text("#candidates")
            keys.press("Enter")
        else:
            keys.type(number[-4:])
            expect(page.locator("#candidates .first")).to_contain_text(name)
            keys.press("Enter")
        expect(page.locator("#count")).to_have_text(str(place + 1))
        if place == NAMES // 2:
            keys.type("zzzq")
            keys.press("Enter")
            expect(page.locator("#parked")).to_contain_text("zzzq")
            keys.pressed -= len("zzzq") + 1
            page.reload()
            begin(page)
            expect(page.locator("#count")).to_have_text(str(place + 1))
            expect(page.locator("#parked")).to_contain_text("zzzq")
    assert keys.pressed <= MOST_KEYS * NAMES
    assert keys.pressed / NAMES <= MOST_KEYS
    keys.type(people[0][1][-4:])
    keys.press("Enter")
    expect(page.locator("#said")).to_contain_text("早就录过了")
    kept = site.office.ok("GET", f"/sessions/{session['id']}/attendances?limit=200")["items"]
    assert len(kept) == NAMES
    assert {one["minutes"] for one in kept} == {120}


def begin(page: Page) -> None:
    """The list is there, and the field waits for the first name."""
    page.wait_for_selector("#typing[data-ready]")
    expect(page.locator("#who")).to_be_focused()


def test_a_session_is_ticked_on_a_phone_credited_and_approved(site: Site) -> None:
    office = site.office
    session = planned(office)
    phone = site.staff("coordinator", "phone")
    phone.goto(f"/desk/sessions/{session['id']}")
    phone.fill("[name=who]", "wjh")
    phone.get_by_role("button", name="加上").click()
    expect(phone.locator(".people")).to_contain_text("王建华")
    phone.get_by_role("link", name="录积分").click()
    phone.get_by_role("button", name="全部录入").click()
    expect(phone.get_by_role("status")).to_contain_text("已录入1人")
    approver = site.staff("approver", "phone")
    approver.goto("/desk")
    approver.get_by_role("link", name="等您审核的积分").click()
    approver.get_by_role("link", name="楼道清洁").click()
    approver.get_by_role("button", name="全部批准").click()
    expect(approver.get_by_role("status")).to_contain_text("已批准1笔")


def test_the_code_on_the_wall_renews_itself(site: Site) -> None:
    office = site.office
    session = planned(office)
    page = site.staff("coordinator")
    page.clock.install()
    page.goto(f"/desk/sessions/{session['id']}/code")
    first = page.inner_text(".digits strong")
    office.tick(seconds=30)
    page.clock.run_for(31_000)
    expect(page.locator(".digits strong")).not_to_have_text(first)
    # The new picture comes a moment after the new digits.
    expect(page.locator(".code-display img")).to_have_js_property("complete", True)
    assert page.locator(".code-display img").evaluate("one => one.naturalWidth > 0")
