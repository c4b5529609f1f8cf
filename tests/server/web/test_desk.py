"""The desk's main path: an activity, who came, the credit, the approval by somebody else, and what waits for whom."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from desk_office import Desk, sent
from office import Office

from jishan_server.web.desk_figures import drawn


@pytest.fixture
def desk(office: Office) -> Desk:
    return Desk(office)


def test_an_activity_goes_from_a_draft_to_a_session_with_people(desk: Desk) -> None:
    coordinator = desk.window("coordinator")
    made = coordinator.send(
        "/desk/activities/new",
        organization_id="jiangpan",
        title="楼道清洁",
        activity_type="clean",
        place="3栋",
        person_in_charge="周敏",
        risk_note="地面湿滑",
    )
    address = made.headers["Location"]
    day = (desk.office.now + timedelta(days=1)).date().isoformat()
    page = sent(coordinator, f"{address}/sessions", address, day=day, begins="09:00", ends="11:00", weeks="2")
    assert page.count("/desk/sessions/") == 2
    assert "居民会看到风险提示：地面湿滑" in page
    page = sent(coordinator, f"{address}/publish", address)
    assert "已发布" in page
    assert "海报" in page


def test_what_has_begun_already_needs_a_reason_and_keeps_what_was_typed(desk: Desk) -> None:
    coordinator = desk.window("coordinator")
    session = desk.session()
    address = f"/desk/activities/{session['activity_id']}"
    day = (desk.office.now - timedelta(days=2)).date().isoformat()
    answer = coordinator.send(f"{address}/sessions", address, day=day, begins="09:10", ends="11:00")
    assert answer.status_code >= 400
    assert 'role="alert"' in answer.text
    assert 'value="09:10"' in answer.text
    page = sent(coordinator, f"{address}/sessions", address, day=day, begins="09:10", ends="11:00", reason="忘了排")
    assert "补录" in page


def test_a_session_is_ticked_in_parts_credited_with_a_preview_and_approved_by_another(desk: Desk) -> None:
    coordinator, approver = desk.window("coordinator"), desk.window("approver")
    people = desk.office.people.residents
    session = desk.session()
    for one in people[:3]:
        desk.office.ok("POST", f"/sessions/{session['id']}/sign-ups", {"resident_id": one.id})
    address = f"/desk/sessions/{session['id']}"
    desk.office.tick(hours=3, minutes=1)
    assert people[0].name in coordinator.get(address)
    sent(coordinator, f"{address}/tick", address, resident_id=[people[0].id, people[1].id])
    page = sent(coordinator, f"{address}/tick", address, resident_id=[people[2].id])
    assert "已到3人" in page
    again = coordinator.send(f"{address}/add", address, who="wjh")
    assert "早就在名单上" in coordinator.get(again.headers["Location"])
    preview = coordinator.get(f"{address}/credit")
    assert "全部录入（3人）" in preview
    assert "江畔家园的审核人审核" in preview
    sent(coordinator, f"{address}/credit", f"{address}/credit")
    assert "没有要录积分的签到" in coordinator.get(f"{address}/credit")
    home = coordinator.get("/desk")
    assert "等别人审核的积分" in home
    assert "等您审核的积分" not in home
    assert "等您审核的积分" in approver.get("/desk")
    waiting = approver.get("/desk/approve")
    (whole,) = re.findall(r"/desk/approve/sessions/[0-9a-z_-]+", waiting)
    one = re.findall(r"/desk/credits/[0-9a-z_-]+", approver.get(whole))[0]
    rejected = approver.send(one, verdict="reject")
    assert rejected.status_code == 422
    sent(approver, one, verdict="reject", reason="没有来")
    page = sent(approver, whole)
    assert "已批准2笔" in page
    assert "没有等您审核的积分" in page


def test_nobody_is_offered_to_approve_their_own(desk: Desk) -> None:
    secretary = desk.secretary()
    session = desk.session(hours_from_now=-3)
    address = f"/desk/sessions/{session['id']}"
    sent(secretary, f"{address}/add", address, who="王建华")
    sent(secretary, f"{address}/credit", f"{address}/credit")
    (one,) = set(re.findall(r"/desk/credits/[0-9a-z_-]{10,}", secretary.get("/desk/credits?state=recorded")))
    page = secretary.get(one)
    assert "要由另一个人审核" in page
    assert 'value="approve"' not in page
    assert "没有等您审核的积分" in secretary.get("/desk/approve")


def test_only_what_one_may_do_is_shown(desk: Desk) -> None:
    approver, coordinator = desk.window("approver").get("/desk"), desk.window("coordinator").get("/desk")
    assert "新建活动" in coordinator
    assert "新建活动" not in approver
    assert ">审核</a>" in approver
    assert ">审核</a>" not in coordinator
    assert desk.window("operator").client.get("/desk/approve").status_code == 403
    assert desk.window("operator").client.get("/desk/people").status_code == 403
    desk.window("operator").get("/desk")


def test_the_code_on_the_wall_changes_and_its_picture_with_it(desk: Desk) -> None:
    coordinator = desk.window("coordinator")
    address = f"/desk/sessions/{desk.session()['id']}/code"
    first = coordinator.client.get(f"{address}.json").get_json()
    assert f"{first['code'][:3]} {first['code'][3:]}" in coordinator.get(address)
    assert first["address"].endswith(f"/a/{address.split('/')[3]}-{first['code']}")
    picture = coordinator.client.get(f"{address}.svg")
    assert picture.mimetype == "image/svg+xml"
    desk.office.tick(seconds=30)
    assert coordinator.client.get(f"{address}.json").get_json()["code"] != first["code"]
    assert coordinator.client.get(f"{address}.svg").data != picture.data
    assert desk.window("approver").client.get(f"{address}.json").status_code == 403


def test_somebody_leaves_is_corrected_and_voided(desk: Desk) -> None:
    coordinator = desk.window("coordinator")
    people = desk.office.people.residents
    address = f"/desk/sessions/{desk.session()['id']}"
    desk.office.tick(hours=1, minutes=30)
    page = sent(coordinator, f"{address}/check", address, direction="in", card=people[0].card)
    assert "还没签退" in page
    desk.office.tick(hours=1)
    page = sent(coordinator, f"{address}/check", address, direction="out", resident_id=people[0].id)
    assert "1 小时" in page
    (one,) = set(re.findall(rf"{address}/attendances/[0-9a-z_-]+", page))
    day = desk.office.now.date().isoformat()
    page = sent(
        coordinator,
        one,
        address,
        verdict="correct",
        reason="看错了",
        in_day=day,
        in_clock="13:00",
        out_day=day,
        out_clock="14:20",
    )
    assert "1 小时 20 分钟" in page
    assert "改过时间" in page
    page = sent(coordinator, one, address, verdict="void", reason="没有来")
    assert "已作废：王建华" in page


def test_two_namesakes_are_offered_with_their_buildings(desk: Desk) -> None:
    coordinator = desk.window("coordinator")
    for building in ("1栋", "2栋"):
        desk.office.ok("POST", "/residents", {"estate_id": "jiangpan", "name": "李秀英", "building": building})
    address = f"/desk/sessions/{desk.session(hours_from_now=-1)['id']}"
    answer = coordinator.send(f"{address}/add", address, who="李秀英")
    assert answer.status_code == 422
    assert "1栋" in answer.text
    assert "2栋" in answer.text
    unknown = coordinator.send(f"{address}/add", address, who="没有这人")
    assert "没有找到“没有这人”" in unknown.text


def test_a_chart_shows_long_names_whole_and_above_their_bars() -> None:
    names = ("Credits to be approved", "Credits in the public notice")
    drawing = str(drawn("Waiting", [(names[0], 3.0), (names[1], 6.0)]))
    assert all(f">{name}</text>" in drawing for name in names)
    assert "…" not in str(drawn("Hours", [("2026-01", 1.5)]))
