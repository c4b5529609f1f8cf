"""The yearly report: people, attendances and time, by estate, organising unit and category, as known on a day.

人数 are people, each once however often they came; 人次 are service records. What was known on a day are the records
that were final before its end and not corrected by then; records of people that were merged by then are one person's.
So the report of January made again in March says the same, byte for byte. What came later stands in columns of its own,
where it is asked for. A record belongs to the local day on which the work began; estates stand where they stood in the
tree on that day, under the name they had then.
Source: 志愿服务记录与证明出具办法 art. 18.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, select

from jishan_server import audit
from jishan_server.errors import DomainError
from jishan_server.organizations import tree
from jishan_server.organizations.roles import Permission, permit
from jishan_server.organizations.tables import organizations
from jishan_server.sheets.cells import Cell
from jishan_server.volunteering.credit_tables import service_records
from jishan_server.volunteering.exports import Table
from jishan_server.volunteering.planned import day_start

PIECE: Final = 10_000
HEADER: Final = ("小区", "组织单位", "类别", "人数", "人次", "时长（分钟）", "时长（小时）")
LATER: Final = ("之后补记人次", "之后补记分钟", "之后更正人次", "之后更正分钟")
SUBTOTAL: Final = "小计"
TOTAL: Final = "合计"
NO_CATEGORY: Final = "未分类"


@dataclass(frozen=True, slots=True)
class ReportWanted:
    """For a node and everything below it, as known at the end of `known_on`; `later` shows what came after."""

    organization_id: str
    year: int
    known_on: date
    later: bool = False


@dataclass(slots=True)
class _Sum:
    people: set[str] = field(default_factory=set)
    attendances: int = 0
    minutes: int = 0
    later: int = 0
    later_minutes: int = 0
    corrected: int = 0
    corrected_minutes: int = 0


def report(connection: Connection, actor: str, wanted: ReportWanted, zone: ZoneInfo) -> Table:
    """The report as a table; refusals: estate_unknown, forbidden, day_invalid for a year before 1 January 2000."""
    tree.organization(connection, wanted.organization_id)
    permit(connection, actor, Permission.STATISTICS_READ, wanted.organization_id)
    if not 2000 <= wanted.year <= 9998:
        raise DomainError("day_invalid")
    until = day_start(wanted.known_on + timedelta(days=1), zone)
    nodes = tree.below(connection, wanted.organization_id, wanted.known_on)
    merged = merged_before(connection, until)
    sums: dict[tuple[str, str, str], _Sum] = {}
    for row in _records(connection, wanted.year):
        if row["estate_id"] not in nodes and row["organization_id"] not in nodes:
            continue
        key = (row["estate_id"], row["unit_name"], row["category"] or NO_CATEGORY)
        _count(sums.setdefault(key, _Sum()), row, until, merged)
    if not wanted.later:
        sums = {key: one for key, one in sums.items() if one.attendances}
    header = HEADER + (LATER if wanted.later else ())
    return Table(
        f"{wanted.year} 截至{wanted.known_on.isoformat()}", header, iter(_rows(connection, sums, until, wanted))
    )


def _records(connection: Connection, year: int) -> Any:
    """The records of a year, a piece at a time, each with what the report needs."""
    r = service_records.c
    columns = (
        r.id,
        r.resident_id,
        r.organization_id,
        r.estate_id,
        r.unit_name,
        r.category,
        r.minutes,
        r.known_from_at,
        r.corrected_at,
    )
    after = ""
    while True:
        query = select(*columns).where(r.day >= f"{year}-01-01", r.day <= f"{year}-12-31", r.id > after)
        rows = connection.execute(query.order_by(r.id).limit(PIECE)).mappings().all()
        yield from rows
        if len(rows) < PIECE:
            return
        after = rows[-1]["id"]


def _count(one: _Sum, row: Mapping[Any, Any], until: datetime, merged: Mapping[str, str]) -> None:
    was_known = row["known_from_at"] < until
    was_corrected = row["corrected_at"] is not None and row["corrected_at"] < until
    if was_known and not was_corrected:
        person = row["resident_id"]
        while person in merged:
            person = merged[person]
        one.people.add(person)
        one.attendances += 1
        one.minutes += row["minutes"]
        if row["corrected_at"] is not None:
            one.corrected += 1
            one.corrected_minutes += row["minutes"]
    elif not was_known and row["corrected_at"] is None:
        one.later += 1
        one.later_minutes += row["minutes"]


def _rows(
    connection: Connection, sums: Mapping[tuple[str, str, str], _Sum], until: datetime, wanted: ReportWanted
) -> list[Sequence[Cell]]:
    """A row for each estate, unit and category, a subtotal for each estate, and the total."""
    names = names_on(connection, until)
    rows: list[Sequence[Cell]] = []
    total = _Sum()
    for estate_id in sorted({key[0] for key in sums}, key=lambda id: (names.get(id, id), id)):
        subtotal = _Sum()
        for (_, unit, category), one in sorted((key, one) for key, one in sums.items() if key[0] == estate_id):
            rows.append(_row((names.get(estate_id, estate_id), unit, category), one, wanted))
            _add(subtotal, one)
        rows.append(_row((names.get(estate_id, estate_id), SUBTOTAL, ""), subtotal, wanted))
        _add(total, subtotal)
    rows.append(_row((TOTAL, "", ""), total, wanted))
    return rows


def _add(to: _Sum, one: _Sum) -> None:
    to.people |= one.people
    for name in ("attendances", "minutes", "later", "later_minutes", "corrected", "corrected_minutes"):
        setattr(to, name, getattr(to, name) + getattr(one, name))


def _row(words: tuple[str, str, str], one: _Sum, wanted: ReportWanted) -> Sequence[Cell]:
    # Hours to one decimal, rounded down: what is shown was worked.
    hours = one.minutes * 10 // 60 / 10
    later = (one.later, one.later_minutes, one.corrected, one.corrected_minutes) if wanted.later else ()
    return (*words, len(one.people), one.attendances, one.minutes, hours, *later)


def merged_before(connection: Connection, until: datetime) -> dict[str, str]:
    """Which records were merged into which before an instant."""
    e = audit.entries.c
    rows = connection.execute(
        select(e.subject_id, e.details)
        .where(e.subject_type == "resident", e.action == "resident_merged", e.recorded_at < until)
        .order_by(e.number)
    )
    return {id: json.loads(details)["into"] for id, details in rows}


def names_on(connection: Connection, until: datetime) -> dict[str, str]:
    """What each node was called before an instant: its name now, but for what the audit log says was changed since."""
    o, e = organizations.c, audit.entries.c
    names = dict(connection.execute(select(o.id, o.name)).all())
    changed = connection.execute(
        select(e.subject_id, e.details)
        .where(e.subject_type == "organization", e.action == "organization_changed", e.recorded_at >= until)
        .order_by(e.number.desc())
    )
    for id, details in changed:
        if "name" in (found := json.loads(details)):
            names[id] = found["name"][0]
    return names
