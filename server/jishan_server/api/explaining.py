"""What numbers are made of, and why there are no points: in plain words, for the person and for staff."""

from collections.abc import Sequence
from datetime import date
from typing import Any

from flask import Response
from marshmallow import Schema, fields

from jishan_server.api.asking import actor, language, me, note_access, parts
from jishan_server.api.blueprints import Blueprint
from jishan_server.api.schemas import Day, Strict
from jishan_server.explaining import points
from jishan_server.reading import reading
from jishan_server.volunteering import why_not

explaining = Blueprint("explaining", "What numbers are made of, and why there are no points")


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


@explaining.get("/residents/<id:resident_id>/why-not.txt")
@explaining.takes(Days, location="query")
@explaining.answers(200)
def get_why_not_text(wanted: dict[str, str], resident_id: str) -> Response:
    """The same to print."""
    found = _found(resident_id, wanted)
    note_access("why_not", resident_id)
    return _printed(why_not.lines(found, language()))


@explaining.get("/me/why-not.txt")
@explaining.takes(Days, location="query")
@explaining.answers(200)
def get_my_why_not_text(wanted: dict[str, str]) -> Response:
    """The same to print."""
    return _printed(why_not.lines(_found(me(), wanted), language()))


@explaining.get("/me/why-not")
@explaining.takes(Days, location="query")
@explaining.answers(200, WhyNot)
def get_my_why_not(wanted: dict[str, str]) -> dict[str, Any]:
    """The same of oneself."""
    return _found(me(), wanted)


def _found(resident_id: str, wanted: dict[str, str]) -> dict[str, Any]:
    first, last = (date.fromisoformat(wanted[name]) for name in ("first_day", "last_day"))
    return why_not.why_not(reading(), actor(), resident_id, first, last, parts().clock(), parts().vending.rules.zone)


class TakenFrom(Schema):
    points = fields.Integer()
    subject_type = fields.String()
    subject_id = fields.String()
    day = fields.String()
    activity = fields.String(allow_none=True)


class FigurePart(Schema):
    points = fields.Integer()
    kind = fields.String()
    zh = fields.String()
    en = fields.String()
    subject_type = fields.String(allow_none=True)
    subject_id = fields.String(allow_none=True)
    day = fields.String(allow_none=True)
    activity = fields.String(allow_none=True)
    minutes = fields.Integer(allow_none=True)
    of_points = fields.Integer(allow_none=True)
    rule_version = fields.String(allow_none=True)
    rule_zh = fields.String(allow_none=True)
    rule_en = fields.String(allow_none=True)
    expires_at = fields.String(allow_none=True)
    taken_from = fields.List(fields.Nested(TakenFrom))


class ExplainedFigure(Schema):
    name = fields.String()
    points = fields.Integer(metadata={"description": "The sum of the parts."})
    zh = fields.String()
    en = fields.String()
    parts = fields.List(fields.Nested(FigurePart))


class AccountMovement(Schema):
    what = fields.String()
    points = fields.Integer()
    zh = fields.String()
    en = fields.String()


class EndingDay(Schema):
    day = fields.String()
    points = fields.Integer()


class Explained(Schema):
    resident_id = fields.String()
    as_of = fields.String()
    merged_into = fields.String(allow_none=True)
    figures = fields.List(fields.Nested(ExplainedFigure))
    account = fields.List(fields.Nested(AccountMovement))
    ends = fields.List(fields.Nested(EndingDay))


@explaining.get("/residents/<id:resident_id>/explain")
@explaining.answers(200, Explained)
def get_explained(resident_id: str) -> dict[str, Any]:
    """Every number of a resident's points, and what it is made of: the parts are its sum."""
    found = _explained(resident_id)
    note_access("explained", resident_id)
    return found


@explaining.get("/residents/<id:resident_id>/explain.txt")
@explaining.answers(200)
def get_explained_text(resident_id: str) -> Response:
    """The same to print."""
    found = _explained(resident_id)
    note_access("explained", resident_id)
    return _printed(points.lines(found, language()))


@explaining.get("/me/explain")
@explaining.answers(200, Explained)
def get_my_explained() -> dict[str, Any]:
    """Every number of one's own points, and what it is made of."""
    return _explained(me())


@explaining.get("/me/explain.txt")
@explaining.answers(200)
def get_my_explained_text() -> Response:
    """The same to print."""
    return _printed(points.lines(_explained(me()), language()))


def _explained(resident_id: str) -> dict[str, Any]:
    return points.explain(reading(), actor(), resident_id, parts().clock(), parts().vending.rules.zone)


def _printed(lines: Sequence[str]) -> Response:
    return Response("\n".join(lines), content_type="text/plain; charset=utf-8")
