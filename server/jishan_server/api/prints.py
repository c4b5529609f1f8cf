"""What goes on paper, as PDF: notices, posters, sheets to sign, passbooks, cards, why there are no points."""

import threading
from collections.abc import Callable
from datetime import date
from typing import Any, Final
from urllib.parse import quote

from flask import Response
from marshmallow import Schema, fields, validate

from jishan_server.api.asking import actor, language, me, note_access, parts
from jishan_server.api.blueprints import Blueprint
from jishan_server.api.schemas import MAX_NAME, Day, Strict, Text
from jishan_server.errors import Language
from jishan_server.printing.attendance import attendance_sheet
from jishan_server.printing.explained import why_not as why_not_page
from jishan_server.printing.notices import notice_sheet, poster
from jishan_server.printing.passbook import Card
from jishan_server.printing.passbook import cards as card_sheet
from jishan_server.printing.passbook import passbook as passbook_page
from jishan_server.reading import reading
from jishan_server.volunteering import papers

prints = Blueprint("prints", "What goes on paper: PDF")

_PRESS: Final = threading.Lock()
"""One paper at a time: each takes a fifth of a second of one core and 30 MB, and eight at once would take no less."""


class PrintWanted(Strict):
    language = fields.String(
        load_default=None,
        validate=validate.OneOf(["zh", "en"]),
        metadata={"description": "Of the paper; else that of Accept-Language."},
    )


class NoticeSheetWanted(PrintWanted):
    where = Text(MAX_NAME, load_default=None, metadata={"description": "Where one objects; else room to write it."})
    telephone = Text(40, load_default=None)


class CardsWanted(PrintWanted):
    after = fields.String(
        load_default=None,
        validate=validate.Regexp(r"[0-9]{8}\Z"),
        metadata={"description": "The member number after which to go on; a file has at most a hundred cards."},
    )


class WhyNotWanted(PrintWanted):
    first_day = Day(required=True)
    last_day = Day(required=True)


class SheetFound(Schema):
    session_id = fields.String()


@prints.get("/estates/<id:estate_id>/notice-sheet.pdf")
@prints.takes(NoticeSheetWanted, location="query")
@prints.answers(200)
def get_notice_sheet(wanted: dict[str, Any], estate_id: str) -> Response:
    """The public notice of an estate, for its board: masked names, building only."""
    where, telephone, chosen = wanted["where"], wanted["telephone"], _in(wanted)
    sheet = papers.notice_sheet(reading(), actor(), estate_id, where, telephone, parts().clock(), _zone())
    return pdf(lambda: notice_sheet(sheet, chosen), "notice", f"公示-{sheet.estate}-{sheet.printed_day}")


@prints.get("/activities/<id:activity_id>/poster.pdf")
@prints.takes(PrintWanted, location="query")
@prints.answers(200)
def get_poster(wanted: dict[str, Any], activity_id: str) -> Response:
    """The poster of a published activity, with a code to sign up by."""
    site_url, chosen = parts().config.site_url, _in(wanted)
    found = papers.poster(reading(), actor(), activity_id, site_url, parts().clock(), _zone(), chosen)
    return pdf(lambda: poster(found, chosen), "poster", f"海报-{found.title}")


@prints.get("/sessions/<id:session_id>/sheet.pdf")
@prints.takes(PrintWanted, location="query")
@prints.answers(200)
def get_attendance_sheet(wanted: dict[str, Any], session_id: str) -> Response:
    """The sheet to sign: who is expected, empty lines, and the code that it is typed back by."""
    site_url, chosen = parts().config.site_url, _in(wanted)
    sheet = papers.attendance_sheet(reading(), actor(), session_id, site_url, parts().clock(), _zone(), chosen)
    note_access("sheet", people=len(sheet.people))
    return pdf(lambda: attendance_sheet(sheet, chosen), f"sheet-{sheet.code}", f"签到表-{sheet.title}-{sheet.code}")


@prints.get("/sheets/<id:code>")
@prints.answers(200, SheetFound)
def get_session_of_sheet(code: str) -> dict[str, str]:
    """The session that the code on a sheet names."""
    return {"session_id": papers.session_of_sheet(reading(), actor(), code)}


@prints.get("/residents/<id:resident_id>/passbook.pdf")
@prints.takes(PrintWanted, location="query")
@prints.answers(200)
def get_passbook(wanted: dict[str, Any], resident_id: str) -> Response:
    """Balance and last entries in large type."""
    note_access("passbook", resident_id)
    return _passbook(resident_id, wanted)


@prints.get("/me/passbook.pdf")
@prints.takes(PrintWanted, location="query")
@prints.answers(200)
def get_my_passbook(wanted: dict[str, Any]) -> Response:
    """The same of oneself."""
    return _passbook(me(), wanted)


@prints.get("/residents/<id:resident_id>/card.pdf")
@prints.takes(PrintWanted, location="query")
@prints.answers(200)
def get_card(wanted: dict[str, Any], resident_id: str) -> Response:
    """A card with the member number as digits and as a code; the PIN is asked for all the same."""
    note_access("card", resident_id)
    return _cards([papers.card(reading(), actor(), resident_id)], wanted)


@prints.get("/me/card.pdf")
@prints.takes(PrintWanted, location="query")
@prints.answers(200)
def get_my_card(wanted: dict[str, Any]) -> Response:
    """The same of oneself."""
    return _cards([papers.card(reading(), actor(), me())], wanted)


@prints.get("/estates/<id:estate_id>/cards.pdf")
@prints.takes(CardsWanted, location="query")
@prints.answers(200)
def get_cards(wanted: dict[str, Any], estate_id: str) -> Response:
    """Cards of the people of an estate, ten on a page, to cut out."""
    people = papers.cards(reading(), actor(), estate_id, wanted["after"])
    note_access("cards", people=len(people))
    return _cards(people, wanted)


@prints.get("/residents/<id:resident_id>/why-not.pdf")
@prints.takes(WhyNotWanted, location="query")
@prints.answers(200)
def get_why_not_page(wanted: dict[str, Any], resident_id: str) -> Response:
    """Why there are no points, on a page to take home."""
    note_access("why_not", resident_id)
    return _why_not(resident_id, wanted)


@prints.get("/me/why-not.pdf")
@prints.takes(WhyNotWanted, location="query")
@prints.answers(200)
def get_my_why_not_page(wanted: dict[str, Any]) -> Response:
    """The same of oneself."""
    return _why_not(me(), wanted)


def pdf(make: Callable[[], bytes], name: str, name_zh: str) -> Response:
    """A PDF to be saved: `name` in ASCII, and the Chinese one for programs that know RFC 5987."""
    with _PRESS:
        content = make()
    answer = Response(content, content_type="application/pdf")
    full = quote(f"{name_zh}.pdf", safe="")
    answer.headers["Content-Disposition"] = f"attachment; filename=\"{name}.pdf\"; filename*=UTF-8''{full}"
    return answer


def _in(wanted: dict[str, Any]) -> Language:
    chosen: Language = wanted["language"] or language()
    return chosen


def _passbook(resident_id: str, wanted: dict[str, Any]) -> Response:
    book = papers.passbook(reading(), actor(), resident_id, parts().clock(), _zone())
    chosen = _in(wanted)
    return pdf(lambda: passbook_page(book, chosen), "passbook", f"积分存折-{book.name}-{book.printed_day}")


def _cards(people: list[Card], wanted: dict[str, Any]) -> Response:
    chosen, now = _in(wanted), parts().clock()
    return pdf(lambda: card_sheet(people, chosen, now), "cards", "志愿者卡")


def _why_not(resident_id: str, wanted: dict[str, Any]) -> Response:
    first, last = (date.fromisoformat(wanted[name]) for name in ("first_day", "last_day"))
    now, chosen = parts().clock(), _in(wanted)
    found = papers.why_not(reading(), actor(), resident_id, first, last, now, _zone(), chosen)
    return pdf(lambda: why_not_page(found, chosen), "why-not", f"积分说明-{found.name}-{found.last_day}")


def _zone() -> Any:
    return parts().vending.rules.zone
