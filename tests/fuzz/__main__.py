"""Fuzz every parser for some minutes, or one of them; what is found is made as short as it can be and kept.

python -m tests.fuzz --minutes 10
python -m tests.fuzz --only xy,sheets
"""

from __future__ import annotations

import argparse
import hashlib
import random
import sys
import time
import traceback

from hypothesis import HealthCheck, Phase, given, seed, settings
from tests.fuzz.fuzz_targets import CORPUS, TARGETS, inputs

EXAMPLES = 400
"""Of one target before the next has its turn."""


def main() -> None:
    """Take turns until the time is over; the exit status is 1 where something was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--only", default=",".join(TARGETS), help="some targets, as xy,sheets")
    options = parser.parse_args()
    names = options.only.split(",")
    if unknown := set(names) - TARGETS.keys():
        parser.error(f"there is no target {min(unknown)}; there are {', '.join(TARGETS)}")
    deadline = time.monotonic() + 60 * options.minutes
    runs, failed = dict.fromkeys(names, 0), set[str]()
    while time.monotonic() < deadline and len(failed) < len(names):
        for name in names:
            if name not in failed and time.monotonic() < deadline:
                found = attempt(name, random.getrandbits(64), runs)
                if found is not None:
                    failed.add(name)
                    keep(name, found)
    for name, count in runs.items():
        sys.stdout.write(f"{name:15} {count:9,} inputs{'  FAILED' if name in failed else ''}\n")
    sys.exit(1 if failed else 0)


def attempt(name: str, number: int, runs: dict[str, int]) -> bytes | None:
    """Try a target for a while; the shortest input that it fails with, if there is one."""
    tried = b""

    @seed(number)
    @settings(
        max_examples=EXAMPLES,
        database=None,
        deadline=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(inputs(name))
    def check(raw: bytes) -> None:
        nonlocal tried
        tried = raw
        runs[name] += 1
        TARGETS[name].check(raw)

    try:
        check()
    except KeyboardInterrupt:
        raise
    except BaseException:
        # A parser written in another language may panic, which is no Exception.
        traceback.print_exc()
        return tried
    return None


def keep(name: str, raw: bytes) -> None:
    """Put what was found into the corpus, where each test run tries it again."""
    place = CORPUS / name / hashlib.sha256(raw).hexdigest()[:12]
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(raw)
    sys.stdout.write(f"{name}: {raw[:200]!r}\nkept as {place}\n")


if __name__ == "__main__":
    main()
