"""A clock that may be wrong ends no points and closes no day until a person has confirmed the date."""

from datetime import datetime, timedelta

import pytest
from ledger_world import EXPIRED, START, Scheme, capture, credit, days, gift, hold, reversal, void
from sqlalchemy import func, select

from jishan_server import db
from jishan_server.ledger import clock, tables
from jishan_server.ledger.clock import is_doubtful
from jishan_server.ledger.model import Booked, Refused
from jishan_server.ledger.store import book, close_days

SECOND = timedelta(seconds=1)
# A clock that lost its battery, one that was set to last month, one whose year is mistyped.
WRONG = [datetime(1970, 1, 2, tzinfo=START.tzinfo), days(-30), days(366)]


def standing(scheme: Scheme, who: str = "li") -> tuple[int, int, int]:
    """Available, held, and what ended in the whole scheme."""
    found = scheme.balance(who)
    return found.available, found.held, scheme.balance(EXPIRED).posted


def checks(scheme: Scheme) -> list[bool]:
    """Each doubt and each confirmation so far."""
    with scheme.engine.connect() as connection:
        query = select(tables.clock_checks.c.is_doubted).order_by(tables.clock_checks.c.number)
        return list(connection.execute(query).scalars())


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(-6, True), (-5, False), (0, False), (2 * 86_400, False), (2 * 86_400 + 1, True), (-(10**9), True), (10**9, True)],
)
def test_a_clock_is_doubted_behind_the_newest_row_and_two_days_ahead_of_it(seconds: int, expected: bool) -> None:
    known_ms = db.to_ms(START)
    assert is_doubtful(known_ms, False, known_ms + seconds * 1_000) is expected
    assert is_doubtful(known_ms, True, known_ms + seconds * 1_000)
    assert not is_doubtful(0, False, known_ms + seconds * 1_000)


def test_a_ledger_without_a_row_doubts_no_clock(scheme: Scheme) -> None:
    assert scheme.doubt(days(-400)) is None
    scheme.unconfirmed(credit("c1", "li", 5), at=days(400))
    assert (scheme.doubt(days(400)), checks(scheme)) == (None, [])


def test_a_clock_far_ahead_ends_nothing_until_a_person_confirms_the_date(scheme: Scheme) -> None:
    scheme.booked(credit("c1", "li", 5, expires_at=days(3)), credit("c2", "li", 3))
    assert scheme.unconfirmed(hold("h1", "li", 2), at=days(3)) == [Booked("h1", False, 1)]
    assert standing(scheme) == (6, 2, 0)
    # What was booked does not make the clock right, and neither does the next day.
    assert scheme.unconfirmed(capture("k1", "h1"), at=days(3) + SECOND) == [Booked("k1", False, 1)]
    assert scheme.unconfirmed(hold("h2", "li", 2), at=days(4)) == [
        Refused("h2", "not_enough_points", {"needed": 2, "available": 1})
    ]
    assert checks(scheme) == [True]
    doubt = scheme.doubt(days(4))
    assert doubt is not None
    assert doubt.known_at == START
    scheme.confirm(days(4))
    assert scheme.doubt(days(4)) is None
    assert scheme.unconfirmed(hold("h3", "li", 1), at=days(4)) == [Booked("h3", False, 0)]
    assert standing(scheme) == (0, 1, 5)
    assert checks(scheme) == [True, False]
    assert scheme.verify().ok


def test_what_may_have_ended_is_not_spent_meanwhile(scheme: Scheme) -> None:
    scheme.booked(credit("c1", "li", 5, expires_at=days(3)), credit("c2", "li", 3, expires_at=days(90)))
    before = scheme.everything()
    answers = scheme.unconfirmed(hold("h1", "li", 4), gift("g1", "li", "wang", 4), at=days(5))
    assert [one.code for one in answers if isinstance(one, Refused)] == ["not_enough_points"] * 2
    assert scheme.everything() == before
    # A hold takes from the points that live, and leaves the ended ones to end.
    assert isinstance(scheme.unconfirmed(hold("h2", "li", 3), at=days(5))[0], Booked)
    assert standing(scheme) == (5, 3, 0)
    scheme.confirm(days(5))
    scheme.unconfirmed(void("v2", "h2"), at=days(5))
    assert standing(scheme) == (3, 0, 5)
    assert scheme.verify().ok


def test_what_comes_in_meanwhile_is_spent(scheme: Scheme) -> None:
    scheme.booked(credit("c1", "li", 5, expires_at=days(3)))
    answers = scheme.unconfirmed(credit("c2", "li", 4), hold("h1", "li", 4), hold("h2", "li", 1), at=days(5))
    assert [isinstance(one, Booked) for one in answers] == [True, True, False]
    assert standing(scheme) == (5, 4, 0)
    # A reversal takes the points of its own credit, ended or not.
    assert isinstance(scheme.unconfirmed(reversal("r1", "c1"), at=days(5))[0], Booked)
    assert scheme.verify().ok


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_clock_that_is_set_right_again_leaves_everything_as_it_was(scheme: Scheme, wrong: datetime) -> None:
    scheme.booked(credit("c1", "li", 5, expires_at=days(30)), credit("c2", "wang", 1))
    assert scheme.doubt(wrong) is not None
    scheme.unconfirmed(credit("c3", "wang", 1), hold("h1", "li", 1), at=wrong)
    assert standing(scheme)[2] == 0
    # Set right, but doubted still: it may be wrong in another way now.
    assert scheme.doubt(days(1)) is not None
    scheme.confirm(days(1))
    for number in range(2):
        scheme.unconfirmed(credit(f"d{number}", "wang", 1), at=days(1 + number))
        assert scheme.doubt(days(1 + number)) is None
    scheme.unconfirmed(hold("h2", "li", 1), at=days(2))
    assert scheme.balance("li").posted == 5
    assert checks(scheme) == [True, False]
    assert scheme.verify().ok


def test_a_doubt_under_which_nothing_was_booked_ends_with_the_wrong_clock(scheme: Scheme) -> None:
    scheme.booked(credit("c1", "li", 5))
    assert scheme.doubt(days(-1)) is not None
    assert scheme.doubt(START + SECOND) is None
    assert checks(scheme) == []


def test_a_confirmed_clock_is_doubted_again_when_it_jumps_again(scheme: Scheme) -> None:
    scheme.booked(credit("c1", "li", 5))
    scheme.confirm(days(10))
    assert scheme.doubt(days(12)) is None
    assert scheme.doubt(days(12) + SECOND) is not None
    assert scheme.doubt(days(9)) is not None


def test_no_day_is_closed_by_a_doubted_clock(scheme: Scheme) -> None:
    scheme.booked(credit("c1", "li", 5))
    with db.writing(scheme.engine) as connection:
        for wrong in WRONG:
            assert close_days(connection, wrong) == []
        assert connection.execute(select(func.count()).select_from(tables.days)).scalar() == 0
        assert close_days(connection, days(1)) == ["2026-01-01"]


def test_a_batch_that_is_undone_leaves_no_doubt(scheme: Scheme) -> None:
    scheme.booked(credit("c1", "li", 5))
    with db.connect_for_writing(scheme.engine) as connection:
        book(connection, [credit("c2", "li", 5)], days(9))
        connection.rollback()
    assert (checks(scheme), scheme.doubt(days(1))) == ([], None)


def test_a_small_step_back_of_the_clock_is_none_of_it(scheme: Scheme) -> None:
    scheme.booked(credit("c1", "li", 5))
    scheme.unconfirmed(credit("c2", "li", 5), at=START - 5 * SECOND)
    assert checks(scheme) == []


def test_a_quiet_month_of_a_server_that_runs_is_no_jump(scheme: Scheme) -> None:
    scheme.booked(credit("c1", "li", 5, expires_at=days(20)))
    for hours in range(0, 30 * 24, 6):
        with db.writing(scheme.engine) as connection:
            clock.keep(connection, START + timedelta(hours=hours))
    assert scheme.doubt(days(30)) is None
    assert len(checks(scheme)) == 29
    # A jump between two looks is one, and is not kept.
    with db.writing(scheme.engine) as connection:
        clock.keep(connection, days(40))
    assert scheme.doubt(days(40)) is not None
    scheme.unconfirmed(credit("c2", "li", 1), at=days(40))
    with db.writing(scheme.engine) as connection:
        clock.keep(connection, days(41))
    assert scheme.doubt(days(41)) is not None
    scheme.confirm(days(41))
    scheme.unconfirmed(credit("c3", "li", 1), at=days(41))
    assert standing(scheme)[2] == 5
    assert scheme.verify().ok
