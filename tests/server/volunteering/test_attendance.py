"""Who came: by code, card, list and sheet; every row judged by itself; what was forgotten, late or wrong."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from activity_office import Club
from office import opened
from sqlalchemy import event

from jishan_server.db import connect_for_writing, writing
from jishan_server.kinds import kinds
from jishan_server.volunteering import attendance
from jishan_server.volunteering.codes import attendance_key, code, row_code
from jishan_server.volunteering.recording import CODE_TRIES, RecordAttendances, Row
from jishan_server.volunteering.rules import CreditRules
from jishan_server.writer import Operation, drain

AT = "2026-03-03T14:00"


@pytest.fixture
def club(sqlite_template: Path, tmp_path: Path) -> Iterator[Club]:
    with opened(sqlite_template, tmp_path, token_hours=2000) as office:
        yield Club(office)


def shown_code(club: Club, session: str) -> str:
    return str(club.office.ok("GET", f"/sessions/{session}/code")["code"])


def credited(club: Club, session: str) -> list[attendance.Attendance]:
    with club.office.parts.engine.connect() as connection:
        return attendance.closed_attendances(connection, session)


def photo(club: Club, session: str) -> str:
    answer = club.office.send(
        "POST",
        f"/attachments?subject_type=session&subject_id={session}&organization_id=jiangpan",
        data=b"%PDF-1.7 signed",
        content_type="application/pdf",
    )
    assert answer.status_code == 201, answer.text
    return str(answer.get_json()["id"])


def test_a_resident_checks_in_and_out_by_the_code_that_is_shown(club: Club) -> None:
    session, mine = club.session(), club.as_resident(0)
    body = {"session_id": session, "code": "000000"}
    club.at("2026-03-03T12:59")
    mine = club.as_resident(0)
    early = body | {"code": shown_code(club, session)}
    club.office.refused(409, "check_in_closed", "POST", "/me/check-in", early, **mine)
    club.at("2026-03-03T13:50")
    club.office.refused(
        409, "not_checked_in", "POST", "/me/check-out", body | {"code": shown_code(club, session)}, **mine
    )
    typed = " ".join(shown_code(club, session))
    made = club.office.ok("POST", "/me/check-in", body | {"code": typed}, **mine)
    assert (made["state"], made["source"], made["minutes"]) == ("open", "a", None)
    assert club.office.ok("POST", "/me/check-in", body | {"code": shown_code(club, session)}, **mine) == made
    club.at("2026-03-03T16:10")
    done = club.office.ok("POST", "/me/check-out", body | {"code": shown_code(club, session)}, **mine)
    # Minutes count from the planned start to check-out.
    assert (done["state"], done["source"], done["minutes"]) == ("closed", "a", 130)
    assert club.office.ok("POST", "/me/check-out", body | {"code": shown_code(club, session)}, **mine) == done
    (own,) = club.office.ok("GET", "/me/attendances", **mine)["items"]
    assert (own["title"], own["minutes"]) == ("河道清理", 130)
    (found,) = credited(club, session)
    assert (found.minutes, found.source, found.counts_as_service) == (130, "a", True)
    assert (found.title, found.place, found.activity_type) == ("河道清理", "青衣江边", "cleaning")
    assert (found.resident_id, found.estate_id) == (club.people[0].id, "jiangpan")


def test_the_code_changes_and_the_one_before_it_still_holds(club: Club) -> None:
    session, mine = club.session(), club.as_resident(0)
    club.at(AT)
    mine = club.as_resident(0)
    first = shown_code(club, session)
    assert first == code(attendance_key(club.office.parts.config.secret), session, club.office.now)
    club.office.tick(seconds=60)
    body = {"session_id": session, "code": first}
    club.office.refused(403, "attendance_code_wrong", "POST", "/me/check-in", body, **mine)
    second = shown_code(club, session)
    club.office.tick(seconds=30)
    assert shown_code(club, session) != second
    club.office.ok("POST", "/me/check-in", body | {"code": second}, **mine)


def test_codes_cannot_be_tried_out(club: Club) -> None:
    session = club.session()
    club.at(AT)
    mine = club.as_resident(0)
    right = shown_code(club, session)
    wrong = {"session_id": session, "code": f"{(int(right) + 1) % 10**6:06}"}
    key = "the-same-key-again"
    club.office.refused(403, "attendance_code_wrong", "POST", "/me/check-in", wrong, key=key, **mine)
    # The same request sent again is one try.
    club.office.refused(403, "attendance_code_wrong", "POST", "/me/check-in", wrong, key=key, **mine)
    for _ in range(CODE_TRIES - 1):
        club.office.refused(403, "attendance_code_wrong", "POST", "/me/check-in", wrong, **mine)
    body = wrong | {"code": right}
    club.office.refused(429, "attendance_code_locked", "POST", "/me/check-in", body, **mine)
    other = club.as_resident(1)
    assert club.office.ok("POST", "/me/check-in", body, **other)["state"] == "open"
    assert club.one(session, 0)["source"] == "b"


def test_a_card_is_the_persons_own_and_a_tick_is_the_list(club: Club) -> None:
    session = club.session()
    club.at(AT)
    path = f"/sessions/{session}/check-in"
    card = {"card": club.people[0].card}
    made = club.office.ok("POST", path, card)
    assert (made["resident_id"], made["source"]) == (club.people[0].id, "a")
    assert club.office.ok("POST", path, card) == made
    ticked = club.office.ok("POST", path, {"who": club.people[1].member_number})
    assert (ticked["resident_id"], ticked["source"]) == (club.people[1].id, "b")
    club.office.refused(422, "attendance_card_unknown", "POST", path, {"card": "DEADBEEF"})
    club.office.refused(422, "attendance_row_invalid", "POST", path, {})
    club.office.tick(minutes=90)
    out = club.office.ok("POST", f"/sessions/{session}/check-out", {"resident_id": club.people[0].id})
    # Whoever is checked out by hand is known by the list.
    assert (out["minutes"], out["source"]) == (90, "b")


def test_good_rows_are_saved_and_bad_rows_come_back(club: Club) -> None:
    session = club.session()
    club.at("2026-03-03T16:30")
    rows = [
        {"row": 11, "who": club.people[0].member_number, "checked_in_at": "14:05", "checked_out_at": "１６：０５"},
        {"row": 12, "who": "99999999"},
        {"row": 13, "resident_id": club.people[1].id, "checked_in_at": "3 o'clock"},
        {"row": 14, "resident_id": club.people[2].id, "minutes": 45},
        {"row": 15, "resident_id": club.people[0].id},
        {"row": 16, "card": "no card", "checked_in_at": "14:00"},
    ]
    answer = club.rows(session, *rows)
    assert [(one["row"], one["minutes"], one["source"]) for one in answer["saved"]] == [(11, 120, "b"), (14, 45, "b")]
    assert [(one["row"], one["field"], one["code"]) for one in answer["problems"]] == [
        (12, "who", "attendance_person_unknown"),
        (13, "checked_in_at", "attendance_time_invalid"),
        (15, "who", "attendance_duplicate"),
        (16, "card", "attendance_card_unknown"),
    ]
    # Sent again with the wrong ones put right: what is there is said to be there.
    rows[2] = {"row": 13, "resident_id": club.people[1].id, "checked_in_at": "15:00"}
    again = club.rows(session, *rows[:4])
    assert [one["row"] for one in again["already"]] == [11, 14]
    (saved,) = again["saved"]
    assert (saved["row"], saved["minutes"], saved["flags"]) == (13, 60, ["closed_by_plan"])
    assert [one["row"] for one in again["problems"]] == [12]
    assert len(club.office.ok("GET", f"/sessions/{session}/attendances")["items"]) == 3


def test_what_cannot_be_is_a_problem_of_its_row(club: Club) -> None:
    session = club.session()
    one = {"resident_id": club.people[0].id}
    club.at("2026-03-03T15:00")
    for row, problem in (
        ({"checked_in_at": "14:30", "checked_out_at": "14:30"}, ("attendance_out_first", "checked_out_at")),
        ({"checked_in_at": "14:30", "checked_out_at": "14:10"}, ("attendance_out_first", "checked_out_at")),
        ({"checked_in_at": "15:01"}, ("attendance_future", "checked_in_at")),
        ({"checked_out_at": "15:01"}, ("attendance_future", "checked_out_at")),
        ({"minutes": 61}, ("attendance_future", "checked_out_at")),
        ({"minutes": 0}, ("minutes_invalid", "minutes")),
        ({"minutes": 30, "checked_out_at": "14:30"}, ("attendance_amount", "minutes")),
        ({"checked_in_at": "12:59"}, ("attendance_outside", "checked_in_at")),
        ({"checked_in_at": "13:10", "checked_out_at": "13:50"}, ("attendance_outside", "checked_in_at")),
        ({"checked_in_at": "2026-03-03T14:30"}, ("attendance_time_invalid", "checked_in_at")),
        ({"checked_in_at": "2026-03-02T11:00:00+08:00"}, ("attendance_unpublished", "checked_in_at")),
        ({"who": "123"}, ("attendance_row_invalid", "who")),
    ):
        assert club.problem(session, one | row) == problem, row
    assert club.problem(session, {"resident_id": "nobody"}) == ("attendance_person_unknown", "resident_id")
    club.at("2026-03-03T20:00")
    long = {"checked_in_at": "14:00", "checked_out_at": "19:01"}
    assert club.problem(session, one | long) == ("attendance_too_long", "checked_out_at")
    assert club.office.ok("GET", f"/sessions/{session}/attendances")["items"] == []


def test_time_that_another_session_has_is_a_problem_that_names_it(club: Club) -> None:
    first, second = club.session(), club.session("2026-03-03T15:00")
    club.at("2026-03-03T17:30")
    club.one(first, 0, checked_in_at="14:00", checked_out_at="15:30")
    answer = club.rows(second, {"resident_id": club.people[0].id, "checked_in_at": "15:29", "checked_out_at": "16:30"})
    (problem,) = answer["problems"]
    assert (problem["code"], problem["fields"]["session_id"]) == ("attendance_overlap", first)
    assert "河道清理" in problem["message_zh"]
    club.one(second, 0, checked_in_at="15:30", checked_out_at="16:30")


def test_who_is_still_elsewhere_cannot_check_in(club: Club) -> None:
    first, second = club.session(), club.session("2026-03-03T15:00")
    club.at("2026-03-03T15:10")
    one = {"resident_id": club.people[0].id}
    club.office.ok("POST", f"/sessions/{first}/check-in", one)
    club.office.refused(422, "attendance_overlap", "POST", f"/sessions/{second}/check-in", one)
    club.office.tick(minutes=1)
    club.office.ok("POST", f"/sessions/{first}/check-out", one)
    club.office.ok("POST", f"/sessions/{second}/check-in", one)


def test_people_who_may_not_be_recorded_are_problems(club: Club) -> None:
    office = club.office
    office.ok("POST", "/estates", {"id": "shanshui", "parent_id": "qingyijiang", "name": "山水苑"}, as_="admin")
    other = office.ok("POST", "/residents", {"estate_id": "shanshui", "name": "外小区居民"}, as_="admin")
    session = club.session()
    street = club.activity("qingyijiang")
    club.publish(street["id"])
    wide = club.plan(street["id"])["id"]
    frozen = club.people[0].id
    office.ok("POST", f"/residents/{frozen}/freeze", {"reason": "x"}, as_="approver")
    club.at(AT)
    assert club.problem(session, {"resident_id": other["id"]}) == ("attendance_elsewhere", "who")
    assert club.problem(session, {"resident_id": frozen}) == ("attendance_person_closed", "who")
    path = f"/sessions/{wide}/check-in"
    office.ok("POST", path, {"resident_id": other["id"]}, as_="admin")
    office.refused(403, "forbidden", "POST", path, {"resident_id": other["id"]})
    office.ok("POST", f"/residents/{frozen}/unfreeze", {"reason": "x"}, as_="approver")
    office.ok("POST", f"/cards/{card_of(club, 0)}/block", {"reason": "lost"})
    assert club.problem(session, {"card": club.people[0].card}) == ("attendance_card_unknown", "card")


def test_whose_record_has_ended_is_recorded_and_signed_up_no_more(club: Club) -> None:
    session = club.session()
    closed, old, kept = (person.id for person in club.people[:3])
    club.office.ok("POST", f"/residents/{closed}/close", {"reason": "搬走"}, as_="admin")
    club.office.ok("POST", f"/residents/{old}/merge", {"into_id": kept, "reason": "重复登记"}, as_="admin")
    path = f"/sessions/{session}/sign-ups"
    for id, state in ((closed, "closed"), (old, "merged")):
        said = club.office.refused(403, "sign_up_person_closed", "POST", path, {"resident_id": id})
        assert said["fields"] == {"state": state}
    club.at(AT)
    for id, state in ((closed, "closed"), (old, "merged")):
        (problem,) = club.rows(session, {"resident_id": id})["problems"]
        assert (problem["code"], problem["fields"]) == ("attendance_person_closed", {"state": state})
    club.one(session, 2)


def card_of(club: Club, resident: int) -> str:
    return str(club.office.ok("GET", f"/residents/{club.people[resident].id}")["cards"][0]["id"])


def test_a_session_that_is_not_to_take_place_takes_nobody(club: Club) -> None:
    draft = club.plan(club.activity()["id"])["id"]
    cancelled = club.session()
    club.office.ok("POST", f"/sessions/{cancelled}/cancel", {"reason": "x"})
    body = {"rows": [{"resident_id": club.people[0].id}]}
    club.office.refused(409, "activity_not_published", "POST", f"/sessions/{draft}/attendances", body)
    club.office.refused(409, "session_cancelled", "POST", f"/sessions/{cancelled}/attendances", body)
    club.office.refused(404, "session_unknown", "POST", "/sessions/nothing/attendances", body)


def test_how_it_is_known_follows_from_when_and_with_what(club: Club) -> None:
    session = club.session()
    rows = [{"resident_id": one.id} for one in club.people]
    club.at("2026-03-03T23:59")
    assert club.rows(session, rows[0])["saved"][0]["source"] == "b"
    # The day after, a list is no list on the spot any more.
    club.at("2026-03-04T09:00")
    assert club.problem(session, rows[1]) == ("attendance_reason_required", "reason")
    late = club.rows(session, rows[1], reason="本人补报")["saved"][0]
    assert (late["source"], late["flags"]) == ("d", ["late"])
    club.office.refused(
        404, "attachment_unknown", "POST", f"/sessions/{session}/attendances", {"rows": rows, "attachment_id": "no"}
    )
    sheet = photo(club, session)
    # The tenth working day after Tuesday 3 March is Tuesday 17 March.
    club.at("2026-03-17T23:00")
    assert club.rows(session, rows[2], attachment_id=sheet)["saved"][0]["source"] == "c"
    club.at("2026-03-18T09:00")
    assert club.problem(session, rows[3], attachment_id=sheet) == ("attendance_reason_required", "reason")
    assert club.rows(session, rows[3], attachment_id=sheet, reason="晚了")["saved"][0]["source"] == "d"


def test_what_was_backdated_is_flagged(club: Club) -> None:
    activity = club.activity()
    session = club.plan(activity["id"], "2026-03-02T09:00")["id"]
    club.publish(activity["id"], reason="停电")
    saved = club.one(session, 0)
    assert (saved["flags"], saved["minutes"], saved["checked_in_at"]) == (
        ["backdated"],
        120,
        "2026-03-02T01:00:00.000Z",
    )


def test_a_forgotten_check_out_is_closed_by_the_plan_and_looked_at(club: Club) -> None:
    session = club.session(break_minutes=30)
    club.at("2026-03-03T14:10")
    one, two = ({"resident_id": person.id} for person in club.people[:2])
    for body in (one, two):
        club.office.ok("POST", f"/sessions/{session}/check-in", body)
    club.at("2026-03-03T16:59")
    club.clock_turns()
    assert club.office.ok("GET", "/attendances/to-review")["items"] == []
    club.at("2026-03-03T17:00")
    club.clock_turns()
    found = club.office.ok("GET", "/attendances/to-review")["items"]
    assert [(a["minutes"], a["flags"], a["state"]) for a in found] == [(80, ["closed_by_plan"], "closed")] * 2
    assert club.office.ok("GET", f"/sessions/{session}")["state"] == "done"
    assert credited(club, session) == []
    club.office.refused(409, "check_out_closed", "POST", f"/sessions/{session}/check-out", one)
    first, second = (a["id"] for a in found)
    club.office.ok("POST", f"/attendances/{first}/confirm")
    done = club.office.ok("PUT", f"/attendances/{second}", {"minutes": 20, "reason": "提前走了"})
    assert (done["minutes"], done["flags"]) == (20, ["closed_by_plan", "corrected"])
    assert club.office.ok("GET", "/attendances/to-review")["items"] == []
    assert [a.minutes for a in credited(club, session)] == [80, 20]
    story = club.office.ok("GET", f"/attendances/{second}")
    assert [(c["change"], c["minutes_before"], c["reason"]) for c in story["changes"]] == [
        ("corrected", 80, "提前走了")
    ]


def test_minutes_are_corrected_until_they_are_credited(club: Club) -> None:
    session = club.session()
    club.at("2026-03-03T16:30")
    id = club.one(session, 0)["attendance_id"]
    path = f"/attendances/{id}"
    club.office.refused(422, "fields_invalid", "PUT", path, {"minutes": 5})
    club.office.refused(422, "attendance_too_long", "PUT", path, {"minutes": 301, "reason": "x"})
    times = {"checked_in_at": "2026-03-03T14:30:00+08:00", "checked_out_at": "2026-03-03T14:20:00+08:00"}
    club.office.refused(422, "attendance_out_first", "PUT", path, times | {"reason": "x"})
    times["checked_out_at"] = "2026-03-03T15:45:00+08:00"
    assert club.office.ok("PUT", path, times | {"reason": "晚到"})["minutes"] == 75
    club.office.refused(403, "forbidden", "PUT", path, {"minutes": 5, "reason": "x"}, as_="approver")
    with writing(club.office.parts.engine) as connection:
        attendance.mark_credited(connection, {id: "credit-7"}, club.office.now)
    said = club.office.refused(409, "attendance_credited", "PUT", path, {"minutes": 5, "reason": "x"})
    assert said["fields"] == {"credit_id": "credit-7"}
    club.office.refused(409, "attendance_credited", "POST", f"{path}/void", {"reason": "x"})
    assert credited(club, session) == []
    with writing(club.office.parts.engine) as connection:
        attendance.release(connection, ["credit-7"])
    assert club.office.ok("POST", f"{path}/void", {"reason": "没来"})["state"] == "void"
    assert credited(club, session) == []
    club.office.refused(409, "attendance_void", "POST", f"{path}/confirm")
    again = club.one(session, 0, minutes=30)
    assert (again["attendance_id"], again["minutes"]) == (id, 30)
    story = club.office.ok("GET", path)
    assert [one["change"] for one in story["changes"]] == ["corrected", "voided", "recorded_again"]


def test_a_day_has_no_more_than_24_hours(club: Club) -> None:
    kind = {"name_zh": "值班", "name_en": "Watch", "category": "x", "counts_as_service": True}
    club.office.ok("PUT", "/activity-types/watch", kind | {"longest_session_minutes": 1440}, as_="admin")
    found = []
    for start, hours in (("2026-03-03T00:00", 10), ("2026-03-03T10:00", 10)):
        activity = club.activity(activity_type="watch")
        club.publish(activity["id"])
        found.append(club.plan(activity["id"], start, hours)["id"])
    club.at("2026-03-03T23:00")
    first, second = (club.one(session, 0)["attendance_id"] for session in found)
    club.office.ok("PUT", f"/attendances/{first}", {"minutes": 840, "reason": "x"})
    said = club.office.refused(
        422, "attendance_day_full", "PUT", f"/attendances/{second}", {"minutes": 601, "reason": "x"}
    )
    assert (said["fields"]["day"], said["fields"]["total"]) == ("2026-03-03", 1441)
    club.office.ok("PUT", f"/attendances/{second}", {"minutes": 600, "reason": "x"})


def test_a_printed_sheet_is_typed_back_by_row_codes_and_ends_of_numbers(club: Club) -> None:
    activity = club.activity()
    club.publish(activity["id"])
    first, second = club.plans(activity["id"], AT, weeks=2)
    club.at("2026-03-03T16:30")
    for resident in (2, 0):
        club.one(first["id"], resident, checked_in_at=f"14:0{resident}", checked_out_at="16:00")
    club.office.ok("POST", f"/sessions/{second['id']}/sign-ups", {"resident_id": club.people[4].id})
    suggested = club.office.ok("GET", f"/sessions/{second['id']}/suggested-people")["items"]
    assert [(one["name"], one["was_there_before"], one["signed_up"]) for one in suggested] == [
        ("王建华", True, False),
        ("陈志远", True, False),
        ("赵丽🌸", False, True),
    ]
    sheet = club.office.ok("GET", f"/sessions/{second['id']}/sheet")
    assert [(one["number"], one["name"]) for one in sheet["rows"]] == [(1, "赵*🌸"), (2, "王*华"), (3, "陈*远")]
    assert sheet["rows"][0]["row_code"] == row_code(second["id"], club.people[4].id)
    club.at("2026-03-11T10:00")
    answer = club.rows(
        second["id"],
        {"who": sheet["rows"][0]["row_code"].lower(), "checked_in_at": "1405", "checked_out_at": "15:05"},
        {"who": sheet["rows"][1]["member_number"][-3:], "minutes": 30},
        {"who": club.people[3].member_number},
        {"who": "000"},
        {"who": club.people[5].member_number[-4:]},
        attachment_id=photo(club, second["id"]),
    )
    assert [(one["name"], one["minutes"], one["source"]) for one in answer["saved"]] == [
        ("赵*🌸", 60, "c"),
        ("王*华", 30, "c"),
        ("𠮷*美", 120, "c"),
    ]
    # An end of a number means somebody on the list, and nobody else.
    assert [one["code"] for one in answer["problems"]] == ["attendance_person_unknown"] * 2


def test_sessions_that_nobody_credited_in_ten_working_days_are_listed(club: Club) -> None:
    session = club.session()
    club.at("2026-03-03T16:30")
    ids = [club.one(session, resident)["attendance_id"] for resident in range(2)]
    club.session("2026-03-04T14:00")
    club.at("2026-03-17T12:00")
    assert club.office.ok("GET", "/sessions/overdue")["items"] == []
    (soon,) = club.office.ok("GET", "/sessions/overdue?before=2026-03-20")["items"]
    assert (soon["session_id"], soon["due_day"], soon["is_overdue"]) == (session, "2026-03-17", False)
    # A holiday that is declared later moves the day.
    day = "/calendar/2026-03-10"
    club.office.ok("PUT", day, {"is_working": False, "name": "停工"}, as_="admin")
    club.at("2026-03-18T12:00")
    assert club.office.ok("GET", "/sessions/overdue")["items"] == []
    club.at("2026-03-19T12:00")
    (found,) = club.office.ok("GET", "/sessions/overdue")["items"]
    assert (found["due_day"], found["is_overdue"], found["attendances"]) == ("2026-03-18", True, 2)
    with writing(club.office.parts.engine) as connection:
        attendance.mark_credited(connection, dict.fromkeys(ids, "credit"), club.office.now)
        zone = club.office.parts.vending.rules.zone
        assert attendance.uncredited(connection, ["jiangpan"], date(2026, 12, 1), zone) == ([], None)


def test_three_hundred_rows_take_a_handful_of_statements(club: Club) -> None:
    session = club.session()
    club.at("2026-03-03T16:30")
    staff = next(one.id for one in club.office.people.staff if one.login == "coordinator")
    people: list[dict[str, Any]] = [
        club.office.parts.writer.call(Operation(f"new-{number}", "create_resident", new_resident(number)))
        for number in range(100)
    ]
    rows = tuple(Row(number, who=one["member_number"]) for number, one in enumerate(people * 3))
    statements: list[str] = []
    with connect_for_writing(club.office.parts.engine) as connection:
        event.listen(connection, "before_cursor_execute", lambda *words: statements.append(words[2]))
        known = kinds(CreditRules(), club.office.parts.vending.rules)
        body = RecordAttendances(staff, session, rows)
        [outcome] = drain([Operation("many", "record_attendances", body)], connection, known, club.office.now)
        connection.commit()
    assert (len(outcome.value["saved"]), len(outcome.value["problems"])) == (100, 200)
    assert len(statements) <= 25


def new_resident(number: int) -> object:
    from jishan_server.organizations.roles import SYSTEM
    from jishan_server.people.residents import CreateResident

    return CreateResident(SYSTEM, "jiangpan", f"居民{number}")


def test_a_group_brings_its_members_and_the_people_of_its_home(club: Club) -> None:
    office = club.office
    office.ok("POST", "/estates", {"id": "shanshui", "parent_id": "qingyijiang", "name": "山水苑"}, as_="admin")
    other = office.ok("POST", "/residents", {"estate_id": "shanshui", "name": "外小区居民"}, as_="admin")["id"]
    choir = office.ok("POST", "/groups", {"organization_id": "jiangpan", "kind": "choir", "name": "x"}, as_="admin")
    wide = office.ok("POST", "/groups", {"organization_id": "qingyijiang", "kind": "choir", "name": "y"}, as_="admin")
    sessions = {}
    for group in (choir, wide):
        activity = club.activity(group_id=group["id"])
        club.publish(activity["id"])
        sessions[group["id"]] = club.plan(activity["id"])["id"]
    path = f"/sessions/{sessions[choir['id']]}/sign-ups"
    office.refused(403, "sign_up_elsewhere", "POST", path, {"resident_id": other})
    member = {"group_id": choir["id"], "role": "member", "from_day": "2026-03-03"}
    office.ok("POST", f"/residents/{other}/memberships", member, as_="admin")
    signed = office.ok("POST", path, {"resident_id": other})
    office.ok("POST", f"/sign-ups/{signed['id']}/cancel")
    # A member from the other estate is shown to this one's staff by a masked name.
    office.ok("POST", path, {"resident_id": other})
    assert office.ok("GET", path)["items"][0]["name"] == "外*民"
    club.at(AT)
    assert club.rows(sessions[wide["id"]], {"resident_id": other})["problems"] == []
