"""The control port of a simulated machine: press, tap a card, look inside, break things. JSON over HTTP.

It is the hand and the eye of a test or of a person, not part of the machine. Every answer but the front panel's page
is JSON; a request that is refused is answered with 400 and `{"code": "invalid", "errors": {field: what is wrong}}`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from flask import Flask, request
from flask.typing import ResponseReturnValue
from marshmallow import RAISE, Schema, ValidationError, fields
from marshmallow.validate import Length, Range, Regexp
from werkzeug.exceptions import HTTPException

from jishan_protocol.dispensers import xy
from jishan_protocol.errors import ProtocolError
from jishan_sim.cabinet import MAX_SLOTS
from jishan_sim.decode import DECODERS
from jishan_sim.faces.base import Face
from jishan_sim.faults import FaultsError, Switch, flat_messages, from_mapping, merged, to_mapping
from jishan_sim.machine import Machine
from jishan_sim.panel import add_panel

MAX_BODY_BYTES: Final = 1024 * 1024
DEFAULT_LOG_FRAMES: Final = 100
MAX_LOG_FRAMES: Final = 1_000
MAX_NAME: Final = 100

_SELECTION: Final = Range(0, xy.MAX_SELECTION)


def _schema(**of: fields.Field[Any]) -> Schema:
    return Schema.from_dict(dict(of))(unknown=RAISE)


PRESS: Final = _schema(selection=fields.Integer(strict=True, required=True, validate=_SELECTION))
TAP: Final = _schema(uid=fields.String(required=True, validate=Length(1, 64)))
POWER: Final = _schema(on=Switch(required=True))
DOOR: Final = _schema(open=Switch(required=True))
TEMPERATURE: Final = _schema(
    celsius=fields.Integer(strict=True, required=True, allow_none=True, validate=Range(-40, 60))
)
REFILL: Final = _schema(
    selection=fields.Integer(strict=True, load_default=None, allow_none=True, validate=_SELECTION),
    items=fields.Integer(strict=True, load_default=None, allow_none=True, validate=Range(0, 255)),
)
PRICE: Final = _schema(
    selection=fields.Integer(strict=True, required=True, validate=_SELECTION),
    points=fields.Integer(strict=True, required=True, validate=Range(0, 2**16 - 3)),
)
KEYS: Final = _schema(keys=fields.String(required=True, validate=Regexp(r"[0-9#*C \n-]{1,64}\Z")))
CODE: Final = _schema(text=fields.String(required=True, validate=Regexp(r"[^\x00-\x1f\x7f]{1,512}\Z")))
NAMES: Final = _schema(
    names=fields.Dict(
        fields.Integer(validate=Range(1, xy.MAX_SELECTION)),
        fields.Nested(
            _schema(
                zh=fields.String(required=True, validate=Length(1, MAX_NAME)),
                en=fields.String(required=True, validate=Length(1, MAX_NAME)),
                points=fields.Integer(strict=True, load_default=None, allow_none=True, validate=Range(1, 2**31)),
            )
        ),
        required=True,
        validate=Length(max=MAX_SLOTS),
    )
)
LOG: Final = _schema(limit=fields.Integer(load_default=DEFAULT_LOG_FRAMES, validate=Range(1, MAX_LOG_FRAMES)))
MONEY: Final = _schema(
    mode=fields.Integer(strict=True, load_default=1, validate=Range(1, 9)),
    amount=fields.Integer(strict=True, required=True, validate=Range(1, 2**32 - 1)),
)


class Invalid(Exception):
    """A request that names something that is not so. `errors` maps fields to words."""

    def __init__(self, errors: Mapping[str, str]) -> None:
        super().__init__(str(errors))
        self.errors = dict(errors)


def create_app(machine: Machine) -> Flask:
    """The HTTP side of one machine."""
    app = Flask("jishan_sim", static_folder="panel/static", static_url_path="/panel", template_folder="panel")
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    add_panel(app)

    @app.errorhandler(Invalid)
    def invalid(error: Invalid) -> ResponseReturnValue:
        return {"code": "invalid", "errors": error.errors}, 400

    @app.errorhandler(HTTPException)
    def refused(error: HTTPException) -> ResponseReturnValue:
        return {"code": error.name.lower().replace(" ", "_"), "errors": {}}, error.code or 500

    @app.get("/healthz")
    def healthz() -> ResponseReturnValue:
        return {"ok": True}

    @app.get("/state")
    def state() -> ResponseReturnValue:
        with machine.at_work() as (face, now_ms):
            inside = state_of(machine.protocol, face, now_ms)
        seen = {"screen": screen_of(face, machine.screen), "names": machine.names}
        return inside | seen | {"has_keys": machine.has_keys, "has_keypad_line": machine.has_keypad_line}

    @app.post("/names")
    def names() -> ResponseReturnValue:
        machine.names = _checked(NAMES, _json())["names"]
        return {"ok": True}

    @app.post("/press")
    def press() -> ResponseReturnValue:
        body = _checked(PRESS, _json())
        machine.press(body["selection"])
        return {"ok": True}

    @app.post("/keys")
    def keys() -> ResponseReturnValue:
        body = _checked(KEYS, _json())
        if not machine.has_keypad_line:
            raise Invalid({"keys": "the keypad has no line of its own (--keypad-port); it can only press"})
        machine.type_keys(body["keys"])
        return {"ok": True}

    @app.post("/tap")
    def tap() -> ResponseReturnValue:
        body = _checked(TAP, _json())
        try:
            machine.tap(body["uid"])
        except ProtocolError as error:
            raise Invalid({"uid": error.detail}) from None
        except ValueError as error:
            raise Invalid({"uid": str(error)}) from None
        return {"ok": True}

    @app.post("/code")
    def code() -> ResponseReturnValue:
        machine.scan(_checked(CODE, _json())["text"])
        return {"ok": True}

    @app.post("/power")
    def power() -> ResponseReturnValue:
        body = _checked(POWER, _json())
        with machine.at_work() as (face, now_ms):
            (face.power_on if body["on"] else face.power_cut)(now_ms)
        return {"ok": True}

    @app.post("/door")
    def door() -> ResponseReturnValue:
        body = _checked(DOOR, _json())
        with machine.at_work() as (face, _):
            face.cabinet.open_door(body["open"])
        return {"ok": True}

    @app.post("/temperature")
    def temperature() -> ResponseReturnValue:
        body = _checked(TEMPERATURE, _json())
        with machine.at_work() as (face, _):
            face.cabinet.set_temperature(body["celsius"])
        return {"ok": True}

    @app.post("/refill")
    def refill() -> ResponseReturnValue:
        body = _checked(REFILL, _json())
        with machine.at_work() as (face, now_ms):
            slots = face.cabinet.slots
            if body["selection"] is not None and body["selection"] not in slots:
                raise Invalid({"selection": f"there is no slot {body['selection']}"})
            for selection in list(slots) if body["selection"] is None else [body["selection"]]:
                face.cabinet.refill(selection, body["items"])
                face.report(selection, now_ms)
        return {"ok": True}

    @app.post("/price")
    def price() -> ResponseReturnValue:
        body = _checked(PRICE, _json())
        with machine.at_work() as (face, _):
            if body["selection"] not in face.cabinet.slots:
                raise Invalid({"selection": f"there is no slot {body['selection']}"})
            face.cabinet.set_price(body["selection"], body["points"])
        return {"ok": True}

    @app.post("/money")
    def money() -> ResponseReturnValue:
        body = _checked(MONEY, _json())
        with machine.at_work() as (face, now_ms):
            face.insert_money(body["mode"], body["amount"], now_ms)
        return {"ok": True}

    @app.get("/faults")
    def faults() -> ResponseReturnValue:
        with machine.at_work() as (face, _):
            return to_mapping(face.faults)

    @app.put("/faults")
    def set_faults() -> ResponseReturnValue:
        try:
            wanted = from_mapping(_json())
        except FaultsError as error:
            raise Invalid(error.errors) from None
        with machine.at_work() as (face, _):
            face.set_faults(wanted)
            return to_mapping(face.faults)

    @app.patch("/faults")
    def add_faults() -> ResponseReturnValue:
        change = _json()
        with machine.at_work() as (face, _):
            try:
                face.set_faults(from_mapping(merged(to_mapping(face.faults), change)))
            except FaultsError as error:
                raise Invalid(error.errors) from None
            return to_mapping(face.faults)

    @app.get("/log")
    def log() -> ResponseReturnValue:
        wanted = _checked(LOG, request.args)
        with machine.at_work() as (face, _):
            newest = list(face.log)[-wanted["limit"] :]
        return {
            "frames": [
                {"at_ms": one.at_ms, "sender": one.sender, "bytes": one.raw.hex(" ").upper(), **line}
                for one in newest
                for line in DECODERS[machine.protocol](one.raw)
            ]
        }

    return app


def screen_of(face: Face, status: Path | None) -> dict[str, str] | None:
    """What stands on the screen: sentence and phone's address in the agent's `status.json`, else a display's words."""
    if status is not None:
        try:
            shown = json.loads(status.read_text("utf-8"))
            said = {key: str(shown["said"][key]) for key in ("code", "zh", "en")}
            return said | {"address": str(shown.get("address", ""))}
        except (OSError, ValueError, KeyError, TypeError):
            return None  # no agent has run yet, or it writes another layout
    displayed = str(getattr(face, "displayed", ""))
    return {"code": "", "zh": displayed, "en": displayed, "address": ""} if displayed else None


def state_of(protocol: str, face: Face, now_ms: int) -> dict[str, Any]:
    """What the machine holds, knows and has let go, as JSON."""
    cabinet = face.cabinet
    inside = cabinet.snapshot()
    return {
        "now_ms": now_ms,
        "face": protocol,
        "profile": face.profile.name,
        "powered": cabinet.powered,
        "turning": cabinet.turning,
        "turns": cabinet.turns,
        "door_open": cabinet.door_open,
        "temperature_c": cabinet.temperature_c,
        "drop_sensor": cabinet.drop_sensor,
        "slots": inside["slots"],
        "items_dropped": cabinet.items_dropped(),
        "dropped": [drop._asdict() for drop in cabinet.dropped],
        "sales": {
            selection: {"count": count, "amount": amount} for selection, (count, amount) in inside["sales"].items()
        },
        "jammed": inside["jammed"],
        "late_answers": face.late_answers,
        "bad_bytes": face.bad_bytes,
    }


def _json() -> Any:
    try:
        return request.get_json()
    except RecursionError:
        raise Invalid({"body": "nested too deeply"}) from None


def _checked(schema: Schema, given: Any) -> dict[str, Any]:
    try:
        checked: dict[str, Any] = schema.load(given)
    except ValidationError as error:
        raise Invalid(dict(flat_messages(error.messages))) from None
    return checked
