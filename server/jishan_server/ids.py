"""Ids of things that an operation makes.

They are derived from the operation's own id, not drawn: an operation that is sent again makes the same thing, and a
simulation needs no randomness. An operation id is random or made from the caller's idempotency key.
What is made by the thousand begins with its time (`jishan_protocol.ids` says why).
"""

import hashlib
from datetime import datetime

from jishan_protocol.ids import RANDOM_BITS, timed_id
from jishan_server.db import to_ms


def derived_id(operation_id: str, purpose: str) -> str:
    """32 lower-case hex digits, the same for the same operation and purpose."""
    return hashlib.sha256(f"{purpose}\n{operation_id}".encode()).hexdigest()[:32]


def timed_derived_id(operation_id: str, purpose: str, now: datetime) -> str:
    """The same, but first the time: for an operation that makes its thing once and remembers its answer."""
    return timed_id(to_ms(now), int(derived_id(operation_id, purpose), 16) % (1 << RANDOM_BITS))
