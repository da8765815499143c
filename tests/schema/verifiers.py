"""Both verifiers of signatures, so that a test can ask each of them."""

from __future__ import annotations

import sysconfig
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import setup as set_up
from tests import needed

from methrics.schema.wire import signatures

OpenMany = Callable[[Sequence[bytes], Sequence[bytes]], int]


def native() -> OpenMany | None:
    """The verifier in C, or None; in CI, a machine that can build it must have it."""
    try:
        from methrics_native import open_many
    except ImportError:
        headers = Path(sysconfig.get_path("include"), "Python.h")
        if needed.IN_CI and set_up.has_compiler() and headers.exists():
            raise
        return None
    return open_many


NATIVE = native()
VERIFIERS = [verifier for verifier in (signatures.open_many, NATIVE) if verifier is not None]


def one_by_one(messages: Sequence[bytes], keys: Sequence[bytes]) -> int:
    """Vouches for nothing, so that each signature is checked where the item is judged."""
    return 0


@contextmanager
def verifying_with(verifier: OpenMany) -> Iterator[None]:
    """Let `verifier` check the signatures of bundles."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(signatures, "_verifier", lambda: verifier)
        yield
