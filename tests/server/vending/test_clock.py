"""A doubted clock is told to a person, and believed again when the person names the date."""

from __future__ import annotations

import json

import pytest
from link_world import World
from sqlalchemy import select

from jishan_server.audit import entries
from jishan_server.errors import DomainError
from jishan_server.ledger import operations as ledger
from jishan_server.organizations.roles import SYSTEM
from jishan_server.vending import tables
from jishan_server.vending.alerts import MarkAlert
from jishan_server.vending.clock import ConfirmDate
from jishan_server.vending.reading import alerts_of

TOLD = [("clock_doubtful", "clock", "critical")]


def confirm(world: World, day: str) -> bool:
    """Whether the clock was doubted until the person said so."""
    answer = world.call("confirm_date", ConfirmDate(SYSTEM, day))
    assert answer["date"] == day
    was_doubted: bool = answer["was_doubted"]
    return was_doubted


def test_a_quiet_scheme_is_told_and_goes_on_when_the_date_is_confirmed(world: World) -> None:
    world.give(0, 10)
    world.watch()
    assert world.alerts() == []
    world.tick(days=2, seconds=1)
    world.watch()
    world.watch()
    assert world.alerts() == TOLD
    assert world.call(ledger.DAYS, None) == []
    world.give(0, 5)
    world.watch()
    assert world.alerts() == TOLD
    assert confirm(world, "2026-03-04")
    assert world.alerts() == []
    world.watch()
    assert world.alerts() == []
    assert world.call(ledger.DAYS, None) == ["2026-03-02", "2026-03-03"]
    assert world.balance(0) == (15, 0)


def test_the_alert_says_what_the_clock_shows_and_who_looks_after_all_estates_sees_it(world: World) -> None:
    world.give(0, 10)
    world.tick(days=-1)
    world.watch()
    [row] = world.rows(select(tables.alerts))
    assert json.loads(row.detail) == {
        "clock_at": "2026-03-01T04:00:00.000Z",
        "newest_row_at": "2026-03-02T04:00:00.000Z",
    }
    seen = {one.login: len(alerts_of(world.connection, one.id)) for one in world.people.staff}
    assert seen == {"admin": 1, "coordinator": 0, "approver": 0, "operator": 0, "secretary": 0}
    world.connection.rollback()


def test_an_alert_that_is_only_ticked_off_comes_back(world: World) -> None:
    world.give(0, 10)
    world.tick(days=3)
    world.watch()
    number = world.scalar(select(tables.alerts.c.number))
    world.call("mark_alert", MarkAlert(world.staff("admin"), number, "resolved"))
    assert world.alerts() == []
    world.watch()
    assert world.alerts() == TOLD


def test_a_clock_that_is_set_right_before_anything_was_booked_settles_its_alert(world: World) -> None:
    world.give(0, 10)
    world.tick(days=-400)
    world.watch()
    assert world.alerts() == TOLD
    world.tick(days=400, seconds=30)
    world.watch()
    assert world.alerts() == []


@pytest.mark.parametrize("day", ["2026-03-05", "2026-03-04 ", "2025-03-06", "", "2026-13-45", "今天"])
def test_another_date_than_the_clocks_confirms_nothing(world: World, day: str) -> None:
    world.give(0, 10)
    # Half past midnight of the 6th in Shanghai is still the 5th in UTC.
    world.tick(days=3, hours=12, minutes=30)
    world.watch()
    before = world.everything()
    with pytest.raises(DomainError) as refused:
        confirm(world, day)
    assert (refused.value.code, refused.value.fields) == ("date_differs", {"day": day, "today": "2026-03-06"})
    assert "2026-03-06" in refused.value.text("zh")
    assert "2026-03-06" in refused.value.text("en")
    assert world.alerts() == TOLD
    assert world.everything() == before
    assert confirm(world, "2026-03-06")


def test_a_confirmation_is_noted_also_when_there_was_no_doubt(world: World) -> None:
    world.give(0, 10)
    assert not confirm(world, "2026-03-02")
    noted = select(entries.c.actor, entries.c.subject_id, entries.c.details).where(entries.c.action == "date_confirmed")
    [(actor, subject, details)] = world.rows(noted)
    assert (actor, subject) == (SYSTEM, "2026-03-02")
    assert json.loads(details) == {"clock_at": "2026-03-02T04:00:00.000Z", "was_doubted": False}
