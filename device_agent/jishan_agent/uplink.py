"""MQTT to the server: callbacks only queue, and nothing is kept here.

What waits for a link waits in the journal: a message is published only while the subscription of this very connection
stands, and each connection gets a client of its own, so that paho sends nothing again that an earlier one had queued.
The facts behind this are in docs/protocols/mqtt-facts.md. Reconnects wait a random time up to a growing limit: after a
broker's restart a thousand machines must not come back in one second.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final
from urllib.parse import urlsplit

import structlog
from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from jishan_agent.agent import LinkDown, LinkUp, Received
from jishan_protocol import topics

KEEPALIVE_S: Final = 30
CONNECT_S: Final = 10.0
FIRST_DELAY_S: Final = 1.0
LONGEST_DELAY_S: Final = 60.0
QOS: Final = 1
REFUSED: Final = 0x80
"""Granted QoS or reason codes from here on are refusals."""


@dataclass(frozen=True, slots=True)
class UplinkSettings:
    """Where the broker is, and who we are to it."""

    url: str
    username: str
    password: str = field(repr=False)
    ca_file: str
    machine_id: str
    shard: int


class Uplink:
    """One thread that keeps a connection; `put` gets LinkUp, LinkDown and Received."""

    def __init__(
        self, settings: UplinkSettings, put: Callable[[LinkUp | LinkDown | Received], None], random: Random
    ) -> None:
        self._settings = settings
        self._put = put
        self._random = random
        self._lock = threading.Lock()
        self._live: mqtt.Client | None = None
        self._stopping = threading.Event()
        self._ended = threading.Event()
        self._was_up = False
        self._log = structlog.get_logger("jishan_agent.uplink")
        self._thread = threading.Thread(target=self._run, name="uplink", daemon=True)
        self._tls = _tls(settings)

    def start(self) -> None:
        """Begin to connect."""
        self._thread.start()

    def stop(self) -> None:
        """End the connection and the thread."""
        self._stopping.set()
        self._ended.set()
        self._thread.join(CONNECT_S + KEEPALIVE_S)

    def publish(self, topic: str, payload: bytes) -> None:
        """Send now or not at all: without a connection the journal keeps what matters."""
        with self._lock:
            if self._live is not None:
                self._live.publish(topic, payload, QOS)

    def _run(self) -> None:
        longest_s = FIRST_DELAY_S
        while not self._stopping.is_set():
            self._ended.clear()
            self._was_up = False
            self._connect_once()
            longest_s = FIRST_DELAY_S if self._was_up else min(2 * longest_s, LONGEST_DELAY_S)
            self._stopping.wait(self._random.uniform(0, longest_s))

    def _connect_once(self) -> None:
        """One connection, from its beginning to its end."""
        settings = self._settings
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=settings.machine_id,
            clean_session=True,
            protocol=mqtt.MQTTv311,
            reconnect_on_failure=False,
        )
        client.username_pw_set(settings.username, settings.password)
        client.connect_timeout = CONNECT_S
        if self._tls is not None:
            client.tls_set_context(self._tls)
        client.on_socket_open = _send_at_once
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        client.on_disconnect = self._on_disconnect
        parts = urlsplit(settings.url)
        try:
            client.connect(str(parts.hostname), parts.port or 1883, KEEPALIVE_S)
        except (OSError, ValueError) as error:
            self._log.warning("broker_unreachable", url=settings.url, error=str(error))
            return
        client.loop_start()
        self._ended.wait()
        with self._lock:
            self._live = None
        client.disconnect()
        client.loop_stop()

    # paho's callbacks run in its own thread and only queue.

    def _on_connect(
        self, client: mqtt.Client, userdata: Any, flags: Any, reason: ReasonCode, properties: Properties | None
    ) -> None:
        if reason.is_failure:
            self._log.error("broker_refused", reason=str(reason))
            self._ended.set()
            return
        # The subscription of an earlier connection may be gone with the broker's memory.
        client.subscribe(topics.machine_filter(self._settings.shard, self._settings.machine_id), QOS)

    def _on_subscribe(
        self, client: mqtt.Client, userdata: Any, mid: int, granted: list[ReasonCode], properties: Properties | None
    ) -> None:
        if any(code.value >= REFUSED for code in granted):
            self._log.error("subscription_refused")
            self._ended.set()
            return
        with self._lock:
            self._live = client
        self._was_up = True
        self._put(LinkUp())

    def _on_message(self, client: mqtt.Client, userdata: Any, message: mqtt.MQTTMessage) -> None:
        self._put(Received(message.topic, bytes(message.payload)))

    def _on_disconnect(
        self, client: mqtt.Client, userdata: Any, flags: Any, reason: ReasonCode, properties: Properties | None
    ) -> None:
        with self._lock:
            self._live = None
        if self._was_up:
            self._put(LinkDown())
        self._ended.set()


def _tls(settings: UplinkSettings) -> ssl.SSLContext | None:
    """The pinned authority, and no other, for a broker behind TLS."""
    if urlsplit(settings.url).scheme != "mqtts":
        return None
    return ssl.create_default_context(cafile=settings.ca_file or None)


def _send_at_once(client: mqtt.Client, userdata: Any, sock: Any) -> None:
    """Nagle's algorithm on one side alone costs up to 44 ms a round trip."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
