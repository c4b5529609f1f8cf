"""The writer: group commit, idempotency, batches that fail, and a world that fails."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from alembic.script import ScriptDirectory
from postgresql_server import Postgresql
from sqlalchemy import Column, Connection, Engine, Integer, MetaData, String, Table, insert, select

from jishan_server import db, writer
from jishan_server.db import DatabaseUnavailable
from jishan_server.errors import DomainError
from jishan_server.writer import Kind, Operation, Outcome, Writer, drain, request_hash

NOW = datetime(2026, 1, 1, tzinfo=UTC)

notes = Table("noted", MetaData(), Column("id", String(40), primary_key=True), Column("size", Integer))


@dataclass(frozen=True)
class Note:
    """Text to keep; `size` 13 is a bug, a negative one is refused."""

    size: int
    secret: str = field(default="", metadata={"secret": True})


def _note_one(connection: Connection, operation: Operation, now: datetime) -> dict[str, Any]:
    connection.execute(insert(notes).values(id=operation.id, size=operation.body.size))
    if operation.body.size < 0:
        raise DomainError("points_invalid")
    if operation.body.size == 13:
        raise RuntimeError("a bug")
    return {"id": operation.id, "count": len(connection.execute(select(notes)).all())}


def _note_all(connection: Connection, operations: Sequence[Operation], now: datetime) -> list[Outcome]:
    if any(operation.body.size == 13 for operation in operations):
        raise RuntimeError("a bug")
    connection.execute(insert(notes), [{"id": one.id, "size": one.body.size} for one in operations])
    return [Outcome(len(operations)) for _ in operations]


KINDS = {"all": Kind(run_batch=_note_all), "one": Kind(run_one=_note_one)}


@pytest.fixture
def noted(file_or_server: Engine) -> Engine:
    notes.create(file_or_server)
    return file_or_server


@pytest.fixture
def running(noted: Engine) -> Iterator[Writer]:
    made = Writer(noted, KINDS, lambda: NOW)
    yield made
    made.close()


def _ids(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return sorted(connection.execute(select(notes.c.id)).scalars())


def _drain(engine: Engine, *operations: Operation) -> list[Outcome]:
    with db.connect_for_writing(engine) as connection:
        outcomes = drain(operations, connection, KINDS, NOW)
        connection.commit()
    return outcomes


def test_an_answer_comes_after_its_commit(running: Writer, noted: Engine) -> None:
    assert running.call(Operation("n1", "one", Note(1))) == {"id": "n1", "count": 1}
    assert _ids(noted) == ["n1"]


def test_what_queued_while_the_commit_before_ran_is_one_batch(noted: Engine) -> None:
    started, go = threading.Event(), threading.Event()

    def slow(connection: Connection, operations: Sequence[Operation], now: datetime) -> list[Outcome]:
        started.set()
        assert go.wait(30)
        return [Outcome(len(operations)) for _ in operations]

    made = Writer(noted, {"slow": Kind(run_batch=slow)}, lambda: NOW, max_batch=5)
    first = made.submit(Operation("first", "slow", None))
    assert started.wait(30)
    others = [made.submit(Operation(f"other{number}", "slow", None)) for number in range(7)]
    assert made.queue_length == 7
    go.set()
    assert [one.result(30).value for one in (first, *others)] == [1, 5, 5, 5, 5, 5, 2, 2]
    made.close()


def test_the_same_id_and_body_is_answered_as_the_first_time(running: Writer, noted: Engine) -> None:
    first = running.submit(Operation("n1", "one", Note(1))).result(30)
    running.call(Operation("n2", "one", Note(2)))
    again = running.submit(Operation("n1", "one", Note(1))).result(30)
    assert (first.replayed, again.replayed) == (False, True)
    assert first.value == again.value == {"id": "n1", "count": 1}
    assert _ids(noted) == ["n1", "n2"]


def test_a_refusal_is_remembered_too_and_leaves_nothing(running: Writer, noted: Engine) -> None:
    for is_replay in (False, True):
        outcome = running.submit(Operation("n1", "one", Note(-1))).result(30)
        assert outcome == Outcome(error=DomainError("points_invalid"), replayed=is_replay)
    assert _ids(noted) == []


def test_the_same_id_with_another_body_or_kind_is_refused(running: Writer, noted: Engine) -> None:
    running.call(Operation("n1", "one", Note(1)))
    with pytest.raises(DomainError, match="idempotency_conflict"):
        running.call(Operation("n1", "one", Note(2)))
    assert _ids(noted) == ["n1"]


def test_one_that_fails_alone_fails_alone(noted: Engine) -> None:
    kinds = [("one", 1), ("all", 2), ("one", 13), ("all", 13), ("one", -1), ("all", 3), ("one", 4)]
    outcomes = _drain(noted, *(Operation(f"n{place}", kind, Note(size)) for place, (kind, size) in enumerate(kinds)))
    codes = [None if outcome.error is None else outcome.error.code for outcome in outcomes]
    assert codes == [None, None, "internal_error", "internal_error", "points_invalid", None, None]
    assert _ids(noted) == ["n0", "n1", "n5", "n6"]


def test_a_failure_is_not_remembered_and_may_be_tried_again(noted: Engine) -> None:
    (failed,) = _drain(noted, Operation("n1", "one", Note(13)))
    assert failed.error == DomainError("internal_error")
    (done,) = _drain(noted, Operation("n1", "one", Note(14)))
    assert done.error is None


def test_kinds_run_in_the_order_of_their_registration(noted: Engine) -> None:
    outcomes = _drain(noted, Operation("n1", "one", Note(1)), Operation("n2", "all", Note(2)))
    assert [outcome.value for outcome in outcomes] == [{"id": "n1", "count": 2}, 1]


def test_the_request_hash_leaves_secrets_out_and_nothing_else() -> None:
    class Colour(Enum):
        RED = "red"

    def of(body: Any, kind: str = "k") -> str:
        return request_hash(Operation("o", kind, body))

    assert of(Note(1, "1234")) == of(Note(1, "9999"))
    assert (
        len({of(Note(1)), of(Note(2)), of(Note(1), "other"), of(None), of([1]), of({"a": Colour.RED}), of(b"1")}) == 7
    )
    assert of((NOW, 1)) == of([NOW, 1]) != of([NOW.replace(year=2027), 1])


def test_close_does_what_is_queued_and_takes_no_more(noted: Engine) -> None:
    made = Writer(noted, KINDS, lambda: NOW)
    futures = [made.submit(Operation(f"n{number}", "all", Note(number))) for number in range(12)]
    made.close()
    made.close()
    assert [future.done() for future in futures] == [True] * 12
    assert [future.result().error for future in futures] == [None if n != 13 else "x" for n in range(12)]
    with pytest.raises(DatabaseUnavailable, match="stopping"):
        made.submit(Operation("late", "all", Note(1)))


def test_a_full_queue_turns_away_at_once(noted: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "MAX_QUEUE", 1)
    started, go = threading.Event(), threading.Event()

    def slow(connection: Connection, operations: Sequence[Operation], now: datetime) -> list[Outcome]:
        started.set()
        assert go.wait(30)
        return [Outcome() for _ in operations]

    made = Writer(noted, {"slow": Kind(run_batch=slow)}, lambda: NOW)
    made.submit(Operation("first", "slow", None))
    assert started.wait(30)
    made.submit(Operation("second", "slow", None))
    with pytest.raises(DatabaseUnavailable, match="busy"):
        made.submit(Operation("third", "slow", None))
    go.set()
    made.close()


def test_many_threads_lose_and_double_nothing(running: Writer, noted: Engine) -> None:
    def submit(name: int) -> None:
        for number in range(50):
            operation = Operation(f"n{name}-{number % 40}", "one", Note(100 + number % 40))
            assert running.submit(operation).result(60).error is None

    threads = [threading.Thread(target=submit, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(_ids(noted)) == 160


def test_a_full_disk_is_the_worlds_fault_and_undoes_the_batch(sqlite_file: Engine) -> None:
    notes.create(sqlite_file)
    with sqlite_file.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        # Every connection of this engine has a full disk from here on.
    full = db.make_engine(str(sqlite_file.url))
    with full.connect() as connection:
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
    made = Writer(full, KINDS, lambda: NOW)
    try:
        big = [made.submit(Operation(f"n{number}" + "x" * 30, "all", Note(number + 20))) for number in range(2_000)]
        errors = [future.exception(30) for future in big]
        assert any(isinstance(error, DatabaseUnavailable) for error in errors)
        done = [future.result().error for future, error in zip(big, errors, strict=True) if error is None]
        assert set(done) <= {None}
    finally:
        made.close()
    assert len(_ids(sqlite_file)) == len(done)
    full.dispose()


def test_sqlite_that_ended_the_transaction_by_itself_cannot_be_committed(sqlite_file: Engine) -> None:
    with db.connect_for_writing(sqlite_file) as connection:
        connection.begin()
        raw: Any = connection.connection.dbapi_connection
        assert isinstance(raw, sqlite3.Connection)
        raw.rollback()
        with pytest.raises(AssertionError, match="rolled this transaction back"):
            connection.commit()
        connection.rollback()


def test_the_writer_survives_a_database_restart(postgresql: Postgresql, postgresql_database: Engine) -> None:
    notes.create(postgresql_database)
    made = Writer(postgresql_database, KINDS, lambda: NOW)
    try:
        assert made.call(Operation("before", "one", Note(1)))["count"] == 1
        postgresql.control("-m", "immediate", "stop")
        with pytest.raises(DatabaseUnavailable):
            made.call(Operation("during", "one", Note(2)))
        with pytest.raises(DatabaseUnavailable):
            made.call(Operation("during", "one", Note(2)))
        postgresql.control("-l", str(postgresql.folder / "log"), "-o", postgresql.options, "start")
        assert made.call(Operation("during", "one", Note(2)))["count"] == 2
        assert made.submit(Operation("before", "one", Note(1))).result(30).replayed
    finally:
        made.close()


def test_a_database_that_was_never_there_is_unavailable(tmp_path: Path) -> None:
    for url in (f"sqlite:///{tmp_path}/none/jishan.db", "postgresql+psycopg://nobody@127.0.0.1:1/none"):
        made = Writer(db.make_engine(url), KINDS, lambda: NOW)
        with pytest.raises(DatabaseUnavailable, match="unreachable"):
            made.call(Operation("n1", "one", Note(1)))
        made.close()


def test_upgrade_is_done_once_and_again_without_harm(engine: Engine) -> None:
    db.upgrade(engine)
    with engine.connect() as connection:
        newest = ScriptDirectory(str(db.migrations_path())).get_current_head()
        assert connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar() == newest


def test_instants_keep_their_milliseconds(engine: Engine) -> None:
    table = Table("instants", MetaData(), Column("at", db.Instant))
    table.create(engine)
    instants = [datetime(1969, 12, 31, 23, 59, 59, 1_000, UTC), NOW, datetime(9999, 12, 31, 23, 59, 59, 999_000, UTC)]
    with db.writing(engine) as connection:
        connection.execute(insert(table), [{"at": at} for at in [*instants, None]])
        assert list(connection.execute(select(table.c.at)).scalars()) == [*instants, None]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_writer_that_ends_by_a_fault_of_its_own_leaves_nobody_waiting(noted: Engine) -> None:
    def broken_clock() -> datetime:
        raise ZeroDivisionError

    made = Writer(noted, KINDS, broken_clock)
    assert made.is_alive
    for id in ("n1", "n2"):
        with pytest.raises(DatabaseUnavailable, match="stopping"):
            made.call(Operation(id, "one", Note(1)))
    assert not made.is_alive
    made.close()
    assert _ids(noted) == []
