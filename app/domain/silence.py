"""Whether Seam's webhooks have fallen silent, since when, and the likeliest cause with its remedy.

That they did is proven by events which only the backfill found. A quiet night is no silence: Seam has no events then
either. Our own downtime is none, as nothing counts as lost that was made while nobody received. See the contract,
section 6.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from app.domain.assessment import Problem
from app.domain.intake import Intake

WEBHOOK_PATH = "/webhooks/seam"
MANY_LOST = 5
"""So many in a row are a broken channel, though others arrive. Fewer may be a hiccup that Seam's retries make good."""

NEEDED = (
    "access_code.scheduled_on_device",
    "access_code.set_on_device",
    "access_code.delay_in_setting_on_device",
    "access_code.failed_to_set_on_device",
    "access_code.removed_from_device",
    "access_code.failed_to_remove_from_device",
    "access_code.deleted",
)
"""Without these a webhook tells nothing that matters; others are welcome."""

_EVERY_TYPE = "*"
_WRONG_SECRET = "wrong_signature"
_CLOCK_REASONS = ("too_old", "too_new")


VERIFIED = "verified"
REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Receipt:
    """``outcome`` is ``VERIFIED`` with the label of the secret as ``detail``, or ``REJECTED`` with the reason."""

    outcome: str
    detail: str
    count: int
    last_at: datetime


@dataclass(frozen=True, slots=True)
class Hook:
    """A webhook as it is registered at Seam."""

    url: str
    event_types: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Silence:
    """``since`` is when it began: the first event that no webhook brought was made then. ``is_total`` means that
    nothing arrives at all; ``is_received`` ``False``, that no process of ours is there to take anything."""

    since: datetime
    lost: int
    is_total: bool
    is_received: bool = True


@dataclass(frozen=True, slots=True)
class Evidence:
    """What can be known of the channel. ``hooks`` is ``None`` if Seam did not say. ``ahead`` is how far Seam's clock is
    ahead of ours, ``tolerance`` how far it may be. ``secrets`` are the labels of those that are configured (none: this
    process has none, and cannot say)."""

    public_url: str | None
    hooks: tuple[Hook, ...] | None
    ahead: timedelta
    tolerance: timedelta
    receipts: tuple[Receipt, ...]
    secrets: tuple[str, ...]
    last_delivery_at: datetime | None


def silence_of(intake: Intake, now: datetime, silence_after: timedelta, watching_since: datetime) -> Silence | None:
    """``None``: webhooks arrive, or Seam has nothing to tell, or it cannot be known yet.

    ``watching_since`` is from when on this process knows whether anybody receives.
    """
    if not intake.is_received(now):
        return _nobody_receives(intake, now, silence_after, watching_since)
    if not intake.lost_in_a_row or intake.lost_since is None:
        return None
    heard = max(moment for moment in (intake.last_delivery_at, intake.receiving_since, intake.lost_since) if moment)
    is_total = intake.last_delivery_at is None or intake.last_delivery_at <= intake.lost_since
    is_quiet = now - heard >= silence_after
    if intake.lost_in_a_row >= MANY_LOST or is_quiet:
        return Silence(intake.lost_since, intake.lost_in_a_row, is_total or is_quiet)
    return None


def _nobody_receives(
    intake: Intake, now: datetime, silence_after: timedelta, watching_since: datetime
) -> Silence | None:
    since = max(intake.receiving_at or watching_since, watching_since)
    if now - since < silence_after or intake.seam_event_at is None or intake.seam_event_at <= since:
        return None
    return Silence(intake.receiving_at or watching_since, 0, is_total=True, is_received=False)


def diagnose(silence: Silence, evidence: Evidence) -> Problem:
    """The first cause that the evidence shows, the most certain ones first."""
    for cause in _CAUSES:
        problem = cause(silence, evidence)
        if problem is not None:
            return problem
    return _unreachable(silence, evidence)


def explain(silence: Silence, problem: Problem) -> str:
    if not silence.is_received:
        return f"Seam has events, and nobody receives its webhooks. {problem.message}"
    if silence.is_total:
        return f"Seam has events, and its webhooks do not arrive. {problem.message}"
    return f"{silence.lost} events in a row were brought by no webhook. {problem.message}"


def _no_receiver(silence: Silence, _: Evidence) -> Problem | None:
    if silence.is_received:
        return None
    return _problem(
        "not_receiving",
        "No process that receives webhooks has been heard of since then.",
        "Start latchwatch serve, or find out why it ended: its log says so.",
    )


def _clock(silence: Silence, evidence: Evidence) -> Problem | None:
    refused = [each for each in _rejected(silence, evidence) if each.detail in _CLOCK_REASONS]
    if abs(evidence.ahead) <= evidence.tolerance and not refused:
        return None
    off = f"{abs(evidence.ahead).total_seconds():.0f} s {'behind' if evidence.ahead > timedelta(0) else 'ahead of'}"
    if abs(evidence.ahead) > evidence.tolerance:
        message = f"This machine's clock is {off} Seam's, so that genuine webhooks look too old or too new."
    else:
        message = "Genuine webhooks were turned away since then as too old or too new."
    return _problem(
        "clock_off",
        message,
        "Set the clocks of all machines that receive webhooks by NTP. Raise LATCHWATCH_SIGNATURE_TOLERANCE only if "
        "deliveries are delayed on their way.",
    )


def _secret(silence: Silence, evidence: Evidence) -> Problem | None:
    refused = [each for each in _rejected(silence, evidence) if each.detail == _WRONG_SECRET]
    if not refused:
        return None
    told = "Webhooks were turned away since then because of a wrong signature."
    used = _last_used_secret(evidence.receipts)
    if used is not None and evidence.secrets and used not in evidence.secrets:
        return _problem(
            "old_secret_in_use",
            f"{told} The last genuine one was signed with another secret (label {used}) than those configured now.",
            "Put the earlier secret back into SEAM_WEBHOOK_SECRET, beside the new one, until Seam signs with the new.",
        )
    return _problem(
        "wrong_secret",
        told,
        "Compare SEAM_WEBHOOK_SECRET with the secret of this webhook at Seam, or register the webhook again. A proxy "
        "that changes the body has the same effect.",
    )


def _other_rejections(silence: Silence, evidence: Evidence) -> Problem | None:
    refused = [each for each in _rejected(silence, evidence) if each.detail not in {_WRONG_SECRET, *_CLOCK_REASONS}]
    if not refused:
        return None
    reasons = ", ".join(sorted(each.detail for each in refused))
    return _problem(
        "headers_spoilt",
        f"Requests were turned away since then because of their headers ({reasons}).",
        "Let the proxy in front pass the svix-… headers on as they are, each of them once.",
    )


def _not_registered(_: Silence, evidence: Evidence) -> Problem | None:
    if evidence.hooks is None or _ours(evidence):
        return None
    if evidence.public_url is None and evidence.hooks:
        return None
    wanted = f"{evidence.public_url}{WEBHOOK_PATH}" if evidence.public_url is not None else "this service"
    others = f" Seam has {len(evidence.hooks)} with other addresses." if evidence.hooks else ""
    return _problem(
        "webhook_not_registered",
        f"No webhook for {wanted} is registered at Seam.{others}",
        "Register it (latchwatch register-webhook, or Seam's console), and put its secret into SEAM_WEBHOOK_SECRET. If "
        "the address has changed, correct LATCHWATCH_PUBLIC_URL.",
    )


def _types_missing(_: Silence, evidence: Evidence) -> Problem | None:
    ours = _ours(evidence)
    if not ours:
        return None
    chosen = {each for hook in ours for each in hook.event_types}
    missing = [each for each in NEEDED if each not in chosen and _EVERY_TYPE not in chosen]
    if not missing:
        return None
    return _problem(
        "event_types_missing",
        f"The webhook at Seam leaves out {', '.join(missing)}.",
        "Let the webhook send every event type (*).",
    )


def _unreachable(silence: Silence, evidence: Evidence) -> Problem:
    url = f"{evidence.public_url}{WEBHOOK_PATH}" if evidence.public_url is not None else "the webhook's URL"
    if not silence.is_total:
        return _problem(
            "webhooks_partly_lost",
            "Others arrive, and none was turned away here: some get lost on their way.",
            f"Look for requests to {url} that the load balancer or the proxy answered itself (5xx, time-outs).",
        )
    heard = evidence.last_delivery_at
    last = f"The last one came at {heard:%Y-%m-%d %H:%M:%S}Z" if heard is not None else "None ever came"
    return _problem(
        "webhooks_not_arriving",
        f"{last}, and none was turned away here: they do not reach this service, or Seam has disabled the webhook.",
        f"Make sure that {url} can be reached from the internet (DNS, TLS, proxy, firewall). After five days of "
        "failures the webhook is disabled: then enable it again at Seam, or register a new one.",
    )


_CAUSES: tuple[Callable[[Silence, Evidence], Problem | None], ...] = (
    _no_receiver,
    _not_registered,
    _types_missing,
    _secret,
    _clock,
    _other_rejections,
)


def _ours(evidence: Evidence) -> list[Hook]:
    """Without PUBLIC_URL any webhook may be ours that ends in our path."""
    hooks = evidence.hooks or ()
    if evidence.public_url is None:
        return [hook for hook in hooks if _plain(hook.url).endswith(WEBHOOK_PATH)]
    wanted = f"{evidence.public_url}{WEBHOOK_PATH}"
    return [hook for hook in hooks if is_same_address(hook.url, wanted)]


def is_same_address(one: str, other: str) -> bool:
    """Whether two URLs lead to one webhook: the receiver serves its path with and without a slash at the end."""
    return _plain(one) == _plain(other)


def _plain(url: str) -> str:
    """Scheme and host are the same in any case."""
    scheme, mark, rest = url.strip().rstrip("/").partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme.lower()}{mark}{host.lower()}{slash}{path}"


def _rejected(silence: Silence, evidence: Evidence) -> list[Receipt]:
    return [each for each in evidence.receipts if each.outcome == REJECTED and each.last_at >= silence.since]


def _last_used_secret(receipts: Iterable[Receipt]) -> str | None:
    used = [each for each in receipts if each.outcome == VERIFIED]
    return max(used, key=lambda each: each.last_at).detail if used else None


def _problem(code: str, message: str, remedy: str) -> Problem:
    return Problem(kind="webhook", code=code, message=message, temporary=False, remedy=remedy)
