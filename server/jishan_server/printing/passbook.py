"""What a person without a phone takes home: the page with the balance in large type, and the card with their number."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from jishan_server.errors import Language
from jishan_server.printing.paper import MARGIN, Column, Paper
from jishan_server.printing.words import day, say

CARD_MM: Final = (87.0, 52.0)
CARDS_ON_A_PAGE: Final = 10
CARD_QR_MM: Final = 30.0


@dataclass(frozen=True, slots=True)
class Line:
    """One entry: `what` is the activity, or a key `entry_...` of the words."""

    day: str
    what: str
    points: int
    balance: int


@dataclass(frozen=True, slots=True)
class Passbook:
    """Entries are the newest first. `expiry` is points and the last day on which they can be used."""

    name: str
    member_number: str
    estate: str
    available: int
    pending: int
    held: int
    owed: int
    expiry: tuple[int, str] | None
    lines: Sequence[Line]
    printed_day: str
    printed_at: datetime


@dataclass(frozen=True, slots=True)
class Card:
    name: str
    member_number: str
    estate: str


def passbook(book: Passbook, language: Language) -> bytes:
    """One page or a few; nothing on it is smaller than 14 points but its foot."""
    paper = Paper(say(language, "passbook"), language, book.printed_at)
    paper.text(say(language, "passbook"), 26, bold=True, align="C")
    paper.gap(2)
    paper.text(f"{book.name}    {say(language, 'member_number')} {spaced(book.member_number)}", 18, align="C")
    paper.text(book.estate, 16, align="C")
    paper.gap(3)
    paper.rule(0.6)
    paper.gap(2)
    paper.text(say(language, "passbook_available"), 18, align="C")
    paper.text(str(book.available), 66, bold=True, align="C")
    for key, points in (("pending", book.pending), ("held", book.held), ("owed", book.owed)):
        if points:
            paper.text(say(language, f"passbook_{key}", points=points), 16, align="C")
    if book.expiry is not None:
        points, last = book.expiry
        paper.text(say(language, "passbook_expiry", points=points, day=day(language, last)), 16, align="C")
    paper.gap(3)
    if not book.lines:
        paper.text(say(language, "passbook_empty"), 18, align="C")
    else:
        paper.text(say(language, "passbook_last", count=len(book.lines)), 16, bold=True)
        paper.gap(1)
        columns = [
            Column(say(language, "day"), 38, "C"),
            Column(say(language, "passbook_what"), 80),
            Column(say(language, "passbook_change"), 28, "R"),
            Column(say(language, "passbook_balance"), 28, "R"),
        ]
        rows = [
            (line.day, _what(line, language), f"{line.points:+}".replace("-", "−"), str(line.balance))
            for line in book.lines
        ]
        paper.table(columns, rows, 15)
    printed = say(language, "printed", day=day(language, book.printed_day))
    return paper.finished(lambda page, pages: f"{printed}    {say(language, 'page', page=page, pages=pages)}")


def cards(people: Sequence[Card], language: Language, at: datetime) -> bytes:
    """Cards to cut out, ten on a page. The code on a card is its number and no secret: the PIN is asked for."""
    paper = Paper(say(language, "cards"), language, at)
    wide, tall = CARD_MM
    for number, card in enumerate(people):
        place = number % CARDS_ON_A_PAGE
        if number and not place:
            paper.page()
        left, top = MARGIN + (place % 2) * wide, MARGIN - 4 + (place // 2) * tall
        paper.frame(left, top, wide, tall)
        paper.qr(card.member_number, CARD_QR_MM, left + wide - CARD_QR_MM - 1, top + 8)
        paper.y = top + 3
        paper.text(f"{say(language, 'card')}  {card.estate}", 9, x=left + 4, width=wide - 8, most_lines=1)
        paper.gap(3)
        room = wide - CARD_QR_MM - 6
        size = 18 if len(paper.lines(card.name, 18, room)) == 1 else 11
        paper.text(card.name, size, x=left + 4, width=room, bold=True, most_lines=2)
        paper.text(say(language, "member_number"), 9, x=left + 4, width=room)
        paper.text(spaced(card.member_number), 19, x=left + 4, width=room, bold=True)
        paper.y = top + tall - 10
        paper.text(say(language, "card_use"), 8, x=left + 4, width=wide - 8, most_lines=2)
    return paper.finished(lambda page, pages: "")


def spaced(member_number: str) -> str:
    """A member number in two halves."""
    return f"{member_number[:4]} {member_number[4:]}"


def _what(line: Line, language: Language) -> str:
    return say(language, line.what) if line.what.startswith("entry_") else line.what
