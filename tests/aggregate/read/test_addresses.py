"""A directory at an address: which files are fetched, and what is refused."""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import shutil
import threading
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from urllib.parse import urlsplit

import aggregate_making as making
import pytest
import view_making
from layout_making import Writer
from serving import FolderServer

from methrics.aggregate.cli.main import main
from methrics.aggregate.parquet.directory import read_directory
from methrics.aggregate.parquet.download import local_copy
from methrics.aggregate.parquet.fetching import _moved
from methrics.aggregate.parquet.manifest import MANIFEST
from methrics.aggregate.read.dataset import Dataset, open_dataset
from methrics.aggregate.read.verify import verify
from methrics.aggregate.store.store import Store
from methrics.schema.errors import MethricsError, StoreError, UnreachableError

pytestmark = pytest.mark.wire

CATALOG = making.catalog()
NOW, DAY = making.NOW, making.DAY
COUNT = "SELECT count(*) FROM test.beat"


class Site(FolderServer):
    """A directory that is served; `before` gets each path first."""

    def __init__(self, folder: Path) -> None:
        self.directory = folder / "a.parquet"
        self.before: Callable[[str], None] = lambda path: None
        self.asked: list[str] = []
        self._one = threading.Lock()
        super().__init__(folder, self._seen)
        self.url = f"{self.address}/a.parquet/"

    def _seen(self, request: SimpleHTTPRequestHandler) -> None:
        path = request.path.removeprefix("/a.parquet/")
        self.asked.append(path)
        with self._one:  # several files are asked for at once
            self.before(path)

    def edit(self, **changes: object) -> None:
        """Change fields of the first listed file of `test.beat`."""
        text = json.loads((self.directory / MANIFEST).read_bytes())
        (one, *_) = [one for one in text["files"] if one["table"] == "test.beat"]
        one.update(changes)
        (self.directory / MANIFEST).write_text(json.dumps(text))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    with Store(folder / "a.duckdb") as store:
        raws = [making.beat(CATALOG, i, NOW - i % 3 * DAY) for i in range(12)]
        raws += [making.walk(CATALOG, i) for i in range(4)]
        store.commit(making.batch([CATALOG.raw, *raws], making.book(CATALOG)))
        Writer(folder / "a.parquet").write(store, NOW)
    return folder


@pytest.fixture
def site(made: Path, tmp_path: Path) -> Iterator[Site]:
    found = Site(shutil.copytree(made, tmp_path / "public"))
    yield found
    found.close()


@pytest.fixture
def opened(site: Site, tmp_path: Path) -> Iterator[Dataset]:
    with open_dataset(site.url, floor=1, cache=tmp_path / "cache") as data:
        yield data


def test_a_year_of_one_type_costs_a_handful_of_requests(tmp_path: Path) -> None:
    """Opening: manifest, `type`, `field`. One view of a year: a file for each month."""
    days = [view_making.later(30 * i) for i in range(13)]
    tables = {
        "beat": [row for day in days for row in view_making.beats(10, day, daily=True)],
        "host": [row for day in days for row in view_making.rows(10, day, cores=1)],
    }
    view_making.write(tmp_path / "a.duckdb", tables, [view_making.catalog()])
    with Store(tmp_path / "a.duckdb") as store:
        Writer(tmp_path / "a.parquet").write(store, NOW)
    months = {(day.year, day.month) for day in days}
    site = Site(tmp_path)
    try:
        with open_dataset(site.url, cache=tmp_path / "cache") as data:
            opening = list(site.asked)
            assert sorted(opening) == sorted([MANIFEST, *files(site, "type", "field")])
            assert len(data.view("test.beat_dau").rows()) == len(days)
            assert sorted(site.asked[len(opening) :]) == sorted(files(site, "test.beat"))
            assert len(site.asked) == len(months) + 3
            assert len(site.connections) <= 5, "connections are kept"
            assert data.count("test.host") == 130, "the manifest says so"
            data.view("test.beat_mau").rows()
            assert len(site.asked) == len(months) + 3
        with open_dataset(site.url, cache=tmp_path / "cache") as again:
            assert len(again.view("test.beat_dau").rows()) == len(days)
        assert site.asked[len(months) + 3 :] == [MANIFEST], "the files were kept"
    finally:
        site.close()


def files(site: Site, *tables: str) -> list[str]:
    found = read_directory(site.directory).files
    return [one.name for one in found if one.table in tables]


def test_a_kept_file_that_was_damaged_is_fetched_again(site: Site, tmp_path: Path) -> None:
    with open_dataset(site.url, floor=1, cache=tmp_path / "cache") as data:
        assert data.rows(COUNT) == [(12,)]
        for path in data.path.glob("*.parquet"):
            path.write_bytes(path.read_bytes()[:-1] + b"?")
    with open_dataset(site.url, floor=1, cache=tmp_path / "cache") as data:
        assert data.rows(COUNT) == [(12,)]
        assert verify(data).ok


@pytest.mark.parametrize(
    "changes",
    [{"sha256": "00" * 32}, {"bytes": 100}, {"bytes": 100_000}],
    ids=["another hash", "more than listed", "less than listed"],
)
def test_attack_a_file_that_is_not_the_listed_one(
    site: Site, tmp_path: Path, changes: dict[str, object]
) -> None:
    site.edit(**changes)
    with open_dataset(site.url, cache=tmp_path / "cache") as data:
        with pytest.raises(StoreError, match=r"not the file that manifest\.json lists") as caught:
            data.rows(COUNT)
        assert caught.value.code == "store-broken"
        assert data.rows("SELECT count(*) FROM type") == [(2,)]
    with pytest.raises(StoreError, match="not the file"):
        local_copy(site.url, tmp_path / "copy")


@pytest.mark.parametrize("name", ["../secret.parquet", "//evil.example/x.parquet", "/x.parquet"])
def test_attack_a_name_that_leads_elsewhere(site: Site, tmp_path: Path, name: str) -> None:
    site.edit(name=name)
    with pytest.raises(StoreError) as caught:
        open_dataset(site.url, cache=tmp_path / "cache")
    assert caught.value.code == "store-foreign"
    assert site.asked == [MANIFEST]


def test_attack_a_directory_of_huge_files(site: Site, tmp_path: Path) -> None:
    site.edit(bytes=1 << 40)
    with open_dataset(site.url, cache=tmp_path / "cache") as data:
        before = list(site.asked)
        with pytest.raises(MethricsError) as caught:
            data.rows(COUNT)
        assert caught.value.code == "download-too-large"
        assert site.asked == before, "nothing of it was fetched"


def test_a_single_file_that_is_cut_short_is_not_taken_for_whole(tmp_path: Path) -> None:
    """No manifest tells its size or hash."""

    def cut(request: SimpleHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", "1000")
        request.end_headers()
        request.wfile.write(b"x" * 400)
        request.close_connection = True

    server = FolderServer(tmp_path, lambda request: None, answer=cut)
    try:
        with pytest.raises(UnreachableError, match="the connection ended early"):
            local_copy(f"{server.address}/a.duckdb", tmp_path)
    finally:
        server.close()


class Moved(http.client.HTTPResponse):
    """An answer that sends the reader to another address."""

    def __init__(self, address: str) -> None:
        self.headers = http.client.HTTPMessage()
        self.headers["Location"] = address


def test_attack_a_redirection_from_an_encrypted_connection_to_a_bare_one() -> None:
    for begun, to, found in (
        ("http://a.example/x", "https://b.example/y", "https://b.example/y"),
        ("http://a.example/x", "/y", "http://a.example/y"),
        ("https://a.example/x", "y", "https://a.example/y"),
    ):
        assert _moved(urlsplit(begun), Moved(to)) == found
    with pytest.raises(ValueError, match="redirected to http:"):
        _moved(urlsplit("https://a.example/x"), Moved("http://a.example/x"))


def test_attack_a_redirection_out_of_the_web(site: Site, tmp_path: Path) -> None:
    def moved(request: SimpleHTTPRequestHandler) -> None:
        request.send_response(302)
        request.send_header("Location", "file:///etc/passwd")
        request.send_header("Content-Length", "0")
        request.end_headers()

    server = FolderServer(tmp_path, lambda request: None, answer=moved)
    try:
        with pytest.raises(UnreachableError, match="redirected to file:"):
            open_dataset(f"{server.address}/a.parquet/", cache=tmp_path / "cache")
    finally:
        server.close()


@pytest.mark.parametrize("end", ["x/../", "x/./../", "."])
def test_attack_a_redirection_out_of_the_folder(site: Site, tmp_path: Path, end: str) -> None:
    """The name of the copy is no way to the folder above, where other Parquet would be deleted."""

    def moved(request: SimpleHTTPRequestHandler) -> None:
        request.send_response(302)
        request.send_header("Location", f"{site.url}{end}")
        request.send_header("Content-Length", "0")
        request.end_headers()

    own, folder = tmp_path / "own.parquet", tmp_path / "fetched"
    own.write_bytes(b"the only copy")
    folder.mkdir()
    before = set(tmp_path.iterdir())
    server = FolderServer(tmp_path, lambda request: None, answer=moved)
    try:
        with contextlib.suppress(MethricsError):
            assert local_copy(f"{server.address}/data", folder).parent == folder
    finally:
        server.close()
    assert own.read_bytes() == b"the only copy"
    assert set(tmp_path.iterdir()) == before


def test_a_directory_is_copied_into_a_new_folder_only(site: Site, tmp_path: Path) -> None:
    kept = tmp_path / "a.parquet" / "kept.parquet"
    kept.parent.mkdir(exist_ok=True)
    kept.write_bytes(b"kept")
    with pytest.raises(MethricsError, match="there already"):
        local_copy(site.url, tmp_path)
    assert kept.read_bytes() == b"kept"


def newer(site: Site, tmp_path: Path) -> None:
    """The owner writes a newer state with one report more, and deletes the old files."""
    with Store(site.directory.with_suffix(".duckdb")) as store:
        store.commit(making.batch([making.beat(CATALOG, 50)], making.book(CATALOG)))
        old = {one.name for one in read_directory(site.directory).files}
        Writer(site.directory, random.Random(5)).write(store, NOW + 60)
        for name in old - {one.name for one in read_directory(site.directory).files}:
            (site.directory / name).unlink()


def test_files_that_are_gone_meanwhile_are_those_of_the_new_manifest(
    site: Site, opened: Dataset, tmp_path: Path
) -> None:
    before = len(site.asked)
    newer(site, tmp_path)
    assert opened.rows(COUNT) == [(13,)]
    assert site.asked[before:].count(MANIFEST) == 1, "it is read again once"
    assert opened.written == "2026-09-21T14:21:00+00:00"
    assert len(opened.view("test.beat_dau").rows()) == 3


def test_a_copy_of_a_directory_that_changes_meanwhile_is_that_of_one_manifest(
    site: Site, tmp_path: Path
) -> None:
    def change(path: str) -> None:
        if path != MANIFEST:
            site.before = lambda path: None
            newer(site, tmp_path)

    site.before = change
    copied = local_copy(site.url, tmp_path / "copy")
    with open_dataset(copied) as data:
        assert data.rows(COUNT) == [(13,)]
        assert verify(data).ok
    here = {path.relative_to(copied).as_posix() for path in copied.rglob("*.parquet")}
    assert here == {one.name for one in read_directory(copied).files}, "nothing that was deleted"


def test_a_listed_file_that_never_was_there(site: Site, opened: Dataset) -> None:
    for path in site.directory.glob("types/test/beat/*/*.parquet"):
        path.unlink()
    with pytest.raises(UnreachableError, match="404"):
        opened.rows(COUNT)
    assert opened.rows("SELECT count(*) FROM test.walk") == [(4,)]


def test_a_directory_that_changes_without_end_is_given_up(site: Site, tmp_path: Path) -> None:
    def change(path: str) -> None:
        if path != MANIFEST:
            for file in site.directory.rglob(Path(path).name):
                file.unlink()
            text = json.loads((site.directory / MANIFEST).read_bytes())
            text["tombstones"]["count"] += 1
            (site.directory / MANIFEST).write_text(json.dumps(text))

    site.before = change
    with pytest.raises(UnreachableError):
        local_copy(site.url, tmp_path / "copy")
    assert site.asked.count(MANIFEST) <= 6


def test_the_commands_take_an_address(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["query", site.url, "test.beat_dau", "--floor", "1", "--csv"]) == 0
    assert capsys.readouterr().out.count("\n") == 4
    asked = set(site.asked)
    assert not asked & set(files(site, "item", "catalog", "test.walk"))
    assert main(["query", site.url]) == 0
    assert "test.walk" in capsys.readouterr().out
    assert set(site.asked) == asked, "a list of tables takes no more files"
    assert main(["verify", site.url]) == 0
    assert "every row is what was signed: 16 reports" in capsys.readouterr().out
    assert main(["query", f"{site.address}/nothing/", "FROM item"]) == 4
    assert capsys.readouterr().err.count("\n") == 1
