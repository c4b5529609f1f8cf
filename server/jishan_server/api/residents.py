"""Residents, their cards and PIN, their points."""

from typing import Any

from jishan_server.api import schemas
from jishan_server.api.asking import actor, change, fresh_salt, note_access, operation_id, parts
from jishan_server.api.blueprints import Blueprint
from jishan_server.api.paging import page, read_cursor
from jishan_server.errors import DomainError
from jishan_server.organizations.roles import Permission, permit, scope
from jishan_server.people import consents, merging, profiles
from jishan_server.people import residents as people
from jishan_server.reading import reading
from jishan_server.volunteering import statements

residents = Blueprint("residents", "Residents, cards, PINs, points")


@residents.post("/residents")
@residents.takes(schemas.NewResident)
@residents.answers(201, schemas.Resident)
def create_resident(body: dict[str, Any]) -> dict[str, Any]:
    """Register a resident; the answer has the member number. No phone is needed."""
    return change("create_resident", people.CreateResident(actor=actor(), **registered(body)))


@residents.get("/residents")
@residents.takes(schemas.ResidentsWanted, location="query")
@residents.answers(200, schemas.page_of(schemas.Resident))
def list_residents(wanted: dict[str, Any]) -> dict[str, Any]:
    """Residents in one's scope, by member number; those who register people see them whole."""
    visible = scope(reading(), actor(), Permission.RESIDENT_READ)
    if wanted["estate_id"]:
        permit(reading(), actor(), Permission.RESIDENT_READ, wanted["estate_id"])
        visible = frozenset({wanted["estate_id"]})
    try:
        whole_in = scope(reading(), actor(), Permission.RESIDENT_WRITE)
    except DomainError:
        whole_in = frozenset()
    after = read_cursor(wanted["cursor"]) or 0
    named = {name: wanted[name] for name in ("name", "member_number", "phone_ending", "card_ending", "building")}
    looked_for = people.Wanted(**named, consent_state="awaiting" if wanted["awaiting_consent"] else None)
    found, further = people.page(reading(), visible, after, wanted["limit"], looked_for, whole_in)
    note_access("search" if any(named.values()) else "list", people=len(found))
    return page(found, further)


@residents.get("/residents/<id:resident_id>")
@residents.answers(200, schemas.Resident)
def get_resident(resident_id: str) -> dict[str, Any]:
    """One resident with cards."""
    found = people.resident(reading(), actor(), resident_id)
    note_access("record", resident_id)
    return found


@residents.put("/residents/<id:resident_id>")
@residents.takes(schemas.ResidentChanges)
@residents.answers(200, schemas.Resident)
def put_resident(body: dict[str, Any], resident_id: str) -> dict[str, Any]:
    """Change what is in the body and nothing else; `null` forgets a field."""
    return change("edit_resident", edited(resident_id, body))


@residents.post("/residents/<id:resident_id>/freeze")
@residents.takes(schemas.Why)
@residents.answers(200, schemas.Resident)
def freeze_resident(body: dict[str, str], resident_id: str) -> dict[str, Any]:
    """No redemptions until unfrozen; the points stay."""
    return change("freeze_resident", people.FreezeResident(actor(), resident_id, "frozen", body["reason"]))


@residents.post("/residents/<id:resident_id>/unfreeze")
@residents.takes(schemas.Why)
@residents.answers(200, schemas.Resident)
def unfreeze_resident(body: dict[str, str], resident_id: str) -> dict[str, Any]:
    """Redemptions again."""
    return change("freeze_resident", people.FreezeResident(actor(), resident_id, "active", body["reason"]))


@residents.post("/residents/<id:resident_id>/merge")
@residents.takes(schemas.Merger)
@residents.answers(200, schemas.Resident)
def merge_residents(body: dict[str, str], resident_id: str) -> dict[str, Any]:
    """End this record for another one of the same person, which gets its cards and points; the answer is that one."""
    merger = merging.MergeResidents(actor(), resident_id, body["into_id"], body["reason"], fresh_salt())
    return change("merge_residents", merger, key_required=True)


@residents.post("/residents/<id:resident_id>/close")
@residents.takes(schemas.Why)
@residents.answers(200, schemas.Resident)
def close_resident(body: dict[str, str], resident_id: str) -> dict[str, Any]:
    """Close this record for good: its points end as soon as no redemption is open."""
    closing = merging.CloseResident(actor(), resident_id, body["reason"], fresh_salt())
    return change("close_resident", closing, key_required=True)


@residents.put("/residents/<id:resident_id>/pin")
@residents.takes(schemas.NewPin)
@residents.answers(200, schemas.Resident)
def put_pin(body: dict[str, str], resident_id: str) -> dict[str, Any]:
    """Set the PIN that the resident typed; it ends a lock."""
    id = operation_id()
    hash = people.hashed_pin(parts().hashing, body["pin"], id)
    return change("set_pin", people.SetPin(actor(), resident_id, hash), id=id)


@residents.post("/residents/<id:resident_id>/cards")
@residents.takes(schemas.NewCard)
@residents.answers(201, schemas.Card)
def bind_card(body: dict[str, str], resident_id: str) -> dict[str, Any]:
    """Give a resident a card."""
    hash, ending = people.hashed_card(parts().hashing, body["uid"])
    return change("bind_card", people.BindCard(actor(), resident_id, hash, ending))


@residents.post("/cards/<id:card_id>/block")
@residents.takes(schemas.WhyCard)
@residents.answers(200, schemas.Card)
def block_card(body: dict[str, str], card_id: str) -> dict[str, Any]:
    """Block a lost card."""
    return change("block_card", people.BlockCard(actor(), card_id, body["reason"]))


@residents.post("/cards/<id:card_id>/replace")
@residents.takes(schemas.CardReplacement)
@residents.answers(201, schemas.Card)
def replace_card(body: dict[str, str], card_id: str) -> dict[str, Any]:
    """Block a card and bind a new one in one step; the answer is the new card."""
    hash, ending = people.hashed_card(parts().hashing, body["uid"])
    return change("replace_card", people.ReplaceCard(actor(), card_id, hash, ending, body["reason"]))


@residents.get("/residents/<id:resident_id>/balance")
@residents.answers(200, schemas.Balance)
def get_balance(resident_id: str) -> dict[str, Any]:
    """Posted, held and available points."""
    found = statements.balance(reading(), actor(), resident_id)
    note_access("balance", resident_id)
    return found


@residents.get("/residents/<id:resident_id>/statement")
@residents.takes(schemas.Paging, location="query")
@residents.answers(200, schemas.page_of(schemas.StatementEntry))
def get_statement(wanted: dict[str, Any], resident_id: str) -> dict[str, Any]:
    """Every entry, newest first, with the balance after it."""
    after = read_cursor(wanted["cursor"])
    found = page(*statements.statement(reading(), actor(), resident_id, after, wanted["limit"]))
    note_access("statement", resident_id)
    return found


def registered(body: dict[str, Any]) -> dict[str, Any]:
    """The fields of a `CreateResident` that a body has; refusal: id_number_invalid."""
    found = _with_skills(body) | {"id_number": profiles.kept_of(parts().hashing, body.get("id_number"))}
    if found.get("consent") is not None:
        guardian = found["consent"].pop("guardian")
        found["consent"] = consents.NewConsent(
            **found["consent"], guardian=None if guardian is None else consents.Guardian(**guardian)
        )
    return found


def edited(resident_id: str, body: dict[str, Any]) -> people.EditResident:
    """The change that a body asks for; refusal: id_number_invalid."""
    id_number = profiles.kept_of(parts().hashing, body.get("id_number"))
    changes = _with_skills(body) | ({"id_number": None} if "id_number" in body else {})
    return people.EditResident(actor(), resident_id, changes, id_number)


def _with_skills(body: dict[str, Any]) -> dict[str, Any]:
    skills = {"skills": tuple(profiles.Skill(**skill) for skill in body["skills"])} if "skills" in body else {}
    return {**body, **skills}
