"""Figures: what was worked, by whom, and what waits; counted anew here, from the API's own lists."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parent.parent))

from office import Office
from test_crediting import Desk

SPAN = "first_day=2026-01-01&last_day=2026-03-31"


def figures(office: Office, what: str, query: str = SPAN, as_: str = "approver") -> dict[str, Any]:
    found: dict[str, Any] = office.ok("GET", f"/figures/{what}?{query}", as_=as_)
    return found


def rows(found: dict[str, Any], *names: str) -> dict[str, tuple[Any, ...]]:
    """The named figures of each key; the names of the keys are never empty."""
    assert all(one["name_zh"] and one["name_en"] for one in found["items"])
    return {one["key"]: tuple(one[name] for name in names) for one in [*found["items"], found["total"]]}


def test_hours_points_and_people_by_month_type_estate_and_building(office: Office) -> None:
    desk = Desk(office)
    office.ok("PUT", f"/residents/{desk.people[0].id}", {"building": "3栋"}, as_="admin")
    desk.credit(0, 120, day="2026-02-28")
    desk.credit(0, 60)
    desk.credit(1, 90, counts_as_service=False)
    desk.record(2, 60)
    back = desk.credit(2, 60)
    office.ok("POST", f"/credits/{back['id']}/reverse", {"reason": "x"}, as_="approver")
    measures = ("minutes", "points", "people", "attendances")
    assert rows(figures(office, "service"), *measures) == {
        "2026-02": (120, 2, 1, 1),
        "2026-03": (60, 2, 2, 2),
        "total": (180, 4, 2, 3),
    }
    by_type = rows(figures(office, "service", SPAN + "&by=activity_type"), *measures, "spent_points")
    assert by_type == {"general": (180, 4, 2, 3, None), "total": (180, 4, 2, 3, None)}
    assert rows(figures(office, "service", SPAN + "&by=estate"), *measures)["jiangpan"] == (180, 4, 2, 3)
    by_building = figures(office, "service", SPAN + "&by=building")
    assert rows(by_building, "minutes") == {"jiangpan/": (0,), "jiangpan/3栋": (180,), "total": (180,)}
    assert by_building["items"][1]["name_zh"] == "江畔家园3栋"
    office.refused(422, "span_invalid", "GET", "/figures/service?first_day=2026-03-02&last_day=2026-03-01")
    office.refused(404, "estate_unknown", "GET", f"/figures/service?{SPAN}&organization_id=nowhere")


def test_people_new_active_and_inactive(office: Office) -> None:
    desk = Desk(office)
    desk.credit(0, 60)
    desk.credit(0, 60)
    desk.credit(1, 60, day="2026-02-20")
    names = ("registered", "new", "active", "inactive")
    assert rows(figures(office, "people"), *names) == {
        "2026-01": (0, 0, 0, 0),
        "2026-02": (0, 0, 1, 0),
        "2026-03": (6, 6, 1, 5),
        "total": (6, 6, 2, 4),
    }
    into = {"into_id": desk.people[1].id, "reason": "同一个人"}
    office.ok("POST", f"/residents/{desk.people[0].id}/merge", into, as_="admin")
    assert rows(figures(office, "people", SPAN + "&by=estate"), *names)["jiangpan"] == (5, 5, 1, 4)
    later = "first_day=2026-03-03&last_day=2026-04-30"
    assert rows(figures(office, "people", later), *names)["total"] == (5, 0, 0, 5)
    office.refused(422, "figures_by", "GET", f"/figures/people?{SPAN}&by=activity_type")


def test_what_waits_and_what_is_overdue(office: Office) -> None:
    desk = Desk(office)
    desk.record(0, 60, day="2026-02-02")
    desk.record(0, 60)
    body = {"resident_id": desk.people[1].id, "points": 5, "reason_code": "goodwill", "reason": "x"}
    office.ok("POST", "/adjustments", body, as_="admin")
    desk.rules(notice_working_days=3)
    desk.at("2026-03-03T10:00:00")
    desk.credit(2, 60)
    found = rows(figures(office, "reviews", ""), "credits_waiting", "credits_overdue", "credits_in_notice")
    assert found == {"jiangpan": (2, 1, 1), "total": (2, 1, 1)}
    total = figures(office, "reviews", "organization_id=jiangpan")["total"]
    assert (total["adjustments_open"], total["reports_open"], total["appeals_overdue"]) == (1, 0, 0)


def test_they_are_taken_away_as_sheets(here: Office) -> None:
    Desk(here).credit(0, 60)
    text = here.send("GET", f"/figures/service.csv?{SPAN}&by=estate", as_="approver").get_data(as_text=True)
    assert text.lstrip("\ufeff").splitlines() == [
        "key,name_zh,name_en,minutes,points,people,attendances,spent_points",
        "jiangpan,江畔家园,江畔家园,60,1,1,1,0",
        "total,合计,Total,60,1,1,1,0",
    ]
    for what in ("people", "reviews"):
        query = "" if what == "reviews" else SPAN
        answer = here.send("GET", f"/figures/{what}.xlsx?{query}", as_="approver")
        assert answer.data.startswith(b"PK")
    here.refused(404, "not_found", "GET", f"/figures/people.pdf?{SPAN}", as_="approver")


def test_nobody_counts_what_they_may_not_see(here: Office) -> None:
    Desk(here).credit(0, 60)
    here.refused(403, "forbidden", "GET", "/figures/reviews", as_="operator")
    query = f"{SPAN}&organization_id=hongya"
    here.refused(403, "forbidden", "GET", f"/figures/people?{query}", as_="approver")
    assert figures(here, "people", query, as_="admin")["total"]["registered"] == 6
