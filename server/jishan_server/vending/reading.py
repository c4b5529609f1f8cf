"""Redemptions and alerts as people see them. Nothing here changes anything.

A resident's name is never among it: operators of machines see none.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Row, select

from jishan_protocol.redemption import CLOSED, State
from jishan_server.errors import DomainError
from jishan_server.instants import iso
from jishan_server.organizations.roles import Permission, permit, scope
from jishan_server.people.message_texts import Words
from jishan_server.people.one_person import records_of
from jishan_server.vending import tables
from jishan_server.vending.claim_tables import machine_claims
from jishan_server.vending.report_tables import reports
from jishan_server.vending.telling import report_ticket, tickets, words_of_doubt

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


def own_redemption(connection: Connection, resident_id: str, redemption_id: str) -> dict[str, Any]:
    """How one's own redemption stands, in a sentence; refusal: redemption_unknown, also for somebody else's."""
    past, goods, r, claims = tables.redemptions, tables.products.c, reports.c, machine_claims.c
    own = records_of(connection, resident_id)
    # Whoever chose on the phone reads why it was denied, though the row then names nobody.
    claimed = select(claims.redemption_id).where(claims.redemption_id == redemption_id, claims.resident_id.in_(own))
    row = connection.execute(
        select(past, goods.name_zh, goods.name_en, r.number)
        .select_from(
            past.outerjoin(tables.products, goods.id == past.c.product_id).outerjoin(
                reports, r.redemption_id == past.c.id
            )
        )
        .where(past.c.id == redemption_id, past.c.resident_id.in_(own) | past.c.id.in_(claimed))
    ).one_or_none()
    if row is None:
        raise DomainError("redemption_unknown")
    doubt = tickets(connection, [row.id]).get(row.id)
    ticket = str(doubt) if doubt is not None else None if row.number is None else report_ticket(row.number)
    words = _how_it_stands(row, doubt, ticket)
    return {
        "redemption_id": row.id,
        "machine_id": row.machine_id,
        "selection": row.selection,
        "product_zh": row.name_zh,
        "product_en": row.name_en,
        "points": row.points,
        "state": row.state,
        "is_over": State(row.state) in CLOSED,
        "is_being_checked": row.watch_grade > 0 or row.state == State.IN_DOUBT,
        "reason": row.reason,
        "told_zh": words.zh if words else None,
        "told_en": words.en if words else None,
        "ticket": ticket,
        "answer_by": row.answer_by if row.state == State.IN_DOUBT else None,
        "recorded_at": iso(row.recorded_at),
        "changed_at": iso(row.changed_at),
    }


_UNDER_WAY: Final = Words("正在出货，请看机器，取走商品。", "Your item is on its way; please watch the machine.")
_STANDS: Final[dict[State, Words]] = {
    State.REQUESTED: Words("正在核对积分，请稍候。", "Your points are being checked, please wait."),
    State.HELD: _UNDER_WAY,
    State.VENDING: _UNDER_WAY,
    State.CAPTURED: Words("已出货，扣了{points}分。", "Your item came out; {points} points were taken."),
    State.REVERSED: Words("{points}分已经退回。编号{ticket}。", "{points} points are back. Ticket {ticket}."),
}
_NOTHING_CAME: Final = Words(
    "这次没有出货，{points}分已经退回。编号{ticket}。", "Nothing came out; {points} points are back. Ticket {ticket}."
)
_NOT_BEGUN: Final = Words("这次没有开始出货，没有扣分。", "It was not begun, and no points were taken.")


def _how_it_stands(row: Row[Any], doubt: int | None, ticket: str | None) -> Words | None:
    state = State(row.state)
    if state is State.IN_DOUBT:
        return words_of_doubt(row.points, row.answer_by, doubt)
    if state is State.DENIED:
        refusal = DomainError(row.reason or "machine_not_selling", **json.loads(row.reason_fields or "{}"))
        return Words(refusal.text("zh"), refusal.text("en"))
    words = _STANDS.get(state) or (_NOT_BEGUN if ticket is None else _NOTHING_CAME)
    fields = {"points": row.points, "ticket": ticket or ""}
    return Words(words.zh.format_map(fields), words.en.format_map(fields))


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
