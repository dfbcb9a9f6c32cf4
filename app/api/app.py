"""The API as one ASGI application: routes, guard, problem documents, and its description."""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from app.api.auth import Authenticator
from app.api.background import Background
from app.api.guard import Guard
from app.api.openapi import DESCRIPTION, describe
from app.api.problems import response_of, response_of_http, response_of_invalid
from app.api.routes import access_codes, devices, events, flags, service, waiting
from app.api.services import Services
from app.domain.errors import LatchwatchError


def create_api(services: Services) -> FastAPI:
    """``app.state.background`` holds work that outlives its request: ``await app.state.background.drain()`` before the
    database is closed."""
    app = FastAPIOffline(
        title="Latchwatch",
        summary="Is this person's code really on that lock?",
        description=DESCRIPTION,
        version="1",
        redoc_url=None,
        # A redirect would make a client send its body, with a PIN in it, a second time.
        redirect_slashes=False,
    )
    app.state.services = services
    app.state.background = background = Background()
    authenticator = Authenticator(services.db, services.clock, services.admin_token, background)
    app.add_middleware(Guard, authenticator=authenticator)
    app.add_exception_handler(LatchwatchError, _on_error)
    app.add_exception_handler(RequestValidationError, _on_error)
    app.add_exception_handler(HTTPException, _on_error)
    for module in (access_codes, waiting, flags, events, devices, service):
        app.include_router(module.router)
    describe(app)
    return app


async def _on_error(_: Request, error: Exception) -> Response:
    match error:
        case LatchwatchError():
            return response_of(error)
        case RequestValidationError():
            return response_of_invalid(error)
        case HTTPException():
            return response_of_http(error)
        case _:
            raise error
