"""Fixtures of the tests about explanations, figures and what looks odd."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parent.parent))
sys.path.append(str(Path(__file__).parent.parent / "volunteering"))

from office import Office, opened


@pytest.fixture(params=["sqlite", "postgresql"])
def office(request: pytest.FixtureRequest, sqlite_template: Path, tmp_path: Path) -> Iterator[Office]:
    """A running server with the demo's people, on each kind of database."""
    settings: dict[str, Any] = {"token_hours": 24 * 400}
    if request.param == "postgresql":
        engine = request.getfixturevalue("postgresql_database")
        settings["database_url"] = engine.url.render_as_string(hide_password=False)
    with opened(sqlite_template, tmp_path, **settings) as made:
        yield made


@pytest.fixture
def here(sqlite_template: Path, tmp_path: Path) -> Iterator[Office]:
    """On SQLite only: what the database does not change."""
    with opened(sqlite_template, tmp_path, token_hours=24 * 400) as made:
        yield made
