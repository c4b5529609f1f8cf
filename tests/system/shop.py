"""One estate from end to end: the HTTP API, the gateway's core, and real agents at simulated machines, on one database.

People act over HTTP (`office`), residents at a machine (`tap`, `type_pin`, `press`), and liars through `box`, an end of
the link without a cabinet. Virtual time; nothing goes wrong that a test does not do. `nothing_moves` compares
everything that must stand still when something is refused.
"""

from __future__ import annotations

import contextlib
import hashlib
import sys
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from random import Random
from typing import Any, Final

from sqlalchemy import select

sys.path.append(str(Path(__file__).parent))
sys.path.append(str(Path(__file__).parents[1] / "server"))

from link_world import Box
from network import Network, NetworkFaults
from office import Office
from scheduler import Scheduler
from simulated_machine import SimulatedMachine

from jishan_agent.agent import Identity
from jishan_protocol import topics
from jishan_protocol.dispensers import xy
from jishan_protocol.envelope import unseal
from jishan_protocol.messages import Message, decode
from jishan_protocol.sealing import Credential
from jishan_server.db import connect_for_writing
from jishan_server.gateway.core import Gateway
from jishan_server.ledger import tables as ledger
from jishan_server.vending import tables
from jishan_server.vending.watching import watch
from jishan_sim.faults import Faults

PRICES: Final = {13: 2, 14: 5, 15: 2}
NOT_FOR_SALE: Final = 15
STOCK: Final = 6
POINTS: Final = 10
"""What the first two residents have."""

PRODUCT: Final = {"product_id": "soap", "name_zh": "𠮷祥肥皂🧼", "name_en": "Soap 🧼"}
UP_MS: Final = 40_000
"""A machine has booted, linked, and taken its planogram by then."""

WORD_MS: Final = 6_000
"""A question is answered, and a vend has ended, within this."""

WATCH_MS: Final = 15_000
BEAT_MS: Final = 20_000
"""Longer than from one heartbeat to the next: news reach a machine with its heartbeat."""


class Shop:
    """A machine is added with `machine`; `now` follows the virtual clock, over HTTP too."""

    def __init__(self, office: Office) -> None:
        self.office, self.parts, self.people = office, office.parts, office.people
        self.vending = office.parts.vending
        self.scheduler = Scheduler()
        self.network = Network(self.scheduler, NetworkFaults(), Random(1))
        self.gateway = Gateway(self.vending)
        self.connection = connect_for_writing(self.parts.engine)
        self.machines: list[SimulatedMachine] = []
        self.answers: list[Message] = []
        self._began_at = office.now
        self._numbers = count(1)
        self.network.connect("jishan/v1/", self._receive)
        self.scheduler.after(WATCH_MS, self._watch)
        for resident in (0, 1):
            office.credit(resident, POINTS)
        product = PRODUCT | {"estate_id": self.people.estate_id}
        office.ok("POST", "/products", product, as_="operator")

    def close(self) -> None:
        self.connection.close()
        for machine in self.machines:
            machine.connection.close()

    @property
    def now(self) -> datetime:
        return self._began_at + timedelta(milliseconds=self.scheduler.now_ms)

    def run(self, span_ms: int = WORD_MS) -> None:
        """Let time pass, for the machines and for the office."""
        self.scheduler.run_until(self.scheduler.now_ms + span_ms)
        self.office.now = self.now

    # machines

    def machine(self, machine_id: str = "box-1", profile: str = "default") -> SimulatedMachine:
        """Register, stock and enrol a machine over HTTP, and wait until it sells."""
        given = self._enrolled(machine_id, f"journal-{machine_id}")
        identity = Identity(
            given["machine_id"],
            given["shard"],
            given["key_id"],
            {given["key_id"]: bytes.fromhex(given["key"])},
            bytes.fromhex(given["card_key"]),
        )
        machine = SimulatedMachine(
            self.scheduler,
            self.network,
            identity,
            f"journal-{machine_id}",
            xy.PROFILES[profile],
            Faults(),
            Random(len(self.machines)),
        )
        self.machines.append(machine)
        machine.power_on()
        machine.boot()
        self.run(UP_MS)
        assert machine.agent is not None
        assert machine.agent.status.is_selling, machine.agent.status
        return machine

    def box(self, machine_id: str = "box-2") -> Box:
        """Register and enrol a machine that says whatever a test lets it say."""
        given = self._enrolled(machine_id, f"journal-{machine_id}")
        key = bytes.fromhex(given["key"])
        # A Box asks its world for the time, ids and keys, and for delivery: here the shop is that world.
        return Box(self, given["machine_id"], given["shard"], given["key_id"], key, f"journal-{machine_id}")  # type: ignore[arg-type]

    def _enrolled(self, machine_id: str, journal_id: str) -> dict[str, Any]:
        new = {"machine_id": machine_id, "estate_id": self.people.estate_id, "name": "门口"}
        self.office.ok("POST", "/machines", new, as_="operator")
        self.plan(machine_id, PRICES)
        self.count(machine_id, STOCK)
        code = self.office.ok("POST", f"/machines/{machine_id}/claim-code", as_="operator")["claim_code"]
        wanted = {"claim_code": code, "journal_id": journal_id}
        given: dict[str, Any] = self.office.ok("POST", "/enroll", wanted, as_=None)
        return given

    def plan(self, machine_id: str, prices: dict[int, int]) -> None:
        """Put a planogram with these prices in force."""
        path = f"/machines/{machine_id}/planogram"
        slots = [
            {
                "selection": selection,
                "product_id": PRODUCT["product_id"],
                "points": points,
                "capacity": 10,
                "is_enabled": selection != NOT_FOR_SALE,
            }
            for selection, points in prices.items()
        ]
        replaces = self.office.ok("GET", path, as_="operator")["version"]
        self.office.ok("PUT", path, {"replaces": replaces, "slots": slots}, as_="operator")

    def count(self, machine_id: str, stock: int) -> None:
        """Say that so many items hang in every slot."""
        counts = [{"selection": selection, "stock": stock} for selection in PRICES]
        self.office.ok("PUT", f"/machines/{machine_id}/stock", {"counts": counts}, as_="operator")

    # the link

    def _receive(self, topic: str, payload: bytes) -> None:
        # What the server says passes here too.
        if "/u/" in topic:
            for answer in self.deliver([(topic, payload)]):
                self.network.publish(*answer)

    def _watch(self) -> None:
        watch(self.connection, self.now, self.vending.rules)
        self.connection.commit()
        self.scheduler.after(WATCH_MS, self._watch)

    def deliver(self, messages: Sequence[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
        """Hand messages to the gateway as one batch, commit, and give the answers."""
        for topic, payload in messages:
            self.gateway.receive(topic, payload, self.now)
        answers = self.gateway.drain(self.connection, self.now)
        self.connection.commit()
        for topic, payload in answers:
            address = topics.parse(topic)
            envelope = unseal(payload, topic, self.vending.keys.machine_keys(address.machine_id)).envelope
            self.answers.append(decode(address.kind, envelope.type, envelope.body))
        return answers

    def fresh_id(self, purpose: str = "id") -> str:
        return hashlib.sha256(f"{purpose} {next(self._numbers)}".encode()).hexdigest()[:32]

    # residents

    def card(self, resident: int) -> Credential:
        return Credential(card=self.people.residents[resident].card)

    def number(self, resident: int, pin: str | None = None) -> Credential:
        """A member number, with the resident's own PIN unless another is given."""
        one = self.people.residents[resident]
        return Credential(member=one.member_number, pin=one.pin if pin is None else pin)

    def choose(self, machine: SimulatedMachine, credential: Credential, selection: int = 13) -> str:
        """Show a credential and press; gives the code of what the machine says at the end."""
        machine.identify(credential)
        self.run(1_000)
        machine.press(selection)
        self.run()
        return self.said(machine)

    def said(self, machine: SimulatedMachine) -> str:
        assert machine.agent is not None
        return machine.agent.status.said.code

    # looking

    def standing(self) -> dict[str, object]:
        """Everything that a refusal leaves as it is: points, their movements, stock, items that fell, turned motors."""
        rows: dict[str, object] = {}
        with self.parts.engine.connect() as connection:
            for table in (ledger.transfers, ledger.balances, tables.slots):
                rows[table.name] = connection.execute(select(table).order_by(*table.primary_key)).all()
        cabinets = [(one.cabinet.dropped, one.cabinet.turns) for one in self.machines]
        return rows | {"cabinets": [(list(dropped), turns) for dropped, turns in cabinets]}

    @contextlib.contextmanager
    def nothing_moves(self) -> Iterator[None]:
        """What happens inside must move no point, no stock, no motor."""
        before = self.standing()
        yield
        after = self.standing()
        for name, was in before.items():
            assert after[name] == was, name

    def balance(self, resident: int) -> tuple[int, int]:
        """(posted, held) of a resident."""
        return self.office.balances()[f"res:{self.people.residents[resident].id}"]

    def states(self) -> list[str]:
        """The states of all redemptions, in the order in which they were asked for."""
        found = tables.redemptions.c
        with self.parts.engine.connect() as connection:
            return list(connection.execute(select(found.state).order_by(found.recorded_at, found.id)).scalars())
