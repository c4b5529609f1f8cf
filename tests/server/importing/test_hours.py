"""Importing hours: whose row it is, two people, once, and taken back."""

from __future__ import annotations

import io
import sys
import zipfile
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

sys.path += [str(Path(__file__).parent), str(Path(__file__).parent.parent)]

from importing_desk import csv_of, imported, problems, send, settled
from office import Office

from jishan_server.ledger import notes
from jishan_server.ledger.tables import transfers
from jishan_server.sheets import reading
from jishan_server.sheets.cells import Cell
from jishan_server.volunteering.credit_tables import service_records
from jishan_server.volunteering.import_tables import import_candidates, imports
from jishan_server.volunteering.importing import showing

HEADER = ["会员号", "姓名", "联系电话", "楼号", "日期", "服务时长", "服务内容", "开始时间", "积分"]
PEOPLE = ["姓名", "手机", "楼栋", "同意书编号", "签字日期"]


def row(**cells: Cell) -> list[Cell]:
    return [({"日期": "2025.12.5", "服务时长": "2小时", "服务内容": "扫雪"} | cells).get(word) for word in HEADER]


def booked(office: Office, import_id: str, as_: str = "approver") -> Any:
    office.ok("POST", f"/imports/{import_id}/book", as_=as_)
    return settled(office, import_id)


def minutes(office: Office) -> int:
    with office.parts.engine.connect() as connection:
        query = select(func.sum(service_records.c.minutes)).where(service_records.c.state == "valid")
        return int(connection.scalar(query) or 0)


def namesakes(office: Office) -> None:
    """Two people called 王华 in one building, one more elsewhere, all agreed."""
    rows: list[list[Cell]] = [
        ["王华", "13800000011", "3栋", "T-1", "2026-01-01"],
        ["王华", "13800000012", "3栋", "T-2", "2026-01-01"],
        ["王华", "13800000013", "4栋", "T-3", "2026-01-01"],
    ]
    assert imported(office, "people", csv_of(PEOPLE, rows))["booked_count"] == 3


def test_hours_are_booked_by_a_second_person_once_and_taken_back(either_office: Office) -> None:
    office, person = either_office, either_office.people.residents[0]
    raw = csv_of(
        HEADER,
        [row(会员号=person.member_number, 姓名=person.name, 积分=7), row(会员号=person.member_number, 日期="12月6日")],
    )
    preview = send(office, "hours", raw, as_="coordinator", year=2025)
    assert (preview["new_count"], preview["bad_count"]) == (2, 0)
    office.refused(403, "forbidden", "POST", f"/imports/{preview['id']}/book", as_="coordinator")
    done = booked(office, preview["id"])
    assert (done["state"], done["booked_count"]) == ("booked", 2)
    assert minutes(office) == 240
    assert office.ok("GET", f"/residents/{person.id}/balance")["available_points"] == 7

    with office.parts.engine.connect() as connection:
        bound = connection.scalars(select(transfers.c.note)).all()
        assert list(notes.read(connection, [one or "" for one in bound]).values()) == [f"扫雪\n{done['file_name']}"]
        assert connection.scalars(select(imports.c.note_salt)).all() == [None]

    again = send(office, "hours", raw, as_="coordinator", year=2025)
    assert (again["new_count"], again["known_count"]) == (0, 2)
    assert booked(office, again["id"])["booked_count"] == 0
    assert minutes(office) == 240

    office.ok("POST", f"/imports/{done['id']}/undo", {"reason": "重复"}, as_="admin")
    assert settled(office, done["id"])["kept_count"] == 0
    assert minutes(office) == 0
    assert office.ok("GET", f"/residents/{person.id}/balance")["available_points"] == 0
    told = office.ok("GET", f"/residents/{person.id}/messages")["items"]
    assert {one["kind"] for one in told[:2]} == {"credit_reversed", "credit_hours_reversed"}
    anew = send(office, "hours", raw, as_="coordinator", year=2025)
    assert anew["new_count"] == 2
    assert booked(office, anew["id"])["booked_count"] == 2
    assert minutes(office) == 240


def test_who_sent_it_never_books_it(office: Office) -> None:
    person = office.people.residents[0]
    preview = send(office, "hours", csv_of(HEADER, [row(会员号=person.member_number)]), as_="admin")
    office.refused(403, "import_same_person", "POST", f"/imports/{preview['id']}/book", as_="admin")


def test_namesakes_are_told_apart_or_the_row_is_refused(office: Office) -> None:
    namesakes(office)
    rows = [
        row(姓名="王华", 楼号="3栋"),
        row(姓名="王华", 楼号="4号楼"),
        row(姓名="王华", 联系电话="13800000012"),
        row(姓名="王华"),
        row(姓名="王建华", 联系电话="13800000012"),
        row(姓名="没有人", 楼号="3栋"),
    ]
    preview = send(office, "hours", csv_of(HEADER, rows), as_="coordinator")
    assert preview["new_count"] == 2
    found = {one["row"]: one for one in problems(office, preview["id"])}
    assert {number: one["code"] for number, one in found.items()} == {
        2: "person_several",
        5: "person_name_only",
        6: "person_differs",
        7: "person_unknown",
    }
    assert "王华" not in found[2]["reason_zh"]
    with office.parts.engine.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(import_candidates)) == 6
        one = connection.scalar(select(import_candidates.c.resident_id).where(import_candidates.c.row == 2).limit(1))
        assert {told["row"] for told in showing.about(connection, one or "")} >= {2, 5}
    assert booked(office, preview["id"])["booked_count"] == 2


def test_clues_that_belong_to_different_people_refuse_the_row(office: Office) -> None:
    one, other = office.people.residents[:2]
    header = [*HEADER, "卡号"]
    preview = send(office, "hours", csv_of(header, [[*row(会员号=one.member_number), other.card]]), as_="coordinator")
    assert [found["code"] for found in problems(office, preview["id"])] == ["person_contradicts"]


def test_two_rows_that_say_the_same_are_asked_about(office: Office) -> None:
    number = office.people.residents[0].member_number
    rows = [
        row(会员号=number),
        row(会员号=number),
        row(会员号=number, 开始时间="9:00"),
        row(会员号=number, 开始时间="14:00"),
    ]
    preview = send(office, "hours", csv_of(HEADER, rows), as_="coordinator")
    assert (preview["new_count"], preview["bad_count"]) == (3, 1)
    assert [one["code"] for one in problems(office, preview["id"])] == ["same_work_as_row"]


def test_total_rows_are_skipped_and_said(office: Office) -> None:
    number = office.people.residents[0].member_number
    raw = csv_of(HEADER, [row(会员号=number), ["合计", None, None, None, None, "2小时", None, None, None]])
    preview = send(office, "hours", raw, as_="coordinator")
    assert preview["left_out"] == [{"row": 3, "why": "total"}]
    assert (preview["row_count"], preview["bad_count"]) == (1, 0)


def test_half_a_day_is_what_the_import_says(office: Office) -> None:
    number = office.people.residents[0].member_number
    raw = csv_of(HEADER, [row(会员号=number, 服务时长="半天")])
    preview = send(office, "hours", raw, as_="coordinator", half_day_minutes=180)
    booked(office, preview["id"])
    assert minutes(office) == 180


def test_full_width_digits_rare_names_and_cells_that_begin_like_formulas_are_read_and_written_safely(
    office: Office,
) -> None:
    people: list[list[Cell]] = [
        ["𠮷田一郎", "１３８００００００２１", "３栋", "T－1", "２０２６．１．５"],
        ["王小明", "13800000022", "=4+0", "@T2", "2026年1月5日"],
    ]
    assert imported(office, "people", csv_of(PEOPLE, people, "gb18030"))["booked_count"] == 2
    rows = [
        row(姓名="𠮷田一郎", 联系电话="１３８００００００２１", 日期="２０２５年１２月５日", 服务时长="２．５小时"),
        row(姓名="王小明", 联系电话="13800000022", 服务时长="９０分钟", 服务内容="=1+1"),
    ]
    preview = send(office, "hours", csv_of(HEADER, rows, "gb18030"), as_="coordinator", year=2025)
    assert (preview["encoding"], preview["new_count"], preview["bad_count"]) == ("gb18030", 2, 0)
    assert booked(office, preview["id"])["booked_count"] == 2
    assert minutes(office) == 150 + 90
    for path, odd in (("people", "4+0"), ("service-records", "1+1")):
        for form in ("csv", "xlsx"):
            answer = office.send("GET", f"/exports/{path}.{form}?organization_id=jiangpan", as_="admin")
            cells = [str(cell) for line in reading.read(answer.data).rows for cell in line if cell is not None]
            if form == "csv":
                assert f",'={odd}" in answer.data.decode("utf-8-sig")
            else:
                with zipfile.ZipFile(io.BytesIO(answer.data)) as parts:
                    assert b"<f>" not in parts.read("xl/worksheets/sheet1.xml")
            assert any("𠮷田一郎" in one for one in cells)
            assert any(odd in one for one in cells)
