"""Readers of Parquet whose files an export replaces at the same time."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import aggregate_making as making
import duckdb
import pytest

from methrics.aggregate.parquet.export import Exporter
from methrics.aggregate.read.dataset import open_dataset
from methrics.aggregate.store import duck
from methrics.aggregate.store.duck import translated_errors, tried_again
from methrics.aggregate.store.parts import directory_beside
from methrics.aggregate.store.store import Store
from methrics.schema.errors import StoreError

CATALOG = making.catalog()


@contextmanager
def replacing(small: Path, large: Path) -> Iterator[Path]:
    """A directory whose files are replaced in turn by those of two exports, until the end."""
    there = large.with_name("replaced")
    shutil.copytree(large, there)
    ended = threading.Event()

    def replace() -> None:
        while not ended.wait(0.001):
            for source in (small, large):
                for file in source.rglob("*.parquet"):
                    target = there / file.relative_to(source)
                    written = target.with_suffix(".tmp")
                    shutil.copyfile(file, written)
                    written.replace(target)

    thread = threading.Thread(target=replace)
    thread.start()
    try:
        yield there
    finally:
        ended.set()
        thread.join()


def test_a_reader_survives_an_export_that_replaces_its_files(tmp_path: Path) -> None:
    directories = []
    for count in (1, 40):
        file = tmp_path / f"{count}.duckdb"
        raws = [making.beat(CATALOG, i) for i in range(count)]
        making.store_all(file, [CATALOG.raw, *raws])
        with Store(file) as store:
            Exporter(store).export(making.NOW)
        directories.append(directory_beside(file))
    with replacing(*directories) as there:
        for _ in range(15):
            with open_dataset(there, floor=1) as data:
                for _ in range(3):
                    counts = data.rows("SELECT count(*) FROM item WHERE kind = 1")
                    assert counts in ([(1,)], [(40,)])


def fails(times: int, error: Exception) -> Callable[[], str]:
    def read() -> str:
        nonlocal times
        with translated_errors("a.parquet"):
            if times:
                times -= 1
                raise error
        return "read"

    return read


@pytest.mark.parametrize(
    "error",
    [
        duckdb.Error("TProtocolException: Invalid data"),
        duckdb.IOException("IO Error: Could not read enough bytes from file"),
        duckdb.InvalidInputException("No magic bytes found at end of file"),
    ],
)
def test_only_a_file_that_looks_damaged_is_read_again(
    error: duckdb.Error, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duck, "RETRY_PAUSES", (0, 0))
    assert tried_again(fails(2, error)) == "read"
    with pytest.raises(StoreError):
        tried_again(fails(3, error))
    with pytest.raises(StoreError):
        tried_again(fails(1, duckdb.BinderException("no such column")))
