"""The ledger's statements on PostgreSQL, on the raw cursor: each takes and gives plain tuples.

Several processes may book at once: the limited accounts of a batch are locked in the order of their numbers, all at
once, and only then is its serial drawn. Rows go in by one `unnest`. What a look before the lock missed is refused by a
unique key, and the batch is run again.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final

import psycopg

from jishan_server.ledger.digest import FIRST, Head
from jishan_server.ledger.model import BalanceRow, Facts, KnownRow, Row, Standing

Cursor = psycopg.Cursor[Any]

# Advisory locks of this class number the writers' chains of digests; a connection holds its own until it closes.
CHAIN_LOCKS: Final = 0x6A73
# Connections that book at once; a server has one for each process.
MAX_WRITERS: Final = 1_000

_KNOWN: Final = "SELECT id, sequence, kind, debit, credit, points, row_hash FROM transfers WHERE id = ANY(%s::text[])"
_CLOSED: Final = "SELECT pending FROM transfers WHERE pending = ANY(%s)"
_REVERSED: Final = "SELECT reverses FROM transfers WHERE reverses = ANY(%s)"
_CAUSES: Final = """
SELECT t.kind, t.cause_type, t.cause_id, t.cause_revision
FROM unnest(%s::text[], %s::text[], %s::text[], %s::bigint[]) AS k (kind, type, id, revision)
JOIN transfers t ON t.cause_id = k.id AND t.kind = k.kind AND t.cause_type = k.type AND t.cause_revision = k.revision
"""
_FACTS: Final = """
SELECT number, id, may_not_go_negative, may_not_go_positive, owed_id, expired_id,
  may_not_go_negative OR may_not_go_positive
FROM accounts WHERE id = ANY(%s) OR number = ANY(%s)
"""
_LOCK: Final = """
SELECT number, posted, held, next_expiry_at, is_frozen, last_sequence, heir
FROM balances WHERE number = ANY(%s::bigint[]) ORDER BY number FOR UPDATE
"""
_CHAIN: Final = "SELECT pg_try_advisory_lock(%s, %s)"
_HEAD: Final = """
SELECT nextval('batch_serial'), b.number, b.digest,
  CASE WHEN c.newest_serial >= n.serial THEN c.known_at ELSE n.recorded_at END, coalesce(c.is_doubted, false),
  (SELECT coalesce(max(day), '') FROM days)
FROM (SELECT 1) AS one
LEFT JOIN (SELECT number, digest FROM batches WHERE writer = %s ORDER BY number DESC LIMIT 1) AS b ON true
LEFT JOIN (SELECT serial, recorded_at FROM batches ORDER BY serial DESC LIMIT 1) AS n ON true
LEFT JOIN (SELECT * FROM clock_checks ORDER BY number DESC LIMIT 1) AS c ON true
"""
# One statement, and so one round trip, for all that a batch writes.
_WRITE: Final = """
WITH inserted AS (
  INSERT INTO transfers (sequence, id, kind, debit, credit, points, cause_type, cause_id, cause_revision, actor,
    reason, rule_version, pending, reverses, expires_at, occurred_at, recorded_at, debit_previous, credit_previous,
    note, row_hash)
  SELECT sequence, id, kind, debit, credit, points, cause_type, cause_id, cause_revision, actor,
    reason, nullif(rule_version, ''), nullif(pending, 0), nullif(reverses, 0), nullif(expires_at, 0),
    nullif(occurred_at, 0), recorded_at, nullif(debit_previous, -1), nullif(credit_previous, -1), nullif(note, ''),
    row_hash
  FROM unnest(
    %s::bigint[], %s::text[], %s::text[], %s::bigint[], %s::bigint[], %s::bigint[], %s::text[], %s::text[],
    %s::bigint[], %s::text[], %s::text[], %s::text[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[],
    %s::bigint[], %s::bigint[], %s::bigint[], %s::text[], %s::bytea[]
  ) AS n (sequence, id, kind, debit, credit, points, cause_type, cause_id, cause_revision, actor, reason,
    rule_version, pending, reverses, expires_at, occurred_at, recorded_at, debit_previous, credit_previous, note,
    row_hash)
), updated AS (
  UPDATE balances b
  SET posted = n.posted, held = n.held, next_expiry_at = nullif(n.next_expiry_at, 0), last_sequence = n.last
  FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[])
    AS n (number, posted, held, next_expiry_at, last)
  WHERE b.number = n.number
)
INSERT INTO batches VALUES (%s, %s, %s, %s, %s, %s, %s, %s)
"""
_BALANCES: Final = """
UPDATE balances b
SET posted = n.posted, held = n.held, next_expiry_at = nullif(n.next_expiry_at, 0), last_sequence = n.last
FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[])
  AS n (number, posted, held, next_expiry_at, last)
WHERE b.number = n.number
"""
# Columns of a row that are texts; the last is the hash, and the others are whole numbers.
_TEXTS: Final = (1, 2, 6, 7, 9, 10, 11, 19)


def _integers(column: Iterable[int]) -> str:
    """An array as PostgreSQL writes it: far quicker than having the driver look at each value."""
    return f"{{{','.join(map(str, column))}}}"


def _texts(column: Collection[str]) -> str:
    """The same for texts, none of which holds U+001F (`model.row_hash`)."""
    if not column:
        return "{}"
    escaped = "\x1f".join(column).replace("\\", "\\\\").replace('"', '\\"')
    quoted = escaped.replace("\x1f", '","')
    return f'{{"{quoted}"}}'


def _hashes(column: Collection[bytes]) -> str:
    return _texts(["\\x" + one.hex() for one in column])


def known(cursor: Cursor, ids: Collection[str]) -> list[KnownRow]:
    """The transfers with these ids that the ledger holds, with the numbers of their accounts."""
    return cursor.execute(_KNOWN, (_texts(ids),)).fetchall()


def closed_holds(cursor: Cursor, sequences: Collection[int]) -> frozenset[int]:
    """Which of these holds have a capture or void."""
    return frozenset(row[0] for row in cursor.execute(_CLOSED, (list(sequences),)))


def reversed_transfers(cursor: Cursor, sequences: Collection[int]) -> frozenset[int]:
    """Which of these transfers have a reversal."""
    return frozenset(row[0] for row in cursor.execute(_REVERSED, (list(sequences),)))


def causes(cursor: Cursor, keys: Iterable[tuple[str, str, str, int]]) -> frozenset[tuple[str, str, str, int]]:
    """Which of these (kind, cause type, cause id, cause revision) are booked."""
    columns = [list(column) for column in zip(*keys, strict=True)]
    return frozenset(tuple(row) for row in cursor.execute(_CAUSES, columns)) if columns else frozenset()


def facts(cursor: Cursor, ids: Collection[str], numbers: Collection[int]) -> list[Facts]:
    """The accounts with these ids, and those with these numbers."""
    return [Facts(*row) for row in cursor.execute(_FACTS, (list(ids), list(numbers)))]


def lock(cursor: Cursor, numbers: Collection[int]) -> list[BalanceRow]:
    """Lock the balances of these accounts in the order of their numbers, and read them."""
    return cursor.execute(_LOCK, (_integers(numbers),)).fetchall()


def writer(cursor: Cursor, info: dict[Any, Any]) -> int:
    """The chain of this connection: the lowest that no other open connection holds. `info` lives as long as it."""
    if "ledger_writer" not in info:
        for number in range(1, MAX_WRITERS + 1):
            row = cursor.execute(_CHAIN, (CHAIN_LOCKS, number)).fetchone()
            if row is not None and row[0]:
                info["ledger_writer"] = number
                break
        else:
            raise RuntimeError(f"more than {MAX_WRITERS} connections book at once")
    found: int = info["ledger_writer"]
    return found


def head(cursor: Cursor, writer: int) -> tuple[int, Head]:
    """A serial for the next batch, and the end of the writer's chain."""
    row = cursor.execute(_HEAD, (writer,)).fetchone()
    assert row is not None
    serial, number, digest, known_ms, is_doubted, closed_day = row
    return serial, Head(number or 0, digest or FIRST, known_ms or 0, is_doubted, closed_day)


def write(
    cursor: Cursor,
    rows: Sequence[Row],
    changed: Collection[Standing],
    batch: tuple[int, int, int, int, bytes, bytes, str, int],
) -> None:
    """Insert the rows and the batch, and bring the balances up."""
    columns = list(zip(*rows, strict=True))
    hashes = columns.pop()
    arrays = [_texts(column) if place in _TEXTS else _integers(column) for place, column in enumerate(columns)]
    cursor.execute(_WRITE, (*arrays, _hashes(hashes), *_balances(changed), *batch))


def write_balances(cursor: Cursor, changed: Collection[Standing]) -> None:
    """Bring the balances up."""
    cursor.execute(_BALANCES, _balances(changed))


def _balances(changed: Collection[Standing]) -> list[str]:
    columns = (
        [one.facts.number for one in changed],
        [one.posted for one in changed],
        [one.held for one in changed],
        [one.next_expiry_ms or 0 for one in changed],
        [one.last_sequence for one in changed],
    )
    return [_integers(column) for column in columns]
