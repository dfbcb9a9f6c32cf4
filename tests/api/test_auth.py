"""Who may ask what: 401 and 403 with WWW-Authenticate, before anything is read or done."""

from __future__ import annotations

from datetime import timedelta

import httpx
import pytest
from starlette.routing import Route

from app.domain.scopes import Scope
from app.storage.tokens import create_token, list_tokens, revoke_token
from tests.api.worlds import ADMIN_TOKEN, World, client_of

READ, WRITE, PINS, ADMIN = Scope.READ, Scope.WRITE, Scope.PINS, Scope.ADMIN


async def token_of(world: World, *scopes: Scope, seconds: float | None = None) -> str:
    expires_at = world.clock() + timedelta(seconds=seconds) if seconds is not None else None
    return await create_token(world.db, name="tests", scopes=scopes, now=world.clock(), expires_at=expires_at)


async def ask(world: World, method: str, path: str, authorization: str | None) -> httpx.Response:
    headers = {"Authorization": authorization} if authorization is not None else {}
    async with client_of(world.api, None) as client:
        return await client.request(method, path, headers=headers)


@pytest.mark.parametrize(
    ("authorization", "error"),
    [
        (None, None),
        ("", "invalid_request"),
        ("Bearer", "invalid_request"),
        ("Bearer ", "invalid_request"),
        ("Basic YTpi", "invalid_request"),
        ("Bearer nonsense", "invalid_token"),
        ("Bearer lw__", "invalid_token"),
        ("Bearer lw_0123456789ab_" + "0" * 64, "invalid_token"),
        (f"Bearer {ADMIN_TOKEN}x", "invalid_token"),
        ("Bearer lw_\xe4_\xff", "invalid_token"),
    ],
)
async def test_without_a_valid_token_nothing_is_answered(
    world: World, authorization: str | None, error: str | None
) -> None:
    sent = {b"Authorization": authorization.encode("latin-1")} if authorization is not None else {}
    async with client_of(world.api, None) as client:
        answer = await client.get("/v1/access-codes", headers=sent)
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    challenge = answer.headers["www-authenticate"]
    assert challenge.startswith('Bearer realm="latchwatch"')
    assert (f'error="{error}"' in challenge) if error else ("error" not in challenge)


async def test_two_authorization_headers_are_refused(world: World) -> None:
    headers = [("Authorization", f"Bearer {ADMIN_TOKEN}")] * 2
    async with client_of(world.api, None) as client:
        assert (await client.get("/v1/summary", headers=headers)).status_code == 401


async def test_a_token_opens_what_its_scopes_allow(world: World) -> None:
    token = await token_of(world, READ)
    assert (await ask(world, "GET", "/v1/access-codes", f"bearer {token}")).status_code == 200


@pytest.mark.parametrize(
    ("scopes", "method", "path", "missing"),
    [
        ([WRITE, PINS, ADMIN], "GET", "/v1/access-codes", "read"),
        ([WRITE, PINS, ADMIN], "GET", "/v1/access-codes/x", "read"),
        ([WRITE, PINS, ADMIN], "GET", "/v1/access-codes/x/timeline", "read"),
        ([READ, PINS, ADMIN], "POST", "/v1/access-codes", "write"),
        ([READ, PINS, ADMIN], "POST", "/v1/access-codes/track", "write"),
        ([READ, PINS, ADMIN], "POST", "/v1/access-codes/x/untrack", "write"),
        ([READ, PINS, ADMIN], "POST", "/v1/access-codes/x/check", "write"),
        ([READ, PINS, ADMIN], "DELETE", "/v1/access-codes/x", "write"),
        ([READ, WRITE, ADMIN], "GET", "/v1/access-codes/x/pin", "pins"),
        ([WRITE], "GET", "/v1/flags", "read"),
        ([READ], "POST", "/v1/flags/x/acknowledge", "write"),
        ([WRITE], "GET", "/v1/events", "read"),
        ([WRITE], "GET", "/v1/events/x", "read"),
        ([WRITE], "GET", "/v1/unreadable", "read"),
        ([WRITE], "GET", "/v1/alerts", "read"),
        ([WRITE], "GET", "/v1/devices", "read"),
        ([WRITE], "GET", "/v1/devices/x", "read"),
        ([WRITE], "GET", "/v1/summary", "read"),
    ],
)
async def test_a_missing_scope_is_named(
    world: World, scopes: list[Scope], method: str, path: str, missing: str
) -> None:
    answer = await ask(world, method, path, f"Bearer {await token_of(world, *scopes)}")
    assert answer.status_code == 403
    assert answer.json()["scope"] == missing
    assert f'error="insufficient_scope", scope="{missing}"' in answer.headers["www-authenticate"]


async def test_every_route_under_v1_needs_a_token(world: World) -> None:
    """Also one that does not exist: who has no token learns nothing."""
    paths = set(world.api.openapi()["paths"]) | {"/v1", "/v1/", "/v1/nothing"}
    protected = sorted(path for path in paths if path.startswith("/v1"))
    assert len(protected) > 15
    for path in protected:
        for method in ("GET", "POST", "DELETE", "PATCH"):
            assert (await ask(world, method, path, None)).status_code == 401, (method, path)


async def test_an_expired_token_is_refused(world: World) -> None:
    token = await token_of(world, READ, seconds=60)
    assert (await ask(world, "GET", "/v1/summary", f"Bearer {token}")).status_code == 200
    world.clock.advance(seconds=60)
    assert (await ask(world, "GET", "/v1/summary", f"Bearer {token}")).status_code == 401


async def test_a_revoked_token_is_refused_at_once(world: World) -> None:
    token = await token_of(world, READ)
    assert await revoke_token(world.db, token.split("_")[1], now=world.clock())
    assert (await ask(world, "GET", "/v1/summary", f"Bearer {token}")).status_code == 401


async def test_the_admin_token_has_every_scope(world: World) -> None:
    for method, path in (("GET", "/v1/summary"), ("DELETE", "/v1/access-codes/x"), ("GET", "/v1/access-codes/x/pin")):
        assert (await ask(world, method, path, f"Bearer {ADMIN_TOKEN}")).status_code in {200, 404}


async def test_the_use_of_a_token_is_noted_at_most_once_a_minute(world: World) -> None:
    token = await token_of(world, READ)
    used = []
    for _ in range(4):
        await ask(world, "GET", "/v1/summary", f"Bearer {token}")
        await world.api.state.background.drain()
        used.append((await list_tokens(world.db))[0].last_used_at)
        world.clock.advance(seconds=30)
    start = world.clock.now - timedelta(seconds=120)
    assert used == [start, start, start + timedelta(seconds=60), start + timedelta(seconds=60)]


async def test_unprotected_routes_are_few(world: World) -> None:
    public = {route.path for route in world.api.routes if isinstance(route, Route)}
    assert public == {"/openapi.json", "/docs", "/docs/oauth2-redirect"}
    described = {path for path in world.api.openapi()["paths"] if not path.startswith("/v1/")}
    assert described == {"/healthz", "/readyz", "/metrics", "/webhooks/seam"}
