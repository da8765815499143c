"""Packages that only some tests need: such a test skips without its package, and fails in CI.

`make test-fast` installs the dependency group `test` alone. `make test` installs every group, and
in CI no test may skip because a package is missing.
"""

from __future__ import annotations

import importlib
import os
from types import ModuleType

import pytest

IN_CI = bool(os.environ.get("CI"))
"""Read when the test session starts: tests themselves run without this variable."""


def need(name: str) -> ModuleType:
    """The module `name`. Without it, skips the test, or the module of tests that calls this.
    In CI it raises ModuleNotFoundError instead."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        if IN_CI:
            raise
        pytest.skip(f"{name} is not installed: `make test` installs it", allow_module_level=True)
