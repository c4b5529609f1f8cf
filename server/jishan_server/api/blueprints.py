"""How a blueprint of the API is made: bodies in the errors' one shape, unknown query parameters refused."""

from typing import Any, ClassVar

from flask_smorest import Blueprint as SmorestBlueprint
from marshmallow import RAISE
from webargs.flaskparser import FlaskParser

from jishan_server.api.schemas import Failure


class StrictParser(FlaskParser):
    """Refuses unknown fields wherever they stand."""

    DEFAULT_UNKNOWN_BY_LOCATION: ClassVar[dict[str, Any]] = {"json": RAISE, "query": RAISE}


class Blueprint(SmorestBlueprint):  # type: ignore[misc]
    """A part of the API: its path prefix, its title in the documentation."""

    ARGUMENTS_PARSER = StrictParser()


def blueprint(name: str, description: str) -> Blueprint:
    """A part of the API below /api/v1."""
    return Blueprint(name, f"jishan_server.api.{name}", url_prefix="/api/v1", description=description)


__all__ = ["Blueprint", "Failure", "blueprint"]
