"""How much of the reports an aggregator had when it closed their days, and who can read it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from aggregate_making import NOW
from closing_making import CATALOG, KEYS, OLD, VOTERS, clock, fill, let_in, old_beats

from methrics.aggregate.closing.closer import Closer
from methrics.aggregate.closing.coverage import Coverage, coverage_of
from methrics.aggregate.closing.door import Door
from methrics.aggregate.closing.manifests import keep_manifests
from methrics.aggregate.closing.trust import Trust
from methrics.aggregate.parquet.export import Exporter
from methrics.aggregate.read.dataset import open_dataset
from methrics.aggregate.store.store import Store
from methrics.node.network.peer_ids import peer_id_of
from methrics.schema.wire.limits import COUNTED_MAX, DAY
from methrics.schema.wire.manifest import Manifest, read_manifest, sign_manifest


def test_without_reports_nothing_is_lost() -> None:
    assert Coverage(b"s", b"k").share == 1.0


@pytest.mark.shows("NEW-2", "NEW-7")
def test_what_came_after_a_day_was_closed_lowers_the_coverage_that_is_published(
    tmp_path: Path,
) -> None:
    with Store(tmp_path / "metrics.duckdb") as store:
        fill(store, range(3))
        closer = Closer(store, KEYS[0])
        closer.close(NOW)
        door = Door(store, clock(), Trust(frozenset(VOTERS[1:3]), 2))
        for voter in VOTERS[1:3]:
            let_in(door, store, old_beats([70]), voter)
        closer.close(NOW + 60)
        with store.reading() as con:
            assert coverage_of(con) == [
                Coverage(VOTERS[0], CATALOG.key, 1, OLD // DAY, OLD // DAY, 4, 1)
            ]
        exporter = Exporter(store)
        exporter.export(NOW)
        exporter.close()
    published = json.loads((tmp_path / "metrics.parquet" / "manifest.json").read_bytes())
    peer = peer_id_of(VOTERS[0])
    assert published["closed"] == {
        "test": {peer: {"days": 1, "reports": 4, "late": 1, "coverage": 0.75}}
    }
    with open_dataset(tmp_path / "metrics.parquet") as dataset:
        [(raw,)] = dataset.sql("SELECT raw FROM manifest").fetchall()
    assert read_manifest(raw).manifest.count == 4


def test_attack_a_peer_signs_numbers_that_no_reader_of_the_parquet_takes(tmp_path: Path) -> None:
    with Store(tmp_path / "metrics.duckdb") as store:
        fill(store, range(3))
        exporter = Exporter(store)
        exporter.export(NOW)
        no = bytes(32)
        lies = [
            Manifest(CATALOG.key, OLD // DAY - i, NOW, True, COUNTED_MAX, no, 0, no, COUNTED_MAX)
            for i in range(3)
        ]
        raws = [sign_manifest(one, KEYS[1]).item.raw for one in lies]
        assert keep_manifests(store, raws, {VOTERS[1]}, NOW).new == 3
        exporter.export(NOW + 60)
        exporter.close()
        with open_dataset(store.directory) as dataset:
            assert dataset.written == "2026-09-21T14:21:00+00:00"
            assert dataset.rows("SELECT count(*) FROM item") == [(3,)]
