"""What `ledger verify` proves about redemptions: the ledger's sentence, from the rows.

Points leave an account if and only if an item left the machine: every capture has a redemption whose history says that
the item left, every hold stands as its redemption does, and every redemption's state is what its history ends with.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Connection, text

from jishan_protocol.redemption import SAYS_IT_LEFT
from jishan_server.ledger.verify import Break, Check, Checked

_LEFT: Final = ", ".join(f"'{event.value}'" for event in sorted(SAYS_IT_LEFT))

# Statements here are put together from constants only.
# ruff: noqa: S608


def captures(connection: Connection) -> Checked:
    """Each capture of a redemption has a history in which the item left."""
    count = _number(connection, "SELECT count(*) FROM transfers WHERE kind = 'capture' AND cause_type = 'redemption'")
    row = _first(
        connection,
        f"""
        SELECT t.id, t.cause_id, r.state FROM transfers t LEFT JOIN redemptions r ON r.id = t.cause_id
        WHERE t.kind = 'capture' AND t.cause_type = 'redemption' AND NOT EXISTS (
          SELECT 1 FROM redemption_events e
          WHERE e.redemption_id = t.cause_id AND e.verdict = 'moved' AND e.event IN ({_LEFT}))
        ORDER BY t.sequence LIMIT 1
        """,
    )
    if row is None:
        return Checked("captures", count)
    found = f"redemption {row['cause_id']}, {row['state'] or 'which does not exist'}"
    return Checked("captures", count, Break("captures", "transfers", row["id"], "an item that left", found))


def holds(connection: Connection) -> Checked:
    """Each hold of a redemption is open, captured, voided or taken back as its redemption's state says."""
    count = _number(connection, "SELECT count(*) FROM transfers WHERE kind = 'hold' AND cause_type = 'redemption'")
    row = _first(
        connection,
        """
        SELECT * FROM (
          SELECT h.id, r.id AS redemption, r.state, r.points, h.points AS held_points, r.hold_id,
            CASE WHEN v.id IS NOT NULL THEN 'reversed' WHEN e.kind = 'capture' THEN 'captured'
              WHEN e.kind = 'void' THEN 'voided' ELSE 'open' END AS standing,
            CASE WHEN r.state IN ('held', 'vending', 'in_doubt') THEN 'open' ELSE r.state END AS wanted
          FROM transfers h
            LEFT JOIN redemptions r ON r.id = h.cause_id
            LEFT JOIN transfers e ON e.pending = h.sequence
            LEFT JOIN transfers v ON v.reverses = e.sequence
          WHERE h.kind = 'hold' AND h.cause_type = 'redemption'
        ) AS compared
        WHERE redemption IS NULL OR hold_id IS NULL OR hold_id <> id OR points <> held_points OR standing <> wanted
        LIMIT 1
        """,
    )
    if row is not None:
        found = f"{row['standing']} for {row['held_points']} points"
        broken = Break("redemption_holds", "transfers", row["id"], f"{row['wanted']} for {row['points']} points", found)
        return Checked("redemption_holds", count, broken)
    row = _first(
        connection,
        """
        SELECT r.id, r.state FROM redemptions r LEFT JOIN transfers h ON h.id = r.hold_id
        WHERE r.state IN ('held', 'vending', 'in_doubt', 'captured', 'reversed') AND h.id IS NULL LIMIT 1
        """,
    )
    if row is None:
        return Checked("redemption_holds", count)
    broken = Break("redemption_holds", "redemptions", row["id"], "a hold", f"none, {row['state']}")
    return Checked("redemption_holds", count, broken)


def histories(connection: Connection) -> Checked:
    """Each redemption's state is the one that its newest event left."""
    count = _number(connection, "SELECT count(*) FROM redemptions")
    row = _first(
        connection,
        """
        SELECT r.id, r.state, e.state AS told FROM redemptions r LEFT JOIN redemption_events e ON e.number = (
          SELECT max(number) FROM redemption_events WHERE redemption_id = r.id)
        WHERE e.state IS NULL OR e.state <> r.state LIMIT 1
        """,
    )
    if row is None:
        return Checked("redemption_histories", count)
    broken = Break("redemption_histories", "redemptions", row["id"], row["told"] or "a history", row["state"])
    return Checked("redemption_histories", count, broken)


CHECKS: Final[tuple[Check, ...]] = (captures, holds, histories)
"""For `ledger.verify.verify(connection, CHECKS)`."""


def _number(connection: Connection, statement: str) -> int:
    return int(connection.execute(text(statement)).scalar() or 0)


def _first(connection: Connection, statement: str) -> Any:
    return connection.execute(text(statement)).mappings().first()
