"""PostgreSQL through asyncpg: pools that outlive a restart of the server, and time limits on everything."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
from sqlalchemy import NullPool, event
from sqlalchemy.engine import URL
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from app.storage.limits import Limits
from app.storage.sqlite import Engines


def postgresql_engines(url: str, parsed: URL, limits: Limits) -> Engines:
    """Pools for writers and for readers are apart: a flood of queries never keeps an event from being stored."""
    dsn = _dsn(url, parsed)
    pool = {"pool_size": 5, "max_overflow": 5, "pool_timeout": limits.queue}
    return Engines(
        writers=_engine(dsn, limits, _server_limits(limits), **pool),
        # One snapshot for all statements of a read, as on SQLite.
        readers=_engine(
            dsn,
            limits,
            _server_limits(limits),
            isolation_level="REPEATABLE READ",
            execution_options={"postgresql_readonly": True},
            **pool,
        ),
        maintenance=_engine(dsn, limits, {}, poolclass=NullPool),
    )


def way_aside(url: str, parsed: URL, limits: Limits) -> Callable[[], Awaitable[Any]]:
    """Makes a connection that is in no pool and only listens and tells: nothing that it commits has to be durable."""
    return _connector(_dsn(url, parsed), limits, {"synchronous_commit": "off"})


def is_dead(connection: AsyncConnection) -> bool:
    """Whether the server has closed it. Instead of a ping before every use, three round trips: the socket already knows
    that the server went away."""
    known = connection.sync_connection
    return known is None or known.invalidated or _is_closed(known.connection)


def _dsn(url: str, parsed: URL) -> str:
    return "postgresql://" + url.strip().removeprefix(f"{parsed.drivername}://")


def _server_limits(limits: Limits) -> dict[str, str]:
    return {
        "statement_timeout": f"{limits.statement * 1000:.0f}",
        "lock_timeout": f"{limits.lock * 1000:.0f}",
        "idle_in_transaction_session_timeout": "60000",
    }


def _connector(
    dsn: str, limits: Limits, settings: dict[str, str]
) -> Callable[[], Awaitable[asyncpg.Connection[asyncpg.Record]]]:
    async def connect() -> asyncpg.Connection[asyncpg.Record]:
        # asyncpg reads the URL itself, so that it means what libpq would make of it (sslmode, host=/socket/folder, …).
        return await asyncpg.connect(
            dsn,
            timeout=limits.connect,
            command_timeout=limits.silence if settings else None,
            server_settings={"application_name": "latchwatch", **settings},
        )

    return connect


def _engine(dsn: str, limits: Limits, settings: dict[str, str], **options: Any) -> AsyncEngine:
    connect = _connector(dsn, limits, settings)
    engine = create_async_engine("postgresql+asyncpg://", async_creator=connect, hide_parameters=True, **options)

    @event.listens_for(engine.sync_engine, "checkout")
    def refuse_closed(connection: Any, _record: object, _proxy: object) -> None:
        if _is_closed(connection):
            raise InvalidatePoolError("the server closed the connection")

    return engine


def _is_closed(connection: Any) -> bool:
    return bool(connection.driver_connection.is_closed())
