"""Each bug that other ledgers had, by name (performance, the list at its end)."""

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
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
    transfer,
    void,
    wait_for_a_lock,
)
from sqlalchemy import Connection, Engine

from jishan_server import db
from jishan_server.db import DatabaseUnavailable
from jishan_server.errors import DomainError
from jishan_server.ledger import operations
from jishan_server.ledger.model import Booked, Cause, Kind, Transfer
from jishan_server.ledger.store import balances, book, statement
from jishan_server.writer import Kind as OperationKind
from jishan_server.writer import Operation, Outcome, Writer, drain


def _outcomes(scheme: Scheme, *transfers: Transfer) -> list[str]:
    """Book through several writers at once, as several processes do; "booked" or the refusal's code for each."""
    writers = [Writer(scheme.engine, operations.KINDS, lambda: START) for _ in range(_writers(scheme.engine))]
    try:
        futures = [
            writers[place % len(writers)].submit(Operation(one.id, "ledger.transfer", one))
            for place, one in enumerate(transfers)
        ]
        return [_word(future.result(60)) for future in futures]
    finally:
        for writer in writers:
            writer.close()


def _word(outcome: Outcome) -> str:
    return "booked" if outcome.error is None else outcome.error.code


def _writers(engine: Engine) -> int:
    """SQLite has one process with one writer; PostgreSQL one in each of several."""
    return 4 if engine.dialect.name == "postgresql" else 1


def test_holds_ignored_in_the_balance_check(scheme: Scheme) -> None:
    scheme.booked(credit("c1", "li", 10), hold("h1", "li", 8))
    assert scheme.refused(hold("h2", "li", 3)) == "not_enough_points"
    assert scheme.refused(gift("g1", "li", "wang", 3)) == "not_enough_points"
    scheme.booked(hold("h3", "li", 2))


def test_a_refused_hold_captured(scheme: Scheme) -> None:
    scheme.booked(credit("c1", "li", 1))
    assert scheme.refused(hold("h1", "li", 2)) == "not_enough_points"
    assert scheme.refused(capture("k1", "h1")) == "hold_unknown"
    answers = scheme.book(hold("h2", "li", 2), capture("k2", "h2"))
    assert [getattr(answer, "code", "booked") for answer in answers] == ["not_enough_points", "hold_unknown"]
    assert scheme.balance("li").posted == 1


def test_a_hold_voided_twice(scheme: Scheme) -> None:
    scheme.booked(credit("c1", "li", 5), hold("h1", "li", 2), hold("h2", "li", 2), void("v1", "h1"))
    assert scheme.refused(void("v2", "h1")) == "hold_closed"
    answers = scheme.book(void("v3", "h2"), void("v4", "h2"))
    assert [getattr(answer, "code", "booked") for answer in answers] == ["booked", "hold_closed"]
    assert (scheme.balance("li").posted, scheme.balance("li").held) == (5, 0)


def test_capture_and_void_racing(shared_scheme: Scheme) -> None:
    scheme = shared_scheme
    scheme.booked(*(credit(f"c{n}", "li", 5) for n in range(20)), *(hold(f"h{n}", "li", 5) for n in range(20)))
    ends = [end for n in range(20) for end in (capture(f"k{n}", f"h{n}"), void(f"v{n}", f"h{n}"))]
    random.Random(1).shuffle(ends)
    said = dict(zip((end.id for end in ends), _outcomes(scheme, *ends), strict=True))
    for n in range(20):
        assert sorted([said[f"k{n}"], said[f"v{n}"]]) == ["booked", "hold_closed"]
    captured = sum(5 for n in range(20) if said[f"k{n}"] == "booked")
    assert (scheme.balance("li").posted, scheme.balance("li").held) == (100 - captured, 0)
    assert scheme.verify().ok


def test_capture_and_void_racing_between_two_open_transactions(postgresql_database: Engine) -> None:
    scheme = open_scheme(postgresql_database)
    scheme.booked(credit("c1", "li", 5), hold("h1", "li", 5))
    first = db.connect_for_writing(scheme.engine)
    assert isinstance(book(first, [capture("k1", "h1")], START)[0], Booked)
    with ThreadPoolExecutor(1) as threads:
        second = threads.submit(_outcomes, scheme, void("v1", "h1"))
        wait_for_a_lock(scheme.engine)
        first.commit()
        first.close()
        assert second.result(30) == ["hold_closed"]
    assert (scheme.balance("li").posted, scheme.balance("li").held) == (0, 0)
    assert scheme.verify().ok


def test_a_capture_larger_than_the_hold(scheme: Scheme) -> None:
    scheme.booked(credit("c1", "li", 10), hold("h1", "li", 4))
    for points in (5, 3):
        larger = transfer("k1", Kind.CAPTURE, "res:li", "sys:redeemed:garden", points, pending_id="h1")
        assert scheme.refused(larger) == "capture_not_whole"
    elsewhere = transfer("k1", Kind.CAPTURE, "res:wang", "sys:redeemed:garden", 4, pending_id="h1")
    assert scheme.refused(elsewhere) == "capture_not_whole"


def test_an_id_made_anew_at_each_retry(shared_scheme: Scheme) -> None:
    retries = [credit(f"retry{n}", "li", 10, cause=Cause("record", "r1")) for n in range(20)]
    said = _outcomes(shared_scheme, *retries)
    assert sorted(said) == ["booked"] + ["cause_booked"] * 19
    assert shared_scheme.balance("li").posted == 10


def test_twenty_concurrent_gifts_from_one_balance(shared_scheme: Scheme) -> None:
    scheme = shared_scheme
    scheme.booked(credit("c1", "li", 10))
    said = _outcomes(scheme, *(gift(f"g{n}", "li", "wang", 3) for n in range(20)))
    assert sorted(said) == ["booked"] * 3 + ["not_enough_points"] * 17
    assert (scheme.balance("li").posted, scheme.balance("wang").posted) == (1, 9)
    assert scheme.verify().ok


def test_deadlocks_because_locks_were_taken_by_transfer(shared_scheme: Scheme) -> None:
    scheme = shared_scheme
    scheme.booked(*(credit(f"c-{name}", name, 1_000) for name in RESIDENTS))
    chance = random.Random(7)
    gifts = [gift(f"g{n}", *chance.sample(RESIDENTS, 2), 1) for n in range(400)]
    deadlocks = _deadlocks(scheme.engine)
    assert set(_outcomes(scheme, *gifts)) == {"booked"}
    assert _deadlocks(scheme.engine) == deadlocks
    assert sum(scheme.balance(name).posted for name in RESIDENTS) == 3_000
    assert scheme.verify().ok


def _deadlocks(engine: Engine) -> int:
    if engine.dialect.name == "sqlite":
        return 0
    with engine.connect() as connection:
        count = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        return int(connection.exec_driver_sql(count).scalar() or 0)


def test_running_totals_that_lose_a_row_written_while_an_older_transaction_was_open(
    postgresql_database: Engine,
) -> None:
    scheme = open_scheme(postgresql_database)
    # The older transaction draws its serial first and commits last: its row appears below rows that were read before.
    older = db.connect_for_writing(scheme.engine)
    assert isinstance(book(older, [credit("c-older", "li", 1)], START)[0], Booked)
    scheme.booked(credit("c-newer", "wang", 2))
    assert scheme.balance(ISSUANCE).posted == -2
    assert scheme.verify().ok
    older.commit()
    older.close()
    assert scheme.balance(ISSUANCE).posted == -3
    scheme.booked(credit("c-after", "li", 4))
    assert scheme.balance(ISSUANCE).posted == -7
    with scheme.engine.connect() as connection:
        lines, _ = statement(connection, "res:li")
    assert [(line.transfer_id, line.posted) for line in lines] == [("c-after", 5), ("c-older", 1)]
    assert scheme.verify().ok


def test_running_totals_of_one_account_follow_its_lock_and_miss_nothing(shared_scheme: Scheme) -> None:
    scheme = shared_scheme
    said = _outcomes(scheme, *(credit(f"c{n}", "li", 1) for n in range(200)))
    assert set(said) == {"booked"}
    with scheme.engine.connect() as connection:
        lines, further = statement(connection, "res:li", limit=1_000)
    assert further is None
    assert [line.posted for line in lines] == list(range(200, 0, -1))


def test_balances_that_collapse_when_points_expire(scheme: Scheme) -> None:
    scheme.booked(credit("c1", "li", 10, expires_at=days(10)), credit("c2", "li", 7))
    scheme.booked(hold("h1", "li", 4), at=days(1))
    scheme.booked(hold("h2", "li", 1), at=days(11))
    # Four of the ten were held, six ended; nothing else did, and nothing ends twice.
    assert (scheme.balance("li").posted, scheme.balance("li").held) == (11, 5)
    scheme.booked(hold("h3", "li", 1), at=days(12))
    assert (scheme.balance("li").posted, scheme.balance(EXPIRED).posted) == (11, 6)
    scheme.booked(void("v1", "h1"), void("v2", "h2"), void("v3", "h3"), at=days(13))
    assert scheme.balance("li").available == 11
    scheme.booked(reversal("r1", "c1"), at=days(14))
    assert (scheme.balance("li").posted, scheme.balance("owed:li").posted) == (1, 0)
    assert scheme.verify().ok


def test_insufficient_points_reported_for_a_serialization_error(postgresql_database: Engine) -> None:
    scheme = open_scheme(postgresql_database)
    scheme.booked(credit("c1", "li", 10))
    failures = iter([True, True, False])

    def transfers(connection: Connection, batch: Any, now: Any) -> list[Outcome]:
        if next(failures):
            # What PostgreSQL says to the loser of two transactions, said by PostgreSQL itself.
            connection.exec_driver_sql(
                "DO $$ BEGIN RAISE EXCEPTION 'lost' USING ERRCODE = 'serialization_failure'; END $$"
            )
        return operations.transfer(connection, batch, now)

    writer = Writer(scheme.engine, {"ledger.transfer": OperationKind(run_batch=transfers)}, lambda: START)
    try:
        one = hold("h1", "li", 4)
        assert writer.call(Operation("h1", "ledger.transfer", one)).available == 6
    finally:
        writer.close()
    assert scheme.balance("li").held == 4


def test_a_batch_that_loses_every_time_is_unavailable_and_never_a_refusal(postgresql_database: Engine) -> None:
    def fails(connection: Connection, batch: Any, now: Any) -> list[Outcome]:
        raise psycopg.errors.SerializationFailure("could not serialize access")

    writer = Writer(postgresql_database, {"fails": OperationKind(run_batch=fails)}, lambda: START)
    try:
        with pytest.raises(DatabaseUnavailable, match="busy"):
            writer.call(Operation("o1", "fails", None))
    finally:
        writer.close()


def test_a_busy_sqlite_file_is_unavailable_and_never_a_refusal(sqlite_file: Engine) -> None:
    scheme = open_scheme(sqlite_file)
    scheme.booked(credit("c1", "li", 10))
    impatient = db.make_engine(str(sqlite_file.url))
    with impatient.connect() as connection:
        connection.exec_driver_sql("PRAGMA busy_timeout = 1")
    with db.writing(sqlite_file):
        writer = Writer(impatient, operations.KINDS, lambda: START)
        try:
            with pytest.raises(DatabaseUnavailable):
                writer.call(Operation("h1", "ledger.transfer", hold("h1", "li", 4)))
        finally:
            writer.close()
    impatient.dispose()
    assert scheme.balance("li").held == 0
    scheme.booked(hold("h1", "li", 4))


def test_a_batch_is_run_again_one_by_one_when_another_process_booked_the_same(postgresql_database: Engine) -> None:
    scheme = open_scheme(postgresql_database)
    scheme.booked(*(credit(f"c{n}", "li", 1) for n in range(50)), *(hold(f"h{n}", "li", 1) for n in range(50)))
    ends = [end for n in range(50) for end in (capture(f"k{n}", f"h{n}"), void(f"v{n}", f"h{n}"))]
    barrier = threading.Barrier(2)

    def run(order: list[Transfer]) -> list[Outcome]:
        with db.connect_for_writing(scheme.engine) as connection:
            barrier.wait()
            found = drain(
                [Operation(one.id, "ledger.transfer", one) for one in order], connection, operations.KINDS, START
            )
            connection.commit()
            return found

    with ThreadPoolExecutor(2) as threads:
        one, two = threads.map(run, [ends, list(reversed(ends))])
    for outcomes in (one, two):
        errors = [outcome.error for outcome in outcomes if outcome.error is not None]
        assert {error.code for error in errors} <= {"hold_closed"}
        assert all(isinstance(error, DomainError) for error in errors)
    with scheme.engine.connect() as connection:
        assert balances(connection, ["res:li"])["res:li"].held == 0
    assert scheme.verify().ok
