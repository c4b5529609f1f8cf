"""Vouchers: an item reserved beforehand on one machine; on the phone, at the desk, and how many a machine may have."""

from typing import Any

from marshmallow import Schema, fields, validate

from jishan_server.api.asking import actor, change, me, note_access, parts
from jishan_server.api.blueprints import Blueprint
from jishan_server.api.paging import page
from jishan_server.api.schemas import Strict, an_id, an_instant, page_of
from jishan_server.reading import reading
from jishan_server.vending import vouchers as vending

vouchers = Blueprint("vouchers", "Items reserved beforehand on a machine")


class NewVoucher(Strict):
    machine_id = an_id(required=True)
    selection = fields.Integer(required=True, strict=True, validate=validate.Range(0, 9999))
    product_id = an_id(required=True)
    points = fields.Integer(required=True, strict=True, validate=validate.Range(1, 1_000_000))


class VoucherView(Schema):
    id = fields.String(metadata={"description": "The id of its redemption, too."})
    machine_id = fields.String()
    machine_name = fields.String()
    number = fields.Integer()
    selection = fields.Integer()
    product_id = fields.String()
    product_zh = fields.String()
    product_en = fields.String()
    points = fields.Integer()
    state = fields.String(validate=validate.OneOf(["open", "ending", "taken", "ended", "lost"]))
    redemption_state = fields.String()
    ends_why = fields.String(allow_none=True)
    text = fields.String(allow_none=True, metadata={"description": "What the QR code says, while it can be taken."})
    digits = fields.String(allow_none=True, metadata={"description": "What is typed where no scanner is."})
    expires_at = an_instant()
    recorded_at = an_instant()


class VouchersOffered(Strict):
    most = fields.Integer(required=True, strict=True, validate=validate.Range(0, vending.MAX_ON_MACHINE))


class VoucherBook(Schema):
    machine_id = fields.String()
    most = fields.Integer()
    open = fields.Integer()
    last_number = fields.Integer()
    closed_upto = fields.Integer()
    is_ready = fields.Boolean(metadata={"description": "The machine has the key and has closed what it must not take."})
    asked_at = an_instant()
    reported_at = an_instant()


@vouchers.post("/me/vouchers")
@vouchers.takes(NewVoucher)
@vouchers.answers(201, VoucherView)
def issue_my_voucher(body: dict[str, Any]) -> dict[str, Any]:
    """Reserve an item for me on a machine, for days without a link."""
    return _shown(change("issue_voucher", vending.IssueVoucher(actor(), me(), **body), key_required=True))


@vouchers.get("/me/vouchers")
@vouchers.answers(200, page_of(VoucherView))
def list_my_vouchers() -> dict[str, Any]:
    """My vouchers, newest first."""
    return page([_shown(one) for one in vending.of_resident(reading(), actor(), me())])


@vouchers.post("/me/vouchers/<id:voucher_id>/give-back")
@vouchers.answers(200, VoucherView)
def give_my_voucher_back(voucher_id: str) -> dict[str, Any]:
    """Give one back; the points come when the machine has said that it will not take it."""
    me()
    return _shown(change("give_voucher_back", vending.GiveVoucherBack(actor(), voucher_id)))


@vouchers.post("/residents/<id:resident_id>/vouchers")
@vouchers.takes(NewVoucher)
@vouchers.answers(201, VoucherView)
def issue_voucher(body: dict[str, Any], resident_id: str) -> dict[str, Any]:
    """Reserve an item for a resident at the desk."""
    return _shown(change("issue_voucher", vending.IssueVoucher(actor(), resident_id, **body), key_required=True))


@vouchers.get("/residents/<id:resident_id>/vouchers")
@vouchers.answers(200, page_of(VoucherView))
def list_vouchers(resident_id: str) -> dict[str, Any]:
    """A resident's vouchers, newest first, without what they are taken with."""
    found = vending.of_resident(reading(), actor(), resident_id)
    note_access("vouchers", resident_id)
    return page([one | {"text": None, "digits": None} for one in found])


@vouchers.post("/vouchers/<id:voucher_id>/give-back")
@vouchers.answers(200, VoucherView)
def give_voucher_back(voucher_id: str) -> dict[str, Any]:
    """Give a resident's voucher back at the desk."""
    return change("give_voucher_back", vending.GiveVoucherBack(actor(), voucher_id)) | {"text": None, "digits": None}


@vouchers.get("/machines/<id:machine_id>/vouchers")
@vouchers.answers(200, VoucherBook)
def get_voucher_book(machine_id: str) -> dict[str, Any]:
    """How many vouchers a machine may have, has, and has closed."""
    return vending.book(reading(), actor(), machine_id)


@vouchers.put("/machines/<id:machine_id>/vouchers")
@vouchers.takes(VouchersOffered)
@vouchers.answers(200, VoucherBook)
def put_voucher_book(body: dict[str, int], machine_id: str) -> dict[str, Any]:
    """Say how many vouchers may be open on a machine; 0 makes no new ones."""
    return change("offer_vouchers", vending.OfferVouchers(actor(), machine_id, body["most"]))


def _shown(seen: dict[str, Any]) -> dict[str, Any]:
    return vending.shown(reading(), parts().vending.keys, seen)
