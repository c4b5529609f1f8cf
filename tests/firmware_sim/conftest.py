"""A bench for one simulated controller: a small honest host on the other end of its line, and a virtual clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from random import Random

import pytest

from jishan_protocol.dispensers import xy
from jishan_protocol.errors import ProtocolError
from jishan_sim.cabinet import Slot
from jishan_sim.faces.xy import XyFace, cabinet_for
from jishan_sim.faults import from_mapping

ITEMS_ON_EACH_COIL = 5


class Bench:
    """A controller and a host. The host answers every POLL at once, acknowledges all data, and resends nothing."""

    def __init__(self, profile: str = "default", faults: dict[str, object] | None = None, seed: int = 1) -> None:
        self.profile = xy.PROFILES[profile]
        slots = [Slot(selection, ITEMS_ON_EACH_COIL, ITEMS_ON_EACH_COIL) for selection in (1, 2, 3, 60)]
        self.cabinet = cabinet_for(self.profile, slots)
        self.face = XyFace(self.cabinet, self.profile, from_mapping(faults or {}), Random(seed))
        self.now_ms = 0
        self.answers = True
        self.answer_after_ms = 0
        self.heard: list[tuple[int, xy.Message]] = []
        self.raw = bytearray()
        self.bad: list[xy.BadBytes] = []
        self.to_say: deque[bytes] = deque()
        self._parser = xy.Parser()
        self._pack_no = 0
        self._replies: list[tuple[int, bytes]] = []
        self._heard_ms = 0
        self._last_data: xy.Frame | None = None

    def set_faults(self, faults: dict[str, object]) -> None:
        self.face.set_faults(from_mapping(faults))

    def say(self, *messages: xy.Message) -> None:
        """Queue commands; one goes out in answer to each POLL."""
        for message in messages:
            self._pack_no = xy.next_pack_no(self._pack_no)
            self.to_say.append(xy.write(message, self._pack_no, self.profile))

    def drive(self, selection: int = 1, *, drop_sensor: bool = True, lift: bool = False) -> None:
        self.say(xy.Drive(drop_sensor, lift, selection))

    def run(self, for_ms: int) -> None:
        """Let virtual time pass."""
        end_ms = self.now_ms + for_ms
        while True:
            due = [at_ms for at_ms, _ in self._replies]
            if self.face.next_wakeup_ms is not None:
                due.append(self.face.next_wakeup_ms)
            self.now_ms = max(self.now_ms, min(due, default=end_ms))
            if self.now_ms >= end_ms:
                self.now_ms = end_ms
                return
            self.face.tick(self.now_ms)
            for _, reply in [one for one in self._replies if one[0] <= self.now_ms]:
                self.face.receive(reply, self.now_ms)
            self._replies = [one for one in self._replies if one[0] > self.now_ms]
            self._listen(self.face.take_output())

    def started(self) -> Bench:
        """Power on, and let the controller report itself."""
        self.face.power_on(self.now_ms)
        self.run(3_000)
        self.forget()
        return self

    def forget(self) -> None:
        self.heard.clear()
        self.raw.clear()
        self.bad.clear()

    def _listen(self, data: bytes) -> None:
        if not data:
            return
        self.raw += data
        found = self._parser.finish() if self.now_ms - self._heard_ms > xy.SILENCE_MS else []
        self._heard_ms = self.now_ms
        for one in found + self._parser.feed(data):
            if isinstance(one, xy.BadBytes):
                self.bad.append(one)
                continue
            try:
                message = xy.read(one)
            except ProtocolError as error:
                self.bad.append(xy.BadBytes(xy.encode(one), error.reason, error.detail))
                continue
            if isinstance(message, xy.Poll):
                self._reply(self.to_say.popleft() if self.to_say else xy.ACK_FRAME)
            elif not isinstance(message, xy.Ack):
                self._reply(xy.ACK_FRAME)
            # A 31 is never taken for a repeat: after a power cut it comes with PackNO 1 again.
            repeated = one == self._last_data and not isinstance(message, xy.Synchronise | xy.Ack)
            if not isinstance(message, xy.Poll) and not repeated:
                self.heard.append((self.now_ms, message))
            if one.pack_no is not None:
                self._last_data = one

    def _reply(self, raw: bytes) -> None:
        if self.answers:
            self._replies.append((self.now_ms + self.answer_after_ms, raw))

    def statuses(self) -> list[int]:
        """The dispensing statuses heard, in order."""
        return [message.status for _, message in self.heard if isinstance(message, xy.DispensingStatus)]

    def said(self, kind: type[xy.Message]) -> list[xy.Message]:
        """The messages of one type heard, in order."""
        return [message for _, message in self.heard if isinstance(message, kind)]

    def frames_sent(self, cmd: int) -> int:
        """How often the controller put a frame with this command on the line, repeats counted."""
        parser = xy.Parser()
        found = parser.feed(bytes(self.raw)) + parser.finish()
        return sum(isinstance(one, xy.Frame) and one.cmd == cmd for one in found)


@pytest.fixture
def bench() -> Callable[..., Bench]:
    return Bench
