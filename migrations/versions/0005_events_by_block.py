"""On PostgreSQL the events of a code, and of a lock, are found by an index of a sixth of the size."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_COLUMNS = ("access_code_id", "device_id")


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        return  # whose indexes hold each entry by itself, in any case with the number of its row
    for column in _COLUMNS:
        op.create_index(f"ix_events_{column}_block", "events", [column, sa.text("(id >> 20)")])
        op.drop_index(f"ix_events_{column}", "events")
    op.execute("ANALYZE events")  # of an expression PostgreSQL knows nothing before


def downgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        return
    for column in _COLUMNS:
        op.create_index(f"ix_events_{column}", "events", [column, "id"])
        op.drop_index(f"ix_events_{column}_block", "events")
