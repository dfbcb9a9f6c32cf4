"""What can go wrong between us and Seam.

    SeamError                       status 502
    ├── SeamRefused                 Seam answered 4xx: nothing was done, and asking again will not help
    │   ├── SeamUnauthorized        401: the API key is wrong, or was revoked
    │   ├── SeamNotFound            404: a device, code or webhook is not in the key's workspace
    │   ├── SeamConflict            409: for a create, the PIN is already on that lock
    │   └── SeamInvalidInput        400 or 422: Seam does not take a parameter
    ├── SeamRateLimited             429: nothing was done; ask again after ``retry_after``
    └── SeamUnanswered              time-out, 5xx, HTML or garbage: what was done is unknown
        └── SeamUnreached           no connection: certainly nothing was done

Every message has been redacted: no PIN gets out of this package by an error. For the same reason none of them is
chained to an error of the SDK or of httpx: those quote Seam word for word.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import ClassVar

from app.domain.errors import LatchwatchError


class SeamError(LatchwatchError):
    """``status_code`` is that of Seam's answer and ``at`` its time, on Seam's clock (``None``: there was no answer).
    ``seam_type`` is Seam's own error type (``None``: it did not say). ``was_done`` ``None`` means unknown."""

    status: ClassVar[int] = 502
    type: ClassVar[str] = "seam"
    title: ClassVar[str] = "Seam failed"
    is_permanent: ClassVar[bool] = False
    was_done: ClassVar[bool | None] = False

    def __init__(
        self,
        message: str,
        *,
        status_code: int | None = None,
        seam_type: str | None = None,
        at: datetime | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status_code = status_code
        self.seam_type = seam_type
        self.at = at


class SeamRefused(SeamError):
    type: ClassVar[str] = "seam-refused"
    title: ClassVar[str] = "Seam refused"
    is_permanent: ClassVar[bool] = True


class SeamUnauthorized(SeamRefused):
    type: ClassVar[str] = "seam-unauthorized"
    title: ClassVar[str] = "Seam does not accept our API key"


class SeamNotFound(SeamRefused):
    type: ClassVar[str] = "seam-not-found"
    title: ClassVar[str] = "Seam does not have it"


class SeamConflict(SeamRefused):
    status: ClassVar[int] = 409
    type: ClassVar[str] = "seam-conflict"
    title: ClassVar[str] = "Seam has something in the way"


class SeamInvalidInput(SeamRefused):
    status: ClassVar[int] = 422
    type: ClassVar[str] = "seam-invalid-input"
    title: ClassVar[str] = "Seam does not take this input"


class SeamRateLimited(SeamError):
    """``retry_after`` is how long Seam asks us to wait (``None``: it did not say), at most an hour."""

    status: ClassVar[int] = 503
    type: ClassVar[str] = "seam-rate-limited"
    title: ClassVar[str] = "Seam asks us to slow down"

    def __init__(
        self,
        message: str,
        *,
        status_code: int | None = None,
        seam_type: str | None = None,
        at: datetime | None = None,
        retry_after: timedelta | None = None,
    ) -> None:
        super().__init__(message, status_code=status_code, seam_type=seam_type, at=at)
        self.retry_after = retry_after


class SeamUnanswered(SeamError):
    type: ClassVar[str] = "seam-unanswered"
    title: ClassVar[str] = "Seam did not answer"
    was_done: ClassVar[bool | None] = None


class SeamUnreached(SeamUnanswered):
    type: ClassVar[str] = "seam-unreached"
    title: ClassVar[str] = "Seam cannot be reached"
    was_done: ClassVar[bool | None] = False
