"""News marks its own narrow row, and no longer that of the code."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from app.storage.types import UtcDateTime

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_IS_MARKED = sa.text("marked_at IS NOT NULL")


def upgrade() -> None:
    op.add_column("signals", sa.Column("marked_at", UtcDateTime, nullable=True))
    op.create_index(
        "ix_signals_marked_at",
        "signals",
        ["marked_at"],
        unique=False,
        postgresql_where=_IS_MARKED,
        sqlite_where=_IS_MARKED,
    )


_MAKE_DUE = """
    UPDATE access_codes SET due_at = {now}, revision = revision + 1 WHERE untracked_at IS NULL
    AND access_code_id IN (SELECT access_code_id FROM signals WHERE marked_at IS NOT NULL)"""
_NOW = {"sqlite": "CAST(strftime('%s', 'now') AS INTEGER) * 1000000", "postgresql": "now()"}


def downgrade() -> None:
    op.execute(_MAKE_DUE.format(now=_NOW[op.get_bind().dialect.name]))
    op.drop_index("ix_signals_marked_at", "signals")
    op.drop_column("signals", "marked_at")
