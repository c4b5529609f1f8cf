"""A resident's points: the statement month by month, what each number is made of, and why there are none."""

from datetime import date, timedelta
from typing import Any, Final

from flask import Response, render_template, request
from flask.typing import ResponseReturnValue

from jishan_server.api.asking import actor, parts
from jishan_server.api.prints import pdf
from jishan_server.errors import DomainError
from jishan_server.explaining import points
from jishan_server.printing.explained import why_not as why_not_paper
from jishan_server.printing.passbook import cards as card_paper
from jishan_server.printing.passbook import passbook as passbook_paper
from jishan_server.reading import reading
from jishan_server.sheets.writing import MEDIA_TYPES
from jishan_server.volunteering import papers, statements, why_not
from jishan_server.web.ground import for_residents, language, pages, resident_id, today, zone
from jishan_server.web.resident import entry_words
from jishan_server.web.resident_forms import day_of, refusal

resident_points = pages("resident_points", "/my")

FIRST_YEAR: Final = 2000
USUAL_SPAN: Final = timedelta(days=90)
"""What "why not" looks through unless other days are chosen."""


@resident_points.get("/statement")
@for_residents
def statement() -> ResponseReturnValue:
    """The entries of one month, oldest first; it prints as it stands."""
    wanted = _month(request.args.get("month"))
    entries = statements.month(reading(), actor(), resident_id(), wanted, zone())
    this = date.fromisoformat(f"{wanted}-01")
    return render_template(
        "resident/statement.html",
        month=wanted,
        first_day=this,
        before=(this - timedelta(days=1)).strftime("%Y-%m"),
        after=(this + timedelta(days=31)).strftime("%Y-%m") if wanted < today().strftime("%Y-%m") else None,
        entries=entries,
        came=sum(max(0, one["posted_change_points"]) for one in entries),
        went=sum(min(0, one["posted_change_points"]) for one in entries),
        entry_words=entry_words,
    )


@resident_points.get("/statement.csv")
@for_residents
def statement_csv() -> Response:
    """The same as a sheet."""
    wanted = _month(request.args.get("month"))
    entries = statements.month(reading(), actor(), resident_id(), wanted, zone())
    answer = Response(statements.month_csv(entries, language(), zone()), content_type=MEDIA_TYPES["csv"])
    answer.headers["Content-Disposition"] = f'attachment; filename="statement-{wanted}.csv"'
    return answer


@resident_points.get("/explain")
@for_residents
def explain() -> ResponseReturnValue:
    """Every number, and what it is made of."""
    found = points.explain(reading(), actor(), resident_id(), parts().clock(), zone())
    return render_template("resident/explain.html", found=found)


@resident_points.get("/why-not")
@for_residents
def why_no_points() -> ResponseReturnValue:
    """What could have become points in a span of days, and where it stopped."""
    found, problem, status = None, "", 200
    first, last = request.args.get("first_day", ""), request.args.get("last_day", "")
    try:
        found = _why_not(*_span(first, last))
    except DomainError as error:
        problem, status = refusal(error), error.status
    if found is not None:
        first, last = found["first_day"], found["last_day"]
    return render_template("resident/why_not.html", found=found, first=first, last=last, problem=problem), status


@resident_points.get("/why-not.pdf")
@for_residents
def why_no_points_pdf() -> Response:
    """The same on a page to take along."""
    first, last = _span(request.args.get("first_day", ""), request.args.get("last_day", ""))
    found = papers.why_not(reading(), actor(), resident_id(), first, last, parts().clock(), zone(), language())
    return pdf(lambda: why_not_paper(found, language()), "why-not", f"积分说明-{found.name}-{found.last_day}")


@resident_points.get("/passbook.pdf")
@for_residents
def passbook() -> Response:
    """Balance and last entries in large type."""
    book = papers.passbook(reading(), actor(), resident_id(), parts().clock(), zone())
    return pdf(lambda: passbook_paper(book, language()), "passbook", f"积分存折-{book.name}-{book.printed_day}")


@resident_points.get("/card.pdf")
@for_residents
def card() -> Response:
    """A card with the member number as digits and as a code."""
    mine, now = papers.card(reading(), actor(), resident_id()), parts().clock()
    return pdf(lambda: card_paper([mine], language(), now), "card", "志愿者卡")


def _month(wanted: str | None) -> str:
    """A month as `2026-03`; the current one for none, or for what is none."""
    now = today().strftime("%Y-%m")
    try:
        found = date.fromisoformat(f"{wanted}-01")
    except ValueError:
        return now
    return min(now, found.strftime("%Y-%m")) if found.year >= FIRST_YEAR else now


def _span(first: str, last: str) -> tuple[date, date]:
    """The days that were chosen, else the last ones; refusal: day_invalid."""
    end = day_of(last) or today()
    return day_of(first) or end - USUAL_SPAN, end


def _why_not(first: date, last: date) -> dict[str, Any]:
    return why_not.why_not(reading(), actor(), resident_id(), first, last, parts().clock(), zone())
