"""Which worker of the suite runs which test."""

from __future__ import annotations

from xdist.scheduler import LoadScopeScheduling

_WATCHES_PROCESSES = "tests/e2e/"


class ProcessesOnOneWorker(LoadScopeScheduling):  # type: ignore[misc] # xdist has no annotations
    """Tests that watch several processes run one after the other: two at once would keep each other waiting, and what
    they watch happens by the clock. They take longest, and so begin first; every other test goes to whoever is free.

    xdist's own groups do not reach it through pytest 9: they are appended to ids that pytest now makes itself.
    """

    def _split_scope(self, nodeid: str) -> str:
        return "processes" if nodeid.startswith(_WATCHES_PROCESSES) else nodeid
