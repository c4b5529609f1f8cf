"""The page that says why there are no points, for the person to take home."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from jishan_server.errors import Language
from jishan_server.printing.paper import Column, Paper
from jishan_server.printing.words import day, say


@dataclass(frozen=True, slots=True)
class Case:
    day: str
    title: str
    reason: str


@dataclass(frozen=True, slots=True)
class WhyNot:
    name: str
    first_day: str
    last_day: str
    cases: Sequence[Case]
    is_whole: bool
    printed_day: str
    printed_at: datetime


def why_not(found: WhyNot, language: Language) -> bytes:
    """The page as a file."""
    paper = Paper(say(language, "why_not"), language, found.printed_at)
    paper.text(say(language, "why_not"), 20, bold=True, align="C")
    first, last = day(language, found.first_day), day(language, found.last_day)
    paper.text(say(language, "why_not_who", name=found.name, first=first, last=last), 13, align="C")
    paper.gap(4)
    if found.cases:
        columns = [
            Column(say(language, "day"), 28, "C"),
            Column(say(language, "activity"), 52),
            Column(say(language, "why_not_reason"), 94),
        ]
        none = say(language, "nothing")
        paper.table(columns, [(one.day, one.title or none, one.reason) for one in found.cases], 11.5)
    else:
        paper.text(say(language, "why_not_none"), 14, align="C")
    paper.gap(3)
    if not found.is_whole:
        paper.text(say(language, "why_not_more"), 11.5)
    paper.text(say(language, "why_not_ask"), 11.5)
    printed = say(language, "printed", day=day(language, found.printed_day))
    return paper.finished(lambda page, pages: f"{printed}    {say(language, 'page', page=page, pages=pages)}")
