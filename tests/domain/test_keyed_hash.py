"""Digests under a prepared key are those of the standard library's HMAC."""

from __future__ import annotations

import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.keyed_hash import KeyedHash


# RFC 4231, section 4: key | data | digest
@pytest.mark.parametrize(
    ("key", "data", "digest"),
    [
        (b"\x0b" * 20, b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
        (
            b"Jefe",
            b"what do ya want for nothing?",
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        ),
        (b"\xaa" * 20, b"\xdd" * 50, "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"),
        (
            b"\xaa" * 131,
            b"Test Using Larger Than Block-Size Key - Hash Key First",
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
        ),
    ],
)
def test_it_is_the_hmac_of_the_standard(key: bytes, data: bytes, digest: str) -> None:
    assert KeyedHash(key).digest(data).hex() == digest


@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 128, 200])
def test_keys_of_every_length_are_taken(size: int) -> None:
    key = bytes(range(size))

    assert KeyedHash(key).digest(b"data") == hmac.digest(key, b"data", "sha256")


@given(key=st.binary(max_size=200), texts=st.lists(st.binary(max_size=300), min_size=1, max_size=4))
def test_no_text_changes_the_digest_of_another(key: bytes, texts: list[bytes]) -> None:
    keyed = KeyedHash(key)

    assert [keyed.digest(text) for text in texts] == [hmac.digest(key, text, "sha256") for text in texts]
