"""What people see and do of themselves, on their own phone: everything here is about whoever asks, and nobody else."""

from typing import Any
from zoneinfo import ZoneInfo

from flask import Response

from jishan_server.api import schemas
from jishan_server.api.asking import actor, caller, change, fresh_salt, language, me, parts
from jishan_server.api.blueprints import Blueprint
from jishan_server.api.paging import page, read_cursor
from jishan_server.api.residents import edited
from jishan_server.errors import DomainError
from jishan_server.people import consents, merging, privacy, staff
from jishan_server.people import residents as people
from jishan_server.people.staff import Member
from jishan_server.reading import reading
from jishan_server.sheets.writing import MEDIA_TYPES
from jishan_server.volunteering import statements

mine = Blueprint("me", "What is kept of oneself")


class Me(schemas.Resident, schemas.Staff):
    """For a resident the profile; for staff the account with roles and permissions."""


@mine.get("/me")
@mine.answers(200, Me)
def get_me() -> dict[str, Any]:
    """Who this token belongs to."""
    if isinstance(caller(), Member):
        return staff.view(reading(), actor())
    return people.resident(reading(), actor(), me())


@mine.put("/me")
@mine.takes(schemas.OwnChanges)
@mine.answers(200, schemas.Resident)
def put_me(body: dict[str, Any]) -> dict[str, Any]:
    """Change phone, e-mail or language; the desk changes the rest."""
    return change("edit_resident", edited(me(), body))


@mine.get("/me/balance")
@mine.answers(200, schemas.Balance)
def get_my_balance() -> dict[str, Any]:
    """Points that are there, held, available, approved but not booked yet, and those that end next."""
    return statements.balance(reading(), actor(), me())


@mine.get("/me/statement")
@mine.takes(schemas.Paging, location="query")
@mine.answers(200, schemas.page_of(schemas.StatementEntry))
def get_my_statement(wanted: dict[str, Any]) -> dict[str, Any]:
    """Every entry, newest first, with the balance after it."""
    after = read_cursor(wanted["cursor"])
    return page(*statements.statement(reading(), actor(), me(), after, wanted["limit"]))


@mine.get("/me/statement/month")
@mine.takes(schemas.Month, location="query")
@mine.answers(200, schemas.page_of(schemas.StatementEntry))
def get_my_month(wanted: dict[str, str]) -> dict[str, Any]:
    """The entries of one month, oldest first, on one page."""
    return page(statements.month(reading(), actor(), me(), wanted["month"], _zone()))


@mine.get("/me/statement/month.csv")
@mine.takes(schemas.Month, location="query")
@mine.answers(200)
def get_my_month_csv(wanted: dict[str, str]) -> Response:
    """The entries of one month as a CSV sheet, in the language of Accept-Language."""
    entries = statements.month(reading(), actor(), me(), wanted["month"], _zone())
    sheet = statements.month_csv(entries, language(), _zone())
    name = f"statement-{wanted['month']}.csv"
    return Response(
        sheet, content_type=MEDIA_TYPES["csv"], headers={"Content-Disposition": f'attachment; filename="{name}"'}
    )


@mine.get("/me/consents")
@mine.answers(200, schemas.OwnConsents)
def get_my_consents() -> dict[str, Any]:
    """The text that holds now, whether I agree, and everything that I said to it."""
    now = parts().clock()
    return {
        "state": consents.state(reading(), me()),
        "text": consents.text_now(reading(), now),
        "history": consents.history(reading(), me()),
    }


@mine.post("/me/consents")
@mine.takes(schemas.OwnConsent)
@mine.answers(201, schemas.ConsentSaid)
def give_my_consent(body: dict[str, int]) -> dict[str, Any]:
    """Agree to the text of this version, which is the one that holds now."""
    if consents.text_now(reading(), parts().clock())["version"] != body["text_version"]:
        raise DomainError("consent_text_changed")
    return change("give_consent", consents.GiveConsent(actor(), me(), "phone"))


@mine.post("/me/consents/withdraw")
@mine.answers(200, schemas.ConsentSaid)
def withdraw_my_consent() -> dict[str, Any]:
    """Not agree any more: nothing new is recorded or shown; the points that are there stay mine to use."""
    return change("withdraw_consent", consents.WithdrawConsent(actor(), me(), "phone"))


@mine.get("/me/accesses")
@mine.takes(schemas.Paging, location="query")
@mine.answers(200, schemas.page_of(schemas.PersonalAccess))
def list_my_accesses(wanted: dict[str, Any]) -> dict[str, Any]:
    """Who of the staff looked at me, newest first."""
    before = read_cursor(wanted["cursor"])
    return page(*privacy.accesses(reading(), actor(), me(), before, wanted["limit"]))


@mine.get("/me/export")
@mine.answers(200, schemas.PersonalExport)
def export_me() -> dict[str, Any]:
    """Everything that is kept of me, as one document."""
    return privacy.export(reading(), actor(), me(), parts().clock())


@mine.post("/me/cards/<id:card_id>/block")
@mine.takes(schemas.WhyCard)
@mine.answers(200, schemas.Card)
def block_my_card(body: dict[str, str], card_id: str) -> dict[str, Any]:
    """Block my lost card; the desk gives me another one."""
    me()
    return change("block_card", people.BlockCard(actor(), card_id, body["reason"]))


@mine.post("/me/close")
@mine.takes(schemas.Why)
@mine.answers(200, schemas.Resident)
def close_me(body: dict[str, str]) -> dict[str, Any]:
    """Close my account for good: points end as soon as no redemption is open, and this token ends at once."""
    return change("close_resident", merging.CloseResident(actor(), me(), body["reason"], fresh_salt()))


def _zone() -> ZoneInfo:
    return parts().vending.rules.zone
