"""`verify` finds each planted corruption and names the row; the triggers are taken away first, as an intruder would."""

from collections.abc import Sequence

import pytest
from ledger_world import ISSUANCE, Scheme, capture, credit, days, gift, hold, open_scheme, reversal, void
from sqlalchemy import Engine

from jishan_server import db
from jishan_server.ledger import verify as verification
from jishan_server.ledger.digest import merkle_proof, merkle_root, root_from
from jishan_server.ledger.store import close_day, day_hashes
from jishan_server.ledger.verify import Break, Checked, Report, check_rows, verify

SEQUENCE = "(SELECT sequence FROM transfers WHERE id = '{}')"
NUMBER = "(SELECT number FROM accounts WHERE id = '{}')"


def _tampered(scheme: Scheme, *statements: str) -> Report:
    """The report after statements that no trigger stopped."""
    with db.writing(scheme.engine) as connection:
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("PRAGMA ignore_check_constraints = ON")
            names = connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'trigger'").scalars().all()
            for name in names:
                connection.exec_driver_sql(f"DROP TRIGGER {name}")
        else:
            for table in ("transfers", "batches", "days"):
                connection.exec_driver_sql(f"ALTER TABLE {table} DISABLE TRIGGER ALL")
            for check in ("held_not_negative", "available_not_negative", "posted_not_positive"):
                connection.exec_driver_sql(f"ALTER TABLE balances DROP CONSTRAINT IF EXISTS ck_balances_{check}")
        for statement in statements:
            connection.exec_driver_sql(statement)
    report = scheme.verify()
    if scheme.engine.dialect.name == "sqlite":
        with db.writing(scheme.engine) as connection:
            connection.exec_driver_sql("PRAGMA ignore_check_constraints = OFF")
    return report


@pytest.fixture
def past(scheme: Scheme) -> Scheme:
    """A ledger with something of everything, over two days of which the first is closed."""
    scheme.booked(credit("c1", "li", 10, expires_at=days(30)), credit("c2", "wang", 10))
    scheme.booked(hold("h1", "li", 4), hold("h2", "li", 1), hold("h3", "wang", 2))
    scheme.booked(capture("k1", "h1"), void("v2", "h2"))
    with db.writing(scheme.engine) as connection:
        close_day(connection, "2026-01-01", days(1))
    scheme.booked(gift("g1", "wang", "zhao", 3), at=days(1))
    scheme.booked(credit("c4", "zhao", 1), reversal("r4", "c4"), at=days(1))
    return scheme


def _broken(report: Report) -> tuple[str, str, str]:
    assert not report.ok
    assert report.first_break is not None
    assert report.first_break.expected != report.first_break.found
    return report.first_break.rule, report.first_break.table, report.first_break.row


def test_a_sound_ledger_is_found_sound(past: Scheme) -> None:
    report = past.verify()
    assert report == Report(
        True,
        {
            "rows": 10,
            "chains": 5,
            "days": 1,
            "accounts": 10,
            "holds": 2,
            "reversals": 1,
            "balances": 6,
            "sum": 10,
            "limits": 6,
            "expiries": 0,
            "checkpoints": 0,
            "endings": 0,
            "notes": 0,
        },
    )


def test_an_empty_ledger_is_sound(engine: Engine) -> None:
    with engine.connect() as connection:
        assert verify(connection).ok


@pytest.mark.parametrize(
    ("change", "row"),
    [
        ("UPDATE transfers SET points = points + 1 WHERE id = 'c2'", "c2"),
        ("UPDATE transfers SET reason = 'other' WHERE id = 'h1'", "h1"),
        ("UPDATE transfers SET actor = 'staff-2' WHERE id = 'k1'", "k1"),
        ("UPDATE transfers SET occurred_at = 1 WHERE id = 'k1'", "k1"),
        ("UPDATE transfers SET expires_at = NULL WHERE id = 'c1'", "c1"),
        ("UPDATE transfers SET recorded_at = recorded_at + 1 WHERE id = 'g1'", "g1"),
        (f"UPDATE transfers SET credit = {NUMBER.format('res:wang')} WHERE id = 'c1'", "c1"),
        ("UPDATE transfers SET row_hash = previous FROM batches WHERE id = 'v2' AND number = 1", "v2"),
        ("UPDATE accounts SET id = 'res:chen' WHERE id = 'res:li'", "c1"),
    ],
)
def test_a_changed_row_is_named(past: Scheme, change: str, row: str) -> None:
    assert _broken(_tampered(past, change)) == ("rows", "transfers", row)


def test_a_deleted_row_is_noticed_at_the_next_one_or_at_its_batch(past: Scheme) -> None:
    assert _broken(_tampered(past, "DELETE FROM transfers WHERE id = 'c1'")) == ("rows", "transfers", "c2")


def test_the_last_rows_of_a_batch_deleted_are_noticed(past: Scheme) -> None:
    serial = "SELECT min(serial) FROM batches"
    with past.engine.connect() as connection:
        first = connection.exec_driver_sql(serial).scalar()
    assert _broken(_tampered(past, "DELETE FROM transfers WHERE id = 'c2'")) == ("rows", "batches", str(first))


def test_a_row_slipped_in_is_named(past: Scheme) -> None:
    columns = ", ".join(column.name for column in db.metadata.tables["transfers"].columns if column.name != "sequence")
    copied = columns.replace("id,", "'slipped',", 1).replace("cause_id", "'slipped'")
    slipped = (
        f"INSERT INTO transfers (sequence, {columns}) SELECT sequence + 1, {copied} FROM transfers WHERE id = 'c2'"
    )
    assert _broken(_tampered(past, slipped)) == ("rows", "transfers", "slipped")
    alone = slipped.replace("sequence + 1", "sequence + 40960000").replace("slipped", "alone")
    assert _broken(_tampered(past, "DELETE FROM transfers WHERE id = 'slipped'", alone)) == (
        "rows",
        "transfers",
        "alone",
    )


def test_a_removed_batch_is_noticed_with_or_without_its_rows(past: Scheme) -> None:
    second = "(SELECT serial FROM batches WHERE number = 2)"
    with past.engine.connect() as connection:
        third = connection.exec_driver_sql("SELECT serial FROM batches WHERE number = 3").scalar()
    rows = f"DELETE FROM transfers WHERE sequence / 4096 = {second}"
    assert _broken(_tampered(past, rows))[:2] == ("rows", "batches")
    assert _broken(_tampered(past, "DELETE FROM batches WHERE number = 2")) == ("chains", "batches", str(third))


def test_a_batch_sealed_anew_breaks_the_chain_behind_it(past: Scheme) -> None:
    changed = "UPDATE batches SET recorded_at = recorded_at + 1 WHERE number = 2"
    rows = "UPDATE transfers SET recorded_at = recorded_at + 1 WHERE id IN ('h1', 'h2', 'h3')"
    assert _broken(_tampered(past, changed, rows))[:2] == ("rows", "batches")


def test_a_changed_chain_is_noticed(past: Scheme) -> None:
    with past.engine.connect() as connection:
        fifth = connection.exec_driver_sql("SELECT serial FROM batches WHERE number = 5").scalar()
    renumbered = "UPDATE batches SET number = 7 WHERE number = 5"
    # The number is in the digest, so the batch itself is named.
    assert _broken(_tampered(past, renumbered)) == ("rows", "batches", str(fifth))


def test_a_changed_day_is_named(past: Scheme) -> None:
    assert _broken(_tampered(past, "UPDATE days SET rows = rows + 1")) == ("days", "days", "2026-01-01")


@pytest.mark.parametrize(
    "change",
    ["posted = posted + 1", "posted = posted - 1", "held = held + 1", "last_sequence = last_sequence + 1"],
)
def test_a_cached_balance_that_is_not_what_the_rows_say_is_named(past: Scheme, change: str) -> None:
    number = NUMBER.format("res:wang")
    broken = _broken(_tampered(past, f"UPDATE balances SET {change} WHERE number = {number}"))
    assert broken == ("balances", "balances", "res:wang")


@pytest.mark.parametrize("row", ["h3", "g1"])
def test_a_broken_chain_of_rows_is_named(past: Scheme, row: str) -> None:
    change = f"UPDATE transfers SET debit_previous = 0 WHERE id = '{row}'"
    assert _broken(_tampered(past, change)) == ("balances", "balances", "res:wang")


@pytest.mark.parametrize(("row", "side"), [("h3", "debit"), ("c1", "credit")])
def test_a_row_taken_out_of_its_accounts_chain_is_named(past: Scheme, row: str, side: str) -> None:
    change = f"UPDATE transfers SET {side}_previous = NULL WHERE id = '{row}'"
    assert _broken(_tampered(past, change)) == ("accounts", "transfers", row)


def test_a_limit_taken_from_an_account_is_noticed(past: Scheme) -> None:
    change = f"UPDATE balances SET may_not_go_negative = false WHERE number = {NUMBER.format('res:li')}"
    assert _broken(_tampered(past, change)) == ("accounts", "balances", "res:li")


def test_a_missing_balance_is_noticed(past: Scheme) -> None:
    change = f"DELETE FROM balances WHERE number = {NUMBER.format('res:li')}"
    assert _broken(_tampered(past, change)) == ("accounts", "balances", "res:li")


def test_a_next_expiry_that_is_too_late_is_named(past: Scheme) -> None:
    change = f"UPDATE balances SET next_expiry_at = NULL WHERE number = {NUMBER.format('res:li')}"
    assert _broken(_tampered(past, change)) == ("expiries", "balances", "res:li")


# What a forger who also makes the hashes anew still breaks: the rules behind them, one by one.


def _without_hashes(scheme: Scheme, rule: str, *statements: str) -> tuple[str, str, str]:
    """The break that one rule alone finds after tampering."""
    _tampered(scheme, *statements)
    with scheme.engine.connect() as connection:
        check = {
            "accounts": verification._accounts,
            "holds": verification._holds,
            "reversals": verification._reversals,
            "limits": verification._limits,
            "sum": verification._sum,
        }[rule]
        result = check(connection)
    return _broken(Report(False, {}, result.broken))


@pytest.mark.parametrize(
    ("change", "row"),
    [
        ("UPDATE transfers SET points = 3 WHERE id = 'k1'", "k1"),
        ("UPDATE transfers SET pending = NULL WHERE id = 'v2'", "v2"),
        (f"UPDATE transfers SET pending = {SEQUENCE.format('c1')} WHERE id = 'k1'", "k1"),
        (f"UPDATE transfers SET pending = {SEQUENCE.format('h3')} WHERE id = 'k1'", "k1"),
        ("UPDATE transfers SET pending = 1 WHERE id = 'g1'", "g1"),
    ],
)
def test_an_end_that_is_not_of_a_whole_hold_is_named(past: Scheme, change: str, row: str) -> None:
    assert _without_hashes(past, "holds", change) == ("holds", "transfers", row)


def test_a_hold_that_ended_twice_is_named(sqlite_file: Engine) -> None:
    scheme = open_scheme(sqlite_file)
    scheme.booked(
        credit("c1", "li", 10), hold("h1", "li", 2), hold("h2", "li", 2), capture("k1", "h1"), void("v2", "h2")
    )
    table = "CREATE TABLE copied AS SELECT * FROM transfers"
    swapped = ("DROP TABLE transfers", "ALTER TABLE copied RENAME TO transfers")
    twice = f"UPDATE transfers SET pending = {SEQUENCE.format('h1')} WHERE id = 'v2'"
    assert _without_hashes(scheme, "holds", table, *swapped, twice) == ("holds", "transfers", "v2")


def test_a_reversal_that_is_not_of_a_whole_transfer_is_named(past: Scheme) -> None:
    changed = "UPDATE transfers SET points = 2 WHERE id = 'r4'"
    assert _without_hashes(past, "reversals", changed) == ("reversals", "transfers", "r4")


def test_a_transfer_taken_back_twice_is_named(sqlite_file: Engine) -> None:
    scheme = open_scheme(sqlite_file)
    scheme.booked(credit("c1", "li", 2), credit("c2", "li", 2), reversal("r1", "c1"), reversal("r2", "c2"))
    table = "CREATE TABLE copied AS SELECT * FROM transfers"
    swapped = ("DROP TABLE transfers", "ALTER TABLE copied RENAME TO transfers")
    twice = f"UPDATE transfers SET reverses = {SEQUENCE.format('c1')} WHERE id = 'r2'"
    assert _without_hashes(scheme, "reversals", table, *swapped, twice) == ("reversals", "transfers", "r2")


def test_a_row_of_an_account_that_does_not_exist_is_named(past: Scheme) -> None:
    gone = f"DELETE FROM accounts WHERE id = '{ISSUANCE}'"
    assert _without_hashes(past, "accounts", gone) == ("accounts", "transfers", "c1")


def test_an_account_past_its_limit_is_named(past: Scheme) -> None:
    deep = f"UPDATE balances SET posted = -1, held = 0 WHERE number = {NUMBER.format('res:li')}"
    assert _without_hashes(past, "limits", deep) == ("limits", "balances", "res:li")


def test_debits_that_are_not_credits_are_noticed(past: Scheme) -> None:
    more = f"UPDATE balances SET posted = posted + 1 WHERE number = {NUMBER.format('res:li')}"
    assert _without_hashes(past, "sum", more) == ("sum", "balances", "all")


def test_further_checks_run_last_and_may_break(past: Scheme) -> None:
    broken = Break("captures", "redemptions", "r1", "an item that dropped", "none")
    seen: list[str] = []

    def check(connection: object) -> Checked:
        seen.append("run")
        return Checked("captures", 1, broken)

    with past.engine.connect() as connection:
        report = verify(connection, [check])
    assert (report.ok, report.first_break, report.checked["captures"]) == (False, broken, 1)
    assert seen == ["run"]


def test_ranges_checked_apart_find_the_same(shared_scheme: Scheme, monkeypatch: pytest.MonkeyPatch) -> None:
    scheme = shared_scheme
    for number in range(30):
        scheme.booked(credit(f"c{number}", "li", 1))
    monkeypatch.setattr(verification, "PARALLEL_FROM_ROWS", 1)
    monkeypatch.setattr(verification, "RANGE_BATCHES", 7)
    with scheme.engine.connect() as connection:
        assert check_rows(connection, processes=2) == Checked("rows", 30)
    _tampered(scheme, "UPDATE transfers SET points = 2 WHERE id = 'c17'")
    with scheme.engine.connect() as connection:
        found = check_rows(connection, processes=2).broken
    assert found is not None
    assert found.row == "c17"


def test_a_receipt_leads_to_the_root_of_its_day(past: Scheme) -> None:
    with past.engine.connect() as connection:
        hashes = day_hashes(connection, "2026-01-01")
        root = connection.exec_driver_sql("SELECT root FROM days").scalar()
    assert merkle_root(hashes) == bytes(root)
    for position, one in enumerate(hashes):
        assert root_from(one, merkle_proof(hashes, position)) == bytes(root)
    assert root_from(hashes[0], merkle_proof(hashes, 1)) != bytes(root)


@pytest.mark.parametrize("length", [0, 1, 2, 3, 4, 5, 8, 13])
def test_every_leaf_of_a_tree_has_its_proof(length: int) -> None:
    hashes: Sequence[bytes] = [bytes([number]) * 32 for number in range(length)]
    root = merkle_root(hashes)
    for position, one in enumerate(hashes):
        assert root_from(one, merkle_proof(hashes, position)) == root
