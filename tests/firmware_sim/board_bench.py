"""A bench for simulated boards: a host that asks by hand, and a virtual clock."""

from __future__ import annotations

from random import Random
from typing import Any

from jishan_sim.cabinet import Slot
from jishan_sim.faces import FACES
from jishan_sim.faults import from_mapping

ITEMS = 5


class BoardBench:
    """A face with four slots, powered and ready. `heard` are the bytes that came, each with its time."""

    def __init__(
        self, protocol: str, profile: str = "default", selections: tuple[int, ...] = (1, 2, 3, 4), **faults: Any
    ) -> None:
        slots = [Slot(selection, ITEMS, ITEMS) for selection in selections]
        self.face: Any = FACES[protocol].make(profile, slots, from_mapping(faults), Random(1))
        self.cabinet = self.face.cabinet
        self.now_ms = 0
        self.heard: list[tuple[int, bytes]] = []
        self.face.power_on(0)
        self.run(1_000)

    def run(self, for_ms: int) -> None:
        """Let virtual time pass."""
        end_ms = self.now_ms + for_ms
        while True:
            due_ms = self.face.next_wakeup_ms
            self.now_ms = end_ms if due_ms is None else min(max(due_ms, self.now_ms), end_ms)
            self.face.tick(self.now_ms)
            self.listen()
            if self.now_ms >= end_ms:
                return

    def listen(self) -> None:
        output = self.face.take_output()
        if output:
            self.heard.append((self.now_ms, output))

    def say(self, raw: bytes | str, then_ms: int = 100) -> bytes:
        """Say something; what comes back in the time after it."""
        self.heard.clear()
        self.face.receive(raw if isinstance(raw, bytes) else bytes.fromhex(raw), self.now_ms)
        self.listen()
        self.run(then_ms)
        return b"".join(raw for _, raw in self.heard)
