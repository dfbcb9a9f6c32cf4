from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.receiver.inboxes import Station
from tests.receiver.posts import Post


@pytest.fixture
async def post() -> AsyncIterator[Post]:
    post = Post(Station())
    post.station.committer.start()
    yield post
    post.station.inbox.gate.set()
    await post.station.committer.close()
