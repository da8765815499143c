"""`open_data` with paths and addresses of every form, and the data frames that it returns."""

from __future__ import annotations

import gc
import io
import json
import shutil
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler
from pathlib import Path

import aggregate_making as making
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from serving import FolderServer
from tests.needed import need

from methrics.aggregate.notebook import explore
from methrics.aggregate.notebook.explore import open_data
from methrics.aggregate.parquet.export import Exporter
from methrics.aggregate.read.dataset import Dataset
from methrics.aggregate.simulate import Settings
from methrics.aggregate.store.store import Store
from methrics.node.clock import ManualClock
from methrics.schema.errors import (
    ConfigError,
    LocalError,
    MethricsError,
    StoreError,
    UnreachableError,
)

NOW, DAY = making.NOW, making.DAY
CATALOG = making.catalog()


def put(folder: Path, raws: list[bytes], now: int) -> None:
    book = making.book(CATALOG)
    with Store(folder / "a.duckdb") as store:
        store.commit(making.batch(raws, book))
        Exporter(store).export(now)


class Site(FolderServer):
    """A folder with a data set in both forms, served over HTTP; `before` gets each path first."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "a.duckdb"
        self.directory = folder / "a.parquet"
        self.before: Callable[[str], None] = lambda path: None
        self.asked: list[str] = []
        super().__init__(folder, self._seen)

    def _seen(self, request: SimpleHTTPRequestHandler) -> None:
        self.asked.append(request.path)
        self.before(request.path)

    def put(self, raws: list[bytes]) -> None:
        put(self.folder, raws, NOW + len(self.asked))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    beats = [making.beat(CATALOG, i, NOW - i % 3 * DAY) for i in range(12)]
    walks = [making.walk(CATALOG, i, NOW - DAY) for i in range(4)]
    put(folder, [CATALOG.raw, *beats, *walks], NOW)
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
    day = min(site.directory.glob("types/test/beat/2*.parquet"))
    with open_data(f"{site.address}/a.parquet/types/test/beat/{day.name}") as found:
        assert found.rows(f'SELECT count(*) FROM "{day.stem}"') == [(4,)]


@pytest.mark.wire
def test_a_fetched_copy_goes_with_the_data_set_or_is_kept(site: Site, tmp_path: Path) -> None:
    found = open_data(f"{site.address}/a.parquet/")
    folder = found.path.parent
    assert found.path.is_dir()
    found.close()
    del found
    gc.collect()
    assert not folder.exists()
    with open_data(f"{site.address}/a.parquet/", keep=tmp_path) as found:
        assert found.path == tmp_path / "a.parquet"
    assert (tmp_path / "a.parquet" / "manifest.json").exists()


@pytest.mark.wire
def test_days_that_are_written_meanwhile_are_fetched_again(site: Site) -> None:
    late = [[making.beat(CATALOG, 100, NOW - DAY)], [making.beat(CATALOG, 101, NOW - 9 * DAY)]]

    def write(path: str) -> None:
        if path.endswith("/walk_step/empty.parquet") and late:
            site.put(late.pop())

    site.before = write
    with open_data(f"{site.address}/a.parquet/") as found:
        assert [count for _, count in found.rows(ALL)] == [1, 4, 5, 4]
    unchanged = [path for path in site.asked if path.endswith("/item/2026-09-21.parquet")]
    assert len(unchanged) == 1


@pytest.mark.wire
def test_a_directory_that_never_stands_still_is_given_up(site: Site) -> None:
    def write(path: str) -> None:
        manifest = site.directory / "manifest.json"
        manifest.write_text(manifest.read_text() + "\n")

    site.before = write
    with pytest.raises(UnreachableError, match="changes faster than it can be fetched"):
        open_data(f"{site.address}/a.parquet/")


def another_report(site: Site) -> None:
    target = min(site.directory.glob("item/2*.parquet"))
    table = pq.read_table(target)
    ids = [b"\7" * 32, *table.column("id").to_pylist()[1:]]
    place = table.column_names.index("id")
    pq.write_table(table.set_column(place, "id", pa.array(ids, pa.binary())), target)


def rows_doubled(site: Site) -> None:
    target = min(site.directory.glob("types/test/beat/2*.parquet"))
    table = pq.read_table(target)
    pq.write_table(pa.concat_tables([table, table]), target)


def a_type_day_is_missing(site: Site) -> None:
    min(site.directory.glob("types/test/beat/2*.parquet")).unlink()


def a_day_is_missing(site: Site) -> None:
    min(site.directory.glob("item/2*.parquet")).unlink()


def names_that_climb(site: Site) -> None:
    target = site.directory / "type.parquet"
    table = pq.read_table(target)
    names = pa.array(["../../../secret"] * len(table))
    pq.write_table(table.set_column(table.column_names.index("table"), "table", names), target)


def days_that_climb(site: Site) -> None:
    manifest = site.directory / "manifest.json"
    text = json.loads(manifest.read_text())
    text["days"]["test"]["../../../secret"] = {}
    manifest.write_text(json.dumps(text))


def another_version(site: Site) -> None:
    manifest = site.directory / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "layout": 99}))


@pytest.mark.wire
@pytest.mark.parametrize(
    ("harm", "code"),
    [
        (another_report, "store-broken"),
        (rows_doubled, "store-broken"),
        (a_type_day_is_missing, "store-broken"),
        (a_day_is_missing, "download-failed"),
        (names_that_climb, "store-foreign"),
        (days_that_climb, "store-foreign"),
        (another_version, "store-version"),
    ],
)
def test_attack_files_that_are_not_what_the_manifest_says(
    site: Site, harm: Callable[[Site], None], code: str, tmp_path: Path
) -> None:
    harm(site)
    with pytest.raises(MethricsError) as caught:
        open_data(f"{site.address}/a.parquet/", keep=tmp_path / "kept")
    assert caught.value.code == code
    assert "\n" not in str(caught.value)
    assert not [path for path in site.asked if "secret" in path]


@pytest.mark.wire
@pytest.mark.parametrize("form", ["a.duckdb", "a.parquet/"])
def test_attack_more_bytes_than_are_wanted(site: Site, form: str) -> None:
    with pytest.raises(LocalError) as caught:
        open_data(f"{site.address}/{form}", size_max=9000)
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
    files = len(list(site.directory.rglob("*.parquet")))
    assert f"a.parquet: {files + 1} of " in lines[-1]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_line_of_progress_is_written_over_and_wiped() -> None:
    clock, terminal = ManualClock(), Terminal()
    with explore._Line(terminal, clock) as line:
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
    with explore._Line(stream, ManualClock()) as line:
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
