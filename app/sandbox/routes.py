"""``/devices/*``, ``/events/*``, ``/webhooks/*`` and ``/workspaces/*`` of the simulated Seam."""

from __future__ import annotations

from urllib.parse import urlsplit

from app.sandbox.code_routes import device_named
from app.sandbox.delivery import Webhook
from app.sandbox.objects import WORKSPACE, device_object, webhook_object
from app.sandbox.requests import ApiError, Params, invalid, not_found, page
from app.sandbox.sandbox import Sandbox
from app.sandbox.state import Event, Json

EVENTS_DEFAULT = 500
EVENTS_AT_MOST = 1_000


def get_device(sandbox: Sandbox, params: Params) -> Json:
    return {"device": device_object(device_named(sandbox, params.needed("device_id")))}


def list_devices(sandbox: Sandbox, params: Params) -> Json:
    idents, device_types = params.either("device_id", "device_ids"), params.either("device_type", "device_types")
    found = [
        device_object(device)
        for device in sandbox.world.devices.values()
        if (idents is None or device.device_id in idents)
        and (device_types is None or device.spec.device_type in device_types)
    ]
    devices, pagination = page(found, params)
    return {"devices": devices, "pagination": pagination}


def list_events(sandbox: Sandbox, params: Params) -> Json:
    """Newest first: whoever asks with a limit has to notice that the older ones are missing."""
    since, between = params.time("since"), params.times("between")
    if since is None and not between:
        raise invalid("since", "Give since or between")
    if between and (len(between) != 2 or between[0] > between[1]):
        raise invalid("between", "Expected two times, the earlier one first")
    after, before = (between[0], between[1]) if between else (since, None)
    found = [
        event.body
        for event in reversed(sandbox.world.events)
        if (after is None or event.at > after) and (before is None or event.at < before) and _wanted(event, params)
    ]
    return {"events": found[: params.limit(EVENTS_DEFAULT, EVENTS_AT_MOST)]}


def _wanted(event: Event, params: Params) -> bool:
    filters = (
        ("event_id", "event_ids"),
        ("event_type", "event_types"),
        ("access_code_id", "access_code_ids"),
        ("device_id", "device_ids"),
        ("connected_account_id", "connected_account_ids"),
    )
    chosen = ((one, params.either(one, many)) for one, many in filters)
    return all(values is None or event.body.get(name) in values for name, values in chosen)


def get_event(sandbox: Sandbox, params: Params) -> Json:
    event_id = params.needed("event_id")
    for event in sandbox.world.events:
        if event.event_id == event_id:
            return {"event": event.body}
    raise not_found("event")


def create_webhook(sandbox: Sandbox, params: Params) -> Json:
    url = params.needed("url")
    if urlsplit(url).scheme not in {"http", "https"} or not urlsplit(url).hostname:
        raise invalid("url", "Invalid url")
    return _answer(sandbox.courier.register(url, _event_types(params)))


def list_webhooks(sandbox: Sandbox, _params: Params) -> Json:
    return {"webhooks": [_answer(webhook)["webhook"] for webhook in sandbox.courier.webhooks.values()]}


def get_webhook(sandbox: Sandbox, params: Params) -> Json:
    return _answer(_webhook(sandbox, params))


def update_webhook(sandbox: Sandbox, params: Params) -> Json:
    """Only the event types can be changed, as at Seam."""
    if "url" in params:
        raise ApiError(400, "invalid_input", "The URL of a webhook cannot be changed: create another webhook.")
    sandbox.courier.choose_events(_webhook(sandbox, params), _event_types(params))
    return {}


def delete_webhook(sandbox: Sandbox, params: Params) -> Json:
    del sandbox.courier.webhooks[_webhook(sandbox, params).webhook_id]
    return {}


def get_workspace(_sandbox: Sandbox, _params: Params) -> Json:
    return {"workspace": WORKSPACE}


def _webhook(sandbox: Sandbox, params: Params) -> Webhook:
    webhook = sandbox.courier.webhooks.get(params.needed("webhook_id"))
    if webhook is None:
        raise not_found("webhook")
    return webhook


def _event_types(params: Params) -> tuple[str, ...]:
    return tuple(params.texts("event_types")) or ("*",)


def _answer(webhook: Webhook) -> Json:
    return {"webhook": webhook_object(webhook.webhook_id, webhook.url, webhook.event_types, webhook.secret)}
