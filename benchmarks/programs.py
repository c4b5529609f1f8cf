"""The programs that benchmarks need, started on free ports and stopped: Mosquitto, our server, a simulated machine."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

START_S: Final = 30.0

# No limit of the broker's own may decide a figure; TCP_NODELAY is what docs/operating.md asks for.
_MOSQUITTO: Final = """\
listener {port} 127.0.0.1
allow_anonymous true
set_tcp_nodelay true
max_inflight_messages 0
max_queued_messages 0
persistence false
"""


class ProgramMissing(Exception):
    """A program that a row needs is not installed; the message names it."""


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def mosquitto_program() -> str:
    """Where Mosquitto is; raises ProgramMissing."""
    # Debian keeps it where only root's PATH leads.
    found = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if found is None:
        raise ProgramMissing("Mosquitto (mosquitto) is not installed")
    return found


@contextmanager
def mosquitto(folder: Path) -> Iterator[int]:
    """A Mosquitto until the block ends; gives its port."""
    program, port = mosquitto_program(), free_port()
    settings = folder / "mosquitto.conf"
    settings.write_text(_MOSQUITTO.format(port=port))
    with running([program, "-c", str(settings)], stderr=subprocess.DEVNULL) as process:
        deadline_s = time.monotonic() + START_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert process.poll() is None, "Mosquitto has ended"
                assert time.monotonic() < deadline_s, "Mosquitto does not answer"
                time.sleep(0.02)
        yield port


@contextmanager
def started(command: list[str], environment: Mapping[str, str] | None = None) -> Iterator[dict[str, Any]]:
    """A program that says on its first line, as JSON, that it is ready; ended with SIGTERM. Gives what it said."""
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with running(command, env={**os.environ, **(environment or {})}, **streams) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, f"{command[0]} has ended before it was ready"
        yield {**json.loads(line), "pid": process.pid}


@contextmanager
def running(command: list[str], **how: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A program until the block ends: then it gets SIGTERM, and is waited for."""
    process = subprocess.Popen(command, **how)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(START_S)
        if process.stdout is not None:
            process.stdout.close()


def cpu_s(pid: int) -> float:
    """Seconds of processor that a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
