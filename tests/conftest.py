"""For all tests: which of them need another program, so that `make check` leaves them to `make test`."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

LONG: Final = ("test_kills.py", "test_every_page.py", "test_demo.py", "test_vouchers_simulated.py", "test_conform.py")
"""Files that take longest: they begin first, so that no worker is left alone with one at the end."""


def _begins_at(path: Path) -> int:
    if path.name in LONG:
        return LONG.index(path.name)
    return len(LONG) + (path.parent.name not in ("system", "browser"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first, and mark what runs on a PostgreSQL of its own, by fixture or by parameter."""
    items.sort(key=lambda item: _begins_at(item.path))
    for item in items:
        parameters = getattr(getattr(item, "callspec", None), "params", {}).values()
        fixtures = getattr(item, "fixturenames", ())
        if any("postgresql" in str(name) for name in (*fixtures, *(one for one in parameters if isinstance(one, str)))):
            item.add_marker(pytest.mark.external)
