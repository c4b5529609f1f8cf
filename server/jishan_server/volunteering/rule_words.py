"""What the rules made of one piece of work, as a sentence in which a person can check every number. Pure.

Source: `volunteering.rules`, whose steps a credit keeps.
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from jishan_server.volunteering.rules import Rounding, RuleSet, Span, Step, Unit


class Words(NamedTuple):
    """The same in both languages."""

    zh: str
    en: str


class Work(NamedTuple):
    """What a credit says of its work; `points` are those the rules made, `booked` what reached the ledger."""

    activity_type: str
    minutes: int | None
    steps: Sequence[Step]
    points: int
    booked: int | None


SPANS: Final[Mapping[Span, Words]] = {
    Span.ACTIVITY: Words("每场", "each session"),
    Span.DAY: Words("每天", "a day"),
    Span.MONTH: Words("每月", "a month"),
    Span.QUARTER: Words("每季度", "a quarter"),
    Span.YEAR: Words("每年", "a year"),
}
UNITS: Final[Mapping[Unit, Words]] = {
    Unit.MINUTES: Words("分钟", "minutes"),
    Unit.POINTS: Words("分", "points"),
    Unit.TIMES: Words("次", "times"),
}
ROUNDINGS: Final[Mapping[Rounding, Words]] = {
    Rounding.DOWN: Words("舍去零头", "rounded down"),
    Rounding.HALF_UP: Words("四舍五入", "rounded half up"),
    Rounding.UP: Words("有零头就进一", "rounded up"),
}
SOURCES: Final[Mapping[str, Words]] = {
    "a": Words("本人扫码或刷卡签到", "own code or card"),
    "b": Words("现场名单登记", "the list on the spot"),
    "c": Words("纸质签到表补录", "a signed sheet typed later"),
    "d": Words("事后补报", "claimed later"),
}


def sentence(rules: RuleSet, work: Work) -> Words:
    """The version, the rate, and every step that did something."""
    parts = [_basis(rules, work), *(_step(rules, step) for step in work.steps)]
    if work.booked is not None and work.booked < work.points:
        parts.append(
            Words(
                f"余额上限{rules.balance_cap}分，{work.points}分里记入{work.booked}分",
                f"the cap of {rules.balance_cap} on the balance let {work.booked} of {work.points} points in",
            )
        )
    said = [part for part in parts if part is not None]
    return Words(
        f"规则第{rules.label}版：{'；'.join(one.zh for one in said)}。",
        f"Rules, version {rules.label}: {'; '.join(one.en for one in said)}.",
    )


def _basis(rules: RuleSet, work: Work) -> Words:
    if work.minutes is None:
        return Words("按积分登记，不按时长换算", "recorded as points, not from time")
    if not work.steps:
        return Words("按原来系统的积分记入", "booked as another system had it")
    rate, coefficient = rules.types.get(work.activity_type, rules.earning)
    zh = [f"每{rate.denominator}分钟{rate.numerator}分"]
    en = [f"{rate.numerator} points for {rate.denominator} minutes"]
    if coefficient.numerator != coefficient.denominator:
        zh.append(f"系数{coefficient.numerator}/{coefficient.denominator}")
        en.append(f"times {coefficient.numerator}/{coefficient.denominator}")
    rounding = ROUNDINGS[rules.points_rounding]
    return Words("，".join([*zh, f"积分{rounding.zh}"]), ", ".join([*en, f"points {rounding.en}"]))


def _step(rules: RuleSet, step: Step) -> Words | None:
    name, before, after = step
    if name == "step":
        rounding = ROUNDINGS[rules.minutes_rounding]
        return Words(
            f"时长按{rules.step_minutes}分钟一档{rounding.zh}，{before}分钟算{after}分钟",
            f"time in steps of {rules.step_minutes} minutes {rounding.en}, {before} minutes count as {after}",
        )
    if name == "rate":
        return Words(f"{before}分钟得{after}分", f"{before} minutes make {after} points")
    kind, _, rest = name.partition("_")
    if kind == "source":
        source = SOURCES[rest]
        return Words(f"{source.zh}只记时长", f"{source.en} earns hours only")
    words = cap_words(rules, rest)
    unit = UNITS[Unit(rest.partition("_")[0])]
    return Words(
        f"{words.zh}，从{before}{unit.zh}减为{after}{unit.zh}", f"{words.en} cut {before} {unit.en} to {after}"
    )


def cap_words(rules: RuleSet, name: str) -> Words:
    """A cap (`points_day`) with its number; without one where these rules no longer have it."""
    unit, _, span = name.partition("_")
    most = [cap.most for cap in rules.caps if (cap.unit, cap.per) == (unit, span)]
    zh, en = SPANS[Span(span)], UNITS[Unit(unit)]
    if not most:
        return Words(f"{zh.zh}上限", f"a cap for {zh.en}")
    return Words(f"{zh.zh}最多{min(most)}{en.zh}", f"at most {min(most)} {en.en} {zh.en}")
