"""A resident's points: the ledger accounts behind them, what is available and what is owed."""

from typing import Any

from sqlalchemy import Connection

from jishan_server.instants import iso
from jishan_server.ledger.store import balances
from jishan_server.people.credentials import account_of, owed_account_of


def balance(connection: Connection, resident_id: str) -> dict[str, Any]:
    """Posted, held and available points, what is owed, and the next expiry."""
    account_id, owed_id = account_of(resident_id), owed_account_of(resident_id)
    found = balances(connection, [account_id, owed_id])
    own = found[account_id]
    return {
        "resident_id": resident_id,
        "posted_points": own.posted,
        "held_points": own.held,
        "available_points": own.available,
        "owed_points": -found[owed_id].posted if owed_id in found else 0,
        "next_expiry_at": iso(own.next_expiry_at),
        "next_expiry_points": own.next_expiry_points,
    }
