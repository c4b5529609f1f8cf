"""The benchmarks run, and say what they found in the form that others read. How fast anything is, no test asks."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
LONGEST_S = 240


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The runner, which is no installed package."""
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("benchmarks.__main__")


def test_quick_mode_writes_a_well_formed_row(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks", "--only", "P9", "--quick", "--result", str(tmp_path / "bench.json")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LONGEST_S)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "bench.json").read_text())
    assert rows.keys() == {"P9"}
    assert rows["P9"].keys() == {"value", "unit", "target", "detail"}
    assert rows["P9"]["value"] > 0
    assert done.stdout.startswith("P9 ")


def test_an_unknown_row_is_refused_by_name() -> None:
    command = [sys.executable, "-m", "benchmarks", "--only", "P4,P99"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LONGEST_S)
    assert done.returncode == 2
    assert "P99" in done.stderr


@pytest.mark.parametrize("value", [None, 0.5])
def test_the_table_stands_between_the_markers_and_nothing_else_changes(
    runner: ModuleType, tmp_path: Path, value: float | None
) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{runner.BEGIN}\nold\n{runner.END}\nafter\n")
    runner.write_page(page, {"P4": {"value": value, "unit": "of it", "target": ">= 0.6", "detail": "why"}})
    text = page.read_text()
    assert text.startswith(f"before\n{runner.BEGIN}\n")
    assert text.endswith(f"{runner.END}\nafter\n")
    assert "old" not in text
    assert ("| not measured |" if value is None else "| 0.5 of it |") in text
