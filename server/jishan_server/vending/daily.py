"""What has been open for more than a day, listed anew each morning, so that nothing is forgotten.

The first watch of a local day writes that day's list once and for all, and raises one alert for each estate with
something on it, in place of yesterday's. A day on which the server did not run has no list.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import groupby
from typing import Any, Final

from sqlalchemy import Connection, insert, select

from jishan_protocol.redemption import State
from jishan_server.instants import iso
from jishan_server.organizations.roles import Permission, scope
from jishan_server.vending import tables
from jishan_server.vending.changes import Changes, settle_alerts, write
from jishan_server.vending.model import Redemption, open_before
from jishan_server.vending.report_tables import daily_lists, daily_open
from jishan_server.vending.rules import Rules
from jishan_server.vending.telling import tickets

OPEN_LIST: Final = "open_list"
"""The alert of an estate that has something open for more than a day; its subject is the estate."""


def list_open(connection: Connection, now: datetime, rules: Rules) -> None:
    """Write today's list, if it is not written yet."""
    today = now.astimezone(rules.zone).date().isoformat()
    if connection.scalar(select(daily_lists.c.day).where(daily_lists.c.day == today)) is not None:
        return
    connection.execute(insert(daily_lists).values(day=today, recorded_at=now))
    rows = _rows(connection, now, rules)
    if rows:
        connection.execute(insert(daily_open), [{"day": today} | row for row in rows])
    changes = Changes(now, rules.zone)
    alerts = tables.alerts.c
    open_since = select(alerts.subject).where(alerts.kind == OPEN_LIST, alerts.resolved_at.is_(None))
    settle_alerts(connection, OPEN_LIST, connection.scalars(open_since).all(), "system", now)
    for estate_id, of_estate in groupby(sorted(rows, key=_estate), _estate):
        listed = list(of_estate)
        overdue = sum(row["is_overdue"] for row in listed)
        detail = {"day": today, "open": len(listed), "overdue": overdue}
        changes.alert("critical" if overdue else "urgent", OPEN_LIST, estate_id, estate_id, detail)
    write(connection, changes)


def open_list(connection: Connection, actor: str, day: str | None, now: datetime, rules: Rules) -> list[dict[str, Any]]:
    """What was open on the morning of a day, or is now (None), in the actor's scope, the oldest first; each with the
    state that it has today. Refusal: forbidden."""
    visible = scope(connection, actor, Permission.REDEMPTION_READ)
    if day is None:
        rows = [row for row in _rows(connection, now, rules) if row["estate_id"] in visible]
    else:
        listed = select(daily_open).where(daily_open.c.day == day, daily_open.c.estate_id.in_(visible))
        rows = [dict(row) for row in connection.execute(listed.order_by(daily_open.c.since_at)).mappings()]
    past = tables.redemptions.c
    query = select(past.id, past.state).where(past.id.in_({row["redemption_id"] for row in rows}))
    state_now = {row[0]: row[1] for row in connection.execute(query)}
    return [row | {"since_at": iso(row["since_at"]), "state_now": state_now[row["redemption_id"]]} for row in rows]


def _rows(connection: Connection, now: datetime, rules: Rules) -> list[dict[str, Any]]:
    old: Sequence[Redemption] = open_before(connection, now - rules.graded_up_after)
    known = tickets(connection, [one.id for one in old])
    today = now.astimezone(rules.zone).date().isoformat()
    rows = []
    for one in old:
        is_overdue = one.answer_by is not None and one.answer_by < today
        rows.append(
            {
                "redemption_id": one.id,
                "estate_id": one.estate_id,
                "machine_id": one.machine_id,
                "state": one.state,
                "points": one.points,
                "ticket": known.get(one.id),
                # A machine that has said nothing for a day is as bad as a promise that was not kept.
                "grade": "critical" if is_overdue or one.state is not State.IN_DOUBT else "urgent",
                "since_at": one.in_doubt_at or one.recorded_at,
                "answer_by": one.answer_by,
                "is_overdue": is_overdue,
            }
        )
    return rows


def _estate(row: dict[str, Any]) -> str:
    return str(row["estate_id"])
