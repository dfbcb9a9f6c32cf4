"""A town of processes on one database: a simulated Seam, replicas of the service, and somebody who gets alerts."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.e2e.alert_listener import AlertListener, listening
from tests.e2e.services import PATIENCE_SECONDS, SETTINGS, Service, event, free_port
from tests.processes import SECRET, started

_LAST_PASS = "latchwatch_reconciler_last_pass_timestamp_seconds "
_LAUNCHER = Path(__file__).with_name("clocked.py")


@dataclass
class Town:
    """``replicas`` keep their ports when they are killed and come back. ``clock`` is the file that moves clocks."""

    folder: Path
    settings: dict[str, str]
    clock: Path
    alerts: AlertListener
    seam: Service = field(init=False)
    replicas: list[Service] = field(default_factory=list)
    _running: dict[int, ExitStack] = field(default_factory=dict)

    @property
    def urls(self) -> list[str]:
        return [replica.url for replica in self.replicas]

    @property
    def any(self) -> Service:
        return self.replicas[0]

    def open_sandbox(self, stack: ExitStack, hook: str, clock: Path) -> None:
        arguments = ("--port", "0", "--webhook-url", hook, "--secret", SECRET, "--speed", "50")
        process = stack.enter_context(started("sandbox", *arguments, folder=self.folder, command=_under(clock)))
        url = process.wait_for("A simulated Seam listens on").split()[5].rstrip(";")
        self.seam = Service(url, process)
        self.settings |= {"SEAM_API_KEY": "seam_test_key", "SEAM_ENDPOINT": url}

    def start(self, number: int, port: int) -> None:
        stack = ExitStack()
        arguments = ("serve", "--port", str(port))
        process = stack.enter_context(
            started(*arguments, folder=self.folder, command=_under(self.clock), **self.settings)
        )
        address = str(json.loads(process.wait_for('"event": "serving"'))["address"])
        self._running[number] = stack
        service = Service(address, process)
        self.replicas[number : number + 1] = [service]

    def kill(self, number: int) -> None:
        """kill -9."""
        self.replicas[number].process.signal(signal.SIGKILL)
        self.replicas[number].process.wait()
        self._running.pop(number).close()

    def restart(self, number: int) -> None:
        self.start(number, int(self.replicas[number].url.rpartition(":")[2]))

    def close(self) -> None:
        for stack in self._running.values():
            stack.close()

    def move_clock(self, seconds: float) -> None:
        """Put every clock of the town so far ahead of the true one."""
        staged = self.clock.with_suffix(".new")
        staged.write_text(str(seconds))
        staged.replace(self.clock)

    def has_looked(self, ahead_seconds: float) -> bool:
        """Whether the first replica's reconciler has looked for work since the clock was moved there."""
        metrics = httpx.get(f"{self.any.url}/metrics", trust_env=False, timeout=30).text
        (line,) = [each for each in metrics.splitlines() if each.startswith(_LAST_PASS)]
        return float(line.split()[1]) - time.time() > ahead_seconds - 60

    def readiness(self, number: int = 0) -> tuple[int, list[str]]:
        """The status of ``/readyz``, and the names of the checks that failed."""
        answer = httpx.get(f"{self.replicas[number].url}/readyz", trust_env=False, timeout=30)
        return answer.status_code, [check["name"] for check in answer.json()["checks"] if not check["ok"]]

    def until(
        self, holds: Callable[[], bool], told: Callable[[], object] = lambda: "", patience: float = PATIENCE_SECONDS
    ) -> None:
        deadline = time.monotonic() + patience
        while not holds():
            assert time.monotonic() < deadline, told()
            time.sleep(0.05)

    def make(self, count: int, device_id: str = "lock_silent") -> list[dict[str, Any]]:
        made = []
        for _ in range(count):
            answer = self.any.post("/v1/access-codes", device_id=device_id)
            assert answer.status_code == 201, answer.text
            made.append(answer.json())
        return made

    def verdicts(self, made: list[dict[str, Any]]) -> list[str]:
        return [self.any.get(f"/v1/access-codes/{code['id']}")["verdict"] for code in made]

    def transitions(self, code: dict[str, Any]) -> list[str]:
        timeline = self.any.get(f"/v1/access-codes/{code['id']}/timeline", limit=500)["items"]
        return [entry["to_verdict"] for entry in timeline if entry["kind"] == "transition"]


def _under(clock: Path) -> tuple[str, ...]:
    return (sys.executable, str(_LAUNCHER), str(clock))


def failures_among_others(made: list[dict[str, Any]], others: int, first: int = 0) -> list[dict[str, Any]]:
    """News that each of these codes failed, each followed by ``others`` events about codes that nobody watches."""
    payloads: list[dict[str, Any]] = []
    for number, code in enumerate(made):
        start = first + number * (others + 1)
        told = {"access_code_id": code["access_code_id"], "device_id": code["device_id"]}
        payloads.append(event(start, event_type="access_code.failed_to_set_on_device", **told))
        payloads += [event(start + other) for other in range(1, others + 1)]
    return payloads


@contextmanager
def town(
    folder: Path, database_url: str, replicas: int, *, seam_keeps_time: bool = False, **settings: str
) -> Iterator[Town]:
    """``seam_keeps_time``: moving the clock of the town leaves Seam's alone."""
    clock, true_clock = folder / "clock", folder / "true-clock"
    for each in (clock, true_clock):
        each.write_text("0")
    with ExitStack() as stack:
        alerts = stack.enter_context(listening())
        environment = {**SETTINGS, "DATABASE_URL": database_url, **alerts.settings(), **settings}
        built = Town(folder, environment, clock, alerts)
        ports = [free_port() for _ in range(replicas)]
        stack.callback(built.close)
        built.open_sandbox(
            stack, f"http://127.0.0.1:{ports[0]}/webhooks/seam", true_clock if seam_keeps_time else clock
        )
        for number, port in enumerate(ports):
            built.start(number, port)
        yield built
