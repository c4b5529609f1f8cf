"""Who came, on a phone: the list to tick, those who came late, checking in and out, the code on the wall.

What was saved stays saved: a list is sent in parts, who is there already is said, and a row that is refused comes back
with its reason while the others stand.
"""

from collections.abc import Mapping
from io import BytesIO
from typing import Any, Final

import segno
from flask import render_template, request
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _

from jishan_server.api.asking import actor, change, note_access, parts
from jishan_server.errors import DomainError
from jishan_server.instants import iso
from jishan_server.organizations.roles import Permission
from jishan_server.people.residents import hashed_card
from jishan_server.reading import reading
from jishan_server.volunteering import codes, recording, reviewing
from jishan_server.volunteering import sessions as planning
from jishan_server.volunteering.planned import permitted
from jishan_server.web.desk_ground import can, desk, in_words, moment, said, typed, words
from jishan_server.web.desk_people import found_people
from jishan_server.web.ground import done, for_staff

CODE_PATH: Final = "a"
"""What the address in a session's code begins with, below the address of the server."""
MAX_SHOWN: Final = 1_000
BORDER: Final = 2
"""The page is white around the code: the four modules that the standard asks for would only make it smaller."""


@desk.get("/sessions/<id:session_id>")
@for_staff
def session(session_id: str) -> ResponseReturnValue:
    """A session: who is expected, who is there, and everything that can be done about it."""
    return _session(session_id)


@desk.post("/sessions/<id:session_id>/tick")
@for_staff
def tick(session_id: str) -> ResponseReturnValue:
    """Save those who are ticked."""
    ids = list(dict.fromkeys(request.form.getlist("resident_id")))
    if not ids:
        return _session(session_id, DomainError("fields_invalid", names=_("要签到的人")))
    rows = tuple(recording.Row(number, resident_id=id) for number, id in enumerate(ids, start=1))
    return _recorded(session_id, rows)


@desk.post("/sessions/<id:session_id>/add")
@for_staff
def add_late(session_id: str) -> ResponseReturnValue:
    """Add somebody who is not on the list: by name, initials, the end of a number, a card; or choose among several."""
    try:
        chosen = request.form.get("resident_id")
        typed_in = words("who", _("姓名或号码"), most=40, least=0 if chosen else 1)
        if chosen is None:
            found = found_people(
                typed_in, permitted(reading(), actor(), Permission.ATTENDANCE_WRITE, session_id)["organization_id"]
            )
            if len(found) != 1:
                return _session(session_id, candidates=found, looked_for=typed_in)
            chosen = found[0]["id"]
    except DomainError as error:
        return _session(session_id, error)
    return _recorded(session_id, (recording.Row(1, resident_id=chosen),))


def _recorded(session_id: str, rows: tuple[recording.Row, ...]) -> ResponseReturnValue:
    try:
        reason = words("reason", _("补录原因"), least=0)
        body = recording.RecordAttendances(actor(), session_id, rows, request.form.get("photo") or None, reason)
        answer = change("record_attendances", body)
    except DomainError as error:
        return _session(session_id, error)
    if answer["problems"]:
        return _session(session_id, answer=answer)
    told = _("已签到%(n)s人。", n=len(answer["saved"]))
    if answer["already"]:
        told += _("%(n)s人早就在名单上了。", n=len(answer["already"]))
    return done(told, ".session", session_id=session_id)


@desk.post("/sessions/<id:session_id>/check")
@for_staff
def check(session_id: str) -> ResponseReturnValue:
    """Check one person in or out now: by the card that a reader types, or from the list."""
    direction: recording.Direction = "out" if request.form.get("direction") == "out" else "in"
    card = request.form.get("card", "").strip()
    try:
        body = recording.CheckOne(
            actor(),
            session_id,
            direction,
            resident_id=None if card else request.form.get("resident_id"),
            card_hash=hashed_card(parts().hashing, card)[0] if card else None,
        )
        change("check_one", body)
    except DomainError as error:
        return _session(session_id, error)
    return done(_("已签退。") if direction == "out" else _("已签到。"), ".session", session_id=session_id)


@desk.post("/sessions/<id:session_id>/attendances/<id:attendance_id>")
@for_staff
def settle(session_id: str, attendance_id: str) -> ResponseReturnValue:
    """Confirm, correct or void one attendance."""
    verdict = request.form.get("verdict")
    try:
        if verdict == "confirm":
            change("confirm_attendance", reviewing.ConfirmAttendance(actor(), attendance_id))
        elif verdict == "void":
            change("void_attendance", reviewing.VoidAttendance(actor(), attendance_id, words("reason", _("原因"))))
        else:
            body = reviewing.CorrectAttendance(
                actor(),
                attendance_id,
                words("reason", _("原因")),
                checked_in_at=moment("in_day", "in_clock", _("签到时间")),
                checked_out_at=moment("out_day", "out_clock", _("签退时间")),
            )
            change("correct_attendance", body)
    except DomainError as error:
        return _session(session_id, error)
    return done(_("已保存。"), ".session", session_id=session_id)


@desk.post("/sessions/<id:session_id>/cancel")
@for_staff
def cancel_session(session_id: str) -> ResponseReturnValue:
    """Cancel a session that nobody attended."""
    try:
        change("cancel_session", planning.CancelSession(actor(), session_id, words("reason", _("取消原因"))))
    except DomainError as error:
        return _session(session_id, error)
    return done(_("这一场已取消，报名的人会收到通知。"), ".session", session_id=session_id)


@desk.get("/sessions/<id:session_id>/code")
@for_staff
def code(session_id: str) -> ResponseReturnValue:
    """The code that is shown now, large, for a wall or a second phone; it renews itself."""
    found = permitted(reading(), actor(), Permission.ATTENDANCE_WRITE, session_id)
    return render_template("desk/code.html", session_id=session_id, title=found["title"], **_code(session_id))


@desk.get("/sessions/<id:session_id>/code.json")
@for_staff
def next_code(session_id: str) -> ResponseReturnValue:
    """The same for the page to renew itself."""
    permitted(reading(), actor(), Permission.ATTENDANCE_WRITE, session_id)
    return _code(session_id)


@desk.get("/sessions/<id:session_id>/code.svg")
@for_staff
def code_picture(session_id: str) -> ResponseReturnValue:
    """The QR code of the code that is shown now."""
    permitted(reading(), actor(), Permission.ATTENDANCE_WRITE, session_id)
    picture = BytesIO()
    segno.make(_code(session_id)["address"], error="m").save(picture, kind="svg", border=BORDER, omitsize=True)
    return picture.getvalue(), {"Content-Type": "image/svg+xml"}


def _code(session_id: str) -> dict[str, Any]:
    now = parts().clock()
    code = codes.code(codes.attendance_key(parts().config.secret), session_id, now)
    ends_at = codes.ends_at(now)
    return {
        "code": code,
        "address": f"{parts().config.site_url}/{CODE_PATH}/{session_id}-{code}",
        "ends_at": iso(ends_at),
        "remaining_s": max(1, round((ends_at - now).total_seconds())),
    }


def _session(
    session_id: str,
    error: DomainError | None = None,
    answer: Mapping[str, Any] | None = None,
    candidates: list[dict[str, Any]] | None = None,
    looked_for: str = "",
) -> tuple[str, int]:
    found = planning.session(reading(), actor(), session_id)
    came, _further = reviewing.page(reading(), actor(), session_id, None, MAX_SHOWN)
    expected = (
        [one for one in reviewing.suggested_people(reading(), actor(), session_id) if not one["came"]]
        if can(Permission.ATTENDANCE_WRITE)
        else []
    )
    note_access("session", people=len(came) + len(expected))
    now = parts().clock()
    names = {one["resident_id"]: one["name"] for one in expected}
    ticked = request.form.getlist("resident_id")
    problems = []
    if answer is not None:
        for one in answer["problems"]:
            name = names.get(ticked[one["row"] - 1], "") if one["row"] <= len(ticked) else ""
            problems.append(f"{name} {in_words(one['message_zh'], one['message_en'])}".strip())
    shown = render_template(
        "desk/session.html",
        sitting=found,
        came=[one for one in came if one["state"] != "void"],
        void=[one for one in came if one["state"] == "void"],
        expected=expected,
        is_begun=iso(now) >= found["starts_at"],
        is_over=iso(now) >= found["ends_at"],
        is_closed=iso(now) > found["closes_at"],
        uncredited=sum(1 for one in came if one["state"] == "closed" and one["credited_at"] is None),
        problems=problems,
        saved=len(answer["saved"]) if answer else 0,
        candidates=candidates,
        looked_for=looked_for,
        ticked=set(ticked),
        typed=typed(),
        flags=flag_words(),
        error=error and said(error),
    )
    status = error.status if error else 422 if problems or candidates is not None else 200
    return shown, status


def flag_words() -> dict[str, str]:
    """What is unusual about an attendance, in words."""
    return {
        "backdated": _("补录的场次"),
        "late": _("事后补记"),
        "overtime": _("超时签退"),
        "closed_by_plan": _("没有签退，按计划结束"),
        "corrected": _("改过时间"),
    }
