"""The parts of a running server, all on one database; `assembly` puts them together."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine

from jishan_server.config import Config
from jishan_server.metrics import Metrics
from jishan_server.people.hashing import Hashing
from jishan_server.vending.redemptions import Vending
from jishan_server.volunteering.rules import CreditRules
from jishan_server.writer import Writer


@dataclass(frozen=True, slots=True)
class Parts:
    """`authority` is the fingerprint of the server's certificate authority, as claim codes carry it."""

    config: Config
    engine: Engine
    writer: Writer
    vending: Vending
    metrics: Metrics
    clock: Callable[[], datetime]
    authority: str

    @property
    def credit_rules(self) -> CreditRules:
        """What credits go by under these settings."""
        return CreditRules(self.config.minutes_per_point, self.config.credit_expiry, self.config.time_zone)

    @property
    def hashing(self) -> Hashing:
        """How secrets are hashed."""
        return self.vending.hashing
