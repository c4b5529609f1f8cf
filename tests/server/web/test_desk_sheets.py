"""Typing a paper sheet: finding it, finding people, what is said, and that nothing counts twice."""

from __future__ import annotations

from typing import Any

import pytest
from desk_office import Desk, sent
from office import Office
from reader import Pages

from jishan_server.web.desk_people import Known, initials, rank

JSON = {"Accept": "application/json"}


@pytest.fixture
def desk(office: Office) -> Desk:
    return Desk(office)


def typed(pages: Pages, address: str, key: str, **fields: Any) -> Any:
    """What the page's script sends for one row."""
    token = pages.get(address).split('name="csrf_token" value="')[1].split('"')[0]
    return pages.client.post(address, data={"csrf_token": token, "form_id": key} | fields, headers=JSON)


def somebody(name: str = "单雄信", number: str = "10002345", phone: str = "8899") -> Known:
    return Known("one", name, number, "", phone, initials(name))


@pytest.mark.parametrize(
    ("text", "how"),
    [
        ("单雄信", 0),
        ("10002345", 0),
        ("雄", 1),
        ("dxx", 1),
        ("sxx", 2),
        ("dx", 3),
        ("２３４５", 1),
        ("899", 2),
        ("45", None),
        ("xx", None),
        ("dxxx", None),
        ("张", None),
        ("", None),
    ],
)
def test_a_text_means_somebody_by_name_initials_or_the_end_of_a_number(text: str, how: int | None) -> None:
    assert rank(somebody(), text) == how


def test_signs_without_pinyin_are_left_out_of_the_initials() -> None:
    assert len(initials("赵丽🌸")) == 2


def test_a_sheet_is_found_by_its_code_and_typed_row_by_row(desk: Desk) -> None:
    coordinator, people = desk.window("coordinator"), desk.office.people.residents
    session = desk.session(hours_from_now=-3)
    page = sent(coordinator, "/desk/sheets", code=session["id"][:8].upper())
    assert "录签到表：楼道清洁" in page
    address = f"/desk/sheets/{session['id']}"
    known = coordinator.client.get(f"{address}/people.json").get_json()["people"]
    assert {one["name"] for one in known} == {one.name for one in people}
    first = typed(coordinator, address, "key-of-row-1", resident_id=people[0].id)
    assert first.get_json()["saved"] == people[0].id
    again = typed(coordinator, address, "key-of-row-1", resident_id=people[0].id)
    assert again.get_json() == first.get_json()
    other = typed(coordinator, address, "key-of-row-2", resident_id=people[0].id)
    assert other.get_json() == {"already": people[0].id}
    unknown = typed(coordinator, address, "key-of-row-3", resident_id="nobody")
    assert unknown.status_code == 422
    assert unknown.get_json()["problem"]
    assert people[0].name in coordinator.get(address)


def test_without_script_a_name_is_typed_too(desk: Desk) -> None:
    coordinator = desk.window("coordinator")
    address = f"/desk/sheets/{desk.session(hours_from_now=-3)['id']}"
    assert "已录：王建华" in sent(coordinator, address, who="wjh")
    assert "早就录过了" in sent(coordinator, address, who="王建华")
    answer = coordinator.send(address, who="没有这人")
    assert answer.status_code == 422
    assert "没有找到" in answer.text
    assert 'value="没有这人"' in answer.text


def test_the_people_of_last_time_are_a_start(desk: Desk) -> None:
    coordinator, people = desk.window("coordinator"), desk.office.people.residents
    session = desk.session(hours_from_now=-3)
    address = f"/desk/sheets/{session['id']}"
    for one in people[:2]:
        sent(coordinator, address, who=one.member_number)
    begin = desk.office.now.isoformat()
    desk.office.tick(hours=3)
    plan = {"starts_at": begin, "ends_at": desk.office.now.isoformat(), "reason": "补录"}
    (later,) = desk.office.ok("POST", f"/activities/{session['activity_id']}/sessions", plan)["sessions"]
    address = f"/desk/sheets/{later['id']}"
    assert "和上次一样的2人" in coordinator.get(address)
    page = sent(coordinator, f"{address}/same", address)
    assert "已录上次的2人" in page
    remove = page.split('action="')[-1].split('"')[0]
    assert "已删掉" in sent(coordinator, remove, address)


def test_typed_a_day_later_it_asks_for_the_photo_or_the_reason(desk: Desk) -> None:
    coordinator = desk.window("coordinator")
    address = f"/desk/sheets/{desk.session(hours_from_now=-3)['id']}"
    desk.office.tick(days=2)
    coordinator.log_in_staff("coordinator")
    assert "签到表的照片" in coordinator.get(address)
    refused = coordinator.send(address, who="wjh")
    assert refused.status_code == 422
    assert "已录：王建华" in sent(coordinator, address, who="wjh", reason="当天停电")
