"""Files in whatever form people send them, and files that no spreadsheet takes for a program."""

from __future__ import annotations

import io
import zipfile
from datetime import datetime, timedelta

import pytest
import xlsxwriter  # type: ignore[import-untyped]
import xlwt  # type: ignore[import-untyped]
from hypothesis import given, settings
from hypothesis import strategies as st

from jishan_server.errors import DomainError
from jishan_server.sheets import reading
from jishan_server.sheets.cells import Cell, is_total
from jishan_server.sheets.headers import Field, corrected, find_header, letter, missing
from jishan_server.sheets.problems import PROBLEMS
from jishan_server.sheets.writing import write_csv, write_xlsx

ROWS = [["姓名", "电话"], ["𠮷田小美", "13800001111"], ["王　华", "+86 139"]]
TEXT = "".join(",".join(row) + "\r\n" for row in ROWS)
FIELDS = (
    Field("name", "姓名", "name", ("名字",), is_required=True),
    Field("phone", "电话", "phone", ("手机", "联系电话")),
    Field("minutes", "时长", "duration", ("小时", "服务时长"), is_required=True),
)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_is_read_in_every_encoding_and_with_every_delimiter(encoding: str, delimiter: str) -> None:
    sheet = reading.read(TEXT.replace(",", delimiter).encode(encoding))
    assert sheet.rows == ROWS
    assert (sheet.format, sheet.delimiter) == ("csv", delimiter)
    # A byte that GB18030 does not know either is no text.
    with pytest.raises(DomainError, match="sheet_encoding"):
        reading.read(b"name,phone\r\n\xff\xff\xff\r\n")


def workbook(rows: list[list[object]], *, name: str = "名单") -> bytes:
    out = io.BytesIO()
    with xlsxwriter.Workbook(out, {"in_memory": True, "default_date_format": "yyyy-mm-dd"}) as book:
        sheet = book.add_worksheet(name)
        hours = book.add_format({"num_format": "[h]:mm"})
        for number, row in enumerate(rows):
            for column, cell in enumerate(row):
                if isinstance(cell, timedelta):
                    sheet.write_datetime(number, column, cell, hours)
                else:
                    sheet.write(number, column, cell)
    return out.getvalue()


def test_a_workbook_is_read_with_its_places_and_types() -> None:
    raw = workbook(
        [
            [],
            ["", "姓名", "电话"],
            ["", "𠮷田小美", 13800001111, datetime.fromisoformat("2026-03-05"), timedelta(minutes=90), 2.5],
        ]
    )
    sheet = reading.read(raw)
    assert sheet.rows[2][1:] == ["𠮷田小美", 13800001111, "2026-03-05", "1:30:00", 2.5]
    assert (sheet.format, sheet.name, sheet.rows[1][1]) == ("xlsx", "名单", "姓名")


def test_an_old_workbook_is_read() -> None:
    book = xlwt.Workbook()
    sheet = book.add_sheet("名单")
    for number, row in enumerate(ROWS):
        for column, cell in enumerate(row):
            sheet.write(number, column, cell)
    out = io.BytesIO()
    book.save(out)
    read = reading.read(out.getvalue())
    assert (read.format, read.rows) == ("xls", ROWS)


def zipped(parts: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in parts.items():
            made.writestr(name, content)
    return out.getvalue()


def with_part(raw: bytes, name: str, content: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(raw)) as parts:
        return zipped({one: parts.read(one) for one in parts.namelist()} | {name: content})


def test_a_zip_bomb_is_refused_before_it_is_unpacked() -> None:
    bomb = with_part(workbook([["a"]]), "xl/media/image1.png", bytes(reading.MAX_UNPACKED_BYTES + 1))
    assert len(bomb) < 1_000_000
    with pytest.raises(DomainError, match="sheet_too_large"):
        reading.read(bomb)


def test_a_part_that_lies_about_its_size_is_refused() -> None:
    name = b"xl/worksheets/sheet1.xml"
    raw = bytearray(workbook([["a"] * 50] * 500))
    # The size stands before the name in the entry at the end of the file (APPNOTE 4.3.12: 24 bytes in, name at 46).
    entry = raw.rindex(name) - 46
    raw[entry + 24 : entry + 28] = (100).to_bytes(4, "little")
    with pytest.raises(DomainError, match="sheet_broken"):
        reading.read(bytes(raw))


@pytest.mark.parametrize(
    ("cells", "code"),
    [
        (b'<row r="1"><c r="A1"><v>1</v></c><c r="XFD1"><v>1</v></c></row>', "sheet_columns"),
        (b'<row r="1"><c r="A1"><v>1</v></c></row><row r="1048576"><c><v>1</v></c></row>', "sheet_rows"),
        (b'<row r="1"><c r=\'A1\'><v>1</v></c><c r = "xfd1048576"><v>1</v></c></row>', "sheet_rows"),
    ],
)
def test_a_sheet_of_two_far_corners_is_refused_before_it_takes_all_memory(cells: bytes, code: str) -> None:
    sheet = b'<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>%s</sheetData></worksheet>'
    with pytest.raises(DomainError, match=code):
        reading.read(with_part(workbook([["a"]]), "xl/worksheets/sheet1.xml", sheet % cells))


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", "sheet_empty"),
        (b"\r\n,,\r\n", "sheet_empty"),
        (b"<html><table><tr><td>x</td></tr></table></html>", "sheet_format"),
        (zipped({"content.xml": b"<x/>"}), "sheet_format"),
        (b"PK\x03\x04 and no more", "sheet_broken"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "sheet_broken"),
        ((",".join("a" * (reading.MAX_COLUMNS + 1))).encode(), "sheet_columns"),
        (b"a\n" * (reading.MAX_ROWS + 1), "sheet_rows"),
        (bytes(reading.MAX_BYTES + 1), "sheet_too_large"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(raw: bytes, code: str) -> None:
    with pytest.raises(DomainError, match=code):
        reading.read(raw)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_damaged_workbook_is_read_or_refused(data: st.DataObject) -> None:
    raw = bytearray(workbook([[1, "a"], ["b", 2.5]]))
    for _ in range(data.draw(st.integers(1, 5))):
        raw[data.draw(st.integers(4, len(raw) - 1))] = data.draw(st.integers(0, 255))
    code = "sheet_"
    try:
        reading.read(bytes(raw[: data.draw(st.integers(5, len(raw)))]))
    except DomainError as refused:
        code = refused.code
    assert code.startswith("sheet_")


def test_nothing_that_is_written_becomes_a_formula() -> None:
    dangerous = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "  =1"]
    assert all(row[0].startswith("'") for row in _csv_rows(write_csv(["x"], [[one] for one in dangerous]))[1:])
    sheet = reading.read(write_xlsx(["x"], [[one] for one in dangerous]))
    assert [row[0] for row in sheet.rows[1:4]] == dangerous[:3]
    with zipfile.ZipFile(io.BytesIO(write_xlsx(["x"], [[one] for one in dangerous]))) as parts:
        assert b"<f>" not in parts.read("xl/worksheets/sheet1.xml")


def _csv_rows(raw: bytes) -> list[list[str]]:
    import csv

    return list(csv.reader(io.StringIO(raw.decode("utf-8-sig"), newline="")))


def test_a_negative_number_is_a_number() -> None:
    assert b"-30" in write_csv(["points"], [[-30]])
    assert b"'-30" not in write_csv(["points"], [[-30]])


@given(st.lists(st.lists(st.text(st.characters(exclude_categories=("Cs", "Cc"))), min_size=2, max_size=2), min_size=1))
def test_csv_that_we_write_we_read(rows: list[list[str]]) -> None:
    sheet = reading.read(write_csv(["甲", "乙"], rows))
    written = list(rows)
    while written and not any(cell.strip() for cell in written[-1]):
        written.pop()
    assert sheet.rows[1:] == written


def test_the_same_rows_give_the_same_workbook() -> None:
    assert write_xlsx(["a"], [[1]]) == write_xlsx(["a"], [[1]])


def test_the_header_is_found_below_titles_and_by_other_words() -> None:
    rows: list[list[Cell]] = [
        ["青衣江社区志愿服务登记表"],
        ["2026年3月", None],
        ["序号", "*名 字（必填）", "手机：", "服务时长（小时）"],
        [1],
    ]
    header = find_header(rows, FIELDS)
    assert header.row == 3
    assert header.fields == (None, "name", "phone", "minutes")
    assert header.column_of("minutes") == "服务时长(小时)"
    assert [letter(place) for place in (0, 25, 26, 199)] == ["A", "Z", "AA", "GR"]


def test_without_a_header_it_is_said_what_was_looked_for() -> None:
    with pytest.raises(DomainError, match="header_not_found") as refused:
        find_header([["王建华", "13800001111"]], FIELDS)
    assert "姓名" in refused.value.text("zh")


def test_a_mapping_can_be_corrected() -> None:
    header = find_header([["姓名", "手机", "时间"]], FIELDS)
    assert [field.name for field in missing(header, FIELDS)] == ["minutes"]
    right = corrected(header, {"时间": "minutes", "手机": None}, FIELDS)
    assert right.fields == ("name", None, "minutes")
    assert right.fingerprint == header.fingerprint
    for wrong in ({"时间": "salary"}, {"别的": "minutes"}, {"时间": "minutes", "手机": "minutes"}):
        with pytest.raises(DomainError, match="mapping_invalid"):
            corrected(header, wrong, FIELDS)


def test_total_rows_are_known() -> None:
    assert is_total(["合计", None, 12])
    assert is_total([None, "总 计：", 12])
    assert not is_total(["合计明", "13800001111"])


@pytest.mark.parametrize("code", PROBLEMS)
def test_every_problem_has_words(code: str) -> None:
    import re
    from string import Formatter

    words = PROBLEMS[code]
    assert words.zh.endswith("。") or code == "refused"
    assert words.zh_instead.endswith("。")
    assert words.en[-1] in ".}?"
    for text in (words.zh, words.zh_instead):
        assert not re.search("[一-龥}][,:;(!?]|[,:;)!?][一-龥{]", text)

    def places(*texts: str) -> set[str]:
        return {name for text in texts for _, name, _, _ in Formatter().parse(text) if name}

    if code != "refused":
        assert places(words.zh, words.zh_instead) == places(words.en, words.en_instead)
