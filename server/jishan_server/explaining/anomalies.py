"""What looks odd and should be looked at by a person: a list with the evidence, never a score of anybody.

Each kind is one look at rows that are there, between local days, by the thresholds of the rules of today (`anomalies`
in the document, `rules.ANOMALIES`). Every one may be right: who looked writes down what they found, and nobody looks
at one that they are part of themselves. What is found is the same whatever the span it is looked for in.

two_places: one person at two sessions at once. long_day: more minutes in a day than anybody works. same_pair: all of
somebody's credits of a month were approved by one person although others could. night_batch: many approved at night.
typed_late: much work of long ago typed on one day. two_machines: one person at two machines within minutes. Files that
were imported are left out of same_pair and typed_late.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import BigInteger, ColumnElement, Connection, func, insert, select, type_coerce
from sqlalchemy import exists as there_is

from jishan_server import audit
from jishan_server.db import MILLISECOND, from_ms
from jishan_server.errors import DomainError
from jishan_server.explaining.anomaly_tables import anomaly_looks
from jishan_server.instants import iso
from jishan_server.organizations import tree
from jishan_server.organizations.roles import PERMISSIONS, Permission, permit, scope
from jishan_server.organizations.tables import staff_roles
from jishan_server.people.credentials import masked
from jishan_server.people.one_person import is_same_person
from jishan_server.people.staff import resident_of
from jishan_server.people.tables import residents, staff
from jishan_server.vending.tables import redemptions
from jishan_server.volunteering.activity_tables import activities, attendances, sessions
from jishan_server.volunteering.credit_states import State
from jishan_server.volunteering.planned import day_start
from jishan_server.volunteering.rule_versions import rules_on
from jishan_server.volunteering.rule_words import Words
from jishan_server.volunteering.tables import credits
from jishan_server.writer import Operation

MAX_DAYS: Final = 92
"""A quarter: what is older was looked at, or never will be."""
MAX_LISTED: Final = 500
MAX_EVIDENCE: Final = 100
"""Rows named for one; `count` among its numbers says how many there are."""
A_DAY: Final = timedelta(days=1)
BUCKET: Final = timedelta(minutes=15)
"""Instants are counted in pieces so long: every time zone's days and hours begin with one."""

KINDS: Final[Mapping[str, Words]] = {
    "two_places": Words(
        "同一个人在“{first}”和“{second}”两场的时间重叠{minutes}分钟。",
        "One person was at “{first}” and at “{second}” at once, for {minutes} minutes.",
    ),
    "long_day": Words(
        "同一个人一天里记了{minutes}分钟，超过{most}分钟。",
        "One person has {minutes} minutes in a day, more than {most}.",
    ),
    "same_pair": Words(
        "同一个人这个月提交的{count}笔全由同一个人审核，另有{others}人可以审核。",
        "All {count} credits that one person recorded in the month were approved by one other; {others} more could.",
    ),
    "night_batch": Words(
        "同一个人在夜里{from_hour}点到{to_hour}点之间审核了{count}笔。",
        "One person approved {count} credits in a night, between {from_hour} and {to_hour} o'clock.",
    ),
    "typed_late": Words(
        "同一个人一天里补录了{count}笔、{minutes}分钟，都是{days}天以前的服务。",
        "One person typed {count} credits, {minutes} minutes, on a day, all of work more than {days} days before.",
    ),
    "two_machines": Words(
        "同一个人在{minutes}分钟之内用了两台机器：“{first}”和“{second}”。",
        "One person used two machines within {minutes} minutes: “{first}” and “{second}”.",
    ),
}

_c = credits.c
_COUNTED: Final = _c.state.not_in([State.REJECTED, State.REVERSED])
_TYPED: Final = ~there_is().where(
    audit.entries.c.subject_type == "credit",
    audit.entries.c.subject_id == _c.id,
    audit.entries.c.action == "past_work_booked",
)
"""Recorded and approved one by one. A file that was imported is one decision of two people, with a list of its own."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Local days; None is all: kinds, nodes, looked at or not."""

    first: date
    last: date
    kind: str | None = None
    organization_id: str | None = None
    is_looked_at: bool | None = None


@dataclass(frozen=True, slots=True)
class LookAtAnomaly:
    """`kind` and `day` say where it stands; `reason` what was found."""

    actor: str
    anomaly_id: str
    kind: str
    day: str
    reason: str


class Seen(NamedTuple):
    """Something odd. `same` says what makes it this one and no other; `evidence` names rows, type and id."""

    kind: str
    day: str
    estate_id: str
    at: datetime
    same: tuple[str, ...]
    numbers: Mapping[str, int | str]
    evidence: tuple[tuple[str, str], ...]
    residents: tuple[str, ...] = ()
    staff: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """The same whenever the same things are seen."""
        return hashlib.sha256("\n".join((self.kind, *self.same)).encode()).hexdigest()[:32]


class _Asked(NamedTuple):
    connection: Connection
    nodes: Collection[str]
    first: date
    last: date
    zone: ZoneInfo
    limits: Mapping[str, int]

    def between(self, at: ColumnElement[Any]) -> tuple[ColumnElement[bool], ...]:
        return at >= day_start(self.first, self.zone), at < day_start(self.last + A_DAY, self.zone)

    def local(self, at: datetime) -> datetime:
        return at.astimezone(self.zone)

    def has(self, day: date) -> bool:
        return self.first <= day <= self.last


def anomalies(connection: Connection, actor: str, wanted: Wanted, now: datetime, zone: ZoneInfo) -> dict[str, Any]:
    """What looks odd, newest first, MAX_LISTED at most. Refusals: forbidden, estate_unknown, span_invalid."""
    nodes: Collection[str] = scope(connection, actor, Permission.ANOMALY_READ)
    if wanted.organization_id is not None:
        tree.organization(connection, wanted.organization_id)
        permit(connection, actor, Permission.ANOMALY_READ, wanted.organization_id)
        nodes = tree.below(connection, wanted.organization_id)
    if not 0 <= (wanted.last - wanted.first).days < MAX_DAYS:
        raise DomainError("span_invalid", most=MAX_DAYS)
    kinds = list(_LOOKS) if wanted.kind is None else [wanted.kind]
    asked = _asked(connection, nodes, wanted.first, wanted.last, now, zone)
    found = sorted((one for kind in kinds for one in _LOOKS[kind](asked)), key=lambda one: (one.at, one.id))[::-1]
    looks = _looks(connection, [one.id for one in found])
    if wanted.is_looked_at is not None:
        found = [one for one in found if (one.id in looks) is wanted.is_looked_at]
    shown = found[:MAX_LISTED]
    names = _names(connection, shown)
    items = [_view(one, looks.get(one.id), names) for one in shown]
    return {"items": items, "is_whole": len(found) <= MAX_LISTED}


def look_at(connection: Connection, operation: Operation, now: datetime, zone: ZoneInfo) -> dict[str, Any]:
    """Write down that somebody has looked at one, and what they found; once.

    Refusals: forbidden, reason_required, anomaly_unknown, anomaly_own, anomaly_looked_at.
    """
    body: LookAtAnomaly = operation.body
    nodes = scope(connection, body.actor, Permission.ANOMALY_DECIDE)
    if not body.reason.strip():
        raise DomainError("reason_required")
    day = date.fromisoformat(body.day)
    asked = _asked(connection, nodes, day, day, now, zone)
    found = next((one for one in _LOOKS[body.kind](asked) if one.id == body.anomaly_id), None)
    if found is None:
        raise DomainError("anomaly_unknown")
    own = resident_of(connection, body.actor)
    if body.actor in found.staff or any(is_same_person(connection, own, id) for id in found.residents):
        raise DomainError("anomaly_own")
    if _looks(connection, [found.id]):
        raise DomainError("anomaly_looked_at")
    look = {
        "id": found.id,
        "kind": found.kind,
        "estate_id": found.estate_id,
        "resident_id": found.residents[0] if found.residents else None,
        "reason": body.reason,
        "looked_by": body.actor,
        "looked_at": now,
    }
    connection.execute(insert(anomaly_looks).values(look))
    audit.record(
        connection,
        now,
        actor=body.actor,
        action="anomaly_looked_at",
        subject=("anomaly", found.id),
        operation_id=operation.id,
        details={"kind": found.kind, "day": found.day},
    )
    return _view(found, look, _names(connection, [found]))


def _asked(
    connection: Connection, nodes: Collection[str], first: date, last: date, now: datetime, zone: ZoneInfo
) -> _Asked:
    rules = rules_on(connection, now.astimezone(zone).date())
    return _Asked(connection, nodes, first, last, zone, rules.anomalies)


def _looks(connection: Connection, ids: Collection[str]) -> dict[str, Mapping[Any, Any]]:
    query = select(anomaly_looks).where(anomaly_looks.c.id.in_(ids))
    return {row["id"]: row for row in connection.execute(query).mappings()}


def _names(connection: Connection, found: Collection[Seen]) -> dict[str, str]:
    """The names of those whom they are about: residents' masked, staff's whole."""
    of_people = select(residents.c.id, residents.c.name).where(
        residents.c.id.in_({id for one in found for id in one.residents})
    )
    of_staff = select(staff.c.id, staff.c.name).where(staff.c.id.in_({id for one in found for id in one.staff}))
    names = {row.id: masked(row.name) for row in connection.execute(of_people)}
    return names | {row.id: row.name for row in connection.execute(of_staff)}


def _view(one: Seen, look: Mapping[Any, Any] | None, names: Mapping[str, str]) -> dict[str, Any]:
    words = KINDS[one.kind]
    return {
        "id": one.id,
        "kind": one.kind,
        "day": one.day,
        "at": iso(one.at),
        "estate_id": one.estate_id,
        "zh": words.zh.format_map(one.numbers),
        "en": words.en.format_map(one.numbers),
        "numbers": {name: value for name, value in one.numbers.items() if isinstance(value, int)},
        "evidence": [{"type": type, "id": id} for type, id in one.evidence],
        "residents": [{"id": id, "name": names.get(id, "")} for id in one.residents],
        "staff": [{"id": id, "name": names.get(id, "")} for id in one.staff],
        "looked_by": look["looked_by"] if look else None,
        "looked_at": iso(look["looked_at"]) if look else None,
        "reason": look["reason"] if look else None,
    }


def _two_places(asked: _Asked) -> Iterator[Seen]:
    """Pairs of attendances of one person that overlap, by the day on which the later one began."""
    one, other = attendances.alias("one"), attendances.alias("other")
    of_one, of_other = sessions.alias("of_one"), sessions.alias("of_other")
    first, second = activities.alias("first"), activities.alias("second")
    begin, end = other.c.checked_in_at, one.c.checked_out_at
    query = (
        select(one.c.id, other.c.id.label("other_id"), one.c.resident_id, other.c.estate_id, begin.label("begin"))
        .add_columns(end.label("end"), other.c.checked_out_at.label("other_end"))
        .add_columns(first.c.title.label("first"), second.c.title.label("second"))
        .join_from(one, other, (one.c.resident_id == other.c.resident_id) & (one.c.id != other.c.id))
        .join(of_one, of_one.c.id == one.c.session_id)
        .join(of_other, of_other.c.id == other.c.session_id)
        .join(first, first.c.id == of_one.c.activity_id)
        .join(second, second.c.id == of_other.c.activity_id)
        .where(one.c.state == "closed", other.c.state == "closed", *asked.between(begin))
        # No session is longer than a day. Of two that began together, the smaller id is the first.
        .where(_ms(one.c.checked_in_at) > _ms(begin) - A_DAY // MILLISECOND)
        .where(one.c.checked_in_at <= begin, begin < end)
        .where((one.c.checked_in_at < begin) | (one.c.id < other.c.id), other.c.estate_id.in_(asked.nodes))
    )
    for row in asked.connection.execute(query):
        minutes = int((min(row.end, row.other_end) - row.begin) / timedelta(minutes=1))
        if minutes >= asked.limits["overlap_minutes"]:
            yield Seen(
                "two_places",
                asked.local(row.begin).date().isoformat(),
                row.estate_id,
                row.begin,
                tuple(sorted((row.id, row.other_id))),
                {"first": row.first, "second": row.second, "minutes": minutes},
                (("attendance", row.id), ("attendance", row.other_id)),
                residents=(row.resident_id,),
            )


def _long_days(asked: _Asked) -> Iterator[Seen]:
    """People whose credits of one day are longer than `day_minutes`."""
    most = asked.limits["day_minutes"]
    query = (
        select(_c.resident_id, _c.day, func.sum(_c.minutes).label("minutes"), func.min(_c.estate_id).label("estate"))
        .where(_COUNTED, _c.day >= asked.first.isoformat(), _c.day <= asked.last.isoformat())
        .where(_c.estate_id.in_(asked.nodes))
        .group_by(_c.resident_id, _c.day)
        .having(func.sum(_c.minutes) > most)
        .limit(MAX_LISTED + 1)
    )
    for row in asked.connection.execute(query).all():
        which = (_COUNTED, _c.resident_id == row.resident_id, _c.day == row.day, _c.estate_id.in_(asked.nodes))
        evidence = _credits(asked, *which)
        minutes = int(row.minutes)
        yield Seen(
            "long_day",
            row.day,
            row.estate,
            day_start(date.fromisoformat(row.day), asked.zone),
            # More work of the same day is another matter, and is to be looked at anew.
            (row.resident_id, row.day, str(minutes)),
            {"minutes": minutes, "most": most, "count": len(evidence)},
            evidence,
            residents=(row.resident_id,),
        )


def _same_pairs(asked: _Asked) -> Iterator[Seen]:
    """Recorders whose credits of a month one person approved, all of them, though others could; by its first day."""
    first = asked.first.replace(day=1).isoformat()[:7]
    last = asked.last.isoformat()[:7]
    month = func.substr(_c.day, 1, 7).label("month")
    query = (
        select(_c.estate_id, _c.recorded_by, month, func.min(_c.decided_by).label("decided_by"))
        .add_columns(func.count().label("credits"))
        .where(_COUNTED, _TYPED, _c.decided_by.is_not(None), _c.day >= f"{first}-01", _c.day <= f"{last}-31")
        .where(_c.estate_id.in_(asked.nodes))
        .group_by(_c.estate_id, _c.recorded_by, "month")
        .having(func.count() >= asked.limits["pair_credits"], func.count(_c.decided_by.distinct()) == 1)
    )
    rows = asked.connection.execute(query).all()
    approvers = _approvers(asked.connection, {row.estate_id for row in rows})
    for row in rows:
        others = len(approvers[row.estate_id] - {row.recorded_by, row.decided_by})
        if others:
            which = (
                _COUNTED,
                _TYPED,
                _c.estate_id == row.estate_id,
                _c.recorded_by == row.recorded_by,
                _c.decided_by == row.decided_by,
                _c.day >= f"{row.month}-01",
                _c.day <= f"{row.month}-31",
            )
            yield Seen(
                "same_pair",
                f"{row.month}-01",
                row.estate_id,
                day_start(date.fromisoformat(f"{row.month}-01"), asked.zone),
                (row.estate_id, row.recorded_by, row.decided_by, row.month),
                {"count": row.credits, "others": others},
                _credits(asked, *which),
                staff=(row.recorded_by, row.decided_by),
            )


def _approvers(connection: Connection, estate_ids: Collection[str]) -> dict[str, set[str]]:
    """Who may approve at each of these estates by a role that they hold for the estate itself."""
    s = staff_roles.c
    query = select(s.organization_id, s.staff_id).join(staff, staff.c.id == s.staff_id)
    query = query.where(s.role.in_(PERMISSIONS[Permission.CREDIT_APPROVE]), staff.c.disabled_at.is_(None))
    found: dict[str, set[str]] = defaultdict(set)
    for estate_id, staff_id in connection.execute(query.where(s.organization_id.in_(estate_ids))):
        found[estate_id].add(staff_id)
    return found


def _ms(at: ColumnElement[Any]) -> ColumnElement[int]:
    """An instant as the number that it is kept as."""
    return type_coerce(at, BigInteger)


def _bucket(at: ColumnElement[Any]) -> ColumnElement[int]:
    return _ms(at) // (BUCKET // MILLISECOND)


def _begin(bucket: int) -> datetime:
    return from_ms(bucket * (BUCKET // MILLISECOND))


def _night_batches(asked: _Asked) -> Iterator[Seen]:
    """Approvers with many credits in one night of an estate, by the day on which the night ends."""
    from_hour, to_hour = asked.limits["night_from_hour"], asked.limits["night_to_hour"]
    bucket = _bucket(_c.decided_at).label("bucket")
    since, until = day_start(asked.first - A_DAY, asked.zone), day_start(asked.last + A_DAY, asked.zone)
    query = (
        select(_c.decided_by, _c.estate_id, bucket, func.count().label("credits"))
        .where(_c.decided_at >= since, _c.decided_at < until, _c.estate_id.in_(asked.nodes))
        .where(_c.state.in_([State.APPROVED, State.WAITING_CONSENT, State.FINAL, State.OBJECTED]))
        .group_by(_c.decided_by, _c.estate_id, "bucket")
    )
    counts: Counter[tuple[str, str, date]] = Counter()
    for row in asked.connection.execute(query):
        local = asked.local(_begin(row.bucket))
        night = local.date() if local.hour < to_hour else local.date() + A_DAY
        if (local.hour < to_hour or local.hour >= from_hour) and asked.has(night):
            counts[row.decided_by, row.estate_id, night] += row.credits
    for (approver, estate_id, night), count in counts.items():
        if count >= asked.limits["night_credits"]:
            begin = day_start(night, asked.zone) - timedelta(hours=24 - from_hour)
            end = day_start(night, asked.zone) + timedelta(hours=to_hour)
            which = (_c.decided_by == approver, _c.estate_id == estate_id)
            yield Seen(
                "night_batch",
                night.isoformat(),
                estate_id,
                begin,
                (approver, estate_id, night.isoformat()),
                {"count": count, "from_hour": from_hour, "to_hour": to_hour},
                _credits(asked, *which, _c.decided_at >= begin, _c.decided_at < end),
                staff=(approver,),
            )


def _typed_late(asked: _Asked) -> Iterator[Seen]:
    """Recorders who typed many minutes of long ago on one local day of an estate."""
    days = asked.limits["late_days"]
    is_late = _ms(_c.recorded_at) > _ms(_c.worked_at) + timedelta(days=days) // MILLISECOND
    bucket = _bucket(_c.recorded_at).label("bucket")
    query = (
        select(
            _c.recorded_by, _c.estate_id, bucket, func.count().label("credits"), func.sum(_c.minutes).label("minutes")
        )
        .where(_COUNTED, _TYPED, is_late, *asked.between(_c.recorded_at), _c.estate_id.in_(asked.nodes))
        .group_by(_c.recorded_by, _c.estate_id, "bucket")
    )
    counts: Counter[tuple[str, str, date]] = Counter()
    minutes: Counter[tuple[str, str, date]] = Counter()
    for row in asked.connection.execute(query):
        key = row.recorded_by, row.estate_id, asked.local(_begin(row.bucket)).date()
        counts[key] += row.credits
        minutes[key] += int(row.minutes or 0)
    for (recorder, estate_id, day), total in minutes.items():
        if total >= asked.limits["late_minutes"]:
            begin = day_start(day, asked.zone)
            which = (_COUNTED, _TYPED, is_late, _c.recorded_by == recorder, _c.estate_id == estate_id)
            yield Seen(
                "typed_late",
                day.isoformat(),
                estate_id,
                begin,
                (recorder, estate_id, day.isoformat()),
                {"count": counts[recorder, estate_id, day], "minutes": total, "days": days},
                _credits(asked, *which, _c.recorded_at >= begin, _c.recorded_at < day_start(day + A_DAY, asked.zone)),
                staff=(recorder,),
            )


def _two_machines(asked: _Asked) -> Iterator[Seen]:
    """Pairs of redemptions of one person at two machines within minutes, by the day of the later one."""
    one, other = redemptions.alias("one"), redemptions.alias("other")
    within = timedelta(minutes=asked.limits["machines_minutes"])
    query = (
        select(one.c.id, other.c.id.label("other_id"), one.c.resident_id, other.c.estate_id, other.c.recorded_at)
        .add_columns(one.c.machine_id.label("first"), other.c.machine_id.label("second"), one.c.recorded_at.label("at"))
        .join_from(one, other, (one.c.resident_id == other.c.resident_id) & (one.c.machine_id != other.c.machine_id))
        .where(*asked.between(other.c.recorded_at), other.c.estate_id.in_(asked.nodes))
        .where(_ms(one.c.recorded_at) >= _ms(other.c.recorded_at) - within // MILLISECOND)
        .where(one.c.recorded_at <= other.c.recorded_at)
        .where((one.c.recorded_at < other.c.recorded_at) | (one.c.id < other.c.id))
        .limit(MAX_LISTED + 1)
    )
    for row in asked.connection.execute(query):
        minutes = -((row.at - row.recorded_at) // timedelta(minutes=1))
        yield Seen(
            "two_machines",
            asked.local(row.recorded_at).date().isoformat(),
            row.estate_id,
            row.recorded_at,
            tuple(sorted((row.id, row.other_id))),
            {"first": row.first, "second": row.second, "minutes": minutes},
            (("redemption", row.id), ("redemption", row.other_id)),
            residents=(row.resident_id,),
        )


def _credits(asked: _Asked, *which: ColumnElement[bool]) -> tuple[tuple[str, str], ...]:
    """The credits that show it, MAX_EVIDENCE at most."""
    query = select(_c.id).where(*which).order_by(_c.id).limit(MAX_EVIDENCE)
    return tuple(("credit", id) for id in asked.connection.scalars(query))


_LOOKS: Final[Mapping[str, Callable[[_Asked], Iterator[Seen]]]] = {
    "two_places": _two_places,
    "long_day": _long_days,
    "same_pair": _same_pairs,
    "night_batch": _night_batches,
    "typed_late": _typed_late,
    "two_machines": _two_machines,
}
