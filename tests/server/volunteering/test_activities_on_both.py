"""One activity from its plan to its overdue list, on each kind of database."""

from __future__ import annotations

from datetime import date

from activity_office import Club
from office import Office

from jishan_server.volunteering import attendance


def test_an_activity_goes_the_same_way_on_each_database(office: Office) -> None:
    club = Club(office)
    activity = club.activity()
    club.publish(activity["id"])
    first, second = club.plans(activity["id"], "2026-03-02T13:00", weeks=2, capacity=1)
    path = f"/sessions/{first['id']}"
    signed = [office.ok("POST", f"{path}/sign-ups", {"resident_id": one.id}) for one in club.people[:2]]
    office.ok("POST", f"/sign-ups/{signed[0]['id']}/cancel")
    (listed,) = office.ok("GET", f"{path}/sign-ups")["items"]
    assert (listed["resident_id"], listed["state"]) == (club.people[1].id, "signed_up")
    office.ok("POST", f"{path}/sign-ups", {"resident_id": club.people[0].id})
    club.at("2026-03-02T13:05")
    mine = club.as_resident(1)
    code = office.ok("GET", f"{path}/code")["code"]
    wrong = {"session_id": first["id"], "code": "wrong"}
    for _ in range(2):
        office.refused(403, "attendance_code_wrong", "POST", "/me/check-in", wrong, **mine)
    office.ok("POST", "/me/check-in", wrong | {"code": code}, **mine)
    assert office.ok("GET", "/me/activities", **mine)["items"][0]["my_sign_up"] == "signed_up"
    office.ok("POST", f"{path}/check-in", {"card": club.people[2].card})
    club.at("2026-03-02T14:00")
    office.ok("POST", f"{path}/check-out", {"card": club.people[2].card})
    club.at("2026-03-02T16:30")
    club.clock_turns()
    rows = [{"who": club.people[3].member_number}, {"who": "nobody"}, {"resident_id": club.people[1].id}]
    answer = club.rows(first["id"], *rows)
    assert [len(answer[name]) for name in ("saved", "problems", "already")] == [1, 1, 1]
    (waiting,) = office.ok("GET", "/attendances/to-review")["items"]
    office.ok("PUT", f"/attendances/{waiting['id']}", {"minutes": 50, "reason": "x"})
    office.ok("POST", f"/attendances/{waiting['id']}/void", {"reason": "x"})
    assert club.one(first["id"], 1, minutes=40)["attendance_id"] == waiting["id"]
    assert len(office.ok("GET", f"/sessions/{second['id']}/sheet")["rows"]) == 3
    with office.parts.engine.connect() as connection:
        found = attendance.closed_attendances(connection, first["id"])
        assert sorted(one.minutes for one in found) == [40, 55, 120]
        zone = office.parts.vending.rules.zone
        ([due], last) = attendance.uncredited(connection, ["jiangpan"], date(2026, 3, 17), zone)
        assert (due.attendances, due.to_review, due.due_day, last) == (3, 0, date(2026, 3, 16), None)
        assert attendance.uncredited(connection, ["jiangpan"], date(2026, 3, 16), zone) == ([], None)
