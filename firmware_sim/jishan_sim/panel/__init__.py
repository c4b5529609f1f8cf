"""The front panel of a simulated machine: one page, for a person at the keyboard or on the phone.

It does nothing that the control port does not do for anybody: the page is drawn from `GET /state` and acts by the same
requests. Rules: nothing is loaded from elsewhere, no script or style stands in the page (POLICY), every word is in
`words.py` in zh and en, and the fields for faults are made from the settings of `faults.py`, so that none is missing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, Final

from flask import Flask, render_template, request
from marshmallow import fields as parse
from marshmallow.validate import OneOf, Range

from jishan_sim.faults import Faults, LineFaults, Switch, VendFaults
from jishan_sim.panel.words import LANGUAGES, words

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
LEFT_OUT: Final = frozenset({"seed"})
"""Read at the start only."""


@dataclass(frozen=True, slots=True)
class Field:
    """How one fault is set. `kind` is probability, number, switch or choice; `word` its key in the words."""

    name: str
    word: str
    kind: str
    default: Any
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()


def fault_fields(settings: type[Any], prefix: str) -> Iterator[Field]:
    """The fields for one class of faults, in its order."""
    for one in fields(settings):
        parsed = one.metadata["parse"]
        if parsed is None or one.name in LEFT_OUT:
            continue
        validator = parsed.validate
        low, high = (validator.min, validator.max) if isinstance(validator, Range) else (None, None)
        choices = tuple(map(str, validator.choices)) if isinstance(validator, OneOf) else ()
        kind = next(kind for type_, kind in _KINDS if isinstance(parsed, type_))
        yield Field(one.name, f"{prefix}{one.name}", kind, one.default, low, high, choices)


_KINDS: Final = ((parse.Float, "probability"), (parse.Integer, "number"), (Switch, "switch"), (parse.String, "choice"))


def page() -> str:
    """The page, in the language that was asked for; with a card's number in its field if the address has one."""
    asked = [request.args.get("lang", ""), *(tag.partition("-")[0] for tag in request.accept_languages.values())]
    language = next((one for one in asked if one in LANGUAGES), LANGUAGES[0])
    return render_template(
        "panel.html",
        language=language,
        other=next(one for one in LANGUAGES if one != language),
        words=words(language),
        card=request.args.get("card", ""),
        vend_fields=list(fault_fields(VendFaults, "vend.")),
        line_fields=list(fault_fields(LineFaults, "line.")),
        machine_fields=list(fault_fields(Faults, "")),
    )


def add_panel(app: Flask) -> None:
    """Serve the page at `/`, and keep every answer to what the page itself needs."""

    @app.get("/")
    def panel() -> str:
        return page()

    @app.after_request
    def keep_strict(response: Any) -> Any:
        response.headers["Content-Security-Policy"] = POLICY
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
        return response
