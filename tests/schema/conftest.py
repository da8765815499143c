"""The wire tests use the world of the test vectors: one namespace and items right and wrong."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tools"))

from vector_world import World  # noqa: E402

from methrics.schema.book import CatalogBook  # noqa: E402
from methrics.schema.catalog import load  # noqa: E402


@pytest.fixture(scope="session")
def world() -> World:
    """Fixed keys, one catalog, and what signs items of it."""
    return World()


@pytest.fixture
def book(world: World) -> CatalogBook:
    """A book that knows the world's catalog."""
    book = CatalogBook()
    assert book.add(load(world.catalog))
    return book
