"""An estate to live in for a year: the real app over HTTP, the real writer, a machine at the gate, and passing time.

People act over HTTP alone (`Estate`, an `Office` whose logins are those of the story). Each day the server asks itself
what it asks every 15 seconds. The machine is a real agent on a simulated cabinet; its messages go through the gateway's
core and the same writer (`Gate`). It is switched off while days pass.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any, Final
from zoneinfo import ZoneInfo

sys.path.append(str(Path(__file__).parent))
sys.path.append(str(Path(__file__).parents[1] / "server"))

from network import Network, NetworkFaults
from office import SECRET, Office
from scheduler import Scheduler
from simulated_machine import SimulatedMachine

from jishan_agent.agent import Identity
from jishan_protocol.dispensers import xy
from jishan_protocol.sealing import Credential
from jishan_server.assembly import assembled, hashing_of, limits_on, rules_of
from jishan_server.config import Config
from jishan_server.db import writing
from jishan_server.gateway.core import Gateway, operation_of
from jishan_server.gateway.shell import WATCH, link_kinds
from jishan_server.kinds import TIMED
from jishan_server.parts import Parts
from jishan_server.vending.keys import Keys
from jishan_server.vending.machines import ensure_identity
from jishan_server.vending.redemptions import Vending
from jishan_server.writer import Operation
from jishan_sim.faults import Faults, VendFaults

ZONE: Final = ZoneInfo("Asia/Shanghai")
BEGINS_AT: Final = datetime(2026, 1, 5, 1, 0, tzinfo=UTC)
STEP: Final = timedelta(hours=24)
"""How far apart the server's looks at the clock are while days pass."""
PASSWORD: Final = "a-password-of-the-story"
PIN: Final = "246813"
UP_MS: Final = 100_000
"""A machine that was switched on has booted, linked and heard the server by then."""
VEND_MS: Final = 6_000


class Estate(Office):
    """An office whose clock walks on, with the staff and residents whom the story makes."""

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        self.now = BEGINS_AT
        self._logged_in_on: dict[str, str] = {}
        self._turns = 0

    # time

    def turn(self) -> None:
        """What the server asks of itself every few seconds."""
        self._turns += 1
        waiting = [self.parts.writer.submit(Operation(f"{kind}-{self._turns}", kind, None)) for kind in (*TIMED, WATCH)]
        for one in waiting:
            assert one.result(30).error is None

    def until(self, local: str) -> None:
        """Let time pass until this local time, `2026-02-01 09:00`, while the server runs."""
        wanted = datetime.fromisoformat(local).replace(tzinfo=ZONE).astimezone(UTC)
        assert wanted >= self.now, f"{local} is over"
        while self.now < wanted:
            self.now = min(self.now + STEP, wanted)
            self.turn()

    # people

    def token(self, login: str) -> str:
        """A token of the day; who was hired in the story has the story's password."""
        day = self.now.astimezone(ZONE).date().isoformat()
        if self._logged_in_on.get(login) != day:
            self._logged_in_on[login] = day
            known = {one.login: one.password for one in self.people.staff}
            body = {"login": login, "password": known.get(login, PASSWORD)}
            answer = self.client.post("/api/v1/auth/token", json=body)
            assert answer.status_code == 201, answer.text
            self._tokens[login] = answer.get_json()["token"]
        return self._tokens[login]

    def hire(self, login: str, name: str, role: str, node: str, **more: Any) -> str:
        """An account made by the county's admin; its id."""
        roles = [{"role": role, "organization_id": node}]
        body = {"login": login, "name": name, "password": PASSWORD, "roles": roles} | more
        return str(self.ok("POST", "/staff", body, as_="admin")["id"])

    def as_me(self, person: dict[str, Any]) -> dict[str, Any]:
        """What makes `ok` ask as a resident who logged in just now."""
        body = {"member_number": person["member_number"], "pin": PIN}
        answer = self.client.post("/api/v1/auth/resident-token", json=body)
        assert answer.status_code == 201, answer.text
        return {"as_": None, "headers": {"Authorization": f"Bearer {answer.get_json()['token']}"}}

    def me(self, person: dict[str, Any], method: str, path: str, body: Any = None) -> Any:
        """Ask as a resident on their own phone."""
        return self.ok(method, f"/me{path}", body, **self.as_me(person))

    def told(self, person: dict[str, Any]) -> list[str]:
        """The kinds of messages in a resident's inbox, oldest first."""
        return [one["kind"] for one in self.me(person, "GET", "/messages?limit=200")["items"]][::-1]

    def all_of(self, path: str, **more: Any) -> list[Any]:
        """Every item of a list, page after page."""
        found: list[Any] = []
        cursor = ""
        while True:
            page = self.ok("GET", f"{path}{'&' if '?' in path else '?'}limit=200{cursor}", **more)
            found += page["items"]
            if page["next_cursor"] is None:
                return found
            cursor = f"&cursor={page['next_cursor']}"

    def file(self, path: str, as_: str) -> bytes:
        """A file as it is downloaded."""
        answer = self.send("GET", path, as_=as_)
        assert answer.status_code == 200, answer.text
        return bytes(answer.data)


class Gate:
    """The machine at the gate of an estate."""

    def __init__(self, estate: Estate, gateway: Gateway) -> None:
        self.estate, self.gateway = estate, gateway
        self.scheduler = Scheduler()
        self.network = Network(self.scheduler, NetworkFaults(), Random(1))
        self.network.connect("jishan/v1/", self._receive)
        self.machine: SimulatedMachine | None = None
        self._offset = estate.now

    def close(self) -> None:
        if self.machine is not None:
            self.machine.connection.close()

    def enrol(self, machine_id: str, claim_code: str) -> None:
        """What a technician does in the cabinet: type the claim code, and switch on."""
        wanted = {"claim_code": claim_code, "journal_id": f"journal-{machine_id}"}
        given = self.estate.ok("POST", "/enroll", wanted, as_=None)
        keys = {given["key_id"]: bytes.fromhex(given["key"])}
        card_key = bytes.fromhex(given["card_key"])
        self.machine = SimulatedMachine(
            self.scheduler,
            self.network,
            Identity(machine_id, given["shard"], given["key_id"], keys, card_key),
            f"journal-{machine_id}",
            xy.PROFILES["default"],
            Faults(),
            Random(1),
        )
        self.machine.power_on()

    @contextlib.contextmanager
    def open(self) -> Iterator[SimulatedMachine]:
        """The machine is switched on, and off again at the end."""
        machine = self.machine
        assert machine is not None
        self._offset = self.estate.now - timedelta(milliseconds=self.scheduler.now_ms)
        machine.boot()
        self.run(UP_MS)
        assert machine.agent is not None
        assert machine.agent.status.is_selling, machine.agent.status
        yield machine
        self.run(UP_MS)
        assert machine.agent.status.outbox_length == 0
        machine.crash()

    def choose(self, card: str, selection: int, *, jams: bool = False) -> str:
        """Hold a card to the reader and press; the code of what the machine says at the end."""
        machine = self.machine
        assert machine is not None
        assert machine.agent is not None
        machine.set_faults(Faults(vend=VendFaults(jam=1.0)) if jams else Faults())
        machine.identify(Credential(card=card))
        self.run(1_000)
        machine.press(selection)
        self.run(VEND_MS)
        return machine.agent.status.said.code

    def run(self, span_ms: int) -> None:
        """Let time pass for the machine and the server alike."""
        self.scheduler.run_until(self.scheduler.now_ms + span_ms)
        self._follow()

    def _follow(self) -> None:
        self.estate.now = self._offset + timedelta(milliseconds=self.scheduler.now_ms)

    def _receive(self, topic: str, payload: bytes) -> None:
        # What the server says passes here too.
        if "/u/" not in topic:
            return
        self._follow()
        incoming = self.gateway.read(topic, payload)
        assert incoming is not None, self.gateway.refused
        operation = operation_of(incoming)
        for answer in self.gateway.told(operation, self.estate.parts.writer.submit(operation).result(30)):
            self.network.publish(*answer)


@contextlib.contextmanager
def lived_in(template: Path, folder: Path) -> Iterator[tuple[Estate, Gate]]:
    """A server on a copy of a migrated SQLite file, at the beginning of the story."""
    shutil.copy(template, folder / "jishan.db")
    config = Config(
        data_dir=folder,
        secret=SECRET,
        argon2_rounds=1,
        argon2_memory_kib=8,
        logins_per_minute=100_000,
        requests_per_minute=100_000,
    )
    gateway = Gateway(Vending(Keys(SECRET), hashing_of(config), rules_of(config), limits_on))
    estates: list[Estate] = []
    with assembled(config, link_kinds(gateway), lambda: estates[0].now if estates else BEGINS_AT) as parts:
        with writing(parts.engine) as connection:
            ensure_identity(connection, "ledger-1", BEGINS_AT)
        estates.append(Estate(parts))
        gate = Gate(estates[0], gateway)
        with contextlib.closing(gate):
            yield estates[0], gate
