"""Which texts are taken as webhook secrets."""

from __future__ import annotations

import base64

import pytest
from svix.webhooks import Webhook

from app.receiver.signature import SecretError, parse_secrets
from tests.receiver.deliveries import NOW, SECRET_TEXT, secret_text

KEY = b"a key of 32 bytes for the tests."


def test_the_secret_of_the_reference_vector_is_taken() -> None:
    (secret,) = parse_secrets(SECRET_TEXT)

    assert secret.key == base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")


@pytest.mark.parametrize("size", [24, 25, 26, 32, 48, 64])
def test_keys_of_any_usual_size_are_taken(size: int) -> None:
    assert parse_secrets(secret_text(b"k" * size))[0].key == b"k" * size


def test_several_secrets_are_separated_by_commas_and_spaces_around_them_do_not_matter() -> None:
    text = f" {SECRET_TEXT} ,\t{secret_text(KEY)}\n"

    assert [secret.key for secret in parse_secrets(text)] == [parse_secrets(SECRET_TEXT)[0].key, KEY]


def test_a_secret_given_twice_is_one() -> None:
    assert len(parse_secrets(f"{SECRET_TEXT},{SECRET_TEXT}")) == 1


# What is given | a part of what is said
BAD = [
    ("", "is empty"),
    ("  \n", "is empty"),
    (",", "is empty"),
    (f"{SECRET_TEXT},", "(2 of 2) is empty"),
    (f'"{SECRET_TEXT}"', "quotes"),
    (f"'{SECRET_TEXT}'", "quotes"),
    (f'{SECRET_TEXT}"', "quotes"),
    ("changeme", "should begin with whsec_"),
    ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "should begin with whsec_"),
    ("WHSEC_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "should begin with whsec_"),
    ("whpk_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "public key"),
    (f"{SECRET_TEXT},whpk_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "(2 of 2) is a public key"),
    ("whsec_", "too short: 0 bytes"),
    ("whsec_" + base64.b64encode(b"k" * 23).decode(), "too short: 23 bytes"),
    ("whsec_changeme", "too short"),
    ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLa S", "plain base64"),
    ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLa-_", "plain base64"),
    ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw!", "plain base64"),
    ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS", "plain base64"),
    ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw====", "plain base64"),
    ("whsec_" + base64.b64encode(KEY).decode().rstrip("="), "plain base64"),
    ("whsec_" + base64.b64encode(b"k" * 25).decode().replace("aw==", "ax=="), "plain base64"),
    ("whsec_é" + "A" * 32, "plain base64"),
]


@pytest.mark.parametrize(("text", "told"), BAD)
def test_what_is_no_signing_secret_is_refused_with_a_reason_and_never_repeated(text: str, told: str) -> None:
    with pytest.raises(SecretError) as caught:
        parse_secrets(text)

    assert told in str(caught.value)
    for part in text.replace("whsec_", "").replace("whpk_", "").strip("\"', \n").split(","):
        assert part == "" or part not in str(caught.value)


def test_a_secret_shows_its_label_and_never_its_key() -> None:
    (secret,) = parse_secrets(secret_text(KEY))

    for shown in (repr(secret), str(secret), f"{secret}"):
        assert secret.label in shown
        assert "a key of" not in shown
        assert base64.b64encode(KEY).decode() not in shown


def test_a_label_is_stable_and_differs_between_secrets() -> None:
    labels = [parse_secrets(text)[0].label for text in (SECRET_TEXT, SECRET_TEXT, secret_text(KEY))]

    assert labels[0] == labels[1] != labels[2]


def test_the_library_would_have_taken_a_public_key_and_a_placeholder() -> None:
    """The trap that the strictness is for: svix makes keys of anything."""
    for text in ("changeme", "whpk_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"):
        assert Webhook(text).sign("msg_1", NOW, "{}").startswith("v1,")
