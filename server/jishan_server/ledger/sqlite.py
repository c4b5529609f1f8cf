"""The ledger's statements on SQLite, on the raw cursor: each takes and gives plain tuples.

One process has the only writing connection, and its transaction holds the write lock from its start: nothing needs
locking here. Lists go in as JSON, so that each statement is prepared once whatever its length.
"""

import json
import sqlite3
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final

from jishan_server.ledger.digest import Head
from jishan_server.ledger.model import BalanceRow, Facts, KnownRow, Row, Standing

WRITER: Final = 1

_KNOWN: Final = """
SELECT t.id, t.sequence, t.kind, t.debit, t.credit, t.points, t.row_hash
FROM json_each(?) AS asked CROSS JOIN transfers t ON t.id = asked.value
"""
_CLOSED: Final = "SELECT pending FROM transfers WHERE pending IN (SELECT value FROM json_each(?))"
_REVERSED: Final = "SELECT reverses FROM transfers WHERE reverses IN (SELECT value FROM json_each(?))"
_CAUSE: Final = """
SELECT 1 FROM transfers WHERE kind = ? AND cause_type = ? AND cause_id = ? AND cause_revision = ?
"""
_FACTS: Final = """
SELECT number, id, may_not_go_negative, may_not_go_positive, owed_id, expired_id,
  may_not_go_negative OR may_not_go_positive
FROM accounts
WHERE id IN (SELECT value FROM json_each(?)) OR number IN (SELECT value FROM json_each(?))
"""
_BALANCES: Final = """
SELECT b.number, b.posted, b.held, b.next_expiry_at, b.is_frozen, b.last_sequence, b.heir
FROM json_each(?) AS asked CROSS JOIN balances b ON b.number = asked.value
"""
_HEAD: Final = """
SELECT b.serial, b.number, b.digest, CASE WHEN c.newest_serial >= b.serial THEN c.known_at ELSE b.recorded_at END,
  coalesce(c.is_doubted, 0), (SELECT coalesce(max(day), '') FROM days)
FROM batches b LEFT JOIN clock_checks c ON c.number = (SELECT max(number) FROM clock_checks)
ORDER BY b.serial DESC LIMIT 1
"""
_INSERT: Final = """
INSERT INTO transfers (sequence, id, kind, debit, credit, points, cause_type, cause_id, cause_revision, actor, reason,
  rule_version, pending, reverses, expires_at, occurred_at, recorded_at, debit_previous, credit_previous, note,
  row_hash)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, nullif(?, ''), nullif(?, 0), nullif(?, 0), nullif(?, 0), nullif(?, 0), ?,
  nullif(?, -1), nullif(?, -1), nullif(?, ''), ?)
"""
_BATCH: Final = "INSERT INTO batches VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_BALANCE: Final = """
UPDATE balances SET posted = ?, held = ?, next_expiry_at = nullif(?, 0), last_sequence = ? WHERE number = ?
"""


def known(cursor: sqlite3.Cursor, ids: Iterable[str]) -> list[KnownRow]:
    """The transfers with these ids that the ledger holds, with the numbers of their accounts."""
    return cursor.execute(_KNOWN, (json.dumps(list(ids)),)).fetchall()


def closed_holds(cursor: sqlite3.Cursor, sequences: Collection[int]) -> frozenset[int]:
    """Which of these holds have a capture or void."""
    return frozenset(row[0] for row in cursor.execute(_CLOSED, (json.dumps(list(sequences)),)))


def reversed_transfers(cursor: sqlite3.Cursor, sequences: Collection[int]) -> frozenset[int]:
    """Which of these transfers have a reversal."""
    return frozenset(row[0] for row in cursor.execute(_REVERSED, (json.dumps(list(sequences)),)))


def causes(cursor: sqlite3.Cursor, keys: Iterable[tuple[str, str, str, int]]) -> frozenset[tuple[str, str, str, int]]:
    """Which of these (kind, cause type, cause id, cause revision) are booked."""
    return frozenset(key for key in keys if cursor.execute(_CAUSE, key).fetchone() is not None)


def facts(cursor: sqlite3.Cursor, ids: Collection[str], numbers: Collection[int]) -> list[Facts]:
    """The accounts with these ids, and those with these numbers."""
    return [Facts(*row) for row in cursor.execute(_FACTS, (json.dumps(list(ids)), json.dumps(list(numbers))))]


def lock(cursor: sqlite3.Cursor, numbers: Collection[int]) -> list[BalanceRow]:
    """The cached balances of these accounts; the transaction holds SQLite's write lock already."""
    return cursor.execute(_BALANCES, (json.dumps(list(numbers)),)).fetchall()


def writer(cursor: sqlite3.Cursor, info: dict[Any, Any]) -> int:
    """The chain of this connection: SQLite has one writer."""
    return WRITER


def head(cursor: sqlite3.Cursor, writer: int) -> tuple[int, Head]:
    """A serial for the next batch, and the end of the writer's chain."""
    newest = cursor.execute(_HEAD).fetchone()
    if newest is None:
        return 1, Head()
    serial, *rest = newest
    return serial + 1, Head(*rest)


def write(
    cursor: sqlite3.Cursor,
    rows: Sequence[Row],
    changed: Collection[Standing],
    batch: tuple[int, int, int, int, bytes, bytes, str, int],
) -> None:
    """Insert the rows and the batch, and bring the balances up."""
    cursor.executemany(_INSERT, rows)
    write_balances(cursor, changed)
    cursor.execute(_BATCH, batch)


def write_balances(cursor: sqlite3.Cursor, changed: Collection[Standing]) -> None:
    """Bring the balances up."""
    cursor.executemany(
        _BALANCE, [(a.posted, a.held, a.next_expiry_ms or 0, a.last_sequence, a.facts.number) for a in changed]
    )
