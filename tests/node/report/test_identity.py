"""One-time keys are derived, unlinkable without the seed, and pinned by a test vector."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.bindings import crypto_generichash_blake2b_salt_personal

from methrics.node.report.identity import INDEX_MAX, NO_SALT, SALT_SIZE, report_seed

SEED = bytes(range(32))


@given(
    st.binary(min_size=32, max_size=32),
    st.integers(min_value=0, max_value=INDEX_MAX),
    st.binary(min_size=SALT_SIZE, max_size=SALT_SIZE),
)
def test_libsodium_derives_the_same(seed: bytes, index: int, salt: bytes) -> None:
    expected = crypto_generichash_blake2b_salt_personal(
        index.to_bytes(8, "big"), digest_size=32, key=seed, salt=salt, person=b"methrics-report1"
    )
    assert report_seed(seed, index, salt) == expected


def test_a_receipt_without_salt_has_the_key_it_always_had() -> None:
    expected = "4d98c0ddc39a1fdf6ab3f12664d37e0b0dad5fb3dd8691a7cf1d7301dc989c05"
    assert report_seed(SEED, 7, NO_SALT).hex() == expected
    assert report_seed(SEED, 7, bytes(SALT_SIZE)).hex() == expected, "as BLAKE2b defines it"


@pytest.mark.shows("METH-4", "KPI-14")
def test_no_two_indices_share_a_key() -> None:
    salts = [NO_SALT, *(n.to_bytes(SALT_SIZE, "big") for n in range(1, 10))]
    keys = {report_seed(SEED, index, salt) for index in range(100) for salt in salts}
    assert len(keys) == 1000


@pytest.mark.parametrize(
    ("seed", "index", "salt"),
    [
        (b"short", 0, NO_SALT),
        (SEED, -1, NO_SALT),
        (SEED, INDEX_MAX + 1, NO_SALT),
        (SEED, 0, bytes(SALT_SIZE - 1)),
        (SEED, 0, bytes(SALT_SIZE + 1)),
    ],
)
def test_what_is_no_seed_index_or_salt_is_refused(seed: bytes, index: int, salt: bytes) -> None:
    with pytest.raises(ValueError):
        report_seed(seed, index, salt)
