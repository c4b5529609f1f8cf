"""Many machines in one process, cheap: what P4 drives the server with.

Each machine is a closed loop over one shared MQTT connection: it seals and signs its questions and reports as the agent
does, opens and checks every answer, and asks for the next redemption when its last one is acknowledged. Motors take no
time: `vend_started` and `dispensed` follow each other at once, as they are two messages whatever lies between them.
Every fiftieth question and every fiftieth report is sent twice. Redemption ids are made as the agent makes them, when
they are asked for. Nothing is kept on a disk here: it is the server that is measured.
"""

from __future__ import annotations

import json
import random
import socket
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from itertools import cycle
from pathlib import Path
from typing import Any, Final

from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from jishan_protocol import topics
from jishan_protocol.envelope import Envelope, Session, seal, unseal
from jishan_protocol.ids import RANDOM_BITS, timed_id
from jishan_protocol.messages import (
    Ack,
    Approved,
    Authorize,
    Desired,
    Dispensed,
    Heartbeat,
    Message,
    OutboxMessage,
    Reported,
    VendStarted,
    decode,
    encode,
)
from jishan_protocol.sealing import NONCE_BYTES, Credential, seal_credential

REPEAT_EVERY: Final = 50
ASK_LASTS_MS: Final = 15_000
EVERY_ANSWER: Final = "jishan/v1/+/+/d/+"
WARM_UP_S: Final = 2.0
"""What goes by before the count begins: caches fill, the batches find their size."""


def connected(
    port: int, name: str, topic: str, subscribed: Callable[..., None], received: Callable[..., None]
) -> mqtt.Client:
    """A paho client for `loop_forever`, subscribed to `topic`, without Nagle's delay and without limits of its own."""
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=name, protocol=mqtt.MQTTv311)
    client.max_inflight_messages_set(20_000)
    client.on_socket_open = _send_at_once
    client.on_connect = lambda client, *_: client.subscribe(topic, 1)
    client.on_subscribe = subscribed
    client.on_message = received
    client.connect("127.0.0.1", port)
    return client


def _send_at_once(client: mqtt.Client, userdata: Any, sock: Any) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


@dataclass(frozen=True, slots=True)
class Plan:
    """What the fleet is told, as JSON."""

    port: int
    seconds: float
    machines: list[dict[str, Any]]
    product_id: str
    points: int
    redemptions_each: int


class _Phase(Enum):
    GREETING = auto()
    ASKING = auto()
    ASKING_AGAIN = auto()
    REPORTING = auto()
    OVER = auto()


@dataclass(slots=True)
class Tally:
    """What the whole fleet has seen. Only what ends between `begins_s` and `ends_s` is counted as a redemption."""

    begins_s: float = 0.0
    ends_s: float = 0.0
    ready: int = 0
    over: int = 0
    messages: int = 0
    replays: int = 0
    redemptions: int = 0
    wrong: list[str] = field(default_factory=list)
    answered_ms: list[float] = field(default_factory=list)
    acknowledged_ms: list[float] = field(default_factory=list)


class Simulated:
    """One machine: what it must remember between two messages."""

    def __init__(self, given: dict[str, Any], plan: Plan, tally: Tally, publish: Callable[[str, bytes], Any]) -> None:
        self.id: str = given["id"]
        self._key_id: int = given["key_id"]
        self._keys = {self._key_id: bytes.fromhex(given["key"])}
        self._journal_id: str = given["journal_id"]
        self._plan, self._tally, self._publish = plan, tally, publish
        self._topics = {kind: topics.up(given["shard"], self.id, kind) for kind in topics.UP_KINDS}
        self._random = random.Random(self.id)
        self._session = Session(1, 1, self._fresh_id())
        self._phase = _Phase.GREETING
        self._seq = 0
        self._server_clock = (0, 0.0)
        self._choices = zip(cycle(given["cards"]), cycle(given["selections"]), strict=False)
        self._wish: Authorize
        self._number = -1
        self._asked = ("", b"")
        self._approval = ""
        self._sent_s = 0.0

    def _chosen(self) -> Authorize:
        card, selection = next(self._choices)
        id = timed_id(self._server_ms(), self._random.getrandbits(RANDOM_BITS))
        nonce = self._random.randbytes(NONCE_BYTES)
        sealed = seal_credential(self._keys[self._key_id], id, Credential(card=card), nonce)
        return Authorize(id, sealed, selection, 1, self._plan.product_id, self._plan.points)

    def greet(self) -> None:
        """Say the heartbeat that opens the session; its answer carries the server's time."""
        self._say("beat", Heartbeat(1, True, "", "idle", "closed", None, 0, 0, 1, "0", "bench"))

    def ask(self) -> None:
        """Begin the next redemption, if there is time for one."""
        self._sent_s = time.perf_counter()
        self._number += 1
        if self._sent_s >= self._tally.ends_s or self._number == self._plan.redemptions_each:
            self._phase = _Phase.OVER
            self._tally.over += 1
            return
        self._phase = _Phase.ASKING
        self._wish = self._chosen()
        self._asked = self._say("ask", self._wish)

    def receive(self, topic: str, payload: bytes) -> None:
        """Open one message, and go on."""
        envelope = unseal(payload, topic, self._keys).envelope
        message = decode(topic.rpartition("/")[2], envelope.type, envelope.body)
        match message:
            case Approved():
                self._approved(message)
            case Ack():
                self._acknowledged(message)
            case Desired() if self._seq == 0:
                self._post(Reported(message.version, message.planogram_version))
            case _:
                self._tally.wrong.append(repr(message))

    def _approved(self, approved: Approved) -> None:
        wish = self._wish
        is_first = self._phase is _Phase.ASKING
        is_wrong = approved.redemption_id != wish.redemption_id or (
            not is_first and approved.approval != self._approval
        )
        if is_wrong or self._phase not in (_Phase.ASKING, _Phase.ASKING_AGAIN):
            self._tally.wrong.append(repr(approved))
        if is_first and self._number % REPEAT_EVERY == 1:
            self._phase, self._approval = _Phase.ASKING_AGAIN, approved.approval
            self._repeat(self._asked)
            return
        self._phase = _Phase.REPORTING
        self._take_time(self._tally.answered_ms)
        started = VendStarted(wish.redemption_id, approved.approval, wish.selection, wish.product_id, wish.points, None)
        self._post(started)
        sent = self._post(Dispensed(wish.redemption_id, True, "xy_02"))
        if self._number % REPEAT_EVERY == REPEAT_EVERY // 2:
            self._repeat(sent)

    def _acknowledged(self, ack: Ack) -> None:
        self._server_clock = (ack.server_at_ms, time.monotonic())
        if ack.rejected or ack.catch_up_from is not None:
            self._tally.wrong.append(repr(ack))
        if ack.upto < self._seq or self._seq == 0:
            return
        if self._phase is _Phase.GREETING:
            self._tally.ready += 1
        elif self._phase is _Phase.REPORTING:
            self._take_time(self._tally.acknowledged_ms)
            self._tally.redemptions += self._tally.begins_s <= self._sent_s < self._tally.ends_s
            self.ask()

    def _take_time(self, times_ms: list[float]) -> None:
        now_s = time.perf_counter()
        times_ms.append((now_s - self._sent_s) * 1_000)
        self._sent_s = now_s

    def _repeat(self, said: tuple[str, bytes]) -> None:
        self._tally.replays += 1
        self._publish(*said)

    def _post(self, message: OutboxMessage) -> tuple[str, bytes]:
        self._seq += 1
        return self._say("outbox", message, self._seq)

    def _say(self, kind: str, message: Message, seq: int | None = None) -> tuple[str, bytes]:
        issued_at_ms = self._server_ms() if kind == "ask" else None
        type_name, body = encode(message)
        envelope = Envelope(
            id=self._fresh_id(),
            type=type_name,
            body=body,
            journal_id=self._journal_id,
            session=self._session,
            key_id=self._key_id,
            seq=seq,
            issued_at_ms=issued_at_ms,
            expires_at_ms=None if issued_at_ms is None else issued_at_ms + ASK_LASTS_MS,
        )
        topic = self._topics[kind]
        said = (topic, seal(envelope, topic, self._keys[self._key_id]))
        self._tally.messages += 1
        self._publish(*said)
        return said

    def _server_ms(self) -> int:
        server_at_ms, heard_s = self._server_clock
        return server_at_ms + int((time.monotonic() - heard_s) * 1_000)

    def _fresh_id(self) -> str:
        return f"{self._random.getrandbits(128):032x}"


def drive(plan: Plan) -> dict[str, Any]:
    """Run the fleet; gives what it saw."""
    tally = Tally()
    fleet: dict[str, Simulated] = {}

    def subscribed(client: mqtt.Client, *_: Any) -> None:
        for machine in fleet.values():
            machine.greet()

    def received(client: mqtt.Client, userdata: Any, message: mqtt.MQTTMessage) -> None:
        topic = message.topic
        fleet[topic.split("/")[3]].receive(topic, bytes(message.payload))
        if tally.ready == len(fleet):
            tally.ready = 0
            tally.begins_s = time.perf_counter() + WARM_UP_S
            tally.ends_s = tally.begins_s + plan.seconds
            for machine in fleet.values():
                machine.ask()
        if tally.over == len(fleet):
            client.disconnect()

    client = connected(plan.port, "fleet", EVERY_ANSWER, subscribed, received)
    for given in plan.machines:
        fleet[given["id"]] = Simulated(given, plan, tally, lambda topic, payload: client.publish(topic, payload, 1))
    client.loop_forever()
    return {
        "redemptions_per_s": tally.redemptions / plan.seconds,
        "all_redemptions": len(tally.acknowledged_ms),
        "replays": tally.replays / (tally.messages + tally.replays),
        "answered_p99_ms": statistics.quantiles(tally.answered_ms, n=100, method="inclusive")[98],
        "acknowledged_p99_ms": statistics.quantiles(tally.acknowledged_ms, n=100, method="inclusive")[98],
        "wrong": tally.wrong[:5],
        "driver_cpu_s": time.process_time(),
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(drive(Plan(**json.loads(Path(sys.argv[1]).read_text())))) + "\n")
