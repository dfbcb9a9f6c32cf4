"""The webhook at Seam is made, given another secret, and the former one deleted: against the simulated Seam."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from sqlalchemy import insert, select

from app.domain.fingerprints import Fingerprinter
from app.receiver.signature import parse_secrets
from app.registration import Registered, Registration, RegistrationError, label_of
from app.sandbox import SandboxSettings, create_sandbox
from app.seam.gateway import Gateway
from app.storage.engine import Database
from app.storage.errors import StorageUnavailable
from app.storage.tables import audit_log, receipts, webhooks

NOW = datetime(2026, 8, 3, 12, 0, tzinfo=UTC)
URL = "https://latch.example/webhooks/seam"
DAY = timedelta(days=1)


@dataclass
class World:
    """``time`` moves when a test says so."""

    db: Database
    gateway: Gateway
    time: datetime = NOW
    url: str = URL

    @property
    def registration(self) -> Registration:
        return Registration(self.db, self.gateway, self.url, lambda: self.time)

    async def used(self, made: Registered | str, at: datetime) -> None:
        """A receiver has written down that a delivery came under this secret."""
        label = made if isinstance(made, str) else made.hook.secret_label
        async with self.db.write() as conn:
            await conn.execute(insert(receipts).values(outcome="verified", detail=label, count=1, last_at=at))

    async def at_seam(self) -> list[str]:
        return [webhook.webhook_id for webhook in await self.gateway.list_webhooks()]


@pytest.fixture
async def world(db: Database) -> AsyncIterator[World]:
    app = create_sandbox(SandboxSettings(manual_time=True), clock=lambda: NOW)
    gateway = Gateway(
        api_key="seam_test_key",
        endpoint="http://127.0.0.1",
        fingerprinter=Fingerprinter(b"a key for tests"),
        clock=lambda: NOW,
        transport=httpx.ASGITransport(app),
    )
    yield World(db, gateway)
    await gateway.aclose()
    await app.state.sandbox.close()


async def test_a_webhook_is_made_with_every_event_type_and_remembered_by_its_label_alone(world: World) -> None:
    made = await world.registration.register(again=False)

    (webhook,) = await world.gateway.list_webhooks()
    assert (webhook.webhook_id, webhook.url, webhook.event_types) == (made.hook.webhook_id, URL, ("*",))
    assert made.hook.secret_label == parse_secrets(made.secret)[0].label
    async with world.db.read() as conn:
        kept = [*(await conn.execute(select(webhooks))), *(await conn.execute(select(audit_log)))]
    assert len(kept) == 2
    assert made.secret.removeprefix("whsec_") not in str(kept)
    assert made.secret not in repr(made)


async def test_a_second_webhook_for_one_address_is_made_only_when_it_is_asked_for(world: World) -> None:
    first = await world.registration.register(again=False)
    world.url = f"{URL}/"
    with pytest.raises(RegistrationError, match=first.hook.webhook_id):
        await world.registration.register(again=False)
    world.url = URL
    second = await world.registration.register(again=True)
    assert sorted(await world.at_seam()) == sorted([first.hook.webhook_id, second.hook.webhook_id])


async def test_a_webhook_that_leads_elsewhere_is_none_of_ours(world: World) -> None:
    await world.gateway.create_webhook("https://elsewhere.example/webhooks/seam")
    await world.registration.register(again=False)
    assert len(await world.at_seam()) == 2


async def test_the_whole_change_of_a_secret(world: World) -> None:
    old = await world.registration.register(again=False)
    new = await world.registration.rotate(sole_label=None)
    assert old.secret != new.secret
    assert len(await world.at_seam()) == 2
    await world.used(old, NOW + timedelta(minutes=1))
    with pytest.raises(RegistrationError, match="No delivery was signed with the new secret"):
        await world.registration.finish(DAY)

    await world.used(new, NOW + timedelta(minutes=2))
    world.time = NOW + timedelta(hours=3)
    with pytest.raises(RegistrationError, match=r"used at .*, 2 h ago"):
        await world.registration.finish(DAY)
    assert len(await world.at_seam()) == 2

    world.time = NOW + timedelta(days=1, minutes=1)
    done = await world.registration.finish(DAY)
    assert (done.old.webhook_id, done.new.webhook_id) == (old.hook.webhook_id, new.hook.webhook_id)
    assert await world.at_seam() == [new.hook.webhook_id]
    with pytest.raises(RegistrationError, match="No change of the secret is under way"):
        await world.registration.finish(DAY)


async def test_nobody_has_to_wait_for_the_old_secret_to_be_out_of_use(world: World) -> None:
    old = await world.registration.register(again=False)
    new = await world.registration.rotate(sole_label=None)
    await world.used(old, NOW)
    await world.used(new, NOW)
    await world.registration.finish(timedelta())
    assert await world.at_seam() == [new.hook.webhook_id]


async def test_a_second_change_can_follow_the_first(world: World) -> None:
    await world.registration.register(again=False)
    second = await world.registration.rotate(sole_label=None)
    await world.used(second, NOW)
    await world.registration.finish(timedelta())
    third = await world.registration.rotate(sole_label=None)
    standing = await world.registration.look_up()
    assert standing.rotation is not None
    assert (standing.rotation.old.webhook_id, standing.rotation.new) == (second.hook.webhook_id, third.hook)


async def test_the_last_webhook_that_works_is_never_deleted(world: World) -> None:
    old = await world.registration.register(again=False)
    new = await world.registration.rotate(sole_label=None)
    await world.used(new, NOW)
    await world.gateway.delete_webhook(new.hook.webhook_id)
    with pytest.raises(RegistrationError, match="Seam does not have the new webhook"):
        await world.registration.finish(timedelta())
    assert await world.at_seam() == [old.hook.webhook_id]


async def test_a_change_whose_new_webhook_was_deleted_can_begin_again(world: World) -> None:
    old = await world.registration.register(again=False)
    lost = await world.registration.rotate(sole_label=None)
    await world.gateway.delete_webhook(lost.hook.webhook_id)
    new = await world.registration.rotate(sole_label=None)
    standing = await world.registration.look_up()
    assert standing.rotation is not None
    assert (standing.rotation.old.webhook_id, standing.rotation.new) == (old.hook.webhook_id, new.hook)


async def test_a_change_whose_old_webhook_was_deleted_at_seam_is_over(world: World) -> None:
    old = await world.registration.register(again=False)
    await world.registration.rotate(sole_label=None)
    await world.gateway.delete_webhook(old.hook.webhook_id)
    with pytest.raises(RegistrationError, match="No change of the secret is under way"):
        await world.registration.finish(timedelta())


async def test_a_webhook_that_was_made_in_the_console_can_be_replaced_as_well(world: World) -> None:
    made_elsewhere = await world.gateway.create_webhook(URL)
    await world.registration.rotate(sole_label=None)
    standing = await world.registration.look_up()
    assert standing.rotation is not None
    assert standing.rotation.old.webhook_id == made_elsewhere.webhook_id
    assert standing.rotation.old.secret_label == label_of(made_elsewhere.secret)


async def test_without_a_webhook_there_is_nothing_to_replace(world: World) -> None:
    with pytest.raises(RegistrationError, match="register-webhook"):
        await world.registration.rotate(sole_label=None)


async def test_a_change_that_is_under_way_is_not_begun_again(world: World) -> None:
    await world.registration.register(again=False)
    await world.registration.rotate(sole_label=None)
    with pytest.raises(RegistrationError, match="under way already"):
        await world.registration.rotate(sole_label=None)
    assert len(await world.at_seam()) == 2


async def test_several_webhooks_that_nobody_retired_are_left_to_people(world: World) -> None:
    for _ in range(2):
        await world.gateway.create_webhook(URL)
    with pytest.raises(RegistrationError, match="Seam has 2 webhooks"):
        await world.registration.rotate(sole_label=None)


async def test_of_two_who_begin_a_change_at_once_one_gives_way(world: World) -> None:
    old = await world.registration.register(again=False)
    results = await asyncio.gather(
        *(world.registration.rotate(sole_label=None) for _ in range(2)), return_exceptions=True
    )
    made = [each for each in results if isinstance(each, Registered)]
    refused = [each for each in results if isinstance(each, RegistrationError)]
    assert (len(made), len(refused)) == (1, 1)
    assert sorted(await world.at_seam()) == sorted([old.hook.webhook_id, made[0].hook.webhook_id])


async def test_a_webhook_that_cannot_be_remembered_is_not_left_behind(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its secret would be lost, and nobody could tell it from another."""

    def away(_: Database) -> None:
        raise StorageUnavailable("the disk is full")

    monkeypatch.setattr(Database, "write", away)
    with pytest.raises(StorageUnavailable):
        await world.registration.register(again=False)
    assert await world.at_seam() == []


@pytest.mark.parametrize(("secret", "has_label"), [(None, False), ("whsec_short", False), ("whsec_" + "A" * 32, True)])
def test_a_secret_that_cannot_be_used_here_has_no_label(secret: str | None, has_label: bool) -> None:
    assert (label_of(secret) is not None) is has_label
