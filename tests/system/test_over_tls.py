"""A machine in another network namespace enrols and vends over TLS, by the commands of docs/operating.md.

The server is in a namespace of its own, joined to the machine's by a pair of virtual interfaces; where namespaces
cannot be made, both use this host's own address that is not loopback. Every command is taken from the page and run by
a shell; only what the page leaves open is put in: folders, the server's address, the serial ports.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Final

import pytest

sys.path.append(str(Path(__file__).parent))

from processes import PATIENCE_S, PROGRAMS, Program, ask, free_port, missing, wait_for

from jishan_protocol import claim_codes

pytestmark = pytest.mark.external

OPERATING: Final = (Path(__file__).parents[2] / "docs" / "operating.md").read_text(encoding="utf-8")
SERVER_ADDRESS, MACHINE_ADDRESS = "198.51.100.1", "198.51.100.2"
CARD: Final = "00745A70"
SELECTION: Final = 13
PRICE: Final = 2


@dataclass(frozen=True)
class Network:
    """Where the server listens, and how a command is run on either side of the wire."""

    address: str
    at_server: tuple[str, ...] = ()
    at_machine: tuple[str, ...] = ()
    http_port: int = 8443
    mqtt_port: int = 8883


def joined_namespaces(stack: ExitStack) -> Network | None:
    """Two namespaces with a wire between them; None where this user or this system cannot make them."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return None
    server, machine = f"jishan-s{os.getpid()}", f"jishan-m{os.getpid()}"

    def ip(*words: str) -> bool:
        return subprocess.run(["ip", *words], capture_output=True).returncode == 0

    for name in (server, machine):
        if not ip("netns", "add", name):
            return None
        stack.callback(ip, "netns", "del", name)
    is_made = (
        ip("link", "add", "wire", "netns", server, "type", "veth", "peer", "name", "wire", "netns", machine)
        and ip("-n", server, "addr", "add", f"{SERVER_ADDRESS}/30", "dev", "wire")
        and ip("-n", machine, "addr", "add", f"{MACHINE_ADDRESS}/30", "dev", "wire")
        and all(ip("-n", name, "link", "set", what, "up") for name in (server, machine) for what in ("lo", "wire"))
    )
    at = "ip", "netns", "exec"
    return Network(SERVER_ADDRESS, (*at, server), (*at, machine)) if is_made else None


def own_address() -> Network | None:
    """This host's own address that is not loopback; nothing is sent to find it. None without a network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((MACHINE_ADDRESS, 9))
        except OSError:
            return None
        return Network(probe.getsockname()[0], http_port=free_port(), mqtt_port=free_port())


def blocks(number: int) -> list[str]:
    """The shell commands of one section of the page."""
    section = OPERATING.partition(f"\n## {number}. ")[2].partition("\n## ")[0]
    found = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    assert found, f"section {number} has no commands"
    return found


class Town:
    """The server of sections 1 and 2 of the page, running, and a simulated machine that nobody has enrolled yet."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self.stack = stack
        network = joined_namespaces(stack) or own_address()
        if network is None:
            missing("a network beside loopback")
        self.network = network
        self.settings = folder / "settings"
        self.settings.write_text("")
        kept = {name: value for name, value in os.environ.items() if not name.startswith("JISHAN_")}
        self.environment = kept | {"PATH": f"{PROGRAMS}:{os.environ['PATH']}"}
        self.keys = count(1)
        self.logs = count(1)
        self._start_simulator()
        prepare, serve = blocks(1)
        self.run(prepare)
        settings, _, up = serve.strip().rpartition("\n")
        self.run(settings)
        log = self.start(up, network.at_server)
        self.where = json.loads(wait_for(lambda: self._first_answer(log), "the server"))
        self.run(f"export SERVER=https://{network.address}:{network.http_port}")
        people, goods = blocks(2)
        self.run(people)
        self.code = self._code_in(self.run(goods))

    def here(self, commands: str) -> str:
        """The page's commands with this test's folders, address, ports and lines."""
        for words, ours in (
            ("/var/lib/jishan-agent", str(self.folder / "agent")),
            ("/var/lib/jishan", str(self.folder / "server")),
            ("--name server.example --name 192.0.2.10", f"--name {self.network.address}"),
            ("JISHAN_HTTP_PORT=8443", f"JISHAN_HTTP_PORT={self.network.http_port}"),
            ("JISHAN_MQTT_PORT=8883", f"JISHAN_MQTT_PORT={self.network.mqtt_port}"),
            ("/dev/ttyUSB0", str(self.folder / "dispenser")),
            ("/dev/ttyUSB1", str(self.folder / "card")),
        ):
            assert words in OPERATING
            commands = commands.replace(words, ours)
        return commands

    def run(self, commands: str, at: tuple[str, ...] | None = None, exit: int = 0) -> str:
        """Run commands in a shell that keeps its settings, at the server unless told; gives what they print."""
        script = f"set -eu\n. {self.settings}\n{self.here(commands)}\nexport -p > {self.settings}\n"
        done = subprocess.run(
            [*(self.network.at_server if at is None else at), "bash", "-c", script],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
        assert done.returncode == exit, f"{commands}\n{done.stdout}\n{done.stderr}"
        return done.stderr if exit else done.stdout

    def start(self, command: str, at: tuple[str, ...]) -> Path:
        """Start one command that stays; gives its log. It ends with the town."""
        script = f". {self.settings}\nexec {self.here(command)}"
        program = Program(f"program{next(self.logs)}", [*at, "bash", "-c", script], self.folder, self.environment)
        self.stack.callback(program.kill)
        program.start()
        return program.log

    def enroll(self, command: str, code: str, exit: int = 0) -> str:
        return self.run(f"export CLAIM_CODE={code}\n{command}", self.network.at_machine, exit)

    def new_code(self) -> str:
        """What running `enroll-machine` again prints."""
        (command,) = re.findall(r"^jishan-server enroll-machine.*$", "\n".join(blocks(2)), re.MULTILINE)
        return self._code_in(self.run(command))

    def api(self, path: str, login: str, body: object = None) -> Any:
        """Ask the API with the page's own way to ask."""
        (command,) = re.findall(r'^export (TOKEN=.*"operator".*)$', "\n".join(blocks(2)), re.MULTILINE)
        number = {"coordinator": 1, "approver": 2, "operator": 3}[login]
        words = command.replace('"operator"', f'"{login}"').replace("long password 3", f"long password {number}")
        data = "" if body is None else f"--json '{json.dumps(body)}' -H 'Idempotency-Key: over-tls-{next(self.keys)}'"
        asked = f'$CURL "$SERVER/api/v1/{path}" -H "Authorization: Bearer $TOKEN" {data}'
        return json.loads(self.run(f"{words}\n{asked}", self.network.at_machine))

    def control(self, method: str, path: str, **body: object) -> Any:
        return ask(method, f"{self._control}/{path}", body or None)

    def status(self) -> dict[str, Any]:
        """The machine's status file; empty while there is none."""
        try:
            found: dict[str, Any] = json.loads((self.folder / "agent" / "status.json").read_text("utf-8"))
        except FileNotFoundError:
            return {}
        return found

    def _start_simulator(self) -> None:
        control = f"127.0.0.1:{free_port()}"
        self._control = f"http://{control}"
        self.start(
            f"jishan-sim machine --slots {SELECTION} --control {control} --link {self.folder / 'dispenser'} "
            f"--card-link {self.folder / 'card'}",
            (),
        )

    @staticmethod
    def _first_answer(log: Path) -> str:
        return next((line for line in log.read_text("utf-8").splitlines() if line.startswith('{"ready": true')), "")

    @staticmethod
    def _code_in(printed: str) -> str:
        (code,) = re.findall(r'"claim_code": "(.*)"', printed)
        return str(code)


ENROLL, SELL = blocks(3)[0].strip().split("\n")


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    for program in ("bash", "curl", "jq"):
        if shutil.which(program) is None:
            missing(program)
    with ExitStack() as stack:
        yield Town(tmp_path_factory.mktemp("town"), stack)


def test_a_server_with_another_authority_gets_nothing(town: Town) -> None:
    code = claim_codes.read(town.code)
    other = claim_codes.ClaimCode(code.secret, claim_codes.fingerprint_of(b"another authority"))
    assert "another fingerprint" in town.enroll(ENROLL, claim_codes.write(other), exit=1)
    assert not (town.folder / "agent" / "agent.toml").exists()


def test_a_server_elsewhere_without_tls_is_refused_before_anything_is_sent(town: Town) -> None:
    words = town.enroll(ENROLL.replace("$SERVER", "${SERVER/https/http}"), town.code, exit=1)
    assert "neither TLS nor on this host" in words
    assert not (town.folder / "agent" / "agent.toml").exists()


def test_a_machine_enrols_and_vends_over_tls_by_the_commands_of_the_page(town: Town) -> None:
    assert town.where["http"].startswith("https://")
    assert town.where["mqtt"].startswith("mqtts://")
    town.enroll(ENROLL, town.code)
    settings = (town.folder / "agent" / "agent.toml").read_text("utf-8")
    assert f'mqtt_url = "mqtts://{town.network.address}:{town.network.mqtt_port}"' in settings
    town.start(SELL, town.network.at_machine)
    (resident,) = town.api("residents", "coordinator")["items"]
    credit = {"resident_id": resident["id"], "points": PRICE, "activity": "litter", "reason": "March"}
    recorded = town.api("credits", "coordinator", credit)
    town.api(f"credits/{recorded['id']}/approve", "approver", {"reason": "checked"})
    wait_for(lambda: town.status().get("is_selling"), "the machine to sell")
    town.control("POST", "tap", uid=CARD)
    wait_for(lambda: town.status()["state"] == "choosing", "the card to be read")
    town.control("POST", "press", selection=SELECTION)
    wait_for(lambda: town.status()["said"]["code"] == "dispensed", "the item")
    wait_for(lambda: town.status()["outbox_length"] == 0, "the capture")
    (redemption,) = town.api("redemptions", "approver")["items"]
    assert (redemption["state"], redemption["points"], redemption["product_id"]) == ("captured", PRICE, "soap")
    assert town.control("GET", "state")["items_dropped"] == 1
    assert town.api(f"residents/{resident['id']}/balance", "coordinator")["posted_points"] == 0
    assert json.loads(town.run("jishan-server ledger verify --json"))["ok"] is True


def test_a_claim_code_that_is_used_replaced_or_expired_lets_nobody_in(town: Town) -> None:
    elsewhere = ENROLL.replace("/var/lib/jishan-agent", str(town.folder / "stranger"))
    assert elsewhere != ENROLL
    used = town.new_code()
    town.enroll(ENROLL.replace("/var/lib/jishan-agent", str(town.folder / "second")), used)
    assert "(claim_code_used)" in town.enroll(elsewhere, used, exit=1)
    replaced, expired = town.new_code(), town.new_code()
    assert "(claim_code_unknown)" in town.enroll(elsewhere, replaced, exit=1)
    with closing(sqlite3.connect(town.folder / "server" / "jishan.db", timeout=10)) as database, database:
        # A day goes by.
        database.execute("UPDATE claim_codes SET expires_at = expires_at - 86400000")
    assert "(claim_code_expired)" in town.enroll(elsewhere, expired, exit=1)
    assert not (town.folder / "stranger" / "agent.toml").exists()
