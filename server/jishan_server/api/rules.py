"""The scheme's rules: dated versions, presets, and what others would have cost."""

import json
from datetime import date
from typing import Any

from marshmallow import Schema, fields

from jishan_server.api.asking import actor, change
from jishan_server.api.blueprints import Blueprint
from jishan_server.api.schemas import MAX_TEXT, Day, Strict, Text, an_id, an_instant
from jishan_server.reading import reading
from jishan_server.volunteering import rule_versions, simulation

rules = Blueprint("rules", "Rules as dated versions")


class NewRules(Strict):
    document = fields.Dict(required=True, metadata={"description": "See docs/volunteering.md."})
    from_day = Day(required=True)
    note = Text(MAX_TEXT, required=True)


class Rules(Schema):
    version = fields.Integer()
    from_day = fields.String()
    document = fields.Dict()
    made_by = fields.String()
    made_at = an_instant()
    note = fields.String()


class RulesList(Schema):
    items = fields.List(fields.Nested(Rules))


class RulesDay(Strict):
    day = Day(required=True)


class Preset(Schema):
    name = fields.String()
    title = fields.Dict()
    document = fields.Dict()


class Presets(Schema):
    items = fields.List(fields.Nested(Preset))


class Simulation(Strict):
    document = fields.Dict(required=True)
    first_day = Day(required=True)
    last_day = Day(required=True)
    estate_id = an_id(load_default=None, allow_none=True)


class SimulatedLine(Schema):
    estate_id = fields.String()
    activity_type = fields.String(allow_none=True)
    credits = fields.Integer()
    minutes = fields.Integer()
    old_points = fields.Integer()
    new_points = fields.Integer()
    difference_points = fields.Integer()


class Simulated(Schema):
    first_day = fields.String()
    last_day = fields.String()
    credits = fields.Integer()
    minutes = fields.Integer()
    old_points = fields.Integer()
    new_points = fields.Integer()
    difference_points = fields.Integer()
    people = fields.Integer()
    people_capped = fields.Integer()
    lines = fields.List(fields.Nested(SimulatedLine))


@rules.get("/rules")
@rules.answers(200, RulesList)
def list_rules() -> dict[str, Any]:
    """Every version, newest first."""
    return {"items": rule_versions.versions(reading(), actor())}


@rules.post("/rules")
@rules.takes(NewRules)
@rules.answers(201, Rules)
def make_rules(body: dict[str, Any]) -> dict[str, Any]:
    """Make a version that begins tomorrow or later; what was worked before keeps the version of its day."""
    made = rule_versions.MakeRules(
        actor(), json.dumps(body["document"], ensure_ascii=False, sort_keys=True), body["from_day"], body["note"]
    )
    return change("make_rules", made, key_required=True)


@rules.get("/rules/on")
@rules.takes(RulesDay, location="query")
@rules.answers(200, Rules)
def get_rules(wanted: dict[str, str]) -> dict[str, Any]:
    """The version for work of a day."""
    return rule_versions.on_day(reading(), actor(), wanted["day"])


@rules.get("/rules/presets")
@rules.answers(200, Presets)
def list_presets() -> dict[str, Any]:
    """Documents to begin with."""
    return {"items": rule_versions.presets(reading(), actor())}


@rules.post("/rules/simulate")
@rules.takes(Simulation)
@rules.answers(200, Simulated)
def simulate_rules(body: dict[str, Any]) -> dict[str, Any]:
    """What the final credits of a period would have given under other rules; nothing is changed."""
    first, last = date.fromisoformat(body["first_day"]), date.fromisoformat(body["last_day"])
    return simulation.simulate(reading(), actor(), body["document"], first, last, body["estate_id"])
