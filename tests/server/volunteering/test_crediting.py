"""The way of a credit: notice, objections, consent, corrections, appeals, adjustments, whole sessions, dated rules."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from activity_office import Club
from office import Office, opened
from sqlalchemy import event, select, update
from sqlalchemy.exc import DBAPIError

from jishan_server.assembly import limits_on
from jishan_server.audit import entries
from jishan_server.db import connect_for_writing, writing
from jishan_server.errors import DomainError
from jishan_server.ledger.model import Cause, Kind, Transfer
from jishan_server.ledger.store import book
from jishan_server.ledger.verify import verify
from jishan_server.organizations.calendar import Calendar
from jishan_server.people.consents import GiveConsent, WithdrawConsent
from jishan_server.vending.limits import Limit, Limits
from jishan_server.volunteering import history, service_records, tables
from jishan_server.volunteering.credit_tables import rule_versions
from jishan_server.volunteering.credit_tables import service_records as records
from jishan_server.volunteering.crediting import FINALISE
from jishan_server.volunteering.overdue import newest_overdue
from jishan_server.volunteering.rules import CreditRules
from jishan_server.writer import Operation

SHANGHAI = ZoneInfo("Asia/Shanghai")
WHY = {"reason": "核实过"}
DOCUMENT = CreditRules().document()


class Desk:
    """The office's people at work on credits; its clock stands at Monday 2026-03-02, 12:00 local."""

    def __init__(self, office: Office) -> None:
        self.office = office
        self.people = office.people.residents
        roles = [{"role": "approver", "organization_id": "jiangpan"}]
        for login in ("second", "third"):
            body = {"login": login, "name": login, "password": "a long password", "roles": roles}
            office.ok("POST", "/staff", body, as_="admin")

    def as_login(self, login: str) -> dict[str, Any]:
        """What makes `Office.send` ask as one of the further approvers."""
        answer = self.office.client.post("/api/v1/auth/token", json={"login": login, "password": "a long password"})
        return {"as_": None, "headers": {"Authorization": f"Bearer {answer.get_json()['token']}"}, "key": self.key()}

    def as_resident(self, resident: int) -> dict[str, Any]:
        return Club.as_resident(self, resident) | {"key": self.key()}  # type: ignore[arg-type]

    def key(self) -> str:
        return f"desk-key-{next(self.office.keys)}"

    def rules(self, from_day: str = "2026-03-03", **changes: Any) -> dict[str, Any]:
        body = {"document": DOCUMENT | changes, "from_day": from_day, "note": "县里的通知"}
        made: dict[str, Any] = self.office.ok("POST", "/rules", body, as_="admin")
        return made

    def record(self, resident: int, minutes: int = 120, **more: Any) -> dict[str, Any]:
        body = {"resident_id": self.people[resident].id, "activity": "河道清理", "reason": "三月", "minutes": minutes}
        made: dict[str, Any] = self.office.ok("POST", "/credits", body | more)
        return made

    def approve(self, credit: dict[str, Any]) -> dict[str, Any]:
        done: dict[str, Any] = self.office.ok("POST", f"/credits/{credit['id']}/approve", {}, as_="approver")
        return done

    def credit(self, resident: int, minutes: int = 120, **more: Any) -> dict[str, Any]:
        return self.approve(self.record(resident, minutes, **more))

    def state(self, credit: dict[str, Any]) -> str:
        return str(self.office.ok("GET", f"/credits/{credit['id']}")["state"])

    def turn(self) -> int:
        """What the server asks of itself every few seconds; how many credits went on."""
        done: int = self.office.parts.writer.call(Operation(f"turn-{next(self.office.keys)}", FINALISE, None))
        return done

    def at(self, local: str) -> None:
        self.office.now = datetime.fromisoformat(f"{local}+08:00").astimezone(UTC)

    def points(self, resident: int) -> int:
        shown = self.office.ok("GET", f"/residents/{self.people[resident].id}/balance")
        return int(shown["posted_points"])

    def minutes(self, resident: int) -> int:
        with self.office.parts.engine.connect() as connection:
            return service_records.total_minutes(connection, self.people[resident].id)

    def inbox(self, resident: int) -> list[str]:
        return Club.inbox(self, resident)  # type: ignore[arg-type]

    def consent(self, resident: int, kind: str = "give_consent") -> None:
        body = GiveConsent if kind == "give_consent" else WithdrawConsent
        asked = body("system", self.people[resident].id, "desk")
        self.office.parts.writer.call(Operation(f"consent-{next(self.office.keys)}", kind, asked))

    def is_sound(self) -> bool:
        with self.office.parts.engine.connect() as connection:
            return verify(connection, processes=1).ok


@pytest.fixture
def desk(office: Office) -> Desk:
    return Desk(office)


@pytest.fixture
def here(sqlite_template: Path, tmp_path: Path) -> Iterator[Desk]:
    """On SQLite only: what the database does not change."""
    with opened(sqlite_template, tmp_path, token_hours=24 * 30) as made:
        yield Desk(made)


def in_notice(desk: Desk, days: int = 3, **changes: Any) -> dict[str, Any]:
    """A credit of 2 points approved on Tuesday the 3rd, with a notice of `days` working days."""
    desk.rules(notice_working_days=days, **changes)
    desk.at("2026-03-03T10:00:00")
    return desk.credit(0)


# Notice


def test_points_wait_for_the_notice_and_are_booked_once(desk: Desk) -> None:
    made = in_notice(desk)
    # Wednesday, Thursday and Friday are whole; it ends with Friday.
    assert (made["state"], made["notice_ends_at"]) == ("approved", "2026-03-06T16:00:00.000Z")
    assert (desk.points(0), desk.minutes(0)) == (0, 0)
    desk.at("2026-03-06T23:59:59")
    assert desk.turn() == 0
    desk.at("2026-03-07T00:00:00")
    assert (desk.turn(), desk.turn()) == (1, 0)
    done = desk.office.ok("GET", f"/credits/{made['id']}")
    assert (done["state"], done["booked_points"], done["rule_version"]) == ("final", 2, "2")
    assert (desk.points(0), desk.minutes(0)) == (2, 120)
    assert desk.inbox(0) == ["credit_in_notice", "credit_booked"]
    assert desk.is_sound()


def test_a_weekend_and_a_holiday_are_no_days_of_notice(here: Desk) -> None:
    here.office.ok("PUT", "/calendar/2026-03-05", {"is_working": False, "name": "放假"}, as_="admin", key="holiday-01")
    assert in_notice(here)["notice_ends_at"] == "2026-03-09T16:00:00.000Z"


def test_a_doubted_clock_makes_nothing_final(desk: Desk) -> None:
    made = in_notice(desk)
    desk.credit(1, day="2026-03-02")
    desk.at("2026-03-20T10:00:00")
    assert desk.turn() == 0
    assert desk.state(made) == "approved"


def test_anybody_sees_the_notice_with_masked_names(desk: Desk) -> None:
    made = in_notice(desk)
    desk.record(1)
    shown = desk.office.ok("GET", "/notices?estate=jiangpan", as_=None)["items"]
    assert shown == [
        {
            "credit_id": made["id"],
            "name": "王*华",
            "building": None,
            "activity": "河道清理",
            "day": "2026-03-03",
            "minutes": 120,
            "points": 2,
            "last_day": "2026-03-06",
        }
    ]
    desk.office.refused(404, "estate_unknown", "GET", "/notices?estate=nowhere", as_=None)


def test_who_has_not_agreed_waits_and_is_not_shown(desk: Desk) -> None:
    desk.consent(0, "withdraw_consent")
    made = in_notice(desk)
    assert (made["state"], made["notice_ends_at"]) == ("waiting_consent", None)
    assert desk.office.ok("GET", "/notices?estate=jiangpan", as_=None)["items"] == []
    assert desk.turn() == 0
    desk.at("2026-03-04T10:00:00")
    desk.consent(0)
    assert desk.turn() == 1
    assert desk.state(made) == "approved"
    desk.consent(0, "withdraw_consent")
    assert desk.office.ok("GET", "/notices?estate=jiangpan", as_=None)["items"] == []
    desk.at("2026-03-10T10:00:00")
    with writing(desk.office.parts.engine) as connection:
        words = {"cause": Cause("test", "x"), "actor": "x", "reason": "test"}
        book(connection, [Transfer("x", Kind.POST, "sys:issuance:jiangpan", "res:x", 1, **words)], desk.office.now)
    assert desk.turn() == 1
    assert (desk.state(made), desk.points(0)) == ("waiting_consent", 0)
    assert desk.inbox(0) == ["credit_waiting_consent", "credit_in_notice", "credit_waiting_consent"]


# Objections


def test_an_objection_holds_a_credit_and_upheld_rejects_it(desk: Desk) -> None:
    made = in_notice(desk)
    path = f"/credits/{made['id']}"
    filed = desk.office.ok("POST", "/me/objections", {"credit_id": made["id"]} | WHY, **desk.as_resident(1))
    assert filed.keys() == {"id", "credit_id", "filed_at", "state"}
    assert desk.state(made) == "objected"
    desk.office.refused(409, "credit_not_in_notice", "POST", f"{path}/objections", WHY)
    desk.at("2026-03-20T10:00:00")
    assert desk.turn() == 0
    decide, upheld = f"/objections/{filed['id']}/decide", {"is_upheld": True} | WHY
    with desk.office.unchanged():
        desk.office.refused(403, "forbidden", "POST", decide, upheld)
        desk.office.refused(403, "second_reviewer_required", "POST", decide, upheld, as_="approver")
        desk.office.ok("POST", decide, upheld, **desk.as_login("second"))
        desk.office.refused(409, "objection_closed", "POST", decide, upheld, **desk.as_login("third"))
    assert desk.state(made) == "rejected"
    assert [one["state"] for one in desk.office.ok("GET", "/objections", as_="approver")["items"]] == ["upheld"]
    assert desk.inbox(0) == ["credit_in_notice", "credit_objected", "credit_rejected"]
    assert desk.inbox(1) == ["objection_answered"]


def test_a_dismissed_objection_lets_the_notice_go_on_for_what_was_left(desk: Desk) -> None:
    made = in_notice(desk)
    desk.at("2026-03-05T10:00:00")
    body = {"on_behalf_of": "三栋刘女士"} | WHY
    filed = desk.office.ok("POST", f"/credits/{made['id']}/objections", body)
    # Thursday and Friday were left; decided on Monday, they are Tuesday and Wednesday.
    desk.at("2026-03-09T10:00:00")
    body = {"is_upheld": False} | WHY
    desk.office.ok("POST", f"/objections/{filed['id']}/decide", body, **desk.as_login("second"))
    shown = desk.office.ok("GET", f"/credits/{made['id']}")
    assert (shown["state"], shown["notice_ends_at"]) == ("approved", "2026-03-11T16:00:00.000Z")
    assert desk.inbox(0) == ["credit_in_notice", "credit_objected", "objection_dismissed"]


def test_a_resident_objects_to_nothing_that_is_not_shown(here: Desk) -> None:
    waiting = here.record(0)
    body = {"credit_id": waiting["id"]} | WHY
    here.office.refused(404, "credit_unknown", "POST", "/me/objections", body, **here.as_resident(1))
    here.office.refused(409, "credit_not_in_notice", "POST", f"/credits/{waiting['id']}/objections", WHY)


# Service records


def test_no_redemption_changes_hours(desk: Desk) -> None:
    desk.credit(0, 600)
    account = f"res:{desk.people[0].id}"
    words: dict[str, Any] = {"cause": Cause("redemption", "r1"), "actor": "machine-1", "reason": "test"}
    with desk.office.parts.engine.connect() as connection:
        before = connection.execute(select(records)).all()
    with writing(desk.office.parts.engine) as connection:
        hold = Transfer("h1", Kind.HOLD, account, "sys:redeemed:jiangpan", 10, **words)
        book(connection, [hold, Transfer("c1", Kind.CAPTURE, "", "", 0, pending_id="h1", **words)], desk.office.now)
    assert (desk.points(0), desk.minutes(0)) == (0, 600)
    with desk.office.parts.engine.connect() as connection:
        assert connection.execute(select(records)).all() == before


def test_what_is_no_service_earns_points_and_no_hours(here: Desk) -> None:
    here.credit(0, 120, counts_as_service=False)
    here.credit(0, 45)
    here.credit(0, 120, source="d")
    assert (here.points(0), here.minutes(0)) == (2, 165)
    shown = here.office.ok("GET", "/me/service-records", **here.as_resident(0))["items"]
    assert [(one["minutes"], one["title"], one["unit_name"], one["state"]) for one in shown] == [
        (one["minutes"], "河道清理", "江畔家园", "valid") for one in shown
    ]
    assert {one["minutes"] for one in shown} == {45, 120}
    assert here.inbox(0) == ["credit_booked", "credit_hours_booked", "credit_hours_booked"]


def test_the_facts_of_a_record_cannot_be_changed(desk: Desk) -> None:
    desk.credit(0)
    for change in (update(records).values(minutes=1), records.delete()):
        with pytest.raises(DBAPIError), writing(desk.office.parts.engine) as connection:
            connection.execute(change)
    with pytest.raises(DBAPIError), writing(desk.office.parts.engine) as connection:
        connection.execute(update(rule_versions).values(document="{}"))


def test_what_two_merged_records_worked_is_one_persons_and_no_longer_their_own_to_approve(here: Desk) -> None:
    here.rules(notice_working_days=3)
    here.credit(0, 120)
    here.at("2026-03-03T10:00:00")
    waiting = here.credit(0, 60)
    into = {"into_id": here.people[1].id, "reason": "同一个人"}
    here.office.ok("POST", f"/residents/{here.people[0].id}/merge", into, as_="admin")
    assert here.credit(0, 90)["resident_id"] == here.people[1].id
    for day in ("2026-03-04", "2026-03-06"):
        # A ledger in which nothing moves for 2 days doubts the clock.
        here.at(f"{day}T10:00:00")
        here.credit(3, 60, day="2026-03-02")
    here.at("2026-03-07T00:00:00")
    assert here.turn() == 2
    assert here.state(waiting) == "final"
    assert (here.points(1), here.minutes(1), here.minutes(0)) == (4, 270, 180)
    body = {"reason": "搬走了"}
    here.office.ok("POST", f"/residents/{here.people[2].id}/close", body, as_="approver")
    body = {"resident_id": here.people[2].id, "activity": "x", "reason": "x", "minutes": 60}
    here.office.refused(409, "resident_closed", "POST", "/credits", body)
    assert here.is_sound()


# Corrections, appeals


def test_a_correction_takes_the_place_of_a_credit_when_it_is_final(desk: Desk) -> None:
    wrong = desk.credit(0, 300)
    body = {"minutes": 120} | WHY
    new = desk.office.ok("POST", f"/credits/{wrong['id']}/correct", body, as_="approver")
    assert (new["state"], new["points"], new["corrects_id"]) == ("recorded", 2, wrong["id"])
    assert (desk.points(0), desk.minutes(0)) == (5, 300)
    with desk.office.unchanged():
        path = f"/credits/{wrong['id']}"
        desk.office.refused(409, "correction_open", "POST", f"{path}/correct", body, as_="approver")
        desk.office.refused(409, "correction_open", "POST", f"{path}/reverse", WHY, as_="approver")
        desk.office.refused(403, "credit_same_person", "POST", f"/credits/{new['id']}/approve", {}, as_="approver")
    desk.office.ok("POST", f"/credits/{new['id']}/approve", {}, **desk.as_login("second"))
    assert (desk.points(0), desk.minutes(0)) == (2, 120)
    assert (desk.state(wrong), desk.state(new)) == ("reversed", "final")
    shown = desk.office.ok("GET", f"/residents/{desk.people[0].id}/service-records")["items"]
    assert sorted((one["minutes"], one["state"]) for one in shown) == [(120, "valid"), (300, "corrected")]
    assert desk.inbox(0) == ["credit_booked", "credit_corrected"]
    desk.office.refused(409, "already_reversed", "POST", f"/credits/{wrong['id']}/correct", body, as_="approver")
    assert desk.is_sound()


def test_a_correction_that_says_the_same_is_refused(here: Desk) -> None:
    path = f"/credits/{here.credit(0)['id']}/correct"
    here.office.refused(422, "correction_same", "POST", path, {"minutes": 120} | WHY, as_="approver")
    here.office.refused(422, "credit_amount", "POST", path, WHY, as_="approver")


def test_a_correction_counts_once_towards_the_caps(desk: Desk) -> None:
    desk.rules(caps=[{"unit": "points", "per": "day", "most": 5}])
    desk.at("2026-03-03T10:00:00")
    wrong = desk.credit(0, 300)
    new = desk.office.ok("POST", f"/credits/{wrong['id']}/correct", {"minutes": 240} | WHY, as_="approver")
    assert new["points"] == 4


def test_an_appeal_against_a_rejection_is_decided_by_somebody_else(desk: Desk) -> None:
    made = desk.record(0)
    desk.office.ok("POST", f"/credits/{made['id']}/reject", WHY, as_="approver")
    me = desk.as_resident(0)
    filed = desk.office.ok("POST", "/me/appeals", {"credit_id": made["id"], "reason": "我在场"}, **me)
    assert (filed["about"], filed["state"], filed["due_day"]) == ("rejected", "filed", "2026-04-01")
    body = {"credit_id": made["id"], "reason": "我在场"}
    desk.office.refused(409, "appeal_open", "POST", "/me/appeals", body, **desk.as_resident(0))
    desk.office.refused(404, "credit_unknown", "POST", "/me/appeals", body, **desk.as_resident(1))
    decide, accepted = f"/appeals/{filed['id']}/decide", {"is_accepted": True} | WHY
    desk.office.refused(403, "second_reviewer_required", "POST", decide, accepted, as_="approver")
    desk.office.ok("POST", decide, accepted, **desk.as_login("second"))
    assert (desk.state(made), desk.points(0), desk.minutes(0)) == ("final", 2, 120)
    desk.office.refused(409, "appeal_closed", "POST", decide, accepted, **desk.as_login("third"))
    mine = desk.office.ok("GET", "/me/appeals", **desk.as_resident(0))["items"]
    assert [(one["state"], one["is_overdue"]) for one in mine] == [("accepted", False)]


def test_an_appeal_that_was_refused_is_not_heard_twice_nor_too_late(desk: Desk) -> None:
    made, other = desk.record(0), desk.record(0)
    for one in (made, other):
        desk.office.ok("POST", f"/credits/{one['id']}/reject", WHY, as_="approver")
    path = f"/credits/{made['id']}/appeals"
    filed = desk.office.ok("POST", path, WHY)
    body = {"is_accepted": False} | WHY
    desk.office.ok("POST", f"/appeals/{filed['id']}/decide", body, **desk.as_login("second"))
    desk.office.refused(409, "appeal_closed", "POST", path, WHY)
    desk.at("2026-04-02T00:00:00")
    body = {"credit_id": other["id"]} | WHY
    said = desk.office.refused(409, "appeal_too_late", "POST", "/me/appeals", body, **desk.as_resident(0))
    assert said["fields"] == {"last_day": "2026-04-01"}
    assert desk.inbox(0) == ["credit_rejected", "credit_rejected", "appeal_refused"]


def test_an_appeal_against_a_reversal_leads_to_a_new_credit(desk: Desk) -> None:
    made = desk.credit(0)
    desk.office.ok("POST", f"/credits/{made['id']}/reverse", WHY, as_="approver")
    assert (desk.points(0), desk.minutes(0)) == (0, 0)
    filed = desk.office.ok("POST", f"/credits/{made['id']}/appeals", WHY)
    body = {"is_accepted": True} | WHY
    done = desk.office.ok("POST", f"/appeals/{filed['id']}/decide", body, **desk.as_login("second"))
    assert (desk.state(made), desk.points(0), desk.minutes(0)) == ("reversed", 2, 120)
    assert desk.state({"id": done["new_credit_id"]}) == "final"
    assert desk.is_sound()


def test_a_person_asks_for_a_correction_of_their_hours(desk: Desk) -> None:
    made = desk.credit(0)
    body = {"credit_id": made["id"], "reason": "做到了四点", "wanted_minutes": 240}
    filed = desk.office.ok("POST", "/me/appeals", body, **desk.as_resident(0))
    assert filed["about"] == "correction"
    done = desk.office.ok(
        "POST", f"/appeals/{filed['id']}/decide", {"is_accepted": True} | WHY, **desk.as_login("second")
    )
    assert (desk.points(0), desk.minutes(0)) == (4, 240)
    new = desk.office.ok("GET", f"/credits/{done['new_credit_id']}")
    assert (new["corrects_id"], new["recorded_by"]) == (made["id"], f"resident:{desk.people[0].id}")
    assert desk.is_sound()


# Adjustments


def test_an_adjustment_takes_two_people_a_reason_and_stays_in_its_limit(desk: Desk) -> None:
    desk.office.credit(0, 10)
    person = desk.people[0].id

    def propose(points: int, **more: Any) -> dict[str, Any]:
        body = {"resident_id": person, "points": points, "reason_code": "goodwill", "reason": "机器吞分"}
        return desk.office.ok("POST", "/adjustments", body, as_="admin") if not more else body

    body = propose(101, only=True)
    said = desk.office.refused(422, "adjustment_too_large", "POST", "/adjustments", body, as_="admin")
    assert said["fields"] == {"most": 100}
    desk.office.refused(403, "forbidden", "POST", "/adjustments", body)
    up, down = propose(5), propose(-12)
    path = f"/adjustments/{up['id']}/decide"
    with desk.office.unchanged():
        desk.office.refused(403, "adjustment_same_person", "POST", path, {"decision": "approve"}, as_="admin")
    done = desk.office.ok("POST", path, {"decision": "approve"}, as_="approver")
    assert (done["state"], desk.points(0)) == ("booked", 15)
    desk.office.refused(409, "adjustment_closed", "POST", path, {"decision": "approve"}, as_="secretary")
    desk.office.ok("POST", f"/adjustments/{down['id']}/decide", {"decision": "approve"}, as_="approver")
    assert desk.points(0) == 3
    more = propose(-4)
    with desk.office.unchanged():
        path = f"/adjustments/{more['id']}/decide"
        desk.office.refused(409, "not_enough_points", "POST", path, {"decision": "approve"}, as_="approver")
        desk.office.ok("POST", path, {"decision": "reject", "reason": "不够"}, as_="approver")
    states = [one["state"] for one in desk.office.ok("GET", "/adjustments", as_="approver")["items"]]
    assert sorted(states) == ["booked", "booked", "rejected"]
    assert desk.is_sound()


# Dated rules


def test_rules_begin_tomorrow_and_old_work_keeps_its_own(desk: Desk) -> None:
    body = {"document": DOCUMENT, "from_day": "2026-03-02", "note": "x"}
    desk.office.refused(422, "rules_day_past", "POST", "/rules", body, as_="admin")
    desk.office.refused(403, "forbidden", "POST", "/rules", body, as_="approver")
    body = {"document": DOCUMENT | {"sources": ["z"]}, "from_day": "2026-03-05", "note": "x"}
    said = desk.office.refused(422, "rules_invalid", "POST", "/rules", body, as_="admin")
    assert said["fields"]["field"] == "sources[0]"
    desk.rules(rate={"points": 10, "minutes": 60})
    assert desk.credit(0)["points"] == 2
    desk.at("2026-03-03T10:00:00")
    assert desk.credit(0, day="2026-03-02")["points"] == 2
    assert desk.credit(0)["points"] == 20
    assert [one["version"] for one in desk.office.ok("GET", "/rules")["items"]] == [2, 1]
    assert desk.office.ok("GET", "/rules/on?day=2020-01-01")["version"] == 1
    assert len(desk.office.ok("GET", "/rules/presets")["items"]) == 5


def test_machines_go_by_the_limits_of_the_rules_of_the_day(here: Desk) -> None:
    once = {"unit": "times", "per": "day", "most": 1}
    here.rules(redemptions=[once], points_without_pin_per_day=5)
    with here.office.parts.engine.connect() as connection:
        assert limits_on(connection, date(2026, 3, 2)) == Limits()
        assert limits_on(connection, date(2026, 3, 3)) == Limits((Limit("times", "day", 1),), 5)


def test_no_cap_is_passed_whatever_comes_in_which_order(desk: Desk) -> None:
    caps = [{"unit": "minutes", "per": "day", "most": 180}, {"unit": "points", "per": "month", "most": 5}]
    desk.rules(caps=caps, balance_cap=4)
    desk.at("2026-03-03T10:00:00")
    first, second = desk.record(0, 120), desk.record(0, 120)
    assert [first["points"], second["points"]] == [2, 1]
    assert second["worth_steps"] == [["cap_minutes_day", 120, 60], ["rate", 60, 1]]
    desk.office.ok("POST", f"/credits/{first['id']}/reject", WHY, as_="approver")
    desk.approve(second)
    desk.at("2026-03-04T10:00:00")
    third = desk.credit(0, 300)
    # 180 minutes of the day, and 3 points: 4 are left in the month, and the balance takes 3.
    assert (third["points"], third["booked_points"], desk.points(0)) == (3, 3, 4)
    desk.at("2026-03-05T10:00:00")
    fourth = desk.credit(0, 180)
    assert (fourth["points"], fourth["booked_points"], desk.points(0)) == (1, 0, 4)
    assert desk.minutes(0) == 600


def test_other_rules_are_tried_on_a_period_and_change_nothing(desk: Desk) -> None:
    for minutes in (120, 180, 90):
        desk.credit(0, minutes)
    desk.credit(1, 60, activity_type="first_aid")
    document = DOCUMENT | {
        "rate": {"points": 2, "minutes": 60},
        "caps": [{"unit": "points", "per": "day", "most": 9}],
    }
    body = {"document": document, "first_day": "2026-03-01", "last_day": "2026-03-31"}
    with desk.office.unchanged():
        found = desk.office.ok("POST", "/rules/simulate", body, as_="admin", key="")
    assert (found["old_points"], found["new_points"], found["difference_points"]) == (7, 11, 4)
    assert (found["people"], found["people_capped"], found["credits"]) == (2, 1, 4)
    assert [(one["activity_type"], one["new_points"]) for one in found["lines"]] == [("first_aid", 2), ("general", 9)]
    body |= {"first_day": "2026-04-01"}
    desk.office.refused(422, "period_invalid", "POST", "/rules/simulate", body, as_="admin", key="")


# Many at once


def test_a_session_is_looked_at_credited_and_approved_as_a_whole(desk: Desk) -> None:
    desk.rules(caps=[{"unit": "minutes", "per": "activity", "most": 60}])
    club = Club(desk.office)
    session = club.session()
    club.at("2026-03-03T17:00")
    for resident in range(3):
        club.one(session, resident, checked_in_at="14:00", checked_out_at="16:00")
    path = f"/sessions/{session}/credits"
    with desk.office.unchanged():
        seen = desk.office.ok("POST", f"{path}/preview", key="")
    assert (seen["credits"], seen["minutes"], seen["points"]) == (3, 360, 3)
    assert seen["items"][0]["cuts"] == [["cap_minutes_activity", 120, 60]]
    assert seen["approval_organization_id"] == "jiangpan"
    done = desk.office.ok("POST", path, {})
    assert (done["credits"], done["points"]) == (3, 3)
    assert desk.office.ok("POST", path, {})["credits"] == 0
    club.one(session, 3, checked_in_at="14:00", checked_out_at="15:30")
    assert desk.office.ok("POST", path, {})["credits"] == 1
    assert len(desk.office.ok("GET", "/credits/waiting", as_="approver")["items"]) == 4
    desk.office.refused(403, "forbidden", "POST", f"{path}/approve", {})
    approved = desk.office.ok("POST", f"{path}/approve", {}, as_="approver")
    assert (approved["approved"], approved["points"], approved["refused"]) == (4, 4, [])
    assert [desk.minutes(resident) for resident in range(4)] == [120, 120, 120, 90]
    with desk.office.parts.engine.connect() as connection:
        (found,) = service_records.of(connection, desk.people[0].id, date(2026, 3, 3), date(2026, 3, 3))
    assert (found["place"], found["person_in_charge"], found["category"]) == ("青衣江边", "周敏", "environment")
    assert (found["starts_at"], found["session_id"]) == ("2026-03-03T06:00:00.000Z", session)
    assert desk.is_sound()


def test_a_rejected_attendance_may_be_credited_again(here: Desk) -> None:
    club = Club(here.office)
    session = club.session()
    club.at("2026-03-03T17:00")
    club.one(session, 0, checked_in_at="14:00", checked_out_at="16:00")
    path = f"/sessions/{session}/credits"
    here.office.ok("POST", path, {})
    (first,) = here.office.ok("GET", f"/credits?session_id={session}")["items"]
    here.office.ok("POST", f"/credits/{first['id']}/reject", WHY, as_="approver")
    assert here.office.ok("POST", path, {})["credits"] == 1
    filed = here.office.ok("POST", f"/credits/{first['id']}/appeals", WHY)
    body = {"is_accepted": True} | WHY
    decide = f"/appeals/{filed['id']}/decide"
    here.office.refused(409, "appeal_not_possible", "POST", decide, body, **here.as_login("second"))


def test_where_an_estate_has_nobody_else_the_node_above_approves(here: Desk) -> None:
    here.office.ok("POST", "/estates", {"id": "shanshui", "parent_id": "qingyijiang", "name": "山水苑"}, as_="admin")
    resident = here.office.ok("POST", "/residents", {"estate_id": "shanshui", "name": "新人"}, as_="admin")
    body = {"resident_id": resident["id"], "activity": "x", "reason": "x", "points": 1}
    made = here.office.ok("POST", "/credits", body, as_="admin")
    assert here.office.ok("GET", "/credits/waiting", as_="approver")["items"] == []
    (seen,) = here.office.ok("GET", "/credits/waiting", as_="secretary")["items"]
    assert (seen["id"], seen["approval_organization_id"]) == (made["id"], "qingyijiang")
    assert here.office.ok("GET", "/credits/waiting", as_="admin")["items"] == []


def test_what_is_late_is_listed(here: Desk) -> None:
    late = here.record(0, day="2026-02-13")
    here.record(0, day="2026-02-27")
    (seen,) = here.office.ok("GET", "/credits/overdue", as_="approver")["items"]
    assert (seen["id"], seen["due_day"]) == (late["id"], "2026-02-27")
    here.approve(late)
    assert here.office.ok("GET", "/credits/overdue", as_="approver")["items"] == []


def test_the_newest_overdue_day_is_the_last_whose_ten_days_are_over() -> None:
    days = Calendar(frozenset({date(2026, 2, 17), date(2026, 2, 18)}), frozenset({date(2026, 2, 28)}))
    for number in range(60):
        today = date.fromordinal(date(2026, 2, 1).toordinal() + number)
        newest = newest_overdue(days, today)
        assert days.after(newest, 10) < today
        assert days.after(date.fromordinal(newest.toordinal() + 1), 10) >= today


def past(desk: Desk, key: str, resident: int, **more: Any) -> history.PastWork:
    words: dict[str, Any] = {"day": date(2025, 6, 1), "minutes": 90, "title": "2025年活动"} | more
    return history.PastWork(key, desk.people[resident].id, "jiangpan", **words)


def test_hours_from_before_are_booked_at_once_and_once(desk: Desk) -> None:
    desk.rules(notice_working_days=5)
    ids = {one.login: one.id for one in desk.office.people.staff}
    rows = [
        past(desk, "row-1", 0),
        past(desk, "row-2", 0, points=7),
        past(desk, "row-3", 1, minutes=None, points=500),
        past(desk, "row-4", 1, day=date(2027, 1, 1)),
    ]

    def run() -> list[tuple[bool, str | None]]:
        words = {"recorded_by": ids["coordinator"], "approved_by": ids["approver"], "reason": "旧系统"}
        with connect_for_writing(desk.office.parts.engine) as connection:
            statements: list[str] = []
            event.listen(connection, "before_cursor_execute", lambda *said: statements.append(said[2]))
            done = history.book_history(
                connection, rows, Operation("import-1", "import", None), desk.office.now, CreditRules(), **words
            )
            connection.commit()
        assert len(statements) <= 40
        return [(one.is_new, one.error.code if one.error else None) for one in done]

    assert run() == [(True, None), (True, None), (True, None), (False, "worked_day_ahead")]
    assert [desk.points(0), desk.points(1), desk.minutes(0), desk.minutes(1)] == [7, 500, 180, 0]
    with desk.office.unchanged():
        assert [is_new for is_new, _ in run()] == [False] * 4
    with desk.office.parts.engine.connect() as connection:
        noted = select(entries.c.actor).where(entries.c.action == "past_work_booked")
        assert set(connection.execute(noted).scalars()) == {ids["approver"]}
    words = {"recorded_by": ids["approver"], "approved_by": ids["approver"], "reason": "x"}
    twice = Operation("import-2", "import", None)
    with pytest.raises(DomainError, match="credit_same_person"), writing(desk.office.parts.engine) as connection:
        history.book_history(connection, rows, twice, desk.office.now, CreditRules(), **words)
    assert desk.is_sound()


def test_two_hundred_notices_end_in_a_handful_of_statements(here: Desk) -> None:
    here.rules(notice_working_days=1)
    here.at("2026-03-03T10:00:00")
    for number in range(200):
        here.credit(number % 6)
    here.at("2026-03-05T01:00:00")
    statements: list[str] = []
    event.listen(here.office.parts.engine, "before_cursor_execute", lambda *said: statements.append(said[2]))
    assert here.turn() == 200
    assert len(statements) <= 30
    assert sum(here.points(resident) for resident in range(6)) == 400
    with here.office.parts.engine.connect() as connection:
        states = connection.scalars(select(tables.credits.c.state).distinct()).all()
    assert states == ["final"]
