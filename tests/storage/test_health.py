"""What is known of locks and accounts, from their events and from Seam's device object."""

from __future__ import annotations

from app.domain.health import AccountFacet, DeviceFacet, DeviceRead, Health
from app.domain.news import Issue, IssueSource
from app.storage.engine import Database
from app.storage.health import Place, accounts_of, load_device, load_health, save_device_read
from app.storage.inbox import store_batch
from tests.storage.arrivals import NOW, account_news, after, deliveries, device_news

READ = DeviceRead(
    at=NOW,
    device_id="device",
    workspace_id="workspace",
    connected_account_id="account",
    online=False,
    battery_level=0.25,
    schedules_natively=True,
    supported_code_lengths=(4, 6),
    errors=(Issue("device_offline", "It is offline.", IssueSource.DEVICE, is_error=True, created_at=NOW),),
)


async def _save(db: Database, *reads: DeviceRead) -> None:
    for read in reads:
        async with db.write() as conn:
            await save_device_read(conn, read)


async def _load(db: Database, device_id: str = "device") -> DeviceRead | None:
    async with db.read() as conn:
        return await load_device(conn, device_id)


async def test_a_lock_is_kept_as_seam_described_it(db: Database) -> None:
    await _save(db, READ)
    assert await _load(db) == READ
    assert await _load(db, "another") is None


async def test_an_older_answer_that_comes_late_changes_nothing(db: Database) -> None:
    newer = DeviceRead(at=after(5), device_id="device", online=True)
    await _save(db, READ, newer, READ)
    assert await _load(db) == newer


async def test_an_answer_without_the_account_does_not_forget_it(db: Database) -> None:
    await _save(db, READ, DeviceRead(at=after(5), device_id="device"))
    async with db.read() as conn:
        assert await accounts_of(conn, ["device", "another"]) == {"device": "account"}


async def test_a_read_and_news_of_a_lock_stand_side_by_side(db: Database) -> None:
    await store_batch(db, deliveries(device_news("e1", value="disconnected")))
    await _save(db, READ)
    await store_batch(db, deliveries(device_news("e2", 1, DeviceFacet.BATTERY, "low"), account_news("e3")))
    place: Place = ("device", "account")
    async with db.read() as conn:
        health = (await load_health(conn, [place]))[place]
    assert health.device_read == READ
    assert {facet: state.value for facet, state in health.device.items()} == {
        DeviceFacet.CONNECTION: "disconnected",
        DeviceFacet.BATTERY: "low",
    }
    assert health.account[AccountFacet.CONNECTION].event_id == "e3"


async def test_a_lock_known_only_by_news_was_never_read(db: Database) -> None:
    await store_batch(db, deliveries(device_news("e1")))
    assert await _load(db) is None


async def test_places_that_were_never_heard_of_are_well(db: Database) -> None:
    """More of them than one statement may name."""
    places: list[Place] = [(None, None), ("none", None), *((f"lock-{number}", "none") for number in range(600))]
    async with db.read() as conn:
        health = await load_health(conn, places)
    assert health == dict.fromkeys(places, Health())
