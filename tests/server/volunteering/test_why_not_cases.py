"""Why there are no points: nine cases of one person planted at once, and every other code by itself."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert

sys.path.append(str(Path(__file__).parent))

from activity_office import Club
from office import Office
from test_crediting import Desk
from test_entries import claim
from test_expiry import Till
from test_tasks import handled

from jishan_server.db import writing
from jishan_server.ledger.model import Kind
from jishan_server.people.credentials import account_of
from jishan_server.volunteering.import_tables import import_candidates, import_refusals, imports
from jishan_server.volunteering.why_not import CASES

SPAN = "first_day=2026-03-01&last_day=2026-04-30"


@pytest.fixture
def desk(office: Office) -> Desk:
    return Desk(office)


@pytest.fixture
def club(office: Office) -> Club:
    return Club(office)


def cases(office: Office, resident: int = 0, span: str = SPAN) -> list[dict[str, Any]]:
    path = f"/residents/{office.people.residents[resident].id}/why-not?{span}"
    found: list[dict[str, Any]] = office.ok("GET", path)["items"]
    assert all(not set("{}") & set(one["zh"] + one["en"]) for one in found)
    return found


def codes(office: Office, resident: int = 0, span: str = SPAN) -> list[str]:
    return sorted(one["code"] for one in cases(office, resident, span))


def signed_up(club: Club, session: str, *residents: int) -> list[str]:
    path = f"/sessions/{session}/sign-ups"
    made = [club.office.ok("POST", path, {"resident_id": club.people[one].id}) for one in residents]
    return [one["id"] for one in made]


def test_nine_planted_cases_are_each_explained(office: Office) -> None:
    desk, club = Desk(office), Club(office)
    desk.rules(notice_working_days=3, caps=[{"unit": "points", "per": "day", "most": 2}])
    # 1: signed up and did not come. 2: on the waiting list of another one.
    signed_up(club, club.session("2026-03-03T08:00"), 0)
    signed_up(club, club.session("2026-03-03T18:00", capacity=1), 1, 0)
    # 3: came, and nobody credited it.
    session = club.session("2026-03-03T14:00")
    club.at("2026-03-03T16:00")
    club.one(session, 0, minutes=90)
    # 4: a cap. 5: in its notice, the same credit. 6: too short a time.
    capped = desk.credit(0, 200)
    desk.credit(0, 20)
    # 7: no service. 8: rejected. 9: waits for its approval.
    desk.credit(0, 120, counts_as_service=False, day="2026-03-02")
    rejected = desk.record(0, 60, day="2026-03-02")
    office.ok("POST", f"/credits/{rejected['id']}/reject", {"reason": "不在场"}, as_="approver")
    desk.record(0, 60, day="2026-03-02")
    club.at("2026-03-03T21:00")
    found = cases(office)
    assert sorted({one["code"] for one in found}) == [
        "below_rounding",
        "capped",
        "in_notice",
        "not_attended",
        "not_credited",
        "not_service",
        "recorded",
        "rejected",
        "waiting_list",
    ]
    said = {one["code"]: one["zh"] for one in found if one["subject_id"] == capped["id"]}
    assert said == {
        "capped": "已到上限（每天最多2分），从3减为2。",
        "in_notice": "正在公示，公示到2026-03-06，之后生效。",
    }
    assert {one["code"]: one["zh"] for one in found}["not_credited"] == "有90分钟，还没有提交记分。"
    path = f"/residents/{club.people[0].id}/why-not.txt?{SPAN}"
    lines = office.send("GET", path).get_data(as_text=True).splitlines()
    assert len(lines) == len(found) + 2
    assert lines[2:] == [f"{one['day']}  {one['title']}  {one['zh']}" for one in found]


def test_a_session_to_come_is_no_case_until_it_is_cancelled(club: Club) -> None:
    session = club.session()
    signed_up(club, session, 0)
    assert codes(club.office) == []
    club.office.ok("POST", f"/sessions/{session}/cancel", {"reason": "下雨"})
    assert codes(club.office) == ["session_cancelled"]


def test_a_sign_up_that_was_cancelled(club: Club) -> None:
    (id,) = signed_up(club, club.session(), 0)
    club.office.ok("POST", f"/sign-ups/{id}/cancel")
    assert codes(club.office) == ["sign_up_cancelled"]


def test_checked_in_and_then_forgotten(club: Club) -> None:
    session = club.session()
    club.at("2026-03-03T14:10")
    club.office.ok("POST", f"/sessions/{session}/check-in", {"resident_id": club.people[0].id})
    assert codes(club.office) == ["attendance_open"]
    club.at("2026-03-03T17:01")
    club.clock_turns()
    assert codes(club.office) == ["to_review"]


def test_the_tenth_working_day_has_passed_for_what_nobody_credited_or_approved(office: Office) -> None:
    desk, club = Desk(office), Club(office)
    session = club.session()
    club.at("2026-03-03T16:00")
    club.one(session, 0, minutes=60)
    desk.record(0, 60)
    desk.at("2026-03-17T23:00:00")
    assert codes(office) == ["not_credited", "recorded"]
    desk.at("2026-03-18T01:00:00")
    assert codes(office) == ["not_credited_overdue", "recorded_overdue"]
    assert {one["fields"]["due_day"] for one in cases(office)} == {"2026-03-17"}


def test_a_sheet_typed_after_the_tenth_working_day_earns_hours_only(office: Office) -> None:
    desk, club = Desk(office), Club(office)
    session = club.session()
    desk.at("2026-03-18T09:00:00")
    row = {"resident_id": club.people[0].id, "minutes": 60}
    assert club.rows(session, row, reason="找到了签到表")["problems"] == []
    office.ok("POST", f"/sessions/{session}/credits", {})
    office.ok("POST", f"/sessions/{session}/credits/approve", {}, as_="approver")
    (found,) = cases(office)
    assert (found["code"], found["fields"]) == ("entered_late", {"due_day": "2026-03-17"})
    desk.credit(1, 60, source="d")
    assert codes(office, 1) == ["hours_only"]


def test_an_objection_and_the_cap_on_the_balance(desk: Desk) -> None:
    desk.rules(balance_cap=1)
    desk.at("2026-03-03T10:00:00")
    desk.credit(0, 120)
    (found,) = cases(desk.office)
    assert (found["code"], found["fields"]) == ("balance_cap", {"booked": 1, "points": 2})
    desk.rules("2026-03-04", notice_working_days=3)
    desk.at("2026-03-04T10:00:00")
    held = desk.credit(1, 60)
    desk.office.ok("POST", f"/credits/{held['id']}/objections", {"reason": "没看见"})
    assert codes(desk.office, 1) == ["objected"]


def test_claims_that_wait_and_that_were_refused(office: Office) -> None:
    body = claim(office, day="2026-03-01")
    waiting = office.ok("POST", "/claims", body)
    assert codes(office) == ["claim_open"]
    refuse = {"verdict": "refuse", "reason": "照片不清"}
    office.ok("POST", f"/claims/{waiting['id']}/decide", refuse)
    (found,) = cases(office)
    assert (found["code"], "照片不清" in found["zh"]) == ("claim_refused", True)


def test_adjustments_that_wait_and_that_were_refused(office: Office) -> None:
    body = {"resident_id": office.people.residents[0].id, "points": 5, "reason_code": "goodwill", "reason": "补偿"}
    made = office.ok("POST", "/adjustments", body, as_="admin")
    assert codes(office) == ["adjustment_open"]
    refuse = {"decision": "reject", "reason": "没有依据"}
    office.ok("POST", f"/adjustments/{made['id']}/decide", refuse, as_="approver")
    (found,) = cases(office)
    assert (found["code"], "没有依据" in found["zh"]) == ("adjustment_refused", True)


def test_a_row_of_a_file_that_was_refused(office: Office) -> None:
    id = office.people.residents[0].id
    sent: dict[str, Any] = {
        "id": "i1",
        "kind": "hours",
        "organization_id": "jiangpan",
        "file_name": "三月.xlsx",
        "file_hash": "x",
    }
    sent |= {"written": "{}", "header": "{}", "year": 2026, "half_day_minutes": 240, "state": "previewed"}
    sent |= dict.fromkeys(("row_count", "new_count", "known_count", "bad_count", "booked_count", "kept_count"), 1)
    sent |= {"left_out": "[]", "chunk_count": 1, "next_chunk": 0, "sent_by": "x", "sent_at": office.now}
    refusal: dict[str, Any] = {"import_id": "i1", "row": 7, "column_name": "时长", "code": "missing", "fields": "{}"}
    with writing(office.parts.engine) as connection:
        connection.execute(insert(imports).values(sent))
        connection.execute(insert(import_refusals).values(refusal | {"recorded_at": office.now}))
        connection.execute(insert(import_candidates).values(import_id="i1", row=7, resident_id=id))
    (found,) = cases(office)
    assert (found["code"], found["fields"]["row"]) == ("import_refused", 7)
    assert "三月.xlsx" in found["zh"]


def test_points_that_ended_and_points_that_paid_a_debt(office: Office) -> None:
    desk, till = Desk(office), Till(office)
    spent = desk.credit(0, 180)
    own = account_of(desk.people[0].id)
    till.book(Kind.CAPTURE, pending_id=till.book(Kind.HOLD, own, "sys:redeemed:jiangpan", 3))
    office.ok("POST", f"/credits/{spent['id']}/reverse", {"reason": "记错"}, as_="approver")
    desk.credit(0, 240)
    found = {one["code"]: one for one in cases(office)}
    assert sorted(found) == ["paid_debt", "reversed"]
    assert found["paid_debt"]["fields"] == {"points": 3}
    till.credit(1, 5, "2026-03-03T23:59:59")
    till.at("2026-03-05T09:00:00")
    till.turn()
    (ended,) = cases(office, 1)
    assert (ended["code"], ended["fields"]) == ("expired", {"points": 5})


def test_tasks_that_wait_and_those_that_are_somebodys_work(office: Office) -> None:
    handled(office)
    assert [codes(office, number) for number in range(4)] == [
        ["task_to_confirm"],
        ["task_to_confirm"],
        ["task_no_credit"],
        ["task_no_credit"],
    ]


def test_a_record_that_was_merged_is_looked_through_and_says_where_it_went(office: Office) -> None:
    desk = Desk(office)
    desk.credit(0, 20)
    into = {"into_id": desk.people[1].id, "reason": "同一个人"}
    office.ok("POST", f"/residents/{desk.people[0].id}/merge", into, as_="admin")
    (through,) = cases(office, 1)
    assert (through["code"], through["resident_id"]) == ("below_rounding", desk.people[0].id)
    (merged,) = [one for one in cases(office, 0) if one["code"] == "merged"]
    assert merged["subject_id"] == desk.people[1].id
    office.ok("POST", f"/residents/{desk.people[2].id}/close", {"reason": "搬走"}, as_="approver")
    assert codes(office, 2) == ["closed"]


def test_every_case_is_planted_by_some_test() -> None:
    here = Path(__file__).parent
    planted = "".join((here / name).read_text("utf-8") for name in ("test_why_not.py", "test_why_not_cases.py"))
    assert [code for code in CASES if f'"{code}"' not in planted] == []
