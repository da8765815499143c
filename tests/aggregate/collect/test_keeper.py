"""The keeper: what is erased or over leaves the file, its log and the Parquet, in time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import aggregate_making as making
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest
from traces import left_on_disk, traces

from methrics.aggregate.collect.figures import Figures
from methrics.aggregate.collect.freshness import Freshness
from methrics.aggregate.collect.keeper import (
    Compacted,
    ExportFailed,
    Keeper,
    KeeperEvent,
    Upkeep,
    UpkeepFailed,
)
from methrics.aggregate.parquet.export import GRACE, Exported
from methrics.aggregate.read.dataset import open_dataset
from methrics.aggregate.read.verify import verify
from methrics.aggregate.store.batch import Expired
from methrics.aggregate.store.store import Store
from methrics.node.clock import ManualClock
from methrics.schema.judging.book import CatalogBook
from methrics.schema.judging.judge import accept

DAY = making.DAY
NOW = making.NOW
CATALOG = making.catalog()
OLD = [making.beat(CATALOG, i, NOW - 7200) for i in range(20)]
NEW = [making.beat(CATALOG, i, NOW + 100 * DAY - 7200) for i in range(20, 40)]
HOUR = 3600


class Kept:
    """A store with a keeper, on a clock that is moved by hand."""

    def __init__(self, path: Path, **how: float) -> None:
        self.path = path
        self.store = Store(path)
        self.clock = ManualClock(NOW)
        self.events: list[KeeperEvent] = []
        self.book: CatalogBook = making.book(CATALOG)
        self.doubtful = False
        upkeep = Upkeep(**({"export_every": 60.0, "forget_within": HOUR} | how))
        self.keeper = Keeper(
            self.store,
            self.clock,
            self.events.append,
            upkeep,
            Figures(path, self.store.directory, self.clock),
            Freshness(),
            lambda: self.doubtful,
        )

    def commit(self, raws: Iterable[bytes]) -> None:
        now = self.clock.now()
        record = self.book.records.newest(CATALOG.key)
        assert record is not None
        judged = [accept(raw, self.book, now, live=False) for raw in raws]
        batch = making.Batch(now, [accept(record.item.raw, self.book, now), *judged])
        self.store.commit(batch)

    async def pass_time(self, seconds: float, every: float = 600) -> None:
        """Run the keeper at intervals."""
        end = self.clock.now() + seconds
        while self.clock.now() < end:
            self.clock.advance(min(every, end - self.clock.now()))
            await self.keeper.once()

    def told(self, kind: type) -> int:
        return sum(isinstance(event, kind) for event in self.events)


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    one = Kept(tmp_path / "a.duckdb")
    yield one
    one.keeper.close()
    one.store.close()
    assert one.told(ExportFailed) == one.told(UpkeepFailed) == 0


def left(folder: Path, raw: bytes) -> set[str]:
    """The traces of a report in any file, also where Parquet has compressed them."""
    found = left_on_disk(folder, raw)
    for path in folder.rglob("*.parquet"):
        if path.is_file():
            cells = {
                cell
                for column in pq.read_table(path).columns
                for cell in column.to_pylist()
                if isinstance(cell, bytes)
            }
            found |= {
                what for what, some in traces(raw).items() if any(some in cell for cell in cells)
            }
    return found


async def settle(kept: Kept, more: Iterable[bytes] = ()) -> None:
    """Let the month of OLD and `more` settle: their rows move to Parquet."""
    kept.commit([CATALOG.raw, *OLD, *more])
    stored = kept.store.total
    await kept.keeper.once()
    kept.clock.advance(100 * DAY)
    kept.commit(NEW)
    await kept.pass_time(3 * HOUR)
    with kept.store.reading() as con:
        assert con.execute("SELECT count(*) FROM item").fetchall() == [(len(NEW),)]
    assert kept.store.total == stored + len(NEW)


@pytest.mark.shows("NEW-3", "METH-16")
async def test_erased_bytes_are_gone_in_time_from_file_log_and_parquet(
    kept: Kept, tmp_path: Path
) -> None:
    await settle(kept)
    old, new = OLD[3], NEW[3]
    assert left(tmp_path, old) == left(tmp_path, new) == set(traces(old))
    kept.commit(
        [
            making.erasure(CATALOG, old, "beat", 3, NOW - 7200),
            making.erasure(CATALOG, new, "beat", 23, NOW + 100 * DAY - 7200),
        ]
    )
    await kept.pass_time(HOUR + GRACE)
    # The erasure itself, which keeps the report out, names its id and its key.
    assert left(tmp_path, old) == left(tmp_path, new) == {"id", "key"}
    assert kept.told(Compacted) >= 1
    kept.commit([old, new])
    assert kept.store.total == len(OLD) + len(NEW) - 2
    with open_dataset(tmp_path / "a.parquet") as dataset:
        assert verify(dataset).mismatches == []


@pytest.mark.shows("METH-16", "KPI-11")
async def test_in_2032_nothing_is_left_in_file_log_or_parquet(kept: Kept, tmp_path: Path) -> None:
    await settle(kept)
    kept.clock.advance(int(1.9 * 365) * DAY)  # OLD is over, NEW is not
    await kept.pass_time(2 * HOUR)
    assert kept.store.total == 0
    never = Kept(tmp_path / "never.duckdb")
    for raw in [*OLD, *NEW]:
        assert left(tmp_path, raw) == set()
    assert kept.store.day_digests() == never.store.day_digests() == []
    never.store.close()
    kept.commit([*OLD, *NEW])
    assert kept.store.total == 0
    with open_dataset(tmp_path / "a.parquet") as dataset:
        assert dataset.rows("SELECT count(*) FROM item") == [(0,)]
        assert verify(dataset).mismatches == []


async def test_a_settled_month_loses_what_is_over_and_keeps_the_rest(
    kept: Kept, tmp_path: Path
) -> None:
    later = [making.beat(CATALOG, i, NOW + 2 * DAY - 7200) for i in range(60, 70)]
    kept.clock.advance(2 * DAY)
    await settle(kept, later)
    kept.clock.advance(264 * DAY)  # the last day of OLD has passed, that of `later` has not
    await kept.pass_time(2 * HOUR)
    assert kept.store.total == len(later) + len(NEW)
    assert all(left(tmp_path, raw) == set() for raw in OLD)
    assert all(len(left(tmp_path, raw)) == 4 for raw in later)
    never = Kept(tmp_path / "never.duckdb")
    never.clock.advance(kept.clock.now() - NOW)
    never.commit([CATALOG.raw, *later, *NEW])
    assert kept.store.day_digests() == never.store.day_digests()
    never.store.close()
    with open_dataset(tmp_path / "a.parquet") as dataset:
        assert verify(dataset).mismatches == []
    kept.commit([*OLD, *later])
    assert kept.store.total == len(later) + len(NEW)


async def test_a_doubtful_clock_deletes_nothing(kept: Kept) -> None:
    kept.commit([CATALOG.raw, *OLD])
    kept.doubtful = True
    kept.clock.advance(2000 * DAY)
    await kept.keeper.once()
    assert (kept.store.total, kept.told(Expired)) == (len(OLD), 0)
    kept.doubtful = False
    await kept.keeper.once()
    assert (kept.store.total, kept.told(Expired)) == (0, 1)


async def test_the_file_is_rewritten_only_when_that_is_due(kept: Kept) -> None:
    kept.commit([CATALOG.raw, *OLD, making.erasure(CATALOG, OLD[0], "beat", 0)])
    await kept.pass_time(HOUR / 2 - 60)
    assert (kept.told(Compacted), kept.told(Exported)) == (0, 1)
    await kept.pass_time(120)
    assert kept.told(Compacted) == 1
    await kept.pass_time(2 * HOUR)
    assert kept.told(Compacted) == 1
