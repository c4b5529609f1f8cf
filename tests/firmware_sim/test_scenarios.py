"""Stories in files: those that are shipped hold on a machine of their own, and a bad file is named bit by bit."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from click.testing import CliRunner

from jishan_sim.__main__ import main
from jishan_sim.play import CARD, STEPS, Played, ScenarioError, differences, find, play_on, read, shipped, started

PAGE = (Path(__file__).parents[2] / "docs/simulator.md").read_text("utf-8")
AT_ONCE = 4  # they mostly wait for motors


@pytest.fixture(scope="module")
def plays() -> Iterator[dict[str, Future[list[Played]]]]:
    """Every shipped scenario, some at a time."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {name: pool.submit(played, name) for name in shipped()}


def played(name: str) -> list[Played]:
    scenario, told = find(name), list[Played]()
    with started(scenario.machine) as front:
        play_on(front, scenario, CARD, told.append)
    return told


@pytest.mark.parametrize("name", shipped())
def test_every_scenario_that_is_shipped_holds(plays: dict[str, Future[list[Played]]], name: str) -> None:
    told = plays[name].result()
    assert [step for step in told if not step.ok] == []
    assert len(told) == len(find(name).steps)


def test_an_expectation_that_cannot_come_true_any_more_ends_the_story() -> None:
    scenario = read("title: x\nsteps: [refill, {press: 1}, {expect: {turns: 0, screen: dispensed, within: 60}}, tap]")
    told: list[Played] = []
    with started(scenario.machine) as front:
        assert not play_on(front, scenario, CARD, told.append)
    assert [(step.name, step.ok) for step in told] == [("refill", True), ("press", True), ("expect", False)]
    assert "turns is 1, not 0" in told[-1].detail


def test_a_bad_file_is_named_by_the_place_of_each_bad_field() -> None:
    text = """
title: x
steps:
  - press: three
  - fault: {once: [{jamm: 1}]}
  - expect: {droped: 1, within: soon}
  - {press: 1, tap: AABBCCDD}
  - fly
  - power: maybe
  - expect: {screen: []}
  - tap: null
"""
    with pytest.raises(ScenarioError) as refusal:
        read(text)
    assert set(refusal.value.errors) == {
        "steps.1.press",
        "steps.2.fault.once.0.jamm",
        "steps.3.expect.droped",
        "steps.3.expect.within",
        "steps.4",
        "steps.5",
        "steps.6.power",
        "steps.7.expect.screen",
        "steps.8.tap",
    }


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("", {"body"}),
        ("- press: 1", {"body"}),
        ("title: x", {"steps"}),
        ("title: x\nsteps: []", {"steps"}),
        ("title: x\nsteps: [tap]\nmachine: {face: toaster, colour: red}", {"machine.face", "machine.colour"}),
        ("title: [", {"yaml"}),
        ("title: !!python/object/apply:os.getcwd []\nsteps: [tap]", {"yaml"}),
        ("[" * 5000, {"yaml"}),
    ],
)
def test_what_is_no_scenario_is_refused_whole(text: str, places: set[str]) -> None:
    with pytest.raises(ScenarioError) as refusal:
        read(text)
    assert set(refusal.value.errors) == places


def test_what_is_counted_is_counted_from_the_beginning() -> None:
    slots = [{"selection": 1, "items": 2, "stuck": False}]
    start = {"items_dropped": 7, "turns": 9}
    state = {
        "items_dropped": 8,
        "turns": 10,
        "slots": slots,
        "powered": True,
        "door_open": False,
        "screen": {"code": "dispensed"},
    }
    held = {"dropped": 1, "turns": 1, "stock": {1: 2}, "stuck": [], "screen": ("dispensed",), "door": "closed"}
    assert differences(held, state, start) == []
    assert differences({"dropped": 2}, state, start) == [("dropped is 1, not 2", False)]
    assert differences({"dropped": 0}, state, start) == [("dropped is 1, not 0", True)]
    assert differences({"stock": {5: 1}}, state, start) == [("there is no slot 5", True)]
    assert differences({"screen": ("welcome",)}, state, start) == [("screen says dispensed, not welcome", False)]


def test_a_name_that_is_none_says_which_there_are(tmp_path: Path) -> None:
    for name in ("no-such-story", str(tmp_path / "none.yaml")):
        result = CliRunner().invoke(main, ["play", name])
        assert result.exit_code == 1
        assert "happy-vend" in result.output


def test_the_page_shows_the_list_the_example_and_every_step() -> None:
    listed = CliRunner().invoke(main, ["play", "--list"]).output
    assert listed in PAGE
    example = PAGE.split("```yaml\n")[1].split("```")[0]
    assert read(example).steps == find("jam").steps[: len(read(example).steps)]
    table = PAGE.split("| step | does |")[1].split("\n\n")[0]
    assert {name for name in STEPS if f"`{name}" in table} == set(STEPS)
