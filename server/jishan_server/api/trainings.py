"""Trainings, awards and evaluations; the search for skills; claims of past work."""

from datetime import date
from typing import Any

from marshmallow import Schema, fields, validate

from jishan_server.api.asking import actor, change, me
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
from jishan_server.organizations.calendar import parse_day
from jishan_server.reading import reading
from jishan_server.volunteering import claims as claiming
from jishan_server.volunteering import trainings as volunteering
from jishan_server.volunteering.rules import MAX_MINUTES

trainings = Blueprint("trainings", "Trainings, awards, evaluations, skills, claims of past work")

MAX_FILES = 10
A_LONG_TRAINING = 60 * 24 * 60
"""Minutes of sixty whole days."""


def _files() -> fields.Field[Any]:
    return fields.List(an_id(), required=True, validate=validate.Length(min=1, max=MAX_FILES))


def _a_day(**kwargs: Any) -> fields.String:
    return fields.String(validate=validate.Length(max=10), metadata={"format": "date"}, **kwargs)


class NewEntry(Strict):
    resident_id = an_id(required=True)
    kind = fields.String(required=True, validate=validate.OneOf(volunteering.KINDS))
    title = Text(MAX_NAME, required=True)
    unit_name = Text(MAX_NAME, required=True)
    first_day = _a_day(required=True)
    last_day = _a_day(load_default=None, allow_none=True)
    minutes = WholeNumber(load_default=None, allow_none=True, validate=validate.Range(1, A_LONG_TRAINING))
    result = Text(MAX_TEXT, load_default=None, allow_none=True)
    attachment_ids = _files()


class EntriesWanted(Paging):
    resident_id = an_id(load_default=None)
    kind = fields.String(load_default=None, validate=validate.OneOf(volunteering.KINDS))


class Entry(Schema):
    id = fields.String()
    resident_id = fields.String()
    estate_id = fields.String()
    kind = fields.String()
    title = fields.String()
    unit_name = fields.String()
    first_day = fields.String(metadata={"format": "date"})
    last_day = fields.String(metadata={"format": "date"})
    minutes = fields.Integer(allow_none=True)
    result = fields.String(allow_none=True)
    attachment_ids = fields.List(fields.String())
    recorded_by = fields.String()
    recorded_at = an_instant()
    withdrawn_by = fields.String(allow_none=True)
    withdrawn_at = an_instant()
    withdrawal_reason = fields.String(allow_none=True)


class SkillWanted(Paging):
    skill = Text(MAX_NAME, required=True)
    valid_on = _a_day(load_default=None)


class SkillFound(Schema):
    name = fields.String()
    licence = fields.String(allow_none=True)
    expires_on = fields.String(allow_none=True, metadata={"format": "date"})


class Skilled(Schema):
    resident_id = fields.String()
    name = fields.String()
    estate_id = fields.String()
    skills = fields.List(fields.Nested(SkillFound))


class OwnClaim(Strict):
    title = Text(MAX_NAME, required=True)
    words = Text(MAX_TEXT, least=0, load_default="")
    place = Text(MAX_NAME, load_default=None, allow_none=True)
    category = Text(40, load_default=None, allow_none=True)
    day = _a_day(required=True)
    minutes = WholeNumber(required=True, validate=validate.Range(1, MAX_MINUTES))
    attachment_ids = _files()


class NewClaim(OwnClaim):
    resident_id = an_id(required=True)


class ClaimDecision(Strict):
    verdict = fields.String(required=True, validate=validate.OneOf(["accept", "refuse"]))
    reason = Text(MAX_TEXT, least=0, load_default="")
    minutes = WholeNumber(load_default=None, allow_none=True, validate=validate.Range(1, MAX_MINUTES))


class ClaimsWanted(Paging):
    state = fields.String(load_default=None, validate=validate.OneOf(["open", "accepted", "refused"]))


class Claim(Schema):
    id = fields.String()
    resident_id = fields.String()
    estate_id = fields.String()
    title = fields.String()
    words = fields.String()
    place = fields.String(allow_none=True)
    category = fields.String(allow_none=True)
    day = fields.String(metadata={"format": "date"})
    minutes = fields.Integer()
    attachment_ids = fields.List(fields.String())
    state = fields.String()
    made_by = fields.String()
    recorded_at = an_instant()
    decided_by = fields.String(allow_none=True)
    decided_at = an_instant()
    reason = fields.String(allow_none=True)
    credit_id = fields.String(allow_none=True)


def _with_files(body: dict[str, Any]) -> dict[str, Any]:
    return body | {"attachment_ids": tuple(body["attachment_ids"])}


def _valid(day: str | None) -> date | None:
    return None if day is None else parse_day(day)


@trainings.post("/trainings")
@trainings.takes(NewEntry)
@trainings.answers(201, Entry)
def create_entry(body: dict[str, Any]) -> dict[str, Any]:
    """Write a training, an award or an evaluation, with its proof."""
    return change("record_entry", volunteering.RecordEntry(actor(), **_with_files(body)))


@trainings.get("/trainings")
@trainings.takes(EntriesWanted, location="query")
@trainings.answers(200, page_of(Entry))
def list_entries(wanted: dict[str, Any]) -> dict[str, Any]:
    """Trainings, awards and evaluations in one's scope, newest first."""
    return _entries(wanted)


@trainings.get("/me/trainings")
@trainings.takes(EntriesWanted, location="query")
@trainings.answers(200, page_of(Entry))
def list_own_entries(wanted: dict[str, Any]) -> dict[str, Any]:
    """One's own, newest first."""
    me()
    return _entries(wanted)


def _entries(wanted: dict[str, Any]) -> dict[str, Any]:
    return page(*volunteering.page(reading(), actor(), after=read_cursor(wanted.pop("cursor")), **wanted))


@trainings.post("/trainings/<id:entry_id>/withdraw")
@trainings.takes(Why)
@trainings.answers(200, Entry)
def withdraw_entry(body: dict[str, str], entry_id: str) -> dict[str, Any]:
    """Withdraw a wrong one."""
    return change("withdraw_entry", volunteering.WithdrawEntry(actor(), entry_id, body["reason"]))


@trainings.get("/skills")
@trainings.takes(SkillWanted, location="query")
@trainings.answers(200, page_of(Skilled))
def list_skilled(wanted: dict[str, Any]) -> dict[str, Any]:
    """People in one's scope with a skill, and with a licence that holds on a day."""
    after, day = read_cursor(wanted["cursor"]), _valid(wanted["valid_on"])
    return page(*volunteering.with_skill(reading(), actor(), wanted["skill"], day, after, wanted["limit"]))


@trainings.post("/me/claims")
@trainings.takes(OwnClaim)
@trainings.answers(201, Claim)
def create_own_claim(body: dict[str, Any]) -> dict[str, Any]:
    """Claim past work of one's own."""
    return change("make_claim", claiming.MakeClaim(actor(), me(), **_with_files(body)))


@trainings.get("/me/claims")
@trainings.takes(ClaimsWanted, location="query")
@trainings.answers(200, page_of(Claim))
def list_own_claims(wanted: dict[str, Any]) -> dict[str, Any]:
    """One's own claims, newest first."""
    me()
    return _claims(wanted)


@trainings.post("/claims")
@trainings.takes(NewClaim)
@trainings.answers(201, Claim)
def create_claim(body: dict[str, Any]) -> dict[str, Any]:
    """Claim past work for a resident."""
    return change("make_claim", claiming.MakeClaim(actor(), **_with_files(body)))


@trainings.get("/claims")
@trainings.takes(ClaimsWanted, location="query")
@trainings.answers(200, page_of(Claim))
def list_claims(wanted: dict[str, Any]) -> dict[str, Any]:
    """Claims in one's scope, newest first."""
    return _claims(wanted)


@trainings.get("/claims/<id:claim_id>")
@trainings.answers(200, Claim)
def get_claim(claim_id: str) -> dict[str, Any]:
    """One claim."""
    return claiming.claim(reading(), actor(), claim_id)


@trainings.post("/claims/<id:claim_id>/decide")
@trainings.takes(ClaimDecision)
@trainings.answers(200, Claim)
def decide_claim(body: dict[str, Any], claim_id: str) -> dict[str, Any]:
    """Accept it, so that its credit waits for another person's approval; or refuse it with a reason."""
    return change("decide_claim", claiming.DecideClaim(actor(), claim_id, **body), key_required=True)


def _claims(wanted: dict[str, Any]) -> dict[str, Any]:
    return page(*claiming.page(reading(), actor(), after=read_cursor(wanted.pop("cursor")), **wanted))
