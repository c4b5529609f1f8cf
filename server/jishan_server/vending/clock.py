"""What people see and say of the server's clock when the ledger doubts it (`ledger.clock`)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, select

from jishan_server import audit
from jishan_server.errors import DomainError
from jishan_server.instants import iso
from jishan_server.ledger import clock
from jishan_server.ledger.digest import day_of
from jishan_server.organizations.tables import organizations
from jishan_server.vending import tables
from jishan_server.vending.changes import Changes, settle_alerts, write
from jishan_server.vending.rules import Rules
from jishan_server.writer import Operation

CLOCK_DOUBTFUL: Final = "clock_doubtful"
SUBJECT: Final = "clock"


@dataclass(frozen=True, slots=True)
class ConfirmDate:
    """A person says that it is `day`, as 2026-01-31, in the scheme's time zone."""

    actor: str
    day: str


def watch_clock(connection: Connection, now: datetime, rules: Rules) -> None:
    """Tell a person while the clock is doubted: it stands at the tree's root, for it concerns every estate.

    A doubt under which nothing was booked ends by itself when the clock is right again.
    """
    doubt = clock.doubt(connection, now)
    if doubt is None:
        settle_alerts(connection, CLOCK_DOUBTFUL, [SUBJECT], "system", now)
        return
    alerts = tables.alerts.c
    is_told = select(alerts.number).where(alerts.kind == CLOCK_DOUBTFUL, alerts.resolved_at.is_(None)).limit(1)
    root = connection.scalar(select(organizations.c.id).where(organizations.c.parent_id.is_(None)).limit(1))
    if root is None or connection.scalar(is_told) is not None:
        return
    changes = Changes(now, rules.zone)
    changes.alert(
        "critical", CLOCK_DOUBTFUL, SUBJECT, root, {"clock_at": iso(now), "newest_row_at": iso(doubt.known_at)}
    )
    write(connection, changes)


def confirm_date(connection: Connection, operation: Operation, now: datetime, rules: Rules) -> dict[str, Any]:
    """Believe the clock again, because a person says the same date; asked on the server itself only.

    Refusal: date_differs.
    """
    body: ConfirmDate = operation.body
    today = day_of(now, rules.zone)
    if body.day != today:
        raise DomainError("date_differs", day=body.day, today=today)
    was_doubted = clock.doubt(connection, now) is not None
    clock.confirm(connection, now, body.actor)
    settle_alerts(connection, CLOCK_DOUBTFUL, [SUBJECT], body.actor, now)
    audit.record(
        connection,
        now,
        actor=body.actor,
        action="date_confirmed",
        subject=(SUBJECT, today),
        operation_id=operation.id,
        details={"clock_at": iso(now), "was_doubted": was_doubted},
    )
    return {"date": today, "time_zone": rules.time_zone, "clock_at": iso(now), "was_doubted": was_doubted}
