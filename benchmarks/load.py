"""wrk, and what it says."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.deliveries import Prepared
from benchmarks.processes import Server

_SCRIPT = Path(__file__).parent / "wrk.lua"
_LONGEST_SECONDS = 300


class VoidRun(Exception):
    """The figures of this run mean nothing."""


@dataclass(frozen=True, slots=True)
class Load:
    """``acked`` is the number of 2xx answers."""

    acked: int
    seconds: float
    refused: int
    broken: int
    p50_ms: float
    p99_ms: float
    max_ms: float

    @property
    def rate(self) -> float:
        return self.acked / self.seconds


def full_load(server: Server, prepared: Prepared, connections: int, seconds: int) -> Load:
    """Every connection sends its next request as soon as the last one is answered."""
    return _wrk(server, prepared, connections, seconds, [])


def paced_load(server: Server, prepared: Prepared, connections: int, seconds: int, rate: float) -> Load:
    """About ``rate`` requests a second, each connection at random times of its own.

    A connection that waits for an answer sends nothing meanwhile; wrk corrects its latencies for that.
    """
    return _wrk(server, prepared, connections, seconds, ["paced", f"{connections / rate:.6f}"])


def whole_load(server: Server, prepared: Prepared, connections: int) -> Load:
    """All of the prepared requests, as fast as they are answered; the latencies are not measured."""
    return _wrk(server, prepared, connections, _LONGEST_SECONDS, ["all", str(prepared.count)])


def _wrk(server: Server, prepared: Prepared, connections: int, seconds: int, more: list[str]) -> Load:
    command = ["wrk", "--threads", "1", "--connections", str(connections), "--duration", f"{seconds}s"]
    url = f"{server.url}/webhooks/seam"
    script = ["--timeout", "20s", "--script", str(_SCRIPT), url, "--", str(prepared.path), *more]
    ended = subprocess.run(command + script, capture_output=True, text=True, timeout=seconds + 60, check=True)
    line = next(line for line in ended.stdout.splitlines() if line.startswith("RESULT "))
    said: dict[str, Any] = json.loads(line.removeprefix("RESULT "))
    if said.pop("exhausted"):
        raise VoidRun("the prepared requests ran out; prepare more (--requests-per-second)")
    answered = said.pop("answered")
    return Load(acked=answered - said["refused"], **said)
