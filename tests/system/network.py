"""A broker that does what brokers really do: it acknowledges, and then loses, doubles, delays and re-orders.

Nothing above it may rely on it for delivery. Every choice comes from one `Random`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from scheduler import Scheduler

Receive = Callable[[str, bytes], None]


@dataclass(frozen=True, slots=True)
class NetworkFaults:
    """Chances from 0 to 1 for each message, and how long one may take."""

    lost: float = 0.0
    doubled: float = 0.0
    replayed_later: float = 0.0
    garbled: float = 0.0
    delay_ms: int = 20
    late: float = 0.0
    late_ms: int = 20_000


class Network:
    """Connects one server and any number of machines by topic."""

    def __init__(self, scheduler: Scheduler, faults: NetworkFaults, random: Random) -> None:
        self._scheduler, self._faults, self._random = scheduler, faults, random
        self._receivers: dict[str, Receive] = {}
        self.is_up = True
        self.carried = 0

    def connect(self, prefix: str, receive: Receive) -> None:
        """Deliver what is published on topics that begin with `prefix`; replaces an earlier receiver."""
        self._receivers[prefix] = receive

    def mend(self) -> None:
        """From now on nothing goes wrong; what is late is still under way."""
        self.is_up = True
        self._faults = NetworkFaults()

    def disconnect(self, prefix: str) -> None:
        """Deliver nothing there any more; what is under way is lost."""
        self._receivers.pop(prefix, None)

    def publish(self, topic: str, payload: bytes) -> None:
        """Take a message, and do with it what the faults say."""
        if not self.is_up:
            return
        faults, random = self._faults, self._random
        if random.random() < faults.garbled:
            position = random.randrange(len(payload))
            payload = (
                payload[:position] + bytes([payload[position] ^ (1 << random.randrange(8))]) + payload[position + 1 :]
            )
        copies = 0 if random.random() < faults.lost else 1 + (random.random() < faults.doubled)
        for _ in range(copies):
            is_late = random.random() < faults.late
            delay_ms = random.randint(1, faults.late_ms if is_late else faults.delay_ms)
            self._scheduler.after(delay_ms, lambda: self._deliver(topic, payload))
        if random.random() < faults.replayed_later:
            self._scheduler.after(random.randint(1_000, 600_000), lambda: self._deliver(topic, payload))

    def _deliver(self, topic: str, payload: bytes) -> None:
        if not self.is_up:
            return
        for prefix, receive in list(self._receivers.items()):
            if topic.startswith(prefix):
                self.carried += 1
                receive(topic, payload)
