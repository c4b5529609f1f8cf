"""What looks odd: each kind planted, found with its rows, left alone below its threshold, and looked at by somebody."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, update

sys.path.append(str(Path(__file__).parent.parent))

from activity_office import Club
from office import Office
from test_crediting import Desk

from jishan_server.db import writing
from jishan_server.errors import DomainError
from jishan_server.explaining.anomalies import KINDS
from jishan_server.people.tables import staff
from jishan_server.vending.tables import redemptions
from jishan_server.volunteering.activity_tables import attendances
from jishan_server.volunteering.rules import ANOMALIES, CreditRules, read

SPAN = "first_day=2026-03-01&last_day=2026-03-31"


def odd(office: Office, query: str = "", as_: str = "admin") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = office.ok("GET", f"/anomalies?{SPAN}{query}", as_=as_)["items"]
    for one in found:
        assert not any("{" in one[name] for name in ("zh", "en"))
        assert one["evidence"]
    return found


def kinds(office: Office) -> list[str]:
    return sorted(one["kind"] for one in odd(office))


@pytest.fixture
def desk(office: Office) -> Desk:
    return Desk(office)


def test_one_person_at_two_sessions_at_once(office: Office) -> None:
    club = Club(office)
    first, second = club.session("2026-03-03T14:00"), club.session("2026-03-03T15:00")
    club.at("2026-03-03T18:00")
    one = club.one(first, 0)["attendance_id"]
    other = club.one(second, 1)["attendance_id"]
    assert kinds(office) == []
    with writing(office.parts.engine) as connection:
        same = update(attendances).where(attendances.c.id == other).values(resident_id=club.people[0].id)
        connection.execute(same)
    (found,) = odd(office)
    assert (found["kind"], found["day"], found["estate_id"]) == ("two_places", "2026-03-03", "jiangpan")
    assert found["numbers"] == {"minutes": 60}
    assert {row["id"] for row in found["evidence"]} == {one, other}
    assert found["residents"] == [{"id": club.people[0].id, "name": "王*华"}]


def test_more_in_a_day_than_anybody_works(desk: Desk) -> None:
    rows = [desk.record(0, 300), desk.record(0, 300)]
    assert kinds(desk.office) == []
    rows.append(desk.record(0, 1))
    (found,) = odd(desk.office)
    assert (found["kind"], found["day"], found["numbers"]["minutes"]) == ("long_day", "2026-03-02", 601)
    assert {row["id"] for row in found["evidence"]} == {row["id"] for row in rows}


def test_a_pair_that_nobody_else_ever_joins(desk: Desk) -> None:
    desk.rules(anomalies={"pair_credits": 3})
    desk.at("2026-03-04T10:00:00")
    for resident in (0, 1, 2):
        desk.credit(resident, 60)
    (found,) = odd(desk.office)
    # `second` and `third` could have approved.
    assert (found["kind"], found["day"], found["numbers"]) == ("same_pair", "2026-03-01", {"count": 3, "others": 2})
    assert [one["name"] for one in found["staff"]] == ["周敏", "李国强"]
    made = desk.record(3, 60)
    desk.office.ok("POST", f"/credits/{made['id']}/approve", {}, **desk.as_login("second"))
    assert kinds(desk.office) == []


def test_many_approved_at_night_and_few_or_by_day(desk: Desk) -> None:
    desk.rules(anomalies={"night_credits": 2, "night_from_hour": 23, "night_to_hour": 5})
    desk.at("2026-03-03T22:59:00")
    desk.credit(0, 60)
    desk.credit(0, 60)
    desk.at("2026-03-03T23:30:00")
    desk.credit(0, 60)
    assert kinds(desk.office) == []
    desk.at("2026-03-04T03:00:00")
    desk.credit(0, 60)
    (found,) = odd(desk.office)
    assert (found["kind"], found["day"], found["numbers"]["count"]) == ("night_batch", "2026-03-04", 2)
    assert found["at"] == "2026-03-03T15:00:00.000Z"
    assert len(found["evidence"]) == 2


def test_much_of_long_ago_typed_on_one_day(desk: Desk) -> None:
    for _ in range(2):
        desk.record(0, 600, day="2026-01-30")
        desk.record(1, 600, day="2026-02-20")
    (found,) = odd(desk.office, "&kind=typed_late")
    assert found["numbers"] == {"count": 2, "minutes": 1200, "days": 30}
    assert found["staff"][0]["name"] == "周敏"


def test_a_file_of_long_ago_is_one_decision_and_nothing_odd(desk: Desk) -> None:
    person = desk.people[0]
    lines = [f"{person.member_number},2026-01-{day:02},8小时,扫雪" for day in range(1, 5)]
    raw = "\n".join(["会员号,日期,服务时长,服务内容", *lines]).encode()
    path = "/imports?kind=hours&organization_id=jiangpan&file_name=hours.csv"
    sent = desk.office.ok("POST", path, data=raw, content_type="application/octet-stream")
    assert sent["new_count"] == 4
    desk.office.ok("POST", f"/imports/{sent['id']}/book", as_="approver")
    while desk.office.ok("GET", f"/imports/{sent['id']}")["state"] == "booking":
        pass
    assert "typed_late" not in kinds(desk.office)
    desk.record(0, 1200, day="2026-01-30")
    (found,) = odd(desk.office, "&kind=typed_late")
    assert found["numbers"]["count"] == len(found["evidence"]) == 1


def test_two_machines_within_minutes(office: Office) -> None:
    id = office.people.residents[0].id
    at = [datetime(2026, 3, 2, 2, minute, tzinfo=UTC) for minute in (0, 4, 10)]
    machines = ("box-1", "box-2", "box-1")
    plain = {"estate_id": "jiangpan", "resident_id": id, "state": "captured", "is_with_pin": False, "points": 2}
    plain |= {"is_reserved": False, "watch_grade": 0}
    with writing(office.parts.engine) as connection:
        for number, (when, machine) in enumerate(zip(at, machines, strict=True)):
            row = plain | {"id": f"r{number}", "machine_id": machine, "recorded_at": when, "changed_at": when}
            connection.execute(insert(redemptions).values(row))
    (found,) = odd(office)
    assert (found["kind"], found["numbers"]) == ("two_machines", {"minutes": 4})
    assert [row["id"] for row in found["evidence"]] == ["r0", "r1"]
    assert "box-1" in found["zh"]


def test_who_looked_says_what_they_found_once(desk: Desk) -> None:
    desk.record(0, 601)
    (found,) = odd(desk.office)
    path, look = f"/anomalies/{found['id']}/look", {"kind": "long_day", "day": found["day"], "reason": "两天并成一天"}
    desk.office.refused(403, "forbidden", "POST", path, look)
    desk.office.refused(404, "anomaly_unknown", "POST", path, look | {"day": "2026-03-03"}, as_="admin")
    done = desk.office.ok("POST", path, look, as_="admin")
    assert (done["reason"], done["looked_at"] is not None) == ("两天并成一天", True)
    desk.office.refused(409, "anomaly_looked_at", "POST", path, look, as_="admin")
    assert odd(desk.office, "&is_looked_at=false") == []
    assert [one["reason"] for one in odd(desk.office, "&is_looked_at=true")] == ["两天并成一天"]
    # More of the same day is to be looked at anew.
    desk.record(0, 1)
    assert len(odd(desk.office, "&is_looked_at=false")) == 1


def test_nobody_looks_at_what_they_are_part_of(here: Office) -> None:
    desk = Desk(here)
    desk.record(0, 601)
    (found,) = odd(here)
    with writing(here.parts.engine) as connection:
        own = update(staff).where(staff.c.login == "admin").values(resident_id=desk.people[0].id)
        connection.execute(own)
    look = {"kind": "long_day", "day": found["day"], "reason": "x"}
    here.refused(403, "anomaly_own", "POST", f"/anomalies/{found['id']}/look", look, as_="admin")


def test_it_is_found_the_same_whatever_the_span_and_only_in_scope(here: Office) -> None:
    desk = Desk(here)
    desk.record(0, 601)
    (found,) = odd(here)
    day = here.ok("GET", f"/anomalies?first_day={found['day']}&last_day={found['day']}", as_="admin")["items"]
    assert day == [found]
    assert odd(here, "&organization_id=qingyijiang") == [found]
    assert odd(here, "&kind=typed_late") == []
    here.refused(403, "forbidden", "GET", f"/anomalies?{SPAN}", as_="coordinator")
    here.refused(422, "span_invalid", "GET", "/anomalies?first_day=2026-01-01&last_day=2026-12-31", as_="admin")


def test_thresholds_are_fields_of_the_rules() -> None:
    document = CreditRules().document()
    assert read(document, 1).anomalies == {name: one.usual for name, one in ANOMALIES.items()}
    assert read(document | {"anomalies": {"day_minutes": 480}}, 1).anomalies["day_minutes"] == 480
    for wrong in ({"day_minutes": 5}, {"unknown": 1}, {"day_minutes": "x"}):
        with pytest.raises(DomainError, match="rules_invalid"):
            read(document | {"anomalies": wrong}, 1)


def test_every_kind_has_words_with_its_own_signs() -> None:
    assert all(words.zh.endswith("。") and words.en.endswith(".") for words in KINDS.values())
