"""The driver of network-connected boards, message by message: what leaves once, is asked again, and is believed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar

import pytest

from jishan_agent.dispensers import base
from jishan_agent.dispensers.mqtt_board import (
    ASK_AGAIN_MS,
    HELLO_AGAIN_MS,
    MAX_ASKS,
    QUERY_AGAIN_MS,
    SILENCE_MS,
    STATUS_MS,
    MqttBoard,
)
from jishan_protocol.dispensers import mqtt_board as board
from jishan_protocol.dispensers.mqtt_board import Outcome

STORE, NUMBER, NONCE = 777, 12, 4_321
READINGS = {"store": STORE, "number": NUMBER, "nonce": NONCE}
STATE = board.State(0, STORE, 3, NUMBER - 1, False, "closed", 50)
DONE = board.Result(STORE, NUMBER, NONCE, 13, Outcome.DISPENSED, "dispensed", True)

M = TypeVar("M")


class Link:
    """A hand-driven board: each call is one moment."""

    def __init__(self, *, online: bool = True) -> None:
        self.driver = MqttBoard(board.PROFILES["default"])
        self.now_ms = 100_000
        self.reader = board.LineReader("d")
        self.said: list[Any] = []
        self.events: list[base.DispenserEvent] = []
        self.is_beating = online
        if online:
            self.hear(STATE)
            self.pass_ms(1_000)
            self.forget()

    def collect(self) -> None:
        self.said += self.reader.feed(self.driver.take_output())
        self.events += self.driver.take_events()

    def forget(self) -> None:
        self.said.clear()
        self.events.clear()

    def hear(self, *messages: board.Up) -> None:
        for message in messages:
            self.driver.receive(board.line(message), self.now_ms)
        self.collect()

    def pass_ms(self, for_ms: int) -> None:
        """Time passes; a board that is there says its state every 10 s."""
        for _ in range(for_ms // 100):
            self.now_ms += 100
            if self.is_beating and self.now_ms % 10_000 == 0:
                self.hear(STATE)
            self.driver.tick(self.now_ms)
            self.collect()

    def all(self, kind: type[M]) -> list[M]:
        return [one for one in self.said if isinstance(one, kind)]

    def told(self, *kinds: type[Any]) -> list[Any]:
        return [one for one in self.events if isinstance(one, kinds)]

    def checked(self, selection: int = 13) -> Link:
        self.driver.check(selection, self.now_ms)
        self.collect()
        ask = self.all(board.Check)[-1].ask
        self.hear(board.Ready(ask, selection, STORE, NUMBER, NONCE, True, "ready"))
        return self

    def vending(self, selection: int = 13, within_ms: int = 20_000) -> Link:
        self.checked(selection)
        self.driver.vend(selection, self.now_ms + within_ms, self.now_ms)
        self.collect()
        return self


def result(outcome: Outcome, code: str = "code", **changes: Any) -> board.Result:
    return replace(DONE, outcome=outcome, code=code, is_verified=False, **changes)


# --- check and vend --------------------------------------------------------------------------------------------------


def test_a_check_gives_the_readings_that_name_the_vend() -> None:
    link = Link().checked()
    assert link.told(base.Checked) == [base.Checked(13, True, "ready", readings=READINGS)]


def test_a_check_is_asked_again_with_the_same_ask_and_then_given_up() -> None:
    link = Link()
    link.driver.check(13, link.now_ms)
    link.pass_ms(ASK_AGAIN_MS * (MAX_ASKS + 1))
    checks = link.all(board.Check)
    assert len(checks) == MAX_ASKS
    assert len(set(checks)) == 1
    assert link.told(base.Checked) == [base.Checked(13, False, "no_answer")]


def test_two_checks_never_have_the_same_ask() -> None:
    link = Link()
    for _ in range(3):
        link.driver.check(13, link.now_ms)
        link.collect()
    assert len({check.ask for check in link.all(board.Check)}) == 3


def test_an_answer_to_an_earlier_check_is_not_this_ones() -> None:
    link = Link()
    link.driver.check(13, link.now_ms)
    link.collect()
    (first,) = link.all(board.Check)
    link.pass_ms(200)
    link.driver.check(13, link.now_ms)
    link.hear(board.Ready(first.ask, 13, STORE, NUMBER, 99, True, "ready"))
    assert link.told(base.Checked) == []


@pytest.mark.parametrize(("code", "closes"), [("empty", None), ("drop_sensor", "machine"), ("jammed", None)])
def test_what_cannot_be_sold_says_how_much_of_the_machine(code: str, closes: base.Closes | None) -> None:
    link = Link()
    link.driver.check(13, link.now_ms)
    link.collect()
    link.hear(board.Ready(link.all(board.Check)[-1].ask, 13, STORE, NUMBER, NONCE, False, code))
    assert link.told(base.Checked) == [base.Checked(13, False, f"mqtt_{code}", closes)]


def test_a_vend_leaves_at_once_with_what_is_left_of_the_approval() -> None:
    link = Link().checked()
    link.pass_ms(500)
    link.driver.vend(13, link.now_ms + 10_000, link.now_ms)
    link.collect()
    # 10.5 s from the moment the nonce came, less a 64th.
    assert link.all(board.Vend) == [board.Vend(STORE, NUMBER, NONCE, 13, 10_500 * 63 // 64)]
    assert link.told(base.DriveSent) == [base.DriveSent(13)]


def test_a_vend_leaves_once_whatever_does_not_come() -> None:
    link = Link().vending()
    link.pass_ms(300_000)
    assert len(link.all(board.Vend)) == 1


def test_a_time_to_live_is_never_longer_than_a_board_takes() -> None:
    link = Link().vending(within_ms=3_600_000)
    assert link.all(board.Vend)[0].ttl_ms == board.MAX_TTL_MS


@pytest.mark.parametrize("late_ms", [0, -1])
def test_past_the_deadline_nothing_leaves(late_ms: int) -> None:
    link = Link().vending(within_ms=late_ms)
    assert link.all(board.Vend) == []
    assert link.told(base.VendFailed) == [base.VendFailed(13, "never_sent", "selection")]


def test_without_an_answer_to_its_own_check_nothing_leaves() -> None:
    link = Link()
    link.driver.vend(13, link.now_ms + 10_000, link.now_ms)
    link.collect()
    link.checked(14)
    link.driver.vend(13, link.now_ms + 10_000, link.now_ms)
    link.collect()
    assert link.all(board.Vend) == []
    assert [one.code for one in link.told(base.VendFailed)] == ["never_sent", "never_sent"]


def test_one_answer_is_good_for_one_vend() -> None:
    link = Link().vending()
    link.hear(DONE)
    link.driver.release(link.now_ms)
    link.driver.vend(13, link.now_ms + 10_000, link.now_ms)
    link.collect()
    assert len(link.all(board.Vend)) == 1


# --- results ---------------------------------------------------------------------------------------------------------


def test_a_result_is_acknowledged_only_when_it_is_on_disk() -> None:
    link = Link().vending()
    link.hear(result(Outcome.RUNNING), DONE, DONE)
    link.pass_ms(20_000)
    assert link.told(base.VendSucceeded) == [base.VendSucceeded(13, True, "mqtt_dispensed")]
    assert link.all(board.Ack) == []
    link.driver.release(link.now_ms)
    link.collect()
    assert link.all(board.Ack) == [board.Ack(STORE, NUMBER)]


def test_a_result_that_comes_again_is_acknowledged_again_and_told_once() -> None:
    link = Link().vending()
    link.hear(DONE)
    link.driver.release(link.now_ms)
    link.hear(DONE, DONE)
    assert link.all(board.Ack) == [board.Ack(STORE, NUMBER)] * 3
    assert len(link.told(base.VendSucceeded, base.StrayResult)) == 1


@pytest.mark.parametrize(
    ("outcome", "code", "closes"),
    [
        (Outcome.NOT_DISPENSED, "jammed", "selection"),
        (Outcome.REFUSED, "expired", "selection"),
        (Outcome.REFUSED, "drop_sensor", "machine"),
    ],
)
def test_what_did_not_leave_has_failed(outcome: Outcome, code: str, closes: base.Closes) -> None:
    link = Link().vending()
    link.hear(result(outcome, code, **({"nonce": 0, "selection": 0} if outcome is Outcome.REFUSED else {})))
    assert link.told(base.VendFailed) == [base.VendFailed(13, f"mqtt_{code}", closes)]


def test_without_a_word_the_number_is_asked_for_and_a_fence_is_a_result() -> None:
    link = Link().vending()
    link.pass_ms(QUERY_AGAIN_MS)
    assert link.all(board.Query) == [board.Query(STORE, NUMBER)]
    link.hear(board.Result(STORE, NUMBER, 0, 0, Outcome.REFUSED, "fenced", False))
    assert link.told(base.VendFailed) == [base.VendFailed(13, "mqtt_fenced", "selection")]


def test_a_vend_that_goes_on_is_asked_for_until_it_ends() -> None:
    link = Link().vending()
    for _ in range(15):
        link.pass_ms(QUERY_AGAIN_MS)
        link.hear(result(Outcome.RUNNING))
    assert link.told(base.VendUnknown) == []
    link.hear(DONE)
    assert len(link.told(base.VendSucceeded)) == 1


def test_a_vend_that_never_ends_is_unknown_and_a_late_result_still_counts() -> None:
    link = Link().vending()
    for _ in range(25):
        link.pass_ms(QUERY_AGAIN_MS)
        link.hear(result(Outcome.RUNNING))
    assert link.told(base.VendUnknown) == [base.VendUnknown(13, "no_result")]
    link.driver.recover(13, READINGS, link.now_ms)
    link.hear(DONE)
    link.driver.release(link.now_ms)
    link.collect()
    assert [type(one) for one in link.told(base.VendSucceeded, base.AtRest)] == [base.VendSucceeded, base.AtRest]


def test_a_result_that_comes_before_the_agent_recovers_is_told_once() -> None:
    link = Link().vending()
    link.pass_ms(STATUS_MS)
    link.hear(DONE)
    link.driver.recover(13, READINGS, link.now_ms)
    link.driver.release(link.now_ms)
    link.collect()
    kinds = (base.VendUnknown, base.VendSucceeded, base.AtRest)
    assert [type(one) for one in link.told(*kinds)] == list(kinds)


def test_a_board_that_does_not_answer_is_unknown_and_asked_on() -> None:
    link = Link().vending()
    link.pass_ms(STATUS_MS)
    assert link.told(base.VendUnknown) == [base.VendUnknown(13, "no_answer")]
    link.driver.recover(13, READINGS, link.now_ms)
    asked = len(link.all(board.Query))
    link.pass_ms(60_000)
    assert len(link.all(board.Query)) >= asked + 60_000 // QUERY_AGAIN_MS
    assert len(link.told(base.VendUnknown)) == 1
    assert link.told(base.AtRest, base.VendProved) == []


def test_a_result_of_another_number_or_store_is_not_ours() -> None:
    link = Link().vending()
    link.hear(replace(DONE, number=NUMBER - 1), replace(DONE, store=STORE + 1), replace(DONE, number=NUMBER - 1))
    assert link.told(base.VendSucceeded, base.VendFailed, base.VendUnknown) == []
    assert link.told(base.StrayResult) == [base.StrayResult(13, "mqtt_dispensed")] * 2
    assert link.all(board.Ack) == []


@pytest.mark.parametrize("other", [{"nonce": NONCE + 1}, {"selection": 14}])
@pytest.mark.parametrize("outcome", [Outcome.RUNNING, Outcome.DISPENSED, Outcome.UNKNOWN])
def test_a_number_that_somebody_else_used_was_not_ours(outcome: Outcome, other: dict[str, Any]) -> None:
    link = Link().vending()
    link.hear(result(outcome, **other))
    assert link.told(base.VendFailed) == [base.VendFailed(13, "mqtt_number_taken", "machine")]
    link.driver.release(link.now_ms)
    link.hear(result(Outcome.DISPENSED, **other))
    assert link.all(board.Ack) == [], "the other's result is not ours to acknowledge"


def test_a_board_that_contradicts_itself_is_told_of_and_changes_nothing() -> None:
    link = Link().vending()
    lie = result(Outcome.NOT_DISPENSED, "jammed")
    link.hear(DONE, lie, lie)
    link.driver.release(link.now_ms)
    link.hear(lie)
    assert link.told(base.VendSucceeded, base.VendFailed) == [base.VendSucceeded(13, True, "mqtt_dispensed")]
    assert link.told(base.StrayResult) == [base.StrayResult(13, "mqtt_jammed")]


# --- what nobody knows -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", [Outcome.UNKNOWN, Outcome.OTHER_STORE, Outcome.ACKNOWLEDGED, Outcome.NOT_GIVEN])
def test_what_the_board_does_not_know_is_unknown_then_at_rest_and_proves_nothing(outcome: Outcome) -> None:
    link = Link().vending()
    answer = result(outcome) if outcome is Outcome.UNKNOWN else result(outcome, nonce=0, selection=0)
    link.hear(answer)
    assert link.told(base.VendUnknown) == [base.VendUnknown(13, f"mqtt_{outcome}")]
    link.driver.recover(13, READINGS, link.now_ms)
    link.hear(answer)
    assert link.told(base.AtRest, base.VendProved) == [base.AtRest()]
    link.checked(14)
    link.driver.vend(14, link.now_ms + 10_000, link.now_ms)
    link.collect()
    assert len(link.all(board.Vend)) == 2


def test_a_restart_of_the_board_in_mid_vend_is_asked_about_at_once() -> None:
    link = Link().vending()
    link.hear(replace(STATE, boot=4))
    assert link.told(base.Restarted) == [base.Restarted()]
    assert link.all(board.Query) == [board.Query(STORE, NUMBER)]
    assert link.told(base.VendUnknown) == []


# --- a new run -------------------------------------------------------------------------------------------------------


def test_a_new_run_asks_by_the_readings_and_gets_the_stored_result() -> None:
    link = Link(online=False)
    link.driver.recover(13, READINGS, link.now_ms)
    link.collect()
    assert link.all(board.Query) == [board.Query(STORE, NUMBER)]
    link.hear(DONE)
    assert link.told(base.VendSucceeded) == [base.VendSucceeded(13, True, "mqtt_dispensed")]
    assert link.told(base.AtRest) == [], "not before the result is on disk"
    link.driver.release(link.now_ms)
    link.collect()
    assert link.told(base.AtRest) == [base.AtRest()]
    assert link.all(board.Ack) == [board.Ack(STORE, NUMBER)]


def test_a_new_run_whose_vend_never_arrived_learns_that_it_never_will() -> None:
    link = Link(online=False)
    link.driver.recover(13, READINGS, link.now_ms)
    link.hear(board.Result(STORE, NUMBER, 0, 0, Outcome.REFUSED, "fenced", False))
    assert link.told(base.VendFailed) == [base.VendFailed(13, "mqtt_fenced", "selection")]


@pytest.mark.parametrize("readings", [None, {}, {"sales_count": 3}])
def test_without_readings_rest_is_all_that_can_be_found(readings: base.Readings | None) -> None:
    link = Link(online=False)
    link.driver.recover(13, readings, link.now_ms)
    link.collect()
    hello = link.all(board.Hello)[-1]
    link.hear(replace(STATE, ask=hello.ask, is_busy=True), STATE)
    assert link.told(base.AtRest) == []
    link.hear(replace(STATE, ask=hello.ask))
    assert link.told(base.AtRest) == [base.AtRest()]
    assert link.all(board.Query) == []


def test_a_result_that_nobody_here_waits_for_is_told_once_and_kept_on_the_board() -> None:
    link = Link()
    link.hear(DONE)
    link.pass_ms(5_000)
    link.hear(DONE)
    assert link.told(base.StrayResult) == [base.StrayResult(13, "mqtt_dispensed")]
    assert link.all(board.Ack) == []


def test_a_full_store_is_emptied_of_what_nobody_waits_for() -> None:
    link = Link()
    link.driver.check(13, link.now_ms)
    link.collect()
    first = link.all(board.Check)[-1]
    link.hear(board.Ready(first.ask, 13, STORE, NUMBER, NONCE, False, "store_full"))
    assert link.all(board.Ack) == [board.Ack(STORE, NUMBER - 1)]
    again = link.all(board.Check)[-1]
    assert again.ask != first.ask
    link.hear(board.Ready(again.ask, 13, STORE, NUMBER, NONCE, True, "ready"))
    assert link.told(base.Checked) == [base.Checked(13, True, "ready", readings=READINGS)]


# --- presence, keys, noise -------------------------------------------------------------------------------------------


def test_a_board_is_there_when_it_says_its_state_and_gone_when_it_is_silent() -> None:
    link = Link(online=False)
    link.pass_ms(2 * HELLO_AGAIN_MS)
    assert len(link.all(board.Hello)) == 2
    assert link.told(base.OnlineChanged) == []
    link.hear(STATE)
    assert link.told(base.OnlineChanged) == [base.OnlineChanged(True)]
    assert link.told(base.StateRead) == [base.StateRead("closed", 50)]
    link.pass_ms(SILENCE_MS)
    assert link.told(base.OnlineChanged)[1:] == [base.OnlineChanged(False)]


def test_a_press_comes_once_and_a_late_one_not_at_all() -> None:
    link = Link()
    link.hear(board.Pressed(3, 1, 13), board.Pressed(3, 1, 13), board.Pressed(3, 3, 0), board.Pressed(3, 2, 14))
    link.hear(board.Pressed(4, 1, 14))
    assert link.told(base.Pressed, base.CancelPressed) == [base.Pressed(13), base.CancelPressed(), base.Pressed(14)]


def test_a_refilled_slot_is_reported() -> None:
    link = Link()
    link.hear(board.Slot(13, True, "ready", 9))
    assert link.told(base.SelectionReported) == [base.SelectionReported(13, True, "ready", 9)]


def test_what_is_no_message_is_counted_and_nothing_else() -> None:
    link = Link().vending()
    link.forget()
    for raw in (b"u {}\n", b"noise\n", board.line(board.Ack(STORE, NUMBER)), b"u " + b"x" * 5_000 + b"\n"):
        link.driver.receive(raw, link.now_ms)
    link.collect()
    assert link.driver.bad_lines == 4
    assert link.said == link.events == []


def test_one_byte_at_a_time_is_as_good() -> None:
    link = Link().vending()
    for byte in board.line(DONE):
        link.driver.receive(bytes([byte]), link.now_ms)
    link.collect()
    assert len(link.told(base.VendSucceeded)) == 1
