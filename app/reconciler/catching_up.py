"""First catch up, then judge: whether the news that this process judges by is whole (contract, section 2.8)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

from app.domain.intake import is_caught_up, may_judge
from app.storage.engine import Connection
from app.storage.errors import StorageConflict, StorageError, StorageUnavailable
from app.storage.intake import load_intake

_SLEPT = timedelta(seconds=30)
"""The reconciler looks every second. Where it did not for so long, the machine slept or its clock was set; it may have
been set back as well, and while it was ahead genuine webhooks looked too old."""

_log = structlog.get_logger(__name__)


class CatchUp:
    """``since`` is the end of the last break that this process knows of: its start, storage that was away, sleep.

    Other processes tell of theirs in the database. A process that starts beside some that receive without a break has
    nothing to wait for but their next word.
    """

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self.since = clock()
        self._looked_at = self.since
        self._is_waiting = False

    def interrupted_by(self, error: StorageError) -> None:
        """While storage is away webhooks are turned away as well: what Seam made meanwhile has to be fetched."""
        if isinstance(error, StorageUnavailable) and not isinstance(error, StorageConflict):
            self.since = self._clock()

    async def is_over(self, conn: Connection) -> bool:
        """Whether codes may be judged now."""
        now = self._clock()
        if abs(now - self._looked_at) > _SLEPT:
            self.since = now
        self._looked_at = now
        intake = await load_intake(conn)
        judges = may_judge(intake, self.since, now)
        if judges and self._is_waiting:
            _log.info("judging_again", caught_up=is_caught_up(intake, self.since, now))
        elif not judges and not self._is_waiting:
            _log.info("judging_waits", detail="until what Seam made meanwhile has been fetched")
        self._is_waiting = not judges
        return judges
