"""An ASGI application on a socket, until it is told to stop. The signals belong to the command, not to the server."""

from __future__ import annotations

import asyncio
import errno
import signal
import socket
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
import uvloop
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.config import SettingsError

# Seam waits 15 s for an answer; a commit takes far less. Long polls are answered at once when the end begins.
_GRACE_SECONDS = 10
_BACKLOG = 2048
# A proxy in front keeps its connections open for longer than uvicorn's 5 s, and would run into one that is closing.
_KEEP_ALIVE_SECONDS = 75


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Uvicorn would raise the signal again after a clean end, and the process would be seen to have died of it."""
        yield


def listen(host: str, port: int) -> socket.socket:
    """A bound socket; port 0 takes a free one. Raises ``SettingsError``, which names the setting and the remedy."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise SettingsError(f"LATCHWATCH_HOST is {host!r}, which is no address here ({error.strerror})") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except (OSError, OverflowError) as error:
        listener.close()
        raise SettingsError(_refusal(host, port, error)) from error
    return listener


async def serve_http(
    app: ASGIApp,
    listener: socket.socket,
    stop: asyncio.Event,
    *,
    protocol: type[asyncio.Protocol] = HttpToolsProtocol,
    on_end: Callable[[], None] | None = None,
    is_dated: bool = False,
) -> None:
    """Answer requests until ``stop`` is set; then finish those under way, and close ``listener``.

    ``protocol`` is made for each connection. ``on_end`` is called between the two, and hurries requests that would take
    long. ``is_dated``: the application dates its answers itself.
    """
    server = _Server(
        uvicorn.Config(
            app,
            http=protocol,
            ws="none",
            lifespan="on",
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,  # nothing here depends on the client's address or scheme
            date_header=not is_dated,
            backlog=_BACKLOG,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=_GRACE_SECONDS,
        )
    )
    serving = asyncio.create_task(server.serve(sockets=[listener]), name="http")
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([serving, stopping], return_when=asyncio.FIRST_COMPLETED)
    finally:
        if on_end is not None:
            on_end()
        server.should_exit = True
        stopping.cancel()
        await serving
        listener.close()


def stop_on_signals() -> asyncio.Event:
    """Set by the first SIGTERM or SIGINT. Call it inside the running loop."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, stop.set)
    return stop


def run(main: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main)


def _refusal(host: str, port: int, error: Exception) -> str:
    cause = error.strerror if isinstance(error, OSError) else "no port has that number"
    match error:
        case OSError(errno=errno.EADDRINUSE):
            return f"LATCHWATCH_PORT {port} is in use on {host}; stop what listens there, or set another port (--port)"
        case PermissionError():
            return f"LATCHWATCH_PORT {port} needs rights that this user lacks; it should be 1024 or above"
        case _:
            return f"LATCHWATCH_HOST {host} with port {port} cannot be listened on ({cause}); set another one"
