"""An hour given is an hour recorded, a point earned is a point kept: odd orders, over the HTTP API."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path += [str(Path(__file__).parent), str(Path(__file__).parent.parent)]

from office import Office
from test_crediting import Desk

OLD, KEPT = 0, 1


@pytest.fixture
def desk(office: Office) -> Desk:
    """Three working days of notice; Tuesday the 3rd of March, in the morning."""
    made = Desk(office)
    made.rules(notice_working_days=3)
    made.at("2026-03-03T10:00:00")
    return made


def unagreed(desk: Desk, name: str, **more: Any) -> str:
    """Somebody who has not agreed to records yet."""
    return str(
        desk.office.ok("POST", "/residents", {"estate_id": "jiangpan", "name": name, "consent": None} | more)["id"]
    )


def credit_of(desk: Desk, resident_id: str, minutes: int = 120) -> dict[str, Any]:
    body = {"resident_id": resident_id, "activity": "河道清理", "reason": "三月", "minutes": minutes}
    return desk.approve(desk.office.ok("POST", "/credits", body))


def merge(desk: Desk, old: str, kept: str) -> None:
    desk.office.ok("POST", f"/residents/{old}/merge", {"into_id": kept, "reason": "登记了两次"}, as_="admin")


def later(desk: Desk, local: str = "2026-03-20T10:00:00") -> None:
    """Every notice is over; the clock's turns are done, in pieces."""
    desk.at(local)
    desk.office._tokens.clear()
    while desk.turn():
        pass


def standing(desk: Desk, resident_id: str) -> tuple[int, int]:
    """Available points, and minutes on record."""
    balance = desk.office.ok("GET", f"/residents/{resident_id}/balance")
    records = desk.office.ok("GET", f"/residents/{resident_id}/service-records")["items"]
    return balance["available_points"], sum(one["minutes"] for one in records if one["state"] == "valid")


def test_what_waits_for_the_consent_of_a_merged_record_goes_on_with_the_survivors(desk: Desk) -> None:
    old = unagreed(desk, "何叔平")
    kept = desk.people[KEPT].id
    assert credit_of(desk, old)["state"] == "waiting_consent"
    merge(desk, old, kept)
    later(desk)
    later(desk, "2026-04-20T10:00:00")
    assert standing(desk, kept) == (2, 120)


def test_whoever_agrees_after_the_merge_agrees_for_both_records(desk: Desk) -> None:
    old, kept = unagreed(desk, "何叔平"), unagreed(desk, "何叔平", building="3栋")
    credit_of(desk, old)
    merge(desk, old, kept)
    later(desk)
    assert standing(desk, kept) == (0, 0)
    desk.office.ok("POST", f"/residents/{kept}/consents", {"how": "desk"})
    later(desk, "2026-03-21T10:00:00")
    later(desk, "2026-04-20T10:00:00")
    assert standing(desk, kept) == (2, 120)
    # And takes it back for both: nothing of either is shown any more.
    credit_of(desk, kept)
    assert len(desk.office.ok("GET", "/notices?estate=jiangpan", as_=None)["items"]) == 1
    desk.office.ok("POST", f"/residents/{kept}/consents/withdraw", {"how": "desk"})
    assert desk.office.ok("GET", "/notices?estate=jiangpan", as_=None)["items"] == []


def test_who_had_agreed_by_the_old_record_has_agreed(desk: Desk) -> None:
    kept = unagreed(desk, "何叔平")
    credit_of(desk, kept)
    merge(desk, desk.people[OLD].id, kept)
    later(desk)
    later(desk, "2026-04-20T10:00:00")
    assert standing(desk, kept) == (2, 120)


def test_hours_of_who_closed_the_account_in_the_notice_are_recorded_all_the_same(desk: Desk) -> None:
    id = desk.people[OLD].id
    credit = credit_of(desk, id)
    desk.office.ok("POST", f"/residents/{id}/close", {"reason": "搬走了"}, as_="admin")
    later(desk)
    assert desk.state(credit) == "final"
    assert standing(desk, id) == (0, 120)


def test_who_is_frozen_in_the_notice_gets_what_was_earned(desk: Desk) -> None:
    id = desk.people[OLD].id
    credit_of(desk, id)
    desk.office.ok("POST", f"/residents/{id}/freeze", {"reason": "核实"}, as_="admin")
    later(desk)
    assert desk.points(OLD) == 2
    assert desk.minutes(OLD) == 120


def test_who_withdraws_in_the_notice_and_agrees_again_gets_what_was_earned(desk: Desk) -> None:
    id = desk.people[OLD].id
    credit_of(desk, id)
    desk.office.ok("POST", f"/residents/{id}/consents/withdraw", {"how": "desk"})
    later(desk)
    assert standing(desk, id) == (0, 0)
    desk.office.ok("POST", f"/residents/{id}/consents", {"how": "desk"})
    later(desk, "2026-03-21T10:00:00")
    later(desk, "2026-04-20T10:00:00")
    assert standing(desk, id) == (2, 120)


def test_the_cap_on_the_balance_is_that_of_one_person(desk: Desk) -> None:
    desk.rules("2026-03-04", notice_working_days=3, balance_cap=3)
    desk.at("2026-03-04T10:00:00")
    old, kept = desk.people[OLD].id, desk.people[KEPT].id
    credits = [credit_of(desk, old), credit_of(desk, kept)]
    merge(desk, old, kept)
    later(desk)
    booked = [desk.office.ok("GET", f"/credits/{one['id']}")["booked_points"] for one in credits]
    assert sorted(booked) == [1, 2]
    assert standing(desk, kept) == (3, 240)


def test_an_objection_is_decided_after_the_merge(desk: Desk) -> None:
    old, kept = desk.people[OLD].id, desk.people[KEPT].id
    credit = credit_of(desk, old)
    objection = desk.office.ok("POST", f"/credits/{credit['id']}/objections", {"reason": "没看见"})
    merge(desk, old, kept)
    answer = {"is_upheld": False, "reason": "刷过卡"}
    desk.office.ok("POST", f"/objections/{objection['id']}/decide", answer, as_="secretary")
    later(desk)
    assert standing(desk, kept) == (2, 120)


def test_an_appeal_of_who_was_merged_meanwhile_is_heard(desk: Desk) -> None:
    old, kept = desk.people[OLD].id, desk.people[KEPT].id
    credit = desk.record(OLD)
    desk.office.ok("POST", f"/credits/{credit['id']}/reject", {"reason": "没看见"}, as_="approver")
    appeal = desk.office.ok("POST", f"/credits/{credit['id']}/appeals", {"reason": "我在"})
    merge(desk, old, kept)
    answer = {"is_accepted": True, "reason": "有照片"}
    desk.office.ok("POST", f"/appeals/{appeal['id']}/decide", answer, as_="secretary")
    later(desk)
    assert standing(desk, kept) == (2, 120)
    assert desk.is_sound()
