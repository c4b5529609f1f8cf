"""The calendar of working days: who may, edits it here; `GET` is for all staff."""

from typing import Any

from marshmallow import Schema, fields, validate

from jishan_server.api.asking import actor, change
from jishan_server.api.blueprints import Blueprint
from jishan_server.api.paging import page
from jishan_server.api.schemas import MAX_NAME, Strict, Text, page_of
from jishan_server.organizations import calendar as working_days
from jishan_server.reading import reading

calendar = Blueprint("calendar", "Working days")


class YearWanted(Strict):
    year = fields.Integer(required=True, validate=validate.Range(2000, 2999))


class NewCalendarDay(Strict):
    is_working = fields.Boolean(required=True, truthy={True}, falsy={False})
    name = Text(MAX_NAME, required=True)


class CalendarDay(Schema):
    """A day that is not as its weekday says."""

    day = fields.String(metadata={"format": "date"})
    is_working = fields.Boolean()
    name = fields.String()


class LoadedCalendar(Schema):
    name = fields.String()
    days = fields.List(fields.Nested(CalendarDay))


@calendar.get("/calendar")
@calendar.takes(YearWanted, location="query")
@calendar.answers(200, page_of(CalendarDay))
def list_calendar(wanted: dict[str, Any]) -> dict[str, Any]:
    """The days of a year that are not as their weekday says: at most 366, on one page."""
    return page(working_days.days_of(reading(), actor(), wanted["year"]))


@calendar.put("/calendar/<day>")
@calendar.takes(NewCalendarDay)
@calendar.answers(200, CalendarDay)
def put_calendar_day(body: dict[str, Any], day: str) -> dict[str, Any]:
    """Say that a day (YYYY-MM-DD) is worked, or is not."""
    return change("set_calendar_day", working_days.SetCalendarDay(actor(), day, body["is_working"], body["name"]))


@calendar.delete("/calendar/<day>")
@calendar.answers(204)
def delete_calendar_day(day: str) -> None:
    """Let a day be what its weekday says."""
    change("clear_calendar_day", working_days.ClearCalendarDay(actor(), day))


@calendar.post("/calendar/presets/<name>")
@calendar.answers(200, LoadedCalendar)
def load_calendar(name: str) -> dict[str, Any]:
    """Put all days of a calendar that comes with the product, as `china-2026`."""
    return change("load_calendar", working_days.LoadCalendar(actor(), name))
