"""A real uvicorn on loopback, in the loop of the test."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tests.receiver.inboxes import until


@asynccontextmanager
async def serving(
    app: ASGIApp, protocol: type[asyncio.Protocol] = HttpToolsProtocol, **options: Any
) -> AsyncIterator[tuple[uvicorn.Server, int]]:
    """The server, with ``options`` of uvicorn's, and its port. Leaving ends it as SIGTERM would."""
    options = {"access_log": False, "ws": "none", **options}
    config = uvicorn.Config(app, http=protocol, lifespan="off", log_config=None, server_header=False, **options)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        task = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            await until(lambda: server.started)
            yield server, port
        finally:
            server.should_exit = True
            await task
