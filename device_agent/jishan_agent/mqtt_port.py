"""A board behind a broker, as a port: lines of the driver are sealed and published, what comes is checked and read.

The rules of `uplink` hold here too: a client of its own for each connection, so that nothing is published again that an
earlier one had queued; a subscription after every CONNACK, and nothing published before it is granted; TCP_NODELAY;
callbacks that only queue. What cannot be published now is lost, as on a cable: the driver asks again.

The address is `mqtt://HOST:PORT/BOARD?secrets=FILE` (`mqtts` for TLS); the file holds the board's key and the broker's
password, and nobody else may read it. Source: docs/protocols/mqtt-board.md.
"""

from __future__ import annotations

import queue
import socket
import ssl
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from random import SystemRandom
from typing import Any, Final

import structlog
from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from jishan_protocol.dispensers import mqtt_board as board
from jishan_protocol.errors import JishanError, ProtocolError

KEEPALIVE_S: Final = 15
CONNECT_S: Final = 5.0
FIRST_DELAY_S: Final = 0.5
LONGEST_DELAY_S: Final = 10.0
"""Of two that meet at one broker there is no crowd: a short wait brings the machine back soon."""
QOS: Final = 1
REFUSED: Final = 0x80
"""Granted QoS or reason codes from here on are refusals."""


class AddressError(JishanError):
    """An address or a file of secrets that cannot be used; the message names it and shows no secret."""


def read_address(url: str) -> tuple[board.Address, board.Secrets]:
    """What a port's address and its file of secrets say. Raises AddressError."""
    try:
        address = board.parse_url(url)
    except ValueError as error:
        raise AddressError(f"dispenser_port: {error}") from None
    path = Path(address.secrets_file)
    try:
        if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise AddressError(f"others may read {path}, which holds the board's key; `chmod 600` it")
        return address, board.read_secrets(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise AddressError(f"{path}: {error}") from None


class MqttPort:
    """One board's connection. `received` runs in the port's own thread, `failed` when that has died."""

    def __init__(self, url: str, baud_rate: int, received: Callable[[bytes], None], failed: Callable[[], None]) -> None:
        self._address, self._secrets = read_address(url)
        self._received = received
        self._failed = failed
        self._lock = threading.Lock()
        self._live: mqtt.Client | None = None
        self._came: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._was_up = False
        self._stopping = threading.Event()
        self._random = SystemRandom()
        self._log = structlog.get_logger("jishan_agent.mqtt_port").bind(board=self._address.board_id)
        self._thread = threading.Thread(target=self._run_or_fail, name=f"board {self._address.board_id}", daemon=True)
        self._tls = ssl.create_default_context(cafile=self._secrets.ca_file or None) if self._address.is_tls else None
        self.refused = 0

    @property
    def is_up(self) -> bool:
        """Whether what is written now is published."""
        return self._live is not None

    def start(self) -> None:
        """Begin to connect."""
        self._thread.start()

    def stop(self) -> None:
        """Close the connection and end the thread."""
        self._stopping.set()
        self._came.put(None)
        self._thread.join(CONNECT_S + LONGEST_DELAY_S)

    def write(self, output: bytes) -> None:
        """Publish whole lines now, or lose them."""
        board_id = self._address.board_id
        with self._lock:
            live = self._live
            if live is None:
                return
            for direction, content in board.split_lines(output):
                payload = board.seal(content, board_id, direction, self._secrets.key)
                live.publish(board.topic(board_id, direction), payload, QOS)

    def _run_or_fail(self) -> None:
        try:
            self._run()
        except Exception:
            self._log.exception("port_failed")
            self._failed()

    def _run(self) -> None:
        longest_s = FIRST_DELAY_S
        while not self._stopping.is_set():
            self._connect_once()
            longest_s = FIRST_DELAY_S if self._was_up else min(2 * longest_s, LONGEST_DELAY_S)
            self._stopping.wait(self._random.uniform(0, longest_s))

    def _connect_once(self) -> None:
        """One connection, from its beginning to its end."""
        address, secrets = self._address, self._secrets
        self._was_up = False
        self._came = queue.SimpleQueue()
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=secrets.username or f"{address.board_id}-host",
            userdata=self._came,
            clean_session=True,
            protocol=mqtt.MQTTv311,
            reconnect_on_failure=False,
        )
        if secrets.username:
            client.username_pw_set(secrets.username, secrets.password)
        if self._tls is not None:
            client.tls_set_context(self._tls)
        client.connect_timeout = CONNECT_S
        client.on_socket_open = _send_at_once
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        client.on_disconnect = self._on_disconnect
        try:
            client.connect(address.host, address.port, KEEPALIVE_S)
        except (OSError, ValueError) as error:
            self._log.warning("broker_unreachable", host=address.host, port=address.port, error=str(error))
            return
        client.loop_start()
        while not self._stopping.is_set() and (payload := self._came.get()) is not None:
            self._take(payload)
        with self._lock:
            self._live = None
        client.disconnect()
        client.loop_stop()
        self._log.info("port_lost")

    def _take(self, payload: bytes) -> None:
        try:
            content = board.unseal(payload, self._address.board_id, "u", self._secrets.key)
        except ProtocolError as error:
            self.refused += 1
            self._log.warning("message_refused", reason=error.reason, detail=error.detail)
            return
        self._received(board.line_of("u", content))

    # paho's callbacks run in its own thread and only queue.

    def _on_connect(
        self, client: mqtt.Client, came: Any, flags: Any, reason: ReasonCode, properties: Properties | None
    ) -> None:
        if reason.is_failure:
            self._log.error("broker_refused", reason=str(reason))
            came.put(None)
            return
        # The subscription of an earlier connection may be gone with the broker's memory.
        client.subscribe(board.topic(self._address.board_id, "u"), QOS)

    def _on_subscribe(
        self, client: mqtt.Client, came: Any, mid: int, granted: list[ReasonCode], properties: Properties | None
    ) -> None:
        if any(code.value >= REFUSED for code in granted):
            self._log.error("subscription_refused", granted=[str(code) for code in granted])
            came.put(None)
            return
        with self._lock:
            self._live = client
        self._was_up = True
        self._log.info("port_open")

    def _on_message(self, client: mqtt.Client, came: Any, message: mqtt.MQTTMessage) -> None:
        came.put(bytes(message.payload))

    def _on_disconnect(
        self, client: mqtt.Client, came: Any, flags: Any, reason: ReasonCode, properties: Properties | None
    ) -> None:
        came.put(None)


def _send_at_once(client: mqtt.Client, userdata: Any, sock: Any) -> None:
    """Nagle's algorithm on one side alone costs up to 44 ms a round trip."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
