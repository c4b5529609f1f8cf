"""The examples in docs/simulator.md do what they say."""

from __future__ import annotations

import re
import shlex
import tomllib
from dataclasses import fields
from pathlib import Path

from click.testing import CliRunner

from jishan_protocol.dispensers import xy
from jishan_sim.__main__ import main
from jishan_sim.control import create_app
from jishan_sim.faces.card_reader import READERS
from jishan_sim.faults import Faults, LineFaults, VendFaults, from_mapping
from jishan_sim.machine import machine

PAGE = (Path(__file__).parents[2] / "docs/simulator.md").read_text("utf-8")


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    return found[1]


def test_the_decode_example_prints_what_the_page_shows() -> None:
    command, *lines = block("console").splitlines()
    _, *arguments = shlex.split(command.removeprefix("$ "))
    assert CliRunner().invoke(main, arguments).stdout.splitlines() == lines


def test_the_faults_example_is_accepted_and_names_every_setting() -> None:
    example = tomllib.loads(block("toml"))
    faults = from_mapping(example)
    assert faults.once[0].power_cut_ms == -100
    assert example.keys() == {field.name for field in fields(Faults)}
    assert example["line"].keys() == {field.name for field in fields(LineFaults)}
    assert example["vend"].keys() | {"power_cut_ms"} == {field.name for field in fields(VendFaults)}


def test_the_python_example_runs() -> None:
    exec(compile(block("python"), "docs/simulator.md", "exec"), {})


def test_every_profile_and_the_readers_named_are_there() -> None:
    profiles = re.search(r"### Firmwares\n(.*?)\n## ", PAGE, re.DOTALL)
    assert profiles is not None
    first_cells = [row.split("|")[1] for row in profiles[1].splitlines() if row.startswith("| `")]
    named = {name for cell in first_cells for name in re.findall(r"`([a-z-]+)`", cell)}
    assert named == set(xy.PROFILES)
    readers = re.search(r"`--reader NAME` \|(.*)", PAGE)
    assert readers is not None
    assert set(re.findall(r"`([^`]+)`", readers[1])) <= set(READERS)


def test_every_request_of_the_control_port_is_on_the_page() -> None:
    app = create_app(None)  # type: ignore[arg-type]
    for rule in app.url_map.iter_rules():
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
            assert rule.endpoint == "static" or f"`{method} {rule.rule}" in PAGE


def test_every_option_of_the_machine_is_on_the_page() -> None:
    for parameter in machine.params:
        for option in parameter.opts:
            assert f"`{option}" in PAGE
