"""Pages of lists: a cursor says after which row the next one starts, so that new rows shift nothing.

A cursor is signed and holds for its own path only: it may carry what nobody should be able to choose.
"""

from collections.abc import Sequence
from typing import Any

from flask import request
from itsdangerous import BadData, URLSafeSerializer

from jishan_server.api.asking import parts
from jishan_server.errors import DomainError


def page(items: Sequence[dict[str, Any]], after: object | None = None) -> dict[str, Any]:
    """The answer for one page; `after` is the place (JSON values) of its last row, None on the last page."""
    return {"items": list(items), "next_cursor": None if after is None else _signer().dumps(after)}


def read_cursor(text: str | None) -> Any:
    """The place that a cursor of `page` names, None for none; refusal: cursor_invalid."""
    try:
        return None if text is None else _signer().loads(text)
    except BadData:
        raise DomainError("cursor_invalid") from None


def _signer() -> URLSafeSerializer:
    return URLSafeSerializer(parts().hashing.cursor_key, salt=request.path)
