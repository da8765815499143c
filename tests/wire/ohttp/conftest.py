"""Every test here needs Node.js, and npm's registry once; it is skipped where they are missing."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.interop import javascript

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.wire)
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def stock(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program in JavaScript, beside its packages."""
    packages = javascript.packages(pytestconfig, HERE)
    return javascript.assemble(packages, [HERE / "peer.mjs"], tmp_path_factory.mktemp("ohttp"))
