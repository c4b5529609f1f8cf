"""The whole system from seeds: what must hold, holds, whatever fails. `make soak SEEDS=n` runs more of them."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))

from network import NetworkFaults
from world import FLEET, Plan, plan_of, run, run_plan

from jishan_sim.faults import LineFaults, VendFaults

SEEDS = int(os.environ.get("SIMULATION_SEEDS", "20"))


@pytest.mark.parametrize("seed", range(SEEDS))
def test_points_leave_if_and_only_if_an_item_leaves(seed: int) -> None:
    result = run(seed)
    assert not result.problems, "\n".join(
        [*result.lines, *result.problems, f"replay: make soak SEEDS=1 ARGS='--first {seed} --show'"]
    )


def test_one_seed_gives_one_history() -> None:
    first, second = run(7), run(7)
    assert first.lines == second.lines
    assert (first.trace, first.states) == (second.trace, second.states)


def test_the_seeds_reach_every_end() -> None:
    """A simulation that never reaches a state proves nothing about it."""
    reached: set[str] = set()
    for seed in range(SEEDS, SEEDS + 40):
        reached |= run(seed).states.keys()
        if {"captured", "voided", "denied", "in_doubt"} <= reached:
            break
    assert {"captured", "voided", "denied", "in_doubt"} <= reached


@pytest.mark.parametrize("machine", FLEET, ids=":".join)
def test_every_machine_of_the_fleet_sells(machine: tuple[str, str]) -> None:
    """A machine that never gets as far as a vend proves nothing."""
    plan = clean_plan(machine)
    # With credit first, who presses before the card is read presses for nothing.
    visits = tuple((when_ms, 0, "00745A70", 13) for when_ms in range(1_000, 200_000, 50_000))
    result = run_plan(replace(plan, visits=visits))
    assert not result.problems, "\n".join([*result.lines, *result.problems])
    assert result.states.get("captured", 0) >= (1 if machine[1] == "credit-first" else 4), "\n".join(result.lines)


def clean_plan(machine: tuple[str, str]) -> Plan:
    """One resident, who identifies and presses, and nothing goes wrong."""
    return replace(
        plan_of(0),
        machines=1,
        visits=((1_000, 0, "00745A70", 13),),
        troubles=(),
        network=NetworkFaults(),
        vend=VendFaults(),
        line=LineFaults(),
        crash_before_commit=0.0,
        crash_after_commit=0.0,
        refuse_late_answers=False,
        fleet=(machine,),
    )


def test_the_checkers_see_an_item_that_fell_for_nothing() -> None:
    """A blind sensor makes the machine say that nothing fell; a checker that is not told so must object."""
    import checkers
    import world

    plan = clean_plan(("xy", "default"))
    stage = world.World(plan)
    assert run_plan(plan).states == {"captured": 1}
    stage.run_to_the_end()
    (machine,) = stage.machines
    machine.cabinet.dropped.clear()
    assert any("nothing fell" in problem for problem in checkers.problems(stage.server, stage.machines))
    stage.close()
