"""Every test below needs Node.js and npm's registry once, and is skipped where they are missing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import jspeer  # noqa: E402


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.wire)
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def js_script(pytestconfig: pytest.Config) -> Path:
    """The script of the js peer, with its packages beside it."""
    cache = getattr(pytestconfig, "cache", None)
    if cache is None:
        pytest.skip("the cache that would hold the packages is switched off")
    try:
        return jspeer.install(cache.mkdir("interop-js"))
    except jspeer.UnavailableError as error:
        pytest.skip(str(error))
