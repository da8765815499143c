"""A running endpoint read as a data set, by Python and by the commands, over loopback."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from dataclasses import asdict, replace
from functools import partial
from http.server import SimpleHTTPRequestHandler
from pathlib import Path

import pytest
import trio
from serve_making import make_data
from serving import FolderServer

from methrics.aggregate.cli.main import main
from methrics.aggregate.cli.status import lines
from methrics.aggregate.collect.figures import Figures
from methrics.aggregate.collect.freshness import Freshness
from methrics.aggregate.collect.holding import DISK, Held, Resumed
from methrics.aggregate.collect.opening import only_aggregator
from methrics.aggregate.collect.status import Status
from methrics.aggregate.mine.find import check
from methrics.aggregate.notebook.explore import open_data
from methrics.aggregate.read import live
from methrics.aggregate.read.dataset import open_dataset, open_files
from methrics.aggregate.read.live import LiveDataset, live_beside, live_status, open_live
from methrics.aggregate.read.live_file import (
    LiveFile,
    live_file_beside,
    remove_left_live_file,
    write_live_file,
)
from methrics.aggregate.read.opening import LiveOnlyError
from methrics.aggregate.serve.limits import Limits
from methrics.aggregate.serve.server import OPEN_WARNING, serve
from methrics.aggregate.serve.settings import ServeSettings, serve_settings
from methrics.aggregate.store.parts import directory_beside
from methrics.node.clock import Clock, ManualClock
from methrics.node.relay.record_state import RecordState
from methrics.schema.errors import ConfigError, LocalError, StoreError, UnreachableError

LIMITS = Limits(patience=0.01, answer_bytes=400_000)


class Serving:
    """An endpoint in a thread, for the DuckDB file `path`."""

    def __init__(self, path: Path, settings: ServeSettings) -> None:
        self.path = path
        self.address = self.warning = ""
        self.figures = Figures(path, path.with_suffix(".parquet"), Clock())
        self._settings = settings
        self._bound = threading.Event()
        self._thread = threading.Thread(target=partial(trio.run, self._main))
        self._thread.start()
        assert self._bound.wait(60)

    async def _main(self) -> None:
        self._stop = trio.Event()
        self._token = trio.lowlevel.current_trio_token()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(
                serve,
                self.path,
                directory_beside(self.path),
                self._settings,
                self.figures,
                Freshness(),
                self._listening,
            )
            await self._stop.wait()
            nursery.cancel_scope.cancel()

    def _listening(self, address: str, warning: str) -> None:
        self.address, self.warning = address, warning
        self._bound.set()

    def close(self) -> None:
        self._token.run_sync_soon(self._stop.set)
        self._thread.join()


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    path = tmp_path_factory.mktemp("live") / "metrics.duckdb"
    make_data(path)
    with only_aggregator(path):
        one = Serving(path, ServeSettings(limits=LIMITS))
        yield one
        one.close()
    assert not live_file_beside(path).exists()


@pytest.mark.shows("KPI-9", "KPI-10")
def test_a_live_endpoint_has_the_tables_and_views_of_a_data_set(serving: Serving) -> None:
    with open_live(serving.address, floor=1) as data:
        assert {"item", "test.beat"} <= set(data.tables())
        assert data.rows("SELECT count(*) FROM test.beat") == [(40,)]
        assert data.rows("SELECT ? + 1", [41]) == [(42,)]
        assert data.arrow("FROM item LIMIT 3").num_rows == 3
        assert data.written is not None
        assert data.written.startswith("2026-09-21T14:20")
        view = data.view("beat_dau")
        assert view.name == "test.beat_dau"
        assert view.rows() == data.rows("FROM test.beat_dau")
        assert data.footnote(view.name) == "Every count is shown as it is."
        assert ("table", "test.beat") in {one[:2] for one in data.contents()}
        assert str(data) == f"{serving.address} (live)"


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("DROP TABLE item", "only one SELECT statement can be asked"),
        ("SELECT nothing FROM item", "nothing"),
        ("FROM range(1_000_000)", "the answer is larger than 400,000 bytes"),
    ],
)
def test_errors_arrive_with_their_own_sentence(serving: Serving, sql: str, message: str) -> None:
    with open_live(serving.address) as data:
        with pytest.raises(StoreError, match=message) as caught:
            data.rows(sql)
        assert caught.value.code == "query"
        assert data.rows("SELECT 1") == [(1,)]


@pytest.mark.shows("KPI-9", "KPI-10")
def test_the_commands_ask_a_live_endpoint(
    serving: Serving, capsys: pytest.CaptureFixture[str]
) -> None:
    count = "SELECT count(*) AS n FROM item"
    assert main(["query", serving.address, count, "--json"]) == 0
    assert main(["query", str(serving.path), count, "--live", "--json"]) == 0
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [{"n": 40}] * 2
    assert main(["query", serving.address, "beat_dau"]) == 0
    assert "Counts are rounded down to multiples of 10" in capsys.readouterr().out
    assert main(["query", serving.address]) == 0
    assert "test.beat_dau" in capsys.readouterr().out
    assert main(["query", serving.address, "--digest"]) == 2
    assert main(["status", str(serving.path)]) == 0
    assert "running for" in capsys.readouterr().out
    assert main(["status", serving.address, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["file"] == "metrics.duckdb"


def test_a_file_that_a_killed_aggregator_left_behind_counts_as_none(
    tmp_path: Path, serving: Serving, capsys: pytest.CaptureFixture[str]
) -> None:
    path = make_data(tmp_path / "a.duckdb", 1).with_suffix(".duckdb")
    asked: list[str] = []
    foreign = FolderServer(tmp_path, lambda request: asked.append(request.path))
    live = LiveFile(foreign.address, "x", os.getpid())
    write_live_file(path, live)
    assert live_beside(path) is None
    assert main(["status", str(path)]) == 3
    assert f"no aggregator writes {path} now (start one:" in capsys.readouterr().err
    with only_aggregator(path):
        for one in (replace(live, process=live.process + 1), None):
            remove_left_live_file(path) if one is None else write_live_file(path, one)
            assert live_beside(path) is None
            assert main(["query", str(path), "--live"]) == 3
            assert "was started without --http (start it again" in capsys.readouterr().err
        assert asked == [], "nobody asks a port that may be another program's"
        for one in (live, replace(live, address=serving.address)):
            write_live_file(path, one)
            assert live_beside(path) is None, "another instance answers"
    foreign.close()
    for text in (
        b"",
        b"[]",
        b'{"address": 1, "instance": "x", "process": 1}',
        b"\xff",
        b"[" * 9999,
    ):
        live_file_beside(path).write_bytes(text)
        assert live_beside(path) is None
    assert main(["query", str(tmp_path / "none.duckdb"), "--live"]) == 3
    assert "there is no file" in capsys.readouterr().err


def test_one_call_opens_a_running_aggregator_and_a_directory(
    serving: Serving, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    count = "SELECT count(*) FROM item"
    site = FolderServer(serving.path.parent, lambda request: None)
    parquet = f"{site.address}/metrics.parquet/"
    for address in (serving.address, f"{serving.address}/", parquet):
        with open_dataset(address, floor=1, cache=tmp_path / "cache") as data:
            assert isinstance(data, LiveDataset) == (address != parquet)
            assert data.rows(count) == [(40,)]
            assert data.floor == 1
    with open_data(serving.address) as data:
        assert data.rows(count) == [(40,)]
    with pytest.raises(LiveOnlyError, match="a running aggregator, which gives no files"):
        open_files(serving.address, cache=tmp_path / "cache")
    known = tmp_path / "known.csv"
    known.write_text("day,field,value,installs\n")
    with pytest.raises(LocalError, match="known totals need files"):
        open_dataset(serving.address, known=known, cache=tmp_path / "cache")
    for command in (["verify"], ["compare", str(serving.path)]):
        assert main([*command, serving.address]) == 3
        assert "gives no files (name its DuckDB file" in capsys.readouterr().err
    with pytest.raises(LiveOnlyError):
        check(serving.address, [])
    with pytest.raises(UnreachableError, match=r"404 .*; nor does a running aggregator answer"):
        open_dataset(f"{site.address}/", cache=tmp_path / "cache")
    nobody = r"127\.0\.0\.1:9/manifest\.json cannot be fetched: .* \(is an aggregator running"
    with pytest.raises(UnreachableError, match=nobody):
        open_dataset("http://127.0.0.1:9", cache=tmp_path / "cache")
    assert len([*(tmp_path / "cache").iterdir()]) == 1, "nothing is kept of what is not there"
    site.close()


def test_attack_an_answer_without_end_is_given_up(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "ANSWER_MAX", 100_000)
    with open_live(serving.address) as data:
        assert len(data.rows("FROM range(1_000)")) == 1_000
        with pytest.raises(LocalError, match="larger than 100,000 bytes"):
            data.rows("FROM range(100_000)")


def test_an_endpoint_that_refuses_says_why(tmp_path: Path) -> None:
    def refuse(request: SimpleHTTPRequestHandler) -> None:
        body = b'{"code": "live-refused", "message": "the host is not known here", "hint": ""}'
        request.send_response(403)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    site = FolderServer(tmp_path, lambda request: None, answer=refuse)
    with pytest.raises(StoreError, match="the host is not known here") as caught:
        open_dataset(site.address, cache=tmp_path / "cache")
    assert caught.value.code == "live-refused"
    site.close()


def test_an_address_without_an_endpoint(
    serving: Serving, capsys: pytest.CaptureFixture[str]
) -> None:
    nobody = r"http://127\.0\.0\.1:9 does not answer: .* \(is an aggregator running there"
    with pytest.raises(UnreachableError, match=nobody):
        open_live("http://127.0.0.1:9")
    with pytest.raises(UnreachableError, match="does not answer"):
        live_status("http://127.0.0.1:99999")
    assert live_status(f"{serving.address}/nothing") is None
    assert main(["status", f"{serving.address}/elsewhere"]) == 3
    assert main(["status", "http://["]) == 3
    capsys.readouterr()


def test_a_port_that_is_taken_is_told(tmp_path: Path, serving: Serving) -> None:
    port = int(serving.address.rpartition(":")[2])
    figures = Figures(tmp_path / "b.duckdb", tmp_path, Clock())
    settings = ServeSettings(port=port)
    with pytest.raises(ExceptionGroup) as caught:
        trio.run(serve, tmp_path / "b", tmp_path, settings, figures, Freshness(), lambda *_: None)
    assert caught.group_contains(ConfigError, match="cannot serve at 127.0.0.1")


def test_an_endpoint_open_to_others_warns(tmp_path: Path) -> None:
    settings = serve_settings("0.0.0.0:0", True)
    assert settings is not None
    make_data(tmp_path / "c.duckdb", 2)
    one = Serving(tmp_path / "c.duckdb", settings)
    one.close()
    assert one.warning == OPEN_WARNING
    assert serve_settings(None, False) is None
    with pytest.raises(ConfigError, match="--http-open is about --http"):
        serve_settings(None, True)


def test_status_in_words(tmp_path: Path) -> None:
    now = 1_800_000_000
    figures = Figures(tmp_path / "d.duckdb", tmp_path / "d.parquet", ManualClock(now))
    empty = dict(lines(asdict(figures.snapshot())))
    assert (empty["commits"], empty["exports"], empty["refused"]) == (
        "none yet",
        "none yet",
        "nothing",
    )
    figures.exported(0.0, "the disk is full")
    figures.compared("12D3KooW", "an app", lacking=1500, equal=False)
    figures.answered("refused", 0.1)
    figures.held(Held(DISK, "only 9 MiB are free on its disk"))
    record = RecordState("/methrics/1/a/cbor", now, now + 3600, catalogs=1)
    figures.noted(Status(now, (record,), jumped="the clock has jumped"))
    figures.follow(lambda: 1, lambda: {"connections": 2, "accepted": 1, "received_bytes": 2048})
    wrong = asdict(figures.snapshot()) | {"clock": {"behind": True, "seconds": 7200}}
    told = dict(lines(wrong))
    assert ("clock", "this machine's clock is probably 2 h behind") in [*lines(wrong)]
    assert told["exports"] == "the last one failed: the disk is full"
    assert told["aggregator"] == "12D3KooW, 0 s ago: 1,500 items were lacking here; equal 0 s ago"
    assert told["held"] == "nothing is accepted now: only 9 MiB are free on its disk"
    assert told["record"].endswith("catalogs 1; it expires in 60 min")
    assert told["peers"] == "2 connected; 1 message accepted, 0 rejected, 2 KiB in all"
    assert told["queue"] == "1 bundle for the writer, 0 for a catalog or a record"
    assert told["clock"] == "the clock has jumped"
    assert list(lines(asdict(figures.snapshot())))[1][0] == "held", "what is wrong comes first"
    figures.held(Resumed(DISK, 3))
    assert "held" not in dict(lines(asdict(figures.snapshot())))
    assert told["questions"] == "refused 1"
