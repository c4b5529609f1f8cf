"""Activities for a resident: what is near, signing up and giving a place back, and being there by the rotating code.

`/a/<code>` is where a phone goes that scans a code: `<session>-<six digits>` from the screen at the activity, or the id
of an activity from its poster. A rotating code that was opened in time stays good for `GOOD_FOR` in that browser, so
that somebody can log in first: the moment of opening stands in the signed cookie, and the code is judged by it. Whether
it was right is said only after the login, where wrong ones are counted.
"""

import re
from datetime import datetime, timedelta
from typing import Any, Final

from flask import redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _

from jishan_server.api.asking import actor, change, parts
from jishan_server.api.paging import page, read_cursor
from jishan_server.db import from_ms, to_ms
from jishan_server.errors import DomainError
from jishan_server.organizations.roles import Permission
from jishan_server.reading import reading
from jishan_server.volunteering import codes, recording, reviewing, signing_up
from jishan_server.volunteering.papers import ACTIVITY_PATH
from jishan_server.volunteering.planned import permitted
from jishan_server.web.ground import done, for_residents, pages, resident_id, zone
from jishan_server.web.resident_forms import ON_A_PAGE, asked, id_of, text_of

resident_activities = pages("resident_activities", "/my")
arrivals = pages("arrivals")

GOOD_FOR: Final = timedelta(minutes=10)
"""How long a code stays good in the browser that opened it in time: a first login takes some minutes."""
OPENED: Final = "opened_code"
"""Where the cookie keeps it: [session, code, milliseconds]. A login keeps it, too."""

_ROTATING: Final = re.compile(r"([0-9a-z_-]{1,40})-([0-9]{6})")


@resident_activities.get("/activities")
@for_residents
def list_activities() -> ResponseReturnValue:
    """What one may sign up for, the next one first, and above it what one has signed up for."""
    id, now = resident_id(), parts().clock()
    after = read_cursor(request.args.get("cursor"))
    about = id_of("activity")
    found = page(*signing_up.near(reading(), id, now, zone(), after, ON_A_PAGE, about=about))
    return render_template(
        "resident/activities.html",
        is_one=about is not None,
        mine=[] if after or about else _coming(id, now),
        items=found["items"],
        next_cursor=found["next_cursor"],
    )


@resident_activities.route("/activities/<id:session_id>", methods=["GET", "POST"])
@for_residents
def activity(session_id: str) -> ResponseReturnValue:
    """One session: what, where, when; sign up, or give the place back."""
    id = resident_id()

    def act() -> ResponseReturnValue:
        if held := id_of("cancel"):
            change("cancel_sign_up", signing_up.CancelSignUp(actor(), held))
            return done(_("已取消报名。"), "pages_resident_activities.activity", session_id=session_id)
        made = change("sign_up", signing_up.SignUp(actor(), session_id, id))
        if made["state"] == "waiting":
            words = _("人满了，您在候补第%(n)s位；有人退出就轮到您，会通知您。", n=made["place_in_line"])
        else:
            words = _("报名成功。")
        return done(words, "pages_resident_activities.activity", session_id=session_id)

    def shown() -> dict[str, Any]:
        found, _after = signing_up.near(reading(), id, parts().clock(), zone(), None, 1, about=session_id)
        if not found:
            raise DomainError("session_unknown", id=session_id)
        own, _after = signing_up.mine(reading(), id, None, ON_A_PAGE)
        mine = next((one for one in own if one["session_id"] == session_id and one["state"] != "cancelled"), None)
        return {"one": found[0], "mine": mine, "is_open": _is_open(found[0])}

    return asked("resident/activity.html", act, shown)


@resident_activities.get("/attendances")
@for_residents
def list_attendances() -> ResponseReturnValue:
    """Where I was, and whether it was credited."""
    after = read_cursor(request.args.get("cursor"))
    found = page(*reviewing.mine(reading(), resident_id(), after, ON_A_PAGE))
    return render_template("resident/attendances.html", items=found["items"], next_cursor=found["next_cursor"])


@arrivals.get(f"/{ACTIVITY_PATH}/<string(maxlength=60):code>")
def arrive(code: str) -> ResponseReturnValue:
    """A code was scanned: keep the moment, and go on to the login or to the activity."""
    if (scanned := _ROTATING.fullmatch(code)) is not None:
        _keep(scanned[1], scanned[2])
        where = url_for("pages_resident_activities.check", session_id=scanned[1])
    else:
        where = url_for("pages_resident_activities.list_activities", activity=code)
    return redirect(where, 303)


@resident_activities.route("/check/<id:session_id>", methods=["GET", "POST"])
@for_residents
def check(session_id: str) -> ResponseReturnValue:
    """Check in or out by the code that was scanned, or by the one that is typed."""
    id = resident_id()

    def act() -> ResponseReturnValue:
        direction: recording.Direction = "out" if request.form.get("direction") == "out" else "in"
        typed = text_of("code")
        at = parts().clock()
        if not typed:
            typed, at = _opened(session_id)
        fits = codes.fits(codes.attendance_key(parts().config.secret), session_id, typed, at)
        made = change("check_by_code", recording.CheckByCode(actor(), session_id, direction, typed, fits))
        session.pop(OPENED, None)
        if direction == "in":
            words = _("签到成功。离开时请再扫一次，签退。")
        else:
            words = _("签退成功，这次共%(n)s分钟。", n=made["minutes"])
        return done(words, "pages_resident_activities.list_attendances")

    def shown() -> dict[str, Any]:
        found = permitted(reading(), actor(), Permission.ACTIVITY_READ, session_id, about=id)
        recent, _after = reviewing.mine(reading(), id, None, ON_A_PAGE)
        here = next((one for one in recent if one["session_id"] == session_id), None)
        return {"one": found, "here": here, "is_scanned": _is_scanned(session_id)}

    return asked("resident/check.html", act, shown)


def _coming(id: str, now: datetime) -> list[dict[str, Any]]:
    """What somebody has signed up for and is not over, the next one first."""
    own, _after = signing_up.mine(reading(), id, None, ON_A_PAGE)
    ahead = [one for one in own if one["state"] != "cancelled" and datetime.fromisoformat(one["ends_at"]) > now]
    return ahead[::-1]


def _is_open(one: dict[str, Any]) -> bool:
    return parts().clock() < datetime.fromisoformat(one["sign_up_until_at"])


def _keep(session_id: str, code: str) -> None:
    """Note the moment at which a code was opened; the same one opened again keeps its first."""
    known = session.get(OPENED)
    if known is None or known[:2] != [session_id, code]:
        session[OPENED] = [session_id, code, to_ms(parts().clock())]


def _is_scanned(session_id: str) -> bool:
    known = session.get(OPENED)
    return known is not None and known[0] == session_id and parts().clock() < from_ms(known[2]) + GOOD_FOR


def _opened(session_id: str) -> tuple[str, datetime]:
    """The code that this browser opened and when; refusal: attendance_code_old."""
    if not _is_scanned(session_id):
        raise DomainError("attendance_code_old")
    _session, code, at = session[OPENED]
    return code, from_ms(at)
