"""The first schema: every table, with the triggers that keep the append-only ones."""

from alembic import op

from jishan_server import db

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    db.all_tables().create_all(op.get_bind())
