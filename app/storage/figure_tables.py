"""The tables that figures are read from: counters and durations. They belong to the same schema as ``tables``."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Float, Index, Integer, Table, UniqueConstraint

from app.storage.tables import metadata
from app.storage.types import BigId, ByteString

__all__ = ["count_changes", "counts", "durations", "metadata"]

# How many codes, watched or not, have which verdict, on each lock and on all of them; how many flags of which kind are
# open. To be read together with count_changes (app/storage/counts.py).
counts = Table(
    "counts",
    metadata,
    Column("subject", ByteString, primary_key=True),  # watched | untracked | open_flags
    Column("device_id", ByteString, primary_key=True),  # "": all locks together
    Column("name", ByteString, primary_key=True),  # verdict, or kind of flag
    Column("was_verified", Boolean, primary_key=True),
    Column("count", BigInteger, nullable=False),
)

# What is not added to the counts yet. Triggers on access_codes and flags (migration 0003) write here whatever changes
# those tables, in its own transaction: a row of its own for each change, so that nobody waits for anybody.
count_changes = Table(
    "count_changes",
    metadata,
    Column("id", BigId, primary_key=True, autoincrement=True),
    Column("subject", ByteString, nullable=False),
    Column("device_id", ByteString),
    Column("name", ByteString, nullable=False),
    Column("was_verified", Boolean, nullable=False),
    Column("change", Integer, nullable=False),  # 1 | -1
)

# How long codes that we created took to reach a lock, and to leave it, the first time. Outlives the code.
durations = Table(
    "durations",
    metadata,
    Column("id", BigId, primary_key=True, autoincrement=True),
    Column("code_id", ByteString, nullable=False),
    Column("kind", ByteString, nullable=False),  # set | removed
    Column("device_id", ByteString),
    Column("seconds", Float, nullable=False),
    UniqueConstraint("code_id", "kind"),
    Index("ix_durations_kind", "kind", "id", "seconds"),  # summary: the newest
    Index("ix_durations_device_id", "device_id", "kind", "id", "seconds"),  # the newest of a lock
)
