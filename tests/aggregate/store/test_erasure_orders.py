"""NEW-3: reports and their erasures give the same result in any order and however often."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import aggregate_making as making
import own_making
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from methrics.aggregate.parquet.export import Exporter
from methrics.aggregate.store.batch import Batch
from methrics.aggregate.store.digest import digests
from methrics.aggregate.store.erasures import runs
from methrics.aggregate.store.store import Store
from methrics.schema.judging.book import CatalogBook
from methrics.schema.judging.judge import Accepted, judge
from methrics.schema.wire.envelope import Kind, seal, split
from methrics.schema.wire.record import Listing, decode_record, encode_record, sign_record

CATALOG = making.catalog()
TIMES = [making.NOW - 7200, making.NOW - 7200, making.NOW - making.DAY, making.NOW - 2 * making.DAY]


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[bytes], list[bytes]]:
    """Four reports of one person and the erasures of three of them, as the node made them."""
    person = own_making.Person(tmp_path_factory.mktemp("home"), CATALOG)
    receipts = person.send(TIMES)
    return [one.raw for one in receipts], person.erase(receipts[:3])


def content(store: Store) -> dict[str, Any]:
    """The content of the file, without row numbers."""
    con = store.cursor()
    return {
        "items": con.execute("SELECT kind, time, id, raw FROM item ORDER BY ALL").fetchall(),
        "beats": con.execute("SELECT day, time, os, daily FROM test.beat ORDER BY ALL").fetchall(),
        "tombstones": con.execute(
            "SELECT report, catalog, day, id, raw FROM tombstone ORDER BY ALL"
        ).fetchall(),
        "digests": digests(con),
        "total": store.total,
    }


@pytest.fixture(scope="module")
def wanted(
    tmp_path_factory: pytest.TempPathFactory, items: tuple[list[bytes], list[bytes]]
) -> dict[str, Any]:
    """The result if everything arrives once and in order."""
    with Store(tmp_path_factory.mktemp("plain") / "a.duckdb") as store:
        store.commit(making.batch([CATALOG.raw], CatalogBook()))
        for part in items:
            store.commit(making.batch(part, _book()))
        found = content(store)
    assert [row[2] for row in found["items"]] == [split(items[0][3]).id]
    assert len(found["tombstones"]) == 3
    return found


@pytest.mark.shows("NEW-3")
@pytest.mark.slow
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_interleaving_gives_the_same_tables_and_digest(
    tmp_path_factory: pytest.TempPathFactory,
    items: tuple[list[bytes], list[bytes]],
    wanted: dict[str, Any],
    data: st.DataObject,
) -> None:
    reports, erasures = items
    repeated = data.draw(st.lists(st.sampled_from([*reports, *erasures]), max_size=6))
    order = data.draw(st.permutations([*reports, *erasures, *repeated]))
    cuts = data.draw(st.lists(st.integers(0, len(order)), max_size=4, unique=True))
    with Store(tmp_path_factory.mktemp("mixed") / "a.duckdb") as store:
        store.commit(making.batch([CATALOG.raw], CatalogBook()))
        for start, end in pairwise([0, *sorted(cuts), len(order)]):
            store.commit(making.batch(order[start:end], _book()))
        assert content(store) == wanted


def test_erased_bytes_leave_the_parquet_and_the_file_when_it_is_rewritten(
    tmp_path: Path, items: tuple[list[bytes], list[bytes]]
) -> None:
    reports, erasures = items
    file, beside = tmp_path / "a.duckdb", tmp_path / "a.parquet"
    erased = [split(raw) for raw in reports[:3]]
    with Store(file) as store:
        store.commit(making.batch([CATALOG.raw, *reports], CatalogBook()))
        exporter = Exporter(store)
        exporter.export(making.NOW)
        assert _parquet_ids(beside) == {split(raw).id for raw in reports}
        store.commit(making.batch(erasures, _book()))
        exporter.export(making.NOW)
        assert _parquet_ids(beside) == {split(reports[3]).id}
    old = file.read_bytes()
    # DuckDB keeps deleted bytes in the file until it rewrites them: see docs/own-data.md.
    assert any(item.signature in old for item in erased)
    fresh = tmp_path / "b.duckdb"
    _rewrite(file, fresh)
    assert not any(item.signature in fresh.read_bytes() for item in erased)
    with Store(fresh) as store:
        assert store.total == 1


def _rewrite(file: Path, fresh: Path) -> None:
    from methrics.aggregate.store.duck import literal, memory

    con = memory()
    con.execute(f"ATTACH {literal(file)} AS old (READ_ONLY)")
    con.execute(f"ATTACH {literal(fresh)} AS fresh (STORAGE_VERSION 'v1.5.0')")
    con.execute("COPY FROM DATABASE old TO fresh")
    con.close()


def _parquet_ids(directory: Path) -> set[bytes]:
    from methrics.aggregate.read.dataset import open_dataset

    with open_dataset(directory) as dataset:
        rows = dataset.rows(f"SELECT id FROM item WHERE kind = {int(Kind.REPORT)}")
        return {bytes(row[0]) for row in rows}


def _book() -> CatalogBook:
    return making.book(CATALOG)


@given(st.lists(st.integers(0, 30)))
def test_runs_are_the_days_and_no_others(days: list[int]) -> None:
    found = runs(days)
    assert {day for first, last in found for day in range(first, last + 1)} == set(days)
    assert all(one[1] + 1 < two[0] for one, two in pairwise(found))


def test_attack_erasures_of_days_without_reports_take_no_space(tmp_path: Path) -> None:
    """Nobody can have reported before the first listing, or after tomorrow."""
    listed = making.NOW - 10 * making.DAY
    record = sign_record(
        [CATALOG.id], making.NAMESPACE, time=listed, expires=making.NOW + 400 * making.DAY
    )
    shifted = replace(decode_record(record.payload), catalogs=(Listing(CATALOG.id, listed, None),))
    item = split(seal(Kind.RECORD, encode_record(shifted), making.NAMESPACE))
    report = making.beat(CATALOG, 1)
    book = making.book(CATALOG)
    times = {"gone": -30, "before": -11, "first": -10, "now": 0, "tomorrow": 1, "later": 2}
    raws = [
        making.erasure(CATALOG, report, "beat", i, making.NOW + days * making.DAY)
        for i, days in enumerate(times.values())
    ]
    verdicts = [judge(raw, book, 0, live=False) for raw in raws]
    accepted = [one for one in verdicts if isinstance(one, Accepted)]
    assert len(accepted) == len(times)
    with Store(tmp_path / "a.duckdb") as store:
        catalog = judge(CATALOG.raw, book, making.NOW, live=False)
        assert isinstance(catalog, Accepted)
        known = [Accepted(item, shifted), catalog]
        done = store.commit(Batch(making.NOW, [*known, *accepted]))
        assert (done.erasures, done.refused) == (3, 3)
        found = store.cursor().execute("SELECT reason, count FROM refusal ORDER BY ALL").fetchall()
        assert found == [("early", 1), ("unlisted", 2)]
    with Store(tmp_path / "a.duckdb") as store:
        assert store.commit(Batch(making.NOW, accepted)).refused == 3, "the file knows it, too"


@pytest.mark.parametrize("order", [1, -1])
def test_a_later_listing_takes_no_day_away_on_which_a_catalog_was_listed(
    tmp_path: Path, order: int
) -> None:
    """A namespace may list a catalog again; reports of the first days are still erased."""
    days = (-10, -1)
    records = []
    for ago in days:
        listed = making.NOW + ago * making.DAY
        plain = sign_record(
            [CATALOG.id], making.NAMESPACE, time=listed, expires=making.NOW + 400 * making.DAY
        )
        body = replace(decode_record(plain.payload), catalogs=(Listing(CATALOG.id, listed, None),))
        raw = seal(Kind.RECORD, encode_record(body), making.NAMESPACE)
        records.append(Accepted(split(raw), body))
    reports = [making.beat(CATALOG, i, making.NOW + ago * making.DAY) for i, ago in enumerate(days)]
    erasures = [
        making.erasure(CATALOG, raw, "beat", i, making.NOW + days[i] * making.DAY)
        for i, raw in enumerate(reports)
    ]
    book = _book()
    verdicts = [judge(raw, book, making.NOW, live=False) for raw in (CATALOG.raw, *erasures)]
    accepted = [one for one in verdicts if isinstance(one, Accepted)]
    with Store(tmp_path / "a.duckdb") as store:
        store.commit(Batch(making.NOW, [*records[::order], accepted[0]]))
        assert store.commit(Batch(making.NOW, accepted[1:])).erasures == 2
