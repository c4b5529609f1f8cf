"""One redemption followed through the agent, and what each failure on the way leaves behind."""

from __future__ import annotations

from typing import Any

import pytest

from jishan_protocol.messages import Dispensed, NotDispensed, NotStarted, OutcomeUnknown, VendStarted


@pytest.mark.parametrize("card_first", [True, False])
def test_a_card_and_a_press_in_either_order_turn_the_motor_once(bench: Any, card_first: bool) -> None:
    first, second = (bench.tap, bench.press) if card_first else (bench.press, bench.tap)
    first()
    assert bench.said == ("choose" if card_first else "identify")
    second()
    bench.until("Dispensed")
    assert [selection for _, selection in bench.vmc.driven] == [13]
    redemption_id = bench.server.asks[0].redemption_id
    started, dispensed = bench.server.inbox[-2:]
    assert started == VendStarted(redemption_id, "token", 13, "soap", 2, None)
    assert dispensed == Dispensed(redemption_id, True, "xy_02")
    assert bench.said == "dispensed"
    assert bench.server.credentials[0].card == "00745A70"


def test_an_id_begins_with_the_servers_time_whatever_the_hosts_clock_says(bench: Any) -> None:
    assert bench.now_ms < 1_000_000
    for _ in range(2):
        bench.tap()
        bench.press()
        bench.until("Dispensed")
        bench.server.inbox.clear()
    ids = [ask.redemption_id for ask in bench.server.asks]
    assert ids == sorted(set(ids))
    assert {len(id) for id in ids} == {32}
    for id in ids:
        assert 0 <= bench.server.now_ms - int(id[:12], 16) < 60_000


def test_the_outbox_is_empty_once_the_server_has_acknowledged(bench: Any) -> None:
    bench.tap()
    bench.press()
    bench.until("Dispensed")
    bench.run(1_000)
    assert bench.journal.outbox_length == 0


def test_a_jam_is_told_and_closes_the_selection(bench: Any) -> None:
    bench.vmc.statuses = [0x01, 0x03]
    bench.tap()
    bench.press()
    bench.until("NotDispensed")
    assert bench.server.inbox[-1] == NotDispensed(bench.server.asks[0].redemption_id, "xy_03", "selection")
    assert bench.said == "not_dispensed"
    bench.press()
    assert bench.said == "selection_disabled"


def test_a_lift_failure_closes_the_machine(bench: Any) -> None:
    bench.vmc.statuses = [0x07]
    bench.tap()
    bench.press()
    bench.until("NotDispensed")
    assert bench.server.inbox[-1].closes == "machine"
    assert bench.agent.status.why_not_selling == "machine_fault"


def test_a_refusal_turns_nothing_and_speaks_the_servers_words(bench: Any) -> None:
    bench.deny()
    bench.tap()
    bench.press()
    bench.run(5_000)
    assert bench.vmc.driven == []
    assert bench.agent.status.said.zh == "积分不够"
    assert bench.server.names() == []


def test_a_lost_answer_ends_as_lapsed_and_a_late_approval_is_ignored(bench: Any) -> None:
    answer, bench.server.answer = bench.server.answer, lambda ask: None
    bench.tap()
    bench.press()
    bench.until("NotStarted")
    assert bench.server.inbox[-1] == NotStarted(bench.server.asks[0].redemption_id, "lapsed")
    assert len(bench.server.asks) > 1
    assert len({ask.redemption_id for ask in bench.server.asks}) == 1
    bench.server.send("answer", answer(bench.server.asks[0]))
    bench.run(5_000)
    assert bench.vmc.driven == []


def test_the_deadline_counts_from_the_first_time_of_asking(bench: Any) -> None:
    answer = bench.server.answer
    bench.server.answer = lambda ask: None
    bench.tap()
    bench.press()
    bench.run(9_000)
    approval = answer(bench.server.asks[0])
    bench.server.send("answer", type(approval)(approval.redemption_id, "token", 8, 8, ""))
    bench.until("NotStarted")
    assert bench.server.inbox[-1].reason == "lapsed"
    assert bench.vmc.driven == []


def test_a_drive_that_is_not_taken_in_time_is_never_sent(bench: Any) -> None:
    bench.tap()
    bench.press()
    bench.run(10_000, lambda: bench.agent.status.state == "vending")
    bench.vmc.is_on = False
    bench.until("NotDispensed")
    assert bench.server.inbox[-1].code == "never_sent"
    bench.vmc.power_on(bench.now_ms)
    bench.run(60_000)
    assert bench.vmc.driven == []


def test_a_status_that_never_comes_leaves_the_outcome_unknown(bench: Any) -> None:
    bench.vmc.statuses = [0x01]
    bench.tap()
    bench.press()
    bench.until("OutcomeUnknown")
    assert bench.server.inbox[-1] == OutcomeUnknown(bench.server.asks[0].redemption_id, "no_status")
    assert bench.agent.status.why_not_selling == "recovering"
    bench.run(120_000, lambda: bench.agent.status.is_selling)
    assert bench.agent.status.is_selling
    assert bench.server.names()[-1] == "OutcomeUnknown"
    bench.press(13)
    assert bench.said == "selection_disabled"
    bench.press(14)
    assert bench.said == "identify"


def test_a_late_result_belongs_to_its_unknown_vend(bench: Any) -> None:
    bench.vmc.status_delay_ms = 10_000
    bench.vmc.statuses = [0x01, 0x99, 0x02]
    bench.tap()
    bench.press()
    bench.until("OutcomeUnknown")
    assert bench.server.inbox[-1].reason == "xy_99"
    bench.until("Dispensed")
    assert bench.vmc.driven[0][1] == 13
    assert len(bench.vmc.driven) == 1
