"""What the demo is played on: server, broker, simulated machines and agents as processes on embedded defaults.

Rules: neither server nor agent is imported; what a person could do over HTTP or at the machine's front is done so;
every process is ended at the end of the block, whatever happened.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

READY_S: Final = 30
"""No part takes longer to start; the slowest is the first start of the database on a slow disk."""

STEP_S: Final = 25
"""The longest step waits for a dispenser to come to rest, some ten seconds with the demo's profile."""

STOP_S: Final = 15
TRY_AGAIN_S: Final = 0.05
TAP_AGAIN_S: Final = 2.0
"""A card that the reader says twice within 1.5 s was held to it once."""

ESTATE: Final = "jiangpan"
MACHINE: Final = "m-jiangpan-1"
COUNTING: Final = "m-jiangpan-2"
PRODUCTS: Final = (("soap", "香皂", "Soap"), ("salt", "食盐", "Salt"), ("towel", "毛巾", "Towel"))
PLAN: Final = ((1, "soap", 2), (2, "salt", 3), (3, "towel", 8), (4, "soap", 2))
STOCK: Final = 5


@dataclass(frozen=True, slots=True)
class Part:
    """How a protocol plays: firmware settings that let its simulated machines come to rest in seconds, not minutes.

    `settings` are both machines', `like` is what the second begins as. `after_kill` says how a vend ends whose result
    an agent has heard and not written down, at the second and at the first machine; `why` says it to a person.
    """

    settings: str
    like: str
    after_kill: tuple[str, str]
    why: str


_LOST: Final = ("in_doubt", "in_doubt")
PARTS: Final[dict[str, Part]] = {
    "xy": Part("longest_vend_ms = 4000", "counting", ("captured", "in_doubt"), "the sales counter proves it"),
    "mdb": Part("longest_vend_ms = 8000", "default", _LOST, "MDB keeps no count: nothing proves it"),
    "lock-board": Part("", "default", _LOST, "a door that has closed again proves nothing"),
    "modbus-board": Part("longest_vend_ms = 8000", "default", _LOST, "reading the board's state has cleared it"),
    "mqtt": Part("longest_vend_ms = 8000", "default", ("captured", "captured"), "the board says it until it is heard"),
}

PROFILES: Final = """\
# Simulated: these machines are at rest long before the minute that a real one may take.
[dispenser.demo]
{settings}

[dispenser.demo-counting]
like = "{like}"
{settings}
"""

BROKER: Final = """\
listeners:
  default:
    type: tcp
    bind: {address}
plugins:
  amqtt.plugins.authentication.AnonymousAuthPlugin:
    allow_anonymous: true
"""


class DemoFailed(Exception):
    """A part did not start, or a step did not hold; the message says which and why."""


class Refused(DemoFailed):
    """The server or the simulator refused a request; `code` is the stable one of its answer."""

    def __init__(self, request: str, status: int, answer: Mapping[str, Any]) -> None:
        super().__init__(f"{request}: {status} {json.dumps(answer, ensure_ascii=False)[:300]}")
        self.code = str(answer.get("code", ""))


@dataclass(slots=True)
class Process:
    """A program of ours, its output in a file of its own."""

    name: str
    command: list[str]
    environment: dict[str, str]
    log: Path
    running: subprocess.Popen[str] | None = None

    def start(self, *, says_ready: bool, **more: str) -> dict[str, Any]:
        """Start it; with `says_ready` wait for its first line of JSON and give that."""
        with self.log.open("a", encoding="utf-8") as log:
            self.running = subprocess.Popen(
                self.command,
                env=self.environment | more,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if says_ready else log,
                stderr=log,
                text=True,
                # Ctrl-C is for the demo, which then ends its parts in order.
                start_new_session=True,
            )
        if not says_ready:
            return {}
        assert self.running.stdout is not None
        line = _within(READY_S, self.running.stdout.readline)
        try:
            said: dict[str, Any] = json.loads(line or "")
        except ValueError:
            raise DemoFailed(f"{self.name} does not start: {self.last_words()}") from None
        return said

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it, and wait until it has ended."""
        if self.running is None:
            return
        if self.running.poll() is None:
            self.running.send_signal(how)
            try:
                self.running.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self.running.kill()
                self.running.wait()
        if self.running.stdout is not None:
            self.running.stdout.close()
        self.running = None

    def has_ended(self) -> bool:
        """Whether it ended by itself."""
        return self.running is not None and self.running.poll() is not None

    def last_words(self) -> str:
        """The end of what it logged, for a person who wonders."""
        return self.log.read_text(encoding="utf-8", errors="replace")[-800:].strip() or "(it said nothing)"


def _within(limit_s: float, action: Callable[[], str]) -> str | None:
    """What `action` gives, or None if it takes too long; it runs in a thread of its own then, to its end."""
    given: list[str] = []
    thread = threading.Thread(target=lambda: given.append(action()), daemon=True)
    thread.start()
    thread.join(limit_s)
    return given[0] if given else None


class Web:
    """JSON over HTTP on this host."""

    def __init__(self, base: str, token: str | None = None) -> None:
        self.base, self.token = base, token

    def ask(self, method: str, path: str, body: object = None, key: str | None = None) -> Any:
        """One request; raises DemoFailed with the answer's words if it is refused."""
        headers = {"Content-Type": "application/json", "Accept-Language": "en"}
        if self.token is not None:
            headers["Authorization"] = f"Bearer {self.token}"
        if key is not None:
            headers["Idempotency-Key"] = key
        content = None if body is None else json.dumps(body).encode()
        # The address is one that we were told by our own processes on this host.
        request = urllib.request.Request(self.base + path, content, headers, method=method)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=STEP_S) as answer:  # noqa: S310
                text = answer.read()
        except urllib.error.HTTPError as error:
            with error:
                raise Refused(f"{method} {path}", error.code, _json_of(error.read())) from None
        except OSError as error:
            raise DemoFailed(f"{method} {path}: {error}") from None
        return json.loads(text) if text else None


def _json_of(text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def until(what: str, look: Callable[[], Any], limit_s: float = STEP_S) -> Any:
    """Look again and again until `look` gives something; raises DemoFailed that names `what`."""
    end_s = time.monotonic() + limit_s
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > end_s:
            raise DemoFailed(f"after {limit_s:.0f} s still not: {what}")
        time.sleep(TRY_AGAIN_S)


@dataclass(slots=True)
class MachineOnStage:
    """A simulated machine and the agent that drives it."""

    id: str
    directory: Path
    front: Web
    simulator: Process
    agent: Process
    screen: str
    """The address of its own screen."""

    def start_agent(self, **more: str) -> None:
        """Start the agent; what the last run said of itself is of the past."""
        (self.directory / "agent" / "status.json").unlink(missing_ok=True)
        self.agent.start(says_ready=False, **more)

    def status(self) -> dict[str, Any]:
        """What the agent says of itself."""
        try:
            found: dict[str, Any] = json.loads((self.directory / "agent" / "status.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found

    def said(self) -> str:
        """The code of what stands on the machine's display."""
        return str(self.status().get("said", {}).get("code", ""))

    def is_selling(self) -> bool:
        """Whether the next resident can begin."""
        if self.agent.has_ended():
            raise DemoFailed(f"the agent of {self.id} has ended: {self.agent.last_words()}")
        return bool(self.status().get("is_selling")) and self.status().get("state") == "idle"

    def dropped(self) -> int:
        """How many items lie in the tray, ever."""
        return int(self.front.ask("GET", "/state")["items_dropped"])

    def choose(self, card: str, selection: int) -> None:
        """A resident holds a card to the reader and presses a number."""
        until(f"{self.id} sells", self.is_selling)
        tapped_s = float("-inf")

        def has_read() -> bool:
            nonlocal tapped_s
            if time.monotonic() - tapped_s > TAP_AGAIN_S:
                tapped_s = time.monotonic()
                self.front.ask("POST", "/tap", {"uid": card})
            return self.said() in ("choose", "greeting")

        until("the machine has read the card", has_read)
        self.front.ask("POST", "/press", {"selection": selection})


@dataclass(slots=True)
class Stage:
    """Everything that runs, and who there is."""

    directory: Path
    environment: dict[str, str]
    say: Callable[[str], None]
    server: Process
    broker: Process
    people: dict[str, Any] = field(default_factory=dict)
    where: dict[str, str] = field(default_factory=dict)
    tokens: dict[str, Web] = field(default_factory=dict)
    machines: dict[str, MachineOnStage] = field(default_factory=dict)
    face: str = "xy"
    mqtt_port: str = "18830"
    board_broker: Process | None = None
    """For boards that speak MQTT: a broker of the cabinet's own."""

    @property
    def part(self) -> Part:
        """How the machines' protocol plays."""
        return PARTS[self.face]

    def as_staff(self, login: str) -> Web:
        """The API as one member of staff sees it."""
        if login not in self.tokens:
            password = next(one["password"] for one in self.people["staff"] if one["login"] == login)
            web = Web(self.where["http"] + "/api/v1")
            web.token = web.ask("POST", "/auth/token", {"login": login, "password": password})["token"]
            self.tokens[login] = web
        return self.tokens[login]

    def balance(self, resident: Mapping[str, Any]) -> dict[str, Any]:
        """A resident's points."""
        found: dict[str, Any] = self.as_staff("coordinator").ask("GET", f"/residents/{resident['id']}/balance")
        return found

    def redemptions(self, resident: Mapping[str, Any]) -> list[dict[str, Any]]:
        """A resident's redemptions, newest first."""
        items: list[dict[str, Any]] = self.as_staff("secretary").ask(
            "GET", f"/redemptions?resident_id={resident['id']}&limit=50"
        )["items"]
        return items

    def credit(self, resident: Mapping[str, Any], points: int, activity: str, key: str) -> None:
        """One records, another approves. The same key a second time changes nothing."""
        body = {"resident_id": resident["id"], "points": points, "activity": activity, "reason": activity}
        made = self.as_staff("coordinator").ask("POST", "/credits", body, key=key)
        if self.as_staff("approver").ask("GET", f"/credits/{made['id']}")["state"] == "recorded":
            self.as_staff("approver").ask("POST", f"/credits/{made['id']}/approve", {}, key=f"{key}-approve")


def program(name: str) -> str:
    """The path of one of our programs: beside this Python, else on the PATH."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise DemoFailed(f"{name} is not installed: pip install 'jishan[server,agent,sim]'")
    return found


@contextmanager
def on_stage(
    directory: Path,
    say: Callable[[str], None],
    *,
    separate_broker: bool,
    county: Sequence[str] | None = None,
    face: str = "xy",
) -> Iterator[Stage]:
    """Start server and broker on embedded defaults in `directory`; everything is ended at the end of the block.

    `county`: options of `jishan-server demo-data`, which is asked once for each of them.
    """
    directory.mkdir(parents=True, exist_ok=True)
    own = {
        "JISHAN_DATA_DIR": str(directory / "server"),
        "JISHAN_ARGON2_MEMORY_KIB": "4096",
        # Whoever tries the demo looks at every page at once.
        "JISHAN_SECOND_FACTOR_ROLES": "",
        "JISHAN_LOGINS_PER_MINUTE": "200",
    }
    # Settings of a real installation on this computer are not the demo's.
    plain = {name: value for name, value in os.environ.items() if not name.startswith("JISHAN_")}
    environment = plain | own
    server = program("jishan-server")
    stage = Stage(
        directory,
        environment,
        say,
        Process("jishan-server up", [server, "up"], environment, directory / "server.log"),
        Process("jishan-server broker", [server, "broker"], environment, directory / "broker.log"),
        face=face,
    )
    with ExitStack() as ending:
        say("Making the database, the certificates and the demo's people ...")
        made = subprocess.run([server, "init", "--demo"], env=environment, capture_output=True, text=True, check=False)
        if made.returncode:
            raise DemoFailed(f"jishan-server init: {made.stderr[-500:]}")
        stage.people = json.loads(made.stdout)
        if county is not None:
            _add_county(directory, [server, "demo-data", *county], environment, say)
        say("Starting the server ...")
        broker: dict[str, str] = {}
        if separate_broker:
            ending.callback(stage.broker.stop)
            broker = {"JISHAN_MQTT_URL": stage.broker.start(says_ready=True, JISHAN_MQTT_PORT=stage.mqtt_port)["mqtt"]}
            # A taken port gives way to the next free one, and that is where it must come back.
            stage.mqtt_port = broker["JISHAN_MQTT_URL"].rpartition(":")[2]
        ending.callback(stage.server.stop)
        stage.where = stage.server.start(says_ready=True, **broker)
        yield stage_with_products(stage, ending)


def _add_county(directory: Path, command: list[str], environment: dict[str, str], say: Callable[[str], None]) -> None:
    """Have a county of invented people booked, unless this very one was."""
    done = directory / "county.txt"
    wanted = " ".join(command[1:])
    if done.exists() and wanted in done.read_text(encoding="utf-8").splitlines():
        return
    say("Adding a county of invented people and what they did in a year ...")
    made = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if made.returncode:
        raise DemoFailed(f"jishan-server demo-data: {made.stderr[-500:]}")
    with done.open("a", encoding="utf-8") as file:
        file.write(wanted + "\n")


def stage_with_products(stage: Stage, ending: ExitStack) -> Stage:
    """What the machines sell, made once."""
    admin = stage.as_staff("admin")
    for id, name_zh, name_en in PRODUCTS:
        _made_once(admin, "/products", {"product_id": id, "estate_id": ESTATE, "name_zh": name_zh, "name_en": name_en})
    ending.callback(_end_machines, stage)
    return stage


def _end_machines(stage: Stage) -> None:
    for machine in stage.machines.values():
        machine.agent.stop()
        machine.simulator.stop()
    if stage.board_broker is not None:
        stage.board_broker.stop()


def _made_once(web: Web, path: str, body: dict[str, Any]) -> None:
    try:
        web.ask("POST", path, body)
    except Refused as error:
        if not error.code.endswith("_exists"):
            raise


def add_machine(stage: Stage, machine_id: str, profile: str) -> MachineOnStage:
    """Register, simulate, enrol and start one machine, with a firmware profile of PROFILES on both ends of its line."""
    stage.say(f"Starting the simulated machine {machine_id} ({stage.face}) and its agent ...")
    admin = stage.as_staff("admin")
    directory = stage.directory / machine_id
    (directory / "agent").mkdir(parents=True, exist_ok=True)
    _made_once(admin, "/machines", {"machine_id": machine_id, "estate_id": ESTATE, "name": f"江畔家园 {machine_id}"})
    planogram = admin.ask("GET", f"/machines/{machine_id}/planogram")
    if planogram["version"] == 0:
        slots = [
            {"selection": selection, "product_id": product, "points": points, "capacity": 10}
            for selection, product, points in PLAN
        ]
        admin.ask("PUT", f"/machines/{machine_id}/planogram", {"replaces": 0, "slots": slots})
        counts = [{"selection": selection, "stock": STOCK} for selection, _, _ in PLAN]
        admin.ask("PUT", f"/machines/{machine_id}/stock", {"counts": counts})
    profiles = directory / "agent" / "profiles.toml"
    profiles.write_text(PROFILES.format(settings=stage.part.settings, like=stage.part.like), encoding="utf-8")
    dispenser = _dispenser_port(stage, machine_id, directory)
    links = {f"--{reader}-link": directory / reader for reader in ("card", "keypad", "code")}
    if dispenser == str(directory / "dispenser"):
        links["--link"] = directory / "dispenser"
    simulator = Process(
        "jishan-sim machine",
        [
            *(program("jishan-sim"), "machine", "--face", stage.face, "--card-port", "pty"),
            *("--keypad-port", "pty", "--code-port", "pty"),
            *("--port", "pty" if "--link" in links else dispenser),
            *("--profile", profile, "--profiles", str(profiles)),
            *("--slots", "1-4", "--items", str(STOCK), "--control", "127.0.0.1:0"),
            *("--state", str(directory / "cabinet.json"), "--screen", str(directory / "agent" / "status.json")),
            *(word for option, link in links.items() for word in (option, str(link))),
        ],
        stage.environment,
        directory / "simulator.log",
    )
    kiosk = _free_address()
    agent = Process(
        "jishan-agent run",
        [
            *(program("jishan-agent"), "run", "--dir", str(directory / "agent"), "--profile", profile),
            *("--keypad-port", str(directory / "keypad"), "--scanner-port", str(directory / "code")),
            *("--kiosk-address", kiosk),
        ],
        stage.environment,
        directory / "agent.log",
    )
    ports = simulator.start(says_ready=True)
    machine = MachineOnStage(machine_id, directory, Web(ports["control"]), simulator, agent, f"http://{kiosk}/")
    stage.machines[machine_id] = machine
    for selection, _, points in PLAN:
        # What the machine itself shows, where it shows a price, is in points.
        machine.front.ask("POST", "/price", {"selection": selection, "points": points})
    planogram = admin.ask("GET", f"/machines/{machine_id}/planogram")
    machine.front.ask("POST", "/names", {"names": _names_on(planogram["slots"])})
    if admin.ask("GET", f"/machines/{machine_id}")["enrolled_at"] is None:
        code = admin.ask("POST", f"/machines/{machine_id}/claim-code")["claim_code"]
        command = [program("jishan-agent"), "enroll", "--dir", str(directory / "agent"), "--code", code]
        command += ["--server", stage.where["http"], "--dispenser-protocol", stage.face]
        command += ["--dispenser-port", dispenser, "--card-port", str(directory / "card")]
        done = subprocess.run(command, env=stage.environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise DemoFailed(f"enrolment of {machine_id}: {done.stderr[-500:]}")
    machine.start_agent()
    return machine


def _names_on(slots: Sequence[Mapping[str, Any]]) -> dict[int, dict[str, Any]]:
    """What a person reads on each coil of a planogram; a product of somebody else's by its id."""
    known: dict[str, tuple[str, str]] = {id: (zh, en) for id, zh, en in PRODUCTS}
    names = {}
    for slot in slots:
        zh, en = known.get(slot["product_id"], (slot["product_id"],) * 2)
        names[slot["selection"]] = {"zh": zh, "en": en, "points": slot["points"]}
    return names


def _free_address() -> str:
    """A port of this host that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def _dispenser_port(stage: Stage, machine_id: str, directory: Path) -> str:
    """Where agent and simulator meet: the link of a pty; for MQTT a topic at a broker of the cabinet's own."""
    if stage.face != "mqtt":
        return str(directory / "dispenser")
    settings = stage.directory / "board-broker.yaml"
    if stage.board_broker is None:
        address = _free_address()
        settings.write_text(BROKER.format(address=address), encoding="utf-8")
        command = [program("amqtt"), "-c", str(settings)]
        stage.board_broker = Process("amqtt", command, stage.environment, stage.directory / "board-broker.log")
        stage.board_broker.start(says_ready=False)
        stage.where["boards"] = address
    key_file = directory / "board.toml"
    if not key_file.exists():
        key_file.write_text(f'key = "{os.urandom(32).hex()}"\n', encoding="utf-8")
        key_file.chmod(0o600)
    return f"mqtt://{stage.where['boards']}/{machine_id}?secrets={key_file}"
