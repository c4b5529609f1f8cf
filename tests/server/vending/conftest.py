"""Fixtures of the vending tests: one small estate on each kind of database."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

sys.path.append(str(Path(__file__).parent.parent))

from link_world import Box, World


@pytest.fixture
def world(engine: Engine) -> Iterator[World]:
    made = World(engine)
    yield made
    report = made.verify()
    made.close()
    assert report.ok, report.first_break


@pytest.fixture
def box(world: World) -> Box:
    """A machine with three pieces of soap at 2 points, and a resident with 10 points."""
    world.give(0, 10)
    return world.machine()
