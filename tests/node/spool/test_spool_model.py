"""A spool and its folds as a model: each record that returned is in SQLite exactly once."""

from __future__ import annotations

import os
import random
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from methrics.node.clock import ManualClock
from methrics.node.outbox.fold import ALL_TYPES, Fold
from methrics.node.outbox.journal import Journal
from methrics.node.spool.folder import EVENTS, spool_names
from methrics.node.spool.interface import SpooledType
from methrics.node.spool.records import catalog_number
from methrics.node.spool.spool import Spool
from methrics.schema.catalog.catalog import Catalog

NOW = 1_800_000_000
DAY = 86_400
KINDS = {"view": "event", "click": "counter", "visit": "state"}


class World:
    """Spools of several processes over one folder, their journal, and what both must hold."""

    def __init__(self, folder: str, shop: Catalog, file_max: int) -> None:
        self.clock = ManualClock(NOW)
        self.path = os.path.join(folder, "shop", "outbox.db")
        self.file_max = file_max
        self.shop = shop
        number = catalog_number(shop.id)
        self.types = {name: SpooledType(number, shop.types[name], 1) for name in KINDS}
        self.journal = Journal(self.path, clock=self.clock)
        self.spools = [self.spool() for _ in range(3)]
        self.serial = 0
        self.events: Counter[bytes] = Counter()
        self.counts: Counter[tuple[int, bytes]] = Counter()
        self.latest: bytes | None = None
        self.withdrawn: list[bytes] = []

    def spool(self) -> Spool:
        spool = Spool(self.path, clock=self.clock, rng=random.random, file_max=self.file_max)
        spool.keep_catalog(catalog_number(self.shop.id), self.shop.raw)
        return spool

    def fields(self) -> bytes:
        self.serial += 1
        return b"<secret-%06d>" % self.serial

    def event(self, who: int, n: int) -> None:
        for _ in range(n):
            fields = self.fields()
            steps = b"steps" * (n % 2)
            self.spools[who].event(self.types["view"], NOW, NOW, fields, steps)
            self.events[fields] += 1

    def count(self, who: int, n: int) -> None:
        window, fields = NOW + n % 3 * DAY, b"<secret-count-%d>" % (n % 4)
        self.spools[who].count(self.types["click"], window, window + DAY, fields, n + 1)
        self.counts[window, fields] += n + 1

    def state(self, who: int, n: int) -> None:
        fields = self.fields() * (1 + n)
        self.clock.advance(DAY)
        now = self.clock.now()
        self.spools[who].state(self.types["visit"], now - now % DAY, now, fields)
        self.latest = fields

    def fold(self, who: int, n: int) -> None:
        self.journal.fold()

    def look(self, who: int, n: int) -> None:
        self.clock.advance(1)
        self.spools[who].look(self.clock.monotonic())

    def leave(self, who: int, n: int) -> None:
        self.spools[who].leave()

    def end(self, who: int, n: int) -> None:
        self.spools[who] = self.spool()

    def stopped(self, who: int, n: int) -> None:
        """A fold that is killed after its commit."""
        settle = Fold.settle
        Fold.settle = lambda *_: []  # type: ignore[method-assign]
        try:
            self.journal.fold()
        finally:
            Fold.settle = settle  # type: ignore[method-assign]

    def purge(self, who: int, n: int) -> None:
        name = (*KINDS, None)[n % 4]
        self.journal.purge(name)
        gone = ALL_TYPES if name is None else (name,)
        if gone is None or "view" in gone:
            self.withdrawn += self.events
            self.events.clear()
        if gone is None or "click" in gone:
            self.withdrawn += [b"<secret-count"]
            self.counts.clear()
        if gone is None or "visit" in gone:
            self.withdrawn += [self.latest] if self.latest else []
            self.latest = None
        held = b"".join(self.bytes_here())
        for fields in self.withdrawn:
            assert fields not in held, "what was withdrawn is still in a spool"
        self.withdrawn.clear()
        for spool in self.spools:
            spool.leave()  # as a recorder does when the consent has changed

    def bytes_here(self) -> list[bytes]:
        folder = Path(self.journal.spools)
        return [one.read_bytes() for one in folder.iterdir()] if folder.exists() else []

    def check(self) -> None:
        rows = self.journal.database.rows
        events = [row[0] for row in rows("SELECT fields FROM event")]
        assert Counter(events) == self.events
        counts = rows("SELECT time, fields, sum(count) FROM counter GROUP BY time, fields")
        assert {(time, fields): n for time, fields, n in counts} == self.counts
        states = [row[0] for row in rows("SELECT fields FROM state ORDER BY period, time")]
        assert states[-1:] == ([self.latest] if self.latest else [])


STEPS = ("event", "count", "state", "fold", "look", "leave", "end", "stopped", "purge")


@settings(max_examples=60)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(STEPS), st.integers(0, 2), st.integers(0, 20)), max_size=60
    ),
    file_max=st.sampled_from([300, 900, 1 << 18]),
)
def test_each_record_is_folded_exactly_once(
    shop: Catalog, steps: list[tuple[str, int, int]], file_max: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = World(folder, shop, file_max)
        for step, who, n in steps:
            getattr(world, step)(who, n)
        world.journal.fold()
        world.check()
        for spool in world.spools:
            spool.leave()
        world.journal.fold()
        world.check()
        assert not spool_names(world.journal.spools), "left spools are deleted"
        assert all(b"secret" not in held for held in world.bytes_here())
        assert world.journal.dropped() == {}
        world.journal.close()


@pytest.fixture
def world(tmp_path: Path, shop: Catalog) -> World:
    return World(str(tmp_path), shop, 1 << 18)


def test_sums_survive_when_a_file_of_slots_is_removed(world: World) -> None:
    world.count(0, 10)
    world.journal.fold()
    [events] = Path(world.journal.spools).glob(f"*{EVENTS}")
    events.with_suffix(".slots").unlink()
    world.look(0, 0)
    world.count(0, 2)
    world.count(0, 2)
    world.journal.fold()
    world.check()


@pytest.mark.parametrize("suffix", ["events", "slots"])
def test_a_truncated_file_is_left_within_a_second(world: World, suffix: str) -> None:
    world.event(0, 20)
    world.count(0, 10)
    world.journal.fold()
    [file] = Path(world.journal.spools).glob(f"*.{suffix}")
    os.truncate(file, 0)
    world.look(0, 0)
    for n in (30, 5, 3):
        world.event(0, n)
        world.count(0, n)
        world.end(0, 0)
    world.journal.fold()
    world.check()


def test_the_latest_state_stays_whichever_process_recorded_it(world: World) -> None:
    for turn in range(20):
        for _ in range(turn % 3 + 1):
            fields = world.fields() * (turn % 4 + 1)
            world.spools[0].state(world.types["visit"], NOW, NOW, fields)
        world.end(0, 0)
        if turn % 5 == 4:
            world.journal.fold()
    world.journal.fold()
    world.latest = fields
    world.check()


def test_a_slot_is_made_anew_after_an_erasure_without_a_new_consent(world: World) -> None:
    world.count(0, 3)
    world.journal.forget_waiting()
    world.counts.clear()
    world.look(0, 0)
    world.count(0, 3)
    world.journal.fold()
    world.check()


def test_slots_alone_begin_another_file(world: World) -> None:
    world.file_max = 2000
    for _ in range(200):
        world.end(0, 0)
        world.count(0, 7)
    sizes = [file.stat().st_size for file in Path(world.journal.spools).glob("*.slots")]
    assert max(sizes) < 2200
    world.journal.fold()
    world.check()
