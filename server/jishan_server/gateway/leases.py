"""Several gateways share the shards: each takes its fair part, renews it, and takes over what another left.

Two that serve one shard for a moment do no harm: a message is stored once by its unique key, and the loser's batch is
run again.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection, delete, func, select, update

from jishan_protocol.topics import SHARDS
from jishan_server.gateway.tables import gateways, shard_leases
from jishan_server.vending.changes import insert_new
from jishan_server.writer import Operation, Outcome

RENEW_S: Final = 10
LIFE: Final = timedelta(seconds=3 * RENEW_S)
"""Two renewals may be lost; machines of a dead gateway wait no longer than this."""


def renew(connection: Connection, holder: str, now: datetime) -> frozenset[int]:
    """Renew the holder's leases, give back what is above its fair part, take what is free; gives its shards."""
    leases = shard_leases.c
    connection.execute(delete(gateways).where((gateways.c.id == holder) | (gateways.c.seen_at < now - LIFE)))
    insert_new(connection, gateways, [{"id": holder, "seen_at": now}])
    living = connection.scalar(select(func.count()).select_from(gateways)) or 1
    fair = -(-SHARDS // living)
    insert_new(
        connection, shard_leases, [{"shard": shard, "holder": "", "expires_at": now - LIFE} for shard in range(SHARDS)]
    )
    query = select(leases.shard, leases.holder, leases.expires_at).order_by(leases.shard).with_for_update()
    rows = list(connection.execute(query))
    mine = [row.shard for row in rows if row.holder == holder][:fair]
    free = [row.shard for row in rows if row.holder != holder and row.expires_at < now]
    mine += free[: fair - len(mine)]
    connection.execute(
        update(shard_leases)
        .where(leases.holder == holder, leases.shard.not_in(mine))
        .values(holder="", expires_at=now - LIFE)
    )
    connection.execute(update(shard_leases).where(leases.shard.in_(mine)).values(holder=holder, expires_at=now + LIFE))
    return frozenset(mine)


def run_renew(connection: Connection, operations: Sequence[Operation], now: datetime) -> list[Outcome]:
    """`renew` as a mass kind of the writer, which keeps no record of it; an operation's body is the holder's id."""
    return [Outcome(renew(connection, operation.body, now), None, replayed=False) for operation in operations]
