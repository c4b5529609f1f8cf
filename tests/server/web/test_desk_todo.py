"""What is decided at the desk: doubts, reports, objections, appeals, adjustments, disputes; each with its refusal."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from desk_office import Desk, sent
from link_world import Box, World
from office import Office
from reader import Pages

from jishan_protocol.messages import OutcomeUnknown
from jishan_server.people.credentials import account_of

TO_DO = "/desk/to-do"


@pytest.fixture
def desk(office: Office) -> Desk:
    return Desk(office)


@pytest.fixture
def box(office: Office) -> Iterator[Box]:
    """A machine of the office's, and somebody with points."""
    office.credit(0, 10)
    world = World(office.parts.engine)
    world.now = office.now
    yield world.machine()
    world.close()


def in_doubt(box: Box) -> str:
    id = box.vend()
    box.say(OutcomeUnknown(id, "restarted"))
    return id


def available(desk: Desk) -> int:
    """What the first resident may spend."""
    posted, held = desk.office.balances()[account_of(desk.office.people.residents[0].id)]
    return posted - held


def decided(pages: Pages, kind: str, id: str, verdict: str, **words: str) -> str:
    return sent(pages, f"{TO_DO}/{kind}/{id}", f"{TO_DO}/{kind}", verdict=verdict, **words)


def test_a_doubt_is_shown_with_its_evidence_and_one_person_gives_the_points_back(desk: Desk, box: Box) -> None:
    id = in_doubt(box)
    operator, coordinator = desk.window("operator"), desk.window("coordinator")
    assert "王建华" not in operator.get(f"{TO_DO}/doubts")
    page = coordinator.get(f"{TO_DO}/doubts")
    assert "王建华" in page
    assert "机器不知道有没有出货" in page
    assert "确实出货了" not in page
    assert "没法确认有没有出货的兑换" in coordinator.get("/desk")
    with_points = available(desk)
    assert "积分已退回" in decided(coordinator, "doubts", id, "not_dispensed", reason="打开看过，没有掉")
    assert available(desk) == with_points + 2


def test_against_the_resident_reason_and_evidence_are_required_and_nothing_typed_is_lost(desk: Desk, box: Box) -> None:
    id = in_doubt(box)
    approver = desk.window("approver")
    address = f"{TO_DO}/doubts/{id}"
    with desk.office.unchanged():
        refused = approver.send(address, f"{TO_DO}/doubts", verdict="dispensed", reason="监控看到拿走了", evidence="")
    assert refused.status_code == 422
    assert 'value="监控看到拿走了"' in refused.text
    told = decided(approver, "doubts", id, "dispensed", reason="监控看到拿走了", evidence="监控12:03")
    assert "积分已扣" in told
    gone = desk.window("coordinator").send(address, "/desk/people/new", verdict="not_dispensed", reason="再看看")
    assert gone.status_code == 409


def test_a_report_stands_beside_what_the_machine_showed(desk: Desk, box: Box) -> None:
    redemption = box.vend()
    box.dispense(redemption)
    coordinator, approver = desk.window("coordinator"), desk.window("approver")
    person = f"/desk/people/{desk.office.people.residents[0].id}"
    page = sent(coordinator, f"{person}/report", person, redemption_id=redemption, kind="not_out", words="没掉下来")
    assert "已登记，票号" in page
    page = approver.get(f"{TO_DO}/reports")
    assert "没掉下来" in page
    assert "机器说出货了" in page
    number = re.findall(rf"{TO_DO}/reports/(\d+)", page)[0]
    assert "退回积分" not in coordinator.get(f"{TO_DO}/reports")
    assert "积分已退回" in decided(approver, "reports", number, "give_back", reason="货道卡住过")


def test_an_objection_and_an_appeal_are_decided_by_somebody_else(desk: Desk) -> None:
    office = desk.office
    body = {"resident_id": office.people.residents[0].id, "minutes": 60, "activity": "扫雪", "reason": "参加"}
    credit = office.ok("POST", "/credits", body)
    office.ok("POST", f"/credits/{credit['id']}/reject", {"reason": "名单上没有"}, as_="approver")
    appeal = office.ok("POST", f"/credits/{credit['id']}/appeals", {"reason": "他在的"})
    approver, chief = desk.window("approver"), desk.secretary()
    assert "对退回不服" in approver.get(f"{TO_DO}/appeals")
    refused = approver.send(f"{TO_DO}/appeals/{appeal['id']}", f"{TO_DO}/appeals", verdict="refuse", reason="我退的")
    assert refused.status_code >= 400
    assert "已同意" in decided(chief, "appeals", appeal["id"], "accept", reason="照片上有他")


def test_an_objection_is_taken_down_at_the_desk_and_decided(desk: Desk) -> None:
    office = desk.office
    rules = office.ok("GET", "/rules/presets", as_="admin")["items"][0]["document"] | {"notice_working_days": 3}
    office.ok("POST", "/rules", {"document": rules, "from_day": "2026-03-03", "note": "通知"}, as_="admin")
    office.tick(days=1)
    body = {"resident_id": office.people.residents[0].id, "minutes": 60, "activity": "扫雪", "reason": "参加"}
    credit = office.ok("POST", "/credits", body)
    office.ok("POST", f"/credits/{credit['id']}/approve", {}, as_="approver")
    coordinator, above = desk.window("coordinator"), desk.window("secretary")
    address = f"/desk/credits/{credit['id']}"
    page = sent(coordinator, address, verdict="object", on_behalf_of="刘桂芳", reason="那天没见到他")
    assert "有异议" in page
    id = re.findall(rf"{TO_DO}/objections/([0-9a-z_-]+)", above.get(f"{TO_DO}/objections"))[0]
    assert "公示继续" in decided(above, "objections", id, "dismiss", reason="有签到记录")


def test_the_hours_of_a_final_credit_are_corrected_with_a_reason(desk: Desk) -> None:
    body = {"resident_id": desk.office.people.residents[0].id, "minutes": 60, "activity": "扫雪", "reason": "参加"}
    credit = desk.office.ok("POST", "/credits", body)
    desk.office.ok("POST", f"/credits/{credit['id']}/approve", {}, as_="approver")
    address, chief = f"/desk/credits/{credit['id']}", desk.secretary()
    page = sent(chief, address, verdict="correct", wanted_minutes="30", reason="只来了半小时")
    assert "等另一个人审核" in page
    assert "已到账" in page


def test_an_adjustment_takes_two(desk: Desk) -> None:
    chief, approver = desk.secretary(), desk.window("approver")
    person = f"/desk/people/{desk.office.people.residents[0].id}"
    fields = {"points": "-3", "reason_code": "wrong_booking", "reason": "重复了"}
    page = sent(chief, f"{person}/adjust", person, points="5", reason_code="goodwill", reason="机器坏了一天")
    assert "等另一个人确认" in page
    own = chief.get(f"{TO_DO}/adjustments")
    assert "要由另一个人确认" in own
    (id,) = set(re.findall(rf"{TO_DO}/adjustments/([0-9a-z_-]+)", approver.get(f"{TO_DO}/adjustments")))
    assert "积分已调整" in decided(approver, "adjustments", id, "approve")
    assert available(desk) == 5
    refused = chief.send(f"{person}/adjust", person, **fields | {"points": "一"})
    assert refused.status_code == 422
    assert 'value="重复了"' in refused.text


def test_somebody_to_whom_it_was_not_them_is_answered(desk: Desk, browser: Pages) -> None:
    office = desk.office
    office.credit(0, 7)
    one = office.people.residents[0]
    login = {"member_number": one.member_number, "pin": one.pin}
    token = office.ok("POST", "/auth/resident-token", login, as_=None)["token"]
    mine = {"as_": None, "headers": {"Authorization": f"Bearer {token}"}}
    number = office.ok("GET", "/me/messages", **mine)["items"][0]["number"]
    office.ok("POST", f"/me/messages/{number}/dispute", {"words": "我没去"}, **mine)
    coordinator = desk.window("coordinator")
    assert "居民说" in coordinator.get("/desk")
    assert "我没去" in coordinator.get(f"{TO_DO}/disputes")
    assert "已答复本人" in decided(coordinator, "disputes", str(number), "answer", words="查过了，是同名的人")


def test_a_kind_that_is_none_is_no_page(desk: Desk) -> None:
    assert desk.window("approver").client.get(f"{TO_DO}/nothing").status_code == 404
