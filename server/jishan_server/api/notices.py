"""The public notice, objections, appeals, and adjustments by hand."""

from typing import Any

from marshmallow import Schema, fields, validate

from jishan_server.api.asking import actor, change, me, parts
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
from jishan_server.organizations.roles import Permission, scope
from jishan_server.reading import reading
from jishan_server.volunteering import adjustments as by_hand
from jishan_server.volunteering import appeals as volunteering
from jishan_server.volunteering import notice
from jishan_server.volunteering.rules import MAX_MINUTES, MAX_POINTS

notices = Blueprint("notices", "Public notice, objections, appeals, adjustments")


class NoticesWanted(Paging):
    estate = an_id(required=True)


class Notice(Schema):
    credit_id = fields.String()
    name = fields.String(metadata={"description": "Masked."})
    building = fields.String(allow_none=True)
    activity = fields.String()
    day = fields.String()
    minutes = fields.Integer(allow_none=True)
    points = fields.Integer()
    last_day = fields.String(metadata={"description": "The last day on which one may object."})


class NewObjection(Strict):
    reason = Text(MAX_TEXT, required=True)
    on_behalf_of = Text(MAX_NAME, load_default=None, allow_none=True)


class MyObjection(Why):
    credit_id = an_id(required=True)


class ObjectionDecision(Strict):
    is_upheld = fields.Boolean(required=True, truthy={True}, falsy={False})
    reason = Text(MAX_TEXT, required=True)


class Objection(Schema):
    id = fields.String()
    credit_id = fields.String()
    estate_id = fields.String()
    filed_by = fields.String()
    on_behalf_of = fields.String(allow_none=True)
    filed_at = an_instant()
    reason = fields.String(allow_none=True)
    state = fields.String()
    decided_by = fields.String(allow_none=True)
    decided_at = an_instant()
    decision_reason = fields.String(allow_none=True)


class MyFiledObjection(Schema):
    id = fields.String()
    credit_id = fields.String()
    filed_at = an_instant()
    state = fields.String()


class ObjectionsWanted(Paging):
    state = fields.String(load_default=None, validate=validate.OneOf(["open", "upheld", "dismissed"]))


class NewAppeal(Strict):
    """For a final credit, `wanted_minutes` says what is right."""

    reason = Text(MAX_TEXT, required=True)
    wanted_minutes = WholeNumber(load_default=None, allow_none=True, validate=validate.Range(1, MAX_MINUTES))


class MyAppeal(NewAppeal):
    """About one's own credit."""

    credit_id = an_id(required=True)


class AppealDecision(Strict):
    is_accepted = fields.Boolean(required=True, truthy={True}, falsy={False})
    reason = Text(MAX_TEXT, required=True)


class Appeal(Schema):
    id = fields.String()
    credit_id = fields.String()
    resident_id = fields.String()
    estate_id = fields.String()
    about = fields.String(metadata={"description": "rejected, reversed, or correction."})
    wanted_minutes = fields.Integer(allow_none=True)
    filed_by = fields.String()
    filed_at = an_instant()
    due_day = fields.String()
    reason = fields.String(allow_none=True)
    state = fields.String()
    decided_by = fields.String(allow_none=True)
    decided_at = an_instant()
    decision_reason = fields.String(allow_none=True)
    new_credit_id = fields.String(allow_none=True)
    is_overdue = fields.Boolean()


class AppealsWanted(Paging):
    state = fields.String(load_default=None, validate=validate.OneOf(["filed", "accepted", "refused"]))


class NewAdjustment(Strict):
    """More points if positive, fewer if negative."""

    resident_id = an_id(required=True)
    points = WholeNumber(required=True, validate=validate.Range(-MAX_POINTS, MAX_POINTS))
    reason_code = fields.String(required=True, validate=validate.OneOf(by_hand.REASONS))
    reason = Text(MAX_TEXT, required=True)


class AdjustmentDecision(Strict):
    decision = fields.String(required=True, validate=validate.OneOf(["approve", "reject"]))
    reason = Text(MAX_TEXT, least=0, load_default="")


class Adjustment(Schema):
    id = fields.String()
    resident_id = fields.String()
    estate_id = fields.String()
    points = fields.Integer()
    reason_code = fields.String()
    reason = fields.String(allow_none=True)
    state = fields.String()
    proposed_by = fields.String()
    proposed_at = an_instant()
    decided_by = fields.String(allow_none=True)
    decided_at = an_instant()
    decision_reason = fields.String(allow_none=True)
    transfer_id = fields.String(allow_none=True)


class AdjustmentsWanted(Paging):
    state = fields.String(load_default=None, validate=validate.OneOf(["proposed", "booked", "rejected"]))


@notices.get("/notices")
@notices.public
@notices.takes(NoticesWanted, location="query")
@notices.answers(200, page_of(Notice))
def list_notices(wanted: dict[str, Any]) -> dict[str, Any]:
    """What is about to become final in an estate, for everybody to see: masked names, building only."""
    after = read_cursor(wanted["cursor"])
    return page(*notice.notices(reading(), wanted["estate"], parts().vending.rules.zone, after, wanted["limit"]))


@notices.post("/credits/<id:credit_id>/objections")
@notices.takes(NewObjection)
@notices.answers(201, Objection)
def file_objection(body: dict[str, Any], credit_id: str) -> dict[str, Any]:
    """Object to a credit in its notice, on somebody's behalf or one's own: it is held."""
    return change("file_objection", notice.FileObjection(actor(), credit_id, **body), key_required=True)


@notices.post("/me/objections")
@notices.takes(MyObjection)
@notices.answers(201, MyFiledObjection)
def file_my_objection(body: dict[str, str]) -> dict[str, Any]:
    """Object to a credit in its notice: it is held until somebody has looked into it."""
    me()
    return change("file_objection", notice.FileObjection(actor(), **body), key_required=True)


@notices.get("/objections")
@notices.takes(ObjectionsWanted, location="query")
@notices.answers(200, page_of(Objection))
def list_objections(wanted: dict[str, Any]) -> dict[str, Any]:
    """Objections in one's scope, oldest first."""
    estates = scope(reading(), actor(), Permission.OBJECTION_DECIDE)
    after = read_cursor(wanted["cursor"])
    return page(*notice.objections_page(reading(), estates, wanted["state"], after, wanted["limit"]))


@notices.post("/objections/<id:objection_id>/decide")
@notices.takes(ObjectionDecision)
@notices.answers(200, Objection)
def decide_objection(body: dict[str, Any], objection_id: str) -> dict[str, Any]:
    """Uphold (the credit is rejected) or dismiss (the notice goes on)."""
    return change("decide_objection", notice.DecideObjection(actor(), objection_id, **body), key_required=True)


@notices.post("/credits/<id:credit_id>/appeals")
@notices.takes(NewAppeal)
@notices.answers(201, Appeal)
def file_appeal(body: dict[str, Any], credit_id: str) -> dict[str, Any]:
    """File an appeal or a correction request for a resident."""
    return change("file_appeal", volunteering.FileAppeal(actor(), credit_id, **body), key_required=True)


@notices.post("/me/appeals")
@notices.takes(MyAppeal)
@notices.answers(201, Appeal)
def file_my_appeal(body: dict[str, Any]) -> dict[str, Any]:
    """Appeal against a rejection or a reversal, or ask to correct the minutes of a final credit."""
    me()
    return change("file_appeal", volunteering.FileAppeal(actor(), **body), key_required=True)


@notices.get("/appeals")
@notices.takes(AppealsWanted, location="query")
@notices.answers(200, page_of(Appeal))
def list_appeals(wanted: dict[str, Any]) -> dict[str, Any]:
    """Appeals and correction requests in one's scope, oldest first."""
    return _appeals(wanted, estate_ids=scope(reading(), actor(), Permission.APPEAL_DECIDE), state=wanted["state"])


@notices.get("/me/appeals")
@notices.takes(Paging, location="query")
@notices.answers(200, page_of(Appeal))
def list_my_appeals(wanted: dict[str, Any]) -> dict[str, Any]:
    """One's own appeals and correction requests: where each stands, and until when it is to be answered."""
    return _appeals(wanted, resident_id=me())


def _appeals(wanted: dict[str, Any], **which: Any) -> dict[str, Any]:
    today = parts().clock().astimezone(parts().vending.rules.zone).date()
    after = read_cursor(wanted["cursor"])
    return page(*volunteering.appeals_page(reading(), **which, today=today, after=after, limit=wanted["limit"]))


@notices.post("/appeals/<id:appeal_id>/decide")
@notices.takes(AppealDecision)
@notices.answers(200, Appeal)
def decide_appeal(body: dict[str, Any], appeal_id: str) -> dict[str, Any]:
    """Accept or refuse, as somebody who had no part in it so far."""
    return change("decide_appeal", volunteering.DecideAppeal(actor(), appeal_id, **body), key_required=True)


@notices.post("/adjustments")
@notices.takes(NewAdjustment)
@notices.answers(201, Adjustment)
def propose_adjustment(body: dict[str, Any]) -> dict[str, Any]:
    """Propose to put a resident's points right by hand; another person approves."""
    return change("propose_adjustment", by_hand.ProposeAdjustment(actor(), **body), key_required=True)


@notices.get("/adjustments")
@notices.takes(AdjustmentsWanted, location="query")
@notices.answers(200, page_of(Adjustment))
def list_adjustments(wanted: dict[str, Any]) -> dict[str, Any]:
    """Adjustments in one's scope, oldest first."""
    estates = scope(reading(), actor(), Permission.ADJUSTMENT_APPROVE)
    after = read_cursor(wanted["cursor"])
    return page(*by_hand.adjustments_page(reading(), estates, wanted["state"], after, wanted["limit"]))


@notices.post("/adjustments/<id:adjustment_id>/decide")
@notices.takes(AdjustmentDecision)
@notices.answers(200, Adjustment)
def decide_adjustment(body: dict[str, Any], adjustment_id: str) -> dict[str, Any]:
    """Approve: the points move. Or reject, with a reason."""
    return change("decide_adjustment", by_hand.DecideAdjustment(actor(), adjustment_id, **body), key_required=True)
