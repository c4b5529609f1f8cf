"""For other people's tests: the fixture `jishan_machine` makes simulated machines that end with the test.

pytest finds it by itself where this package is installed. Nothing of the simulator is imported before a test asks for
a machine, so that it costs the others nothing. Described in docs/test-with-the-simulator.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from jishan_sim.running import RunningMachine


@pytest.fixture
def jishan_machine() -> Iterator[Callable[..., RunningMachine]]:
    """Makes a simulated machine on a line of its own; takes what `jishan_sim.running.RunningMachine` takes."""
    from jishan_sim.running import RunningMachine

    with ExitStack() as running:
        yield lambda *given, **settings: running.enter_context(RunningMachine(*given, **settings))
