"""Words lie beside the rows: their hash is proved with the row, and they can be forgotten without touching it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ledger_world import START, Scheme, credit
from sqlalchemy import select

from jishan_server import db
from jishan_server.ledger import notes, tables
from jishan_server.ledger.model import row_hash
from jishan_server.ledger.store import close_day, statement

SALT = "5a17" * 8
WORDS = "𠮷田奶奶送来的药，楼上三户都扫了雪🌸"


def noted(scheme: Scheme, id: str = "c1") -> str:
    """Credit li with a note; gives its hash."""
    with db.writing(scheme.engine) as connection:
        hash = notes.write(connection, f"note-{id}", "li", WORDS, SALT)
    scheme.booked(replace(credit(id, "li", 5), note=hash))
    return hash


def test_a_row_carries_the_hash_of_its_words_and_no_word(scheme: Scheme) -> None:
    hash = noted(scheme)
    assert hash == notes.hash_of(WORDS, SALT)
    with scheme.engine.connect() as connection:
        (line,), _ = statement(connection, "res:li")
        row = connection.execute(select(tables.transfers)).one()
        assert notes.read(connection, [line.note or "", "unknown"]) == {hash: WORDS}
    assert line.note == hash
    assert "扫" not in repr(row)
    assert scheme.verify().checked["notes"] == 1


def test_words_and_salt_are_forgotten_and_everything_is_still_proved(scheme: Scheme) -> None:
    hash = noted(scheme)
    with db.writing(scheme.engine) as connection:
        notes.write(connection, "another", "wang", "x", SALT)
        close_day(connection, "2026-01-01", START.replace(day=2))
    before = scheme.everything()
    with db.writing(scheme.engine) as connection:
        notes.forget(connection, "li")
    assert scheme.everything() == before
    with scheme.engine.connect() as connection:
        kept = connection.execute(select(tables.notes).order_by(tables.notes.c.id)).all()
        assert notes.read(connection, [hash]) == {}
    assert [(one.id, one.salt, one.words) for one in kept] == [("another", SALT, "x"), ("note-c1", None, None)]
    assert scheme.verify().ok
    # The same transfer sent again is still the same.
    (again,) = scheme.book(replace(credit("c1", "li", 5), note=hash))
    assert getattr(again, "is_replay", False)


def test_the_same_transfer_with_another_note_is_refused(scheme: Scheme) -> None:
    noted(scheme)
    assert scheme.refused(credit("c1", "li", 5)) == "idempotency_conflict"
    assert scheme.refused(replace(credit("c1", "li", 5), note="0" * 64)) == "idempotency_conflict"


def test_a_row_without_a_note_is_hashed_as_ever() -> None:
    words = ("c1", "post", "a", "b", 5, "test", "c1", 0, "staff-1", "test", "", 0, 0, 0, 0)
    assert row_hash(words).hex() == "b01c7fc917122e39809f6e035bb24405badca719b5116afd17abc6f02fdf3c1b"
    assert row_hash(words) != row_hash(words, "")


@pytest.mark.parametrize(
    ("change", "broken"),
    [
        ("UPDATE notes SET words = 'other'", ("notes", "notes", "note-c1")),
        ("UPDATE notes SET salt = '00'", ("notes", "notes", "note-c1")),
        ("DELETE FROM notes", ("notes", "transfers", "c1")),
    ],
)
def test_a_note_that_is_not_the_rows_is_named(scheme: Scheme, change: str, broken: tuple[str, str, str]) -> None:
    noted(scheme)
    with db.writing(scheme.engine) as connection:
        connection.exec_driver_sql(change)
    found = scheme.verify().first_break
    assert found is not None
    assert (found.rule, found.table, found.row) == broken


def test_half_a_note_cannot_be_forgotten(scheme: Scheme) -> None:
    noted(scheme)
    with pytest.raises(Exception, match="forgotten_as_a_whole"), db.writing(scheme.engine) as connection:
        connection.exec_driver_sql("UPDATE notes SET words = NULL")


def test_a_salt_that_can_be_guessed_is_ours_to_notice(scheme: Scheme) -> None:
    with pytest.raises(AssertionError, match="guessed"), db.writing(scheme.engine) as connection:
        notes.write(connection, "n", "li", "x", "short")
