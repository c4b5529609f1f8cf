"""`jishan-server import` and `export` as an operator types them, with and without a running server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from jishan_server import local_socket
from jishan_server.assembly import assembled
from jishan_server.cli import main
from jishan_server.config import load
from jishan_server.sheets import reading
from jishan_server.sheets.writing import write_csv

PROGRAM = [sys.executable, "-m", "jishan_server"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data directory with the demo's people."""
    for name in [name for name in os.environ if name.startswith("JISHAN_")]:
        monkeypatch.delenv(name)
    for name, value in (("DATA_DIR", str(tmp_path)), ("ARGON2_ROUNDS", "1"), ("ARGON2_MEMORY_KIB", "8")):
        monkeypatch.setenv(f"JISHAN_{name}", value)
    assert run("init", "--demo").exit_code == 0
    return tmp_path


def run(*words: str) -> Result:
    return CliRunner().invoke(main, list(words))


def people(folder: Path) -> Path:
    file = folder / "名单.csv"
    rows = [["江一", "13800000001", "T-1", "2026-01-01"], ["江二", "1.38E+10", None, None], ["合计", "2", None, None]]
    file.write_bytes(write_csv(["姓名", "电话", "同意书编号", "签字日期"], rows, "gb18030"))
    return file


def test_a_file_is_previewed_booked_and_exported_from_the_command_line(folder: Path) -> None:
    file = people(folder)
    dry = run("import", "people", str(file), "--estate", "jiangpan", "--dry-run")
    assert dry.exit_code == 0, dry.output
    assert "2 rows: 1 new, 0 there already, 1 refused" in dry.output
    assert "row 4 left out: total" in dry.output
    assert "row 3, B 电话" in dry.output
    errors = reading.read((folder / "名单-errors.csv").read_bytes())
    assert errors.rows[1][:2] == ["江二", "1.38E+10"]

    asked = run("import", "people", str(file), "--estate", "jiangpan")
    assert asked.exit_code == 1, "nobody said yes"
    done = run("import", "people", str(file), "--estate", "jiangpan", "--yes")
    assert "1 booked, 1 refused" in done.output
    again = run("import", "people", str(file), "--estate", "jiangpan", "--yes")
    assert "0 new, 1 there already" in again.output

    out = folder / "people.csv"
    assert run("export", "people", str(out), "--node", "jiangpan").exit_code == 0
    assert "江一" in [row[1] for row in reading.read(out.read_bytes()).rows]
    report = folder / "2026.xlsx"
    assert run("export", "yearly", str(report), "--node", "hongya", "--year", "2026").exit_code == 0
    assert reading.read(report.read_bytes()).rows[-1][0] == "合计"


def test_hours_take_two_people(folder: Path) -> None:
    file = folder / "hours.csv"
    file.write_bytes(
        write_csv(["姓名", "卡号", "日期", "时长", "活动"], [["王建华", "00745A70", "2025-12-01", "2h", "扫雪"]])
    )
    words = ("import", "hours", str(file), "--estate", "jiangpan", "--yes")
    assert "two people" in run(*words).output
    alone = run(*words, "--sent-by", "coordinator", "--approved-by", "coordinator")
    assert alone.exit_code == 1
    both = run(*words, "--sent-by", "coordinator", "--approved-by", "approver")
    assert "1 booked, 0 refused" in both.output, both.output


def test_a_running_server_does_what_is_to_be_written(folder: Path) -> None:
    file = people(folder)
    with assembled(load()) as parts:
        with pytest.raises(local_socket.Busy), local_socket.exclusive(parts.config.lock_path):
            pass
        done = subprocess.run(
            [*PROGRAM, "import", "people", str(file), "--estate", "jiangpan", "--yes"],
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert "1 booked, 1 refused" in done.stdout, done.stdout + done.stderr
    assert json.loads(run("ledger", "verify", "--json").output)["first_break"] is None
