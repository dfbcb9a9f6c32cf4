"""The sandbox's HTTP face: Seam's API under its own paths, and ``/sandbox/*`` to control it."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC
from email.utils import format_datetime
from uuid import uuid4

import httpx
import structlog
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from app.sandbox import code_routes, control, routes
from app.sandbox.requests import ApiError, Params, read_params
from app.sandbox.sandbox import Clock, Sandbox
from app.sandbox.settings import SandboxError, SandboxSettings
from app.sandbox.state import Json

log = structlog.get_logger(__name__)

# Seam takes POST on every path; the SDK uses the other methods.
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]

Handler = Callable[[Sandbox, Params], Json]
ControlHandler = Callable[[Sandbox, Request], Awaitable[Json]]
Endpoint = Callable[[Request], Awaitable[Response]]

SEAM_ROUTES: Mapping[str, Handler] = {
    "/access_codes/create": code_routes.create,
    "/access_codes/get": code_routes.get,
    "/access_codes/list": code_routes.list_,
    "/access_codes/update": code_routes.update,
    "/access_codes/delete": code_routes.delete,
    "/access_codes/generate_code": code_routes.generate_code,
    "/access_codes/pull_backup_access_code": code_routes.pull_backup,
    "/access_codes/unmanaged/get": code_routes.get_unmanaged,
    "/access_codes/unmanaged/list": code_routes.list_unmanaged,
    "/access_codes/simulate/create_unmanaged_access_code": code_routes.simulate_unmanaged,
    "/devices/get": routes.get_device,
    "/devices/list": routes.list_devices,
    "/events/get": routes.get_event,
    "/events/list": routes.list_events,
    "/webhooks/create": routes.create_webhook,
    "/webhooks/get": routes.get_webhook,
    "/webhooks/list": routes.list_webhooks,
    "/webhooks/update": routes.update_webhook,
    "/webhooks/delete": routes.delete_webhook,
    "/workspaces/get": routes.get_workspace,
}
CONTROL_ROUTES: Mapping[tuple[str, str], ControlHandler] = {
    ("GET", "/sandbox/state"): control.state,
    ("GET", "/sandbox/deliveries"): control.deliveries,
    ("POST", "/sandbox/devices/{device_id}"): control.change_device,
    ("POST", "/sandbox/faults"): control.change_faults,
    ("POST", "/sandbox/events"): control.emit_event,
    ("POST", "/sandbox/advance"): control.advance,
}


def create_sandbox(
    settings: SandboxSettings, *, clock: Clock, transport: httpx.AsyncBaseTransport | None = None
) -> Starlette:
    """An ASGI app that is a simulated Seam; ``app.state.sandbox`` is its ``Sandbox``.

    Its lifespan follows the clock and delivers webhooks. Without a lifespan (``httpx.ASGITransport``) use manual time:
    ``await app.state.sandbox.advance(to)`` delivers. ``transport`` replaces the network that webhooks go through.
    """
    sandbox = Sandbox(settings, clock, transport)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with _running(sandbox):
            yield

    app = Starlette(
        routes=[
            *(Route(path, _seam_endpoint(sandbox, handler), methods=METHODS) for path, handler in SEAM_ROUTES.items()),
            *(
                Route(path, _control_endpoint(sandbox, handler), methods=[method])
                for (method, path), handler in CONTROL_ROUTES.items()
            ),
        ],
        exception_handlers={404: _no_such_path},
        lifespan=lifespan,
    )
    app.state.sandbox = sandbox
    return app


@asynccontextmanager
async def _running(sandbox: Sandbox) -> AsyncIterator[None]:
    stop = asyncio.Event()
    running = asyncio.create_task(sandbox.run(stop))
    log.info("sandbox_started", devices=len(sandbox.world.devices), speed=sandbox.settings.speed)
    try:
        yield
    finally:
        stop.set()
        sandbox.wake()
        await running
        await sandbox.close()


def _seam_endpoint(sandbox: Sandbox, handler: Handler) -> Endpoint:
    async def answer(request: Request) -> Json:
        _check_key(request)
        params = await read_params(request)
        sandbox.catch_up()
        return handler(sandbox, params)

    return _endpoint(sandbox, answer)


def _control_endpoint(sandbox: Sandbox, handler: ControlHandler) -> Endpoint:
    async def answer(request: Request) -> Json:
        sandbox.catch_up()
        return await handler(sandbox, request)

    return _endpoint(sandbox, answer)


def _endpoint(sandbox: Sandbox, answer: Callable[[Request], Awaitable[Json]]) -> Endpoint:
    async def dated(request: Request) -> Response:
        """Seam stamps its answers with its own time, and so must who stands in for it, whatever clock it was given."""
        response = await endpoint(request)
        response.headers["date"] = format_datetime(sandbox.read_clock().astimezone(UTC), usegmt=True)
        return response

    async def endpoint(request: Request) -> Response:
        try:
            _check_client(sandbox, request)
            body = {**await answer(request), "ok": True}
        except ApiError as error:
            return _error(error.status_code, error.error, error.headers)
        except SandboxError as error:
            return _error(error.status, {"type": error.type, "message": str(error)})
        sandbox.wake()
        return JSONResponse(body, headers={"seam-request-id": str(uuid4())})

    return dated


def _check_client(sandbox: Sandbox, request: Request) -> None:
    if not sandbox.settings.loopback_only:
        return
    host = request.client.host if request.client else ""
    try:
        is_local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_local = False
    if not is_local:
        raise ApiError(403, "forbidden", "The sandbox answers callers on this machine only.")


def _check_key(request: Request) -> None:
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not key.startswith("seam_"):
        raise ApiError(401, "unauthorized", "Use any bearer key that starts with seam_.")


def _error(status_code: int, error: Json, headers: Mapping[str, str] | None = None) -> Response:
    request_id = str(uuid4())
    body = {"error": {**error, "request_id": request_id}, "ok": False}
    return JSONResponse(body, status_code, headers={**(headers or {}), "seam-request-id": request_id})


async def _no_such_path(request: Request, _: Exception) -> Response:
    return _error(404, {"type": "unknown_endpoint", "message": f"The sandbox does not have {request.url.path}."})
