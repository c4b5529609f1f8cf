"""What looks odd: a list with the evidence, and what those found who looked."""

from datetime import date
from typing import Any

from marshmallow import Schema, fields, validate

from jishan_server.api.asking import actor, change, note_access, parts
from jishan_server.api.blueprints import Blueprint
from jishan_server.api.schemas import Day, Strict, Text, an_id
from jishan_server.explaining import anomalies as looking
from jishan_server.reading import reading

anomalies = Blueprint("anomalies", "What looks odd")

MAX_REASON = 500
KIND = validate.OneOf(sorted(looking.KINDS))


class AnomaliesWanted(Strict):
    first_day = Day(required=True)
    last_day = Day(required=True)
    kind = fields.String(load_default=None, validate=KIND)
    organization_id = an_id(load_default=None)
    is_looked_at = fields.Boolean(load_default=None)


class NewLook(Strict):
    kind = fields.String(required=True, validate=KIND)
    day = Day(required=True)
    reason = Text(MAX_REASON, required=True)


class AnomalyRow(Schema):
    type = fields.String()
    id = fields.String()


class AnomalyPerson(Schema):
    id = fields.String()
    name = fields.String()


class Anomaly(Schema):
    id = fields.String()
    kind = fields.String()
    day = fields.String()
    at = fields.String()
    estate_id = fields.String()
    zh = fields.String()
    en = fields.String()
    numbers = fields.Dict(keys=fields.String(), values=fields.Integer())
    evidence = fields.List(fields.Nested(AnomalyRow))
    residents = fields.List(fields.Nested(AnomalyPerson))
    staff = fields.List(fields.Nested(AnomalyPerson))
    looked_by = fields.String(allow_none=True)
    looked_at = fields.String(allow_none=True)
    reason = fields.String(allow_none=True)


class Anomalies(Schema):
    items = fields.List(fields.Nested(Anomaly))
    is_whole = fields.Boolean()


@anomalies.get("/anomalies")
@anomalies.takes(AnomaliesWanted, location="query")
@anomalies.answers(200, Anomalies)
def list_anomalies(wanted: dict[str, Any]) -> dict[str, Any]:
    """What looks odd in a span of at most 92 days, newest first, each with the rows that show it."""
    first, last = (date.fromisoformat(wanted[name]) for name in ("first_day", "last_day"))
    asked = looking.Wanted(first, last, wanted["kind"], wanted["organization_id"], wanted["is_looked_at"])
    found = looking.anomalies(reading(), actor(), asked, parts().clock(), parts().vending.rules.zone)
    note_access("anomalies", people=len({one["id"] for item in found["items"] for one in item["residents"]}))
    return found


@anomalies.post("/anomalies/<id:anomaly_id>/look")
@anomalies.takes(NewLook)
@anomalies.answers(200, Anomaly)
def look_at_anomaly(look: dict[str, Any], anomaly_id: str) -> dict[str, Any]:
    """Say that you have looked at one, and what you found; once, and not at what you are part of."""
    return change("look_at_anomaly", looking.LookAtAnomaly(actor(), anomaly_id, **look))
