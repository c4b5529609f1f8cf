"""The way of a task in four parts: every state and event, and which state follows which. Pure.

交办 assigned, 领办 led, 承办 handled, 协办 assisted. Assisting is nothing that every task must pass: it adds somebody
while the task is being worked on. What is not in the table is refused and changes nothing.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from jishan_server.errors import DomainError


class State(StrEnum):
    NEED = "need"
    ASSIGNED = "assigned"
    LED = "led"
    HANDLED = "handled"
    CONFIRMED = "confirmed"
    CANCELLED = "cancelled"


class Event(StrEnum):
    ASSIGNED = "assigned"
    """Handed out: somebody is to take the lead."""
    LED = "led"
    """Somebody has taken the lead."""
    ASSISTED = "assisted"
    HANDLED = "handled"
    """Done, says who writes it down."""
    SENT_BACK = "sent_back"
    """Not done after all."""
    CONFIRMED = "confirmed"
    CANCELLED = "cancelled"


class Part(StrEnum):
    LEAD = "lead"
    HANDLE = "handle"
    ASSIST = "assist"


TRANSITIONS: Final[Mapping[tuple[State, Event], State]] = {
    (State.NEED, Event.ASSIGNED): State.ASSIGNED,
    (State.ASSIGNED, Event.ASSIGNED): State.ASSIGNED,
    (State.ASSIGNED, Event.LED): State.LED,
    (State.LED, Event.ASSISTED): State.LED,
    (State.LED, Event.HANDLED): State.HANDLED,
    (State.HANDLED, Event.ASSISTED): State.HANDLED,
    (State.HANDLED, Event.SENT_BACK): State.LED,
    (State.HANDLED, Event.CONFIRMED): State.CONFIRMED,
    (State.NEED, Event.CANCELLED): State.CANCELLED,
    (State.ASSIGNED, Event.CANCELLED): State.CANCELLED,
    (State.LED, Event.CANCELLED): State.CANCELLED,
}

PARTS: Final[Mapping[Event, frozenset[Part]]] = {
    Event.LED: frozenset({Part.LEAD}),
    Event.ASSISTED: frozenset({Part.ASSIST}),
    Event.HANDLED: frozenset(Part),
}
"""Who may be named with an event; with any other nobody."""

CREDITED: Final[frozenset[Part]] = frozenset({Part.LEAD, Part.ASSIST})
"""Whose minutes become a credit when the task is confirmed. Who handles it does so as their work."""


def follow(state: str, event: Event) -> State:
    """The state after an event; refusal: task_not_there."""
    after = TRANSITIONS.get((State(state), event))
    if after is None:
        raise DomainError("task_not_there", state=state, event=event.value)
    return after
