"""Estates and the nodes above them."""

from typing import Any

from jishan_server.api import schemas
from jishan_server.api.asking import actor, change
from jishan_server.api.blueprints import Blueprint
from jishan_server.api.paging import page
from jishan_server.organizations import tree
from jishan_server.reading import reading

estates = Blueprint("estates", "The region tree")


@estates.post("/estates")
@estates.takes(schemas.NewEstate)
@estates.answers(201, schemas.Estate)
def create_estate(body: dict[str, Any]) -> dict[str, Any]:
    """Make an estate (or, with another level, a node above estates)."""
    return change("create_organization", tree.CreateOrganization(actor=actor(), **body))


@estates.get("/estates")
@estates.answers(200, schemas.page_of(schemas.Estate))
def list_estates() -> dict[str, Any]:
    """The estates in one's scope."""
    return page(tree.estates(reading(), actor()))


@estates.get("/estates/<id:estate_id>")
@estates.answers(200, schemas.Estate)
def get_estate(estate_id: str) -> dict[str, Any]:
    """One node of the tree."""
    return tree.estate(reading(), actor(), estate_id)
