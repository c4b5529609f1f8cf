"""Virtual time: what happens next, in an order that one seed decides."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable
from itertools import count

Action = Callable[[], None]


class Scheduler:
    """A clock that jumps from one thing to the next. Things of the same millisecond happen in the order they were set.

    `trace` digests every line that `note` is given: two runs of one seed must give the same digest.
    """

    def __init__(self) -> None:
        self.now_ms = 0
        self._queue: list[tuple[int, int, Action]] = []
        self._number = count()
        self._digest = hashlib.sha256()
        self.lines: list[str] = []

    def at(self, when_ms: int, action: Action) -> None:
        """Do `action` at `when_ms`, or now if that has passed."""
        heapq.heappush(self._queue, (max(when_ms, self.now_ms), next(self._number), action))

    def after(self, delay_ms: int, action: Action) -> None:
        """Do `action` `delay_ms` from now."""
        self.at(self.now_ms + delay_ms, action)

    def note(self, line: str) -> None:
        """Write a line of history."""
        text = f"{self.now_ms:>9} {line}"
        self._digest.update(text.encode() + b"\n")
        self.lines.append(text)

    def run_until(self, end_ms: int) -> None:
        """Let everything happen that is set for a time up to `end_ms`."""
        while self._queue and self._queue[0][0] <= end_ms:
            when_ms, _, action = heapq.heappop(self._queue)
            self.now_ms = when_ms
            action()
        self.now_ms = end_ms

    def trace(self) -> str:
        """The digest of the history so far."""
        return self._digest.hexdigest()
