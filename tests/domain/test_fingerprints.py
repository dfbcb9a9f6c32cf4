"""Fingerprints tell PINs apart without keeping them, and only under one key and for one lock."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.fingerprints import Fingerprinter, same_pin

FIRST = Fingerprinter(b"the first secret key")
SECOND = Fingerprinter(b"the second secret key")
PINS = st.text("0123456789", min_size=4, max_size=12)


def test_a_fingerprint_names_its_key_and_is_hex() -> None:
    key_id, _, rest = FIRST.pin("lock", "4821").partition(":")
    assert key_id == FIRST.key_id
    assert len(bytes.fromhex(rest)) == 32


def test_the_same_key_gives_the_same_fingerprint_in_every_process() -> None:
    assert FIRST.pin("lock", "4821") == Fingerprinter(b"the first secret key").pin("lock", "4821")


@given(st.text(max_size=20), st.text(max_size=20), PINS, PINS)
def test_fingerprints_are_equal_only_for_the_same_lock_and_pin(lock: str, other: str, pin: str, wrong: str) -> None:
    assert (FIRST.pin(lock, pin) == FIRST.pin(other, wrong)) is ((lock, pin) == (other, wrong))


def test_moving_a_digit_from_lock_to_pin_changes_the_fingerprint() -> None:
    assert FIRST.pin("lock1", "2345") != FIRST.pin("lock", "12345")


def test_another_key_gives_another_fingerprint_and_another_key_id() -> None:
    assert FIRST.key_id != SECOND.key_id
    assert FIRST.pin("lock", "4821").partition(":")[2] != SECOND.pin("lock", "4821").partition(":")[2]


def test_a_fingerprint_is_no_plain_hash() -> None:
    plain = {hashlib.sha256(text).hexdigest() for text in (b"4821", b"lock4821", b"the first secret key4821")}
    assert FIRST.pin("lock", "4821").partition(":")[2] not in plain


def test_the_key_cannot_be_read_from_its_id() -> None:
    assert FIRST.key_id not in b"the first secret key".hex()
    assert FIRST.key_id != hashlib.sha256(b"the first secret key").hexdigest()[:8]


def test_digests_and_pins_are_separate_uses_of_the_key() -> None:
    device_and_pin = (4).to_bytes(8, "big") + b"lock" + b"4821"
    assert FIRST.digest(device_and_pin) != FIRST.pin("lock", "4821")
    assert FIRST.digest(b"a") != FIRST.digest(b"b")
    assert FIRST.digest(b"a") == Fingerprinter(b"the first secret key").digest(b"a")


def test_text_that_no_database_takes_still_has_a_fingerprint() -> None:
    assert FIRST.pin("lock\ud800", "48\x0021").startswith(FIRST.key_id)


def test_an_empty_key_is_refused() -> None:
    with pytest.raises(ValueError, match="empty key"):
        Fingerprinter(b"")


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        (FIRST.pin("lock", "4821"), FIRST.pin("lock", "4821"), True),
        (FIRST.pin("lock", "4821"), FIRST.pin("lock", "4822"), False),
        (FIRST.pin("lock", "4821"), FIRST.pin("bolt", "4821"), False),
        (FIRST.pin("lock", "4821"), SECOND.pin("lock", "4821"), None),
        (None, FIRST.pin("lock", "4821"), None),
        (FIRST.pin("lock", "4821"), None, None),
        (None, None, None),
        ("no colon", "no colon", None),
        ("", "", None),
        ("é:ab", "é:ab", True),
    ],
)
def test_two_fingerprints_compare_only_under_one_key(first: str | None, second: str | None, same: bool | None) -> None:
    assert same_pin(first, second) is same
