"""What staff do with an alert: acknowledge it (somebody looks after it), resolve it (it is over).

An alert about an open redemption is resolved by the redemption's end and by nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection, select, update

from jishan_server import audit
from jishan_server.errors import DomainError
from jishan_server.organizations.roles import Permission, permit
from jishan_server.vending import tables
from jishan_server.vending.reading import alert_view
from jishan_server.vending.telling import REDEMPTION_OPEN
from jishan_server.writer import Operation


@dataclass(frozen=True, slots=True)
class MarkAlert:
    actor: str
    number: int
    mark: Literal["acknowledged", "resolved"]


def mark_alert(connection: Connection, operation: Operation, now: datetime) -> dict[str, Any]:
    """Acknowledge or resolve an alert; one that is so already stays as it is.

    Refusals: alert_unknown, forbidden, alert_still_open.
    """
    body: MarkAlert = operation.body
    query = select(tables.alerts).where(tables.alerts.c.number == body.number)
    row = connection.execute(query).one_or_none()
    if row is None:
        raise DomainError("alert_unknown")
    permit(connection, body.actor, Permission.MACHINE_WRITE, row.estate_id)
    if body.mark == "resolved" and row.kind == REDEMPTION_OPEN and row.resolved_at is None:
        raise DomainError("alert_still_open")
    if getattr(row, f"{body.mark}_at") is None:
        connection.execute(
            update(tables.alerts)
            .where(tables.alerts.c.number == body.number)
            .values({f"{body.mark}_at": now, f"{body.mark}_by": body.actor})
        )
        audit.record(
            connection,
            now,
            actor=body.actor,
            action=f"alert_{body.mark}",
            subject=("alert", str(body.number)),
            operation_id=operation.id,
        )
    return alert_view(connection.execute(query).one())
