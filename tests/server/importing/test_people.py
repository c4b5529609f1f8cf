"""Importing people: previewed, booked once, refused by name, and taken back."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

sys.path += [str(Path(__file__).parent), str(Path(__file__).parent.parent)]

from importing_desk import HEADER, book, count_of_residents, csv_of, imported, problems, send, settled, xlsx_of
from office import Office

from jishan_server.people.consent_tables import consents
from jishan_server.people.id_numbers import check_sign
from jishan_server.people.tables import cards, residents
from jishan_server.sheets import reading
from jishan_server.sheets.cells import Cell
from jishan_server.volunteering.import_tables import import_chunks, import_refusals
from jishan_server.volunteering.importing import jobs, keeping
from jishan_server.writer import Operation


def id_number(born: str, order: int) -> str:
    digits = f"511423{born}{order:03}"
    return digits + check_sign(digits)


def person(name: str, phone: Cell = None, **more: Cell) -> list[Cell]:
    """A row of HEADER."""
    values = {"姓名": name, "手机": phone} | more
    return [values.get(word) for word in HEADER]


FOUR: list[list[Cell]] = [
    person("王秀英", "13800000001", 身份证=id_number("19500101", 1), 楼栋="3栋", 卡号="A1B2C3D4"),
    person("𠮷田一郎", 13800000002, 出生日期="1960.5.6", 性别="男", 楼栋="3栋"),
    person("李　华", "138 0000 0003", 楼栋="1栋", 同意书编号="T-0001", 签字日期="2026年3月1日"),
    person("张伟", None, 楼栋="5栋", 房号=501),
]


def known(office: Office, name: str) -> dict[str, Any]:
    with office.parts.engine.connect() as connection:
        return dict(connection.execute(select(residents).where(residents.c.name == name)).mappings().one())


def test_people_are_previewed_booked_and_known_the_second_time(either_office: Office) -> None:
    office, raw = either_office, csv_of(HEADER, FOUR, "gb18030")
    before = count_of_residents(office)
    preview = send(office, "people", raw, file_name="名单.csv")
    assert (preview["state"], preview["new_count"], preview["bad_count"]) == ("previewed", 4, 0)
    assert preview["encoding"] == "gb18030"
    assert count_of_residents(office) == before
    done = book(office, preview["id"])
    assert (done["state"], done["booked_count"], done["pieces_done"]) == ("booked", 4, 1)
    assert count_of_residents(office) == before + 4

    wang = known(office, "王秀英")
    assert (wang["birth_day"], wang["sex"], wang["consent_state"]) == ("1950-01-01", "m", "awaiting")
    assert wang["id_number_ending"] == id_number("19500101", 1)[-4:]
    assert known(office, "𠮷田一郎")["birth_day"] == "1960-05-06"
    li = known(office, "李华")
    assert (li["phone"], li["consent_state"]) == ("13800000003", "given")
    with office.parts.engine.connect() as connection:
        assert connection.execute(select(consents.c.form_number, consents.c.form_day, consents.c.how)).all()[-1] == (
            "T-0001",
            "2026-03-01",
            "paper",
        )
        assert connection.scalar(select(cards.c.resident_id).where(cards.c.ending == "C3D4")) == wang["id"]
    assert office.ok("GET", f"/residents/{wang['id']}/balance")["available_points"] == 0

    again = send(office, "people", raw)
    assert (again["new_count"], again["known_count"], again["same_file_as"]) == (0, 4, preview["id"])
    assert book(office, again["id"])["booked_count"] == 0
    assert count_of_residents(office) == before + 4


def test_booking_twice_books_once(office: Office) -> None:
    before = count_of_residents(office)
    preview = send(office, "people", csv_of(HEADER, FOUR))
    for _ in range(3):
        office.ok("POST", f"/imports/{preview['id']}/book", as_="admin")
    assert settled(office, preview["id"])["booked_count"] == 4
    assert count_of_residents(office) == before + 4


def test_two_namesakes_in_one_building_are_never_mixed_up(office: Office) -> None:
    rows = [person("王华", "13800000011", 楼栋="3栋"), person("王华", "13800000012", 楼栋="3栋")]
    assert imported(office, "people", csv_of(HEADER, rows))["booked_count"] == 2
    # Neither phone nor anything else: both fit, so the row is refused, and lists them masked.
    preview = send(office, "people", csv_of(HEADER, [person("王华", None, 楼栋="3号楼")]))
    assert preview["bad_count"] == 1
    [problem] = problems(office, preview["id"])
    assert (problem["row"], problem["column"], problem["code"]) == (2, "姓名", "person_several")
    assert problem["reason_zh"].count("王*") == 2
    # A third one, with a birth date of a third person's own phone.
    third = send(office, "people", csv_of(HEADER, [person("王华", "13800000013", 楼栋="3栋")]))
    assert (third["new_count"], third["bad_count"]) == (1, 0)


def test_who_may_be_known_already_is_asked_about(office: Office) -> None:
    assert imported(office, "people", csv_of(HEADER, [person("赵敏", None, 楼栋="3栋")]))["booked_count"] == 1
    zhao = known(office, "赵敏")
    row = person("赵敏", "13800000021", 楼栋="3栋")
    preview = send(office, "people", csv_of(HEADER, [row]))
    assert [one["code"] for one in problems(office, preview["id"])] == ["person_maybe_known"]
    is_same = send(office, "people", csv_of(HEADER, [[*row[:9], zhao["member_number"], *row[10:]]]))
    assert is_same["known_count"] == 1
    is_another = send(office, "people", csv_of(HEADER, [[*row[:9], "新", *row[10:]]]))
    assert is_another["new_count"] == 1


def test_a_phone_may_belong_to_a_family(office: Office) -> None:
    rows = [person("陈父", "13800000031", 楼栋="1栋"), person("陈母", "13800000031", 楼栋="1栋")]
    assert imported(office, "people", csv_of(HEADER, rows))["booked_count"] == 2


def test_rows_of_one_file_that_contradict_each_other_are_refused(office: Office) -> None:
    number = id_number("19510101", 2)
    rows = [
        person("周一", "13800000041", 身份证=number),
        person("周一", "13800000042", 身份证=number),
        person("周二", "13800000043", 楼栋="1栋"),
        person("周二", None, 楼栋="1栋"),
        person("周三", "13800000044"),
        person("周三", "13800000044"),
    ]
    preview = send(office, "people", csv_of(HEADER, rows))
    assert (preview["new_count"], preview["known_count"], preview["bad_count"]) == (3, 1, 2)
    assert [(one["row"], one["code"]) for one in problems(office, preview["id"])] == [
        (3, "same_as_row"),
        (5, "maybe_row"),
    ]


def test_the_error_file_has_the_bad_rows_with_their_reasons_and_comes_in_again(office: Office) -> None:
    rows = [*FOUR, person("孙七", "1.38E+10", 楼栋="1栋"), person("", "13800000052")]
    preview = send(office, "people", csv_of(HEADER, rows, "gb18030"))
    answer = office.send("GET", f"/imports/{preview['id']}/errors", as_="admin")
    assert "attachment" in answer.headers["Content-Disposition"]
    sheet = reading.read(answer.data)
    assert (sheet.encoding, len(sheet.rows)) == ("gb18030", 3)
    assert sheet.rows[0] == [*HEADER, "错误原因", "修改建议"]
    assert "1.38E+10" in str(sheet.rows[1][-2])
    assert "文本" in str(sheet.rows[1][-1])
    mended = [[cell if cell != "1.38E+10" else "13800000051" for cell in row] for row in sheet.rows]
    again = send(office, "people", csv_of([str(one) for one in mended[0]], mended[1:]))
    assert (again["new_count"], again["bad_count"]) == (1, 1)


def test_forty_thousand_rows_wait_for_three_bad_ones(office: Office) -> None:
    rows: list[list[Cell]] = [[f"居民{number}", 13_000_000_001 + number] for number in range(2_500)]
    for bad in (5, 1_500, 2_499):
        rows[bad][1] = "1.3E+10"
    preview = send(
        office, "people", xlsx_of(["姓名", "电话"], [["居" + str(r[0])[2:].translate(LETTERS), r[1]] for r in rows])
    )
    assert (preview["new_count"], preview["bad_count"]) == (2_497, 3)
    assert [one["row"] for one in problems(office, preview["id"])] == [7, 1_502, 2_501]
    done = book(office, preview["id"])
    assert (done["booked_count"], done["pieces"]) == (2_497, 3)


LETTERS = str.maketrans("0123456789", "零一二三四五六七八九")


def test_an_import_is_taken_back_but_for_those_who_did_something_since(office: Office) -> None:
    raw = csv_of(HEADER, FOUR)
    done = imported(office, "people", raw)
    wang, zhang = known(office, "王秀英"), known(office, "张伟")
    office.ok("POST", "/credits", {"resident_id": zhang["id"], "points": 1, "activity": "x", "reason": "x"})
    office.refused(403, "forbidden", "POST", f"/imports/{done['id']}/undo", {"reason": "错了"})
    office.ok("POST", f"/imports/{done['id']}/undo", {"reason": "错了"}, as_="admin")
    undone = settled(office, done["id"])
    assert (undone["state"], undone["kept_count"]) == ("undone", 1)
    [left] = problems(office, done["id"])
    assert (left["row"], left["code"]) == (5, "not_undone")
    with office.parts.engine.connect() as connection:
        gone = connection.execute(select(residents).where(residents.c.id == wang["id"])).mappings().one()
        assert (gone["phone"], gone["id_number_hash"], gone["state"]) == (None, None, "frozen")
        assert gone["name"] != "王秀英"
        assert connection.scalar(select(cards.c.id).where(cards.c.ending == "C3D4")) is None
    # The same file can come again: who was taken back is new.
    assert send(office, "people", raw)["new_count"] == 3


def test_a_mapping_is_corrected_and_remembered(office: Office) -> None:
    raw = csv_of(["谁", "手机"], [["吴一", "13800000061"]])
    refusal = office.send(
        "POST",
        "/imports?kind=people&organization_id=jiangpan",
        as_="admin",
        data=raw,
        headers={"Content-Type": "text/csv"},
    )
    assert refusal.get_json()["code"] == "header_not_found"
    raw = csv_of(["谁", "手机", "楼栋"], [["吴一", "13800000061", "1栋"]])
    refused = office.send(
        "POST",
        "/imports?kind=people&organization_id=jiangpan",
        as_="admin",
        data=raw,
        headers={"Content-Type": "text/csv"},
    ).get_json()
    assert refused["code"] == "import_column_missing"
    assert refused["fields"]["columns"][0] == {"column": "A", "name": "谁"}
    assert send(office, "people", raw, mapping='{"谁":"name"}')["new_count"] == 1
    remembered = send(office, "people", raw)
    assert remembered["columns"][0] == {"letter": "A", "name": "谁", "field": "name"}
    changed = office.ok(
        "PUT", f"/imports/{remembered['id']}/mapping", {"mapping": {"谁": "name", "手机": None}}, as_="admin"
    )
    assert changed["columns"][1]["field"] is None
    assert changed["new_count"] == 1


def test_a_crash_repeats_no_piece(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"居{str(number).translate(LETTERS)}" for number in range(2_100)]
    preview = send(office, "people", xlsx_of(["姓名", "楼栋"], [[name, "1栋"] for name in names]))
    before = count_of_residents(office)
    call, id = office.parts.writer.call, preview["id"]
    actor = office.ok("GET", f"/imports/{id}", as_="admin")["sent_by"]
    assert call(Operation("crash-start", "start_import", jobs.StartImport(actor, id))) == {"next": 0}
    call(jobs.step(actor, id, 0))
    # The process ended here. The next one takes the rest up by itself.
    assert office.ok("GET", f"/imports/{id}", as_="admin")["pieces_done"] == 1
    jobs.resume(office.parts.engine, office.parts.writer)
    assert settled(office, id)["booked_count"] == 2_100
    assert call(jobs.step(actor, id, 0)) == {"next": 1}
    assert count_of_residents(office) == before + 2_100


def test_cells_are_sealed_and_forgotten_after_their_time(office: Office) -> None:
    preview = send(office, "people", csv_of(HEADER, [person("", "13800000001", 身份证=id_number("19500101", 1))]))
    with office.parts.engine.connect() as connection:
        sealed = connection.scalar(select(import_chunks.c.sealed))
        assert sealed is not None
        assert id_number("19500101", 1).encode() not in sealed
        assert id_number("19500101", 1) not in str(connection.execute(select(import_refusals)).all())
    office.tick(days=31)
    office._tokens.clear()
    office.parts.writer.call(Operation("forget", keeping.FORGET, None))
    office.refused(410, "import_forgotten", "GET", f"/imports/{preview['id']}/errors", as_="admin")
    office.refused(410, "import_forgotten", "POST", f"/imports/{preview['id']}/book", as_="admin")


def test_the_template_is_read_and_its_example_left_out(office: Office) -> None:
    for format in ("xlsx", "csv"):
        answer = office.send("GET", f"/imports/templates/people.{format}", as_="coordinator")
        assert answer.status_code == 200
        sheet = reading.read(answer.data)
        more = [list(sheet.rows[0]), sheet.rows[1], ["马超", "13800000071"]]
        preview = send(office, "people", csv_of([str(one) for one in more[0]], more[1:]))
        assert preview["left_out"] == [{"row": 2, "why": "example"}]
        assert (preview["new_count"], preview["bad_count"]) == (1, 0)


def test_a_child_needs_a_guardian_to_agree(office: Office) -> None:
    header = [*HEADER, "监护人姓名"]
    row = person("小明", None, 出生日期="2018-01-01", 楼栋="1栋", 同意书编号="T-2", 签字日期="2026-03-01")
    preview = send(office, "people", csv_of(header, [[*row, None]]))
    assert [one["code"] for one in problems(office, preview["id"])] == ["guardian_missing"]
    assert imported(office, "people", csv_of(header, [[*row, "明母"]]))["booked_count"] == 1
    assert known(office, "小明")["consent_state"] == "given"


def test_who_may_not_import_is_refused_before_the_file_is_read(office: Office) -> None:
    for login, code in (("approver", "forbidden"), ("operator", "forbidden")):
        answer = office.send(
            "POST",
            "/imports?kind=people&organization_id=jiangpan",
            as_=login,
            data=b"x",
            headers={"Content-Type": "text/csv"},
        )
        assert answer.get_json()["code"] == code
