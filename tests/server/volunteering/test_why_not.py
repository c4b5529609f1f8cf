"""Why there are no points: planted cases, each explained."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parent))

from activity_office import Club
from office import Office
from test_crediting import Desk


@pytest.fixture
def desk(office: Office) -> Desk:
    return Desk(office)


def cases(desk: Desk) -> list[dict[str, Any]]:
    path = f"/residents/{desk.people[0].id}/why-not?first_day=2026-03-01&last_day=2026-03-31"
    found: list[dict[str, Any]] = desk.office.ok("GET", path)["items"]
    assert all("{" not in one["zh"] + one["en"] for one in found)
    return found


def codes(desk: Desk) -> list[str]:
    return [one["code"] for one in cases(desk)]


def test_what_was_booked_as_it_was_worked_has_no_case(desk: Desk) -> None:
    desk.credit(0)
    assert cases(desk) == []


def test_a_credit_that_waits_and_one_that_was_rejected_say_so(desk: Desk) -> None:
    desk.record(0)
    rejected = desk.record(0)
    desk.office.ok("POST", f"/credits/{rejected['id']}/reject", {"reason": "not there"}, as_="approver")
    assert sorted(codes(desk)) == ["recorded", "rejected"]
    assert "not there" in next(one["en"] for one in cases(desk) if one["code"] == "rejected")


def test_too_little_time_and_a_reversal_say_so(desk: Desk) -> None:
    desk.credit(0, 30)
    back = desk.credit(0, 60)
    desk.office.ok("POST", f"/credits/{back['id']}/reverse", {"reason": "twice"}, as_="approver")
    assert sorted(codes(desk)) == ["below_rounding", "reversed"]


def test_a_notice_a_cap_and_consent_say_so(desk: Desk) -> None:
    desk.rules(notice_working_days=3, caps=[{"unit": "points", "per": "day", "most": 1}])
    desk.at("2026-03-03T10:00:00")
    desk.credit(0)
    assert sorted(codes(desk)) == ["capped", "in_notice"]
    desk.consent(0, "withdraw_consent")
    desk.credit(0)
    assert "waiting_consent" in codes(desk)


def test_signed_up_not_attended_open_and_void_say_so(office: Office) -> None:
    desk, club = Desk(office), Club(office)
    session = club.session()
    office.ok("POST", f"/sessions/{session}/sign-ups", {"resident_id": desk.people[0].id})
    club.at("2026-03-03T16:00")
    assert codes(desk) == ["not_attended"]
    made = club.one(session, 0, minutes=60)
    assert codes(desk) == ["not_credited"]
    office.ok("POST", f"/attendances/{made['attendance_id']}/void", {"reason": "x"})
    assert codes(desk) == ["attendance_void"]


def test_days_the_wrong_way_round_are_refused(desk: Desk) -> None:
    path = f"/residents/{desk.people[0].id}/why-not?first_day=2026-03-02&last_day=2026-03-01"
    desk.office.refused(422, "span_invalid", "GET", path)
