"""The house itself: what is pinned, what an installation of one part brings, and that the parts stay apart."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
LOCKS = sorted((REPOSITORY / "lock").glob("*.txt"))
SERVER_ONLY = {"flask", "flask_sqlalchemy", "sqlalchemy", "psycopg", "alembic", "amqtt"}


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_every_package_is_pinned_and_hashed_and_no_source_is_named(lock: Path) -> None:
    text = lock.read_text(encoding="utf-8")
    assert "://" not in text
    assert "index-url" not in text
    requirements = [block for block in re.split(r"\n(?=[a-z])", text) if block.strip()]
    assert len(requirements) > 30
    for requirement in requirements:
        assert re.match(r"[a-z0-9._-]+(\[[a-z]+\])?==\S+", requirement), requirement
        assert "--hash=sha256:" in requirement, requirement


def test_the_locks_hold_what_the_extras_ask_for() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    name = re.compile(r"[a-z0-9-]+")
    for lock, extras in (
        ("run", ("server", "agent", "sim", "build")),
        ("dev", tuple(project["optional-dependencies"])),
    ):
        pinned = {
            match[0] for match in re.finditer(r"^[a-z0-9-]+", (REPOSITORY / f"lock/{lock}.txt").read_text(), re.M)
        }
        asked = project["dependencies"] + [one for extra in extras for one in project["optional-dependencies"][extra]]
        assert {match[0] for one in asked if (match := name.match(one))} <= pinned


def _imported_by(module: str) -> set[str]:
    """The top-level packages that are loaded once `module` is."""
    code = f"import {module}, sys; print(*{{name.partition('.')[0] for name in sys.modules}})"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(run.stdout.split())


@pytest.mark.parametrize("module", ["jishan_agent.__main__", "jishan_agent.loop", "jishan_agent.uplink"])
def test_an_agent_needs_nothing_of_the_server(module: str) -> None:
    loaded = _imported_by(module)
    assert not loaded & (SERVER_ONLY | {"jishan_server", "jishan_sim", "marshmallow"})


@pytest.mark.parametrize("module", ["jishan_sim.machine", "jishan_sim.decode", "jishan_sim.demo"])
def test_a_simulated_machine_needs_nothing_of_server_or_agent(module: str) -> None:
    loaded = _imported_by(module)
    assert not loaded & (SERVER_ONLY - {"flask"} | {"jishan_server", "jishan_agent"})


def test_help_prints_itself() -> None:
    run = subprocess.run(["make", "help"], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    for target in ("help", "install", "demo", "test", "check", "bench", "soak", "lock"):
        assert f"make {target} " in run.stdout
