"""What a dispenser is told of a choice that comes to nothing, and of a session that begins."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from jishan_agent.dispensers import base
from jishan_agent.vending import (
    ANSWER_MS,
    CHOICE_MS,
    Action,
    Ask,
    AskNews,
    Begin,
    Cancel,
    Check,
    Identified,
    Release,
    Step,
    Surroundings,
    TimePassed,
    Vend,
    Vending,
    VendingEvent,
    step,
)
from jishan_agent.words import Say
from jishan_protocol.messages import Approved, Denied, Found, Slot
from jishan_protocol.sealing import Credential

SLOTS = {
    13: Slot(13, "soap", "肥皂", "soap", 2, True),
    14: Slot(14, "rice", "大米", "rice", 20, True),
    15: Slot(15, "oil", "食用油", "oil", 30, False),
}
CARD = Identified(Credential(card="00745A70"))
AROUND = Surroundings("", 3, SLOTS, frozenset(), lambda card: card == "BAD", "r1")
APPROVED = Approved("r1", "token", 30, 8, "张*")


def told(step: Step) -> list[Action]:
    """What the dispenser is told in this step."""
    return [action for action in step.actions if not isinstance(action, Say | Ask | AskNews)]


def after(*events: VendingEvent, around: Surroundings = AROUND, now_ms: int = 0) -> Step:
    """The last of some steps, all at one moment."""
    state, last = Vending(), None
    for event in events:
        last = step(state, event, now_ms, around)
        state = last.state
    assert last is not None
    return last


def test_who_identifies_first_begins_a_session_for_the_dearest_item_on_sale() -> None:
    assert told(after(CARD)) == [Begin(20)]
    assert told(after(CARD, CARD)) == [], "the session has begun already"
    assert told(after(base.Pressed(13), CARD)) == [], "the choice was first"


def test_a_press_that_is_refused_is_ended_at_the_dispenser() -> None:
    for selection in (15, 99):
        refused = after(base.Pressed(selection))
        assert told(refused) == [Cancel()]
        assert refused.state == Vending()
    assert told(after(base.Pressed(13), around=replace(AROUND, closed=frozenset({13})))) == [Cancel()]
    assert told(after(base.Pressed(13), around=replace(AROUND, why_not_selling="offline"))) == [Cancel()]
    assert told(after(CARD, around=replace(AROUND, why_not_selling="offline"))) == [Cancel()]


def test_who_has_identified_may_press_another_after_a_wrong_one() -> None:
    refused = after(CARD, base.Pressed(99))
    assert told(refused) == [Cancel(), Begin(20)]
    again = step(refused.state, base.Pressed(13), 0, AROUND)
    assert any(isinstance(action, Ask) for action in again.actions)


def test_a_wrong_press_ends_the_choice_before_it() -> None:
    refused = after(base.Pressed(13), base.Pressed(99))
    assert told(refused) == [Cancel()]
    assert refused.state.choice is None


def test_a_blocked_card_ends_the_choice() -> None:
    refused = after(base.Pressed(13), Identified(Credential(card="BAD")))
    assert (told(refused), refused.state) == ([Cancel()], Vending())


@pytest.mark.parametrize("points", [0, 1, 3, 200])
def test_a_price_that_the_machine_shows_and_the_planogram_does_not_is_refused(points: int) -> None:
    for events in ((base.Pressed(13, points),), (CARD, base.Pressed(13, points))):
        refused = after(*events)
        assert [action.code for action in refused.actions if isinstance(action, Say)] == ["changed"]
        assert (told(refused), refused.state, refused.writes) == ([Cancel()], Vending(), ())
    assert told(after(base.Pressed(13, 2))) == []
    assert told(after(base.Pressed(13))) == []


@pytest.mark.parametrize(
    "ends",
    [
        lambda asked: step(asked.state, Denied("r1", "not_enough_points", "积分不够", "Too few points"), 10, AROUND),
        lambda asked: step(asked.state, Found("r1", "held"), 10, AROUND),
        lambda asked: step(asked.state, base.CancelPressed(), 10, AROUND),
        lambda asked: step(asked.state, TimePassed(), ANSWER_MS, AROUND),
        lambda asked: step(asked.state, APPROVED, 40_000, AROUND),
        lambda asked: step(step(asked.state, APPROVED, 10, AROUND).state, base.Checked(13, False, "xy_02"), 20, AROUND),
    ],
    ids=["denied", "found", "cancelled", "no answer", "late answer", "check failed"],
)
def test_an_attempt_that_ends_without_a_vend_is_ended_at_the_dispenser(ends: Callable[[Step], Step]) -> None:
    ended = ends(after(CARD, base.Pressed(13)))
    assert (told(ended), ended.state) == ([Cancel()], Vending())


@pytest.mark.parametrize("first", [CARD, base.Pressed(13)])
def test_a_choice_that_is_given_up_or_forgotten_is_ended_at_the_dispenser(first: VendingEvent) -> None:
    begun = after(first)
    assert told(step(begun.state, base.CancelPressed(), 10, AROUND)) == [Cancel()]
    assert told(step(begun.state, TimePassed(), CHOICE_MS, AROUND)) == [Cancel()]
    assert told(step(begun.state, TimePassed(), CHOICE_MS - 1, AROUND)) == []
    assert told(after(base.CancelPressed())) == [], "nothing was open"


def test_nothing_is_cancelled_while_a_vend_may_be_under_way() -> None:
    checked = step(after(CARD, base.Pressed(13), APPROVED).state, base.Checked(13, True, "ready"), 20, AROUND)
    assert [type(action) for action in told(checked)] == [Vend]
    for event in (base.CancelPressed(), base.Pressed(13), base.Pressed(99), CARD, TimePassed()):
        assert told(step(checked.state, event, 50_000, AROUND)) == []
    unknown = step(checked.state, base.VendUnknown(13, "no_result"), 60, AROUND)
    for event in (base.CancelPressed(), base.Pressed(99), CARD):
        assert told(step(unknown.state, event, 70, AROUND)) == []


def test_a_vend_that_ends_needs_no_cancel() -> None:
    approved = after(CARD, base.Pressed(13), APPROVED)
    assert told(approved) == [Check(13)]
    checked = step(approved.state, base.Checked(13, True, "ready"), 20, AROUND)
    for ending in (base.VendSucceeded(13, True, "ok"), base.VendFailed(13, "jam", "selection")):
        assert told(step(checked.state, ending, 30, AROUND)) == [Release()]
