"""PostgreSQL through asyncpg: pools that outlive a restart of the server, and time limits on everything."""

from __future__ import annotations

from typing import Any

import asyncpg
from sqlalchemy import NullPool, event
from sqlalchemy.engine import URL
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from app.storage.sqlite import Engines

_CONNECT_SECONDS = 5
_STATEMENT_SECONDS = 15
_LOCK_SECONDS = 5
_POOL = {"pool_size": 5, "max_overflow": 5, "pool_timeout": 10}
# The server gives up first and says why; the client's own limit is for a server that is gone.
_LIMITS = {
    "statement_timeout": str(_STATEMENT_SECONDS * 1000),
    "lock_timeout": str(_LOCK_SECONDS * 1000),
    "idle_in_transaction_session_timeout": "60000",
}


def postgresql_engines(url: str, parsed: URL) -> Engines:
    """Pools for writers and for readers are apart: a flood of queries never keeps an event from being stored."""
    dsn = "postgresql://" + url.strip().removeprefix(f"{parsed.drivername}://")
    return Engines(
        writers=_engine(dsn, _LIMITS, **_POOL),
        # One snapshot for all statements of a read, as on SQLite.
        readers=_engine(
            dsn,
            _LIMITS,
            isolation_level="REPEATABLE READ",
            execution_options={"postgresql_readonly": True},
            **_POOL,
        ),
        maintenance=_engine(dsn, {}, poolclass=NullPool),
    )


def _engine(dsn: str, limits: dict[str, str], **options: Any) -> AsyncEngine:
    async def connect() -> asyncpg.Connection[asyncpg.Record]:
        # asyncpg reads the URL itself, so that it means what libpq would make of it (sslmode, host=/socket/folder, …).
        return await asyncpg.connect(
            dsn,
            timeout=_CONNECT_SECONDS,
            command_timeout=_STATEMENT_SECONDS + 5 if limits else None,
            server_settings={"application_name": "latchwatch", **limits},
        )

    engine = create_async_engine("postgresql+asyncpg://", async_creator=connect, hide_parameters=True, **options)

    @event.listens_for(engine.sync_engine, "checkout")
    def refuse_closed(connection: Any, _record: object, _proxy: object) -> None:
        # Instead of a ping before every use (three round trips): the socket already knows that the server went away.
        if connection.driver_connection.is_closed():
            raise InvalidatePoolError("the server closed the connection")

    return engine
