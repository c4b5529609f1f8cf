"""Run the simulation for many seeds; a seed that fails is shrunk, and the command that replays it is printed.

python -m tests.system.soak --first 0 --seeds 2000
python -m tests.system.soak --first 4711 --seeds 1 --show
"""

from __future__ import annotations

import argparse
import multiprocessing
import pathlib
import sys
import time
from collections import Counter

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from world import Run, plan_of, run, run_plan, shrink


def _outcome(seed: int) -> tuple[int, tuple[str, ...], dict[str, int]]:
    try:
        result = run(seed)
    except Exception as error:  # a crash of the code under test is a failure of this seed, not of the soak
        return seed, (f"{type(error).__name__}: {error}",), {}
    return seed, result.problems, result.states


def main() -> None:
    """Run, count, and end with 1 if any seed failed."""
    parser = argparse.ArgumentParser(description="Run the whole-system simulation for many seeds.")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seeds", type=int, default=100, help="how many seeds")
    parser.add_argument("--show", action="store_true", help="print the history of each seed")
    parser.add_argument("--jobs", type=int, default=multiprocessing.cpu_count())
    wanted = parser.parse_args()
    seeds = range(wanted.first, wanted.first + wanted.seeds)
    if wanted.show:
        for seed in seeds:
            _show(run(seed))
        return
    began_s = time.monotonic()
    failed: list[int] = []
    states: Counter[str] = Counter()
    with multiprocessing.Pool(wanted.jobs, maxtasksperchild=500) as pool:
        for done, (seed, problems, ended) in enumerate(pool.imap_unordered(_outcome, seeds, chunksize=4), 1):
            states.update(ended)
            if problems:
                failed.append(seed)
                print(f"seed {seed} FAILED", *problems, sep="\n  ", flush=True)
                print(f"  replay: make soak SEEDS=1 ARGS='--first {seed} --show'", flush=True)
            if done % 100 == 0:
                print(f"{done} of {len(seeds)} seeds, {len(failed)} failed", flush=True)
    for seed in failed[:3]:
        _show_shrunk(seed)
    took_s = time.monotonic() - began_s
    ends = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    print(f"{len(seeds)} seeds in {took_s:.0f} s, {len(failed)} failed; redemptions: {ends}")
    sys.exit(1 if failed else 0)


def _show(result: Run) -> None:
    print(*result.lines, sep="\n")
    print(f"trace {result.trace}", f"states {result.states}", *result.problems, sep="\n")


def _show_shrunk(seed: int) -> None:
    try:
        small = shrink(plan_of(seed))
        print(f"seed {seed}, shrunk: {small}")
        _show(run_plan(small))
    except Exception as error:
        print(f"seed {seed} cannot be shrunk: {type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
