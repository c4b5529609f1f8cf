"""Points that end: a look at what would, and runs that book what has."""

from datetime import date
from typing import Any

from marshmallow import Schema, fields

from jishan_server.api.asking import actor, change, note_access, parts
from jishan_server.api.blueprints import Blueprint
from jishan_server.api.paging import page, read_cursor
from jishan_server.api.schemas import Day, Paging, Strict, an_id, an_instant, page_of
from jishan_server.reading import reading
from jishan_server.volunteering import expiry as volunteering

expiry = Blueprint("expiry", "Points that end")


class ExpiryWanted(Paging):
    day = Day(required=True)
    estate_id = an_id(load_default=None)


class EndingPerson(Schema):
    resident_id = fields.String()
    name = fields.String()
    estate_id = fields.String()
    points = fields.Integer()


class EstateEnding(Schema):
    estate_id = fields.String()
    accounts = fields.Integer()
    points = fields.Integer()


class ExpiryPreview(Schema):
    items = fields.List(fields.Nested(EndingPerson))
    next_cursor = fields.String(allow_none=True)
    accounts = fields.Integer(metadata={"description": "With what follows on the first page only."})
    points = fields.Integer()
    estates = fields.List(fields.Nested(EstateEnding))
    is_whole = fields.Boolean(metadata={"description": "Whether these are the sums of everybody."})


class RunDay(Strict):
    day = Day(required=True)


class ExpiryRun(Schema):
    id = fields.String()
    day = fields.String()
    asked_by = fields.String()
    asked_at = an_instant()
    state = fields.String()
    accounts = fields.Integer()
    points = fields.Integer()
    done_at = an_instant()


class ExpiryRunByEstate(ExpiryRun):
    estates = fields.List(fields.Nested(EstateEnding))


@expiry.get("/expiry/preview")
@expiry.takes(ExpiryWanted, location="query")
@expiry.answers(200, ExpiryPreview)
def preview_expiry(wanted: dict[str, Any]) -> dict[str, Any]:
    """What will have ended by the end of a day if nothing is spent before: sums, and pages of people."""
    found, further = volunteering.preview(
        reading(),
        actor(),
        date.fromisoformat(wanted["day"]),
        parts().vending.rules.zone,
        estate_id=wanted["estate_id"],
        after=read_cursor(wanted["cursor"]),
        limit=wanted["limit"],
    )
    note_access("expiry", people=len(found["items"]))
    return found | page(found["items"], further)


@expiry.post("/expiry/runs")
@expiry.takes(RunDay)
@expiry.answers(201, ExpiryRunByEstate)
def run_expiry(body: dict[str, str]) -> dict[str, Any]:
    """Book what has ended by the end of a day that has begun; a large run goes on by itself."""
    return change("run_expiry", volunteering.RunExpiry(actor(), body["day"]), key_required=True)


@expiry.get("/expiry/runs")
@expiry.takes(Paging, location="query")
@expiry.answers(200, page_of(ExpiryRun))
def list_expiry_runs(wanted: dict[str, Any]) -> dict[str, Any]:
    """Runs, newest first: those that were asked for, and the server's own of each day."""
    return page(*volunteering.runs_page(reading(), actor(), read_cursor(wanted["cursor"]), wanted["limit"]))


@expiry.get("/expiry/runs/<id:run_id>")
@expiry.answers(200, ExpiryRunByEstate)
def get_expiry_run(run_id: str) -> dict[str, Any]:
    """One run with what it booked in each estate."""
    return volunteering.run(reading(), actor(), run_id)
