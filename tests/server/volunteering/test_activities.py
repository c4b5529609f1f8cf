"""Activities from templates, published or cancelled; sessions planned, repeated and changed; signing up in a line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from activity_office import TYPE, Club
from office import opened


@pytest.fixture
def club(sqlite_template: Path, tmp_path: Path) -> Iterator[Club]:
    with opened(sqlite_template, tmp_path, token_hours=720) as office:
        yield Club(office)


def ids(answer: dict[str, list[dict[str, object]]], name: str = "id") -> list[object]:
    return [one[name] for one in answer["items"]]


def test_an_activity_takes_what_is_left_out_from_its_template(club: Club) -> None:
    office = club.office
    body = {
        "organization_id": "qingyijiang",
        "title": "楼道清扫",
        "activity_type": TYPE,
        "place": "各楼栋",
        "risk_note": "地滑，穿防滑鞋",
        "person_in_charge": "周敏",
    }
    template = office.ok("POST", "/activity-templates", body, as_="admin")
    assert ids(office.ok("GET", "/activity-templates?organization_id=jiangpan")) == [template["id"]]
    made = office.ok(
        "POST",
        "/activities",
        {"organization_id": "jiangpan", "template_id": template["id"], "title": "三月楼道清扫"},
    )
    assert (made["state"], made["title"], made["risk_note"]) == ("draft", "三月楼道清扫", "地滑，穿防滑鞋")
    assert (made["category"], made["counts_as_service"]) == ("environment", True)
    office.refused(403, "forbidden", "PUT", f"/activity-templates/{template['id']}", {"is_active": False})
    office.ok("PUT", f"/activity-templates/{template['id']}", {"is_active": False}, as_="admin")


def test_an_activity_says_what_a_service_record_must_say(club: Club) -> None:
    said = club.office.refused(
        422, "fields_invalid", "POST", "/activities", {"organization_id": "jiangpan", "title": "x"}
    )
    assert said["fields"] == {"names": "activity_type, place, person_in_charge"}
    body = {"organization_id": "jiangpan", "title": "x", "place": "x", "person_in_charge": "x", "activity_type": "no"}
    club.office.refused(404, "activity_type_unknown", "POST", "/activities", body)
    club.office.refused(404, "group_unknown", "POST", "/activities", body | {"group_id": "no"})


def test_publishing_what_has_begun_takes_a_reason_that_stays_with_it(club: Club) -> None:
    activity = club.activity()
    past = club.plan(activity["id"], "2026-03-01T09:00")
    coming = club.plan(activity["id"], "2026-03-05T09:00")
    path = f"/activities/{activity['id']}/publish"
    club.office.refused(422, "backdating_reason_required", "POST", path, {})
    club.publish(activity["id"], reason="停电，事后补录")
    shown = {one["id"]: one for one in club.office.ok("GET", f"/sessions?activity_id={activity['id']}")["items"]}
    assert (shown[past["id"]]["is_backdated"], shown[past["id"]]["backdating_reason"]) == (True, "停电，事后补录")
    assert shown[coming["id"]]["is_backdated"] is False
    body = {"starts_at": "2026-03-01T19:00:00+08:00", "ends_at": "2026-03-01T20:00:00+08:00"}
    sessions = f"/activities/{activity['id']}/sessions"
    club.office.refused(422, "backdating_reason_required", "POST", sessions, body)
    made = club.office.ok("POST", sessions, body | {"reason": "忘了登记"})
    assert made["sessions"][0]["is_backdated"]


def test_the_type_stays_once_an_activity_is_published(club: Club) -> None:
    activity = club.activity()
    club.publish(activity["id"])
    path = f"/activities/{activity['id']}"
    club.office.ok("PUT", path, {"place": "东门", "activity_type": TYPE})
    kind = {"name_zh": "别的", "name_en": "Other", "category": "x", "counts_as_service": False}
    club.office.ok("PUT", "/activity-types/other", kind, as_="admin")
    club.office.refused(409, "activity_fixed", "PUT", path, {"activity_type": "other"})
    # A type that changes changes no activity that was made before.
    club.office.ok("PUT", f"/activity-types/{TYPE}", kind, as_="admin")
    assert club.office.ok("GET", path)["counts_as_service"] is True
    assert ids(club.office.ok("GET", "/activities?state=published")) == [activity["id"]]
    club.office.refused(403, "forbidden", "PUT", f"/activity-types/{TYPE}", kind)


def test_a_session_repeats_by_the_week_at_the_same_local_time(club: Club) -> None:
    activity = club.activity()
    made = club.plans(activity["id"], "2026-03-03T14:00", weeks=3)
    assert [one["starts_at"] for one in made] == [
        "2026-03-03T06:00:00.000Z",
        "2026-03-10T06:00:00.000Z",
        "2026-03-17T06:00:00.000Z",
    ]
    listed = club.office.ok("GET", "/sessions?first_day=2026-03-10&last_day=2026-03-17&limit=1")
    assert ids(listed) == [made[1]["id"]]
    listed = club.office.ok(
        "GET", f"/sessions?first_day=2026-03-10&last_day=2026-03-17&limit=1&cursor={listed['next_cursor']}"
    )
    assert (ids(listed), listed["next_cursor"]) == ([made[2]["id"]], None)


def test_a_session_that_cannot_be_is_refused(club: Club) -> None:
    path = f"/activities/{club.activity()['id']}/sessions"
    body = {"starts_at": "2026-03-03T14:00:00+08:00", "ends_at": "2026-03-03T14:00:00+08:00"}
    club.office.refused(422, "session_times_invalid", "POST", path, body)
    body["ends_at"] = "2026-03-03T16:00:00+08:00"
    club.office.refused(422, "session_times_invalid", "POST", path, body | {"break_minutes": 120})
    body["ends_at"] = "2026-03-03T19:01:00+08:00"
    said = club.office.refused(422, "session_too_long", "POST", path, body)
    assert said["fields"] == {"minutes": 300}


def test_who_signed_up_is_told_of_a_change_and_of_a_cancelling(club: Club) -> None:
    session = club.session()
    for person in club.people[:2]:
        club.office.ok("POST", f"/sessions/{session}/sign-ups", {"resident_id": person.id})
    body = {"starts_at": "2026-03-04T14:00:00+08:00", "ends_at": "2026-03-04T16:00:00+08:00"}
    club.office.ok("PUT", f"/sessions/{session}", body)
    club.office.refused(409, "capacity_taken", "PUT", f"/sessions/{session}", body | {"capacity": 1})
    club.office.ok("POST", f"/sessions/{session}/cancel", {"reason": "下雨"})
    assert club.office.ok("POST", f"/sessions/{session}/cancel", {"reason": "下雨"})["state"] == "cancelled"
    assert club.inbox(0) == club.inbox(1) == ["session_changed", "session_cancelled"]
    path = f"/sessions/{session}/sign-ups"
    club.office.refused(409, "session_cancelled", "POST", path, {"resident_id": club.people[2].id})
    club.office.refused(409, "session_cancelled", "PUT", f"/sessions/{session}", body)


def test_cancelling_an_activity_leaves_what_took_place(club: Club) -> None:
    activity = club.activity()
    club.publish(activity["id"])
    first = club.plan(activity["id"], "2026-03-03T14:00")["id"]
    second = club.plan(activity["id"], "2026-03-10T14:00")["id"]
    club.at("2026-03-03T16:30")
    club.one(first, 0)
    club.office.refused(409, "session_has_attendances", "POST", f"/sessions/{first}/cancel", {"reason": "x"})
    club.office.ok("POST", f"/sessions/{second}/sign-ups", {"resident_id": club.people[1].id})
    done = club.office.ok("POST", f"/activities/{activity['id']}/cancel", {"reason": "没有经费"})
    assert done["state"] == "cancelled"
    assert [club.office.ok("GET", f"/sessions/{one}")["state"] for one in (first, second)] == ["open", "cancelled"]
    assert club.inbox(1) == ["session_cancelled"]
    club.office.refused(409, "activity_cancelled", "PUT", f"/activities/{activity['id']}", {"place": "x"})


def test_the_first_who_waits_gets_a_place_that_becomes_free_and_is_told(club: Club) -> None:
    session = club.session(capacity=1)
    made = [club.office.ok("POST", f"/sessions/{session}/sign-ups", {"resident_id": one.id}) for one in club.people[:3]]
    assert [(one["state"], one["place_in_line"]) for one in made] == [
        ("signed_up", None),
        ("waiting", 1),
        ("waiting", 2),
    ]
    club.office.ok("POST", f"/sign-ups/{made[0]['id']}/cancel")
    club.office.ok("POST", f"/sign-ups/{made[0]['id']}/cancel")
    listed = club.office.ok("GET", f"/sessions/{session}/sign-ups")["items"]
    assert [(one["name"], one["state"]) for one in listed] == [("刘桂芳", "signed_up"), ("陈志远", "waiting")]
    assert (club.inbox(0), club.inbox(1), club.inbox(2)) == ([], ["sign_up_moved_up"], [])
    # Who comes back goes to the end of the line.
    again = club.office.ok("POST", f"/sessions/{session}/sign-ups", {"resident_id": club.people[0].id})
    assert (again["id"], again["state"], again["place_in_line"]) == (made[0]["id"], "waiting", 2)
    body = {"starts_at": "2026-03-03T14:00:00+08:00", "ends_at": "2026-03-03T16:00:00+08:00", "capacity": None}
    shown = club.office.ok("PUT", f"/sessions/{session}", body)
    assert (shown["signed_up"], shown["waiting"]) == (3, 0)
    club.at("2026-03-03T14:00")
    club.office.refused(409, "session_started", "POST", f"/sign-ups/{made[1]['id']}/cancel")


def test_a_sign_up_at_the_same_time_is_refused_and_names_the_other(club: Club) -> None:
    first, second, third = club.session(), club.session("2026-03-03T15:00"), club.session("2026-03-03T16:00")
    body = {"resident_id": club.people[0].id}
    made = club.office.ok("POST", f"/sessions/{first}/sign-ups", body)
    assert club.office.ok("POST", f"/sessions/{first}/sign-ups", body)["id"] == made["id"]
    said = club.office.refused(409, "sign_up_clash", "POST", f"/sessions/{second}/sign-ups", body)
    assert (said["fields"]["title"], said["fields"]["session_id"]) == ("河道清理", first)
    club.office.ok("POST", f"/sessions/{third}/sign-ups", body)
    club.office.ok("POST", f"/sign-ups/{made['id']}/cancel")
    club.office.refused(409, "sign_up_clash", "POST", f"/sessions/{second}/sign-ups", body)


def test_residents_find_sessions_near_them_and_sign_up_until_the_deadline(club: Club) -> None:
    club.office.ok("POST", "/estates", {"id": "shanshui", "parent_id": "qingyijiang", "name": "山水苑"}, as_="admin")
    mine = club.as_resident(0)
    found = {}
    for node in ("jiangpan", "qingyijiang", "hongya", "shanshui"):
        activity = club.activity(node, sign_up_ends_minutes=60)
        club.publish(activity["id"])
        found[node] = club.plan(activity["id"])["id"]
    draft = club.activity()
    club.plan(draft["id"])
    near = club.office.ok("GET", "/me/activities", **mine)
    assert set(ids(near, "session_id")) == {found[node] for node in ("jiangpan", "qingyijiang", "hongya")}
    signed = club.office.ok("POST", "/me/sign-ups", {"session_id": found["jiangpan"]}, **mine)
    club.office.refused(409, "sign_up_clash", "POST", "/me/sign-ups", {"session_id": found["hongya"]}, **mine)
    club.office.refused(403, "sign_up_elsewhere", "POST", "/me/sign-ups", {"session_id": found["shanshui"]}, **mine)
    near = club.office.ok("GET", "/me/activities", **mine)["items"]
    assert {one["session_id"]: one["my_sign_up"] for one in near}[found["jiangpan"]] == "signed_up"
    assert ids(club.office.ok("GET", "/me/sign-ups", **mine)) == [signed["id"]]
    club.office.refused(403, "forbidden", "POST", f"/me/sign-ups/{signed['id']}/cancel", **club.as_resident(1))
    club.office.ok("POST", f"/me/sign-ups/{signed['id']}/cancel", **mine)
    club.at("2026-03-03T13:00")
    mine = club.as_resident(0)
    club.office.refused(409, "sign_up_closed", "POST", "/me/sign-ups", {"session_id": found["jiangpan"]}, **mine)
    body = {"resident_id": club.people[0].id}
    club.office.ok("POST", f"/sessions/{found['jiangpan']}/sign-ups", body)
    club.at("2026-03-03T16:00")
    club.office.refused(409, "sign_up_closed", "POST", f"/sessions/{found['jiangpan']}/sign-ups", body)


def test_who_is_frozen_signs_up_for_nothing(club: Club) -> None:
    session = club.session()
    person = club.people[0].id
    club.office.ok("POST", f"/residents/{person}/freeze", {"reason": "x"}, as_="approver")
    path = f"/sessions/{session}/sign-ups"
    club.office.refused(403, "sign_up_person_closed", "POST", path, {"resident_id": person})
    draft = club.activity()
    unpublished = club.plan(draft["id"])["id"]
    path = f"/sessions/{unpublished}/sign-ups"
    club.office.refused(409, "activity_not_published", "POST", path, {"resident_id": club.people[1].id})
