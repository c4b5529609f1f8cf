"""How often and for how many points a resident may redeem, by the rules of the day. Pure.

The scheme's rules are kept elsewhere; whoever puts the server together gives `Vending` a function that reads them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import TYPE_CHECKING, Final, Literal

from jishan_server.vending.rules import Rules

if TYPE_CHECKING:
    from sqlalchemy import Connection

Per = Literal["day", "month", "quarter"]
MONTHS_OF_A_QUARTER: Final = 3


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `most` redemptions (`times`) or points for one resident in a local day, month or quarter."""

    unit: Literal["times", "points"]
    per: Per
    most: int


@dataclass(frozen=True, slots=True)
class Limits:
    """What the rules of a day say; `points_without_pin_per_day` None leaves the server's setting."""

    redemptions: tuple[Limit, ...] = ()
    points_without_pin_per_day: int | None = None

    def applied_to(self, rules: Rules) -> Rules:
        """The server's rules with what the scheme's say instead."""
        if self.points_without_pin_per_day is None:
            return rules
        return replace(rules, points_without_pin_per_day=self.points_without_pin_per_day)


LimitsOn = Callable[["Connection", date], Limits]


def no_limits(_: Connection, __: date) -> Limits:
    """For a server that keeps no rules of a scheme."""
    return Limits()


def start_of(per: Per, now: datetime, rules: Rules) -> datetime:
    """When the local day, month or quarter of `now` began."""
    day = rules.day_start(now)
    match per:
        case "day":
            return day
        case "month":
            return day.replace(day=1)
        case "quarter":
            return day.replace(month=day.month - (day.month - 1) % MONTHS_OF_A_QUARTER, day=1)
