"""Credits: recorded by one person, approved by another, final when the notice is over."""

from typing import Any

from marshmallow import Schema, fields, validate

from jishan_server.api.asking import actor, change
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
    reason = fields.String()
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
    return change("record_credit", volunteering.RecordCredit(actor=actor(), **body), key_required=True)


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
    reversal = volunteering.ReverseCredit(actor(), credit_id, body["reason"])
    return change("reverse_credit", reversal, key_required=True)
