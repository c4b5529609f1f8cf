"""Accounts that are merged into another, or closed: nothing is lost, nothing stays behind, nothing starts anew."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from random import Random
from typing import Any

import pytest
from ledger_world import (
    EXPIRED,
    ISSUANCE,
    RESIDENTS,
    START,
    Scheme,
    capture,
    credit,
    days,
    gift,
    hold,
    open_scheme,
    reversal,
    void,
    wait_for_a_lock,
)
from sqlalchemy import Engine, select

from jishan_server import db
from jishan_server.errors import DomainError
from jishan_server.ledger import endings, history, tables
from jishan_server.ledger.model import RETURNED_LOT_LIFE, Booked, Kind
from jishan_server.ledger.store import Line, freeze, statement


def merge(scheme: Scheme, old: str, into: str, at: Any = START) -> None:
    with db.writing(scheme.engine) as connection:
        endings.merge(connection, f"res:{old}", f"res:{into}", "staff-1", at)


def close(scheme: Scheme, one: str, at: Any = START) -> bool:
    with db.writing(scheme.engine) as connection:
        return endings.close(connection, f"res:{one}", "staff-1", at)


def is_closed(scheme: Scheme, one: str) -> bool:
    with scheme.engine.connect() as connection:
        return endings.is_closed(connection, f"res:{one}")


def ends(scheme: Scheme, of: str) -> list[tuple[Any, int]]:
    """When the available points of a resident end, and how many."""
    a, b = tables.accounts.c, tables.balances.c
    with scheme.engine.connect() as connection:
        query = select(a.number, b.last_sequence).where(a.id == f"res:{of}", a.number == b.number)
        found = history.fold(connection, *connection.execute(query).one()).lots.available()
        return [(None if lot.expires_ms is None else db.from_ms(lot.expires_ms), lot.left) for lot in found]


def lines(scheme: Scheme, of: str) -> list[Line]:
    with scheme.engine.connect() as connection:
        return statement(connection, f"res:{of}", limit=1_000)[0]


def points(scheme: Scheme, of: str) -> tuple[int, int, int]:
    """(posted, held, owed) of a resident."""
    own = scheme.balance(of)
    return own.posted, own.held, -scheme.balance(f"owed:{of}").posted


def refusal(do: Any, *what: Any) -> str:
    with pytest.raises(DomainError) as caught:
        do(*what)
    return caught.value.code


# Merging


def test_a_merge_moves_points_lot_by_lot_and_each_keeps_its_end(scheme: Scheme) -> None:
    scheme.booked(credit("late", "li", 5, expires_at=days(90)), credit("soon", "li", 3, expires_at=days(9)))
    scheme.booked(credit("never", "li", 2), credit("own", "wang", 1, expires_at=days(30)))
    merge(scheme, "li", "wang")
    assert (points(scheme, "li"), points(scheme, "wang")) == ((0, 0, 0), (11, 0, 0))
    assert ends(scheme, "wang") == [(days(9), 3), (days(30), 1), (days(90), 5), (None, 2)]
    moved = [line for line in lines(scheme, "wang") if line.cause_type == "merge"]
    assert [(line.cause_id, line.posted_change, line.other_account) for line in moved] == [
        ("never", 2, "res:li"),
        ("late", 5, "res:li"),
        ("soon", 3, "res:li"),
    ]
    assert {line.reason for line in moved} == {"account_merged"}
    assert scheme.verify().checked["endings"] == 2
    scheme.booked(hold("h", "wang", 1), at=days(10))
    assert scheme.balance(EXPIRED).posted == 3


def test_points_that_have_ended_do_not_move(scheme: Scheme) -> None:
    scheme.booked(credit("gone", "li", 5, expires_at=days(1)), credit("stays", "li", 2))
    scheme.confirm(days(2))
    merge(scheme, "li", "wang", days(2))
    assert (points(scheme, "wang"), scheme.balance(EXPIRED).posted) == ((2, 0, 0), 5)
    assert scheme.verify().ok


def test_an_open_hold_ends_on_the_old_account_and_what_returns_moves_on(scheme: Scheme) -> None:
    scheme.booked(credit("c", "li", 10, expires_at=days(30)), hold("taken", "li", 4), hold("freed", "li", 3))
    merge(scheme, "li", "wang")
    assert (points(scheme, "li"), points(scheme, "wang")) == ((7, 7, 0), (3, 0, 0))
    assert scheme.verify().ok
    scheme.booked(capture("k", "taken"))
    scheme.booked(void("v", "freed"))
    assert (points(scheme, "li"), points(scheme, "wang")) == ((0, 0, 0), (6, 0, 0))
    assert ends(scheme, "wang") == [(days(30), 3), (days(30), 3)]
    assert scheme.verify().ok
    # Said again, nothing moves again.
    (again,) = scheme.book(void("v", "freed"))
    assert isinstance(again, Booked)
    assert again.is_replay
    assert points(scheme, "wang") == (6, 0, 0)


def test_what_returns_after_its_end_lives_thirty_days_with_the_survivor(scheme: Scheme) -> None:
    scheme.booked(credit("c", "li", 10, expires_at=days(3)), hold("h", "li", 4))
    merge(scheme, "li", "wang")
    scheme.booked(void("v", "h"), at=days(50))
    assert ends(scheme, "wang") == [(days(50) + RETURNED_LOT_LIFE, 4)]
    assert scheme.balance(EXPIRED).posted == 6
    assert scheme.verify().ok


def test_the_reversal_of_an_old_debit_moves_on(scheme: Scheme) -> None:
    scheme.booked(credit("c", "li", 10, expires_at=days(30)), hold("h", "li", 4), capture("k", "h"))
    merge(scheme, "li", "wang")
    scheme.booked(reversal("r", "k"))
    assert (points(scheme, "li"), points(scheme, "wang")) == ((0, 0, 0), (10, 0, 0))
    assert ends(scheme, "wang") == [(days(30), 6), (days(30), 4)]
    assert scheme.verify().ok


def test_a_late_credit_moves_on_with_its_end(scheme: Scheme) -> None:
    merge(scheme, "li", "wang")
    scheme.booked(credit("c", "li", 5, expires_at=days(30)))
    assert (points(scheme, "li"), ends(scheme, "wang")) == ((0, 0, 0), [(days(30), 5)])
    assert scheme.verify().ok


def test_what_is_owed_moves_too_and_later_credits_pay_it(scheme: Scheme) -> None:
    scheme.booked(credit("c", "li", 5), hold("h", "li", 5), capture("k", "h"), reversal("r", "c"))
    assert points(scheme, "li") == (0, 0, 5)
    merge(scheme, "li", "wang")
    assert (points(scheme, "li"), points(scheme, "wang")) == ((0, 0, 0), (0, 0, 5))
    scheme.booked(credit("d", "wang", 7))
    assert points(scheme, "wang") == (2, 0, 0)
    assert scheme.verify().ok


def test_what_is_owed_is_paid_from_what_the_survivor_has(scheme: Scheme) -> None:
    scheme.booked(credit("c", "li", 5), hold("h", "li", 5), capture("k", "h"), reversal("r", "c"))
    scheme.booked(credit("d", "wang", 7))
    merge(scheme, "li", "wang")
    assert (points(scheme, "li"), points(scheme, "wang")) == ((0, 0, 0), (2, 0, 0))
    assert scheme.verify().ok


def test_the_survivors_debt_is_paid_by_the_points_that_come(scheme: Scheme) -> None:
    scheme.booked(credit("c", "wang", 5), hold("h", "wang", 5), capture("k", "h"), reversal("r", "c"))
    scheme.booked(credit("d", "li", 7))
    merge(scheme, "li", "wang")
    assert (points(scheme, "li"), points(scheme, "wang")) == ((0, 0, 0), (2, 0, 0))
    assert scheme.verify().ok


def test_the_reversal_of_an_old_credit_is_paid_by_the_survivor_and_the_rest_is_owed_there(scheme: Scheme) -> None:
    scheme.booked(credit("c", "li", 9))
    merge(scheme, "li", "wang")
    scheme.booked(hold("h", "wang", 5), capture("k", "h"))
    scheme.booked(reversal("r", "c"))
    assert (points(scheme, "li"), points(scheme, "wang")) == ((0, 0, 0), (0, 0, 5))
    assert scheme.balance(ISSUANCE).posted == 0
    assert scheme.verify().ok


def test_a_debt_held_for_an_item_that_was_owed_moves_on_too(scheme: Scheme) -> None:
    owed = hold("h", "li", 4)
    owed = type(owed)(owed.id, Kind.HOLD, "owed:li", owed.credit, 4, owed.cause, owed.actor, owed.reason)
    scheme.booked(owed)
    merge(scheme, "li", "wang")
    scheme.booked(credit("c", "wang", 3))
    scheme.booked(capture("k", "h"))
    assert (points(scheme, "li"), points(scheme, "wang")) == ((0, 0, 0), (0, 0, 1))
    assert scheme.verify().ok


def test_a_merged_account_starts_nothing_any_more(scheme: Scheme) -> None:
    scheme.booked(credit("c", "li", 5))
    merge(scheme, "li", "wang")
    assert scheme.refused(hold("h", "li", 1)) == "account_merged"
    assert scheme.refused(gift("g", "li", "zhao", 1)) == "account_merged"


def test_a_chain_of_mergers_leads_to_its_end(scheme: Scheme) -> None:
    scheme.booked(credit("c", "li", 10, expires_at=days(30)), hold("h", "li", 4), credit("d", "wang", 1))
    merge(scheme, "li", "wang")
    merge(scheme, "wang", "zhao")
    assert [points(scheme, one) for one in RESIDENTS] == [(4, 4, 0), (0, 0, 0), (7, 0, 0)]
    scheme.booked(void("v", "h"), credit("late", "li", 2), credit("later", "wang", 3))
    assert [points(scheme, one) for one in RESIDENTS] == [(0, 0, 0), (0, 0, 0), (16, 0, 0)]
    scheme.booked(reversal("r", "c"))
    assert points(scheme, "zhao") == (6, 0, 0)
    assert scheme.verify().ok


def test_a_merge_that_makes_no_sense_is_refused_and_changes_nothing(scheme: Scheme) -> None:
    scheme.booked(credit("c", "li", 5))
    merge(scheme, "li", "wang")
    before = scheme.everything()
    assert refusal(merge, scheme, "wang", "wang") == "same_account"
    assert refusal(merge, scheme, "wang", "li") == "account_merged"
    assert refusal(merge, scheme, "li", "zhao") == "account_merged"
    assert refusal(merge, scheme, "zhao", "li") == "account_merged"
    assert refusal(merge, scheme, "zhao", "nobody") == "account_unknown"
    with db.writing(scheme.engine) as connection:
        freeze(connection, ["res:zhao"], True)
    assert refusal(merge, scheme, "zhao", "wang") == "account_frozen"
    assert refusal(merge, scheme, "wang", "zhao") == "account_frozen"
    with db.writing(scheme.engine) as connection:
        freeze(connection, ["res:zhao"], False)
    assert refusal(merge, scheme, "zhao", "wang", days(9)) == "clock_in_doubt"
    assert refusal(close, scheme, "zhao", days(9)) == "clock_in_doubt"
    assert refusal(close, scheme, "li") == "account_merged"
    assert scheme.everything() == before


def test_a_frozen_survivor_still_takes_what_comes(scheme: Scheme) -> None:
    scheme.booked(credit("c", "li", 5), hold("h", "li", 5))
    merge(scheme, "li", "wang")
    with db.writing(scheme.engine) as connection:
        freeze(connection, ["res:wang"], True)
    scheme.booked(void("v", "h"))
    scheme.booked(reversal("r", "c"))
    assert (points(scheme, "wang"), scheme.verify().ok) == ((0, 0, 0), True)


def test_what_comes_while_the_clock_is_doubted_moves_on(scheme: Scheme) -> None:
    scheme.booked(credit("c", "li", 5, expires_at=days(5)), hold("h", "li", 2))
    scheme.booked(credit("d", "wang", 1, expires_at=days(5)))
    merge(scheme, "li", "wang")
    answers = scheme.unconfirmed(void("v", "h"), at=days(20))
    assert [type(one) for one in answers] == [Booked]
    assert (points(scheme, "li"), points(scheme, "wang")) == ((0, 0, 0), (6, 0, 0))
    assert scheme.verify().ok


def test_a_hold_freed_in_another_process_while_the_merge_is_open_moves_on(postgresql_database: Engine) -> None:
    scheme = open_scheme(postgresql_database)
    scheme.booked(credit("c", "li", 5), hold("h", "li", 5))
    first = db.connect_for_writing(scheme.engine)
    endings.merge(first, "res:li", "res:wang", "staff-1", START)
    with ThreadPoolExecutor(1) as threads:
        second = threads.submit(scheme.book, void("v", "h"))
        wait_for_a_lock(scheme.engine)
        first.commit()
        first.close()
        assert isinstance(second.result(30)[0], Booked)
    assert (points(scheme, "li"), points(scheme, "wang")) == ((0, 0, 0), (5, 0, 0))
    assert scheme.verify().ok


def test_two_mergers_that_would_make_a_circle_are_one(postgresql_database: Engine) -> None:
    scheme = open_scheme(postgresql_database)
    first = db.connect_for_writing(scheme.engine)
    endings.merge(first, "res:li", "res:wang", "staff-1", START)
    with ThreadPoolExecutor(1) as threads:
        second = threads.submit(merge, scheme, "wang", "li")
        wait_for_a_lock(scheme.engine)
        first.commit()
        first.close()
        with pytest.raises(DomainError, match="account_merged"):
            second.result(30)
    assert scheme.verify().ok


# Closing


def test_closing_books_what_is_left_where_ended_points_go(scheme: Scheme) -> None:
    scheme.booked(credit("c", "li", 5, expires_at=days(30)), credit("d", "li", 2))
    assert close(scheme, "li") is True
    assert (points(scheme, "li"), scheme.balance(EXPIRED).posted) == ((0, 0, 0), 7)
    assert [(line.cause_type, line.cause_id, line.reason) for line in lines(scheme, "li")[:2]] == [
        ("close", "d", "account_closed"),
        ("close", "c", "account_closed"),
    ]
    for one in (hold("h", "li", 1), credit("e", "li", 1), gift("g", "wang", "li", 1), reversal("r", "c")):
        assert scheme.refused(one) == "account_closed"
    assert refusal(close, scheme, "li") == "account_closed"
    assert refusal(merge, scheme, "li", "wang") == "account_closed"
    assert refusal(merge, scheme, "wang", "li") == "account_closed"
    assert scheme.verify().ok


def test_closing_waits_until_nothing_is_open(scheme: Scheme) -> None:
    scheme.booked(credit("c", "li", 10), hold("taken", "li", 4), hold("freed", "li", 3))
    assert close(scheme, "li") is False
    assert not is_closed(scheme, "li")
    assert points(scheme, "li") == (10, 7, 0)
    assert scheme.refused(hold("h", "li", 1)) == "account_closed"
    assert scheme.refused(credit("d", "li", 1)) == "account_closed"
    assert scheme.verify().ok
    scheme.booked(capture("k", "taken"))
    assert (points(scheme, "li"), scheme.balance(EXPIRED).posted) == ((6, 3, 0), 0)
    scheme.booked(void("v", "freed"))
    assert (points(scheme, "li"), scheme.balance(EXPIRED).posted) == ((0, 0, 0), 6)
    assert is_closed(scheme, "li")
    assert scheme.refused(reversal("r", "k")) == "account_closed"
    assert scheme.verify().ok


def test_points_may_end_while_closing_waits(scheme: Scheme) -> None:
    scheme.booked(credit("c", "li", 10, expires_at=days(5)), hold("h", "li", 4))
    assert close(scheme, "li") is False
    scheme.booked(void("v", "h"), at=days(9))
    assert (points(scheme, "li"), scheme.balance(EXPIRED).posted) == ((0, 0, 0), 10)
    assert scheme.verify().ok


def test_closing_ends_while_the_clock_is_doubted(scheme: Scheme) -> None:
    scheme.booked(credit("c", "li", 10, expires_at=days(5)), credit("d", "li", 1), hold("h", "li", 4))
    assert close(scheme, "li") is False
    scheme.unconfirmed(capture("k", "h"), at=days(20))
    assert (points(scheme, "li"), scheme.balance(EXPIRED).posted) == ((0, 0, 0), 7)
    assert scheme.verify().ok


def test_an_account_that_owes_more_than_it_has_is_not_closed(scheme: Scheme) -> None:
    scheme.booked(credit("c", "li", 5), hold("h", "li", 5), capture("k", "h"), reversal("r", "c"))
    before = scheme.everything()
    assert refusal(close, scheme, "li") == "points_owed"
    assert scheme.everything() == before


def test_what_is_owed_is_taken_from_what_is_left(scheme: Scheme) -> None:
    scheme.booked(credit("c", "li", 5), hold("h", "li", 5), reversal("r", "c"), void("v", "h"))
    assert points(scheme, "li") == (5, 0, 5)
    assert close(scheme, "li") is True
    assert (points(scheme, "li"), scheme.balance(EXPIRED).posted) == ((0, 0, 0), 0)
    assert scheme.verify().ok


def test_a_survivor_is_closed_when_nothing_is_open_on_what_was_merged_into_it(scheme: Scheme) -> None:
    scheme.booked(credit("c", "li", 10), hold("h", "li", 4), credit("d", "wang", 1))
    merge(scheme, "li", "wang")
    assert close(scheme, "wang") is False
    assert points(scheme, "wang") == (7, 0, 0)
    assert scheme.refused(credit("late", "li", 1)) == "account_closed"
    scheme.booked(void("v", "h"))
    assert is_closed(scheme, "wang")
    assert is_closed(scheme, "li")
    assert (points(scheme, "li"), points(scheme, "wang"), scheme.balance(EXPIRED).posted) == ((0, 0, 0), (0, 0, 0), 11)
    assert scheme.refused(credit("later", "li", 1)) == "account_closed"
    assert scheme.verify().ok


# Whatever happens, in whatever order


@pytest.mark.parametrize("seed", range(12))
def test_nothing_is_lost_in_random_lives_with_mergers_and_closings(scheme: Scheme, seed: int) -> None:
    chance = Random(seed)
    holds: list[str] = []
    done: list[str] = []
    for step in range(40):
        at = START + timedelta(hours=12 * step)
        who, id = chance.choice(RESIDENTS), f"t{step}"
        what = chance.choice(["credit"] * 4 + ["hold"] * 4 + ["capture", "void", "void", "reverse", "merge", "close"])
        if step < 12 and what in ("merge", "close"):
            continue
        scheme.confirm(at)
        match what:
            case "credit":
                life = chance.choice([None, 2, 8])
                ends_at = None if life is None else at + timedelta(days=life)
                if isinstance(scheme.book(credit(id, who, chance.randint(1, 9), expires_at=ends_at), at=at)[0], Booked):
                    done.append(id)
            case "hold":
                if isinstance(scheme.book(hold(id, who, chance.randint(1, 5)), at=at)[0], Booked):
                    holds.append(id)
            case "capture" if holds:
                scheme.booked(capture(id, holds.pop(chance.randrange(len(holds)))), at=at)
                done.append(id)
            case "void" if holds:
                scheme.booked(void(id, holds.pop(chance.randrange(len(holds)))), at=at)
            case "reverse" if done:
                scheme.book(reversal(id, chance.choice(done)), at=at)
            case "merge" | "close":
                try:
                    if what == "merge":
                        merge(scheme, who, chance.choice(RESIDENTS), at)
                    else:
                        close(scheme, who, at)
                except DomainError:
                    pass
    for place, one in enumerate(holds):
        scheme.booked(void(f"end{place}", one), at=at)
    report = scheme.verify()
    assert report.ok, report
    a, b = tables.accounts.c, tables.balances.c
    with scheme.engine.connect() as connection:
        ended = connection.execute(select(a.id, b.posted, b.held).where(b.heir.is_not(None), a.number == b.number))
        assert [one for one in ended if one[1:] != (0, 0)] == []


@pytest.mark.parametrize(
    ("change", "row"),
    [
        ("UPDATE balances SET heir = NULL WHERE number = {li}", "res:li"),
        ("UPDATE balances SET heir = {zhao} WHERE number = {li}", "res:li"),
        ("UPDATE balances SET heir = {li} WHERE number = {zhao}", "res:zhao"),
        ("UPDATE endings SET heir = {zhao} WHERE number = {li}", "res:li"),
        ("DELETE FROM endings", "res:li"),
        ("UPDATE endings SET heir = 9999 WHERE number = {li}", "res:li"),
    ],
)
def test_a_changed_heir_is_named(scheme: Scheme, change: str, row: str) -> None:
    scheme.booked(credit("c", "li", 10), hold("h", "li", 4))
    merge(scheme, "li", "wang")
    _tamper(scheme, change)
    broken = scheme.verify().first_break
    assert broken is not None
    assert (broken.rule, broken.row) == ("endings", row)


def _tamper(scheme: Scheme, *changes: str) -> None:
    with db.writing(scheme.engine) as connection:
        if connection.dialect.name == "sqlite":
            for verb in ("update", "delete"):
                connection.exec_driver_sql(f"DROP TRIGGER endings_refuses_{verb}")
        else:
            connection.exec_driver_sql("ALTER TABLE endings DISABLE TRIGGER ALL")
        a = tables.accounts.c
        numbers = dict(connection.execute(select(a.id, a.number)).all())
        for change in changes:
            connection.exec_driver_sql(change.format(**{one: numbers[f"res:{one}"] for one in RESIDENTS}))


def test_an_heir_in_a_circle_is_named(scheme: Scheme) -> None:
    merge(scheme, "li", "wang")
    circle = "INSERT INTO endings (number, heir, actor, recorded_at) VALUES ({wang}, {li}, 'x', 0)"
    _tamper(scheme, circle, "UPDATE balances SET heir = {li} WHERE number = {wang}")
    broken = scheme.verify().first_break
    assert broken is not None
    assert (broken.rule, broken.found) == ("endings", "a circle")


def test_points_left_behind_are_named(scheme: Scheme) -> None:
    scheme.booked(credit("c", "li", 10))
    a, b = tables.accounts.c, tables.balances.c
    with db.writing(scheme.engine) as connection:
        numbers = dict(connection.execute(select(a.id, a.number)).all())
        row = {"number": numbers["res:li"], "heir": numbers["res:wang"], "actor": "x", "recorded_at": START}
        connection.execute(tables.endings.insert().values(row))
        connection.execute(tables.balances.update().where(b.number == row["number"]).values(heir=row["heir"]))
    broken = scheme.verify().first_break
    assert broken is not None
    assert (broken.rule, broken.row, broken.found) == ("endings", "res:li", "10 posted, 0 held, 0 owed")


def test_an_ending_is_never_changed(scheme: Scheme) -> None:
    merge(scheme, "li", "wang")
    for change in ("UPDATE endings SET heir = heir + 1", "DELETE FROM endings"):
        with pytest.raises(Exception, match="append-only"), db.writing(scheme.engine) as connection:
            connection.exec_driver_sql(change)
