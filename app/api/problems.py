"""Every error as ``application/problem+json`` (RFC 9457) with a stable ``type`` (told in docs/problems.md).

LatchwatchError
├── ApiError                    what a caller did wrong, or what cannot be done now
│   ├── Unauthenticated         401
│   ├── MissingScope            403
│   ├── NotFound                404
│   ├── Conflict                409: DuplicatePin, CannotTakeCodes, OfflineCode, NotAtSeamYet, NotTracked, KeyInFlight,
│   │                                CannotChange, NoBackup, ChangeUnanswered
│   ├── InvalidInput            422: KeyReused
│   ├── SeamSaidNo              502: Seam refused, or was not reached; nothing was made
│   └── SeamNotConfigured       503
├── SeamError                   502 (seam.errors)
└── StorageUnavailable          503 (storage.errors)
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from http import HTTPStatus
from typing import Any, ClassVar

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from app.domain.errors import LatchwatchError
from app.seam.errors import SeamConflict, SeamError, SeamRateLimited, SeamUnreached

TYPE_PREFIX = "urn:latchwatch:problem:"
MEDIA_TYPE = "application/problem+json"
STORAGE_RETRY_AFTER = timedelta(seconds=5)
UNREACHED_RETRY_AFTER = timedelta(seconds=10)
IN_FLIGHT_RETRY_AFTER = timedelta(seconds=2)
UNANSWERED_RETRY_AFTER = timedelta(seconds=5)


class ApiError(LatchwatchError):
    """``detail`` says what to do; ``extra`` are further members of the problem."""

    status: ClassVar[int] = 400
    type: ClassVar[str] = "bad-request"
    title: ClassVar[str] = "This request cannot be read"

    def __init__(self, detail: str, *, headers: Mapping[str, str] | None = None, **extra: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.headers = dict(headers or {})
        self.extra = extra

    def document(self) -> dict[str, Any]:
        return document(self.status, self.type, self.title, self.detail, **self.extra)


class Unauthenticated(ApiError):
    status: ClassVar[int] = 401
    type: ClassVar[str] = "unauthenticated"
    title: ClassVar[str] = "A valid token is needed"

    def __init__(self, detail: str, *, error: str | None = None) -> None:
        challenge = 'Bearer realm="latchwatch"' + (f', error="{error}"' if error else "")
        super().__init__(detail, headers={"WWW-Authenticate": challenge})


class MissingScope(ApiError):
    status: ClassVar[int] = 403
    type: ClassVar[str] = "missing-scope"
    title: ClassVar[str] = "The token may not do this"

    def __init__(self, scope: str) -> None:
        challenge = f'Bearer realm="latchwatch", error="insufficient_scope", scope="{scope}"'
        detail = f"This needs a token with the scope {scope}. Make one with `latchwatch tokens create`."
        super().__init__(detail, headers={"WWW-Authenticate": challenge}, scope=scope)


class NotFound(ApiError):
    status: ClassVar[int] = 404
    type: ClassVar[str] = "not-found"
    title: ClassVar[str] = "There is no such thing"


class Conflict(ApiError):
    status: ClassVar[int] = 409
    type: ClassVar[str] = "conflict"
    title: ClassVar[str] = "This cannot be done as things are"


class DuplicatePin(Conflict):
    type: ClassVar[str] = "duplicate-pin"
    title: ClassVar[str] = "This PIN is already on the lock"


class CannotTakeCodes(Conflict):
    type: ClassVar[str] = "device-cannot-take-codes"
    title: ClassVar[str] = "The device cannot take such codes"


class OfflineCode(Conflict):
    type: ClassVar[str] = "offline-code"
    title: ClassVar[str] = "An offline code cannot be revoked"


class NotAtSeamYet(Conflict):
    type: ClassVar[str] = "not-at-seam-yet"
    title: ClassVar[str] = "Seam has not confirmed this code yet"


class NotTracked(Conflict):
    type: ClassVar[str] = "not-tracked"
    title: ClassVar[str] = "This code is not watched any more"


class CannotChange(Conflict):
    type: ClassVar[str] = "cannot-change"
    title: ClassVar[str] = "This code cannot be changed any more"


class NoBackup(Conflict):
    type: ClassVar[str] = "no-backup"
    title: ClassVar[str] = "There is no backup code for this code"


class ChangeUnanswered(Conflict):
    type: ClassVar[str] = "change-unanswered"
    title: ClassVar[str] = "An earlier change has no answer yet"

    def __init__(self) -> None:
        told = "It is being found out whether Seam took it. Send this one again after Retry-After."
        super().__init__(told, headers=retry_after(UNANSWERED_RETRY_AFTER))


class KeyInFlight(Conflict):
    type: ClassVar[str] = "idempotency-key-in-flight"
    title: ClassVar[str] = "The first request with this key is still running"

    def __init__(self) -> None:
        super().__init__("Send it again after Retry-After.", headers=retry_after(IN_FLIGHT_RETRY_AFTER))


class InvalidInput(ApiError):
    """``errors`` is a list of ``{field, message}``."""

    status: ClassVar[int] = 422
    type: ClassVar[str] = "invalid-input"
    title: ClassVar[str] = "The input is not valid"


class KeyReused(InvalidInput):
    type: ClassVar[str] = "idempotency-key-reused"
    title: ClassVar[str] = "This key was used for another request"


class SeamSaidNo(ApiError):
    status: ClassVar[int] = 502
    type: ClassVar[str] = "seam-refused"
    title: ClassVar[str] = "Seam did not accept this"


class SeamNotConfigured(ApiError):
    status: ClassVar[int] = 503
    type: ClassVar[str] = "seam-not-configured"
    title: ClassVar[str] = "No Seam API key is configured"

    def __init__(self) -> None:
        super().__init__("Set SEAM_API_KEY and start Latchwatch again.")


class Repeated(ApiError):
    """The refusal that the first request with the same Idempotency-Key got."""

    def __init__(self, refusal: Mapping[str, Any]) -> None:
        super().__init__(str(refusal["detail"]), headers={"Idempotent-Replayed": "true"})
        self.refusal = dict(refusal)

    def document(self) -> dict[str, Any]:
        return self.refusal


def document(status: int, slug: str, title: str, detail: str, **extra: Any) -> dict[str, Any]:
    return {"type": TYPE_PREFIX + slug, "title": title, "status": status, "detail": detail, **extra}


def retry_after(wait: timedelta) -> dict[str, str]:
    return {"Retry-After": str(max(1, math.ceil(wait.total_seconds())))}


def invalid(field: str, message: str) -> InvalidInput:
    return invalid_fields([{"field": field, "message": message}])


def invalid_fields(errors: Sequence[Mapping[str, str]]) -> InvalidInput:
    told = "; ".join(f"{error['field']}: {error['message']}" for error in errors)
    return InvalidInput(f"{told}.", errors=list(errors))


def of_seam(error: SeamError) -> ApiError:
    """What a caller reads when Seam refused, could not be reached or did not answer."""
    told: dict[str, Any] = {
        "seam_status": error.status_code,
        "seam_type": error.seam_type,
        "seam_message": error.message,
    }
    match error:
        case SeamConflict():
            return DuplicatePin("Choose another PIN, or leave `code` out to have one chosen.", **told)
        case SeamRateLimited():
            wait = error.retry_after or UNREACHED_RETRY_AFTER
            slow = _SeamAsksToWait("Nothing was done. Send it again after Retry-After.", **told)
            slow.headers.update(retry_after(wait))
            return slow
        case SeamUnreached():
            gone = _SeamNotReached("Nothing was done. Send it again after Retry-After.", **told)
            gone.headers.update(retry_after(UNREACHED_RETRY_AFTER))
            return gone
        case _ if error.is_permanent:
            return SeamSaidNo(f"Seam said: {error.message}", **told)
        case _:
            return _SeamSilent("Seam gave no answer that can be read. Look again later.", **told)


class _SeamAsksToWait(SeamSaidNo):
    type: ClassVar[str] = "seam-rate-limited"
    title: ClassVar[str] = "Seam asks us to slow down"


class _SeamNotReached(SeamSaidNo):
    type: ClassVar[str] = "seam-unreached"
    title: ClassVar[str] = "Seam cannot be reached"


class _SeamSilent(SeamSaidNo):
    type: ClassVar[str] = "seam-unanswered"
    title: ClassVar[str] = "Seam did not answer"


def response_of(error: LatchwatchError) -> JSONResponse:
    """Any error of ours as the answer."""
    if isinstance(error, SeamError):
        error = of_seam(error)
    if isinstance(error, ApiError):
        content = error.document()
        return _respond(content, error.headers)
    if error.status == HTTPStatus.SERVICE_UNAVAILABLE:
        told = "Nothing is lost that was acknowledged. Send it again after Retry-After."
        return _respond(document(error.status, error.type, error.title, told), retry_after(STORAGE_RETRY_AFTER))
    return internal_error()


def internal_error() -> JSONResponse:
    """The answer to a fault of ours. What it was stands in the log, not here."""
    return _respond(document(500, "internal", "Latchwatch failed", "The log of the service says more."), {})


def response_of_http(error: HTTPException) -> JSONResponse:
    """An error of the framework: no such route, wrong method, body too large or unreadable."""
    slug, title = HTTP_TYPES.get(error.status_code, ("bad-request", ApiError.title))
    detail = _HTTP_DETAILS.get(error.status_code, "See /docs for what can be asked.")
    return _respond(document(error.status_code, slug, title, detail), dict(error.headers or {}))


def response_of_invalid(error: RequestValidationError) -> JSONResponse:
    """Input that does not fit: each wrong field by name, never its value, which may be a PIN."""
    problem = invalid_fields([_field_error(found) for found in error.errors()])
    return _respond(problem.document(), {})


HTTP_TYPES = {
    404: ("no-such-route", "There is no such route"),
    405: ("method-not-allowed", "This route does not take this method"),
    413: ("body-too-large", "The body is too large"),
}
_HTTP_DETAILS = {
    400: "The body cannot be read. Send one JSON object.",
    405: "The header Allow names the methods that it takes.",
    413: "Send at most 64 KiB.",
}
_MESSAGES = {
    "missing": "is required",
    "extra_forbidden": "is not known here",
    "json_invalid": "is not valid JSON",
    "model_attributes_type": "must be a JSON object, sent with Content-Type: application/json",
}


def _field_error(found: Mapping[str, Any]) -> dict[str, str]:
    kind, message = str(found["type"]), str(found["msg"])
    place = found["loc"] if kind != "json_invalid" else ("body",)
    return {"field": _field(place), "message": _MESSAGES.get(kind) or _plain(message)}


def _field(place: Iterable[str | int]) -> str:
    names = [str(part) for part in place]
    return ".".join(names[1:]) or names[0]


def _plain(message: str) -> str:
    told = message.removeprefix("Value error, ").removeprefix("Input ")
    return told[:1].lower() + told[1:]


def _respond(content: Mapping[str, Any], headers: Mapping[str, str]) -> JSONResponse:
    return JSONResponse(dict(content), content["status"], dict(headers), MEDIA_TYPE)
