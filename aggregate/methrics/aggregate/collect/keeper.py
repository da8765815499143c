"""Maintains the data while an aggregator runs: deletes what is over, exports, rewrites the file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import trio

from methrics.aggregate.collect.figures import Figures
from methrics.aggregate.collect.freshness import Freshness
from methrics.aggregate.parquet.export import GRACE, Exported, Exporter
from methrics.aggregate.read.ready import make_ready_views
from methrics.aggregate.store.batch import Expired
from methrics.aggregate.store.store import Store
from methrics.node.clock import Clock
from methrics.schema.errors import StoreError

CLOSED_EVERY = 600.0
"""Seconds between two exports if only closed days are exported."""


@dataclass(frozen=True, slots=True)
class Upkeep:
    """How often the data are maintained: see AggregatorSettings. In seconds."""

    export_every: float
    forget_within: float
    grace: float = GRACE

    @property
    def every(self) -> float:
        """Seconds between two rounds."""
        return min(self.export_every or CLOSED_EVERY, max(1.0, self.forget_within / 4))


@dataclass(frozen=True, slots=True)
class Compacted:
    """The event that the file was rewritten without the bytes of `rows` deleted rows."""

    rows: int


@dataclass(frozen=True, slots=True)
class ExportFailed:
    """The event that an export failed. The export is retried later."""

    error: StoreError


@dataclass(frozen=True, slots=True)
class UpkeepFailed:
    """The event that what is over could not be deleted, or the file could not be rewritten. It is
    retried later."""

    error: StoreError


KeeperEvent = Exported | Expired | Compacted | ExportFailed | UpkeepFailed


class Keeper:
    """Maintains the data of one store, and counts exports in `figures`. Through `freshness` readers
    ask for an export. `doubtful` tells whether the clock is probably wrong: then nothing is deleted
    by it. So does `allows`, which is given the time, and called in another thread."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        notify: Callable[[KeeperEvent], None],
        upkeep: Upkeep,
        figures: Figures,
        freshness: Freshness,
        doubtful: Callable[[], bool] = lambda: False,
        allows: Callable[[int], bool] = lambda now: True,
    ) -> None:
        self._store = store
        self._clock = clock
        self._notify = notify
        self._upkeep = upkeep
        self._figures = figures
        self._freshness = freshness
        self._doubtful = doubtful
        self._allows = allows
        self._exporter = Exporter(store, grace=upkeep.grace, ready=make_ready_views)

    async def run(self) -> None:
        """Maintain the data at intervals until cancelled. No step of the work is cancelled."""
        while True:
            await self.once()
            await self._freshness.wait(self._upkeep.every)

    async def once(self) -> None:
        """Delete what is over, export, and rewrite the file if that is due."""
        now = self._clock.now()  # before the doubt, so that no jump comes between both
        await self._try(partial(self._expire, now, self._doubtful()))
        await self.export()
        await self._try(self._compact)

    async def export(self) -> None:
        """Export what changed, and tell those who asked for it."""
        began = self._freshness.begin()
        try:
            done = await trio.to_thread.run_sync(self._export)
        except StoreError as error:
            self._figures.exported(0.0, str(error))
            self._notify(ExportFailed(error))
        else:
            self._figures.exported(trio.current_time() - began)
            if done.files:
                self._notify(done)
        finally:
            self._freshness.end(began)

    async def _try(self, step: Callable[[], KeeperEvent | None]) -> None:
        try:
            done = await trio.to_thread.run_sync(step)
        except StoreError as error:
            done = UpkeepFailed(error)
        if done is not None:
            self._notify(done)

    def _expire(self, now: int, doubtful: bool) -> Expired | None:
        if not self._allows(now) or doubtful:
            return None
        done = self._store.expire(now)
        return done if done != Expired() else None

    def _export(self) -> Exported:
        closed_only = not self._upkeep.export_every
        return self._exporter.export(self._clock.now(), closed_only=closed_only)

    def _compact(self) -> Compacted | None:
        wasted = self._store.wasted()
        within = self._upkeep.forget_within
        if wasted is None or not wasted.is_due(self._clock.now(), within, self._store.total):
            return None
        return Compacted(wasted.rows) if self._store.compact() else None

    def close(self) -> None:
        """Close what is open."""
        self._exporter.close()
