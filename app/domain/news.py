"""News: what Seam's events say about one access code, kept as the latest of each kind.

Merging is ``max`` by ``(occurred_at, event_id)``: commutative, associative and idempotent. So neither the order
nor the number of deliveries can change what is known about a code.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple


class NewsKind(StrEnum):
    """The kinds of news that the ``signals`` row of an access code keeps (one column each)."""

    CREATED = "created"
    SCHEDULED = "scheduled"
    SET = "set"
    DELAYED = "delayed"
    FAILED = "failed"
    REMOVED = "removed"
    REMOVAL_DELAYED = "removal_delayed"
    FAILED_TO_REMOVE = "failed_to_remove"
    DELETED = "deleted"
    MODIFIED_EXTERNALLY = "modified_externally"
    DELETED_EXTERNALLY = "deleted_externally"
    CHANGED = "changed"
    CHANGE_REQUESTED = "change_requested"
    CODE_CHANGED = "code_changed"
    NAME_CHANGED = "name_changed"
    TIME_FRAME_CHANGED = "time_frame_changed"
    FAILED_TO_CHANGE = "failed_to_change"
    BACKUP_PULLED = "backup_pulled"
    USED = "used"


class IssueSource(StrEnum):
    """Whose list an error or warning stood in."""

    ACCESS_CODE = "access_code"
    DEVICE = "device"
    ACCOUNT = "connected_account"


@dataclass(frozen=True, slots=True)
class Issue:
    """One entry of Seam's ``errors`` or ``warnings`` lists, its message already redacted."""

    code: str
    message: str
    source: IssueSource
    is_error: bool
    created_at: datetime | None = None


class News(NamedTuple):
    """The latest event of one kind about one code. ``pin`` is a fingerprint, never a PIN."""

    occurred_at: datetime
    event_id: str
    pin: str | None = None
    backup_access_code_id: str | None = None
    issues: tuple[Issue, ...] = ()

    @property
    def order(self) -> tuple[datetime, str]:
        return self.occurred_at, self.event_id


@dataclass(frozen=True, slots=True)
class Signals:
    """All that events said about one access code. ``version`` counts the merges that changed it."""

    latest: Mapping[NewsKind, News] = field(default_factory=lambda: MappingProxyType({}))
    version: int = 0

    def at(self, kind: NewsKind) -> datetime | None:
        news = self.latest.get(kind)
        return news.occurred_at if news else None


def newest(first: News | None, second: News | None) -> News | None:
    if first is None or second is None:
        return first or second
    return max(first, second, key=lambda news: news.order)


def merge(items: Iterable[tuple[NewsKind, News]]) -> dict[NewsKind, News]:
    """Fold news of one access code into the latest of each kind."""
    merged: dict[NewsKind, News] = {}
    for kind, news in items:
        known = merged.get(kind)
        if known is None or news.order > known.order:
            merged[kind] = news
    return merged
