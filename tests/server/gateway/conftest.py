"""Fixtures of the gateway tests: one small estate on SQLite and on PostgreSQL; the ledger is proved after each test."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

sys.path.append(str(Path(__file__).parent.parent))

from link_world import Box, World


@pytest.fixture(params=["sqlite_memory", "postgresql_database"])
def database(request: pytest.FixtureRequest) -> Engine:
    """A migrated database of each kind; SQLite's files and memory do the same for one connection."""
    found: Engine = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def world(database: Engine) -> Iterator[World]:
    made = World(database)
    yield made
    report = made.verify()
    made.close()
    assert report.ok, report.first_break


@pytest.fixture
def box(world: World) -> Box:
    """A machine with three pieces of soap at 2 points, and a resident with 10 points."""
    world.give(0, 10)
    return world.machine()
