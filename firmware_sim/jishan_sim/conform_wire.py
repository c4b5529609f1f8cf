"""The lines of a conformance run in the real world: a port, or a broker, each with the clock."""

from __future__ import annotations

import queue
import socket
from pathlib import Path
from random import SystemRandom
from typing import Any, Final

from jishan_protocol.dispensers import mqtt_board as board
from jishan_protocol.errors import ProtocolError
from jishan_sim.machine import boot_ms
from jishan_sim.ports import Port, PortError, wait

CONNECT_S: Final = 5.0
QOS: Final = 1


class PortWire:
    """Any port of `open_port`."""

    def __init__(self, port: Port) -> None:
        self._port = port
        self._never, self._other = socket.socketpair()

    @property
    def now_ms(self) -> int:
        return boot_ms()

    def write(self, data: bytes) -> None:
        self._port.write(data)

    def read(self, within_ms: int) -> bytes:
        end_ms = boot_ms() + within_ms
        while not (came := self._port.read()) and (left_ms := end_ms - boot_ms()) > 0:
            wait([self._port], self._never.fileno(), left_ms / 1_000)
        return came

    def close(self) -> None:
        self._never.close()
        self._other.close()
        self._port.close()


class BrokerWire:
    """A board at a broker, from the agent's end: `mqtt://HOST:PORT/BOARD?secrets=FILE`, as in `dispenser_port`."""

    def __init__(self, url: str) -> None:
        from paho.mqtt import client as mqtt
        from paho.mqtt.enums import CallbackAPIVersion

        try:
            self._address = board.parse_url(url)
            self._secrets = board.read_secrets(Path(self._address.secrets_file).read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise PortError(f"{url}: {error}") from None
        self._came: queue.Queue[bytes | None] = queue.Queue()
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._secrets.username or f"{self._address.board_id}-host",
            protocol=mqtt.MQTTv311,
        )
        if self._secrets.username:
            self._client.username_pw_set(self._secrets.username, self._secrets.password)
        if self._address.is_tls:
            self._client.tls_set(ca_certs=self._secrets.ca_file or None)
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = lambda *_: self._came.put(None)
        self._client.on_message = self._on_message
        try:
            self._client.connect(self._address.host, self._address.port)
        except OSError as error:
            raise PortError(f"{url}: {error}") from None
        self._client.loop_start()
        try:
            self._came.get(timeout=CONNECT_S)
        except queue.Empty:
            self.close()
            raise PortError(f"{url}: the broker lets nobody listen") from None

    @property
    def now_ms(self) -> int:
        return boot_ms()

    def write(self, data: bytes) -> None:
        for direction, content in board.split_lines(data):
            payload = board.seal(content, self._address.board_id, direction, self._secrets.key)
            self._client.publish(board.topic(self._address.board_id, direction), payload, QOS)

    def write_forged(self, content: bytes) -> None:
        payload = board.seal(content, self._address.board_id, "d", SystemRandom().randbytes(board.KEY_BYTES))
        self._client.publish(board.topic(self._address.board_id, "d"), payload, QOS)

    def read(self, within_ms: int) -> bytes:
        try:
            return self._came.get(timeout=within_ms / 1_000) or b""
        except queue.Empty:
            return b""

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_connect(self, client: Any, *_: Any) -> None:
        client.subscribe(board.topic(self._address.board_id, "u"), QOS)

    def _on_message(self, client: Any, userdata: Any, message: Any) -> None:
        try:
            content = board.unseal(bytes(message.payload), self._address.board_id, "u", self._secrets.key)
        except ProtocolError as error:
            self._came.put(f"u {error.detail}\n".encode())
            return
        self._came.put(board.line_of("u", content))
