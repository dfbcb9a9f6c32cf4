"""Which of our errors stands for which failure of the SDK, of httpx, or of Seam's answer."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

import httpx
from seam.exceptions import SeamError as SdkError
from seam.exceptions import SeamHttpApiError, SeamHttpInvalidInputError, SeamHttpUnauthorizedError

from app.domain.redaction import redact_text
from app.seam.errors import (
    SeamConflict,
    SeamError,
    SeamInvalidInput,
    SeamNotFound,
    SeamRateLimited,
    SeamRefused,
    SeamUnanswered,
    SeamUnauthorized,
    SeamUnreached,
)

FAILURES = (
    SdkError,
    httpx.HTTPError,
    httpx.InvalidURL,
    httpx.CookieConflict,
    OSError,  # the deadline among them
    ValueError,  # JSON and encodings
    ArithmeticError,
    AttributeError,  # these and the rest: an answer of another shape than the SDK or we expect
    LookupError,
    TypeError,
    RuntimeError,
)
"""All that a call through the SDK, and the reading of its answer, can raise."""

# In each of these the request has not left: a connection was never there, or the request could not be made.
_NEVER_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
    httpx.InvalidURL,
)

_TYPED_REFUSALS: dict[int, type[SeamRefused]] = {
    400: SeamInvalidInput,
    404: SeamNotFound,
    409: SeamConflict,
    422: SeamInvalidInput,
}

_LONGEST_MESSAGE = 500


def seam_error(
    failure: Exception,
    *,
    at: datetime | None = None,
    retry_after: timedelta | None = None,
    pins: Iterable[str] = (),
) -> SeamError:
    """Our error for a lower-level one. ``at`` and ``retry_after`` come from Seam's answer, if there was one; ``pins``
    are those of the request, which Seam likes to repeat in its messages."""
    match failure:
        case SeamHttpUnauthorizedError():
            return SeamUnauthorized(
                "Seam does not accept the API key: check SEAM_API_KEY.",
                status_code=401,
                seam_type=failure.code,
                at=at,
            )
        case SeamHttpApiError():
            message = redact_text(_words(failure), pins)[:_LONGEST_MESSAGE]
            return _answered(failure.status_code, message, redact_text(str(failure.code), pins), at, retry_after)
        case httpx.HTTPStatusError():
            status_code = failure.response.status_code
            return _answered(status_code, f"Seam answered {status_code} without a reason.", None, at, retry_after)
        case _:
            return _unanswered(failure, at, pins)


def _answered(
    status_code: int, message: str, seam_type: str | None, at: datetime | None, retry_after: timedelta | None
) -> SeamError:
    if status_code == 429:
        return SeamRateLimited(message, status_code=429, seam_type=seam_type, at=at, retry_after=retry_after)
    if status_code == 401:
        return SeamUnauthorized(message, status_code=401, seam_type=seam_type, at=at)
    if status_code == 408 or not 400 <= status_code < 500:
        return SeamUnanswered(message, status_code=status_code, seam_type=seam_type, at=at)
    # A 404 or 409 that is not in Seam's own form is a word of something in between: it says nothing about a code.
    kind = SeamRefused if seam_type is None else _TYPED_REFUSALS.get(status_code, SeamRefused)
    return kind(message, status_code=status_code, seam_type=seam_type, at=at)


def _unanswered(failure: Exception, at: datetime | None, pins: Iterable[str]) -> SeamError:
    reason = type(failure).__name__
    if isinstance(failure, _NEVER_SENT):
        detail = redact_text(str(failure), pins)[:_LONGEST_MESSAGE]
        return SeamUnreached(f"No connection to Seam ({reason}: {detail}).")
    if isinstance(failure, (TimeoutError, httpx.TimeoutException)):
        return SeamUnanswered(f"No answer in time ({reason}).", at=at)
    if isinstance(failure, httpx.TransportError):
        return SeamUnanswered(f"The connection to Seam broke ({reason}).", at=at)
    # The words of these errors quote the answer, which may hold a PIN anywhere.
    return SeamUnanswered(f"Seam's answer could not be read ({reason}).", at=at)


def _words(failure: SeamHttpApiError) -> str:
    words = [str(failure)]
    if isinstance(failure, SeamHttpInvalidInputError):
        for error in failure.validation_errors:
            words += [f"{error.parameter_name}: {message}" for message in error.error_messages]
    return "; ".join(words)
