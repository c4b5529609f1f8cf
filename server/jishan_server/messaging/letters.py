"""What every adapter is: something that takes a letter and says what came of it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from jishan_server.people.delivery import Outcome
from jishan_server.people.outbox import Letter


@dataclass(frozen=True, slots=True)
class Report:
    """What came of one try; `problem` is a code. `is_down`: the next letter on this channel would fare no better."""

    outcome: Outcome
    problem: str | None = None
    is_down: bool = False


class Adapter(Protocol):
    """One channel. `send` waits for seconds, not minutes, and raises nothing that the world or a person can cause."""

    def send(self, letter: Letter, now: datetime) -> Report:
        """Try to send one letter."""

    def close(self) -> None:
        """End what is open; the next `send` opens it again."""
