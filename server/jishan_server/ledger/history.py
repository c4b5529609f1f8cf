"""An account's entries, and the fold of them.

Each row names the row before it of either limited account, so a history is a walk back from the newest. So that nobody
folds a long account from its first row, the fold is kept each CHECKPOINT_ENTRIES: by whoever has folded so many in a
transaction that writes, and by the timer that closes days. A checkpoint is a cache: without it every answer is the
same, only later. It keeps what `lots.pack` does; where an entry after it takes back a debit before it, the whole
history is folded.
Source: decisions, "The ledger".
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, RowMapping, case, func, literal, select, union_all
from sqlalchemy.dialects import postgresql, sqlite

from jishan_server.db import to_ms
from jishan_server.ledger import tables
from jishan_server.ledger.lots import BeforeTheCut, Entry, Lots, lots, pack
from jishan_server.ledger.model import Kind
from jishan_server.ledger.tables import CHECKPOINT_ENTRIES

# Accounts whose checkpoints one call of the timer keeps: a tenth of a second or two, for which other work waits.
MAX_KEPT_AT_ONCE: Final = 10


class Folded(NamedTuple):
    """An account's lots, and how many entries were folded for them."""

    lots: Lots
    entries: int


def walk(
    connection: Connection, number: int, newest: int, after: int = 0, limit: int | None = None
) -> Sequence[RowMapping]:
    """The rows of a limited account from `newest` back to the one behind `after`, newest first."""
    if newest <= after:
        return []
    t = tables.transfers
    first = select(t.c.sequence, t.c.debit, t.c.debit_previous, t.c.credit_previous).where(t.c.sequence == newest)
    step = first.add_columns(literal(1).label("depth")).cte("walk", recursive=True)
    before = case((step.c.debit == number, step.c.debit_previous), else_=step.c.credit_previous)
    further = select(
        t.c.sequence, t.c.debit, t.c.debit_previous, t.c.credit_previous, (step.c.depth + 1).label("depth")
    ).where(t.c.sequence == before, before > after)
    if limit is not None:
        further = further.where(step.c.depth < limit)
    walked = step.union_all(further)
    rows = select(t).where(t.c.sequence.in_(select(walked.c.sequence))).order_by(t.c.sequence.desc())
    return connection.execute(rows).mappings().all()


def entries(connection: Connection, number: int, last_sequence: int, after: int = 0) -> list[Entry]:
    """The entries of a limited account behind `after` up to `last_sequence`, oldest first, for the fold."""
    return [
        Entry(
            row["sequence"],
            Kind(row["kind"]),
            row["credit"] == number,
            row["points"],
            to_ms(row["recorded_at"]),
            None if row["expires_at"] is None else to_ms(row["expires_at"]),
            row["pending"],
            row["reverses"],
            # No client's id has a dot.
            is_expiry=row["id"].startswith("expiry."),
        )
        for row in reversed(walk(connection, number, last_sequence, after))
    ]


def fold(connection: Connection, number: int, last_sequence: int) -> Folded:
    """The lots of a limited account up to its row `last_sequence`, from the checkpoint before it."""
    c = tables.checkpoints.c
    query = select(c.sequence, c.lots).where(c.number == number, c.sequence <= last_sequence)
    kept = connection.execute(query).one_or_none()
    if kept is not None:
        found = entries(connection, number, last_sequence, kept.sequence)
        try:
            return Folded(lots(found, kept.lots), len(found))
        except BeforeTheCut:
            pass
    found = entries(connection, number, last_sequence)
    return Folded(lots(found), len(found))


def fold_and_keep(connection: Connection, number: int, last_sequence: int) -> Lots:
    """The same in a transaction that writes: a fold of many entries becomes the account's checkpoint."""
    folded = fold(connection, number, last_sequence)
    if folded.entries >= CHECKPOINT_ENTRIES:
        _keep(connection, number, last_sequence, folded.lots)
    return folded.lots


def count_entries(connection: Connection, day: str) -> None:
    """Add the rows of a day that is being closed to the count of their limited accounts."""
    t, b, c = tables.transfers.c, tables.batches, tables.checkpoints.c
    sides = union_all(
        *(
            select(side.label("number"))
            .select_from(tables.transfers, b)
            .where(tables.is_of_day(day), previous.is_not(None))
            for side, previous in ((t.debit, t.debit_previous), (t.credit, t.credit_previous))
        )
    ).subquery()
    counted = select(sides.c.number, literal(0), literal(_NOTHING), func.count()).group_by(sides.c.number)
    new = _insert(connection).from_select(["number", "sequence", "lots", "entries"], counted)
    connection.execute(
        new.on_conflict_do_update(index_elements=["number"], set_={"entries": c.entries + new.excluded.entries})
    )


def keep_due(connection: Connection) -> int:
    """Keep the checkpoints of accounts that have grown long, MAX_KEPT_AT_ONCE at most; gives how many."""
    b, c = tables.balances.c, tables.checkpoints.c
    due = select(c.number, b.last_sequence).where(tables.IS_DUE, b.number == c.number)
    rows = connection.execute(due.order_by(c.number).limit(MAX_KEPT_AT_ONCE)).all()
    for number, last_sequence in rows:
        _keep(connection, number, last_sequence, fold(connection, number, last_sequence).lots)
    return len(rows)


_NOTHING: Final = pack(Lots())


def _keep(connection: Connection, number: int, sequence: int, folded: Lots) -> None:
    new = _insert(connection).values(number=number, sequence=sequence, lots=pack(folded), entries=0)
    changed = {name: new.excluded[name] for name in ("sequence", "lots", "entries")}
    # Another process may have kept a later one meanwhile.
    is_older = tables.checkpoints.c.sequence <= sequence
    connection.execute(new.on_conflict_do_update(index_elements=["number"], set_=changed, where=is_older))


def _insert(connection: Connection) -> Any:
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    return dialect.insert(tables.checkpoints)
