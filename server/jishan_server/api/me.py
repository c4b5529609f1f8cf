"""What people see and do of themselves, on their own phone: everything here is about whoever asks, and nobody else."""

from typing import Any

from jishan_server.api import schemas
from jishan_server.api.asking import actor, caller, change, me
from jishan_server.api.blueprints import Blueprint
from jishan_server.api.residents import edited
from jishan_server.people import residents as people
from jishan_server.people import staff
from jishan_server.people.staff import Member
from jishan_server.reading import reading

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
