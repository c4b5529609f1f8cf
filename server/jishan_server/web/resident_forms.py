"""What the forms of residents share: a refusal is said at the form, with what was typed still in it."""

import re
import unicodedata
from collections.abc import Callable
from datetime import date
from typing import Any, Final

from flask import render_template, request
from flask.typing import ResponseReturnValue

from jishan_server.api import refusals
from jishan_server.api.asking import parts
from jishan_server.errors import DomainError
from jishan_server.web.ground import language

ON_A_PAGE: Final = 30
"""Rows of a list on a phone, some three screens."""
LONGEST: Final = 500
"""Of what a person writes in one field, as at the API."""

ID_FORM: Final = re.compile(r"[0-9a-z_-]{1,40}")

_NOT_AT_A_FORM: Final = ("token_invalid", "token_expired")


def refusal(error: DomainError) -> str:
    """What a form says of its refusal, which is noted and counted like every other; an ended login is none of it."""
    if error.code in _NOT_AT_A_FORM:
        raise error
    refusals.note(error)
    parts().metrics.refusals.labels(error.code).inc()
    return error.text(language())


def asked(
    template: str, act: Callable[[], ResponseReturnValue], shown: Callable[[], dict[str, Any]]
) -> ResponseReturnValue:
    """A page with a form: a GET shows it, a POST does `act`, and shows it again with the words of a refusal.

    `shown` gives what the template needs; it is read after a refusal, never before.
    """
    problem, status = "", 200
    if request.method == "POST":
        try:
            return act()
        except DomainError as error:
            problem, status = refusal(error), error.status
    return render_template(template, problem=problem, typed=request.form, **shown()), status


def text_of(name: str, longest: int = LONGEST) -> str:
    """What was typed into a field, as one line without control characters; refusal: text_too_long."""
    found = one_line(request.form.get(name, ""))
    if len(found) > longest:
        raise DomainError("text_too_long", limit=longest)
    return found


def one_line(typed: str) -> str:
    """Text without line breaks, control characters and lone surrogates, which no database takes."""
    return "".join(sign for sign in " ".join(typed.split()) if unicodedata.category(sign) not in ("Cc", "Cs"))


def id_of(name: str) -> str | None:
    """An id from the address or the form, None for none; refusal: choice_missing for what is no id of ours."""
    found = request.values.get(name, "")
    if found and ID_FORM.fullmatch(found) is None:
        raise DomainError("choice_missing")
    return found or None


def reason_of(name: str = "reason") -> str:
    """A reason that must not be empty; refusal: reason_required."""
    if not (found := text_of(name)):
        raise DomainError("reason_required")
    return found


def day_of(typed: str | None) -> date | None:
    """A day of a date field, None for an empty one; refusal: day_invalid."""
    if not typed:
        return None
    try:
        return date.fromisoformat(typed)
    except ValueError:
        raise DomainError("day_invalid", day=typed[:40]) from None
