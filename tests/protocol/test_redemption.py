"""The redemption table, walked through every state, event and party."""

from __future__ import annotations

import pathlib
from itertools import product

import pytest

from jishan_protocol.errors import IllegalTransition
from jishan_protocol.redemption import (
    AGREES,
    BUSY,
    CLOSED,
    OPEN,
    SAID_BY,
    SAYS_IT_LEFT,
    SAYS_IT_STAYED,
    TRANSITIONS,
    Event,
    Party,
    State,
    Verdict,
    advance,
    mermaid,
)

REPOSITORY = pathlib.Path(__file__).parents[2]

# The table of the design, written a second time and in its own shape, so that a slip in one of the two is seen.
DESIGN = """
requested approved held
requested denied denied
requested not_started voided
held vend_started vending
held not_started voided
held machine_lost in_doubt
vending dispensed captured
vending not_dispensed voided
vending outcome_unknown in_doubt
vending machine_lost in_doubt
in_doubt dispensed captured
in_doubt proved_dispensed captured
in_doubt resolved_dispensed captured
in_doubt not_dispensed voided
in_doubt not_started voided
in_doubt proved_not_dispensed voided
in_doubt resolved_not_dispensed voided
in_doubt vend_started in_doubt
in_doubt outcome_unknown in_doubt
denied not_started denied
captured reversed reversed
"""
SPEAKERS = {
    Party.SERVER: "approved denied machine_lost",
    Party.AGENT: "not_started vend_started dispensed not_dispensed outcome_unknown proved_dispensed "
    "proved_not_dispensed",
    Party.PERSON: "machine_lost resolved_dispensed resolved_not_dispensed reversed",
}
EVERYTHING = list(product(State, Event, Party))


def test_the_table_is_the_design_table() -> None:
    rows = {tuple(line.split()) for line in DESIGN.strip().splitlines()}
    assert rows == {(before, event, after) for (before, event), after in TRANSITIONS.items()}


def test_each_party_may_say_its_own_events_only() -> None:
    said = {(party, event) for party, events in SPEAKERS.items() for event in events.split()}
    assert said == {(party, event) for event, parties in SAID_BY.items() for party in parties}


@pytest.mark.parametrize(("state", "event", "party"), EVERYTHING)
def test_every_event_moves_agrees_contradicts_or_is_illegal(state: State, event: Event, party: Party) -> None:
    """No triple is left undecided, and each falls into exactly the class that the design gives it."""
    if party not in SAID_BY[event]:
        with pytest.raises(IllegalTransition, match="may not say it"):
            advance(state, event, party)
        return
    if (state, event) in TRANSITIONS:
        result = advance(state, event, party)
        assert (result.state, result.verdict) == (TRANSITIONS[state, event], Verdict.MOVED)
    elif state in OPEN:
        with pytest.raises(IllegalTransition, match="not at that point"):
            advance(state, event, party)
    elif event in AGREES[state]:
        assert advance(state, event, party).verdict is Verdict.AGREES
        assert advance(state, event, party).state is state
    elif party is Party.PERSON:
        with pytest.raises(IllegalTransition, match="not re-opened"):
            advance(state, event, party)
    else:
        assert advance(state, event, party).verdict is Verdict.CONTRADICTS
        assert advance(state, event, party).state is state


def test_only_a_person_moves_a_closed_redemption_and_only_a_captured_one() -> None:
    moved = {(state, event) for state, event in TRANSITIONS if state in CLOSED and TRANSITIONS[state, event] != state}
    assert moved == {(State.CAPTURED, Event.REVERSED)}
    assert SAID_BY[Event.REVERSED] == {Party.PERSON}


def test_points_are_taken_only_by_a_word_that_the_item_left_and_returned_only_by_one_that_it_stayed() -> None:
    for (before, event), after in TRANSITIONS.items():
        if after is State.CAPTURED:
            assert event in SAYS_IT_LEFT, (before, event)
        if after is State.VOIDED:
            assert event in SAYS_IT_STAYED, (before, event)


@pytest.mark.parametrize("opposite", [Event.NOT_DISPENSED, Event.NOT_STARTED, Event.PROVED_NOT_DISPENSED])
def test_the_opposite_outcome_after_a_capture_contradicts(opposite: Event) -> None:
    assert advance(State.CAPTURED, opposite, Party.AGENT).verdict is Verdict.CONTRADICTS


@pytest.mark.parametrize("opposite", [Event.DISPENSED, Event.PROVED_DISPENSED, Event.VEND_STARTED])
def test_a_late_drop_after_a_void_contradicts_and_opens_nothing(opposite: Event) -> None:
    result = advance(State.VOIDED, opposite, Party.AGENT)
    assert (result.state, result.verdict) == (State.VOIDED, Verdict.CONTRADICTS)


def test_the_server_never_frees_a_hold() -> None:
    for state in (State.HELD, State.VENDING, State.IN_DOUBT):
        for event in Event:
            if Party.SERVER in SAID_BY[event] and (state, event) in TRANSITIONS:
                assert TRANSITIONS[state, event] is State.IN_DOUBT


def test_every_state_can_be_reached_and_every_open_one_can_be_closed() -> None:
    reached, frontier = {State.REQUESTED}, [State.REQUESTED]
    while frontier:
        state = frontier.pop()
        for (before, _), after in TRANSITIONS.items():
            if before is state and after not in reached:
                reached.add(after)
                frontier.append(after)
    assert reached == set(State)
    for state in OPEN:
        assert any(before is state and after in CLOSED for (before, _), after in TRANSITIONS.items()) or state in BUSY


def test_a_redemption_in_doubt_does_not_shut_its_resident_out() -> None:
    assert State.IN_DOUBT not in BUSY
    assert {State.REQUESTED, State.HELD, State.VENDING} == BUSY


def test_the_diagram_in_the_docs_is_made_from_the_table() -> None:
    assert mermaid() in (REPOSITORY / "docs" / "redemption.md").read_text(encoding="utf-8")
