"""The life of one redemption, as one table that server, agent, tests and simulation share.

Rules:
1. A state changes only by `advance`, and only along `TRANSITIONS`.
2. Each event may be said by the parties in `SAID_BY` alone.
3. A closed redemption never moves again, except CAPTURED by a person's `reversed`. A later event about it either
   agrees with what is known (noted, no change) or contradicts it (no change of state or points, a person is told).
4. Doubles are found by message id before the table is asked: the table has no memory.

`docs/redemption.md` holds the diagram that `mermaid()` draws; a test keeps the two equal.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from jishan_protocol.errors import IllegalTransition


class State(StrEnum):
    """Where a redemption stands."""

    REQUESTED = "requested"
    HELD = "held"
    DENIED = "denied"
    VENDING = "vending"
    CAPTURED = "captured"
    VOIDED = "voided"
    IN_DOUBT = "in_doubt"
    REVERSED = "reversed"


class Event(StrEnum):
    """What somebody says has happened to a redemption."""

    APPROVED = "approved"
    DENIED = "denied"
    NOT_STARTED = "not_started"
    VEND_STARTED = "vend_started"
    DISPENSED = "dispensed"
    NOT_DISPENSED = "not_dispensed"
    OUTCOME_UNKNOWN = "outcome_unknown"
    MACHINE_LOST = "machine_lost"
    PROVED_DISPENSED = "proved_dispensed"
    PROVED_NOT_DISPENSED = "proved_not_dispensed"
    RESOLVED_DISPENSED = "resolved_dispensed"
    RESOLVED_NOT_DISPENSED = "resolved_not_dispensed"
    REVERSED = "reversed"


class Party(StrEnum):
    """Who says it."""

    SERVER = "server"
    AGENT = "agent"
    PERSON = "person"


class Verdict(StrEnum):
    """What an event did: it moved the state, or it met a closed redemption and agrees with it or contradicts it."""

    MOVED = "moved"
    AGREES = "agrees"
    CONTRADICTS = "contradicts"


@dataclass(frozen=True, slots=True)
class Advance:
    """The state after an event, and what the event did."""

    state: State
    verdict: Verdict


SAID_BY: Final[dict[Event, frozenset[Party]]] = {
    Event.APPROVED: frozenset({Party.SERVER}),
    Event.DENIED: frozenset({Party.SERVER}),
    Event.NOT_STARTED: frozenset({Party.AGENT}),
    Event.VEND_STARTED: frozenset({Party.AGENT}),
    Event.DISPENSED: frozenset({Party.AGENT}),
    Event.NOT_DISPENSED: frozenset({Party.AGENT}),
    Event.OUTCOME_UNKNOWN: frozenset({Party.AGENT}),
    Event.PROVED_DISPENSED: frozenset({Party.AGENT}),
    Event.PROVED_NOT_DISPENSED: frozenset({Party.AGENT}),
    # The server says it when it finds the machine forked or enrolled anew.
    Event.MACHINE_LOST: frozenset({Party.PERSON, Party.SERVER}),
    Event.RESOLVED_DISPENSED: frozenset({Party.PERSON}),
    Event.RESOLVED_NOT_DISPENSED: frozenset({Party.PERSON}),
    Event.REVERSED: frozenset({Party.PERSON}),
}

TRANSITIONS: Final[dict[tuple[State, Event], State]] = {
    (State.REQUESTED, Event.APPROVED): State.HELD,
    (State.REQUESTED, Event.DENIED): State.DENIED,
    (State.REQUESTED, Event.NOT_STARTED): State.VOIDED,
    (State.HELD, Event.VEND_STARTED): State.VENDING,
    (State.HELD, Event.NOT_STARTED): State.VOIDED,
    (State.HELD, Event.MACHINE_LOST): State.IN_DOUBT,
    (State.VENDING, Event.DISPENSED): State.CAPTURED,
    (State.VENDING, Event.NOT_DISPENSED): State.VOIDED,
    (State.VENDING, Event.OUTCOME_UNKNOWN): State.IN_DOUBT,
    (State.VENDING, Event.MACHINE_LOST): State.IN_DOUBT,
    (State.IN_DOUBT, Event.DISPENSED): State.CAPTURED,
    (State.IN_DOUBT, Event.PROVED_DISPENSED): State.CAPTURED,
    (State.IN_DOUBT, Event.RESOLVED_DISPENSED): State.CAPTURED,
    (State.IN_DOUBT, Event.NOT_DISPENSED): State.VOIDED,
    (State.IN_DOUBT, Event.NOT_STARTED): State.VOIDED,
    (State.IN_DOUBT, Event.PROVED_NOT_DISPENSED): State.VOIDED,
    (State.IN_DOUBT, Event.RESOLVED_NOT_DISPENSED): State.VOIDED,
    (State.IN_DOUBT, Event.VEND_STARTED): State.IN_DOUBT,
    (State.IN_DOUBT, Event.OUTCOME_UNKNOWN): State.IN_DOUBT,
    (State.DENIED, Event.NOT_STARTED): State.DENIED,
    (State.CAPTURED, Event.REVERSED): State.REVERSED,
}

CLOSED: Final[frozenset[State]] = frozenset({State.DENIED, State.VOIDED, State.CAPTURED, State.REVERSED})
OPEN: Final[frozenset[State]] = frozenset(State) - CLOSED

# "Another redemption open" counts these; one in doubt must not shut a resident out.
BUSY: Final[frozenset[State]] = frozenset({State.REQUESTED, State.HELD, State.VENDING})

SAYS_IT_LEFT: Final[frozenset[Event]] = frozenset({Event.DISPENSED, Event.PROVED_DISPENSED, Event.RESOLVED_DISPENSED})
SAYS_IT_STAYED: Final[frozenset[Event]] = frozenset(
    {Event.NOT_STARTED, Event.NOT_DISPENSED, Event.PROVED_NOT_DISPENSED, Event.RESOLVED_NOT_DISPENSED}
)
# Said of any redemption whose end is known already, these claim nothing about it.
_CLAIMS_NOTHING: Final[frozenset[Event]] = frozenset({Event.OUTCOME_UNKNOWN, Event.MACHINE_LOST})

# What may be said of a closed redemption without contradicting it.
AGREES: Final[dict[State, frozenset[Event]]] = {
    State.DENIED: frozenset({Event.DENIED, Event.NOT_STARTED}),
    # An approval that comes after `not_started` is late, not wrong: the agent ignores it.
    State.VOIDED: SAYS_IT_STAYED | _CLAIMS_NOTHING | {Event.APPROVED, Event.DENIED},
    State.CAPTURED: SAYS_IT_LEFT | _CLAIMS_NOTHING | {Event.APPROVED, Event.VEND_STARTED},
    State.REVERSED: SAYS_IT_LEFT | _CLAIMS_NOTHING | {Event.APPROVED, Event.VEND_STARTED, Event.REVERSED},
}


def advance(state: State, event: Event, by: Party) -> Advance:
    """Say what `event`, told by `by`, does to a redemption in `state`.

    Raises IllegalTransition when this party may not say it, or when an open redemption has no place for it, or when a
    person tries to re-open what is closed; the caller's state is unchanged then.
    """
    if by not in SAID_BY[event]:
        raise IllegalTransition(state, event, by, "this party may not say it")
    moved = TRANSITIONS.get((state, event))
    if moved is not None:
        return Advance(moved, Verdict.MOVED)
    if state not in CLOSED:
        raise IllegalTransition(state, event, by, "the redemption is not at that point")
    if event in AGREES[state]:
        return Advance(state, Verdict.AGREES)
    if by is Party.PERSON:
        raise IllegalTransition(state, event, by, "a closed redemption is not re-opened")
    return Advance(state, Verdict.CONTRADICTS)


def mermaid() -> str:
    """Draw the table as a Mermaid state diagram."""
    arrows: dict[tuple[State, State], list[Event]] = {}
    for (before, event), after in TRANSITIONS.items():
        arrows.setdefault((before, after), []).append(event)
    lines = ["stateDiagram-v2", f"    [*] --> {State.REQUESTED}"]
    for (before, after), events in arrows.items():
        lines.append(f"    {before} --> {after}: {', '.join(events)}")
    lines += [f"    {state} --> [*]" for state in State if state in CLOSED]
    return "\n".join(lines) + "\n"
