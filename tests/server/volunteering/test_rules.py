"""What a credit is worth, and when it ends."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jishan_server.errors import DomainError
from jishan_server.volunteering.rules import CreditRules, expires_at, points_of


@given(st.integers(60, 1440))
def test_an_hour_is_a_point_and_the_rest_is_dropped(minutes: int) -> None:
    assert points_of(CreditRules(), minutes, None) == minutes // 60


def test_the_rate_is_a_setting() -> None:
    assert points_of(CreditRules(minutes_per_point=6), 60, None) == 10
    assert points_of(CreditRules(minutes_per_point=6), None, 7) == 7


@pytest.mark.parametrize(
    ("minutes", "points", "code"),
    [
        (None, None, "credit_amount"),
        (60, 1, "credit_amount"),
        (0, None, "minutes_invalid"),
        (1441, None, "minutes_invalid"),
        (59, None, "credit_too_short"),
        (None, 0, "points_invalid"),
        (None, -1, "points_invalid"),
        (None, 1_000_001, "points_invalid"),
    ],
)
def test_what_is_worth_nothing_is_refused(minutes: int | None, points: int | None, code: str) -> None:
    with pytest.raises(DomainError, match=code):
        points_of(CreditRules(), minutes, points)


def test_points_end_never_at_the_local_year_or_after_days() -> None:
    # Half past midnight of 2027 in Shanghai is still 2026 in UTC.
    now = datetime(2026, 12, 31, 16, 30, tzinfo=UTC)
    assert expires_at(CreditRules(), now) is None
    ends = expires_at(CreditRules(expiry="year_end"), now)
    assert ends is not None
    assert ends.astimezone(UTC) == datetime(2027, 12, 31, 15, 59, 59, tzinfo=UTC)
    assert expires_at(CreditRules(expiry="days:30"), now) == datetime(2027, 1, 30, 16, 30, tzinfo=UTC)
