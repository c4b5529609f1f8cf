"""What the agent lives through: links, controllers, clocks and servers that come and go."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from jishan_agent.agent import WINDOW
from jishan_protocol.dispensers import xy
from jishan_protocol.envelope import unseal
from jishan_protocol.messages import Found, OutcomeUnknown
from jishan_protocol.sealing import card_hash

DAY_MS = 86_400_000


def test_before_the_server_has_spoken_nothing_is_asked(make_bench: Callable[..., Any]) -> None:
    bench = make_bench()
    bench.server.is_up = False
    bench.link()
    bench.run(20_000)
    bench.tap()
    bench.press()
    assert bench.said in ("not_configured", "offline")
    assert bench.server.asks == []


def test_a_broker_that_was_away_for_a_day_gets_everything_in_order(bench: Any) -> None:
    bench.tap()
    bench.press()
    bench.run(20_000, lambda: bench.agent.status.state == "vending")
    bench.unlink()
    bench.server.is_up = False
    bench.run(DAY_MS // 24)
    assert bench.agent.status.why_not_selling == "offline"
    assert bench.journal.outbox_length > 0
    bench.server.is_up = True
    bench.link()
    bench.run(30_000)
    assert bench.server.names() == ["VendStarted", "Dispensed"]
    assert bench.journal.outbox_length == 0
    assert bench.agent.status.is_selling


def test_a_message_is_sent_again_byte_for_byte_until_the_server_itself_acknowledges(bench: Any) -> None:
    bench.server.acks = False
    beat_ack, bench.server.ack = bench.server.ack, lambda **changes: beat_ack(**{"upto": 1} | changes)
    bench.tap()
    bench.press()
    bench.until("Dispensed")
    bench.run(60_000)
    assert bench.journal.outbox_length == 2
    # The scripted server asserts that each sequence came with the same bytes every time.
    assert bench.server.deliveries.count(2) > 3
    bench.server.ack = beat_ack
    bench.run(20_000)
    assert bench.journal.outbox_length == 0


def test_no_more_than_a_window_is_under_way(bench: Any) -> None:
    bench.unlink()
    for selection in range(100):
        bench.vmc.say(xy.DispensingStatus(0x03, selection + 20))
    bench.run(60_000)
    assert bench.journal.outbox_length == 100
    bench.server.acks = False
    beat_ack, bench.server.ack = bench.server.ack, lambda **changes: beat_ack(**{"upto": 0} | changes)
    bench.server.deliveries.clear()
    bench.link()
    bench.run(5_000)
    assert len(bench.server.deliveries) == WINDOW
    bench.server.acks, bench.server.ack = True, beat_ack
    bench.run(60_000)
    assert bench.journal.outbox_length == 0


def test_a_restored_server_gets_what_it_has_forgotten(bench: Any) -> None:
    bench.tap()
    bench.press()
    bench.until("Dispensed")
    bench.run(5_000)
    assert bench.journal.outbox_length == 0
    payloads = dict(bench.server.payloads)
    bench.server.upto, bench.server.inbox = 1, bench.server.inbox[:1]
    bench.server.send("ack", bench.server.ack(catch_up_from=2))
    bench.run(30_000)
    assert bench.server.names() == ["VendStarted", "Dispensed"]
    assert bench.server.payloads == payloads


def test_a_journal_that_is_older_than_the_server_stops_selling(bench: Any) -> None:
    bench.server.send("ack", bench.server.ack(upto=50))
    bench.run(1_000)
    assert bench.agent.status.why_not_selling == "journal_behind"
    bench.tap()
    assert bench.said == "journal_behind"


def test_a_found_redemption_ends_the_attempt_without_a_vend(bench: Any) -> None:
    bench.server.answer = lambda ask: Found(ask.redemption_id, "voided")
    bench.tap()
    bench.press()
    bench.until("NotStarted")
    assert bench.vmc.driven == []


@pytest.mark.parametrize("change", ["flip", "foreign", "oversized", "cut", "wrong_kind"])
def test_a_message_that_is_not_the_servers_changes_nothing(bench: Any, change: str) -> None:
    bench.server.answer = lambda ask: None
    bench.tap()
    bench.press()
    bench.run(1_000)
    bench.server.send("answer", type(bench.server)().answer(bench.server.asks[0]))
    topic, payload = bench.server.down.pop()
    bad = {
        "flip": (topic, payload[:-3] + bytes([payload[-3] ^ 1]) + payload[-2:]),
        "foreign": (topic.replace("/m1/", "/m2/"), payload),
        "oversized": (topic, payload + b" " * 40_000),
        "cut": (topic, payload[:50]),
        "wrong_kind": (topic.replace("answer", "desired"), payload),
    }[change]
    bench.server.down.append(bad)
    bench.run(5_000)
    assert bench.vmc.driven == []
    bench.server.down.append((topic, payload))
    bench.until("Dispensed")
    bench.server.down.append((topic, payload))
    bench.run(30_000)
    assert len(bench.vmc.driven) == 1


def test_a_serial_line_that_was_unplugged_comes_back(bench: Any) -> None:
    bench.vmc.is_on = False
    bench.run(10_000)
    assert bench.agent.status.why_not_selling == "dispenser_offline"
    bench.vmc.is_on = True
    bench.run(20_000, lambda: bench.agent.status.is_selling)
    bench.tap()
    bench.press()
    bench.until("Dispensed")


def test_a_controller_that_restarts_in_mid_vend_leaves_the_outcome_unknown(bench: Any) -> None:
    bench.vmc.statuses = [0x01]
    bench.tap()
    bench.press()
    bench.run(20_000, lambda: bool(bench.vmc.driven))
    bench.run(1_000)
    bench.vmc.power_on(bench.now_ms)
    bench.until("OutcomeUnknown")
    assert OutcomeUnknown(bench.server.asks[0].redemption_id, "dispenser_restarted") in bench.server.inbox
    bench.run(120_000, lambda: bench.agent.status.is_selling)
    assert bench.agent.status.is_selling
    assert len(bench.vmc.driven) == 1


def test_a_restart_before_the_vend_says_not_started(bench: Any) -> None:
    bench.server.answer = lambda ask: None
    bench.tap()
    bench.press()
    bench.run(500)
    redemption_id = bench.server.asks[0].redemption_id
    bench.crash()
    bench.start()
    bench.link()
    bench.until("NotStarted")
    assert (bench.server.inbox[-1].redemption_id, bench.server.inbox[-1].reason) == (redemption_id, "restarted")


def test_an_approval_does_not_outlive_the_run_that_asked(bench: Any) -> None:
    answer, bench.server.answer = bench.server.answer, lambda ask: None
    bench.tap()
    bench.press()
    bench.run(500)
    bench.crash()
    bench.start()
    bench.link()
    bench.server.send("answer", answer(bench.server.asks[0]))
    bench.run(60_000)
    assert bench.vmc.driven == []


def start_vend_and_crash(bench: Any) -> None:
    bench.tap()
    bench.press()
    bench.run(30_000, lambda: bool(bench.vmc.driven))
    assert bench.vmc.driven
    bench.crash()
    bench.vmc.waiting.clear()
    bench.start()
    bench.link()


def test_after_a_restart_in_the_vend_the_default_profile_proves_nothing(bench: Any) -> None:
    start_vend_and_crash(bench)
    bench.vmc.sales[13] = 1
    bench.until("OutcomeUnknown")
    bench.run(300_000)
    assert bench.server.names() == ["VendStarted", "OutcomeUnknown"]


@pytest.mark.parametrize(
    ("profile", "sold", "jams", "door", "end"),
    [
        ("counting", 1, set(), 0, "ProvedDispensed"),
        ("counting", 0, set(), 0, "ProvedNotDispensed"),
        ("counting-volatile", 0, set(), 0, "OutcomeUnknown"),
        ("counting-volatile", 0, {13}, 0, "ProvedNotDispensed"),
        ("counting", 2, set(), 0, "OutcomeUnknown"),
        ("counting", 1, set(), 1, "OutcomeUnknown"),
        ("counting", 1, {13}, 0, "OutcomeUnknown"),
        ("counting", 0, {14}, 0, "ProvedNotDispensed"),
    ],
)
def test_readings_prove_only_what_they_can(
    make_bench: Callable[..., Any], profile: str, sold: int, jams: set[int], door: int, end: str
) -> None:
    bench = make_bench(profile)
    bench.vmc.sales = {13: 40, 14: 7}
    bench.ready()
    start_vend_and_crash(bench)
    assert bench.agent.status.why_not_selling == "recovering"
    bench.vmc.sales[13] += sold
    bench.vmc.jams, bench.vmc.door = jams, door
    bench.until("OutcomeUnknown")
    bench.run(300_000)
    assert bench.server.names()[-1] == end
    assert bench.server.names().count("OutcomeUnknown") == 1
    started = next(message for message in bench.server.inbox if type(message).__name__ == "VendStarted")
    assert started.readings == {"door_open": 0, "jammed": 0, "sales_count": 40, "stock": 5}


def test_an_old_jam_is_no_proof(make_bench: Callable[..., Any]) -> None:
    bench = make_bench("counting-volatile")
    bench.vmc.jams = {13}
    bench.ready()
    start_vend_and_crash(bench)
    bench.until("OutcomeUnknown")
    bench.run(300_000)
    assert bench.server.names()[-1] == "OutcomeUnknown"


def test_a_result_that_the_controller_repeats_after_the_restart_is_the_result(bench: Any) -> None:
    bench.tap()
    bench.press()
    bench.run(30_000, lambda: bool(bench.vmc.driven))
    bench.crash()
    bench.start()
    bench.link()
    bench.until("Dispensed")
    assert bench.server.names() == ["VendStarted", "Dispensed"]


def test_a_dispenser_that_stays_away_is_said_to_be_unknown(bench: Any) -> None:
    bench.tap()
    bench.press()
    bench.run(30_000, lambda: bool(bench.vmc.driven))
    bench.vmc.is_on = False
    bench.crash()
    bench.start()
    bench.link()
    bench.until("OutcomeUnknown", 1_000_000)
    assert bench.server.inbox[-1].reason == "dispenser_away"
    assert not bench.agent.status.is_selling


def test_a_closed_selection_opens_with_a_document_that_knows_of_it(bench: Any) -> None:
    bench.vmc.statuses = [0x03]
    bench.tap()
    bench.press()
    bench.until("NotDispensed")
    bench.run(1_000)
    bench.press()
    assert bench.said == "selection_disabled"
    bench.crash()
    bench.start()
    bench.link()
    bench.run(20_000, lambda: bench.agent.status.is_selling)
    bench.press()
    assert bench.said == "selection_disabled"
    bench.server.desired = dataclasses.replace(bench.server.desired, version=2)
    bench.run(30_000)
    bench.press()
    assert bench.said == "identify"


def test_a_document_older_than_the_report_does_not_open_the_selection(bench: Any) -> None:
    bench.vmc.statuses = [0x03]
    bench.tap()
    bench.press()
    bench.run(30_000, lambda: bool(bench.vmc.driven))
    bench.server.is_up = False
    bench.run(5_000)
    bench.server.send("desired", dataclasses.replace(bench.server.desired, version=2))
    bench.run(1_000)
    bench.press()
    assert bench.said == "selection_disabled"


def test_an_older_document_is_ignored(bench: Any) -> None:
    bench.server.desired = dataclasses.replace(bench.server.desired, version=5, is_closed=True)
    bench.run(20_000)
    assert bench.agent.status.why_not_selling == "closed"
    bench.server.desired = dataclasses.replace(bench.server.desired, version=4, is_closed=False)
    bench.run(20_000)
    assert bench.agent.status.why_not_selling == "closed"


def test_a_blocked_card_is_refused_without_asking(bench: Any) -> None:
    blocked = (card_hash(bytes(range(32, 64)), "00745A70"),)
    bench.server.desired = dataclasses.replace(bench.server.desired, version=2, blocked_cards=blocked)
    bench.run(20_000)
    bench.press()
    bench.tap("00745A70")
    assert bench.said == "card_blocked"
    assert bench.server.asks == []


def test_a_choice_is_forgotten_after_a_while(bench: Any) -> None:
    bench.tap()
    bench.run(31_000)
    assert bench.said == "timed_out"
    bench.press()
    assert bench.said == "identify"


def test_a_price_that_changes_between_choosing_and_the_card_is_not_charged(bench: Any) -> None:
    bench.press()
    assert "2分" in bench.agent.status.said.zh
    first, *others = bench.server.desired.slots
    slots = (dataclasses.replace(first, points=3), *others)
    bench.server.desired = dataclasses.replace(bench.server.desired, version=2, planogram_version=4, slots=slots)
    bench.run(20_000)
    bench.tap()
    assert bench.said == "changed"
    bench.run(10_000)
    assert bench.server.asks == []
    assert bench.vmc.driven == []
    bench.press()
    assert "3分" in bench.agent.status.said.zh
    bench.tap()
    bench.until("Dispensed")
    assert [ask.points for ask in bench.server.asks] == [3]


def test_cancelling_forgets_the_choice(bench: Any) -> None:
    bench.tap()
    bench.vmc.say(xy.Selected(0))
    bench.run(2_000)
    assert bench.said == "cancelled"


def test_a_second_person_waits_until_the_first_is_served(bench: Any) -> None:
    bench.tap()
    bench.press()
    bench.tap("AABBCCDD")
    assert bench.said == "busy"
    bench.until("Dispensed")
    assert len(bench.server.asks) == 1


def test_an_open_door_stops_selling(bench: Any) -> None:
    bench.vmc.door = 1
    bench.run(60_000)
    assert bench.agent.status.why_not_selling == "door_open"
    bench.vmc.door = 0
    bench.run(60_000)
    assert bench.agent.status.is_selling


def test_a_selection_that_the_controller_does_not_sell_is_not_driven(bench: Any) -> None:
    bench.vmc.check_status = 0x02
    bench.tap()
    bench.press()
    bench.until("NotStarted")
    assert bench.server.inbox[-1].reason == "check:xy_02"
    assert bench.vmc.driven == []
    assert bench.agent.status.is_selling


def test_a_product_in_the_lift_closes_the_machine(bench: Any) -> None:
    bench.vmc.check_status = 0x05
    bench.tap()
    bench.press()
    bench.until("NotStarted")
    assert bench.agent.status.why_not_selling == "machine_fault"
    assert "Fault" in bench.server.names()


def test_the_dispensers_clock_is_the_servers_at_the_place(bench: Any) -> None:
    bench.run(20_000)
    # 1_800_000_000 s is 2027-01-15 08:00 UTC, 16:00 in Shanghai.
    assert bench.vmc.clock[:12] == "202701151600"


def test_heartbeats_count_up_and_say_why_nothing_is_sold(bench: Any) -> None:
    bench.run(60_000)
    numbers = [beat.number for beat in bench.server.beats]
    assert numbers == sorted(set(numbers))
    assert bench.server.beats[-1].selling
    bench.vmc.is_on = False
    bench.run(30_000)
    assert (bench.server.beats[-1].selling, bench.server.beats[-1].reason) == (False, "dispenser_offline")


def test_an_estimate_of_the_servers_time_that_gets_no_answer_is_given_up(bench: Any) -> None:
    """A first answer that was long under way would otherwise make every later heartbeat look expired, for ever."""
    stamps: list[int | None] = []

    def hear(topic: str, payload: bytes) -> None:
        envelope = unseal(payload, topic, {1: bytes(range(32))}).envelope
        if envelope.type == "heartbeat":
            stamps.append(envelope.issued_at_ms)

    bench.server.receive = hear
    bench.run(5 * 15_000)
    assert stamps[0] is not None
    assert stamps[-1] is None
    assert bench.agent.status.why_not_selling == "offline"
