"""Every program of Jishan as a real process, on free ports and in one folder, to be killed, frozen and started again.

A `Site` is a server (`up` on SQLite; `web` and `gateway` on PostgreSQL), a broker of its own (the embedded one as a
process, or Mosquitto), and machines: each a simulated dispenser that keeps its memory on disk, an enrolled agent, and a
resident with points. Rules:

1. Nothing that was started outlives its Site, whatever happened.
2. A moment is reached by looking, never by waiting for luck: an agent halts at its steps (JISHAN_AGENT_HALT_FILE), any
   process can be frozen (SIGSTOP), the kernel says what has arrived in a frozen process's socket.
3. What is true is read where a person would read it: the HTTP API, the machine's status file, the cabinet's control
   port, `jishan-server ledger verify`.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

import pytest

sys.path.append(str(Path(__file__).parents[1] / "server"))

from postgresql_server import Postgresql, free_port, start_postgresql, stop_postgresql

PATIENCE_S: Final = 90.0
"""Longer than anything takes: a new gateway waits 30 s for the shards of a dead one, an outbox 10 s for a resend."""

LOOK_S: Final = 0.02
LONGEST_VEND_MS: Final = 3_000
"""A simulated coil turns for 2.4 s."""

PROGRAMS: Final = Path(sys.executable).parent
POINTS: Final = 20
ITEMS: Final = 5

T = TypeVar("T")


class Refused(AssertionError):
    """The answer to a request was a refusal, or that it cannot be done now."""


def wait_for(look: Callable[[], T], what: str, patience_s: float = PATIENCE_S) -> T:
    """Look until there is something; AssertionError says what did not come."""
    end_s = time.monotonic() + patience_s
    while time.monotonic() < end_s:
        found = look()
        if found:
            return found
        time.sleep(LOOK_S)
    raise AssertionError(f"did not come within {patience_s} s: {what}")


def missing(program: str) -> NoReturn:
    """Skip the test because a program is not installed; where everything must be, fail."""
    assert os.environ.get("CI") != "true", f"{program} is not installed"
    pytest.skip(f"{program} is not installed")


def ask(method: str, url: str, body: object = None, **headers: str) -> Any:
    """The JSON answer of an HTTP request. OSError when nobody answers; Refused, with the answer, when it says no."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", **headers}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        with error:
            raise Refused(f"{method} {url}: {error.code} {error.read().decode()}") from None


class Program:
    """One process, and how to start it again."""

    def __init__(self, name: str, command: Sequence[str], folder: Path, environment: dict[str, str]) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self._command = command
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        assert self._process is None, f"{self.name} runs already"
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self._environment
            )

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.name} does not run"
        return self._process.pid

    def check(self) -> None:
        """AssertionError if it has ended by itself."""
        if self._process is not None and self._process.poll() is not None:
            words = self.log.read_text("utf-8", "replace")[-2000:]
            raise AssertionError(f"{self.name} ended with {self._process.returncode}: {words}")

    def kill(self) -> None:
        """SIGKILL, which a frozen process obeys too."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)
        self.wait_frozen()

    def wait_frozen(self) -> None:
        """Wait until it stands still, by us or by its own halt."""

        def stopped() -> bool:
            self.check()
            return os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WNOHANG) is not None

        wait_for(stopped, f"{self.name} to stand still")

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def bytes_waiting_from(self, port: int) -> int:
        """How much has arrived in its TCP connections to a port of this host and was not read yet (Linux)."""
        sockets = set()
        for link in Path(f"/proc/{self.pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                sockets.add(os.readlink(link))
        waiting = 0
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            _, _, remote, _, queues, _, _, _, _, inode, *_ = line.split()
            if int(remote.partition(":")[2], 16) == port and f"socket:[{inode}]" in sockets:
                waiting += int(queues.partition(":")[2], 16)
        return waiting


class Database:
    """A real PostgreSQL that can be killed like the programs."""

    name = "database"

    def __init__(self) -> None:
        self.server: Postgresql = start_postgresql()
        self.server.command("CREATE DATABASE jishan")
        self.url = f"postgresql://jishan@127.0.0.1:{self.server.port}/jishan"

    def start(self) -> None:
        self.server.control("-l", str(self.server.folder / "log"), "-o", self.server.options, "start")

    def kill(self) -> None:
        """SIGKILL to the first process and to all that it has started."""
        first = int((self.server.folder / "data" / "postmaster.pid").read_text().splitlines()[0])
        family = [first, *_children(first)]
        for pid in family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in family), "the end of PostgreSQL")

    def close(self) -> None:
        if (self.server.folder / "data" / "postmaster.pid").exists():
            with contextlib.suppress(subprocess.CalledProcessError):
                stop_postgresql(self.server)
        shutil.rmtree(self.server.folder, ignore_errors=True)


def _children(parent: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(stat.parent.name))
    return found


class Machine:
    """One vending machine: dispenser, agent, and the resident who stands in front of it."""

    def __init__(self, site: Site, id: str, card: str) -> None:
        self.id = id
        self.card = card
        self.resident_id = ""
        self.folder = site.folder / id
        self.folder.mkdir()
        (self.folder / "profiles.toml").write_text(
            f"[dispenser.{site.profile}]\nlongest_vend_ms = {LONGEST_VEND_MS}\n", encoding="utf-8"
        )
        self._halt_file = self.folder / "halt"
        self._halt_file.write_text("")
        self._links = self.folder / "dispenser", self.folder / "card"
        control = f"127.0.0.1:{free_port()}"
        self.panel = f"http://{control}"
        """Where its front panel and its control port are."""
        self.simulator = site.program(
            f"simulator-{id}",
            [
                *("jishan-sim", "machine", "--profile", site.profile, "--control", control),
                *("--slots", f"1-{site.selections}", "--items", str(ITEMS)),
                *("--state", str(self.folder / "cabinet.json")),
                *("--link", str(self._links[0]), "--card-link", str(self._links[1])),
                *("--screen", str(self.folder / "status.json")),
            ],
        )
        self.agent = site.program(
            f"agent-{id}",
            ["jishan-agent", "run", "--dir", str(self.folder), "--profile", site.profile],
            JISHAN_AGENT_HALT_FILE=str(self._halt_file),
        )

    def enroll(self, site: Site) -> None:
        code = site.api("POST", f"machines/{self.id}/claim-code")["claim_code"]
        site.run(
            *("jishan-agent", "enroll", "--dir", str(self.folder), "--server", site.http, "--code", code),
            *("--dispenser-port", str(self._links[0]), "--card-port", str(self._links[1])),
        )

    def status(self) -> dict[str, Any]:
        """The status file of the agent; empty while there is none."""
        try:
            found: dict[str, Any] = json.loads((self.folder / "status.json").read_text("utf-8"))
        except FileNotFoundError:
            return {}
        return found

    @property
    def is_at_rest(self) -> bool:
        """Whether the agent sells, holds nothing open, and has everything it said acknowledged."""
        status = self.status()
        return bool(status.get("is_selling")) and status["state"] == "idle" and status["outbox_length"] == 0

    def control(self, method: str, path: str, **body: object) -> Any:
        return ask(method, f"{self.panel}/{path}", body or None)

    def items_gone(self, selection: int) -> int:
        """How many items have left the coil, by what hangs on it and by what fell, which must agree."""
        state = self.control("GET", "state")
        (slot,) = [slot for slot in state["slots"] if slot["selection"] == selection]
        fell = sum(drop["items"] for drop in state["dropped"] if drop["selection"] == selection)
        assert fell == ITEMS - slot["items"]
        return fell

    def choose(self, selection: int, halt_at: str = "") -> None:
        """The resident holds a card to the reader and presses a selection; the agent halts at a step."""
        self._halt_file.write_text(halt_at)
        self.control("POST", "tap", uid=self.card)
        wait_for(lambda: self.status().get("state") == "choosing", f"{self.id} to read the card")
        self.control("POST", "press", selection=selection)

    def hold_next_status(self, ms: int) -> None:
        """Have the dispenser tell the result of its next vend so much later."""
        self.control("PUT", "faults", once=[{"hold_status_ms": ms}])

    def go_on(self, halt_at: str = "") -> None:
        """Let the halted agent go on, to another step or freely."""
        self._halt_file.write_text(halt_at)
        self.agent.thaw()

    def kill_agent(self) -> None:
        self.agent.kill()
        self._halt_file.write_text("")
        (self.folder / "status.json").unlink(missing_ok=True)

    def cut_power(self) -> None:
        """Kill the simulator, which is a power cut. Its pseudo terminals' names may go to others, so the links end."""
        self.simulator.kill()
        for link in self._links:
            link.unlink(missing_ok=True)


class Site:
    """A whole installation. `database` is `sqlite` or `postgresql`, `broker` is `amqtt` or `mosquitto`."""

    def __init__(self, folder: Path, database: str, broker: str, profile: str, selections: int) -> None:
        self.folder = folder
        self.profile = profile
        self.selections = selections
        self._closing = ExitStack()
        self._programs: list[Program] = []
        self.machines: list[Machine] = []
        self._tokens: dict[str, str] = {}
        self._keys = count(1)
        self.http = f"http://127.0.0.1:{free_port()}"
        self.mqtt_port = free_port()
        kept = {name: value for name, value in os.environ.items() if not name.startswith("JISHAN_")}
        self.environment = kept | {
            "JISHAN_DATA_DIR": str(folder / "server"),
            "JISHAN_HTTP_PORT": self.http.rpartition(":")[2],
            "JISHAN_MQTT_PORT": str(self.mqtt_port),
            "JISHAN_MQTT_URL": f"mqtt://127.0.0.1:{self.mqtt_port}",
            "JISHAN_ARGON2_ROUNDS": "1",
            "JISHAN_ARGON2_MEMORY_KIB": "8",
            "JISHAN_LOGINS_PER_MINUTE": "1000",
            "JISHAN_REQUESTS_PER_MINUTE": "1000000",
        }
        self.database: Database | None = None
        try:
            if database == "postgresql":
                self.database = self._start_database()
                self.environment["JISHAN_DATABASE_URL"] = self.database.url
            self._people = self.run("jishan-server", "init", "--demo")
            self.broker = self._broker(broker)
            self.broker.start()
            self.gateway = self._start_server()
            wait_for(lambda: self.answers("readyz"), "the server")
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End everything."""
        self._closing.close()

    def program(self, name: str, command: Sequence[str], **environment: str) -> Program:
        """A program that ends with this site at the latest."""
        command = [str(PROGRAMS / command[0]), *command[1:]]
        made = Program(name, command, self.folder, self.environment | environment)
        self._programs.append(made)
        self._closing.callback(made.kill)
        return made

    def check(self) -> None:
        """AssertionError if a program has ended by itself."""
        for program in self._programs:
            program.check()

    def run(self, *words: str) -> Any:
        """Run a command to its end; gives its JSON, or its text."""
        command = [str(PROGRAMS / words[0]), *words[1:]]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=PATIENCE_S)
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        try:
            return json.loads(done.stdout)
        except ValueError:
            return done.stdout

    def api(self, method: str, path: str, body: object = None, login: str = "admin") -> Any:
        """Ask the server's API as a member of staff."""
        if login not in self._tokens:
            (password,) = [one["password"] for one in self._people["staff"] if one["login"] == login]
            credentials = {"login": login, "password": password}
            self._tokens[login] = ask("POST", f"{self.http}/api/v1/auth/token", credentials)["token"]
        headers = {
            "Authorization": f"Bearer {self._tokens[login]}",
            "Idempotency-Key": f"harness-{next(self._keys):08}",
        }
        return ask(method, f"{self.http}/api/v1/{path}", body, **headers)

    def answers(self, path: str) -> bool:
        try:
            ask("GET", f"{self.http}/{path}")
        except (OSError, Refused):
            return False
        return True

    def open_machines(self, number: int) -> list[Machine]:
        """Make machines that sell everything for one point, each with a resident who has points, and start them."""
        self.api(
            "POST", "products", {"product_id": "soap", "estate_id": "jiangpan", "name_zh": "肥皂", "name_en": "Soap"}
        )
        self.machines = [Machine(self, f"m{place}", f"A1B2C3{place:02X}") for place in range(number)]
        for machine in self.machines:
            machine.simulator.start()
            self._furnish(machine)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(lambda machine: machine.enroll(self), self.machines))
        if (self.folder / "mosquitto").exists():
            self.run("jishan-server", "mosquitto-files", str(self.folder / "mosquitto"))
            os.kill(self.broker.pid, signal.SIGHUP)
        for machine in self.machines:
            machine.agent.start()
        wait_for(lambda: all(machine.is_at_rest for machine in self.machines), "the machines to sell")
        return self.machines

    def _furnish(self, machine: Machine) -> None:
        resident = self.api("POST", "residents", {"estate_id": "jiangpan", "name": f"居民{machine.id}"}, "coordinator")
        machine.resident_id = resident["id"]
        self.api("POST", f"residents/{resident['id']}/cards", {"uid": machine.card}, "coordinator")
        credit = {"resident_id": resident["id"], "points": POINTS, "activity": "河道清理", "reason": "志愿活动"}
        recorded = self.api("POST", "credits", credit, "coordinator")
        self.api("POST", f"credits/{recorded['id']}/approve", {"reason": "已核对"}, "approver")
        self.api("POST", "machines", {"machine_id": machine.id, "estate_id": "jiangpan", "name": machine.id})
        selections = range(1, self.selections + 1)
        slots = [{"selection": one, "product_id": "soap", "points": 1, "capacity": 10} for one in selections]
        self.api("PUT", f"machines/{machine.id}/planogram", {"replaces": 0, "slots": slots})
        counts = [{"selection": one, "stock": ITEMS} for one in selections]
        self.api("PUT", f"machines/{machine.id}/stock", {"counts": counts})

    def _start_database(self) -> Database:
        try:
            made = Database()
        except LookupError:
            missing("PostgreSQL")
        self._closing.callback(made.close)
        return made

    def _start_server(self) -> Program:
        """Start it; gives the process that holds the link."""
        if self.database is None:
            server = self.program("up", ["jishan-server", "up"])
            server.start()
            return server
        self.program("web", ["jishan-server", "web"]).start()
        gateway = self.program("gateway", ["jishan-server", "gateway"])
        gateway.start()
        return gateway

    def _broker(self, kind: str) -> Program:
        if kind == "amqtt":
            return self.program("broker", ["jishan-server", "broker"])
        program = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
        if program is None:
            missing("Mosquitto")
        folder = self.folder / "mosquitto"
        self.run("jishan-server", "mosquitto-files", str(folder))
        # Started as root it would become another user, who may not read these files.
        user = "user root\n" if os.geteuid() == 0 else ""
        (folder / "mosquitto.conf").write_text(
            f"{user}listener {self.mqtt_port} 127.0.0.1\nallow_anonymous false\npassword_file {folder}/passwords\n"
            f"acl_file {folder}/acl\nuse_username_as_clientid true\nset_tcp_nodelay true\n"
        )
        return self.program("broker", [str(program), "-c", str(folder / "mosquitto.conf")])
