"""What moves on from accounts that were merged into another, or closed: which transfers bring it to their heirs.

Rules. An account with an heir keeps nothing but what its open holds set aside. From a merged one everything goes to the
survivor at the end of the chain of mergers: points lot by lot, each with its own end; what is owed goes to the
survivor's own debt, which pays at once from what it has available. A closed account waits until nothing is open, on it
or on any that was merged into it; then its points go where ended points go, and so does a debt that came meanwhile.
Source: decisions, "The ledger".
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, Connection, func, or_, select

from jishan_server.db import from_ms, to_ms
from jishan_server.ledger import history, tables
from jishan_server.ledger.model import LEDGER, MAX_POINTS, Cause, Kind, Transfer

MERGE: Final = "merge"
CLOSE: Final = "close"
_REASONS: Final[Mapping[str, str]] = {MERGE: "account_merged", CLOSE: "account_closed"}


@dataclass(frozen=True, slots=True)
class Member:
    """An account with its debt, as one of those that were merged with each other. `owed_*` are 0 where it has none.

    `heir`: as in `balances`; `is_heir_limited`: it was merged and not closed.
    """

    number: int
    id: str
    posted: int
    held: int
    last_sequence: int
    heir: int | None
    is_heir_limited: bool
    expired_id: str | None
    owed_id: str | None
    owed_posted: int
    owed_last_sequence: int


def family(connection: Connection, numbers: Collection[int], *, is_locked: bool = True) -> dict[int, Member]:
    """The accounts with these numbers, or whose debts they are, and all that they are merged with; by number.

    They are locked after those of the batch: where two batches lock the same ones the other way round, the database
    ends one of them, and the writer runs it again.
    """
    a, b, owed = tables.accounts.c, tables.balances.c, tables.accounts.alias("owed").c
    owing = select(a.number).where(a.owed_id == owed.id, owed.number.in_(numbers))
    found: dict[int, Member] = {}
    asked = set(numbers) | set(connection.scalars(owing))
    looked_at: set[int] = set()
    while asked:
        found |= _members(connection, or_(b.number.in_(asked), b.heir.in_(asked)), is_locked)
        looked_at |= asked
        heirs = {one.heir for one in found.values() if one.heir is not None and one.is_heir_limited}
        asked = (found.keys() | heirs) - looked_at
    return found


def ended(connection: Connection) -> dict[int, Member]:
    """Every account that has an heir or is one, by number."""
    b = tables.balances.c
    return _members(connection, or_(b.heir.is_not(None), b.number.in_(select(tables.endings.c.heir))), False)


def _members(connection: Connection, which: ColumnElement[bool], is_locked: bool) -> dict[int, Member]:
    a, b = tables.accounts, tables.balances
    owed, debt, heir = tables.accounts.alias("owed"), tables.balances.alias("debt"), tables.accounts.alias("heir")
    joined = (
        b.join(a, a.c.number == b.c.number)
        .outerjoin(heir, heir.c.number == b.c.heir)
        .outerjoin(owed, owed.c.id == a.c.owed_id)
        .outerjoin(debt, debt.c.number == owed.c.number)
    )
    own = (a.c.number, a.c.id, b.c.posted, b.c.held, b.c.last_sequence, b.c.heir)
    is_heir_limited = or_(heir.c.may_not_go_negative, heir.c.may_not_go_positive)
    owing = (func.coalesce(column, 0) for column in (debt.c.posted, debt.c.last_sequence))
    query = select(*own, is_heir_limited, a.c.expired_id, a.c.owed_id, *owing).select_from(joined)
    query = query.where(which, a.c.may_not_go_negative).order_by(b.c.number)
    if is_locked:
        query = query.with_for_update(of=b)
    return {row.number: Member(*row) for row in connection.execute(query)}


def survivor(found: Mapping[int, Member], one: Member) -> Member:
    """Whom an account was merged into at last; itself if it was not."""
    while one.heir is not None and one.is_heir_limited:
        one = found[one.heir]
    return one


def closed_accounts(found: Mapping[int, Member]) -> frozenset[str]:
    """The ids of those that are closed or were merged into a closed one, with the ids of their debts."""
    ended = [one for one in found.values() if survivor(found, one).heir is not None]
    return frozenset(id for one in ended for id in (one.id, one.owed_id) if id is not None)


def is_open(found: Mapping[int, Member], last: Member) -> bool:
    """Whether points are held on a survivor, or on an account that was merged into it."""
    return any(one.held for one in found.values() if survivor(found, one) is last)


def transfers(connection: Connection, numbers: Collection[int], now: datetime) -> list[Transfer]:
    """What is to move on now from these accounts and their family: the next step, empty when all is done."""
    found = family(connection, numbers)
    steps: list[Transfer] = []
    for one in found.values():
        last = survivor(found, one)
        if last is not one:
            steps += _from_merged(connection, one, last, now)
        elif one.heir is not None and not is_open(found, one):
            steps += _from_closed(connection, one)
    return steps


def _from_merged(connection: Connection, one: Member, last: Member, now: datetime) -> Iterator[Transfer]:
    if one.owed_posted < 0:
        assert one.owed_id is not None
        assert last.owed_id is not None
        yield from _debt(one, last.owed_id, one.owed_id, -one.owed_posted, MERGE)
        folded = history.fold(connection, last.number, last.last_sequence).lots
        left = folded.available_points() - folded.ended_points(to_ms(now))
        yield from _payment(last, min(left, -one.owed_posted))
    if one.posted > one.held:
        yield from _lots(connection, one, last.id, MERGE)


def _from_closed(connection: Connection, one: Member) -> Iterator[Transfer]:
    assert one.expired_id is not None
    if one.owed_posted < 0:
        assert one.owed_id is not None
        yield from _debt(one, one.expired_id, one.owed_id, -one.owed_posted, CLOSE)
    if one.posted > one.held:
        yield from _lots(connection, one, one.expired_id, CLOSE)


def _lots(connection: Connection, one: Member, to: str, why: str) -> Iterator[Transfer]:
    """One transfer for each lot, soonest end first, as debits take them; its cause is the credit that it came from."""
    found = history.fold(connection, one.number, one.last_sequence).lots.available()
    t = tables.transfers.c
    query = select(t.sequence, t.id).where(t.sequence.in_({lot.source for lot in found}))
    sources = dict(connection.execute(query).all())
    for place, lot in enumerate(found):
        ends_at = None if lot.expires_ms is None or why == CLOSE else from_ms(lot.expires_ms)
        # A lot moves again when more of it has come back; the account has a newer row by then.
        cause = Cause(why, sources[lot.source], one.last_sequence + place)
        yield _move(f"{why}.{one.number}.{one.last_sequence}.{place}", one.id, to, lot.left, cause, why, ends_at)


def _debt(one: Member, debit: str, credit: str, points: int, why: str) -> Iterator[Transfer]:
    for place, part in enumerate(_parts(points)):
        id = f"debt.{one.number}.{one.owed_last_sequence}.{place}"
        yield _move(id, debit, credit, part, Cause(why, id), why)


def _payment(one: Member, points: int) -> Iterator[Transfer]:
    assert one.owed_id is not None
    for place, part in enumerate(_parts(points)):
        id = f"repaid.{one.number}.{one.last_sequence}.{place}"
        yield _move(id, one.id, one.owed_id, part, Cause("repaid", id), MERGE)


def _parts(points: int) -> Iterator[int]:
    """Points in transfers of at most MAX_POINTS; a lot is never larger, a debt may be."""
    while points > 0:
        yield min(points, MAX_POINTS)
        points -= MAX_POINTS


def _move(
    id: str, debit: str, credit: str, points: int, cause: Cause, why: str, expires_at: datetime | None = None
) -> Transfer:
    """A row of the ledger's own: its id has a dot, which no client's id has."""
    return Transfer(id, Kind.POST, debit, credit, points, cause, LEDGER, _REASONS[why], expires_at=expires_at)
