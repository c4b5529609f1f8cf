"""What a card tapped before a choice is told, and that nothing waits for it."""

from __future__ import annotations

from typing import Any

import pytest

from jishan_agent.words import greeting
from jishan_protocol.messages import Greeting


def news(greet: Any, changed: int | None = 6, unread: int = 1) -> Greeting:
    return Greeting(greet.greet_id, "王*华", 15, changed, unread)


def test_a_tap_before_a_choice_says_in_one_sentence_what_is_new(bench: Any) -> None:
    bench.server.greeting = news
    bench.tap()
    assert bench.said == "choose"
    bench.run(500)
    assert bench.said == "greeting"
    assert bench.agent.status.said.zh == "王*华，上次之后多了6分，有1条消息，现有15分。请选择商品。"
    assert [one.card for one in bench.server.greets] == ["00745A70"]
    bench.press()
    bench.until("Dispensed")


@pytest.mark.parametrize(
    ("changed", "unread", "zh", "en"),
    [
        (None, 0, "王*，现有15分。请选择商品。", "Points now: 15. Please choose an item."),
        (0, 0, "王*，现有15分。请选择商品。", "Points now: 15. Please choose an item."),
        (
            -2,
            0,
            "王*，上次之后少了2分，现有15分。请选择商品。",
            "Points since last time: -2, points now: 15. Please choose an item.",
        ),
        (0, 3, "王*，有3条消息，现有15分。请选择商品。", "Messages: 3, points now: 15. Please choose an item."),
    ],
)
def test_only_what_is_new_is_said(changed: int | None, unread: int, zh: str, en: str) -> None:
    said = greeting("王*", 15, changed, unread)
    assert (said.code, said.zh, said.en) == ("greeting", zh, en)


def test_without_an_answer_nothing_is_said_and_the_redemption_goes_on(bench: Any) -> None:
    bench.tap()
    bench.run(500)
    assert bench.said == "choose"
    assert len(bench.server.greets) == 1
    bench.press()
    bench.until("Dispensed")
    assert len(bench.server.greets) == 1


def test_a_greeting_that_comes_after_the_choice_changes_nothing(bench: Any) -> None:
    asked: list[Any] = []
    bench.server.greeting = lambda greet: asked.append(greet)
    bench.tap()
    bench.run(200)
    bench.press()
    before = bench.said
    bench.server.send("answer", news(asked[0]))
    bench.run(50)
    assert bench.said != "greeting"
    assert before == "asking"
    bench.until("Dispensed")
    bench.server.send("answer", news(asked[0]))
    bench.run(200)
    assert bench.said == "dispensed"


def test_a_greeting_for_somebody_else_is_not_said(bench: Any) -> None:
    asked: list[Any] = []
    bench.server.greeting = lambda greet: asked.append(greet)
    bench.tap()
    bench.run(200)
    bench.tap("DEADBEEF")
    bench.server.send("answer", news(asked[0]))
    bench.run(200)
    assert bench.said == "choose"


def test_a_card_that_bounces_on_the_reader_asks_once(bench: Any) -> None:
    bench.server.greeting = news
    bench.tap()
    bench.tap()
    bench.run(500)
    assert len(bench.server.greets) == 1
    assert bench.said == "greeting"


def test_a_card_after_the_choice_asks_for_no_greeting(bench: Any) -> None:
    bench.press()
    bench.tap()
    bench.until("Dispensed")
    assert bench.server.greets == []
