"""The webhook at Seam from its making to another secret, by the commands, beside a running service."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.services import KEY, Service, free_port, serving
from tests.processes import latchwatch, started


@dataclass(frozen=True)
class Place:
    """A simulated Seam, and where the service is to be reached. ``settings`` are those of every command."""

    folder: Path
    seam: Service
    port: int
    settings: Mapping[str, str]

    def run(self, *command: str, secrets: str = "") -> subprocess.CompletedProcess[str]:
        given = {**self.settings, "SEAM_WEBHOOK_SECRET": secrets}
        return latchwatch(*command, folder=self.folder, **given)

    @contextmanager
    def serving(self, secrets: str) -> Iterator[Service]:
        given = {**self.settings, "SEAM_WEBHOOK_SECRET": secrets}
        url = given.pop("DATABASE_URL")
        with serving(self.folder, url, port=self.port, **given) as service:
            yield service
            assert service.process.stop() == 0

    def deliveries(self) -> Counter[str]:
        """How often each event was delivered, under a delivery id of its own."""
        found = self.seam.get("/sandbox/deliveries")["deliveries"]
        assert len({each["delivery_id"] for each in found}) == len(found)
        return Counter(each["event_id"] for each in found if each["state"] == "delivered")


@pytest.fixture
def place(tmp_path: Path, sqlite_url: str) -> Iterator[Place]:
    port = free_port()
    with started("sandbox", "--port", "0", "--speed", "20", folder=tmp_path) as sandbox:
        seam = sandbox.wait_for("A simulated Seam listens on").split()[5].rstrip(";")
        settings = {
            "DATABASE_URL": sqlite_url,
            "LATCHWATCH_SECRET_KEY": KEY,
            "SEAM_API_KEY": "seam_test_key",
            "SEAM_ENDPOINT": seam,
            "LATCHWATCH_PUBLIC_URL": f"http://127.0.0.1:{port}",
        }
        yield Place(tmp_path, Service(seam, sandbox), port, settings)


def secret_in(told: subprocess.CompletedProcess[str]) -> str:
    assert told.returncode == 0, told.stderr
    (secret,) = re.findall(r"whsec_\S+", told.stdout)
    return str(secret)


def make_a_code(service: Service) -> None:
    code = service.post("/v1/access-codes", device_id="lock_sets_at_once").json()
    service.until(f"/v1/access-codes/{code['id']}", lambda answer: answer["signals"]["set_at"] is not None)


def test_a_webhook_is_made_gets_another_secret_and_no_event_is_kept_twice(place: Place) -> None:
    first = secret_in(place.run("register-webhook"))
    again = place.run("register-webhook")
    assert (again.returncode, again.stdout) == (1, "")
    assert "already" in again.stderr

    with place.serving(first) as service:
        make_a_code(service)
        diagnosis = place.run("doctor", secrets=first)
        assert diagnosis.returncode == 0, diagnosis.stdout
        assert re.search(r"^✓ probe .* is stored$", diagnosis.stdout, re.MULTILINE)
        assert re.search(r"^✓ webhook .*with every event type$", diagnosis.stdout, re.MULTILINE)
        second = secret_in(place.run("rotate-secret", secrets=first))
    once = place.deliveries()

    both = f"{second},{first}"
    with place.serving(both) as service:
        make_a_code(service)
        service.until("/v1/events", lambda _: all(count >= 2 for count in (place.deliveries() - once).values()))
        twice = place.deliveries() - once
        kept = [each["event_id"] for each in service.all("/v1/events") if each["event_type"] != "latchwatch.probe"]
    assert set(twice.values()) == {2}
    assert len(kept) == len(set(kept)) == len(once) + len(twice)

    refused = place.run("rotate-secret", "--finish", secrets=both)
    assert refused.returncode == 1
    assert "The old secret was used at" in refused.stderr
    status = place.run("rotate-secret", "--status", secrets=both).stdout
    assert len(re.findall(r"(?:old|current), secret [0-9a-f]{8}, last used ", status)) == 2
    done = place.run("rotate-secret", "--finish", "--unused-for", "0", secrets=both)
    assert done.returncode == 0, done.stderr

    with place.serving(second) as service:
        make_a_code(service)
        assert set((place.deliveries() - once - twice).values()) == {1}
    said = place.run("status").stdout + status + diagnosis.stdout + refused.stderr + done.stdout
    assert not re.search(r"whsec_", said)
