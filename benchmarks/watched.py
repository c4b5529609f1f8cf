"""Run a command and say what it took: `python -m benchmarks.watched REPORT COMMAND...`.

A program of its own, because the kernel hands the most memory that a process ever held on to whatever it starts: seen
from the process of the benchmarks, which has held many rows by then, every command would seem as large as that.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path


def main(report: str, *command: str) -> int:
    """The command's exit code; `report` becomes a file {"seconds": ..., "most_mb": ...}."""
    began_s = time.monotonic()
    process = os.posix_spawn(command[0], list(command), os.environ)
    _, status, used = os.wait4(process, 0)
    took = {
        "seconds": time.monotonic() - began_s,
        "most_mb": used.ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3),
    }
    Path(report).write_text(json.dumps(took))
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
