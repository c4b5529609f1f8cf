"""How fast the link is: rows P4 and P9 of docs/benchmarks.md.

P4: many machines redeem through a real broker, the gateway and the ledger on SQLite; held against half of what the same
broker and the same client carry as plain echoes, in the same run. P9: from a key press to the motor, on a system that
does nothing else. Server, broker and machines are processes of their own. A figure counts only if every answer was
right, at least 1 % of the messages were repeated (P4), and `ledger verify` is clean afterwards.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import Any, Final

from benchmarks import echo
from benchmarks.fleet import Plan
from benchmarks.press import presses_ms
from benchmarks.programs import cpu_s, mosquitto, started
from benchmarks.site import POINTS, PRODUCT, SELECTIONS, STOCK, prepare

ROWS: Final = frozenset({"P4", "P9"})
SECONDS: Final = 15.0
MACHINES: Final = 256
RESIDENTS_EACH: Final = 8
PRESSES: Final = 200
LEAST_REPLAYS: Final = 0.01
P4_TARGET: Final = 0.6
P9_TARGET_MS: Final = 25

Row = dict[str, Any]


def measure(name: str, *, is_quick: bool) -> Row:
    """One of the rows; raises ProgramMissing."""
    if name == "P4":
        return whole_path(2.0, 16) if is_quick else whole_path(SECONDS, MACHINES)
    return press_to_motor(5 if is_quick else PRESSES)


def whole_path(seconds: float, machines: int) -> Row:
    """P4: redemptions through broker, gateway and ledger, against half the echoes of the same broker and client."""
    with _folder() as folder, mosquitto(folder) as port:
        site = prepare(folder / "server", port, machines, RESIDENTS_EACH)
        before = _echoes(port, seconds / 3)
        with site.serving() as where:
            plan = Plan(port, seconds, site.machines, PRODUCT, POINTS, STOCK * len(SELECTIONS))
            file = folder / "plan.json"
            file.write_text(json.dumps(dataclasses.asdict(plan)))
            before_s = cpu_s(where["pid"])
            command = [sys.executable, "-m", "benchmarks.fleet", str(file)]
            driver = subprocess.run(command, capture_output=True, text=True)
            assert driver.returncode == 0, driver.stderr
            used_s = cpu_s(where["pid"]) - before_s
        after = _echoes(port, seconds / 3)
        site.verify()
    seen = json.loads(driver.stdout)
    assert not seen["wrong"], seen["wrong"]
    assert seen["replays"] >= LEAST_REPLAYS, f"only {seen['replays']:.1%} of the messages were repeated"
    echoes = (before + after) / 2
    return {
        "value": round(seen["redemptions_per_s"] / (echoes / 2), 3),
        "unit": "of half the plain echo rate",
        "target": f">= {P4_TARGET}",
        "detail": f"{seen['redemptions_per_s']:.0f} redemptions/s of {machines} machines "
        f"({5 * seen['redemptions_per_s']:.0f} messages/s), {echoes:.0f} echoes/s; "
        f"p99 to the answer {seen['answered_p99_ms']:.0f} ms, "
        f"to the acknowledgement {seen['acknowledged_p99_ms']:.0f} ms; "
        f"{seen['replays']:.1%} repeated; "
        f"{1_000 * used_s / seen['all_redemptions']:.2f} ms of processor for each redemption in the server",
    }


def press_to_motor(presses: int) -> Row:
    """P9: the 99th percentile of the time from key press to drive command, with the broker that `up` brings along."""
    with _folder() as folder:
        site = prepare(folder / "server", None, 1, RESIDENTS_EACH)
        with site.serving() as where:
            times_ms = presses_ms(site, where["mqtt"], folder / "agent", presses)
        site.verify()
    return {
        "value": round(quantiles(times_ms, n=100, method="inclusive")[98], 1),
        "unit": "ms, p99",
        "target": f"<= {P9_TARGET_MS}",
        "detail": f"{presses} presses, median {median(times_ms):.1f} ms, longest {max(times_ms):.1f} ms; "
        "embedded broker, SQLite, two commits of the server's and two of the agent's included",
    }


def _echoes(port: int, seconds: float) -> float:
    with started([sys.executable, "-m", "benchmarks.echo", str(port)]):
        return echo.measure(port, seconds)


@contextmanager
def _folder() -> Iterator[Path]:
    """A folder on the disk that holds the working directory; gone afterwards."""
    build = Path.cwd() / "build"
    build.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=build) as name:
        yield Path(name)
