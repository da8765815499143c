"""What rests at a relay: it survives a crash, commits are shared, and no trace is left."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
import trio
import trio.testing
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
)

from methrics.node.clock import ManualClock
from methrics.node.process.worker import inline
from methrics.node.relay import rest_store, upkeep
from methrics.node.relay.rest_file import Changes, MemoryRest, RestFile, Resting, SqliteRest
from methrics.node.relay.rest_store import RestStore
from methrics.schema.errors import StoreError

NOW = 1_800_000_000


def resting(number: int, size: int = 250, leaves: int = NOW) -> Resting:
    draw = random.Random(number)
    return Resting(draw.randbytes(32), "topic", b"c" * 32, draw.randbytes(size), leaves)


def putting(*items: Resting) -> Changes:
    return Changes(puts={one.id: one for one in items})


def bytes_of(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.iterdir()))


@pytest.fixture(params=["memory", "sqlite"])
def file(request: pytest.FixtureRequest, tmp_path: Path) -> RestFile:
    return MemoryRest() if request.param == "memory" else SqliteRest(str(tmp_path / "rest.db"))


def test_what_was_put_is_loaded_by_id(file: RestFile) -> None:
    items = [resting(number) for number in range(9)]
    file.write(putting(*items))
    file.write(Changes(drops={items[0].id, b"?" * 32}, erased={b"e" * 32: NOW}))
    assert file.load() == (sorted(items[1:]), {b"e" * 32: NOW})
    file.tidy(NOW - 1)
    assert file.load() == (sorted(items[1:]), {b"e" * 32: NOW})
    file.tidy(NOW)
    assert file.load() == (sorted(items[1:]), {})
    file.close()


def test_changes_of_one_commit_act_in_their_order(file: RestFile) -> None:
    one, two = resting(1), resting(2)
    file.write(putting(one))
    together = Changes()
    together.add(Changes(drops={one.id}))
    together.add(putting(one, two))
    together.add(Changes(drops={two.id}))
    file.write(together)
    assert file.load() == ([one], {})


def test_the_file_is_private(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        file = SqliteRest(str(tmp_path / "rest.db"))
    finally:
        os.umask(before)
    file.write(putting(resting(1)))
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    assert len(list(tmp_path.iterdir())) == 3


def test_each_commit_waits_for_the_disk(tmp_path: Path) -> None:
    """Also one of nothing: a sooner answer would tell that nothing was accepted."""
    file = SqliteRest(str(tmp_path / "rest.db"))
    log = tmp_path / "rest.db-wal"
    assert file._database._con.execute("PRAGMA synchronous").fetchone() == (2,)
    for _ in range(3):
        before = log.stat().st_size
        file.write(Changes())
        assert log.stat().st_size > before


def test_attack_a_thief_of_the_disk_finds_no_report_that_was_published(tmp_path: Path) -> None:
    """In no file is a byte of an item that was dropped, although pages were split and joined."""
    file = SqliteRest(str(tmp_path / "rest.db"))
    items = [resting(number, size=200 + number % 800) for number in range(3000)]
    for start in range(0, 3000, 100):
        file.write(putting(*items[start : start + 100]))
    gone, kept = items[::2], items[1::2]
    file.write(Changes(drops={one.id for one in gone}))
    assert any(one.raw[:64] in bytes_of(tmp_path) for one in gone), "the log has them still"
    file.tidy(NOW)
    found = bytes_of(tmp_path)
    assert [one for one in gone if one.raw[:40] in found or one.raw[-40:] in found] == []
    assert [one for one in gone if one.id in found] == []
    assert [one for one in kept if one.raw[:40] not in found or one.id not in found] == []


def test_attack_a_thief_of_the_disk_finds_no_order_of_arrival(tmp_path: Path) -> None:
    """Two relays that got the same items in different orders have the same pages."""
    contents = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        file = SqliteRest(str(tmp_path / name / "rest.db"))
        items = [resting(number, size=200 + number % 800) for number in range(500)]
        random.Random(name).shuffle(items)
        for one in items:
            file.write(putting(one))
        file.tidy(NOW)
        content = bytearray(Path(file.path).read_bytes())
        contents.append(content[100:])  # SQLite's header counts the changes
        assert not os.path.getsize(file.path + "-wal")
    assert contents[0] == contents[1]


def test_the_columns_are_these(tmp_path: Path) -> None:
    """No address, no time of arrival, no number that grows with each row."""
    file = SqliteRest(str(tmp_path / "rest.db"))
    columns = [row[1] for row in file._database._con.execute("PRAGMA table_info(rest)")]
    assert columns == ["id", "topic", "catalog", "raw", "leaves"]
    with pytest.raises(sqlite3.OperationalError):
        file._database._con.execute("SELECT rowid FROM rest")


def test_a_damaged_or_newer_file_is_a_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "rest.db"
    path.write_bytes(b"x" * 9000)
    with pytest.raises(StoreError) as caught:
        SqliteRest(str(path))
    assert caught.value.code == "rest-damaged"
    path.unlink()
    SqliteRest(str(path)).close()
    with sqlite3.connect(path) as con:
        con.execute("PRAGMA user_version = 99")
    con.close()
    with pytest.raises(StoreError) as caught:
        SqliteRest(str(path))
    assert caught.value.code == "rest-newer"
    with pytest.raises(StoreError) as caught:
        SqliteRest(str(tmp_path / "no" / "rest.db"))
    assert caught.value.code == "rest-unusable"


def test_a_full_disk_changes_nothing(tmp_path: Path) -> None:
    file = SqliteRest(str(tmp_path / "rest.db"))
    file.write(putting(resting(1)))
    (pages,) = file._database._con.execute("PRAGMA page_count").fetchone()
    file._database._con.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StoreError) as caught:
        file.write(putting(*(resting(number) for number in range(2, 900))))
    assert caught.value.code == "rest-full"
    assert file.load() == ([resting(1)], {})


class Slow:
    """A worker whose calls take a second, and what they wrote."""

    def __init__(self) -> None:
        self.calls = 0

    async def __call__(self, call: Callable[[], object]) -> object:
        self.calls += 1
        await trio.sleep(1)
        return call()


class Failing(MemoryRest):
    """A disk that is full for as long as `full` is set."""

    full = False

    def write(self, changes: Changes) -> None:
        if self.full:
            raise StoreError("rest-full", "the disk is full")
        super().write(changes)


async def test_requests_that_come_during_a_commit_share_the_next_one(
    autojump_clock: trio.testing.MockClock,
) -> None:
    slow, file = Slow(), MemoryRest()
    store = RestStore(file, clock=ManualClock(), worker=slow)  # type: ignore[arg-type]
    times: list[float] = []
    began = trio.current_time()

    async def commit(changes: Changes) -> None:
        await store.commit(changes)
        times.append(trio.current_time() - began)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(commit, putting(resting(0)))
        await trio.sleep(0.5)
        for number in range(1, 51):
            nursery.start_soon(commit, putting(resting(number)) if number % 2 else Changes())
    assert slow.calls == 2
    assert len(file.items) == 26
    assert times == [1.0] + [2.0] * 50, "whatever a request brought, it is answered then"


async def test_a_cancelled_request_does_not_lose_the_commit_of_others(
    autojump_clock: trio.testing.MockClock,
) -> None:
    file = MemoryRest()
    store = RestStore(file, clock=ManualClock(), worker=Slow())  # type: ignore[arg-type]
    async with trio.open_nursery() as nursery:
        with trio.move_on_after(0.1):
            nursery.start_soon(store.commit, putting(resting(1)))
            await store.commit(putting(resting(2)))
    assert len(file.items) == 2


async def test_a_failed_commit_tells_all_who_wait_and_keeps_what_nobody_waits_for(
    autojump_clock: trio.testing.MockClock,
) -> None:
    file = Failing()
    store = RestStore(file, clock=ManualClock(), worker=inline)
    await store.commit(putting(resting(1), resting(2)))
    file.full = True
    store.later(Changes(drops={resting(1).id}, erased={b"e" * 32: NOW}))
    with pytest.raises(StoreError):
        await store.commit(putting(resting(3)))
    await store.flush()
    assert len(file.items) == 2
    file.full = False
    await store.commit(putting(resting(4)))
    assert file.load() == (sorted([resting(2), resting(4)]), {b"e" * 32: NOW})


async def test_what_nobody_waits_for_is_committed_soon(
    autojump_clock: trio.testing.MockClock,
) -> None:
    file = MemoryRest()
    store = RestStore(file, clock=ManualClock(), worker=inline)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.run)
        await store.commit(putting(resting(1)))
        store.later(Changes(drops={resting(1).id}))
        await trio.sleep(rest_store.FLUSH_WITHIN + 0.1)
        assert file.items == {}
        nursery.cancel_scope.cancel()


async def test_traces_go_within_a_minute(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    store = RestStore(SqliteRest(str(tmp_path / "rest.db")), clock=ManualClock(), worker=inline)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.run)
        await store.commit(putting(resting(1), resting(2)))
        await store.commit(Changes(drops={resting(1).id}))
        assert resting(1).raw in bytes_of(tmp_path)
        await trio.sleep(upkeep.TIDY_EVERY + 1)
        assert resting(1).raw not in bytes_of(tmp_path)
        assert resting(2).raw in bytes_of(tmp_path)
        nursery.cancel_scope.cancel()
    await store.close()


async def test_attack_strangers_on_a_topic_fill_half_of_the_erased(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rest_store, "ERASED_MAX", 10)
    clock = ManualClock(NOW)
    store = RestStore(MemoryRest(), clock=clock, worker=inline)
    number = 0
    while store.room_for_erased(heard=True):
        number += 1
        store.later(Changes(erased={number.to_bytes(32, "big"): NOW + 9}))
    assert number == 5
    while store.room_for_erased(heard=False):
        number += 1
        await store.commit(Changes(erased={number.to_bytes(32, "big"): NOW + 9}))
    assert number == 10
    clock.advance(9)
    await store.tidy()
    assert store.room_for_erased(heard=True)


class Crashes(RuleBasedStateMachine):
    """A store on disk against a dictionary, with kills: a copy of the files at any moment is what
    a killed process leaves."""

    items = Bundle("items")

    @initialize()
    def start(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.file = SqliteRest(str(self.folder / "rest.db"))
        self.resting: dict[bytes, Resting] = {}
        self.erased: dict[bytes, int] = {}

    @rule(target=items, numbers=st.lists(st.integers(0, 400), max_size=30))
    def put(self, numbers: list[int]) -> object:
        items = [resting(number, 100 + number) for number in numbers]
        self.file.write(putting(*items))
        self.resting |= {one.id: one for one in items}
        return multiple(*items)

    @rule(one=items)
    def publish(self, one: Resting) -> None:
        self.file.write(Changes(drops={one.id}))
        self.resting.pop(one.id, None)

    @rule(one=items, until=st.integers(NOW - 5, NOW + 5))
    def erase(self, one: Resting, until: int) -> None:
        self.file.write(Changes(drops={one.id}, erased={one.id: until}))
        self.resting.pop(one.id, None)
        self.erased[one.id] = until

    @rule(now=st.integers(NOW - 6, NOW + 6))
    def tidy(self, now: int) -> None:
        self.file.tidy(now)
        self.erased = {one: until for one, until in self.erased.items() if until > now}
        assert not os.path.getsize(self.file.path + "-wal")

    @rule()
    def restart(self) -> None:
        self.file.close()
        self.file = SqliteRest(str(self.folder / "rest.db"))

    @rule()
    def kill(self) -> None:
        left = Path(tempfile.mkdtemp())
        for path in self.folder.iterdir():
            shutil.copy(path, left / path.name)
        self.file.close()
        shutil.rmtree(self.folder)
        self.folder = left
        self.file = SqliteRest(str(left / "rest.db"))

    @invariant()
    def agree(self) -> None:
        if hasattr(self, "file"):
            items = [self.resting[one] for one in sorted(self.resting)]
            assert self.file.load() == (items, self.erased)

    def teardown(self) -> None:
        if hasattr(self, "file"):
            self.file.close()
            shutil.rmtree(self.folder)


TestCrashes = Crashes.TestCase
TestCrashes.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
