"""What volunteer work is worth, and how long it lives: the rules of a scheme as one frozen value. Pure.

Rules. Minutes are first rounded to a step, then cut by the caps on minutes, then turned into points by the rate and
coefficient of the activity's type, rounded, and cut by the caps on points. Points are whole numbers, and every ratio is
one of whole numbers. A cap limits credits, never what comes back. An attendance whose source is not among `sources`
counts as hours only. Hours themselves are never cut: a service record has the minutes that were worked.
Source: decisions, "The ledger"; the document is read by `read`, which names the field that is wrong.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from enum import StrEnum
from typing import Any, Final, NamedTuple, TypeVar
from zoneinfo import ZoneInfo

from jishan_server.errors import DomainError

MAX_MINUTES: Final = 1440
"""A day has no more."""
MAX_POINTS: Final = 1_000_000
"""The ledger takes no more in one transfer."""
MAX_TYPES: Final = 100
MAX_CAPS: Final = 20
"""More of them nobody could follow."""
TYPE_FORM: Final = re.compile(r"[0-9a-z_-]{1,40}")
EXPIRY_FORM: Final = re.compile(r"never|year_end|(?:months|days):[1-9][0-9]{0,4}")


class Threshold(NamedTuple):
    """What a scheme may set, and what holds without it."""

    least: int
    most: int
    usual: int


ANOMALIES: Final[Mapping[str, Threshold]] = {
    # Minutes at two sessions at once; more than somebody stays on.
    "overlap_minutes": Threshold(1, 240, 15),
    # Ten hours of volunteer work in a day.
    "day_minutes": Threshold(60, MAX_MINUTES, 600),
    # Credits of one recorder in a month; with fewer it is chance.
    "pair_credits": Threshold(2, 10_000, 30),
    "night_credits": Threshold(1, 10_000, 10),
    # Local hours: a night is from one to the other.
    "night_from_hour": Threshold(18, 23, 23),
    "night_to_hour": Threshold(1, 8, 5),
    # Work is entered within ten working days.
    "late_days": Threshold(1, 1_000, 30),
    "late_minutes": Threshold(1, 1_000_000, 1_200),
    "machines_minutes": Threshold(1, 120, 5),
}
"""From what on something is listed as odd (`explaining.anomalies`)."""

One = TypeVar("One")
Names = TypeVar("Names", bound=StrEnum)


@dataclass(frozen=True, slots=True)
class CreditRules:
    """The settings from which a scheme's first rules are made, and its time zone.

    `expiry` is `never`, `year_end` (31 December 23:59:59, local) or `days:N`; see `jishan_server.config`.
    """

    minutes_per_point: int = 60
    expiry: str = "never"
    time_zone: str = "Asia/Shanghai"

    @property
    def zone(self) -> ZoneInfo:
        """Whose days and years the scheme's are."""
        return ZoneInfo(self.time_zone)

    def document(self) -> dict[str, Any]:
        """The document of the first rules: no caps, no notice."""
        return {
            "rate": {"points": 1, "minutes": self.minutes_per_point},
            "rounding": {"step_minutes": 1, "minutes": "down", "points": "down"},
            "sources": ["a", "b", "c"],
            "notice_working_days": 0,
            "expiry": self.expiry,
        }


class Source(StrEnum):
    """How an attendance is known."""

    OWN_CODE = "a"
    LIST_ON_THE_SPOT = "b"
    SIGNED_SHEET = "c"
    CLAIMED_LATER = "d"


class Rounding(StrEnum):
    DOWN = "down"
    HALF_UP = "half_up"
    UP = "up"


class Unit(StrEnum):
    MINUTES = "minutes"
    POINTS = "points"
    TIMES = "times"


class Span(StrEnum):
    ACTIVITY = "activity"
    DAY = "day"
    MONTH = "month"
    QUARTER = "quarter"
    YEAR = "year"


class Ratio(NamedTuple):
    """`numerator` for each `denominator`: points for minutes, or a coefficient."""

    numerator: int
    denominator: int


class Earning(NamedTuple):
    """What a type of activity earns: the rate is points for minutes."""

    rate: Ratio
    coefficient: Ratio = Ratio(1, 1)


class Cap(NamedTuple):
    """At most `most` of a unit in a span, for one person."""

    unit: Unit
    per: Span
    most: int


@dataclass(frozen=True, slots=True)
class RuleSet:
    """One version of a scheme's rules. What has a default need not stand in the document."""

    version: int
    earning: Earning
    step_minutes: int
    minutes_rounding: Rounding
    points_rounding: Rounding
    sources: frozenset[Source]
    notice_working_days: int
    expiry: str
    """`never`, `year_end`, `months:N` or `days:N`, from the day on which points become final."""
    types: Mapping[str, Earning] = field(default_factory=dict)
    caps: tuple[Cap, ...] = ()
    balance_cap: int | None = None
    """A credit brings nobody above it; what comes back may."""
    redemptions: tuple[Cap, ...] = ()
    points_without_pin_per_day: int | None = None
    """None: the server's setting."""
    stars_hours: tuple[int, ...] = (100, 300, 600, 1000, 1500)
    adjustment_most_points: int = 100
    appeal_days: int = 30
    anomalies: Mapping[str, int] = field(default_factory=lambda: {name: one.usual for name, one in ANOMALIES.items()})

    @property
    def label(self) -> str:
        """The version as it is kept with each credit and transfer."""
        return str(self.version)


Totals = Mapping[tuple[Unit, Span], int]
"""What a person was credited with already in the same activity, day, month and year; what is missing is 0."""


class Step(NamedTuple):
    """One rule at work: the number before it and after it."""

    rule: str
    before: int
    after: int


@dataclass(frozen=True, slots=True)
class Worth:
    """What a piece of work is worth. `minutes_counted` count towards the caps on minutes."""

    points: int
    minutes_counted: int
    steps: tuple[Step, ...]

    @property
    def cuts(self) -> tuple[Step, ...]:
        """The steps by which a cap or the source took something away."""
        return tuple(step for step in self.steps if step.rule.startswith(("cap_", "source_")) and step.before)


def worth(rules: RuleSet, minutes: int, activity_type: str, source: Source, already: Totals) -> Worth:
    """What `minutes` (1..1440) of work are worth to a person who has `already` so much."""
    if source not in rules.sources:
        return Worth(0, 0, (Step(f"source_{source}", minutes, 0),))
    stepped = rounded(minutes, rules.step_minutes, rules.minutes_rounding) * rules.step_minutes
    steps = [Step("step", minutes, stepped)] if rules.step_minutes > 1 else []
    counted, cut = _capped(rules, Unit.MINUTES, stepped, already)
    rate, coefficient = rules.types.get(activity_type, rules.earning)
    above = counted * rate.numerator * coefficient.numerator
    points = rounded(above, rate.denominator * coefficient.denominator, rules.points_rounding)
    steps += [*cut, Step("rate", counted, points)]
    given = worth_of_points(rules, points, already)
    return Worth(given.points, counted, (*steps, *given.steps))


def worth_of_points(rules: RuleSet, points: int, already: Totals) -> Worth:
    """What is left of points that were told as such: only the caps on points look at them."""
    left, steps = _capped(rules, Unit.POINTS, points, already)
    return Worth(left, 0, tuple(steps))


def under_balance_cap(rules: RuleSet, points: int, balance: int) -> int:
    """How many of `points` a person who holds `balance` may still get."""
    return points if rules.balance_cap is None else min(points, max(0, rules.balance_cap - balance))


def with_worth(already: Totals, worth: Worth) -> Totals:
    """The totals after a credit."""
    spans = [span for span in Span if span is not Span.QUARTER]
    added = ((Unit.MINUTES, worth.minutes_counted), (Unit.POINTS, worth.points))
    return {(unit, span): already.get((unit, span), 0) + more for unit, more in added for span in spans}


def rounded(number: int, per: int, rounding: Rounding) -> int:
    """`number / per` as a whole number; neither is negative."""
    match rounding:
        case Rounding.DOWN:
            return number // per
        case Rounding.HALF_UP:
            return (2 * number + per) // (2 * per)
        case Rounding.UP:
            return -(-number // per)


def _capped(rules: RuleSet, unit: Unit, number: int, already: Totals) -> tuple[int, list[Step]]:
    """`number` cut by every cap of the unit, and a step for each that binds."""
    steps = []
    for cap in rules.caps:
        left = min(number, max(0, cap.most - already.get((unit, cap.per), 0))) if cap.unit is unit else number
        if left < number:
            steps.append(Step(f"cap_{unit}_{cap.per}", number, left))
        number = left
    return number, steps


def expires_at(expiry: str, now: datetime, zone: ZoneInfo) -> datetime | None:
    """When points that become final `now` end; None is never.

    Months end with the same day of a later month (its last, where it is shorter), years with 31 December; both at
    23:59:59 local. Days are spans of 24 hours.
    """
    local = now.astimezone(zone)
    kind, _, count = expiry.partition(":")
    match kind:
        case "year_end":
            return datetime(local.year, 12, 31, 23, 59, 59, tzinfo=zone)
        case "months":
            year, month = divmod(local.year * 12 + local.month - 1 + int(count), 12)
            day = min(local.day, calendar.monthrange(year, month + 1)[1])
            return datetime.combine(local.replace(year=year, month=month + 1, day=day), time(23, 59, 59), zone)
        case "days":
            return now + timedelta(days=int(count))
    return None


def read(document: object, version: int) -> RuleSet:
    """The rules that a JSON document tells; refusal: rules_invalid, with the field and what it should be."""
    top = _fields(
        document,
        "document",
        {"rate", "rounding", "sources", "notice_working_days", "expiry"},
        {
            "coefficient",
            "types",
            "caps",
            "balance_cap",
            "redemptions",
            "points_without_pin_per_day",
            "stars_hours",
            "adjustment_most_points",
            "appeal_days",
            "anomalies",
        },
    )
    rounding = _fields(top["rounding"], "rounding", {"step_minutes", "minutes", "points"}, set())
    earning = Earning(_rate(top["rate"], "rate"), _ratio(top.get("coefficient"), "coefficient"))
    types = _types(top.get("types", {}), earning)
    for name, one in [("rate", earning), *((f"types.{name}", one) for name, one in types.items())]:
        most = MAX_MINUTES * one.rate.numerator * one.coefficient.numerator
        if most > MAX_POINTS * one.rate.denominator * one.coefficient.denominator:
            raise _wrong(name, f"<= {MAX_POINTS} points / {MAX_MINUTES} min")
    stars = _each(top.get("stars_hours", [100, 300, 600, 1000, 1500]), "stars_hours", _number(1, 100_000))
    if list(stars) != sorted(set(stars)):
        raise _wrong("stars_hours", "1 < 2 < 3")
    return RuleSet(
        version=version,
        earning=earning,
        step_minutes=_number(1, 240)(rounding["step_minutes"], "rounding.step_minutes"),
        minutes_rounding=_name(Rounding)(rounding["minutes"], "rounding.minutes"),
        points_rounding=_name(Rounding)(rounding["points"], "rounding.points"),
        sources=frozenset(_each(top["sources"], "sources", _name(Source))),
        notice_working_days=_number(0, 60)(top["notice_working_days"], "notice_working_days"),
        expiry=_expiry(top["expiry"]),
        types=types,
        caps=_caps(top, "caps", (Unit.MINUTES, Unit.POINTS), (Span.ACTIVITY, Span.DAY, Span.MONTH, Span.YEAR)),
        balance_cap=_optional(top, "balance_cap", _number(1, 100_000_000)),
        redemptions=_caps(top, "redemptions", (Unit.TIMES, Unit.POINTS), (Span.DAY, Span.MONTH, Span.QUARTER)),
        points_without_pin_per_day=_optional(top, "points_without_pin_per_day", _number(0, MAX_POINTS)),
        stars_hours=stars,
        adjustment_most_points=_number(0, MAX_POINTS)(top.get("adjustment_most_points", 100), "adjustment_most_points"),
        appeal_days=_number(1, 365)(top.get("appeal_days", 30), "appeal_days"),
        anomalies=_thresholds(top.get("anomalies", {})),
    )


_Reader = Callable[[object, str], One]


def _wrong(field: str, expected: str) -> DomainError:
    return DomainError("rules_invalid", field=field, expected=expected)


def _fields(found: object, name: str, required: set[str], optional: set[str]) -> dict[str, Any]:
    if not isinstance(found, dict):
        raise _wrong(name, "{...}")
    prefix = "" if name == "document" else f"{name}."
    for unknown in sorted(found.keys() - required - optional):
        raise _wrong(prefix + unknown, " | ".join(sorted(required | optional)))
    for missing in sorted(required - found.keys()):
        raise _wrong(prefix + missing, "...")
    return found


def _number(least: int, most: int) -> _Reader[int]:
    def read_number(found: object, name: str) -> int:
        if type(found) is not int or not least <= found <= most:
            raise _wrong(name, f"{least}..{most}")
        return found

    return read_number


def _name(names: type[Names]) -> _Reader[Names]:
    def read_name(found: object, name: str) -> Names:
        if not isinstance(found, str) or found not in [one.value for one in names]:
            raise _wrong(name, " | ".join(names))
        return names(found)

    return read_name


def _each(found: object, name: str, read_one: _Reader[One], most: int = MAX_CAPS) -> tuple[One, ...]:
    if not isinstance(found, list) or len(found) > most:
        raise _wrong(name, f"[0..{most}]")
    return tuple(read_one(one, f"{name}[{place}]") for place, one in enumerate(found))


def _optional(top: Mapping[str, object], name: str, read_one: _Reader[One]) -> One | None:
    return None if top.get(name) is None else read_one(top[name], name)


def _rate(found: object, name: str) -> Ratio:
    known = _fields(found, name, {"points", "minutes"}, set())
    return Ratio(
        _number(1, 10_000)(known["points"], f"{name}.points"),
        _number(1, MAX_MINUTES)(known["minutes"], f"{name}.minutes"),
    )


def _ratio(found: object, name: str) -> Ratio:
    if found is None:
        return Ratio(1, 1)
    known = _fields(found, name, {"numerator", "denominator"}, set())
    return Ratio(*(_number(1, 100)(known[one], f"{name}.{one}") for one in ("numerator", "denominator")))


def _types(found: object, earning: Earning) -> dict[str, Earning]:
    """What differs for a type of activity: its rate, its coefficient or both."""
    if not isinstance(found, dict) or len(found) > MAX_TYPES:
        raise _wrong("types", f"{{0..{MAX_TYPES}}}")
    types = {}
    for name, one in found.items():
        place = f"types.{name}"
        if not isinstance(name, str) or TYPE_FORM.fullmatch(name) is None:
            raise _wrong(place, TYPE_FORM.pattern)
        known = _fields(one, place, set(), {"rate", "coefficient"})
        rate = _rate(known["rate"], f"{place}.rate") if "rate" in known else earning.rate
        own = known.get("coefficient")
        coefficient = earning.coefficient if own is None else _ratio(own, f"{place}.coefficient")
        types[name] = Earning(rate, coefficient)
    return types


def _caps(top: Mapping[str, object], name: str, units: Sequence[Unit], spans: Sequence[Span]) -> tuple[Cap, ...]:
    def read_cap(found: object, place: str) -> Cap:
        known = _fields(found, place, {"unit", "per", "most"}, set())
        unit, per = _name(Unit)(known["unit"], f"{place}.unit"), _name(Span)(known["per"], f"{place}.per")
        if unit not in units:
            raise _wrong(f"{place}.unit", " | ".join(units))
        if per not in spans:
            raise _wrong(f"{place}.per", " | ".join(spans))
        return Cap(unit, per, _number(1, 10_000_000)(known["most"], f"{place}.most"))

    return _each(top.get(name, []), name, read_cap)


def _thresholds(found: object) -> dict[str, int]:
    known = _fields(found, "anomalies", set(), set(ANOMALIES))
    return {
        name: _number(one.least, one.most)(known.get(name, one.usual), f"anomalies.{name}")
        for name, one in ANOMALIES.items()
    }


def _expiry(found: object) -> str:
    if not isinstance(found, str) or EXPIRY_FORM.fullmatch(found) is None:
        raise _wrong("expiry", "never | year_end | months:N | days:N")
    return found
