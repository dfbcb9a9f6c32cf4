"""The door to Seam: values of the domain go in and come out, stamped with Seam's own time.

PINs leave it as fingerprints, but for the places that exist to hand one out: ``create``, ``pull_backup``,
``generate_code`` and ``read_pin``. Removals and changes go by POST, which every version of Seam's API takes (its SDK
uses DELETE and PATCH). Every method raises SeamError and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

import httpx

from app.domain.codes import Read, Snapshot
from app.domain.fingerprints import Fingerprinter
from app.domain.health import DeviceRead
from app.seam import objects
from app.seam.errors import SeamInvalidInput, SeamNotFound, SeamRefused, SeamUnanswered
from app.seam.values import Answer, CreatedCode, CreateRequest, Event, UpdateRequest, Webhook

IDS_PER_CALL = 100  # the ids go into the address of a GET
MOST_PAGES = 500


class Gateway:
    """All calls are with one API key, so in one workspace. ``endpoint`` ``None`` is Seam's own."""

    def __init__(
        self,
        *,
        api_key: str,
        endpoint: str | None = None,
        timeout_seconds: float = 5.0,
        fingerprinter: Fingerprinter,
        clock: Callable[[], datetime],
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        # Seam's SDK takes a second of CPU to import: whoever has no key, or only needs the names here, is spared that.
        from app.seam.client import Client  # noqa: PLC0415

        self._client = Client(
            api_key=api_key, endpoint=endpoint, timeout_seconds=timeout_seconds, clock=clock, transport=transport
        )
        self._fingerprinter = fingerprinter
        self._clock = clock
        self._workspace_id: str | None = None

    async def aclose(self) -> None:
        await self._client.aclose()

    async def create(self, request: CreateRequest) -> Answer[CreatedCode]:
        """Sent once. SeamUnanswered (but not SeamUnreached): the code may exist all the same."""

        def read(answer: object) -> CreatedCode:
            return objects.read_created(objects.object_at(answer, "access_code"), self._fingerprinter)

        return await self._client.post("/access_codes/create", _body(request), read, _pins(request.code))

    async def generate_code(self, device_id: str) -> str | None:
        """A PIN that suits the lock, in clear; nothing is made. ``None``: the vendor chooses the PIN itself."""
        try:
            answer = await self._client.get(
                "/access_codes/generate_code", {"device_id": device_id}, objects.read_generated_code
            )
        except SeamRefused as error:
            if type(error) in {SeamRefused, SeamInvalidInput} and error.seam_type is not None:
                return None
            raise
        return answer.value

    async def update_code(self, request: UpdateRequest) -> Answer[None]:
        """Ask Seam for a change; the lock follows later. Sent once."""
        return await self._client.post(
            "/access_codes/update", _body(request), objects.read_acceptance, _pins(request.code)
        )

    async def pull_backup(self, access_code_id: str) -> Answer[CreatedCode]:
        """Have Seam give out a code of the lock's pool in the place of this one: the backup code, and its PIN.

        Sent once. SeamUnanswered (but not SeamUnreached): it may have been pulled all the same.
        """

        def read(answer: object) -> CreatedCode:
            return objects.read_created(objects.object_at(answer, "access_code"), self._fingerprinter)

        body = {"access_code_id": access_code_id}
        return await self._client.post("/access_codes/pull_backup_access_code", body, read)

    async def delete_code(self, access_code_id: str) -> Answer[bool]:
        """Ask Seam to remove a code; the lock follows later. ``False``: Seam does not have it (any more), which an
        earlier attempt may have done whose answer got lost."""
        return await self._delete("/access_codes/delete", {"access_code_id": access_code_id}, _says_no_such_code)

    async def read_pin(self, access_code_id: str) -> str | None:
        """The PIN in clear, for a person. ``None``: not assigned yet. Raises SeamNotFound."""

        def read(answer: object) -> str | None:
            return objects.read_pin(_asked_for(objects.object_at(answer, "access_code"), access_code_id))

        return (await self._client.get("/access_codes/get", {"access_code_id": access_code_id}, read)).value

    async def get_code(self, access_code_id: str, *, workspace_id: str | None = None) -> Read:
        """Read one code. ``snapshot`` is ``None`` only when Seam says that it has no such access code, neither managed
        nor unmanaged, in ``workspace_id`` (``None``: any). An unmanaged one has ``is_managed`` ``False``.

        Raises SeamUnanswered when that cannot be told apart: every doubt about an absence counts as no answer.
        """
        try:
            return await self._get("/access_codes/get", access_code_id, objects.read_snapshot)
        except SeamNotFound as error:
            if not _says_no_such_code(error):
                raise
            absent = Read(at=error.at or self._clock(), snapshot=None)
        if workspace_id is not None and await self._own_workspace() not in {None, workspace_id}:
            raise SeamUnanswered("The API key belongs to another workspace than this access code: check SEAM_API_KEY.")
        return await self._find_unmanaged(access_code_id) or absent

    async def list_codes(self, access_code_ids: Iterable[str]) -> Answer[dict[str, Snapshot]]:
        """Read many codes, a hundred a call. Missing from the answer is not absence: ``get_code`` tells."""
        wanted = list(dict.fromkeys(access_code_ids))
        times, found = [], {}
        for start in range(0, len(wanted), IDS_PER_CALL):
            asked = wanted[start : start + IDS_PER_CALL]
            answer = await self._list({"access_code_ids": asked})
            times.append(answer.at)
            # The stand-in of Seam, for one, ignores the ids and lists all that it has.
            found.update({code.access_code_id: code for code in answer.value if code.access_code_id in asked})
        return Answer(min(times, default=self._clock()), found)

    async def list_device_codes(self, device_id: str) -> Answer[tuple[Snapshot, ...]]:
        """All managed codes of a lock: complete, or SeamUnanswered."""
        answer = await self._list({"device_id": device_id})
        return Answer(answer.at, tuple(code for code in answer.value if code.device_id == device_id))

    async def get_device(self, device_id: str) -> DeviceRead:
        def read(answer: object) -> DeviceRead:
            return objects.read_device(objects.object_at(answer, "device"), at=self._clock())

        answer = await self._client.get("/devices/get", {"device_id": device_id}, read)
        return replace(answer.value, at=answer.at)

    async def list_events(
        self,
        *,
        since: datetime | None = None,
        between: tuple[datetime, datetime] | None = None,
        limit: int = 500,
    ) -> Answer[tuple[Event, ...]]:
        """Events by the time at which Seam made them, as Seam wrote them, in no order. One of ``since`` and ``between``
        is needed; both bounds are exclusive and cut to milliseconds. As many as ``limit``: there may be more."""
        params: dict[str, Any] = {"limit": limit}
        if since is not None:
            params["since"] = _iso(since)
        if between is not None:
            params["between"] = [_iso(moment) for moment in between]
        return await self._client.get("/events/list", params, objects.read_events)

    async def create_webhook(self, url: str, event_types: Sequence[str] = ("*",)) -> Webhook:
        call = self._client.sdk.webhooks.create(url=url, event_types=list(event_types))
        return (await self._client.run(call, objects.read_webhook)).value

    async def list_webhooks(self) -> tuple[Webhook, ...]:
        call = self._client.sdk.webhooks.list()
        return (await self._client.run(call, lambda hooks: tuple(map(objects.read_webhook, hooks)))).value

    async def delete_webhook(self, webhook_id: str) -> bool:
        """``False``: Seam does not have it (any more)."""
        answer = await self._delete(
            "/webhooks/delete", {"webhook_id": webhook_id}, lambda error: error.seam_type == "webhook_not_found"
        )
        return answer.value

    async def workspace_id(self) -> str:
        """The workspace of the API key. Asked once: a key never changes its workspace."""
        if self._workspace_id is None:
            call = self._client.sdk.workspaces.get()
            self._workspace_id = (await self._client.run(call, objects.read_workspace_id)).value
        return self._workspace_id

    async def _own_workspace(self) -> str | None:
        """``None`` where Seam's stand-in does not offer the question: then there is only one workspace."""
        try:
            return await self.workspace_id()
        except SeamRefused as error:
            if error.status_code == HTTPStatus.NOT_FOUND:
                return None
            raise

    async def _get(
        self, path: str, access_code_id: str, read_code: Callable[[objects.Object, Fingerprinter], Snapshot]
    ) -> Read:
        def read(answer: object) -> Snapshot:
            obj = _asked_for(objects.object_at(answer, "access_code"), access_code_id)
            return read_code(obj, self._fingerprinter)

        answer = await self._client.get(path, {"access_code_id": access_code_id}, read)
        return Read(answer.at, answer.value)

    async def _find_unmanaged(self, access_code_id: str) -> Read | None:
        """``None``: there is none. A stand-in for Seam that does not offer the question has no unmanaged codes."""
        try:
            return await self._get("/access_codes/unmanaged/get", access_code_id, objects.read_unmanaged)
        except SeamRefused as error:
            if error.status_code == HTTPStatus.NOT_FOUND:
                return None
            raise SeamUnanswered(
                f"Seam has no such managed access code, but does not say whether it is an unmanaged one: {error}",
                status_code=error.status_code,
                seam_type=error.seam_type,
                at=error.at,
            ) from error

    async def _delete(self, path: str, body: dict[str, str], is_gone: Callable[[SeamNotFound], bool]) -> Answer[bool]:
        try:
            answer = await self._client.post(path, body, objects.read_acceptance)
        except SeamNotFound as error:
            if is_gone(error):
                return Answer(error.at or self._clock(), False)
            raise
        return Answer(answer.at, True)

    async def _list(self, params: dict[str, Any]) -> Answer[list[Snapshot]]:
        codes: list[Snapshot] = []
        first_at: datetime | None = None
        cursors: set[str | None] = {None}
        for _ in range(MOST_PAGES):
            page = await self._client.get("/access_codes/list", params, self._read_page)
            first_at = first_at or page.at
            found, cursor = page.value
            codes += found
            if cursor is None:
                return Answer(first_at, codes)
            if cursor in cursors:
                break
            cursors.add(cursor)
            params = {**params, "page_cursor": cursor}
        raise SeamUnanswered("Seam's list of access codes does not come to an end.", at=first_at)

    def _read_page(self, answer: Any) -> tuple[list[Snapshot], str | None]:
        listed = objects.objects_at(answer, "access_codes")
        codes = [objects.read_snapshot(obj, self._fingerprinter) for obj in listed]
        return codes, objects.next_cursor(answer)


def _says_no_such_code(error: SeamNotFound) -> bool:
    """Seam's typed "access code not found", or the bare "not_found" about an access code of its stand-in."""
    seam_type = error.seam_type or ""
    return seam_type.endswith("access_code_not_found") or (
        seam_type == "not_found" and "access code" in error.message.lower()
    )


def _asked_for(obj: objects.Object, access_code_id: str) -> objects.Object:
    if obj.get("access_code_id") != access_code_id:
        raise ValueError("the answer is about another access code")
    return obj


def _body(request: CreateRequest | UpdateRequest) -> dict[str, Any]:
    values = ((field.name, getattr(request, field.name)) for field in fields(request))
    return {name: _iso(value) if isinstance(value, datetime) else value for name, value in values if value is not None}


def _pins(*pins: str | None) -> tuple[str, ...]:
    return tuple(pin for pin in pins if pin)


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
