"""The system's Chromium, driven by Playwright, before the real app on its production server, in one process."""

from __future__ import annotations

import os
import shutil
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

sys.path.extend((str(Path(__file__).parent), str(Path(__file__).parents[1] / "server")))

from office import Office, opened
from served import Site, serve

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "chrome")


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """One browser for the whole run; each test opens windows of its own in it."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        assert os.environ.get("CI") != "true", "Chromium is not installed"
        pytest.skip("Chromium is not installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file."""
    from jishan_server import db

    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    engine = db.make_engine(f"sqlite:///{path}")
    db.upgrade(engine)
    engine.dispose()
    return path


@pytest.fixture
def office(sqlite_template: Path, tmp_path: Path) -> Iterator[Office]:
    """A running server with the demo's people."""
    with opened(sqlite_template, tmp_path) as made:
        yield made


@pytest.fixture
def site(office: Office, chromium: Browser) -> Iterator[Site]:
    """The office at an address, and windows to look at it."""
    assert threading.current_thread() is threading.main_thread()
    with serve(office, chromium) as made:
        yield made
