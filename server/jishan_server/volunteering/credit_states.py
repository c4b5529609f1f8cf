"""The way of a credit: every state and event, and which state follows which. Pure.

A credit is recorded by one person and approved by another; it stands in the public notice until the notice ends, and
only then is it final: hours and points are booked. What is not in the table is refused and changes nothing.
The diagram in docs/volunteering.md is made from `TRANSITIONS` by `mermaid`.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from jishan_server.errors import DomainError


class State(StrEnum):
    RECORDED = "recorded"
    """Waits for another person's approval."""
    WAITING_CONSENT = "waiting_consent"
    """Approved; the person has not agreed to the scheme yet, so it is neither shown nor booked."""
    APPROVED = "approved"
    """In the public notice, until `notice_ends_at`."""
    OBJECTED = "objected"
    """Somebody objected; it waits for a decision."""
    FINAL = "final"
    """Hours and points are booked."""
    REJECTED = "rejected"
    REVERSED = "reversed"
    """Was final; its points were taken back and its service record is corrected."""


class Event(StrEnum):
    APPROVED = "approved"
    REJECTED = "rejected"
    CONSENT_MISSING = "consent_missing"
    CONSENT_GIVEN = "consent_given"
    OBJECTED = "objected"
    DISMISSED = "dismissed"
    UPHELD = "upheld"
    FINALISED = "finalised"
    NOT_BOOKED = "not_booked"
    """The ledger or the person's account takes it no more: closed meanwhile."""
    RESTORED = "restored"
    """An appeal against a rejection was accepted."""
    REVERSED = "reversed"


TRANSITIONS: Final[Mapping[tuple[State, Event], State]] = {
    (State.RECORDED, Event.APPROVED): State.APPROVED,
    (State.RECORDED, Event.CONSENT_MISSING): State.WAITING_CONSENT,
    (State.RECORDED, Event.REJECTED): State.REJECTED,
    (State.WAITING_CONSENT, Event.CONSENT_GIVEN): State.APPROVED,
    (State.WAITING_CONSENT, Event.REJECTED): State.REJECTED,
    (State.APPROVED, Event.CONSENT_MISSING): State.WAITING_CONSENT,
    (State.APPROVED, Event.OBJECTED): State.OBJECTED,
    (State.APPROVED, Event.FINALISED): State.FINAL,
    (State.APPROVED, Event.NOT_BOOKED): State.REJECTED,
    (State.OBJECTED, Event.DISMISSED): State.APPROVED,
    (State.OBJECTED, Event.UPHELD): State.REJECTED,
    (State.REJECTED, Event.RESTORED): State.APPROVED,
    (State.FINAL, Event.REVERSED): State.REVERSED,
}

# What a person is told who comes too late or too early; any other event: credit_closed.
_REFUSALS: Final[Mapping[Event, str]] = {
    Event.OBJECTED: "credit_not_in_notice",
    Event.DISMISSED: "objection_closed",
    Event.UPHELD: "objection_closed",
    Event.REVERSED: "credit_not_approved",
}


def follow(state: str, event: Event) -> State:
    """The state after an event; refusals: credit_closed, credit_not_in_notice, objection_closed, credit_not_approved,
    already_reversed.
    """
    after = TRANSITIONS.get((State(state), event))
    if after is None:
        if (state, event) == (State.REVERSED, Event.REVERSED):
            raise DomainError("already_reversed")
        raise DomainError(_REFUSALS.get(event, "credit_closed"), state=state)
    return after


def mermaid() -> str:
    """The table as a Mermaid state diagram, for the docs."""
    lines = [f"    {before} --> {after}: {event}" for (before, event), after in TRANSITIONS.items()]
    return "\n".join(["stateDiagram-v2", "    [*] --> recorded", *lines])
