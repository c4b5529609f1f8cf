"""`jishan-sim record`: stands between a real dispenser and its host, and writes down what passes, byte for byte.

A recording is lines of JSON. The first names what it is: `{"jishan_recording": 1, "port": ..., "baud_rate": ...}`.
Each of the others is a piece of the stream as it was read: `{"at_ms": 12, "from": "machine", "bytes": "FA FB 41 00
40"}`, `from` is `machine` or `host`, `at_ms` counts from the start. A line is in the file before the bytes go on, so
that a recording of a host that dies holds what it died of. Any protocol: nothing is read into the bytes.
"""

from __future__ import annotations

import json
import signal
import socket
import sys
import threading
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TextIO

import click

from jishan_sim.decode import from_hex
from jishan_sim.machine import LONGEST_WAIT_S, boot_ms
from jishan_sim.ports import Port, PortError, open_port, wait

FORMAT: Final = 1
USUAL_BAUD_RATE: Final = 9600
MAX_RECORDING_BYTES: Final = 64 * 1024 * 1024
"""More than a day of a controller that polls five times a second."""

Side = Literal["machine", "host"]


class RecordingError(ValueError):
    """A file that is no recording. The text names the line and what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Piece:
    """What one side sent at one moment, as it was read from the line."""

    at_ms: int
    side: Side
    raw: bytes

    def line(self) -> str:
        """The piece as a line of a recording."""
        return json.dumps({"at_ms": self.at_ms, "from": self.side, "bytes": self.raw.hex(" ").upper()})


def head(port: str, baud_rate: int) -> str:
    """The first line of a recording."""
    return json.dumps({"jishan_recording": FORMAT, "port": port, "baud_rate": baud_rate})


def parse(lines: Iterable[str]) -> list[Piece]:
    """The pieces of a recording, in order. RecordingError names the first line that is none."""
    pieces: list[Piece] = []
    for number, line in enumerate(lines, 1):
        try:
            said = json.loads(line)
            if number == 1:
                if said["jishan_recording"] != FORMAT:
                    raise ValueError(f"format {said['jishan_recording']}, {FORMAT} is known")
                continue
            at_ms, side, raw = said["at_ms"], said["from"], from_hex(said["bytes"])
            if side not in ("machine", "host"):
                raise ValueError(f"from {side!r} is neither machine nor host")
            if type(at_ms) is not int or at_ms < (pieces[-1].at_ms if pieces else 0):
                raise ValueError(f"at_ms {at_ms!r} is before the line above it")
            pieces.append(Piece(at_ms, side, raw))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise RecordingError(f"line {number}: {_why(error)}") from None
    if not pieces:
        raise RecordingError("nothing is recorded in it")
    return pieces


def read_file(path: Path) -> list[Piece]:
    """The pieces in a file. RecordingError where it cannot be read or is none."""
    try:
        if path.stat().st_size > MAX_RECORDING_BYTES:
            raise RecordingError(f"larger than {MAX_RECORDING_BYTES} bytes")
        return parse(path.read_text("utf-8").splitlines())
    except (OSError, ValueError) as error:
        raise RecordingError(f"{path}: {error}") from None


def _why(error: Exception) -> str:
    return f"{error} is missing" if isinstance(error, KeyError) else str(error)


class Tee:
    """Two ports joined, and a file of what passes between them."""

    def __init__(self, machine: Port, host: Port, file: TextIO) -> None:
        self._sides: tuple[tuple[Side, Port, Port], ...] = (("machine", machine, host), ("host", host, machine))
        self._file = file
        self._stopping = threading.Event()
        self._woken, self._wake = socket.socketpair()

    def run(self) -> None:
        """Pass bytes until `stop`. PortError where a port is gone, OSError where the disk is full."""
        started_ms = boot_ms()
        while not self._stopping.is_set():
            for side, source, sink in self._sides:
                raw = source.read()
                if raw:
                    self._file.write(Piece(boot_ms() - started_ms, side, raw).line() + "\n")
                    self._file.flush()
                    sink.write(raw)
            wait([source for _, source, _ in self._sides], self._woken.fileno(), LONGEST_WAIT_S)

    def stop(self) -> None:
        """End `run`."""
        self._stopping.set()
        self._wake.send(b"\0")

    def close(self) -> None:
        self._woken.close()
        self._wake.close()


@click.command()
@click.argument("port")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--baud-rate", default=USUAL_BAUD_RATE, show_default=True, help="The speed of the line.")
@click.option("--host-port", default="pty", show_default=True, help="Where the host is plugged in: pty, tcp:HOST:PORT.")
@click.option("--host-link", type=click.Path(path_type=Path), help="A symbolic link to the host's pty.")
def record(port: str, file: Path, baud_rate: int, host_port: str, host_link: Path | None) -> None:
    """Join PORT, where the real machine is, to a port for its host, and write what passes into FILE until Ctrl-C.

    The first line printed is JSON and names the host's port: {"host": "/dev/pts/3"}. A FILE that is there is not
    written over.
    """
    with ExitStack() as open_things:
        try:
            machine = open_port(port, baud_rate)
            open_things.callback(machine.close)
            host = open_port(host_port, baud_rate, host_link)
            open_things.callback(host.close)
            opened = open_things.enter_context(file.open("x", encoding="utf-8"))
        except (PortError, OSError) as error:
            raise click.ClickException(str(error)) from None
        opened.write(head(port, baud_rate) + "\n")
        tee = Tee(machine, host, opened)
        open_things.callback(tee.close)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: tee.stop())
        click.echo(json.dumps({"host": host.name}))
        sys.stdout.flush()
        try:
            tee.run()
        except (PortError, OSError) as error:
            raise click.ClickException(str(error)) from None
