"""How a part of the API is made: unknown fields refused wherever they stand, typed decorators, one shape of failure."""

import threading
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from flask import Flask, Response
from flask_smorest import Api as SmorestApi
from flask_smorest import Blueprint as SmorestBlueprint
from marshmallow import RAISE, Schema
from webargs.flaskparser import FlaskParser

from jishan_server.api.schemas import Failure

View = TypeVar("View", bound=Callable[..., Any])


class Api(SmorestApi):  # type: ignore[misc]  # flask-smorest is untyped
    """The API's documentation: every failure has one shape.

    It is put together when somebody first asks for it: that takes longer than all the rest of making an app.
    """

    ERROR_SCHEMA = Failure

    def __init__(self, app: Flask) -> None:
        self._to_document: list[SmorestBlueprint] = []
        self._documenting = threading.Lock()
        super().__init__(app)

    def register_blueprint(self, blp: SmorestBlueprint, **options: Any) -> None:
        """Serve a part of the API; it is documented later."""
        self._app.extensions["flask-smorest"]["blp_name_to_api"][blp.name] = self
        self._app.register_blueprint(blp, **options)
        self._to_document.append(blp)

    def _openapi_json(self) -> Response:
        with self._documenting:
            while self._to_document:
                part = self._to_document.pop(0)
                part.register_views_in_doc(self, self._app, self.spec, name=part.name, parameters=None)
                self.spec.tag({"name": part.name, "description": part.description})
        document: Response = super()._openapi_json()
        return document


class Decorator(Protocol):
    """Gives back a view of the type it was given."""

    def __call__(self, view: View, /) -> View: ...


class StrictParser(FlaskParser):
    """Refuses unknown fields, in queries too."""

    DEFAULT_UNKNOWN_BY_LOCATION: dict[str, str | None] = {"json": RAISE, "query": RAISE}  # noqa: RUF012 (webargs' name)


class Blueprint(SmorestBlueprint):  # type: ignore[misc]  # flask-smorest is untyped; what we use of it is typed here
    """A part of the API below /api/v1."""

    ARGUMENTS_PARSER = StrictParser()

    def __init__(self, name: str, description: str) -> None:
        super().__init__(name, f"jishan_server.api.{name}", url_prefix="/api/v1", description=description)

    def get(self, rule: str) -> Decorator:
        """Answer GET."""
        return self._route(rule, "GET")

    def post(self, rule: str) -> Decorator:
        """Answer POST."""
        return self._route(rule, "POST")

    def put(self, rule: str) -> Decorator:
        """Answer PUT."""
        return self._route(rule, "PUT")

    def delete(self, rule: str) -> Decorator:
        """Answer DELETE."""
        return self._route(rule, "DELETE")

    def takes(self, shape: type[Schema], location: str = "json") -> Decorator:
        """Parse the body (or the query) and give it to the view as its first argument."""
        decorator: Decorator = self.arguments(shape, location=location)
        return decorator

    def answers(self, status: int, shape: type[Schema] | None = None) -> Decorator:
        """Write what the view gives in this shape."""
        decorator: Decorator = self.response(status, shape)
        return decorator

    def public(self, view: View) -> View:
        """Say in the documentation that no token is needed (the app's list of public endpoints decides)."""
        documented: View = self.doc(security=[])(view)
        return documented

    def _route(self, rule: str, method: str) -> Decorator:
        decorator: Decorator = self.route(rule, methods=[method])
        return decorator
