"""A request's JSON body, looked at once before any endpoint sees it.

Refused here: too large, not said to be JSON, not JSON, nested beyond what any body of ours needs, and numbers that JSON
does not know. marshmallow then judges the fields.
"""

import json
from typing import Any, Final, NoReturn

from flask import Request, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import UnsupportedMediaType

from jishan_server.api.asking import is_page
from jishan_server.errors import DomainError

FILES: Final[dict[str, int]] = {
    "attachments.create_attachment": 6 * 1024 * 1024,
    "imports.create_import": 21 * 1024 * 1024,
}
"""Endpoints that take a file and no JSON, and the most bytes of each: the file, and the form around it."""
MAX_DEPTH: Final = 16
"""Our deepest body has three levels."""


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


class JsonRequest(Request):
    """A request whose body is parsed strictly; raises DomainError json_invalid and json_too_deep."""

    def get_json(self, force: bool = False, silent: bool = False, cache: bool = True) -> Any:
        """The parsed body, once; `{}` for an empty one."""
        if not hasattr(self, "_parsed"):
            self._parsed = parse(self.get_data(cache=True))
        return self._parsed


def check_body() -> ResponseReturnValue | None:
    """Before each request to the API: a body that is not JSON is refused, but at the endpoints that take a file."""
    if is_page():
        return None
    if (most := FILES.get(request.endpoint or "")) is not None:
        request.max_content_length = most
        return None
    if request.method in ("POST", "PUT", "PATCH", "DELETE") and request.get_data(cache=True):
        if request.mimetype != "application/json":
            raise UnsupportedMediaType
        request.get_json()
    return None


def parse(raw: bytes) -> Any:
    """Parse a body; refusals: json_invalid, json_too_deep."""
    if not raw:
        return {}
    try:
        parsed = json.loads(raw, parse_constant=_no_constant)
    except RecursionError:
        raise DomainError("json_too_deep") from None
    except ValueError:
        # Also bytes that are not UTF-8, and numbers with thousands of digits.
        raise DomainError("json_invalid") from None
    level = [parsed]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return parsed
    raise DomainError("json_too_deep")
