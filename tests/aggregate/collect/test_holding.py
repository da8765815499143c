"""An aggregator that cannot store: it accepts nothing, forgets nothing, and resumes by itself."""

from __future__ import annotations

from pathlib import Path

import aggregate_making as making
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from methrics.aggregate.collect import disk
from methrics.aggregate.collect.disk import KeepFree, Watermark, read_space
from methrics.aggregate.collect.disk_use import free_space
from methrics.aggregate.collect.holding import DISK, PAUSE_MAX, STORE, Held, Resumed, pauses
from methrics.aggregate.collect.ingest import Ingest, IngestSettings
from methrics.aggregate.collect.service import damage_in
from methrics.aggregate.store.batch import Batch, Committed
from methrics.aggregate.store.store import Store
from methrics.node.clock import ManualClock
from methrics.node.network.swarm import UNSEEN
from methrics.schema.errors import StoreError
from methrics.schema.wire.bundle import pack
from methrics.schema.wire.verdict import Decision

CATALOG = making.catalog()
FAST = IngestSettings(threads=1, batch_seconds=0.02)
MIB = 1 << 20


def bundle(start: int) -> bytes:
    return pack(CATALOG.id, [making.beat(CATALOG, i) for i in range(start, start + 5)])


@pytest.mark.parametrize(
    ("text", "of_a_gigabyte"),
    [("0", 0), ("100MB", 10**8), ("1.5 MiB", 1_572_864), ("5%", 5 * 10**7),
     ("1GiB or 5%", 5 * 10**7), ("10 mb or 5%", 10**7)],
)  # fmt: skip
def test_a_size_a_share_or_the_smaller_of_both(text: str, of_a_gigabyte: int) -> None:
    assert read_space(text).of(10**9) == of_a_gigabyte


@pytest.mark.parametrize("text", ["", "5", "5 % of it", "-1MB", "1e9", "100%%", "MB", "1 or"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="such as"):
        read_space(text)


@given(st.lists(st.integers(0, 200)), st.integers(1, 100))
def test_below_the_mark_the_disk_always_counts_as_full(frees: list[int], least: int) -> None:
    mark, changes = Watermark(KeepFree(least, 1.0)), 0
    for free in frees:
        before = mark.full
        assert mark.look(free, 1000) or free >= least
        assert not mark.full or free < least * disk.MORE
        changes += before != mark.full
    # The disk has to fill up or empty by a quarter of the mark before the answer changes again.
    assert changes <= 1 or max(frees) - min(frees) >= least * (disk.MORE - 1)


def test_the_space_of_a_real_disk(tmp_path: Path) -> None:
    free, total = free_space(tmp_path)
    assert 0 < free <= total


def test_the_pauses_grow_and_are_bounded() -> None:
    found = pauses()
    taken = [next(found) for _ in range(20)]
    assert taken == sorted(taken)
    assert taken[-1] == PAUSE_MAX


class Failing(Store):
    """A store whose next commits fail."""

    failures = 0
    code = "store-full"
    reopened = 0

    def commit(self, batch: Batch) -> Committed:
        if self.failures:
            self.failures -= 1
            raise StoreError(self.code, "no room")
        return super().commit(batch)

    def reopen(self) -> None:
        self.reopened += 1
        super().reopen()


def making_ingest(store: Store, told: list[object]) -> Ingest:
    """A pipeline that appends everything it tells to `told`."""
    clock = ManualClock(making.NOW)
    return Ingest(store, making.book(CATALOG), clock, told.append, FAST, None, told.append)


@pytest.mark.parametrize("code", ["store-full", "store-denied", "store-busy", "store-closed"])
async def test_a_commit_that_failed_is_tried_again_and_nothing_is_lost(
    tmp_path: Path, code: str
) -> None:
    told: list[object] = []
    with Failing(tmp_path / "a.duckdb") as store:
        ingest = making_ingest(store, told)
        validate = ingest.validator(CATALOG.topic)
        store.failures, store.code = 2, code
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ingest.run)
            assert await validate("peer", bundle(0)) is Decision.ACCEPT
            with trio.fail_after(60):
                while not told:
                    await trio.sleep(0.01)
            assert ingest.holds
            assert await validate("peer", bundle(5)) is UNSEEN
            with trio.fail_after(60):
                while ingest.holds:
                    await trio.sleep(0.01)
            # What was refused comes again, from another peer, and counts.
            assert await validate("other", bundle(5)) is Decision.ACCEPT
            ingest.close()
        assert (store.total, store.reopened) == (10, 2)
    assert told[:2] == [Held(STORE, "no room"), Resumed(STORE, 1)]
    assert (ingest.statistics().retries, ingest.statistics().held) == (2, 1)


async def test_what_is_left_at_the_end_is_committed_after_an_error_of_another_task(
    tmp_path: Path,
) -> None:
    """Such as of the keeper on a full disk that has room again."""
    told: list[object] = []
    with Failing(tmp_path / "a.duckdb") as store:
        ingest = making_ingest(store, told)
        assert await ingest.validator(CATALOG.topic)("peer", bundle(0)) is Decision.ACCEPT
        with pytest.raises(ZeroDivisionError), store.writing():
            raise ZeroDivisionError
        ingest.close()
        await ingest.run()
        assert (store.total, store.reopened) == (5, 1)


async def test_a_damaged_file_ends_the_pipeline_at_once(tmp_path: Path) -> None:
    told: list[object] = []
    with Failing(tmp_path / "a.duckdb") as store:
        ingest = making_ingest(store, told)
        store.failures, store.code = 1, "store-damaged"
        with pytest.raises(BaseExceptionGroup) as caught:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ingest.run)
                await ingest.validator(CATALOG.topic)("peer", bundle(0))
    found = damage_in(caught.value)
    assert found is not None
    assert found.code == "store-damaged"
    assert damage_in(StoreError("store-full", "no room")) is None
    assert told == []


async def test_on_a_full_disk_a_stop_ends_it_and_acknowledges_nothing(tmp_path: Path) -> None:
    told: list[object] = []
    with Failing(tmp_path / "a.duckdb") as store:
        ingest = Ingest(
            store,
            making.book(CATALOG),
            ManualClock(making.NOW),
            told.append,
            FAST,
            None,
            told.append,
        )
        store.failures = 1_000_000
        with pytest.RaisesGroup(pytest.RaisesExc(StoreError, match="no room")):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ingest.run)
                await ingest.validator(CATALOG.topic)("peer", bundle(0))
                with trio.fail_after(60):
                    while not told:
                        await trio.sleep(0.01)
                ingest.close()
    assert told == [Held(STORE, "no room")]


async def test_below_the_mark_nothing_is_accepted_until_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = 99 * MIB
    monkeypatch.setattr(disk, "free_space", lambda folder: (free, 1000 * MIB))
    monkeypatch.setattr(disk, "LOOK_EVERY", 0.01)
    told: list[object] = []
    with Store(tmp_path / "a.duckdb") as store:
        ingest = Ingest(
            store,
            making.book(CATALOG),
            ManualClock(making.NOW),
            told.append,
            FAST,
            None,
            told.append,
        )
        validate = ingest.validator(CATALOG.topic)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(disk.watch_disk, tmp_path, KeepFree(100 * MIB, 1.0), ingest)
            nursery.start_soon(ingest.run)
            with trio.fail_after(60):
                while not ingest.holds:
                    await trio.sleep(0.01)
            assert await validate("peer", bundle(0)) is UNSEEN
            free = 110 * MIB
            await trio.sleep(0.1)
            assert ingest.holds, "a little more room is not enough"
            free = 125 * MIB
            with trio.fail_after(60):
                while ingest.holds:
                    await trio.sleep(0.01)
            assert await validate("peer", bundle(0)) is Decision.ACCEPT
            ingest.close()
            with trio.fail_after(60):
                while store.total != 5:
                    await trio.sleep(0.01)
            nursery.cancel_scope.cancel()
    first, second = told[:2]
    assert isinstance(first, Held)
    assert first.message == "only 99 MiB are free on its disk, and 100 MiB stay free"
    assert second == Resumed(DISK, 1)
