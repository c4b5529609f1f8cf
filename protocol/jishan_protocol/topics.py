"""The MQTT topic layout: `jishan/v1/s07/<machine>/u/<kind>` up to the server, `.../d/<kind>` down to the machine.

The shard stands in the topic because shared subscriptions under MQTT 3.1.1 are granted by some brokers and then
ignored. Portable limits: 64 bytes, 7 slashes, ids of `[0-9A-Za-z_-]`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

from jishan_protocol.errors import ProtocolError

Direction = Literal["u", "d"]

SHARDS: Final = 100
"""Two decimal digits in the topic."""

MAX_TOPIC_BYTES: Final = 64
MAX_REMEMBERED: Final = 65_536
"""Topics whose parts are remembered: those of some ten thousand machines, in a few megabytes."""
MAX_MACHINE_ID: Final = 32

UP_KINDS: Final = ("outbox", "ask", "beat")
DOWN_KINDS: Final = ("answer", "ack", "desired", "offer")

_TOPIC: Final = re.compile(r"jishan/v1/s([0-9]{2})/([0-9A-Za-z_-]{1,32})/([ud])/([a-z]{1,10})")


@dataclass(frozen=True, slots=True)
class Address:
    """A parsed topic."""

    shard: int
    machine_id: str
    direction: Direction
    kind: str


def up(shard: int, machine_id: str, kind: str) -> str:
    """The topic on which a machine speaks to the server."""
    return f"jishan/v1/s{shard:02d}/{machine_id}/u/{kind}"


def down(shard: int, machine_id: str, kind: str) -> str:
    """The topic on which the server speaks to a machine."""
    return f"jishan/v1/s{shard:02d}/{machine_id}/d/{kind}"


def shard_filter(shard: int) -> str:
    """What a gateway subscribes to for one shard."""
    return f"jishan/v1/s{shard:02d}/+/u/+"


EVERY_SHARD: Final = "jishan/v1/+/+/u/+"
"""What a gateway subscribes to that has all shards to itself."""


def machine_filter(shard: int, machine_id: str) -> str:
    """What an agent subscribes to."""
    return f"jishan/v1/s{shard:02d}/{machine_id}/d/+"


@lru_cache(maxsize=MAX_REMEMBERED)
def parse(topic: str) -> Address:
    """Take a topic apart; raises ProtocolError("foreign_topic") for one that is not ours."""
    match = _TOPIC.fullmatch(topic) if len(topic) <= MAX_TOPIC_BYTES else None
    if match is None:
        raise ProtocolError("foreign_topic", repr(topic[:MAX_TOPIC_BYTES]))
    shard, machine_id, letter, kind = match.groups()
    direction: Direction = "u" if letter == "u" else "d"
    if kind not in (UP_KINDS if direction == "u" else DOWN_KINDS):
        raise ProtocolError("foreign_topic", f"no kind {kind!r} in direction {letter!r}")
    return Address(int(shard), machine_id, direction, kind)
