from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI

from app.api.app import create_api
from app.api.services import Services
from app.storage.engine import Database
from tests.api.worlds import Clock, FakeSeam, World, client_of, make_services


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def seam(clock: Clock) -> FakeSeam:
    return FakeSeam(clock)


@pytest.fixture
def wakes() -> list[object]:
    return []


@pytest.fixture
def services(db: Database, clock: Clock, seam: FakeSeam, wakes: list[object]) -> Services:
    return make_services(db, clock, seam, wake=lambda: wakes.append(clock()))


@pytest.fixture
async def api(services: Services) -> AsyncIterator[FastAPI]:
    app = create_api(services)
    yield app
    services.waiting.close()
    await services.waiting.drain()
    await app.state.background.drain()


@pytest.fixture
async def client(api: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(api) as made:
        yield made


@pytest.fixture
def world(
    db: Database,
    clock: Clock,
    seam: FakeSeam,
    services: Services,
    api: FastAPI,
    client: httpx.AsyncClient,
    wakes: list[object],
) -> World:
    return World(db, clock, seam, services, api, client, wakes)
