"""The demo's own story, as a person would start it, and its clean end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SIM = str(Path(sys.executable).parent / "jishan-sim")
LIMIT_S = 150


def _parts_of(directory: Path) -> list[str]:
    """The command lines of running processes that name `directory`."""
    listed = subprocess.run(["ps", "-ww", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    return [line for line in listed.splitlines() if str(directory) in line and "jishan-sim demo" not in line]


FACES = ("xy", "mdb", "lock-board", "modbus-board", "mqtt")


@pytest.mark.parametrize("face", FACES if os.environ.get("DEMO_FACES") == "all" else FACES[:1])
def test_the_story_holds_and_leaves_no_process(tmp_path: Path, face: str) -> None:
    """`DEMO_FACES=all` plays it with every kind of dispenser, a minute each."""
    told = subprocess.run(
        [SIM, "demo", "--once", "--json", "--face", face, "--dir", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    story = json.loads(told.stdout)
    assert [step for step in story["steps"] if not step["ok"]] == []
    assert story["ok"]
    assert told.returncode == 0
    assert {"name", "ok", "detail"} == story["steps"][0].keys()
    assert _parts_of(tmp_path) == []


def _welcomed(running: subprocess.Popen[str]) -> None:
    """Read what the demo says until everything runs."""
    assert running.stdout is not None
    seen, end_s = "", time.monotonic() + LIMIT_S
    while "Everything runs" not in seen:
        assert running.poll() is None, seen
        assert time.monotonic() < end_s, seen
        seen += running.stdout.readline()


def test_the_demo_goes_on_where_it_was_and_ends_with_all_its_parts(tmp_path: Path) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        with subprocess.Popen(
            [SIM, "demo", "--dir", str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as running:
            try:
                _welcomed(running)
                assert len(_parts_of(tmp_path)) == 2, "the machine and its agent name their folder"
            finally:
                running.send_signal(number)
                rest, _ = running.communicate(timeout=60)
        assert "nothing is left running" in rest
        assert _parts_of(tmp_path) == []
