"""`ledger verify`: rebuild everything from the rows, and name the first row that breaks a rule.

Rules, in the order in which they are looked at: each row's hash is of its words, each batch's digest of its rows; each
writer's chain is whole; a closed day has its root; each row moves points between two accounts that exist; each hold
ended at most once, as a whole; each transfer was taken back at most once, as a whole; each cached balance and chain of
rows is what the rows come to; the sum of all accounts is 0; no account is past its limit; no points end before their
account's next expiry; each checkpoint is the fold of its rows; an account that was merged or closed keeps nothing but
what its open holds set aside; a note's words are those of its hash. Other packages give checks of their own. Sums are
made by the database; hashes in ranges, by as many processes as there are cores.
Source: architecture and decisions, "The ledger"; performance, P7.
"""

# Statements here are put together from constants only.
# ruff: noqa: S608

import hashlib
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from typing import Any, Final

from sqlalchemy import Connection, text
from sqlalchemy.pool import StaticPool

from jishan_server.db import make_engine
from jishan_server.ledger import digest, history, lots, notes, onward, store
from jishan_server.ledger.model import BATCH_STEP

# Below this a second process costs more than it saves.
PARALLEL_FROM_ROWS: Final = 200_000
# Batches in one range: some hundred thousand rows at most, so that the ranges of a large ledger share out well.
RANGE_BATCHES: Final = 5_000
# Rows fetched at once.
FETCH: Final = 2_000
# Rows whose changes SQLite sums at once: few enough to be sorted within the processor's cache.
SUMMED_ROWS: Final = 50_000


@dataclass(frozen=True, slots=True)
class Break:
    """The first row that breaks a rule, with what it should be and what it is, in words."""

    rule: str
    table: str
    row: str
    expected: str
    found: str


@dataclass(frozen=True, slots=True)
class Checked:
    """One rule's result: how many rows were looked at, and the first that breaks it."""

    rule: str
    count: int
    broken: Break | None = None


Check = Callable[[Connection], Checked]


@dataclass(frozen=True, slots=True)
class Report:
    """What was looked at, by rule; `first_break` if a rule is broken, and then nothing after it was looked at."""

    ok: bool
    checked: dict[str, int] = field(default_factory=dict)
    first_break: Break | None = None


def verify(connection: Connection, further: Sequence[Check] = (), processes: int | None = None) -> Report:
    """Prove the ledger from its rows. The connection has no transaction open; it reads one snapshot.

    `further` are other packages' checks, run last; `processes` is by default the number of cores.
    """
    if connection.dialect.name == "postgresql":
        connection = connection.execution_options(isolation_level="REPEATABLE READ")
    checked: dict[str, int] = {}
    rows = partial(check_rows, processes=processes or os.cpu_count() or 1)
    own: list[Check] = [rows, _chains, _days, _accounts, _holds, _reversals]
    own += [check_balances, _sum, _limits, _expiries, _checkpoints, _endings, _notes]
    for check in (*own, *further):
        result = check(connection)
        checked[result.rule] = result.count
        if result.broken is not None:
            return Report(False, checked, result.broken)
    return Report(True, checked)


def _number(connection: Connection, statement: str) -> int:
    return int(connection.execute(text(statement)).scalar() or 0)


def _first(connection: Connection, statement: str, **values: object) -> Any:
    """The first row of a statement that finds what is wrong, or None."""
    return connection.execute(text(statement), values).mappings().first()


# Hashes

# A row's words as `model.row_hash` joins them, made by the database.
_TEXT: Final = " || '\x1f' || ".join(
    [
        "t.id",
        "t.kind",
        "coalesce(d.id, '?')",
        "coalesce(c.id, '?')",
        "t.points",
        "t.cause_type",
        "t.cause_id",
        "t.cause_revision",
        "t.actor",
        "t.reason",
        "coalesce(t.rule_version, '')",
        *(f"coalesce(t.{name}, 0)" for name in ("pending", "reverses", "expires_at", "occurred_at")),
    ]
)
# The hash of its note, where it has one, comes last.
_NOTE: Final = "CASE WHEN t.note IS NULL THEN '' ELSE '\x1f' || t.note END"
_ROWS: Final = f"""
SELECT t.sequence, {_TEXT} || {_NOTE}, t.row_hash, t.recorded_at
FROM transfers t LEFT JOIN accounts d ON d.number = t.debit LEFT JOIN accounts c ON c.number = t.credit
WHERE t.sequence >= :low AND t.sequence < :high ORDER BY t.sequence
"""
_BATCHES: Final = """
SELECT serial, writer, number, length, previous, digest, day, recorded_at
FROM batches WHERE serial >= :low AND serial < :high ORDER BY serial
"""


def check_rows(connection: Connection, processes: int = 1) -> Checked:
    """Each row's hash is of its words, each batch's digest of its rows, and each row is in a batch."""
    total = _number(connection, "SELECT count(*) FROM transfers")
    low = _number(connection, "SELECT min(low) FROM (SELECT min(serial) AS low FROM batches UNION ALL "
                              f"SELECT min(sequence) / {BATCH_STEP} FROM transfers) AS lows")  # fmt: skip
    high = 1 + _number(connection, "SELECT max(high) FROM (SELECT max(serial) AS high FROM batches UNION ALL "
                                   f"SELECT max(sequence) / {BATCH_STEP} FROM transfers) AS highs")  # fmt: skip
    ranges = [(start, min(start + RANGE_BATCHES, high)) for start in range(low, high, RANGE_BATCHES)]
    found: Iterator[Break | None]
    if processes > 1 and total >= PARALLEL_FROM_ROWS and not isinstance(connection.engine.pool, StaticPool):
        url = connection.engine.url.render_as_string(hide_password=False)
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(processes, mp_context=context) as pool:
            found = iter(list(pool.map(partial(_check_range_apart, url), ranges)))
    else:
        found = (_check_range(connection, one) for one in ranges)
    return Checked("rows", total, next((broken for broken in found if broken is not None), None))


def _check_range_apart(url: str, batches: tuple[int, int]) -> Break | None:
    """Check a range in a process of its own."""
    engine = make_engine(url)
    try:
        with engine.connect() as connection:
            if connection.dialect.name == "postgresql":
                connection = connection.execution_options(isolation_level="REPEATABLE READ")
            return _check_range(connection, batches)
    finally:
        engine.dispose()


def _check_range(connection: Connection, batches: tuple[int, int]) -> Break | None:
    low, high = batches
    sealed = {row[0]: row for row in connection.execute(text(_BATCHES), {"low": low, "high": high})}
    values = {"low": low * BATCH_STEP, "high": high * BATCH_STEP}
    with connection.execute(text(_ROWS), values, execution_options={"yield_per": FETCH}) as rows:
        for serial, group in groupby(rows, key=lambda row: row[0] // BATCH_STEP):
            broken = _check_batch(serial, sealed.pop(serial, None), list(group))
            if broken is not None:
                return broken
    for serial, batch in sealed.items():
        return Break("rows", "batches", str(serial), f"{batch[3]} rows", "0 rows")
    return None


def _check_batch(serial: int, batch: Any, rows: list[Any]) -> Break | None:
    if batch is None:
        return Break("rows", "transfers", _id(rows[0]), f"a batch {serial}", "none")
    _, writer, number, length, previous, sealed, day, recorded_ms = batch
    hashes = []
    for place, row in enumerate(rows):
        sequence, words, row_hash, row_recorded_ms = row
        if sequence != serial * BATCH_STEP + place:
            return Break("rows", "transfers", _id(row), f"sequence {serial * BATCH_STEP + place}", str(sequence))
        made = hashlib.sha256(words.encode()).digest()
        if made != row_hash:
            return Break("rows", "transfers", _id(row), made.hex(), bytes(row_hash).hex())
        if row_recorded_ms != recorded_ms:
            return Break("rows", "transfers", _id(row), f"recorded_at {recorded_ms}", str(row_recorded_ms))
        hashes.append(made)
    if len(rows) != length:
        return Break("rows", "batches", str(serial), f"{length} rows", f"{len(rows)} rows")
    made = digest.seal(writer, number, serial, day, recorded_ms, previous, hashes)
    if made != sealed:
        return Break("rows", "batches", str(serial), made.hex(), bytes(sealed).hex())
    return None


def _id(row: Any) -> str:
    words: str = row[1]
    return words.split("\x1f", 1)[0]


def _chains(connection: Connection) -> Checked:
    """Each writer's batches count from 1 without a gap, and each carries the digest before it."""
    total = _number(connection, "SELECT count(*) FROM batches")
    broken = _first(
        connection,
        """
        SELECT serial, number, place, previous, before FROM (
          SELECT serial, writer, number, previous, row_number() OVER chain AS place, lag(digest) OVER chain AS before
          FROM batches WINDOW chain AS (PARTITION BY writer ORDER BY number)
        ) AS chained
        WHERE number <> place OR previous <> coalesce(before, :first) ORDER BY writer, number LIMIT 1
        """,
        first=digest.FIRST,
    )
    if broken is None:
        return Checked("chains", total)
    expected = f"number {broken['place']} after {bytes(broken['before'] or digest.FIRST).hex()}"
    found = f"number {broken['number']} after {bytes(broken['previous']).hex()}"
    return Checked("chains", total, Break("chains", "batches", str(broken["serial"]), expected, found))


def _days(connection: Connection) -> Checked:
    """Each closed day's root is that of its rows."""
    closed = connection.execute(text("SELECT day, rows, root FROM days ORDER BY day")).all()
    for day, rows, root in closed:
        hashes = store.day_hashes(connection, day)
        made = digest.merkle_root(hashes)
        if len(hashes) != rows or made != root:
            expected, found = f"{len(hashes)} rows, {made.hex()}", f"{rows} rows, {bytes(root).hex()}"
            return Checked("days", len(closed), Break("days", "days", day, expected, found))
    return Checked("days", len(closed))


# Rows

# What the rows come to for each account with a cached balance; `_accounts` proves that these are the rows in its chain.
# A chain telescopes: the steps from each row to the one before it sum up to the newest.
_SIDES: Final = """
  SELECT debit AS number,
    -sum(CASE WHEN kind IN ('post', 'capture', 'reversal') THEN points ELSE 0 END) AS posted,
    sum(CASE kind WHEN 'hold' THEN points WHEN 'capture' THEN -points WHEN 'void' THEN -points ELSE 0 END) AS held,
    max(sequence) AS last, sum(sequence - debit_previous) AS steps
  FROM transfers WHERE debit_previous IS NOT NULL AND sequence >= :low AND sequence < :high GROUP BY debit
  UNION ALL
  SELECT credit, sum(points), 0, max(sequence), sum(sequence - credit_previous)
  FROM transfers WHERE credit_previous IS NOT NULL AND sequence >= :low AND sequence < :high GROUP BY credit
"""


def _accounts(connection: Connection) -> Checked:
    """Each account that a row names exists; it has a cached balance, and a chain of rows, exactly if it has a limit."""
    total = _number(connection, "SELECT count(*) FROM accounts")
    row = _first(
        connection,
        """
        SELECT t.id, t.debit, t.credit
        FROM transfers t LEFT JOIN accounts d ON d.number = t.debit LEFT JOIN accounts c ON c.number = t.credit
        WHERE d.number IS NULL OR c.number IS NULL OR t.debit = t.credit OR t.points <= 0
          OR (d.may_not_go_negative OR d.may_not_go_positive) <> (t.debit_previous IS NOT NULL)
          OR ((c.may_not_go_negative OR c.may_not_go_positive) AND t.kind IN ('post', 'capture', 'reversal'))
            <> (t.credit_previous IS NOT NULL)
        ORDER BY t.sequence LIMIT 1
        """,
    )
    if row is not None:
        found = f"from {row['debit']} to {row['credit']}"
        broken = Break("accounts", "transfers", row["id"], "points between two accounts, in their chains", found)
        return Checked("accounts", total, broken)
    row = _first(
        connection,
        """
        SELECT a.id, a.may_not_go_negative, a.may_not_go_positive, b.number
        FROM accounts a LEFT JOIN balances b ON b.number = a.number
        WHERE (b.number IS NOT NULL) <> (a.may_not_go_negative OR a.may_not_go_positive)
          OR b.may_not_go_negative <> a.may_not_go_negative OR b.may_not_go_positive <> a.may_not_go_positive
        ORDER BY a.number LIMIT 1
        """,
    )
    if row is None:
        return Checked("accounts", total)
    broken = Break("accounts", "balances", row["id"], "the limits of its account", "other limits, or no balance")
    return Checked("accounts", total, broken)


def _holds(connection: Connection) -> Checked:
    """Each capture and void ends one hold that came before it, as a whole, and no hold ended twice."""
    total = _number(connection, "SELECT count(*) FROM transfers WHERE kind IN ('capture', 'void')")
    row = _first(
        connection,
        """
        SELECT e.id, e.kind, e.points, h.id AS hold, h.points AS hold_points
        FROM transfers e LEFT JOIN transfers h ON h.sequence = e.pending
        WHERE e.kind IN ('capture', 'void') AND (h.sequence IS NULL OR h.kind <> 'hold' OR h.sequence >= e.sequence
          OR h.debit <> e.debit OR h.credit <> e.credit OR h.points <> e.points)
          OR e.kind NOT IN ('capture', 'void') AND e.pending IS NOT NULL
        ORDER BY e.sequence LIMIT 1
        """,
    )
    if row is not None:
        found = f"a {row['kind']} of {row['points']} for {row['hold']} of {row['hold_points']}"
        return Checked("holds", total, Break("holds", "transfers", row["id"], "the whole of a hold before it", found))
    row = _first(
        connection,
        """
        SELECT id FROM transfers WHERE sequence IN (
          SELECT max(sequence) FROM transfers WHERE pending IS NOT NULL GROUP BY pending HAVING count(*) > 1
        ) ORDER BY sequence LIMIT 1
        """,
    )
    if row is None:
        return Checked("holds", total)
    return Checked("holds", total, Break("holds", "transfers", row["id"], "an open hold", "one that had ended"))


def _reversals(connection: Connection) -> Checked:
    """Each reversal takes back one transfer that came before it, as a whole, and none was taken back twice."""
    total = _number(connection, "SELECT count(*) FROM transfers WHERE reverses IS NOT NULL")
    row = _first(
        connection,
        """
        SELECT r.id, r.kind, r.points, t.id AS taken_back, t.points AS its_points
        FROM transfers r LEFT JOIN transfers t ON t.sequence = r.reverses
        WHERE (r.kind = 'reversal') <> (r.reverses IS NOT NULL) OR r.kind = 'reversal' AND (
          t.sequence IS NULL OR t.kind NOT IN ('post', 'capture') OR t.sequence >= r.sequence
          OR t.debit <> r.credit OR t.credit <> r.debit OR t.points <> r.points)
        ORDER BY r.sequence LIMIT 1
        """,
    )
    if row is not None:
        found = f"a {row['kind']} of {row['points']} for {row['taken_back']} of {row['its_points']}"
        broken = Break("reversals", "transfers", row["id"], "the whole of a transfer before it", found)
        return Checked("reversals", total, broken)
    row = _first(
        connection,
        """
        SELECT id FROM transfers WHERE sequence IN (
          SELECT max(sequence) FROM transfers WHERE reverses IS NOT NULL GROUP BY reverses HAVING count(*) > 1
        ) ORDER BY sequence LIMIT 1
        """,
    )
    if row is None:
        return Checked("reversals", total)
    broken = Break("reversals", "transfers", row["id"], "a transfer not taken back", "one taken back before")
    return Checked("reversals", total, broken)


def check_balances(connection: Connection) -> Checked:
    """Each cached balance and each account's chain of rows is what the rows come to."""
    made: dict[int, tuple[int, int, int, int]] = {}
    for low, high in _spans(connection):
        for number, *sums in connection.execute(text(_SIDES), {"low": low, "high": high}):
            posted, held, last, steps = map(int, sums)
            before = made.get(number, (0, 0, 0, 0))
            made[number] = (before[0] + posted, before[1] + held, max(before[2], last), before[3] + steps)
    cached = connection.execute(
        text(
            """
            SELECT b.number, a.id, b.posted, b.held, b.last_sequence
            FROM balances b JOIN accounts a ON a.number = b.number ORDER BY b.number
            """
        )
    ).all()
    for number, id, *found in cached:
        *expected, steps = made.get(number, (0, 0, 0, 0))
        if found != expected or steps != expected[2]:
            words = "posted {}, held {}, newest row {}"
            told = f"{words.format(*found)}, steps to {steps}"
            return Checked("balances", len(cached), Break("balances", "balances", id, words.format(*expected), told))
    return Checked("balances", len(cached))


def _spans(connection: Connection) -> Iterator[tuple[int, int]]:
    """Ranges of sequences that hold every row, of some SUMMED_ROWS each; one range where the database does not sort."""
    first = _number(connection, "SELECT min(sequence) FROM transfers")
    last = _number(connection, "SELECT max(sequence) FROM transfers")
    step = last + 1 - first
    if connection.dialect.name == "sqlite":
        step = max(1, step * SUMMED_ROWS // max(1, _number(connection, "SELECT count(*) FROM transfers")))
    for low in range(first, last + 1, step):
        yield low, low + step


def _sum(connection: Connection) -> Checked:
    """Debits are credits: the cached balances and those of the unlimited accounts come to 0."""
    total = _number(connection, "SELECT count(*) FROM transfers")
    moves = "SELECT coalesce(sum(points), 0) FROM transfers WHERE kind IN ('post', 'capture', 'reversal')"
    off = _number(
        connection,
        f"""
        SELECT (SELECT coalesce(sum(posted), 0) FROM balances)
          + ({moves} AND credit_previous IS NULL) - ({moves} AND debit_previous IS NULL)
        """,
    )
    broken = Break("sum", "balances", "all", "0", str(off)) if off else None
    return Checked("sum", total, broken)


def _limits(connection: Connection) -> Checked:
    """No account is past its limit."""
    total = _number(connection, "SELECT count(*) FROM balances")
    row = _first(
        connection,
        """
        SELECT a.id, b.posted, b.held FROM balances b JOIN accounts a ON a.number = b.number
        WHERE b.held < 0 OR a.may_not_go_negative AND b.posted - b.held < 0 OR a.may_not_go_positive AND b.posted > 0
        ORDER BY b.number LIMIT 1
        """,
    )
    if row is None:
        return Checked("limits", total)
    found = f"posted {row['posted']}, held {row['held']}"
    return Checked("limits", total, Break("limits", "balances", row["id"], "within its limit", found))


def _expiries(connection: Connection) -> Checked:
    """No account has points that end before its cached next expiry; lots are folded only where a row could say so."""
    candidates = connection.execute(
        text(
            """
            SELECT DISTINCT a.id, a.number, b.last_sequence, b.next_expiry_at, b.posted, b.held
            FROM transfers t JOIN balances b ON b.number = t.credit JOIN accounts a ON a.number = b.number
            WHERE t.expires_at IS NOT NULL AND a.may_not_go_negative
              AND (b.next_expiry_at IS NULL OR t.expires_at < b.next_expiry_at)
            ORDER BY a.number
            """
        )
    )
    count = 0
    for id, number, last, cached, posted, held in candidates.all():
        count += 1
        folded = lots.lots(history.entries(connection, number, last))
        soonest, _ = folded.next_expiry_points(-1)
        if (folded.available_points(), folded.held_points()) != (posted - held, held):
            found = f"{folded.available_points()} available, {folded.held_points()} held"
            broken = Break("expiries", "balances", id, f"{posted - held} available, {held} held", found)
            return Checked("expiries", count, broken)
        if soonest is not None and (cached is None or cached > soonest):
            return Checked("expiries", count, Break("expiries", "balances", id, f"at most {soonest}", str(cached)))
    return Checked("expiries", count)


def _checkpoints(connection: Connection) -> Checked:
    """Each checkpoint is what the fold of its account's rows up to it comes to."""
    kept = connection.execute(
        text(
            """
            SELECT a.id, c.number, c.sequence, c.lots, t.sequence AS row
            FROM checkpoints c LEFT JOIN accounts a ON a.number = c.number LEFT JOIN transfers t
              ON t.sequence = c.sequence AND (t.debit = c.number AND t.debit_previous IS NOT NULL
              OR t.credit = c.number AND t.credit_previous IS NOT NULL)
            WHERE c.sequence > 0 ORDER BY c.number
            """
        )
    ).all()
    for id, number, sequence, found, row in kept:
        if row is None:
            broken = Break("checkpoints", "checkpoints", id or str(number), "a row of its account", str(sequence))
            return Checked("checkpoints", len(kept), broken)
        made = lots.pack(lots.lots(history.entries(connection, number, sequence)))
        if made != found:
            return Checked("checkpoints", len(kept), Break("checkpoints", "checkpoints", id, made, found))
    return Checked("checkpoints", len(kept))


def _endings(connection: Connection) -> Checked:
    """Each ended account has the heir that was written down, and keeps only what open holds set aside."""
    total = _number(connection, "SELECT count(*) FROM endings")
    row = _first(
        connection,
        """
        SELECT coalesce(a.id, 'none') AS id, e.heir, b.heir AS cached, h.number AS known
        FROM (SELECT number FROM endings UNION SELECT number FROM balances WHERE heir IS NOT NULL) AS n
          LEFT JOIN endings e ON e.number = n.number LEFT JOIN balances b ON b.number = n.number
          LEFT JOIN accounts a ON a.number = n.number LEFT JOIN accounts h ON h.number = e.heir
        WHERE h.number IS NULL OR b.heir IS NULL OR b.heir <> e.heir ORDER BY n.number LIMIT 1
        """,
    )
    if row is not None:
        broken = Break("endings", "balances", row["id"], f"heir {row['heir']}", f"heir {row['cached']}")
        return Checked("endings", total, broken)
    heirs: dict[int, int] = dict(connection.execute(text("SELECT number, heir FROM endings ORDER BY number")).all())
    for number in heirs:
        passed, last = {number}, heirs[number]
        while last in heirs:
            if last in passed:
                return Checked("endings", total, Break("endings", "endings", str(number), "an end", "a circle"))
            passed.add(last)
            last = heirs[last]
    found = onward.ended(connection)
    for one in sorted(found.values(), key=lambda one: one.number):
        is_waiting = onward.survivor(found, one) is one and onward.is_open(found, one)
        if one.heir is not None and not is_waiting and (one.posted, one.owed_posted) != (one.held, 0):
            kept = f"{one.posted} posted, {one.held} held, {-one.owed_posted} owed"
            expected = f"{one.held} posted, {one.held} held, 0 owed"
            return Checked("endings", total, Break("endings", "balances", one.id, expected, kept))
    return Checked("endings", total)


def _notes(connection: Connection) -> Checked:
    """Each note that is not forgotten has the words of its hash, and each hash in a row has its note."""
    kept = connection.execute(text("SELECT id, salt, words, hash FROM notes ORDER BY id"))
    count = 0
    for id, salt, words, hash in kept:
        count += 1
        if words is not None and (made := notes.hash_of(words, salt)) != hash:
            return Checked("notes", count, Break("notes", "notes", id, hash, made))
    for table, row in (("transfers", "r.id"), ("endings", "CAST(r.number AS VARCHAR)")):
        without = _first(
            connection,
            f"""
            SELECT {row} AS id, r.note FROM {table} r LEFT JOIN notes n ON n.hash = r.note
            WHERE r.note IS NOT NULL AND n.id IS NULL LIMIT 1
            """,
        )
        if without is not None:
            return Checked("notes", count, Break("notes", table, without["id"], f"note {without['note']}", "none"))
    return Checked("notes", count)
