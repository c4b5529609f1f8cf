"""Three files with forty mistakes in all: forty reasons, each with its row, its column and what to write instead."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import xlwt  # type: ignore[import-untyped]

sys.path += [str(Path(__file__).parent), str(Path(__file__).parent.parent)]

from importing_desk import book, csv_of, problems, send, xlsx_of
from office import Office

from jishan_server.people.id_numbers import check_sign
from jishan_server.people.member_numbers import member_number
from jishan_server.sheets import reading
from jishan_server.sheets.cells import Cell

ID = "51142319500101001" + check_sign("51142319500101001")
PEOPLE = ["姓名", "手机", "身份证", "性别", "出生日期", "楼栋", "卡号", "会员号", "同意书编号", "签字日期", "邮箱"]
HOURS = ["姓名", "会员号", "电话", "楼栋", "日期", "时长", "活动名称", "积分", "组织单位", "来源"]


def person(name: Cell = "何一", phone: Cell = "13900000001", **more: Cell) -> list[Cell]:
    return [({"姓名": name, "手机": phone} | more).get(word) for word in PEOPLE]


def xls_of(header: list[str], rows: list[list[Cell]]) -> bytes:
    book = xlwt.Workbook()
    sheet = book.add_sheet("名单")
    for number, row in enumerate([header, *rows]):
        for column, cell in enumerate(row):
            if cell is not None:
                sheet.write(number, column, cell)
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def found(office: Office, kind: str, raw: bytes, as_: str = "coordinator") -> tuple[str, list[tuple[int, str, str]]]:
    """The import, and (row, column, code) of everything that is wrong with it; each has its words."""
    preview = send(office, kind, raw, as_=as_)
    noted = problems(office, preview["id"])
    for one in noted:
        for language in ("zh", "en"):
            assert one[f"reason_{language}"], one
            assert one[f"instead_{language}"], one
            assert "?" not in one[f"reason_{language}"].removesuffix("minutes?"), one
        assert ID not in str(one)
    return preview["id"], [(one["row"], one["column"], one["code"]) for one in noted]


def test_forty_planted_mistakes_give_forty_reasons(office: Office) -> None:
    people: list[tuple[list[Cell], str | None, str | None]] = [
        (person("何一", "13900000001"), None, None),
        (person(None, "13900000002"), "姓名", "missing"),
        (person("何3", "13900000003"), "姓名", "name_odd"),
        (person("何四", "1.39E+10"), "手机", "phone_scientific"),
        (person("何五", "2837401234"), "手机", "phone_lost_zero"),
        (person("何六", "1390000000"), "手机", "phone_length"),
        (person("何七", "无"), "手机", "phone_unreadable"),
        (person("何八", "13900000008/13900000009"), "手机", "phone_several"),
        (person("何九", 身份证="5.11E+17"), "身份证", "id_scientific"),
        (person("何十", 身份证=ID[:15] + "000"), "身份证", "id_rounded"),
        (person("贺一", 身份证=ID[:6] + ID[8:17]), "身份证", "id_old"),
        (person("贺二", 身份证=ID[:17]), "身份证", "id_length"),
        (person("贺三", 身份证=ID[:16] + "9" + ID[17]), "身份证", "id_check"),
        (person("贺四", 身份证=ID, 出生日期="1951-01-01"), "身份证", "id_birth"),
        (person("贺五", 性别="不详"), "性别", "not_in_list"),
        (person("贺六", 出生日期="去年"), "出生日期", "day_unreadable"),
        (person("贺七", 出生日期="1958年2月30日"), "出生日期", "day_impossible"),
        (person("贺八", 出生日期="3/5/1958"), "出生日期", "day_order"),
        (person("贺九", 出生日期="58.3.5"), "出生日期", "day_year"),
        (person("贺十", 卡号="12345"), "卡号", "card_unreadable"),
    ]
    id, told = found(office, "people", csv_of(PEOPLE, [row for row, _, _ in people], "gb18030"))
    assert told == [(row, column, code) for row, (_, column, code) in enumerate(people, 2) if code is not None]

    more: list[tuple[list[Cell], str | None, str | None]] = [
        (person("洪一", 13900000101), None, None),
        (person("洪二", 会员号="1000001"), "会员号", "member_check"),
        (person("洪三", 会员号="1.0E+07"), "会员号", "member_spoiled"),
        (person("洪四", 出生日期=1958.3), "出生日期", "day_incomplete"),
        (person("洪五", 同意书编号="T-1"), "签字日期", "consent_incomplete"),
        (person("洪六", 同意书编号="T-1", 签字日期="2030-01-01"), "签字日期", "day_future"),
        (person("洪七", 邮箱="不用"), "邮箱", "email_unreadable"),
        (person("洪八", 楼栋="很" * 41), "楼栋", "too_long"),
        (person("洪九", 卡号=office.people.residents[0].card), "卡号", "card_taken"),
        (person("洪一", 13900000101, 楼栋="2栋"), "", "same_as_row"),
        (person("洪十", 13900000110, 身份证=511423195001010000), "身份证", "id_scientific"),
    ]
    _, told_more = found(office, "people", xlsx_of(PEOPLE, [row for row, _, _ in more]))
    assert told_more == [(row, column, code) for row, (_, column, code) in enumerate(more, 2) if code is not None]

    known, name = office.people.residents[0].member_number, office.people.residents[0].name

    def work(**cells: Cell) -> list[Cell]:
        said = {"会员号": known, "日期": "2026-02-01", "时长": "2小时", "活动名称": "扫雪"} | cells
        return [said.get(word) for word in HOURS]

    hours: list[tuple[list[Cell], str | None, str | None]] = [
        (work(), None, None),
        (work(时长="很久"), "时长", "minutes_unreadable"),
        (work(时长=90), "时长", "minutes_unit"),
        (work(时长="30小时"), "时长", "minutes_range"),
        (work(日期="2030-02-01"), "日期", "day_future"),
        (work(活动名称=None), "活动名称", "missing"),
        (work(积分="很多"), "积分", "number_unreadable"),
        (work(组织单位="没有"), "组织单位", "organization_unknown"),
        (work(来源="听说"), "来源", "not_in_list"),
        (work(会员号=None, 姓名=name), "姓名", "person_name_only"),
        (work(姓名="别人"), "会员号", "person_differs"),
        (work(会员号=member_number(1_000_999)), "会员号", "person_unknown"),
    ]
    hours_id, told_hours = found(office, "hours", xls_of(HOURS, [row for row, _, _ in hours]))
    assert told_hours == [(row, column, code) for row, (_, column, code) in enumerate(hours, 2) if code is not None]
    assert len(told) + len(told_more) + len(told_hours) == 40

    # The good row of each file is booked all the same; the others come back, each with its reason.
    assert book(office, id)["booked_count"] == 1
    sheet = reading.read(office.send("GET", f"/imports/{id}/errors", as_="coordinator").data)
    assert len(sheet.rows) == 1 + 19
    sheet = reading.read(office.send("GET", f"/imports/{hours_id}/errors", as_="coordinator").data)
    assert (sheet.format, len(sheet.rows)) == ("xlsx", 1 + 11)
