"""A small estate with real use cases on a real database, and machines that speak the link's own bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from sqlalchemy import Engine, func, select

from jishan_protocol import topics
from jishan_protocol.envelope import Envelope, Session, seal, unseal
from jishan_protocol.messages import (
    Ack,
    Approved,
    Authorize,
    Denied,
    Desired,
    Dispensed,
    Found,
    Heartbeat,
    Message,
    OutboxMessage,
    VendStarted,
    decode,
    encode,
)
from jishan_protocol.sealing import Credential, seal_credential
from jishan_server import demo_data
from jishan_server.db import all_tables, connect_for_writing, to_ms, upgrade
from jishan_server.gateway.core import Gateway
from jishan_server.kinds import kinds
from jishan_server.ledger import store as ledger
from jishan_server.ledger import tables as ledger_tables
from jishan_server.ledger.model import Cause, Kind, Transfer
from jishan_server.ledger.verify import Report, verify
from jishan_server.organizations.roles import SYSTEM
from jishan_server.people import hashing
from jishan_server.people.credentials import account_of
from jishan_server.vending import machines, tables, watching
from jishan_server.vending.checks import CHECKS
from jishan_server.vending.keys import Keys
from jishan_server.vending.redemptions import Vending
from jishan_server.vending.rules import Rules
from jishan_server.volunteering.rules import CreditRules
from jishan_server.writer import Operation, Outcome, drain

SECRET = bytes(range(32))
MACHINE = "box-1"
PRODUCT = "soap"
PRICE = 2
SELECTION = 13
STOCK = 3


class World:
    """One server on one database, driven by hand: `call` for people, `deliver` for machines, `now` for the time."""

    def __init__(self, engine: Engine, time_zone: str = "Asia/Shanghai") -> None:
        all_tables()
        upgrade(engine)
        self.engine = engine
        self.now = datetime(2026, 3, 2, 4, 0, tzinfo=UTC)
        self.hashing = hashing.lowest_cost(SECRET)
        self.vending = Vending(Keys(SECRET), self.hashing, Rules(time_zone=time_zone))
        self.gateway = Gateway(self.vending)
        self.kinds = {**self.gateway.kinds, **kinds(CreditRules(time_zone=time_zone), self.vending.rules)}
        self.connection = connect_for_writing(engine)
        self.numbers = count(1)
        machines.ensure_identity(self.connection, "ledger-1", self.now)
        self.connection.commit()
        self.people = demo_data.fill(self.call_operation, self.hashing)

    def verify(self) -> Report:
        """Prove the ledger and the redemptions from their rows."""
        self.connection.rollback()
        report = verify(self.connection, CHECKS, processes=1)
        self.connection.rollback()
        return report

    def close(self) -> None:
        self.connection.close()

    def tick(self, **span: float) -> None:
        """Let time pass."""
        self.now += timedelta(**span)

    def fresh_id(self, purpose: str = "id") -> str:
        return hashlib.sha256(f"{purpose} {next(self.numbers)}".encode()).hexdigest()[:32]

    # people

    def outcome(self, operation: Operation) -> Outcome:
        (outcome,) = drain([operation], self.connection, self.kinds, self.now)
        self.connection.commit()
        return outcome

    def call_operation(self, operation: Operation) -> Any:
        outcome = self.outcome(operation)
        if outcome.error is not None:
            raise outcome.error
        return outcome.value

    def call(self, kind: str, body: object) -> Any:
        """Do one operation under a fresh id; raises its DomainError."""
        return self.call_operation(Operation(self.fresh_id(kind), kind, body))

    def staff(self, login: str) -> str:
        return next(one.id for one in self.people.staff if one.login == login)

    def give(self, resident: int, points: int) -> None:
        """Credit points to a resident."""
        id = self.fresh_id("credit")
        transfer = Transfer(
            id=id,
            kind=Kind.POST,
            debit=f"sys:issuance:{self.people.estate_id}",
            credit=account_of(self.people.residents[resident].id),
            points=points,
            cause=Cause("test", id),
            actor=SYSTEM,
            reason="test",
        )
        (answer,) = ledger.book(self.connection, [transfer], self.now, self.vending.rules.zone)
        assert isinstance(answer, ledger.Booked), answer
        self.connection.commit()

    def balance(self, resident: int) -> tuple[int, int]:
        """(posted, held) of a resident."""
        id = account_of(self.people.residents[resident].id)
        found = ledger.balances(self.connection, [id])[id]
        self.connection.rollback()
        return found.posted, found.held

    # machines

    def machine(self, machine_id: str = MACHINE, stock: int = STOCK) -> Box:
        """Register, stock and enrol a machine that sells one product in two selections."""
        self.call("create_machine", machines.CreateMachine(SYSTEM, machine_id, self.people.estate_id, "门口"))
        if self.scalar(select(func.count()).select_from(tables.products)) == 0:
            self.call("create_product", machines.CreateProduct(SYSTEM, PRODUCT, self.people.estate_id, "肥皂", "Soap"))
        plan = (
            machines.SlotPlan(SELECTION, PRODUCT, PRICE, 10),
            machines.SlotPlan(14, PRODUCT, 5, 10),
            machines.SlotPlan(15, PRODUCT, PRICE, 10, is_enabled=False),
        )
        self.call("publish_planogram", machines.PublishPlanogram(SYSTEM, machine_id, 0, plan))
        self.call(
            "count_stock", machines.CountStock(SYSTEM, machine_id, ((SELECTION, stock), (14, stock), (15, stock)))
        )
        return self.enroll(machine_id, f"journal-{machine_id}")

    def enroll(self, machine_id: str, journal_id: str) -> Box:
        code_hash = machines.hash_of(self.fresh_id("claim"))
        self.call("make_claim_code", machines.MakeClaimCode(SYSTEM, machine_id, code_hash))
        given = self.call("enroll", machines.Enroll(code_hash, journal_id))
        key = self.vending.keys.machine_key(machine_id, given["key_id"])
        return Box(self, machine_id, given["shard"], given["key_id"], key, journal_id)

    def deliver(self, messages: Sequence[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
        """Hand messages to the gateway as one batch, commit, and give the answers."""
        for topic, payload in messages:
            self.gateway.receive(topic, payload, self.now)
        answers = self.gateway.drain(self.connection, self.now)
        self.connection.commit()
        return answers

    def watch(self) -> None:
        watching.watch(self.connection, self.now, self.vending.rules)
        self.connection.commit()

    # looking

    def scalar(self, query: Any) -> Any:
        value = self.connection.execute(query).scalar()
        self.connection.rollback()
        return value

    def rows(self, query: Any) -> list[Any]:
        found = list(self.connection.execute(query))
        self.connection.rollback()
        return found

    def state(self, redemption_id: str) -> str | None:
        state: str | None = self.scalar(
            select(tables.redemptions.c.state).where(tables.redemptions.c.id == redemption_id)
        )
        return state

    def slot(self, machine_id: str = MACHINE, selection: int = SELECTION) -> tuple[int, int, str | None]:
        """(stock, reserved, closed reason) of a slot."""
        slots = tables.slots.c
        query = select(slots.stock, slots.reserved, slots.closed_reason)
        (row,) = self.rows(query.where(slots.machine_id == machine_id, slots.selection == selection))
        return row[0], row[1], row[2]

    def alerts(self, *, is_open: bool = True) -> list[tuple[str, str, str]]:
        """(kind, subject, grade) of the alerts."""
        alerts = tables.alerts.c
        query = select(alerts.kind, alerts.subject, alerts.grade).order_by(alerts.number)
        return [tuple(row) for row in self.rows(query.where(alerts.resolved_at.is_(None)) if is_open else query)]

    def everything(self) -> dict[str, list[Any]]:
        """All rows that a refused message must not change."""
        watched = (
            tables.redemptions,
            tables.redemption_events,
            tables.slots,
            tables.received_messages,
            tables.rejected_messages,
            tables.contradictions,
            ledger_tables.transfers,
            ledger_tables.balances,
        )
        return {
            table.name: [tuple(row) for row in self.rows(select(table).order_by(*table.primary_key))]
            for table in watched
        }


@dataclass(slots=True)
class Box:
    """A machine's end of the link, without a cabinet: it signs, numbers and remembers like an agent."""

    world: World
    id: str
    shard: int
    key_id: int
    key: bytes
    journal_id: str
    session: Session = field(default_factory=lambda: Session(1, 1, "tag-1-1"))
    last_seq: int = 0
    beats: int = 0
    sent: list[tuple[str, bytes]] = field(default_factory=list)

    def sealed(
        self, kind: str, message: Message, *, seq: int | None = None, issued: int | None = None, lasts_ms: int = 15_000
    ) -> tuple[str, bytes]:
        type_name, body = encode(message)
        topic = topics.up(self.shard, self.id, kind)
        envelope = Envelope(
            id=self.world.fresh_id("message"),
            type=type_name,
            body=body,
            journal_id=self.journal_id,
            session=self.session,
            key_id=self.key_id,
            seq=seq,
            issued_at_ms=issued,
            expires_at_ms=None if issued is None else issued + lasts_ms,
        )
        return topic, seal(envelope, topic, self.key)

    def wish(
        self,
        resident: int | Credential = 0,
        *,
        selection: int = SELECTION,
        points: int = PRICE,
        product: str = PRODUCT,
        version: int = 1,
        redemption_id: str | None = None,
    ) -> tuple[str, bytes]:
        """A sealed `authorize`."""
        if isinstance(resident, int):
            resident = Credential(card=self.world.people.residents[resident].card)
        id = redemption_id or self.world.fresh_id("redemption")
        nonce = hashlib.sha256(self.world.fresh_id("nonce").encode()).digest()[:12]
        sealed = seal_credential(self.key, id, resident, nonce)
        message = Authorize(id, sealed, selection, version, product, points)
        return self.sealed("ask", message, issued=to_ms(self.world.now))

    def ask(self, resident: int | Credential = 0, **wish: Any) -> Approved | Denied | Found:
        """Ask, and give the answer."""
        (answer,) = self.read(self.world.deliver([self.wish(resident, **wish)]))
        assert isinstance(answer, Approved | Denied | Found)
        return answer

    def next(self, message: OutboxMessage) -> tuple[str, bytes]:
        """The next message of the outbox, sealed."""
        self.last_seq += 1
        self.sent.append(self.sealed("outbox", message, seq=self.last_seq))
        return self.sent[-1]

    def say(self, *messages: OutboxMessage) -> Ack:
        """Say outbox messages in one batch, and give the acknowledgement."""
        (ack,) = self.read(self.world.deliver([self.next(message) for message in messages]))
        assert isinstance(ack, Ack)
        return ack

    def beat(self, *, knows_time: bool = True, planogram_version: int = 1, acked: int | None = None) -> list[Message]:
        """Send a heartbeat, and give what comes back."""
        self.beats += 1
        waiting = 0 if acked is None else self.last_seq - acked
        message = Heartbeat(
            self.beats, True, "", "idle", "closed", None, waiting, self.last_seq, planogram_version, "0", "xy"
        )
        issued = to_ms(self.world.now) if knows_time else None
        return self.read(self.world.deliver([self.sealed("beat", message, issued=issued)]))

    def read(self, payloads: Sequence[tuple[str, bytes]]) -> list[Message]:
        """Open what was sent to this machine."""
        messages = []
        for topic, payload in payloads:
            address = topics.parse(topic)
            if address.machine_id == self.id:
                envelope = unseal(payload, topic, {self.key_id: self.key}).envelope
                messages.append(decode(address.kind, envelope.type, envelope.body))
        return messages

    def vend(self, resident: int | Credential = 0, **wish: Any) -> str:
        """Ask, be approved, and start; gives the redemption id."""
        answer = self.ask(resident, **wish)
        assert isinstance(answer, Approved), answer
        self.start(answer, **wish)
        return answer.redemption_id

    def start(self, approved: Approved, *, selection: int = SELECTION, points: int = PRICE, **_: Any) -> Ack:
        started = VendStarted(approved.redemption_id, approved.approval, selection, PRODUCT, points, None)
        return self.say(started)

    def dispense(self, redemption_id: str) -> Ack:
        return self.say(Dispensed(redemption_id, True, "02"))

    def desired(self, messages: Sequence[Message]) -> Desired | None:
        return next((message for message in messages if isinstance(message, Desired)), None)
