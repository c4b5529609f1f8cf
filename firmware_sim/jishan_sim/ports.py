"""Where a simulated machine is plugged in: a pseudo terminal, a TCP listener, or a real serial port.

`pty` makes a new pseudo terminal; `tcp:HOST:PORT` listens (0 picks a free port) and serves one peer at a time, which
pyserial opens as `socket://HOST:PORT`; `mqtt://HOST:PORT/BOARD?secrets=FILE` is a board at a broker; anything else is a
port or URL of pyserial: `/dev/ttyUSB0`, `COM5`, `rfc2217://...`. Nothing here waits: `read` gives what is there. As on
a real line, what nobody takes is lost.
"""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Protocol

READ_BYTES: Final = 4096
BLIND_WAIT_S: Final = 0.005  # between two looks at a port that cannot be waited on, as on Windows
SEND_BUFFER_BYTES: Final = 65_536  # a TCP peer that stops reading costs no more than this


class PortError(Exception):
    """A port that cannot be opened, or that is gone. The text names it."""


class Port(Protocol):
    """One end of a line."""

    name: str

    def read(self) -> bytes:
        """What has come since the last call; empty when nothing has."""

    def write(self, data: bytes) -> None:
        """Send; what the line does not take now is lost."""

    def waits_on(self) -> list[int] | None:
        """File descriptors that become readable; None where there are none."""

    def close(self) -> None:
        """Give the port back."""


class PtyPort:
    """A pseudo terminal. `link`, if given, is a symbolic link that names it, the same across restarts."""

    def __init__(self, link: Path | None = None) -> None:
        try:
            import pty
            import tty
        except ImportError:
            raise PortError("pty: this system has no pseudo terminals; use tcp:127.0.0.1:0") from None
        self._ours, self._theirs = pty.openpty()
        # Our own open end of the other side: without it, every time the host closes, reads fail until it opens again.
        tty.setraw(self._theirs)
        os.set_blocking(self._ours, False)
        self._target = os.ttyname(self._theirs)
        self._link = link
        self.name = self._target
        if link is not None:
            self._make_link(link)
            self.name = str(link)

    def _make_link(self, link: Path) -> None:
        if link.exists() and not link.is_symlink():
            self.close()
            raise PortError(f"{link}: is there and is no symbolic link")
        # Made beside it and moved over it, so that the name always leads somewhere.
        new = link.with_name(f"{link.name}.{os.getpid()}")
        new.symlink_to(self._target)
        new.replace(link)

    def read(self) -> bytes:
        try:
            return os.read(self._ours, READ_BYTES)
        except BlockingIOError:
            return b""

    def write(self, data: bytes) -> None:
        with suppress(BlockingIOError):
            os.write(self._ours, data)

    def waits_on(self) -> list[int] | None:
        return [self._ours]

    def close(self) -> None:
        if self._link is not None and self._link.is_symlink() and str(self._link.readlink()) == self._target:
            self._link.unlink()
        os.close(self._ours)
        os.close(self._theirs)


class TcpPort:
    """A listener for one peer at a time; a new one takes the place of the old."""

    def __init__(self, host: str, port: int) -> None:
        try:
            self._listener = socket.create_server((host, port))
        except OSError as error:
            raise PortError(f"tcp:{host}:{port}: {error}") from None
        self._listener.setblocking(False)
        self._peer: socket.socket | None = None
        self.name = f"socket://{host}:{self._listener.getsockname()[1]}"

    def read(self) -> bytes:
        with suppress(BlockingIOError):
            peer, _ = self._listener.accept()
            self._hang_up()
            peer.setblocking(False)
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
            self._peer = peer
        if self._peer is None:
            return b""
        try:
            data = self._peer.recv(READ_BYTES)
        except BlockingIOError:
            return b""
        except OSError:
            data = b""
        if not data:
            self._hang_up()
        return data

    def write(self, data: bytes) -> None:
        if self._peer is None or not data:
            return
        try:
            self._peer.send(data)
        except BlockingIOError:
            pass
        except OSError:
            self._hang_up()

    def waits_on(self) -> list[int] | None:
        return [one.fileno() for one in (self._listener, self._peer) if one is not None]

    def close(self) -> None:
        self._hang_up()
        self._listener.close()

    def _hang_up(self) -> None:
        if self._peer is not None:
            self._peer.close()
            self._peer = None


class SerialPort:
    """A real port, or anything else that pyserial opens."""

    def __init__(self, url: str, baud_rate: int) -> None:
        import serial

        self._errors: tuple[type[Exception], ...] = (serial.SerialException, OSError)
        try:
            self._port: Any = serial.serial_for_url(url, baud_rate, timeout=0, write_timeout=0)
        except (*self._errors, ValueError) as error:
            raise PortError(f"{url}: {error}") from None
        self.name = url

    def read(self) -> bytes:
        try:
            return bytes(self._port.read(READ_BYTES))
        except self._errors as error:
            raise PortError(f"{self.name}: {error}") from None

    def write(self, data: bytes) -> None:
        import serial

        try:
            self._port.write(data)
        except serial.SerialTimeoutException:
            return
        except self._errors as error:
            raise PortError(f"{self.name}: {error}") from None

    def waits_on(self) -> list[int] | None:
        try:
            return [self._port.fileno()]
        except (AttributeError, OSError):
            return None

    def close(self) -> None:
        self._port.close()


def _mqtt_port(url: str) -> Port:
    # Imported here: nothing else of the simulator needs an MQTT library.
    from jishan_sim.mqtt_port import MqttPort

    return MqttPort(url)


OPENERS: Final[dict[str, Callable[[str], Port]]] = {"mqtt": _mqtt_port, "mqtts": _mqtt_port}
"""What opens an address, by its scheme; everything else is pyserial's."""


def open_port(spec: str, baud_rate: int, link: Path | None = None) -> Port:
    """Open `pty`, `tcp:HOST:PORT` or a port of pyserial's. PortError names what cannot be opened."""
    if link is not None and spec != "pty":
        raise PortError(f"{link}: only a pty can be linked")
    if spec == "pty":
        return PtyPort(link)
    if spec.startswith("tcp:"):
        host, port = split_address(spec.removeprefix("tcp:"))
        return TcpPort(host, port)
    opener = OPENERS.get(spec.partition("://")[0])
    return SerialPort(spec, baud_rate) if opener is None else opener(spec)


def split_address(address: str) -> tuple[str, int]:
    """`127.0.0.1:8000` or `[::1]:8000` in its parts. PortError where it is no address."""
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > 65_535:
        raise PortError(f"{address!r}: not HOST:PORT")
    return host.strip("[]"), int(port)


def wait(ports: Sequence[Port], wake: int, timeout_s: float) -> None:
    """Wait until a port has something, `wake` becomes readable, or the time is over."""
    waits = [port.waits_on() for port in ports]
    if os.name == "nt" or any(one is None for one in waits):
        time.sleep(min(timeout_s, BLIND_WAIT_S))
    else:
        select.select([wake, *(fd for one in waits for fd in one or ())], [], [], timeout_s)
