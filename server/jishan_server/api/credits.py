"""Credits: recorded by one person, approved by another."""

from typing import Any

from jishan_server.api import schemas
from jishan_server.api.asking import actor, change
from jishan_server.api.blueprints import Blueprint
from jishan_server.api.paging import page, read_cursor
from jishan_server.organizations.roles import Permission, permit, scope
from jishan_server.reading import reading
from jishan_server.volunteering import credits as volunteering

credits = Blueprint("credits", "Points for volunteer work")


@credits.post("/credits")
@credits.takes(schemas.NewCredit)
@credits.answers(201, schemas.Credit)
def record_credit(body: dict[str, Any]) -> dict[str, Any]:
    """Record a credit; it waits for another person's approval."""
    return change("record_credit", volunteering.RecordCredit(actor=actor(), **body), key_required=True)


@credits.get("/credits")
@credits.takes(schemas.CreditsWanted, location="query")
@credits.answers(200, schemas.page_of(schemas.Credit))
def list_credits(wanted: dict[str, Any]) -> dict[str, Any]:
    """Credits in one's scope, oldest first."""
    estates = {wanted["estate_id"]} if wanted["estate_id"] else scope(reading(), actor(), Permission.CREDIT_READ)
    if wanted["estate_id"]:
        permit(reading(), actor(), Permission.CREDIT_READ, wanted["estate_id"])
    return page(
        *volunteering.page(
            reading(),
            estates,
            state=wanted["state"],
            resident_id=wanted["resident_id"],
            after=read_cursor(wanted["cursor"]),
            limit=wanted["limit"],
        )
    )


@credits.get("/credits/<id:credit_id>")
@credits.answers(200, schemas.Credit)
def get_credit(credit_id: str) -> dict[str, Any]:
    """One credit."""
    return volunteering.credit(reading(), actor(), credit_id)


@credits.post("/credits/<id:credit_id>/approve")
@credits.takes(schemas.Approval)
@credits.answers(200, schemas.Credit)
def approve_credit(body: dict[str, str], credit_id: str) -> dict[str, Any]:
    """Approve: the points are posted to the ledger."""
    decision = volunteering.DecideCredit(actor(), credit_id, body["reason"])
    return change("approve_credit", decision, key_required=True)


@credits.post("/credits/<id:credit_id>/reject")
@credits.takes(schemas.Why)
@credits.answers(200, schemas.Credit)
def reject_credit(body: dict[str, str], credit_id: str) -> dict[str, Any]:
    """Reject, with a reason: no points move."""
    decision = volunteering.DecideCredit(actor(), credit_id, body["reason"])
    return change("reject_credit", decision, key_required=True)


@credits.post("/credits/<id:credit_id>/reverse")
@credits.takes(schemas.Why)
@credits.answers(200, schemas.Credit)
def reverse_credit(body: dict[str, str], credit_id: str) -> dict[str, Any]:
    """Take an approved credit back, once, with a reason: what is spent already becomes owed."""
    reversal = volunteering.ReverseCredit(actor(), credit_id, body["reason"])
    return change("reverse_credit", reversal, key_required=True)
