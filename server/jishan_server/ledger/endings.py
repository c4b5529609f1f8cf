"""The end of an account: it is merged into another, or closed. The caller commits.

Rules. An ended account has an heir for good (`tables.endings`): the survivor, or where ended points go. What it has and
its open holds do not set aside moves on at once, and so does whatever comes to it later (`ledger.onward`). A closed one
takes nothing any more. Neither is done while the clock is doubted: nobody could say which points have ended.
Source: decisions, "The ledger".
"""

from collections.abc import Mapping
from datetime import datetime, tzinfo

from sqlalchemy import Connection, bindparam, insert, select, update

from jishan_server.errors import DomainError
from jishan_server.ledger import clock, digest, onward, tables
from jishan_server.ledger.onward import Member
from jishan_server.ledger.store import settle, touch


def merge(
    connection: Connection,
    account_id: str,
    into_id: str,
    actor: str,
    now: datetime,
    zone: tzinfo = digest.SCHEME_ZONE,
    note: str | None = None,
) -> None:
    """Merge an account that holds points into another of the same kind, with what is owed; a note may say why.

    Refusals: same_account, account_unknown, account_merged or account_closed (either of the two is), account_frozen,
    clock_in_doubt.
    """
    if account_id == into_id:
        raise DomainError("same_account")
    old, into = _living(connection, [account_id, into_id], now, zone)
    heirs = {old.number: into.number}
    if old.owed_id is not None:
        assert into.owed_id is not None, "accounts of one kind are merged"
        owed, into_owed = _numbers(connection, [old.owed_id, into.owed_id])
        heirs[owed] = into_owed
    _end(connection, heirs, actor, now, note)
    settle(connection, [old.number], now, zone)


def close(
    connection: Connection,
    account_id: str,
    actor: str,
    now: datetime,
    zone: tzinfo = digest.SCHEME_ZONE,
    note: str | None = None,
) -> bool:
    """Close an account that holds points; gives whether it is closed now, or waits for its open holds.

    Its points go where ended points go, less what it owes. Refusals: account_unknown, account_merged, account_closed,
    account_frozen, clock_in_doubt, points_owed (more than it has available).
    """
    (one,) = _living(connection, [account_id], now, zone)
    if one.posted - one.held + one.owed_posted < 0:
        raise DomainError("points_owed", owed=-one.owed_posted)
    assert one.expired_id is not None, "points end only where the account says they go"
    ids = [one.expired_id] if one.owed_id is None else [one.expired_id, one.owed_id]
    expired, *owed = _numbers(connection, ids)
    _end(connection, dict.fromkeys([one.number, *owed], expired), actor, now, note)
    settle(connection, [one.number], now, zone)
    return is_closed(connection, account_id)


def is_closed(connection: Connection, account_id: str) -> bool:
    """Whether an account is closed, nothing open; also one that was merged into such an account."""
    found = onward.family(connection, _numbers(connection, [account_id]), is_locked=False)
    last = onward.survivor(found, next(one for one in found.values() if account_id in (one.id, one.owed_id)))
    return last.heir is not None and not onward.is_open(found, last)


def is_closing(connection: Connection, account_id: str) -> bool:
    """Whether an account is closed or waits to be: nothing is given back to it any more."""
    found = onward.family(connection, _numbers(connection, [account_id]), is_locked=False)
    return account_id in onward.closed_accounts(found)


def _living(connection: Connection, ids: list[str], now: datetime, zone: tzinfo) -> list[Member]:
    """The accounts, locked, with what has ended booked away; refuses those that cannot be ended."""
    if clock.doubt(connection, now) is not None:
        raise DomainError("clock_in_doubt")
    touch(connection, ids, now, zone)
    found = onward.family(connection, _numbers(connection, ids))
    by_id = {one.id: one for one in found.values()}
    closed = onward.closed_accounts(found)
    for id in ids:
        if id not in by_id:
            raise DomainError("account_unknown", id=id)
        if id in closed:
            raise DomainError("account_closed")
        if by_id[id].heir is not None:
            raise DomainError("account_merged")
        if _is_frozen(connection, by_id[id].number):
            raise DomainError("account_frozen")
    return [by_id[id] for id in ids]


def _is_frozen(connection: Connection, number: int) -> bool:
    b = tables.balances.c
    return bool(connection.scalar(select(b.is_frozen).where(b.number == number)))


def _numbers(connection: Connection, ids: list[str]) -> list[int]:
    a = tables.accounts.c
    found: dict[str, int] = dict(connection.execute(select(a.id, a.number).where(a.id.in_(ids))).all())
    for id in ids:
        if id not in found:
            raise DomainError("account_unknown", id=id)
    return [found[id] for id in ids]


def _end(connection: Connection, heirs: Mapping[int, int], actor: str, now: datetime, note: str | None) -> None:
    """Write down the heirs, by number, of accounts that end."""
    how = {"actor": actor, "recorded_at": now, "note": note}
    rows = [{"number": number, "heir": heir, **how} for number, heir in heirs.items()]
    connection.execute(insert(tables.endings), rows)
    connection.execute(
        update(tables.balances).where(tables.balances.c.number == bindparam("ended")).values(heir=bindparam("to")),
        [{"ended": number, "to": heir} for number, heir in heirs.items()],
    )
