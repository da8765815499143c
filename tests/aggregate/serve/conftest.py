"""A directory of Parquet."""

from __future__ import annotations

from pathlib import Path

import pytest
from serve_making import make_data


@pytest.fixture(scope="session")
def parquet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of Parquet of 40 reports."""
    return make_data(tmp_path_factory.mktemp("live") / "metrics.duckdb")
