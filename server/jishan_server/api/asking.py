"""What every endpoint shares: who asks, which operation that becomes, and what the app gives them to work with."""

import hashlib
import re
import secrets
import uuid
from collections.abc import Collection
from dataclasses import replace
from typing import Any, Final, cast

import structlog
from flask import current_app, g, request, session

from jishan_server.db import DatabaseUnavailable
from jishan_server.errors import DomainError, Language
from jishan_server.parts import Parts
from jishan_server.people import sessions, staff
from jishan_server.people.privacy import NoteAccess
from jishan_server.people.sessions import RESIDENT_PREFIX, Session
from jishan_server.people.staff import Member
from jishan_server.reading import reading
from jishan_server.writer import Operation

log = structlog.get_logger(__name__)

KEY_FORM: Final = re.compile(r"[!-~]{8,80}")
"""What an Idempotency-Key may be: visible ASCII, long enough to be meant as unique."""

PAGES: Final = "pages_"
"""Blueprints of pages have names that begin so."""

MAX_BODY_BYTES: Final = 64 * 1024
"""The largest body that makes sense is a planogram, some 15 KiB."""


def parts() -> Parts:
    """The parts of the server that the app was made with."""
    found: Parts = current_app.extensions["jishan"]
    return found


def caller() -> Member | Session:
    """Who asks: a member of staff or a resident; refusals: token_invalid, token_expired."""
    if "caller" not in g:
        token = _token()
        authenticate = sessions.authenticate if token.startswith(RESIDENT_PREFIX) else staff.authenticate
        g.caller = authenticate(reading(), token, parts().clock())
    found: Member | Session = g.caller
    return found


def is_page() -> bool:
    """Whether a page is asked for, and not the API: who asks then stands in the session cookie."""
    return (request.blueprint or "").startswith(PAGES)


def _token() -> str:
    if is_page():
        token = str(session.get("token", ""))
    else:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        token = token.strip() if scheme.lower() == "bearer" else ""
    if not token:
        raise DomainError("token_invalid")
    return token


def guard(for_residents: Collection[str]) -> None:
    """Let nobody in without a token, and a resident only to what begins with /me and to these endpoints.

    Refusals: token_invalid, token_expired, forbidden.
    """
    if isinstance(caller(), Session) and request.endpoint not in for_residents:
        below = request.path.removeprefix("/api/v1/me")
        if below == request.path or (below and not below.startswith("/")):
            raise DomainError("forbidden", permission="staff")


def member() -> Member:
    """The member of staff who asks; refusals: token_invalid, token_expired, forbidden for a resident."""
    found = caller()
    if isinstance(found, Session):
        raise DomainError("forbidden", permission="staff")
    return found


def me() -> str:
    """The id of the resident who asks; refusals: token_invalid, token_expired, forbidden for staff."""
    found = caller()
    if not isinstance(found, Session):
        raise DomainError("forbidden", permission="resident")
    return found.resident_id


def actor() -> str:
    """Who asks, as use cases know them: the id of a member of staff, or what `resident_actor` makes of a resident's."""
    return caller().id


def operation_id(*, key_required: bool = False) -> str:
    """The id of the operation that this request is: the same for the same person and Idempotency-Key, else random.

    A page's form carries its key in the field `form_id`.

    Refusals: idempotency_key_required, idempotency_key_invalid.
    """
    key = request.form.get("form_id") if is_page() else request.headers.get("Idempotency-Key")
    if key is None:
        if key_required:
            raise DomainError("idempotency_key_required")
        return uuid.uuid4().hex
    if KEY_FORM.fullmatch(key) is None:
        raise DomainError("idempotency_key_invalid")
    return hashlib.sha256(f"{actor()}\n{key}".encode()).hexdigest()[:32]


def change(kind: str, body: object, *, key_required: bool = False, id: str | None = None) -> dict[str, Any]:
    """Have the writer do one operation, and give its answer after the commit; raises its DomainError.

    A body that wants a salt for words, and has none yet, gets a fresh one.
    """
    if getattr(body, "salt", "") is None:
        body = replace(cast(Any, body), salt=fresh_salt())
    answer: dict[str, Any] = parts().writer.call(Operation(id or operation_id(key_required=key_required), kind, body))
    return answer


def note_access(what: str, resident_id: str | None = None, people: int = 1) -> None:
    """Write down, after the answer, that staff looked at `what` of a resident, or at a list of so many `people`.

    Residents looking at themselves leave no row. A writer that takes nothing more refuses no reading.
    """
    if isinstance(caller(), Session) or not people:
        return
    body = NoteAccess(actor(), what, resident_id, people, g.request_id)
    try:
        parts().writer.enqueue(Operation(uuid.uuid4().hex, "note_access", body), lambda answer: None)
    except DatabaseUnavailable as error:
        log.error("access_not_noted", reason=error.reason, what=what, resident_id=resident_id, actor=body.actor)


def fresh_salt() -> str:
    """A salt for words that a person wrote (`ledger.notes`): 128 random bits, as hex."""
    return secrets.token_hex(16)


def language() -> Language:
    """Chinese unless Accept-Language prefers English."""
    return "en" if request.accept_languages.best_match(["zh", "en"], "zh") == "en" else "zh"
