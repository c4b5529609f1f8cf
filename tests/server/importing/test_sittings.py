"""Importing activities, attendance and the region tree."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

sys.path += [str(Path(__file__).parent), str(Path(__file__).parent.parent)]

from importing_desk import book, csv_of, imported, problems, send, settled, xlsx_of
from office import Office

from jishan_server.organizations.tables import organizations
from jishan_server.sheets.cells import Cell
from jishan_server.volunteering.activity_tables import activities, attendances, sessions

PLAN = ["活动名称", "类型", "日期", "开始时间", "结束时间", "地点", "负责人", "名额"]
CAME = ["会员号", "姓名", "活动名称", "日期", "开始时间", "签到", "签退"]


def count(office: Office, table: Any, **where: Any) -> int:
    with office.parts.engine.connect() as connection:
        query = select(func.count()).select_from(table)
        for name, value in where.items():
            query = query.where(table.c[name] == value)
        return int(connection.scalar(query) or 0)


def with_type(office: Office) -> None:
    body = {
        "name_zh": "清雪",
        "name_en": "Snow",
        "category": "环境",
        "counts_as_service": True,
        "longest_session_minutes": 240,
        "grace_minutes": 60,
    }
    office.ok("PUT", "/activity-types/snow", body, as_="admin")


def plan(*rows: list[Cell]) -> bytes:
    return csv_of(PLAN, list(rows))


def row(title: str = "扫雪", day: str = "2026-03-02", begin: str = "9:00", end: str = "11:00") -> list[Cell]:
    return [title, "清雪", day, begin, end, "3栋门口", "周敏", 30]


def test_activities_are_made_once_with_their_sessions_and_taken_back(either_office: Office) -> None:
    office = either_office
    with_type(office)
    raw = plan(row(), row(begin="14:00", end="16:00"), row("植树", "2026-03-12", "下午2点", "下午4点半"))
    done = imported(office, "activities", raw)
    assert (done["booked_count"], done["bad_count"]) == (3, 0), problems(office, done["id"])
    assert (count(office, activities), count(office, sessions)) == (2, 3)
    again = send(office, "activities", raw)
    assert (again["new_count"], again["known_count"]) == (0, 3)
    office.ok("POST", f"/imports/{done['id']}/undo", {"reason": "错了"}, as_="admin")
    assert settled(office, done["id"])["kept_count"] == 0
    assert count(office, sessions, state="cancelled") == 3


def test_a_plan_that_cannot_be_is_refused_row_by_row(office: Office) -> None:
    with_type(office)
    wrong = [row(end="8:00"), row(end="14:00"), row(day="三月"), [*row()[:1], "没有这种", *row()[2:]]]
    preview = send(office, "activities", plan(*wrong))
    assert [one["code"] for one in problems(office, preview["id"])] == [
        "ends_before",
        "refused",
        "day_unreadable",
        "not_in_list",
    ]


def test_attendance_is_recorded_once_judged_as_any_list_and_taken_back(either_office: Office) -> None:
    office = either_office
    with_type(office)
    imported(office, "activities", plan(row(), row(begin="11:30", end="12:00")))
    office.tick(hours=6)
    one, other, third = office.people.residents[:3]
    rows: list[list[Cell]] = [
        [one.member_number, one.name, "扫雪", "3月2日", "9:00", "9:00", "10:30"],
        [other.member_number, other.name, "扫雪", "3月2日", "9:00", None, None],
        [third.member_number, third.name, "扫雪", "3月2日", None, None, None],
        [third.member_number, third.name, "扫雪", "3月3日", None, None, None],
        [one.member_number, one.name, "扫雪", "3月2日", "9:00", "9:00", "10:30"],
        [third.member_number, third.name, "扫雪", "3月2日", "9:00", "10:30", "9:00"],
        [third.member_number, third.name, "扫雪", "3月2日", "9:00", "5:00", "10:00"],
    ]
    raw = xlsx_of(CAME, rows)
    preview = send(office, "attendance", raw)
    assert [(one["row"], one["code"]) for one in problems(office, preview["id"])] == [
        (4, "session_several"),
        (5, "session_unknown"),
        (6, "same_work_as_row"),
        (7, "ends_before"),
        (8, "refused"),
    ]
    done = book(office, preview["id"])
    assert (done["booked_count"], done["bad_count"]) == (2, 5), problems(office, preview["id"])
    with office.parts.engine.connect() as connection:
        minutes = dict(connection.execute(select(attendances.c.resident_id, attendances.c.minutes)).all())
    assert minutes == {one.id: 90, other.id: 120}
    again = send(office, "attendance", raw)
    assert (again["new_count"], again["known_count"]) == (0, 3)
    office.ok("POST", f"/imports/{done['id']}/undo", {"reason": "错了"}, as_="admin")
    assert settled(office, done["id"])["kept_count"] == 0
    assert count(office, attendances, state="void") == 2
    assert imported(office, "attendance", raw)["booked_count"] == 2


def test_a_tree_of_a_district_comes_in_any_order(office: Office) -> None:
    header = ["编号", "名称", "层级", "上级编号"]
    rows: list[list[Cell]] = []
    for grid in range(269):
        rows += [[f"G{grid}-{group}", f"{grid}网格{group}楼群", "楼群", f"G{grid}"] for group in range(8)]
        rows.append([f"G{grid}", f"第{grid}网格", "网格", f"E{grid % 89}"])
    rows += [[f"E{estate}", f"小区{estate}", "小区", None] for estate in range(89)]
    raw = xlsx_of(header, rows)
    before = count(office, organizations)
    done = imported(office, "organizations", raw, where="qingyijiang")
    assert (done["booked_count"], done["bad_count"]) == (89 + 269 + 269 * 8, 0)
    assert count(office, organizations) == before + 89 + 269 + 269 * 8
    assert count(office, organizations, level="estate") == 90
    again = send(office, "organizations", raw, where="qingyijiang")
    assert (again["new_count"], again["known_count"]) == (0, done["booked_count"])
    # People come to the estates by name, code or id.
    people = csv_of(
        ["姓名", "电话", "小区"],
        [["郑一", "13800000001", "小区7"], ["郑二", "13800000002", "E8"], ["郑三", "13800000003", "小区999"]],
    )
    preview = send(office, "people", people, where="qingyijiang")
    assert (preview["new_count"], [one["code"] for one in problems(office, preview["id"])]) == (2, ["estate_unknown"])


def test_a_node_without_its_parent_is_refused(office: Office) -> None:
    header = ["编号", "名称", "层级", "上级编号"]
    preview = send(office, "organizations", csv_of(header, [["A", "甲", "网格", "没有"], ["B", "乙", "网格", None]]))
    assert [(one["row"], one["code"]) for one in problems(office, preview["id"])] == [(2, "parent_unknown")]
    assert book(office, preview["id"])["booked_count"] == 1
    office.refused(409, "import_state", "POST", f"/imports/{preview['id']}/undo", {"reason": "x"}, as_="admin")
