"""`open_data` with paths and addresses of every form, and the data frames that it returns."""

from __future__ import annotations

import gc
import io
import shutil
from collections.abc import Iterator
from pathlib import Path

import aggregate_making as making
import pytest
from layout_making import Writer
from serving import FolderServer
from tests.needed import need

from methrics.aggregate.notebook import explore
from methrics.aggregate.notebook.explore import open_data
from methrics.aggregate.read.dataset import Dataset
from methrics.aggregate.read.progress_line import ProgressLine
from methrics.aggregate.simulate import Settings
from methrics.aggregate.store.store import Store
from methrics.node.clock import ManualClock
from methrics.schema.errors import (
    ConfigError,
    LocalError,
    MethricsError,
    StoreError,
)

NOW, DAY = making.NOW, making.DAY
CATALOG = making.catalog()


class Site(FolderServer):
    """A folder with a data set in both forms, served over HTTP."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "a.duckdb"
        self.directory = folder / "a.parquet"
        super().__init__(folder, lambda request: None)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    beats = [making.beat(CATALOG, i, NOW - i % 3 * DAY) for i in range(12)]
    walks = [making.walk(CATALOG, i, NOW - DAY) for i in range(4)]
    with Store(folder / "a.duckdb") as store:
        store.commit(making.batch([CATALOG.raw, *beats, *walks], making.book(CATALOG)))
        Writer(folder / "a.parquet").write(store, NOW)
    return folder


@pytest.fixture
def site(made: Path, tmp_path: Path) -> Iterator[Site]:
    found = Site(shutil.copytree(made, tmp_path / "public"))
    yield found
    found.close()


@pytest.fixture(scope="module")
def data(made: Path) -> Iterator[Dataset]:
    with open_data(made / "a.duckdb", floor=1) as found:
        yield found


ALL = "SELECT day, count(*) FROM test.beat GROUP BY day ORDER BY day"


@pytest.mark.wire
@pytest.mark.parametrize(
    "form",
    [
        "{folder}/a.duckdb",
        "{folder}/a.parquet",
        "file://{folder}/a.duckdb",
        "{http}/a.duckdb",
        "{http}/a.parquet/",
        "{http}/a.parquet",
        "{http}/a.parquet/manifest.json",
    ],
)
def test_paths_and_addresses_open_alike(site: Site, form: str) -> None:
    with (
        open_data(site.file) as own,
        open_data(form.format(folder=site.folder, http=site.address)) as found,
    ):
        assert [count for _, count in found.rows(ALL)] == [4, 4, 4]
        assert found.rows(ALL) == own.rows(ALL)
        assert dict(found.views()) == dict(own.views())
        steps = "SELECT step, count(*) FROM test.walk_step GROUP BY ALL ORDER BY ALL"
        assert found.rows(steps) == own.rows(steps) != []


def test_a_file_that_is_being_written_is_read_beside_it(made: Path) -> None:
    with Store(made / "a.duckdb"), open_data(made / "a.duckdb") as found:
        assert (found.source, len(found.rows(ALL))) == ("parquet", 3)


@pytest.mark.wire
def test_one_parquet_file_at_an_address(site: Site) -> None:
    (part,) = site.directory.glob("types/test/beat/*/*.parquet")
    with open_data(f"{site.address}/{part.relative_to(site.folder)}") as found:
        assert found.rows(f'SELECT count(*) FROM "{part.stem}"') == [(12,)]


@pytest.mark.wire
def test_a_fetched_file_goes_with_the_data_set_or_is_kept(site: Site, tmp_path: Path) -> None:
    found = open_data(f"{site.address}/a.duckdb")
    folder = found.path.parent
    assert found.path.is_file()
    found.close()
    del found
    gc.collect()
    assert not folder.exists()
    with open_data(f"{site.address}/a.duckdb", cache=tmp_path) as found:
        assert found.path == tmp_path / "a.duckdb"
    assert (tmp_path / "a.duckdb").exists()


@pytest.mark.wire
@pytest.mark.parametrize("form", ["a.duckdb", "a.parquet/"])
def test_attack_more_bytes_than_are_wanted(site: Site, form: str) -> None:
    with pytest.raises(LocalError) as caught:
        open_data(f"{site.address}/{form}", size_max=1000)
    assert caught.value.code == "download-too-large"


@pytest.mark.wire
def test_addresses_that_hold_no_data(site: Site) -> None:
    (site.folder / "page.html").write_text("hello")
    (site.folder / "empty").mkdir()
    for form, code in {
        "page.html": "store-foreign",
        "empty/": "download-failed",
        "none.duckdb": "download-failed",
    }.items():
        with pytest.raises(MethricsError) as caught:
            open_data(f"{site.address}/{form}")
        assert caught.value.code == code
    with pytest.raises(ConfigError):
        open_data("s3://bucket/a.parquet")


@pytest.mark.wire
def test_progress_says_how_much_is_here(site: Site) -> None:
    lines: list[str] = []
    open_data(f"{site.address}/a.duckdb", progress=lines.append).close()
    size = site.file.stat().st_size / 1e6
    assert lines[-1] == f"a.duckdb: {size:,.1f} of {size:,.1f} MB"
    lines.clear()
    open_data(f"{site.address}/a.parquet/", progress=lines.append).close()
    assert "a.parquet: 1 of 1 files, 0.0 of 0.0 MB" in lines
    assert lines[-1] == "", "the line is wiped"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_line_of_progress_is_written_over_and_wiped() -> None:
    clock, terminal = ManualClock(), Terminal()
    with ProgressLine(terminal, clock) as line:
        for step in range(100):
            clock.advance(0.05)
            line(f"a.duckdb: {step} MB")
    shown = terminal.getvalue().split("\r")
    assert 20 <= len(shown) <= 30
    assert shown[-1] == ""
    assert shown[-2].strip() == ""
    assert len(shown[-2]) == len(shown[-3])


def test_nothing_is_written_where_nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(explore.sys.modules, "ipykernel", raising=False)
    stream = io.StringIO()
    with ProgressLine(stream, ManualClock()) as line:
        line("a.duckdb: 1 MB")
    assert stream.getvalue() == ""


def test_every_frame_holds_the_same_rows(data: Dataset) -> None:
    need("pandas")
    need("polars")
    rows = data.rows(ALL)
    assert [tuple(row) for row in data.polars(ALL).rows()] == rows
    assert list(zip(*data.arrow(ALL).to_pydict().values(), strict=True)) == rows
    assert [count for _, count in data.pandas(ALL).itertuples(index=False)] == [4, 4, 4]
    assert data.polars("SELECT ? AS x", [1])["x"].to_list() == [1]


def test_a_view_is_all_of_them_and_says_what_it_means(data: Dataset) -> None:
    need("pandas")
    need("polars")
    view = data.view("reports_per_day")
    assert view.says == data.views()["reports_per_day"]
    rows = data.rows("FROM reports_per_day")
    assert view.rows() == rows == view.sql().fetchall()
    assert view.polars().rows() == rows
    assert len(view.pandas()) == len(view.arrow()) == len(rows) > 2
    with open_data(data.path.with_name("a.parquet")) as floored:
        assert floored.view("reports_per_day").rows() == [], "no group under ten"
    with pytest.raises(LocalError, match=r"there is no view nonsense .*reports_per_day"):
        data.view("nonsense")


def test_jupyter_shows_what_each_table_and_view_means(data: Dataset) -> None:
    page = data._repr_html_()
    for name in (*data.tables(), *data.views()):
        assert f">{name}</td>" in page
    assert "How many?" in page
    assert all(words for _, _, words in data.contents())
    assert "a.duckdb" in page
    assert str(data.path.parent) not in page, "committed notebooks do not say whose machine it was"


def test_jupyter_shows_a_view_with_its_meaning(data: Dataset) -> None:
    page = data.view("reports_per_day")._repr_html_()
    assert data.views()["reports_per_day"].split(".")[0] in page
    assert page.count("<tr>") == 1 + len(data.view("reports_per_day").rows())


def test_attack_markup_in_a_cell_stays_text() -> None:
    from methrics.aggregate.read.dataframes import html_table

    page = html_table(["<a>"], [["<script>"], [None]], title="<b>", says="<i>")
    for tag in ("<a>", "<script>", "<i>"):
        assert tag not in page
    assert "None" not in page


def test_example_data_are_made_once_and_have_a_truth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explore, "EXAMPLE", Settings(installs=4, days=3, seed=2))
    source = explore.example_data()
    made = Path(source).stat().st_mtime_ns
    assert explore.example_data() == source
    assert Path(source).stat().st_mtime_ns == made
    assert explore.example_data(loss=0.5) != source
    assert not list(Path(source).parents[1].glob("making-*"))
    with open_data(source) as found:
        assert "example.heartbeat" in found.tables()
    truth = explore.open_truth(source)
    assert truth is not None
    assert truth.rows("SELECT count(*) FROM install") == [(4,)]
    assert truth.rows("SELECT value FROM run WHERE name = 'seed'") == [("2",)]
    assert all(words for _, _, words in truth.contents())
    assert {name for _, name, _ in truth.contents()} == set(explore.TRUTH_HOLDS)
    assert "first and last day" in truth._repr_html_()
    for forbidden in ("DROP VIEW install", "FROM '/etc/passwd'", "SELECT 1; SELECT 2"):
        with pytest.raises(StoreError):
            truth.rows(forbidden)
    truth.close()


def test_ones_own_data_take_the_place_of_the_example(
    monkeypatch: pytest.MonkeyPatch, data: Dataset
) -> None:
    monkeypatch.setenv("METHRICS_DATA", str(data.path))
    assert explore.example_data() == str(data.path)
    assert explore.open_truth(data.path) is None, "nobody knows what real people did"
    assert explore.open_truth("https://example.org/a.duckdb") is None
