"""What every endpoint shares: who asks, which operation that becomes, and what the app gives them to work with."""

import hashlib
import re
import uuid
from typing import Any, Final

from flask import current_app, g, request

from jishan_server.errors import DomainError, Language
from jishan_server.parts import Parts
from jishan_server.people.staff import Member, authenticate
from jishan_server.reading import reading
from jishan_server.writer import Operation

KEY_FORM: Final = re.compile(r"[!-~]{8,80}")
"""What an Idempotency-Key may be: visible ASCII, long enough to be meant as unique."""

MAX_BODY_BYTES: Final = 64 * 1024
"""The largest body that makes sense is a planogram, some 15 KiB."""


def parts() -> Parts:
    """The parts of the server that the app was made with."""
    found: Parts = current_app.extensions["jishan"]
    return found


def member() -> Member:
    """The member of staff who asks; refusals: token_invalid, token_expired."""
    if "member" not in g:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise DomainError("token_invalid")
        g.member = authenticate(reading(), token.strip(), parts().clock())
    found: Member = g.member
    return found


def actor() -> str:
    """The id of the member of staff who asks."""
    return member().id


def operation_id(*, key_required: bool = False) -> str:
    """The id of the operation that this request is: the same for the same person and Idempotency-Key, else random.

    Refusals: idempotency_key_required, idempotency_key_invalid.
    """
    key = request.headers.get("Idempotency-Key")
    if key is None:
        if key_required:
            raise DomainError("idempotency_key_required")
        return uuid.uuid4().hex
    if KEY_FORM.fullmatch(key) is None:
        raise DomainError("idempotency_key_invalid")
    return hashlib.sha256(f"{actor()}\n{key}".encode()).hexdigest()[:32]


def change(kind: str, body: object, *, key_required: bool = False, id: str | None = None) -> dict[str, Any]:
    """Have the writer do one operation, and give its answer after the commit; raises its DomainError."""
    answer: dict[str, Any] = parts().writer.call(Operation(id or operation_id(key_required=key_required), kind, body))
    return answer


def language() -> Language:
    """Chinese unless Accept-Language prefers English."""
    return "en" if request.accept_languages.best_match(["zh", "en"], "zh") == "en" else "zh"
