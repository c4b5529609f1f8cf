"""Alembic's entry: runs the migrations on the connection that `jishan_server.db.upgrade` hands over."""

from alembic import context
from sqlalchemy import inspect
from sqlalchemy.schema import CreateColumn

from jishan_server import db

connection = context.config.attributes.get("connection")
if connection is None:
    raise SystemExit("migrations run through jishan-server (jishan_server.db.upgrade), on its configured database")
context.configure(connection=connection, target_metadata=db.all_tables(), transactional_ddl=True)
context.run_migrations()
if context.get_revision_argument() == context.get_head_revision():
    # Tables that are younger than the newest migration, and columns whose `info` says so.
    db.all_tables().create_all(connection)
    for table in db.all_tables().sorted_tables:
        young = [column for column in table.columns if column.info.get("young")]
        known = {one["name"] for one in inspect(connection).get_columns(table.name)} if young else set()
        for column in young:
            if column.name not in known:
                words = CreateColumn(column).compile(dialect=connection.dialect)
                connection.exec_driver_sql(f"ALTER TABLE {table.name} ADD COLUMN {words}")
                for index in table.indexes:
                    index.create(connection, checkfirst=True)
