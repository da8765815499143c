"""The built-in SHA-256 gives the same digests, and an app does not load OpenSSL for it."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

BUILT_IN = """
import sys
from methrics.schema.wire.sha256 import sha256
assert "_hashlib" not in sys.modules, "OpenSSL is loaded"
sys.stdout.write(sha256(bytes.fromhex(sys.argv[1])).hexdigest())
"""


@given(st.binary(max_size=300))
def test_it_is_sha256(data: bytes) -> None:
    from methrics.schema.wire.sha256 import sha256

    assert sha256(data).digest() == hashlib.sha256(data).digest()


@pytest.mark.parametrize("data", [b"", b"abc", bytes(range(200))])
def test_a_fresh_process_uses_the_built_in_one(data: bytes) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BUILT_IN, data.hex()], capture_output=True, text=True, check=True
    )
    assert done.stdout == hashlib.sha256(data).hexdigest()
