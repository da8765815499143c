"""Retention is enforced: what is over is deleted, is not taken in again, and leaves no byte."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import aggregate_making as making
import pytest
from traces import left_on_disk

from methrics.aggregate.read.dataset import open_dataset
from methrics.aggregate.read.verify import verify
from methrics.aggregate.store import store as store_module
from methrics.aggregate.store.batch import Batch, Expired
from methrics.aggregate.store.refusals import SAMPLE_DAYS
from methrics.aggregate.store.store import Store
from methrics.aggregate.store.waste import Wasted
from methrics.schema.catalog.catalog import Catalog
from methrics.schema.judging.book import CatalogBook
from methrics.schema.judging.judge import Accepted, accept
from methrics.schema.wire.verdict import Reason

DAY = making.DAY
NOW = making.NOW
CATALOG = making.catalog()
LONGER = making.catalog(extra=making.MORE_FIELDS, previous=CATALOG, replace=("= 365", "= 730"))
KEPT = 365
"""Days of retention in CATALOG; in LONGER there are twice as many."""


def history(raws: Iterable[bytes], book: CatalogBook, now: int) -> Batch:
    """A batch of reports from a file or a peer, which are not judged by the clock."""
    return Batch(now, [accept(raw, book, now, live=False) for raw in raws])


def begun(path: Path, *catalogs: Catalog, now: int = NOW) -> tuple[Store, CatalogBook]:
    book = making.book(*catalogs)
    store = Store(path)
    records = [book.records.newest(key) for key in {one.key for one in catalogs}]
    first = [Accepted(*one) for one in records if one is not None]
    store.commit(
        Batch(now, [*first, *(accept(one.raw, book, now, live=False) for one in catalogs)])
    )
    return store, book


def test_a_report_goes_when_its_last_day_has_passed(tmp_path: Path) -> None:
    store, book = begun(tmp_path / "a.duckdb", CATALOG)
    first, second = (making.beat(CATALOG, i, NOW - 7200 + i * DAY) for i in range(2))
    with store:
        store.commit(history([first, second], book, NOW + DAY))
        end = (NOW - 7200) // DAY * DAY + (KEPT + 1) * DAY
        assert store.expire(end - 1) == Expired()
        assert store.expire(end) == Expired(reports=1)
        assert store.expire(end) == Expired()
        assert store.total == 1
        assert [one.count for one in store.day_digests()] == [1]
        done = store.commit(history([first, second], book, end))
        assert (done.reports, done.duplicates, done.refused) == (0, 1, 1)
        with store.reading() as con:
            found = con.execute("SELECT reason, count, sample FROM refusal").fetchall()
        assert found == [(Reason.RETENTION.value, 1, b"")]


@pytest.mark.shows("METH-16", "KPI-11")
def test_in_2032_nothing_that_is_over_is_left_on_the_disk(tmp_path: Path) -> None:
    """With retentions of one and two years, and everything collected in 2026 and 2028."""
    in_2028, in_2030, in_2032 = (NOW + days * DAY for days in (640, 1200, 2100))
    assert LONGER.types["beat"].retention_days == 730
    old = [f(CATALOG, i) for f in (making.beat, making.clicks, making.walk) for i in range(20)]
    short = [making.clicks(CATALOG, i, in_2028 - 7200) for i in range(50, 70)]
    stays = [making.beat(LONGER, i, in_2028 - 7200) for i in range(100, 120)]
    erased = making.erasure(CATALOG, old[3], "beat", 3)
    store, book = begun(tmp_path / "a.duckdb", CATALOG, LONGER)
    with store:
        store.commit(history([*old, erased], book, NOW))
        store.commit(history([*short, *stays], book, in_2028))
    assert left_on_disk(tmp_path, old[0])
    with Store(tmp_path / "a.duckdb") as store:
        assert store.expire(in_2030) == Expired(reports=79, tombstones=1)
        assert store.wasted() == Wasted(81, NOW), "with the one that was erased"
        assert store.compact()
        assert store.wasted() is None
        for raw in [*old, *short, erased]:
            assert left_on_disk(tmp_path, raw) == set()
        assert all(len(left_on_disk(tmp_path, raw)) == 4 for raw in stays)
        # What is over is not taken in again, from whatever source.
        done = store.commit(history([*old, erased], book, in_2030))
        assert (done.reports, done.erasures, done.refused) == (0, 0, 61)
        never, book = begun(tmp_path / "b.duckdb", CATALOG, LONGER)
        with never:
            never.commit(history(stays, book, in_2028))
            assert never.day_digests() == store.day_digests()
    for raw in [*old, *short, erased]:
        assert left_on_disk(tmp_path, raw) == set()
    with open_dataset(tmp_path / "a.duckdb") as dataset:
        found = verify(dataset)
        assert (found.mismatches, found.reports) == ([], 20)
    with Store(tmp_path / "a.duckdb") as store:
        assert store.expire(in_2032).reports == 20
        assert store.compact()
        assert (store.total, store.day_digests()) == (0, [])
    (tmp_path / "b.duckdb").unlink()
    assert all(left_on_disk(tmp_path, raw) == set() for raw in stays)


def test_each_report_is_kept_as_its_own_catalog_says(tmp_path: Path) -> None:
    store, book = begun(tmp_path / "a.duckdb", CATALOG, LONGER)
    with store:
        both = [making.beat(CATALOG, 1), making.beat(LONGER, 2)]
        store.commit(history(both, book, NOW))
        assert store.expire(NOW + 400 * DAY).reports == 1
        with store.reading() as con:
            assert con.execute("SELECT raw FROM item").fetchall() == [(both[1],)]
        assert store.commit(history(both, book, NOW + 400 * DAY)).duplicates == 1


def test_many_are_deleted_some_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "EXPIRED_MAX", 7)
    store, book = begun(tmp_path / "a.duckdb", CATALOG)
    with store:
        store.commit(history([making.beat(CATALOG, i) for i in range(20)], book, NOW))
        assert store.expire(NOW + 400 * DAY).reports == 20
        assert store.total == 0


def test_no_table_is_made_for_a_report_that_is_over(tmp_path: Path) -> None:
    store, book = begun(tmp_path / "a.duckdb", CATALOG)
    with store:
        done = store.commit(history([making.beat(CATALOG, 1)], book, NOW + 400 * DAY))
        assert (done.reports, done.refused) == (0, 1)
        assert store.tables() == []


def test_samples_go_with_time_and_with_an_erasure(tmp_path: Path) -> None:
    store, book = begun(tmp_path / "a.duckdb", CATALOG)
    report, other = making.beat(CATALOG, 1), making.beat(CATALOG, 2)
    damaged, valid = report[:-1] + b"x", {Reason.LATE: (1, report), Reason.QUOTA: (1, report)}
    both = {Reason.FORGED: (1, damaged), Reason.MALFORMED: (1, other + b"x")}
    with store:
        store.commit(Batch(NOW, [], both | valid))
        erasure = history([making.erasure(CATALOG, report, "beat", 1)], book, NOW)
        store.commit(replace(erasure, now=NOW))
        with store.reading() as con:
            found = con.execute("SELECT reason FROM refusal WHERE sample <> ''::BLOB").fetchall()
        assert found == [("malformed",)]
        later = NOW + (SAMPLE_DAYS + 1) * DAY
        assert store.expire(later) == Expired(samples=1)
        assert store.compact()
        assert left_on_disk(tmp_path, other) == set()
        with store.reading() as con:
            counts = con.execute("SELECT sum(count) FROM refusal").fetchall()
        assert counts == [(4,)]


def test_an_erasure_of_a_day_that_is_over_is_refused(tmp_path: Path) -> None:
    store, book = begun(tmp_path / "a.duckdb", CATALOG)
    late = NOW + 400 * DAY
    with store:
        raw = making.erasure(CATALOG, making.beat(CATALOG, 1), "beat", 1)
        done = store.commit(history([raw], book, late))
        assert (done.erasures, done.refused) == (0, 1)
        with store.reading() as con:
            assert con.execute("SELECT reason FROM refusal").fetchall() == [("retention",)]
