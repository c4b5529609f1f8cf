"""The agent against the simulated cabinet, through faults and crashes of every kind: what it says must be what fell."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable
from typing import Any

import pytest

from jishan_protocol.dispensers import xy
from jishan_sim.cabinet import Slot as Coil
from jishan_sim.faces.xy import XyFace, cabinet_for
from jishan_sim.faults import from_mapping

ITEMS = 9
STEPS = (
    "requested_journaled",
    "asked",
    "approved",
    "vending_journaled",
    "drive_sent",
    "result_received",
    "result_journaled",
    "outcome_sent",
    "outcome_acked",
)
VEND_FAULTS = (
    {},
    {"jam": 1.0},
    {"no_drop": 1.0},
    {"motor_missing": 1.0},
    {"slow": 1.0},
    {"ack_lost": 1.0},
    {"status_lost": 1.0},
    {"status_doubled": 1.0},
    {"wrong_status": 1.0},
    {"hold_status_ms": 40_000},
    {"power_cut": 1.0},
    {"power_cut": 1.0, "power_cut_ms": -100},
    {"power_cut": 1.0, "power_cut_ms": 2_000},
)
SAYS_LEFT = ("Dispensed", "ProvedDispensed")
SAYS_STAYED = ("NotStarted", "NotDispensed", "ProvedNotDispensed")


class Crash(BaseException):
    """The process is gone."""


def join_face(bench: Any, faults: dict[str, object], seed: int) -> Any:
    """Put the simulated controller in the place of the scripted one."""
    profile = dataclasses.replace(bench.profile, longest_vend_ms=20_000)
    bench.profile = profile
    cabinet = cabinet_for(profile, [Coil(selection, ITEMS, ITEMS) for selection in (13, 14, 15)])
    face = XyFace(cabinet, profile, from_mapping(faults), random.Random(seed))
    bench.vmc = FaceOnWire(face)
    return face


class FaceOnWire:
    """The face, as the bench talks to its controller."""

    def __init__(self, face: XyFace) -> None:
        self.face = face

    def output(self, now_ms: int) -> bytes:
        self.face.tick(now_ms)
        return self.face.take_output()

    def receive(self, data: bytes, now_ms: int) -> bytes:
        self.face.receive(data, now_ms)
        return self.face.take_output()


def one_redemption(bench: Any, chance: random.Random) -> None:
    """A resident tries; time passes in pieces."""
    bench.run(200_000, lambda: bench.agent.status.is_selling)
    bench.tap()
    bench.press(chance.choice([13, 14]))
    bench.run(chance.randint(1_000, 12_000))


def judge(bench: Any, face: XyFace) -> dict[str, int]:
    """Compare what was said with what fell; gives how often each end was said."""
    said: dict[str, list[str]] = {}
    selection_of = {ask.redemption_id: ask.selection for ask in bench.server.asks}
    for message in bench.server.inbox:
        redemption_id = getattr(message, "redemption_id", None)
        if redemption_id is not None:
            said.setdefault(redemption_id, []).append(type(message).__name__)
    ends: dict[str, int] = {}
    captured = {13: 0, 14: 0, 15: 0}
    in_doubt = {13: 0, 14: 0, 15: 0}
    for redemption_id, names in said.items():
        left = [name for name in names if name in SAYS_LEFT]
        stayed = [name for name in names if name in SAYS_STAYED]
        assert len(left) + len(stayed) <= 1, names
        assert left or stayed or names[-1] == "OutcomeUnknown", names
        assert names.count("VendStarted") <= 1
        selection = selection_of.get(redemption_id, 15)
        captured[selection] += len(left)
        in_doubt[selection] += not left and not stayed
        ends[names[-1]] = ends.get(names[-1], 0) + 1
    for selection in captured:
        fell = face.cabinet.items_dropped(selection)
        assert captured[selection] <= fell <= captured[selection] + in_doubt[selection], (selection, said)
    return ends


@pytest.mark.parametrize("seed", range(24))
def test_what_is_said_is_what_fell(make_bench: Callable[..., Any], seed: int) -> None:
    chance = random.Random(seed)
    profile = chance.choice(["default", "paper", "counting", "counting-volatile", "counting-stock"])
    bench = make_bench(profile, start=False)
    face = join_face(bench, {"line": {"frame_loss": 0.02, "frame_double": 0.02, "bad_checksum": 0.02}}, seed)
    bench.start()
    face.power_on(0)
    bench.link()
    for _ in range(6):
        vend = chance.choice(VEND_FAULTS)
        line = {"frame_loss": chance.choice([0, 0.05]), "cut_frame": chance.choice([0, 0.02]), "delay_ms": 30}
        face.set_faults(from_mapping({"vend": vend, "line": line}))
        if chance.random() < 0.6:
            bench.crash_at(chance.choice(STEPS), Crash)
        bench.survive(Crash, lambda: one_redemption(bench, chance))
        if chance.random() < 0.3:
            bench.survive(Crash, bench.unlink)
            bench.survive(Crash, lambda: bench.run(20_000))
            bench.survive(Crash, bench.link)
        face.set_faults(from_mapping({}))
        face.cabinet.clear_jams()
        for slot in face.cabinet.slots.values():
            slot.stuck = False
        bench.survive(Crash, lambda: bench.run(90_000))
        bench.survive(Crash, bench.reopen)
    bench.survive(Crash, lambda: bench.run(120_000))
    judge(bench, face)
    assert bench.journal.outbox_length == 0
    assert bench.journal.left_open() == ()


def test_two_runs_of_one_seed_say_the_same(make_bench: Callable[..., Any], tmp_path: Any) -> None:
    histories = []
    for place in ("a", "b"):
        (tmp_path / place).mkdir()
        bench = make_bench("counting", start=False, directory=tmp_path / place)
        face = join_face(bench, {"vend": {"jam": 0.3, "status_lost": 0.3}}, 5)
        bench.start()
        face.power_on(0)
        bench.link()
        for _ in range(3):
            one_redemption(bench, random.Random(1))
        histories.append(list(bench.server.payloads.values()))
    assert histories[0] == histories[1]
    assert xy.PROFILES["counting"].sales_count_host_vends
