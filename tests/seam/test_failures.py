"""Every way in which Seam, httpx or the SDK can fail is one of our errors, and none of them tells a PIN."""

from __future__ import annotations

import re
import traceback
from datetime import datetime, timedelta

import httpx
import pytest
import seam.auth
import seam.exceptions
import seam.options
import seam.url_search_params_serializer
from seam.exceptions import SeamError as SdkError
from seam.exceptions import SeamHttpApiError, SeamHttpInvalidInputError, SeamHttpUnauthorizedError

from app.domain.errors import LatchwatchError
from app.seam import errors
from app.seam.client import read_retry_after, seams_time
from app.seam.errors import (
    SeamConflict,
    SeamError,
    SeamInvalidInput,
    SeamNotFound,
    SeamRateLimited,
    SeamRefused,
    SeamUnanswered,
    SeamUnauthorized,
    SeamUnreached,
)
from app.seam.failures import FAILURES, seam_error
from app.seam.gateway import Gateway
from app.seam.values import CreateRequest
from tests.seam.support import API_KEY, DATE, DEVICE, FINGERPRINTER, OUR_TIME, PIN, Seam, html, refusal

CREATE = "/access_codes/create"
REQUEST = CreateRequest(device_id=DEVICE, code=PIN)
SECOND = datetime.fromisoformat("2026-08-03T12:00:00Z")


async def _failure_of(answer: object) -> SeamError:
    with pytest.raises(SeamError) as caught:
        await Seam({CREATE: answer}).gateway().create(REQUEST)
    return caught.value


@pytest.mark.parametrize(
    ("answer", "expected", "seam_type"),
    [
        (refusal(401, "unauthorized", "No"), SeamUnauthorized, "unauthorized"),
        (html(401), SeamUnauthorized, "unauthorized"),
        (refusal(404, "device_not_found", "Device not found"), SeamNotFound, "device_not_found"),
        (refusal(409, "duplicate_access_code", "Duplicate"), SeamConflict, "duplicate_access_code"),
        (refusal(400, "invalid_input", "No"), SeamInvalidInput, "invalid_input"),
        (refusal(422, "invalid_input", "No"), SeamInvalidInput, "invalid_input"),
        (refusal(403, "forbidden", "No"), SeamRefused, "forbidden"),
        (refusal(429, "rate_limited", "Slow down"), SeamRateLimited, "rate_limited"),
        (refusal(408, "timeout", "Slow"), SeamUnanswered, "timeout"),
        (refusal(500, "internal_error", "Oops"), SeamUnanswered, "internal_error"),
        (refusal(503, "unavailable", "Later"), SeamUnanswered, "unavailable"),
        (html(404), SeamRefused, None),
        (html(409), SeamRefused, None),
        (html(429), SeamRateLimited, None),
        (html(302), SeamUnanswered, None),
        (html(502), SeamUnanswered, None),
        (httpx.Response(404, json={"error": "no"}), SeamRefused, None),
        (httpx.Response(404, json=["no"]), SeamRefused, None),
        (httpx.Response(500, content=b"{", headers={"content-type": "application/json"}), SeamUnanswered, None),
    ],
)
async def test_an_answer_that_is_no_success_is_the_error_of_its_status(
    answer: httpx.Response, expected: type[SeamError], seam_type: str | None
) -> None:
    error = await _failure_of(answer)
    assert type(error) is expected
    assert (error.status_code, error.seam_type) == (answer.status_code, seam_type)


@pytest.mark.parametrize(
    "answer",
    [
        html(200),
        httpx.Response(200, content=b"{", headers={"content-type": "application/json"}),
        httpx.Response(200, content=b'{"access_code": "\xff"}', headers={"content-type": "application/json"}),
        httpx.Response(200, json=None),
        httpx.Response(200, json=[]),
        httpx.Response(200, json={}),
        httpx.Response(200, json={"access_code": None}),
        httpx.Response(200, json={"access_code": []}),
        httpx.Response(200, json={"access_code": {"device_id": DEVICE}}),
        httpx.Response(200, json={"access_code": {"access_code_id": 7}}),
        httpx.Response(200, content=b"[" * 100_000, headers={"content-type": "application/json"}),
        httpx.Response(204),
    ],
)
async def test_a_success_that_cannot_be_read_leaves_the_outcome_unknown(answer: httpx.Response) -> None:
    error = await _failure_of(answer)
    assert type(error) is SeamUnanswered
    assert error.was_done is None


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (httpx.ConnectError("refused"), SeamUnreached),
        (httpx.ConnectTimeout("slow"), SeamUnreached),
        (httpx.PoolTimeout("busy"), SeamUnreached),
        (httpx.ProxyError("no tunnel"), SeamUnreached),
        (httpx.UnsupportedProtocol("ftp"), SeamUnreached),
        (httpx.InvalidURL("no"), SeamUnreached),
        (httpx.ReadTimeout("slow"), SeamUnanswered),
        (httpx.WriteTimeout("slow"), SeamUnanswered),
        (httpx.ReadError("reset"), SeamUnanswered),
        (httpx.WriteError("reset"), SeamUnanswered),
        (httpx.RemoteProtocolError("cut off"), SeamUnanswered),
        (httpx.LocalProtocolError("odd"), SeamUnanswered),
        (httpx.DecodingError("not gzip"), SeamUnanswered),
        (TimeoutError(), SeamUnanswered),
        (ConnectionResetError(), SeamUnanswered),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), SeamUnanswered),
    ],
)
async def test_only_a_request_that_certainly_never_left_counts_as_not_sent(
    failure: Exception, expected: type[SeamError]
) -> None:
    error = await _failure_of(failure)
    assert type(error) is expected
    assert error.status_code is None
    assert error.at is None


def _all_below(*roots: type[Exception]) -> list[type[Exception]]:
    found = list(roots)
    for kind in found:
        found += [below for below in kind.__subclasses__() if below not in found]
    return found


def _made(kind: type[Exception]) -> Exception:
    """An instance without its constructor, which for some needs whole responses."""
    made = kind.__new__(kind)
    made.args = ("",)
    if isinstance(made, SeamHttpApiError):
        made.status_code, made.code = 418, "teapot"
    if isinstance(made, SeamHttpInvalidInputError):
        made._validation_errors = {}
    if isinstance(made, httpx.HTTPStatusError):
        made.response = httpx.Response(418)
    return made


def _public(module: object) -> list[type[Exception]]:
    return [kind for kind in vars(module).values() if isinstance(kind, type) and issubclass(kind, Exception)]


LOWER_LEVEL = [
    *_all_below(httpx.HTTPError, httpx.InvalidURL, httpx.CookieConflict, httpx.StreamError),
    *_all_below(SdkError),
]


def test_the_walk_meets_every_error_that_httpx_and_the_sdk_have() -> None:
    modules = (httpx, seam.exceptions, seam.auth, seam.options, seam.url_search_params_serializer)
    assert {kind for module in modules for kind in _public(module)} <= set(LOWER_LEVEL)


@pytest.mark.parametrize("kind", LOWER_LEVEL, ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
async def test_every_lower_level_error_is_mapped(kind: type[Exception]) -> None:
    assert issubclass(kind, FAILURES)
    assert isinstance(seam_error(_made(kind)), SeamError)


def test_the_hierarchy_is_the_one_that_the_module_draws() -> None:
    drawn = set(re.findall(r"Seam[A-Z]\w+", errors.__doc__ or ""))
    assert drawn == {kind.__name__ for kind in _all_below(SeamError)}
    assert issubclass(SeamError, LatchwatchError)


@pytest.mark.parametrize(
    ("kind", "is_permanent", "was_done"),
    [
        (SeamRefused, True, False),
        (SeamUnauthorized, True, False),
        (SeamNotFound, True, False),
        (SeamConflict, True, False),
        (SeamInvalidInput, True, False),
        (SeamRateLimited, False, False),
        (SeamUnanswered, False, None),
        (SeamUnreached, False, False),
    ],
)
def test_an_error_knows_whether_it_is_for_good_and_whether_anything_was_done(
    kind: type[SeamError], is_permanent: bool, was_done: bool | None
) -> None:
    assert (kind.is_permanent, kind.was_done) == (is_permanent, was_done)


@pytest.mark.parametrize(
    "answer",
    [
        refusal(409, "duplicate_access_code", f"Cannot set duplicate access code {PIN} named Ada"),
        refusal(400, f"bad_{PIN}", f"The code {PIN} is taken", validation_errors={"code": {"_errors": [f"not {PIN}"]}}),
        refusal(500, "internal_error", f"code={PIN} failed"),
        html(404),
        html(500),
        html(200),
        httpx.Response(200, json={"access_code": {"code": PIN}}),
        httpx.ConnectError(f"could not send {PIN}"),
        httpx.ReadError(f"while sending {PIN}"),
        ValueError(f"bad value {PIN}"),
    ],
)
async def test_no_error_tells_the_pin_and_none_is_chained_to_one_that_does(answer: object) -> None:
    error = await _failure_of(answer)
    told = "".join(traceback.format_exception(error)) + repr(error) + str(vars(error))
    assert PIN not in told
    assert error.__cause__ is None
    assert error.__context__ is None


async def test_a_pin_with_letters_is_cut_out_of_messages_too() -> None:
    """Only the request tells that these letters are a PIN."""
    seam_says = refusal(409, "duplicate_access_code", "The code XK7P is taken")
    with pytest.raises(SeamConflict) as caught:
        await Seam({CREATE: seam_says}).gateway().create(CreateRequest(device_id=DEVICE, code="XK7P"))
    assert caught.value.message == "The code ••• is taken"


async def test_an_invalid_input_says_which_parameter_and_why() -> None:
    error = await _failure_of(
        refusal(400, "invalid_input", "Invalid", validation_errors={"_errors": [], "name": {"_errors": ["Too long"]}})
    )
    assert error.message == "Invalid; name: Too long"


async def test_an_endless_message_is_cut() -> None:
    error = await _failure_of(refusal(400, "invalid_input", "no " * 100_000))
    assert len(error.message) == 500


async def test_an_answered_error_carries_seams_time() -> None:
    assert (await _failure_of(html(500))).at == OUR_TIME


@pytest.mark.parametrize(
    ("header", "wait"),
    [
        (None, None),
        ("7", timedelta(seconds=7)),
        (" 0 ", timedelta()),
        ("99999999999999999999", timedelta(hours=1)),
        ("Mon, 03 Aug 2026 12:00:30 GMT", timedelta(seconds=30)),
        ("Mon, 03 Aug 2026 11:00:00 GMT", timedelta()),
        ("Mon, 03 Aug 2096 11:00:00 GMT", timedelta(hours=1)),
        ("soon", None),
        ("-3", None),
    ],
)
def test_retry_after_is_a_wait_of_at_most_an_hour(header: str | None, wait: timedelta | None) -> None:
    assert read_retry_after(header, SECOND) == wait


async def test_being_told_to_slow_down_carries_how_long() -> None:
    answer = refusal(429, "rate_limited", "Slow down")
    answer.headers["retry-after"] = "12"
    error = await _failure_of(answer)
    assert isinstance(error, SeamRateLimited)
    assert error.retry_after == timedelta(seconds=12)


@pytest.mark.parametrize(
    ("ours", "date", "seams"),
    [
        ("12:00:00.250", DATE, "12:00:00.250000"),  # our clock agrees with the second that Seam names
        ("12:00:07.500", DATE, "12:00:00.999999"),  # ours is ahead
        ("11:59:58.500", DATE, "12:00:00.000000"),  # ours is behind
        ("12:00:00.250", None, "12:00:00.250000"),
        ("12:00:00.250", "yesterday", "12:00:00.250000"),
        ("12:00:07.500", "Mon, 03 Aug 2026 12:00:00 -0000", "12:00:00.999999"),
    ],
)
def test_an_answer_is_dated_by_our_clock_within_the_second_that_seam_names(
    ours: str, date: str | None, seams: str
) -> None:
    expected = datetime.fromisoformat(f"2026-08-03T{seams}Z")
    assert seams_time(datetime.fromisoformat(f"2026-08-03T{ours}Z"), date) == expected


@pytest.mark.parametrize("api_key", ["changeme", "seam_cst_client_session", "seam_pk_publishable", "ey_a_jwt"])
def test_a_key_that_is_no_api_key_is_refused_before_any_call(api_key: str) -> None:
    with pytest.raises(SeamUnauthorized, match="Check SEAM_API_KEY") as caught:
        Gateway(api_key=api_key, fingerprinter=FINGERPRINTER, clock=lambda: OUR_TIME)
    assert api_key not in str(caught.value)


def test_the_sdks_error_for_a_bad_key_is_told_in_our_words() -> None:
    error = seam_error(SeamHttpUnauthorizedError(None))
    assert error.message == "Seam does not accept the API key: check SEAM_API_KEY."
    assert API_KEY not in error.message
