"""Who asks, and what that token may do (RFC 6750)."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated

import structlog
from fastapi import Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer, SecurityScopes
from starlette.requests import Request

from app.api.background import Background
from app.api.problems import MissingScope, Unauthenticated
from app.domain.scopes import EVERY_SCOPE, Scope
from app.storage.engine import Database
from app.storage.errors import StorageError
from app.storage.tokens import TokenRow, find_live_token, touch_token

log = structlog.get_logger(__name__)
TOUCH_EVERY = timedelta(minutes=1)
ADMIN_ID = "admin"  # no id of a stored token: those are hexadecimal


@dataclass(frozen=True, slots=True)
class Principal:
    """The token that asks. ``name`` is what the audit log shows."""

    token_id: str
    name: str
    scopes: frozenset[Scope]


class Authenticator:
    def __init__(
        self, db: Database, clock: Callable[[], datetime], admin_token: str | None, background: Background
    ) -> None:
        self._db = db
        self._clock = clock
        self._admin_digest = _digest(admin_token) if admin_token else None
        self._background = background
        self._touching: set[str] = set()

    async def authenticate(self, headers: list[str]) -> Principal:
        """``headers`` are all Authorization headers of the request. Raises ``Unauthenticated``."""
        if not headers:
            raise Unauthenticated("Send the header Authorization: Bearer <token>.")
        scheme, _, token = headers[0].strip().partition(" ")
        if len(headers) > 1 or scheme.lower() != "bearer" or not token.strip():
            raise Unauthenticated("Send one header Authorization: Bearer <token>.", error="invalid_request")
        return await self._identify(token.strip())

    async def _identify(self, token: str) -> Principal:
        if self._admin_digest is not None and hmac.compare_digest(self._admin_digest, _digest(token)):
            return Principal(ADMIN_ID, "admin token", EVERY_SCOPE)
        now = self._clock()
        found = await find_live_token(self._db, token, now)
        if found is None:
            told = "This token is not known, has expired or was revoked. Make one with `latchwatch tokens create`."
            raise Unauthenticated(told, error="invalid_token")
        self._note_use(found, now)
        return Principal(found.id, found.name, found.scopes)

    def _note_use(self, token: TokenRow, now: datetime) -> None:
        """Not on the way to the answer, and at most once a minute: many requests share one token."""
        recent = token.last_used_at is not None and now - token.last_used_at < TOUCH_EVERY
        if recent or token.id in self._touching:
            return
        self._touching.add(token.id)
        self._background.spawn(self._touch(token.id, now))

    async def _touch(self, token_id: str, now: datetime) -> None:
        try:
            await touch_token(self._db, token_id, now)
        except StorageError as error:
            log.warning("token_use_not_noted", token_id=token_id, error=type(error).__name__)
        finally:
            self._touching.discard(token_id)


def is_same_token(expected: str, given: str) -> bool:
    """In constant time, whatever their lengths."""
    return hmac.compare_digest(_digest(expected), _digest(given))


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


_bearer = HTTPBearer(
    scheme_name="token",
    bearerFormat="lw_<id>_<secret>",
    description="Made by `latchwatch tokens create`; scopes: read, write, pins, admin.",
    auto_error=False,
)


async def _authorized(
    request: Request,
    needed: SecurityScopes,
    # For the API's description alone: the guard has looked at the header before the request got here.
    _credentials: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
) -> Principal:
    principal: Principal = request.state.principal
    for scope in needed.scopes:
        if scope not in principal.scopes:
            raise MissingScope(scope)
    return principal


Reader = Annotated[Principal, Security(_authorized, scopes=[Scope.READ.value])]
Writer = Annotated[Principal, Security(_authorized, scopes=[Scope.WRITE.value])]
PinReader = Annotated[Principal, Security(_authorized, scopes=[Scope.PINS.value])]
