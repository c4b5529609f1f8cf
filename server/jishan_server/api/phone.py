"""A resident's phone at a machine: the personal code for its scanner, and choosing after having scanned its screen.

The phone never makes a machine do anything: it leaves a choice that the machine then asks for (docs/protocol.md, 12).
"""

from typing import Any

from marshmallow import Schema, fields, validate

from jishan_protocol import personal_codes
from jishan_server.api import schemas
from jishan_server.api.asking import change, fresh_salt, me, operation_id, parts
from jishan_server.api.blueprints import Blueprint
from jishan_server.people.codes import IssueCode
from jishan_server.people.hashing import token_hash
from jishan_server.reading import reading
from jishan_server.vending import machine_claims
from jishan_server.vending.reading import own_redemption
from jishan_server.volunteering.rules import MAX_POINTS

phone = Blueprint("phone", "A phone at a machine")


class PersonalCode(Schema):
    code = fields.String(metadata={"description": "18 digits for the scanner, as a QR code or Code 128; works once."})
    address = fields.String(metadata={"description": "The same in an address, which the scanner takes as well."})
    valid_s = fields.Integer(metadata={"description": "Show the next one after so many seconds."})
    expires_at = schemas.an_instant()


class ScreenScan(schemas.Strict):
    """The end of the address that the machine's screen shows: `/m/MACHINE/CODE`."""

    machine_id = schemas.an_id(required=True)
    screen_code = schemas.an_id(required=True)


class ScannedSlot(Schema):
    selection = fields.Integer()
    product_id = fields.String()
    name_zh = fields.String()
    name_en = fields.String()
    points = fields.Integer()
    is_available = fields.Boolean()


class ScannedMachine(Schema):
    claim_id = fields.String(metadata={"description": "Known to this browser alone: keep it until the choice is made."})
    state = fields.String()
    expires_at = schemas.an_instant()
    machine_id = fields.String()
    machine_name = fields.String()
    estate_id = fields.String()
    is_selling = fields.Boolean()
    planogram_version = fields.Integer()
    slots = fields.List(fields.Nested(ScannedSlot))


class ChosenItem(schemas.Strict):
    """What the resident chose, as it was shown to them."""

    selection = schemas.WholeNumber(required=True, validate=validate.Range(0, 9999))
    product_id = schemas.an_id(required=True)
    points = schemas.WholeNumber(required=True, validate=validate.Range(1, MAX_POINTS))
    planogram_version = schemas.WholeNumber(required=True, validate=validate.Range(min=0))


class MachineClaim(Schema):
    claim_id = fields.String()
    machine_id = fields.String()
    state = fields.String(
        metadata={"description": "`offered` to the machine, `taken` by it (then read the redemption), or `ended`."}
    )
    reason = fields.String(allow_none=True)
    told_zh = fields.String(allow_none=True, metadata={"description": "Why it ended without a redemption."})
    told_en = fields.String(allow_none=True)
    selection = fields.Integer()
    product_id = fields.String()
    points = fields.Integer()
    redemption_id = fields.String(allow_none=True)
    offered_at = schemas.an_instant()


class OwnRedemption(Schema):
    redemption_id = fields.String()
    machine_id = fields.String()
    selection = fields.Integer(allow_none=True)
    product_zh = fields.String(allow_none=True)
    product_en = fields.String(allow_none=True)
    points = fields.Integer(allow_none=True)
    state = fields.String(
        metadata={"description": "requested, held, vending, captured, denied, voided, in_doubt, reversed."}
    )
    is_over = fields.Boolean(metadata={"description": "Nothing will change by itself any more."})
    is_being_checked = fields.Boolean()
    reason = fields.String(allow_none=True)
    told_zh = fields.String(allow_none=True, metadata={"description": "One sentence on how it stands."})
    told_en = fields.String(allow_none=True)
    ticket = fields.String(allow_none=True)
    answer_by = fields.String(allow_none=True, metadata={"format": "date"})
    recorded_at = schemas.an_instant()
    changed_at = schemas.an_instant()


@phone.get("/me/code")
@phone.answers(200, PersonalCode)
def get_my_code() -> dict[str, Any]:
    """A new personal code: hold it to the machine's scanner. Those before it stay good for their time."""
    id = operation_id()
    code = personal_codes.code_of(parts().hashing.drawn("personal code", id))
    made = change("issue_code", IssueCode(me(), token_hash(code)), id=id)
    return made | {"code": code, "address": f"{parts().config.site_url}/{personal_codes.PATH}/{code}"}


@phone.post("/machine-claims")
@phone.takes(ScreenScan)
@phone.answers(201, ScannedMachine)
@phone.public
def open_claim(body: dict[str, str]) -> dict[str, Any]:
    """Open the code on a machine's screen, once, logged in or not; choose within ten minutes."""
    machine_claims.require_screen_code(reading(), parts().vending.keys, **body, now=parts().clock())
    wanted = machine_claims.OpenClaim(fresh_salt(), **body)
    return change("open_claim", wanted, id=wanted.claim_id)


@phone.get("/machine-claims/<id:claim_id>")
@phone.answers(200, ScannedMachine)
@phone.public
def get_opened_claim(claim_id: str) -> dict[str, Any]:
    """What was opened, and what the machine sells: for the browser that comes back from logging in."""
    return machine_claims.opened(reading(), claim_id)


@phone.post("/me/machine-claims/<id:claim_id>/offer")
@phone.takes(ChosenItem)
@phone.answers(200, MachineClaim)
def offer_claim(body: dict[str, Any], claim_id: str) -> dict[str, Any]:
    """Choose, once. The machine asks for it if nobody else has used it since; nothing is taken before."""
    return change("offer_claim", machine_claims.OfferClaim(me(), claim_id, **body))


@phone.get("/me/machine-claims/<id:claim_id>")
@phone.answers(200, MachineClaim)
def get_my_claim(claim_id: str) -> dict[str, Any]:
    """What became of one's choice."""
    return machine_claims.claim(reading(), me(), claim_id, parts().clock())


@phone.get("/me/redemptions/<id:redemption_id>")
@phone.answers(200, OwnRedemption)
def get_my_redemption(redemption_id: str) -> dict[str, Any]:
    """One's own redemption, from the asking to its end."""
    return own_redemption(reading(), me(), redemption_id)
