"""What work is worth, when its points end, and what a document of rules must say."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jishan_server.errors import DomainError
from jishan_server.volunteering.credit_states import TRANSITIONS, Event, State, follow, mermaid
from jishan_server.volunteering.rule_versions import preset_documents
from jishan_server.volunteering.rules import (
    MAX_POINTS,
    Cap,
    CreditRules,
    Rounding,
    RuleSet,
    Source,
    Span,
    Step,
    Totals,
    Unit,
    expires_at,
    read,
    rounded,
    under_balance_cap,
    worth,
    worth_of_points,
)

SHANGHAI = ZoneInfo("Asia/Shanghai")
CODE = Source.OWN_CODE
SPANS = (Span.ACTIVITY, Span.DAY, Span.MONTH, Span.YEAR)


def rules(**changes: Any) -> RuleSet:
    return read(CreditRules().document() | changes, 1)


def points(made: RuleSet, minutes: int, already: Totals | None = None, kind: str = "general") -> int:
    return worth(made, minutes, kind, CODE, already or {}).points


documents = st.fixed_dictionaries(
    {
        "rate": st.fixed_dictionaries({"points": st.integers(1, 10), "minutes": st.integers(1, 240)}),
        "coefficient": st.fixed_dictionaries({"numerator": st.integers(1, 9), "denominator": st.integers(1, 9)}),
        "rounding": st.fixed_dictionaries(
            {
                "step_minutes": st.sampled_from([1, 5, 15, 30, 60]),
                "minutes": st.sampled_from(["down", "half_up", "up"]),
                "points": st.sampled_from(["down", "half_up", "up"]),
            }
        ),
        "sources": st.just(["a", "b", "c"]),
        "notice_working_days": st.integers(0, 7),
        "expiry": st.sampled_from(["never", "year_end", "months:12", "days:90"]),
    }
)
caps = st.lists(
    st.fixed_dictionaries(
        {
            "unit": st.sampled_from(["minutes", "points"]),
            "per": st.sampled_from(["activity", "day", "month", "year"]),
            "most": st.integers(1, 500),
        }
    ),
    max_size=6,
)
minutes = st.integers(1, 1440)


@given(st.integers(1, 1440))
def test_by_default_an_hour_is_a_point_and_the_rest_is_dropped(spent: int) -> None:
    assert points(rules(), spent) == spent // 60


@given(st.integers(0, 10**9), st.integers(1, 10**6))
def test_rounding_is_never_off_by_one_or_more(number: int, per: int) -> None:
    down, half, up = (rounded(number, per, way) for way in Rounding)
    assert down * per <= number < (down + 1) * per
    assert (up - 1) * per < number <= up * per
    assert -per < 2 * (number - half * per) <= per or 2 * (number - half * per) == -per
    assert down <= half <= up <= down + 1


@given(documents, caps, st.lists(minutes, max_size=12))
def test_no_cap_is_ever_passed_and_nothing_is_ever_negative(
    document: dict[str, Any], limits: list[dict[str, Any]], spent: list[int]
) -> None:
    made = read(document | {"caps": limits}, 1)
    already: Counter[tuple[Unit, Span]] = Counter()
    for one in spent:
        given = worth(made, one, "general", CODE, already)
        assert given.points >= 0
        assert given.minutes_counted >= 0
        for span in SPANS:
            already[Unit.MINUTES, span] += given.minutes_counted
            already[Unit.POINTS, span] += given.points
        assert all(already[cap.unit, cap.per] <= cap.most for cap in made.caps)


@given(documents, minutes, st.integers(0, 10_000))
def test_a_cap_that_does_not_bind_changes_nothing(document: dict[str, Any], spent: int, before: int) -> None:
    free = worth(read(document, 1), spent, "general", CODE, {})
    wide = [
        {"unit": unit, "per": span.value, "most": before + most}
        for unit, most in (("minutes", free.minutes_counted + 1), ("points", free.points + 1))
        for span in SPANS
    ]
    already = {(unit, span): before for unit in (Unit.MINUTES, Unit.POINTS) for span in SPANS}
    assert worth(read(document | {"caps": wide}, 1), spent, "general", CODE, already) == free


@given(documents, minutes, minutes)
def test_work_split_in_two_earns_no_more_where_points_are_rounded_down(
    document: dict[str, Any], first: int, second: int
) -> None:
    rounding = {"step_minutes": document["rounding"]["step_minutes"], "minutes": "down", "points": "down"}
    made = read(document | {"rounding": rounding}, 1)
    assert points(made, first) + points(made, second) <= points(made, first + second)


@given(documents, minutes, minutes)
def test_more_work_never_earns_less(document: dict[str, Any], first: int, second: int) -> None:
    made = read(document, 1)
    assert points(made, min(first, second)) <= points(made, max(first, second))


@given(st.integers(0, 10_000), st.integers(-500, 5_000), st.integers(1, 2_000))
def test_no_credit_brings_a_balance_above_its_cap(given_points: int, held: int, cap: int) -> None:
    made = rules(balance_cap=cap)
    left = under_balance_cap(made, given_points, held)
    assert 0 <= left <= given_points
    assert left + held <= max(cap, held)
    assert left == given_points or left + held == max(cap, held)


def test_the_steps_say_what_each_rule_did() -> None:
    made = rules(
        rate={"points": 10, "minutes": 60},
        coefficient={"numerator": 3, "denominator": 2},
        rounding={"step_minutes": 30, "minutes": "half_up", "points": "down"},
        caps=[{"unit": "minutes", "per": "activity", "most": 120}, {"unit": "points", "per": "month", "most": 100}],
    )
    given = worth(made, 170, "general", CODE, {(Unit.POINTS, Span.MONTH): 75})
    assert given.steps == (
        Step("step", 170, 180),
        Step("cap_minutes_activity", 180, 120),
        Step("rate", 120, 30),
        Step("cap_points_month", 30, 25),
    )
    assert (given.points, given.minutes_counted) == (25, 120)
    assert [step.rule for step in given.cuts] == ["cap_minutes_activity", "cap_points_month"]


def test_a_type_of_activity_has_its_own_rate_and_coefficient() -> None:
    made = rules(
        types={
            "first_aid": {"coefficient": {"numerator": 3, "denominator": 2}},
            "meeting": {"rate": {"points": 1, "minutes": 120}},
        }
    )
    assert [points(made, 240, kind=kind) for kind in ("general", "first_aid", "meeting")] == [4, 6, 2]


def test_what_was_claimed_later_counts_as_hours_only() -> None:
    given = worth(rules(), 120, "general", Source.CLAIMED_LATER, {})
    assert (given.points, given.minutes_counted) == (0, 0)
    assert given.steps == (Step("source_d", 120, 0),)
    assert worth(rules(sources=["a", "d"]), 120, "general", Source.CLAIMED_LATER, {}).points == 2


def test_points_that_were_told_are_cut_by_the_caps_on_points_only() -> None:
    made = rules(
        caps=[{"unit": "points", "per": "day", "most": 5}, {"unit": "minutes", "per": "day", "most": 1}], sources=["a"]
    )
    assert worth_of_points(made, 8, {(Unit.POINTS, Span.DAY): 2}).points == 3


def test_points_end_never_at_the_local_year_after_months_or_after_days() -> None:
    # Half past midnight of 2027 in Shanghai is still 2026 in UTC.
    now = datetime(2026, 12, 31, 16, 30, tzinfo=UTC)
    assert expires_at("never", now, SHANGHAI) is None
    assert expires_at("year_end", now, SHANGHAI) == datetime(2027, 12, 31, 15, 59, 59, tzinfo=UTC)
    assert expires_at("days:30", now, SHANGHAI) == datetime(2027, 1, 30, 16, 30, tzinfo=UTC)
    assert expires_at("months:1", now, SHANGHAI) == datetime(2027, 2, 1, 15, 59, 59, tzinfo=UTC)
    end_of_january = datetime(2027, 1, 31, 4, 0, tzinfo=UTC)
    assert expires_at("months:1", end_of_january, SHANGHAI) == datetime(2027, 2, 28, 15, 59, 59, tzinfo=UTC)
    assert expires_at("months:24", end_of_january, SHANGHAI) == datetime(2029, 1, 31, 15, 59, 59, tzinfo=UTC)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"rate": None}, "rate"),
        ({"rate": {"points": 1}}, "rate.minutes"),
        ({"rate": {"points": 1.0, "minutes": 60}}, "rate.points"),
        ({"rate": {"points": True, "minutes": 60}}, "rate.points"),
        ({"rate": {"points": 10_000, "minutes": 1}}, "rate"),
        ({"coefficient": {"numerator": 1, "denominator": 0}}, "coefficient.denominator"),
        ({"types": {"Bad Name": {}}}, "types.Bad Name"),
        ({"types": {"a": {"rat": {}}}}, "types.a.rat"),
        ({"types": {"a": {"coefficient": {"numerator": 100, "denominator": 1}}}}, None),
        ({"rounding": {"step_minutes": 0, "minutes": "down", "points": "down"}}, "rounding.step_minutes"),
        ({"rounding": {"step_minutes": 1, "minutes": "down", "points": "near"}}, "rounding.points"),
        ({"sources": ["a", "e"]}, "sources[1]"),
        ({"sources": "a"}, "sources"),
        ({"caps": [{"unit": "minutes", "per": "week", "most": 1}]}, "caps[0].per"),
        ({"caps": [{"unit": "times", "per": "day", "most": 1}]}, "caps[0].unit"),
        ({"caps": [{"unit": "points", "per": "day", "most": 0}]}, "caps[0].most"),
        ({"redemptions": [{"unit": "minutes", "per": "day", "most": 1}]}, "redemptions[0].unit"),
        ({"notice_working_days": -1}, "notice_working_days"),
        ({"expiry": "months:0"}, "expiry"),
        ({"expiry": 12}, "expiry"),
        ({"stars_hours": [300, 100]}, "stars_hours"),
        ({"balance_cap": "many"}, "balance_cap"),
        ({"balence_cap": 1}, "balence_cap"),
    ],
)
def test_a_document_that_is_wrong_names_the_field(changes: dict[str, Any], field: str | None) -> None:
    if field is None:
        rules(**changes)
        return
    with pytest.raises(DomainError) as refused:
        rules(**changes)
    assert refused.value.code == "rules_invalid"
    assert refused.value.fields["field"] == field


@pytest.mark.parametrize("document", [None, [], 5, {}])
def test_a_document_is_an_object_with_its_fields(document: object) -> None:
    with pytest.raises(DomainError, match="rules_invalid"):
        read(document, 1)


def test_every_preset_is_a_document_and_none_is_like_another() -> None:
    found = {one["name"]: read(one["document"], 1) for one in preset_documents()}
    assert len(found) == 5
    assert found["one-hour-ten-points"].earning.rate == (10, 60)
    assert found["two-hours-per-activity"].caps == (Cap(Unit.MINUTES, Span.ACTIVITY, 120),)
    assert found["two-hours-per-activity"].balance_cap == 1500
    assert found["year-end-expiry"].expiry == "year_end"
    assert found["only-own-code"].sources == {CODE}
    assert len({json.dumps(one["document"], sort_keys=True) for one in preset_documents()}) == 5


@given(documents)
def test_no_rule_makes_more_than_the_ledger_takes(document: dict[str, Any]) -> None:
    assert points(read(document, 1), 1440) <= MAX_POINTS


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("event", Event)
def test_what_is_not_in_the_table_is_refused(state: State, event: Event) -> None:
    if (state, event) in TRANSITIONS:
        assert follow(state, event) is TRANSITIONS[state, event]
    else:
        with pytest.raises(DomainError):
            follow(state, event)


def test_points_are_booked_by_one_way_only() -> None:
    assert [key for key, after in TRANSITIONS.items() if after is State.FINAL] == [(State.APPROVED, Event.FINALISED)]


def test_the_diagram_has_every_arrow() -> None:
    assert len(mermaid().splitlines()) == len(TRANSITIONS) + 2


def test_the_page_draws_the_table() -> None:
    page = Path(__file__).parents[3] / "docs" / "volunteering.md"
    assert f"```mermaid\n{mermaid()}\n```" in page.read_text("utf-8")
