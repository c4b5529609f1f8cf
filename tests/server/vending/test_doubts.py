"""What a resident is told when nobody knows yet whether an item came out, and by when there is an answer."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

from link_world import MACHINE, Box, World
from sqlalchemy import Engine, select, text

from jishan_protocol.messages import Denied, NotDispensed, NotStarted, OutcomeUnknown, ProvedDispensed
from jishan_server.db import connect_for_writing
from jishan_server.gateway.core import Gateway
from jishan_server.organizations.calendar import LoadCalendar
from jishan_server.organizations.roles import SYSTEM
from jishan_server.people.message_tables import messages
from jishan_server.people.message_texts import TEXTS
from jishan_server.vending import daily
from jishan_server.vending.decisions import Resolve, Reverse
from jishan_server.vending.machines import CountStock, SetSlotOpen
from jishan_server.vending.reading import redemption_view
from jishan_server.vending.report_tables import reports


def told(world: World) -> list[tuple[str, dict[str, Any]]]:
    """(kind, fields) of all messages, oldest first."""
    rows = world.rows(select(messages.c.kind, messages.c.fields).order_by(messages.c.number))
    return [(row.kind, json.loads(row.fields)) for row in rows]


def view(world: World, id: str) -> dict[str, Any]:
    found = redemption_view(world.connection, id)
    world.connection.rollback()
    return found


def test_a_doubt_is_told_with_points_day_and_ticket(world: World, box: Box) -> None:
    id = box.vend()
    box.say(OutcomeUnknown(id, "restarted"))
    seen = view(world, id)
    # A Monday; five working days later is the next one.
    assert seen["answer_by"] == "2026-03-09"
    assert seen["in_doubt_at"] == "2026-03-02T04:00:00.000Z"
    assert seen["told_zh"] == (
        f"这次还不能确认有没有出货，您的2分先留着，不会丢，3月9日前答复您。编号{seen['ticket']}。"
    )
    assert "by 2026-03-09" in seen["told_en"]
    [(kind, fields)] = told(world)
    assert kind == "redemption_in_doubt"
    assert TEXTS[kind].zh.format_map(fields) == seen["told_zh"]


def test_holidays_do_not_count_and_a_promise_stays_when_the_calendar_changes(world: World, box: Box) -> None:
    world.now = datetime(2026, 2, 12, 4, tzinfo=UTC)
    before, after = box.vend(0), ""
    box.say(OutcomeUnknown(before, "restarted"))
    world.call("load_calendar", LoadCalendar(SYSTEM, "china-2026"))
    world.call("set_slot_open", SetSlotOpen(SYSTEM, MACHINE, 13, True, "looked at it"))
    after = box.vend(0)
    box.say(OutcomeUnknown(after, "restarted"))
    assert view(world, before)["answer_by"] == "2026-02-19"
    assert view(world, after)["answer_by"] > "2026-02-24"


def test_what_did_not_come_out_is_told_with_a_ticket_of_its_own(world: World, box: Box) -> None:
    id = box.vend()
    box.say(NotDispensed(id, "motor_stuck", "selection"))
    [report] = world.rows(select(reports))
    assert (report.redemption_id, report.state, report.made_via) == (id, "given_back", "automatic")
    assert told(world) == [("redemption_refunded", {"points": 2, "redemption_id": id, "ticket": f"R{report.number}"})]
    assert world.balance(0) == (10, 0)


def test_a_batch_of_give_backs_makes_a_report_for_each(world: World) -> None:
    box = world.machine(stock=5)
    for resident in (0, 1):
        world.give(resident, 10)
    ids = [box.vend(0), box.vend(1)]
    box.say(*(NotDispensed(id, "motor_stuck", "selection") for id in ids))
    assert {row.redemption_id for row in world.rows(select(reports))} == set(ids)


def test_a_lapsed_question_tells_and_reports_nothing(world: World, box: Box) -> None:
    box.say(NotStarted(box.ask().redemption_id, "lapsed"))
    assert told(world) == []
    assert world.rows(select(reports)) == []


def test_each_end_of_a_doubt_is_told_once(world: World) -> None:
    box = world.machine(stock=9)
    world.give(0, 20)

    def doubt() -> str:
        world.call("set_slot_open", SetSlotOpen(SYSTEM, MACHINE, 13, True, "looked at it"))
        id = box.vend()
        box.say(OutcomeUnknown(id, "restarted"))
        return id

    world.call("resolve", Resolve(world.staff("operator"), doubt(), "not_dispensed", "nothing there"))
    world.call("resolve", Resolve(world.staff("approver"), doubt(), "dispensed", "seen", "camera"))
    proved = doubt()
    box.say(ProvedDispensed(proved, "sales 4 -> 5"))
    box.say(ProvedDispensed(proved, "sales 4 -> 5"))
    world.call("reverse", Reverse(world.staff("approver"), proved, "spoilt"))
    kinds = [kind for kind, _ in told(world) if kind != "redemption_in_doubt"]
    assert kinds == [
        "redemption_decided_for",
        "redemption_decided_against",
        "redemption_proved",
        "redemption_decided_for",
    ]
    assert all(fields["ticket"] for _, fields in told(world))


def test_a_count_during_a_doubt_keeps_the_promise(world: World, box: Box) -> None:
    id = box.vend()
    box.say(OutcomeUnknown(id, "restarted"))
    world.call("count_stock", CountStock(SYSTEM, MACHINE, ((13, 2),)))
    assert view(world, id)["answer_by"] == "2026-03-09"


def test_two_gateways_approve_one_redemption_of_a_resident_at_a_time(postgresql_database: Engine) -> None:
    world = World(postgresql_database)
    world.give(0, 10)
    boxes = [world.machine(), world.machine("box-2")]
    gateways = [Gateway(world.vending), Gateway(world.vending)]
    for box, gateway in zip(boxes, gateways, strict=True):
        box.beat()
        gateway.receive(*box.wish(0), world.now)
    with (
        connect_for_writing(postgresql_database) as first,
        connect_for_writing(postgresql_database) as second,
        connect_for_writing(postgresql_database) as looking,
        ThreadPoolExecutor(1) as pool,
    ):
        gateways[0].drain(first, world.now)
        waiting = pool.submit(gateways[1].drain, second, world.now)
        blocked = text(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        for _ in range(10_000):
            if looking.execute(blocked).scalar():
                break
            looking.rollback()
        else:
            raise AssertionError("the second gateway does not wait for the first")
        first.commit()
        [answer] = [one for one in boxes[1].read(waiting.result()) if isinstance(one, Denied)]
        second.commit()
    assert answer.code == "another_redemption_open"
    assert world.balance(0) == (10, 2)
    assert world.verify().ok
    world.close()


def test_each_morning_lists_what_is_open_for_more_than_a_day(world: World, box: Box) -> None:
    world.watch()
    id = box.vend()
    box.say(OutcomeUnknown(id, "restarted"))
    approver = world.staff("approver")

    def listed(day: str | None) -> list[tuple[str, str, bool, str]]:
        rows = daily.open_list(world.connection, approver, day, world.now, world.vending.rules)
        world.connection.rollback()
        return [(row["redemption_id"], row["grade"], row["is_overdue"], row["state_now"]) for row in rows]

    world.tick(hours=23)
    world.watch()
    world.watch()
    assert listed("2026-03-03") == listed(None) == []
    world.tick(days=1)
    world.watch()
    assert listed("2026-03-04") == listed(None) == [(id, "urgent", False, "in_doubt")]
    assert ("open_list", "jiangpan", "urgent") in world.alerts()
    world.tick(days=7)
    world.watch()
    assert listed("2026-03-11") == [(id, "critical", True, "in_doubt")]
    assert [alert for alert in world.alerts() if alert[0] == "open_list"] == [("open_list", "jiangpan", "critical")]
    world.call("resolve", Resolve(approver, id, "not_dispensed", "nothing there"))
    world.tick(days=1)
    world.watch()
    assert listed("2026-03-12") == listed(None) == []
    assert listed("2026-03-04") == [(id, "urgent", False, "voided")]
    assert not [alert for alert in world.alerts() if alert[0] == "open_list"]
