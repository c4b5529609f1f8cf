"""Machines as the people who go to them see them: where they stand, whether they sell now, what is left and its price.

Nothing of it is about a person, so it takes no permission. One product at one price is one line, however many slots
hold it. A machine that was never enrolled, or was given up, is not shown.
"""

from collections.abc import Collection
from typing import Any, Final

from sqlalchemy import Connection, Row, or_, select

from jishan_server.organizations.tables import organizations
from jishan_server.vending.tables import machines, planogram_slots, products, slots

MAX_MACHINES: Final = 50
"""As many as one looks through; who wants another one types a part of its name."""

_HIDDEN: Final = ("expected", "lost")


def around(
    connection: Connection, estate_ids: Collection[str] | None = None, name: str = "", limit: int = MAX_MACHINES
) -> list[dict[str, Any]]:
    """Machines of these estates (None: of all) by estate and name, with their goods.

    `name` is a part of the machine's name or of its estate's. `state` is `selling`, `offline` or `closed`. Of each
    good, `left` is how many can be redeemed, and `is_open` whether any slot of it is: what jammed is not sold out.
    """
    m, o = machines.c, organizations.c
    query = (
        select(machines, o.name.label("estate_name"))
        .join(organizations, o.id == m.estate_id)
        .where(m.state.not_in(_HIDDEN))
    )
    if estate_ids is not None:
        query = query.where(m.estate_id.in_(estate_ids))
    if name:
        query = query.where(or_(m.name.contains(name, autoescape=True), o.name.contains(name, autoescape=True)))
    rows = connection.execute(query.order_by(o.name, m.name, m.id).limit(limit)).all()
    goods = _goods(connection, [row.id for row in rows])
    return [_view(row, goods.get(row.id, [])) for row in rows]


def _goods(connection: Connection, machine_ids: Collection[str]) -> dict[str, list[dict[str, Any]]]:
    """What the planograms in force hold, by machine, cheapest first."""
    p, s = planogram_slots.c, slots.c
    query = (
        select(p.machine_id, p.product_id, p.points, p.is_enabled, products.c.name_zh, products.c.name_en)
        .add_columns(s.stock, s.reserved, s.closed_reason)
        .join(machines, (machines.c.id == p.machine_id) & (machines.c.planogram_version == p.version))
        .join(slots, (s.machine_id == p.machine_id) & (s.selection == p.selection))
        .join(products, products.c.id == p.product_id)
        .where(p.machine_id.in_(machine_ids))
        .order_by(p.points, p.selection)
    )
    found: dict[str, dict[tuple[str, int], dict[str, Any]]] = {}
    for row in connection.execute(query):
        names = {
            "product_zh": row.name_zh,
            "product_en": row.name_en,
            "points": row.points,
            "left": 0,
            "is_open": False,
        }
        line = found.setdefault(row.machine_id, {}).setdefault((row.product_id, row.points), names)
        if row.is_enabled and row.closed_reason is None:
            line["is_open"] = True
            line["left"] += max(0, row.stock - row.reserved)
    return {id: list(lines.values()) for id, lines in found.items()}


def _view(row: Row[Any], goods: list[dict[str, Any]]) -> dict[str, Any]:
    is_online = row.last_heartbeat_at is not None and not row.is_offline
    return {
        "id": row.id,
        "name": row.name,
        "estate_id": row.estate_id,
        "estate_name": row.estate_name,
        "state": "closed" if row.state != "enrolled" else "selling" if is_online else "offline",
        "goods": goods,
    }
