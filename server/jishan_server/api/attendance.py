"""Who came: the rotating code, checking in and out, lists and sheets, and what a person has to look at."""

from datetime import UTC
from typing import Any

from marshmallow import Schema, fields, validate

from jishan_server.api.asking import actor, change, me, note_access, parts
from jishan_server.api.blueprints import Blueprint
from jishan_server.api.paging import page, read_cursor
from jishan_server.api.schemas import MAX_TEXT, Paging, Strict, Text, WholeNumber, Why, an_id, an_instant, page_of
from jishan_server.errors import DomainError
from jishan_server.instants import iso
from jishan_server.organizations.roles import Permission
from jishan_server.people.residents import hashed_card
from jishan_server.reading import reading
from jishan_server.volunteering import codes, recording, reviewing
from jishan_server.volunteering.activities import visible
from jishan_server.volunteering.attendance import uncredited
from jishan_server.volunteering.judging import DAY_MINUTES
from jishan_server.volunteering.papers import ACTIVITY_PATH
from jishan_server.volunteering.planned import permitted

attendance = Blueprint("attendance", "Who came: codes, check-in, lists, sheets")


class SessionCode(Schema):
    session_id = fields.String()
    code = fields.String()
    address = fields.String(metadata={"description": "For a QR code: where a phone goes that scans it."})
    ends_at = an_instant()


class WhoCame(Strict):
    """Exactly one of the three."""

    resident_id = an_id(load_default=None, allow_none=True)
    card = fields.String(
        load_default=None,
        allow_none=True,
        validate=validate.Length(max=40),
        metadata={"description": "The card's UID in hex."},
    )
    who = fields.String(
        load_default=None,
        allow_none=True,
        validate=validate.Length(max=40),
        metadata={"description": "A row code, a member number, or its last three digits or more."},
    )


class AttendanceRow(WhoCame):
    row = WholeNumber(load_default=None, allow_none=True, validate=validate.Range(0, 1_000_000))
    checked_in_at = fields.String(
        load_default=None,
        allow_none=True,
        validate=validate.Length(max=40),
        metadata={"description": "RFC 3339, or the local time of day: 14:05."},
    )
    checked_out_at = fields.String(load_default=None, allow_none=True, validate=validate.Length(max=40))
    minutes = WholeNumber(load_default=None, allow_none=True)


class NewAttendances(Strict):
    rows = fields.List(fields.Nested(AttendanceRow), required=True, validate=validate.Length(1, recording.MAX_ROWS))
    attachment_id = an_id(
        load_default=None, allow_none=True, metadata={"description": "The photo of the signed sheet."}
    )
    reason = Text(MAX_TEXT, least=0, load_default="", metadata={"description": "Required for what is recorded late."})


class SavedRow(Schema):
    row = fields.Integer()
    attendance_id = fields.String()
    resident_id = fields.String()
    name = fields.String()
    state = fields.String()
    checked_in_at = an_instant()
    checked_out_at = an_instant()
    minutes = fields.Integer(allow_none=True)
    source = fields.String()
    flags = fields.List(fields.String())


class KnownRow(Schema):
    row = fields.Integer()
    attendance_id = fields.String()
    resident_id = fields.String()


class RowProblem(Schema):
    row = fields.Integer()
    field = fields.String(allow_none=True)
    code = fields.String()
    message_zh = fields.String()
    message_en = fields.String()
    # A field called `fields` would hide marshmallow's own.
    fields_ = fields.Dict(data_key="fields", attribute="fields")


class Attendances(Schema):
    """Rows that were saved, rows that were there already, and rows that are wrong."""

    session_id = fields.String()
    saved = fields.List(fields.Nested(SavedRow))
    already = fields.List(fields.Nested(KnownRow))
    problems = fields.List(fields.Nested(RowProblem))


class Attendance(Schema):
    id = fields.String()
    session_id = fields.String()
    resident_id = fields.String()
    estate_id = fields.String()
    checked_in_at = an_instant()
    checked_out_at = an_instant()
    minutes = fields.Integer(allow_none=True)
    source = fields.String(
        metadata={"description": "a: own code or card; b: list on the spot; c: signed sheet; d: claimed later."}
    )
    flags = fields.List(fields.String())
    state = fields.String()
    is_to_review = fields.Boolean()
    reason = fields.String(allow_none=True)
    attachment_id = fields.String(allow_none=True)
    recorded_by = fields.String()
    recorded_at = an_instant()
    credit_id = fields.String(allow_none=True)
    credited_at = an_instant()


class ListedAttendance(Attendance):
    name = fields.String()
    member_number = fields.String()


class AttendanceChange(Schema):
    change = fields.String()
    checked_in_at_before = an_instant()
    checked_out_at_before = an_instant()
    minutes_before = fields.Integer(allow_none=True)
    source_before = fields.String()
    reason = fields.String()
    actor = fields.String()
    recorded_at = an_instant()


class AttendanceStory(ListedAttendance):
    changes = fields.List(fields.Nested(AttendanceChange))


class OwnAttendance(Attendance):
    title = fields.String()
    place = fields.String()


class AttendanceCorrection(Why):
    checked_in_at = fields.AwareDateTime(load_default=None, allow_none=True, default_timezone=UTC)
    checked_out_at = fields.AwareDateTime(load_default=None, allow_none=True, default_timezone=UTC)
    minutes = WholeNumber(load_default=None, allow_none=True, validate=validate.Range(0, DAY_MINUTES))


class ReviewsWanted(Paging):
    organization_id = an_id(load_default=None)


class OverdueWanted(ReviewsWanted):
    before = fields.Date(
        load_default=None, metadata={"description": "Due before this local day; today if it is left out."}
    )


class OverdueSession(Schema):
    session_id = fields.String()
    activity_id = fields.String()
    organization_id = fields.String()
    title = fields.String()
    starts_at = an_instant()
    attendances = fields.Integer()
    to_review = fields.Integer()
    due_day = fields.Date()
    is_overdue = fields.Boolean()


class SuggestedPerson(Schema):
    resident_id = fields.String()
    name = fields.String()
    member_number = fields.String()
    was_there_before = fields.Boolean()
    signed_up = fields.Boolean()
    came = fields.Boolean()


class SessionSheetRow(Schema):
    number = fields.Integer()
    name = fields.String()
    member_number = fields.String()
    row_code = fields.String()


class SessionSheet(Schema):
    session_id = fields.String()
    title = fields.String()
    place = fields.String()
    starts_at = an_instant()
    ends_at = an_instant()
    break_minutes = fields.Integer()
    rows = fields.List(fields.Nested(SessionSheetRow))


class TypedCode(Strict):
    session_id = an_id(required=True)
    code = fields.String(required=True, validate=validate.Length(max=40))


@attendance.get("/sessions/<id:session_id>/code")
@attendance.answers(200, SessionCode)
def get_code(session_id: str) -> dict[str, Any]:
    """The code to show now, and when the next one comes."""
    permitted(reading(), actor(), Permission.ATTENDANCE_WRITE, session_id)
    now = parts().clock()
    code = codes.code(_key(), session_id, now)
    return {
        "session_id": session_id,
        "code": code,
        "address": f"/{ACTIVITY_PATH}/{session_id}-{code}",
        "ends_at": iso(codes.ends_at(now)),
    }


@attendance.post("/sessions/<id:session_id>/check-in")
@attendance.takes(WhoCame)
@attendance.answers(200, Attendance)
def check_in(body: dict[str, Any], session_id: str) -> dict[str, Any]:
    """Somebody is here now: by their card, or ticked. A second time changes nothing."""
    return change("check_one", recording.CheckOne(actor(), session_id, "in", **_who(body)))


@attendance.post("/sessions/<id:session_id>/check-out")
@attendance.takes(WhoCame)
@attendance.answers(200, Attendance)
def check_out(body: dict[str, Any], session_id: str) -> dict[str, Any]:
    """Somebody leaves now. A second time changes nothing."""
    return change("check_one", recording.CheckOne(actor(), session_id, "out", **_who(body)))


@attendance.post("/sessions/<id:session_id>/attendances")
@attendance.takes(NewAttendances)
@attendance.answers(200, Attendances)
def record_attendances(body: dict[str, Any], session_id: str) -> dict[str, Any]:
    """Save the good rows of a list; the others come back with what is wrong with them."""
    rows = tuple(
        recording.Row(
            number=place if row["row"] is None else row["row"],
            checked_in_at=row["checked_in_at"] or None,
            checked_out_at=row["checked_out_at"] or None,
            minutes=row["minutes"],
            **_who(row),
        )
        for place, row in enumerate(body["rows"], start=1)
    )
    recorded = recording.RecordAttendances(actor(), session_id, rows, body["attachment_id"], body["reason"])
    return change("record_attendances", recorded)


@attendance.get("/sessions/<id:session_id>/attendances")
@attendance.takes(Paging, location="query")
@attendance.answers(200, page_of(ListedAttendance))
def list_attendances(wanted: dict[str, Any], session_id: str) -> dict[str, Any]:
    """Who came, by check-in."""
    found, last = reviewing.page(reading(), actor(), session_id, read_cursor(wanted["cursor"]), wanted["limit"])
    note_access("session", people=len(found))
    return page(found, last)


@attendance.get("/sessions/<id:session_id>/suggested-people")
@attendance.answers(200, page_of(SuggestedPerson))
def list_suggested_people(session_id: str) -> dict[str, Any]:
    """Who probably comes: those of the session before, then who signed up."""
    found = reviewing.suggested_people(reading(), actor(), session_id)
    note_access("session", people=len(found))
    return page(found)


@attendance.get("/sessions/<id:session_id>/sheet")
@attendance.answers(200, SessionSheet)
def get_sheet(session_id: str) -> dict[str, Any]:
    """The list for printing; its row codes can be typed back."""
    sheet = reviewing.sheet(reading(), actor(), session_id)
    note_access("sheet", people=len(sheet["rows"]))
    return sheet


@attendance.get("/sessions/overdue")
@attendance.takes(OverdueWanted, location="query")
@attendance.answers(200, page_of(OverdueSession))
def list_overdue(wanted: dict[str, Any]) -> dict[str, Any]:
    """Sessions whose ten working days are over, and whose attendances nobody credited."""
    zone = parts().vending.rules.zone
    today = parts().clock().astimezone(zone).date()
    nodes = visible(reading(), actor(), wanted["organization_id"])
    after = read_cursor(wanted["cursor"])
    found, last = uncredited(reading(), nodes, wanted["before"] or today, zone, after, wanted["limit"])
    shown = [
        {name: getattr(one, name) for name in one.__dataclass_fields__}
        | {"starts_at": iso(one.starts_at), "is_overdue": one.due_day < today}
        for one in found
    ]
    return page(shown, last)


@attendance.get("/attendances/to-review")
@attendance.takes(ReviewsWanted, location="query")
@attendance.answers(200, page_of(ListedAttendance))
def list_to_review(wanted: dict[str, Any]) -> dict[str, Any]:
    """What the plan closed because nobody checked out, and nobody looked at yet."""
    after = read_cursor(wanted["cursor"])
    found, last = reviewing.to_review(reading(), actor(), wanted["organization_id"], after, wanted["limit"])
    note_access("to_review", people=len(found))
    return page(found, last)


@attendance.get("/attendances/<id:attendance_id>")
@attendance.answers(200, AttendanceStory)
def get_attendance(attendance_id: str) -> dict[str, Any]:
    """One attendance, with what it was before."""
    found = reviewing.attendance(reading(), actor(), attendance_id)
    note_access("attendance", found["resident_id"])
    return found


@attendance.post("/attendances/<id:attendance_id>/confirm")
@attendance.answers(200, Attendance)
def confirm_attendance(attendance_id: str) -> dict[str, Any]:
    """The planned end is right."""
    return change("confirm_attendance", reviewing.ConfirmAttendance(actor(), attendance_id))


@attendance.put("/attendances/<id:attendance_id>")
@attendance.takes(AttendanceCorrection)
@attendance.answers(200, Attendance)
def put_attendance(body: dict[str, Any], attendance_id: str) -> dict[str, Any]:
    """Correct times or minutes before they are credited."""
    return change("correct_attendance", reviewing.CorrectAttendance(actor=actor(), attendance_id=attendance_id, **body))


@attendance.post("/attendances/<id:attendance_id>/void")
@attendance.takes(Why)
@attendance.answers(200, Attendance)
def void_attendance(body: dict[str, str], attendance_id: str) -> dict[str, Any]:
    """They were not there."""
    return change("void_attendance", reviewing.VoidAttendance(actor(), attendance_id, body["reason"]))


@attendance.post("/me/check-in")
@attendance.takes(TypedCode)
@attendance.answers(200, Attendance)
def check_me_in(body: dict[str, str]) -> dict[str, Any]:
    """I am here: the code that is shown now."""
    return _by_code(body, "in")


@attendance.post("/me/check-out")
@attendance.takes(TypedCode)
@attendance.answers(200, Attendance)
def check_me_out(body: dict[str, str]) -> dict[str, Any]:
    """I am leaving: the code that is shown now."""
    return _by_code(body, "out")


@attendance.get("/me/attendances")
@attendance.takes(Paging, location="query")
@attendance.answers(200, page_of(OwnAttendance))
def list_my_attendances(wanted: dict[str, Any]) -> dict[str, Any]:
    """Where I was, the newest first."""
    return page(*reviewing.mine(reading(), me(), read_cursor(wanted["cursor"]), wanted["limit"]))


def _key() -> bytes:
    return codes.attendance_key(parts().config.secret)


def _by_code(body: dict[str, str], direction: recording.Direction) -> dict[str, Any]:
    me()
    fits = codes.fits(_key(), body["session_id"], body["code"], parts().clock())
    return change("check_by_code", recording.CheckByCode(actor(), body["session_id"], direction, body["code"], fits))


def _who(row: dict[str, Any]) -> dict[str, str | None]:
    """The person in a row; of a card only its hash goes on, empty for text that is no card's identity."""
    card_hash = None
    if row["card"]:
        try:
            card_hash, _ = hashed_card(parts().hashing, row["card"])
        except DomainError:
            card_hash = ""
    return {"resident_id": row["resident_id"], "card_hash": card_hash, "who": row["who"] or None}
