"""The screen of a real agent process without server and broker: it serves, says why it is closed, and ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from jishan_agent import config
from jishan_agent.__main__ import main
from jishan_agent.config import ConfigError
from jishan_agent.words import WORDS

LONGEST_S = 60


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def dispenser() -> Iterator[str]:
    """A port that is there and says nothing."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        kept: list[socket.socket] = []

        def accept() -> None:
            while True:
                try:
                    kept.append(listening.accept()[0])
                except OSError:
                    return

        thread = threading.Thread(target=accept)
        thread.start()
        yield f"socket://127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()
        for one in kept:
            one.close()


@pytest.fixture
def directory(tmp_path: Path, dispenser: str) -> Path:
    """An enrolled machine with a screen."""
    settings: dict[str, object] = {
        "machine_id": "m1",
        "shard": 7,
        "key_id": 1,
        "key": bytes(range(32)).hex(),
        "card_key": bytes(range(32, 64)).hex(),
        "mqtt_url": f"mqtt://127.0.0.1:{free_port()}",
        "mqtt_username": "m1",
        "mqtt_password": "secret",
        "dispenser_port": dispenser,
        "kiosk_address": f"127.0.0.1:{free_port()}",
        "telephone": "0833-1234567",
        "speech_command": "no-such-program-here",
    }
    config.write(tmp_path, settings)
    return tmp_path


def ask(directory: Path, path: str, body: Any = None) -> Any:
    """Ask the screen's page until the agent is there."""
    address = f"http://{config.load(directory, {}).kiosk_address}{path}"
    sent = None if body is None else json.dumps(body).encode()
    end = time.monotonic() + LONGEST_S
    while True:
        try:
            request = urllib.request.Request(address, sent, {"Content-Type": "application/json"})
            with urllib.request.urlopen(request, timeout=LONGEST_S) as answer:
                text = answer.read()
                return json.loads(text) if "json" in answer.headers.get("Content-Type", "") else text
        except urllib.error.HTTPError:
            raise
        except OSError:
            assert time.monotonic() < end
            time.sleep(0.1)


def test_without_server_and_broker_the_screen_is_there_and_says_why(directory: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with (directory / "agent.log").open("w") as log:
        agent = subprocess.Popen(
            [sys.executable, "-m", "jishan_agent", "run", "--dir", str(directory)],
            env=environment,
            stdout=log,
            stderr=log,
        )
        try:
            assert b"kiosk.js" in ask(directory, "/")
            shown = ask(directory, "/screen?after=0")
            assert shown["screen"]["step"] == "closed"
            assert shown["screen"]["words"] == WORDS["not_configured"][0]
            assert "0833-1234567" in shown["screen"]["telephone"]
            ask(directory, "/act", {"act": "language", "view": shown["screen"]["view"]})
            assert ask(directory, f"/screen?after={shown['number']}")["screen"]["language"] == "en"
        finally:
            agent.send_signal(signal.SIGTERM)
            assert agent.wait(LONGEST_S) == 0
    text = (directory / "agent.log").read_text(encoding="utf-8")
    assert '"event": "no_sound"' in text
    assert "0833" not in text


def test_check_names_what_is_missing(directory: Path) -> None:
    done = CliRunner().invoke(main, ["check", "--dir", str(directory)])
    assert done.exit_code == 1
    assert "voice: no-such-program-here is not there" in done.output
    assert "telephone: 0833-1234567" in done.output


@pytest.mark.parametrize("address", ["0.0.0.0:8090", "192.168.1.5:8090", "127.0.0.1", "8090", "http://127.0.0.1:8090"])
def test_the_screen_is_served_on_this_host_only(directory: Path, address: str) -> None:
    with pytest.raises(ConfigError, match="kiosk_address"):
        config.load(directory, {}, kiosk_address=address)


def test_an_address_that_is_taken_stops_the_start_and_names_itself(directory: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = subprocess.run(
            [sys.executable, "-m", "jishan_agent", "run", "--dir", str(directory), "--kiosk-address", address],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            timeout=LONGEST_S,
        )
    assert done.returncode == 1
    assert f"kiosk_address: {address}" in done.stderr
