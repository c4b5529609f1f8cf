"""How many machines one process can be: row P10 of docs/benchmarks.md.

`jishan-sim fleet` against a real broker: ten thousand machines, a signed heartbeat each every 15 s. A figure counts
only if no beat left more than a second late and the connection held.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from benchmarks.programs import mosquitto

MACHINES: Final = 10_000
SECONDS: Final = 45.0
"""Three heartbeats of everybody."""


def measure(*, is_quick: bool) -> dict[str, Any]:
    """P10; raises ProgramMissing."""
    machines, seconds = (200, 3.0) if is_quick else (MACHINES, SECONDS)
    build = Path.cwd() / "build"
    build.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=build) as name, mosquitto(Path(name)) as port:
        command = [sys.executable, "-m", "jishan_sim", "fleet", "--machines", str(machines), "--seconds", str(seconds)]
        done = subprocess.run([*command, "--broker", f"mqtt://127.0.0.1:{port}"], capture_output=True, text=True)
    assert done.stdout, done.stderr
    seen = json.loads(done.stdout)
    assert not seen["late"], seen
    assert not seen["disconnects"], seen
    return {
        "value": round(machines / seen["core"]),
        "unit": "machines, by the share of a core",
        "target": f">= {MACHINES}",
        "detail": f"{machines} machines took {seen['core']:.0%} of one core: {seen['beats'] / seen['seconds']:.0f} "
        f"signed heartbeats/s through Mosquitto, the latest {seen['longest_late_ms']} ms after its time",
    }
