"""The migrations make exactly the schema that the code describes, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from postgresql_server import Postgresql
from sqlalchemy import Connection, Engine, text

from jishan_server import db

NEWEST = ScriptDirectory(str(db.migrations_path())).get_current_head()
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
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalars().all() == [NEWEST]


def test_what_was_booked_before_activities_and_rules_is_there_afterwards(described: Engine) -> None:
    db.all_tables()
    with db.writing(described) as connection:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("DROP SCHEMA public CASCADE")
            connection.exec_driver_sql("CREATE SCHEMA public")
        else:
            connection.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
            db.metadata.drop_all(connection)
    db.upgrade(described, "0001")
    at = 1_772_380_799_999  # 2026-03-01 23:59:59.999 in Shanghai.
    with db.writing(described) as connection:
        for statement in (
            f"INSERT INTO organizations VALUES ('county', NULL, 'county', '洪雅县', {at})",
            f"INSERT INTO organizations VALUES ('estate', 'county', 'estate', '江畔家园', {at})",
            "INSERT INTO residents (id, estate_id, name, member_serial, member_number, state, pin_wrong_tries, "
            f"created_at) VALUES ('wang', 'estate', '王建华', 1, '10000012', 'active', 0, {at})",
        ):
            connection.exec_driver_sql(statement)
        columns = "id, resident_id, estate_id, minutes, points, rule_version, activity, reason, state"
        columns += ", recorded_by, recorded_at"
        for id, minutes, state, more, values in (
            ("one", 90, "approved", ", decided_by, decided_at, transfer_id", f", 'li', {at + 1}, 't1'"),
            ("two", "NULL", "approved", ", decided_by, decided_at, transfer_id", f", 'li', {at + 1}, 't2'"),
            ("three", 60, "recorded", "", ""),
        ):
            connection.exec_driver_sql(
                f"INSERT INTO credits ({columns}{more}) VALUES ('{id}', 'wang', 'estate', {minutes}, 1, "
                f"'60min=1,never', '扫雪', '参加', '{state}', 'zhou', {at}{values})"
            )
    db.upgrade(described, "0003")
    with db.writing(described) as connection:
        connection.exec_driver_sql(
            "INSERT INTO audit_entries (recorded_at, actor, action, subject_type, subject_id, operation_id, details) "
            f"VALUES ({at}, 'li', 'credit_approved', 'credit', 'one', 'operation', '{{}}')"
        )
    db.upgrade(described)
    with described.connect() as connection:
        assert connection.execute(text("SELECT action, organization_id FROM audit_entries")).all() == [
            ("credit_approved", None)
        ]
        rows = connection.execute(
            text("SELECT id, state, day, booked_points, rule_version FROM credits ORDER BY id")
        ).all()
        assert rows == [
            ("one", "final", "2026-03-01", 1, "1"),
            ("three", "recorded", "2026-03-01", None, "1"),
            ("two", "final", "2026-03-01", 1, "1"),
        ]
        records = connection.execute(text("SELECT credit_id, minutes, state, unit_name FROM service_records")).all()
        assert records == [("one", 90, "valid", "江畔家园")]
        roots = connection.execute(text("SELECT id, root_id FROM organizations ORDER BY id")).all()
        assert roots == [("county", "county"), ("estate", "county")]
        assert connection.execute(text("SELECT consent_state, language FROM residents")).one() == ("awaiting", "zh")
