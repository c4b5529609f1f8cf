"""Credits, notices, corrections, reversals, spending and returns in any order: figures follow from what was decided.

The model knows three sentences only. What is booked and not taken back is there, less what was spent, plus what came
back; hours are those of the same credits; and what comes back comes back whole, whatever a cap says.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.append(str(Path(__file__).parent))

from office import opened
from test_crediting import WHY, Desk

from jishan_server.db import writing
from jishan_server.ledger import clock
from jishan_server.ledger.model import Cause, Kind, Refused, Transfer
from jishan_server.ledger.store import book
from jishan_server.organizations.calendar import Calendar
from jishan_server.people.accounts import account_of

RESIDENT = 1
NOTICE_DAYS = 2
CAP = 12

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["record", "approve", "approve", "correct", "reverse", "object", "spend", "return", "wait"]),
        st.integers(0, 9),
        st.integers(1, 7),
    ),
    min_size=6,
    max_size=14,
)


@pytest.fixture(scope="module")
def desk(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """One server for all examples: each begins where the one before it ended."""
    with opened(sqlite_template, tmp_path_factory.mktemp("any-order"), token_hours=24 * 30) as made:
        found = Desk(made)
        found.rules(notice_working_days=NOTICE_DAYS, balance_cap=CAP)
        found.at("2026-03-03T10:00:00")
        yield found


class Account:
    """One resident's account from here on, and what was decided about it."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.office = desk.office
        self.office._tokens.clear()
        self.began = self.figures()
        self.credits: list[str] = []
        self.spent: list[tuple[str, int]] = []
        self.returned = 0
        self.number = 0

    def figures(self) -> tuple[int, int]:
        """(points without what is owed, minutes of valid service)."""
        shown = self.office.ok("GET", f"/residents/{self.desk.people[RESIDENT].id}/balance")
        return shown["posted_points"] - shown["owed_points"], self.desk.minutes(RESIDENT)

    def step(self, what: str, which: int, size: int) -> None:
        """Do one thing; what the rules refuse changes nothing."""
        match what:
            case "record":
                self.credits.append(self.desk.record(RESIDENT, size * 60)["id"])
            case "approve":
                self.ask(which, "approve", {}, as_="secretary")
            case "correct":
                if (new := self.ask(which, "correct", {"minutes": size * 60} | WHY, as_="approver")) is not None:
                    self.credits.append(new["id"])
            case "reverse":
                self.ask(which, "reverse", WHY, as_="approver")
            case "object":
                self.ask(which, "objections", {"reason": "x"}, as_="approver")
            case "spend":
                self.spend(size)
            case "return":
                self.give_back()
            case _:
                self.wait(size % 3)

    def wait(self, days: int) -> None:
        """Days pass, with somebody who confirms the date, as on a server that nobody used for long."""
        self.office.tick(days=days)
        with writing(self.office.parts.engine) as connection:
            if clock.doubt(connection, self.office.now) is not None:
                clock.confirm(connection, self.office.now, "staff-1")
        self.desk.turn()

    def ask(self, which: int, what: str, body: dict[str, Any], as_: str) -> dict[str, Any] | None:
        if not self.credits:
            return None
        id = self.credits[which % len(self.credits)]
        answer = self.office.send("POST", f"/credits/{id}/{what}", body, as_=as_)
        assert answer.status_code < 500, answer.text
        return answer.get_json() if answer.status_code < 300 else None

    def spend(self, points: int) -> None:
        hold, capture = f"{self.fresh()}h", f"{self.fresh()}c"
        account = account_of(self.desk.people[RESIDENT].id)
        words: dict[str, Any] = {"cause": Cause("test", hold), "actor": "test", "reason": "test"}
        wanted = Transfer(hold, Kind.HOLD, account, "sys:redeemed:jiangpan", points, **words)
        with writing(self.office.parts.engine) as connection:
            (held,) = book(connection, [wanted], self.office.now)
            if not isinstance(held, Refused):
                book(
                    connection, [Transfer(capture, Kind.CAPTURE, "", "", 0, pending_id=hold, **words)], self.office.now
                )
                self.spent.append((capture, points))

    def give_back(self) -> None:
        if not self.spent:
            return
        capture, points = self.spent.pop()
        before = self.figures()[0]
        words: dict[str, Any] = {"cause": Cause("test", self.fresh()), "actor": "test", "reason": "test"}
        back = Transfer(self.fresh(), Kind.REVERSAL, "", "", 0, reverses_id=capture, **words)
        with writing(self.office.parts.engine) as connection:
            (done,) = book(connection, [back], self.office.now)
        assert not isinstance(done, Refused)
        assert self.figures()[0] == before + points, "a cap bound what came back"

    def fresh(self) -> str:
        self.number += 1
        return f"any-{next(self.office.keys)}-{self.number}"

    def check(self) -> None:
        """What is there is what was decided."""
        shown = [self.office.ok("GET", f"/credits/{id}") for id in self.credits]
        booked = [one for one in shown if one["state"] == "final"]
        points = sum(one["booked_points"] for one in booked) - sum(points for _, points in self.spent)
        minutes = sum(one["minutes"] for one in booked)
        now = self.figures()
        assert (now[0] - self.began[0], now[1] - self.began[1]) == (points, minutes)
        for one in shown:
            assert one["booked_points"] is None or one["booked_points"] <= one["points"]
            replaced = [other for other in shown if other["corrects_id"] == one["id"] and other["state"] == "final"]
            assert len(replaced) <= 1
            assert not replaced or one["state"] == "reversed"


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=STEPS)
def test_the_figures_follow_from_what_was_decided_in_whatever_order(desk: Desk, steps: list[Any]) -> None:
    account = Account(desk)
    for what, which, size in steps:
        account.step(what, which, size)
    account.check()
    # After the longest notice, whatever was approved and is not objected to is booked.
    for _ in range(5):
        account.wait(1)
    account.check()
    assert "approved" not in {desk.state({"id": id}) for id in account.credits}
    assert desk.is_sound()


@settings(max_examples=200, deadline=None)
@given(days=st.integers(0, 15), begun=st.integers(0, 364), holidays=st.sets(st.integers(0, 400), max_size=40))
def test_a_notice_holds_that_many_whole_working_days(days: int, begun: int, holidays: set[int]) -> None:
    first = date(2026, 1, 1)
    calendar = Calendar(frozenset(first + timedelta(days=one) for one in holidays), frozenset())
    approved = first + timedelta(days=begun)
    last = calendar.after(approved, days)
    assert calendar.count(approved + timedelta(days=1), last) == days
    assert days == 0 or calendar.is_working(last)
