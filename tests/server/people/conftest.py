"""Fixtures of the tests about people."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

sys.path.append(str(Path(__file__).parent.parent))

from office import Office, opened


@pytest.fixture
def office(sqlite_template: Path, tmp_path: Path) -> Iterator[Office]:
    """A running server with the demo's people."""
    with opened(sqlite_template, tmp_path) as made:
        yield made


@pytest.fixture(params=["sqlite_file", "postgresql_database"])
def both(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Office]:
    """An office on a database of each kind."""
    engine: Engine = request.getfixturevalue(request.param)
    url = engine.url.render_as_string(hide_password=False)
    with opened(Path(), tmp_path, database_url=url) as made:
        yield made
