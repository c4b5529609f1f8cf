"""Fixtures of the ledger's tests."""

import sys
from pathlib import Path

import pytest
from sqlalchemy import Engine

sys.path.append(str(Path(__file__).parent))

from ledger_world import Scheme, open_scheme


@pytest.fixture
def scheme(engine: Engine) -> Scheme:
    """A scheme on each kind of database."""
    return open_scheme(engine)


@pytest.fixture
def shared_scheme(file_or_server: Engine) -> Scheme:
    """A scheme on each kind of database that several connections share."""
    return open_scheme(file_or_server)
