"""One-time keys are derived, unlinkable without the seed, and pinned by a test vector."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.bindings import crypto_generichash_blake2b_salt_personal

from methrics.node.report.identity import INDEX_MAX, report_seed

SEED = bytes(range(32))


@given(st.binary(min_size=32, max_size=32), st.integers(min_value=0, max_value=INDEX_MAX))
def test_libsodium_derives_the_same(seed: bytes, index: int) -> None:
    expected = crypto_generichash_blake2b_salt_personal(
        index.to_bytes(8, "big"), digest_size=32, key=seed, person=b"methrics-report1"
    )
    assert report_seed(seed, index) == expected


@pytest.mark.shows("METH-4", "KPI-14")
def test_no_two_indices_share_a_key() -> None:
    assert len({report_seed(SEED, index) for index in range(1000)}) == 1000


@pytest.mark.parametrize(("seed", "index"), [(b"short", 0), (SEED, -1), (SEED, INDEX_MAX + 1)])
def test_what_is_no_seed_or_index_is_refused(seed: bytes, index: int) -> None:
    with pytest.raises(ValueError):
        report_seed(seed, index)
