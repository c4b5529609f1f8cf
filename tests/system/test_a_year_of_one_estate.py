"""The year of one estate, told over the HTTP API: a file of 2,518 people becomes hours, points, goods and a report.

Each chapter is a function, and goes on where the one before it ended; read the test at the end of the page first.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

sys.path.append(str(Path(__file__).parent))
sys.path.append(str(Path(__file__).parents[1] / "server"))

from estate_year import PIN, Estate, Gate, lived_in
from world import quiet

from jishan_server.db import make_engine, upgrade
from jishan_server.ledger.verify import verify
from jishan_server.sheets import reading
from jishan_server.sheets.cells import Cell
from jishan_server.sheets.writing import write_csv
from jishan_server.vending.checks import CHECKS

ESTATE: Final = "liuyin"
SMALL: Final = "mofang"
NEIGHBOUR: Final = "jiangpan"
STREET: Final = "qingyijiang"
COUNTY: Final = "hongya"

PEOPLE: Final = 2_518
CARD: Final = "0A1B2C3D"
HEADER: Final = ("姓名", "电话", "楼栋", "卡号", "同意书编号", "签字日期")
SIGNED: Final = ("L-0001", "2025-12-20")
HEROES: Final = (
    ("王桂兰", "13900000001", "3栋", CARD, *SIGNED),
    ("陈国栋", "13900000002", "3栋", None, *SIGNED),
    ("赵敏", "13900000003", "5栋", None, *SIGNED),
    ("何叔平", None, "5栋", None, *SIGNED),
    ("孙立", None, "6栋", None, *SIGNED),
    ("马秀英", None, "7栋", None, *SIGNED),
    ("马秀英", "13900000007", "8栋", None, *SIGNED),
    ("李阿婆", None, "3栋", None, None, None),
)
WRONG: Final = (
    (None, "13900000010", "1栋", None, None, None),
    ("手机坏了", "1.38E+10", "1栋", None, None, None),
    ("日期坏了", None, "1栋", None, "L-0002", "3/5/2026"),
)
WITHOUT_CONSENT: Final = 100
SURNAMES: Final = "张刘杨黄周吴徐胡朱高林郭罗梁宋郑谢韩唐冯"
GIVEN: Final = "伟芳娜秀敏静丽强磊军洋勇艳杰娟涛明超霞平刚英华慧建文玲辉力云莲真环雪荣爱香月素珍"
RULES: Final = {
    "rate": {"points": 1, "minutes": 60},
    "rounding": {"step_minutes": 1, "minutes": "down", "points": "down"},
    "caps": [{"unit": "minutes", "per": "day", "most": 240}],
    "sources": ["a", "b", "c"],
    "notice_working_days": 3,
    "expiry": "year_end",
}
SOAP: Final = 13
RICE: Final = 14


@dataclass(slots=True)
class Story:
    """What one chapter leaves for the next."""

    year: Estate
    gate: Gate
    people: dict[str, dict[str, Any]] = field(default_factory=dict)
    session_id: str = ""
    credits: dict[str, str] = field(default_factory=dict)
    redemption_id: str = ""
    late_credit: str = ""
    certificate: str = ""

    def find(self, name: str, building: str = "") -> dict[str, Any]:
        """Somebody of the estate, as the coordinator finds them."""
        path = f"/residents?estate_id={ESTATE}&name={name}" + (f"&building={building}" if building else "")
        (found,) = self.year.ok("GET", path, as_="lin")["items"]
        return dict(found)

    def minutes(self, name: str) -> int:
        """The hours of a person that are on record, in minutes."""
        records = self.year.all_of(f"/residents/{self.people[name]['id']}/service-records", as_="lin")
        return sum(one["minutes"] for one in records if one["state"] == "valid")

    def balance(self, name: str) -> tuple[int, int, int]:
        """Available, pending and owed points of a person."""
        found = self.year.ok("GET", f"/residents/{self.people[name]['id']}/balance", as_="lin")
        return found["available_points"], found["pending_points"], found["owed_points"]

    def credit(self, name: str, minutes: int, activity: str, **more: Any) -> dict[str, Any]:
        """Work that the coordinator writes down."""
        body = {"resident_id": self.people[name]["id"], "minutes": minutes, "activity": activity, "reason": "登记"}
        return dict(self.year.ok("POST", "/credits", body | more, as_="lin"))


def name_of(number: int) -> str:
    """A name that nobody else in the estate has."""
    first, second = number // len(SURNAMES) % len(GIVEN), number // len(SURNAMES) // len(GIVEN)
    return SURNAMES[number % len(SURNAMES)] + GIVEN[second] + GIVEN[first]


def the_county_makes_an_estate_and_hires_its_staff(story: Story) -> None:
    year = story.year
    for id, name in ((ESTATE, "柳荫苑"), (SMALL, "磨房沟")):
        year.ok("POST", "/estates", {"id": id, "parent_id": STREET, "name": name}, as_="admin")
    year.hire("lin", "林晓", "coordinator", ESTATE)
    year.hire("heping", "何平", "approver", ESTATE)
    year.hire("sun", "孙书记", "estate_secretary", ESTATE)
    year.hire("shen", "沈检查", "inspector", COUNTY)
    year.hire("fang", "方圆", "estate_secretary", SMALL)
    year.ok("POST", "/calendar/presets/china-2026", as_="admin")
    made = {"document": RULES, "from_day": "2026-01-06", "note": "县里的办法"}
    year.ok("POST", "/rules", made, as_="admin")
    year.until("2026-01-06 09:00")


def a_file_of_2518_people_is_sent_looked_at_and_booked(story: Story) -> None:
    year = story.year
    others = PEOPLE - len(HEROES)
    rows: list[tuple[Cell, ...]] = [*HEROES, *WRONG]
    for number in range(others):
        signed = (None, None) if number < WITHOUT_CONSENT else (f"L-{number + 10:04}", "2025-12-21")
        rows.append((name_of(number), None, f"{number % 20 + 10}栋", None, *signed))
    raw = write_csv(HEADER, rows, "gb18030")
    path = f"/imports?kind=people&organization_id={ESTATE}&file_name=people.csv"
    sent = year.ok("POST", path, as_="lin", data=raw, content_type="application/octet-stream")
    assert (sent["new_count"], sent["bad_count"], sent["state"]) == (PEOPLE, len(WRONG), "previewed")
    assert year.all_of(f"/residents?estate_id={ESTATE}", as_="lin") == []
    problems = year.all_of(f"/imports/{sent['id']}/problems", as_="lin")
    assert [(one["row"], one["letter"]) for one in problems] == [(10, "A"), (11, "B"), (12, "F")]

    year.ok("POST", f"/imports/{sent['id']}/book", as_="lin")
    while (booked := year.ok("GET", f"/imports/{sent['id']}", as_="lin"))["state"] == "booking":
        year.turn()
    assert booked["booked_count"] == PEOPLE
    again = year.ok("POST", path, as_="lin", data=raw, content_type="application/octet-stream")
    assert (again["new_count"], again["known_count"]) == (0, PEOPLE)

    for name, _, building, *_ in HEROES:
        story.people[f"{name} {building}" if name == "马秀英" else name] = story.find(str(name), str(building))
    for one in story.people.values():
        year.ok("PUT", f"/residents/{one['id']}/pin", {"pin": PIN}, as_="lin")
    waiting = year.all_of(f"/residents?estate_id={ESTATE}&awaiting_consent=true", as_="lin")
    assert len(waiting) == WITHOUT_CONSENT + 1


def an_activity_is_published_from_a_template_and_people_sign_up(story: Story) -> None:
    year = story.year
    kind = {"name_zh": "环境清洁", "name_en": "Cleaning", "category": "环境", "counts_as_service": True}
    year.ok("PUT", "/activity-types/cleaning", kind, as_="admin")
    template = {"organization_id": STREET, "title": "河道清理", "activity_type": "cleaning", "place": "青衣江边"}
    template |= {"person_in_charge": "林晓", "risk_note": "水边当心"}
    made = year.ok("POST", "/activity-templates", template, as_="admin")
    activity = year.ok("POST", "/activities", {"organization_id": ESTATE, "template_id": made["id"]}, as_="lin")
    assert (activity["title"], activity["risk_note"]) == ("河道清理", "水边当心")
    plan = {"starts_at": "2026-01-14T14:00:00+08:00", "ends_at": "2026-01-14T16:00:00+08:00", "capacity": 3}
    (session,) = year.ok("POST", f"/activities/{activity['id']}/sessions", plan, as_="lin")["sessions"]
    story.session_id = session["id"]
    year.ok("POST", f"/activities/{activity['id']}/publish", {}, as_="lin")

    places = {}
    for name in ("陈国栋", "赵敏", "何叔平", "孙立"):
        person = story.people[name]
        (offered,) = year.me(person, "GET", "/activities")["items"]
        assert offered["session_id"] == story.session_id
        places[name] = year.me(person, "POST", "/sign-ups", {"session_id": story.session_id})
    assert [one["state"] for one in places.values()] == ["signed_up", "signed_up", "signed_up", "waiting"]
    year.me(story.people["何叔平"], "POST", f"/sign-ups/{places['何叔平']['id']}/cancel")
    assert year.told(story.people["孙立"]) == ["sign_up_moved_up"]


def they_come_known_by_code_card_list_and_paper(story: Story) -> None:
    year, people, session = story.year, story.people, story.session_id
    year.until("2026-01-14 13:50")
    code = year.ok("GET", f"/sessions/{session}/code", as_="lin")["code"]
    year.me(people["陈国栋"], "POST", "/check-in", {"session_id": session, "code": code})
    year.ok("POST", f"/sessions/{session}/check-in", {"card": CARD}, as_="lin")
    for name in ("赵敏", "孙立"):
        year.ok("POST", f"/sessions/{session}/check-in", {"resident_id": people[name]["id"]}, as_="lin")
    year.until("2026-01-14 16:00")
    code = year.ok("GET", f"/sessions/{session}/code", as_="lin")["code"]
    year.me(people["陈国栋"], "POST", "/check-out", {"session_id": session, "code": code})
    year.ok("POST", f"/sessions/{session}/check-out", {"card": CARD}, as_="lin")
    year.ok("POST", f"/sessions/{session}/check-out", {"resident_id": people["赵敏"]["id"]}, as_="lin")

    year.until("2026-01-16 10:00")
    photo = f"/attachments?subject_type=session&subject_id={session}&organization_id={ESTATE}"
    sheet = year.ok("POST", photo, as_="lin", data=b"%PDF-1.7 signed", content_type="application/pdf")
    rows = [{"who": people[name]["member_number"]} for name in ("李阿婆", "马秀英 7栋")] + [{"who": "99999999"}]
    typed = {"rows": rows, "attachment_id": sheet["id"]}
    answer = year.ok("POST", f"/sessions/{session}/attendances", typed, as_="lin")
    assert [one["code"] for one in answer["problems"]] == ["attendance_person_unknown"]

    (forgotten,) = year.ok("GET", "/attendances/to-review", as_="lin")["items"]
    assert forgotten["resident_id"] == people["孙立"]["id"]
    year.ok("POST", f"/attendances/{forgotten['id']}/confirm", as_="lin")
    came = year.all_of(f"/sessions/{session}/attendances", as_="lin")
    names = {one["id"]: name for name, one in people.items()}
    assert {names[one["resident_id"]]: (one["source"], one["minutes"]) for one in came} == {
        "陈国栋": ("a", 120),
        "王桂兰": ("a", 120),
        "赵敏": ("b", 120),
        "孙立": ("b", 120),
        "李阿婆": ("c", 120),
        "马秀英 7栋": ("c", 120),
    }


def one_person_records_the_session_and_another_approves_it(story: Story) -> None:
    year, session = story.year, story.session_id
    year.until("2026-01-20 10:00")
    seen = year.ok("POST", f"/sessions/{session}/credits/preview", as_="lin")
    assert (seen["credits"], seen["points"], seen["approval_organization_id"]) == (6, 12, ESTATE)
    year.ok("POST", f"/sessions/{session}/credits", {}, as_="lin")
    year.refused(403, "forbidden", "POST", f"/sessions/{session}/credits/approve", {}, as_="lin")
    approved = year.ok("POST", f"/sessions/{session}/credits/approve", {}, as_="heping")
    assert (approved["approved"], approved["refused"]) == (6, [])
    names = {one["id"]: name for name, one in story.people.items()}
    for one in year.all_of(f"/credits?session_id={session}", as_="lin"):
        story.credits[names[one["resident_id"]]] = one["id"]
        assert one["state"] == ("waiting_consent" if names[one["resident_id"]] == "李阿婆" else "approved")
    assert story.balance("王桂兰") == (0, 2, 0)
    assert year.told(story.people["王桂兰"]) == ["credit_in_notice"]


def the_public_notice_is_masked_and_somebody_objects(story: Story) -> None:
    year, people = story.year, story.people
    shown = year.all_of(f"/notices?estate={ESTATE}", as_=None)
    assert sorted(one["name"] for one in shown) == ["孙*", "王*兰", "赵*", "陈*栋", "马*英"]
    assert {one["last_day"] for one in shown} == {"2026-01-23"}
    year.until("2026-01-21 19:00")
    words = {"credit_id": story.credits["王桂兰"], "reason": "那天没有看见她"}
    year.me(people["何叔平"], "POST", "/objections", words)
    assert len(year.all_of(f"/notices?estate={ESTATE}", as_=None)) == 4
    (objection,) = year.ok("GET", "/objections?state=open", as_="sun")["items"]
    answer = {"is_upheld": False, "reason": "刷过卡"}
    path = f"/objections/{objection['id']}/decide"
    year.refused(403, "second_reviewer_required", "POST", path, answer, as_="heping")
    year.until("2026-01-22 09:00")
    year.ok("POST", path, answer, as_="sun")

    # And one who was there says that it was not them: somebody looks, and answers.
    (told,) = [one for one in year.me(people["孙立"], "GET", "/messages")["items"] if one["kind"] == "credit_in_notice"]
    year.me(people["孙立"], "POST", f"/messages/{told['number']}/dispute", {"words": "我早走了"})
    (disputed,) = year.ok("GET", "/messages/disputed", as_="lin")["items"]
    year.ok("POST", f"/messages/{disputed['number']}/answer", {"words": "先更正时长"}, as_="lin")
    assert year.told(people["孙立"])[-1] == "dispute_answered"


def the_notice_ends_and_hours_and_points_are_final(story: Story) -> None:
    year = story.year
    year.until("2026-01-24 08:00")
    assert (story.balance("赵敏"), story.minutes("赵敏")) == ((2, 0, 0), 120)
    # What was objected to had its working days left.
    assert story.balance("王桂兰") == (0, 2, 0)
    year.until("2026-01-30 08:00")
    assert (story.balance("王桂兰"), story.minutes("王桂兰")) == ((2, 0, 0), 120)
    assert year.told(story.people["王桂兰"])[-1] == "credit_booked"


def minutes_that_were_wrong_are_corrected_by_two_people(story: Story) -> None:
    year = story.year
    path = f"/credits/{story.credits['孙立']}"
    correction = year.ok("POST", f"{path}/correct", {"minutes": 60, "reason": "三点就走了"}, as_="heping")
    year.refused(403, "credit_same_person", "POST", f"/credits/{correction['id']}/approve", {}, as_="heping")
    year.ok("POST", f"/credits/{correction['id']}/approve", {}, as_="sun")
    assert (story.balance("孙立"), story.minutes("孙立")) == ((2, 1, 0), 120)
    year.until("2026-02-06 08:00")
    assert (story.balance("孙立"), story.minutes("孙立")) == ((1, 0, 0), 60)
    assert year.ok("GET", path, as_="lin")["state"] == "reversed"


def who_had_not_agreed_signs_and_gets_what_was_waiting(story: Story) -> None:
    year, person = story.year, story.people["李阿婆"]
    assert (story.balance("李阿婆"), story.minutes("李阿婆")) == ((0, 2, 0), 0)
    (why,) = year.ok("GET", f"/residents/{person['id']}/why-not?first_day=2026-01-01&last_day=2026-02-06", as_="lin")[
        "items"
    ]
    assert why["code"] == "waiting_consent"
    assert "李阿婆" not in year.file(f"/exports/people.csv?organization_id={ESTATE}", "sun").decode("utf-8-sig")
    year.until("2026-02-09 09:00")
    form = {"how": "paper", "form_number": "L-9999", "form_day": "2026-02-09"}
    year.ok("POST", f"/residents/{person['id']}/consents", form, as_="lin")
    # Three working days, and then the Spring Festival.
    year.until("2026-02-24 09:00")
    assert (story.balance("李阿婆"), story.minutes("李阿婆")) == ((2, 0, 0), 120)


def an_estate_with_one_member_of_staff_asks_the_street(story: Story) -> None:
    year = story.year
    person = year.ok("POST", "/residents", {"estate_id": SMALL, "name": "杜鹃", "building": "1栋"}, as_="fang")
    body = {"resident_id": person["id"], "minutes": 60, "activity": "巡河", "reason": "登记"}
    made = year.ok("POST", "/credits", body, as_="fang")
    year.refused(403, "credit_same_person", "POST", f"/credits/{made['id']}/approve", {}, as_="fang")
    (waiting,) = year.ok("GET", "/credits/waiting", as_="secretary")["items"]
    assert (waiting["id"], waiting["approval_organization_id"]) == (made["id"], STREET)
    year.ok("POST", f"/credits/{made['id']}/approve", {}, as_="secretary")
    year.until("2026-03-02 09:00")
    assert year.ok("GET", f"/residents/{person['id']}/balance", as_="fang")["available_points"] == 1


def an_item_falls_and_one_jams_and_points_leave_for_the_one_that_fell(story: Story) -> None:
    year, gate, person = story.year, story.gate, story.people["王桂兰"]
    year.ok("POST", "/machines", {"machine_id": "gate", "estate_id": ESTATE, "name": "大门口"}, as_="operator")
    for product, zh, en in (("soap", "肥皂", "Soap"), ("rice", "大米", "Rice")):
        body = {"product_id": product, "estate_id": ESTATE, "name_zh": zh, "name_en": en}
        year.ok("POST", "/products", body, as_="operator")
    slots = [
        {"selection": selection, "product_id": product, "points": 2, "capacity": 10}
        for selection, product in ((SOAP, "soap"), (RICE, "rice"))
    ]
    year.ok("PUT", "/machines/gate/planogram", {"replaces": 0, "slots": slots}, as_="operator")
    counts = [{"selection": selection, "stock": 6} for selection in (SOAP, RICE)]
    year.ok("PUT", "/machines/gate/stock", {"counts": counts}, as_="operator")
    gate.enrol("gate", year.ok("POST", "/machines/gate/claim-code", as_="operator")["claim_code"])

    with gate.open() as machine:
        assert gate.choose(CARD, RICE, jams=True) == "not_dispensed"
        assert story.balance("王桂兰")[0] == 2
        assert gate.choose(CARD, SOAP) == "dispensed"
        assert story.balance("王桂兰")[0] == 0
        assert gate.choose(CARD, SOAP) == "denied:not_enough_points"
        assert (machine.cabinet.items_dropped(SOAP), machine.cabinet.items_dropped(RICE)) == (1, 0)
    assert year.told(person)[-2:] == ["redemption_refunded", "redemption_done"]
    assert story.minutes("王桂兰") == 120
    done, jammed = year.me(person, "GET", "/redemptions")["items"]
    assert (done["state"], jammed["state"], jammed["report_state"]) == ("captured", "voided", "given_back")
    story.redemption_id = done["redemption_id"]


def what_was_the_wrong_item_is_reported_and_given_back(story: Story) -> None:
    year, person = story.year, story.people["王桂兰"]
    body = {"kind": "wrong_item", "words": "掉下来的是别的", "redemption_id": story.redemption_id}
    report = year.me(person, "POST", "/reports", body)
    assert report["state"] == "open"
    seen = year.ok("GET", f"/reports/{report['number']}", as_="heping")
    assert seen["evidence"]["redemption"]["state"] == "captured"
    evidence = year.ok("GET", f"/reports/{report['number']}/evidence", as_="operator")
    assert person["id"] not in str(evidence)
    decision = {"verdict": "give_back", "reason": "货道装错了"}
    year.ok("POST", f"/reports/{report['number']}/decide", decision, as_="heping")
    assert (story.balance("王桂兰")[0], story.minutes("王桂兰")) == (2, 120)
    assert year.told(person)[-1] == "redemption_decided_for"


def midnight_in_beijing_parts_two_days(story: Story) -> None:
    year, person = story.year, story.people["赵敏"]
    year.until("2026-03-31 23:59")
    before = story.credit("赵敏", 240, "值夜")
    over = story.credit("赵敏", 60, "值夜")
    year.until("2026-04-01 00:01")
    after = story.credit("赵敏", 60, "值夜")
    assert [(one["day"], one["points"]) for one in (before, over, after)] == [
        ("2026-03-31", 4),
        ("2026-03-31", 0),
        ("2026-04-01", 1),
    ]
    year.until("2026-04-01 09:00")
    year.ok("POST", f"/credits/{over['id']}/reject", {"reason": "已经满四小时"}, as_="heping")
    appeal = year.me(person, "POST", "/appeals", {"credit_id": over["id"], "reason": "确实在"})
    answer = {"is_accepted": False, "reason": "每天最多四小时"}
    year.ok("POST", f"/appeals/{appeal['id']}/decide", answer, as_="sun")
    for one in (before, after):
        year.ok("POST", f"/credits/{one['id']}/approve", {}, as_="heping")
    year.until("2026-04-10 09:00")
    assert (story.balance("赵敏"), story.minutes("赵敏")) == ((7, 0, 0), 420)
    records = year.me(person, "GET", "/service-records")["items"]
    assert [(one["day"], one["minutes"]) for one in records[:2]] == [("2026-04-01", 60), ("2026-03-31", 240)]


def three_hundred_people_clean_the_river(story: Story) -> None:
    year = story.year
    body = {"organization_id": ESTATE, "title": "春季大扫除", "activity_type": "cleaning", "place": "河堤"}
    activity = year.ok("POST", "/activities", body | {"person_in_charge": "林晓"}, as_="lin")
    plan = {"starts_at": "2026-04-18T09:00:00+08:00", "ends_at": "2026-04-18T11:00:00+08:00"}
    (session,) = year.ok("POST", f"/activities/{activity['id']}/sessions", plan, as_="lin")["sessions"]
    year.ok("POST", f"/activities/{activity['id']}/publish", {}, as_="lin")
    year.until("2026-04-18 11:30")
    neighbours = [
        one["id"]
        for building in ("15栋", "16栋", "17栋")
        for one in year.all_of(f"/residents?estate_id={ESTATE}&building={building}", as_="lin")
        if one["consent_state"] == "given"
    ]
    rows = [{"resident_id": id} for id in [*neighbours[:299], story.people["马秀英 8栋"]["id"]]]
    answer = year.ok("POST", f"/sessions/{session['id']}/attendances", {"rows": rows}, as_="lin")
    assert (len(answer["saved"]), answer["problems"]) == (300, [])
    year.until("2026-04-20 09:00")
    assert year.ok("POST", f"/sessions/{session['id']}/credits", {}, as_="lin")["credits"] == 300
    assert year.ok("POST", f"/sessions/{session['id']}/credits/approve", {}, as_="heping")["approved"] == 300
    year.until("2026-04-25 09:00")
    final = year.all_of(f"/credits?session_id={session['id']}&state=final", as_="lin")
    assert sum(one["booked_points"] for one in final) == 600
    story.late_credit = final[0]["id"]


def who_was_registered_twice_becomes_one_person(story: Story) -> None:
    year = story.year
    old, kept = story.people["马秀英 7栋"], story.people["马秀英 8栋"]
    body = {"into_id": kept["id"], "reason": "同一个人登记了两次"}
    year.ok("POST", f"/residents/{old['id']}/merge", body, as_="sun")
    assert (story.balance("马秀英 8栋"), story.minutes("马秀英 8栋")) == ((4, 0, 0), 240)
    assert [one["title"] for one in year.me(kept, "GET", "/attendances")["items"]] == ["春季大扫除", "河道清理"]
    assert year.told(kept).count("credit_booked") == 2
    assert len(year.me(kept, "GET", "/credits")["items"]) == 2


def nobody_sees_the_people_of_another_estate(story: Story) -> None:
    year = story.year
    for path in ("/residents?name=王桂兰", f"/residents?card_ending={CARD[-4:]}", "/residents?phone_ending=0001"):
        assert year.ok("GET", path, as_="coordinator")["items"] == []
    year.refused(403, "forbidden", "GET", f"/residents/{story.people['王桂兰']['id']}", as_="coordinator")
    year.refused(403, "forbidden", "GET", f"/exports/people.csv?organization_id={ESTATE}", as_="fang")
    of_neighbour = year.file(f"/exports/people.csv?organization_id={NEIGHBOUR}", "shen").decode("utf-8-sig")
    assert "王桂兰" not in of_neighbour
    own = reading.read(year.file(f"/exports/people.csv?organization_id={ESTATE}", "sun")).rows[1:]
    # All but those who have not agreed, and the one who was registered twice.
    assert len(own) == PEOPLE - WITHOUT_CONSENT - 1


def points_end_with_the_year_and_everybody_was_warned(story: Story) -> None:
    year, person = story.year, story.people["王桂兰"]
    year.until("2026-11-30 09:00")
    assert "points_expiring" not in year.told(person)
    ending = year.ok("GET", f"/expiry/preview?day=2026-12-31&estate_id={ESTATE}", as_="admin")
    assert ending["points"] == sum(story.balance(name)[0] for name in story.people if name != "马秀英 7栋") + 2 * 299
    year.until("2027-01-02 09:00")
    assert year.told(person)[-4:] == ["points_expiring"] * 3 + ["points_expired"]
    assert story.balance("王桂兰") == (0, 0, 0)
    assert [story.minutes(name) for name in ("王桂兰", "赵敏", "孙立")] == [120, 420, 60]


def a_certificate_reads_hours_and_never_points(story: Story) -> None:
    year, person = story.year, story.people["王桂兰"]
    made = year.me(person, "POST", "/certificates", {})
    assert (made["hours"], made["unit_name"], made["state"]) == ("2.0", "柳荫苑", "valid")
    printed = year.send("GET", f"/me/certificates/{made['number']}/certificate.pdf", **year.as_me(person))
    assert printed.data.startswith(b"%PDF")
    checked = year.ok("GET", f"/certificates/{made['number']}/check", as_=None)
    assert checked.keys() == {"number", "first_day", "last_day", "hours", "unit_name", "state"}
    of_both = year.ok("POST", f"/residents/{story.people['马秀英 8栋']['id']}/certificates", {}, as_="lin")
    assert of_both["hours"] == "4.0"
    somebody = year.ok("GET", f"/credits/{story.late_credit}", as_="lin")["resident_id"]
    story.certificate = year.ok("POST", f"/residents/{somebody}/certificates", {}, as_="lin")["number"]


def the_report_of_january_is_the_same_in_march(story: Story) -> None:
    year = story.year
    path = f"organization_id={COUNTY}&year=2026&known_on=2027-01-15"
    year.until("2027-01-20 09:00")
    january = {form: year.file(f"/reports/yearly.{form}?{path}", "shen") for form in ("csv", "xlsx")}
    rows = reading.read(january["csv"]).rows
    assert rows[-1][3:6] == ["306", "309", "37020"]
    year.until("2027-02-10 09:00")
    # One of the three hundred was not there after all: their points have ended, so they are owed.
    reason = {"reason": "名单勾错了"}
    reversed_ = year.ok("POST", f"/credits/{story.late_credit}/reverse", reason, as_="heping")
    owed = year.ok("GET", f"/residents/{reversed_['resident_id']}/balance", as_="lin")["owed_points"]
    assert owed == 2
    assert year.ok("GET", f"/certificates/{story.certificate}/check", as_=None)["state"] == "outdated"
    year.until("2027-03-10 09:00")
    assert {form: year.file(f"/reports/yearly.{form}?{path}", "shen") for form in ("csv", "xlsx")} == january
    later = reading.read(year.file(f"/reports/yearly.csv?{path}&later=true", "shen")).rows
    assert later[-1][-4:] == ["0", "0", "1", "120"]
    records = reading.read(year.file(f"/exports/service-records.csv?organization_id={ESTATE}", "sun")).rows
    assert sum(row[1] == "王桂兰" for row in records) == 1


def the_secretary_reads_who_did_what_in_the_estate(story: Story) -> None:
    year = story.year
    log = year.all_of("/audit", as_="sun")
    done = {one["action"] for one in log}
    assert {"resident_merged", "credit_approved", "credit_reversed", "attendance_closed", "machine_created"} <= done
    assert {one["organization_id"] for one in log} <= {ESTATE, None}


def every_balance_is_what_the_rows_come_to(story: Story) -> None:
    with story.year.parts.engine.connect() as connection:
        report = verify(connection, CHECKS)
    assert report.ok, report.first_break


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file."""
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    engine = make_engine(f"sqlite:///{path}")
    upgrade(engine)
    engine.dispose()
    return path


def test_a_year_of_one_estate(template: Path, tmp_path: Path) -> None:
    quiet()
    with lived_in(template, tmp_path) as (year, gate):
        story = Story(year, gate)
        the_county_makes_an_estate_and_hires_its_staff(story)
        a_file_of_2518_people_is_sent_looked_at_and_booked(story)
        an_activity_is_published_from_a_template_and_people_sign_up(story)
        they_come_known_by_code_card_list_and_paper(story)
        one_person_records_the_session_and_another_approves_it(story)
        the_public_notice_is_masked_and_somebody_objects(story)
        the_notice_ends_and_hours_and_points_are_final(story)
        minutes_that_were_wrong_are_corrected_by_two_people(story)
        who_had_not_agreed_signs_and_gets_what_was_waiting(story)
        an_estate_with_one_member_of_staff_asks_the_street(story)
        an_item_falls_and_one_jams_and_points_leave_for_the_one_that_fell(story)
        what_was_the_wrong_item_is_reported_and_given_back(story)
        midnight_in_beijing_parts_two_days(story)
        three_hundred_people_clean_the_river(story)
        who_was_registered_twice_becomes_one_person(story)
        nobody_sees_the_people_of_another_estate(story)
        points_end_with_the_year_and_everybody_was_warned(story)
        a_certificate_reads_hours_and_never_points(story)
        the_report_of_january_is_the_same_in_march(story)
        the_secretary_reads_who_did_what_in_the_estate(story)
        every_balance_is_what_the_rows_come_to(story)
