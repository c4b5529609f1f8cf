"""`jishan-server` as an operator types it: real processes on a data directory of their own."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

PROGRAM = [sys.executable, "-m", "jishan_server"]
START_S = 30


class Shell:
    """Runs commands on one data directory; the lowest argon2 cost saves time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        kept = {name: value for name, value in os.environ.items() if not name.startswith("JISHAN_")}
        self.environment = kept | {
            "JISHAN_DATA_DIR": str(folder),
            "JISHAN_ARGON2_ROUNDS": "1",
            "JISHAN_ARGON2_MEMORY_KIB": "8",
            "JISHAN_HTTP_PORT": "18080",
            "JISHAN_MQTT_PORT": "11883",
        }

    def run(self, *words: str, exit: int = 0, **more: str) -> Any:
        """Run a command to its end; its JSON answer, or its words on standard error if it was to fail."""
        done = subprocess.run(
            [*PROGRAM, *words], env=self.environment | more, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == exit, done.stdout + done.stderr
        return done.stderr if exit and not done.stdout else json.loads(done.stdout)

    @contextlib.contextmanager
    def up(self) -> Iterator[dict[str, Any]]:
        """`jishan-server up` until the block ends; it must end cleanly on SIGTERM."""
        running = subprocess.Popen(
            [*PROGRAM, "up"], env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:
            assert running.stdout is not None
            yield json.loads(running.stdout.readline())
            running.send_signal(signal.SIGTERM)
            _, words = running.communicate(timeout=START_S)
            assert running.returncode == 0, words
            assert "Traceback" not in words
        finally:
            if running.poll() is None:
                running.kill()
                running.communicate()


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path / "here")


def test_init_makes_everything_with_tight_modes_and_shows_the_password_once(shell: Shell) -> None:
    made = shell.run("init")
    assert made["login"] == "admin"
    assert len(made["password"]) >= 12
    assert stat.S_IMODE(shell.folder.stat().st_mode) == 0o700
    for secret in ("secret.key", "pki/ca.key", "pki/server.key"):
        assert stat.S_IMODE((shell.folder / secret).stat().st_mode) == 0o600
    assert shell.run("ledger", "verify", "--json")["ok"] is True


def test_init_a_second_time_keeps_what_there_is(shell: Shell) -> None:
    shell.run("init", "--password", "a long password")
    before = {path: (shell.folder / path).read_bytes() for path in ("secret.key", "pki/ca.crt", "pki/ca.key")}
    shell.run("init", "--password", "a long password", "--name", "jishan.example")
    assert before == {path: (shell.folder / path).read_bytes() for path in before}


def test_commands_before_init_say_what_to_do(shell: Shell) -> None:
    assert "jishan-server init" in shell.run("ledger", "verify", exit=1)
    assert "http_port: not a whole number" in shell.run("up", exit=1, JISHAN_HTTP_PORT="high")


def test_people_are_made_from_the_command_line(shell: Shell) -> None:
    shell.run("init", "--password", "a long password")
    shell.run("create-estate", "jiangpan", "--name", "江畔家园", "--parent", "county")
    made = shell.run("create-resident", "--estate", "jiangpan", "--name", "𠮷🌸", "--card", "00745A70")
    assert (made["name"], made["member_number"]) == ("𠮷🌸", "10000012")
    staff = shell.run("create-staff", "zhou.min", "--name", "周敏", "--role", "coordinator:jiangpan")
    assert len(staff["password"]) >= 12
    assert "card_taken" in shell.run(
        "create-resident", "--estate", "jiangpan", "--name", "x", "--card", "00745A70", exit=1
    )
    assert "estate_unknown" in shell.run("create-estate", "x", "--name", "x", "--parent", "nowhere", exit=1)
    code = shell.run("enroll-machine", "box-1", "--estate", "jiangpan")
    assert len(code["claim_code"].replace("-", "")) == 28
    assert shell.run("enroll-machine", "box-1")["claim_code"] != code["claim_code"]


def test_a_command_beside_a_running_server_asks_it(shell: Shell) -> None:
    demo = shell.run("init", "--demo")
    with shell.up() as ready:
        with urllib.request.urlopen(f"{ready['http']}/readyz", timeout=START_S) as answer:
            assert json.load(answer)["status"] == "ok"
        made = shell.run(
            "create-staff", "new.one", "--name", "新", "--role", "approver:jiangpan", "--password", "x" * 12
        )
        body = json.dumps({"login": "new.one", "password": "x" * 12}).encode()
        request = urllib.request.Request(
            f"{ready['http']}/api/v1/auth/token", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=START_S) as answer:
            assert json.load(answer)["staff_id"] == made["id"]
        assert "running already" in shell.run("web", exit=1)
        assert shell.run("ledger", "verify", "--json")["ok"] is True
    assert not (shell.folder / "jishan.sock").exists()
    assert len(demo["residents"]) == 6


def test_the_date_is_confirmed_from_the_command_line(shell: Shell) -> None:
    shell.run("init", "--demo")
    assert "date_differs" in shell.run("confirm-date", "2020-02-29", exit=1)
    for wrong in ("2020-02-30", "today", "20200229"):
        assert "does not match the format" in shell.run("confirm-date", wrong, exit=2)
    today = datetime.now(ZoneInfo("Asia/Shanghai")).date().isoformat()
    answer = shell.run("confirm-date", today)
    assert (answer["date"], answer["time_zone"], answer["was_doubted"]) == (today, "Asia/Shanghai", False)
    with shell.up():
        assert shell.run("confirm-date", today)["was_doubted"] is False


def test_closed_days_are_listed_with_their_roots(shell: Shell) -> None:
    assert "jishan-server init" in shell.run("ledger", "days", exit=1)
    shell.run("init", "--demo")
    assert shell.run("ledger", "days", "--json") == {"days": []}
    with contextlib.closing(sqlite3.connect(shell.folder / "jishan.db")) as connection, connection:
        connection.execute("INSERT INTO days VALUES ('2026-03-01', 0, ?, 1772380800000)", [hashlib.sha256().digest()])
    [shown] = shell.run("ledger", "days", "--json")["days"]
    assert shown == {
        "day": "2026-03-01",
        "rows": 0,
        "root": hashlib.sha256().hexdigest(),
        "closed_at": "2026-03-01T16:00:00.000Z",
    }
    words = [*PROGRAM, "ledger", "days"]
    said = subprocess.run(words, env=shell.environment, capture_output=True, text=True, timeout=60, check=True)
    assert said.stdout.split() == ["2026-03-01", "0", shown["root"]]


def test_a_broken_ledger_is_named_and_exits_with_3(shell: Shell) -> None:
    shell.run("init", "--demo")
    with contextlib.closing(sqlite3.connect(shell.folder / "jishan.db")) as connection, connection:
        connection.execute(
            "UPDATE balances SET posted = posted + 1 WHERE number = (SELECT MAX(number) FROM balances) - 1"
        )
    report = shell.run("ledger", "verify", "--json", exit=3)
    assert report["ok"] is False
    assert report["first_break"]["table"] == "balances"
    assert (
        "BROKEN"
        in subprocess.run(
            [*PROGRAM, "ledger", "verify"], env=shell.environment, capture_output=True, text=True, timeout=60
        ).stdout
    )


def test_a_running_server_is_backed_up_and_made_again_elsewhere(shell: Shell, tmp_path: Path) -> None:
    shell.run("init", "--demo")
    file = tmp_path / "nightly.backup"
    with shell.up():
        made = shell.run("backup", str(file))
    assert (made["file"], made["bytes"]) == (str(file), file.stat().st_size)
    assert "exists already" in shell.run("backup", str(file), exit=1)
    assert "exists already" in shell.run("restore", str(file), exit=1)
    elsewhere = Shell(tmp_path / "elsewhere")
    (tmp_path / "words").write_text("no backup")
    assert "damaged" in elsewhere.run("restore", str(tmp_path / "words"), exit=1)
    again = elsewhere.run("restore", str(file))
    assert (again["rows"], again["ledger_ok"]) == (made["rows"], True)
    for secret in ("secret.key", "pki/ca.key"):
        assert (elsewhere.folder / secret).read_bytes() == (shell.folder / secret).read_bytes()
        assert stat.S_IMODE((elsewhere.folder / secret).stat().st_mode) == 0o600
    with elsewhere.up():
        assert elsewhere.run("ledger", "verify", "--json")["ok"] is True
