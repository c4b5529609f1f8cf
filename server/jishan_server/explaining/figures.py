"""How much of everything there is, of a node and all below it: hours and points, people, what waits for somebody.

Minutes, points, people and attendances are those of final credits by the day of the work; minutes only of what counts
as service. A person whose records were merged counts once. Points spent are those of redemptions that were captured.
New, active and inactive people are of those who are registered now, not closed, merged or made anonymous; work
of a time before somebody was registered makes nobody inactive.
Each answer is a handful of statements, whatever the size of the scheme; names never change once released.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, Connection, case, func, literal, or_, select, union_all

from jishan_server.errors import DomainError
from jishan_server.organizations import tree
from jishan_server.organizations.calendar import calendar
from jishan_server.organizations.roles import Permission, permit, scope
from jishan_server.organizations.tables import organizations
from jishan_server.people.tables import residents
from jishan_server.vending.report_tables import reports
from jishan_server.vending.tables import redemptions
from jishan_server.volunteering.activity_tables import activity_types, attendances, sessions
from jishan_server.volunteering.credit_states import State
from jishan_server.volunteering.credit_tables import adjustments, appeals, objections
from jishan_server.volunteering.entry_tables import claims
from jishan_server.volunteering.overdue import newest_overdue
from jishan_server.volunteering.planned import day_start
from jishan_server.volunteering.tables import credits
from jishan_server.volunteering.task_tables import tasks

MAX_DAYS: Final = 1_100
"""Three years: more columns nobody compares."""


class By(StrEnum):
    """What figures are split by."""

    MONTH = "month"
    ACTIVITY_TYPE = "activity_type"
    ESTATE = "estate"
    BUILDING = "building"


@dataclass(frozen=True, slots=True)
class Wanted:
    """From `first` to `last`, local days; None is everything that the asker may see."""

    first: date
    last: date
    by: By
    organization_id: str | None = None


SERVICE: Final = ("key", "name_zh", "name_en", "minutes", "points", "people", "attendances", "spent_points")
PEOPLE: Final = ("key", "name_zh", "name_en", "registered", "new", "active", "inactive")

_c, _r = credits.c, residents.c
_PERSON: Final = func.coalesce(_r.merged_into, _r.id)
_IS_HERE: Final = (_r.merged_into.is_(None), _r.closed_at.is_(None), _r.erased_at.is_(None))
_Row = dict[str, Any]


def service(connection: Connection, actor: str, wanted: Wanted, zone: ZoneInfo) -> dict[str, Any]:
    """Minutes, points, people, attendances and points spent. Refusals: estate_unknown, forbidden, span_invalid."""
    nodes = _nodes(connection, actor, wanted)
    own = {
        By.MONTH: func.substr(_c.day, 1, 7),
        By.ACTIVITY_TYPE: func.coalesce(_c.activity_type, ""),
        By.ESTATE: _c.estate_id,
        By.BUILDING: _building(_c.estate_id),
    }[wanted.by]
    measures = (
        func.sum(case((_c.counts_as_service.is_(True), _c.minutes), else_=0)).label("minutes"),
        func.sum(_c.booked_points).label("points"),
        func.count(_PERSON.distinct()).label("people"),
        func.count().label("attendances"),
    )
    work = select(*measures).select_from(credits.join(residents, _r.id == _c.resident_id))
    work = work.where(_c.state == State.FINAL, *_days(wanted), _c.estate_id.in_(nodes))
    rows = _grouped(connection, work, own)
    spent = _spent(connection, wanted, nodes, zone)
    names = _names(connection, wanted.by)
    keys = sorted({*rows, *spent})
    items = [_service_row(key, rows.get(key), spent.get(key, 0), names) for key in keys]
    total = _service_row("total", connection.execute(work).mappings().one(), sum(spent.values()), {})
    if wanted.by is By.ACTIVITY_TYPE:
        items, total = [one | {"spent_points": None} for one in items], total | {"spent_points": None}
    return _answer(wanted, items, total)


def _service_row(key: str, found: Mapping[Any, Any] | None, spent: int, names: Mapping[str, tuple[str, str]]) -> _Row:
    counted = {name: int(found[name] or 0) if found else 0 for name in ("minutes", "points", "people", "attendances")}
    return _named(key, names) | counted | {"spent_points": spent}


def _spent(connection: Connection, wanted: Wanted, nodes: Collection[str], zone: ZoneInfo) -> dict[str, int]:
    """Points of captured redemptions by key; an activity's type has none."""
    if wanted.by is By.ACTIVITY_TYPE:
        return {}
    d = redemptions.c
    own: ColumnElement[str] = {
        By.MONTH: _month_of(d.recorded_at, wanted, zone),
        By.ESTATE: d.estate_id,
        By.BUILDING: _building(d.estate_id),
    }[wanted.by]
    query = select(func.sum(d.points).label("points")).select_from(redemptions.join(residents, _r.id == d.resident_id))
    query = query.where(d.state == "captured", d.estate_id.in_(nodes), *_between(d.recorded_at, wanted, zone))
    return {key: int(row["points"]) for key, row in _grouped(connection, query, own).items()}


def people(connection: Connection, actor: str, wanted: Wanted, zone: ZoneInfo) -> dict[str, Any]:
    """People registered, new, active (with final work) and inactive, by month, estate or building.

    Refusals: estate_unknown, forbidden, span_invalid, figures_by.
    """
    nodes = _nodes(connection, actor, wanted)
    if wanted.by is By.ACTIVITY_TYPE:
        raise DomainError("figures_by", by=wanted.by.value)
    since, until = day_start(wanted.first, zone), day_start(wanted.last + timedelta(days=1), zone)
    by_home = {By.ESTATE: _r.estate_id, By.BUILDING: _building(_r.estate_id)}
    made = case((_r.created_at < since, ""), else_=_month_of(_r.created_at, wanted, zone))
    registered = select(
        func.count().label("registered"), func.sum(case((_r.created_at >= since, 1), else_=0)).label("new")
    )
    registered = registered.where(*_IS_HERE, _r.created_at < until, _r.estate_id.in_(nodes))
    person = residents.alias("person")
    active = select(func.count(_r.id.distinct()).label("active")).select_from(
        credits.join(person, person.c.id == _c.resident_id).join(
            residents, _r.id == func.coalesce(person.c.merged_into, person.c.id)
        )
    )
    active = active.where(_c.state == State.FINAL, *_days(wanted), *_IS_HERE, _r.estate_id.in_(nodes))
    is_monthly = wanted.by is By.MONTH
    there = _grouped(connection, registered, made if is_monthly else by_home[wanted.by])
    worked = _grouped(connection, active, func.substr(_c.day, 1, 7) if is_monthly else by_home[wanted.by])
    names = _names(connection, wanted.by)
    before = int(there.pop("", {"registered": 0})["registered"]) if is_monthly else 0
    items, so_far = [], before
    for key in _months(wanted) if is_monthly else sorted({*there, *worked}):
        found = there.get(key)
        count = int(found["registered"]) if found else 0
        so_far += count
        all_there, doing = (so_far if is_monthly else count), int(worked[key]["active"]) if key in worked else 0
        new = int(found["new"]) if found else 0
        items.append(_named(key, names) | _people_row(all_there, new, doing))
    counted = connection.execute(registered).mappings().one()
    total = _people_row(int(counted["registered"]), int(counted["new"] or 0), int(connection.scalar(active) or 0))
    return _answer(wanted, items, _named("total", {}) | total)


def _people_row(registered: int, new: int, active: int) -> _Row:
    return {"registered": registered, "new": new, "active": active, "inactive": max(0, registered - active)}


class _Waiting(NamedTuple):
    """Rows of a table that wait for somebody, by the node they are of."""

    node: ColumnElement[str]
    which: tuple[ColumnElement[bool], ...]


def _waiting(connection: Connection, now: datetime, zone: ZoneInfo) -> dict[str, _Waiting]:
    today = now.astimezone(zone).date()
    newest = newest_overdue(calendar(connection), today)
    late = today.isoformat()
    a, recorded = attendances.c, _c.state == State.RECORDED
    uncredited = (a.state == "closed", a.credited_at.is_(None), or_(a.minutes >= 1, a.is_to_review.is_(True)))
    begun = select(sessions.c.id).where(sessions.c.starts_at < day_start(newest + timedelta(days=1), zone))
    is_report = reports.c.state.in_(["open", "proposed"])
    d = redemptions.c
    return {
        "credits_waiting": _Waiting(_c.estate_id, (recorded,)),
        "credits_overdue": _Waiting(_c.estate_id, (recorded, _c.day <= newest.isoformat())),
        "credits_waiting_consent": _Waiting(_c.estate_id, (_c.state == State.WAITING_CONSENT,)),
        "credits_in_notice": _Waiting(_c.estate_id, (_c.state == State.APPROVED,)),
        "attendances_to_review": _Waiting(a.estate_id, (*uncredited, a.is_to_review.is_(True))),
        "attendances_overdue": _Waiting(a.estate_id, (*uncredited, a.session_id.in_(begun))),
        "objections_open": _Waiting(objections.c.estate_id, (objections.c.state == "open",)),
        "appeals_open": _Waiting(appeals.c.estate_id, (appeals.c.state == "filed",)),
        "appeals_overdue": _Waiting(appeals.c.estate_id, (appeals.c.state == "filed", appeals.c.due_day < late)),
        "adjustments_open": _Waiting(adjustments.c.estate_id, (adjustments.c.state == "proposed",)),
        "claims_open": _Waiting(claims.c.estate_id, (claims.c.state == "open",)),
        "tasks_to_confirm": _Waiting(tasks.c.organization_id, (tasks.c.state == "handled",)),
        "reports_open": _Waiting(reports.c.estate_id, (is_report,)),
        "reports_overdue": _Waiting(reports.c.estate_id, (is_report, reports.c.answer_by < late)),
        "redemptions_in_doubt": _Waiting(d.estate_id, (d.state == "in_doubt",)),
        "redemptions_overdue": _Waiting(d.estate_id, (d.state == "in_doubt", d.answer_by < late)),
    }


REVIEWS: Final = (
    "credits_waiting",
    "credits_overdue",
    "credits_waiting_consent",
    "credits_in_notice",
    "attendances_to_review",
    "attendances_overdue",
    "objections_open",
    "appeals_open",
    "appeals_overdue",
    "adjustments_open",
    "claims_open",
    "tasks_to_confirm",
    "reports_open",
    "reports_overdue",
    "redemptions_in_doubt",
    "redemptions_overdue",
)
"""What waits, in the order of the way it goes; `_overdue` counts those of it that are past their day."""


def reviews(
    connection: Connection, actor: str, organization_id: str | None, now: datetime, zone: ZoneInfo
) -> dict[str, Any]:
    """What waits for somebody and what is overdue, by node; nodes where nothing waits are left out.

    Refusals: estate_unknown, forbidden.
    """
    nodes = _visible(connection, actor, organization_id)
    waiting = _waiting(connection, now, zone)
    counts = [
        select(literal(name).label("name"), one.node.label("node"), func.count().label("count"))
        .where(*one.which, one.node.in_(nodes))
        .group_by(one.node)
        for name, one in waiting.items()
    ]
    found: dict[str, _Row] = {}
    for name, node, count in connection.execute(union_all(*counts)):
        found.setdefault(node, dict.fromkeys(REVIEWS, 0))[name] = count
    names = _names(connection, By.ESTATE)
    items = [_named(node, names) | found[node] for node in sorted(found)]
    total = _named("total", {}) | {name: sum(one[name] for one in found.values()) for name in REVIEWS}
    return {"as_of_day": now.astimezone(zone).date().isoformat(), "items": items, "total": total}


def _visible(connection: Connection, actor: str, organization_id: str | None) -> Collection[str]:
    if organization_id is None:
        return scope(connection, actor, Permission.STATISTICS_READ)
    tree.organization(connection, organization_id)
    permit(connection, actor, Permission.STATISTICS_READ, organization_id)
    return tree.below(connection, organization_id)


def _nodes(connection: Connection, actor: str, wanted: Wanted) -> Collection[str]:
    nodes = _visible(connection, actor, wanted.organization_id)
    if not 0 <= (wanted.last - wanted.first).days < MAX_DAYS:
        raise DomainError("span_invalid", most=MAX_DAYS)
    return nodes


def _grouped(connection: Connection, query: Any, key: ColumnElement[Any]) -> dict[str, Mapping[Any, Any]]:
    # By its name: PostgreSQL takes an expression with parameters for another one each time.
    rows = connection.execute(query.add_columns(key.label("key")).group_by("key")).mappings()
    return {row["key"]: row for row in rows}


def _building(estate: ColumnElement[Any]) -> ColumnElement[Any]:
    return estate + "/" + func.coalesce(_r.building, "")


def _days(wanted: Wanted) -> tuple[ColumnElement[bool], ...]:
    return _c.day >= wanted.first.isoformat(), _c.day <= wanted.last.isoformat()


def _between(at: ColumnElement[Any], wanted: Wanted, zone: ZoneInfo) -> tuple[ColumnElement[bool], ...]:
    return at >= day_start(wanted.first, zone), at < day_start(wanted.last + timedelta(days=1), zone)


def _months(wanted: Wanted) -> list[str]:
    """The months of a span: 2026-03, ..."""
    first, last = (day.year * 12 + day.month - 1 for day in (wanted.first, wanted.last))
    return [f"{number // 12:04}-{number % 12 + 1:02}" for number in range(first, last + 1)]


def _month_of(at: ColumnElement[Any], wanted: Wanted, zone: ZoneInfo) -> ColumnElement[Any]:
    """The local month of an instant of the span: months begin when the zone says."""
    *others, last = _months(wanted)
    whens = [(at < day_start(_after(date.fromisoformat(f"{month}-01")), zone), literal(month)) for month in others]
    return case(*whens, else_=literal(last)) if whens else literal(last)


def _after(month: date) -> date:
    return (month + timedelta(days=31)).replace(day=1)


def _names(connection: Connection, by: By) -> dict[str, tuple[str, str]]:
    """The names of keys, where they are ids."""
    if by is By.ACTIVITY_TYPE:
        t = activity_types.c
        return {
            row.code: (row.name_zh, row.name_en) for row in connection.execute(select(t.code, t.name_zh, t.name_en))
        }
    if by is By.MONTH:
        return {}
    o = organizations.c
    return {row.id: (row.name, row.name) for row in connection.execute(select(o.id, o.name))}


def _named(key: str, names: Mapping[str, tuple[str, str]]) -> _Row:
    """The key with its words: of a building those of its estate, and its own."""
    node, _, building = key.partition("/")
    zh, en = names.get(node, (node, node))
    if key == "total":
        zh, en = "合计", "Total"
    return {"key": key, "name_zh": zh + building, "name_en": f"{en} {building}".strip()}


def _answer(wanted: Wanted, items: Sequence[_Row], total: _Row) -> dict[str, Any]:
    return {
        "first_day": wanted.first.isoformat(),
        "last_day": wanted.last.isoformat(),
        "by": wanted.by.value,
        "items": list(items),
        "total": total,
    }
