"""For those who run the service: alive, ready, measured."""

from __future__ import annotations

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import JSONResponse

from app.api import schemas
from app.api.auth import is_same_token
from app.api.context import ServicesOf
from app.api.documents import problem
from app.api.problems import Unauthenticated

router = APIRouter(tags=["service"])


@router.get("/healthz", summary="Whether the process is alive")
async def healthz() -> schemas.Alive:
    return schemas.Alive()


@router.get(
    "/readyz",
    response_model=schemas.Readiness,
    responses={503: {"model": schemas.Readiness, "description": "Not ready; `checks` tells why."}},
    summary="Whether it can do its work",
)
async def readyz(services: ServicesOf) -> JSONResponse:
    checks = [schemas.ReadyCheck(name=check.name, ok=check.ok, detail=check.detail) for check in await services.ready()]
    ready = all(check.ok for check in checks)
    answer = schemas.Readiness(ready=ready, checks=checks)
    return JSONResponse(answer.model_dump(mode="json"), 200 if ready else 503)


@router.get(
    "/metrics",
    response_class=Response,
    responses={
        200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "Prometheus' text format."},
        401: problem("LATCHWATCH_METRICS_TOKEN is set, and it is not this one."),
    },
    summary="Metrics for Prometheus",
)
async def metrics(services: ServicesOf, request: Request) -> Response:
    """Open, or with LATCHWATCH_METRICS_TOKEN as a bearer token if that is set."""
    if services.metrics_token is not None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not is_same_token(services.metrics_token, token.strip()):
            raise Unauthenticated("Send LATCHWATCH_METRICS_TOKEN as a bearer token.", error="invalid_token")
    return Response(generate_latest(services.registry), media_type=CONTENT_TYPE_LATEST)
