"""Credits: recorded by one person, approved by another, final when the notice is over."""

from typing import Any

from marshmallow import Schema, fields, validate

from jishan_server.api.asking import actor, change, fresh_salt, me, parts
from jishan_server.api.blueprints import Blueprint
from jishan_server.api.paging import page, read_cursor
from jishan_server.api.schemas import (
    MAX_NAME,
    MAX_TEXT,
    Day,
    Paging,
    Strict,
    Text,
    WholeNumber,
    Why,
    an_id,
    an_instant,
    page_of,
)
from jishan_server.organizations.roles import Permission, permit, scope
from jishan_server.reading import reading
from jishan_server.volunteering import corrections, overdue, service_records, session_credits
from jishan_server.volunteering import credits as volunteering
from jishan_server.volunteering.credit_states import State
from jishan_server.volunteering.crediting import GENERAL
from jishan_server.volunteering.rules import MAX_MINUTES, MAX_POINTS, TYPE_FORM, Source

credits = Blueprint("credits", "Points for volunteer work")


def a_type(**kwargs: Any) -> fields.String:
    """A type of activity, by its code."""
    return fields.String(validate=validate.Regexp(f"(?:{TYPE_FORM.pattern})\\Z"), **kwargs)


class NewCredit(Strict):
    """Either minutes or points."""

    resident_id = an_id(required=True)
    minutes = WholeNumber(load_default=None, allow_none=True, validate=validate.Range(1, MAX_MINUTES))
    points = WholeNumber(load_default=None, allow_none=True, validate=validate.Range(1, MAX_POINTS))
    activity = Text(MAX_TEXT, required=True)
    reason = Text(MAX_TEXT, required=True)
    day = Day(load_default=None, allow_none=True)
    source = fields.String(load_default="b", validate=validate.OneOf([one.value for one in Source]))
    activity_type = a_type(load_default=GENERAL)
    counts_as_service = fields.Boolean(load_default=True, truthy={True}, falsy={False})
    category = Text(40, load_default=None, allow_none=True)
    place = Text(MAX_TEXT, load_default=None, allow_none=True)
    person_in_charge = Text(MAX_NAME, load_default=None, allow_none=True)


class Approval(Strict):
    reason = Text(MAX_TEXT, least=0, load_default="")


class Credit(Schema):
    id = fields.String()
    resident_id = fields.String()
    estate_id = fields.String()
    minutes = fields.Integer(allow_none=True)
    points = fields.Integer()
    rule_version = fields.String()
    activity = fields.String()
    reason = fields.String(allow_none=True, metadata={"description": "Forgotten with the person."})
    state = fields.String()
    recorded_by = fields.String()
    recorded_at = an_instant()
    decided_by = fields.String(allow_none=True)
    decided_at = an_instant()
    decision_reason = fields.String(allow_none=True)
    transfer_id = fields.String(allow_none=True)
    reversed_by = fields.String(allow_none=True)
    reversed_at = an_instant()
    reversal_reason = fields.String(allow_none=True)
    reversal_transfer_id = fields.String(allow_none=True)
    day = fields.String(allow_none=True)
    worked_at = an_instant()
    activity_id = fields.String(allow_none=True)
    session_id = fields.String(allow_none=True)
    attendance_id = fields.String(allow_none=True)
    organization_id = fields.String(allow_none=True)
    activity_type = fields.String(allow_none=True)
    category = fields.String(allow_none=True)
    place = fields.String(allow_none=True)
    person_in_charge = fields.String(allow_none=True)
    counts_as_service = fields.Boolean(allow_none=True)
    source = fields.String(allow_none=True)
    minutes_counted = fields.Integer(allow_none=True)
    worth_steps = fields.List(
        fields.Raw(), metadata={"description": "How the points came about: [rule, number before, number after]."}
    )
    notice_ends_at = an_instant()
    finalised_at = an_instant()
    booked_points = fields.Integer(allow_none=True)
    corrects_id = fields.String(allow_none=True)


class Correction(Strict):
    """Either minutes or points, as they should have been."""

    minutes = WholeNumber(load_default=None, allow_none=True, validate=validate.Range(1, MAX_MINUTES))
    points = WholeNumber(load_default=None, allow_none=True, validate=validate.Range(1, MAX_POINTS))
    reason = Text(MAX_TEXT, required=True)


class SessionReason(Strict):
    reason = Text(MAX_TEXT, load_default="session")


class SessionPerson(Schema):
    resident_id = fields.String()
    name = fields.String()
    attendance_id = fields.String()
    minutes = fields.Integer()
    source = fields.String()
    points = fields.Integer()
    cuts = fields.List(
        fields.Raw(),
        metadata={"description": "What a cap or the source took: [rule, number before, number after]."},
    )
    rule_version = fields.String()


class SessionCredits(Schema):
    session_id = fields.String()
    credits = fields.Integer(metadata={"description": "Credits that were, or would be, recorded."})
    minutes = fields.Integer()
    points = fields.Integer()
    without_minutes = fields.Integer(metadata={"description": "Attendances of no minute, which get none."})


class SessionPreview(SessionCredits):
    items = fields.List(fields.Nested(SessionPerson))
    approval_organization_id = fields.String(
        allow_none=True, metadata={"description": "The nearest node with somebody else who may approve."}
    )


class RefusedCredit(Schema):
    credit_id = fields.String()
    code = fields.String()


class SessionApproval(Schema):
    session_id = fields.String()
    approved = fields.Integer()
    points = fields.Integer()
    refused = fields.List(fields.Nested(RefusedCredit))


class WaitingCredit(Schema):
    id = fields.String()
    estate_id = fields.String()
    resident_id = fields.String()
    recorded_by = fields.String()
    activity = fields.String()
    day = fields.String(allow_none=True)
    minutes = fields.Integer(allow_none=True)
    points = fields.Integer()
    approval_organization_id = fields.String(allow_none=True)


class OverdueCredit(Schema):
    id = fields.String()
    estate_id = fields.String()
    resident_id = fields.String()
    activity = fields.String()
    day = fields.String()
    due_day = fields.String()
    recorded_by = fields.String()


class ServiceRecord(Schema):
    id = fields.String()
    resident_id = fields.String()
    organization_id = fields.String()
    estate_id = fields.String()
    activity_id = fields.String(allow_none=True)
    session_id = fields.String(allow_none=True)
    credit_id = fields.String()
    category = fields.String(allow_none=True)
    title = fields.String()
    place = fields.String(allow_none=True)
    starts_at = an_instant()
    day = fields.String()
    minutes = fields.Integer()
    unit_name = fields.String()
    person_in_charge = fields.String(allow_none=True)
    source = fields.String(allow_none=True)
    confirmed_by = fields.String()
    finalised_at = an_instant()
    known_from_at = an_instant()
    state = fields.String()
    corrected_at = an_instant()


class CreditsWanted(Paging):
    estate_id = an_id(load_default=None)
    resident_id = an_id(load_default=None)
    session_id = an_id(load_default=None)
    state = fields.String(load_default=None, validate=validate.OneOf([one.value for one in State]))


@credits.post("/credits")
@credits.takes(NewCredit)
@credits.answers(201, Credit)
def record_credit(body: dict[str, Any]) -> dict[str, Any]:
    """Record a credit; it waits for another person's approval."""
    return change(
        "record_credit", volunteering.RecordCredit(actor=actor(), **body, salt=fresh_salt()), key_required=True
    )


@credits.get("/credits")
@credits.takes(CreditsWanted, location="query")
@credits.answers(200, page_of(Credit))
def list_credits(wanted: dict[str, Any]) -> dict[str, Any]:
    """Credits in one's scope, oldest first."""
    estates = {wanted["estate_id"]} if wanted["estate_id"] else scope(reading(), actor(), Permission.CREDIT_READ)
    if wanted["estate_id"]:
        permit(reading(), actor(), Permission.CREDIT_READ, wanted["estate_id"])
    return page(
        *volunteering.page(
            reading(),
            estates,
            state=wanted["state"],
            resident_id=wanted["resident_id"],
            session_id=wanted["session_id"],
            after=read_cursor(wanted["cursor"]),
            limit=wanted["limit"],
        )
    )


@credits.get("/credits/waiting")
@credits.takes(Paging, location="query")
@credits.answers(200, page_of(WaitingCredit))
def list_waiting_credits(wanted: dict[str, Any]) -> dict[str, Any]:
    """What waits for one's approval, oldest first, and whose it is to approve where an estate has nobody else."""
    estates = scope(reading(), actor(), Permission.CREDIT_APPROVE)
    after = read_cursor(wanted["cursor"])
    return page(*session_credits.waiting(reading(), actor(), estates, after, wanted["limit"]))


@credits.get("/credits/overdue")
@credits.takes(Paging, location="query")
@credits.answers(200, page_of(OverdueCredit))
def list_overdue_credits(wanted: dict[str, Any]) -> dict[str, Any]:
    """What was not approved within 10 working days after the work, oldest first."""
    estates = scope(reading(), actor(), Permission.CREDIT_READ)
    today = parts().clock().astimezone(parts().vending.rules.zone).date()
    return page(*overdue.overdue(reading(), estates, today, read_cursor(wanted["cursor"]), wanted["limit"]))


@credits.get("/credits/<id:credit_id>")
@credits.answers(200, Credit)
def get_credit(credit_id: str) -> dict[str, Any]:
    """One credit."""
    return volunteering.credit(reading(), actor(), credit_id)


@credits.post("/credits/<id:credit_id>/approve")
@credits.takes(Approval)
@credits.answers(200, Credit)
def approve_credit(body: dict[str, str], credit_id: str) -> dict[str, Any]:
    """Approve: the notice begins; without one the points are final at once."""
    decision = volunteering.DecideCredit(actor(), credit_id, body["reason"])
    return change("approve_credit", decision, key_required=True)


@credits.post("/credits/<id:credit_id>/reject")
@credits.takes(Why)
@credits.answers(200, Credit)
def reject_credit(body: dict[str, str], credit_id: str) -> dict[str, Any]:
    """Reject, with a reason: no points move."""
    decision = volunteering.DecideCredit(actor(), credit_id, body["reason"])
    return change("reject_credit", decision, key_required=True)


@credits.post("/credits/<id:credit_id>/reverse")
@credits.takes(Why)
@credits.answers(200, Credit)
def reverse_credit(body: dict[str, str], credit_id: str) -> dict[str, Any]:
    """Take a final credit back, once, with a reason: what is spent already becomes owed."""
    reversal = volunteering.ReverseCredit(actor(), credit_id, body["reason"], fresh_salt())
    return change("reverse_credit", reversal, key_required=True)


@credits.post("/credits/<id:credit_id>/correct")
@credits.takes(Correction)
@credits.answers(201, Credit)
def correct_credit(body: dict[str, Any], credit_id: str) -> dict[str, Any]:
    """Record what is to take a final credit's place; another person approves it, and the original stays."""
    return change(
        "correct_credit",
        corrections.CorrectCredit(actor=actor(), credit_id=credit_id, **body, salt=fresh_salt()),
        key_required=True,
    )


@credits.post("/sessions/<id:session_id>/credits/preview")
@credits.answers(200, SessionPreview)
def preview_session(session_id: str) -> dict[str, Any]:
    """Each person's minutes and points, and what cut them; nothing is written."""
    return session_credits.preview(reading(), actor(), session_id, parts().vending.rules.zone)


@credits.post("/sessions/<id:session_id>/credits")
@credits.takes(SessionReason)
@credits.answers(201, SessionCredits)
def record_session(body: dict[str, str], session_id: str) -> dict[str, Any]:
    """Record a credit for everybody who has none yet; a second time adds only those who came later."""
    return change(
        "record_session",
        session_credits.RecordSession(actor(), session_id, body["reason"], fresh_salt()),
        key_required=True,
    )


@credits.post("/sessions/<id:session_id>/credits/approve")
@credits.takes(Approval)
@credits.answers(200, SessionApproval)
def approve_session(body: dict[str, str], session_id: str) -> dict[str, Any]:
    """Approve all of a session; those that one may not approve come back with the reason."""
    return change(
        "approve_session", session_credits.ApproveSession(actor(), session_id, body["reason"]), key_required=True
    )


@credits.get("/residents/<id:resident_id>/service-records")
@credits.takes(Paging, location="query")
@credits.answers(200, page_of(ServiceRecord))
def list_service_records(wanted: dict[str, Any], resident_id: str) -> dict[str, Any]:
    """A resident's service records, newest first; those that were corrected say so."""
    after = read_cursor(wanted["cursor"])
    return page(*service_records.page(reading(), actor(), resident_id, after, wanted["limit"]))


@credits.get("/me/credits")
@credits.takes(Paging, location="query")
@credits.answers(200, page_of(Credit))
def list_my_credits(wanted: dict[str, Any]) -> dict[str, Any]:
    """Where each of one's credits stands, oldest first."""
    after = read_cursor(wanted["cursor"])
    return page(*volunteering.page(reading(), None, resident_id=me(), after=after, limit=wanted["limit"]))


@credits.get("/me/service-records")
@credits.takes(Paging, location="query")
@credits.answers(200, page_of(ServiceRecord))
def list_my_service_records(wanted: dict[str, Any]) -> dict[str, Any]:
    """One's own service records, newest first."""
    return page(*service_records.page(reading(), actor(), me(), read_cursor(wanted["cursor"]), wanted["limit"]))
