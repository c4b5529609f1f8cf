"""A resident's own first page, and the list of everything else; for a phone first."""

from typing import Any, Final

from flask import render_template
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _

from jishan_server.api.asking import actor
from jishan_server.people import consents
from jishan_server.people import messages as inbox
from jishan_server.people import residents as people
from jishan_server.reading import reading
from jishan_server.vending import reports
from jishan_server.volunteering import appeals, statements
from jishan_server.web.ground import for_residents, language, pages, resident_id, today

resident = pages("resident", "/my")

NEWEST: Final = 5
WAITING: Final = 20
"""Of each kind of thing that waits: nobody has more open at once."""


@resident.get("")
@for_residents
def home() -> ResponseReturnValue:
    """What I have, what is held, pending and about to expire, what waits, and what changed last."""
    id = resident_id()
    entries, _after = statements.statement(reading(), actor(), id, None, NEWEST)
    return render_template(
        "resident/home.html",
        person=people.resident(reading(), actor(), id),
        balance=statements.balance(reading(), actor(), id),
        unread=inbox.unread(reading(), id),
        waiting=_waiting(id),
        entries=entries,
        entry_words=entry_words,
    )


@resident.get("/more")
@for_residents
def more() -> ResponseReturnValue:
    """Everything that there is, in one list."""
    return render_template("resident/more.html", person=people.resident(reading(), actor(), resident_id()))


def _waiting(id: str) -> dict[str, Any]:
    """What waits: for this person (consent), or for an answer to them (doubts, reports, appeals)."""
    told = "told_en" if language() == "en" else "told_zh"
    filed, _next = appeals.appeals_page(
        reading(), resident_id=id, state="filed", today=today(), after=None, limit=WAITING
    )
    reported, _last = reports.own(reading(), id, None, WAITING)
    return {
        "consent": consents.state(reading(), id),
        "doubts": [one[told] for one in reports.candidates(reading(), actor(), id) if one["state"] == "in_doubt"],
        "reports": [one for one in reported if one["state"] in ("open", "proposed")],
        "appeals": filed,
    }


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
