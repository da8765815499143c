"""Each shipped view, with a floor of 1, gives the figures computed by hand."""

from __future__ import annotations

from math import ceil, floor, sqrt
from pathlib import Path

import pytest
import view_making as making
from view_making import MONDAY, beats, later, rows, walks

from methrics.aggregate.parquet.export import Exporter
from methrics.aggregate.read.dataset import Dataset, open_dataset
from methrics.aggregate.store.parts import directory_beside
from methrics.aggregate.store.store import Store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.duckdb"


@pytest.mark.shows("METH-8", "NEW-4")
def test_installs_by_day_week_and_month_are_first_reports_of_each(path: Path) -> None:
    tables = {
        "beat": [
            *beats(3, daily=True, weekly=True, monthly=True),
            *beats(2, later(6), daily=True),
            *beats(4, later(7), daily=True, weekly=True),
            *beats(9, later(7)),
            *beats(1, later(30), daily=True, weekly=True, monthly=True, one_in=10),
        ]
    }
    with making.make(path, tables, floor=1) as data:
        assert data.rows("FROM test.beat_dau") == [
            (MONDAY, 3),
            (later(6), 2),
            (later(7), 4),
            (later(30), 10),
        ]
        assert data.rows("FROM test.beat_wau") == [(MONDAY, 3), (later(7), 4), (later(28), 10)]
        assert data.rows("FROM test.beat_mau") == [(MONDAY, 3), (later(30), 10)]


def test_stickiness_is_the_mean_day_of_the_days_that_the_data_reach(path: Path) -> None:
    july = later(30)
    tables = {
        "beat": [
            *beats(6, later(10), daily=True, monthly=True),
            *beats(4, later(20), daily=True),
            *beats(5, july, daily=True, monthly=True),
        ]
    }
    with making.make(path, tables, floor=1) as data:
        # The data begin on 11 June and end on 1 July: 20 days of June, one of July.
        assert data.rows("FROM test.beat_stickiness") == [
            (MONDAY, 20, 0.5, 6, 8),
            (july, 1, 5.0, 5, 100),
        ]


def test_new_installs_are_those_of_the_same_week(path: Path) -> None:
    tables = {
        "beat": [
            *beats(1, weekly=True, age=0),
            *beats(2, weekly=True, age=1),
            *beats(1, weekly=True, age=3),
            *beats(5, weekly=True, age=None),
            *beats(7, age=0),
        ]
    }
    with making.make(path, tables, floor=1) as data:
        assert data.rows("FROM test.beat_new_and_returning") == [(MONDAY, 1, 3, 5, 25)]


@pytest.mark.shows("METH-8", "NEW-4")
def test_retention_is_by_the_week_of_the_first_day(path: Path) -> None:
    tables = {
        "keep": [
            *rows(4, later(0), milestone="d0"),
            *rows(4, later(6), milestone="d0"),
            *rows(2, later(1), milestone="d1"),
            *rows(3, later(7), milestone="d1"),  # of the installs of Sunday
            *rows(2, later(13), milestone="d7"),
            *rows(1, later(14), milestone="d0"),
        ]
    }
    with making.make(path, tables, floor=1) as data:
        # The newest day is 14; day 12 is complete, and so day 6 + 1 but not 6 + 7.
        assert data.rows("FROM test.keep_retention") == [
            (MONDAY, 0, 8, 8, 100, True),
            (MONDAY, 1, 5, 8, 63, True),
            (MONDAY, 7, 2, 8, 25, False),
            (later(14), 0, 1, 1, 100, False),
        ]


@pytest.mark.shows("METH-8")
def test_versions_are_shares_of_the_installs_of_a_week(path: Path) -> None:
    tables = {
        "beat": [
            *beats(3, weekly=True, version="1.0"),
            *beats(1, weekly=True, version="1.1", one_in=10),
            *beats(1, weekly=True),
            *beats(9, version="1.0"),
        ]
    }
    with making.make(path, tables, floor=1) as data:
        assert data.rows("FROM test.beat_version_adoption") == [
            (MONDAY, "version", "1.1", 10, 14, 71),
            (MONDAY, "version", "1.0", 3, 14, 21),
            (MONDAY, "version", "(not shared)", 1, 14, 7),
        ]


def test_platforms_are_shares_of_the_installs_of_a_month(path: Path) -> None:
    tables = {
        "beat": [
            *beats(3, monthly=True, os="linux", country="FR"),
            *beats(1, later(9), monthly=True, os="macos", country="FR"),
            *beats(9, os="macos"),
        ]
    }
    with making.make(path, tables, floor=1) as data:
        assert data.rows("FROM test.beat_platform_shares") == [
            (MONDAY, "country", "FR", 4, 4, 100),
            (MONDAY, "os", "linux", 3, 4, 75),
            (MONDAY, "os", "macos", 1, 4, 25),
        ]
        assert "test.beat_report_shares" not in data.views()
        assert "test.host_platform_shares" not in data.views()


def test_where_installs_are_not_counted_there_are_shares_of_reports(path: Path) -> None:
    with making.make(path, {"host": rows(3, arch="x86_64")}, floor=1) as data:
        assert data.rows("FROM test.host_report_shares") == [(MONDAY, "arch", "x86_64", 3, 3, 100)]


WALKS = [
    *walks(6, ("start", 0), ("middle", 1), ("end", 1), ("end", 2), variant="a", again=False),
    *walks(2, ("start", 0), ("start", 1), variant="b", again=False),
    *walks(1, ("start", 0), ("middle", 2), variant="b", again=True, one_in=10),
]


@pytest.mark.shows("METH-8", "KPI-1", "KPI-4")
def test_a_funnel_counts_each_interaction_once_a_step_in_the_declared_order(path: Path) -> None:
    with making.make(path, {"walk": WALKS}, floor=1) as data:
        found = data.rows("FROM test.walk_funnel")
        assert [row[2:] for row in found if row[0] == ""] == [
            ("start", 18, 18, 100),
            ("middle", 16, 18, 89),
            ("end", 6, 18, 33),
        ]
        assert [row[1:] for row in found if row[0] == "variant"] == [
            ("a", "start", 6, 6, 100),
            ("a", "middle", 6, 6, 100),
            ("a", "end", 6, 6, 100),
            ("b", "start", 12, 12, 100),
            ("b", "middle", 10, 12, 83),
        ]
        assert {row[1] for row in found if row[0] == "again"} == {"true", "false"}


def test_step_times_are_of_the_first_time_and_open_where_nothing_bounds_them(path: Path) -> None:
    with making.make(path, {"walk": WALKS}, floor=1) as data:
        assert data.rows("FROM test.walk_step_times") == [
            ("start", 18, 50, 0.0, 5.0, 10.0),
            ("start", 18, 90, 0.0, 9.0, 10.0),
            ("middle", 16, 50, 60.0, None, None),  # 6 in bucket 1, 10 in the open one
            ("middle", 16, 90, 60.0, None, None),
            ("end", 6, 50, 10.0, 35.0, 60.0),
            ("end", 6, 90, 10.0, 55.0, 60.0),
        ]


def test_quantiles_lie_in_the_bucket_where_that_share_is_reached(path: Path) -> None:
    tables = {"host": [*rows(2, cores=0), *rows(6, cores=1), *rows(1, cores=2), *rows(1, cores=3)]}
    with making.make(path, tables, floor=1) as data:
        assert data.rows("FROM test.host_quantiles") == [
            ("cores", 10, 50, 2.0, 3.0, 4.0),
            ("cores", 10, 90, 4.0, 8.0, 8.0),
        ]
    path.unlink()
    with making.make(path, {"host": rows(3, cores=0)}, floor=1) as data:
        assert data.rows("FROM test.host_quantiles")[0] == ("cores", 3, 50, None, None, 2.0)


def test_buckets_of_two_catalogs_with_other_edges_are_not_mixed_up(path: Path) -> None:
    first = making.catalog()
    wider = making.SOURCE.replace("[2, 4, 8]", "[100, 200, 300]").replace(
        'label = "test"', f'label = "test"\nnumber = 2\nprevious = "{first.id.hex()}"'
    )
    tables = {"host": [*rows(1, cores=1), *rows(5, cores=1, catalog=2)]}
    catalogs = [first, making.catalog(wider, first)]
    with making.make(path, tables, catalogs, floor=1) as data:
        assert data.rows("FROM test.host_quantiles WHERE quantile = 90") == [
            ("cores", 6, 90, 100.0, 188.0, 200.0)
        ]


def test_bounds_hold_where_a_bucket_of_one_catalog_holds_those_of_another(path: Path) -> None:
    first = making.catalog()
    wider = making.SOURCE.replace("edges = [2, 4, 8]", "edges = [1, 100, 300]").replace(
        'label = "test"', f'label = "test"\nnumber = 2\nprevious = "{first.id.hex()}"'
    )
    # Sixty have 99 cores, reported as 1 to 99; fifty have 3, as 2 to 3; nine in ten have up to 99.
    tables = {"host": [*rows(50, cores=1), *rows(60, cores=1, catalog=2)]}
    with making.make(path, tables, [first, making.catalog(wider, first)], floor=1) as data:
        ((low, estimate, high),) = data.rows(
            "SELECT low, estimate, high FROM test.host_quantiles WHERE quantile = 90"
        )
    assert (low, high) == (2.0, 100.0)
    assert low <= estimate < high


@pytest.mark.shows("KPI-6")
def test_sessions_and_events_are_weighted_and_events_have_their_interval(path: Path) -> None:
    with making.make(path, {"walk": WALKS}, floor=1) as data:
        assert data.rows("FROM test.walk_sessions") == [(MONDAY, 18)]
        reach = 1.959964 * sqrt(10 * 9)
        assert data.rows("FROM test.walk_events") == [
            (MONDAY, 9, 18, max(9, floor(18 - reach)), ceil(18 + reach))
        ]


def test_counts_add_up_what_each_report_counted(path: Path) -> None:
    tables = {"clicks": [*rows(2, button="ok", count=7), *rows(1, button="cancel", count=100)]}
    with making.make(path, tables, floor=1) as data:
        assert data.rows("FROM test.clicks_counts") == [
            (MONDAY, "", "", 3, 114),
            (MONDAY, "button", "cancel", 1, 100),
            (MONDAY, "button", "ok", 2, 14),
        ]


KNOWN = """day,field,value,installs
2026-06-01,,,20
2026-06-01,os,linux,5
2026-06-01,os,macos,15
2026-06-02,os,linux,5
"""


@pytest.mark.shows("DEB-7")
def test_coverage_and_bias_are_against_known_totals(path: Path, tmp_path: Path) -> None:
    known = tmp_path / "known.csv"
    known.write_text(KNOWN)
    tables = {
        "beat": [
            *beats(3, daily=True, os="linux"),
            *beats(1, daily=True, os="macos"),
            *beats(1, daily=True),
            *beats(1, later(2), daily=True, os="linux"),
        ]
    }
    with making.make(path, tables, floor=1, known=known) as data:
        assert data.rows("FROM test.beat_coverage") == [
            (MONDAY, 5, 20, 25, True),
            (later(2), 1, None, None, False),
        ]
        assert data.rows("FROM test.beat_bias") == [
            ("os", "linux", 3, 5, 75, 25, 60),
            ("os", "macos", 1, 15, 25, 75, 7),
        ]
    with open_dataset(path, floor=1) as data:
        assert data.rows("FROM test.beat_bias") == []
        assert data.rows("SELECT DISTINCT known_installs FROM test.beat_coverage") == [(None,)]


def test_withheld_counts_only_reports_whose_catalog_asks_for_the_field(path: Path) -> None:
    first = making.catalog(making.SOURCE.replace("country = {", "region = {"))
    source = making.SOURCE.replace(
        'label = "test"', f'label = "test"\nnumber = 2\nprevious = "{first.id.hex()}"'
    )
    tables = {
        "beat": [
            *beats(4, os="linux"),
            *beats(2, catalog=2, os="linux", country="FR"),
            *beats(1, catalog=2, os="linux"),
        ]
    }
    with making.make(path, tables, [first, making.catalog(source, first)], floor=1) as data:
        found = {row[0]: row[1:] for row in data.rows("FROM test.beat_withheld")}
        assert found["country"] == (3, 1, 33)
        assert found["region"] == (4, 4, 100)
        assert found["os"] == (7, 0, 0)


def test_arrivals_say_how_many_days_reports_take(path: Path) -> None:
    tables = {"host": [*rows(3, received=later(1)), *rows(1, received=later(5))]}
    with making.make(path, tables, floor=1) as data:
        assert data.rows("FROM test.host_arrivals") == [(1, 3, 3, 75), (5, 1, 4, 100)]


def test_a_type_goes_before_the_view_of_its_name(path: Path) -> None:
    source = making.SOURCE.replace("types.host", "types.beat_dau")
    tables = {"beat": beats(2, daily=True), "beat_dau": rows(3, arch="x86_64")}
    with making.make(path, tables, [making.catalog(source)], floor=1) as data:
        assert data.rows("SELECT arch FROM test.beat_dau") == [("x86_64",)] * 3
        assert "test.beat_dau" in data.tables()
        found = data.rows("FROM test.beat_dau_withheld")
        assert found == [("arch", 3, 0, 0), ("cores", 3, 3, 100)]
        assert data.rows("FROM test.beat_coverage") == [(MONDAY, 2, None, None, False)]


@pytest.mark.shows("METH-20", "NEW-7")
def test_every_view_is_the_same_from_parquet(path: Path) -> None:
    tables = {
        "beat": beats(30, daily=True, weekly=True, monthly=True, os="linux", version="1.0"),
        "walk": WALKS * 3,
        "host": rows(20, cores=1, arch="x86_64"),
        "keep": rows(20, milestone="d0"),
        "clicks": rows(20, button="ok", count=3),
    }
    with making.make(path, tables) as data:
        expected = _everything(data)
    with Store(path) as store:
        Exporter(store).export(0)
    with open_dataset(directory_beside(path)) as data:
        assert _everything(data) == expected


def _everything(data: Dataset) -> dict[str, list[tuple[object, ...]]]:
    return {view: data.rows(f"FROM {view}") for view in data.views()}


@pytest.mark.shows("DEB-7")
def test_every_view_says_what_it_does_not_claim_in_few_lines() -> None:
    from methrics.aggregate.read.views import templates

    for view in templates():
        assert any(word in view.says for word in ("Does not", "is too high")), view.name
        assert len(view.says) < 500, view.name
