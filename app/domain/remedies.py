"""Problems that Seam has no word for, because only watching shows them."""

from __future__ import annotations

from app.domain.assessment import Problem


def _of_code(code: str, message: str, remedy: str, *, temporary: bool) -> Problem:
    return Problem("access_code", code, message, temporary, remedy)


REQUEST_LOST = _of_code(
    "request_lost",
    "The create call got no answer, and Seam has no such code.",
    "Repeat the request with the same Idempotency-Key: it is carried out if Seam still does not have the code.",
    temporary=False,
)
MISSED = _of_code(
    "missed",
    "The whole window passed without the code on the lock.",
    "Ask how the guest got in, and look at the lock's connection before the next arrival.",
    temporary=False,
)
LINGERING = _of_code(
    "lingering",
    "The code should be gone, and nothing confirms that it is.",
    "Look for the code in the vendor's app and delete it there; until then count on it opening the door.",
    temporary=True,
)
REPLACED = _of_code(
    "replaced",
    "A backup code is in use in place of this one.",
    "Send the guest the PIN of the backup code.",
    temporary=False,
)
LOST = _of_code(
    "lost",
    "The code disappeared from the lock.",
    "Ask whether somebody deleted it in the vendor's app; create a new code if the guest needs it.",
    temporary=False,
)
BLIND = _of_code(
    "blind",
    "Seam cannot see the lock, so the code may be on it or not.",
    "Reconnect the account or the lock at Seam, then check the code again.",
    temporary=False,
)
UNREADABLE = _of_code(
    "seam_unreadable",
    "Seam did not answer when the code had to be judged.",
    "Check the Seam API key and Seam's status page; Latchwatch goes on asking.",
    temporary=True,
)
MISMATCHED = _of_code(
    "mismatched",
    "The lock reports a PIN that is not the one asked for.",
    "Give the guest the PIN that is on the lock, or set the PIN again.",
    temporary=False,
)
OUTDATED = _of_code(
    "outdated",
    "A change has not reached the lock.",
    "Wait for the lock to confirm; if it does not, check its connection and ask for the change again.",
    temporary=True,
)
FAILED = _of_code(
    "failed",
    "Seam reports that setting the code failed, without a cause.",
    "Check that the lock is online; near the arrival pull a backup code.",
    temporary=True,
)
STUCK = _of_code(
    "not_confirmed",
    "Seam accepted the code and has not confirmed it, without naming a cause.",
    "Check that the lock is online and near its bridge; near the arrival pull a backup code.",
    temporary=True,
)
DELAYED = _of_code(
    "delayed",
    "Programming takes longer than usual.",
    "Watch the deadline; check the lock's connection if it comes near.",
    temporary=True,
)
PRELOAD = _of_code(
    "preload_missing",
    "The lock should have the code in its memory by now.",
    "Check that the lock is online: it has to load the code before the start.",
    temporary=True,
)
ABSENT = _of_code(
    "absent",
    "Seam does not have this code any more.",
    "Create it again if it is still needed, or stop tracking it.",
    temporary=False,
)
OFFLINE = Problem(
    "device",
    "device_offline",
    "The lock has no connection.",
    temporary=True,
    remedy="Check its power, its bridge and the network on site.",
)
ACCOUNT_OFFLINE = Problem(
    "connected_account",
    "account_disconnected",
    "Seam has lost access to the account that the lock belongs to.",
    temporary=False,
    remedy="Reconnect the account through a Connect Webview.",
)
DEVICE_GONE = Problem(
    "device",
    "device_removed",
    "The lock is not connected to Seam any more.",
    temporary=False,
    remedy="Connect the lock to Seam again.",
)
NO_KEYPAD = Problem(
    "device",
    "keypad_disconnected",
    "The keypad is not reachable, so no PIN can be typed.",
    temporary=False,
    remedy="Replace the keypad's batteries or pair it again.",
)
BATTERY = Problem(
    "device",
    "battery_critical",
    "The battery is nearly empty.",
    temporary=False,
    remedy="Replace the batteries before the guest arrives.",
)
SUBSCRIPTION = Problem(
    "device",
    "subscription_required",
    "The lock needs a paid subscription for this.",
    temporary=False,
    remedy="Pay for the subscription at the vendor.",
)
UNSTEADY = Problem(
    "device",
    "device_has_flaky_connection",
    "The lock's connection comes and goes.",
    temporary=True,
    remedy="Move the bridge nearer to the lock, or improve the network there.",
)
PRIVACY = Problem(
    "device",
    "privacy_mode",
    "The lock is in privacy mode and takes no PIN.",
    temporary=True,
    remedy="Have privacy mode switched off at the lock.",
)
