"""Points that end: warnings before, a look at what would end, and the runs that book it.

Rules. The ledger books what has ended when an account is next touched, and nobody can spend it before that; a run only
touches the accounts that are due, MAX_ACCOUNTS at a time, so it may be repeated and interrupted at will. The server
runs by itself; staff may ask for a day that has begun. People are warned 30, 7 and 1 days before, once for each
account, day and distance, and told what ended, once for each row of the ledger. While the ledger's clock is doubted
nothing ends, and nobody is warned.
Source: decisions, "The ledger".
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import islice
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, and_, func, insert, or_, select, update

from jishan_server import audit
from jishan_server.db import from_ms, to_ms
from jishan_server.errors import DomainError
from jishan_server.ids import timed_derived_id
from jishan_server.instants import iso
from jishan_server.ledger import clock, history, tables
from jishan_server.ledger.lots import Lots
from jishan_server.ledger.store import touch
from jishan_server.organizations.calendar import parse_day
from jishan_server.organizations.roles import SYSTEM, Permission, permit_everywhere
from jishan_server.people.messages import Message, tell
from jishan_server.people.tables import residents
from jishan_server.volunteering.expiry_tables import bookings, runs, told_days, warning_days, warnings
from jishan_server.volunteering.planned import day_start
from jishan_server.volunteering.rules import CreditRules
from jishan_server.writer import Operation, Outcome

EXPIRE: Final = "volunteering.expire"
MAX_ACCOUNTS: Final = 300
"""Accounts in one piece of a run or of the warnings: some tenths of a second, for which other work waits."""
MAX_PREVIEWED: Final = 5_000
"""Accounts that a look adds up; a larger scheme asks estate by estate."""
DISTANCES: Final = (1, 7, 30)
"""Days before the end at which people are warned, nearest first."""

_a, _b, _t = tables.accounts.c, tables.balances.c, tables.transfers.c


@dataclass(frozen=True, slots=True)
class RunExpiry:
    """Book everything that has ended by the end of `day` (YYYY-MM-DD, local), or by now if that is earlier."""

    actor: str
    day: str


class Ending(NamedTuple):
    """Available points of one resident that will have ended by a day."""

    number: int
    resident_id: str
    estate_id: str
    name: str
    points: int


def expire(
    connection: Connection, operations: Sequence[Operation], now: datetime, settings: CreditRules
) -> list[Outcome]:
    """A bounded piece of whatever is due: runs that were asked for, what ended, warnings, telling of what ended.

    Gives how many accounts it looked at.
    """
    today = now.astimezone(settings.zone).date()
    asked = _running(connection)
    is_due = _due(connection, now, limit=1)
    warned = _warning_day(connection, today)
    untold = _untold_day(connection)
    is_warned = warned is not None and warned.is_done
    if (asked is None and not is_due and is_warned and untold is None) or clock.doubt(connection, now) is not None:
        return [Outcome(0) for _ in operations]
    looked = 0
    if asked is not None:
        looked += _go_on(connection, asked.id, _until(asked.day, now, settings.zone), now, settings.zone)
    elif is_due:
        looked += _go_on(connection, _nights_run(connection, today, now), now, now, settings.zone)
    if not is_warned:
        looked += _warn(connection, warned, today, now, settings.zone)
    if untold is not None:
        _tell_of(connection, untold, now, settings.zone)
    return [Outcome(looked) for _ in operations]


def run_expiry(connection: Connection, operation: Operation, now: datetime, settings: CreditRules) -> dict[str, Any]:
    """Begin a run; the timer goes on with what is left. Refusals: forbidden, day_invalid, expiry_day_ahead,
    clock_in_doubt.
    """
    body: RunExpiry = operation.body
    permit_everywhere(connection, body.actor, Permission.EXPIRY_RUN)
    if parse_day(body.day) > now.astimezone(settings.zone).date():
        raise DomainError("expiry_day_ahead", day=body.day)
    if clock.doubt(connection, now) is not None:
        raise DomainError("clock_in_doubt")
    id = timed_derived_id(operation.id, "expiry run", now)
    _begin(connection, id, body.day, body.actor, now)
    audit.record(
        connection,
        now,
        actor=body.actor,
        action="expiry_run",
        subject=("expiry_run", id),
        operation_id=operation.id,
        details={"day": body.day},
    )
    _go_on(connection, id, _until(body.day, now, settings.zone), now, settings.zone)
    return run(connection, body.actor, id)


def run(connection: Connection, actor: str, run_id: str) -> dict[str, Any]:
    """One run with what it booked in each estate; refusals: forbidden, expiry_run_unknown."""
    permit_everywhere(connection, actor, Permission.EXPIRY_RUN)
    row = connection.execute(select(runs).where(runs.c.id == run_id)).one_or_none()
    if row is None:
        raise DomainError("expiry_run_unknown", id=run_id)
    b = bookings.c
    query = select(b.estate_id, func.count(b.resident_id.distinct()), func.sum(b.points)).where(b.run_id == run_id)
    found = connection.execute(query.group_by(b.estate_id).order_by(b.estate_id))
    estates = [{"estate_id": id, "accounts": count, "points": int(points)} for id, count, points in found]
    return _view(row) | {"estates": estates}


def runs_page(
    connection: Connection, actor: str, after: list[Any] | None, limit: int
) -> tuple[list[dict[str, Any]], tuple[int, str] | None]:
    """Runs, newest first, and where the next page starts; refusal: forbidden."""
    permit_everywhere(connection, actor, Permission.EXPIRY_RUN)
    r = runs.c
    query = select(runs)
    if after is not None:
        at, id = from_ms(after[0]), after[1]
        query = query.where(or_(r.asked_at < at, and_(r.asked_at == at, r.id < id)))
    rows = connection.execute(query.order_by(r.asked_at.desc(), r.id.desc()).limit(limit + 1)).all()
    last = (to_ms(rows[limit - 1].asked_at), rows[limit - 1].id) if len(rows) > limit else None
    return [_view(row) for row in rows[:limit]], last


def preview(
    connection: Connection,
    actor: str,
    day: date,
    zone: ZoneInfo,
    *,
    estate_id: str | None,
    after: int | None,
    limit: int,
) -> tuple[dict[str, Any], int | None]:
    """What will have ended by the end of a day, if nothing is spent before; nothing is booked. Held points do not end.

    The first page adds up accounts and points, all and by estate, of MAX_PREVIEWED accounts at most (`is_whole` says
    whether that was all). Also gives where the next page of people starts. Refusal: forbidden.
    """
    permit_everywhere(connection, actor, Permission.EXPIRY_RUN)
    ending = _ending(connection, _end_of(day, zone), estate_id, after or 0)
    if after is not None:
        found = list(islice(ending, limit + 1))
        return {"items": [_person(one) for one in found[:limit]]}, _next(found, limit)
    found = list(islice(ending, MAX_PREVIEWED))
    accounts = Counter(one.estate_id for one in found)
    points: Counter[str] = Counter()
    for one in found:
        points[one.estate_id] += one.points
    return {
        "items": [_person(one) for one in found[:limit]],
        "accounts": len(found),
        "points": points.total(),
        "estates": [{"estate_id": id, "accounts": accounts[id], "points": points[id]} for id in sorted(accounts)],
        "is_whole": next(ending, None) is None,
    }, _next(found, limit)


def _next(found: Sequence[Ending], limit: int) -> int | None:
    return found[limit - 1].number if len(found) > limit else None


def _person(one: Ending) -> dict[str, Any]:
    return {"resident_id": one.resident_id, "name": one.name, "estate_id": one.estate_id, "points": one.points}


def _ending(connection: Connection, until: datetime, estate_id: str | None, after: int) -> Iterator[Ending]:
    """Residents with points that end by then, by the number of their accounts."""
    r = residents.c
    while True:
        query = (
            select(_a.number, r.id, r.estate_id, r.name, _b.last_sequence)
            .join(tables.balances, _b.number == _a.number)
            .join(residents, r.id == _a.owner)
            .where(_a.kind == "resident", _b.next_expiry_at <= until, _a.number > after)
        )
        if estate_id is not None:
            query = query.where(r.estate_id == estate_id)
        rows = connection.execute(query.order_by(_a.number).limit(MAX_ACCOUNTS)).all()
        for number, id, estate, name, last in rows:
            points = history.fold(connection, number, last).lots.ended_points(to_ms(until))
            if points:
                yield Ending(number, id, estate, name, points)
        if len(rows) < MAX_ACCOUNTS:
            return
        after = rows[-1].number


def _end_of(day: date, zone: ZoneInfo) -> datetime:
    """The last instant of a local day."""
    return day_start(day + timedelta(days=1), zone) - timedelta(milliseconds=1)


def _until(day: str, now: datetime, zone: ZoneInfo) -> datetime:
    return min(now, _end_of(parse_day(day), zone))


def _running(connection: Connection) -> Any:
    """The oldest run that somebody asked for and that is not done."""
    r = runs.c
    query = select(r.id, r.day).where(r.state == "running", r.asked_by != SYSTEM)
    return connection.execute(query.order_by(r.asked_at, r.id).limit(1)).one_or_none()


def _due(connection: Connection, until: datetime, limit: int) -> Sequence[Any]:
    """Accounts of which something may have ended by then, those that ended first before others."""
    query = select(_b.number, _a.id).join(tables.accounts, _a.number == _b.number).where(_b.next_expiry_at <= until)
    return connection.execute(query.order_by(_b.next_expiry_at, _b.number).limit(limit)).all()


def _nights_run(connection: Connection, today: date, now: datetime) -> str:
    """The run that the server makes by itself on a day."""
    id = f"night-{today.isoformat()}"
    if connection.scalar(select(runs.c.id).where(runs.c.id == id)) is None:
        _begin(connection, id, today.isoformat(), SYSTEM, now)
    return id


def _begin(connection: Connection, id: str, day: str, actor: str, now: datetime) -> None:
    row = {"id": id, "day": day, "asked_by": actor, "asked_at": now, "state": "running", "accounts": 0, "points": 0}
    connection.execute(insert(runs).values(row))


def _go_on(connection: Connection, run_id: str, until: datetime, now: datetime, zone: ZoneInfo) -> int:
    """Book a piece of a run; how many accounts it looked at."""
    due = _due(connection, until, MAX_ACCOUNTS)
    before = connection.scalar(select(func.max(_t.sequence))) or 0
    touch(connection, [id for _, id in due], now, zone)
    numbers = {number for number, _ in due}
    query = select(_t.sequence, _t.debit, _t.points, _t.recorded_at)
    query = query.where(_t.sequence > before, _t.cause_type == "expiry", _t.debit.in_(numbers))
    booked = connection.execute(query.order_by(_t.sequence)).all()
    _note(connection, booked, run_id, now, zone)
    is_done = len(due) < MAX_ACCOUNTS
    connection.execute(
        update(runs)
        .where(runs.c.id == run_id)
        .values(
            accounts=runs.c.accounts + len(booked),
            points=runs.c.points + sum(row.points for row in booked),
            state="done" if is_done else "running",
            done_at=now if is_done else None,
        )
    )
    return len(due)


def _note(connection: Connection, booked: Sequence[Any], run_id: str | None, now: datetime, zone: ZoneInfo) -> None:
    """Write down rows of the ledger by which points ended (sequence, debit, points, recorded_at); tell their owners."""
    if not booked:
        return
    r = residents.c
    query = select(_a.number, r.id, r.estate_id, r.merged_into, r.closed_at, r.erased_at)
    query = query.join(residents, r.id == _a.owner).where(_a.number.in_({row.debit for row in booked}))
    owners = {row.number: row for row in connection.execute(query)}
    found = [(row, owners[row.debit]) for row in booked if row.debit in owners]
    if not found:
        return
    connection.execute(
        insert(bookings),
        [
            {
                "sequence": row.sequence,
                "run_id": run_id,
                "resident_id": owner.id,
                "estate_id": owner.estate_id,
                "points": row.points,
                "recorded_at": now,
            }
            for row, owner in found
        ],
    )
    told = []
    for row, owner in found:
        if owner.closed_at is None and owner.erased_at is None:
            day = row.recorded_at.astimezone(zone).date().isoformat()
            fields = {"points": row.points, "day": day}
            told.append(Message(owner.merged_into or owner.id, "points_expired", fields))
    tell(connection, now, told)


def _untold_day(connection: Connection) -> str | None:
    """The oldest day that the ledger has closed since the last one of which everybody was told."""
    newest = connection.scalar(select(func.max(told_days.c.day))) or ""
    day: str | None = connection.scalar(select(func.min(tables.days.c.day)).where(tables.days.c.day > newest))
    return day


def _tell_of(connection: Connection, day: str, now: datetime, zone: ZoneInfo) -> None:
    """Tell of what ended on a closed day without a run: its accounts were touched by something else first."""
    query = (
        select(_t.sequence, _t.debit, _t.points, _t.recorded_at)
        .where(tables.is_of_day(day), _t.cause_type == "expiry")
        .where(_t.sequence.not_in(select(bookings.c.sequence)))
        .order_by(_t.sequence)
    )
    _note(connection, connection.execute(query).all(), None, now, zone)
    connection.execute(insert(told_days).values(day=day))


def _warning_day(connection: Connection, today: date) -> Any:
    return connection.execute(select(warning_days).where(warning_days.c.day == today.isoformat())).one_or_none()


def _warn(connection: Connection, known: Any, today: date, now: datetime, zone: ZoneInfo) -> int:
    """Warn a piece of those whose points end soon; how many accounts it looked at."""
    w, r = warning_days.c, residents.c
    if known is None:
        first = {"day": today.isoformat(), "after_number": 0, "accounts": 0, "is_done": False}
        connection.execute(insert(warning_days).values(first))
    query = (
        select(_b.number, _b.next_expiry_at, _b.last_sequence, r.id)
        .join(tables.accounts, _a.number == _b.number)
        .join(residents, r.id == _a.owner)
        .where(_a.kind == "resident", r.merged_into.is_(None), r.closed_at.is_(None), r.erased_at.is_(None))
        .where(_b.next_expiry_at <= _end_of(today + timedelta(days=DISTANCES[-1]), zone))
    )
    if known is not None and known.after_at is not None:
        same = and_(_b.next_expiry_at == known.after_at, _b.number > known.after_number)
        query = query.where(or_(_b.next_expiry_at > known.after_at, same))
    rows = connection.execute(query.order_by(_b.next_expiry_at, _b.number).limit(MAX_ACCOUNTS)).all()
    ends: dict[tuple[str, str, int], int] = {}
    for number, _, last, resident_id in rows:
        folded = history.fold(connection, number, last).lots
        for day, points in _soon(folded, today, now, zone).items():
            ends[resident_id, day.isoformat(), _distance((day - today).days)] = points
    _write_warnings(connection, ends, now)
    connection.execute(
        update(warning_days)
        .where(w.day == today.isoformat())
        .values(
            accounts=w.accounts + len(rows),
            is_done=len(rows) < MAX_ACCOUNTS,
            **({"after_at": rows[-1].next_expiry_at, "after_number": rows[-1].number} if rows else {}),
        )
    )
    return len(rows)


def _soon(folded: Lots, today: date, now: datetime, zone: ZoneInfo) -> dict[date, int]:
    """Available points that end within the farthest distance, by local day."""
    found: dict[date, int] = defaultdict(int)
    for lot in folded.available():
        if lot.expires_ms is not None and lot.expires_ms > to_ms(now):
            day = from_ms(lot.expires_ms).astimezone(zone).date()
            if (day - today).days <= DISTANCES[-1]:
                found[day] += lot.left
    return found


def _distance(days: int) -> int:
    return next(distance for distance in DISTANCES if days <= distance)


def _write_warnings(connection: Connection, ends: dict[tuple[str, str, int], int], now: datetime) -> None:
    """Write and tell the warnings that were not given before."""
    w = warnings.c
    asked = {resident_id for resident_id, _, _ in ends}
    query = select(w.resident_id, w.day, w.distance_days).where(w.resident_id.in_(asked))
    given = {(row.resident_id, row.day, row.distance_days) for row in connection.execute(query)}
    new = [(key, points) for key, points in ends.items() if key not in given]
    if new:
        connection.execute(
            insert(warnings),
            [
                {"resident_id": id, "day": day, "distance_days": distance, "points": points, "recorded_at": now}
                for (id, day, distance), points in new
            ],
        )
    told = [Message(id, "points_expiring", {"points": points, "day": day}) for (id, day, _), points in new]
    tell(connection, now, told)


def _view(row: Any) -> dict[str, Any]:
    return {**row._mapping, "asked_at": iso(row.asked_at), "done_at": iso(row.done_at)}
