"""A real PostgreSQL, started on a free port in a folder of its own, and stopped without a trace.

For tests and benchmarks. Its settings are PostgreSQL's own, which are durable.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import socket
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import psycopg


@dataclass(frozen=True)
class Postgresql:
    """A running server; its databases belong to the tests."""

    port: int
    folder: Path
    programs: Path
    options: str

    def url(self, name: str) -> str:
        return f"postgresql+psycopg://jishan@127.0.0.1:{self.port}/{name}"

    def command(self, statement: str) -> None:
        with psycopg.connect(
            host="127.0.0.1", port=self.port, user="jishan", dbname="postgres", autocommit=True
        ) as link:
            link.execute(statement)  # type: ignore[call-overload]

    def control(self, *words: str) -> None:
        """Run pg_ctl on it, as the user that owns it."""
        subprocess.run(
            [*_as_owner(), str(self.programs / "pg_ctl"), "-D", str(self.folder / "data"), "-w", *words],
            check=True,
            capture_output=True,
            cwd="/",
        )


def postgresql_programs() -> Path | None:
    """The folder with initdb and pg_ctl: from PATH, else the newest where Debian keeps them."""
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).resolve().parent
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda one: int(one.parent.name))
    return next((one for one in reversed(folders) if (one / "initdb").exists()), None)


def _as_owner() -> list[str]:
    """PostgreSQL refuses to run as root; then it runs as `nobody`."""
    if os.geteuid() != 0:
        return []
    return ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]


def free_port() -> int:
    """A port below those that the system gives to clients: none of them takes it while its server is down."""
    for port in random.SystemRandom().sample(range(20_000, 32_000), 100):
        with socket.socket() as one, contextlib.suppress(OSError):
            one.bind(("127.0.0.1", port))
            return port
    raise LookupError("100 ports from 20000 to 31999 are taken")


def start_postgresql(settings: str = "") -> Postgresql:
    """Start a server with its defaults, which are durable, in a folder of its own; LookupError if not installed."""
    programs = postgresql_programs()
    if programs is None:
        raise LookupError("PostgreSQL (initdb, pg_ctl) is not installed")
    folder = Path(tempfile.mkdtemp(prefix="jishan-postgresql-"))
    if os.geteuid() == 0:
        shutil.chown(folder, "nobody", "nogroup")
    port = free_port()
    options = f"-p {port} -c listen_addresses=127.0.0.1 -k {folder} {settings}"
    server = Postgresql(port, folder, programs, options)
    initdb = [str(programs / "initdb"), "-D", str(folder / "data"), "-U", "jishan", "-A", "trust", "-E", "UTF8"]
    subprocess.run([*_as_owner(), *initdb, "--no-locale"], check=True, capture_output=True, cwd="/")
    server.control("-l", str(folder / "log"), "-o", options, "start")
    return server


def stop_postgresql(server: Postgresql) -> None:
    server.control("-m", "immediate", "stop")
    shutil.rmtree(server.folder)
