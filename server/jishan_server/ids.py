"""Ids of things that an operation makes.

They are derived from the operation's own id, not drawn: an operation that is sent again makes the same thing, and a
simulation needs no randomness. An operation id is random or made from the caller's idempotency key.
"""

import hashlib


def derived_id(operation_id: str, purpose: str) -> str:
    """32 lower-case hex digits, the same for the same operation and purpose."""
    return hashlib.sha256(f"{purpose}\n{operation_id}".encode()).hexdigest()[:32]
