"""Redemptions and alerts as people see them. Nothing here changes anything.

A resident's name is never among it: operators of machines see none.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Row, select

from jishan_protocol.redemption import State
from jishan_server.errors import DomainError
from jishan_server.instants import iso
from jishan_server.organizations.roles import Permission, permit, scope
from jishan_server.people.one_person import records_of
from jishan_server.vending import tables
from jishan_server.vending.telling import tickets, words_of_doubt

MAX_LISTED: Final = 500
"""A page's worth and more; whoever needs all asks by span of time."""


def redemption(connection: Connection, actor: str, redemption_id: str) -> dict[str, Any]:
    """One redemption with its history, for staff; refusals: redemption_unknown, forbidden."""
    past = tables.redemptions.c
    estate_id = connection.scalar(select(past.estate_id).where(past.id == redemption_id))
    if estate_id is None:
        raise DomainError("redemption_unknown")
    permit(connection, actor, Permission.REDEMPTION_READ, estate_id)
    return redemption_view(connection, redemption_id)


def redemptions(
    connection: Connection,
    actor: str,
    *,
    state: State | None = None,
    machine_id: str | None = None,
    resident_id: str | None = None,
    before: datetime | None = None,
    limit: int = MAX_LISTED,
) -> list[dict[str, Any]]:
    """Redemptions in the actor's scope, newest first, without their history; refusal: forbidden."""
    past = tables.redemptions.c
    query = select(tables.redemptions).where(past.estate_id.in_(scope(connection, actor, Permission.REDEMPTION_READ)))
    if resident_id is not None:
        query = query.where(past.resident_id.in_(records_of(connection, resident_id)))
    for column, wanted in ((past.state, state), (past.machine_id, machine_id)):
        if wanted is not None:
            query = query.where(column == wanted)
    if before is not None:
        query = query.where(past.recorded_at < before)
    rows = connection.execute(query.order_by(past.recorded_at.desc(), past.id).limit(min(limit, MAX_LISTED)))
    return [_summary(row) for row in rows]


def redemption_view(connection: Connection, redemption_id: str) -> dict[str, Any]:
    """One redemption with its history, ticket and decisions."""
    row = connection.execute(select(tables.redemptions).where(tables.redemptions.c.id == redemption_id)).one()
    events, decisions = tables.redemption_events.c, tables.decisions.c
    history = connection.execute(
        select(tables.redemption_events).where(events.redemption_id == redemption_id).order_by(events.number)
    )
    decided = connection.execute(
        select(tables.decisions).where(decisions.redemption_id == redemption_id).order_by(decisions.number)
    )
    ticket = tickets(connection, [redemption_id]).get(redemption_id)
    words = words_of_doubt(row.points, row.answer_by, ticket) if row.state == State.IN_DOUBT else None
    return _summary(row) | {
        "ticket": ticket,
        "told_zh": words.zh if words else None,
        "told_en": words.en if words else None,
        "history": [
            {
                "event": one.event,
                "party": one.party,
                "actor": one.actor,
                "verdict": one.verdict,
                "state": one.state,
                "evidence": json.loads(one.evidence),
                "recorded_at": iso(one.recorded_at),
            }
            for one in history
        ],
        "decisions": [
            {
                "verdict": one.verdict,
                "state": one.state,
                "decided_by": one.decided_by,
                "seconded_by": one.seconded_by,
                "reason": one.reason,
                "recorded_at": iso(one.recorded_at),
            }
            for one in decided
        ],
    }


def _summary(row: Row[Any]) -> dict[str, Any]:
    return {
        "id": row.id,
        "machine_id": row.machine_id,
        "estate_id": row.estate_id,
        "resident_id": row.resident_id,
        "selection": row.selection,
        "product_id": row.product_id,
        "points": row.points,
        "state": row.state,
        "reason": row.reason,
        "is_being_checked": row.watch_grade > 0 or row.state == State.IN_DOUBT,
        "in_doubt_at": iso(row.in_doubt_at),
        "answer_by": row.answer_by,
        "recorded_at": iso(row.recorded_at),
        "changed_at": iso(row.changed_at),
    }


def alerts_of(connection: Connection, actor: str, *, is_open: bool = True) -> list[dict[str, Any]]:
    """Alerts in the actor's scope, newest first; refusal: forbidden."""
    alerts = tables.alerts.c
    query = select(tables.alerts).where(alerts.estate_id.in_(scope(connection, actor, Permission.MACHINE_READ)))
    if is_open:
        query = query.where(alerts.resolved_at.is_(None))
    return [alert_view(row) for row in connection.execute(query.order_by(alerts.number.desc()).limit(MAX_LISTED))]


def alert_view(row: Row[Any]) -> dict[str, Any]:
    """One alert's row."""
    return {
        "number": row.number,
        "grade": row.grade,
        "kind": row.kind,
        "subject": row.subject,
        "estate_id": row.estate_id,
        "machine_id": row.machine_id,
        "redemption_id": row.redemption_id,
        "detail": json.loads(row.detail),
        "opened_at": iso(row.opened_at),
        "acknowledged_at": iso(row.acknowledged_at),
        "acknowledged_by": row.acknowledged_by,
        "resolved_at": iso(row.resolved_at),
        "resolved_by": row.resolved_by,
    }
