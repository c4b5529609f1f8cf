"""Phone and ID numbers, and what spreadsheets do to them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jishan_server.people.id_numbers import check_sign, normalised
from jishan_server.sheets.cells import Cell, CellProblem, name_of, text_of
from jishan_server.sheets.numbers import parse_id_number, parse_phone

# An invented person: the district code 511423, born 1949-12-31.
ID = "51142319491231002" + check_sign("51142319491231002")


def id_number(cell: Cell) -> str:
    return parse_id_number(cell, normalised)


@pytest.mark.parametrize(
    "cell",
    [
        "13800001111",
        13800001111,
        13800001111.0,
        "13800001111.0",
        "138 0000 1111",
        "138-0000-1111",
        "+86 13800001111",
        "8613800001111",
        "１３８００００１１１１",
        "13800001111\u200b",
    ],
)
def test_a_mobile_number_is_read(cell: Cell) -> None:
    assert parse_phone(cell) == "13800001111"


def test_a_landline_keeps_its_area_code() -> None:
    assert parse_phone("028-37401234") == "02837401234"


@pytest.mark.parametrize(
    ("cell", "code"),
    [
        (None, "missing"),
        ("1.38E+10", "phone_scientific"),
        ("1.38e+10", "phone_scientific"),
        (13800000000, "phone_scientific"),
        (2837401234, "phone_lost_zero"),
        ("8331234567", "phone_lost_zero"),
        ("1380000111", "phone_length"),
        ("138000011112", "phone_length"),
        ("13800001111/13900002222", "phone_several"),
        ("没有", "phone_unreadable"),
    ],
)
def test_a_spoiled_phone_number_is_named_as_such(cell: Cell, code: str) -> None:
    with pytest.raises(CellProblem) as refused:
        parse_phone(cell)
    assert refused.value.code == code


@pytest.mark.parametrize("cell", [ID, ID.lower(), f" {ID} ", f"'{ID}", ID[:6] + " " + ID[6:]])
def test_an_id_number_is_read(cell: Cell) -> None:
    assert id_number(cell) == ID


@pytest.mark.parametrize(
    ("cell", "code"),
    [
        ("", "missing"),
        ("5.11E+17", "id_scientific"),
        (5.11423194912310e17, "id_scientific"),
        (511423194912310000, "id_rounded"),
        (ID[:15] + "000", "id_rounded"),
        ("511423491231002", "id_old"),
        (ID[:17], "id_length"),
        (ID[:10] + "13" + ID[12:], "id_check"),
        (ID[:16] + "9" + ID[17], "id_check"),
        ("身份证", "id_length"),
    ],
)
def test_a_spoiled_id_number_is_named_as_such_and_never_shown(cell: Cell, code: str) -> None:
    with pytest.raises(CellProblem) as refused:
        id_number(cell)
    assert refused.value.code == code
    assert ID[6:] not in str(refused.value.fields)


def test_names_keep_their_characters() -> None:
    assert name_of("　𠮷田小美 ") == "𠮷田小美"
    assert name_of("王　华") == "王华"
    assert name_of("古丽·买买提") == "古丽·买买提"
    assert name_of("John  Smith") == "John Smith"
    assert text_of("３栋２单元（南）") == "3栋2单元(南)"


@given(st.text() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.booleans() | st.none())
def test_any_cell_is_a_number_or_a_named_problem(cell: Cell) -> None:
    for parse in (parse_phone, id_number):
        code = "missing"
        try:
            parse(cell)
        except CellProblem as problem:
            code = problem.code
        assert code.startswith(("phone_", "id_", "missing"))
