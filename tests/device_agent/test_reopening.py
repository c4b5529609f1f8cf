"""When a person has opened again what was closed, the dispenser lets go of it too, and not a moment before."""

from __future__ import annotations

from typing import Any

from jishan_protocol.dispensers import xy


def test_a_jam_is_forgotten_at_the_controller_when_the_server_has_opened_the_slot(bench: Any) -> None:
    bench.vmc.statuses = [0x01, 0x03]
    bench.tap()
    bench.press(13)
    bench.until("NotDispensed")
    bench.run(20_000)
    assert xy.ClearJamList() not in bench.vmc.received, "nobody has looked yet"
    bench.reopen()
    assert bench.vmc.received.count(xy.ClearJamList()) == 1
    bench.vmc.statuses = [0x01, 0x02]
    bench.tap()
    bench.press(13)
    bench.until("Dispensed")


def test_a_refused_choice_is_cancelled_at_the_controller(bench: Any) -> None:
    bench.deny()
    bench.tap()
    bench.press(13)
    bench.run(5_000)
    assert bench.said == "denied:not_enough_points"
    assert bench.vmc.received.count(xy.Selected(0)) == 1


def test_money_is_taken_by_nobody_and_changes_nothing(bench: Any) -> None:
    bench.vmc.say(xy.MoneyReceived(2, 500))
    bench.vmc.say(xy.Credit(500))
    bench.run(5_000)
    assert bench.agent.status.is_selling
    assert bench.server.names() == []


def test_a_lift_in_trouble_is_told_to_staff(make_bench: Any) -> None:
    bench = make_bench("lift")
    bench.ready()
    bench.vmc.say(xy.LiftState(3))
    bench.until("Fault")
    (fault,) = [one for one in bench.server.inbox if type(one).__name__ == "Fault"]
    assert (fault.selection, fault.code, fault.detail) == (None, "dispenser_trouble", "xy_lift_03")
