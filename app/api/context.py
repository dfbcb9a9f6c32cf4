"""What routes are handed: the services, and the work that outlives a request."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Path
from starlette.requests import Request

from app.api.background import Background
from app.api.problems import NotFound, SeamNotConfigured
from app.api.services import Services
from app.seam.gateway import Gateway
from app.storage.codes import Case, load_case


def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


def _background(request: Request) -> Background:
    background: Background = request.app.state.background
    return background


ServicesOf = Annotated[Services, Depends(_services)]
BackgroundOf = Annotated[Background, Depends(_background)]
Ident = Annotated[str, Path(alias="id", description="Ours, or Seam's `access_code_id`.")]


def gateway_of(services: Services) -> Gateway:
    if services.gateway is None:
        raise SeamNotConfigured
    return services.gateway


async def stored_case(services: Services, ident: str) -> Case:
    """The code as it is stored. Raises ``NotFound``."""
    async with services.db.read() as conn:
        return found(await load_case(conn, ident))


def found(case: Case | None) -> Case:
    if case is None:
        raise NotFound("No code has this id, ours or Seam's. One that exists at Seam can be tracked.")
    return case
