"""Counters that triggers keep with every change, durations, and indexes that let lists start at their place."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from app.storage.types import BigId, ByteString

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_CHANGE = "INSERT INTO count_changes (subject, device_id, name, was_verified, change) VALUES"
_CODE = (
    "(CASE WHEN {row}.untracked_at IS NULL THEN 'watched' ELSE 'untracked' END, "
    "{row}.device_id, {row}.verdict, {row}.was_verified, {change})"
)
_FLAG = "('open_flags', NULL, {row}.kind, false, {change})"
_CODE_KEY = "({row}.verdict, {row}.device_id, {row}.was_verified, {row}.untracked_at IS NULL)"
_CODE_COLUMNS = "verdict, device_id, was_verified, untracked_at"
_FLAG_KEY = "({row}.kind, {row}.closed_at IS NULL)"
_FLAG_COLUMNS = "kind, closed_at"


def upgrade() -> None:
    _add_tables()
    for name in ("was_verified", "is_flagged"):
        op.add_column("access_codes", sa.Column(name, sa.Boolean(), server_default=sa.text("false"), nullable=False))
    # First, so that nobody writes flags from here on; codes are held since their columns came.
    _count_flags()
    _fill_columns()
    _count_codes()
    _fill_counts()
    _fill_durations()
    _replace_indexes()


def _add_tables() -> None:
    key = [
        sa.Column("subject", ByteString, nullable=False),
        sa.Column("device_id", ByteString, nullable=False),
        sa.Column("name", ByteString, nullable=False),
        sa.Column("was_verified", sa.Boolean(), nullable=False),
    ]
    op.create_table(
        "counts",
        *key,
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("subject", "device_id", "name", "was_verified", name=op.f("pk_counts")),
    )
    op.create_table(
        "count_changes",
        sa.Column("id", BigId, autoincrement=True, nullable=False),
        sa.Column("subject", ByteString, nullable=False),
        sa.Column("device_id", ByteString, nullable=True),
        sa.Column("name", ByteString, nullable=False),
        sa.Column("was_verified", sa.Boolean(), nullable=False),
        sa.Column("change", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_count_changes")),
    )
    op.create_table(
        "durations",
        sa.Column("id", BigId, autoincrement=True, nullable=False),
        sa.Column("code_id", ByteString, nullable=False),
        sa.Column("kind", ByteString, nullable=False),
        sa.Column("device_id", ByteString, nullable=True),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_durations")),
        sa.UniqueConstraint("code_id", "kind", name=op.f("uq_durations_code_id_kind")),
    )


def _count_flags() -> None:
    _count("flags", _FLAG, _FLAG_KEY, _FLAG_COLUMNS, only_if="{row}.closed_at IS NULL")


def _count_codes() -> None:
    _count("access_codes", _CODE, _CODE_KEY, _CODE_COLUMNS, only_if="true")


def _count(table: str, values: str, key: str, columns: str, only_if: str) -> None:
    """One row leaves what it was counted as, and one comes to what it is now."""
    leave = f"{_CHANGE} {values.format(row='OLD', change=-1)};"
    come = f"{_CHANGE} {values.format(row='NEW', change=1)};"
    was, will_be = only_if.format(row="OLD"), only_if.format(row="NEW")
    _trigger(table, "inserted", "INSERT", come, will_be)
    _trigger(table, "deleted", "DELETE", leave, was)
    changed = f"{key.format(row='OLD')} {{differs}} {key.format(row='NEW')}"
    _trigger(table, "left", f"UPDATE OF {columns}", leave, f"{was} AND {changed}")
    _trigger(table, "came", f"UPDATE OF {columns}", come, f"{will_be} AND {changed}")


def _trigger(table: str, happened: str, event: str, statement: str, condition: str) -> None:
    name = f"count_{table}_{happened}"
    if op.get_bind().dialect.name == "sqlite":
        condition = condition.format(differs="IS NOT")
        op.execute(f"CREATE TRIGGER {name} AFTER {event} ON {table} WHEN {condition} BEGIN {statement} END")
        return
    condition = condition.format(differs="IS DISTINCT FROM")
    op.execute(f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {statement} RETURN NULL; END $$")
    op.execute(
        f"CREATE TRIGGER {name} AFTER {event} ON {table} FOR EACH ROW WHEN ({condition}) EXECUTE FUNCTION {name}()"
    )


def _fill_columns() -> None:
    op.execute(
        "UPDATE access_codes SET was_verified = true "
        "WHERE id IN (SELECT code_id FROM transitions WHERE to_verdict = 'verified')"
    )
    op.execute(
        "UPDATE access_codes SET is_flagged = true "
        "WHERE id IN (SELECT code_id FROM flags WHERE closed_at IS NULL AND code_id IS NOT NULL)"
    )


def _fill_counts() -> None:
    subject = "CASE WHEN untracked_at IS NULL THEN 'watched' ELSE 'untracked' END"
    insert = "INSERT INTO counts (subject, device_id, name, was_verified, count)"
    for place, where in (("''", "true"), ("device_id", "device_id IS NOT NULL")):
        op.execute(
            f"{insert} SELECT {subject}, {place}, verdict, was_verified, count(*) FROM access_codes WHERE {where} "  # noqa: S608
            "GROUP BY 1, 2, 3, 4"
        )
    op.execute(
        f"{insert} SELECT 'open_flags', '', kind, false, count(*) FROM flags WHERE closed_at IS NULL GROUP BY kind"  # noqa: S608
    )


def _fill_durations() -> None:
    """As they were computed until now: from the first transition to the verdict."""
    began = "CASE WHEN starts_at > requested_at THEN starts_at ELSE requested_at END"
    ended = "CASE WHEN ends_at IS NULL OR end_asked_at < ends_at THEN end_asked_at ELSE ends_at END"
    for kind, verdict, start in (("set", "verified", began), ("removed", "removed", ended)):
        op.execute(
            "INSERT INTO durations (code_id, kind, device_id, seconds) "  # noqa: S608
            f"SELECT access_codes.id, '{kind}', device_id, {_seconds_since(start)} FROM access_codes "
            "JOIN (SELECT code_id, min(id) AS id FROM transitions "
            f"WHERE to_verdict = '{verdict}' GROUP BY code_id) AS firsts ON firsts.code_id = access_codes.id "
            "JOIN transitions ON transitions.id = firsts.id "
            f"WHERE origin = 'created' AND {start} IS NOT NULL ORDER BY firsts.id"
        )


def _seconds_since(start: str) -> str:
    if op.get_bind().dialect.name == "sqlite":  # whose times are microseconds
        return f"max(0, transitions.since - ({start})) / 1000000.0"
    return f"greatest(0, extract(epoch FROM transitions.since - ({start})))"


_WATCHED = "untracked_at IS NULL"


def _replace_indexes() -> None:
    for name in ("connected_account_id", "created_at", "reference", "starts_at", "verdict"):
        op.drop_index(f"ix_access_codes_{name}", "access_codes")
    _index("ix_access_codes_connected_account_id", "access_codes", ["connected_account_id"], "NOT is_terminal")
    _index("ix_access_codes_created_at", "access_codes", ["created_at", "id"], _WATCHED)
    op.create_index(
        "ix_access_codes_flagged",
        "access_codes",
        ["created_at", "id"],
        postgresql_where=sa.text("is_flagged"),
        sqlite_where=sa.text("is_flagged = 1"),
    )
    _index("ix_access_codes_reference", "access_codes", ["reference", "created_at", "id"], "reference IS NOT NULL")
    _index("ix_access_codes_starts_at", "access_codes", ["starts_at", "id", "verdict", "untracked_at"], _WATCHED)
    _index("ix_access_codes_untracked", "access_codes", ["created_at", "id"], "untracked_at IS NOT NULL")
    _index("ix_access_codes_verdict", "access_codes", ["verdict", "created_at", "id"], _WATCHED)
    _index("ix_flags_open", "flags", ["created_at", "id"], "closed_at IS NULL")
    _index("ix_durations_kind", "durations", ["kind", "id", "seconds"])
    _index("ix_durations_device_id", "durations", ["device_id", "kind", "id", "seconds"])


def _index(name: str, table: str, columns: list[str], where: str | None = None) -> None:
    only = sa.text(where) if where is not None else None
    op.create_index(name, table, columns, postgresql_where=only, sqlite_where=only)


def downgrade() -> None:
    _drop_triggers()
    op.drop_index("ix_flags_open", "flags")
    for name in (*("connected_account_id", "created_at", "flagged", "reference", "starts_at", "untracked", "verdict"),):
        op.drop_index(f"ix_access_codes_{name}", "access_codes")
    for name in ("is_flagged", "was_verified"):
        op.drop_column("access_codes", name)
    op.create_index("ix_access_codes_connected_account_id", "access_codes", ["connected_account_id"])
    op.create_index("ix_access_codes_created_at", "access_codes", ["created_at", "id"])
    op.create_index("ix_access_codes_reference", "access_codes", ["reference"])
    op.create_index("ix_access_codes_starts_at", "access_codes", ["starts_at"])
    op.create_index("ix_access_codes_verdict", "access_codes", ["verdict", "id"])
    for table in ("durations", "count_changes", "counts"):
        op.drop_table(table)


def _drop_triggers() -> None:
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    for table in ("access_codes", "flags"):
        for happened in ("inserted", "deleted", "left", "came"):
            name = f"count_{table}_{happened}"
            op.execute(f"DROP TRIGGER {name}" if is_sqlite else f"DROP TRIGGER {name} ON {table}")
            if not is_sqlite:
                op.execute(f"DROP FUNCTION {name}()")
