"""The gateway's thread, clock and MQTT connection around `core`.

Callbacks of paho only put on a queue. One worker takes from it: it checks and queues messages for the writer, and
publishes what the writer answers, after its commit. What is published while there is no connection is dropped: the link
never relies on it. Each connection gets a client of its own, so that nothing an earlier one had queued is sent again;
reconnects wait a random time up to a growing limit.
Source: docs/protocol.md; the facts behind it in decisions, "The link".
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from queue import Empty, SimpleQueue
from random import SystemRandom
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import structlog
from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from sqlalchemy.exc import SQLAlchemyError

from jishan_protocol import topics
from jishan_server.config import Config
from jishan_server.db import DatabaseUnavailable
from jishan_server.gateway.access import GATEWAY_USER
from jishan_server.gateway.core import Answered, Gateway, Incoming, operation_of
from jishan_server.gateway.leases import RENEW_S, run_renew
from jishan_server.kinds import TIMED
from jishan_server.parts import Parts
from jishan_server.people.credentials import prepare
from jishan_server.vending.keys import Keys
from jishan_server.vending.watching import WATCH_INTERVAL_S, run_watch
from jishan_server.writer import Answer, Kind, Operation

KEEPALIVE_S: Final = 30
CONNECT_S: Final = 10.0
FIRST_DELAY_S: Final = 1.0
LONGEST_DELAY_S: Final = 60.0
QOS: Final = 1
REFUSED: Final = 0x80
"""Granted QoS or reason codes from here on are refusals."""

MAX_FILTERS: Final = 8
"""In one SUBSCRIBE: what every broker takes."""

MAX_IN_FLIGHT: Final = 500
"""Answers published and not yet acknowledged by the broker."""

MAX_WAITING: Final = 20_000
"""Messages that wait to be checked; more are dropped, and sent again by the agents."""

PIN_THREADS: Final = 2
"""A PIN takes tens of milliseconds of one core; more at once would starve the rest."""

OFFERS_S: Final = 1.0
"""How often it is looked whether somebody has chosen on a phone in front of a machine: one small statement."""

WATCH: Final = "watch"
RENEW: Final = "renew_leases"
OFFERS: Final = "offers"
_EVERY_S: Final = {RENEW: RENEW_S, OFFERS: OFFERS_S}
"""Everything else is due every WATCH_INTERVAL_S."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """Where the broker is, and who we are to it; `tls` is None for a plain connection."""

    host: str
    port: int
    username: str
    password: str = field(repr=False)
    tls: ssl.SSLContext | None = None


@dataclass(frozen=True, slots=True)
class _Received:
    topic: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class _Checked:
    operation: Operation


@dataclass(frozen=True, slots=True)
class _Done:
    operation: Operation
    answer: Answer


_Event = _Received | _Checked | _Done | None


def link_kinds(gateway: Gateway) -> dict[str, Kind]:
    """The gateway's kinds of operation for the writer."""
    return {
        **gateway.kinds,
        WATCH: Kind(run_batch=partial(run_watch, rules=gateway.vending.rules)),
        RENEW: Kind(run_batch=run_renew),
    }


def external_broker(config: Config) -> BrokerAddress:
    """The broker of `mqtt_url`; without a user name in it, the gateway's own."""
    parts = urlsplit(config.mqtt_url)
    tls = None
    if parts.scheme == "mqtts":
        tls = ssl.create_default_context()
        if (config.pki_dir / "ca.crt").exists():
            tls.load_verify_locations(config.pki_dir / "ca.crt")
    user = unquote(parts.username or GATEWAY_USER)
    password = unquote(parts.password or "") or Keys(config.secret).mqtt_password(user, 0)
    return BrokerAddress(parts.hostname or "", parts.port or (8883 if tls else 1883), user, password, tls)


class Link:
    """The gateway's threads, from construction to `close`. `is_alone`: no other gateway shares the shards."""

    def __init__(self, gateway: Gateway, parts: Parts, broker: BrokerAddress, *, is_alone: bool) -> None:
        self._gateway = gateway
        self._parts = parts
        self._broker = broker
        self._random = SystemRandom()
        self._holder = f"{self._random.getrandbits(128):032x}"
        self._is_alone = is_alone
        self._shards: frozenset[int] = frozenset(range(topics.SHARDS)) if is_alone else frozenset()
        self._queue: SimpleQueue[_Event] = SimpleQueue()
        self._pins = ThreadPoolExecutor(PIN_THREADS, "pin")
        self._lock = threading.Lock()
        self._live: mqtt.Client | None = None
        self._subscribed: frozenset[str] = frozenset()
        self._unanswered: set[int] = set()
        self._granted = threading.Event()
        self._stopping = threading.Event()
        self._ended = threading.Event()
        self._was_up = False
        parts.metrics.registry.register(_Figures(self))
        self._worker = threading.Thread(target=self._work, name="gateway")
        self._network = threading.Thread(target=self._connect, name="mqtt")
        self._worker.start()
        self._network.start()

    @property
    def is_ready(self) -> bool:
        """Whether the broker has granted every subscription of the present connection."""
        with self._lock:
            return self._live is not None and not self._unanswered

    def wait_until_ready(self, seconds: float) -> bool:
        """Wait for the first connection whose subscriptions are granted; False if it has not come by then."""
        return self._granted.wait(seconds)

    @property
    def refused(self) -> Mapping[str, int]:
        """How many messages were refused, by reason."""
        return dict(self._gateway.refused)

    def close(self) -> None:
        """End the connection and the threads. What was not acknowledged will be sent again by the agents."""
        self._stopping.set()
        self._ended.set()
        self._network.join()
        self._pins.shutdown()
        self._queue.put(None)
        self._worker.join()

    # The worker.

    def _work(self) -> None:
        due_s = {kind: time.monotonic() + WATCH_INTERVAL_S for kind in (WATCH, OFFERS, *TIMED)}
        if not self._is_alone:
            due_s[RENEW] = time.monotonic()
        while True:
            try:
                event = self._queue.get(timeout=max(0.0, min(due_s.values()) - time.monotonic()))
                if event is None:
                    return
                self._take(event)
            except Empty:
                pass
            for kind in due_s:
                if time.monotonic() >= due_s[kind]:
                    due_s[kind] = time.monotonic() + _EVERY_S.get(kind, WATCH_INTERVAL_S)
                    if kind == OFFERS:
                        self._offer()
                    else:
                        self._submit(Operation(kind, kind, self._holder))

    def _offer(self) -> None:
        """Tell machines what waits on phones. It is only read here, and told again in a second."""
        if not self.is_ready:
            return
        try:
            with self._parts.engine.connect() as connection:
                payloads = self._gateway.offers(connection, self._shards, self._parts.clock())
        except SQLAlchemyError as error:
            log.warning("offers_not_read", error=type(error).__name__)
            return
        self._publish(payloads)

    def _take(self, event: _Received | _Checked | _Done) -> None:
        match event:
            case _Received():
                incoming = self._gateway.read(event.topic, event.payload)
                if incoming is None:
                    return
                if incoming.prepared is not None and incoming.prepared.credential.pin is not None:
                    self._pins.submit(self._check_pin, incoming)
                else:
                    self._submit(operation_of(incoming))
            case _Checked():
                self._submit(event.operation)
            case _Done():
                self._answer(event.operation, event.answer)

    def _submit(self, operation: Operation) -> None:
        try:
            self._parts.writer.enqueue(operation, lambda answer: self._queue.put(_Done(operation, answer)))
        except DatabaseUnavailable as error:
            log.warning("not_taken", reason=error.reason)

    def _check_pin(self, incoming: Incoming) -> None:
        """Verify a PIN outside of the writer's transaction: argon2 takes longer than a commit."""
        assert incoming.prepared is not None
        with self._parts.engine.connect() as connection:
            (prepared,) = prepare(connection, [incoming.prepared.credential], self._gateway.vending.hashing)
        self._queue.put(_Checked(operation_of(replace(incoming, prepared=prepared))))

    def _answer(self, operation: Operation, answer: Answer) -> None:
        if isinstance(answer, DatabaseUnavailable):
            log.warning("not_done", kind=operation.kind, reason=answer.reason)
        elif operation.kind == RENEW and isinstance(answer.value, frozenset):
            self._serve_shards(answer.value)
        elif isinstance(answer.value, Answered) or isinstance(operation.body, Incoming):
            self._publish(self._gateway.told(operation, answer))

    def _publish(self, payloads: Sequence[tuple[str, bytes]]) -> None:
        with self._lock:
            live = self._live
        if live is not None:
            for topic, payload in payloads:
                live.publish(topic, payload, QOS)

    # The connection.

    def _connect(self) -> None:
        longest_s = FIRST_DELAY_S
        while not self._stopping.is_set():
            self._ended.clear()
            self._was_up = False
            self._connect_once()
            longest_s = FIRST_DELAY_S if self._was_up else min(2 * longest_s, LONGEST_DELAY_S)
            self._stopping.wait(self._random.uniform(0, longest_s))

    def _connect_once(self) -> None:
        """One connection, from its beginning to its end."""
        broker = self._broker
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"{broker.username}-{self._holder[:8]}",
            clean_session=True,
            protocol=mqtt.MQTTv311,
            reconnect_on_failure=False,
        )
        client.username_pw_set(broker.username, broker.password)
        client.connect_timeout = CONNECT_S
        client.max_inflight_messages_set(MAX_IN_FLIGHT)
        if broker.tls is not None:
            client.tls_set_context(broker.tls)
        client.on_socket_open = _send_at_once
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        client.on_disconnect = self._on_disconnect
        try:
            client.connect(broker.host, broker.port, KEEPALIVE_S)
        except OSError as error:
            log.warning("broker_unreachable", host=broker.host, port=broker.port, error=str(error))
            return
        client.loop_start()
        # A stop that came meanwhile must not be waited past.
        if not self._stopping.is_set():
            self._ended.wait()
        with self._lock:
            self._live, self._subscribed, self._unanswered = None, frozenset(), set()
        client.disconnect()
        client.loop_stop()

    def _serve_shards(self, shards: frozenset[int]) -> None:
        with self._lock:
            self._shards = shards
            if self._live is not None:
                self._subscribe(self._live)

    def _subscribe(self, client: mqtt.Client) -> None:
        """Bring the subscriptions of this connection to the shards that are ours; the caller holds the lock."""
        if len(self._shards) == topics.SHARDS:
            wanted = frozenset({topics.EVERY_SHARD})
        else:
            wanted = frozenset(topics.shard_filter(shard) for shard in self._shards)
        gone, new = sorted(self._subscribed - wanted), sorted(wanted - self._subscribed)
        for start in range(0, len(gone), MAX_FILTERS):
            client.unsubscribe(gone[start : start + MAX_FILTERS])
        for start in range(0, len(new), MAX_FILTERS):
            _, number = client.subscribe([(one, QOS) for one in new[start : start + MAX_FILTERS]])
            self._unanswered.add(number or 0)
        self._subscribed = wanted

    # paho's callbacks run in its own thread and only note and queue.

    def _on_connect(
        self, client: mqtt.Client, userdata: Any, flags: Any, reason: ReasonCode, properties: Properties | None
    ) -> None:
        if reason.is_failure:
            log.error("broker_refused", reason=str(reason))
            self._ended.set()
            return
        self._was_up = True
        with self._lock:
            self._live = client
            self._subscribe(client)
        log.info("broker_connected", host=self._broker.host, port=self._broker.port)

    def _on_subscribe(
        self, client: mqtt.Client, userdata: Any, mid: int, granted: list[ReasonCode], properties: Properties | None
    ) -> None:
        if any(code.value >= REFUSED for code in granted):
            log.error("subscription_refused")
            self._ended.set()
            return
        with self._lock:
            self._unanswered.discard(mid)
            if not self._unanswered:
                self._granted.set()

    def _on_message(self, client: mqtt.Client, userdata: Any, message: mqtt.MQTTMessage) -> None:
        if self._queue.qsize() < MAX_WAITING:
            self._queue.put(_Received(message.topic, bytes(message.payload)))
        else:
            self._gateway.refused["queue_full"] += 1

    def _on_disconnect(
        self, client: mqtt.Client, userdata: Any, flags: Any, reason: ReasonCode, properties: Properties | None
    ) -> None:
        with self._lock:
            self._live = None
        self._ended.set()


class _Figures:
    """The link's figures for Prometheus, read when they are asked for."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def collect(self) -> list[CounterMetricFamily | GaugeMetricFamily]:
        """What prometheus_client asks a collector for."""
        refused = CounterMetricFamily("jishan_link_refused", "Messages refused, by reason", labels=["reason"])
        for reason, number in self._link.refused.items():
            refused.add_metric([reason], number)
        return [refused, GaugeMetricFamily("jishan_link_ready", "The broker is there", int(self._link.is_ready))]


def _send_at_once(client: mqtt.Client, userdata: Any, sock: Any) -> None:
    """Nagle's algorithm on one side alone costs up to 44 ms a round trip."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
