"""What the ledger books and what it refuses, on every database."""

import threading
from datetime import datetime, timedelta

import pytest
from ledger_world import (
    EXPIRED,
    ISSUANCE,
    REDEEMED,
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
)
from sqlalchemy import Engine

from jishan_server import db
from jishan_server.ledger.model import (
    MAX_BATCH,
    MAX_POINTS,
    Booked,
    Cause,
    Kind,
    Refused,
    estate_accounts,
    resident_accounts,
)
from jishan_server.ledger.store import (
    MAX_DAYS_AT_ONCE,
    Mark,
    available_points,
    balances,
    book,
    close_day,
    close_days,
    closed_days,
    freeze,
    open_accounts,
    statement,
)


def test_a_credit_a_hold_and_its_capture_move_points(scheme: Scheme) -> None:
    scheme.booked(credit("c1", "li", 10))
    scheme.booked(hold("h1", "li", 4))
    assert (scheme.balance("li").posted, scheme.balance("li").held, scheme.balance("li").available) == (10, 4, 6)
    scheme.booked(capture("k1", "h1"))
    assert (scheme.balance("li").posted, scheme.balance("li").held) == (6, 0)
    assert scheme.balance(ISSUANCE).posted == -10
    assert scheme.balance(REDEEMED).posted == 4
    assert scheme.verify().ok


def test_a_void_frees_the_points(scheme: Scheme) -> None:
    scheme.booked(credit("c1", "li", 10), hold("h1", "li", 10), void("v1", "h1"))
    assert (scheme.balance("li").posted, scheme.balance("li").held) == (10, 0)
    assert scheme.balance(REDEEMED).posted == 0


def test_transfers_of_one_batch_see_each_other(scheme: Scheme) -> None:
    answers = scheme.book(hold("h0", "li", 1), credit("c1", "li", 5), hold("h1", "li", 5), hold("h2", "li", 1))
    assert [isinstance(answer, Booked) for answer in answers] == [False, True, True, False]
    assert scheme.verify().ok


def test_the_same_id_and_words_answer_as_the_first_time(scheme: Scheme) -> None:
    ended = [credit("c1", "li", 10, expires_at=days(90)), hold("h1", "li", 4), capture("k1", "h1")]
    scheme.booked(*ended)
    before = scheme.everything()
    again = scheme.book(*ended, at=days(1))
    assert again == [Booked(one.id, True, 6) for one in ended]
    assert scheme.everything() == before


def test_a_replay_in_the_same_batch_is_booked_once(scheme: Scheme) -> None:
    answers = scheme.book(credit("c1", "li", 10), credit("c1", "li", 10))
    assert answers == [Booked("c1", False, 10), Booked("c1", True, 10)]
    assert scheme.balance("li").posted == 10


@pytest.mark.parametrize(
    "other",
    [
        credit("c1", "li", 11),
        credit("c1", "wang", 10),
        credit("c1", "li", 10, cause=Cause("other", "c1")),
        credit("c1", "li", 10, expires_at=days(9)),
        credit("c1", "li", 10, occurred_at=START),
        hold("c1", "li", 10),
        capture("c1", "none"),
        reversal("c1", "none"),
    ],
)
def test_the_same_id_with_other_words_is_refused(scheme: Scheme, other: object) -> None:
    scheme.booked(credit("c1", "li", 10))
    assert scheme.refused(other) == "idempotency_conflict"  # type: ignore[arg-type]


def test_a_capture_may_spell_out_its_hold_and_is_the_same_capture(scheme: Scheme) -> None:
    spelled = transfer("k1", Kind.CAPTURE, "res:li", REDEEMED, 4, pending_id="h1")
    scheme.booked(credit("c1", "li", 10), hold("h1", "li", 4), spelled)
    assert scheme.book(capture("k1", "h1"), spelled) == [Booked("k1", True, 6)] * 2


@pytest.mark.parametrize("points", [0, -1, MAX_POINTS + 1, 1.5, "4", True])
def test_only_whole_points_in_range_move(scheme: Scheme, points: object) -> None:
    scheme.booked(credit("c1", "li", 10))
    assert scheme.refused(gift("g1", "li", "wang", points)) == "points_invalid"  # type: ignore[arg-type]


def test_unknown_accounts_and_targets_are_refused_by_name(scheme: Scheme) -> None:
    assert scheme.refused(credit("c1", "nobody", 1)) == "account_unknown"
    assert scheme.refused(gift("c1", "nobody", "li", 1)) == "account_unknown"
    assert scheme.refused(capture("k1", "none")) == "hold_unknown"
    assert scheme.refused(void("v1", "none")) == "hold_unknown"
    assert scheme.refused(reversal("r1", "none")) == "transfer_unknown"
    scheme.booked(credit("c1", "li", 1))
    assert scheme.refused(capture("k1", "c1")) == "hold_unknown"
    assert scheme.refused(gift("g1", "li", "li", 1)) == "same_account"


def test_a_frozen_account_takes_no_new_hold_and_ends_what_is_open(scheme: Scheme) -> None:
    scheme.booked(credit("c1", "li", 10), hold("h1", "li", 2), hold("h2", "li", 3), hold("h3", "li", 1))
    scheme.booked(capture("k3", "h3"))
    with db.writing(scheme.engine) as connection:
        freeze(connection, ["res:li"], True)
    assert scheme.balance("li").is_frozen
    assert scheme.refused(hold("h4", "li", 1)) == "account_frozen"
    assert scheme.refused(gift("g1", "li", "wang", 1)) == "account_frozen"
    scheme.booked(capture("k1", "h1"), void("v2", "h2"), reversal("r3", "k3"), credit("c2", "li", 5))
    assert (scheme.balance("li").posted, scheme.balance("li").held) == (13, 0)
    with db.writing(scheme.engine) as connection:
        freeze(connection, ["res:li"], False)
    scheme.booked(hold("h4", "li", 13))


def test_one_cause_is_booked_once_however_many_ids_ask(scheme: Scheme) -> None:
    scheme.booked(credit("c1", "li", 10, cause=Cause("record", "r1")))
    assert scheme.refused(credit("c2", "li", 10, cause=Cause("record", "r1"))) == "cause_booked"
    scheme.booked(credit("c3", "li", 10, cause=Cause("record", "r1", 1)))


def test_a_reversed_capture_gives_the_points_back_once(scheme: Scheme) -> None:
    scheme.booked(credit("c1", "li", 5), hold("h1", "li", 5), capture("k1", "h1"), reversal("r1", "k1"))
    assert scheme.balance("li").available == 5
    assert scheme.balance(REDEEMED).posted == 0
    assert scheme.refused(reversal("r2", "k1")) == "already_reversed"


@pytest.mark.parametrize("of", ["h1", "v1", "r2"])
def test_holds_voids_and_reversals_are_not_reversed(scheme: Scheme, of: str) -> None:
    scheme.booked(credit("c1", "li", 5), hold("h1", "li", 1), void("v1", "h1"), credit("c2", "li", 1))
    scheme.booked(reversal("r2", "c2"))
    assert scheme.refused(reversal("r9", of)) == "not_reversible"


def test_a_partial_reversal_is_refused(scheme: Scheme) -> None:
    scheme.booked(credit("c1", "li", 5))
    part = transfer("r1", Kind.REVERSAL, "res:li", ISSUANCE, 4, reverses_id="c1")
    assert scheme.refused(part) == "not_reversible"


def test_the_reversal_of_a_spent_credit_leaves_a_debt_that_later_credits_pay_first(scheme: Scheme) -> None:
    scheme.booked(credit("c1", "li", 10), hold("h1", "li", 7), capture("k1", "h1"))
    scheme.booked(reversal("r1", "c1"))
    assert (scheme.balance("li").available, scheme.balance("owed:li").posted) == (0, -7)
    scheme.booked(credit("c2", "li", 5))
    assert (scheme.balance("li").available, scheme.balance("owed:li").posted) == (0, -2)
    scheme.booked(credit("c3", "li", 5))
    assert (scheme.balance("li").available, scheme.balance("owed:li").posted) == (3, 0)
    assert scheme.balance(ISSUANCE).posted == -10
    assert scheme.verify().ok


def test_a_reversal_leaves_held_points_held(scheme: Scheme) -> None:
    scheme.booked(credit("c1", "li", 10), hold("h1", "li", 7), reversal("r1", "c1"))
    assert (scheme.balance("li").posted, scheme.balance("li").held, scheme.balance("owed:li").posted) == (7, 7, -7)
    scheme.booked(void("v1", "h1"))
    assert scheme.balance("li").available == 7
    scheme.booked(credit("c2", "li", 1))
    assert (scheme.balance("li").available, scheme.balance("owed:li").posted) == (7 + 0, -6)
    assert scheme.verify().ok


def test_nobody_pays_more_than_is_owed(scheme: Scheme) -> None:
    scheme.booked(credit("c1", "li", 5))
    assert scheme.refused(transfer("p1", Kind.POST, "res:li", "owed:li", 1)) == "not_owed"


def test_an_operation_on_an_account_past_its_expiry_books_the_expiry_first(scheme: Scheme) -> None:
    scheme.booked(credit("c1", "li", 5, expires_at=days(10)), credit("c2", "li", 3, expires_at=days(20)))
    assert scheme.balance("li").next_expiry_points == 5
    assert scheme.balance("li").next_expiry_at == days(10)
    assert not isinstance(scheme.book(hold("h1", "li", 4), at=days(10))[0], Booked)
    assert (scheme.balance("li").posted, scheme.balance(EXPIRED).posted) == (3, 5)
    assert scheme.balance("li").next_expiry_at == days(20)
    assert scheme.book(hold("h2", "li", 3), at=days(11)) == [Booked("h2", False, 0)]
    assert scheme.verify().ok


def test_points_cannot_be_credited_already_ended(scheme: Scheme) -> None:
    assert scheme.refused(credit("c1", "li", 5, expires_at=START)) == "expiry_invalid"


def test_returned_points_of_an_ended_lot_live_thirty_days_longer(scheme: Scheme) -> None:
    scheme.booked(credit("c1", "li", 5, expires_at=days(10)), hold("h1", "li", 5))
    scheme.booked(credit("c2", "li", 1), at=days(15))
    assert scheme.balance("li").held == 5
    scheme.booked(void("v1", "h1"), at=days(20))
    assert scheme.balance("li").next_expiry_at == days(50)
    scheme.booked(hold("h2", "li", 6), void("v2", "h2"), at=days(49))
    scheme.booked(hold("h3", "li", 1), at=days(50))
    assert (scheme.balance("li").posted, scheme.balance(EXPIRED).posted) == (1, 5)
    assert scheme.verify().ok


def test_a_clock_that_runs_backwards_ends_nothing_twice(scheme: Scheme) -> None:
    scheme.booked(credit("c1", "li", 5, expires_at=days(10)), credit("c2", "li", 5))
    scheme.booked(hold("h1", "li", 1), at=days(11))
    scheme.booked(credit("c3", "li", 5, expires_at=days(8)), at=days(5))
    scheme.booked(hold("h2", "li", 1), at=days(12))
    assert (scheme.balance("li").posted, scheme.balance(EXPIRED).posted) == (5, 10)
    assert scheme.verify().ok


def test_a_statement_shows_each_entry_with_the_balance_after_it(scheme: Scheme) -> None:
    scheme.booked(credit("c1", "li", 10), hold("h1", "li", 4), capture("k1", "h1"), gift("g1", "li", "wang", 1))
    with scheme.engine.connect() as connection:
        lines, further = statement(connection, "res:li")
        assert further is None
        assert [(line.transfer_id, line.posted_change, line.held_change) for line in lines] == [
            ("g1", -1, 0),
            ("k1", -4, -4),
            ("h1", 0, 4),
            ("c1", 10, 0),
        ]
        assert [(line.posted, line.held, line.available) for line in lines] == [
            (5, 0, 5),
            (6, 0, 6),
            (10, 4, 6),
            (10, 0, 10),
        ]
        assert [line.other_account for line in lines] == ["res:wang", REDEEMED, REDEEMED, ISSUANCE]
        assert statement(connection, "res:nobody") == ([], None)
        assert statement(connection, "res:zhao") == ([], None)
        pages, start = [], None
        for _ in range(4):
            page, start = statement(connection, "res:li", start, limit=1)
            pages += page
        assert pages == lines
        assert start is None
        assert isinstance(statement(connection, "res:li", None, limit=3)[1], Mark)


def test_opening_an_account_again_changes_nothing(scheme: Scheme) -> None:
    scheme.booked(credit("c1", "li", 10))
    before = scheme.everything()
    with db.writing(scheme.engine) as connection:
        open_accounts(connection, estate_accounts("garden"), days(1))
        open_accounts(connection, [], days(1))
    assert scheme.everything() == before


def test_available_points_are_known_for_limited_accounts(scheme: Scheme) -> None:
    scheme.booked(credit("c1", "li", 10), hold("h1", "li", 4))
    with scheme.engine.connect() as connection:
        assert available_points(connection, ["res:li", "res:wang", ISSUANCE, "none"]) == {"res:li": 6, "res:wang": 0}
        assert balances(connection, ["none"]) == {}


def test_more_than_a_full_batch_is_booked_as_several(scheme: Scheme) -> None:
    scheme.booked(*(credit(f"c{number}", "li", 1) for number in range(MAX_BATCH + 1)))
    assert scheme.balance("li").posted == MAX_BATCH + 1
    assert scheme.verify().checked["chains"] == 2


def test_a_closed_day_has_its_root_and_takes_no_more(scheme: Scheme) -> None:
    scheme.booked(credit("c1", "li", 1), credit("c2", "li", 1))
    with db.writing(scheme.engine) as connection, pytest.raises(ValueError, match="not over"):
        close_day(connection, "2026-01-01", START)
    with db.writing(scheme.engine) as connection:
        root = close_day(connection, "2026-01-01", days(1))
        assert close_day(connection, "2026-01-01", days(2)) == root
    scheme.booked(credit("c3", "li", 1), at=START)
    with scheme.engine.connect() as connection:
        of_days = [row.day for row in connection.execute(db.metadata.tables["batches"].select())]
    assert of_days == ["2026-01-01", "2026-01-02"]
    report = scheme.verify()
    assert (report.ok, report.checked["days"]) == (True, 1)


def test_every_day_that_is_over_is_closed_once_also_after_an_outage(scheme: Scheme) -> None:
    def close(at: datetime) -> list[str]:
        with db.writing(scheme.engine) as connection:
            return close_days(connection, at)

    assert close(days(40)) == []
    scheme.booked(credit("c1", "li", 1), credit("c2", "li", 1))
    assert close(START + timedelta(hours=15, minutes=59)) == []
    assert close(START + timedelta(hours=16)) == ["2026-01-01"]
    assert close(START + timedelta(hours=17)) == []
    scheme.booked(credit("c3", "wang", 1), at=days(1))
    assert close(days(4)) == []
    scheme.confirm(days(4))
    assert close(days(4)) == ["2026-01-02", "2026-01-03", "2026-01-04"]
    assert close(days(3)) == []
    with scheme.engine.connect() as connection:
        closed = closed_days(connection)
    assert [(one.day, one.rows) for one in closed] == [
        ("2026-01-01", 2),
        ("2026-01-02", 1),
        ("2026-01-03", 0),
        ("2026-01-04", 0),
    ]
    report = scheme.verify()
    assert (report.ok, report.checked["days"]) == (True, 4)


def test_a_very_long_outage_is_closed_in_parts(scheme: Scheme) -> None:
    scheme.booked(credit("c1", "li", 1))
    scheme.confirm(days(40))
    with db.writing(scheme.engine) as connection:
        assert [len(close_days(connection, days(40))) for _ in range(3)] == [MAX_DAYS_AT_ONCE, 10, 0]


def test_two_that_close_the_same_days_at_once_close_them_once(shared_scheme: Scheme) -> None:
    shared_scheme.booked(credit("c1", "li", 1))
    found: list[list[str]] = []

    def close() -> None:
        with db.writing(shared_scheme.engine) as connection:
            found.append(close_days(connection, days(2)))

    threads = [threading.Thread(target=close) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    with shared_scheme.engine.connect() as connection:
        assert [one.day for one in closed_days(connection)] == ["2026-01-01", "2026-01-02"]
    assert len(found) == 4
    assert shared_scheme.verify().ok


def test_days_are_local_to_the_scheme(scheme: Scheme) -> None:
    scheme.booked(credit("c1", "li", 1), at=START + timedelta(hours=15, minutes=59))
    scheme.booked(credit("c2", "li", 1), at=START + timedelta(hours=16))
    with scheme.engine.connect() as connection:
        of_days = [row.day for row in connection.execute(db.metadata.tables["batches"].select())]
    assert of_days == ["2026-01-01", "2026-01-02"]


@pytest.mark.parametrize("table", ["transfers", "batches", "days", "clock_checks"])
@pytest.mark.parametrize("verb", ["UPDATE {} SET {} = {}", "DELETE FROM {}", "TRUNCATE {}"])
def test_the_database_itself_refuses_to_change_the_past(scheme: Scheme, table: str, verb: str) -> None:
    scheme.booked(credit("c1", "li", 1))
    scheme.confirm(days(1))
    with db.writing(scheme.engine) as connection:
        close_day(connection, "2026-01-01", days(1))
    if verb.startswith("TRUNCATE") and scheme.engine.dialect.name == "sqlite":
        pytest.skip("SQLite has no TRUNCATE")
    column = db.metadata.tables[table].primary_key.columns.keys()[0]
    before = scheme.everything()
    with db.connect_for_writing(scheme.engine) as connection:
        with pytest.raises(Exception, match="append-only"):
            connection.exec_driver_sql(verb.format(table, column, column))
        connection.rollback()
    assert scheme.everything() == before


def test_the_check_is_the_last_line_behind_the_judgement(engine: Engine) -> None:
    scheme = open_scheme(engine)
    scheme.booked(credit("c1", "li", 1))
    with db.connect_for_writing(engine) as connection:
        with pytest.raises(Exception, match="ck_balances_available_not_negative"):
            connection.exec_driver_sql("UPDATE balances SET held = 2 WHERE posted = 1")
        connection.rollback()


def test_an_account_whose_opening_was_undone_is_not_remembered(engine: Engine) -> None:
    scheme = open_scheme(engine)
    chen, sun = resident_accounts("chen", "garden"), resident_accounts("sun", "garden")
    with db.connect_for_writing(engine) as connection:
        open_accounts(connection, chen, START)
        assert isinstance(book(connection, [credit("c1", "chen", 5)], START)[0], Booked)
        connection.rollback()
        savepoint = connection.begin_nested()
        open_accounts(connection, chen, START)
        assert isinstance(book(connection, [credit("c2", "chen", 5)], START)[0], Booked)
        savepoint.rollback()
        open_accounts(connection, sun, START)
        assert book(connection, [credit("c3", "chen", 5)], START) == [
            Refused("c3", "account_unknown", {"id": "res:chen"})
        ]
        assert isinstance(book(connection, [credit("c4", "sun", 5)], START)[0], Booked)
        connection.commit()
    assert scheme.balance("sun").posted == 5
    assert scheme.verify().ok
