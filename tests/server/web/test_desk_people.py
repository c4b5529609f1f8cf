"""People at the desk: found, registered without a phone, given a card and a PIN, frozen, merged; and files of them."""

from __future__ import annotations

import io
import re

import pytest
from desk_office import Desk, sent
from office import Office
from reader import Pages


@pytest.fixture
def desk(office: Office) -> Desk:
    return Desk(office)


def test_somebody_is_found_by_initials_number_and_card_is_replaced_in_one_step(desk: Desk) -> None:
    coordinator, one = desk.window("coordinator"), desk.office.people.residents[0]
    for text in ("wjh", "建华", one.member_number, one.member_number[-4:]):
        assert f"/desk/people/{one.id}" in coordinator.get(f"/desk/people?q={text}"), text
    assert "没有找到" in coordinator.get("/desk/people?q=zzz")
    address = f"/desk/people/{one.id}"
    card = re.findall(r'name="card_id" value="([^"]+)"', coordinator.get(address))[0]
    page = sent(coordinator, f"{address}/card-replace", address, card_id=card, uid="0A0B0C0D", why="lost")
    assert "旧卡已停用" in page
    assert "0C0D" in page
    wrong = coordinator.send(f"{address}/card", address, uid="这不是卡")
    assert wrong.status_code >= 400


def test_somebody_without_a_phone_is_registered_and_sets_a_pin(desk: Desk) -> None:
    coordinator = desk.window("coordinator")
    refused = coordinator.send("/desk/people/new", estate_id="jiangpan", name="", building="5栋", how="desk")
    assert refused.status_code == 422
    assert 'value="5栋"' in refused.text
    page = sent(
        coordinator,
        "/desk/people/new",
        estate_id="jiangpan",
        name="马奶奶",
        building="5栋",
        how="paper",
        form_number="12",
        form_day="2026-03-01",
    )
    number = re.findall(r"会员号(\d{8})", page)[0]
    address = re.findall(r'action="(/desk/people/[0-9a-z]+)/pin"', page)[0]
    differ = coordinator.send(f"{address}/pin", address, pin="2468", pin_again="2469")
    assert "不一样" in differ.text
    assert "密码已设好" in sent(coordinator, f"{address}/pin", address, pin="246810", pin_again="246810")
    resident = Pages(desk.office)
    assert resident.send("/login", number=number, pin="246810").status_code == 303


def test_the_approver_freezes_and_the_secretary_merges(desk: Desk) -> None:
    approver, chief = desk.window("approver"), desk.secretary()
    first, second = desk.office.people.residents[:2]
    address = f"/desk/people/{first.id}"
    assert "已冻结" in sent(approver, f"{address}/freeze", address, state="frozen", reason="卡被冒用")
    assert "已解冻" in sent(approver, f"{address}/freeze", address, state="active", reason="查清了")
    assert f"{address}/merge" not in approver.get(address)
    page = sent(chief, f"{address}/merge", address, number=second.member_number, reason="登记了两次")
    assert second.name in page
    assert "这份记录已并到" in chief.get(address)


def test_a_person_is_told_where_points_come_from_and_why_there_are_none(desk: Desk) -> None:
    desk.office.credit(0, 7)
    coordinator = desk.window("coordinator")
    address = f"/desk/people/{desk.office.people.residents[0].id}"
    assert "扫雪" in coordinator.get(f"{address}?show=explain")
    assert "这段时间" in coordinator.get(f"{address}?show=why-not")
    for paper in ("passbook.pdf", "card.pdf", "why-not.pdf?first_day=2026-01-01&last_day=2026-03-02"):
        assert coordinator.client.get(f"{address}/{paper}").data.startswith(b"%PDF"), paper


def test_a_file_is_previewed_booked_and_its_bad_rows_come_back(desk: Desk) -> None:
    coordinator = desk.window("coordinator")
    text = "姓名,电话,楼栋\n郭大爷,13800138000,1栋\n,13800138001,2栋\n"
    fields = {"kind": "people", "organization_id": "jiangpan", "year": "2026"}
    made = coordinator.send("/desk/imports", **fields, file=(io.BytesIO(text.encode()), "名单.csv"))
    assert made.status_code == 303, made.text
    address = made.headers["Location"]
    page = coordinator.get(address)
    assert "导入没问题的1行" in page
    assert "有问题的行" in page
    assert "郭大爷" not in coordinator.client.get(f"{address}/errors").data.decode("utf-8-sig")
    sent(coordinator, address, do="book")
    assert coordinator.client.get(f"{address}/state.json").get_json()["state"] in ("booking", "booked")
    empty = coordinator.send("/desk/imports", **fields)
    assert empty.status_code >= 400


def test_a_large_file_comes_through_the_form(desk: Desk) -> None:
    coordinator = desk.window("coordinator")
    rows = "".join(f"居民{number},,{number % 9}栋\n" for number in range(5_000))
    assert len(rows.encode()) > 64 * 1024
    fields = {"kind": "people", "organization_id": "jiangpan"}
    made = coordinator.send("/desk/imports", **fields, file=(io.BytesIO(f"姓名,电话,楼栋\n{rows}".encode()), "大.csv"))
    assert made.status_code == 303, made.text


def test_figures_are_drawn_with_their_table(desk: Desk) -> None:
    desk.office.credit(0, 7)
    coordinator = desk.window("coordinator")
    page = coordinator.get("/desk/figures?first_day=2026-01-01&last_day=2026-03-31&by=estate")
    assert "<svg" in page
    assert "江畔家园" in page
    wrong = coordinator.client.get("/desk/figures?first_day=x")
    assert wrong.status_code == 422


def test_a_need_goes_through_its_four_parts(desk: Desk) -> None:
    coordinator, approver = desk.window("coordinator"), desk.window("approver")
    one = desk.office.people.residents[0]
    made = coordinator.send("/desk/tasks", organization_id="jiangpan", title="修路灯", need="3栋门口的灯不亮")
    address = made.headers["Location"]
    sent(coordinator, address, event="assigned")
    page = sent(coordinator, address, event="led", who="wjh")
    assert "领办：王建华" in page
    sent(coordinator, address, event="handled", **{f"minutes-{one.id}": "45"})
    assert "等您确认办结的事项" in approver.get("/desk")
    assert "已确认办结" in sent(approver, address, event="confirmed")
