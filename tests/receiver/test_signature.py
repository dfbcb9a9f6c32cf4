"""Which deliveries count as genuine. The signatures are made by the real svix."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from svix.webhooks import Webhook, WebhookVerificationError

from app.receiver.signature import Reason, Rejection, Secret, Verified, parse_secrets, verify
from tests.receiver.deliveries import (
    NOW,
    SECRET_TEXT,
    SECRETS,
    STAMP,
    Headers,
    changed,
    headers_for,
    secret_of,
    secret_text,
    sign,
    sign_bytes,
)

TOLERANCE = timedelta(seconds=300)
BODY = b'{"event_type":"access_code.set_on_device","event_id":"e1"}'
GOOD = headers_for(BODY)
OTHER_SECRET = secret_text(b"another key of 32 bytes, padded.")


def check(
    headers: Headers, body: bytes = BODY, *, secrets: tuple[Secret, ...] = SECRETS, now: datetime = NOW
) -> Verified | Rejection:
    return verify(headers, body, secrets=secrets, now=now, tolerance=TOLERANCE)


def test_the_reference_vector_is_genuine() -> None:
    headers = [
        (b"svix-id", b"msg_p5jXN8AQM9LWM0D4loKWxJek"),
        (b"svix-timestamp", b"1614265330"),
        (b"svix-signature", b"v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
    ]
    then = datetime.fromtimestamp(1614265330, tz=UTC)

    proof = check(headers, b'{"test": 2432232314}', now=then)

    assert proof == Verified("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, SECRETS[0].label)


@pytest.mark.parametrize("family", ["svix", "webhook"])
def test_either_family_of_headers_will_do(family: str) -> None:
    assert isinstance(check(headers_for(BODY, family=family)), Verified)


def test_names_of_headers_are_read_in_any_case() -> None:
    assert isinstance(check([(name.title(), value) for name, value in GOOD]), Verified)


SECOND = headers_for(BODY, family="webhook", delivery_id="msg_2")
WRONG_SECOND = changed(SECOND, b"webhook-signature", b"v1,AAAA")


@pytest.mark.parametrize("second", [SECOND, WRONG_SECOND], ids=["genuine", "wrong"])
@pytest.mark.parametrize("turned", [False, True], ids=["svix first", "webhook first"])
def test_of_two_full_families_svix_counts_and_the_other_does_not(second: Headers, turned: bool) -> None:
    proof = check(second + GOOD if turned else GOOD + second)

    assert isinstance(proof, Verified)
    assert proof.delivery_id == "msg_1"


def test_a_genuine_second_family_does_not_save_a_wrong_first_one() -> None:
    assert check(changed(GOOD, b"svix-signature", b"v1,AAAA") + SECOND) == Rejection(Reason.WRONG_SIGNATURE)


ID, TIMESTAMP, SIGNATURE = GOOD

# What the headers are | why they are turned away
BAD_SETS: list[tuple[str, Headers, Reason]] = [
    ("nothing", [], Reason.MISSING_HEADER),
    ("no id", [TIMESTAMP, SIGNATURE], Reason.MISSING_HEADER),
    ("no timestamp", [ID, SIGNATURE], Reason.MISSING_HEADER),
    ("no signature", [ID, TIMESTAMP], Reason.MISSING_HEADER),
    ("two ids", [*GOOD, (b"svix-id", b"msg_2")], Reason.REPEATED_HEADER),
    ("the same id twice", [*GOOD, ID], Reason.REPEATED_HEADER),
    ("two ids, spelt differently", [*GOOD, (b"Svix-Id", b"msg_1")], Reason.REPEATED_HEADER),
    ("two timestamps", [*GOOD, TIMESTAMP], Reason.REPEATED_HEADER),
    ("two signatures", [*GOOD, SIGNATURE], Reason.REPEATED_HEADER),
    ("two ids in the family that does not count", [*GOOD, *SECOND, SECOND[0]], Reason.REPEATED_HEADER),
    ("a full family and another id", [*GOOD, SECOND[0]], Reason.MIXED_FAMILIES),
    ("a full family and half another", [*GOOD, *SECOND[1:]], Reason.MIXED_FAMILIES),
    ("half svix beside full webhook", [*GOOD[:2], *SECOND], Reason.MIXED_FAMILIES),
    ("one family made of two", [ID, SECOND[1], SECOND[2]], Reason.MIXED_FAMILIES),
]


@pytest.mark.parametrize(("headers", "reason"), [row[1:] for row in BAD_SETS], ids=[row[0] for row in BAD_SETS])
def test_exactly_one_id_one_timestamp_and_one_signature_of_one_family_are_needed(
    headers: Headers, reason: Reason
) -> None:
    assert check(headers) == Rejection(reason)


@pytest.mark.parametrize(
    "timestamp",
    [
        b"", b"+" + STAMP, b"-" + STAMP, b" " + STAMP, STAMP + b" ", STAMP + b"\n", STAMP + b".0", STAMP + b".9",
        b"1_772_366_400", b"1e9", b"0x69a42f40", b"NaN", b"inf", b"now", "١٦١٤٢٦٥٣٣٠".encode(), STAMP + b"000",
        b"9" * 5000, b"\xff", b"\x00",
    ],
)  # fmt: skip
def test_a_timestamp_is_digits_of_a_sane_number(timestamp: bytes) -> None:
    headers = [ID, (b"svix-timestamp", timestamp), (b"svix-signature", sign_bytes(BODY, timestamp=timestamp))]

    assert check(headers) == Rejection(Reason.MALFORMED_TIMESTAMP)


@pytest.mark.parametrize("delivery_id", [b"", b" ", b"msg 1", b"msg_1\n", b"msg_\x00", "msg_é".encode(), b"m" * 257])
def test_an_id_is_a_short_visible_text(delivery_id: bytes) -> None:
    headers = [(b"svix-id", delivery_id), TIMESTAMP, (b"svix-signature", sign_bytes(BODY, delivery_id=delivery_id))]

    assert check(headers) == Rejection(Reason.MALFORMED_ID)


@pytest.mark.parametrize("delivery_id", ["1", "evt.with.stops", "0e7c5b0a-7f5e-4d0b-9a39-2a4e1e0a1c52", "m" * 256])
def test_ids_are_opaque(delivery_id: str) -> None:
    proof = check(headers_for(BODY, delivery_id=delivery_id))

    assert isinstance(proof, Verified)
    assert proof.delivery_id == delivery_id


# How old it is in seconds | what becomes of it
@pytest.mark.parametrize(
    ("age", "reason"),
    [
        (0, None),
        (299, None),
        (300, None),
        (-300, None),
        (301, Reason.TOO_OLD),
        (-301, Reason.TOO_NEW),
        (86400, Reason.TOO_OLD),
        (-86400, Reason.TOO_NEW),
    ],
)
def test_a_delivery_may_be_off_by_the_tolerance_either_way(age: int, reason: Reason | None) -> None:
    proof = check(GOOD, now=NOW + timedelta(seconds=age))

    assert proof == (Rejection(reason) if reason else Verified("msg_1", int(NOW.timestamp()), SECRETS[0].label))


def test_an_old_delivery_that_is_not_genuine_says_nothing_about_our_clock() -> None:
    headers = headers_for(BODY, secret=OTHER_SECRET)

    assert check(headers, now=NOW + timedelta(days=1)) == Rejection(Reason.WRONG_SIGNATURE)


TOKEN = sign(BODY)
DIGEST = base64.b64decode(TOKEN.removeprefix(b"v1,"))
FOREIGN = sign(BODY, secret=OTHER_SECRET)

JUNK = [
    b"", b",", b"v1", b"v1,", b"v1,,", b"v1a,", b"v2,", b"junk", b"v1,not base64!", b"v1,a", b"v1,\xff\xfe", b"\xff",
    b"v1a," + TOKEN.removeprefix(b"v1,"), b"v2," + TOKEN.removeprefix(b"v1,"), b"V1," + TOKEN.removeprefix(b"v1,"),
    TOKEN.removeprefix(b"v1,"), TOKEN + b",", b"v1," + TOKEN, TOKEN.replace(b"v1,", b"v1,,"), FOREIGN,
]  # fmt: skip


@pytest.mark.parametrize("junk", JUNK)
def test_a_token_that_does_not_fit_is_skipped_and_hides_no_good_one(junk: bytes) -> None:
    for signatures in (junk + b" " + TOKEN, TOKEN + b" " + junk, junk + b" " + TOKEN + b" " + junk):
        assert isinstance(check([ID, TIMESTAMP, (b"svix-signature", signatures)]), Verified)


@pytest.mark.parametrize("junk", JUNK)
def test_a_token_that_does_not_fit_proves_nothing(junk: bytes) -> None:
    proof = check([ID, TIMESTAMP, (b"svix-signature", junk)])

    assert proof in (Rejection(Reason.WRONG_SIGNATURE), Rejection(Reason.NO_KNOWN_SIGNATURE))


@pytest.mark.parametrize(
    "spelling",
    [
        TOKEN.rstrip(b"="),
        TOKEN + b"=",
        TOKEN.replace(b"v1,", b"v1, "),
        TOKEN[:10] + b"\n" + TOKEN[10:],
        TOKEN[:10] + b"!" + TOKEN[10:],
        b"v1," + base64.urlsafe_b64encode(b"\xff" * 32),
        b"v1," + base64.b64encode(DIGEST[:-1]),
        b"v1," + base64.b64encode(DIGEST + b"\0"),
        b"v1," + DIGEST.hex().encode(),
        b"v1,",
    ],
)
def test_a_signature_has_one_spelling(spelling: bytes) -> None:
    assert check([ID, TIMESTAMP, (b"svix-signature", spelling)]) == Rejection(Reason.WRONG_SIGNATURE)


def test_the_last_digit_of_a_signature_has_no_spare_bits() -> None:
    """32 bytes leave two bits of the last base64 digit unused: lenient decoders take any."""
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    last = alphabet.index(TOKEN[-2])
    sibling = TOKEN[:-2] + alphabet[last + 1 : last + 2] + b"="
    assert base64.b64decode(sibling.removeprefix(b"v1,")) == DIGEST

    assert check([ID, TIMESTAMP, (b"svix-signature", sibling)]) == Rejection(Reason.WRONG_SIGNATURE)


def test_an_endless_list_of_signatures_is_not_searched() -> None:
    signatures = b" ".join([b"v1,AAAA"] * 2000 + [TOKEN])

    assert check([ID, TIMESTAMP, (b"svix-signature", signatures)]) == Rejection(Reason.MALFORMED_SIGNATURE)


def test_during_a_rotation_each_live_secret_is_tried() -> None:
    both = parse_secrets(f"{SECRET_TEXT},{OTHER_SECRET}")

    labels = [check(headers_for(BODY, secret=text), secrets=both) for text in (SECRET_TEXT, OTHER_SECRET)]

    assert [proof.secret for proof in labels if isinstance(proof, Verified)] == [secret.label for secret in both]
    assert both[0].label != both[1].label


def test_a_list_with_the_old_and_the_new_signature_fits_either_secret() -> None:
    headers = [ID, TIMESTAMP, (b"svix-signature", FOREIGN + b" " + TOKEN)]

    assert isinstance(check(headers), Verified)
    assert isinstance(check(headers, secrets=parse_secrets(OTHER_SECRET)), Verified)


def test_without_a_secret_nothing_is_genuine() -> None:
    assert check(GOOD, secrets=()) == Rejection(Reason.WRONG_SIGNATURE)


@pytest.mark.parametrize(
    ("name", "headers", "body"),
    [
        ("body", GOOD, BODY + b" "),
        ("line ends of the body", GOOD, BODY.replace(b",", b",\r\n")),
        ("id", changed(GOOD, b"svix-id", b"msg_2"), BODY),
        ("timestamp", changed(GOOD, b"svix-timestamp", b"%d" % (int(STAMP) + 1)), BODY),
        ("leading zero of the timestamp", changed(GOOD, b"svix-timestamp", b"0" + STAMP), BODY),
        ("secret", headers_for(BODY, secret=OTHER_SECRET), BODY),
    ],
)
def test_a_signature_covers_the_exact_id_timestamp_and_body(name: str, headers: Headers, body: bytes) -> None:
    assert check(headers, body) == Rejection(Reason.WRONG_SIGNATURE), name


@pytest.mark.parametrize("body", [b"", b"\xff\xfe\x00", b"\x80" * 100, "é".encode("latin-1")])
def test_a_body_need_not_be_text(body: bytes) -> None:
    assert isinstance(check([ID, TIMESTAMP, (b"svix-signature", sign_bytes(body))], body), Verified)


# The laws. Without a time limit for each example: the machine may be busy.

no_deadline = settings(deadline=None)

texts = st.text(st.characters(exclude_categories=["Cs"]))
keys = st.binary(min_size=24, max_size=64)
delivery_ids = st.from_regex(rb"[!-~]{1,64}", fullmatch=True).map(bytes.decode)
moments = st.integers(min_value=0, max_value=4_102_444_800)


@no_deadline
@given(key=keys, delivery_id=delivery_ids, stamp=moments, body=texts)
def test_what_svix_signs_is_genuine(key: bytes, delivery_id: str, stamp: int, body: str) -> None:
    moment = datetime.fromtimestamp(stamp, tz=UTC)
    headers = headers_for(body.encode(), delivery_id=delivery_id, at=moment, secret=secret_text(key))

    proof = check(headers, body.encode(), secrets=(secret_of(key),), now=moment)

    assert proof == Verified(delivery_id, stamp, secret_of(key).label)


@no_deadline
@given(data=st.data(), key=keys, body=texts)
def test_what_we_take_svix_takes_too(data: st.DataObject, key: bytes, body: str) -> None:
    """Over real signatures and damaged ones: never more lenient than the library."""
    now = datetime.now(UTC)  # svix looks at the real clock
    token = sign(body.encode(), at=now, secret=secret_text(key)).decode()
    token = data.draw(
        st.sampled_from([token, token[:-1], token.swapcase(), f"v1,x {token}", f"{token} v1,x", token[3:]])
    )
    headers = {"svix-id": "msg_1", "svix-timestamp": str(int(now.timestamp())), "svix-signature": token}

    ours = check(
        [(name.encode(), value.encode()) for name, value in headers.items()],
        body.encode(),
        secrets=(secret_of(key),),
        now=now,
    )

    if isinstance(ours, Verified):
        # The library stops at the first token that it cannot decode; the good one is what it is given here.
        good = next(part for part in token.split(" ") if len(part) == 47)
        assert _svix_takes(secret_text(key), body, {**headers, "svix-signature": good})
    else:
        assert not _svix_takes(secret_text(key), body, headers)


names = st.sampled_from([b"svix-id", b"svix-timestamp", b"svix-signature", b"webhook-id", b"webhook-timestamp"]) | (
    st.binary(max_size=20)
)
values = st.binary(max_size=60) | st.sampled_from([b"msg_1", STAMP, TOKEN, b"v1,", b"v1, v1,", b"v1,=", b"+" + STAMP])


@no_deadline
@given(headers=st.lists(st.tuples(names, values), max_size=12), body=st.binary(max_size=200))
def test_no_junk_in_headers_or_body_raises_or_is_genuine(headers: Headers, body: bytes) -> None:
    assert isinstance(check(headers, body), Rejection)


@no_deadline
@given(
    junk=st.lists(st.binary(max_size=40).map(lambda raw: raw.replace(b" ", b"")), max_size=8), place=st.integers(0, 8)
)
def test_no_junk_hides_a_good_token(junk: list[bytes], place: int) -> None:
    tokens = [*junk[:place], TOKEN, *junk[place:]]

    assert isinstance(check([ID, TIMESTAMP, (b"svix-signature", b" ".join(tokens))]), Verified)


def _svix_takes(secret: str, body: str, headers: dict[str, str]) -> bool:
    try:
        Webhook(secret).verify(body, headers)
    except (WebhookVerificationError, TypeError, IndexError):
        return False
    except ValueError as error:
        # The body is no JSON: looked at only after the signature. Or a token that could not be taken apart.
        return type(error).__name__ == "JSONDecodeError"
    return True
