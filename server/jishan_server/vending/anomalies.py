"""What machines said that could not be true, or could not be applied: kept for a person, never acted on."""

import json
from typing import Any, Final

from sqlalchemy import Connection, Table, select

from jishan_server.instants import iso
from jishan_server.organizations.roles import Permission, scope
from jishan_server.vending.tables import contradictions, machines, rejected_messages

MAX_LISTED: Final = 500


def contradictions_of(connection: Connection, actor: str) -> list[dict[str, Any]]:
    """Events against redemptions that were closed otherwise, newest first; refusal: forbidden."""
    return [row | {"evidence": json.loads(row["evidence"])} for row in _newest(connection, actor, contradictions)]


def rejected_of(connection: Connection, actor: str) -> list[dict[str, Any]]:
    """Messages that were acknowledged as rejected, whole, newest first; refusal: forbidden."""
    return [row | {"body": json.loads(row["body"])} for row in _newest(connection, actor, rejected_messages)]


def _newest(connection: Connection, actor: str, table: Table) -> list[dict[str, Any]]:
    visible = scope(connection, actor, Permission.MACHINE_READ)
    query = (
        select(table)
        .join(machines, machines.c.id == table.c.machine_id)
        .where(machines.c.estate_id.in_(visible))
        .order_by(table.c.number.desc())
        .limit(MAX_LISTED)
    )
    return [{**row, "recorded_at": iso(row["recorded_at"])} for row in connection.execute(query).mappings()]
