"""A signed paper sheet typed back, by keyboard alone.

A name is found by the first letters of its pinyin, by a part of it, or by the end of a number; Enter takes the first
candidate, and each row is saved as it is typed. The plan's times hold. What nobody is known by is put aside in the
browser, not lost; who is there already is said. Without script the same field and the same form do one name at a time.
"""

from dataclasses import asdict
from datetime import datetime
from typing import Any, Final

from flask import render_template, request
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _

from jishan_server import attachments
from jishan_server.api.asking import actor, change, note_access, parts
from jishan_server.errors import DomainError
from jishan_server.organizations.roles import Permission, scope
from jishan_server.reading import reading
from jishan_server.volunteering import papers, recording, reviewing
from jishan_server.volunteering import sessions as planning
from jishan_server.volunteering.attendance import uncredited
from jishan_server.volunteering.codes import row_code
from jishan_server.volunteering.planned import permitted
from jishan_server.web.desk_ground import ON_A_PAGE, desk, in_words, local, people, said, typed, words
from jishan_server.web.desk_people import Known, estates_of, found_people, known_people
from jishan_server.web.ground import done, for_staff, today, zone

MAX_SHOWN: Final = 1_000


@desk.get("/sheets")
@for_staff
def sheets() -> ResponseReturnValue:
    """Find the session of a sheet: by its code, or among those of the last weeks."""
    return _sheets()


@desk.post("/sheets")
@for_staff
def find_sheet() -> ResponseReturnValue:
    """To the session that a sheet's code names."""
    try:
        code = words("code", _("签到表编号"), most=40).replace(" ", "")
        session_id = papers.session_of_sheet(reading(), actor(), code)
    except DomainError as error:
        return _sheets(error)
    return done(_("找到了。"), ".sheet", session_id=session_id)


def _sheets(error: DomainError | None = None) -> tuple[str, int]:
    visible = scope(reading(), actor(), Permission.ATTENDANCE_WRITE)
    recent, _further = planning.page(
        reading(),
        actor(),
        zone(),
        organization_id=None,
        activity_id=None,
        first_day=None,
        last_day=today(),
        after=None,
        limit=200,
    )
    waiting, _more = uncredited(reading(), visible, today(), zone(), None, ON_A_PAGE)
    late = {one.session_id for one in waiting}
    shown = render_template(
        "desk/sheets.html",
        sessions=[one for one in reversed(recent) if one["state"] != "cancelled"][:ON_A_PAGE],
        late=late,
        typed=typed(),
        error=error and said(error),
    )
    return shown, error.status if error else 200


@desk.get("/sheets/<id:session_id>")
@for_staff
def sheet(session_id: str) -> ResponseReturnValue:
    """Type a sheet."""
    return _sheet(session_id)


@desk.get("/sheets/<id:session_id>/people.json")
@for_staff
def sheet_people(session_id: str) -> ResponseReturnValue:
    """Whom a row may mean, for the page to look through as one types."""
    session = permitted(reading(), actor(), Permission.ATTENDANCE_WRITE, session_id)
    found = known_people(estates_of(session["organization_id"]))
    last = {one["resident_id"] for one in reviewing.suggested_people(reading(), actor(), session_id)}
    note_access("session", people=len(found))
    return {"people": [_known(one, session_id, last) for one in found]}


def _known(one: Known, session_id: str, expected: set[str]) -> dict[str, Any]:
    """`is_expected`: those of last time and those who signed up, who stand on the sheet, come first among namesakes."""
    is_expected = one.id in expected
    code = row_code(session_id, one.id).lower() if is_expected else ""
    return asdict(one) | {"is_expected": is_expected, "row_code": code}


@desk.post("/sheets/<id:session_id>")
@for_staff
def type_row(session_id: str) -> ResponseReturnValue:
    """Save one row: the person that was chosen, or whom the words mean. JSON where the page's script asks."""
    is_script = request.headers.get("Accept", "").startswith("application/json")
    try:
        chosen = request.form.get("resident_id") or None
        text = words("who", _("姓名或号码"), most=40, least=0 if chosen else 1)
        if chosen is None:
            organization_id = permitted(reading(), actor(), Permission.ATTENDANCE_WRITE, session_id)["organization_id"]
            found = found_people(text, organization_id)
            if len(found) != 1:
                return _sheet(session_id, candidates=found, looked_for=text)
            chosen = found[0]["id"]
        answer = _record(session_id, [chosen])
    except DomainError as error:
        return ({"problem": said(error)}, error.status) if is_script else _sheet(session_id, error)
    if is_script:
        return _answer(answer)
    if answer["problems"]:
        return _sheet(
            session_id, problem=in_words(answer["problems"][0]["message_zh"], answer["problems"][0]["message_en"])
        )
    name = people([chosen])[chosen]["name"] if answer["saved"] else ""
    return done(
        _("已录：%(name)s", name=name) if name else _("这位早就录过了。"), ".sheet", session_id=session_id, **_kept()
    )


@desk.post("/sheets/<id:session_id>/same")
@for_staff
def same_people(session_id: str) -> ResponseReturnValue:
    """Begin with those who were there the last time."""
    expected = reviewing.suggested_people(reading(), actor(), session_id)
    ids = [one["resident_id"] for one in expected if one["was_there_before"] and not one["came"]]
    if not ids:
        return done(_("上次来的人都已经录了，或者没有上一场。"), ".sheet", session_id=session_id, **_kept())
    try:
        answer = _record(session_id, ids[: recording.MAX_ROWS])
    except DomainError as error:
        return _sheet(session_id, error)
    if answer["problems"]:
        names = {one["resident_id"]: one["name"] for one in expected}
        told = "；".join(
            f"{names[ids[one['row'] - 1]]}：{in_words(one['message_zh'], one['message_en'])}"
            for one in answer["problems"]
        )
        return _sheet(session_id, problem=told)
    return done(
        _("已录上次的%(n)s人，没来的请删掉。", n=len(answer["saved"])), ".sheet", session_id=session_id, **_kept()
    )


@desk.post("/sheets/<id:session_id>/photo")
@for_staff
def sheet_photo(session_id: str) -> ResponseReturnValue:
    """Keep the photo of the signed sheet: with it, what is typed in time counts as the sheet says."""
    session = permitted(reading(), actor(), Permission.ATTENDANCE_WRITE, session_id)
    sent = request.files.get("photo")
    try:
        content = sent.read() if sent else b""
        body = attachments.for_keeping(actor(), "session", session_id, session["organization_id"], content)
        made = change("attach", body)
    except DomainError as error:
        return _sheet(session_id, error)
    return done(_("照片已存。"), ".sheet", session_id=session_id, photo=made["id"])


@desk.post("/sheets/<id:session_id>/remove/<id:attendance_id>")
@for_staff
def remove_row(session_id: str, attendance_id: str) -> ResponseReturnValue:
    """Take a row back that was typed by mistake."""
    change("void_attendance", reviewing.VoidAttendance(actor(), attendance_id, _("录签到表时录错")))
    return done(_("已删掉。"), ".sheet", session_id=session_id, **_kept())


def _record(session_id: str, ids: list[str]) -> dict[str, Any]:
    """Save rows with the plan's times: this is said of a session that is over; of one that runs, that they are here."""
    rows = tuple(recording.Row(number, resident_id=id) for number, id in enumerate(ids, start=1))
    photo = request.values.get("photo") or None
    reason = words("reason", _("补录原因"), least=0) if "reason" in request.form else ""
    return change("record_attendances", recording.RecordAttendances(actor(), session_id, rows, photo, reason))


def _answer(answer: dict[str, Any]) -> ResponseReturnValue:
    if answer["problems"]:
        one = answer["problems"][0]
        return {"problem": in_words(one["message_zh"], one["message_en"])}, 422
    if answer["already"]:
        return {"already": answer["already"][0]["resident_id"]}
    one = answer["saved"][0]
    return {"saved": one["resident_id"], "time": _time(one)}


def _time(one: dict[str, Any]) -> str:
    out = f"–{local(one['checked_out_at'], '%H:%M')}" if one["checked_out_at"] else ""
    return local(one["checked_in_at"], "%H:%M") + out


def _kept() -> dict[str, str]:
    """The photo and the reason hold for the rows after this one."""
    return {name: value for name in ("photo", "reason") if (value := request.values.get(name))}


def _sheet(
    session_id: str,
    error: DomainError | None = None,
    *,
    candidates: list[dict[str, Any]] | None = None,
    looked_for: str = "",
    problem: str = "",
) -> tuple[str, int]:
    permitted(reading(), actor(), Permission.ATTENDANCE_WRITE, session_id)
    session = planning.session(reading(), actor(), session_id)
    came, _further = reviewing.page(reading(), actor(), session_id, None, MAX_SHOWN)
    came = sorted((one for one in came if one["state"] != "void"), key=lambda one: one["recorded_at"], reverse=True)
    expected = reviewing.suggested_people(reading(), actor(), session_id)
    note_access("session", people=len(came) + len(expected))
    now = parts().clock()
    ended = datetime.fromisoformat(session["ends_at"]).astimezone(zone()).date()
    is_later = today() > ended and now > datetime.fromisoformat(session["closes_at"])
    shown = render_template(
        "desk/sheet.html",
        sitting=session,
        came=came,
        before=sum(1 for one in expected if one["was_there_before"] and not one["came"]),
        is_later=is_later,
        photo=request.values.get("photo", ""),
        reason=request.values.get("reason", ""),
        candidates=candidates,
        looked_for=looked_for,
        problem=problem,
        time_of=_time,
        error=error and said(error),
    )
    status = error.status if error else 422 if problem or candidates is not None else 200
    return shown, status
