"""Groups, and who belongs to which node or group."""

from typing import Any

from marshmallow import Schema, fields

from jishan_server.api.asking import actor, change, note_access
from jishan_server.api.blueprints import Blueprint
from jishan_server.api.paging import page, read_cursor
from jishan_server.api.schemas import MAX_NAME, Day, Paging, Strict, Text, an_id, an_instant, page_of
from jishan_server.organizations import groups
from jishan_server.organizations.calendar import parse_day
from jishan_server.organizations.tree import MAX_CODE
from jishan_server.people import memberships as people
from jishan_server.reading import reading

MAX_KIND = 40

memberships = Blueprint("memberships", "Groups and memberships")


class NewGroup(Strict):
    organization_id = an_id(
        load_default=None, allow_none=True, metadata={"description": "Its home; none for one of the whole scheme."}
    )
    kind = Text(MAX_KIND, required=True)
    name = Text(MAX_NAME, required=True)
    code = Text(MAX_CODE, load_default=None, allow_none=True)


class GroupChange(Strict):
    """What is left out stays as it is."""

    kind = Text(MAX_KIND, load_default=None)
    name = Text(MAX_NAME, load_default=None)
    code = Text(MAX_CODE, load_default=None)
    is_open = fields.Boolean(load_default=None, truthy={True}, falsy={False})


class Group(Schema):
    id = fields.String()
    organization_id = fields.String(allow_none=True)
    kind = fields.String()
    name = fields.String()
    code = fields.String(allow_none=True)
    is_open = fields.Boolean()
    created_at = an_instant()
    closed_at = an_instant()


class GroupsWanted(Paging):
    organization_id = an_id(load_default=None)
    kind = Text(MAX_KIND, load_default=None)


class NewMembership(Strict):
    """Either a node or a group."""

    organization_id = an_id(load_default=None, allow_none=True)
    group_id = an_id(load_default=None, allow_none=True)
    role = Text(MAX_NAME, load_default="")
    from_day = Day(required=True)
    to_day = Day(load_default=None, allow_none=True)


class MembershipEnd(Strict):
    to_day = Day(required=True)


class Membership(Schema):
    id = fields.String()
    resident_id = fields.String()
    organization_id = fields.String(allow_none=True)
    group_id = fields.String(allow_none=True)
    role = fields.String()
    from_day = fields.String()
    to_day = fields.String(allow_none=True)
    recorded_by = fields.String()
    recorded_at = an_instant()
    ended_by = fields.String(allow_none=True)
    ended_at = an_instant()


class GroupMember(Membership):
    name = fields.String()
    member_number = fields.String()


class MembersWanted(Paging):
    organization_id = an_id(load_default=None)
    group_id = an_id(load_default=None)
    day = Day(load_default=None)


@memberships.post("/groups")
@memberships.takes(NewGroup)
@memberships.answers(201, Group)
def create_group(body: dict[str, Any]) -> dict[str, Any]:
    """Make a group."""
    return change("create_group", groups.CreateGroup(actor=actor(), **body))


@memberships.get("/groups")
@memberships.takes(GroupsWanted, location="query")
@memberships.answers(200, page_of(Group))
def list_groups(wanted: dict[str, Any]) -> dict[str, Any]:
    """The groups of one's scope, and those of the whole scheme."""
    after = read_cursor(wanted["cursor"]) or ""
    return page(
        *groups.groups_of(reading(), actor(), wanted["organization_id"], wanted["kind"], after, wanted["limit"])
    )


@memberships.get("/groups/<id:group_id>")
@memberships.answers(200, Group)
def get_group(group_id: str) -> dict[str, Any]:
    """One group."""
    return groups.seen_group(reading(), actor(), group_id)


@memberships.put("/groups/<id:group_id>")
@memberships.takes(GroupChange)
@memberships.answers(200, Group)
def put_group(body: dict[str, Any], group_id: str) -> dict[str, Any]:
    """Give a group another kind, name or code, close it, or open it again."""
    return change("change_group", groups.ChangeGroup(actor(), group_id, **body))


@memberships.get("/memberships")
@memberships.takes(MembersWanted, location="query")
@memberships.answers(200, page_of(GroupMember))
def list_members(wanted: dict[str, Any]) -> dict[str, Any]:
    """Who is in a node or a group, perhaps on one day only."""
    day = parse_day(wanted["day"]) if wanted["day"] else None
    after = read_cursor(wanted["cursor"]) or ""
    found, further = people.members_of(
        reading(), actor(), wanted["organization_id"], wanted["group_id"], day, after, wanted["limit"]
    )
    note_access("memberships", people=len(found))
    return page(found, further)


@memberships.get("/residents/<id:resident_id>/memberships")
@memberships.answers(200, page_of(Membership))
def list_memberships(resident_id: str) -> dict[str, Any]:
    """Where a resident is and was, on one page."""
    found = people.memberships_of(reading(), actor(), resident_id)
    note_access("memberships", resident_id)
    return page(found)


@memberships.post("/residents/<id:resident_id>/memberships")
@memberships.takes(NewMembership)
@memberships.answers(201, Membership)
def create_membership(body: dict[str, Any], resident_id: str) -> dict[str, Any]:
    """Put a resident into a node or a group."""
    return change("add_membership", people.AddMembership(actor(), resident_id, **body))


@memberships.put("/memberships/<id:membership_id>")
@memberships.takes(MembershipEnd)
@memberships.answers(200, Membership)
def end_membership(body: dict[str, str], membership_id: str) -> dict[str, Any]:
    """Say which day was its last."""
    return change("end_membership", people.EndMembership(actor(), membership_id, body["to_day"]))
