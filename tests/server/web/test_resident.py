"""The pages of residents, and those for everybody: what they say and change, and that a refusal loses nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from activity_office import Club
from link_world import Box, World
from office import Office, opened
from reader import Pages
from sqlalchemy import func, select

from jishan_protocol.messages import NotDispensed, OutcomeUnknown
from jishan_protocol.screen_codes import screen_code
from jishan_protocol.sealing import Credential
from jishan_server.db import to_ms
from jishan_server.vending.report_tables import reports
from jishan_server.volunteering import codes

EVERY = (
    "/my",
    "/my/more",
    "/my/statement",
    "/my/explain",
    "/my/why-not",
    "/my/hours",
    "/my/appeals",
    "/my/certificates",
    "/my/activities",
    "/my/attendances",
    "/my/messages",
    "/my/preferences",
    "/my/machines",
    "/my/reports",
    "/my/reports/new",
    "/my/account",
    "/my/consent",
    "/my/accesses",
    "/my/sessions",
    "/my/close",
)


@pytest.fixture
def club(office: Office) -> Club:
    return Club(office)


def agree(browser: Pages) -> None:
    """Agree to the text that the page shows."""
    version = re.search(r'name="version" value="(\d+)"', browser.get("/my/consent"))
    assert version is not None
    assert browser.send("/my/consent", version=version[1]).status_code == 303


def work(office: Office, resident: int = 0, minutes: int = 90) -> dict[str, Any]:
    """An approved credit of work, still in its notice."""
    body = {
        "resident_id": office.people.residents[resident].id,
        "minutes": minutes,
        "activity": "河道清理",
        "activity_type": "general",
        "reason": "参加",
        "source": "b",
    }
    made = office.ok("POST", "/credits", body)
    done: dict[str, Any] = office.ok("POST", f"/credits/{made['id']}/approve", {}, as_="approver")
    return done


@pytest.fixture
def box(office: Office) -> Iterator[Box]:
    """A machine in the estate that is online and sells soap for 2 points, and 10 points of the first resident."""
    office.credit(0, 10)
    world = World(office.parts.engine)
    world.now = office.now
    made = world.machine()
    made.beat()
    yield made
    world.close()


def on_screen(box: Box) -> str:
    """Where a phone goes that scans the machine's screen."""
    return f"/m/{box.id}/{screen_code(box.key, box.session.tag, to_ms(box.world.now) // 1000)}"


def chosen(browser: Pages, box: Box) -> str:
    """Scan, choose and confirm; gives the address of the page that watches."""
    assert browser.client.get(on_screen(box)).headers["Location"] == "/my/choose"
    found = re.findall(r'href="\?selection=(\d+)"', browser.get("/my/choose"))
    page = browser.get(f"/my/choose?selection={found[0]}")
    shown = dict(re.findall(r'name="(selection|product_id|points|planogram_version)" value="([^"]+)"', page))
    answer = browser.send("/my/choose", page=f"/my/choose?selection={found[0]}", **shown)
    assert answer.status_code == 303, answer.text
    return answer.headers["Location"]


def scanned(club: Club, session_id: str) -> str:
    code = codes.code(codes.attendance_key(club.office.parts.config.secret), session_id, club.office.now)
    return f"/a/{session_id}-{code}"


def test_every_page_is_for_who_is_logged_in_and_opens_before_anything_has_happened(browser: Pages) -> None:
    for address in EVERY:
        assert browser.client.get(address).headers["Location"].startswith("/login?next="), address
    browser.log_in()
    for address in EVERY:
        assert "<h1" in browser.get(address), address


def test_who_tries_too_many_pins_at_the_page_is_stopped_like_at_the_api(sqlite_template: Path, tmp_path: Path) -> None:
    with opened(sqlite_template, tmp_path, logins_per_minute=3) as office:
        browser = Pages(office)
        for _ in range(3):
            assert browser.send("/login", number="10000012", pin="1").status_code == 401
        assert browser.send("/login", number="10000012", pin="1").status_code == 429
        # Looking at the form is no try.
        browser.get("/login")


def test_large_type_has_four_choices_on_the_first_page(browser: Pages, office: Office) -> None:
    office.credit(0, 7)
    browser.log_in()
    browser.send("/reading", page="/my", elder="1")
    page = browser.get("/my")
    assert page.count('<li><a href="/my') == 4 + page.count('class="waits"')
    assert "<strong>7</strong>" in page
    assert "最近的变动" not in page


def test_what_waits_stands_on_the_first_page(browser: Pages, office: Office) -> None:
    browser.log_in()
    assert "等着的事" not in browser.get("/my")
    office.credit(0, 3)
    assert "有1条新消息" in browser.get("/my")
    browser.send("/my/consent", withdraw="1")
    assert "您撤回了同意" in browser.get("/my")


def test_a_month_adds_up_prints_and_comes_as_a_sheet(browser: Pages, office: Office) -> None:
    office.credit(0, 7)
    browser.log_in()
    page = browser.get("/my/statement?month=2026-03")
    assert "这个月进7分，出0分" in page
    assert "data-print" in page
    assert "还没有变动" in browser.get("/my/statement?month=2026-02")
    sheet = browser.client.get("/my/statement.csv?month=2026-03", headers=browser.headers)
    assert sheet.mimetype == "text/csv"
    assert "扫雪" in sheet.get_data(as_text=True)
    # A month that is none, or is still to come, is the current one.
    for wanted in ("2027-01", "13", "0001-01"):
        assert "2026-03" in browser.get(f"/my/statement?month={wanted}")


def test_each_number_is_shown_with_its_sum(browser: Pages, office: Office) -> None:
    office.credit(0, 7)
    office.credit(0, 2)
    browser.log_in()
    page = browser.get("/my/explain")
    assert "可用9分" in page
    assert re.search(r"合计</span><span>9</span>", page)
    assert page.count("“扫雪”") >= 2


def test_why_not_names_the_case_and_leads_to_the_appeal(browser: Pages, office: Office) -> None:
    body = {
        "resident_id": office.people.residents[0].id,
        "points": 3,
        "activity": "扫雪",
        "reason": "参加",
    }
    made = office.ok("POST", "/credits", body)
    office.ok("POST", f"/credits/{made['id']}/reject", {"reason": "名单上没有"}, as_="approver")
    browser.log_in()
    assert "名单上没有" in browser.get("/my/why-not")
    address = f"/my/credits/{made['id']}/appeal"
    assert address in browser.get("/my/why-not")
    refused = browser.send(address, reason="   ")
    assert refused.status_code == 422
    assert "请填写原因" in refused.text
    assert browser.send(address, reason="我在，李国强可以证明").status_code == 303
    page = browser.get("/my/appeals")
    assert "李国强可以证明" in page
    assert "前答复" in page
    assert "您的申诉或更正申请" in browser.get("/my")
    again = browser.send(address, reason="再说一次")
    assert again.status_code == 409
    assert "再说一次" in again.text
    assert browser.get("/my/why-not?first_day=gestern", 422).count('role="alert"') == 1


def test_nobody_appeals_about_what_is_not_theirs(browser: Pages, office: Office) -> None:
    made = office.credit(1, 3)
    browser.log_in(0)
    browser.get(f"/my/credits/{made['id']}/appeal", 404)


def test_hours_become_a_certificate_that_anybody_can_check(browser: Pages, office: Office) -> None:
    browser.log_in()
    assert browser.send("/my/certificates").status_code == 409
    work(office)
    assert "1 小时 30 分钟" in browser.get("/my/hours")
    assert browser.send("/my/certificates", first_day="2026-02-01", last_day="2026-03-31").status_code == 303
    page = browser.get("/my/certificates")
    number = re.search(r"/c/(\d{15})", page)
    assert number is not None
    file = browser.client.get(f"/my/certificates/{number[1]}.pdf", headers=browser.headers)
    assert file.data.startswith(b"%PDF")
    other = Pages(office)
    checked = other.get(f"/c/{number[1]}")
    assert "有效" in checked
    assert "1.5" in checked
    assert "王建华" not in checked
    assert "English" in checked
    wrong = other.client.get("/c?number=123456789012345", headers=other.headers)
    assert wrong.status_code in (404, 422)
    other.log_in(1)
    other.get(f"/my/certificates/{number[1]}.pdf", 404)


def test_a_correction_keeps_what_was_typed_when_it_is_refused(browser: Pages, office: Office) -> None:
    browser.log_in()
    made = work(office)
    address = f"/my/credits/{made['id']}/appeal"
    refused = browser.send(address, hours="zwei", reason="到下午三点")
    assert refused.status_code == 422
    assert "到下午三点" in refused.text
    assert browser.send(address, hours="2", minutes="15", reason="到下午三点").status_code == 303
    assert "2 小时 15 分钟" in browser.get("/my/appeals")


def test_signing_up_waiting_clashing_and_giving_the_place_back(browser: Pages, club: Club) -> None:
    activity = club.activity()
    club.publish(activity["id"])
    session = club.plan(activity["id"], capacity=1)["id"]
    other = club.session("2026-03-03T15:00")
    browser.log_in()
    assert "河道清理" in browser.get("/my/activities")
    address = f"/my/activities/{session}"
    assert browser.send(address).status_code == 303
    assert "取消报名" in browser.get(address)
    clash = browser.send(f"/my/activities/{other}")
    assert clash.status_code == 409
    assert "时间与已报名的“河道清理”冲突" in clash.text
    second = Pages(club.office)
    second.log_in(1)
    assert second.send(address).status_code == 303
    assert "候补第1位" in second.get(address)
    held = re.search(r'name="cancel" value="([^"]+)"', browser.get(address))
    assert held is not None
    assert browser.send(address, cancel=held[1]).status_code == 303
    assert "已报名" in second.get("/my/activities")
    browser.get("/my/activities/nowhere", 404)


def test_a_scanned_code_stays_good_through_the_login_and_checks_in_and_out(club: Club) -> None:
    session = club.session("2026-03-02T12:00")
    phone = Pages(club.office)
    answer = phone.client.get(scanned(club, session))
    assert answer.headers["Location"] == f"/my/check/{session}"
    club.office.tick(minutes=8)
    phone.log_in()
    page = phone.get(f"/my/check/{session}")
    assert "码已扫到" in page
    assert phone.send(f"/my/check/{session}", direction="in").status_code == 303
    assert "去签退" in phone.get("/my/attendances")
    # One use: the same opening does not check out.
    club.office.tick(hours=1)
    assert phone.send(f"/my/check/{session}", direction="out").status_code == 410
    phone.client.get(scanned(club, session))
    assert phone.send(f"/my/check/{session}", direction="out").status_code == 303
    assert "1 小时" in phone.get("/my/attendances")


def test_a_code_is_judged_by_the_moment_it_was_opened_and_wrong_ones_are_counted(club: Club) -> None:
    session = club.session("2026-03-02T12:00")
    phone = Pages(club.office)
    phone.log_in()
    old = scanned(club, session)
    club.office.tick(minutes=5)
    phone.client.get(old)
    wrong = phone.send(f"/my/check/{session}", direction="in")
    assert wrong.status_code == 403
    assert "签到码不对或已过期" in wrong.text
    phone.client.get(scanned(club, session))
    club.office.tick(minutes=11)
    assert "现场显示的六位数字" in phone.get(f"/my/check/{session}")
    assert phone.send(f"/my/check/{session}", direction="in").status_code == 410
    # Opened again after its time, the same code is judged anew, and is wrong.
    typed = scanned(club, session)[-6:]
    assert phone.send(f"/my/check/{session}", direction="in", code=f" {typed[:3]} {typed[3:]}").status_code == 303


def test_a_poster_leads_to_the_sessions_of_its_activity(browser: Pages, club: Club) -> None:
    session = club.session()
    activity = club.office.ok("GET", f"/sessions/{session}")["activity_id"]
    browser.log_in()
    answer = browser.client.get(f"/a/{activity}", follow_redirects=True, headers=browser.headers)
    assert f"/my/activities/{session}" in answer.text


def test_messages_are_read_and_disputed_in_the_language_of_the_page(office: Office) -> None:
    office.credit(0, 3)
    browser = Pages(office, "en")
    browser.log_in()
    page = browser.get("/my/messages")
    assert "You earned 3 points for &#34;扫雪&#34;" in page
    number = re.search(r"/my/messages/(\d+)/read", page)
    assert number is not None
    assert browser.send(f"/my/messages/{number[1]}/read", page="/my/messages").status_code == 303
    assert "unread" not in browser.get("/my/messages").split("<main")[1]
    answer = browser.send(f"/my/messages/{number[1]}/dispute", page="/my/messages", words="I was away")
    assert answer.status_code == 303
    assert "the staff look into it" in browser.get("/my/messages")
    office.ok("POST", f"/messages/{number[1]}/answer", {"words": "已更正"})
    assert "Answer: 已更正" in browser.get("/my/messages")


def test_how_one_is_told_and_in_which_language(browser: Pages) -> None:
    browser.log_in()
    assert browser.send("/my/preferences", language="en").status_code == 303
    assert "How I am told" in browser.get("/my/preferences")


def test_consent_is_withdrawn_as_easily_as_it_is_given_to_the_text_that_was_read(browser: Pages) -> None:
    browser.log_in()
    assert "您已同意" in browser.get("/my/consent")
    assert browser.send("/my/consent", withdraw="1").status_code == 303
    assert browser.send("/my/consent", version="99").status_code == 409
    assert "您撤回了同意" in browser.get("/my")
    agree(browser)
    assert "您已同意" in browser.get("/my/consent")


def test_other_logins_end_and_this_one_stays(browser: Pages, office: Office) -> None:
    browser.log_in()
    other = Pages(office)
    other.log_in()
    stranger = Pages(office)
    stranger.log_in(1)
    assert browser.get("/my/sessions").count("登录<small>") == 2
    assert browser.send("/my/sessions").status_code == 303
    assert "没有别的设备登录" in browser.get("/my/sessions")
    assert other.client.get("/my").status_code == 303
    stranger.get("/my")


def test_ones_own_details_card_and_copy(browser: Pages) -> None:
    browser.log_in()
    assert browser.send("/my/account", phone="13900000000", email="").status_code == 303
    assert "13900000000" in browser.get("/my/account")
    assert browser.send("/my/account", phone="1" * 21, email="").status_code == 422
    card = re.search(r"/my/cards/([^/]+)/block", browser.get("/my/account"))
    assert card is not None
    assert browser.send(f"/my/cards/{card[1]}/block", page="/my/account").status_code == 303
    assert "已停用" in browser.get("/my/account")
    copy = browser.client.get("/my/export.json", headers=browser.headers)
    assert "王建华" in copy.get_data(as_text=True)
    for file in ("passbook", "card", "why-not"):
        assert browser.client.get(f"/my/{file}.pdf", headers=browser.headers).data.startswith(b"%PDF"), file


def test_an_account_is_closed_only_by_who_says_so_twice(browser: Pages) -> None:
    browser.log_in()
    assert browser.send("/my/close", reason="搬家").status_code == 422
    answer = browser.send("/my/close", reason="搬家", sure="1")
    assert answer.headers["Location"] == "/my/closed"
    assert "已销户" in browser.get("/my/closed")
    assert browser.client.get("/my").headers["Location"].startswith("/login")


def test_the_code_for_the_scanner_is_new_each_time_and_redeems(browser: Pages, box: Box) -> None:
    browser.log_in()
    found = [re.search(r">([0-9 ]{23})<", browser.get("/my/code")) for _ in range(2)]
    first, second = (one[1].replace(" ", "") for one in found if one is not None)
    assert first != second
    id = box.vend(Credential(code=second))
    box.dispense(id)
    assert "已出货" in browser.get("/my/reports")
    assert browser.client.get(f"/c/{first}").headers["Location"] == "/my/code"


def test_a_phone_scans_logs_in_chooses_and_watches_the_item_come_out(browser: Pages, box: Box) -> None:
    assert browser.client.get(on_screen(box)).headers["Location"] == "/my/choose"
    assert browser.client.get("/my/choose").headers["Location"] == "/login?next=/my/choose"
    browser.log_in()
    assert "肥皂" in browser.get("/my/choose")
    # The same code opened again in the same browser is the same scan.
    address = chosen(browser, box)
    assert "正在告诉机器" in browser.get(address)
    assert "data-live" in browser.get(address)
    id = box.vend(Credential(claim=address.rpartition("/")[2]))
    assert "正在出货" in browser.get(address)
    box.dispense(id)
    page = browser.get(address)
    assert "已出货，扣了2分" in page
    assert "data-live" not in page
    assert f"redemption={id}" in page
    assert "这次扫码已经用过了" in browser.get("/my/choose")
    other = Pages(browser.office)
    other.log_in(1)
    other.get(address, 404)
    assert other.client.get(on_screen(box)).status_code == 409


def test_when_nothing_comes_out_the_phone_says_that_the_points_are_back(browser: Pages, box: Box) -> None:
    browser.log_in()
    address = chosen(browser, box)
    id = box.vend(Credential(claim=address.rpartition("/")[2]))
    box.say(NotDispensed(id, "jam", "selection"))
    page = browser.get(address)
    assert "没有出货，2分已经退回。编号" in page
    assert "您有10分可用" in page


def test_a_doubt_is_told_with_its_day_on_every_page_that_speaks_of_it(browser: Pages, box: Box) -> None:
    browser.log_in()
    id = box.vend()
    box.say(OutcomeUnknown(id, "restarted"))
    for address in ("/my", "/my/reports"):
        assert "3月9日前答复您" in browser.get(address), address
    assert "预留" in browser.get("/my/explain")


def test_a_report_is_made_refused_and_looked_at_again(browser: Pages, box: Box) -> None:
    browser.log_in()
    id = box.vend()
    box.dispense(id)
    address = f"/my/reports/new?redemption={id}"
    assert address in browser.get("/my/reports")
    empty = browser.send(address, words="什么也没有")
    assert empty.status_code == 422
    assert "什么也没有" in empty.text
    assert browser.send(address, kind="not_out", words="什么也没有").status_code == 303
    assert "您反映的问题" in browser.get("/my")
    body = {"verdict": "refuse", "reason": "录像里看到取走了"}
    number = box.world.scalar(select(func.max(reports.c.number)))
    browser.office.ok("POST", f"/reports/{number}/decide", body, as_="approver")
    assert "录像里看到取走了" in browser.get("/my/reports")
    assert browser.send(f"/my/reports/{number}/reopen", reason="那不是我").status_code == 303
    assert browser.send(f"/my/reports/{number}/reopen", reason="那不是我").status_code == 409
    other = Pages(browser.office)
    other.log_in(1)
    other.get(f"/my/reports/{number}/reopen", 404)


def test_everybody_finds_machines_with_what_is_left_and_whether_they_sell(browser: Pages, box: Box) -> None:
    page = browser.get("/machines")
    assert "肥皂" in page
    assert "营业中" in page
    assert "门口" in browser.get("/machines?name=江畔")
    assert "没有找到" in browser.get("/machines?name=%25")
    browser.log_in()
    assert "您有10分可用" in browser.get("/my/machines")
    box.world.tick(hours=1)
    box.world.watch()
    assert "离线" in browser.get("/machines")


def test_the_notice_is_masked_and_a_resident_objects(browser: Pages, office: Office) -> None:
    document = office.ok("GET", "/rules/presets", as_="admin")["items"][0]["document"] | {"notice_working_days": 3}
    office.ok("POST", "/rules", {"document": document, "from_day": "2026-03-03", "note": "通知"}, as_="admin")
    office.tick(days=1)
    made = work(office, 1)
    page = browser.get("/notice/jiangpan")
    assert "刘*芳" in page
    assert "刘桂芳" not in page
    assert "/object/" not in page
    address = f"/notice/jiangpan/object/{made['id']}"
    assert browser.client.get(address).headers["Location"].startswith("/login")
    browser.log_in(0)
    assert address in browser.get("/notice/jiangpan")
    assert browser.send(address, reason="").status_code == 422
    assert browser.send(address, reason="那天没有活动").status_code == 303
    assert "那天没有活动" not in browser.get("/notice/jiangpan")
    assert browser.send("/notice/jiangpan/object/nothing", reason="x").status_code == 404
    assert browser.client.get("/notice").headers["Location"] == "/notice/jiangpan"
    browser.get("/notice/nowhere", 404)


def test_nothing_that_is_typed_breaks_a_page(browser: Pages) -> None:
    browser.log_in()
    odd = "\x00'<b>\ud7ff" * 20
    rules = [
        rule
        for rule in browser.office.client.application.url_map.iter_rules()
        if rule.endpoint.startswith(("pages_resident", "pages_public", "pages_arrivals", "pages_screens"))
    ]
    assert len(rules) > 30
    names = [
        "cursor",
        "month",
        "activity",
        "name",
        "number",
        "selection",
        "first_day",
        "last_day",
        "redemption",
        "machine",
        "lang",
    ]
    fields = [
        "code",
        "direction",
        "cancel",
        "kind",
        "words",
        "reason",
        "hours",
        "minutes",
        "version",
        "channels",
        "phone",
        "product_id",
        "points",
    ]
    for rule in rules:
        address = re.sub(r"<(\w+)[^>]*>", lambda found: "1" if found[1] == "int" else "x-123456", rule.rule)
        for value in (odd, "1", "-1", "9999-99-99", "nothing"):
            if "GET" in rule.methods:
                answer = browser.client.get(address, query_string=dict.fromkeys(names, value), headers=browser.headers)
                assert answer.status_code < 500, (address, value)
            if "POST" in rule.methods:
                answer = browser.send(address, page="/my/account", **dict.fromkeys(fields, value))
                assert answer.status_code < 500, (address, value)
