"""The one place that writes: operations queue up, and whatever queued while the last commit ran is one transaction.

Rules. Nothing is answered before its commit. There is no timer: an empty queue makes a batch of one. Inside a batch the
kinds run in the order in which they are registered, the operations of a kind in the order in which they came. A mass
kind takes all its operations at once; the others run one by one, each in a savepoint, and the writer remembers their
answers: the same id and body is answered as the first time, the same id with another body is refused. If a batch fails
it is rolled back and run again one by one, and only what fails alone fails. What the world does (disk full, database
gone, a serialization failure) is told as `DatabaseUnavailable`, never as a refusal.
Source: decisions, "One writer"; performance, "What follows for the design".
"""

import dataclasses
import enum
import hashlib
import json
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime
from queue import Empty, SimpleQueue
from typing import Any, Final, NamedTuple

import structlog
from sqlalchemy import Column, Connection, Engine, String, Table, Text, insert, select

from jishan_server.db import (
    DatabaseUnavailable,
    Instant,
    connect_for_writing,
    is_passing,
    is_the_worlds,
    is_unique_violation,
    metadata,
)
from jishan_server.errors import DomainError

# More in one transaction makes the others wait without being faster.
MAX_BATCH: Final = 1_000
# Operations that may wait: some seconds of work. More are turned away at once instead of being answered too late.
MAX_QUEUE: Final = 100_000
# How often a batch is tried that lost against another transaction (deadlock, serialization failure, unique key).
MAX_TRIES: Final = 3
# How long a caller waits for its answer.
CALL_TIMEOUT_S: Final = 30.0

log = structlog.get_logger(__name__)

operations: Final = Table(
    "operations",
    metadata,
    Column("id", String(80), primary_key=True),
    Column("kind", String(40), nullable=False),
    Column("request_hash", String(64), nullable=False),
    Column("response_json", Text, nullable=False),
    Column("recorded_at", Instant, nullable=False),
)


@dataclass(frozen=True, slots=True)
class Operation:
    """One use case to run: `id` is the client's (or made from its Idempotency-Key), `body` a frozen dataclass."""

    id: str
    kind: str
    body: Any


class Outcome(NamedTuple):
    """What became of an operation: a value, or the refusal."""

    value: Any = None
    error: DomainError | None = None
    replayed: bool = False


RunBatch = Callable[[Connection, Sequence[Operation], datetime], list[Outcome]]
RunOne = Callable[[Connection, Operation, datetime], Any]


@dataclass(frozen=True, slots=True)
class Kind:
    """How a kind of operation runs: exactly one of the two.

    `run_batch` writes all of its operations with set-based statements, keeps its own idempotency, and leaves nothing
    behind for one it refuses. `run_one` gives a JSON value or raises DomainError; what it wrote is then undone.
    """

    run_batch: RunBatch | None = None
    run_one: RunOne | None = None

    def __post_init__(self) -> None:
        assert (self.run_batch is None) != (self.run_one is None)


Kinds = Mapping[str, Kind]
Answer = Outcome | DatabaseUnavailable


def request_hash(operation: Operation) -> str:
    """SHA-256 over kind and body. A body's field with `metadata={"secret": True}` is left out: no trace is kept."""
    words = json.dumps([operation.kind, _plain(operation.body)], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(words.encode()).hexdigest()


def _plain(value: Any) -> Any:
    """Dataclasses, enums, instants and bytes as JSON values."""
    match value:
        case enum.Enum():
            return value.value
        case datetime():
            return value.isoformat()
        case bytes():
            return value.hex()
        case Mapping():
            return {str(key): _plain(one) for key, one in value.items()}
        case list() | tuple():
            return [_plain(one) for one in value]
    if dataclasses.is_dataclass(value):
        shown = [field for field in dataclasses.fields(value) if not field.metadata.get("secret")]
        return {field.name: _plain(getattr(value, field.name)) for field in shown}
    return value


def drain(queued: Sequence[Operation], connection: Connection, kinds: Kinds, now: datetime) -> list[Outcome]:
    """Run operations as one transaction; an outcome for each, in order. The caller commits.

    `connection` has written nothing in its transaction yet, and is not inside a `with connection.begin()`: a batch that
    fails is rolled back here and run again one by one. Raises what the world does (`is_the_worlds`).
    """
    try:
        return _together(queued, connection, kinds, now)
    except Exception as error:
        if is_the_worlds(error):
            raise
        if not is_unique_violation(error):
            log.error("batch_failed", operations=len(queued), trace=_trace(error))
        connection.rollback()
    return [_alone(operation, connection, kinds, now) for operation in queued]


def _trace(error: Exception) -> str:
    """Where it failed, without the values of variables: bodies hold secrets."""
    return "".join(traceback.format_exception(error))


def _together(queued: Sequence[Operation], connection: Connection, kinds: Kinds, now: datetime) -> list[Outcome]:
    if not queued:
        return []
    first = kinds.get(queued[0].kind)
    if first is not None and first.run_batch is not None and len({operation.kind for operation in queued}) == 1:
        return first.run_batch(connection, queued, now)
    places: dict[str, list[int]] = {}
    for place, operation in enumerate(queued):
        places.setdefault(operation.kind, []).append(place)
    outcomes: dict[int, Outcome] = {}
    for name, kind in kinds.items():
        found = places.pop(name, None)
        if found is None:
            continue
        if kind.run_batch is None:
            outcomes |= {place: _one(queued[place], connection, kind, now) for place in found}
        else:
            batch = [queued[place] for place in found]
            outcomes |= dict(zip(found, kind.run_batch(connection, batch, now), strict=True))
    assert not places, f"no such kinds: {sorted(places)}"
    return [outcomes[place] for place in range(len(queued))]


def _alone(operation: Operation, connection: Connection, kinds: Kinds, now: datetime) -> Outcome:
    """Run one operation of a batch that failed: what fails now fails alone."""
    for _ in range(MAX_TRIES):
        try:
            with connection.begin_nested():
                return _together([operation], connection, kinds, now)[0]
        except Exception as error:
            if is_the_worlds(error):
                raise
            if not is_unique_violation(error):
                log.error("operation_failed", operation=operation.id, kind=operation.kind, trace=_trace(error))
                break
    return Outcome(error=DomainError("internal_error"))


def _one(operation: Operation, connection: Connection, kind: Kind, now: datetime) -> Outcome:
    """Run one operation in a savepoint, or answer it from memory."""
    assert kind.run_one is not None
    digest = request_hash(operation)
    o = operations.c
    known = connection.execute(select(o.request_hash, o.response_json).where(o.id == operation.id)).one_or_none()
    if known is not None:
        if known.request_hash != digest:
            return Outcome(error=DomainError("idempotency_conflict"))
        return _remembered(json.loads(known.response_json))
    try:
        with connection.begin_nested():
            outcome = Outcome(kind.run_one(connection, operation, now))
            response: dict[str, Any] = {"value": outcome.value}
    except DomainError as error:
        outcome = Outcome(error=error)
        response = {"code": error.code, "fields": dict(error.fields)}
    connection.execute(
        insert(operations).values(
            id=operation.id,
            kind=operation.kind,
            request_hash=digest,
            response_json=json.dumps(response, ensure_ascii=False),
            recorded_at=now,
        )
    )
    return outcome


def _remembered(response: dict[str, Any]) -> Outcome:
    if "code" in response:
        return Outcome(error=DomainError(response["code"], **response["fields"]), replayed=True)
    return Outcome(response["value"], replayed=True)


class Writer:
    """One thread with one connection, taking whatever queued while the commit before ran."""

    def __init__(self, engine: Engine, kinds: Kinds, clock: Callable[[], datetime], max_batch: int = MAX_BATCH) -> None:
        self._engine = engine
        self._kinds = kinds
        self._clock = clock
        self._max_batch = max_batch
        self._queue: SimpleQueue[tuple[Operation, Callable[[Answer], None]] | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._is_closing = False
        self._connection: Connection | None = None
        self._thread = threading.Thread(target=self._run, name="writer")
        self._thread.start()

    @property
    def queue_length(self) -> int:
        """Operations that wait."""
        return self._queue.qsize()

    def enqueue(self, operation: Operation, done: Callable[[Answer], None]) -> None:
        """Queue an operation; `done` is called with its answer after the commit, in the writer's thread: it must be
        quick and must not raise. Raises DatabaseUnavailable at once when the queue is full or the writer is closing.
        """
        assert operation.kind in self._kinds, f"no such kind: {operation.kind}"
        with self._lock:
            if self._is_closing:
                raise DatabaseUnavailable("stopping")
            if self._queue.qsize() >= MAX_QUEUE:
                raise DatabaseUnavailable("busy")
            self._queue.put((operation, done))

    def submit(self, operation: Operation) -> Future[Outcome]:
        """Queue an operation; the future has its outcome after the commit, or DatabaseUnavailable."""
        future: Future[Outcome] = Future()
        future.set_running_or_notify_cancel()

        def done(answer: Answer) -> None:
            if isinstance(answer, DatabaseUnavailable):
                future.set_exception(answer)
            else:
                future.set_result(answer)

        self.enqueue(operation, done)
        return future

    def call(self, operation: Operation) -> Any:
        """Run an operation and give its value; raises its DomainError, or DatabaseUnavailable."""
        try:
            outcome = self.submit(operation).result(CALL_TIMEOUT_S)
        except TimeoutError:
            raise DatabaseUnavailable("busy") from None
        if outcome.error is not None:
            raise outcome.error
        return outcome.value

    def close(self) -> None:
        """Take no more, do what is queued, and end."""
        with self._lock:
            if not self._is_closing:
                self._is_closing = True
                self._queue.put(None)
        self._thread.join()

    @property
    def is_alive(self) -> bool:
        """Whether it takes operations: not after `close`, nor after a fault of ours ended its thread."""
        return self._thread.is_alive() and not self._is_closing

    def _run(self) -> None:
        try:
            self._serve()
        except BaseException as error:
            log.critical("writer_ended", error=type(error).__name__)
            raise
        finally:
            with self._lock:
                self._is_closing = True
            self._turn_away()
            if self._connection is not None:
                self._connection.close()

    def _turn_away(self) -> None:
        """Nobody is left waiting for an answer that will not come."""
        while True:
            try:
                one = self._queue.get_nowait()
            except Empty:
                return
            if one is not None:
                one[1](DatabaseUnavailable("stopping"))

    def _serve(self) -> None:
        is_open = True
        while is_open:
            batch = [self._queue.get()]
            try:
                while len(batch) < self._max_batch:
                    batch.append(self._queue.get_nowait())
            except Empty:
                pass
            if batch[-1] is None:
                batch.pop()
                is_open = False
            self._do([one for one in batch if one is not None])

    def _do(self, batch: Sequence[tuple[Operation, Callable[[Answer], None]]]) -> None:
        """Run a batch, commit it, and answer."""
        if not batch:
            return
        answers: Sequence[Answer] = [DatabaseUnavailable("stopping")] * len(batch)
        try:
            answers = self._commit([operation for operation, _ in batch])
        finally:
            for (_, done), answer in zip(batch, answers, strict=True):
                done(answer)

    def _commit(self, queued: Sequence[Operation]) -> Sequence[Answer]:
        for _ in range(MAX_TRIES):
            try:
                if self._connection is None:
                    self._connection = connect_for_writing(self._engine)
                outcomes = drain(queued, self._connection, self._kinds, self._clock())
                self._connection.commit()
                return outcomes
            except Exception as error:
                self._drop_connection()
                if not is_the_worlds(error):
                    raise
                if not is_passing(error):
                    log.warning("database_unavailable", error=str(error), operations=len(queued))
                    return [DatabaseUnavailable("unreachable")] * len(queued)
        return [DatabaseUnavailable("busy")] * len(queued)

    def _drop_connection(self) -> None:
        """Undo what is undone anyway, and have the next batch connect anew."""
        if self._connection is None:
            return
        connection, self._connection = self._connection, None
        try:
            connection.rollback()
        except Exception as error:
            if not is_the_worlds(error):
                raise
            connection.invalidate()
        connection.close()
