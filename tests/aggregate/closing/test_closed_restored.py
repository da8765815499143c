"""Closed days and contested reports of a file that is rebuilt, or set aside because of damage."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from aggregate_making import DAY, NOW
from click.testing import CliRunner
from closing_making import KEYS, VOTERS, clock, fill, let_in, old_beats

from methrics.aggregate.cli.root import root
from methrics.aggregate.closing.closer import Closer
from methrics.aggregate.closing.coverage import coverage_of
from methrics.aggregate.closing.door import Door
from methrics.aggregate.closing.manifests import closed_of, keep_manifests
from methrics.aggregate.closing.trust import Trust
from methrics.aggregate.collect.opening import Opening, SetAside, open_file
from methrics.aggregate.parquet.export import Exporter
from methrics.aggregate.store.digest import DayDigest
from methrics.aggregate.store.store import Store
from methrics.node.clock import Clock
from methrics.schema.errors import StoreError
from methrics.schema.wire.manifest import Manifest, SignedManifest

pytestmark = pytest.mark.shows("NEW-2")

TRUST = Trust(frozenset(VOTERS[1:3]), 2)


@pytest.fixture
def before(tmp_path: Path) -> tuple[Path, list[SignedManifest], list[DayDigest]]:
    """A file with a closed day, to which a quorum added a report, and another is contested."""
    path = tmp_path / "metrics.duckdb"
    with Store(path) as store:
        fill(store, range(5))
        closer = Closer(store, KEYS[0])
        closer.close(NOW)
        door = Door(store, clock(), TRUST)
        for voter in VOTERS[1:3]:
            let_in(door, store, old_beats([70]), voter)
        let_in(door, store, old_beats([71, 72]), VOTERS[1])
        made = closer.close(NOW + 60)
        Exporter(store).export(NOW + 60)
        return path, made, store.day_digests()


def closed(store: Store) -> list[Manifest]:
    with store.reading() as con:
        return [one.manifest for one in closed_of(con, VOTERS[0]).values()]


def check(store: Store, made: list[SignedManifest], digests: list[DayDigest]) -> None:
    """Check that a new file has the same reports, and that its manifests agree with those that the
    old one gave to others."""
    assert store.day_digests() == digests
    door = Door(store, clock(), TRUST)
    assert door.contested() == []
    # A report that was contested still needs its quorum: to be in the old file is no vote.
    assert [let_in(door, store, old_beats([71]), voter) for voter in VOTERS[1:3]] == [0, 1]
    later = NOW + 2 * DAY
    again = Closer(store, KEYS[0]).close(later)
    assert {one.manifest.day for one in made} <= {one.day for one in closed(store)}
    with Store(store.path.with_name("peer.duckdb")) as peer:
        fill(peer)
        raws = [one.item.raw for one in (*made, *again)]
        kept = keep_manifests(peer, raws, VOTERS[:1], later)
        assert (kept.contradictions, kept.refused) == (0, 0)
        assert closed(peer) == closed(store)


def test_a_rebuilt_file_closes_its_days_again_and_contradicts_nothing(
    before: tuple[Path, list[SignedManifest], list[DayDigest]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Clock, "now", lambda _: NOW + 120)
    path, *rest = before
    new = tmp_path / "new" / "metrics.duckdb"
    new.parent.mkdir()
    done = CliRunner().invoke(root, ["rebuild", str(path), str(new)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    with Store(new) as store:
        assert closed(store) == []
        check(store, *rest)


@pytest.mark.parametrize("also", ["", "raw", "types"])
def test_after_a_damaged_file_was_set_aside_the_same_days_are_closed(
    before: tuple[Path, list[SignedManifest], list[DayDigest]], also: str
) -> None:
    path, made, digests = before
    path.write_bytes(path.read_bytes()[:20_000])
    if also:
        (file,) = path.with_suffix(".parquet").glob(f"{also}/test/beat/*/*.parquet")
        file.write_bytes(file.read_bytes()[:200])
    said: list[Opening] = []
    opened = open_file(path, NOW + 120, said.append)
    with opened.store as store:
        assert isinstance(said[0], SetAside)
        if also == "raw":  # both have lost the reports: no number is invented, and peers have them
            assert store.total == 0
            assert any("not the listed file" in one.line() for one in said[1:])
        else:
            check(store, made, digests)


@pytest.mark.parametrize("lost", ["nothing", "file", "directory"])
def test_a_new_file_publishes_the_coverage_that_the_damaged_one_had(
    before: tuple[Path, list[SignedManifest], list[DayDigest]], lost: str
) -> None:
    """A file that closed all days anew would say that nothing was late. Others' manifests in what
    was set aside are not taken."""
    path, made, _ = before
    with Store(path) as store:
        other = Closer(store, KEYS[1]).close(NOW + 70)
        assert len(other) == 1
        Exporter(store).export(NOW + 70)
        with store.reading() as con:
            [mine] = [one for one in coverage_of(con) if one.signer == VOTERS[0]]
    assert (mine.reports, mine.late) == (6, 1)
    damage = StoreError("store-damaged", "a page is damaged")
    if lost == "file":
        path.write_bytes(path.read_bytes()[:20_000])
    elif lost == "directory":
        shutil.rmtree(path.with_suffix(".parquet"))
    with open_file(path, NOW + 120, lambda _: None, damage, own=VOTERS[0]).store as store:
        assert closed(store) == [one.manifest for one in made]
        Closer(store, KEYS[0]).close(NOW + 2 * DAY)
        with store.reading() as con:
            assert coverage_of(con) == [mine]
