from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.sandbox.worlds import Bench


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    bench = Bench()
    yield bench
    await bench.close()
