"""A store with a month that is over, the steps of an export, and a process that dies there."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import aggregate_making as making

from methrics.aggregate.parquet import export, files
from methrics.aggregate.parquet.export import Exporter
from methrics.aggregate.store import parts
from methrics.aggregate.store.digest import DayDigest, day_digests_of
from methrics.aggregate.store.parts import directory_beside
from methrics.aggregate.store.store import Store
from methrics.schema.judging.book import CatalogBook

CATALOG = making.catalog()
NOW = making.NOW
LATER = NOW + 60 * making.DAY
"""When all reports of the month of NOW have become late."""

RAWS = [
    *(making.beat(CATALOG, i, NOW - making.DAY * (i % 3)) for i in range(12)),
    *(making.walk(CATALOG, i, NOW) for i in range(5)),
]
ERASURES = [making.erasure(CATALOG, RAWS[i], "beat", i, NOW - making.DAY * (i % 3)) for i in (1, 2)]
LATE = [making.beat(CATALOG, i, NOW - making.DAY) for i in (50, 51)]

STEPS: dict[str, tuple[Any, str]] = {
    "before a file is synced": (files, "synced"),
    "before a file is named": (files.Files, "sync"),
    "before the transaction": (Store, "change_parts"),
    "in the transaction": (parts.Settled, "change"),
    "after the transaction": (Exporter, "_drop"),
    "before the manifest": (Exporter, "_publish"),
    "before the views": (export.ViewsFile, "write"),
    "before the deletion": (Exporter, "_sweep"),
    "before the cleaning": (Exporter, "_clear"),
}
"""step -> (module or class, function that begins it)"""


def commit(store: Store, *raws: bytes) -> None:
    store.commit(making.batch(raws, making.book(CATALOG)))


@cache
def _template() -> tuple[tempfile.TemporaryDirectory[str], list[DayDigest]]:
    folder = tempfile.TemporaryDirectory(prefix="settling-")
    with Store(Path(folder.name, "a.duckdb")) as store:
        store.commit(making.batch([CATALOG.raw, *RAWS], CatalogBook()))
        Exporter(store).export(NOW)
        commit(store, *ERASURES)
        return folder, store.day_digests()


def begin(path: Path) -> list[DayDigest]:
    """Make a store whose month is open and exported; return its digests after the erasures."""
    made, digests = _template()
    shutil.copy(Path(made.name, "a.duckdb"), path)
    shutil.copytree(Path(made.name, "a.parquet"), directory_beside(path))
    return digests


def check(store: Store, wanted: list[DayDigest]) -> None:
    """Check that the store has exactly the reports of the digests, each once, and all its files."""
    found = store.day_digests()
    with store.reading() as con:
        items = store.items_sql(con=con)
        rows = con.execute(
            f"SELECT count(*), count(DISTINCT id), count(DISTINCT n) FROM {items}"
        ).fetchall()
        computed = day_digests_of(con, items, [(one.key, one.schema, one.day) for one in wanted])
        parts_there = con.execute("SELECT name FROM part").fetchall()
    total = sum(one.count for one in wanted)
    assert found == computed == wanted
    assert rows == [(total, total, total)]
    assert store.total == total
    assert all((store.directory / name).exists() for (name,) in parts_there)


def dying(at: tuple[Any, str], times: int, die: Callable[[], None]) -> tuple[Any, str, Any]:
    """The function that begins a step, which dies when it is called for the `times`th time."""
    where, name = at
    real, calls = getattr(where, name), [0]

    def function(*given: Any, **named: Any) -> Any:
        calls[0] += 1
        if calls[0] == times:
            die()
        return real(*given, **named)

    return where, name, function


def main(path: str, step: str, times: str) -> None:
    """In a process of its own: export, and be killed at the `times`th call of a step."""
    setattr(*dying(STEPS[step], int(times), lambda: os.kill(os.getpid(), signal.SIGKILL)))
    with Store(path) as store:
        Exporter(store, grace=0).export(LATER)
        commit(store, *LATE)
        Exporter(store, grace=0).export(LATER)
        Exporter(store, grace=0).export(LATER)


if __name__ == "__main__":
    main(*sys.argv[1:])
