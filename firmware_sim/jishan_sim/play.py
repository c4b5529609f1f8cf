"""`jishan-sim play`: stories in files, played on a running machine or on one that is started for them.

A scenario is YAML: `title`, `machine` (what to start where none is named), and `steps`, each a name with its setting
(STEPS). Everything is done over the control port, so that what plays here plays on any machine, with whatever program
drives it. Rules: a file is checked whole before its first step, and what is wrong is named by its place
(`steps.3.press`); `expect` looks until it holds or its time is over, and what can no longer come true fails at once;
what is counted (`dropped`, `turns`) is counted from the story's beginning.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import click
import yaml
from marshmallow import RAISE, Schema, ValidationError, fields
from marshmallow.validate import Length, OneOf, Range, Regexp

from jishan_protocol.dispensers import xy
from jishan_sim.demo_stage import DemoFailed, Process, Web
from jishan_sim.faces import FACES
from jishan_sim.faults import Faults, FaultsError, Switch, flat_messages, from_mapping, merged, to_mapping
from jishan_sim.plain_host import SAID, PlainXyHost

SHIPPED: Final = files("jishan_sim") / "scenarios"
MAX_FILE_BYTES: Final = 1024 * 1024
MAX_STEPS: Final = 1_000
LONGEST_WAIT_S: Final = 3_600
EXPECT_WITHIN_S: Final = 20.0
"""A slow turn, an unknown result and a machine that comes to rest stay within it."""

LOOK_EVERY_S: Final = 0.05
CARD: Final = "7186A61E"
HOST_READS_S: Final = 0.02
"""A POLL is to be answered within 100 ms."""


class ScenarioError(Exception):
    """A file that is no scenario. `errors` maps the place of each bad field to what is wrong with it."""

    def __init__(self, name: str, errors: Mapping[str, str]) -> None:
        super().__init__("\n".join(f"{name}: {place}: {text}" for place, text in errors.items()))
        self.errors = dict(errors)


class NotSo(Exception):
    """An expectation that did not come true. The text says what was seen instead."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """A checked file. `machine` is what to start; `steps` are (name, setting)."""

    title: str
    machine: Mapping[str, Any]
    steps: tuple[tuple[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Played:
    """One step, as it went."""

    number: int
    name: str
    ok: bool
    detail: str


# --- reading a file ---


class _Several(fields.Field[tuple[str, ...]]):
    """One word, or a list of words of which any will do."""

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> tuple[str, ...]:
        words = value if isinstance(value, list) else [value]
        if not words or not all(isinstance(one, str) and one for one in words):
            raise ValidationError("Not a word, and not a list of words.")
        return tuple(words)


class _Changes(fields.Field[dict[str, Any]]):
    """Fault settings as `PATCH /faults` takes them."""

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> Any:
        try:
            from_mapping(merged(to_mapping(Faults()), value))
        except FaultsError as error:
            raise ValidationError({name: [text] for name, text in error.errors.items()}) from None
        return value


def _schema(**of: fields.Field[Any]) -> Schema:
    return Schema.from_dict(dict(of))(unknown=RAISE)


def _number(low: int, high: int, **more: Any) -> fields.Integer:
    return fields.Integer(strict=True, validate=Range(low, high), **more)


def _selection(low: int = 1, **more: Any) -> fields.Integer:
    return _number(low, xy.MAX_SELECTION, **more)


def _each(value: fields.Field[Any]) -> fields.Dict:
    return fields.Dict(fields.Integer(validate=Range(1, xy.MAX_SELECTION)), value)


EXPECT: Final = _schema(
    dropped=_number(0, 1_000),
    turns=_number(0, 1_000),
    stock=_each(_number(0, 255)),
    stuck=fields.List(_selection()),
    screen=_Several(),
    powered=Switch(),
    door=fields.String(validate=OneOf(("open", "closed"))),
    within=fields.Float(validate=Range(0, LONGEST_WAIT_S)),
)
MACHINE: Final = _schema(
    face=fields.String(load_default="xy", validate=OneOf(sorted(FACES))),
    profile=fields.String(load_default="default", validate=Length(1, 64)),
    slots=fields.String(load_default="1-4", validate=Regexp(r"[0-9,\- ]{1,200}\Z")),
    items=_number(0, 255, load_default=3),
    seed=fields.Integer(strict=True, load_default=0),
)
FILE: Final = _schema(
    title=fields.String(required=True, validate=Length(1, 200)),
    machine=fields.Nested(MACHINE, load_default=lambda: MACHINE.load({})),
    steps=fields.List(fields.Raw(), required=True, validate=Length(1, MAX_STEPS)),
)


@dataclass(frozen=True, slots=True)
class Step:
    """How one kind of step is written, and what it asks of the control port (None: `expect` and `wait`)."""

    setting: fields.Field[Any]
    request: str = ""
    body: Callable[[Any], Any] = lambda setting: setting


STEPS: Final[dict[str, Step]] = {
    "press": Step(_selection(0), "POST /press", lambda selection: {"selection": selection}),
    "keys": Step(fields.String(validate=Regexp(r"[0-9#*C \n-]{1,64}\Z")), "POST /keys", lambda keys: {"keys": keys}),
    "tap": Step(fields.String(validate=Length(1, 64)), "POST /tap", lambda uid: {"uid": uid}),
    "code": Step(fields.String(validate=Length(1, 512)), "POST /code", lambda text: {"text": text}),
    "wait": Step(fields.Float(validate=Range(0, LONGEST_WAIT_S))),
    "power": Step(Switch(), "POST /power", lambda on: {"on": on}),
    "door": Step(
        fields.String(validate=OneOf(("open", "closed"))), "POST /door", lambda state: {"open": state == "open"}
    ),
    "temperature": Step(_number(-40, 60, allow_none=True), "POST /temperature", lambda celsius: {"celsius": celsius}),
    "refill": Step(fields.Nested(_schema(selection=_selection(), items=_number(0, 255))), "POST /refill"),
    "price": Step(
        fields.Nested(_schema(selection=_selection(required=True), points=_number(0, 65_533, required=True))),
        "POST /price",
    ),
    "money": Step(_number(1, 2**32 - 1), "POST /money", lambda amount: {"amount": amount}),
    "fault": Step(_Changes(), "PATCH /faults"),
    "mend": Step(Switch(), "PUT /faults", lambda _: {}),
    "expect": Step(fields.Nested(EXPECT)),
}
ALONE: Final[dict[str, Any]] = {"tap": None, "mend": True, "refill": {}}
"""What may stand without a setting; `tap` is then the card of whoever plays."""


def read(text: str, name: str = "scenario") -> Scenario:
    """A scenario from its YAML. ScenarioError names every bad field by its place."""
    try:
        given = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise ScenarioError(name, {"yaml": " ".join(str(error).split()) or "nested too deeply"}) from None
    try:
        checked = FILE.load(given)
    except ValidationError as error:
        raise ScenarioError(name, dict(flat_messages(error.messages))) from None
    errors: dict[str, str] = {}
    steps = [_read_step(step, f"steps.{number}", errors) for number, step in enumerate(checked["steps"], 1)]
    if errors:
        raise ScenarioError(name, errors)
    return Scenario(checked["title"], checked["machine"], tuple(steps))


def _read_step(given: Any, place: str, errors: dict[str, str]) -> tuple[str, Any]:
    if isinstance(given, str) and given in ALONE:
        return given, ALONE[given]
    if not isinstance(given, dict) or len(given) != 1 or next(iter(given)) not in STEPS:
        kinds = ", ".join(STEPS)
        errors[place] = f"is not one of {kinds} with its setting; alone may stand {', '.join(ALONE)}"
        return "", None
    ((kind, setting),) = given.items()
    try:
        return kind, STEPS[kind].setting.deserialize(setting)
    except ValidationError as error:
        errors |= dict(flat_messages(error.messages, f"{place}.{kind}"))
        return "", None


def find(name: str) -> Scenario:
    """A scenario by the path of its file, or by the name of one that comes with the simulator."""
    path = Path(name)
    try:
        if path.suffix in (".yaml", ".yml"):
            text = path.open("rb").read(MAX_FILE_BYTES).decode("utf-8")
        else:
            text = (SHIPPED / f"{path.name}.yaml").read_text("utf-8")
    except (OSError, ValueError) as error:
        raise ScenarioError(name, {"file": f"{error}; those that are here: {', '.join(shipped())}"}) from None
    return read(text, name)


def shipped() -> list[str]:
    """The names of the scenarios that come with the simulator."""
    return sorted(one.name.removesuffix(".yaml") for one in SHIPPED.iterdir() if one.name.endswith(".yaml"))


# --- playing ---


def play_on(front: Web, scenario: Scenario, card: str, told: Callable[[Played], None]) -> bool:
    """Play on the machine of this control port; stops at the first step that does not hold."""
    start = front.ask("GET", "/state")
    for number, (name, setting) in enumerate(scenario.steps, 1):
        try:
            _do(front, name, card if name == "tap" and setting is None else setting, start)
        except (NotSo, DemoFailed) as error:
            told(Played(number, name, False, str(error)))
            return False
        told(Played(number, name, True, "" if setting is None else json.dumps(setting, ensure_ascii=False)))
    return True


def _do(front: Web, name: str, setting: Any, start: Mapping[str, Any]) -> None:
    step = STEPS[name]
    if step.request:
        method, path = step.request.split()
        front.ask(method, path, step.body(setting))
    elif name == "wait":
        time.sleep(setting)
    else:
        _expect(front, setting, start)


def _expect(front: Web, wanted: Mapping[str, Any], start: Mapping[str, Any]) -> None:
    end_s = time.monotonic() + wanted.get("within", EXPECT_WITHIN_S)
    while True:
        state = front.ask("GET", "/state")
        if not (wrong := differences(wanted, state, start)):
            return
        if any(is_final for _, is_final in wrong) or time.monotonic() > end_s:
            raise NotSo("; ".join(text for text, _ in wrong))
        time.sleep(LOOK_EVERY_S)


def differences(
    wanted: Mapping[str, Any], state: Mapping[str, Any], start: Mapping[str, Any]
) -> list[tuple[str, bool]]:
    """What is not as wanted, in words; and whether no time can make it so. `start`: the state when the story began."""
    stock = {slot["selection"]: slot["items"] for slot in state["slots"]}
    found: list[tuple[str, bool]] = []
    for name, counted in (("dropped", "items_dropped"), ("turns", "turns")):
        seen = state[counted] - start[counted]
        if seen != wanted.get(name, seen):
            found.append((f"{name} is {seen}, not {wanted[name]}", seen > wanted[name]))
    for selection, items in wanted.get("stock", {}).items():
        if selection not in stock:
            found.append((f"there is no slot {selection}", True))
        elif stock[selection] != items:
            found.append((f"stock of {selection} is {stock[selection]}, not {items}", stock[selection] < items))
    stuck = [slot["selection"] for slot in state["slots"] if slot["stuck"]]
    screen = (state["screen"] or {}).get("code")
    plain = {"stuck": stuck, "powered": state["powered"], "door": "open" if state["door_open"] else "closed"}
    found += [
        (f"{name} is {seen}, not {wanted[name]}", False)
        for name, seen in plain.items()
        if seen != wanted.get(name, seen)
    ]
    if screen not in wanted.get("screen", (screen,)):
        found.append((f"screen says {screen}, not {' or '.join(wanted['screen'])}", False))
    return found


@contextmanager
def started(machine: Mapping[str, Any]) -> Iterator[Web]:
    """A machine of the scenario's own, with a plain host on its line; its control port."""
    if machine["face"] != "xy":
        raise DemoFailed(f"a machine that speaks {machine['face']} needs its program: start both, and name --control")
    with ExitStack() as ending:
        folder = Path(ending.enter_context(tempfile.TemporaryDirectory(prefix="jishan-play-")))
        screen = folder / "status.json"
        command = [sys.executable, "-m", "jishan_sim", "machine", "--profile", machine["profile"]]
        command += ["--slots", machine["slots"], "--items", str(machine["items"]), "--seed", str(machine["seed"])]
        command += ["--port", "tcp:127.0.0.1:0", "--card-port", "tcp:127.0.0.1:0", "--screen", str(screen)]
        process = Process("jishan-sim machine", command, dict(os.environ), folder / "log")
        ending.callback(process.stop)
        ports = process.start(says_ready=True)
        ending.enter_context(_driven(ports["dispenser"], ports["card"], xy.PROFILES[machine["profile"]], screen))
        yield Web(ports["control"])


@contextmanager
def _driven(line: str, card_line: str, profile: xy.XyProfile, screen: Path) -> Iterator[None]:
    """Drive the controller on a line by a plain host, in a thread of its own."""
    import serial

    host, stopping = PlainXyHost(profile), threading.Event()
    with (
        serial.serial_for_url(line, xy.BAUD_RATE, timeout=HOST_READS_S) as port,
        serial.serial_for_url(card_line, timeout=0) as cards,
    ):

        def drive() -> None:
            shown = ""
            while not stopping.is_set():
                data = port.read(max(1, port.in_waiting))
                if cards.read(64):
                    host.tap()
                port.write(host.receive(data, time.monotonic_ns() // 1_000_000))
                if host.said != shown:
                    shown = host.said
                    zh, en = SAID[shown]
                    new = screen.with_suffix(".new")
                    new.write_text(json.dumps({"said": {"code": shown, "zh": zh, "en": en}}), "utf-8")
                    new.replace(screen)

        thread = threading.Thread(target=drive, name="host", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stopping.set()
            thread.join()


@click.command()
@click.argument("names", nargs=-1, metavar="FILE...")
@click.option("--control", help="The control port of a running machine; else one is started for each file.")
@click.option("--card", default=CARD, show_default=True, help="The card of a `tap` that names none.")
@click.option("--list", "as_list", is_flag=True, help="Name the scenarios that come with the simulator.")
@click.option("--json", "as_json", is_flag=True, help="Print each step as a line of JSON.")
def play(names: tuple[str, ...], control: str | None, card: str, as_list: bool, as_json: bool) -> None:
    """Play scenario files, or the simulator's own by name; exit 0 only if every step of all of them held."""
    try:
        if as_list:
            for name in shipped():
                click.echo(f"{name:<24} {find(name).title}")
            return
        if not names:
            raise click.UsageError("FILE... is missing; --list names those that are here")
        scenarios = {name: find(name) for name in names}
    except ScenarioError as error:
        raise click.ClickException(str(error)) from None
    all_held = True
    for name, scenario in scenarios.items():

        def told(step: Played, name: str = name) -> None:
            if as_json:
                line = {"scenario": name, "step": step.number, "name": step.name, "ok": step.ok, "detail": step.detail}
                click.echo(json.dumps(line, ensure_ascii=False))
            else:
                click.echo(f"  {'ok' if step.ok else 'NO'}  {step.number:>3} {step.name} {step.detail}")

        if not as_json:
            click.echo(f"{name}: {scenario.title}")
        try:
            with ExitStack() as ending:
                front = Web(control.rstrip("/")) if control else ending.enter_context(started(scenario.machine))
                held = play_on(front, scenario, card, told)
        except DemoFailed as error:
            raise click.ClickException(str(error)) from None
        all_held = all_held and held
    sys.exit(0 if all_held else 1)
