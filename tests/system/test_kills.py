"""`kill -9` of every program at every step of a redemption, with real processes: nothing is lost, nothing doubled.

The machines of one site are brought to moments of a redemption, one each, which together are its seven steps (see
docs/architecture.md, "The life of a redemption"); then one program is killed under all of them, everything else goes
on, the killed one is started again, and what the server says is compared with what left the machines.

Two sites cover both databases and both brokers; `KILL_SITES=all make test ARGS=tests/system/test_kills.py` runs the
other two pairs as well.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

sys.path.append(str(Path(__file__).parent))

from processes import ITEMS, POINTS, Machine, Refused, Site, wait_for

# Where the machine of each moment halts first, in the order of the seven steps.
MOMENTS: Final = {
    "requested": "requested_journaled",  # 1: journaled, nothing said
    "ask_under_way": "requested_journaled",  # 2: asked, nothing held
    "answer_under_way": "requested_journaled",  # 2: held, and the answer has not come
    "approved": "approved",  # 3: the answer has come
    "vending": "vending_journaled",  # 4: journaled, and the dispenser not told
    "turning": "vending_journaled",  # 4: the motor turns
    "fallen": "vending_journaled",  # 4: the item has fallen, and the dispenser has not said so
    "result_received": "result_received",  # 5: the dispenser has said it, and the journal does not hold it
    "result_journaled": "result_journaled",  # 5: journaled, and the dispenser's own record not released
    "outcome_under_way": "result_journaled",  # 6: said, not captured
    "captured": "result_journaled",  # 7: captured, and the acknowledgement has not come
}
STATUS_HELD_MS: Final = 1_500
"""Past the longest vend, and before the dispenser can have shown that it is at rest: late, and still this vend's."""

WITH_A_WHOLE_TURN: Final = ("result_received", "result_journaled", "outcome_under_way", "captured")
VICTIMS: Final = ("agent", "gateway", "broker", "database", "simulator")
OPEN: Final = ("requested", "held", "vending")

# Where there is only one right end. The others may end in several ways, all of them honest.
_CERTAIN: Final = {
    **{(victim, moment): {"captured"} for victim in VICTIMS for moment in WITH_A_WHOLE_TURN[1:]},
    **{(victim, "result_received"): {"captured"} for victim in VICTIMS if victim != "agent"},
    **{
        (victim, moment): {"captured"}
        for victim in ("gateway", "broker", "database")
        for moment in ("vending", "turning", "fallen")
    },
    **{("agent", moment): {"voided"} for moment in ("requested", "ask_under_way", "answer_under_way", "approved")},
}

external = pytest.mark.external
SITES: Final = [
    pytest.param(("sqlite", "amqtt", "default"), id="sqlite-amqtt"),
    pytest.param(("postgresql", "mosquitto", "counting"), id="postgresql-mosquitto", marks=external),
    pytest.param(("sqlite", "mosquitto", "counting"), id="sqlite-mosquitto", marks=external),
    pytest.param(("postgresql", "amqtt", "default"), id="postgresql-amqtt", marks=external),
]


@pytest.fixture(scope="module", params=SITES if os.environ.get("KILL_SITES") == "all" else SITES[:2])
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A running site with a machine for each moment."""
    database, broker, profile = request.param
    made = Site(tmp_path_factory.mktemp("site"), database, broker, profile, selections=len(VICTIMS))
    try:
        made.open_machines(len(MOMENTS))
        yield made
    finally:
        made.close()


@pytest.mark.parametrize("victim", VICTIMS)
def test_a_kill_at_every_step_loses_and_doubles_nothing(site: Site, victim: str) -> None:
    if victim == "database" and site.database is None:
        pytest.skip("SQLite lives in the server's process, which is killed as the gateway")
    selection = VICTIMS.index(victim) + 1
    known = {one["id"] for one in redemptions(site)}
    machines = dict(zip(MOMENTS, site.machines, strict=True))
    bring_to_their_moments(site, machines, selection)
    kill_and_start_again(site, victim)
    ended = wait_for(lambda: at_rest(site, known), f"rest after the kill of the {victim}")
    ends = {moment: ended[machine.id] for moment, machine in machines.items()}
    gone = {moment: machine.items_gone(selection) for moment, machine in machines.items()}
    print(victim, {moment: (end, gone[moment]) for moment, end in ends.items()})
    for moment, end in ends.items():
        check_one(moment, end, gone[moment])
    wrong = {
        moment: state
        for moment, state in ends.items()
        if state not in _CERTAIN.get((victim, moment), {"captured", "voided", "in_doubt"})
    }
    assert not wrong, f"{wrong} of {ends}, gone {gone}"
    check_all(site)


def bring_to_their_moments(site: Site, machines: dict[str, Machine], selection: int) -> None:
    """All machines stand at their moment when this returns; the broker and those that are under way are frozen."""
    # A machine that stands still for 5 s gives its dispenser up: those that need a whole turn of the coil begin.
    for is_long in (True, False):
        group = [moment for moment in MOMENTS if (moment in WITH_A_WHOLE_TURN) is is_long]
        for moment in group:
            machines[moment].choose(selection, halt_at=MOMENTS[moment])
        for moment in group:
            machines[moment].agent.wait_frozen()
    # The gateway gets the question and the outcome of two machines; what it answers stays in the broker.
    site.gateway.freeze()
    for moment in ("answer_under_way", "captured"):
        before = site.gateway.bytes_waiting_from(site.mqtt_port)
        machines[moment].go_on()
        wait_for(lambda before=before: site.gateway.bytes_waiting_from(site.mqtt_port) > before, f"{moment} to speak")
    site.broker.freeze()
    site.gateway.thaw()
    wait_for(lambda: states_of(site, machines["answer_under_way"], selection) == ["held"], "the hold")
    wait_for(lambda: states_of(site, machines["captured"], selection) == ["captured"], "the capture")
    for moment, step in (("ask_under_way", "asked"), ("outcome_under_way", "outcome_sent")):
        machines[moment].go_on(halt_at=step)
        machines[moment].agent.wait_frozen()
        machines[moment].go_on()
    machines["fallen"].hold_next_status(STATUS_HELD_MS)
    machines["fallen"].go_on()
    wait_for(lambda: machines["fallen"].items_gone(selection), "the fall")
    machines["turning"].go_on(halt_at="drive_sent")
    machines["turning"].agent.wait_frozen()


def kill_and_start_again(site: Site, victim: str) -> None:
    """Kill the victim, or all of them; let everything else go on without it; start it again."""
    ways: dict[str, list[tuple[Callable[[], None], Callable[[], None]]]] = {
        "agent": [(machine.kill_agent, machine.agent.start) for machine in site.machines],
        "simulator": [(machine.cut_power, machine.simulator.start) for machine in site.machines],
        "gateway": [(site.gateway.kill, site.gateway.start)],
        "broker": [(site.broker.kill, site.broker.start)],
        "database": [(site.database.kill, site.database.start)] if site.database else [],
    }
    for kill, _ in ways[victim]:
        kill()
    if victim != "broker":
        site.broker.thaw()
    for machine in site.machines:
        if victim != "agent":
            machine.go_on()
    for _, start in ways[victim]:
        start()


def redemptions(site: Site) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = site.api("GET", "redemptions?limit=200")["items"]
    return found


def states_of(site: Site, machine: Machine, selection: int) -> list[str]:
    return [
        one["state"] for one in redemptions(site) if (one["machine_id"], one["selection"]) == (machine.id, selection)
    ]


def at_rest(site: Site, known: set[str]) -> dict[str, str]:
    """The state in which each machine's one new redemption ended; empty while anything is still under way."""
    site.check()
    if not all(machine.is_at_rest for machine in site.machines):
        return {}
    try:
        fresh = [one for one in redemptions(site) if one["id"] not in known]
    except (OSError, Refused):
        return {}
    if len(fresh) < len(site.machines) or any(one["state"] in OPEN for one in fresh):
        return {}
    ends = {one["machine_id"]: one["state"] for one in fresh}
    assert len(ends) == len(fresh) == len(site.machines), f"more than one redemption of a machine: {fresh}"
    return ends


def check_one(moment: str, state: str, gone: int) -> None:
    """Points leave an account if and only if an item left the machine."""
    possible = {"captured": (1,), "voided": (0,), "denied": (0,), "in_doubt": (0, 1)}[state]
    assert gone in possible, f"{moment}: {state}, and {gone} items have left"


def check_all(site: Site) -> None:
    """Balances, stock and the ledger's own proof agree with the redemptions; nobody contradicted anybody."""
    ends: dict[str, Counter[tuple[int, str]]] = {machine.id: Counter() for machine in site.machines}
    for one in redemptions(site):
        ends[one["machine_id"]][one["selection"], one["state"]] += 1
    for machine in site.machines:
        counts = ends[machine.id]
        captured, in_doubt = (
            sum(count for (_, found), count in counts.items() if found == state) for state in ("captured", "in_doubt")
        )
        balance = site.api("GET", f"residents/{machine.resident_id}/balance")
        assert (balance["posted_points"], balance["held_points"]) == (POINTS - captured, in_doubt), machine.id
        for slot in site.api("GET", f"machines/{machine.id}/planogram")["slots"]:
            sold, reserved = (counts[slot["selection"], state] for state in ("captured", "in_doubt"))
            assert (slot["stock"], slot["reserved"]) == (ITEMS - sold, reserved), (machine.id, slot)
    assert site.api("GET", "contradictions")["items"] == []
    assert site.api("GET", "rejected-messages")["items"] == []
    assert site.run("jishan-server", "ledger", "verify", "--json")["ok"] is True
