"""Activities, their sessions, and signing up for them."""

from datetime import UTC
from typing import Any

from marshmallow import Schema, fields, validate

from jishan_server.api.asking import actor, change, me, note_access, parts
from jishan_server.api.blueprints import Blueprint
from jishan_server.api.paging import page, read_cursor
from jishan_server.api.schemas import (
    MAX_NAME,
    MAX_TEXT,
    Paging,
    Strict,
    Text,
    WholeNumber,
    Why,
    an_id,
    an_instant,
    page_of,
)
from jishan_server.reading import reading
from jishan_server.volunteering import activities as organised
from jishan_server.volunteering import sessions as planning
from jishan_server.volunteering import signing_up

activities = Blueprint("activities", "Activities, sessions, sign-ups")

MAX_PLACE = 200
A_DAY = 1440


class NewActivityType(Strict):
    name_zh = Text(MAX_NAME, required=True)
    name_en = Text(MAX_NAME, required=True)
    category = Text(40, required=True)
    counts_as_service = fields.Boolean(required=True, truthy={True}, falsy={False})
    longest_session_minutes = WholeNumber(load_default=480, validate=validate.Range(1, A_DAY))
    grace_minutes = WholeNumber(
        load_default=60,
        validate=validate.Range(0, A_DAY),
        metadata={"description": "How long check-out stays open after the planned end."},
    )
    is_active = fields.Boolean(load_default=True, truthy={True}, falsy={False})


class ActivityType(Schema):
    code = fields.String()
    name_zh = fields.String()
    name_en = fields.String()
    category = fields.String()
    counts_as_service = fields.Boolean()
    longest_session_minutes = fields.Integer()
    grace_minutes = fields.Integer()
    is_active = fields.Boolean()
    created_at = an_instant()


class ActivityWords(Strict):
    """What an activity or a template says; what is left out stays, or comes from the template."""

    title = Text(MAX_NAME, load_default=None, allow_none=True)
    activity_type = an_id(load_default=None, allow_none=True)
    place = Text(MAX_PLACE, load_default=None, allow_none=True)
    description = Text(MAX_TEXT, least=0, load_default=None, allow_none=True)
    risk_note = Text(MAX_TEXT, least=0, load_default=None, allow_none=True)
    person_in_charge = Text(MAX_NAME, load_default=None, allow_none=True)
    contact = Text(MAX_NAME, least=0, load_default=None, allow_none=True)


class NewActivityTemplate(Strict):
    organization_id = an_id(required=True)
    title = Text(MAX_NAME, required=True)
    activity_type = an_id(required=True)
    place = Text(MAX_PLACE, required=True)
    description = Text(MAX_TEXT, least=0, load_default="")
    risk_note = Text(MAX_TEXT, least=0, load_default="")
    person_in_charge = Text(MAX_NAME, required=True)
    contact = Text(MAX_NAME, least=0, load_default="")


class ActivityTemplateChanges(ActivityWords):
    is_active = fields.Boolean(load_default=None, allow_none=True, truthy={True}, falsy={False})


class ActivityTemplate(Schema):
    id = fields.String()
    organization_id = fields.String()
    title = fields.String()
    activity_type = fields.String()
    place = fields.String()
    description = fields.String()
    risk_note = fields.String()
    person_in_charge = fields.String()
    contact = fields.String()
    is_active = fields.Boolean()
    created_by = fields.String()
    created_at = an_instant()


class TemplatesWanted(Strict):
    organization_id = an_id(required=True)


class NewActivity(ActivityWords):
    organization_id = an_id(required=True)
    group_id = an_id(load_default=None, allow_none=True)
    template_id = an_id(load_default=None, allow_none=True)
    sign_up_ends_minutes = WholeNumber(
        load_default=0,
        validate=validate.Range(0, 60 * A_DAY),
        metadata={"description": "Residents sign up until so long before a session starts."},
    )


class ActivityChanges(ActivityWords):
    sign_up_ends_minutes = WholeNumber(load_default=None, allow_none=True, validate=validate.Range(0, 60 * A_DAY))


class Activity(Schema):
    id = fields.String()
    organization_id = fields.String()
    group_id = fields.String(allow_none=True)
    template_id = fields.String(allow_none=True)
    title = fields.String()
    activity_type = fields.String()
    category = fields.String()
    counts_as_service = fields.Boolean()
    place = fields.String()
    description = fields.String()
    risk_note = fields.String()
    person_in_charge = fields.String()
    contact = fields.String()
    sign_up_ends_minutes = fields.Integer()
    state = fields.String()
    published_at = an_instant()
    published_by = fields.String(allow_none=True)
    cancelled_at = an_instant()
    cancel_reason = fields.String(allow_none=True)
    created_by = fields.String()
    created_at = an_instant()


class ActivitiesWanted(Paging):
    organization_id = an_id(load_default=None)
    state = fields.String(load_default=None, validate=validate.OneOf(["draft", "published", "cancelled"]))


class WhyLate(Strict):
    reason = Text(
        MAX_TEXT, least=0, load_default="", metadata={"description": "Required if a session has begun already."}
    )


class SessionPlan(WhyLate):
    starts_at = fields.AwareDateTime(required=True, default_timezone=UTC)
    ends_at = fields.AwareDateTime(required=True, default_timezone=UTC)
    capacity = WholeNumber(load_default=None, allow_none=True, validate=validate.Range(1, planning.MAX_CAPACITY))
    break_minutes = WholeNumber(load_default=0, validate=validate.Range(0, A_DAY))


class NewSessions(SessionPlan):
    weeks = WholeNumber(
        load_default=1,
        validate=validate.Range(1, planning.MAX_REPEATS),
        metadata={"description": "The same at the same local time on so many weeks, the first included."},
    )


class Session(Schema):
    id = fields.String()
    activity_id = fields.String()
    organization_id = fields.String()
    title = fields.String()
    place = fields.String()
    starts_at = an_instant()
    ends_at = an_instant()
    closes_at = an_instant()
    sign_up_until_at = an_instant()
    capacity = fields.Integer(allow_none=True)
    break_minutes = fields.Integer()
    state = fields.String()
    is_backdated = fields.Boolean()
    backdating_reason = fields.String(allow_none=True)
    cancel_reason = fields.String(allow_none=True)
    signed_up = fields.Integer()
    waiting = fields.Integer()
    attended = fields.Integer()


class Sessions(Schema):
    sessions = fields.List(fields.Nested(Session))


class SessionsWanted(Paging):
    organization_id = an_id(load_default=None)
    activity_id = an_id(load_default=None)
    first_day = fields.Date(load_default=None)
    last_day = fields.Date(load_default=None)


class NewSignUp(Strict):
    resident_id = an_id(required=True)


class OwnSignUp(Strict):
    session_id = an_id(required=True)


class SignUp(Schema):
    id = fields.String()
    session_id = fields.String()
    resident_id = fields.String()
    title = fields.String()
    place = fields.String()
    starts_at = an_instant()
    ends_at = an_instant()
    number = fields.Integer()
    state = fields.String()
    place_in_line = fields.Integer(allow_none=True)
    signed_up_by = fields.String()
    signed_up_at = an_instant()
    moved_up_at = an_instant()
    cancelled_at = an_instant()


class ListedSignUp(SignUp):
    name = fields.String()
    member_number = fields.String()
    attendance = fields.String(allow_none=True, metadata={"description": "open, closed, or null: not there."})


class OpenSession(Schema):
    """A session to come, as a resident sees it."""

    session_id = fields.String()
    activity_id = fields.String()
    title = fields.String()
    activity_type = fields.String()
    place = fields.String()
    description = fields.String()
    risk_note = fields.String()
    person_in_charge = fields.String()
    contact = fields.String()
    starts_at = an_instant()
    ends_at = an_instant()
    sign_up_until_at = an_instant()
    capacity = fields.Integer(allow_none=True)
    signed_up = fields.Integer()
    my_sign_up = fields.String(allow_none=True, metadata={"description": "signed_up, waiting, cancelled or null."})


@activities.get("/activity-types")
@activities.answers(200, page_of(ActivityType))
def list_activity_types() -> dict[str, Any]:
    """The types of activities."""
    return page(organised.types(reading(), actor()))


@activities.put("/activity-types/<id:code>")
@activities.takes(NewActivityType)
@activities.answers(200, ActivityType)
def put_activity_type(body: dict[str, Any], code: str) -> dict[str, Any]:
    """Make a type, or change it for what is made from now on."""
    return change("put_activity_type", organised.PutActivityType(actor=actor(), code=code, **body))


@activities.post("/activity-templates")
@activities.takes(NewActivityTemplate)
@activities.answers(201, ActivityTemplate)
def create_template(body: dict[str, Any]) -> dict[str, Any]:
    """Make a template for a node and all below it."""
    return change("create_template", organised.CreateTemplate(actor=actor(), **body))


@activities.get("/activity-templates")
@activities.takes(TemplatesWanted, location="query")
@activities.answers(200, page_of(ActivityTemplate))
def list_templates(wanted: dict[str, str]) -> dict[str, Any]:
    """The templates that a node may use."""
    return page(organised.templates(reading(), actor(), wanted["organization_id"]))


@activities.put("/activity-templates/<id:template_id>")
@activities.takes(ActivityTemplateChanges)
@activities.answers(200, ActivityTemplate)
def put_template(body: dict[str, Any], template_id: str) -> dict[str, Any]:
    """Change a template, or retire it."""
    return change("change_template", organised.ChangeTemplate(actor=actor(), template_id=template_id, **body))


@activities.post("/activities")
@activities.takes(NewActivity)
@activities.answers(201, Activity)
def create_activity(body: dict[str, Any]) -> dict[str, Any]:
    """Make a draft, freely or from a template."""
    return change("create_activity", organised.CreateActivity(actor=actor(), **body))


@activities.get("/activities")
@activities.takes(ActivitiesWanted, location="query")
@activities.answers(200, page_of(Activity))
def list_activities(wanted: dict[str, Any]) -> dict[str, Any]:
    """Activities in one's scope, the newest first."""
    wanted["after"] = read_cursor(wanted.pop("cursor"))
    return page(*organised.page(reading(), actor(), **wanted))


@activities.get("/activities/<id:activity_id>")
@activities.answers(200, Activity)
def get_activity(activity_id: str) -> dict[str, Any]:
    """One activity."""
    return organised.activity(reading(), actor(), activity_id)


@activities.put("/activities/<id:activity_id>")
@activities.takes(ActivityChanges)
@activities.answers(200, Activity)
def put_activity(body: dict[str, Any], activity_id: str) -> dict[str, Any]:
    """Change what it says; the type only before it is published."""
    return change("change_activity", organised.ChangeActivity(actor=actor(), activity_id=activity_id, **body))


@activities.post("/activities/<id:activity_id>/publish")
@activities.takes(WhyLate)
@activities.answers(200, Activity)
def publish_activity(body: dict[str, str], activity_id: str) -> dict[str, Any]:
    """Let people come."""
    return change("publish_activity", organised.PublishActivity(actor(), activity_id, body["reason"]))


@activities.post("/activities/<id:activity_id>/cancel")
@activities.takes(Why)
@activities.answers(200, Activity)
def cancel_activity(body: dict[str, str], activity_id: str) -> dict[str, Any]:
    """Cancel it with the sessions to come; who signed up is told."""
    return change("cancel_activity", organised.CancelActivity(actor(), activity_id, body["reason"]))


@activities.post("/activities/<id:activity_id>/sessions")
@activities.takes(NewSessions)
@activities.answers(201, Sessions)
def create_sessions(body: dict[str, Any], activity_id: str) -> dict[str, Any]:
    """Plan a session, and the same on the following weeks."""
    return change("create_sessions", planning.CreateSessions(actor=actor(), activity_id=activity_id, **body))


@activities.get("/sessions")
@activities.takes(SessionsWanted, location="query")
@activities.answers(200, page_of(Session))
def list_sessions(wanted: dict[str, Any]) -> dict[str, Any]:
    """Sessions in one's scope by their start; days are local, both included."""
    wanted["after"] = read_cursor(wanted.pop("cursor"))
    return page(*planning.page(reading(), actor(), parts().vending.rules.zone, **wanted))


@activities.get("/sessions/<id:session_id>")
@activities.answers(200, Session)
def get_session(session_id: str) -> dict[str, Any]:
    """One session, with how many signed up, wait, and came."""
    return planning.session(reading(), actor(), session_id)


@activities.put("/sessions/<id:session_id>")
@activities.takes(SessionPlan)
@activities.answers(200, Session)
def put_session(body: dict[str, Any], session_id: str) -> dict[str, Any]:
    """The session as it is to be; who signed up is told of new times."""
    return change("change_session", planning.ChangeSession(actor=actor(), session_id=session_id, **body))


@activities.post("/sessions/<id:session_id>/cancel")
@activities.takes(Why)
@activities.answers(200, Session)
def cancel_session(body: dict[str, str], session_id: str) -> dict[str, Any]:
    """Cancel a session that nobody attended; who signed up is told."""
    return change("cancel_session", planning.CancelSession(actor(), session_id, body["reason"]))


@activities.post("/sessions/<id:session_id>/sign-ups")
@activities.takes(NewSignUp)
@activities.answers(201, SignUp)
def create_sign_up(body: dict[str, str], session_id: str) -> dict[str, Any]:
    """Sign a resident up, or put them on the waiting list."""
    return change("sign_up", signing_up.SignUp(actor(), session_id, body["resident_id"]))


@activities.get("/sessions/<id:session_id>/sign-ups")
@activities.takes(Paging, location="query")
@activities.answers(200, page_of(ListedSignUp))
def list_sign_ups(wanted: dict[str, Any], session_id: str) -> dict[str, Any]:
    """Who signed up, in their order, and whether they came."""
    after = read_cursor(wanted["cursor"]) or 0
    found, last = signing_up.people(reading(), actor(), session_id, after, wanted["limit"])
    note_access("session", people=len(found))
    return page(found, last)


@activities.post("/sign-ups/<id:sign_up_id>/cancel")
@activities.answers(200, SignUp)
def cancel_sign_up(sign_up_id: str) -> dict[str, Any]:
    """Give a place back; the first who waits gets it."""
    return change("cancel_sign_up", signing_up.CancelSignUp(actor(), sign_up_id))


@activities.get("/me/activities")
@activities.takes(Paging, location="query")
@activities.answers(200, page_of(OpenSession))
def list_my_activities(wanted: dict[str, Any]) -> dict[str, Any]:
    """Sessions to come that I may sign up for, the next one first."""
    after = read_cursor(wanted["cursor"])
    zone = parts().vending.rules.zone
    return page(*signing_up.near(reading(), me(), parts().clock(), zone, after, wanted["limit"]))


@activities.get("/me/sign-ups")
@activities.takes(Paging, location="query")
@activities.answers(200, page_of(SignUp))
def list_my_sign_ups(wanted: dict[str, Any]) -> dict[str, Any]:
    """What I signed up for, the latest session first."""
    return page(*signing_up.mine(reading(), me(), read_cursor(wanted["cursor"]), wanted["limit"]))


@activities.post("/me/sign-ups")
@activities.takes(OwnSignUp)
@activities.answers(201, SignUp)
def create_my_sign_up(body: dict[str, str]) -> dict[str, Any]:
    """Sign up, or wait for a place."""
    return change("sign_up", signing_up.SignUp(actor(), body["session_id"], me()))


@activities.post("/me/sign-ups/<id:sign_up_id>/cancel")
@activities.answers(200, SignUp)
def cancel_my_sign_up(sign_up_id: str) -> dict[str, Any]:
    """Give my place back before the session begins."""
    me()
    return change("cancel_sign_up", signing_up.CancelSignUp(actor(), sign_up_id))
