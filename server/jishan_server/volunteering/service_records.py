"""Service records: who worked what, when and how long, who confirmed it. Hours, which no redemption ever changes.

A record is made when a credit becomes final, of work that counts as service only. It is never edited: one that was
wrong becomes `corrected`, and another takes its place. Minutes are stored; whoever shows hours says how they round.
Source: Ministry of Civil Affairs Order 67, articles 7, 11-13 and 19.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, insert, select, update

from jishan_server.ids import derived_id
from jishan_server.instants import iso
from jishan_server.organizations.roles import Permission, permit
from jishan_server.organizations.tables import organizations
from jishan_server.people.one_person import persons
from jishan_server.people.residents import estate_of
from jishan_server.volunteering.credit_tables import service_records

_r = service_records.c


def of(
    connection: Connection, resident_id: str, first_day: date | None = None, last_day: date | None = None
) -> list[dict[str, Any]]:
    """The valid records of a resident, and of those merged into them, from `first_day` to `last_day`, oldest first."""
    ids = persons(connection, [resident_id])
    query = select(service_records).where(*_valid(ids, first_day, last_day)).order_by(_r.day, _r.id)
    return [view(row) for row in connection.execute(query).mappings()]


def total_minutes(
    connection: Connection, resident_id: str, first_day: date | None = None, last_day: date | None = None
) -> int:
    """Minutes of service of a resident."""
    return totals(connection, [resident_id], first_day, last_day).get(resident_id, 0)


def totals(
    connection: Connection, resident_ids: Collection[str], first_day: date | None = None, last_day: date | None = None
) -> dict[str, int]:
    """Minutes of service by resident, those of records merged into theirs too; who has none is left out."""
    survivors = persons(connection, resident_ids)
    query = select(_r.resident_id, func.sum(_r.minutes)).where(*_valid(survivors, first_day, last_day))
    found: Counter[str] = Counter()
    for id, minutes in connection.execute(query.group_by(_r.resident_id)):
        found[survivors[id]] += int(minutes)
    return dict(found)


def page(
    connection: Connection, actor: str, resident_id: str, after: Sequence[str] | None, limit: int
) -> tuple[list[dict[str, Any]], tuple[str, str] | None]:
    """A resident's records, corrected ones too, newest first; refusals: resident_unknown, forbidden."""
    permit(connection, actor, Permission.RECORD_READ, estate_of(connection, resident_id), about=resident_id)
    query = select(service_records).where(_r.resident_id.in_(persons(connection, [resident_id])))
    if after is not None:
        day, id = after
        query = query.where((_r.day < day) | ((_r.day == day) & (_r.id < id)))
    rows = connection.execute(query.order_by(_r.day.desc(), _r.id.desc()).limit(limit + 1)).mappings().all()
    shown = rows[:limit]
    last = (shown[-1]["day"], shown[-1]["id"]) if len(rows) > limit else None
    return [view(row) for row in shown], last


def add(connection: Connection, credits: Sequence[Mapping[str, Any]], now: datetime) -> dict[str, str]:
    """Make a record of each of these rows of `credits` that is service with a time, all in one statement.

    Gives the record of each credit. The unit's name is as it is now.
    """
    credits = [row for row in credits if row["counts_as_service"] and row["minutes"]]
    if not credits:
        return {}
    units = {row["organization_id"] or row["estate_id"] for row in credits}
    o = organizations.c
    names = dict(connection.execute(select(o.id, o.name).where(o.id.in_(units))).all())
    made = [_row(row, names, now) for row in credits]
    connection.execute(insert(service_records), made)
    return {row["credit_id"]: row["id"] for row in made}


def correct(connection: Connection, by_credit: Mapping[str, str], now: datetime) -> None:
    """Let the records of these credits be valid no longer: credit id -> who corrected it."""
    for actor in sorted(set(by_credit.values())):
        ids = [id for id, one in by_credit.items() if one == actor]
        connection.execute(
            update(service_records)
            .where(_r.credit_id.in_(ids), _r.state == "valid")
            .values(state="corrected", corrected_at=now, corrected_by=actor)
        )


def view(row: Mapping[Any, Any]) -> dict[str, Any]:
    """A record as it is answered."""
    instants = ("starts_at", "finalised_at", "known_from_at", "corrected_at")
    return {**row, **{name: iso(row[name]) for name in instants}}


def _valid(ids: Collection[str], first_day: date | None, last_day: date | None) -> list[ColumnElement[bool]]:
    found = [_r.resident_id.in_(ids), _r.state == "valid"]
    if first_day is not None:
        found.append(_r.day >= first_day.isoformat())
    if last_day is not None:
        found.append(_r.day <= last_day.isoformat())
    return found


def _row(credit: Mapping[str, Any], names: Mapping[str, str], now: datetime) -> dict[str, Any]:
    unit = credit["organization_id"] or credit["estate_id"]
    return {
        "id": derived_id(credit["id"], "service record"),
        "resident_id": credit["resident_id"],
        "organization_id": unit,
        "estate_id": credit["estate_id"],
        "activity_id": credit["activity_id"],
        "session_id": credit["session_id"],
        "credit_id": credit["id"],
        "category": credit["category"],
        "title": credit["activity"],
        "place": credit["place"],
        "starts_at": credit["worked_at"] or credit["recorded_at"],
        "day": credit["day"],
        "minutes": credit["minutes"],
        "unit_name": names[unit],
        "person_in_charge": credit["person_in_charge"],
        "source": credit["source"],
        "confirmed_by": credit["decided_by"],
        "finalised_at": now,
        "known_from_at": now,
        "state": "valid",
    }
