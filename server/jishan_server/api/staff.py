"""Accounts of staff: making and editing them, their roles, letting them in or not, their passwords."""

from typing import Any, Final

from marshmallow import fields, validate

from jishan_server.api.asking import actor, change, operation_id, parts
from jishan_server.api.auth import SecondFactor
from jishan_server.api.blueprints import Blueprint
from jishan_server.api.paging import page, read_cursor
from jishan_server.api.schemas import (
    MAX_NAME,
    NewStaff,
    Paging,
    RoleGrant,
    Secret,
    Staff,
    Strict,
    Text,
    an_id,
    page_of,
)
from jishan_server.errors import DomainError
from jishan_server.organizations.roles import Role
from jishan_server.people import staff as people
from jishan_server.people.second_factor import EndSecondFactor
from jishan_server.reading import reading

MAX_GRANTS: Final = 20

staff = Blueprint("staff", "Accounts of staff")


class StaffEdit(Strict):
    """What is left out stays as it is."""

    name = Text(MAX_NAME, load_default=None)
    resident_id = an_id(load_default=None)


class Roles(Strict):
    roles = fields.List(fields.Nested(RoleGrant), required=True, validate=validate.Length(1, MAX_GRANTS))


class ActiveOrNot(Strict):
    is_active = fields.Boolean(required=True, truthy={True}, falsy={False})


class NewPassword(Strict):
    password = Secret()


@staff.delete("/staff/<id:staff_id>/second-factor")
@staff.answers(200, SecondFactor)
def end_second_factor(staff_id: str) -> dict[str, Any]:
    """Let somebody in without codes who has lost the telephone; not for oneself."""
    if staff_id == actor():
        raise DomainError("staff_self")
    return change("end_second_factor", EndSecondFactor(actor(), staff_id))


@staff.post("/staff")
@staff.takes(NewStaff)
@staff.answers(201, Staff)
def create_staff(body: dict[str, Any]) -> dict[str, Any]:
    """Make an account for a member of staff, with roles that one holds oneself."""
    id = operation_id()
    hash = people.hashed_password(parts().hashing, body["password"], id)
    new = people.CreateStaff(actor(), body["login"], body["name"], hash, _grants(body), body["resident_id"])
    return change("create_staff", new, id=id)


@staff.get("/staff")
@staff.takes(Paging, location="query")
@staff.answers(200, page_of(Staff))
def list_staff(wanted: dict[str, Any]) -> dict[str, Any]:
    """The staff in one's scope, by login."""
    return page(*people.members(reading(), actor(), read_cursor(wanted["cursor"]) or "", wanted["limit"]))


@staff.get("/staff/<id:staff_id>")
@staff.answers(200, Staff)
def get_staff(staff_id: str) -> dict[str, Any]:
    """One account."""
    return people.member(reading(), actor(), staff_id)


@staff.put("/staff/<id:staff_id>")
@staff.takes(StaffEdit)
@staff.answers(200, Staff)
def put_staff(body: dict[str, Any], staff_id: str) -> dict[str, Any]:
    """Change the name of an account, or say which resident it is."""
    return change("edit_staff", people.EditStaff(actor(), staff_id, **body))


@staff.put("/staff/<id:staff_id>/roles")
@staff.takes(Roles)
@staff.answers(200, Staff)
def put_roles(body: dict[str, Any], staff_id: str) -> dict[str, Any]:
    """Give an account exactly these roles; they hold from the next request on."""
    return change("set_roles", people.SetRoles(actor(), staff_id, _grants(body)))


@staff.put("/staff/<id:staff_id>/state")
@staff.takes(ActiveOrNot)
@staff.answers(200, Staff)
def put_staff_state(body: dict[str, bool], staff_id: str) -> dict[str, Any]:
    """Disable an account, which ends its tokens at once, or enable it again."""
    return change("set_staff_active", people.SetStaffActive(actor(), staff_id, body["is_active"]))


@staff.put("/staff/<id:staff_id>/password")
@staff.takes(NewPassword)
@staff.answers(200, Staff)
def reset_password(body: dict[str, str], staff_id: str) -> dict[str, Any]:
    """Set another person's password; their tokens end."""
    id = operation_id()
    hash = people.hashed_password(parts().hashing, body["password"], id)
    return change("reset_password", people.ResetPassword(actor(), staff_id, hash), id=id)


def _grants(body: dict[str, Any]) -> tuple[people.Grant, ...]:
    return tuple(people.Grant(Role(one["role"]), one["organization_id"]) for one in body["roles"])
