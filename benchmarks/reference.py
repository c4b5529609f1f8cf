"""R: what this machine's PostgreSQL does, pgbench's TPC-B at scale 10 with `-c 8 -j 2`, on its own, durable settings.

Every figure of the ledger is a ratio to it, taken in the same run: machines differ, ratios hold.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from tests.server.postgresql_server import Postgresql, start_postgresql, stop_postgresql

from benchmarks.programs import ProgramMissing

DATABASE: Final = "pgbench"


@contextmanager
def postgresql() -> Iterator[Postgresql]:
    """A PostgreSQL with pgbench's tables until the block ends; raises ProgramMissing."""
    try:
        server = start_postgresql()
    except LookupError as error:
        raise ProgramMissing(str(error)) from error
    try:
        if not (server.programs / "pgbench").exists():
            raise ProgramMissing("PostgreSQL's pgbench is not installed")
        server.command(f"CREATE DATABASE {DATABASE}")
        _pgbench(server, "-i", "-q", "-s", "10")
        yield server
    finally:
        stop_postgresql(server)


def transactions_per_s(server: Postgresql, seconds: int) -> float:
    """R, measured for so long."""
    told = _pgbench(server, "-c", "8", "-j", "2", "-T", str(seconds))
    found = re.search(r"tps = ([0-9.]+)", told)
    assert found is not None, told
    return float(found[1])


def _pgbench(server: Postgresql, *words: str) -> str:
    link = ("-h", "127.0.0.1", "-p", str(server.port), "-U", "jishan", DATABASE)
    command = [str(server.programs / "pgbench"), *words, *link]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
