"""The sheet on which people sign that they came; what was written on it is typed back by its codes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from jishan_server.errors import Language
from jishan_server.printing.paper import MARGIN, Column, Paper
from jishan_server.printing.words import say

QR_MM: Final = 27.0
ROW_MM: Final = 10.5
"""Room for a signature."""
LEAST_EMPTY: Final = 6
"""Lines for people who were not expected."""


@dataclass(frozen=True, slots=True)
class Expected:
    name: str
    member_number: str
    row_code: str


@dataclass(frozen=True, slots=True)
class AttendanceSheet:
    """`code` and `address` lead back to the session; `when` is in words."""

    title: str
    place: str
    when: str
    break_minutes: int
    person_in_charge: str
    code: str
    address: str
    people: Sequence[Expected]
    printed_at: datetime


def attendance_sheet(sheet: AttendanceSheet, language: Language) -> bytes:
    """The sheet as a file, its last page filled up with empty lines."""
    paper = Paper(f"{say(language, 'attendance')} {sheet.title}", language, sheet.printed_at)
    width = paper.width - QR_MM - 4
    top = paper.y
    paper.text(f"{say(language, 'attendance')}  {sheet.title}", 18, bold=True, width=width, most_lines=2)
    colon = ": " if language == "en" else "\uff1a"
    pause = say(language, "attendance_break", minutes=sheet.break_minutes) if sheet.break_minutes else ""
    paper.text(f"{say(language, 'time')}{colon}{sheet.when}    {pause}".strip(), 11, width=width)
    paper.text(f"{say(language, 'place')}{colon}{sheet.place}", 11, width=width, most_lines=2)
    paper.text(f"{say(language, 'in_charge')}{colon}{sheet.person_in_charge}", 11, width=width, most_lines=1)
    code = say(language, "attendance_code", code=sheet.code)
    paper.text(code, 11, bold=True, width=width)
    paper.qr(sheet.address, QR_MM, MARGIN + paper.width - QR_MM, top)
    paper.y = max(paper.y, top + QR_MM)
    paper.text(say(language, "attendance_intro"), 10)
    paper.gap(1.5)
    columns = [
        Column(say(language, "number"), 12, "C"),
        Column(say(language, "name"), 32),
        Column(say(language, "member_number"), 24, "C"),
        Column(say(language, "row_code"), 18, "C"),
        Column(say(language, "came"), 22, "C"),
        Column(say(language, "left"), 22, "C"),
        Column(say(language, "signature"), 44, "C"),
    ]
    rows = [
        (str(number), one.name, one.member_number, one.row_code, "", "", "")
        for number, one in enumerate(sheet.people, start=1)
    ]
    paper.table(columns, rows, 10.5, row_height=ROW_MM)
    foot = 12.0
    if paper.room() < foot + LEAST_EMPTY * ROW_MM:
        paper.page()
        paper.table(columns, [], 10.5, row_height=ROW_MM)
    empty = int((paper.room() - foot) / ROW_MM)
    first = len(rows) + 1
    paper.rows([column.width for column in columns], [(str(first + n), *[""] * 6) for n in range(empty)], 10.5, ROW_MM)
    paper.gap(4)
    signed = f"{say(language, 'attendance_count')}        {say(language, 'attendance_checked')}"
    paper.text(signed, 11)
    return paper.finished(lambda page, pages: f"{code}    {say(language, 'page', page=page, pages=pages)}")
