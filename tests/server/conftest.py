"""Databases for the server's tests: SQLite in a file, SQLite in memory, and a real PostgreSQL started here.

`engine` runs a test on all three, `file_or_server` on the two that several connections can share. Each test has a
migrated database of its own, copied from a template.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Engine

from jishan_server import db

TEMPLATE = "jishan_template"


@dataclass(frozen=True)
class Postgresql:
    """A running server; its databases belong to the tests."""

    port: int
    folder: Path
    programs: Path

    def url(self, name: str) -> str:
        return f"postgresql+psycopg://jishan@127.0.0.1:{self.port}/{name}"

    def command(self, statement: str) -> None:
        with psycopg.connect(host="127.0.0.1", port=self.port, user="jishan", dbname="postgres", autocommit=True) as link:
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
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def start_postgresql(settings: str = "") -> Postgresql:
    """Start a server with its defaults, which are durable, in a folder of its own; LookupError if not installed."""
    programs = postgresql_programs()
    if programs is None:
        raise LookupError("PostgreSQL (initdb, pg_ctl) is not installed")
    folder = Path(tempfile.mkdtemp(prefix="jishan-postgresql-"))
    if os.geteuid() == 0:
        shutil.chown(folder, "nobody", "nogroup")
    server = Postgresql(free_port(), folder, programs)
    initdb = [str(programs / "initdb"), "-D", str(folder / "data"), "-U", "jishan", "-A", "trust", "-E", "UTF8"]
    subprocess.run([*_as_owner(), *initdb, "--no-locale"], check=True, capture_output=True, cwd="/")
    options = f"-p {server.port} -c listen_addresses=127.0.0.1 -k {folder} {settings}"
    server.control("-l", str(folder / "log"), "-o", options, "start")
    return server


def stop_postgresql(server: Postgresql) -> None:
    server.control("-m", "immediate", "stop")
    shutil.rmtree(server.folder)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Postgresql]:
    """A PostgreSQL server for the whole run, with a migrated template database."""
    try:
        server = start_postgresql()
    except LookupError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))
    try:
        server.command(f"CREATE DATABASE {TEMPLATE}")
        _migrate(server.url(TEMPLATE))
        yield server
    finally:
        stop_postgresql(server)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file."""
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    _migrate(f"sqlite:///{path}")
    return path


def _migrate(url: str) -> None:
    engine = db.make_engine(url)
    db.upgrade(engine)
    engine.dispose()


@pytest.fixture
def sqlite_file(sqlite_template: Path, tmp_path: Path) -> Iterator[Engine]:
    """An engine on a migrated SQLite file."""
    shutil.copy(sqlite_template, tmp_path / "jishan.db")
    engine = db.make_engine(f"sqlite:///{tmp_path / 'jishan.db'}")
    yield engine
    engine.dispose()


@pytest.fixture
def sqlite_memory() -> Iterator[Engine]:
    """An engine on a migrated SQLite database in memory."""
    engine = db.make_engine("sqlite://")
    db.upgrade(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def postgresql_database(postgresql: Postgresql) -> Iterator[Engine]:
    """An engine on a migrated PostgreSQL database."""
    name = f"test_{uuid.uuid4().hex}"
    postgresql.command(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
    engine = db.make_engine(postgresql.url(name))
    yield engine
    engine.dispose()
    postgresql.command(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=["sqlite_file", "sqlite_memory", "postgresql_database"])
def engine(request: pytest.FixtureRequest) -> Engine:
    """A migrated database of each kind."""
    found: Engine = request.getfixturevalue(request.param)
    return found


@pytest.fixture(params=["sqlite_file", "postgresql_database"])
def file_or_server(request: pytest.FixtureRequest) -> Engine:
    """A migrated database of each kind that several connections share."""
    found: Engine = request.getfixturevalue(request.param)
    return found
