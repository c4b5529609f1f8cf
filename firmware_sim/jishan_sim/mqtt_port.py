"""A simulated board's connection to a broker, as a port: the lines of the face are sealed and published.

The counterpart of the agent's port, and of what a board does with its network: a client of its own for each connection,
a subscription after every CONNACK, TCP_NODELAY, callbacks that only queue. What cannot be published now is lost.

The address is `mqtt://HOST:PORT/BOARD?secrets=FILE`, and the file holds the board's key. Source:
docs/protocols/mqtt-board.md.
"""

from __future__ import annotations

import queue
import socket
import ssl
import threading
from contextlib import suppress
from pathlib import Path
from random import SystemRandom
from typing import Any, Final

from jishan_protocol.dispensers import mqtt_board as board
from jishan_protocol.errors import ProtocolError
from jishan_sim.ports import READ_BYTES, PortError

try:
    from paho.mqtt import client as mqtt
    from paho.mqtt.enums import CallbackAPIVersion
except ImportError:
    raise PortError("mqtt: this needs paho-mqtt, which comes with the agent's or the server's part") from None

KEEPALIVE_S: Final = 15
CONNECT_S: Final = 5.0
FIRST_DELAY_S: Final = 0.5
LONGEST_DELAY_S: Final = 10.0
QOS: Final = 1
REFUSED: Final = 0x80
MAX_WAITING: Final = 1_000
"""Messages that nobody has read yet; a board with its memory full drops what comes."""


class MqttPort:
    """One board's connection, kept up by a thread of its own. PortError where the address is none."""

    def __init__(self, url: str) -> None:
        try:
            self._address = board.parse_url(url)
            secrets = board.read_secrets(Path(self._address.secrets_file).read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise PortError(f"{url}: {error}") from None
        self.name = url
        self._secrets = secrets
        self._came: queue.Queue[bytes] = queue.Queue(MAX_WAITING)
        self._woken, self._wake = socket.socketpair()
        self._woken.setblocking(False)
        self._wake.setblocking(False)
        self._lock = threading.Lock()
        self._live: mqtt.Client | None = None
        self._was_up = False
        self._ended, self._stopping = threading.Event(), threading.Event()
        self._random = SystemRandom()
        self._tls = ssl.create_default_context(cafile=secrets.ca_file or None) if self._address.is_tls else None
        self.refused = 0
        self._thread = threading.Thread(target=self._run, name=f"board {self._address.board_id}", daemon=True)
        self._thread.start()

    def read(self) -> bytes:
        """The lines that have come; what was not signed with the board's key is counted and dropped."""
        with suppress(BlockingIOError):
            self._woken.recv(READ_BYTES)
        lines = b""
        with suppress(queue.Empty):
            while True:
                payload = self._came.get_nowait()
                try:
                    content = board.unseal(payload, self._address.board_id, "d", self._secrets.key)
                except ProtocolError:
                    self.refused += 1
                    continue
                lines += board.line_of("d", content)
        return lines

    def write(self, data: bytes) -> None:
        """Publish whole lines now, or lose them."""
        board_id = self._address.board_id
        with self._lock:
            live = self._live
            if live is None:
                return
            for direction, content in board.split_lines(data):
                payload = board.seal(content, board_id, direction, self._secrets.key)
                live.publish(board.topic(board_id, direction), payload, QOS)

    def waits_on(self) -> list[int] | None:
        """What becomes readable when a message has come."""
        return [self._woken.fileno()]

    def close(self) -> None:
        """End the connection and the thread."""
        self._stopping.set()
        self._ended.set()
        self._thread.join(CONNECT_S + LONGEST_DELAY_S)
        self._woken.close()
        self._wake.close()

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
        address, secrets = self._address, self._secrets
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=secrets.username or address.board_id,
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
        except (OSError, ValueError):
            return
        client.loop_start()
        if not self._stopping.is_set():
            self._ended.wait()
        with self._lock:
            self._live = None
        client.disconnect()
        client.loop_stop()

    # paho's callbacks run in its own thread and only queue.

    def _on_connect(self, client: mqtt.Client, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            self._ended.set()
        else:
            client.subscribe(board.topic(self._address.board_id, "d"), QOS)

    def _on_subscribe(self, client: mqtt.Client, userdata: Any, mid: int, granted: Any, properties: Any) -> None:
        if any(code.value >= REFUSED for code in granted):
            self._ended.set()
            return
        with self._lock:
            self._live = client
        self._was_up = True

    def _on_message(self, client: mqtt.Client, userdata: Any, message: mqtt.MQTTMessage) -> None:
        with suppress(queue.Full):
            self._came.put_nowait(bytes(message.payload))
        with suppress(OSError):
            self._wake.send(b"\0")

    def _on_disconnect(self, client: mqtt.Client, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        self._ended.set()


def _send_at_once(client: mqtt.Client, userdata: Any, sock: Any) -> None:
    """Nagle's algorithm on one side alone costs up to 44 ms a round trip."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
