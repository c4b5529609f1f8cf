"""For all tests: which of them need another program, so that `make check` leaves them to `make test`."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what runs on a PostgreSQL of its own, by fixture or by parameter."""
    for item in items:
        parameters = getattr(getattr(item, "callspec", None), "params", {}).values()
        fixtures = getattr(item, "fixturenames", ())
        if any("postgresql" in str(name) for name in (*fixtures, *(one for one in parameters if isinstance(one, str)))):
            item.add_marker(pytest.mark.external)
