"""A second factor for staff, and what the browser of a session calls itself."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("staff", sa.Column("totp_id", sa.String(length=40), nullable=True))
    op.add_column("staff", sa.Column("totp_since_at", sa.BigInteger(), nullable=True))
    op.add_column("staff", sa.Column("totp_step", sa.BigInteger(), nullable=True))
    op.add_column("staff_tokens", sa.Column("device", sa.String(length=200), nullable=True))
