"""When a message may leave by e-mail, text message or another channel, and when it is tried again. Pure.

- In the quiet hours of the scheme's own time only what is urgent leaves; the rest waits until they are over.
- What could not be sent is tried again after a growing time, MAX_TRIES times in all: three days, so that a mail server
  that is broken on a Friday evening loses nothing. Then it has failed, and staff see it.
- A sending that is under way is leased: nobody else takes it before LEASE is over. Whoever dies in between leaves it to
  the next, who sends it once more under the same id.
"""

import re
from dataclasses import dataclass
from datetime import datetime, time, timedelta, tzinfo
from enum import StrEnum
from typing import Final

DELAYS: Final = (
    timedelta(minutes=1),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=6),
    timedelta(hours=12),
    timedelta(hours=24),
    timedelta(hours=24),
)
MAX_TRIES: Final = len(DELAYS) + 1

GIVE_UP_AFTER: Final = timedelta(days=4)
"""Longer than all tries take: what waits for so long, because its channel is down, has failed too."""
PAUSE: Final = timedelta(minutes=1)
"""A channel that is down is tried again after this, with one letter; the others keep their tries."""

LEASE: Final = timedelta(minutes=5)
"""Longer than a claimed batch may take: whoever sends stops well before (`MAX_SENDING`)."""
MAX_SENDING: Final = timedelta(minutes=2)

MAX_AGE: Final = timedelta(days=3)
"""What is older when a channel is set up stays in the inbox: nobody wants last month's news at once."""

URGENT: Final = frozenset(
    {
        "pin_locked",
        "redemption_done",
        "redemption_in_doubt",
        "redemption_refunded",
        "session_cancelled",
        "session_changed",
        "sign_up_moved_up",
    }
)
"""Kinds that wait for no morning: points left the account just now, somebody tries out a PIN, or somebody is about to
set out in vain."""


class Outcome(StrEnum):
    """What became of one try."""

    SENT = "sent"
    AGAIN = "again"
    """The world's fault, or the other side is busy."""
    REFUSED = "refused"
    """It will never be taken: no such address, no such form."""
    UNTRIED = "untried"
    """There was no time for it; the try does not count."""


@dataclass(frozen=True, slots=True)
class QuietHours:
    """From `first` to before `last`, local; over midnight where `first` is later. Equal: none."""

    first: time
    last: time

    def holds(self, now: datetime, zone: tzinfo) -> bool:
        """Whether it is quiet now."""
        here = now.astimezone(zone).time()
        if self.first <= self.last:
            return self.first <= here < self.last
        return here >= self.first or here < self.last


NO_QUIET_HOURS: Final = QuietHours(time(), time())
_QUIET: Final = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])-([01][0-9]|2[0-3]):([0-5][0-9])", re.ASCII)


def parse_quiet_hours(text: str) -> QuietHours:
    """`21:30-08:00`; empty: none. Raises ValueError."""
    if not text:
        return NO_QUIET_HOURS
    found = _QUIET.fullmatch(text)
    if found is None:
        raise ValueError("not of the form 21:30-08:00")
    first_hour, first_minute, last_hour, last_minute = (int(one) for one in found.groups())
    return QuietHours(time(first_hour, first_minute), time(last_hour, last_minute))


def next_try(tries: int, now: datetime) -> datetime | None:
    """When to try again what has failed `tries` times by now, at least once; None: never."""
    return None if tries >= MAX_TRIES else now + DELAYS[tries - 1]


def sending_id(number: int, recorded_at_ms: int, channel: str) -> str:
    """What the other side knows a message by, however often it comes. A restored server may give a number again, so
    the time of the message is in it."""
    return f"m{number}-{recorded_at_ms}-{channel}"
