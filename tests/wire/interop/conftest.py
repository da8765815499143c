"""Every test below needs Node.js and npm's registry once, and is skipped where they are missing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tests.interop import javascript

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import pypeer  # noqa: E402


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.wire)
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def js_script(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The script of the js peer, with its packages beside it."""
    packages = javascript.packages(pytestconfig, HERE)
    folder = tmp_path_factory.mktemp("js-peer")
    return javascript.assemble(packages, [HERE / "peer.mjs"], folder) / "peer.mjs"


@pytest.fixture(scope="session")
def stock_python(pytestconfig: pytest.Config) -> Path:
    """The folder with py-libp2p as the package index has it."""
    return pypeer.package(pytestconfig)
