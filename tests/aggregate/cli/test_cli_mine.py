"""METH-17: own reports are found in public data, and no request reveals which they are."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler
from pathlib import Path

import aggregate_making as making
import own_making
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest
from click.testing import CliRunner, Result
from layout_making import Writer
from serving import FolderServer

from methrics.aggregate.cli import mine as cli_mine
from methrics.aggregate.cli.main import main
from methrics.aggregate.cli.mine import mine
from methrics.aggregate.mine import find as mine_find
from methrics.aggregate.mine.find import ERASED, FOUND, MISSING, OUTSIDE, Wanted, check
from methrics.aggregate.parquet.directory import read_directory
from methrics.aggregate.parquet.mirror import WITH_IDS
from methrics.aggregate.store.store import Store
from methrics.node.clock import ManualClock
from methrics.node.outbox.rows import Receipt
from methrics.schema.errors import LocalError, MethricsError, StoreError, UnreachableError
from methrics.schema.judging.book import CatalogBook

CATALOG = making.catalog()
NOW, DAY = making.NOW, making.DAY


class Scene:
    """Public data with reports of others, and of one person: one found, one erased, one lost."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "public.duckdb"
        self.beside = folder / "public.parquet"
        self.person = own_making.Person(folder / "home", CATALOG)
        self.receipts = self.person.send([NOW - 7200, NOW - DAY, NOW - 2 * DAY])
        self.waiting = self.person.send([NOW - 7200], state=None)
        erasures = self.person.erase(self.receipts[1:2])
        others = [making.beat(CATALOG, i, NOW - 7200 - i % 3 * DAY) for i in range(30)]
        own = [one.raw for one in self.receipts[:2]]
        with Store(self.file) as store:
            batch = making.batch([CATALOG.raw, *others, *own, *erasures], CatalogBook())
            store.commit(batch)
            Writer(self.beside).write(store, NOW)
        self.person.journal.close()

    @property
    def home(self) -> str:
        return str(self.person.home)


@pytest.fixture(autouse=True)
def a_week_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """A week later, so that a report that is missing is no longer on its way."""
    monkeypatch.setattr(cli_mine, "Clock", lambda: ManualClock(NOW + 7 * DAY))


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return Scene(tmp_path_factory.mktemp("scene"))


class Server(FolderServer):
    """A web server that serves a folder and keeps the text of each request."""

    def __init__(self, folder: Path) -> None:
        self.told: list[str] = []
        super().__init__(folder, self._seen)

    def _seen(self, request: SimpleHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        headers = [f"{k}: {v}" for k, v in request.headers.items() if k != "Host"]
        self.told.append("\n".join([request.requestline, *headers, body.hex()]))


@pytest.fixture
def server(scene: Scene) -> Iterator[Server]:
    found = Server(scene.file.parent)
    yield found
    found.close()


def wanted(receipts: list[Receipt]) -> list[Wanted]:
    return [Wanted(one.id, one.time) for one in receipts]


def sources(scene: Scene, server: Server) -> dict[str, str]:
    return {
        "file": str(scene.file),
        "directory": str(scene.beside),
        "file url": scene.file.as_uri(),
        "http file": f"{server.address}/public.duckdb",
        "http directory": f"{server.address}/public.parquet/",
    }


@pytest.mark.shows("METH-17")
@pytest.mark.parametrize("how", ["file", "directory", "file url", "http file", "http directory"])
def test_meth_17_found_erased_and_missing(scene: Scene, server: Server, how: str) -> None:
    checked = check(sources(scene, server)[how], wanted(scene.receipts))
    assert [checked.of[one.id] for one in scene.receipts] == [FOUND, ERASED, MISSING]
    assert checked.total == 31


def test_one_file_leaves_all_other_reports_open(scene: Scene, server: Server) -> None:
    name = sorted(scene.beside.glob("raw/test/beat/*/*.parquet"))[-1].relative_to(scene.beside)
    for source in (str(scene.beside / name), f"{server.address}/public.parquet/{name}"):
        checked = check(source, wanted(scene.receipts))
        assert [checked.of[one.id] for one in scene.receipts] == [FOUND, OUTSIDE, OUTSIDE]


@pytest.mark.shows("METH-17")
@pytest.mark.parametrize("path", ["public.duckdb", "public.parquet/"])
def test_attack_the_aggregator_learns_nothing_of_whose_reports_are_asked_for(
    scene: Scene, server: Server, tmp_path: Path, path: str
) -> None:
    other = own_making.Person(tmp_path / "other", CATALOG).send([NOW - 86_400 * 2] * 7)
    nobody: list[Receipt] = []
    heard = []
    for receipts in (scene.receipts, other, nobody):
        server.told.clear()
        check(f"{server.address}/{path}", wanted(receipts))
        heard.append(sorted(server.told))  # several files are fetched at a time
        for one in receipts:
            for name in (one.id, one.raw[-64:]):
                assert name.hex() not in "".join(server.told)
                assert name.hex()[:8] not in "".join(server.told)
    assert heard[0] == heard[1] == heard[2] != []
    assert not any("Range:" in request for request in heard[0]), "whole files"


def test_all_files_with_ids_are_fetched_not_those_with_own_reports(
    scene: Scene, server: Server
) -> None:
    check(f"{server.address}/public.parquet/", wanted(scene.receipts[:1]))
    files = {one.name for one in read_directory(scene.beside).files if one.table in WITH_IDS}
    asked = [line.split()[1].removeprefix("/public.parquet/") for line in server.told]
    assert sorted(asked) == sorted([*files, "manifest.json"])
    assert any(name.startswith("raw/test/beat/") for name in files)


@pytest.mark.parametrize(
    ("source", "error", "code"),
    [
        ("{server}/none.duckdb", UnreachableError, "download-failed"),
        ("{server}/home/", UnreachableError, "download-failed"),
        ("{server}/text.txt", StoreError, "store-foreign"),
        ("{server}/junk/", StoreError, "store-foreign"),
        ("ftp://127.0.0.1/x", MethricsError, "address"),
        ("http://127.0.0.1:9/x", UnreachableError, "download-failed"),
        ("/nowhere/at/all", StoreError, "store-missing"),
        ("{folder}/public.parquet/{code}", StoreError, "store-foreign"),
    ],
)
def test_other_data_gets_a_clear_error(
    scene: Scene, server: Server, source: str, error: type[MethricsError], code: str
) -> None:
    folder = scene.file.parent
    (folder / "text.txt").write_text("hello")
    (folder / "junk").mkdir(exist_ok=True)
    (folder / "junk" / "manifest.json").write_text('{"days": {"a": {"../../../x": {}}}}')
    (code_file,) = scene.beside.glob("dictionary/code.*.parquet")
    code_file = code_file.relative_to(scene.beside)
    with pytest.raises(error) as caught:
        check(
            source.format(server=server.address, folder=folder, code=code_file),
            wanted(scene.receipts),
        )
    assert caught.value.code == code


def test_a_download_has_a_bound(scene: Scene, server: Server) -> None:
    for path in ("public.duckdb", "public.parquet/"):
        with pytest.raises(LocalError) as caught:
            check(f"{server.address}/{path}", wanted(scene.receipts), size_max=5000)
        assert caught.value.code == "download-too-large"


def test_the_same_data_is_read_whichever_reports_are_looked_for(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No id or time is in any query: on a network disk, the parts read would reveal them."""
    asked: list[str] = []
    from methrics.aggregate.read.dataset import Dataset

    sql = Dataset.sql

    def noting(self: Dataset, query: str, parameters: object = ()) -> object:
        asked.append(f"{query} {parameters!r}")
        return sql(self, query)

    monkeypatch.setattr(Dataset, "sql", noting)
    check(str(scene.file), wanted(scene.receipts))
    check(str(scene.file), [])
    assert asked[: len(asked) // 2] == asked[len(asked) // 2 :]
    assert asked


# -- the command ---------------------------------------------------------------------------------


def run(scene: Scene, *arguments: str) -> Result:
    return CliRunner().invoke(mine, [*arguments, "--home", scene.home])


def test_options_stand_behind_the_subcommand(scene: Scene) -> None:
    result = CliRunner().invoke(mine, ["--home", scene.home, "export", "-"])
    assert result.exit_code == 2


def test_the_list(scene: Scene) -> None:
    text = run(scene).output
    for one in [*scene.receipts, *scene.waiting]:
        assert one.id.hex()[:12] in text
    assert text.count("left by relay") == 2
    assert text.count("erasure waits to leave") == 1
    assert text.count("waits to leave by relay") == 1
    lines = [json.loads(line) for line in run(scene, "--json").output.splitlines()]
    assert [line["left"] for line in lines].count(True) == 3


def test_check_says_each_fate_and_fails_if_one_is_missing(scene: Scene) -> None:
    result = run(scene, "--check", str(scene.file))
    assert result.exit_code == 1, "the lost one"
    assert "1 erased, 1 found, 1 missing; 31 reports compared on this machine" in result.output
    result = run(scene, "--check", str(scene.file), "--json")
    states = {line["id"]: line["state"] for line in map(json.loads, result.output.splitlines())}
    assert states == {
        scene.receipts[0].id.hex(): FOUND,
        scene.receipts[1].id.hex(): ERASED,
        scene.receipts[2].id.hex(): MISSING,
    }


def test_a_report_that_may_be_on_its_way_is_no_failure(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli_mine, "Clock", lambda: ManualClock(NOW))
    result = run(scene, "--check", str(scene.file))
    assert "1 missing" in result.output
    assert result.exit_code == 0, "relays hold reports for a while"


@pytest.mark.parametrize("command", ["mine", "preview"])
def test_a_damaged_outbox_is_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    outbox = tmp_path / "app-abcdefghijklmnop" / "outbox.db"
    outbox.parent.mkdir()
    outbox.write_bytes(b"no database" * 500)
    assert main([command, "--home", str(tmp_path)]) == 0
    told = capsys.readouterr().err
    assert told == f"methrics: {outbox}.damaged is damaged: the reports in it are not listed\n"


def test_a_person_without_reports(tmp_path: Path, scene: Scene) -> None:
    runner = CliRunner()
    assert "no report was made" in runner.invoke(mine, ["--home", str(tmp_path)]).output
    result = runner.invoke(mine, ["--home", str(tmp_path), "--check", str(scene.file)])
    assert result.exit_code == 0
    assert "none of yours; 31 reports" in result.output


@pytest.mark.shows("METH-6")
@pytest.mark.parametrize("form", ["cbor", "jsonl", "csv", "parquet"])
def test_meth_6_export(scene: Scene, tmp_path: Path, form: str) -> None:
    out = tmp_path / f"own.{form}"
    out.write_text("old")
    out.chmod(0o644)
    assert run(scene, "export", str(out)).exit_code == 0, "the form follows from the name"
    assert out.stat().st_mode & 0o777 == 0o600
    data = out.read_bytes()
    explicit = tmp_path / "other"
    assert run(scene, "export", str(explicit), "--format", form).exit_code == 0
    assert explicit.read_bytes() == data
    if form != "parquet":
        piped = run(scene, "export", "-", "--format", form)
        assert piped.stdout_bytes == data
        return
    table = pq.read_table(out)
    assert table.num_rows == 4
    raws = {one.raw for one in [*scene.receipts, *scene.waiting]}
    assert set(table["raw"].to_pylist()) == raws
    assert str(table.schema.field("value.daily").type) == "bool"
    assert set(table["value.os"].to_pylist()) == {"linux"}
    assert run(scene, "export", "-", "--format", form).exit_code != 0


def test_through_the_one_command(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mine", "--home", scene.home, "--check", str(scene.file)]) == 1
    capsys.readouterr()
    assert main(["mine", "--home", scene.home, "--check", "http://127.0.0.1:9/x"]) == 4
    assert capsys.readouterr().err.count("\n") == 1
    assert main(["mine", "--app", "x", "export", "out"]) == 2
    assert main(["mine", "export", "--home", scene.home, "/nowhere/at/all.csv"]) == 3


def test_mixed_types_of_a_field_become_text(tmp_path: Path) -> None:
    from methrics.aggregate.mine.parquet_file import write_parquet

    write_parquet(tmp_path / "x.parquet", ["value.a", "value.b"], [[1, None], ["x", None]])
    assert pq.read_table(tmp_path / "x.parquet").to_pylist() == [
        {"value.a": "1", "value.b": None},
        {"value.a": "x", "value.b": None},
    ]


def test_the_batches_of_a_large_set_are_all_looked_at(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mine_find, "_BATCH", 3)
    checked = check(str(scene.file), wanted(scene.receipts))
    assert (checked.of[scene.receipts[0].id], checked.total) == (FOUND, 31)
