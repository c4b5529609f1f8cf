"""Fixtures of the tests about paper."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))
sys.path.append(str(Path(__file__).parent.parent))

from office import Office, opened


@pytest.fixture
def office(sqlite_template: Path, tmp_path: Path) -> Iterator[Office]:
    """A running server with the demo's people."""
    with opened(sqlite_template, tmp_path, public_url="https://points.example/") as made:
        yield made
