"""The audit log: who did what, and who was refused what."""

from datetime import date
from typing import Any

from marshmallow import Schema, fields, validate

from jishan_server.api.asking import actor, parts
from jishan_server.api.blueprints import Blueprint
from jishan_server.api.paging import page, read_cursor
from jishan_server.api.schemas import Day, Paging, an_instant, page_of
from jishan_server.people import auditing
from jishan_server.reading import reading

MAX_FILTER = 64

audit = Blueprint("audit", "The audit log")


class AuditWanted(Paging):
    actor = fields.String(load_default=None, validate=validate.Length(max=MAX_FILTER))
    subject_type = fields.String(load_default=None, validate=validate.Length(max=MAX_FILTER))
    subject_id = fields.String(load_default=None, validate=validate.Length(max=MAX_FILTER))
    action = fields.String(
        load_default=None,
        validate=validate.Length(max=MAX_FILTER),
        metadata={"description": "`refused` for what was asked without the permission."},
    )
    first_day = Day(load_default=None)
    last_day = Day(load_default=None)


class AuditEntry(Schema):
    number = fields.Integer()
    recorded_at = an_instant()
    actor = fields.String()
    action = fields.String()
    subject_type = fields.String()
    subject_id = fields.String()
    operation_id = fields.String()
    details = fields.Dict()
    organization_id = fields.String(
        allow_none=True, metadata={"description": "The node that the subject belonged to then, if to one."}
    )


@audit.get("/audit")
@audit.takes(AuditWanted, location="query")
@audit.answers(200, page_of(AuditEntry))
def list_audit(wanted: dict[str, Any]) -> dict[str, Any]:
    """What was done and what was refused, newest first, by whom, to what, when."""
    before, limit = read_cursor(wanted.pop("cursor")), wanted.pop("limit")
    for name in ("first_day", "last_day"):
        wanted[name] = wanted[name] and date.fromisoformat(wanted[name])
    found = auditing.Wanted(**wanted)
    return page(*auditing.entries(reading(), actor(), found, parts().vending.rules.zone, before, limit))
