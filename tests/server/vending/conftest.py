"""Fixtures of the vending tests."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent.parent))

from link_world import Box, World

from jishan_server.db import make_engine


@pytest.fixture
def world() -> Iterator[World]:
    engine = make_engine("sqlite://")
    made = World(engine)
    yield made
    made.close()
    engine.dispose()


@pytest.fixture
def box(world: World) -> Box:
    """A machine with three pieces of soap at 2 points, and a resident with 10 points."""
    world.give(0, 10)
    return world.machine()
