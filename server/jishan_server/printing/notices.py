"""What hangs on the board of an estate: the public notice, and the poster of an activity."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from jishan_server.errors import Language
from jishan_server.printing.paper import MARGIN, Column, Paper
from jishan_server.printing.words import day, duration, say

QR_MM: Final = 72.0
SESSIONS: Final = 6
"""Coming sessions that a poster has room for."""


@dataclass(frozen=True, slots=True)
class Notice:
    """One line: a masked name, the building and no more."""

    name: str
    building: str | None
    activity: str
    day: str
    minutes: int | None
    points: int
    last_day: str


@dataclass(frozen=True, slots=True)
class NoticeSheet:
    """`where` and `telephone` are where one objects; left out, there is room to write them."""

    estate: str
    notices: Sequence[Notice]
    is_whole: bool
    where: str | None
    telephone: str | None
    printed_day: str
    printed_at: datetime


@dataclass(frozen=True, slots=True)
class Poster:
    """`times` are in words; `address` is where one signs up."""

    title: str
    unit: str
    times: Sequence[str]
    place: str
    description: str
    risk_note: str
    person_in_charge: str
    contact: str
    address: str
    printed_at: datetime


def notice_sheet(sheet: NoticeSheet, language: Language) -> bytes:
    """The sheet as a file."""
    title = f"{sheet.estate} {say(language, 'notice')}"
    paper = Paper(title, language, sheet.printed_at)
    paper.text(sheet.estate, 14, align="C")
    paper.text(say(language, "notice"), 24, bold=True, align="C")
    paper.gap(2)
    paper.text(say(language, "notice_intro"), 11)
    write = say(language, "to_write")
    where = say(language, "notice_where", where=sheet.where or write)
    paper.text(where, 11, bold=True)
    paper.text(say(language, "notice_telephone", telephone=sheet.telephone or write), 11, bold=True)
    paper.gap(3)
    none = say(language, "nothing")
    columns = [
        Column(say(language, "number"), 10, "C"),
        Column(say(language, "name"), 18),
        Column(say(language, "building"), 22),
        Column(say(language, "activity"), 40),
        Column(say(language, "day"), 23, "C"),
        Column(say(language, "hours"), 24, "R"),
        Column(say(language, "points"), 14, "R"),
        Column(say(language, "notice_last_day"), 23, "C"),
    ]
    rows = [
        (
            str(number),
            one.name,
            one.building or none,
            one.activity,
            one.day,
            none if one.minutes is None else duration(language, one.minutes),
            str(one.points),
            one.last_day,
        )
        for number, one in enumerate(sheet.notices, start=1)
    ]
    if rows:
        paper.table(columns, rows, 10)
    else:
        paper.text(say(language, "notice_none"), 13, align="C")
    if not sheet.is_whole:
        paper.gap(2)
        paper.text(say(language, "notice_more", count=len(rows)), 10)
    printed = say(language, "printed", day=day(language, sheet.printed_day))
    return paper.finished(lambda page, pages: f"{printed}    {say(language, 'page', page=page, pages=pages)}")


def poster(poster: Poster, language: Language) -> bytes:
    """One page, to be read from some steps away."""
    paper = Paper(poster.title, language, poster.printed_at)
    paper.text(say(language, "poster"), 20, align="C")
    paper.text(
        poster.title,
        40 if len(paper.lines(poster.title, 40, paper.width)) < 3 else 26,
        bold=True,
        align="C",
        most_lines=3,
    )
    paper.text(f"{poster.unit}    {say(language, 'poster_free')}", 14, align="C", most_lines=2)
    paper.gap(3)
    paper.rule(0.6)
    paper.gap(4)
    times = "\n".join(poster.times[:SESSIONS]) or say(language, "poster_no_session")
    contact = f"{poster.person_in_charge}  {poster.contact}".strip()
    facts = [("time", times), ("place", poster.place), ("in_charge", contact)]
    for label, fact in facts:
        top = paper.y
        paper.text(say(language, label), 16, bold=True, width=32)
        below, paper.y = paper.y, top
        paper.text(fact, 16, x=MARGIN + 34, most_lines=SESSIONS)
        paper.y = max(paper.y, below) + 1.5
    # The code stands at the foot; the words take what is left above it.
    foot = paper.height - MARGIN - QR_MM - 14
    notes = [note for note in (poster.description, _risk(poster, language)) if note]
    for note in notes:
        most = int((foot - paper.y) / 7.5)
        if most >= 1:
            paper.gap(1)
            paper.text(note, 14, most_lines=most)
    paper.y = foot
    paper.qr(poster.address, QR_MM, MARGIN, foot)
    left = MARGIN + QR_MM + 6
    paper.gap(14)
    paper.text(say(language, "poster_scan"), 30, bold=True, x=left)
    paper.gap(3)
    paper.text(say(language, "poster_no_phone"), 15, x=left)
    paper.gap(3)
    paper.text(poster.address, 9, x=left)
    return paper.finished(lambda page, pages: "")


def _risk(poster: Poster, language: Language) -> str:
    colon = ": " if language == "en" else "\uff1a"
    return f"{say(language, 'poster_risk')}{colon}{poster.risk_note}" if poster.risk_note else ""
