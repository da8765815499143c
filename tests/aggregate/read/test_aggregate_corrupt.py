"""A data file with a flipped bit anywhere is a clear error, however it is read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import aggregate_making as making
import pytest

from methrics.aggregate.mine.find import Wanted, check
from methrics.aggregate.read.dataset import open_dataset
from methrics.aggregate.read.verify import verify
from methrics.schema.errors import StoreError

CATALOG = making.catalog()
BLOCK = 262_144
"""Bytes of one block of a DuckDB file, which has a checksum."""


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("corrupt") / "a.duckdb"
    making.store_all(path, [CATALOG.raw, *(making.beat(CATALOG, i) for i in range(300))])
    return path.read_bytes()


def view(path: Path) -> None:
    with open_dataset(path, floor=1) as data:
        data.view("test.beat_dau").rows()


def whole(path: Path) -> None:
    with open_dataset(path) as data:
        verify(data)


@pytest.mark.parametrize(
    "read",
    [lambda path: check(str(path), [Wanted(bytes(32), making.NOW)]), view, whole],
    ids=["check", "view", "verify"],
)
def test_a_flipped_bit_is_a_clear_error(
    intact: bytes, tmp_path: Path, read: Callable[[Path], object]
) -> None:
    path, refused = tmp_path / "a.duckdb", 0
    for place in (0, 100, 5000, 9000, *range(3 * 4096 + 1000, len(intact), BLOCK)):
        data = bytearray(intact)
        data[place] ^= 1
        path.write_bytes(data)
        try:
            read(path)
        except StoreError:
            refused += 1
    assert refused
