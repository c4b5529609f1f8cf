"""Fixtures of the tests about imports and exports."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parent.parent))

from office import Office, opened


@pytest.fixture
def office(sqlite_template: Path, tmp_path: Path) -> Iterator[Office]:
    """A running server with the demo's people."""
    with opened(sqlite_template, tmp_path) as made:
        yield made


@pytest.fixture(params=["sqlite", "postgresql"])
def either_office(request: pytest.FixtureRequest, sqlite_template: Path, tmp_path: Path) -> Iterator[Office]:
    """The same on each database."""
    settings: dict[str, Any] = {}
    if request.param == "postgresql":
        settings["database_url"] = str(
            request.getfixturevalue("postgresql_database").url.render_as_string(hide_password=False)
        )
    with opened(sqlite_template, tmp_path, **settings) as made:
        yield made
