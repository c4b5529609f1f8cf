"""The server of the simulation: real use cases and the real gateway on SQLite in memory, without a thread or a clock.

A migrated and filled template is made once for each process and copied for each seed. A crash rolls back what was not
committed and drops what was queued or not yet published.
"""

from __future__ import annotations

import hashlib
import sqlite3
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from random import Random
from typing import Any

from network import Network
from scheduler import Scheduler
from sqlalchemy import Connection

from jishan_server.db import all_tables, connect_for_writing, make_engine, upgrade
from jishan_server.gateway.core import Gateway, Payload
from jishan_server.kinds import kinds
from jishan_server.organizations.roles import SYSTEM, Role
from jishan_server.organizations.tree import CreateOrganization
from jishan_server.people.hashing import lowest_cost
from jishan_server.people.residents import BindCard, CreateResident, SetPin, hashed_card, hashed_pin
from jishan_server.people.staff import CreateStaff, Grant
from jishan_server.vending import machines as vending_machines
from jishan_server.vending.decisions import GiveUp, Resolve
from jishan_server.vending.keys import Keys
from jishan_server.vending.redemptions import Vending
from jishan_server.vending.rules import Rules
from jishan_server.vending.watching import watch
from jishan_server.volunteering.credits import DecideCredit, RecordCredit
from jishan_server.volunteering.rules import CreditRules
from jishan_server.writer import Operation, drain

START = datetime(2026, 3, 5, 1, 0, tzinfo=UTC)
SECRET = b"simulation".ljust(32, b"!")
RULES = Rules(points_without_pin_per_day=1000)
CREDIT_RULES = CreditRules(60, "never", "Asia/Shanghai")
ESTATE = "jiangpan"
CARDS = ("00745A70", "7186A61E", "0A0B0C0D", "01020304")
CREDITED_POINTS = (90, 60, 40, 3)
PRICES = {13: 2, 14: 5, 15: 7}
STOCK = 6
MACHINES = ("m0", "m1", "m2")
PIN = "246810"
WATCH_MS = 15_000


def journal_id_of(machine_id: str) -> str:
    """The journal that a machine enrolled with."""
    return hashlib.sha256(f"journal {machine_id}".encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Scheme:
    """Who is in the template: ids of residents in the order of CARDS, and of the staff."""

    residents: tuple[str, ...]
    members: tuple[str, ...]
    approver: str
    template: sqlite3.Connection


def _driver(connection: Connection) -> sqlite3.Connection:
    found = connection.connection.driver_connection
    assert isinstance(found, sqlite3.Connection)
    return found


@cache
def scheme() -> Scheme:
    """Make the template, by the same use cases that people use."""
    all_tables()
    engine = make_engine("sqlite://")
    upgrade(engine)
    hashing = lowest_cost(SECRET)
    known = kinds(CREDIT_RULES, RULES)
    numbers = iter(range(1, 1000))

    with connect_for_writing(engine) as connection:

        def do(kind: str, body: object) -> Any:
            operation = Operation(f"{next(numbers):032x}", kind, body)
            with connection.begin():
                (outcome,) = drain([operation], connection, known, START)
            if outcome.error is not None:
                raise outcome.error
            return outcome.value

        with connection.begin():
            vending_machines.ensure_identity(connection, "ledger-1", START)
        do("create_organization", CreateOrganization(SYSTEM, None, "county", "洪雅县", "hongya"))
        do("create_organization", CreateOrganization(SYSTEM, "hongya", "estate", "江畔家园", ESTATE))
        staff = {}
        for login, role, node in (
            ("admin", Role.COUNTY_ADMIN, "hongya"),
            ("coordinator", Role.COORDINATOR, ESTATE),
            ("approver", Role.APPROVER, ESTATE),
        ):
            staff[login] = do("create_staff", CreateStaff(SYSTEM, login, login, "-", (Grant(role, node),)))["id"]
        residents, members = [], []
        for card, points in zip(CARDS, CREDITED_POINTS, strict=True):
            made = do("create_resident", CreateResident(SYSTEM, ESTATE, f"居民{card}"))
            resident = made["id"]
            residents.append(resident)
            members.append(made["member_number"])
            do("set_pin", SetPin(SYSTEM, resident, hashed_pin(hashing, PIN, f"pin-{card}")))
            do("bind_card", BindCard(SYSTEM, resident, *hashed_card(hashing, card)))
            credit = do(
                "record_credit",
                RecordCredit(staff["coordinator"], resident, None, points, "河道清洁", "河道清洁三月场"),
            )
            do("approve_credit", DecideCredit(staff["approver"], credit["id"], ""))
        for selection in PRICES:
            product = f"product-{selection}"
            do("create_product", vending_machines.CreateProduct(staff["admin"], product, ESTATE, "香皂", "Soap"))
        plan = tuple(
            vending_machines.SlotPlan(selection, f"product-{selection}", points, 10)
            for selection, points in PRICES.items()
        )
        for machine_id in MACHINES:
            do("create_machine", vending_machines.CreateMachine(staff["admin"], machine_id, ESTATE, machine_id))
            code_hash = vending_machines.hash_of(machine_id)
            do("make_claim_code", vending_machines.MakeClaimCode(staff["admin"], machine_id, code_hash))
            do("enroll", vending_machines.Enroll(code_hash, journal_id_of(machine_id)))
            do("publish_planogram", vending_machines.PublishPlanogram(staff["admin"], machine_id, 0, plan))
            counts = tuple((selection, STOCK) for selection in PRICES)
            do("count_stock", vending_machines.CountStock(staff["admin"], machine_id, counts))
        template = sqlite3.connect(":memory:", check_same_thread=False)
        _driver(connection).backup(template)
    engine.dispose()
    return Scheme(tuple(residents), tuple(members), staff["approver"], template)


class SimulatedServer:
    """One server process on one database; `connection` may be looked into by checkers."""

    def __init__(
        self, scheduler: Scheduler, network: Network, random: Random, rules: Rules = RULES, watch_ms: int = WATCH_MS
    ) -> None:
        self.scheduler, self.network, self.random = scheduler, network, random
        self.rules, self._watch_ms = rules, watch_ms
        self.scheme = scheme()
        self.engine = make_engine("sqlite://")
        self.connection = connect_for_writing(self.engine)
        self.scheme.template.backup(_driver(self.connection))
        self.keys = Keys(SECRET)
        self._vending = Vending(self.keys, lowest_cost(SECRET), rules)
        self._kinds = kinds(CREDIT_RULES, rules)
        self._gateway = Gateway(self._vending)
        self.is_up = False
        self.crash_before_commit = 0.0
        self.crash_after_commit = 0.0
        self.refused: dict[str, int] = {}
        self._is_drain_set = False
        self._operations = 0
        self._backup: sqlite3.Connection | None = None
        self._restores = 0

    @property
    def card_key(self) -> bytes:
        """The key under which machines know blocked cards."""
        return self._vending.hashing.card_key

    @property
    def now(self) -> datetime:
        """The server's clock, which no fault touches."""
        return START + timedelta(milliseconds=self.scheduler.now_ms)

    def start(self) -> None:
        """Begin to listen."""
        if self.is_up:
            return
        self.is_up = True
        self._is_drain_set = False
        self._gateway = Gateway(self._vending)
        self.network.connect("jishan/v1/", self._receive)
        self._watch()

    def crash(self) -> None:
        """Kill the process: what is queued is gone, and so is what was not committed."""
        if not self.is_up:
            return
        self.scheduler.note("server crash")
        self.is_up = False
        for reason, count in self._gateway.refused.items():
            self.refused[reason] = self.refused.get(reason, 0) + count
        self.network.disconnect("jishan/v1/")
        self.scheduler.after(self.random.randint(200, 40_000), self.start)

    def perform(self, kind: str, body: object) -> Any:
        """One operation of a person, in a transaction of its own; gives the Outcome."""
        self._operations += 1
        operation = Operation(f"{self._operations + 10_000:032x}", kind, body)
        with self.connection.begin():
            (outcome,) = drain([operation], self.connection, self._kinds, self.now)
        return outcome

    def decide(self, redemption_id: str, verdict: Any) -> None:
        """A person decides a redemption in doubt."""
        body = Resolve(self.scheme.approver, redemption_id, verdict, "看过监控", "监控录像")
        outcome = self.perform("resolve", body)
        self.scheduler.note(f"decided {redemption_id[:8]} {verdict}: {outcome.error or 'ok'}")

    def give_up(self, redemption_id: str) -> None:
        """A person says that the machine will never tell."""
        outcome = self.perform("give_up", GiveUp(self.scheme.approver, redemption_id, "机器一直没有回音"))
        self.scheduler.note(f"given up {redemption_id[:8]}: {outcome.error or 'ok'}")

    def back_up(self) -> None:
        """Keep a copy of the database as it is now."""
        self._backup = sqlite3.connect(":memory:", check_same_thread=False)
        _driver(self.connection).backup(self._backup)
        self.scheduler.note("backed up")

    def restore(self) -> None:
        """The database is lost; the newest copy takes its place, under a new ledger id."""
        if self._backup is None:
            return
        self.scheduler.note("restored")
        self._restores += 1
        self._backup.backup(_driver(self.connection))
        with self.connection.begin():
            vending_machines.set_identity(self.connection, f"ledger-{self._restores + 1}", self.now)
        self.crash()

    def _receive(self, topic: str, payload: bytes) -> None:
        # What this server publishes itself passes here too: topics down are not for it.
        if not self.is_up or "/u/" not in topic:
            return
        self._gateway.receive(topic, payload, self.now)
        if not self._is_drain_set:
            self._is_drain_set = True
            self.scheduler.after(self.random.randint(1, 15), self._drain)

    def _drain(self) -> None:
        if not self.is_up:
            return
        self._is_drain_set = False
        transaction = self.connection.begin()
        payloads: list[Payload] = self._gateway.drain(self.connection, self.now)
        if self.random.random() < self.crash_before_commit:
            transaction.rollback()
            self.crash()
            return
        transaction.commit()
        if self.random.random() < self.crash_after_commit:
            self.crash()
            return
        for topic, payload in payloads:
            self.network.publish(topic, payload)

    def _watch(self) -> None:
        if not self.is_up:
            return
        with self.connection.begin():
            watch(self.connection, self.now, self.rules)
        self.scheduler.after(self._watch_ms, self._watch)

    def close(self) -> None:
        """Let go of the database."""
        self.connection.close()
        self.engine.dispose()
