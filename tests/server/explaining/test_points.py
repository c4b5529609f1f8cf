"""Each number of a resident's points is the sum of its parts, whatever was booked; and the words say what they are."""

from __future__ import annotations

import sys
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.append(str(Path(__file__).parent.parent))

from link_world import PRICE, World
from office import Office
from test_crediting import Desk

from jishan_protocol.messages import NotDispensed, OutcomeUnknown
from jishan_server.db import writing
from jishan_server.explaining import points
from jishan_server.ledger import clock, store
from jishan_server.ledger.model import Booked, Cause, Kind, Transfer
from jishan_server.ledger.store import balances, book
from jishan_server.organizations.roles import SYSTEM, Role
from jishan_server.people.credentials import account_of, owed_account_of
from jishan_server.people.merging import MergeResidents, merge_residents
from jishan_server.people.residents import CreateResident
from jishan_server.people.staff import CreateStaff, Grant
from jishan_server.vending.decisions import Reverse
from jishan_server.writer import Operation

NUMBERS = count(1)
SHANGHAI = ZoneInfo("Asia/Shanghai")


def explained(office: Office, resident_id: str) -> dict[str, Any]:
    """The figures by name, with the whole answer as `whole`."""
    return checked(office.ok("GET", f"/residents/{resident_id}/explain"))


def checked(found: dict[str, Any]) -> dict[str, Any]:
    """Figures by name: each the sum of its parts, each part in whole words."""
    for figure in found["figures"]:
        assert figure["points"] == sum(part["points"] for part in figure["parts"])
        for part in figure["parts"]:
            said = [part["zh"], part["en"], part["rule_zh"] or "", part["rule_en"] or ""]
            assert not any("{" in one or "None" in one for one in said), part
            assert not part["taken_from"] or sum(one["points"] for one in part["taken_from"]) == part["points"]
    return {figure["name"]: figure for figure in found["figures"]} | {"whole": found}


class Life:
    """One resident's points, moved by numbers; every step through the ledger itself."""

    def __init__(self, office: Office) -> None:
        self.office = office
        self.ids = [self.registered(), self.registered()]
        self.holds: list[str] = []
        self.posts: list[str] = []

    def registered(self) -> str:
        body = CreateResident(SYSTEM, "jiangpan", "某人")
        made: dict[str, Any] = self.office.parts.writer.call(
            Operation(f"life-{next(NUMBERS)}", "create_resident", body)
        )
        return str(made["id"])

    def book(self, kind: Kind, debit: str = "", credit: str = "", points: int = 0, **more: Any) -> str | None:
        id = f"move-{next(NUMBERS)}"
        one = Transfer(id, kind, debit, credit, points, Cause("test", id), "staff-1", "test", **more)
        with writing(self.office.parts.engine) as connection:
            if clock.doubt(connection, self.office.now) is not None:
                clock.confirm(connection, self.office.now, "staff-1")
            (answer,) = book(connection, [one], self.office.now)
        return id if isinstance(answer, Booked) else None

    def step(self, what: str, points: int, pick: int, life: int | None) -> None:
        now, own = self.office.now, account_of(self.ids[0])
        match what:
            case "credit":
                ends_at = None if life is None else now + timedelta(days=life)
                id = self.book(Kind.POST, "sys:issuance:jiangpan", own, points, expires_at=ends_at)
                self.posts += [id] if id else []
            case "hold":
                id = self.book(Kind.HOLD, own, "sys:redeemed:jiangpan", points)
                self.holds += [id] if id else []
            case "capture" | "void" if self.holds:
                hold = self.holds.pop(pick % len(self.holds))
                id = self.book(Kind(what), pending_id=hold)
                self.posts += [id] if id and what == "capture" else []
            case "reverse" if self.posts:
                self.book(Kind.REVERSAL, reverses_id=self.posts.pop(pick % len(self.posts)))
            case "adjust":
                self.book(Kind.POST, own, "sys:adjustment:jiangpan", points)
            case "wait":
                self.office.now += timedelta(days=points)
            case "merge" if len(self.ids) > 1 and not self.holds:
                body = MergeResidents(SYSTEM, self.ids[0], self.ids[1], "同一个人", f"{next(NUMBERS):032}")
                with writing(self.office.parts.engine) as connection:
                    clock.confirm(connection, now, "staff-1")
                    merge_residents(connection, Operation(f"life-{next(NUMBERS)}", "merge", body), now, SHANGHAI)
                self.ids = [self.ids[1]]
                self.posts = []

    def check(self) -> None:
        for id in self.ids:
            with self.office.parts.engine.connect() as connection:
                found = checked(points.explain(connection, SYSTEM, id, self.office.now, SHANGHAI))
                standing = balances(connection, [account_of(id), owed_account_of(id)])
                lines, _ = store.statement(connection, account_of(id), limit=500)
            own, owed = standing[account_of(id)], standing[owed_account_of(id)]
            assert found["available"]["points"] == own.available
            assert found["held"]["points"] == own.held
            assert found["owed"]["points"] == -owed.posted
            assert sum(one["points"] for one in found["whole"]["account"]) == own.posted
            ended = sum(-line.posted_change for line in lines if line.transfer_id.startswith("expiry."))
            assert found["expired"]["points"] == ended
            taken = {line.transfer_id for line in lines if line.kind is Kind.CAPTURE}
            back = [line for line in lines if line.kind is Kind.REVERSAL and line.posted_change > 0]
            captured = sum(-line.posted_change for line in lines if line.transfer_id in taken)
            assert found["spent"]["points"] == captured - sum(line.posted_change for line in back)
            assert sum(one["points"] for one in found["whole"]["ends"]) <= own.available


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["credit", "credit", "hold", "hold", "capture", "void", "reverse", "adjust", "wait", "merge"]),
        st.integers(1, 20),
        st.integers(0, 1_000),
        st.one_of(st.none(), st.integers(1, 40)),
    ),
    min_size=4,
    max_size=25,
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS)
def test_every_number_is_the_sum_of_its_parts(here: Office, history: list[Any]) -> None:
    life = Life(here)
    for step in history:
        life.step(*step)
    life.check()


def test_a_credit_says_its_day_its_minutes_and_every_rule_that_made_it(office: Office) -> None:
    desk = Desk(office)
    desk.rules(
        rate={"points": 2, "minutes": 60},
        coefficient={"numerator": 3, "denominator": 2},
        rounding={"step_minutes": 30, "minutes": "down", "points": "half_up"},
        caps=[{"unit": "points", "per": "day", "most": 5}],
        expiry="year_end",
    )
    desk.at("2026-03-03T10:00:00")
    desk.credit(0, 130)
    found = explained(office, desk.people[0].id)
    (part,) = found["available"]["parts"]
    assert (part["points"], part["of_points"], part["minutes"], part["rule_version"]) == (5, 5, 130, "2")
    assert part["zh"] == "2026-03-03“河道清理”130分钟，记5分，还剩5分，2026-12-31到期。"
    assert part["rule_zh"] == (
        "规则第2版：每60分钟2分，系数3/2，积分四舍五入；时长按30分钟一档舍去零头，130分钟算120分钟；120分钟得6分；"
        "每天最多5分，从6分减为5分。"
    )
    assert part["rule_en"] == (
        "Rules, version 2: 2 points for 60 minutes, times 3/2, points rounded half up; time in steps of 30 minutes "
        "rounded down, 130 minutes count as 120; 120 minutes make 6 points; at most 5 points a day cut 6 points to 5."
    )
    assert found["whole"]["ends"] == [{"day": "2026-12-31", "points": 5}]
    assert found["available"]["zh"] == "可用5分"


def test_pending_owed_and_what_comes_back_are_explained_too(office: Office) -> None:
    desk = Desk(office)
    spent = desk.credit(0, 300)
    id = desk.people[0].id
    life = Life(office)
    life.ids = [id]
    life.step("hold", 4, 0, None)
    life.step("capture", 4, 0, None)
    office.ok("POST", f"/credits/{spent['id']}/reverse", {"reason": "记错"}, as_="approver")
    desk.rules(notice_working_days=3)
    desk.at("2026-03-03T10:00:00")
    desk.credit(0, 180)
    found = explained(office, id)
    assert {name: found[name]["points"] for name in points.FIGURES} == {
        "available": 0,
        "held": 0,
        "pending": 3,
        "owed": 4,
        "spent": 4,
        "returned": 0,
        "expired": 0,
    }
    assert found["owed"]["parts"][0]["subject_id"] == spent["id"]
    assert found["owed"]["parts"][0]["zh"].startswith("2026-03-02收回“河道清理”的积分时，已经用掉4分，还欠4分")
    assert found["pending"]["parts"][0]["zh"] == "2026-03-03“河道清理”3分，公示到2026-03-06。"
    assert found["spent"]["parts"][0]["taken_from"][0]["activity"] == "河道清理"
    shown = office.ok("GET", f"/residents/{id}/balance")
    assert [shown[f"{name}_points"] for name in ("available", "held", "pending", "owed")] == [0, 0, 3, 4]


def test_goods_are_named_to_the_resident_and_kept_from_building_heads(sqlite_memory: Any) -> None:
    world = World(sqlite_memory)
    box = world.machine()
    world.give(0, 20)
    box.dispense(box.vend())
    failed = box.vend()
    box.say(NotDispensed(failed, "drop_not_seen", "selection"))
    given_back = box.vend(selection=14, points=5)
    box.dispense(given_back)
    world.call("reverse", Reverse(world.staff("approver"), given_back, "坏的"))
    doubt = box.vend(selection=14, points=5)
    box.say(OutcomeUnknown(doubt, "restarted"))
    id = world.people.residents[0].id
    asked = (f"resident:{id}", id, world.now, world.vending.rules.zone)
    found = {one["name"]: one for one in points.explain(world.connection, *asked)["figures"]}
    assert {name: one["points"] for name, one in found.items()} == {
        "available": 20 - PRICE - 5,
        "held": 5,
        "pending": 0,
        "owed": 0,
        "spent": PRICE,
        "returned": PRICE + 5,
        "expired": 0,
    }
    assert "兑换“肥皂”" in found["spent"]["parts"][0]["zh"]
    assert "正在核实" in found["held"]["parts"][0]["zh"]
    assert "没有出货就全部退回" in found["held"]["parts"][0]["zh"]
    head = CreateStaff(SYSTEM, "head", "楼长", "x", (Grant(Role.BUILDING_HEAD, world.people.estate_id),))
    seen = str(points.explain(world.connection, world.call("create_staff", head)["id"], *asked[1:]))
    assert "肥皂" not in seen
    assert "兑换，用2分" in seen


def test_the_rest_of_a_long_list_is_one_part(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(office)
    for _ in range(4):
        desk.credit(0, 60)
    monkeypatch.setattr(points, "MAX_PARTS", 2)
    parts = explained(office, desk.people[0].id)["available"]["parts"]
    assert [(part["kind"], part["points"]) for part in parts] == [("credit", 1), ("credit", 1), ("others", 2)]


def test_it_is_printed_in_the_language_of_who_asks(office: Office) -> None:
    desk = Desk(office)
    desk.credit(0)
    as_resident = desk.as_resident(0)
    text = office.send("GET", "/me/explain.txt", **as_resident).get_data(as_text=True)
    assert "可用2分" in text
    assert "规则第1版" in text
    headers = as_resident["headers"] | {"Accept-Language": "en"}
    text = office.send("GET", "/me/explain.txt", as_=None, headers=headers).get_data(as_text=True)
    assert "2 points can be spent" in text
    assert office.ok("GET", "/me/explain", **as_resident)["resident_id"] == desk.people[0].id


def test_the_reader_of_a_number_is_one_who_may_read_the_balance(office: Office) -> None:
    id = office.people.residents[0].id
    office.refused(403, "forbidden", "GET", f"/residents/{id}/explain", as_="operator")
