"""One body for every failure: {"code", "message", "message_zh", "message_en", "fields", "request_id"}.

`code` is stable and a key of `jishan_server.errors.CODES`; `message` is in the language of Accept-Language. What the
database or Python says never leaves: it goes to the log under the request id.
"""

from typing import Any, Final

import structlog
from flask import Flask, Response, g, jsonify, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException, UnprocessableEntity

from jishan_server.api import refusals
from jishan_server.api.asking import MAX_BODY_BYTES, language, parts
from jishan_server.db import DatabaseUnavailable
from jishan_server.errors import DomainError

log = structlog.get_logger(__name__)

MAX_PROBLEMS: Final = 50
MAX_NAME: Final = 60
NOT_TOLD: Final = frozenset({"organization_id"})
"""Which node a permission was missing for is the audit log's: it may say where somebody lives."""
SHOWN_NAMES: Final = 10
"""Of a body with thousands of wrong names some are told, so that an answer stays short."""

_BY_STATUS: Final = {
    400: "bad_request",
    401: "token_invalid",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    406: "not_acceptable",
    413: "body_too_large",
    415: "media_type_unsupported",
    422: "fields_invalid",
    429: "rate_limited",
    503: "unavailable",
}


def register(app: Flask) -> None:
    """Answer every failure of `app` with the one body."""
    app.register_error_handler(DomainError, _refused)
    app.register_error_handler(HTTPException, http)
    app.register_error_handler(DatabaseUnavailable, _unavailable)
    app.register_error_handler(Exception, _broken)


def _refused(error: DomainError) -> ResponseReturnValue:
    refusals.note(error)
    return _answer(error, {name: value for name, value in error.fields.items() if name not in NOT_TOLD})


def _answer(error: DomainError, fields: dict[str, Any]) -> Response:
    parts().metrics.refusals.labels(error.code).inc()
    response = jsonify(
        code=error.code,
        message=error.text(language()),
        message_zh=error.text("zh"),
        message_en=error.text("en"),
        fields=fields,
        request_id=g.get("request_id", ""),
    )
    response.status_code = error.status
    if error.status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def http(error: HTTPException) -> ResponseReturnValue:
    """What Flask refuses, in the one body."""
    if error.code is None or error.code < 400:
        return error
    if isinstance(error, UnprocessableEntity):
        fields = _problems(getattr(error, "data", {}).get("messages", {}))
        names = ", ".join(sorted(fields)[:SHOWN_NAMES])
        response = _answer(DomainError("fields_invalid", names=names), fields)
    elif error.code == 413:
        limit = request.max_content_length or MAX_BODY_BYTES
        response = _answer(DomainError("body_too_large", limit=limit), {"limit": limit})
    else:
        response = _answer(DomainError(_BY_STATUS.get(error.code, "internal_error")), {})
    if error.code >= 500:
        log.error("request_failed", status=error.code)
    # Allow and Retry-After belong to the answer, whatever its body.
    for name, value in error.get_headers():
        if name in ("Allow", "Retry-After"):
            response.headers[name] = value
    return response


def _problems(messages: dict[str, Any]) -> dict[str, Any]:
    """marshmallow's messages by place (`json`, `query`), as one map from dotted field names to what is wrong."""
    problems: dict[str, Any] = {}
    for place in messages.values():
        _flatten("", place, problems)
    return problems


def _flatten(path: str, messages: object, problems: dict[str, Any]) -> None:
    if isinstance(messages, dict):
        for name, inner in messages.items():
            # A lone surrogate in a name is no text that could be answered.
            shown = str(name)[:MAX_NAME].encode(errors="replace").decode()
            _flatten(f"{path}.{shown}" if path else shown, inner, problems)
    elif len(problems) < MAX_PROBLEMS:
        problems[path or "body"] = messages


def _unavailable(error: DatabaseUnavailable) -> ResponseReturnValue:
    log.error("database_unavailable", reason=error.reason)
    return _refused(DomainError("unavailable"))


def _broken(error: Exception) -> ResponseReturnValue:
    """Ours: logged whole, answered without a word of it."""
    log.exception("request_broke", exc_info=error)
    return _refused(DomainError("internal_error"))
