"""The simulated Seam, with a count of the calls that are made to it (``GET /counts``)."""

from __future__ import annotations

import json
import os
from collections import Counter

from starlette.types import Receive, Scope, Send

from app.clock import utc_now
from app.sandbox import SandboxSettings, create_sandbox
from benchmarks.deliveries import SECRET

counts: Counter[str] = Counter()
_sandbox = create_sandbox(SandboxSettings(webhook_url=os.environ["WEBHOOK_URL"], webhook_secret=SECRET), clock=utc_now)


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        if scope["path"] == "/counts":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": json.dumps(counts).encode()})
            return
        counts[scope["path"]] += 1
    await _sandbox(scope, receive, send)
