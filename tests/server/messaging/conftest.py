"""Fixtures of the tests about sending: an office, a mail server and an HTTP receiver, each on a free port."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent.parent))
sys.path.append(str(Path(__file__).parent))

from office import Office, opened
from receivers import MailServer, Receiver


@pytest.fixture
def office(sqlite_template: Path, tmp_path: Path) -> Iterator[Office]:
    """A server that can send on two channels; nothing sends unless the test does."""
    settings = {"smtp_url": "smtp://127.0.0.1:1", "mail_from": "x@example.cn", "webhook_url": "https://example.cn/"}
    with opened(sqlite_template, tmp_path, **settings, quiet_hours="") as made:
        yield made


@pytest.fixture
def mail_server() -> Iterator[MailServer]:
    """A mail server without TLS."""
    with MailServer() as server:
        yield server


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """An HTTP server that takes whatever is posted."""
    with Receiver() as server:
        yield server
