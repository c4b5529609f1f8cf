"""A resident on the phone: reads the number, signs up, checks in by a scanned code, says that nothing came out."""

from __future__ import annotations

import pytest
from activity_office import Club
from link_world import World
from served import Site, grave_problems

from jishan_protocol.screen_codes import screen_code
from jishan_protocol.sealing import Credential
from jishan_server.db import to_ms
from jishan_server.volunteering import codes

pytestmark = pytest.mark.external


def test_a_resident_on_the_phone_from_the_login_to_a_report(site: Site) -> None:
    club = Club(site.office)
    site.office.credit(0, 7)
    session = club.session("2026-03-02T13:00")
    page = site.resident(0)
    page.click("text=这个数是怎么来的")
    assert "可用7分" in page.inner_text("main")
    page.click("nav >> text=活动")
    page.click("text=河道清理")
    page.click("text=我要报名")
    assert "报名成功" in page.inner_text("main")
    club.at("2026-03-02T12:50")
    code = codes.code(codes.attendance_key(site.office.parts.config.secret), session, site.office.now)
    page.goto(f"/a/{session}-{code}")
    page.click("main button:has-text('签到')")
    assert "签到成功" in page.inner_text("main")
    page.goto("/my/messages")
    page.click("text=知道了")
    assert "没看" not in page.inner_text("h1")
    page.goto("/my/reports")
    page.click("text=机器有别的问题")
    page.check("text=没有出货")
    page.click("main button:has-text('提交')")
    assert "前答复您" in page.inner_text("main")
    assert grave_problems(page) == []


def test_a_phone_scans_a_machine_chooses_and_sees_the_item_come_out_without_touching_anything(site: Site) -> None:
    site.office.credit(0, 10)
    world = World(site.office.parts.engine)
    world.now = site.office.now
    box = world.machine()
    box.beat()
    page = site.resident(0)
    page.goto(f"/m/{box.id}/{screen_code(box.key, box.session.tag, to_ms(world.now) // 1000)}")
    page.click("main >> text=肥皂")
    page.click("text=确定兑换")
    assert "正在告诉机器" in page.inner_text("h1")
    id = box.vend(Credential(claim=page.url.rpartition("/")[2]))
    page.wait_for_selector("h1:has-text('正在出货')")
    box.dispense(id)
    page.wait_for_selector("h1:has-text('已出货')")
    assert "您有8分可用" in page.inner_text("main")
    assert grave_problems(page) == []
    world.close()


def test_large_type_by_keyboard_alone(site: Site) -> None:
    site.office.credit(0, 7)
    page = site.resident(0)
    page.click("text=大字版")
    buttons = page.locator("main .tiles a")
    assert buttons.count() == 4
    assert all(buttons.nth(place).bounding_box()["height"] >= 60 for place in range(4))  # type: ignore[index]
    buttons.nth(2).focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/my/messages")
    assert grave_problems(page) == []
