"""What a credit is worth and how long it lives. Pure: settings and instants come in, numbers come out."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from jishan_server.errors import DomainError

MAX_MINUTES: Final = 1440
"""A day has no more."""
MAX_POINTS: Final = 1_000_000
"""The ledger takes no more in one transfer."""


@dataclass(frozen=True, slots=True)
class CreditRules:
    """One rule version: minutes for a point (what is left over is dropped), and how credits expire.

    `expiry` is `never`, `year_end` (31 December 23:59:59, local) or `days:N`; see `jishan_server.config`.
    """

    minutes_per_point: int = 60
    expiry: str = "never"
    time_zone: str = "Asia/Shanghai"

    @property
    def zone(self) -> ZoneInfo:
        """Whose days and years the scheme's are."""
        return ZoneInfo(self.time_zone)

    @property
    def version(self) -> str:
        """The rule in short, as it is kept with each credit: `60min=1,never`."""
        return f"{self.minutes_per_point}min=1,{self.expiry}"


def points_of(rules: CreditRules, minutes: int | None, points: int | None) -> int:
    """The points of a credit that tells either minutes or points.

    Refusals: credit_amount, minutes_invalid, points_invalid, credit_too_short.
    """
    if (minutes is None) == (points is None):
        raise DomainError("credit_amount")
    if minutes is None:
        if points is None or not 1 <= points <= MAX_POINTS:
            raise DomainError("points_invalid")
        return points
    if not 1 <= minutes <= MAX_MINUTES:
        raise DomainError("minutes_invalid")
    if minutes < rules.minutes_per_point:
        raise DomainError("credit_too_short", minutes=rules.minutes_per_point)
    return minutes // rules.minutes_per_point


def expires_at(rules: CreditRules, now: datetime) -> datetime | None:
    """When a credit approved `now` ends; None is never."""
    if rules.expiry == "never":
        return None
    if rules.expiry == "year_end":
        return datetime(now.astimezone(rules.zone).year, 12, 31, 23, 59, 59, tzinfo=rules.zone)
    return now + timedelta(days=int(rules.expiry.removeprefix("days:")))
