"""Changing the signing secret: two webhooks for one address, and when the older one may go.

Seam cannot change the secret of a webhook. So a second one takes its place: while both exist every event comes twice,
under two delivery ids and one ``event_id``, and is kept once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class Hook:
    """One webhook at Seam. ``secret_label`` tells its secret apart (``None``: nobody ever saw the secret here)."""

    webhook_id: str
    url: str
    secret_label: str | None
    created_at: datetime
    retired_at: datetime | None = None
    deleted_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Rotation:
    """``old`` was retired when ``new`` took its place, and is to be deleted."""

    old: Hook
    new: Hook


def rotation_of(hooks: Sequence[Hook]) -> Rotation | None:
    """The rotation under way among the webhooks of one address; ``None`` when there is none."""
    alive = [hook for hook in hooks if hook.deleted_at is None]
    retired = [hook for hook in alive if hook.retired_at is not None]
    current = [hook for hook in alive if hook.retired_at is None]
    if not retired or not current:
        return None
    return Rotation(old=retired[0], new=max(current, key=lambda hook: hook.created_at))


def obstacles(
    rotation: Rotation,
    used_at: Mapping[str, datetime],
    at_seam: Collection[str],
    now: datetime,
    unused_for: timedelta,
) -> list[str]:
    """Why the old webhook must not be deleted yet, a sentence each; empty when it may.

    ``used_at`` is when a genuine delivery last came under each secret, by label; ``at_seam`` the ids that Seam has.
    """
    return [*_of_the_new(rotation, used_at, at_seam, unused_for), *_of_the_old(rotation, used_at, now, unused_for)]


def last_use(hook: Hook, others: Collection[str | None], used_at: Mapping[str, datetime]) -> datetime | None:
    """When the secret of ``hook`` was last used. Where nobody knows its label, every secret that is not one of
    ``others`` may be it."""
    if hook.secret_label is not None:
        return used_at.get(hook.secret_label)
    return max((at for label, at in used_at.items() if label not in others), default=None)


def _of_the_new(
    rotation: Rotation, used_at: Mapping[str, datetime], at_seam: Collection[str], unused_for: timedelta
) -> Iterator[str]:
    new = rotation.new
    if new.webhook_id not in at_seam:
        yield f"Seam does not have the new webhook {new.webhook_id}: without the old one nothing would come any more."
        return
    used = None if new.secret_label is None else used_at.get(new.secret_label)
    old_used = last_use(rotation.old, [new.secret_label], used_at)
    # With two live webhooks either may come first; who asks for no pause wants to know that the new one works at all.
    since = max(new.created_at, old_used) if unused_for and old_used is not None else new.created_at
    if used is None or used < since:
        yield (
            f"No delivery was signed with the new secret since {_moment(since)}: put it into SEAM_WEBHOOK_SECRET of "
            "every process, restart, and let something happen at a lock."
        )


def _of_the_old(
    rotation: Rotation, used_at: Mapping[str, datetime], now: datetime, unused_for: timedelta
) -> Iterator[str]:
    used = last_use(rotation.old, [rotation.new.secret_label], used_at)
    if used is not None and now - used < unused_for:
        yield (
            f"The old secret was used at {_moment(used)}, {_span(now - used)} ago, and should be unused for "
            f"{_span(unused_for)}: take it out of SEAM_WEBHOOK_SECRET, restart and wait; or, as every event comes by "
            "the new webhook as well, use --unused-for 0."
        )


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}Z"


def _span(span: timedelta) -> str:
    seconds = max(0, int(span.total_seconds()))
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size or seconds == size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
