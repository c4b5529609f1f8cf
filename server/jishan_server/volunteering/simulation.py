"""What a period would have cost under other rules: every final credit of it, worth again. Changes nothing.

The credits are taken in the order of the work, each counting to the caps of those after it, as if the new rules had
held from the first day of the first year looked at. The cap on the balance is left out: nobody knows what people would
have spent.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import date
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, select

from jishan_server.errors import DomainError
from jishan_server.organizations.roles import Permission, permit, scope
from jishan_server.volunteering.credit_states import State
from jishan_server.volunteering.rules import RuleSet, Source, Span, Unit, read, worth, worth_of_points
from jishan_server.volunteering.tables import credits

MAX_DAYS: Final = 366
READ_AT_ONCE: Final = 5_000


class _Work(NamedTuple):
    resident_id: str
    estate_id: str
    activity_type: str
    day: str
    session_id: str | None
    minutes: int | None
    points: int
    booked_points: int
    source: str


def simulate(
    connection: Connection, actor: str, document: object, first_day: date, last_day: date, estate_id: str | None
) -> dict[str, Any]:
    """Old and new points of a period by estate and type, and how many people a cap cuts.

    Refusals: forbidden, rules_invalid, period_invalid.
    """
    if estate_id is not None:
        permit(connection, actor, Permission.RULES_READ, estate_id)
    estates = {estate_id} if estate_id is not None else scope(connection, actor, Permission.RULES_READ)
    if not 0 <= (last_day - first_day).days <= MAX_DAYS:
        raise DomainError("period_invalid", most=MAX_DAYS)
    rules = read(document, 0)
    lines: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    cut: set[str] = set()
    people: set[str] = set()
    for work, points, is_cut in _again(connection, rules, first_day, last_day, estates):
        line = lines[work.estate_id, work.activity_type]
        line["credits"] += 1
        line["minutes"] += work.minutes or 0
        line["old_points"] += work.booked_points
        line["new_points"] += points
        people.add(work.resident_id)
        if is_cut:
            cut.add(work.resident_id)
    totals: Counter[str] = Counter()
    for line in lines.values():
        totals.update(line)
    return {
        "first_day": first_day.isoformat(),
        "last_day": last_day.isoformat(),
        **_line(totals),
        "people": len(people),
        "people_capped": len(cut),
        "lines": [
            {"estate_id": estate, "activity_type": kind, **_line(line)}
            for (estate, kind), line in sorted(lines.items())
        ],
    }


def _line(counted: Counter[str]) -> dict[str, int]:
    known = {name: counted[name] for name in ("credits", "minutes", "old_points", "new_points")}
    return known | {"difference_points": counted["new_points"] - counted["old_points"]}


def _again(
    connection: Connection, rules: RuleSet, first_day: date, last_day: date, estates: set[str] | frozenset[str]
) -> Iterator[tuple[_Work, int, bool]]:
    """Each credit of the period with what it is worth now, and whether a cap cut it. Those before it in the same month
    and year are counted too.
    """
    has_caps = bool(rules.caps)
    begin = first_day.replace(month=1, day=1) if has_caps else first_day
    c = credits.c
    query = (
        select(
            c.resident_id,
            c.estate_id,
            c.activity_type,
            c.day,
            c.session_id,
            c.minutes,
            c.points,
            c.booked_points,
            c.source,
        )
        .where(c.state == State.FINAL, c.estate_id.in_(estates))
        .where(c.day >= begin.isoformat(), c.day <= last_day.isoformat())
        .order_by(c.day, c.id)
    )
    counted: Counter[tuple[Any, ...]] = Counter()
    for row in connection.execute(query.execution_options(yield_per=READ_AT_ONCE)):
        work = _Work(*row)
        keys = {
            Span.ACTIVITY: (work.resident_id, "s", work.session_id) if work.session_id else None,
            Span.DAY: (work.resident_id, "d", work.day),
            Span.MONTH: (work.resident_id, "m", work.day[:7]),
            Span.YEAR: (work.resident_id, "y", work.day[:4]),
        }
        already = {
            (unit, span): counted[unit, *key]
            for unit in (Unit.MINUTES, Unit.POINTS)
            for span, key in keys.items()
            if has_caps and key is not None
        }
        if work.minutes is None:
            made = worth_of_points(rules, work.points, already)
        else:
            made = worth(rules, work.minutes, work.activity_type, Source(work.source), already)
        if has_caps:
            for key in keys.values():
                if key is not None:
                    counted[Unit.MINUTES, *key] += made.minutes_counted
                    counted[Unit.POINTS, *key] += made.points
        if work.day >= first_day.isoformat():
            yield work, made.points, any(step.rule.startswith("cap_") for step in made.steps)
