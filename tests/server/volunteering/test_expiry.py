"""Points that end: warnings before, the look, the runs; what is spendable never includes what has ended."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from office import Office, opened
from sqlalchemy import func, select, update

from jishan_server import db
from jishan_server.ledger import clock
from jishan_server.ledger import tables as ledger
from jishan_server.ledger.model import (
    RETURNED_LOT_LIFE,
    Cause,
    Kind,
    Refused,
    Transfer,
    estate_accounts,
    resident_accounts,
)
from jishan_server.ledger.store import balances, book, open_accounts
from jishan_server.ledger.verify import verify
from jishan_server.people.credentials import account_of
from jishan_server.people.message_tables import messages
from jishan_server.people.tables import residents
from jishan_server.volunteering import expiry
from jishan_server.volunteering.expiry_tables import bookings, warnings
from jishan_server.volunteering.rules import CreditRules
from jishan_server.writer import Operation

ADMIN = {"as_": "admin"}


class Till:
    """The office's people with points that end; its clock stands at 2026-03-02, 12:00 local."""

    def __init__(self, office: Office) -> None:
        self.office = office
        self.people = office.people.residents

    def credit(self, resident: int, points: int, ends: str | None = None) -> str:
        """Points that end at a local time."""
        ends_at = None if ends is None else local(ends)
        return self.book(Kind.POST, "sys:issuance:jiangpan", self.account(resident), points, expires_at=ends_at)

    def book(self, kind: Kind, debit: str = "", credit: str = "", points: int = 0, **more: Any) -> str:
        id = f"till-{next(self.office.keys)}"
        one = Transfer(id, kind, debit, credit, points, Cause("test", id), "staff-1", "test", **more)
        with db.writing(self.office.parts.engine) as connection:
            (answer,) = book(connection, [one], self.office.now)
        assert not isinstance(answer, Refused), answer
        return id

    def account(self, resident: int) -> str:
        return account_of(self.people[resident].id)

    def at(self, day: str) -> None:
        """Let it be this local time, whatever the clock said before; a person confirms it."""
        self.office.now = local(day)
        with db.writing(self.office.parts.engine) as connection:
            clock.confirm(connection, self.office.now, "staff-1")

    def turn(self) -> int:
        done: int = self.office.parts.writer.call(Operation(f"turn-{next(self.office.keys)}", expiry.EXPIRE, None))
        return done

    def available(self, resident: int) -> int:
        with self.office.parts.engine.connect() as connection:
            return balances(connection, [self.account(resident)])[self.account(resident)].available

    def told(self, resident: int, kind: str) -> list[tuple[int, str]]:
        """Points and day of each message of a kind."""
        m = messages.c
        query = select(m.fields).where(m.resident_id == self.people[resident].id, m.kind == kind).order_by(m.number)
        with self.office.parts.engine.connect() as connection:
            found = [json.loads(fields) for fields in connection.scalars(query)]
        return [(one["points"], one["day"]) for one in found]


def local(day: str) -> datetime:
    text = day if "T" in day else f"{day}T12:00:00"
    return datetime.fromisoformat(f"{text}+08:00").astimezone(UTC)


@pytest.fixture
def till(office: Office) -> Till:
    return Till(office)


@pytest.fixture
def here(sqlite_template: Path, tmp_path: Path) -> Iterator[Till]:
    with opened(sqlite_template, tmp_path, token_hours=24 * 400) as made:
        yield Till(made)


# Warnings


def test_people_are_warned_30_7_and_1_days_before_once_each(till: Till) -> None:
    till.credit(0, 5, "2026-04-20T23:59:59")
    till.credit(0, 3)
    told = []
    for day in ("2026-03-20", "2026-03-21", "2026-03-21T18:00", "2026-04-12", "2026-04-13", "2026-04-18", "2026-04-19"):
        till.at(day if "T" in day else f"{day}T09:00:00")
        till.turn()
        till.turn()
        told.append(len(till.told(0, "points_expiring")))
    assert told == [0, 1, 1, 1, 2, 2, 3]
    assert set(till.told(0, "points_expiring")) == {(5, "2026-04-20")}


def test_a_warning_that_was_missed_is_given_late_and_only_the_nearest(here: Till) -> None:
    here.credit(0, 5, "2026-04-20T23:59:59")
    here.at("2026-04-15")
    here.turn()
    with here.office.parts.engine.connect() as connection:
        assert list(connection.scalars(select(warnings.c.distance_days))) == [7]


def test_whoever_spends_the_points_is_not_warned(here: Till) -> None:
    here.credit(0, 5, "2026-04-20T23:59:59")
    here.book(Kind.POST, here.account(0), "sys:redeemed:jiangpan", 5)
    here.at("2026-04-13")
    here.turn()
    assert here.told(0, "points_expiring") == []


def test_each_person_and_each_day_has_its_own_warning_in_pieces(here: Till, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expiry, "MAX_ACCOUNTS", 1)
    for resident in range(3):
        here.credit(resident, resident + 1, "2026-03-10T23:59:59")
        here.credit(resident, 10, "2026-03-05T23:59:59")
    here.office.tick(minutes=1)
    # One piece for each account, and one that finds no more.
    assert [here.turn() for _ in range(5)] == [1, 1, 1, 0, 0]
    for resident in range(3):
        assert sorted(here.told(resident, "points_expiring")) == [
            (resident + 1, "2026-03-10"),
            (10, "2026-03-05"),
        ]


# Runs


def test_the_server_books_what_ended_tells_it_and_does_so_once(till: Till) -> None:
    till.credit(0, 5, "2026-03-02T20:00:00")
    till.credit(0, 2)
    till.office.now = local("2026-03-02T19:59:59")
    till.turn()
    assert till.available(0) == 7
    till.office.now = local("2026-03-02T20:00:00")
    assert till.turn() == 1
    assert (till.available(0), till.told(0, "points_expired")) == (2, [(5, "2026-03-02")])
    assert till.turn() == 0
    runs = till.office.ok("GET", "/expiry/runs", **ADMIN)["items"]
    assert [(one["id"], one["accounts"], one["points"], one["state"]) for one in runs] == [
        ("night-2026-03-02", 1, 5, "done")
    ]


def test_a_look_says_what_would_end_and_the_run_books_the_same(till: Till) -> None:
    for resident in (0, 1):
        till.credit(resident, 5 + resident, "2026-03-02T20:00:00")
    till.credit(0, 100, "2026-03-03T20:00:00")
    before = till.office.standing()
    shown = till.office.ok("GET", "/expiry/preview?day=2026-03-02&limit=1", **ADMIN)
    assert till.office.standing() == before
    assert (shown["accounts"], shown["points"], shown["is_whole"]) == (2, 11, True)
    assert shown["estates"] == [{"estate_id": "jiangpan", "accounts": 2, "points": 11}]
    again = till.office.ok("GET", f"/expiry/preview?day=2026-03-02&limit=1&cursor={shown['next_cursor']}", **ADMIN)
    assert [one["points"] for one in shown["items"] + again["items"]] == [5, 6]
    assert again["next_cursor"] is None
    till.at("2026-03-02T21:00:00")
    done = till.office.ok("POST", "/expiry/runs", {"day": "2026-03-02"}, **ADMIN)
    assert (done["state"], done["accounts"], done["points"], done["estates"]) == ("done", 2, 11, shown["estates"])
    repeated = till.office.ok("POST", "/expiry/runs", {"day": "2026-03-02"}, **ADMIN)
    assert (repeated["accounts"], repeated["points"]) == (0, 0)
    assert (till.available(0), till.available(1)) == (100, 0)


def test_a_large_run_goes_on_by_itself(here: Till, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expiry, "MAX_ACCOUNTS", 2)
    for resident in range(3):
        here.credit(resident, 5, "2026-03-02T20:00:00")
    here.office.now = local("2026-03-02T21:00:00")
    begun = here.office.ok("POST", "/expiry/runs", {"day": "2026-03-02"}, **ADMIN)
    assert (begun["state"], begun["points"]) == ("running", 10)
    here.turn()
    done = here.office.ok("GET", f"/expiry/runs/{begun['id']}", **ADMIN)
    assert (done["state"], done["accounts"], done["points"]) == ("done", 3, 15)


def test_nobody_ends_points_of_a_day_that_has_not_begun(here: Till) -> None:
    here.credit(0, 5, "2026-03-03T20:00:00")
    here.office.refused(422, "expiry_day_ahead", "POST", "/expiry/runs", {"day": "2026-03-03"}, **ADMIN)
    assert here.available(0) == 5


def test_while_the_clock_is_doubted_nothing_ends_and_nobody_is_warned(here: Till) -> None:
    here.credit(0, 5, "2026-03-02T20:00:00")
    here.credit(0, 6, "2026-03-20T20:00:00")
    here.office.now = local("2026-03-12")
    assert here.turn() == 0
    here.office.refused(409, "clock_in_doubt", "POST", "/expiry/runs", {"day": "2026-03-12"}, **ADMIN)
    assert (here.available(0), here.told(0, "points_expiring")) == (11, [])
    here.at("2026-03-12")
    here.turn()
    assert (here.available(0), here.told(0, "points_expired")) == (6, [(5, "2026-03-12")])


def test_what_ended_while_something_else_touched_the_account_is_told_when_the_day_is_closed(here: Till) -> None:
    here.credit(0, 5, "2026-03-02T20:00:00")
    here.office.now = local("2026-03-02T21:00:00")
    here.credit(0, 1)
    assert (here.available(0), here.told(0, "points_expired")) == (1, [])
    here.office.now = local("2026-03-03T01:00:00")
    here.office.parts.writer.call(Operation("days", "ledger.days", None))
    for _ in range(3):
        here.turn()
    assert here.told(0, "points_expired") == [(5, "2026-03-02")]
    with here.office.parts.engine.connect() as connection:
        assert connection.execute(select(bookings.c.run_id, bookings.c.points)).all() == [(None, 5)]


def test_a_closed_record_is_told_nothing(here: Till) -> None:
    here.credit(0, 5, "2026-03-02T20:00:00")
    with db.writing(here.office.parts.engine) as connection:
        changed = update(residents).where(residents.c.id == here.people[0].id)
        connection.execute(changed.values(closed_at=here.office.now))
    here.office.now = local("2026-03-02T21:00:00")
    here.turn()
    assert (here.available(0), here.told(0, "points_expired")) == (0, [])


# The property

START = datetime(2026, 1, 1, tzinfo=UTC)
RULES = CreditRules()
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["credit", "hold", "void", "capture", "back", "run"]),
        st.integers(1, 9),
        st.integers(0, 60),
        st.integers(0, 20),
    ),
    min_size=4,
    max_size=30,
)


class Account:
    """One account of which every step is done, and a model of what may be spent that was written apart."""

    def __init__(self, engine: Any) -> None:
        self.engine = engine
        self.now = START
        self.ids: dict[str, list[str]] = {"hold": [], "capture": []}
        self.number = 0
        # The model: [ends, available] of each lot, and the parts that each hold and capture took.
        self.lots: list[list[Any]] = []
        self.parts: dict[str, list[tuple[list[Any], int]]] = {}

    def step(self, what: str, points: int, life: int, wait: int) -> None:
        self.now += timedelta(hours=wait * 6)
        self.number += 1
        id = f"step-{self.number}"
        with db.writing(self.engine) as connection:
            if clock.doubt(connection, self.now) is not None:
                clock.confirm(connection, self.now, "staff-1")
            if what == "run":
                self.run(connection)
                return
            one = self.transfer(id, what, points, life)
            if one is None:
                return
            (answer,) = book(connection, [one], self.now)
        self.follow(one, isinstance(answer, Refused))

    def run(self, connection: Any) -> None:
        """Run twice: the second time nothing changes."""
        count = select(func.count()).select_from(ledger.transfers)
        expiry.expire(connection, [Operation("run", expiry.EXPIRE, None)], self.now, RULES)
        once = connection.scalar(count)
        expiry.expire(connection, [Operation("again", expiry.EXPIRE, None)], self.now, RULES)
        assert connection.scalar(count) == once
        self.end()
        assert balances(connection, ["res:li"])["res:li"].available == self.spendable()

    def transfer(self, id: str, what: str, points: int, life: int) -> Transfer | None:
        cause = Cause("test", id)
        match what:
            case "credit":
                ends = None if life == 0 else self.now + timedelta(hours=life * 12)
                return Transfer(id, Kind.POST, "sys:issuance:g", "res:li", points, cause, "x", "test", expires_at=ends)
            case "hold":
                return Transfer(id, Kind.HOLD, "res:li", "sys:redeemed:g", points, cause, "x", "test")
            case "back":
                if not self.ids["capture"]:
                    return None
                target = self.ids["capture"].pop(0)
                return Transfer(id, Kind.REVERSAL, "", "", 0, cause, "x", "test", reverses_id=target)
            case _:
                if not self.ids["hold"]:
                    return None
                kind = Kind.VOID if what == "void" else Kind.CAPTURE
                return Transfer(id, kind, "", "", 0, cause, "x", "test", pending_id=self.ids["hold"].pop(0))

    def end(self) -> None:
        for lot in self.lots:
            if lot[0] is not None and lot[0] <= self.now:
                lot[1] = 0

    def spendable(self) -> int:
        return sum(left for ends, left in self.lots if ends is None or ends > self.now)

    def follow(self, one: Transfer, is_refused: bool) -> None:
        """What the step does to the model."""
        self.end()
        match one.kind:
            case Kind.POST:
                assert not is_refused
                self.lots.append([one.expires_at, one.points])
            case Kind.HOLD:
                assert is_refused == (one.points > self.spendable())
                if not is_refused:
                    self.parts[one.id] = self.take(one.points)
                    self.ids["hold"].append(one.id)
            case Kind.CAPTURE:
                assert one.pending_id is not None
                self.parts[one.id] = self.parts.pop(one.pending_id)
                self.ids["capture"].append(one.id)
            case _:
                self.give_back(self.parts.pop(one.pending_id or one.reverses_id or ""))

    def take(self, points: int) -> list[tuple[list[Any], int]]:
        never = START + timedelta(days=99_999)
        parts = []
        for lot in sorted((one for one in self.lots if one[1]), key=lambda one: one[0] or never):
            taken = min(lot[1], points)
            lot[1] -= taken
            points -= taken
            if taken:
                parts.append((lot, taken))
        return parts

    def give_back(self, parts: Sequence[tuple[list[Any], int]]) -> None:
        """Into the lot, or into one that lives 30 days longer."""
        for lot, points in parts:
            if lot[0] is None or lot[0] > self.now:
                lot[1] += points
            else:
                self.lots.append([self.now + RETURNED_LOT_LIFE, points])


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=STEPS)
def test_what_may_be_spent_never_includes_what_has_ended(
    steps: list[tuple[str, int, int, int]], sqlite_template: Path, tmp_path: Path
) -> None:
    path = tmp_path / "one.db"
    for old in tmp_path.glob("one.db*"):
        old.unlink()
    shutil.copy(sqlite_template, path)
    engine = db.make_engine(f"sqlite:///{path}")
    try:
        with db.writing(engine) as connection:
            open_accounts(connection, [*estate_accounts("g"), *resident_accounts("li", "g")], START)
        account = Account(engine)
        for step in [*steps, ("run", 1, 0, 0), ("run", 1, 0, 20)]:
            account.step(*step)
        with engine.connect() as connection:
            assert verify(connection, processes=1).ok
            found = balances(connection, ["res:li"])["res:li"]
            held = sum(points for id in account.ids["hold"] for _, points in account.parts[id])
            assert (found.available, found.held) == (account.spendable(), held)
    finally:
        engine.dispose()
