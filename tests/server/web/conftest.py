"""An office whose pages are opened without a browser."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.extend((str(Path(__file__).parent), str(Path(__file__).parents[1])))

from office import Office, opened
from reader import Pages


@pytest.fixture
def office(sqlite_template: Path, tmp_path: Path) -> Iterator[Office]:
    with opened(sqlite_template, tmp_path) as made:
        yield made


@pytest.fixture
def browser(office: Office) -> Pages:
    """A browser set to Chinese."""
    return Pages(office)
