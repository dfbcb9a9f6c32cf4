"""A way to a PostgreSQL server that can fall silent: connections stay open, and nothing comes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

_SOCKET = ".s.PGSQL.5432"


class Way:
    """While it is ``silent``, nothing passes in either direction."""

    def __init__(self, server: Path) -> None:
        self.silent = False
        self._server = server / _SOCKET

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_unix_connection(str(self._server))
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass_on(reader, to_server))
                group.create_task(self._pass_on(from_server, writer))
        finally:
            to_server.close()
            writer.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            if not self.silent:
                writer.write(data)
        writer.close()


@asynccontextmanager
async def way_to(server: Path, folder: Path) -> AsyncIterator[Way]:
    """Leads from a socket in ``folder`` to the server whose socket is in the folder ``server``."""
    way = Way(server)
    listener = await asyncio.start_unix_server(way.carry, path=str(folder / _SOCKET))
    try:
        yield way
    finally:
        listener.close()
