"""Alembic's entry: runs the migrations on the connection that `jishan_server.db.upgrade` hands over."""

from alembic import context

from jishan_server import db

connection = context.config.attributes.get("connection")
if connection is None:
    raise SystemExit("migrations run through jishan-server (jishan_server.db.upgrade), on its configured database")
context.configure(connection=connection, target_metadata=db.all_tables(), transactional_ddl=True)
context.run_migrations()
