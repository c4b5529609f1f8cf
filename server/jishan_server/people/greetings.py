"""The one sentence at the machine for those without a phone: what has changed since their card was last tapped.

Greeting decides nothing: it counts no try, asks for no consent and holds no points. Whoever could not redeem now (an
unknown or blocked card, a frozen account, no consent yet) is not greeted; the redemption itself says why.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple

from sqlalchemy import Connection, func, or_, select
from sqlalchemy.dialects import postgresql, sqlite

from jishan_server.ledger.store import available_points
from jishan_server.people.credentials import Prepared, account_of, masked
from jishan_server.people.message_tables import card_greetings, messages
from jishan_server.people.tables import cards, residents

MAX_GREETS_PER_MINUTE: Final = 30
"""Of one machine: more than people can tap, far too few to find out whose cards there are."""

_g, _m, _r = card_greetings.c, messages.c, residents.c


class Greeted(NamedTuple):
    """`points_changed` is None at the first tap of all. Messages are those since the last tap that nobody has read:
    whoever has no phone reads none, and is not told of the same ones for ever.
    """

    label: str
    available_points: int
    points_changed: int | None
    unread_messages: int


def greet(connection: Connection, prepared: Sequence[Prepared], now: datetime) -> list[Greeted | None]:
    """What each card's person is told, None for who is not greeted; remembered as told, in five statements."""
    hashes = {one.card_hash for one in prepared if one.card_hash}
    if not hashes:
        return [None for _ in prepared]
    found = {
        row.hash: row
        for row in connection.execute(
            select(cards.c.hash, _r.id, _r.name)
            .join(residents, _r.id == cards.c.resident_id)
            .where(cards.c.hash.in_(sorted(hashes)), cards.c.state == "active", _r.state == "active")
            .where(_r.consent_state == "given", _r.merged_into.is_(None), _r.closed_at.is_(None))
        )
    }
    ids = sorted({row.id for row in found.values()})
    if not ids:
        return [None for _ in prepared]
    points = available_points(connection, [account_of(id) for id in ids])
    before = {
        row.resident_id: row.available_points
        for row in connection.execute(select(card_greetings).where(_g.resident_id.in_(ids)))
    }
    unread = {
        row[0]: row[1]
        for row in connection.execute(
            select(_m.resident_id, func.count())
            .outerjoin(card_greetings, _g.resident_id == _m.resident_id)
            .where(_m.resident_id.in_(ids), _m.read_at.is_(None))
            .where(or_(_g.greeted_at.is_(None), _m.recorded_at > _g.greeted_at))
            .group_by(_m.resident_id)
        )
    }
    now_points = {id: max(points[account_of(id)], 0) for id in ids}
    _remember(connection, now_points, now)
    return [
        None
        if (row := found.get(one.card_hash or "")) is None
        else Greeted(
            masked(row.name),
            now_points[row.id],
            now_points[row.id] - before[row.id] if row.id in before else None,
            unread.get(row.id, 0),
        )
        for one in prepared
    ]


def _remember(connection: Connection, points: dict[str, int], now: datetime) -> None:
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    told = dialect.insert(card_greetings).values(
        [{"resident_id": id, "available_points": points[id], "greeted_at": now} for id in sorted(points)]
    )
    connection.execute(
        told.on_conflict_do_update(
            index_elements=["resident_id"],
            set_={name: told.excluded[name] for name in ("available_points", "greeted_at")},
        )
    )
