"""Why there are no points: in plain words, for the person and for staff."""

from datetime import date
from typing import Any

from marshmallow import Schema, fields

from jishan_server.api.asking import actor, me, note_access, parts
from jishan_server.api.blueprints import Blueprint
from jishan_server.api.schemas import Day, Strict
from jishan_server.reading import reading
from jishan_server.volunteering import why_not

explaining = Blueprint("explaining", "Why there are no points")


class Days(Strict):
    first_day = Day(required=True)
    last_day = Day(required=True)


class Case(Schema):
    code = fields.String()
    day = fields.String()
    title = fields.String()
    subject_type = fields.String()
    subject_id = fields.String()
    resident_id = fields.String()
    fields_ = fields.Dict(data_key="fields", attribute="fields")
    zh = fields.String()
    en = fields.String()


class WhyNot(Schema):
    resident_id = fields.String()
    first_day = fields.String()
    last_day = fields.String()
    items = fields.List(fields.Nested(Case))
    is_whole = fields.Boolean()


@explaining.get("/residents/<id:resident_id>/why-not")
@explaining.takes(Days, location="query")
@explaining.answers(200, WhyNot)
def get_why_not(wanted: dict[str, str], resident_id: str) -> dict[str, Any]:
    """What could have become points in a span of days (366 at most), and where each stopped."""
    found = _found(resident_id, wanted)
    note_access("why_not", resident_id)
    return found


@explaining.get("/me/why-not")
@explaining.takes(Days, location="query")
@explaining.answers(200, WhyNot)
def get_my_why_not(wanted: dict[str, str]) -> dict[str, Any]:
    """The same of oneself."""
    return _found(me(), wanted)


def _found(resident_id: str, wanted: dict[str, str]) -> dict[str, Any]:
    first, last = (date.fromisoformat(wanted[name]) for name in ("first_day", "last_day"))
    return why_not.why_not(reading(), actor(), resident_id, first, last, parts().vending.rules.zone)
