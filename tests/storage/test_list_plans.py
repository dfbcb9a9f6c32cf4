"""Lists go to their place in an index and read one page from there, however much is stored."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.storage.engine import Database
from app.storage.queries import CodeFilter, TimeKey, codes_query

AFTER = (datetime(2026, 8, 3, 12, 0, tzinfo=UTC), "code_x")


async def plan_of(conn: AsyncConnection, query: Select[Any]) -> str:
    """What the database would do, given enough rows."""
    compiled = query.compile(dialect=conn.dialect, compile_kwargs={"literal_binds": True})
    if conn.dialect.name == "sqlite":
        rows = await conn.execute(text(f"EXPLAIN QUERY PLAN {compiled}"))
        return "\n".join(row[3] for row in rows)
    # An empty table is read whole unless that is forbidden, and so is sorting.
    for setting in ("enable_seqscan", "enable_sort", "enable_bitmapscan"):
        await conn.execute(text(f"SET LOCAL {setting} = off"))
    return "\n".join(row[0] for row in await conn.execute(text(f"EXPLAIN {compiled}")))


@pytest.mark.parametrize("after", [None, AFTER], ids=["first page", "next page"])
async def test_a_page_of_codes_is_read_from_its_place_in_the_index(db: Database, after: TimeKey | None) -> None:
    async with db.read() as conn:
        plan = await plan_of(conn, codes_query(CodeFilter(), after=after, limit=50))
    assert "ix_access_codes_created_at" in plan
    assert "TEMP B-TREE" not in plan
    assert "Sort" not in plan
    if after is not None:
        assert "(created_at,id)<(?,?)" in plan or "Index Cond: (ROW(created_at" in plan, plan
