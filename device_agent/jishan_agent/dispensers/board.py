"""What the drivers of boards share: boards that stand on one line, speak only when asked, and know no session.

A driver says what a whole frame means (`_take_frame`), what is due (`tick`) and whether a vend is in hand; bytes in
pieces, bytes that are none, events, and whether anybody is there are the same for all of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Final, Generic, TypeVar

from jishan_agent.dispensers import base
from jishan_agent.dispensers.asking import Asking
from jishan_protocol.dispensers.cutting import BadBytes, Cutter

BUSY_TICK_MS: Final = 50
IDLE_TICK_MS: Final = 500

M = TypeVar("M")


class BoardDriver(ABC, Generic[M]):
    """All boards of one line. `M` is the codec's message; a pause of `silence_ms` ends a frame."""

    def __init__(self, name: str, reader: Cutter, silence_ms: int) -> None:
        self._name = name
        self._reader = reader
        self._silence_ms = silence_ms
        self._asking: Asking[M] = Asking()
        self._events: list[base.DispenserEvent] = []
        self._heard_ms: int | None = None
        self._received_ms = 0
        self._ticked_ms = 0
        self._is_online = False
        self.bad_bytes = 0

    @property
    def name(self) -> str:
        """The protocol's and the profile's name."""
        return self._name

    @property
    def pack_number(self) -> int:
        """0: nothing on this line is numbered."""
        return 0

    @property
    def next_wakeup_ms(self) -> int | None:
        """Answers bring some calls; `tick` looks after the rest."""
        is_busy = self._is_vending or not self._asking.is_free
        return self._ticked_ms + (BUSY_TICK_MS if is_busy else IDLE_TICK_MS)

    def take_output(self) -> bytes:
        """Give the bytes to be written now."""
        return self._asking.take_output()

    def take_events(self) -> list[base.DispenserEvent]:
        """Give what has happened."""
        events, self._events = self._events, []
        return events

    def begin(self, points: int, now_ms: int) -> None:
        """Nothing: a board knows no session."""

    def cancel(self, now_ms: int) -> None:
        """Nothing: a board waits for no word."""

    def set_clock(self, local_time: tuple[int, int, int, int, int, int], now_ms: int) -> None:
        """Nothing: a board has no clock."""

    def receive(self, data: bytes, now_ms: int) -> None:
        """Take bytes, in pieces of any size."""
        found = self._reader.finish() if now_ms - self._received_ms > self._silence_ms else []
        self._received_ms = now_ms
        self._take([*found, *self._reader.feed(data)], now_ms)

    @property
    @abstractmethod
    def _is_vending(self) -> bool:
        """Whether a vend is in hand, or its end is still looked for."""

    @abstractmethod
    def _take_frame(self, frame: bytes, now_ms: int) -> None:
        """A whole frame with a right checksum."""

    def _pass_time(self, now_ms: int) -> None:
        """What every `tick` begins with: a frame whose rest never came, and answers that did not."""
        self._ticked_ms = now_ms
        if self._reader.waiting and now_ms - self._received_ms > self._silence_ms:
            self._take(self._reader.finish(), now_ms)
        self._asking.tick(now_ms)

    def _take(self, found: list[bytes | BadBytes], now_ms: int) -> None:
        for piece in found:
            if isinstance(piece, BadBytes):
                self.bad_bytes += len(piece.raw)
            else:
                self._take_frame(piece, now_ms)

    def _hear_for(self, silence_ms: int, now_ms: int) -> None:
        """Somebody is there as long as something was heard within so long."""
        is_online = self._heard_ms is not None and now_ms - self._heard_ms < silence_ms
        if is_online != self._is_online:
            self._is_online = is_online
            self._events.append(base.OnlineChanged(is_online))
