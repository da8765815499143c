"""A real aggregator whose file is damaged while it runs has all its reports in the end."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path

import pytest
import trio
from test_aggregate_process import CATALOG, MAIN, Aggregator, check, make_bundles, running
from tests.listing import record_of

from methrics.aggregate.store.batch import Batch
from methrics.aggregate.store.store import Store
from methrics.schema.example import example_seed
from methrics.schema.judging.book import CatalogBook
from methrics.schema.judging.judge import accept
from methrics.schema.wire.bundle import unpack

pytestmark = pytest.mark.wire

REPORTS = 3000
"""Enough that their bytes fill blocks of the file that have nothing else."""

WAITING = """
import pathlib, sys, time
from methrics.aggregate.collect import opening
from methrics.aggregate.parquet.export import Exporter
opening.read_all = lambda store: None
real, go = Exporter.export, pathlib.Path(sys.argv[2]).with_name("go")
def export(self, *given, **named):
    while not go.exists():
        time.sleep(0.02)
    return real(self, *given, **named)
Exporter.export = export
"""
"""Holds exports, which read all bytes, until a file `go` is there. Leaves out the reading at the
start: what that brings into memory is not read from the disk again, unless the file is large."""


def stored(path: Path) -> list[bytes]:
    """Put reports of today into a file; return their bytes."""
    now = int(time.time())
    raws = [raw for one in make_bundles(REPORTS // 200, 200, now) for raw in unpack(one).items]
    book = CatalogBook()
    record = accept(record_of(CATALOG, seed=example_seed()).raw, book, now)
    book.records.add(record.item, record.body)  # type: ignore[arg-type]
    book.add(CATALOG, given=True)
    first = [record, accept(CATALOG.raw, book, now)]
    with Store(path) as store:
        store.commit(Batch(now, [*first, *(accept(raw, book, now) for raw in raws)]))
    return raws


async def until(one: Aggregator, total: int) -> None:
    """Return when it has committed `total` reports."""
    with trio.fail_after(300):
        while one.acknowledged != total:
            assert await one.event() is not None, "the aggregator has ended"


async def test_pages_overwritten_under_a_running_aggregator_come_back_from_a_peer(
    tmp_path: Path,
) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    file, other = tmp_path / "a" / "a.duckdb", tmp_path / "b" / "b.duckdb"
    raws = stored(file)
    shutil.copy(file, other)
    async with running(other) as peer:
        named = ["--peer", await peer.listening()]
        async with running(file, *named, start=WAITING + MAIN) as one:
            await one.listening()
            at = file.read_bytes().index(raws[len(raws) // 2][-64:])
            with file.open("r+b") as damaged:
                damaged.seek(at)
                damaged.write(os.urandom(64))
            (tmp_path / "a" / "go").touch()
            with trio.fail_after(120):
                aside = await one.event("set-aside")
                assert aside is not None
                assert "damaged" in str(aside["message"])
                await until(one, len(raws))
            one.process.send_signal(signal.SIGTERM)
            assert await one.end() == 0
    assert check(file) == len(raws)
