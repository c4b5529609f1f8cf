"""Driver and simulated board on one bad link, in virtual time: whatever happens, what is said is what happened.

Each seed sells a few items while messages are lost, doubled, late and overtaken, the power goes at any moment, the
store is lost, and the agent starts again in mid-vend. The cabinet says what is true.
"""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from jishan_agent.dispensers import base
from jishan_agent.dispensers.mqtt_board import MqttBoard
from jishan_protocol.dispensers import mqtt_board as board
from jishan_sim.cabinet import Slot
from jishan_sim.faces.mqtt_board import face_for
from jishan_sim.faults import from_mapping

SEEDS = 40
VENDS = 6
APPROVAL_MS = 20_000
LONGEST_MS = 600_000


class Together:
    """One agent's part, as far as a driver sees it, and one board."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        profile = board.PROFILES[self.random.choice(["default", "late-store"])]
        self.profile = profile
        self.face = face_for([Slot(1, 9, 9)], profile, from_mapping({}), Random(seed + 1))
        self.now_ms = 0
        self.driver = MqttBoard(profile)
        self.heard: list[base.DispenserEvent] = []
        self.face.power_on(0)

    def spoil(self) -> None:
        """Whatever may go wrong in the next vend."""
        random = self.random

        def some(most: float) -> float:
            return random.choice([0, 0, random.random() * most])

        line = {
            name: some(0.5) for name in ("frame_loss", "frame_double", "frame_reorder", "bad_checksum", "cut_frame")
        }
        vend: dict[str, Any] = {name: some(1) for name in ("jam", "no_drop", "slow", "ack_lost", "status_lost")}
        vend |= {"power_cut": some(1), "store_lost": some(1), "power_off_ms": random.choice([0, 3_000, 60_000])}
        vend |= {"motor_missing": some(0.5), "hold_status_ms": random.choice([0, 0, 5_000, 70_000])}
        self.face.set_faults(from_mapping({"line": line | {"delay_ms": random.choice([0, 50, 2_000])}, "vend": vend}))

    def step(self) -> None:
        """A moment passes."""
        due_ms = [one for one in (self.face.next_wakeup_ms, self.driver.next_wakeup_ms) if one is not None]
        self.now_ms = max(self.now_ms + 1, min(min(due_ms), self.now_ms + 200))
        self.driver.tick(self.now_ms)
        self.face.receive(self.driver.take_output(), self.now_ms)
        self.driver.receive(self.face.take_output(), self.now_ms)
        self.heard += self.driver.take_events()

    def wait(self, *kinds: type[Any], for_ms: int = LONGEST_MS) -> Any:
        """The next event of these kinds; None if it does not come."""
        end_ms = self.now_ms + for_ms
        while self.now_ms < end_ms:
            while self.heard:
                event = self.heard.pop(0)
                if isinstance(event, kinds):
                    return event
            self.step()
        return None

    def sell(self) -> None:
        """One redemption, told from its readings to its end."""
        cabinet = self.face.cabinet
        self.spoil()
        self.driver.check(1, self.now_ms)
        checked = self.wait(base.Checked)
        assert checked is not None
        if not checked.is_sellable:
            return
        gone, turns = cabinet.items_dropped(), cabinet.turns
        not_after_ms = self.now_ms + APPROVAL_MS
        self.driver.vend(1, not_after_ms, self.now_ms)
        is_new_run = self.random.random() < 0.3
        if is_new_run:
            self.wait(for_ms=self.random.randint(0, 8_000))
            self.driver, self.heard = MqttBoard(self.profile), []
        claim = self.ended(checked.readings, is_new_run)
        self.face.set_faults(from_mapping({}))
        self.wait(for_ms=APPROVAL_MS + 10_000)
        assert cabinet.turns - turns <= 1
        dropped = cabinet.items_dropped() - gone
        assert dropped <= 1
        assert claim in (None, dropped == 1), f"{claim} was said, {dropped} left"

    def ended(self, readings: base.Readings, is_new_run: bool) -> bool | None:
        """What is said at last: dispensed, not dispensed, or that nobody knows; the driver is at rest then."""
        results = (base.VendSucceeded, base.VendFailed)
        if not is_new_run:
            event = self.wait(*results, base.VendUnknown)
            assert event is not None, "every vend has an end"
            if isinstance(event, results):
                self.driver.release(self.now_ms)
                return isinstance(event, base.VendSucceeded)
        self.driver.recover(1, readings, self.now_ms)
        claim: bool | None = None
        self.face.set_faults(from_mapping({}))
        while not isinstance(event := self.wait(*results, base.AtRest), base.AtRest):
            assert event is not None, "it comes to rest"
            assert claim is None, "one result is told"
            claim = isinstance(event, base.VendSucceeded)
            self.driver.release(self.now_ms)
        return claim


@pytest.mark.parametrize("seed", range(SEEDS))
def test_whatever_happens_what_is_said_is_what_happened(seed: int) -> None:
    together = Together(seed)
    for _ in range(VENDS):
        together.wait(base.OnlineChanged, for_ms=60_000)
        together.sell()
        cabinet = together.face.cabinet
        cabinet.refill(1)
        together.face.report(1, together.now_ms)
    together.face.set_faults(from_mapping({}))
    together.wait(for_ms=90_000)  # the longest power cut is over
    together.driver.check(1, together.now_ms)
    checked = together.wait(base.Checked)
    assert checked is not None
    assert checked.is_sellable, checked.code
