"""The migrations make exactly the schema that the code describes, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from postgresql_server import Postgresql
from sqlalchemy import Connection, Engine, text

from jishan_server import db

TRIGGERS = {
    "sqlite": "SELECT name, sql FROM sqlite_master WHERE type = 'trigger'",
    "postgresql": "SELECT tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal",
}
INDEXES = {
    "sqlite": "SELECT name, name FROM sqlite_master WHERE type = 'index' AND name NOT LIKE 'sqlite_%' "
    "AND tbl_name <> 'alembic_version'",
    "postgresql": "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' "
    "AND tablename <> 'alembic_version'",
}
CHECKS = {
    "sqlite": "SELECT 1, 1 WHERE 0",
    "postgresql": "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE contype = 'c'",
}


@pytest.fixture(params=["sqlite", "postgresql"])
def described(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """An empty database of each kind, filled from the tables as the code describes them."""
    if request.param == "sqlite":
        engine = db.make_engine("sqlite://")
    else:
        server: Postgresql = request.getfixturevalue("postgresql")
        server.command("CREATE DATABASE described")
        engine = db.make_engine(server.url("described"))
    with db.writing(engine) as connection:
        db.all_tables().create_all(connection)
    yield engine
    engine.dispose()
    if request.param == "postgresql":
        server.command("DROP DATABASE described WITH (FORCE)")


def _named(connection: Connection, queries: dict[str, str]) -> dict[str, str]:
    rows = connection.execute(text(queries[connection.dialect.name]))
    return {str(row[0]): " ".join(str(row[1]).split()) for row in rows}


def _is_of_one_database_only(difference: Any) -> bool:
    """An index that the tables ask for on one of the two databases; INDEXES compares those."""
    limited = {one.name for table in db.metadata.sorted_tables for one in table.indexes if one._ddl_if is not None}
    return difference[0] == "add_index" and difference[1].name in limited


@pytest.fixture
def migrated(described: Engine, request: pytest.FixtureRequest) -> Engine:
    """A migrated database of the same kind."""
    kind = "sqlite_memory" if described.dialect.name == "sqlite" else "postgresql_database"
    engine: Engine = request.getfixturevalue(kind)
    return engine


def test_the_migrations_make_what_the_code_describes(described: Engine, migrated: Engine) -> None:
    with migrated.connect() as after, described.connect() as wanted:
        context = MigrationContext.configure(after, opts={"compare_type": True})
        differences = compare_metadata(context, db.all_tables())
        assert [one for one in differences if not _is_of_one_database_only(one)] == []
        assert _named(after, INDEXES) == _named(wanted, INDEXES)
        assert _named(after, TRIGGERS) == _named(wanted, TRIGGERS)
        assert _named(after, CHECKS) == _named(wanted, CHECKS)


def test_a_migrated_database_is_left_as_it_is_by_a_second_migration(migrated: Engine) -> None:
    db.upgrade(migrated)
    with migrated.connect() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalars().all() == ["0002"]
