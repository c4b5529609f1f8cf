"""A scheme in another time zone has its own days: 23:59 and 00:01 local fall into two, whatever is booked."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from link_world import World
from sqlalchemy import Engine, select

from jishan_protocol.messages import OutcomeUnknown
from jishan_server.ledger import operations as ledger
from jishan_server.ledger import tables
from jishan_server.vending.decisions import Resolve, Reverse
from jishan_server.volunteering.credits import DecideCredit, RecordCredit, ReverseCredit

ZONE = ZoneInfo("Pacific/Auckland")
# Both are the same day in Shanghai, and in UTC.
BEFORE = datetime(2026, 3, 2, 23, 59, tzinfo=ZONE)
AFTER = datetime(2026, 3, 3, 0, 1, tzinfo=ZONE)


@pytest.fixture
def far(database: Engine) -> Iterator[World]:
    made = World(database, ZONE.key)
    made.now = BEFORE
    yield made
    report = made.verify()
    made.close()
    assert report.ok, report.first_break


def days(world: World) -> list[str]:
    """The day of each batch, in order."""
    return [row.day for row in world.rows(select(tables.batches.c.day).order_by(tables.batches.c.serial))]


def test_each_booking_counts_to_its_local_day(far: World) -> None:
    resident = far.people.residents[1].id
    body = RecordCredit(far.staff("coordinator"), resident, None, 10, "扫雪", "x")
    recorded = [far.call("record_credit", body)["id"] for _ in range(2)]
    far.call("approve_credit", DecideCredit(far.staff("approver"), recorded[0]))
    far.give(0, 10)
    box = far.machine()
    first, second = box.vend(0), box.vend(1)
    assert days(far) == ["2026-03-02"] * 4
    far.now = AFTER
    box.dispense(first)
    box.say(OutcomeUnknown(second, "restarted"))
    far.call("resolve", Resolve(far.staff("approver"), second, "not_dispensed", "没掉"))
    far.call("reverse", Reverse(far.staff("approver"), first, "坏的"))
    far.call("approve_credit", DecideCredit(far.staff("approver"), recorded[1]))
    far.call("reverse_credit", ReverseCredit(far.staff("approver"), recorded[0], "有误"))
    box.ask(0, selection=14, points=5)
    assert days(far) == ["2026-03-02"] * 4 + ["2026-03-03"] * 6
    assert far.call(ledger.DAYS, None) == ["2026-03-02"]
    assert far.call(ledger.DAYS, None) == []


def test_the_local_day_is_closed_when_it_is_over_there(far: World) -> None:
    far.give(0, 10)
    assert far.call(ledger.DAYS, None) == []
    far.now = AFTER
    assert far.call(ledger.DAYS, None) == ["2026-03-02"]
