"""What only the clock tells: redemptions open for too long, machines not heard of, newly blocked cards, messages that
could not be sent, and whether the clock itself is to be believed.

The clock only *tells*: no hold is ever freed by it. Called every WATCH_INTERVAL_S by the shell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, func, select, update

from jishan_protocol.redemption import State
from jishan_server.people.outbox import failed_by_estate
from jishan_server.people.tables import cards, residents
from jishan_server.vending import tables
from jishan_server.vending.changes import Changes, bump_desired, settle_alerts, write
from jishan_server.vending.clock import watch_clock
from jishan_server.vending.daily import list_open
from jishan_server.vending.model import Redemption, lock_machines, open_before
from jishan_server.vending.rules import Rules
from jishan_server.vending.telling import REDEMPTION_OPEN
from jishan_server.vending.voucher_books import watch_vouchers
from jishan_server.writer import Operation, Outcome

WATCH_INTERVAL_S: Final = 15
"""As often as a machine beats: an alert is late by at most this."""

BEING_CHECKED: Final = 1
GRADED_UP: Final = 2

MESSAGES_FAILED: Final = "messages_failed"


def watch(connection: Connection, now: datetime, rules: Rules) -> None:
    """Raise the alerts that are due, and let machines fetch new block lists."""
    watch_clock(connection, now, rules)
    _watch_redemptions(connection, now, rules)
    list_open(connection, now, rules)
    _watch_heartbeats(connection, now, rules)
    _watch_blocked_cards(connection)
    watch_vouchers(connection, now, rules)
    _watch_sendings(connection, now, rules)


def run_watch(connection: Connection, operations: Sequence[Operation], now: datetime, rules: Rules) -> list[Outcome]:
    """`watch` as a mass kind of the writer, which keeps no record of having watched."""
    watch(connection, now, rules)
    return [Outcome(None, None, replayed=False) for _ in operations]


def _watch_redemptions(connection: Connection, now: datetime, rules: Rules) -> None:
    late = _due(connection, now, rules)
    if not late:
        return
    # Read again under the lock: a machine may just have told the end.
    lock_machines(connection, [redemption.machine_id for redemption in late])
    changes = Changes(now, rules.zone)
    for redemption in _due(connection, now, rules):
        is_day_old = redemption.recorded_at <= now - rules.graded_up_after
        grade = GRADED_UP if is_day_old else BEING_CHECKED
        changes.redemptions[redemption.id] = replace(redemption, watch_grade=grade)
        changes.touched.add(redemption.id)
        changes.alert(
            "critical" if is_day_old else "warning",
            REDEMPTION_OPEN,
            redemption.id,
            redemption.estate_id,
            {"why": "open_too_long", "state": redemption.state, "points": redemption.points},
            machine_id=redemption.machine_id,
            redemption_id=redemption.id,
        )
    write(connection, changes)
    day_old = [one.id for one in changes.redemptions.values() if one.watch_grade == GRADED_UP]
    alerts = tables.alerts
    connection.execute(
        update(alerts)
        .where(alerts.c.kind == REDEMPTION_OPEN, alerts.c.subject.in_(day_old), alerts.c.resolved_at.is_(None))
        .values(grade="critical")
    )


def _due(connection: Connection, now: datetime, rules: Rules) -> list[Redemption]:
    """Open redemptions whose grade is behind their age."""
    due = []
    for redemption in open_before(connection, now - rules.longest_vend - rules.checked_after):
        is_day_old = redemption.recorded_at <= now - rules.graded_up_after
        # One in doubt has its alert already; only its age can grade it up.
        wanted = GRADED_UP if is_day_old else BEING_CHECKED if redemption.state is not State.IN_DOUBT else 0
        if redemption.watch_grade < wanted:
            due.append(redemption)
    return due


def _watch_heartbeats(connection: Connection, now: datetime, rules: Rules) -> None:
    machines = tables.machines
    last_sign = func.coalesce(machines.c.last_heartbeat_at, machines.c.enrolled_at)
    overdue = (
        select(machines.c.id)
        .where(machines.c.state.in_(["enrolled", "closed"]), machines.c.is_offline.is_(False))
        .where(last_sign < now - rules.offline_after)
    )
    ids = list(connection.scalars(overdue))
    if not ids:
        return
    changes = Changes(now, rules.zone)
    for machine in lock_machines(connection, ids).values():
        detail = {"last_heartbeat_at": None if machine.last_heartbeat_at is None else str(machine.last_heartbeat_at)}
        changes.alert("warning", "offline", machine.id, machine.estate_id, detail, machine_id=machine.id)
    write(connection, changes)
    connection.execute(update(machines).where(machines.c.id.in_(ids)).values(is_offline=True))


def _watch_blocked_cards(connection: Connection) -> None:
    machines = tables.machines
    newest = (
        select(residents.c.estate_id, func.max(cards.c.blocked_at).label("blocked_at"))
        .join(residents, residents.c.id == cards.c.resident_id)
        .where(cards.c.state == "blocked")
        .group_by(residents.c.estate_id)
        .subquery()
    )
    query = (
        select(machines.c.id, newest.c.blocked_at)
        .join(newest, newest.c.estate_id == machines.c.estate_id)
        .where(machines.c.blocked_through_at.is_(None) | (machines.c.blocked_through_at < newest.c.blocked_at))
    )
    behind = dict(connection.execute(query).all())
    lock_machines(connection, behind)
    for machine_id, blocked_at in behind.items():
        connection.execute(update(machines).where(machines.c.id == machine_id).values(blocked_through_at=blocked_at))
    bump_desired(connection, behind)


def _watch_sendings(connection: Connection, now: datetime, rules: Rules) -> None:
    """Tell each estate of messages to its residents that could not be sent; again once a person had resolved that and
    another one failed. When all were sent once more, it settles by itself.
    """
    failed = failed_by_estate(connection)
    alerts = tables.alerts.c
    of_kind = alerts.kind == MESSAGES_FAILED
    told = set(connection.scalars(select(alerts.subject).where(of_kind, alerts.resolved_at.is_(None))))
    settle_alerts(connection, MESSAGES_FAILED, sorted(told - failed.keys()), "system", now)
    estates = sorted(failed.keys() - told)
    if not estates:
        return
    query = select(alerts.subject, func.max(alerts.resolved_at)).where(of_kind, alerts.subject.in_(estates))
    resolved = dict(connection.execute(query.group_by(alerts.subject)).all())
    changes = Changes(now, rules.zone)
    for estate_id in estates:
        count, newest = failed[estate_id]
        if estate_id not in resolved or newest > resolved[estate_id]:
            changes.alert("warning", MESSAGES_FAILED, estate_id, estate_id, {"count": count})
    write(connection, changes)
