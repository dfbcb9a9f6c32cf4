"""The API's description: what FastAPI finds by itself, the webhook route that is served elsewhere, and problems."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from app.api.schemas import ProblemDocument

DESCRIPTION = """
Latchwatch creates access codes through Seam, watches what the locks report, and says whether a code is really on its
lock.

* `{id}` in a path is ours or Seam's `access_code_id`.
* Times are ISO 8601 in UTC with `Z`.
* Lists answer `{"items": [...], "next_cursor": null | "..."}`; send `next_cursor` as `cursor` for the next page.
* Errors are `application/problem+json` (RFC 9457); `detail` says what to do.
"""

TAGS = [
    {"name": "access codes", "description": "Create, track, look at, end."},
    {"name": "flags", "description": "What needs a person, and what is told about it."},
    {"name": "events", "description": "What came in from Seam."},
    {"name": "overview", "description": "Locks and figures."},
    {"name": "service", "description": "For those who run it."},
    {"name": "webhook", "description": "Where Seam sends its events."},
]

_WEBHOOK: dict[str, Any] = {
    "post": {
        "tags": ["webhook"],
        "summary": "Seam's webhooks",
        "description": "Register this address at Seam. Signed by Seam; sent by nobody else.",
        "operationId": "receive_webhook",
        "parameters": [
            {"name": name, "in": "header", "required": True, "schema": {"type": "string"}}
            for name in ("svix-id", "svix-timestamp", "svix-signature")
        ],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {"type": "object", "description": "One event, at most 256 KiB."},
                    "example": {
                        "event_id": "3c7f8f2e-2f3c-4d8e-9a53-0a4d5d1f8a10",
                        "event_type": "access_code.created",
                        "workspace_id": "b1d7c0aa-7f11-4d6f-8f0c-0a8de2f0e7aa",
                        "access_code_id": "0e5b3c1a-7f0b-4f7c-9a57-61a3a6e8a0d2",
                        "device_id": "5f5b0f1c-9f3a-4a52-8f7e-0b6f9f0f2c11",
                        "created_at": "2026-12-01T15:00:01Z",
                        "occurred_at": "2026-12-01T15:00:00Z",
                    },
                }
            },
        },
        "responses": {
            "204": {"description": "Kept: stored, a duplicate, or signed but unreadable."},
            "401": {"description": "The signature is bad, missing or old."},
            "413": {"description": "Larger than 256 KiB."},
            "429": {"description": "Too much at once; see Retry-After."},
            "503": {"description": "Not kept; see Retry-After."},
        },
        "security": [],
    }
}


def describe(app: FastAPI) -> None:
    """Have ``app.openapi()`` answer the whole description. It is made once, when it is first asked for."""
    routes = app.routes

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            found = get_openapi(
                title=app.title,
                summary=app.summary,
                description=app.description,
                version=app.version,
                routes=routes,
                tags=TAGS,
            )
            found["paths"]["/webhooks/seam"] = _WEBHOOK
            schema = ProblemDocument.model_json_schema(ref_template="#/components/schemas/{model}")
            found["components"]["schemas"] |= {**schema.pop("$defs", {}), "ProblemDocument": schema}
            app.openapi_schema = found
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's own way of changing the description
