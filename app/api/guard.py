"""What every request passes first: nothing under /v1 is reached without a token, and no fault gets out as a trace."""

from __future__ import annotations

import traceback
from urllib.parse import unquote

import structlog
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.auth import Authenticator
from app.api.problems import internal_error, invalid, response_of
from app.domain.errors import LatchwatchError

log = structlog.get_logger(__name__)
PROTECTED = "/v1"
LARGEST_BODY = 64 * 1024


class Guard:
    """Here and not in each route, so that a route cannot forget it, and before any body is read."""

    def __init__(self, app: ASGIApp, authenticator: Authenticator) -> None:
        self._app = app
        self._authenticator = authenticator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._admit(scope)
            await self._app(scope, _limited(receive), watched)
        except LatchwatchError as error:
            await response_of(error)(scope, receive, send)
        except Exception as error:
            _log_fault(scope, error)
            if started:
                raise
            await internal_error()(scope, receive, send)

    async def _admit(self, scope: Scope) -> None:
        path: str = scope["path"]
        if path == PROTECTED or path.startswith(f"{PROTECTED}/"):
            headers = Headers(scope=scope).getlist("authorization")
            scope.setdefault("state", {})["principal"] = await self._authenticator.authenticate(headers)
        # Neither database can look for it in a text.
        if "\0" in path or "\0" in unquote(scope["query_string"].decode("latin-1")):
            raise invalid("url", "must not contain a NUL character")


def _limited(receive: Receive) -> Receive:
    """Also for bodies that do not say how long they are."""
    size = 0

    async def limited() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > LARGEST_BODY:
            raise HTTPException(413)
        return message

    return limited


def _log_fault(scope: Scope, error: Exception) -> None:
    # Where it happened, but not the message: it may quote a body, and bodies hold PINs.
    where = "".join(traceback.format_tb(error.__traceback__))
    log.error("request_failed", method=scope["method"], path=scope["path"], error=type(error).__name__, where=where)
