"""The region tree: estates, and the nodes above and below them."""

from typing import Any, Final

from marshmallow import Schema, fields, validate

from jishan_server.api.asking import actor, change
from jishan_server.api.blueprints import Blueprint
from jishan_server.api.paging import page, read_cursor
from jishan_server.api.schemas import MAX_NAME, MAX_TEXT, Paging, Strict, Text, an_id, an_instant, page_of
from jishan_server.organizations import tree
from jishan_server.organizations.calendar import parse_day
from jishan_server.reading import reading

MAX_NODES: Final = 500
"""Nodes in one request; longer lists come as files."""

estates = Blueprint("estates", "The region tree")


class NewEstate(Strict):
    id = an_id(load_default=None, allow_none=True)
    parent_id = an_id(required=True)
    name = Text(MAX_NAME, required=True)
    level = Text(tree.MAX_LEVEL, load_default=tree.ESTATE)
    code = Text(tree.MAX_CODE, load_default=None, allow_none=True)


class EstateChange(Strict):
    """What is left out stays as it is."""

    name = Text(MAX_NAME, load_default=None)
    level = Text(tree.MAX_LEVEL, load_default=None)
    code = Text(tree.MAX_CODE, load_default=None)


class EstateMove(Strict):
    parent_id = an_id(required=True)
    reason = Text(MAX_TEXT, required=True)
    day = fields.String(
        load_default=None, metadata={"description": "YYYY-MM-DD, its first day there; today unless told."}
    )


class Estate(Schema):
    id = fields.String()
    parent_id = fields.String(allow_none=True)
    level = fields.String()
    name = fields.String()
    code = fields.String(allow_none=True)
    created_at = an_instant()


EstatePage: Final = page_of(Estate)


class EstatesWanted(Paging):
    level = Text(tree.MAX_LEVEL, load_default=tree.ESTATE, metadata={"description": "`all` for every level."})
    below = an_id(load_default=None)


class DayWanted(Strict):
    day = fields.String(load_default=None, metadata={"description": "YYYY-MM-DD; now unless told."})


class NodeOnPath(Schema):
    id = fields.String()
    parent_id = fields.String(allow_none=True)
    level = fields.String()
    name = fields.String()
    code = fields.String(allow_none=True)


class TreePath(Schema):
    items = fields.List(fields.Nested(NodeOnPath))


class NodeMove(Schema):
    number = fields.Integer()
    from_parent_id = fields.String()
    to_parent_id = fields.String()
    day = fields.String()
    reason = fields.String()
    moved_by = fields.String()
    recorded_at = an_instant()


class NewNode(Strict):
    code = Text(tree.MAX_CODE, required=True)
    name = Text(MAX_NAME, required=True)
    level = Text(tree.MAX_LEVEL, required=True)
    parent_code = Text(tree.MAX_CODE, load_default=None, allow_none=True)


class NewNodes(Strict):
    nodes = fields.List(fields.Nested(NewNode), required=True, validate=validate.Length(1, MAX_NODES))


class NodeProblem(Schema):
    row = fields.Integer()
    code = fields.String()
    fields_ = fields.Dict(data_key="fields", attribute="fields")


class NodePlan(Schema):
    new = fields.Integer()
    renamed = fields.Integer()
    unchanged = fields.Integer()
    problems = fields.List(fields.Nested(NodeProblem))


@estates.post("/estates")
@estates.takes(NewEstate)
@estates.answers(201, Estate)
def create_estate(body: dict[str, Any]) -> dict[str, Any]:
    """Make an estate (or, with another level, a node above or below estates)."""
    return change("create_organization", tree.CreateOrganization(actor=actor(), **body))


@estates.get("/estates")
@estates.takes(EstatesWanted, location="query")
@estates.answers(200, EstatePage)
def list_estates(wanted: dict[str, Any]) -> dict[str, Any]:
    """The estates in one's scope, or the nodes of another level, perhaps only those below a node."""
    level = None if wanted["level"] == "all" else wanted["level"]
    after = read_cursor(wanted["cursor"]) or ""
    return page(*tree.estates(reading(), actor(), level, wanted["below"], after, wanted["limit"]))


@estates.get("/estates/<id:estate_id>")
@estates.answers(200, Estate)
def get_estate(estate_id: str) -> dict[str, Any]:
    """One node of the tree."""
    return tree.estate(reading(), actor(), estate_id)


@estates.put("/estates/<id:estate_id>")
@estates.takes(EstateChange)
@estates.answers(200, Estate)
def put_estate(body: dict[str, Any], estate_id: str) -> dict[str, Any]:
    """Give a node another name, level or code; an estate stays one."""
    return change("change_organization", tree.ChangeOrganization(actor(), estate_id, **body))


@estates.get("/estates/<id:estate_id>/children")
@estates.takes(Paging, location="query")
@estates.answers(200, EstatePage)
def list_children(wanted: dict[str, Any], estate_id: str) -> dict[str, Any]:
    """The nodes right below one."""
    return page(*tree.children(reading(), actor(), estate_id, read_cursor(wanted["cursor"]) or "", wanted["limit"]))


@estates.get("/estates/<id:estate_id>/path")
@estates.takes(DayWanted, location="query")
@estates.answers(200, TreePath)
def get_path(wanted: dict[str, Any], estate_id: str) -> dict[str, Any]:
    """The nodes from the root down to one, now or on a day."""
    tree.estate(reading(), actor(), estate_id)
    day = parse_day(wanted["day"]) if wanted["day"] else None
    return {"items": [node._asdict() for node in tree.path(reading(), estate_id, day)]}


@estates.get("/estates/<id:estate_id>/moves")
@estates.answers(200, page_of(NodeMove))
def list_moves(estate_id: str) -> dict[str, Any]:
    """How a node was moved, oldest first, on one page."""
    return page(tree.moves_of(reading(), actor(), estate_id))


@estates.post("/estates/<id:estate_id>/moves")
@estates.takes(EstateMove)
@estates.answers(200, Estate)
def move_estate(body: dict[str, Any], estate_id: str) -> dict[str, Any]:
    """Put a node, with all below it, below another one; who stood where before stays known."""
    move = tree.MoveOrganization(actor(), estate_id, body["parent_id"], body["reason"], body["day"])
    return change("move_organization", move)


@estates.post("/estates/<id:estate_id>/nodes")
@estates.takes(NewNodes)
@estates.answers(200, NodePlan)
def create_nodes(body: dict[str, Any], estate_id: str) -> dict[str, Any]:
    """Make many nodes below one, known by their codes; the same list again changes nothing."""
    return change("create_organizations", tree.CreateOrganizations(actor(), estate_id, _nodes(body)))


def _nodes(body: dict[str, Any]) -> tuple[tree.NewNode, ...]:
    return tuple(tree.NewNode(**one) for one in body["nodes"])
