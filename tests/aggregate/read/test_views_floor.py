"""No shipped view shows a small group, or lets anyone compute one.

A file with such a mistake is refused when it is loaded. A loaded view keeps to the floor on any
data, and its rows do not depend on whether a small group has one report or nine.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import view_making as making
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from view_making import Row, later

from methrics.aggregate.read import views
from methrics.aggregate.read.dataset import Dataset, open_dataset
from methrics.aggregate.read.shapes import read_shapes
from methrics.aggregate.read.views.template import read
from methrics.schema.errors import LocalError

GOOD = """-- Installs. Does not count others.
-- for each type with: any
-- labels: day
-- size: installs
-- percents: percent
SELECT day, count(*) AS installs FROM {table} GROUP BY day
-- shown
SELECT day, installs, percent(installs, installs) AS percent FROM shown
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("floor") / "a.duckdb"
    making.write(path, {"host": making.rows(37, cores=1)}, [making.catalog()])
    return path


def load(file: Path, text: str) -> list[tuple[Any, ...]]:
    """The rows of the view `text`, loaded like a shipped file."""
    with open_dataset(file) as data:
        (view,) = [
            one
            for one in views.fitting(
                read_shapes(data.connection, set(data.tables())), of=[read("odd", text)]
            )
            if one.name == "host_odd"
        ]
        data._make(view.sql.view)
        view.check(data.connection)
        return data.connection.sql(view.sql.view).fetchall()


def test_a_file_that_keeps_the_rules_is_floored_without_saying_so(file: Path) -> None:
    assert load(file, GOOD) == [(making.MONDAY, 30, 100)]


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("SELECT day, count(*)", "SELECT day, count(*) AS exactly, count(*)", "exactly"),
        ("SELECT day, count(*)", "SELECT day, 'a' AS word, count(*)", "word"),
        ("-- labels: day", "-- labels: day, week", "week"),
        ("-- percents: percent\n", "", "number percent is not declared"),
        ("FROM shown", "FROM counted", "reads counted"),
        ("FROM shown", "FROM test.host JOIN shown USING (day)", "reads test.host"),
        ("FROM shown", "FROM shown, (SELECT max(n) FROM item)", "reads item"),
        ("FROM shown", "FROM shown, range(9)", "reads range()"),
        ("-- size: installs\n", "", "must name exactly one column as size"),
        ("-- labels: day", "-- labels: day, installs", "names a column twice"),
        ("-- shown\n", "", "no line `-- shown`"),
    ],
)
def test_attack_a_view_that_would_show_what_is_not_declared(
    file: Path, old: str, new: str, complaint: str
) -> None:
    assert old in GOOD
    with pytest.raises(views.ViewError) as caught:
        load(file, GOOD.replace(old, new))
    assert complaint in str(caught.value)


def test_every_file_that_ships_keeps_the_rules_and_is_tried_here(file: Path) -> None:
    with open_dataset(file) as data:
        shipped = {view.template.name for view in data._views.values() if not view.exact}
        for view in data._views.values():
            data._make(view.sql.view)
            view.check(data.connection)
    assert shipped == {template.name for template in views.templates()}


def counts(data: Dataset) -> Iterator[tuple[str, str, int | None]]:
    """(view, column, number) for each column that counts."""
    for full, view in data._views.items():
        kinds = view.template.kinds
        relation = data.sql(f"FROM {full}")
        counted = [
            (place, column)
            for place, column in enumerate(relation.columns)
            if kinds.get(column) in ("size", "counts", "totals")
        ]
        for row in relation.fetchall():
            for place, column in counted:
                yield full, column, row[place]


def random_tables(seed: int) -> dict[str, list[Row]]:
    """Rows of every kind, in many small and some large groups, from `seed`."""
    rng = random.Random(seed)

    def some(*values: object) -> object:
        return rng.choices(values, weights=[1 / (i + 1) ** 2 for i in range(len(values))])[0]

    def often() -> Row:
        return {"day": later(int(rng.expovariate(0.4))), "one_in": some(1, 10)}

    flags = ("daily", "weekly", "monthly")
    return {
        "beat": [
            {
                **often(),
                **{flag: rng.random() < 0.7 for flag in flags},
                "os": some("linux", "macos", None, "other"),
                "country": some("FR", "DE", "IT", "PL", "ZZ"),
                "version": some("1.0", "1.1", "0.9", None),
                "age": some(0, 1, 2, 3),
                "tool": some("zoom", "other", "braille"),
                "received": later(30 + rng.randrange(4)),
            }
            for _ in range(400)
        ],
        "keep": [{**often(), "milestone": some("d0", "d1", "d7")} for _ in range(200)],
        "host": [
            {**often(), "cores": some(1, 2, 0, 3), "arch": some("x86_64", "other")}
            for _ in range(100)
        ],
        "clicks": [
            {**often(), "button": some("ok", "cancel"), "count": some(1, 7, 100)}
            for _ in range(150)
        ],
        "walk": [
            {
                **often(),
                "path": [("start", 0), ("middle", some(0, 1)), ("end", 2)][: rng.randint(1, 3)],
                "variant": some("a", "b", "other"),
                "again": some(False, True),
            }
            for _ in range(200)
        ],
    }


@pytest.mark.shows("MARS-15")
@pytest.mark.parametrize("seed", range(3))
def test_no_view_shows_a_count_under_the_floor_or_between_its_steps(
    tmp_path: Path, seed: int
) -> None:
    with making.make(tmp_path / "a.duckdb", random_tables(seed)) as data:
        shown = list(counts(data))
    assert {view.split("_", 1)[-1] for view, _, _ in shown} >= {"dau", "funnel", "retention"}
    wrong = [one for one in shown if one[2] is not None and (one[2] < 10 or one[2] % 10)]
    assert not wrong


BASE: dict[str, list[Row]] = {
    "beat": [
        *making.beats(40, daily=True, weekly=True, monthly=True, os="linux", age=0, version="1.0"),
        *making.beats(30, weekly=True, monthly=True, tool="zoom"),
        *making.beats(20, later(1), daily=True, os="macos", country="FR", one_in=10),
    ],
    "keep": [*making.rows(30, milestone="d0"), *making.rows(20, later(7), milestone="d7")],
    "host": making.rows(20, cores=1, arch="x86_64"),
    "clicks": making.rows(20, button="ok", count=5),
    "walk": [
        *making.walks(20, ("start", 0), ("middle", 1), variant="a", again=False),
        *making.walks(10, ("start", 0), variant="b", again=True),
    ],
}
"""Rows in which the size of every group is a multiple of ten."""


@st.composite
def small_groups(draw: st.DrawFn) -> dict[str, list[Row]]:
    """One to nine more reports of each type, equal to each other and unlike all others."""
    flag = draw(st.booleans())
    unlike: dict[str, Row] = {
        "beat": {"daily": flag, "weekly": flag, "monthly": flag, "os": "other", "tool": "other"},
        "keep": {"milestone": "d1"},
        "host": {"cores": draw(st.sampled_from([0, 2, 3])), "arch": "other"},
        "clicks": {"button": "cancel", "count": draw(st.integers(1, 4))},
        "walk": {"path": [("end", 2)], "variant": "other"},
    }
    day = making.MONDAY
    return {table: [{"day": day, **row}] * draw(st.integers(1, 9)) for table, row in unlike.items()}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[tuple[Any, ...]]]:
    """The rows of every view of BASE."""
    with making.make(tmp_path_factory.mktemp("base") / "a.duckdb", BASE) as data:
        return {view: data.rows(f"FROM {view}") for view in data.views()}


@pytest.mark.shows("MARS-15")
@settings(
    max_examples=5,
    deadline=None,
    phases=(Phase.explicit, Phase.generate),  # smaller rows of the same file add nothing
    suppress_health_check=list(HealthCheck),
)
@given(small=small_groups())
def test_attack_subtract_what_is_shown_from_a_total(
    base: dict[str, list[tuple[Any, ...]]], small: dict[str, list[Row]]
) -> None:
    """The rows of every view do not depend on the size or existence of a small group, so no total,
    percent, interval or quantile reveals it."""
    assert sum(map(len, base.values())) > 60
    grown = {table: [*rows, *small[table]] for table, rows in BASE.items()}
    with (
        tempfile.TemporaryDirectory() as folder,
        making.make(Path(folder) / "a.duckdb", grown) as data,
    ):
        for view, shown in base.items():
            assert data.rows(f"FROM {view}") == shown, view


@pytest.mark.shows("MARS-15")
def test_the_footnote_counts_the_groups_that_are_left_out(tmp_path: Path) -> None:
    tables = {"host": [*making.rows(10, cores=1), *making.rows(9, later(1), cores=1)]}
    path = tmp_path / "a.duckdb"
    with making.make(path, tables) as data:
        said = (
            "Counts are rounded down to multiples of 10, and other figures are computed from them; "
        )
        told = data.footnote("reports_per_day")
        assert told == said + "1 group is left out for being smaller."
        told = data.footnote("test.host_quantiles")
        assert told == said + "no group is left out for being smaller."
    with open_dataset(path, floor=1) as data:
        assert data.footnote("reports_per_day") == "Every count is shown as it is."


@pytest.mark.parametrize("floor", [0, -10])
def test_a_floor_under_one_is_refused(file: Path, floor: int) -> None:
    with pytest.raises(LocalError, match="from 1 on"):
        open_dataset(file, floor=floor)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "line 1: the first line should be day,field,value,installs"),
        ("day,installs\n", "line 1: the first line should be"),
        ("2026-06-01,,\n", "line 2: 3 columns instead of 4"),
        ("yesterday,,,5\n", "line 2: 'yesterday' is not a day"),
        ("2026-06-01,,,-5\n", "line 2: '-5' is not a number of installs"),
        ("2026-06-01,,,5\n2026-06-02,,,5.5\n", "line 3: '5.5' is not"),
        ("2026-06-01,os,,5\n", "line 2: either field and value are both given, or both are empty"),
        ("2026-06-01,,,5\n2026-06-01,,,6\n", "line 3: this day, field"),
        ('2026-06-01,"os,,5\n', "is not CSV"),
        ("2026-06-01,os,\xff,5\n", "is not CSV in UTF-8"),
    ],
)
def test_known_totals_that_cannot_be_read_are_one_clear_line(
    file: Path, tmp_path: Path, text: str, complaint: str
) -> None:
    known = tmp_path / "known.csv"
    head = "" if text in ("", "day,installs\n") else "day,field,value,installs\n"
    known.write_bytes((head + text).encode("latin-1"))
    with pytest.raises(LocalError) as caught:
        open_dataset(file, known=known)
    assert caught.value.code == "known"
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)
