"""A ledger of the first schema goes on in the newest one: every row stays as it was, and is proved."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from ledger_world import Scheme, capture, credit, days, hold, open_scheme, reversal, void
from postgresql_server import Postgresql
from sqlalchemy import Connection, Engine, MetaData, Table, insert, select

from jishan_server import db
from jishan_server.ledger import endings, tables
from jishan_server.ledger.store import close_day

OLD_TABLES = ("accounts", "transfers", "balances", "batches", "days", "clock_checks")


def migrate(connection: Connection, revision: str) -> None:
    """Run the migrations up to one."""
    config = Config()
    config.set_main_option("script_location", str(db.migrations_path()))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


@pytest.fixture(params=["sqlite", "postgresql"])
def old(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """An empty database of the first schema."""
    if request.param == "sqlite":
        engine = db.make_engine("sqlite://")
    else:
        server: Postgresql = request.getfixturevalue("postgresql")
        server.command("CREATE DATABASE old_schema")
        engine = db.make_engine(server.url("old_schema"))
    with db.writing(engine) as connection:
        migrate(connection, "0001")
    yield engine
    engine.dispose()
    if request.param == "postgresql":
        server.command("DROP DATABASE old_schema WITH (FORCE)")


def lived(engine: Engine) -> Scheme:
    """A ledger with something of everything, a closed day and open holds."""
    scheme = open_scheme(engine)
    scheme.booked(credit("c1", "li", 10, expires_at=days(30)), credit("c2", "wang", 10))
    scheme.booked(hold("h1", "li", 4), hold("h2", "li", 1), hold("h3", "wang", 2))
    scheme.booked(capture("k1", "h1"), void("v2", "h2"))
    with db.writing(engine) as connection:
        close_day(connection, "2026-01-01", days(1))
    scheme.booked(credit("c4", "zhao", 1), reversal("r4", "c4"), at=days(1))
    return scheme


def copied(source: Engine, target: Engine) -> None:
    """Copy the ledger's rows, as far as the first schema has columns for them."""
    with source.connect() as reading, db.writing(target) as writing:
        for name in OLD_TABLES:
            there = Table(name, MetaData(), autoload_with=writing)
            here = Table(name, MetaData(), autoload_with=reading)
            rows = reading.execute(select(*(here.c[column.name] for column in there.columns))).mappings().all()
            if rows:
                writing.execute(insert(there), [dict(row) for row in rows])
        if writing.dialect.name == "postgresql":
            for table, column in (("accounts", "number"), ("clock_checks", "number")):
                writing.exec_driver_sql(
                    f"SELECT setval(pg_get_serial_sequence('{table}', '{column}'), (SELECT max({column}) FROM {table}))"
                )
            writing.exec_driver_sql("SELECT setval('batch_serial', (SELECT max(serial) FROM batches))")


def test_a_ledger_of_the_first_schema_is_proved_and_goes_on(old: Engine, sqlite_memory: Engine) -> None:
    before = lived(sqlite_memory)
    copied(sqlite_memory, old)
    with db.writing(old) as connection:
        migrate(connection, "head")
    scheme = Scheme(old)
    assert scheme.verify() == before.verify()
    scheme.booked(void("v3", "h3"), credit("c5", "wang", 3), at=days(2))
    with db.writing(old) as connection:
        endings.merge(connection, "res:li", "res:wang", "staff-1", days(2))
        close_day(connection, "2026-01-02", days(3))
    assert (scheme.balance("li").posted, scheme.balance("wang").posted) == (0, 19)
    assert scheme.verify().ok
    with pytest.raises(Exception, match="append-only"), db.writing(old) as connection:
        connection.exec_driver_sql("DELETE FROM endings")


def test_the_migrated_ledger_is_what_the_code_describes(old: Engine) -> None:
    with db.writing(old) as connection:
        migrate(connection, "head")
    ours = {one.name for one in vars(tables).values() if isinstance(one, Table)}
    assert {"transfers", "endings", "notes", "checkpoints"} <= ours

    def is_ours(_: object, name: str | None, kind: str, *__: object) -> bool:
        return kind != "table" or name in ours

    with old.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "include_object": is_ours})
        found = compare_metadata(context, tables.metadata)
    # Tables ask for this index on PostgreSQL alone; Alembic looks at no database for it.
    assert [one for one in found if one[0] != "add_index" or one[1].name != "uq_batches_writer_number"] == []
