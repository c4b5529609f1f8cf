"""Databases for the server's tests: SQLite in a file, SQLite in memory, and a real PostgreSQL started here.

`engine` runs a test on all three, `file_or_server` on the two that several connections can share. Each test has a
migrated database of its own, copied from a template.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine

from jishan_server import db

sys.path.append(str(Path(__file__).parent))

from postgresql_server import Postgresql, start_postgresql, stop_postgresql

TEMPLATE = "jishan_template"


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Postgresql]:
    """A PostgreSQL server for the whole run, with a migrated template database."""
    try:
        # A database is made and dropped for each test, mostly waiting for the disk; no test here cuts the power.
        server = start_postgresql("-c fsync=off")
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


@pytest.fixture(scope="session")
def memory_template() -> Iterator[Engine]:
    """A migrated SQLite database in memory."""
    engine = db.make_engine("sqlite://")
    db.upgrade(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def sqlite_memory(memory_template: Engine) -> Iterator[Engine]:
    """An engine on a migrated SQLite database in memory."""
    engine = db.make_engine("sqlite://")
    with memory_template.connect() as migrated, engine.connect() as empty:
        _driver(migrated).backup(_driver(empty))
    yield engine
    engine.dispose()


def _driver(connection: Connection) -> sqlite3.Connection:
    found = connection.connection.driver_connection
    assert isinstance(found, sqlite3.Connection)
    return found


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
