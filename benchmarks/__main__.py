"""`make bench`: measures the rows of docs/benchmarks.md, prints them, and writes build/bench.json.

    python -m benchmarks [--only P1,P4] [--quick] [--write-docs] [--result FILE]

R, pgbench's TPC-B on this machine, is measured first and last, so that one sees whether the machine kept its pace.
Rows whose program is missing say so. `--quick` measures next to nothing and only shows that everything runs. The exit
code is 0 also when a target is missed: a figure is a finding, not an error.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from benchmarks import link, reference
from benchmarks.programs import ProgramMissing

RESULT: Final = Path("build/bench.json")
PAGE: Final = Path("docs/benchmarks.md")
BEGIN: Final = "<!-- measured: begin -->"
END: Final = "<!-- measured: end -->"

REFERENCE_S: Final = 10
"""Long enough for pgbench's figure to settle within some percent."""

PARTS: Final = (link,)
"""Modules with `ROWS`, the names of the rows, and `measure(name, is_quick=...)`, which gives one."""

Row = dict[str, Any]

WHAT: Final = {
    "P1": "ledger on SQLite, 64 machines, redemptions against R",
    "P2": "ledger on PostgreSQL, 64 and 256 machines, redemptions against R",
    "P3": "one commit for each transfer on SQLite, against fdatasync",
    "P4": "whole path through a real broker, against half the plain echo rate",
    "P6": "one machine taking all the load, against the load spread",
    "P7": "`ledger verify`",
    "P9": "from key press to motor start, without the controller's poll wait",
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
    """Every row among `names`, as soon as it is there, between the two measurements of R; R comes last."""
    seconds = 1 if is_quick else REFERENCE_S
    with ExitStack() as closing:
        try:
            server = closing.enter_context(reference.postgresql())
        except ProgramMissing as error:
            yield from _rows(names, is_quick=is_quick)
            yield "R", _missing(error)
            return
        first = reference.transactions_per_s(server, seconds)
        yield from _rows(names, is_quick=is_quick)
        last = reference.transactions_per_s(server, seconds)
    yield (
        "R",
        {
            "value": round((first + last) / 2),
            "unit": "transactions/s",
            "target": "",
            "detail": f"first {first:.0f}, last {last:.0f}",
        },
    )


def _rows(names: set[str], *, is_quick: bool) -> Iterator[tuple[str, Row]]:
    for part in PARTS:
        for name in sorted(names & part.ROWS):
            try:
                yield name, part.measure(name, is_quick=is_quick)
            except ProgramMissing as error:
                yield name, _missing(error)


def _missing(error: ProgramMissing) -> Row:
    return {"value": None, "unit": "", "target": "", "detail": f"not measured: {error}"}


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
    return "not measured" if row["value"] is None else f"{row['value']} {row['unit']}".strip()


def _line(name: str, row: Row) -> str:
    return f"{name:3} {_value(row):45} target {row['target'] or '-':20} {row['detail']}"


if __name__ == "__main__":
    main()
