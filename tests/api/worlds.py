"""What the API's tests share: a Seam in memory whose next answers can be chosen, a clock, and a client."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import httpx
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from app.api.services import Check, Services
from app.api.waiting import Waiting
from app.domain.assessment import Policy
from app.domain.codes import CodeType, Read, Snapshot
from app.domain.fingerprints import Fingerprinter
from app.domain.health import DeviceRead
from app.seam.errors import SeamConflict, SeamError, SeamInvalidInput, SeamNotFound
from app.seam.gateway import Gateway
from app.seam.values import Answer, CreatedCode, CreateRequest, UpdateRequest
from app.storage.engine import Database

NOON = datetime(2026, 8, 3, 12, 0, tzinfo=UTC)
DEVICE = "device-1"
WORKSPACE = "workspace-1"
ADMIN_TOKEN = "an-admin-token-for-tests"
FINGERPRINTER = Fingerprinter(b"a key for tests")


@dataclass
class Clock:
    now: datetime = NOON

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **of: float) -> None:
        self.now += timedelta(**of)


@dataclass
class FakeSeam:
    """``refusals`` are raised by the next calls of that name; ``lost`` by the next create, update or pull, but after it
    was done."""

    clock: Clock
    codes: dict[str, Snapshot] = field(default_factory=dict)
    pins: dict[str, str | None] = field(default_factory=dict)
    devices: dict[str, DeviceRead] = field(default_factory=dict)
    refusals: dict[str, list[SeamError]] = field(default_factory=dict)
    lost: Exception | None = None
    calls: list[str] = field(default_factory=list)
    created: list[CreateRequest] = field(default_factory=list)
    updated: list[UpdateRequest] = field(default_factory=list)
    generated: Iterable[str | None] = ("7391", "8264", "5518", "6620")
    gate: asyncio.Event | None = None  # creates wait here
    entered: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._pins_to_generate = iter(self.generated)
        self.add_device(DEVICE)

    def gateway(self) -> Gateway:
        return cast(Gateway, self)

    def add_device(self, device_id: str, **said: Any) -> None:
        known = {"workspace_id": WORKSPACE, "can_program_online": True, "can_program_offline": False, **said}
        self.devices[device_id] = DeviceRead(at=self.clock(), device_id=device_id, **known)

    def add_code(self, access_code_id: str, *, pin: str | None = "4821", **said: Any) -> Snapshot:
        known = {
            "device_id": DEVICE,
            "workspace_id": WORKSPACE,
            "created_at": self.clock(),
            "status": "setting",
            **said,
        }
        fingerprint = FINGERPRINTER.pin(known["device_id"], pin) if pin else None
        snapshot = Snapshot(access_code_id=access_code_id, pin=fingerprint, **known)
        self.codes[access_code_id], self.pins[access_code_id] = snapshot, pin
        return snapshot

    def show(self, access_code_id: str, **fields: Any) -> None:
        """What Seam's object says from now on."""
        self.codes[access_code_id] = replace(self.codes[access_code_id], **fields)

    def refuse(self, call: str, *errors: SeamError) -> None:
        self.refusals.setdefault(call, []).extend(errors)

    def _called(self, call: str) -> None:
        self.calls.append(call)
        if self.refusals.get(call):
            raise self.refusals[call].pop(0)

    async def create(self, request: CreateRequest) -> Answer[CreatedCode]:
        self.entered.set()
        if self.gate is not None:
            await self.gate.wait()
        self.created.append(request)
        self._called("create")
        fingerprint = FINGERPRINTER.pin(request.device_id, request.code) if request.code else None
        if any(code.device_id == request.device_id and code.pin == fingerprint for code in self.codes.values()):
            raise SeamConflict("A code with this PIN exists.", status_code=409, seam_type="duplicate_access_code")
        snapshot = self.add_code(
            f"ac-{len(self.codes) + 1}",
            pin=request.code or "9999",
            device_id=request.device_id,
            name=request.name,
            type=CodeType.TIME_BOUND if request.starts_at else CodeType.ONGOING,
            starts_at=request.starts_at,
            ends_at=request.ends_at,
            status="unset" if request.starts_at and request.starts_at > self.clock() else "setting",
            is_offline=bool(request.is_offline_access_code),
        )
        self._lose()
        return Answer(self.clock(), CreatedCode(snapshot, self.pins[snapshot.access_code_id]))

    def _lose(self) -> None:
        if self.lost is not None:
            error, self.lost = self.lost, None
            raise error

    async def update_code(self, request: UpdateRequest) -> Answer[None]:
        self.updated.append(request)
        self._called("update_code")
        if request.access_code_id not in self.codes:
            raise SeamNotFound("Access code not found", status_code=404, seam_type="access_code_not_found")
        self._update(self.codes[request.access_code_id], request)
        self._lose()
        return Answer(self.clock(), None)

    def _update(self, code: Snapshot, request: UpdateRequest) -> None:
        pending = list(code.pending or ())
        if request.code is not None:
            code = replace(code, pin=FINGERPRINTER.pin(code.device_id or "", request.code))
            self.pins[code.access_code_id] = request.code
            pending.append("updating_code")
        if request.type is not None:
            code = replace(code, type=request.type, starts_at=request.starts_at, ends_at=request.ends_at)
            pending.append("updating_time_frame")
        self.codes[code.access_code_id] = replace(code, name=request.name or code.name, pending=tuple(pending))

    async def pull_backup(self, access_code_id: str) -> Answer[CreatedCode]:
        self._called("pull_backup")
        code = self.codes[access_code_id]
        if code.pulled_backup_access_code_id is not None:
            raise SeamInvalidInput("None left", status_code=400, seam_type="no_backup_access_code_available")
        backup = self.pull(access_code_id)
        self._lose()
        return Answer(self.clock(), CreatedCode(backup, self.pins[backup.access_code_id]))

    def pull(self, access_code_id: str, *, pin: str = "606606") -> Snapshot:
        """Somebody pulls a backup code."""
        code = self.codes[access_code_id]
        window = {"type": code.type, "starts_at": code.starts_at, "ends_at": code.ends_at}
        backup = self.add_code(f"{access_code_id}-backup", pin=pin, status="set", is_backup=True, **window)
        self.codes[access_code_id] = replace(code, pulled_backup_access_code_id=backup.access_code_id)
        return backup

    async def generate_code(self, device_id: str) -> str | None:
        self._called("generate_code")
        assert device_id in self.devices
        return next(self._pins_to_generate)

    async def get_device(self, device_id: str) -> DeviceRead:
        self._called("get_device")
        if device_id not in self.devices:
            raise SeamNotFound("Device not found", status_code=404, seam_type="device_not_found")
        return replace(self.devices[device_id], at=self.clock())

    async def get_code(self, access_code_id: str, *, workspace_id: str | None = None) -> Read:
        self._called("get_code")
        assert workspace_id in {None, WORKSPACE}
        return Read(self.clock(), self.codes.get(access_code_id))

    async def list_codes(self, access_code_ids: Iterable[str]) -> Answer[dict[str, Snapshot]]:
        self._called("list_codes")
        return Answer(self.clock(), {ident: self.codes[ident] for ident in access_code_ids if ident in self.codes})

    async def list_device_codes(self, device_id: str) -> Answer[tuple[Snapshot, ...]]:
        self._called("list_device_codes")
        return Answer(self.clock(), tuple(code for code in self.codes.values() if code.device_id == device_id))

    async def read_pin(self, access_code_id: str) -> str | None:
        self._called("read_pin")
        if access_code_id not in self.pins:
            raise SeamNotFound("Access code not found", status_code=404, seam_type="access_code_not_found")
        return self.pins[access_code_id]


@dataclass
class World:
    db: Database
    clock: Clock
    seam: FakeSeam
    services: Services
    api: FastAPI
    client: httpx.AsyncClient
    wakes: list[object]

    async def create(self, *, key: str | None = None, **body: Any) -> httpx.Response:
        headers = {"Idempotency-Key": key} if key is not None else {}
        return await self.client.post("/v1/access-codes", json={"device_id": DEVICE, **body}, headers=headers)

    async def get(self, path: str, **params: Any) -> httpx.Response:
        return await self.client.get(path, params=params)


async def all_ready() -> Sequence[Check]:
    return [Check("database", ok=True), Check("reconciler", ok=True)]


def make_services(db: Database, clock: Clock, seam: FakeSeam | None, **other: Any) -> Services:
    registry = CollectorRegistry()
    made = Services(
        db=db,
        gateway=seam.gateway() if seam is not None else None,
        policy=Policy(),
        clock=clock,
        fingerprinter=FINGERPRINTER,
        wake=lambda: None,
        waiting=Waiting(db, Policy(), clock, registry),
        ready=all_ready,
        registry=registry,
        admin_token=ADMIN_TOKEN,
    )
    return replace(made, **other)


def client_of(api: FastAPI, token: str | None = ADMIN_TOKEN) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
    return httpx.AsyncClient(transport=httpx.ASGITransport(api), base_url="http://latchwatch.test", headers=headers)
