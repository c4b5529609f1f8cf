"""P11: a file of 40,000 people, and one of 40,000 hours, each previewed and booked by `jishan-server import`.

Time is that of the whole command, from its start to its end; memory is the most that its process ever held. Afterwards
each file is sent once more, and must find nothing new; and `jishan-server ledger verify` must find nothing wrong.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from benchmarks.site import SERVER
from jishan_server.demo_data import ESTATE
from jishan_server.sheets.writing import write_xlsx

ROWS: Final = 40_000
QUICK_ROWS: Final = 400
TARGET_S: Final = 30
TARGET_MB: Final = 300
BAD_ROWS: Final = 3
"""Of each file: the good ones are booked all the same."""
FIRST_PHONE: Final = 13_000_000_001
LETTERS: Final = str.maketrans("0123456789", "零一二三四五六七八九")
"""No digit stands in a name."""


def measure(*, is_quick: bool = False) -> dict[str, Any]:
    """The row of P11."""
    rows = QUICK_ROWS if is_quick else ROWS
    others = {name: value for name, value in os.environ.items() if not name.startswith("JISHAN_")}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        environment = others | {"JISHAN_DATA_DIR": str(folder)}
        subprocess.run([*SERVER, "init", "--demo"], env=environment, check=True, capture_output=True)
        people, hours = folder / "people.xlsx", folder / "hours.xlsx"
        people.write_bytes(write_xlsx(PEOPLE, [_person(number) for number in range(rows)]))
        hours.write_bytes(write_xlsx(HOURS, [_work(number) for number in range(rows)]))
        two = ("--sent-by", "coordinator", "--approved-by", "approver")
        figures = {}
        for kind, file, more in (("people", people, ()), ("hours", hours, two)):
            command = [*SERVER, "import", kind, str(file), "--estate", ESTATE, "--yes", *more]
            seconds, megabytes, said = _run(command, environment, folder)
            assert f"{rows - BAD_ROWS} booked, {BAD_ROWS} refused" in said, said
            figures[kind] = (seconds, megabytes)
            _, _, again = _run(command, environment, folder)
            assert f"0 new, {rows - BAD_ROWS} there already" in again, again
        verified = subprocess.run([*SERVER, "ledger", "verify"], env=environment, capture_output=True, text=True)
        assert verified.returncode == 0, verified.stdout
    return {
        "value": [round(seconds, 1) for seconds, _ in figures.values()],
        "unit": "s",
        "target": f"<= {TARGET_S} s, <= {TARGET_MB} MB",
        "detail": f"{rows} rows of people and of hours; most memory "
        + ", ".join(f"{megabytes:.0f} MB" for _, megabytes in figures.values()),
    }


PEOPLE: Final = ("姓名", "电话", "性别", "出生日期", "楼栋", "单元", "房号", "同意书编号", "签字日期")
HOURS: Final = ("姓名", "电话", "日期", "时长", "活动名称", "类别")


def _person(number: int) -> list[str | int]:
    born = f"19{40 + number % 60}-03-05"
    home: list[str | int] = [f"{number % 50 + 1}栋", number % 6 + 1, number % 900 + 101]
    return [_name(number), _phone(number), "女", born, *home, f"T-{number}", "2026-01-05"]


def _work(number: int) -> list[str | int]:
    day = f"2025-{1 + number % 12:02}-{1 + number % 28:02}"
    return [_name(number), _phone(number), day, "2小时", "扫雪", "环境"]


def _name(number: int) -> str:
    return "居" + str(number).translate(LETTERS)


def _phone(number: int) -> int | str:
    return "1.3E+10" if number < BAD_ROWS else FIRST_PHONE + number


def _run(command: list[str], environment: Mapping[str, str], folder: Path) -> tuple[float, float, str]:
    """Seconds, most megabytes and the words of a command."""
    report = folder / "took.json"
    watched = [sys.executable, "-m", "benchmarks.watched", str(report), *command]
    done = subprocess.run(watched, env=dict(environment), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    took = json.loads(report.read_text())
    return took["seconds"], took["most_mb"], done.stdout
