"""A bench on a virtual clock: the real agent, journal and XY driver, joined to a scripted VMC and a scripted server.

The scripted ends speak through the real codecs; they do only what a test tells them to.
"""

from __future__ import annotations

import dataclasses
import logging
import random
import sqlite3
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from jishan_agent.agent import Agent, DispenserSpoke, Identity, LinkDown, LinkUp, Received, stop_nowhere
from jishan_agent.dispensers.base import Pressed
from jishan_agent.dispensers.xy import XyDispenser
from jishan_agent.journal import Journal
from jishan_agent.vending import Identified
from jishan_protocol import topics
from jishan_protocol.dispensers import xy
from jishan_protocol.envelope import Envelope, Session, seal, unseal
from jishan_protocol.messages import (
    Ack,
    Approved,
    Authorize,
    Declined,
    Denied,
    Desired,
    Greet,
    Greeting,
    Heartbeat,
    Slot,
    decode,
    encode,
)
from jishan_protocol.sealing import Credential, open_credential

KEY = bytes(range(32))
CARD_KEY = bytes(range(32, 64))
MACHINE = "m1"
SHARD = 7
STEP_MS = 50
SLOTS = (
    Slot(13, "soap", "肥皂", "soap", 2, True),
    Slot(14, "rice", "大米", "rice", 20, True),
    Slot(15, "oil", "食用油", "oil", 30, False),
)
DESIRED = Desired(1, 3, False, 15, SLOTS, ())


class Vmc:
    """Polls, acknowledges, and plays the statuses that a test gave it for a drive."""

    def __init__(self) -> None:
        self.parser = xy.Parser()
        self.profile = xy.PROFILES["default"]
        self.pack_no = 0
        self.is_on = True
        self.poll_at_ms = 0
        self.driven: list[tuple[int, int]] = []
        self.turned: list[int] = []
        self.received: list[xy.Message] = []
        self.acks = 0
        self.statuses: list[int] = [0x01, 0x02]
        self.status_delay_ms = 400
        self.check_status = xy.CHECK_NORMAL
        self.sales: dict[int, int] = {}
        self.jams: set[int] = set()
        self.door = 0
        self.waiting: deque[tuple[int, xy.Message]] = deque()
        self.unacked: tuple[int, bytes, int] | None = None
        self.takes_commands = True
        self.clock = ""

    def say(self, message: xy.Message, at_ms: int = 0) -> None:
        self.waiting.append((at_ms, message))

    def power_on(self, now_ms: int) -> None:
        self.is_on, self.pack_no, self.unacked = True, 0, None
        self.waiting.clear()
        self.poll_at_ms = now_ms
        self.say(xy.Synchronise())

    def output(self, now_ms: int) -> bytes:
        if not self.is_on or now_ms < self.poll_at_ms:
            return b""
        self.poll_at_ms = now_ms + xy.POLL_INTERVAL_MS
        if self.unacked is not None:
            _, raw, sends = self.unacked
            if sends < xy.MAX_SENDS:
                self.unacked = (now_ms, raw, sends + 1)
                return raw
            self.unacked = None
        ready = next((item for item in self.waiting if item[0] <= now_ms), None)
        if ready is not None:
            self.waiting.remove(ready)
            self.pack_no = xy.next_pack_no(self.pack_no)
            raw = xy.write(ready[1], self.pack_no, self.profile)
            self.unacked = (now_ms, raw, 1)
            return raw
        return xy.encode(xy.Frame(xy.POLL, None))

    def receive(self, data: bytes, now_ms: int) -> bytes:
        answer = b""
        for item in self.parser.feed(data):
            if not self.is_on:
                continue
            assert isinstance(item, xy.Frame), item
            message = xy.read(item)
            self.received.append(message)
            if isinstance(message, xy.Ack):
                self.acks += 1
                self.unacked = None
                continue
            if not self.takes_commands:
                continue
            answer += xy.encode(xy.Frame(xy.ACK, None))
            self._do(message, now_ms)
        return answer

    def _do(self, message: xy.Message, now_ms: int) -> None:
        match message:
            case xy.Synchronise():
                for selection in (13, 14, 15):
                    self.say(xy.SelectionReport(selection, 0, 5, 9, 0, 0))
            case xy.Check(selection):
                self.say(xy.CheckResult(self.check_status, selection))
            case xy.Drive(_, _, selection):
                self.driven.append((now_ms, selection))
                for place, status in enumerate(self.statuses):
                    self.say(xy.DispensingStatus(status, selection), now_ms + self.status_delay_ms * (place + 1))
            case xy.MachineStateQuery():
                self.say(xy.MachineState(0, 0, 0, 0, 5, self.door, 0, 0, b"0000000001", bytes(8)))
            case xy.ReadJamList():
                self.say(xy.JamList(tuple(sorted(self.jams))))
            case xy.ReadSales(selection):
                self.say(xy.Sales(self.sales.get(selection, 0), 0))
            case xy.SetClock(digits):
                self.clock = digits
                self.say(xy.ClockSet(0))


class Server:
    """Checks every envelope with the real codec, and answers as a test wants."""

    def __init__(self) -> None:
        self.down: deque[tuple[str, bytes]] = deque()
        self.asks: list[Authorize] = []
        self.credentials: list[Credential] = []
        self.beats: list[Heartbeat] = []
        self.inbox: list[Any] = []
        self.payloads: dict[int, bytes] = {}
        self.deliveries: list[int] = []
        self.tag = "none"
        self.upto = 0
        self.now_ms = 1_800_000_000_000
        self.is_up = True
        self.acks = True
        self.desired: Desired | None = DESIRED
        self.greets: list[Credential] = []
        self.declined: list[Declined] = []
        self.greeting: Callable[[Greet], Greeting | None] = lambda greet: None
        self.answer: Callable[[Authorize], Any] = lambda ask: Approved(ask.redemption_id, "token", 30, 8, "张*")

    def receive(self, topic: str, payload: bytes) -> None:
        if not self.is_up:
            return
        envelope = unseal(payload, topic, {1: KEY}).envelope
        message = decode(topics.parse(topic).kind, envelope.type, envelope.body)
        match message:
            case Heartbeat():
                self.tag = envelope.session.tag
                self.beats.append(message)
                if self.desired is not None:
                    self.send("desired", self.desired)
                self.send("ack", self.ack())
            case Authorize():
                assert envelope.issued_at_ms is not None
                self.asks.append(message)
                self.credentials.append(open_credential(KEY, message.redemption_id, message.credential))
                answer = self.answer(message)
                if answer is not None:
                    self.send("answer", answer)
            case Declined():
                self.declined.append(message)
            case Greet():
                self.greets.append(open_credential(KEY, message.greet_id, message.credential))
                told = self.greeting(message)
                if told is not None:
                    self.send("answer", told)
            case _:
                assert envelope.seq is not None
                self.deliveries.append(envelope.seq)
                assert self.payloads.setdefault(envelope.seq, payload) == payload
                if envelope.seq == self.upto + 1:
                    self.upto += 1
                    self.inbox.append(message)
                if self.acks:
                    self.send("ack", self.ack())

    def ack(self, **changes: Any) -> Ack:
        members = {"upto": self.upto, "rejected": (), "session": self.tag, "catch_up_from": None}
        return Ack(**members | {"server_at_ms": self.now_ms} | changes)

    def send(self, kind: str, message: Any) -> None:
        topic = topics.down(SHARD, MACHINE, kind)
        type_name, body = encode(message)
        envelope = Envelope("s", type_name, body, "server", Session(0, 0, "s"), 1)
        self.down.append((topic, seal(envelope, topic, KEY)))

    def names(self) -> list[str]:
        return [type(message).__name__ for message in self.inbox if type(message).__name__ != "Reported"]


class Bench:
    """One machine on a virtual clock."""

    def __init__(self, directory: Path, profile: xy.XyProfile) -> None:
        self.directory, self.profile = directory, profile
        self.now_ms = 0
        self.vmc: Any = Vmc()
        self.vmc.profile = profile
        self.server = Server()
        self.seed = 0
        self.is_linked = False
        self.stop_at: Callable[[str], None] = stop_nowhere
        self.connection: sqlite3.Connection | None = None

    def start(self) -> None:
        self.seed += 1
        self.connection = sqlite3.connect(self.directory / "journal.sqlite", isolation_level=None)
        self.journal = Journal(self.connection, f"j{self.seed}")
        self.dispenser = XyDispenser(self.profile, self.journal.pack_number + 64)
        identity = Identity(MACHINE, SHARD, 1, {1: KEY}, CARD_KEY)
        self.agent = Agent(
            identity,
            self.journal,
            self.dispenser,
            self.publish,
            random.Random(self.seed),
            lambda step: self.stop_at(step),
        )
        self.agent.start(self.now_ms)

    def publish(self, topic: str, payload: bytes) -> None:
        assert self.is_linked
        self.server.receive(topic, payload)

    def crash(self) -> None:
        """The process is gone: what was not committed is gone with it."""
        assert self.connection is not None
        self.connection.rollback()
        self.connection.close()
        self.is_linked = False
        self.server.down.clear()
        self.stop_at = stop_nowhere

    def crash_at(self, step: str, crash: type[BaseException]) -> None:
        """Let the process end when it reaches `step`, once."""

        def stop(reached: str) -> None:
            if reached == step:
                raise crash

        self.stop_at = stop

    def survive(self, crash: type[BaseException], act: Callable[[], None]) -> None:
        """Do `act`; where the process ends in it, start a new one and link it."""
        try:
            act()
        except crash:
            self.crash()
            self.start()
            self.link()

    def reopen(self) -> None:
        """A person has looked: a newer document, and everything is for sale again."""
        self.stop_at = stop_nowhere
        assert self.server.desired is not None
        self.server.desired = dataclasses.replace(self.server.desired, version=self.server.desired.version + 1)
        self.run(40_000)

    def link(self) -> None:
        self.is_linked = True
        self.agent.handle(LinkUp(), self.now_ms)

    def unlink(self) -> None:
        self.is_linked = False
        self.server.down.clear()
        self.agent.handle(LinkDown(), self.now_ms)

    def run(self, duration_ms: int, until: Callable[[], bool] | None = None) -> None:
        end_ms = self.now_ms + duration_ms
        while self.now_ms < end_ms and not (until and until()):
            self.now_ms += STEP_MS
            self.server.now_ms += STEP_MS
            self.exchange()
            while self.server.down and self.is_linked:
                self.agent.handle(Received(*self.server.down.popleft()), self.now_ms)
            wakeup_ms = self.agent.next_wakeup_ms
            if wakeup_ms is not None and wakeup_ms <= self.now_ms:
                self.agent.tick(self.now_ms)
            self.flush()

    def exchange(self) -> None:
        raw = self.vmc.output(self.now_ms)
        if raw:
            self.dispenser.receive(raw, self.now_ms)
            self.flush()
            self.agent.handle(DispenserSpoke(), self.now_ms)
            self.flush()

    def flush(self) -> None:
        raw = self.dispenser.take_output()
        if raw:
            answer = self.vmc.receive(raw, self.now_ms)
            if answer:
                self.dispenser.receive(answer, self.now_ms)
                self.agent.handle(DispenserSpoke(), self.now_ms)

    def until(self, name: str, duration_ms: int = 120_000) -> None:
        self.run(duration_ms, lambda: name in self.server.names())
        assert name in self.server.names(), self.server.inbox

    def ready(self) -> None:
        self.link()
        self.run(60_000, lambda: self.agent.status.is_selling)
        assert self.agent.status.is_selling, self.agent.status

    def tap(self, uid: str = "00745A70") -> None:
        self.agent.handle(Identified(Credential(card=uid)), self.now_ms)

    def press(self, selection: int = 13) -> None:
        self.agent.handle(Pressed(selection), self.now_ms)

    @property
    def said(self) -> str:
        return self.agent.status.said.code

    def deny(self, code: str = "not_enough_points") -> None:
        self.server.answer = lambda ask: Denied(ask.redemption_id, code, "积分不够", "Too few points")


@pytest.fixture(autouse=True)
def _quiet() -> None:
    """The agent's log of thousands of virtual seconds is not for a test report."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


@pytest.fixture
def make_bench(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    """Make a bench for a profile name; connections are closed at the end."""
    made: list[Bench] = []

    def make(profile: str = "default", *, start: bool = True, directory: Path = tmp_path) -> Bench:
        bench = Bench(directory, xy.PROFILES[profile])
        if start:
            bench.start()
        made.append(bench)
        return bench

    yield make
    for bench in made:
        if bench.connection is not None:
            bench.connection.close()


@pytest.fixture
def bench(make_bench: Callable[..., Bench]) -> Bench:
    """A bench that is ready to sell."""
    bench = make_bench()
    bench.ready()
    return bench


@pytest.fixture
def server() -> Server:
    """A scripted server of its own, for tests with real processes."""
    return Server()
