"""The machine's own screen, before the real agent on a virtual clock: what a person sees, presses and hears."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parent))

from machine_front import TELEPHONE, MachineFront, news

from jishan_agent.keying import Keyed
from jishan_agent.kiosk.screen import TEXTS, Screen
from jishan_agent.words import WORDS

LABEL, BALANCE = "王*华", "15分"


@pytest.fixture
def front(bench: Any, tmp_path: Path) -> MachineFront:
    """A machine that sells, with its screen, and a person with 15 points."""
    bench.server.greeting = news
    return MachineFront(bench, tmp_path)


def told(screen: Screen) -> str:
    """Every word on the screen."""
    return repr(dataclasses.replace(screen, spoken=()))


def acts(screen: Screen) -> list[str]:
    return [one.act for one in screen.buttons]


def test_an_idle_machine_shows_goods_prices_and_whom_to_call(front: MachineFront) -> None:
    screen = front.look()
    assert screen.step == "idle"
    assert [(one.name, one.points, one.why_not) for one in screen.goods] == [
        ("肥皂", "2分", ""),
        ("大米", "20分", ""),
        ("食用油", "30分", "暂停兑换"),
    ]
    assert TELEPHONE in screen.telephone
    assert [one.act for one in screen.bar] == ["contrast", "voice", "language"]


def test_a_card_first_is_greeted_by_name_and_the_choice_is_asked_back(front: MachineFront) -> None:
    screen = front.tap()
    assert screen.step == "choosing"
    assert screen.words == "王*华，上次之后多了6分，有1条消息，现有15分。请选择商品。"
    assert screen.goods[1].why_not == "还差5分"
    screen = front.press("choose:13")
    assert screen.step == "confirm"
    assert screen.shown is not None
    assert (screen.shown.name, screen.shown.points) == ("肥皂", "2分")
    assert not front.bench.server.asks
    screen = front.press("confirm")
    assert screen.step == "asking"
    screen = front.until("vending")
    assert [one.state for one in screen.stages] == ["done", "now", "later"]
    screen = front.until("result")
    assert (screen.is_good, screen.heading, screen.words) == (True, "请取货", "请取走肥皂。已扣2分。")
    assert LABEL not in told(screen)
    assert "Dispensed" in front.bench.server.names()
    assert front.press("ok").step == "idle"


def test_a_choice_first_is_confirmed_by_the_tap(front: MachineFront) -> None:
    screen = front.press("choose:13")
    assert screen.step == "identify"
    assert screen.shown is not None
    front.bench.tap()
    assert front.look().step == "asking"
    assert front.until("result").is_good


def test_by_keys_alone(front: MachineFront) -> None:
    front.tap()
    assert front.press("digit:1").typed == "号码：1"
    assert front.press("escape").typed == ""
    assert front.type(13).step == "confirm"
    assert front.press("escape").step == "choosing"
    assert front.type(13).step == "confirm"
    assert front.press("enter").step == "asking"
    assert front.until("result").is_good


@pytest.mark.parametrize("language", [0, 1])
def test_every_step_stands_in_the_chosen_language(front: MachineFront, language: int) -> None:
    if language:
        front.press("language")
    assert front.look().heading == TEXTS["idle"][language]
    front.tap()
    front.press("choose:13")
    assert front.look().heading == TEXTS["confirm"][language]
    front.press("confirm")
    assert front.until("vending").heading == TEXTS["vending"][language]
    screen = front.until("result")
    assert screen.heading == TEXTS["done"][language]
    if language:
        assert told(screen).replace(TEXTS["language"][1], "").isascii()


def test_a_refusal_is_told_in_words_and_takes_nothing(front: MachineFront) -> None:
    front.bench.deny()
    front.tap()
    front.press("choose:13")
    front.press("confirm")
    screen = front.until("result")
    assert (screen.is_good, screen.words) == (False, "积分不够")
    assert front.spoken == ("denied_not_enough_points",)
    assert front.bench.server.names() == []


def test_what_somebody_cannot_pay_is_told_at_once(front: MachineFront) -> None:
    front.tap()
    screen = front.press("choose:14")
    assert (screen.step, screen.notice) == ("choosing", "您的积分不够，还差5分。请选别的。")
    assert not front.bench.server.asks


def test_grey_goods_say_why_and_the_person_may_choose_another(front: MachineFront) -> None:
    front.tap()
    screen = front.type(15)
    assert (screen.step, screen.words) == ("choosing", WORDS["selection_disabled"][0])
    assert front.type(99).words == WORDS["no_such_selection"][0]
    assert front.type(13).step == "confirm"


def test_without_the_server_the_goods_are_grey_and_the_reason_stands_there(front: MachineFront) -> None:
    front.bench.unlink()
    screen = front.look()
    assert (screen.step, screen.words) == ("closed", WORDS["offline"][0])
    assert {one.why_not for one in screen.goods} == {"暂停兑换"}
    assert TELEPHONE in screen.telephone
    assert front.tap().words == WORDS["offline"][0]


def test_nothing_came_out_says_that_the_points_are_back(front: MachineFront) -> None:
    front.bench.vmc.statuses = [0x01, 0x04]
    front.press("choose:13")
    front.bench.tap()
    screen = front.until("result")
    assert screen.heading == "积分都在"
    assert screen.words == "没有出货，您的2分已退回。"
    assert front.spoken == ("nothing_came", "two_of", "points")


def test_a_warning_comes_before_a_choice_is_forgotten_and_any_press_gives_thirty_seconds_more(
    front: MachineFront,
) -> None:
    front.tap()
    screen = front.pass_time(28_000)
    assert screen.is_warning
    assert screen.notice == TEXTS["there"][0]
    assert front.spoken == ("still_there",)
    # Nobody knows whether it is still the same person.
    assert LABEL not in told(screen)
    assert BALANCE not in told(screen)
    assert acts(screen) == ["stay", "finish"]
    screen = front.press("enter")
    assert not screen.is_warning
    assert LABEL in screen.words
    assert front.pass_time(25_000).step == "choosing"
    assert front.press("digit:1").step == "choosing"
    assert front.pass_time(26_000).step == "choosing"


STEPS = {
    "choosing": ("tap",),
    "confirm": ("tap", "choose:13"),
    "identify": ("choose:13",),
    "vending": ("tap", "choose:13", "confirm"),
}


@pytest.mark.parametrize("step", STEPS)
def test_a_minute_without_a_hand_loses_no_points_and_no_name_is_left(front: MachineFront, step: str) -> None:
    for act in STEPS[step]:
        front.tap() if act == "tap" else front.press(act)
    if step == "vending":
        front.until("vending")
    assert front.look().step == step
    front.pass_time(62_000)
    screen = front.look()
    assert screen.step in ("idle", "result")
    assert LABEL not in told(screen)
    assert not screen.notice
    dropped = len(front.bench.vmc.driven)
    assert front.bench.server.names().count("Dispensed") == dropped == (step == "vending")
    # The next person begins anew.
    screen = front.press("choose:13")
    assert screen.step == "identify"


def test_done_ends_the_session_at_once(front: MachineFront) -> None:
    front.tap()
    screen = front.press("finish")
    assert (screen.step, screen.heading) == ("result", "已结束")
    assert LABEL not in told(screen)
    assert front.press("choose:13").step == "identify"


def test_a_second_card_ends_the_session_of_the_first(front: MachineFront) -> None:
    front.tap()
    front.press("choose:13")
    view = front.look().view
    front.bench.server.greeting = lambda greet: None
    screen = front.tap("11223344")
    assert screen.step == "choosing"
    assert LABEL not in told(screen)
    assert front.press("confirm", view).step == "choosing"
    assert not front.bench.server.asks


def test_a_press_on_what_is_gone_does_nothing(front: MachineFront) -> None:
    front.tap()
    view = front.press("choose:13").view
    front.booth.act("confirm", view)
    front.booth.act("confirm", view)
    assert len(front.events) == 1
    assert front.press("choose:14", view).step == "asking"


@pytest.mark.parametrize(
    "act", ["", "digit:", "digit:x", "choose", "choose:", "page:--1", "page:99999", "x" * 500, "é:1"]
)
def test_a_press_that_means_nothing_changes_nothing(front: MachineFront, act: str) -> None:
    before = front.look()
    assert front.press(act) == before


def test_the_balance_is_spoken_only_when_somebody_asks(front: MachineFront) -> None:
    front.tap()
    assert front.spoken == ("press_listen",)
    front.press("listen")
    heard = front.spoken
    assert heard[:10] == (
        "gained",
        "n6",
        "points",
        "you_have_messages",
        "n1",
        "messages",
        "you_have",
        "n15",
        "points",
        "can_choose",
    )
    assert heard[10:] == ("n13", "place", "goods-soap", "two_of", "points", "how_to")


def test_the_whole_story_is_told_by_voice_in_either_order(front: MachineFront) -> None:
    front.press("digit:1")
    assert front.spoken == ("n1",)
    front.press("digit:3")
    front.press("enter")
    assert front.spoken == ("goods-soap", "two_of", "points", "please_tap")
    front.bench.tap()
    front.look()
    assert front.spoken == ("asking",)
    front.until("vending")
    assert front.spoken == ("vending",)
    front.until("result")
    assert front.spoken == ("take_item", "goods-soap", "used", "two_of", "points")
    front.bench.tap()
    front.look()
    assert front.spoken == ("card_read", "choose")
    front.type(13)
    assert front.spoken == ("n13", "place", "goods-soap", "two_of", "points", "press_confirm")


def test_language_contrast_and_voice_go_back_when_the_person_has_gone(front: MachineFront) -> None:
    for act in ("language", "contrast", "voice"):
        front.press(act)
    screen = front.look()
    assert (screen.language, screen.is_contrast) == ("en", True)
    heard = front.spoken
    front.type(13)
    assert front.spoken == heard
    front.pass_time(130_000)
    screen = front.look()
    assert (screen.language, screen.is_contrast, screen.step) == ("zh", False, "idle")


def test_a_player_of_the_machine_leaves_the_page_silent(bench: Any, tmp_path: Path) -> None:
    front = MachineFront(bench, tmp_path, is_heard_elsewhere=True)
    front.tap()
    assert front.look().spoken == ()


def test_a_machine_that_begins_tells_nothing_of_the_last_run(front: MachineFront) -> None:
    assert front.look().spoken == ()
    assert front.look().step == "idle"


def with_keypad(front: MachineFront) -> None:
    front.bench.agent._identity = dataclasses.replace(front.bench.agent._identity, has_keypad=True)


def test_a_member_number_and_its_pin_are_typed_with_a_finger(front: MachineFront) -> None:
    with_keypad(front)
    screen = front.press("pad")
    assert screen.step == "pad"
    assert [one.label for one in screen.pad] == list("1234567890")
    for digit in "10000012":
        front.press(f"digit:{digit}")
    screen = front.press("enter")
    assert (screen.step, screen.words) == ("pin", WORDS["enter_pin"][0])
    for digit in "0661":
        screen = front.press(f"digit:{digit}")
        assert front.spoken == ("star",)
    assert screen.typed == "号码：\u2022\u2022\u2022\u2022"
    assert "0661" not in repr(front.booth._memory)
    front.press("digit:7")
    front.press("digit:2")
    assert front.press("enter").step == "choosing"
    assert front.press("choose:13").step == "confirm"
    front.press("enter")
    assert front.until("result").is_good
    credential = front.bench.server.credentials[-1]
    assert (credential.member, credential.pin) == ("10000012", "066172")


def test_a_card_that_needs_its_pin_is_asked_for_it_on_the_screen(front: MachineFront) -> None:
    with_keypad(front)
    front.bench.deny("pin_required")
    front.tap()
    front.press("choose:13")
    front.press("confirm")
    assert front.until("pin").words == "积分不够"
    assert front.spoken == ("denied_pin_required",)
    screen = front.press("escape")
    assert screen.step == "result"
    assert screen.typed == ""


def test_a_number_that_is_none_may_be_typed_again(front: MachineFront) -> None:
    with_keypad(front)
    screen = front.type(10000013)
    assert (screen.step, screen.words) == ("pad", WORDS["number_wrong"][0])
    assert front.type(10000012).step == "pin"
    assert front.press("finish").step == "result"


def test_a_machine_without_a_screen_tells_its_keys_and_what_there_is(front: MachineFront) -> None:
    agent, bench = front.bench.agent, front.bench
    agent.handle(Keyed("#"), bench.now_ms)
    assert front.look().step == "idle"
    assert front.spoken[-1] == "how_to"
    agent.handle(Keyed("1"), bench.now_ms)
    front.look()
    assert front.spoken == ("n1",)
    agent.handle(Keyed("3"), bench.now_ms)
    front.look()
    assert front.spoken == ("n3",)
    agent.handle(Keyed("#"), bench.now_ms)
    front.look()
    assert front.spoken == ("goods-soap", "two_of", "points", "please_tap")
    bench.tap()
    front.look()
    front.until("result")
    assert front.spoken == ("take_item", "goods-soap", "used", "two_of", "points")
    front.tap()
    agent.handle(Keyed("#"), bench.now_ms)
    front.look()
    assert front.spoken[:2] == ("gained", "n6")


def test_the_code_for_phones_stands_there_while_nobody_is_served(front: MachineFront) -> None:
    identity = front.bench.agent._identity
    front.bench.agent._identity = dataclasses.replace(identity, site_url="https://jishan.example")
    screen = front.pass_time(2_000)
    assert screen.address.startswith("https://jishan.example/m/m1/")
    assert screen.words == TEXTS["how_code"][0]
    assert front.tap().address == ""
