"""Lots are a fold of the entries: properties over random histories, judged by the pure `apply` alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_world import REDEEMED, START, capture, credit, days, gift, hold, reversal, void

from jishan_server.db import from_ms, to_ms
from jishan_server.ledger.lots import Entry, Lots, lots
from jishan_server.ledger.model import (
    RETURNED_LOT_LIFE,
    Booked,
    Due,
    Facts,
    Kind,
    Known,
    Past,
    Standing,
    Transfer,
    apply,
    changes,
    estate_accounts,
    resident_accounts,
)


@dataclass
class Memory:
    """A ledger in memory: `apply` with a shell of a few lines."""

    accounts: dict[str, Standing] = field(default_factory=dict)
    transfers: dict[str, Known] = field(default_factory=dict)
    rows: list[Any] = field(default_factory=list)
    now: Any = START
    serial: int = 0

    def __post_init__(self) -> None:
        opened = estate_accounts("garden") + resident_accounts("li", "garden") + resident_accounts("wang", "garden")
        for number, one in enumerate(opened, 1):
            limits = (one.may_not_go_negative, one.may_not_go_positive)
            self.accounts[one.id] = Standing(Facts(number, one.id, *limits, one.owed_id, one.expired_id, any(limits)))

    def book(self, *batch: Transfer) -> list[Any]:
        self.serial += 1
        now_ms = to_ms(self.now)
        late = [a for a in self.accounts.values() if a.next_expiry_ms is not None and a.next_expiry_ms <= now_ms]
        folded = {one.facts.id: self.lots(one.facts.id) for one in late}
        due = {id: Due(one.ended_points(now_ms), one.next_expiry_ms(now_ms)) for id, one in folded.items()}
        ends = {row[12] for row in self.rows if row[12]}
        taken_back = {row[13] for row in self.rows if row[13]}
        past = Past(self.transfers, frozenset(ends), frozenset(taken_back), due=due)
        applied = apply(batch, self.accounts, past, self.serial, self.now)
        self.accounts |= applied.accounts
        self.rows += applied.rows
        names = {one.facts.number: id for id, one in self.accounts.items()}
        for row in applied.rows:
            self.transfers[row[1]] = Known(row[0], row[2], names[row[3]], names[row[4]], row[5], row[-1])
        return applied.answers

    def entries(self, account: str) -> list[Entry]:
        number = self.accounts[account].facts.number
        return [
            Entry(
                row[0],
                Kind(row[2]),
                row[4] == number,
                row[5],
                row[16],
                row[14] or None,
                row[12] or None,
                row[13] or None,
                is_expiry=row[1].startswith("expiry."),
            )
            for row in self.rows
            if number in (row[3], row[4])
        ]

    def lots(self, account: str) -> Lots:
        return lots(self.entries(account))


# A step of a history: what is done, with numbers that pick among what there is.
steps = st.lists(
    st.tuples(
        st.sampled_from(["credit", "credit", "hold", "hold", "gift", "capture", "void", "reverse", "wait"]),
        st.integers(1, 20),
        st.integers(0, 1_000),
        st.one_of(st.none(), st.integers(1, 40)),
    ),
    max_size=40,
)


def play(memory: Memory, history: list[Any], after: Callable[[Transfer | None, Any], None]) -> None:
    for number, (what, points, pick, life) in enumerate(history):
        id = f"t{number}"
        if what == "wait":
            memory.now += timedelta(days=points)
            after(None, None)
            continue
        expires_at = None if life is None else memory.now + timedelta(days=life)
        who, other = ("li", "wang") if pick % 2 else ("wang", "li")
        held = sorted(id for id, one in memory.transfers.items() if one.kind == Kind.HOLD)
        done = sorted(id for id, one in memory.transfers.items() if one.kind in (Kind.POST, Kind.CAPTURE))
        one: Transfer | None = None
        if what == "credit":
            one = credit(id, who, points, expires_at=expires_at)
        elif what == "gift":
            one = gift(id, who, other, points)
        elif what == "hold":
            one = hold(id, who, points)
        elif what in ("capture", "void") and held:
            one = (capture if what == "capture" else void)(id, held[pick % len(held)])
        elif what == "reverse" and done:
            one = reversal(id, done[pick % len(done)])
        if one is not None:
            (answer,) = memory.book(one)
            after(one, answer)


@settings(max_examples=300, deadline=None)
@given(steps)
def test_the_lots_sum_up_to_the_balance_at_every_moment(history: list[Any]) -> None:
    memory = Memory()

    def check(_: Transfer | None, __: Any) -> None:
        for account in ("res:li", "res:wang"):
            folded, standing = memory.lots(account), memory.accounts[account]
            assert folded.available_points() == standing.posted - standing.held >= 0
            assert folded.held_points() == standing.held
            for lot in folded.lots:
                assert 0 <= lot.left + lot.held <= lot.points
        assert sum(_posted(memory, account) for account in memory.accounts) == 0

    play(memory, history, check)


def _posted(memory: Memory, account: str) -> int:
    return sum(changes(one.kind, one.is_credit, one.points)[0] for one in memory.entries(account))


@settings(max_examples=200, deadline=None)
@given(steps)
def test_the_cached_next_expiry_is_never_later_than_the_lots_say(history: list[Any]) -> None:
    memory = Memory()

    def check(_: Transfer | None, __: Any) -> None:
        for account in ("res:li", "res:wang"):
            soonest, _points = memory.lots(account).next_expiry_points(-1)
            cached = memory.accounts[account].next_expiry_ms
            assert soonest is None or (cached is not None and cached <= soonest)

    play(memory, history, check)


@settings(max_examples=200, deadline=None)
@given(steps)
def test_no_debit_is_booked_from_points_that_have_ended(history: list[Any]) -> None:
    memory = Memory()

    def check(one: Transfer | None, answer: Any) -> None:
        if one is not None and isinstance(answer, Booked) and one.kind in (Kind.HOLD, Kind.POST):
            for account in ("res:li", "res:wang"):
                if account in (one.debit, one.credit):
                    assert memory.lots(account).ended_points(to_ms(memory.now)) == 0

    play(memory, history, check)


@settings(max_examples=200, deadline=None)
@given(steps, st.integers(1, 20))
def test_a_void_before_any_lot_ends_restores_the_lots_exactly(history: list[Any], points: int) -> None:
    memory = Memory()
    play(memory, history, lambda _, __: None)
    memory.book(credit("settled", "li", 1))
    before = [(lot.source, lot.expires_ms, lot.left) for lot in memory.lots("res:li").available()]
    (answer,) = memory.book(hold("held", "li", points))
    if isinstance(answer, Booked):
        memory.book(void("freed", "held"))
    assert [(lot.source, lot.expires_ms, lot.left) for lot in memory.lots("res:li").available()] == before


@settings(max_examples=200, deadline=None)
@given(steps)
def test_nothing_ends_while_it_is_held(history: list[Any]) -> None:
    memory = Memory()

    def check(_: Transfer | None, __: Any) -> None:
        for account in ("res:li", "res:wang"):
            folded = memory.lots(account)
            number = memory.accounts[account].facts.number
            open_points = {row[0]: row[5] for row in memory.rows if row[2] == "hold" and row[3] == number}
            for row in memory.rows:
                open_points.pop(row[12], None)
            assert set(open_points) == folded.open_holds
            for sequence, points in open_points.items():
                assert sum(part.points for part in folded.taken[sequence]) == points

    play(memory, history, check)


def test_points_that_end_soonest_are_taken_first_and_those_that_never_end_last() -> None:
    memory = Memory()
    memory.book(
        credit("never", "li", 5),
        credit("late", "li", 5, expires_at=days(9)),
        credit("soon", "li", 5, expires_at=days(3)),
    )
    memory.book(hold("h", "li", 12))
    sequence = memory.transfers["h"].sequence
    taken = [(part.lot.source, part.points) for part in memory.lots("res:li").taken[sequence]]
    soon, late, never = (memory.transfers[id].sequence for id in ("soon", "late", "never"))
    assert taken == [(soon, 5), (late, 5), (never, 2)]


def test_of_two_lots_that_end_together_the_older_is_taken_first() -> None:
    memory = Memory()
    memory.book(credit("a", "li", 5, expires_at=days(3)), credit("b", "li", 5, expires_at=days(3)))
    memory.book(hold("h", "li", 6))
    taken = [part.lot.source for part in memory.lots("res:li").taken[memory.transfers["h"].sequence]]
    assert taken == [memory.transfers["a"].sequence, memory.transfers["b"].sequence]


def test_held_points_outlive_their_end_and_a_late_void_gives_thirty_days() -> None:
    memory = Memory()
    memory.book(credit("c", "li", 5, expires_at=days(3)), hold("h", "li", 5))
    memory.now = days(100)
    memory.book(credit("d", "li", 1))
    assert memory.lots("res:li").held_points() == 5
    memory.book(void("v", "h"))
    soonest, points = memory.lots("res:li").next_expiry_points(to_ms(memory.now))
    assert (from_ms(soonest or 0), points) == (days(100) + RETURNED_LOT_LIFE, 5)


def test_the_reversal_of_a_credit_takes_its_own_lot_first() -> None:
    memory = Memory()
    memory.book(credit("soon", "li", 5, expires_at=days(3)), credit("late", "li", 5, expires_at=days(9)))
    memory.book(reversal("r", "late"))
    assert [lot.source for lot in memory.lots("res:li").available()] == [memory.transfers["soon"].sequence]


def test_the_reversal_of_a_gift_returns_it_to_the_lots_it_came_from() -> None:
    memory = Memory()
    memory.book(credit("c", "li", 5, expires_at=days(30)), gift("g", "li", "wang", 3), reversal("r", "g"))
    (lot,) = memory.lots("res:li").available()
    assert (lot.source, lot.left, lot.expires_ms) == (memory.transfers["c"].sequence, 5, to_ms(days(30)))
    assert memory.lots("res:wang").available() == []


def test_apply_changes_nothing_that_it_is_given() -> None:
    memory = Memory()
    memory.book(credit("c", "li", 5, expires_at=days(3)))
    before = {id: one.copied() for id, one in memory.accounts.items()}
    apply([hold("h", "li", 2)], memory.accounts, Past(memory.transfers), 9, START)
    assert memory.accounts == before
    assert memory.accounts[REDEEMED].last_sequence == 0


def test_a_word_with_the_separator_in_it_is_not_hashed() -> None:
    memory = Memory()
    with pytest.raises(AssertionError, match=r"U\+001F"):
        memory.book(credit("c\x1fd", "li", 5))
