"""How often and for how many points a resident may redeem, by the rules of the scheme."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from link_world import Box, World

from jishan_protocol.messages import Approved, Denied, NotStarted
from jishan_server.gateway.core import Gateway
from jishan_server.vending.limits import Limit, Limits, start_of
from jishan_server.vending.rules import Rules


def limited(world: World, *limits: Limit, without_pin: int | None = None) -> None:
    world.vending = replace(world.vending, limits_on=lambda *_: Limits(limits, without_pin))
    world.gateway = Gateway(world.vending)


def test_spans_begin_at_local_midnight() -> None:
    now = datetime(2026, 5, 31, 17, 0, tzinfo=UTC)
    starts = [start_of(per, now, Rules()) for per in ("day", "month", "quarter")]
    assert [one.date().isoformat() for one in starts] == ["2026-06-01", "2026-06-01", "2026-04-01"]
    assert all(one.hour == 0 for one in starts)


def bought(world: World, box: Box) -> str:
    """What becomes of a wish for 2 points: `dispensed`, or the code of the refusal, by which nothing was taken."""
    before = world.balance(0)
    answer = box.ask(0)
    if isinstance(answer, Denied):
        assert world.balance(0) == before
        return answer.code
    assert isinstance(answer, Approved)
    box.start(answer)
    box.dispense(answer.redemption_id)
    return "dispensed"


def test_once_a_day_is_once_a_local_day(world: World, box: Box) -> None:
    limited(world, Limit("times", "day", 1))
    assert bought(world, box) == "dispensed"
    assert bought(world, box) == "day_limit_reached"
    world.tick(days=1)
    assert bought(world, box) == "dispensed"


def test_what_was_given_back_counts_towards_no_limit(world: World, box: Box) -> None:
    limited(world, Limit("points", "month", 3))
    answer = box.ask(0)
    assert isinstance(answer, Approved)
    box.say(NotStarted(answer.redemption_id, "lapsed"))
    assert bought(world, box) == "dispensed"
    assert bought(world, box) == "month_limit_reached"


def test_the_refusal_says_what_the_limit_is(world: World, box: Box) -> None:
    limited(world, Limit("times", "quarter", 1))
    bought(world, box)
    answer = box.ask(0)
    assert isinstance(answer, Denied)
    assert "这个季度的兑换已到上限" in answer.text_zh
    assert "This quarter's limit" in answer.text_en


def test_the_rules_say_what_a_card_may_spend_without_its_pin(world: World, box: Box) -> None:
    limited(world, without_pin=3)
    assert bought(world, box) == "dispensed"
    assert bought(world, box) == "pin_required"
