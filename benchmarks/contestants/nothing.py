"""Endpoints that do nothing: the floor of the server, and of the framework on it."""

from __future__ import annotations

from fastapi import FastAPI, Response
from starlette.types import Receive, Scope, Send

_START = {"type": "http.response.start", "status": 204, "headers": []}
_END = {"type": "http.response.body", "body": b""}


async def bare(scope: Scope, _receive: Receive, send: Send) -> None:
    """What uvicorn alone costs: no framework, and the body is not even read."""
    if scope["type"] != "http":
        return
    await send(_START)
    await send(_END)


fastapi = FastAPI()


@fastapi.post("/webhooks/seam")
async def receive() -> Response:
    """The least that FastAPI can be asked for: nothing is parsed, nothing is serialised."""
    return Response(status_code=204)
