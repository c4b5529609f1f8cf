"""The yearly report on paper."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from jishan_server.errors import Language
from jishan_server.printing.paper import Column, Paper
from jishan_server.printing.words import YEARLY_COLUMNS, YEARLY_WORDS, day, say

WORDS: Final = 3
"""Columns of names before those of numbers."""


@dataclass(frozen=True, slots=True)
class YearlyReport:
    """`header` and `rows` are the table as it is exported, in Chinese."""

    year: int
    known_day: str
    node: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    at: datetime


def yearly_report(report: YearlyReport, language: Language) -> bytes:
    """The table on A4 across."""
    title = f"{report.node} {say(language, 'yearly')} {report.year}"
    paper = Paper(title, language, report.at, landscape=True)
    paper.text(report.node, 13, align="C")
    paper.text(say(language, "yearly"), 22, bold=True, align="C")
    paper.text(say(language, "yearly_known", year=report.year, day=day(language, report.known_day)), 10.5, align="C")
    paper.text(say(language, "rounding"), 9, align="C")
    paper.gap(3)
    numbers = len(report.header) - WORDS
    wide = min(28.0, (paper.width - WORDS * 34) / numbers)
    words = (paper.width - numbers * wide) / WORDS
    titles = [YEARLY_COLUMNS[name] if language == "en" else name for name in report.header]
    columns = [Column(name, words if n < WORDS else wide, "L" if n < WORDS else "R") for n, name in enumerate(titles)]
    known = YEARLY_WORDS if language == "en" else {}
    paper.table(columns, [[known.get(cell, cell) for cell in row] for row in report.rows], 9.5)
    return paper.finished(lambda page, pages: say(language, "page", page=page, pages=pages))
