"""The webhook at Seam: made, given another secret, and the former one deleted when it is safe.

    RegistrationError     a line for the operator for each reason why nothing was done, with what to do

State is kept in the database, so that any machine with the same settings can go on where another stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from app.domain.errors import LatchwatchError
from app.domain.rotation import Hook, Rotation, obstacles, rotation_of
from app.domain.silence import VERIFIED, is_same_address
from app.receiver.signature import SecretError, parse_secrets
from app.seam.gateway import Gateway
from app.seam.values import Webhook
from app.storage.engine import Database
from app.storage.errors import StorageError
from app.storage.receipts import list_receipts
from app.storage.webhooks import (
    add_hook,
    list_hooks,
    note_deleted,
    reinstate_hook,
    retire_hook,
)


class RegistrationError(LatchwatchError):
    type = "registration"
    title = "The webhook was left as it is"


@dataclass(frozen=True, slots=True)
class Registered:
    """``secret`` can be read here this one time."""

    hook: Hook
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Standing:
    """How the webhooks of one address stand. ``hooks`` are those known here and not deleted; ``at_seam`` those of Seam.
    ``used_at`` is when a delivery last came under each secret, by label."""

    hooks: Sequence[Hook]
    at_seam: Sequence[Webhook]
    used_at: Mapping[str, datetime]

    @property
    def rotation(self) -> Rotation | None:
        """Under way as long as Seam has the old webhook."""
        ids = self.ids_at_seam
        return rotation_of([hook for hook in self.hooks if hook.retired_at is None or hook.webhook_id in ids])

    @property
    def ids_at_seam(self) -> frozenset[str]:
        return frozenset(webhook.webhook_id for webhook in self.at_seam)

    def obstacles(self, rotation: Rotation, now: datetime, unused_for: timedelta) -> list[str]:
        return obstacles(rotation, self.used_at, self.ids_at_seam, now, unused_for)


@dataclass(frozen=True, slots=True)
class Registration:
    """The webhooks for ``url``. Every method raises ``RegistrationError``, ``SeamError`` and ``StorageError``."""

    db: Database
    gateway: Gateway
    url: str
    clock: Callable[[], datetime]

    async def look_up(self) -> Standing:
        at_seam = [each for each in await self.gateway.list_webhooks() if is_same_address(each.url, self.url)]
        async with self.db.read() as conn:
            hooks = [hook for hook in await list_hooks(conn, self.url) if hook.deleted_at is None]
            receipts = await list_receipts(conn)
        used_at = {receipt.detail: receipt.last_at for receipt in receipts if receipt.outcome == VERIFIED}
        return Standing(hooks, at_seam, used_at)

    async def register(self, *, again: bool) -> Registered:
        """Make a webhook with every event type. ``again``: also beside one that is there."""
        there = (await self.look_up()).at_seam
        if there and not again:
            raise RegistrationError(
                f"Seam has a webhook for {self.url} already ({there[0].webhook_id}). For another secret use latchwatch "
                "rotate-secret; --again makes another webhook all the same."
            )
        made = await self._create()
        try:
            async with self.db.write() as conn:
                await add_hook(conn, made.hook, action="webhook_registered")
        except StorageError:
            await self.gateway.delete_webhook(made.hook.webhook_id)
            raise
        return made

    async def rotate(self, *, sole_label: str | None) -> Registered:
        """Make a second webhook, which takes the place of the first. ``sole_label`` is that of the one secret in the
        settings (``None``: there are several, or none)."""
        old = await self._to_be_replaced(sole_label)
        made = await self._create()
        try:
            replaced = await self._replace(old, made.hook)
        except StorageError:
            await self.gateway.delete_webhook(made.hook.webhook_id)
            raise
        if not replaced:
            await self.gateway.delete_webhook(made.hook.webhook_id)
            raise RegistrationError("Somebody else has begun to change the secret in this moment; nothing was done.")
        return made

    async def finish(self, unused_for: timedelta) -> Rotation:
        """Delete the old webhook; refuse with every fact that speaks against it."""
        standing = await self.look_up()
        rotation = standing.rotation
        if rotation is None:
            raise RegistrationError(
                f"No change of the secret is under way for {self.url}; latchwatch rotate-secret begins one."
            )
        against = standing.obstacles(rotation, self.clock(), unused_for)
        if against:
            raise RegistrationError("\n".join(against))
        await self.gateway.delete_webhook(rotation.old.webhook_id)
        async with self.db.write() as conn:
            await note_deleted(conn, rotation.old.webhook_id, self.clock())
        return rotation

    async def _to_be_replaced(self, sole_label: str | None) -> Hook:
        standing = await self.look_up()
        match standing.at_seam:
            case []:
                raise RegistrationError(
                    f"Seam has no webhook for {self.url}; make one with latchwatch register-webhook."
                )
            case [webhook]:
                await self._settle(standing, webhook.webhook_id)
                known = {hook.webhook_id: hook for hook in standing.hooks}
                label = label_of(webhook.secret) or sole_label
                return known.get(webhook.webhook_id) or Hook(webhook.webhook_id, self.url, label, self.clock())
            case _ if standing.rotation is not None:
                raise RegistrationError("A change of the secret is under way already: see --status, then use --finish.")
            case several:
                ids = ", ".join(each.webhook_id for each in several)
                raise RegistrationError(
                    f"Seam has {len(several)} webhooks for {self.url} ({ids}); delete in Seam's console those that are "
                    "not needed, then begin again."
                )

    async def _settle(self, standing: Standing, webhook_id: str) -> None:
        """Take note of what was deleted at Seam itself: then the one that is left stands for itself again."""
        gone = [hook for hook in standing.hooks if hook.webhook_id != webhook_id]
        if gone:
            async with self.db.write() as conn:
                for hook in gone:
                    await note_deleted(conn, hook.webhook_id, self.clock())
                await reinstate_hook(conn, webhook_id)

    async def _create(self) -> Registered:
        webhook = await self.gateway.create_webhook(self.url)
        if webhook.secret is None:
            await self.gateway.delete_webhook(webhook.webhook_id)
            raise RegistrationError("Seam did not show the secret of the new webhook, so it was deleted again.")
        hook = Hook(webhook.webhook_id, self.url, label_of(webhook.secret), self.clock())
        return Registered(hook, webhook.secret)

    async def _replace(self, old: Hook, new: Hook) -> bool:
        async with self.db.write() as conn:
            await add_hook(conn, old, action="webhook_adopted")
            if not await retire_hook(conn, old.webhook_id, new.created_at):
                return False
            await add_hook(conn, new, action="webhook_registered")
            return True


def label_of(secret: str | None) -> str | None:
    try:
        return None if secret is None else parse_secrets(secret)[0].label
    except SecretError:
        return None
