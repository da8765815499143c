"""Makes the helper modules of this folder and of the node's tests importable by name."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.append(str(Path(__file__).parents[1] / "node"))

from real_network import RealNetwork


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealNetwork]:
    """A relay and an aggregator as processes on loopback, shared by the tests of a module."""
    with RealNetwork(tmp_path_factory.mktemp("network")) as found:
        yield found
