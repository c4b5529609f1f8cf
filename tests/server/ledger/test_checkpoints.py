"""Checkpoints: the fold of a long account goes on from one, and no answer is another for it."""

from __future__ import annotations

from datetime import timedelta
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_world import RESIDENTS, Scheme, capture, credit, days, hold, reversal, void
from sqlalchemy import select
from test_lots import Memory, play, steps

from jishan_server import db
from jishan_server.ledger import history, lots, operations, tables
from jishan_server.ledger.digest import SCHEME_ZONE
from jishan_server.ledger.model import Transfer
from jishan_server.ledger.store import book, close_days
from jishan_server.ledger.verify import Break
from jishan_server.writer import Operation


@settings(max_examples=300, deadline=None)
@given(steps, st.integers(0, 60))
def test_a_fold_from_any_cut_is_the_fold_from_the_start(entries: list[object], cut: int) -> None:
    memory = Memory()
    play(memory, entries, lambda _, __: None)
    for account in ("res:li", "res:wang"):
        found = memory.entries(account)
        packed = lots.pack(lots.lots(found[:cut]))
        whole = lots.pack(lots.lots(found))
        try:
            assert lots.pack(lots.lots(found[cut:], packed)) == whole
        except lots.BeforeTheCut as error:
            (debit,) = error.args
            assert debit in {entry.sequence for entry in found[:cut]}


def test_a_hold_that_is_open_across_the_cut_returns_to_its_lots() -> None:
    memory = Memory()
    memory.book(credit("late", "li", 5, expires_at=days(9)), credit("soon", "li", 5, expires_at=days(3)))
    memory.book(hold("h", "li", 7))
    cut = len(memory.entries("res:li"))
    packed = lots.pack(memory.lots("res:li"))
    memory.book(void("v", "h"))
    after = lots.lots(memory.entries("res:li")[cut:], packed)
    soon, late = (memory.transfers[id].sequence for id in ("soon", "late"))
    assert [(lot.source, lot.left) for lot in after.available()] == [(soon, 5), (late, 5)]


def test_a_debit_from_before_the_cut_that_is_taken_back_asks_for_the_whole_history() -> None:
    memory = Memory()
    memory.book(credit("c", "li", 5, expires_at=days(9)), hold("h", "li", 5), capture("k", "h"))
    cut = len(memory.entries("res:li"))
    packed = lots.pack(memory.lots("res:li"))
    assert packed == '{"lots":[],"holds":{}}'
    memory.book(reversal("r", "k"))
    with pytest.raises(lots.BeforeTheCut):
        lots.lots(memory.entries("res:li")[cut:], packed)


# On the databases


def _kept(scheme: Scheme) -> dict[str, int]:
    """The row up to which each account has a checkpoint."""
    a, c = tables.accounts.c, tables.checkpoints.c
    with scheme.engine.connect() as connection:
        query = select(a.id, c.sequence).where(a.number == c.number, c.sequence > 0)
        return dict(connection.execute(query).all())  # type: ignore[arg-type]


def _folds(scheme: Scheme, *, is_whole: bool) -> dict[str, str]:
    """The lots of every resident, from the first row or as the ledger folds them."""
    a, b = tables.accounts.c, tables.balances.c
    found = {}
    with scheme.engine.connect() as connection:
        for resident in RESIDENTS:
            query = select(a.number, b.last_sequence).where(a.id == f"res:{resident}", a.number == b.number)
            number, last = connection.execute(query).one()
            folded = (
                lots.lots(history.entries(connection, number, last))
                if is_whole
                else history.fold(connection, number, last).lots
            )
            found[resident] = lots.pack(folded)
    return found


def _anything(chance: Random, scheme: Scheme, name: str, at_day: int, holds: list[str], done: list[str]) -> Transfer:
    """One transfer of a random kind; many will be refused."""
    who = chance.choice(RESIDENTS)
    match chance.choice(["credit", "credit", "hold", "hold", "capture", "void", "reverse"]):
        case "hold":
            holds.append(name)
            return hold(name, who, chance.randint(1, 6))
        case "capture" if holds:
            done.append(name)
            return capture(name, chance.choice(holds))
        case "void" if holds:
            return void(name, chance.choice(holds))
        case "reverse" if done:
            return reversal(name, chance.choice(done))
    done.append(name)
    life = chance.choice([None, 1, 5, 20])
    return credit(name, who, chance.randint(1, 9), expires_at=None if life is None else days(at_day + life))


@pytest.mark.parametrize("seed", range(6))
def test_checkpoints_at_random_places_change_no_answer(
    scheme: Scheme, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "CHECKPOINT_ENTRIES", 7)
    chance = Random(seed)
    holds: list[str] = []
    done: list[str] = []
    for day in range(25):
        batch = [_anything(chance, scheme, f"t{day}-{n}", day, holds, done) for n in range(6)]
        scheme.book(*batch, at=days(day))
        assert _folds(scheme, is_whole=False) == _folds(scheme, is_whole=True)
    assert _kept(scheme)
    assert scheme.verify().checked["checkpoints"] == len(_kept(scheme))
    before = {resident: scheme.balance(resident) for resident in RESIDENTS}
    with db.writing(scheme.engine) as connection:
        connection.execute(tables.checkpoints.delete())
    assert {resident: scheme.balance(resident) for resident in RESIDENTS} == before
    assert scheme.verify().ok


def _grow(scheme: Scheme, entries: int) -> None:
    """Give li a long account on the first day."""
    for start in range(0, entries, 500):
        scheme.booked(*(credit(f"c{n}", "li", 1) for n in range(start, min(start + 500, entries))))


def test_the_timer_keeps_the_checkpoint_of_an_account_that_nobody_looks_at(scheme: Scheme) -> None:
    _grow(scheme, 1_100)
    scheme.booked(credit("other", "wang", 1), hold("open", "li", 3))
    with db.writing(scheme.engine) as connection:
        assert history.keep_due(connection) == 0
        assert close_days(connection, days(1)) == ["2026-01-01"]
    with db.connect_for_writing(scheme.engine) as connection:
        operations.days(connection, [Operation("o1", operations.DAYS, None)], days(1), SCHEME_ZONE)
        connection.commit()
    assert list(_kept(scheme)) == ["res:li"]
    with db.writing(scheme.engine) as connection:
        assert history.keep_due(connection) == 0
    with scheme.engine.connect() as connection:
        number, last = connection.execute(
            select(tables.balances.c.number, tables.balances.c.last_sequence)
            .join(tables.accounts, tables.accounts.c.number == tables.balances.c.number)
            .where(tables.accounts.c.id == "res:li")
        ).one()
        assert history.fold(connection, number, last).entries == 0
    scheme.booked(void("back", "open"))
    assert scheme.balance("li").available == 1_100
    assert scheme.verify().ok


def test_a_fold_of_a_thousand_entries_inside_a_booking_is_kept_with_it(scheme: Scheme) -> None:
    _grow(scheme, 1_000)
    scheme.booked(credit("ends", "li", 5, expires_at=days(2)))
    assert _kept(scheme) == {}
    scheme.booked(hold("h", "li", 1), at=days(2))
    assert list(_kept(scheme)) == ["res:li"]
    assert scheme.verify().ok


def test_a_booking_that_is_undone_keeps_no_checkpoint(scheme: Scheme) -> None:
    _grow(scheme, 1_000)
    scheme.booked(credit("ends", "li", 5, expires_at=days(1)))
    with db.connect_for_writing(scheme.engine) as connection:
        book(connection, [hold("h", "li", 1)], days(1) + timedelta(hours=1))
        connection.rollback()
    assert _kept(scheme) == {}
    assert scheme.verify().ok


@pytest.mark.parametrize(
    "change",
    [
        "lots = replace(lots, '\"lots\":[[', '\"lots\":[[1,1,null,1,0],[')",
        "lots = 'nothing'",
        "sequence = sequence - 1",
        "sequence = sequence + 4096000",
    ],
)
def test_a_checkpoint_that_is_not_the_fold_of_its_rows_is_named(scheme: Scheme, change: str) -> None:
    _grow(scheme, 1_000)
    scheme.booked(credit("ends", "li", 5, expires_at=days(1)))
    scheme.booked(hold("h", "li", 1), at=days(1))
    assert scheme.verify().ok
    with db.writing(scheme.engine) as connection:
        connection.exec_driver_sql(f"UPDATE checkpoints SET {change} WHERE sequence > 0")
    report = scheme.verify()
    assert isinstance(report.first_break, Break)
    assert (report.first_break.rule, report.first_break.row) == ("checkpoints", "res:li")
