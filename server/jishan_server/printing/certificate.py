"""The certificate: a page that says how long somebody served, and the list of what they did.

It says what the rules ask for (service time, content, recording unit), and carries what it is checked by: a number and
the address of a page that knows it. Source: 志愿服务记录与证明出具办法 art. 14, 15 and 17.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from jishan_server.errors import Language
from jishan_server.printing.paper import MARGIN, Column, Paper
from jishan_server.printing.words import day, duration, hours, say

QR_MM: Final = 36.0


@dataclass(frozen=True, slots=True)
class Entry:
    """One piece of work."""

    day: str
    title: str
    category: str | None
    place: str | None
    unit: str
    minutes: int


@dataclass(frozen=True, slots=True)
class Certificate:
    """`address` is where it is checked; `issued_at` dates the file, `issued_day` the paper."""

    number: str
    address: str
    name: str
    unit: str
    first_day: str
    last_day: str
    entries: Sequence[Entry]
    issued_day: str
    issued_at: datetime


def grouped(number: str) -> str:
    """A number as it is read aloud: four signs at a time."""
    return " ".join(number[start : start + 4] for start in range(0, len(number), 4))


def by_category(entries: Sequence[Entry]) -> Mapping[str | None, tuple[int, int]]:
    """How often and how many minutes in each category, the longest first."""
    sums: dict[str | None, tuple[int, int]] = {}
    for entry in entries:
        times, minutes = sums.get(entry.category, (0, 0))
        sums[entry.category] = (times + 1, minutes + entry.minutes)
    return dict(sorted(sums.items(), key=lambda one: (-one[1][1], one[0] or "")))


def certificate(document: Certificate, language: Language) -> bytes:
    """The file: a page with the sums, and as many as the entries take."""
    paper = Paper(f"{say(language, 'certificate')} {document.number}", language, document.issued_at)
    _first_page(paper, document, language)
    paper.page()
    paper.text(say(language, "entries"), 15, bold=True, align="C")
    paper.gap(3)
    columns = [
        Column(say(language, "number"), 11, "C"),
        Column(say(language, "day"), 23, "C"),
        Column(say(language, "content"), 46),
        Column(say(language, "category"), 24),
        Column(say(language, "place"), 28),
        Column(say(language, "unit"), 22),
        Column(say(language, "hours"), 20, "R"),
    ]
    none = say(language, "nothing")
    rows = [
        (
            str(number),
            entry.day,
            entry.title,
            entry.category or say(language, "no_category"),
            entry.place or none,
            entry.unit,
            duration(language, entry.minutes),
        )
        for number, entry in enumerate(document.entries, start=1)
    ]
    paper.table(columns, rows, 8.5)
    number = say(language, "certificate_number", number=grouped(document.number))
    return paper.finished(lambda page, pages: f"{number}    {say(language, 'page', page=page, pages=pages)}")


def _first_page(paper: Paper, document: Certificate, language: Language) -> None:
    minutes = sum(entry.minutes for entry in document.entries)
    times = len(document.entries)
    first, last = day(language, document.first_day), day(language, document.last_day)
    paper.gap(8)
    paper.text(say(language, "certificate"), 26, bold=True, align="C")
    paper.text(say(language, "certificate_number", number=grouped(document.number)), 10.5, align="C")
    paper.gap(7)
    indent = "\u3000\u3000" if language == "zh" else ""
    body = "certificate_body_once" if times == 1 else "certificate_body"
    said = say(language, body, name=document.name, first=first, last=last, times=times, hours=hours(minutes))
    paper.text(indent + said, 14)
    paper.gap(5)
    facts = [
        (say(language, "name"), document.name),
        (say(language, "period"), say(language, "span", first=first, last=last)),
        (say(language, "times"), str(times)),
        (say(language, "service_hours"), say(language, "hours_of", hours=hours(minutes), minutes=minutes)),
        (say(language, "recording_unit"), document.unit),
    ]
    paper.rows([50, paper.width - 50], facts, 11.5)
    paper.gap(6)
    paper.text(say(language, "by_category"), 11.5, bold=True)
    paper.gap(1)
    columns = [
        Column(say(language, "category"), paper.width - 90),
        Column(say(language, "times"), 30, "R"),
        Column(say(language, "service_hours"), 34, "R"),
        Column(say(language, "service_minutes"), 26, "R"),
    ]
    sums = [
        (category or say(language, "no_category"), str(count), hours(spent), str(spent))
        for category, (count, spent) in by_category(document.entries).items()
    ]
    paper.table(columns, [*sums, (say(language, "total"), str(times), hours(minutes), str(minutes))], 10)
    paper.gap(3)
    paper.text(say(language, "rounding"), 9)
    paper.text(say(language, "certificate_free"), 9)
    if paper.room() < QR_MM + 8:
        paper.page()
    top = paper.y = paper.y + max(0.0, paper.room() - QR_MM - 8)
    paper.qr(document.address, QR_MM, MARGIN, top)
    left = MARGIN + QR_MM + 3
    paper.gap(3)
    paper.text(say(language, "certificate_check"), 9, x=left, width=62)
    paper.text(document.address, 7.5, x=left, width=68)
    paper.y = top + 3
    right = left + 66
    for line in (document.unit, say(language, "seal"), say(language, "issued", day=day(language, document.issued_day))):
        paper.text(line, 11.5, x=right, width=MARGIN + paper.width - right, align="R")
        paper.gap(2)
