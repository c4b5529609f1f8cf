"""What can be made to go wrong with one machine: one frozen object, `Faults`, from a file, a control port or a test.

Numbers below 1 are probabilities, drawn from the machine's own `Random(seed)`; 1 is certainty. What stands in `vend`
applies to every vend, `selections` replaces it for one selection, and an entry of `once` replaces both for the next
vend of its selection (of any, without one) and is then used up. `line` is the cable: single bytes in both directions,
and whole frames of the controller.

Every setting is checked where it comes in. A bad one is refused by its name: `FaultsError.errors` is
`{"vend.jam": "..."}`.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from random import Random
from typing import Any, Final

from marshmallow import RAISE, Schema, ValidationError
from marshmallow import fields as parse
from marshmallow.validate import Length, OneOf, Range

MAX_MS: Final = 3_600_000  # an hour: longer than any vend takes
MAX_ONCE: Final = 1000
START_DELAY_MS: Final = 200  # from the drive command to the motor; a power cut at -1 still falls before the motor
LONGEST_JUMP_S: Final = 100 * 366 * 86_400
DROP_SENSOR_STATES: Final = ("ok", "blind", "stuck")


class FaultsError(ValueError):
    """Settings that are none. `errors` maps the dotted name of each bad one to what is wrong with it."""

    def __init__(self, errors: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {text}" for name, text in errors.items()))
        self.errors = dict(errors)


def _probability() -> Any:
    return field(default=0.0, metadata={"parse": parse.Float(validate=Range(0, 1))})


def _milliseconds(default: int | None, low: int = 0) -> Any:
    kind = parse.Integer(strict=True, allow_none=default is None, validate=Range(low, MAX_MS))
    return field(default=default, metadata={"parse": kind})


class Switch(parse.Field[bool]):
    """true or false in JSON, and nothing that only looks like it."""

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> bool:
        if not isinstance(value, bool):
            raise ValidationError("Not true or false.")
        return value


def _switch() -> Any:
    return field(default=False, metadata={"parse": Switch()})


@dataclass(frozen=True, slots=True, kw_only=True)
class VendFaults:
    """What can go wrong with one vend.

    `jam`: the coil stalls half-way and stays stuck until a person frees it. `no_drop`: it turns and nothing falls.
    `double_drop`: two items fall. `motor_missing`, `motor_runs_on`: statuses 06 and 04. `slow`: the turn takes three
    times as long.
    `ack_lost`: the 06 is carried out but not acknowledged. `status_lost`: the final status is never sent;
    `status_doubled`: it is sent twice, under two PackNOs; `wrong_status`: a contradicting one follows it;
    `hold_status_ms`: it is sent so much later.
    `power_cut`: the probability that the power goes, `power_cut_ms` after the motor's start (below 0: before it; null:
    at a random moment), and comes back after `power_off_ms`; 0 is a reboot. `store_lost`: what a board's firmware keeps
    is gone by then.

    A machine lies with `double_drop`, with a blind drop sensor, and with `no_drop` where no drop
    sensor is used; with everything else it says what happened first, or nothing.
    """

    jam: float = _probability()
    no_drop: float = _probability()
    double_drop: float = _probability()
    motor_missing: float = _probability()
    motor_runs_on: float = _probability()
    slow: float = _probability()
    ack_lost: float = _probability()
    status_lost: float = _probability()
    status_doubled: float = _probability()
    wrong_status: float = _probability()
    hold_status_ms: int = _milliseconds(0)
    power_cut: float = _probability()
    power_cut_ms: int | None = _milliseconds(None, low=-START_DELAY_MS)
    power_off_ms: int = _milliseconds(2_000)
    store_lost: float = _probability()


@dataclass(frozen=True, slots=True, kw_only=True)
class Once(VendFaults):
    """Faults of the next vend of `selection`, or of any selection where it is null."""

    selection: int | None = field(
        default=None, metadata={"parse": parse.Integer(strict=True, allow_none=True, validate=Range(1, 65_535))}
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LineFaults:
    """What the cable does. The first four take single bytes, in both directions, the others frames of the controller.

    `delay_ms` is the longest delay; bytes keep their order, as on any cable. `frame_reorder` is for links that are no
    cable: later messages overtake it.
    """

    byte_loss: float = _probability()
    byte_flip: float = _probability()
    byte_double: float = _probability()
    delay_ms: int = _milliseconds(0)
    bad_checksum: float = _probability()
    cut_frame: float = _probability()
    frame_loss: float = _probability()
    frame_double: float = _probability()
    frame_reorder: float = _probability()
    noise: float = _probability()


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """Everything that goes wrong with one machine. `seed` is for whoever makes its `Random`, once.

    `drop_sensor`: `blind` sees nothing, `stuck` sees something always (its self-test fails, and no motor turns).
    `silent`: the controller sends nothing. `unplugged`: nothing passes in either direction. `refuse_late_answers`: a
    command that comes more than 100 ms after the POLL is not taken. `clock_jump_s` is added to the controller's clock
    when these settings come in.
    """

    seed: int = field(default=0, metadata={"parse": parse.Integer(strict=True)})
    vend: VendFaults = field(default=VendFaults(), metadata={"parse": None})
    selections: Mapping[int, VendFaults] = field(default_factory=dict, metadata={"parse": None})
    once: tuple[Once, ...] = field(default=(), metadata={"parse": None})
    line: LineFaults = field(default=LineFaults(), metadata={"parse": None})
    drop_sensor: str = field(default="ok", metadata={"parse": parse.String(validate=OneOf(DROP_SENSOR_STATES))})
    silent: bool = _switch()
    unplugged: bool = _switch()
    refuse_late_answers: bool = _switch()
    clock_jump_s: int = field(
        default=0, metadata={"parse": parse.Integer(strict=True, validate=Range(-LONGEST_JUMP_S, LONGEST_JUMP_S))}
    )

    def for_vend(self, selection: int) -> tuple[VendFaults, Faults]:
        """The faults of a vend of this selection that begins now, and what is left for later ones."""
        for place, entry in enumerate(self.once):
            if entry.selection in (None, selection):
                return entry, replace(self, once=self.once[:place] + self.once[place + 1 :])
        return self.selections.get(selection, self.vend), self


def _schema(kind: type[Any], **nested: parse.Field[Any]) -> type[Schema]:
    plain = {one.name: one.metadata["parse"] for one in fields(kind) if one.metadata["parse"] is not None}
    return Schema.from_dict(plain | nested, name=kind.__name__)


_VEND_SCHEMA: Final = _schema(VendFaults)
_SCHEMA: Final = _schema(
    Faults,
    vend=parse.Nested(_VEND_SCHEMA(unknown=RAISE)),
    selections=parse.Dict(
        parse.Integer(validate=Range(1, 65_535)),
        parse.Nested(_VEND_SCHEMA(unknown=RAISE)),
        validate=Length(max=MAX_ONCE),
    ),
    once=parse.List(parse.Nested(_schema(Once)(unknown=RAISE)), validate=Length(max=MAX_ONCE)),
    line=parse.Nested(_schema(LineFaults)(unknown=RAISE)),
)


def from_mapping(settings: object) -> Faults:
    """The faults in a parsed JSON or TOML document. FaultsError names what is bad."""
    try:
        known: dict[str, Any] = _SCHEMA(unknown=RAISE).load(settings)  # type: ignore[arg-type]
    except ValidationError as error:
        raise FaultsError(dict(flat_messages(error.messages))) from None
    return Faults(
        **known
        | {"vend": VendFaults(**known.get("vend", {}))}
        | {"selections": {number: VendFaults(**one) for number, one in known.get("selections", {}).items()}}
        | {"once": tuple(Once(**one) for one in known.get("once", ()))}
        | {"line": LineFaults(**known.get("line", {}))}
    )


def to_mapping(faults: Faults) -> dict[str, Any]:
    """The settings as JSON; `from_mapping` reads them back."""
    settings = asdict(replace(faults, selections={}))
    settings["selections"] = {str(number): asdict(one) for number, one in faults.selections.items()}
    return settings


def merged(settings: Mapping[str, Any], change: Any) -> Any:
    """Fault settings with a change of some: groups are merged by name, and `once` is added to. Checks nothing."""
    if not isinstance(change, Mapping):
        return change
    changed = dict(settings)
    for name, value in change.items():
        before = changed.get(name)
        if isinstance(before, Mapping) and isinstance(value, Mapping):
            changed[name] = {**before, **value}
        elif name == "once" and isinstance(value, list):
            changed[name] = [*settings["once"], *value]
        else:
            changed[name] = value
    return changed


def from_file(path: Path) -> Faults:
    """The faults in a `.toml` or `.json` file. FaultsError names the setting, or the file."""
    try:
        text = path.read_text("utf-8")
        settings = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except (OSError, ValueError) as error:
        raise FaultsError({str(path): str(error)}) from None
    return from_mapping(settings)


def flat_messages(messages: Any, path: str = "") -> list[tuple[str, str]]:
    """Marshmallow's nested messages as (dotted name, words), without the names of its own making."""
    if not isinstance(messages, dict):
        return [(path or "body", " ".join(map(str, messages)) if isinstance(messages, list) else str(messages))]
    flat: list[tuple[str, str]] = []
    for name, below in messages.items():
        flat += flat_messages(below, path if name in ("_schema", "value", "key") else f"{path}.{name}".lstrip("."))
    return flat


def happens(probability: float, random: Random) -> bool:
    """Draw. What is off draws nothing, so that switching it off changes no other chance."""
    return probability > 0 and random.random() < probability


class Line:
    """One direction of the cable: bytes go in with a time, and come out later, fewer, changed or doubled.

    `faults` may be replaced at any time.
    """

    def __init__(self, faults: LineFaults, random: Random) -> None:
        self.faults = faults
        self._random = random
        self._under_way: list[tuple[int, bytes]] = []
        self._last_due_ms = 0

    def send(self, data: bytes, now_ms: int) -> None:
        """Put bytes on the line."""
        faults, random = self.faults, self._random
        if faults.byte_loss or faults.byte_flip or faults.byte_double:
            data = b"".join(self._worn(byte) for byte in data)
        if happens(faults.noise, random):
            data = random.randbytes(random.randint(1, 8)) + data
        due_ms = max(now_ms + (random.randint(0, faults.delay_ms) if faults.delay_ms else 0), self._last_due_ms)
        self._last_due_ms = due_ms
        if data:
            self._under_way.append((due_ms, data))

    def take(self, now_ms: int) -> bytes:
        """The bytes that have come through by now."""
        if not self._under_way:
            return b""
        arrived = b"".join(data for due_ms, data in self._under_way if due_ms <= now_ms)
        self._under_way = [(due_ms, data) for due_ms, data in self._under_way if due_ms > now_ms]
        return arrived

    @property
    def next_due_ms(self) -> int | None:
        """When the next bytes come through."""
        return self._under_way[0][0] if self._under_way else None

    def _worn(self, byte: int) -> bytes:
        faults, random = self.faults, self._random
        if happens(faults.byte_loss, random):
            return b""
        if happens(faults.byte_flip, random):
            byte ^= 1 << random.randrange(8)
        return bytes([byte, byte]) if happens(faults.byte_double, random) else bytes([byte])


def worn_frame(frame: bytes, faults: LineFaults, random: Random) -> bytes:
    """What the cable makes of one frame of the controller: nothing, a part, two, or one with a wrong checksum."""
    if happens(faults.frame_loss, random):
        return b""
    if happens(faults.bad_checksum, random):
        frame = frame[:-1] + bytes([frame[-1] ^ random.randint(1, 255)])
    if happens(faults.cut_frame, random):
        return frame[: random.randrange(1, len(frame))]
    return frame * 2 if happens(faults.frame_double, random) else frame
