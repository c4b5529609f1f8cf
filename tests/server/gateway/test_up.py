"""`jishan-server up` as a process: it says where it is, and it ends when it is told to."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

COMMAND = [sys.executable, "-m", "jishan_server"]
PATIENCE_S = 30


def command(folder: Path, *words: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *words], env=environment(folder, **settings), capture_output=True, text=True, timeout=PATIENCE_S
    )


def environment(folder: Path, **settings: str) -> dict[str, str]:
    return os.environ | {"JISHAN_DATA_DIR": str(folder), "JISHAN_HTTP_PORT": "0", "JISHAN_MQTT_PORT": "0"} | settings


@contextmanager
def running(folder: Path, **settings: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    with open(folder / "log", "w") as log:
        process = subprocess.Popen(
            [*COMMAND, "up"],
            env=environment(folder, **settings),
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
        )
    assert process.stdout is not None
    try:
        yield process, json.loads(process.stdout.readline() or "{}")
    finally:
        process.kill()
        process.wait(PATIENCE_S)
        process.stdout.close()


def test_up_says_where_it_is_and_ends_on_sigterm_with_nothing_left(tmp_path: Path) -> None:
    assert command(tmp_path, "init", "--demo").returncode == 0
    for number in (signal.SIGTERM, signal.SIGINT):
        with running(tmp_path) as (process, where):
            assert where["ready"], (tmp_path / "log").read_text()
            with urllib.request.urlopen(f"{where['http']}/readyz", timeout=5) as answer:
                assert json.load(answer)["link"] is True
            process.send_signal(number)
            assert process.wait(PATIENCE_S) == 0
            assert not alive_in_session(process.pid)
        lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
        assert {"serving", "stopping"} <= {line["event"] for line in lines}
        assert not [line for line in lines if line["level"] in ("error", "critical")]


def test_a_second_up_on_one_sqlite_database_is_refused(tmp_path: Path) -> None:
    assert command(tmp_path, "init", "--demo").returncode == 0
    with running(tmp_path) as (_, where):
        assert where["ready"]
        second = command(tmp_path, "up")
        assert second.returncode == 1
        assert "running already" in second.stderr


def test_a_taken_port_is_left_to_its_owner_and_said(tmp_path: Path) -> None:
    assert command(tmp_path, "init", "--demo").returncode == 0
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with running(tmp_path, JISHAN_HTTP_PORT=str(port)) as (_, where):
            assert where["ready"]
            assert not where["http"].endswith(f":{port}")
        assert '"event": "port_taken"' in (tmp_path / "log").read_text()


def test_an_address_that_is_not_loopback_is_refused_without_tls(tmp_path: Path) -> None:
    assert command(tmp_path, "init", "--demo").returncode == 0
    for name in ("server.crt", "server.key"):
        (tmp_path / "pki" / name).unlink()
    refused = command(tmp_path, "up", JISHAN_HTTP_HOST="0.0.0.0")
    assert refused.returncode == 1
    assert "http_host" in refused.stderr
    assert "allow_plain_http" in refused.stderr
    refused = command(tmp_path, "up", JISHAN_MQTT_HOST="0.0.0.0")
    assert "allow_plain_mqtt" in refused.stderr
    with running(tmp_path, JISHAN_HTTP_HOST="0.0.0.0", JISHAN_ALLOW_PLAIN_HTTP="true") as (_, where):
        assert where["http"].startswith("http://127.0.0.1:")


def test_the_files_for_mosquitto_hold_every_user_and_are_for_their_owner_alone(tmp_path: Path) -> None:
    assert command(tmp_path, "init", "--demo").returncode == 0
    assert command(tmp_path, "mosquitto-files", str(tmp_path / "mosquitto")).returncode == 0
    passwords, acl = tmp_path / "mosquitto" / "passwords", tmp_path / "mosquitto" / "acl"
    assert passwords.read_text().startswith("JishanGateway:$7$")
    assert "pattern write jishan/v1/+/%u/u/+" in acl.read_text()
    assert [path.stat().st_mode & 0o777 for path in (passwords, acl)] == [0o600, 0o600]


def test_a_restored_database_gets_a_new_name(tmp_path: Path) -> None:
    assert command(tmp_path, "init", "--demo").returncode == 0
    names = {json.loads(command(tmp_path, "restored").stdout)["ledger_id"] for _ in range(2)}
    assert len(names) == 2
    with running(tmp_path) as (_, where):
        assert where["ready"]
        assert command(tmp_path, "restored").returncode == 1


def alive_in_session(session: int) -> list[str]:
    """Processes of a session that are still there."""
    listed = subprocess.run(["ps", "-o", "pid=", "-s", str(session)], capture_output=True, text=True)
    return listed.stdout.split()
