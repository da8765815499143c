"""What a pipeline counts, and what it remembers of what was not stored."""

from __future__ import annotations

import math
from pathlib import Path

import aggregate_making as making
import pytest
import trio

import methrics.aggregate.collect.ingest as pipeline
from methrics.aggregate.collect.holding import DISK, STORE, Held, Resumed
from methrics.aggregate.collect.ingest import Ingest, IngestSettings, to_batch
from methrics.aggregate.store import tables
from methrics.aggregate.store.store import Store
from methrics.node.clock import ManualClock
from methrics.schema.judging.book import CatalogBook
from methrics.schema.judging.gate import BundleVerdict, Refusal
from methrics.schema.judging.judge import Accepted, judge
from methrics.schema.wire.bundle import pack
from methrics.schema.wire.verdict import Decision, Reason

CATALOG = making.catalog()
BEATS = [making.beat(CATALOG, i) for i in range(10)]
FAST = IngestSettings(threads=2, batch_seconds=0.02)


def test_a_rejected_bundle_is_one_refusal_and_others_are_counted_one_by_one() -> None:
    late, other, forged = (
        Refusal(reason, raw, None)
        for reason, raw in (
            (Reason.LATE, b"late"),
            (Reason.LATE, b"other"),
            (Reason.FORGED, b"forged"),
        )
    )
    verdicts = [
        BundleVerdict(Decision.IGNORE, Reason.LATE, [], [late, other]),
        BundleVerdict(Decision.REJECT, Reason.FORGED, [], [late, other, forged]),
        BundleVerdict(Decision.IGNORE, Reason.UNLISTED, [], [], b"record", b"a catalog"),
    ]
    assert to_batch(verdicts, making.NOW).refused == {
        Reason.LATE: (2, b"late"),
        Reason.FORGED: (1, b"forged"),
        Reason.UNLISTED: (1, b"a catalog"),
    }


async def test_what_the_door_keeps_out_is_no_duplicate_when_another_peer_offers_it(
    tmp_path: Path,
) -> None:
    """A vote counts only if the report is judged and admitted again."""
    clock, offered = ManualClock(making.NOW), list[int]()

    def admit(accepted: list[Accepted]) -> list[Accepted]:
        offered.append(len(accepted))
        return accepted if len(offered) > 1 else []

    with Store(tmp_path / "a.duckdb") as store:
        store.commit(making.batch([CATALOG.raw], CatalogBook()))
        ingest = Ingest(store, making.book(CATALOG), clock, lambda _: None, FAST)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ingest.run)
            for _ in range(3):
                await ingest.offered(pack(CATALOG.id, BEATS), CATALOG.topic, admit)
            ingest.close()
        assert offered == [len(BEATS), len(BEATS)], "the third time they are known"
        assert store.total == len(BEATS)


async def test_attack_catalogs_without_room_in_the_file_hold_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "CATALOGS_MAX", 0)
    monkeypatch.setattr(pipeline, "CATALOG_TIME", math.inf)
    clock = ManualClock(making.NOW)
    with Store(tmp_path / "a.duckdb") as store:
        ingest = Ingest(store, CatalogBook(), clock, lambda _: None, FAST)
        verdict = judge(CATALOG.raw, CatalogBook(), making.NOW, live=False, topic=CATALOG.topic)
        assert isinstance(verdict, Accepted)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ingest.run)
            with trio.fail_after(60):
                assert not await ingest.take_catalog(verdict)
            ingest.close()
        assert not store.layout.entries


def test_a_cause_that_is_gone_leaves_the_others(tmp_path: Path) -> None:
    told: list[Held | Resumed] = []
    with Store(tmp_path / "a.duckdb") as store:
        ingest = Ingest(
            *(store, CatalogBook(), ManualClock(making.NOW), lambda _: None, FAST),
            holding=told.append,
        )
        ingest.hold(DISK, "it is almost full")
        ingest.hold(STORE, "a commit failed")
        ingest.resume(STORE)
        assert ingest.holds
        ingest.resume(STORE)
        assert ingest.holds
        ingest.resume(DISK)
        assert not ingest.holds
    assert [one.cause for one in told] == [DISK, STORE, STORE, DISK]
