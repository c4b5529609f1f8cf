"""`make bench`: measures the rows of docs/benchmarks.md, prints them, and writes build/bench.json.

    python -m benchmarks [--only P1,P4] [--quick] [--write-docs] [--result FILE]

R, pgbench's TPC-B on this machine, is measured before and after the ledger's rows, so that one sees whether the machine
kept its pace. Rows whose program is missing say so. `--quick` measures next to nothing and only shows that everything
runs. The exit code is 0 also when a target is missed: a figure is a finding, not an error.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

from benchmarks import fleet_size, imports, ledger, link
from benchmarks.programs import ProgramMissing

RESULT: Final = Path("build/bench.json")
PAGE: Final = Path("docs/benchmarks.md")
BEGIN: Final = "<!-- measured: begin -->"
END: Final = "<!-- measured: end -->"

SECONDS: Final = 10.0
QUICK_SECONDS: Final = 1.0
LEDGER_ROWS: Final = frozenset({"P1", "P2", "P3", "P6", "P7"})
"""Measured together, between two measurements of R."""

Row = dict[str, Any]

WHAT: Final = {
    "P1": "ledger on SQLite, 64 machines, redemptions against R",
    "P2": "ledger on PostgreSQL, 64 and 256 machines, redemptions against R",
    "P3": "one commit for each transfer on SQLite, against fdatasync",
    "P4": "whole path through a real broker, against half the plain echo rate",
    "P6": "one machine taking all the load, against the load spread",
    "P7": "`ledger verify`",
    "P9": "from key press to motor start, without the controller's poll wait",
    "P10": "machines in one process, a signed heartbeat each every 15 s, on one core",
    "P11": "a file of 40,000 people, and of 40,000 hours, previewed and booked",
    "R": "pgbench TPC-B, scale 10, 8 clients: the measure of this machine",
}


def main() -> None:
    """Measure what is asked for, and say it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("--only", default=",".join(WHAT), help="rows, as P1,P4")
    parser.add_argument("--quick", action="store_true", help="only show that everything runs")
    parser.add_argument("--write-docs", action="store_true", help=f"put the table into {PAGE}")
    parser.add_argument("--result", type=Path, default=RESULT, help="where the figures go, as JSON")
    options = parser.parse_args()
    names = set(options.only.split(","))
    if unknown := names - WHAT.keys():
        parser.error(f"there is no row {min(unknown)}; there are {', '.join(WHAT)}")
    rows: dict[str, Row] = {}
    for name, row in measured(names, is_quick=options.quick):
        rows[name] = row
        sys.stdout.write(_line(name, row) + "\n")
        sys.stdout.flush()
    rows = dict(sorted(rows.items()))
    options.result.parent.mkdir(exist_ok=True)
    options.result.write_text(json.dumps(rows, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    if options.write_docs:
        write_page(PAGE, rows)


def measured(names: set[str], *, is_quick: bool) -> Iterator[tuple[str, Row]]:
    """Every row among `names`, as soon as it is there; R comes with the ledger's."""
    if of_ledger := sorted(names & LEDGER_ROWS):
        yield from ledger.rows(of_ledger, QUICK_SECONDS if is_quick else SECONDS).items()
    if "P11" in names:
        yield "P11", imports.measure(is_quick=is_quick)
    for name in sorted(names & (link.ROWS | {"P10"})):
        try:
            how = fleet_size.measure if name == "P10" else partial(link.measure, name)
            yield name, how(is_quick=is_quick)
        except ProgramMissing as error:
            yield name, {"value": None, "unit": "", "target": "", "detail": f"not measured: {error}"}


def write_page(page: Path, rows: dict[str, Row]) -> None:
    """Put the machine and the table between the page's two markers."""
    lines = [
        f"Taken on {datetime.now(UTC):%Y-%m-%d}: {machine()}.",
        "",
        "| id | what | target | measured | detail |",
        "|---|---|---|---|---|",
        *(
            f"| {name} | {WHAT.get(name, '')} | {row['target']} | {_value(row)} | {row['detail']} |"
            for name, row in rows.items()
        ),
    ]
    text = page.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    assert begin, f"{page} has no {BEGIN}"
    assert end, f"{page} has no {END}"
    page.write_text("\n".join([f"{before}{BEGIN}", *lines, f"{END}{after}"]), encoding="utf-8")


def machine() -> str:
    """The machine that the figures were taken on."""
    found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{os.cpu_count()} cores of {found[1] if found else platform.machine()}, {memory:.0f} GiB, "
        f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
    )


def _value(row: Row) -> str:
    if not row["value"]:
        return "not measured"
    values = row["value"] if isinstance(row["value"], list) else [row["value"]]
    return f"{', '.join(str(one) for one in values)} {row['unit']}"


def _line(name: str, row: Row) -> str:
    return f"{name:3} {_value(row):45} target {row['target'] or '-':20} {row['detail']}"


if __name__ == "__main__":
    main()
