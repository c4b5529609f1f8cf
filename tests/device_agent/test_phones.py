"""Codes before the machine: a resident's on the scanner, the machine's own on its screen, a PIN after a card."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from jishan_agent.agent import CODE_KEPT_MS, Scanned
from jishan_agent.dispensers.base import CancelPressed
from jishan_agent.keying import GAP_MS
from jishan_agent.readers.serial_keypad import keys
from jishan_agent.vending import CHOICE_MS
from jishan_protocol.messages import Approved, Authorize, Denied, Waiting
from jishan_protocol.screen_codes import SHOWN_S, made_at
from jishan_protocol.sealing import Credential

SITE = "https://jishan.example"
CODE = "482915036617204981"
KEY = bytes(range(32))


@pytest.fixture
def bench(make_bench: Callable[..., Any]) -> Any:
    """A machine with a screen and a keypad, ready to sell."""
    made = make_bench(start=False)
    made.start()
    made.agent._identity = dataclasses.replace(made.agent._identity, site_url=SITE, has_keypad=True)
    made.ready()
    made.run(200)
    return made


def scan(bench: Any, text: str) -> None:
    bench.agent.handle(Scanned(text), bench.now_ms)


def type_(bench: Any, text: str) -> None:
    bench.agent.handle(keys(text.encode()), bench.now_ms)


def shown(bench: Any) -> str:
    address: str = bench.agent.status.address
    assert address.startswith(f"{SITE}/m/m1/"), address
    return address.rpartition("/")[2]


def offer(bench: Any, code: str, claim_id: str = "claim-1", **changes: Any) -> None:
    message = {"selection": 13, "planogram_version": 3, "product_id": "soap", "points": 2}
    bench.server.send("offer", Waiting(claim_id, code, **message | changes))
    bench.run(200)


def declined(bench: Any) -> list[tuple[str, str]]:
    return [(one.claim_id, one.code) for one in bench.server.declined]


def test_a_scanned_code_and_a_choice_are_a_redemption(bench: Any) -> None:
    scan(bench, f"{SITE}/p/{CODE}")
    assert bench.said == "choose"
    bench.press()
    bench.until("Dispensed")
    assert bench.server.credentials == [Credential(code=CODE)]
    assert bench.server.greets == []


def test_what_is_no_code_says_so_and_ends_nothing(bench: Any) -> None:
    bench.press()
    for text in ("6901234567892", "https://example.org/", "\ufffd"):
        scan(bench, text)
        assert bench.said == "bad_code"
    bench.tap()
    bench.until("Dispensed")


def test_number_and_pin_on_the_keypad_are_a_redemption(bench: Any) -> None:
    type_(bench, "13#10000012#")
    assert bench.said == "enter_pin"
    type_(bench, "0661")
    assert bench.agent.front.typed == "\u2022" * 4
    type_(bench, "72#")
    bench.until("Dispensed")
    assert bench.server.credentials == [Credential(member="10000012", pin="066172")]
    assert bench.agent.front.typed == ""


def test_the_number_of_a_printed_card_is_scanned_and_its_pin_typed(bench: Any) -> None:
    scan(bench, "10000012")
    assert bench.said == "enter_pin"
    type_(bench, "066172#")
    assert bench.said == "choose"
    type_(bench, "13#")
    bench.until("Dispensed")
    assert bench.server.credentials == [Credential(member="10000012", pin="066172")]


def test_a_pin_that_does_not_come_is_given_up_and_forgotten(bench: Any) -> None:
    type_(bench, "10000012#06")
    bench.run(GAP_MS + 2_000)
    assert bench.said == "timed_out"
    assert bench.agent.front.typed == ""
    type_(bench, "6172#")
    assert bench.server.asks == []


def test_a_card_that_must_have_its_pin_is_asked_for_it_once_more(bench: Any) -> None:
    def answer(ask: Authorize) -> Any:
        if bench.server.credentials[-1].pin is None:
            return Denied(ask.redemption_id, "pin_required", "请输入密码", "Please enter the PIN")
        return Approved(ask.redemption_id, "token", 30, 8, "张*")

    bench.server.answer = answer
    bench.press()
    bench.tap()
    bench.run(300)
    assert bench.said == "denied:pin_required"
    type_(bench, "0661#")
    bench.until("Dispensed")
    assert bench.server.credentials[-1] == Credential(card="00745A70", pin="0661")
    assert len({one.redemption_id for one in bench.server.asks}) == 2


def test_the_screen_shows_a_new_code_each_minute_while_it_is_free(bench: Any) -> None:
    first = shown(bench)
    assert made_at(KEY, bench.server.tag, first, bench.server.now_ms // 1000) is not None
    bench.run(1000 * SHOWN_S + 1_000)
    second = shown(bench)
    assert second != first
    bench.tap()
    assert bench.agent.status.address == ""
    bench.run(CHOICE_MS + 1_000)
    assert shown(bench) not in (first, second)


def test_without_a_link_or_a_site_there_is_nothing_to_scan(bench: Any, make_bench: Callable[..., Any]) -> None:
    code = shown(bench)
    bench.unlink()
    bench.run(200)
    assert bench.agent.status.address == ""
    bench.ready()
    bench.run(200)
    assert shown(bench) != code
    # Who scanned before the connection was lost may still choose.
    offer(bench, code)
    bench.until("Dispensed")


def test_what_was_chosen_on_the_phone_is_asked_for_once_like_any_other(bench: Any) -> None:
    code = shown(bench)
    offer(bench, code)
    offer(bench, code)
    bench.until("Dispensed")
    assert {one.claim for one in bench.server.credentials} == {"claim-1"}
    assert len({one.redemption_id for one in bench.server.asks}) == 1
    assert len(bench.vmc.driven) == 1
    offer(bench, code)
    assert ("claim-1", "claim_over") in declined(bench)
    assert len(bench.vmc.driven) == 1


def test_a_selection_that_only_was_pressed_gives_way_to_the_phone(bench: Any) -> None:
    code = shown(bench)
    bench.press(14)
    offer(bench, code)
    bench.until("Dispensed")
    assert [selection for _, selection in bench.vmc.driven] == [13]


def test_another_card_or_an_old_code_ends_what_the_phone_had(bench: Any) -> None:
    code = shown(bench)
    bench.tap()
    offer(bench, code)
    assert declined(bench) == [("claim-1", "claim_over")]
    bench.agent.handle(CancelPressed(), bench.now_ms)
    offer(bench, code)
    assert declined(bench)[1:] == [("claim-1", "claim_over")]
    old = shown(bench)
    bench.run(CODE_KEPT_MS + 1000 * SHOWN_S + 1_000)
    offer(bench, old, "claim-2")
    assert declined(bench)[2:] == [("claim-2", "claim_over")]
    offer(bench, "abcdefghijkl2345", "claim-3")
    assert declined(bench)[3:] == [("claim-3", "claim_over")]
    assert bench.server.asks == []
    assert bench.vmc.driven == []


def test_while_somebody_is_served_the_phone_is_told_busy(bench: Any) -> None:
    bench.server.answer = lambda ask: None
    code = shown(bench)
    bench.press()
    bench.tap()
    bench.run(100)
    offer(bench, code)
    assert declined(bench) == [("claim-1", "busy")]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"points": 3}, "changed"),
        ({"product_id": "rice"}, "changed"),
        ({"planogram_version": 2}, "changed"),
        ({"selection": 99}, "no_such_selection"),
        ({"selection": 15, "product_id": "oil", "points": 30}, "selection_disabled"),
    ],
)
def test_what_is_not_for_sale_as_it_was_chosen_is_declined(bench: Any, changes: dict[str, Any], code: str) -> None:
    screen = shown(bench)
    offer(bench, screen, **changes)
    assert declined(bench) == [("claim-1", code)]
    # It costs the person nothing but another choice; the code was not used up at the machine.
    offer(bench, screen, "claim-2")
    bench.until("Dispensed")


def test_a_machine_that_was_started_anew_begins_nothing_of_before(bench: Any) -> None:
    code = shown(bench)
    bench.crash()
    bench.start()
    bench.ready()
    offer(bench, code)
    assert declined(bench) == [("claim-1", "claim_over")]
    assert bench.vmc.driven == []
