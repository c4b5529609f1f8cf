"""The database: one metadata for all tables, instants, engines for SQLite and PostgreSQL, and the migration to head.

Rules: tables are SQLAlchemy Core in each package's `tables.py`; every `_at` column is an `Instant`; SQLite is always
WAL with synchronous=FULL, because an answered commit must survive a power cut; a transaction that will write says so
first (`writing`), so that SQLite takes its one write lock at the start instead of failing in the middle.
Source: decisions, "One writer"; performance, "What follows for the design".
"""

import importlib
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import psycopg
from sqlalchemy import (
    DDL,
    BigInteger,
    Connection,
    Dialect,
    Engine,
    Integer,
    MetaData,
    Table,
    create_engine,
    event,
    make_url,
)
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import ConnectionPoolEntry, PoolResetState, StaticPool
from sqlalchemy.types import TypeDecorator

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND: Final = timedelta(milliseconds=1)

# How long a reader or a command line tool waits for SQLite's write lock; the writer's longest batch is far below.
BUSY_TIMEOUT_MS: Final = 10_000
# Page cache of each SQLite connection: the hot part of the indexes of some million transfers.
CACHE_KIB: Final = 64 * 1024
# WAL pages between two checkpoints (32 MiB): larger makes fewer pauses, each longer; here fewer than 1 batch in 100.
CHECKPOINT_PAGES: Final = 8_000

MOVES: Final = "moves_when_merged"
"""Key of a column's `info`: rows of a resident whose record is merged into another become that one's."""

_REMEMBERED: Final = "remembered until a rollback"


metadata: Final = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# A 64-bit key that SQLite can use as its row id.
Serial: Final = BigInteger().with_variant(Integer(), "sqlite")


class UnknownRevision(Exception):
    """A schema that this program does not know: a newer one made it."""


class DatabaseUnavailable(Exception):
    """The world's fault: the database is gone, full or busy. Nothing is known to be lost; repeat with the same id.

    `reason` is `unreachable`, `busy` or `stopping`. The database's own words are logged, never shown.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason: Final = reason


# What SQLite says when another connection has the lock; what PostgreSQL says to the loser of two transactions.
_BUSY: Final = ("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_BUSY_SNAPSHOT")
_PASSING: Final = (
    psycopg.errors.SerializationFailure,
    psycopg.errors.DeadlockDetected,
    psycopg.errors.LockNotAvailable,
)


def _driver_error(error: BaseException) -> BaseException:
    """The driver's own error: raw cursors raise it as it is, SQLAlchemy wraps it."""
    return error.orig if isinstance(error, DBAPIError) and error.orig is not None else error


def is_the_worlds(error: BaseException) -> bool:
    """Whether the database failed, and not the operation: gone, full, locked, or another transaction won."""
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    found = _driver_error(error)
    # SQLite says of a damaged file no more than DatabaseError.
    is_damaged = type(found) is sqlite3.DatabaseError
    return is_damaged or isinstance(found, sqlite3.OperationalError | psycopg.OperationalError | psycopg.InterfaceError)


def is_passing(error: BaseException) -> bool:
    """Whether the same transaction may well succeed at once: it lost against another one."""
    found = _driver_error(error)
    return isinstance(found, _PASSING) or getattr(found, "sqlite_errorname", "") in _BUSY


def is_unique_violation(error: BaseException) -> bool:
    """Whether a row was there already: perhaps since another transaction committed it a moment ago."""
    found = _driver_error(error)
    name = getattr(found, "sqlite_errorname", "")
    return isinstance(found, psycopg.errors.UniqueViolation) or name in (
        "SQLITE_CONSTRAINT_UNIQUE",
        "SQLITE_CONSTRAINT_PRIMARYKEY",
        "SQLITE_CONSTRAINT_ROWID",
    )


def to_ms(at: datetime) -> int:
    """Milliseconds since the epoch of an aware instant; finer parts are cut off."""
    return (at - EPOCH) // MILLISECOND


def from_ms(ms: int) -> datetime:
    """The UTC instant of milliseconds since the epoch, exactly."""
    return EPOCH + ms * MILLISECOND


class Instant(TypeDecorator[datetime]):
    """An aware UTC instant in Python, BIGINT milliseconds since the epoch in the database."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        return None if value is None else to_ms(value)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:
        return None if value is None else from_ms(value)


def make_engine(url: str) -> Engine:
    """An engine with the product's settings; `sqlite://` is one database in memory on one shared connection. Its errors
    do not repeat parameters, because these may be secret.

    URLs: `sqlite:////absolute/path`, `sqlite://`, `postgresql+psycopg://user@host/name`.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        engine = create_engine(parsed, pool_pre_ping=True, hide_parameters=True)
    else:
        # Python's own transaction handling is off (isolation_level None): `_begin` below is the only one.
        arguments: dict[str, Any] = {"check_same_thread": False, "isolation_level": None}
        pool = StaticPool if parsed.database in (None, "", ":memory:") else None
        engine = create_engine(parsed, connect_args=arguments, poolclass=pool, hide_parameters=True)
        event.listen(engine, "connect", _set_up_sqlite)
        event.listen(engine, "begin", _begin)
        event.listen(engine, "commit", _still_open)
    event.listen(engine, "rollback", _forget)
    event.listen(engine, "rollback_savepoint", _forget)
    event.listen(engine, "reset", _forget_returned)
    return engine


def _set_up_sqlite(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    cursor = connection.cursor()
    for pragma in (
        f"busy_timeout = {BUSY_TIMEOUT_MS}",
        "journal_mode = WAL",
        "synchronous = FULL",
        "foreign_keys = ON",
        "temp_store = MEMORY",
        f"cache_size = -{CACHE_KIB}",
        f"wal_autocheckpoint = {CHECKPOINT_PAGES}",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def remembered(connection: Connection) -> dict[Any, Any]:
    """What has been read over this connection and can never change; forgotten when any of its work is undone."""
    found: dict[Any, Any] = connection.info.setdefault(_REMEMBERED, {})
    return found


def _forget(connection: Connection, *_: object) -> None:
    # One that is broken has nothing to remember any more.
    if not connection.invalidated:
        connection.info.pop(_REMEMBERED, None)


def _forget_returned(_: DBAPIConnection, record: ConnectionPoolEntry, state: PoolResetState) -> None:
    if not state.transaction_was_reset:
        record.info.pop(_REMEMBERED, None)


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writes", False)
    raw: Any = connection.connection.dbapi_connection
    raw.execute("BEGIN IMMEDIATE" if writes else "BEGIN")


def _still_open(connection: Connection) -> None:
    """SQLite ends a transaction by itself on some errors, and Python's commit then says nothing."""
    raw: Any = connection.connection.dbapi_connection
    assert raw.in_transaction, "SQLite rolled this transaction back before its commit"


def connect_for_writing(engine: Engine) -> Connection:
    """A connection whose transactions take SQLite's write lock at their start; the caller closes it."""
    return engine.connect().execution_options(writes=True)


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """One writing transaction, committed at the end: for tools and tests; the server writes through its writer."""
    with connect_for_writing(engine) as connection, connection.begin():
        yield connection


def all_tables() -> MetaData:
    """The metadata with every table in it: those of `audit`, `writer`, and each package's modules named `...tables`."""
    here = Path(__file__).resolve().parent
    modules = sorted(f"{path.parent.name}.{path.stem}" for path in here.glob("*/*tables.py"))
    for name in ("audit", "writer", *modules):
        importlib.import_module(f"jishan_server.{name}")
    return metadata


def append_only(table: Table) -> None:
    """Have the database refuse UPDATE and DELETE on `table`, and TRUNCATE where there is one."""
    for statement, dialect in append_only_statements(table.name):
        on_create(table, statement, dialect)


def on_create(table: Table, statement: str, dialect: str) -> None:
    """Have a statement of one dialect run when `table` was created."""
    ddl = DDL(statement.replace("%", "%%"))  # type: ignore[no-untyped-call]
    event.listen(table, "after_create", ddl.execute_if(dialect=dialect))


def append_only_statements(table: str) -> list[tuple[str, str]]:
    """The statements behind `append_only`, each with its dialect, in order."""
    lines = [
        (
            f"CREATE TRIGGER {table}_refuses_{verb} BEFORE {verb.upper()} ON {table} "
            f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END",
            "sqlite",
        )
        for verb in ("update", "delete")
    ]
    lines.append(
        (
            "CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END $$",
            "postgresql",
        )
    )
    for name, events, scope in (("change", "UPDATE OR DELETE", "ROW"), ("truncate", "TRUNCATE", "STATEMENT")):
        lines.append(
            (
                f"CREATE TRIGGER {table}_refuses_{name} BEFORE {events} ON {table} "
                f"FOR EACH {scope} EXECUTE FUNCTION refuse_change()",
                "postgresql",
            )
        )
    return lines


def migrations_path() -> Path:
    """Where the migrations are: inside the installed package, or beside it in a checkout."""
    here = Path(__file__).resolve().parent
    installed = here / "_migrations"
    return installed if installed.is_dir() else here.parent / "migrations"


def upgrade(engine: Engine, revision: str = "head") -> None:
    """Bring the database to the newest schema, or an older `revision`, in one transaction; raises UnknownRevision."""
    # Imported here: most commands find the schema as it should be and are quicker without.
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(migrations_path()))
    with writing(engine) as connection:
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, revision)
        except CommandError as error:
            raise UnknownRevision(str(error)) from error
