"""Fixtures of the tests about credits."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parent.parent))

from office import Office, opened


@pytest.fixture(params=["sqlite", "postgresql"])
def office(request: pytest.FixtureRequest, sqlite_template: Path, tmp_path: Path) -> Iterator[Office]:
    """A running server with the demo's people, on each kind of database."""
    # Tests about notices go on for weeks.
    settings: dict[str, Any] = {"token_hours": 24 * 30}
    if request.param == "postgresql":
        engine = request.getfixturevalue("postgresql_database")
        settings["database_url"] = engine.url.render_as_string(hide_password=False)
    with opened(sqlite_template, tmp_path, **settings) as made:
        yield made
