"""A resident's own pages, for a phone first."""

from typing import Any

from flask import render_template, request
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _

from jishan_server.api.asking import actor
from jishan_server.api.paging import page, read_cursor
from jishan_server.people import residents as people
from jishan_server.reading import reading
from jishan_server.volunteering import statements
from jishan_server.web.ground import for_residents, pages, resident_id

resident = pages("resident", "/my")

NEWEST = 5
ON_A_PAGE = 50


@resident.get("")
@for_residents
def home() -> ResponseReturnValue:
    """What I have, what is held, pending and about to expire, and what changed last."""
    id = resident_id()
    entries, _after = statements.statement(reading(), actor(), id, None, NEWEST)
    return render_template(
        "resident/home.html",
        person=people.resident(reading(), actor(), id),
        balance=statements.balance(reading(), actor(), id),
        entries=entries,
        entry_words=entry_words,
    )


@resident.get("/statement")
@for_residents
def statement() -> ResponseReturnValue:
    """Every entry, newest first."""
    after = read_cursor(request.args.get("cursor"))
    found = page(*statements.statement(reading(), actor(), resident_id(), after, ON_A_PAGE))
    return render_template(
        "resident/statement.html",
        entries=found["items"],
        next_cursor=found["next_cursor"],
        entry_words=entry_words,
    )


def entry_words(entry: dict[str, Any]) -> str:
    """One entry of the statement in a few words."""
    known = {
        "post": _("积分入账"),
        "hold": _("兑换中，积分先留着"),
        "capture": _("兑换商品"),
        "void": _("没有出货，积分已退回"),
        "reversal": _("更正"),
        "expiry": _("积分到期"),
    }
    return str(entry["activity"] or known.get(entry["kind"], _("积分变动")))
