"""What can go wrong between two programs, sorted by whose fault it is.

A `ProtocolError` is the peer's: count it, resynchronise, go on. An `IllegalTransition` is a message that the
redemption table does not know at this place: nothing has changed.
"""

from __future__ import annotations


class JishanError(Exception):
    """The root of every error that Jishan raises on purpose."""


class ProtocolError(JishanError):
    """The peer's bytes or words are not what the protocol allows.

    `reason` is a short stable code that counters use; `detail` says in words what is wrong and where.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


class IllegalTransition(JishanError):
    """An event that the redemption table has no place for. Nothing changed."""

    def __init__(self, state: str, event: str, party: str, why: str) -> None:
        super().__init__(f"{event} said by {party} in state {state}: {why}")
        self.state = state
        self.event = event
        self.party = party
        self.why = why
