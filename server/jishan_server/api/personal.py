"""What protects people: their consent, who looked at them, a copy of everything, forgetting, and double records."""

from typing import Any

from jishan_server.api import schemas
from jishan_server.api.asking import actor, change, note_access, parts
from jishan_server.api.blueprints import Blueprint
from jishan_server.api.paging import page, read_cursor
from jishan_server.organizations.roles import Permission, permit, scope
from jishan_server.people import consents, duplicates, privacy
from jishan_server.people import residents as people
from jishan_server.reading import reading

personal = Blueprint("personal", "Consent, privacy, double records")


@personal.get("/consent-texts")
@personal.answers(200, schemas.page_of(schemas.ConsentText))
def list_consent_texts() -> dict[str, Any]:
    """Every version of what people agree to, oldest first; they are few and on one page."""
    scope(reading(), actor(), Permission.RULES_READ)
    return page(consents.texts(reading()))


@personal.post("/consent-texts")
@personal.takes(schemas.NewConsentText)
@personal.answers(201, schemas.ConsentText)
def create_consent_text(body: dict[str, str]) -> dict[str, Any]:
    """Publish the next version; consent that was given to an older one stays."""
    return change("publish_consent_text", consents.PublishConsentText(actor(), **body))


@personal.get("/residents/<id:resident_id>/consents")
@personal.answers(200, schemas.page_of(schemas.ConsentSaid))
def list_consents(resident_id: str) -> dict[str, Any]:
    """What somebody said about keeping records, newest first, on one page."""
    permit(reading(), actor(), Permission.RESIDENT_READ, people.estate_of(reading(), resident_id))
    note_access("consents", resident_id)
    return page(consents.history(reading(), resident_id))


@personal.post("/residents/<id:resident_id>/consents")
@personal.takes(schemas.ConsentGiven)
@personal.answers(201, schemas.ConsentSaid)
def give_consent(body: dict[str, Any], resident_id: str) -> dict[str, Any]:
    """Write down that somebody agreed, at the desk or on a paper form; for a child with the guardian."""
    guardian = body.pop("guardian")
    given = consents.GiveConsent(
        actor(), resident_id, **body, guardian=None if guardian is None else consents.Guardian(**guardian)
    )
    return change("give_consent", given)


@personal.post("/residents/<id:resident_id>/consents/withdraw")
@personal.takes(schemas.ConsentWithdrawn)
@personal.answers(200, schemas.ConsentSaid)
def withdraw_consent(body: dict[str, Any], resident_id: str) -> dict[str, Any]:
    """Write down that somebody does not agree any more; the points that are there stay theirs to use."""
    return change("withdraw_consent", consents.WithdrawConsent(actor(), resident_id, body["how"]))


@personal.get("/residents/<id:resident_id>/accesses")
@personal.takes(schemas.Paging, location="query")
@personal.answers(200, schemas.page_of(schemas.PersonalAccess))
def list_accesses(wanted: dict[str, Any], resident_id: str) -> dict[str, Any]:
    """Who of the staff looked at a resident, newest first; this look is the next row."""
    before = read_cursor(wanted["cursor"])
    answer = page(*privacy.accesses(reading(), actor(), resident_id, before, wanted["limit"]))
    note_access("accesses", resident_id)
    return answer


@personal.get("/residents/<id:resident_id>/export")
@personal.answers(200, schemas.PersonalExport)
def export_resident(resident_id: str) -> dict[str, Any]:
    """Everything that is kept of a person, to hand it to them."""
    answer = privacy.export(reading(), actor(), resident_id, parts().clock())
    note_access("export", resident_id)
    return answer


@personal.post("/residents/<id:resident_id>/erase")
@personal.takes(schemas.Erasure)
@personal.answers(200, schemas.Resident)
def erase_resident(body: dict[str, Any], resident_id: str) -> dict[str, Any]:
    """Make a person anonymous, for good: nothing brings it back. Points, hours and the ledger keep the pseudonym."""
    return change("erase_resident", privacy.EraseResident(actor(), resident_id, body["reason"]))


@personal.get("/duplicates")
@personal.takes(schemas.DuplicatesWanted, location="query")
@personal.answers(200, schemas.page_of(schemas.DuplicatePair))
def list_duplicates(wanted: dict[str, Any]) -> dict[str, Any]:
    """Pairs of residents who may be one person, each with what speaks for it; those with most evidence first."""
    estates = scope(reading(), actor(), Permission.RESIDENT_WRITE)
    if wanted["estate_id"]:
        permit(reading(), actor(), Permission.RESIDENT_WRITE, wanted["estate_id"])
        estates = frozenset({wanted["estate_id"]})
    found = duplicates.pairs(reading(), estates)
    note_access("duplicates", people=2 * len(found))
    return page(found)


@personal.post("/duplicates/dismiss")
@personal.takes(schemas.NotDuplicates)
@personal.answers(204)
def dismiss_duplicate(body: dict[str, str]) -> None:
    """Two residents are not one person: the pair does not come again."""
    change("dismiss_duplicate", duplicates.DismissDuplicate(actor(), body["first_id"], body["second_id"]))
