"""Figures: hours and points, people, what waits for somebody; as JSON, CSV and XLSX."""

from datetime import date
from typing import Any

from flask import Response
from marshmallow import Schema, fields, validate

from jishan_server.api.asking import actor, parts
from jishan_server.api.blueprints import Blueprint
from jishan_server.api.imports import file_answer
from jishan_server.api.schemas import Day, Strict, an_id
from jishan_server.errors import DomainError
from jishan_server.explaining import figures as counting
from jishan_server.explaining.figures import By
from jishan_server.reading import reading
from jishan_server.sheets.writing import MEDIA_TYPES, Format, write

figures = Blueprint("figures", "How much of everything there is")

EVERYTHING = {"description": "Everything that the asker may see, if none is given."}


class ReviewsWanted(Strict):
    organization_id = an_id(load_default=None, metadata=EVERYTHING)


class FiguresWanted(ReviewsWanted):
    first_day = Day(required=True)
    last_day = Day(required=True)
    by = fields.String(load_default=By.MONTH.value, validate=validate.OneOf([by.value for by in By]))


class NamedFigure(Schema):
    key = fields.String(metadata={"description": "A month, a code, an id, or an estate's id, a slash and a building."})
    name_zh = fields.String()
    name_en = fields.String()


class ServiceFigure(NamedFigure):
    minutes = fields.Integer()
    points = fields.Integer()
    people = fields.Integer()
    attendances = fields.Integer()
    spent_points = fields.Integer(allow_none=True)


class PeopleFigure(NamedFigure):
    registered = fields.Integer()
    new = fields.Integer()
    active = fields.Integer()
    inactive = fields.Integer()


ReviewsFigure = NamedFigure.from_dict({name: fields.Integer() for name in counting.REVIEWS}, name="ReviewsFigure")


class FigureSpan(Schema):
    first_day = fields.String()
    last_day = fields.String()
    by = fields.String()


class ServiceFigures(FigureSpan):
    items = fields.List(fields.Nested(ServiceFigure))
    total = fields.Nested(ServiceFigure)


class PeopleFigures(FigureSpan):
    items = fields.List(fields.Nested(PeopleFigure))
    total = fields.Nested(PeopleFigure)


class ReviewsFigures(Schema):
    as_of_day = fields.String()
    items = fields.List(fields.Nested(ReviewsFigure))
    total = fields.Nested(ReviewsFigure)


@figures.get("/figures/service")
@figures.takes(FiguresWanted, location="query")
@figures.answers(200, ServiceFigures)
def get_service_figures(wanted: dict[str, Any]) -> dict[str, Any]:
    """Minutes, points, people, attendances and points spent, by month, activity type, estate or building."""
    return counting.service(reading(), actor(), _wanted(wanted), parts().vending.rules.zone)


@figures.get("/figures/people")
@figures.takes(FiguresWanted, location="query")
@figures.answers(200, PeopleFigures)
def get_people_figures(wanted: dict[str, Any]) -> dict[str, Any]:
    """People registered, new, active and inactive, by month, estate or building."""
    return counting.people(reading(), actor(), _wanted(wanted), parts().vending.rules.zone)


@figures.get("/figures/reviews")
@figures.takes(ReviewsWanted, location="query")
@figures.answers(200, ReviewsFigures)
def get_reviews_figures(wanted: dict[str, Any]) -> dict[str, Any]:
    """What waits for somebody and what is overdue, by estate."""
    return _reviews(wanted)


@figures.get("/figures/service.<id:format>")
@figures.takes(FiguresWanted, location="query")
@figures.answers(200)
def get_service_sheet(wanted: dict[str, Any], format: str) -> Response:
    """The same as csv or xlsx."""
    found = counting.service(reading(), actor(), _wanted(wanted), parts().vending.rules.zone)
    return _file("service", counting.SERVICE, found, format)


@figures.get("/figures/people.<id:format>")
@figures.takes(FiguresWanted, location="query")
@figures.answers(200)
def get_people_sheet(wanted: dict[str, Any], format: str) -> Response:
    """The same as csv or xlsx."""
    found = counting.people(reading(), actor(), _wanted(wanted), parts().vending.rules.zone)
    return _file("people", counting.PEOPLE, found, format)


@figures.get("/figures/reviews.<id:format>")
@figures.takes(ReviewsWanted, location="query")
@figures.answers(200)
def get_reviews_sheet(wanted: dict[str, Any], format: str) -> Response:
    """The same as csv or xlsx."""
    return _file("reviews", ("key", "name_zh", "name_en", *counting.REVIEWS), _reviews(wanted), format)


def _wanted(wanted: dict[str, Any]) -> counting.Wanted:
    first, last = (date.fromisoformat(wanted[name]) for name in ("first_day", "last_day"))
    return counting.Wanted(first, last, By(wanted["by"]), wanted["organization_id"])


def _reviews(wanted: dict[str, Any]) -> dict[str, Any]:
    zone = parts().vending.rules.zone
    return counting.reviews(reading(), actor(), wanted["organization_id"], parts().clock(), zone)


def _file(name: str, columns: tuple[str, ...], found: dict[str, Any], format: str) -> Response:
    if format not in MEDIA_TYPES:
        raise DomainError("not_found")
    chosen: Format = "csv" if format == "csv" else "xlsx"
    rows = [[one[column] for column in columns] for one in (*found["items"], found["total"])]
    return file_answer(f"{name}.{chosen}", chosen, write(chosen, columns, rows, name))
