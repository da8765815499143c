"""The views of what namespaces say in public: `namespaces` and `namespace_changes`."""

from __future__ import annotations

import random
from pathlib import Path

import aggregate_making as making
import pytest

from methrics.aggregate.parquet.export import Exporter
from methrics.aggregate.read import views
from methrics.aggregate.read.dataset import open_dataset
from methrics.aggregate.read.verify import verify
from methrics.aggregate.read.views import facts
from methrics.aggregate.store.duck import memory
from methrics.aggregate.store.parts import directory_beside
from methrics.aggregate.store.store import Store
from methrics.schema.judging.book import CatalogBook
from methrics.schema.judging.records import RecordBook
from methrics.schema.wire.envelope import Item, Kind, sign_item, split
from methrics.schema.wire.record import Listing, Record, decode_record, encode_record, sign_record

NOW, DAY = making.NOW, making.DAY
OLD = making.catalog()
NEW = making.catalog(extra=making.MORE_FIELDS, previous=OLD)
OTHER = making.catalog(label="other", key=making.seed("other"))
FIRST = making.record(OLD, time=NOW - 900)
SECOND = making.record(
    OLD,
    NEW,
    time=NOW - 800,
    previous=[split(FIRST).id],
    delisted={OLD.id: NOW + 30 * DAY},
    revoked={"clicks": NOW - 7200},
)
TWICE = making.record(NEW, time=NOW - 700, previous=[split(FIRST).id])
HEALED = making.record(NEW, time=NOW - 600, previous=[split(SECOND).id, split(TWICE).id])


def opened(path: Path, *records: bytes) -> list[tuple[object, ...]]:
    with Store(path) as store:
        store.commit(making.batch([FIRST, OLD.raw, *records], CatalogBook()))
        Exporter(store).export(NOW)
    with open_dataset(path) as file, open_dataset(directory_beside(path)) as parquet:
        query = (
            "SELECT live_catalogs, ever_listed, revoked_types, records, changes, equivocation "
            "FROM namespaces"
        )
        assert file.rows(query) == parquet.rows(query)
        assert "as it is" in file.footnote("namespaces")
        return file.rows(query)


def changes(path: Path) -> list[tuple[object, ...]]:
    with open_dataset(path) as dataset:
        return dataset.rows(
            f"SELECT epoch(record_time)::INT - {NOW}, change, what[:16], "
            f"epoch(since)::BIGINT - {NOW}, note FROM namespace_changes"
        )


def test_each_namespace_has_a_row_with_its_newest_record(tmp_path: Path) -> None:
    assert opened(tmp_path / "a.duckdb", SECOND) == [(2, 2, 1, 2, 1, False)]


def test_the_same_list_again_is_no_change(tmp_path: Path) -> None:
    again = making.record(OLD, time=NOW - 500, previous=[split(FIRST).id])
    assert opened(tmp_path / "a.duckdb", again) == [(1, 1, 0, 2, 0, False)]


def test_equivocation_is_shown_until_a_later_record_names_both(tmp_path: Path) -> None:
    assert opened(tmp_path / "a.duckdb", TWICE, SECOND)[0][-1] is True
    assert opened(tmp_path / "b.duckdb", HEALED, TWICE, SECOND)[0][-1] is False


SETTLED = making.record(NEW, time=NOW - 500, previous=[split(TWICE).id], settled=NOW - 600)
LATEST = making.record(NEW, time=NOW - 400, previous=[split(SETTLED).id], settled=NOW - 600)


def test_equivocation_is_not_shown_once_the_newest_record_has_settled_it(tmp_path: Path) -> None:
    both = [TWICE, SECOND]
    assert opened(tmp_path / "a.duckdb", SETTLED, *both)[0][-1] is False
    assert opened(tmp_path / "b.duckdb", LATEST, *both)[0][-1] is False
    for path, newest in ((tmp_path / "a.duckdb", SETTLED), (tmp_path / "b.duckdb", LATEST)):
        told = [row for row in changes(path) if row[1] == "contradicts"]
        assert told == [(-700, "contradicts", split(SECOND).id.hex()[:16], None, "healed")]
        with open_dataset(path) as dataset:
            assert verify(dataset).ok
            stored = dataset.rows(
                f"SELECT epoch(settled)::BIGINT - {NOW} FROM record WHERE id = ?",
                [split(newest).id],
            )
            assert stored == [(-600,)]


def test_equivocation_after_what_was_settled_is_shown(tmp_path: Path) -> None:
    again = making.record(NEW, time=NOW - 450, previous=[split(TWICE).id])
    newest = making.record(NEW, time=NOW - 400, previous=[split(again).id], settled=NOW - 600)
    assert opened(tmp_path / "a.duckdb", SETTLED, again, newest, TWICE, SECOND)[0][-1] is True


def test_views_agree_with_the_judge_about_contradictions(tmp_path: Path) -> None:
    rng = random.Random(11)
    book, items = RecordBook(), []
    for namespace in range(60):
        own: list[Item] = []
        for n in range(rng.randint(2, 7)):
            before = rng.sample(own, min(len(own), rng.randint(0, 2)))
            settled = rng.choice([None, None, NOW - 900 + rng.randint(-3, n - 1)])
            own.append(
                sign_record(
                    [OLD.id],
                    making.seed("namespace", namespace),
                    time=NOW - 900 + n,
                    expires=NOW + DAY,
                    previous=[one.id for one in before],
                    settled=settled,
                )
            )
            book.add(own[-1], decode_record(own[-1].payload))
        items += own
    with Store(tmp_path / "a.duckdb") as store:
        store.commit(making.batch([one.raw for one in items], CatalogBook()))
    proven = {one.key.hex() for one in items if book.proof(one.key)}
    assert 5 < len(proven) < 55
    with open_dataset(tmp_path / "a.duckdb") as dataset:
        assert proven == {
            key for (key,) in dataset.rows("SELECT key FROM namespaces WHERE equivocation")
        }
        assert proven == {
            key
            for (key,) in dataset.rows(
                "SELECT key FROM namespace_changes WHERE change = 'contradicts' AND note IS NULL"
            )
        }


def test_every_change_of_the_list_is_shown_with_its_time(tmp_path: Path) -> None:
    with Store(tmp_path / "a.duckdb") as store:
        raws = [FIRST, OLD.raw, SECOND, TWICE, HEALED]
        store.commit(making.batch(raws, CatalogBook()))
    found = changes(tmp_path / "a.duckdb")
    old, new = OLD.id.hex()[:16], NEW.id.hex()[:16]
    assert found == [
        (-900, "listed", old, -NOW, None),
        (-800, "delisted", old, 30 * DAY, None),
        (-800, "listed", new, -NOW, None),
        (-800, "revoked", "clicks", -7200, "testing"),
        (-700, "contradicts", split(SECOND).id.hex()[:16], None, "healed"),
        (-700, "dropped", old, None, None),
        (-700, "restored", "clicks", None, None),
    ]


def ending(time: int, before: bytes, end: int | None, listed: int = NOW - 900) -> bytes:
    """A record of the catalog OLD alone, listed from `listed` until `end`."""
    listing = Listing(OLD.id, listed, end)
    record = Record(time, NOW + 300 * DAY, (split(before).id,), (listing,))
    return sign_item(Kind.RECORD, encode_record(record), making.NAMESPACE).raw


BEGUN = ending(NOW - 890, FIRST, None)
ENDED = ending(NOW - 800, BEGUN, NOW - 500)


@pytest.mark.parametrize(
    ("after", "shown"),
    [
        (ending(NOW - 400, ENDED, None, NOW - 400), [("relisted", -400, None)]),
        (
            ending(NOW - 400, ENDED, NOW + 5, NOW - 400),
            [("delisted", 5, None), ("relisted", -400, None)],
        ),
        (ending(NOW - 600, ENDED, None), [("relisted", -900, "end withdrawn")]),
        (ending(NOW - 600, ENDED, NOW + 5), [("delisted", 5, "end moved")]),
        (ending(NOW - 600, ENDED, NOW - 500, NOW - 950), [("relisted", -950, "start changed")]),
        (ending(NOW - 600, ENDED, NOW - 500), []),
    ],
)
def test_a_catalog_that_is_listed_again_is_shown_and_so_is_what_was_taken_back(
    tmp_path: Path, after: bytes, shown: list[tuple[object, ...]]
) -> None:
    with Store(tmp_path / "a.duckdb") as store:
        store.commit(making.batch([BEGUN, ENDED, OLD.raw, after], CatalogBook()))
    time = decode_record(split(after).payload).time
    found = [
        (change, since, note)
        for at, change, _, since, note in changes(tmp_path / "a.duckdb")
        if at == time - NOW
    ]
    assert found == shown


def test_a_namespace_without_a_catalog_in_the_file_is_shown_by_its_key(tmp_path: Path) -> None:
    with Store(tmp_path / "a.duckdb") as store:
        store.commit(making.batch([making.record(OTHER), OLD.raw], CatalogBook()))
    with open_dataset(tmp_path / "a.duckdb") as dataset:
        assert dataset.rows("SELECT label, key FROM namespaces") == [
            ("", OTHER.key.hex()),
            ("test", OLD.key.hex()),
        ]


def test_facts_read_no_reports() -> None:
    assert [view.name for view in facts()] == ["namespace_changes", "namespaces"]
    odd = views._fact("odd", "-- Says.\nSELECT count(*) FROM item")
    with pytest.raises(views.ViewError, match="reads item"):
        odd.check(memory())
