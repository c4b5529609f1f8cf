"""The ledger's shell: reads what a batch touches, asks `model.apply`, writes what it says. The caller commits.

Rules: the limited accounts of a batch are locked in the order of their numbers before anything is judged; a batch is
one `batches` row with its digest, in the same transaction as its rows; nothing is kept from one batch to the next.
Whatever else happened at the same time, the database's unique keys and checks are the last line: they raise, and the
writer runs the batch again one by one.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta, tzinfo
from types import ModuleType
from typing import Any, Final

from sqlalchemy import Connection, case, func, insert, literal, or_, select, update
from sqlalchemy.dialects import postgresql as postgresql_dialect
from sqlalchemy.dialects import sqlite as sqlite_dialect

from jishan_server.db import from_ms, remembered, to_ms
from jishan_server.ledger import clock, digest, history, onward, postgresql, sqlite, tables
from jishan_server.ledger.model import (
    MAX_BATCH,
    Account,
    Applied,
    Booked,
    Due,
    Facts,
    Kind,
    Known,
    Past,
    Refused,
    Standing,
    Transfer,
    apply,
    changes,
)

__all__ = [
    "Balance",
    "Booked",
    "Day",
    "Line",
    "Mark",
    "Refused",
    "available_points",
    "balances",
    "book",
    "close_day",
    "close_days",
    "closed_days",
    "day_hashes",
    "freeze",
    "open_accounts",
    "settle",
    "statement",
    "touch",
]

# Accounts that a connection remembers: those of a district, some tens of megabytes.
REMEMBERED: Final = 200_000
# In a batch up to this size every unique key is looked up, so that its refusal has a name. A larger one leaves the rare
# ones (a second end of one hold, a second reversal, a second transfer for one cause) to the database, and is run again
# one by one.
LOOKED_UP: Final = 16
# Steps in which points move on: to the survivor, from there where a closed account's go, and one that finds nothing.
MAX_STEPS: Final = 3
# Days that are closed in one transaction: the writer's other work waits for it.
MAX_DAYS_AT_ONCE: Final = 30


@dataclass(frozen=True, slots=True)
class Balance:
    """How an account stands. `next_expiry_points` end at `next_expiry_at`, unless they are spent before."""

    posted: int
    held: int
    next_expiry_at: datetime | None = None
    next_expiry_points: int = 0
    is_frozen: bool = False

    @property
    def available(self) -> int:
        """What may be spent now."""
        return self.posted - self.held


@dataclass(frozen=True, slots=True)
class Day:
    """A closed day: how many rows it has, and the root of their tree."""

    day: str
    rows: int
    root: bytes
    closed_at: datetime


@dataclass(frozen=True, slots=True)
class Mark:
    """Where a statement goes on: its next line, and how the account stood after it."""

    sequence: int
    posted: int
    held: int


@dataclass(frozen=True, slots=True)
class Line:
    """One entry of a statement: what it changed, and how the account stood after it."""

    sequence: int
    transfer_id: str
    kind: Kind
    posted_change: int
    held_change: int
    posted: int
    held: int
    other_account: str
    cause_type: str
    cause_id: str
    cause_revision: int
    actor: str
    reason: str
    rule_version: str | None
    expires_at: datetime | None
    occurred_at: datetime | None
    recorded_at: datetime
    note: str | None

    @property
    def available(self) -> int:
        """What could be spent after it."""
        return self.posted - self.held


def open_accounts(connection: Connection, accounts: Iterable[Account], now: datetime) -> None:
    """Open accounts; one that exists stays as it is."""
    rows = [
        {
            "id": account.id,
            "kind": account.kind,
            "owner": account.owner,
            "may_not_go_negative": account.may_not_go_negative,
            "may_not_go_positive": account.may_not_go_positive,
            "owed_id": account.owed_id,
            "expired_id": account.expired_id,
            "opened_at": now,
        }
        for account in accounts
    ]
    if not rows:
        return
    dialect = postgresql_dialect if connection.dialect.name == "postgresql" else sqlite_dialect
    connection.execute(dialect.insert(tables.accounts).on_conflict_do_nothing(index_elements=["id"]), rows)
    a = tables.accounts.c
    for start in range(0, len(rows), MAX_BATCH):
        ids = [row["id"] for row in rows[start : start + MAX_BATCH]]
        limited = (
            select(a.number, *map(literal, (0, 0, 0, False)), a.may_not_go_negative, a.may_not_go_positive)
            .where(a.id.in_(ids), or_(a.may_not_go_negative, a.may_not_go_positive))
            .order_by(a.number)
        )
        names = ["number", "posted", "held", "last_sequence", "is_frozen", "may_not_go_negative", "may_not_go_positive"]
        new = dialect.insert(tables.balances).from_select(names, limited)
        connection.execute(new.on_conflict_do_nothing(index_elements=["number"]))


def freeze(connection: Connection, account_ids: Collection[str], is_frozen: bool) -> None:
    """Let limited accounts refuse new holds and posts away from them, or no longer; what is open ends as ever."""
    a, b = tables.accounts.c, tables.balances.c
    numbers = select(a.number).where(a.id.in_(account_ids)).scalar_subquery()
    connection.execute(update(tables.balances).where(b.number.in_(numbers)).values(is_frozen=is_frozen))


def book(
    connection: Connection, transfers: Sequence[Transfer], now: datetime, zone: tzinfo = digest.SCHEME_ZONE
) -> list[Booked | Refused]:
    """Book transfers in order, each judged with those before it; an answer for each, in order.

    A refused one leaves nothing behind; the same id and words again is answered as a replay; the same id with other
    words is refused. Points that have ended are booked away first, unless the clock is doubted (`ledger.clock`): then
    they stay, and cannot be spent. What comes to an account that was merged into another moves on in the same
    transaction. More than MAX_BATCH are taken as several batches. Raises the database's
    IntegrityError if another transaction booked the same id, hold's end, reversal or cause meanwhile: roll back and
    book again.
    """
    answers: list[Booked | Refused] = []
    for start in range(0, len(transfers), MAX_BATCH):
        answers += _book(connection, transfers[start : start + MAX_BATCH], now, zone)
    return answers


def touch(
    connection: Connection, account_ids: Collection[str], now: datetime, zone: tzinfo = digest.SCHEME_ZONE
) -> None:
    """Lock accounts with their debts, and book what of theirs has ended, unless the clock is doubted."""
    _book(connection, [], now, zone, touched=account_ids)


def settle(connection: Connection, numbers: Collection[int], now: datetime, zone: tzinfo = digest.SCHEME_ZONE) -> None:
    """Let everything that accounts with an heir have and may not keep move on (`ledger.onward`)."""
    for _ in range(MAX_STEPS):
        steps = onward.transfers(connection, numbers, now)
        if not steps:
            return
        for start in range(0, len(steps), MAX_BATCH):
            answers = _book(connection, steps[start : start + MAX_BATCH], now, zone, is_own=True)
            assert not any(isinstance(answer, Refused) for answer in answers), f"cannot move on: {answers}"
    raise AssertionError(f"points still move after {MAX_STEPS} steps")


def _book(
    connection: Connection,
    transfers: Sequence[Transfer],
    now: datetime,
    zone: tzinfo,
    touched: Collection[str] = (),
    is_own: bool = False,
) -> list[Booked | Refused]:
    """Book one batch; `touched` accounts take part without a transfer. `is_own`: as `model.apply` has it."""
    if not connection.in_transaction():
        connection.begin()
    statements: ModuleType = sqlite if connection.dialect.name == "sqlite" else postgresql
    raw = connection.connection
    cursor = raw.cursor()
    try:
        facts = _Accounts(cursor, statements, remembered(connection))
        past, standings = _read(cursor, statements, facts, transfers, touched)
        writer = statements.writer(cursor, raw.info)
        serial, head = statements.head(cursor, writer)
        now_ms = to_ms(now)
        late = [a for a in standings.values() if a.next_expiry_ms is not None and a.next_expiry_ms <= now_ms]
        if late:
            ends = {one.facts.expired_id for one in late if one.facts.expired_id is not None} - standings.keys()
            standings |= {id: Standing(one) for id, one in facts.find(ends, set()).items()}
            past = _with_due(connection, past, late, now_ms)
        ended = [] if is_own else [one.facts.number for one in standings.values() if one.heir is not None]
        if ended:
            past = replace(past, closed=onward.closed_accounts(onward.family(connection, ended)))
        if clock.is_doubtful(head.known_ms, head.is_doubted, now_ms):
            applied = _apply_without_ends(transfers, standings, past, serial, now, is_own)
            late = []
            if applied.rows and not head.is_doubted:
                clock.note_doubt(connection, head.known_ms, serial)
        else:
            applied = apply(transfers, standings, past, serial, now, is_own)
        _write(cursor, statements, applied, writer, serial, head, now, zone, bool(late))
    finally:
        cursor.close()
    if ended:
        settle(connection, ended, now, zone)
    return applied.answers


def _read(
    cursor: Any,
    statements: ModuleType,
    facts: "_Accounts",
    transfers: Sequence[Transfer],
    touched_ids: Collection[str],
) -> tuple[Past, dict[str, Standing]]:
    """What the ledger knows of the transfers' ids and targets, and the accounts that they touch, locked."""
    ids: set[str] = set()
    account_ids = set(touched_ids)
    is_credited = bool(touched_ids)
    for transfer in transfers:
        ids.add(transfer.id)
        account_ids.add(transfer.debit)
        account_ids.add(transfer.credit)
        if transfer.pending_id is not None:
            ids.add(transfer.pending_id)
        elif transfer.reverses_id is not None:
            ids.add(transfer.reverses_id)
            is_credited = True
        elif transfer.kind is Kind.POST:
            is_credited = True
    account_ids.discard("")
    rows = statements.known(cursor, ids)
    touched = facts.find(account_ids, {number for row in rows for number in row[3:5]})
    if is_credited:
        owed = {one.owed_id for one in touched.values() if one.owed_id is not None}
        touched |= facts.find(owed - touched.keys(), set())
    names = facts.by_number
    known = {
        id: Known(sequence, kind, names[debit].id, names[credit].id, points, row_hash)
        for id, sequence, kind, debit, credit, points, row_hash in rows
    }
    limited = [one.number for one in touched.values() if one.is_limited]
    standings = {id: Standing(one) for id, one in touched.items() if not one.is_limited}
    for number, posted, held, next_expiry_ms, is_frozen, last_sequence, heir in statements.lock(cursor, limited):
        one = names[number]
        standings[one.id] = Standing(one, posted, held, next_expiry_ms, bool(is_frozen), last_sequence, heir)
    if len(transfers) > LOOKED_UP:
        return Past(known), standings
    ends = {known[t.pending_id].sequence for t in transfers if t.pending_id in known}
    taken_back = {known[t.reverses_id].sequence for t in transfers if t.reverses_id in known}
    keys = {(t.kind.value, t.cause.type, t.cause.id, t.cause.revision) for t in transfers if t.id not in known}
    return (
        Past(
            known,
            statements.closed_holds(cursor, ends) if ends else frozenset(),
            statements.reversed_transfers(cursor, taken_back) if taken_back else frozenset(),
            statements.causes(cursor, keys) if keys else frozenset(),
        ),
        standings,
    )


class _Accounts:
    """What never changes about accounts, remembered by the connection until one of its transactions is undone."""

    def __init__(self, cursor: Any, statements: ModuleType, remembered: dict[Any, Any]) -> None:
        self._cursor = cursor
        self._statements = statements
        self.by_id: dict[str, Facts] = remembered.setdefault("accounts by id", {})
        self.by_number: dict[int, Facts] = remembered.setdefault("accounts by number", {})
        if len(self.by_id) > REMEMBERED:
            self.by_id.clear()
            self.by_number.clear()

    def find(self, ids: set[str], numbers: set[int]) -> dict[str, Facts]:
        """The accounts with these ids or numbers; those that do not exist are left out."""
        by_id, by_number = self.by_id, self.by_number
        new_ids = {id for id in ids if id not in by_id}
        new_numbers = {number for number in numbers if number not in by_number}
        if new_ids or new_numbers:
            for one in self._statements.facts(self._cursor, new_ids, new_numbers):
                by_id[one.id] = by_number[one.number] = one
        found = {id: by_id[id] for id in ids if id in by_id}
        for number in numbers:
            one = by_number[number]
            found[one.id] = one
        return found


def _with_due(connection: Connection, past: Past, late: Sequence[Standing], now_ms: int) -> Past:
    """The past with what of these accounts has ended, by the fold of their entries."""
    due: dict[str, Due] = {}
    for account in late:
        folded = history.fold_and_keep(connection, account.facts.number, account.last_sequence)
        points = folded.ended_points(now_ms) if account.facts.expired_id is not None else 0
        due[account.facts.id] = Due(points, folded.next_expiry_ms(now_ms))
    return replace(past, due=due)


def _apply_without_ends(
    transfers: Sequence[Transfer],
    standings: dict[str, Standing],
    past: Past,
    serial: int,
    now: datetime,
    is_own: bool,
) -> Applied:
    """Judge a batch while the clock is doubted: what may have ended stays where it is, and cannot be spent."""
    aside = {} if is_own else {id: due.points for id, due in past.due.items()}
    for id, points in aside.items():
        standings[id].held += points
    applied = apply(transfers, standings, replace(past, due={}), serial, now, is_own)
    for id, points in aside.items():
        applied.accounts[id].held -= points
    return applied


def _write(
    cursor: Any,
    statements: ModuleType,
    applied: Applied,
    writer: int,
    serial: int,
    head: digest.Head,
    now: datetime,
    zone: tzinfo,
    is_due: bool,
) -> None:
    """Insert the rows with their batch, and bring the balances up; nothing if nothing was booked."""
    if not applied.rows:
        # An end that came to no points still moves the next one.
        if is_due:
            statements.write_balances(cursor, applied.accounts.values())
        return
    now_ms = to_ms(now)
    # A day that is closed stays so, even for a clock that runs behind.
    day = max(digest.day_of(now, zone), _day_after(head.closed_day))
    hashes = [row[-1] for row in applied.rows]
    sealed = digest.seal(writer, head.number + 1, serial, day, now_ms, head.digest, hashes)
    batch = (serial, writer, head.number + 1, len(hashes), head.digest, sealed, day, now_ms)
    statements.write(cursor, applied.rows, applied.accounts.values(), batch)


def close_day(connection: Connection, day: str, now: datetime, zone: tzinfo = digest.SCHEME_ZONE) -> bytes:
    """Close a day that is over, and give the root of its tree; a day that is closed keeps its root.

    Raises ValueError for a day that is not over, or one before a closed day. Batches in flight are waited for; a later
    one counts to the next open day, and a trigger refuses it otherwise.
    """
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("LOCK TABLE batches IN SHARE ROW EXCLUSIVE MODE")
    known = connection.execute(select(tables.days.c.root).where(tables.days.c.day == day)).scalar()
    if known is not None:
        return bytes(known)
    newest = connection.execute(select(func.max(tables.days.c.day))).scalar() or ""
    if not newest < day < digest.day_of(now, zone):
        raise ValueError(f"{day} is not over, or lies before the closed day {newest}")
    hashes = day_hashes(connection, day)
    root = digest.merkle_root(hashes)
    connection.execute(insert(tables.days).values(day=day, rows=len(hashes), root=root, closed_at=now))
    history.count_entries(connection, day)
    return root


def close_days(connection: Connection, now: datetime, zone: tzinfo = digest.SCHEME_ZONE) -> list[str]:
    """Close every day that is over, oldest first, from that of the first batch on, and give those that were closed.

    Days without a row are closed too. None is while the clock is doubted (`ledger.clock`): a closed day stays closed.
    After a long outage the rest waits for the next call (MAX_DAYS_AT_ONCE).
    """
    newest = connection.execute(select(func.max(tables.days.c.day))).scalar()
    last = (now.astimezone(zone).date() - timedelta(days=1)).isoformat()
    if (newest is not None and newest >= last) or clock.doubt(connection, now) is not None:
        return []
    first = select(func.min(tables.batches.c.day))
    day = connection.execute(first).scalar() if newest is None else _day_after(newest)
    closed: list[str] = []
    while day is not None and day <= last and len(closed) < MAX_DAYS_AT_ONCE:
        close_day(connection, day, now, zone)
        closed.append(day)
        day = _day_after(day)
    return closed


def closed_days(connection: Connection) -> list[Day]:
    """The closed days with their roots, oldest first."""
    rows = connection.execute(select(tables.days).order_by(tables.days.c.day))
    return [Day(row.day, row.rows, bytes(row.root), row.closed_at) for row in rows]


def day_hashes(connection: Connection, day: str) -> list[bytes]:
    """The row hashes of a day, in the order of its tree: writer, number, position."""
    t, b = tables.transfers.c, tables.batches.c
    rows = select(t.row_hash).where(tables.is_of_day(day)).order_by(b.writer, b.number, t.sequence)
    return [bytes(row_hash) for row_hash in connection.execute(rows).scalars()]


def _day_after(day: str) -> str:
    return (date.fromisoformat(day) + timedelta(days=1)).isoformat() if day else ""


def available_points(connection: Connection, account_ids: Collection[str]) -> dict[str, int]:
    """What may be spent now, for the limited ones of these accounts; the cheap part of `balances`."""
    a, b = tables.accounts.c, tables.balances.c
    query = select(a.id, b.posted - b.held).where(a.id.in_(account_ids), b.number == a.number)
    return dict(connection.execute(query).all())


def balances(connection: Connection, account_ids: Collection[str]) -> dict[str, Balance]:
    """How accounts stand; one that does not exist is left out. An account without a limit is summed from its rows."""
    a, b = tables.accounts.c, tables.balances.c
    query = (
        select(a.id, a.number, b.posted, b.held, b.next_expiry_at, b.is_frozen, b.last_sequence)
        .select_from(tables.accounts.outerjoin(tables.balances, a.number == b.number))
        .where(a.id.in_(account_ids))
    )
    found: dict[str, Balance] = {}
    for id, number, posted, held, next_expiry_at, is_frozen, last in connection.execute(query):
        if posted is None:
            found[id] = _summed(connection, number)
            continue
        expiry: datetime | None = None
        points = 0
        if next_expiry_at is not None:
            # The cached instant is a lower bound; what ends when is the lots' to say.
            folded = history.fold(connection, number, last).lots
            soonest, points = folded.next_expiry_points(-1)
            expiry = None if soonest is None else from_ms(soonest)
        found[id] = Balance(posted, held, expiry, points, is_frozen)
    return found


def _summed(connection: Connection, number: int) -> Balance:
    """The balance of an account without a limit, from all rows that are there now: no running total to miss one."""
    t = tables.transfers.c
    moves = t.kind.in_([Kind.POST, Kind.CAPTURE, Kind.REVERSAL])
    change = func.sum(case((t.credit == number, t.points), else_=-t.points))
    total = connection.execute(select(change).where(moves, or_(t.debit == number, t.credit == number))).scalar()
    return Balance(int(total or 0), 0)


def statement(
    connection: Connection, account_id: str, start: Mark | None = None, limit: int = 50
) -> tuple[list[Line], Mark | None]:
    """A page of a limited account's entries, newest first, each with the balance after it; and where the next page
    starts. The balance comes from the account's own chain of rows, so no row can be missed. Empty for an account that
    is unknown or has no limit.
    """
    a, b = tables.accounts.c, tables.balances.c
    query = select(a.number, b.last_sequence, b.posted, b.held).where(a.id == account_id, b.number == a.number)
    account = connection.execute(query).one_or_none()
    if account is None:
        return [], None
    number, *newest = account
    mark = start or Mark(*newest)
    rows = history.walk(connection, number, mark.sequence, limit=limit) if mark.sequence else []
    others = {row["credit"] if row["debit"] == number else row["debit"] for row in rows}
    names = dict(connection.execute(select(a.number, a.id).where(a.number.in_(others))).all())
    page: list[Line] = []
    for row in rows:
        is_credit = row["credit"] == number
        posted, held = changes(Kind(row["kind"]), is_credit, row["points"])
        page.append(
            Line(
                row["sequence"],
                row["id"],
                Kind(row["kind"]),
                posted,
                held,
                mark.posted,
                mark.held,
                names[row["debit"] if is_credit else row["credit"]],
                row["cause_type"],
                row["cause_id"],
                row["cause_revision"],
                row["actor"],
                row["reason"],
                row["rule_version"],
                row["expires_at"],
                row["occurred_at"],
                row["recorded_at"],
                row["note"],
            )
        )
        before = row["credit_previous"] if is_credit else row["debit_previous"]
        mark = Mark(before, mark.posted - posted, mark.held - held)
    return page, mark if mark.sequence else None
