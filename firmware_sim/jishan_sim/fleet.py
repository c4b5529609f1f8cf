"""`jishan-sim fleet`: thousands of machines in one process, as a server or a broker sees them.

Each machine is an agent that sells nothing: it opens a session, says its signed heartbeat each HEARTBEAT_S, checks the
signature of whatever comes down, and reports the document that it is to keep to. It has no dispenser and no disk; a
machine with those is `jishan-sim machine` with `jishan-agent`.

All share one MQTT connection, whose user the broker must let speak for every machine. Their first heartbeats are spread
over one interval, as those of machines that were switched on by different people.
"""

from __future__ import annotations

import heapq
import json
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final
from urllib.parse import urlsplit

import click

from jishan_protocol import topics
from jishan_protocol.envelope import Envelope, Session, seal, unseal
from jishan_protocol.errors import ProtocolError
from jishan_protocol.messages import Ack, Desired, Heartbeat, Message, Reported, decode, encode

HEARTBEAT_S: Final = 15
LATE_S: Final = 1.0  # a beat that leaves so much after its time: the process does not keep up
LONGEST_WAIT_S: Final = 0.05
QOS: Final = 1
MAX_UNACKNOWLEDGED: Final = 65_535  # packet ids; whoever has more under way has lost its broker
AGAIN_S: Final = 1.0
KEEPALIVE_S: Final = 30
MAX_MACHINES: Final = 100_000
EVERY_ANSWER: Final = "jishan/v1/+/+/d/+"
Said = tuple[str, bytes]


@dataclass(frozen=True, slots=True)
class Identity:
    """What enrolment has given a machine."""

    id: str
    shard: int
    key_id: int
    key: bytes
    journal_id: str


def made_up(count: int, random: Random) -> Iterator[Identity]:
    """Machines that no server knows: for a broker alone."""
    for number in range(count):
        yield Identity(
            f"sim-{number:06d}", number % topics.SHARDS, 1, random.randbytes(32), f"{random.getrandbits(128):032x}"
        )


def from_file(path: Path, count: int) -> list[Identity]:
    """The first identities of a JSON list; its members are `id`, `shard`, `key_id`, `key` (hex), `journal_id`."""
    try:
        given = json.loads(path.read_text("utf-8"))[:count]
        return [
            Identity(one["id"], one["shard"], one["key_id"], bytes.fromhex(one["key"]), one["journal_id"])
            for one in given
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: {error!r}") from None


class QuietAgent:
    """One machine of the fleet, without a clock and a connection."""

    __slots__ = ("_beats", "_identity", "_keys", "_random", "_seq", "_session", "answers", "refused")

    def __init__(self, identity: Identity, random: Random) -> None:
        self._identity = identity
        self._keys = {identity.key_id: identity.key}
        self._random = random
        self._session = Session(1, 0, self._fresh_id())
        self._beats = self._seq = 0
        self.answers = self.refused = 0

    def connected(self) -> None:
        """Begin the session of a new connection."""
        self._session = Session(1, self._session.connection + 1, self._fresh_id())
        self._beats = 0

    def beat(self) -> Said:
        """The next heartbeat."""
        self._beats += 1
        told = Heartbeat(self._beats, True, "", "idle", "closed", None, 0, self._seq, 1, "0", "fleet")
        return self._say("beat", told)

    def receive(self, topic: str, payload: bytes) -> Said | None:
        """Open what came down; gives what it says to that at once. What is not signed for it is counted."""
        try:
            envelope = unseal(payload, topic, self._keys).envelope
            message = decode(topic.rpartition("/")[2], envelope.type, envelope.body)
        except ProtocolError:
            self.refused += 1
            return None
        self.answers += 1
        if isinstance(message, Ack):
            self._seq = max(self._seq, message.upto)
        if isinstance(message, Desired):
            # Unacknowledged, it is said again under the same number when the document is sent again.
            return self._say("outbox", Reported(message.version, message.planogram_version), self._seq + 1)
        return None

    def _say(self, kind: str, message: Message, seq: int | None = None) -> Said:
        one = self._identity
        topic = topics.up(one.shard, one.id, kind)
        type_name, body = encode(message)
        envelope = Envelope(
            id=self._fresh_id(),
            type=type_name,
            body=body,
            journal_id=one.journal_id,
            session=self._session,
            key_id=one.key_id,
            seq=seq,
        )
        return topic, seal(envelope, topic, one.key)

    def _fresh_id(self) -> str:
        return f"{self._random.getrandbits(128):032x}"


class Schedule:
    """Whose heartbeat is due when: each every HEARTBEAT_S, the first ones spread over one interval."""

    def __init__(self, names: Sequence[str], begins_s: float, random: Random) -> None:
        self._due = [(begins_s + random.random() * HEARTBEAT_S, name) for name in names]
        heapq.heapify(self._due)
        self.late = 0
        self.longest_late_s = 0.0

    @property
    def next_s(self) -> float:
        """When the next one is due."""
        return self._due[0][0]

    def take(self, now_s: float) -> Iterator[str]:
        """Everybody who is due, in order. One that is late keeps its place: beats are never bunched up."""
        while self._due[0][0] <= now_s:
            due_s, name = self._due[0]
            late_s = now_s - due_s
            self.late += late_s > LATE_S
            self.longest_late_s = max(self.longest_late_s, late_s)
            heapq.heapreplace(self._due, (due_s + HEARTBEAT_S, name))
            yield name


class Fleet:
    """All machines on one connection."""

    def __init__(self, identities: Sequence[Identity], random: Random) -> None:
        self.agents = {one.id: QuietAgent(one, random) for one in identities}
        self.beats = self.disconnects = 0
        self._random = random
        self._is_up = False

    def run(self, url: str, seconds: float | None, stopping: threading.Event) -> dict[str, Any]:
        """Beat for so long, or until told to stop; what was seen. OSError where there is no broker."""
        client = self._client(url)
        begun_s, cpu_s = time.monotonic(), time.process_time()
        schedule = Schedule(list(self.agents), begun_s, self._random)
        while not stopping.is_set() and (seconds is None or time.monotonic() - begun_s < seconds):
            if client.loop(max(0.0, min(schedule.next_s - time.monotonic(), LONGEST_WAIT_S))) != 0:
                self.disconnects += 1
                self._is_up = False
                if stopping.wait(AGAIN_S):
                    break
                try:
                    client.reconnect()
                except OSError:
                    continue
            for name in schedule.take(time.monotonic()):
                if self._is_up:
                    client.publish(*self.agents[name].beat(), QOS)
                    self.beats += 1
        lasted_s, used_s = time.monotonic() - begun_s, time.process_time() - cpu_s
        client.disconnect()
        client.loop(AGAIN_S)
        return {
            "machines": len(self.agents),
            "seconds": round(lasted_s, 1),
            "beats": self.beats,
            "late": schedule.late,
            "longest_late_ms": round(1_000 * schedule.longest_late_s),
            "answers": sum(one.answers for one in self.agents.values()),
            "refused": sum(one.refused for one in self.agents.values()),
            "disconnects": self.disconnects,
            "core": round(used_s / lasted_s, 3),
        }

    def _client(self, url: str) -> Any:
        # Imported here: nothing else of the simulator needs an MQTT library.
        from paho.mqtt import client as mqtt
        from paho.mqtt.enums import CallbackAPIVersion

        parts = urlsplit(url)
        if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname:
            raise ValueError(f"{url}: not of the form mqtt://[USER:PASSWORD@]HOST:PORT")
        name = parts.username or f"fleet-{self._random.getrandbits(64):016x}"
        client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=name, protocol=mqtt.MQTTv311)
        if parts.username:
            client.username_pw_set(parts.username, parts.password)
        if parts.scheme == "mqtts":
            client.tls_set()
        client.max_inflight_messages_set(MAX_UNACKNOWLEDGED)
        client.on_connect = lambda client, *_: client.subscribe(EVERY_ANSWER, QOS)
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        client.connect(parts.hostname, parts.port or (8883 if parts.scheme == "mqtts" else 1883), KEEPALIVE_S)
        return client

    def _on_subscribe(self, *_: Any) -> None:
        self._is_up = True
        for one in self.agents.values():
            one.connected()

    def _on_message(self, client: Any, userdata: Any, message: Any) -> None:
        topic = message.topic
        agent = self.agents.get(topic.split("/")[3])
        said = None if agent is None else agent.receive(topic, bytes(message.payload))
        if said is not None:
            client.publish(*said, QOS)


@click.command()
@click.option("--machines", type=click.IntRange(1, MAX_MACHINES), default=1_000, show_default=True)
@click.option("--broker", default="mqtt://127.0.0.1:1883", show_default=True, help="mqtt://[USER:PASSWORD@]HOST:PORT")
@click.option("--identities", type=click.Path(path_type=Path), help="A JSON list of enrolled machines.")
@click.option("--seconds", type=click.FloatRange(min=0.1), help="How long; else until Ctrl-C.")
@click.option("--seed", type=int, default=0, show_default=True)
def fleet(machines: int, broker: str, identities: Path | None, seconds: float | None, seed: int) -> None:
    """Be thousands of machines that say their signed heartbeat each 15 s.

    Without --identities they are made up: a broker carries them, and a server answers none. The one line printed at
    the end is JSON; `core` is the share of one processor core that it took, `late` counts beats that left over a second
    late.
    """
    random = Random(seed)
    stopping = threading.Event()
    stop: Callable[..., None] = lambda *_: stopping.set()  # noqa: E731
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    try:
        known = list(made_up(machines, random)) if identities is None else from_file(identities, machines)
        seen = Fleet(known, random).run(broker, seconds, stopping)
    except (ValueError, OSError) as error:
        raise click.ClickException(f"{broker}: {error}" if isinstance(error, OSError) else str(error)) from None
    click.echo(json.dumps(seen))
    sys.exit(1 if seen["late"] or seen["disconnects"] or seen["refused"] else 0)
