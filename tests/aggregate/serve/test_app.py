"""The routes of the live endpoint, asked without sockets; the questions run in real processes."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
import trio
import trio.testing
from serve_making import LOCAL, ask
from starlette.types import ASGIApp

from methrics.aggregate.collect import disk_use
from methrics.aggregate.collect.figures import Figures
from methrics.aggregate.collect.freshness import Freshness
from methrics.aggregate.collect.holding import DISK, Held
from methrics.aggregate.collect.status import Status
from methrics.aggregate.read.live import KIND
from methrics.aggregate.serve.app import Endpoint
from methrics.aggregate.serve.callers import LOCAL_NAMES
from methrics.aggregate.serve.limits import Limits
from methrics.aggregate.serve.metrics import families
from methrics.aggregate.serve.workers import Workers
from methrics.aggregate.store.batch import Committed
from methrics.aggregate.store.scratch import scratch_folder
from methrics.node.clock import Clock
from methrics.node.http.server import CutError
from methrics.node.relay.clock_watch import Skew
from methrics.node.relay.record_state import RecordState
from methrics.schema.wire.verdict import Reason

QUICK = Limits(patience=0.01)
SLOW = "SELECT count(*) FROM range(10_000_000) a, range(10_000_000) b WHERE a.range * b.range = 7"


class Live:
    """An endpoint on a directory of Parquet."""

    def __init__(self, directory: Path, limits: Limits) -> None:
        self.figures = Figures(directory.with_suffix(".duckdb"), directory, Clock())
        self.workers = Workers(directory, limits)
        self.freshness = Freshness()
        self.app = self.app_of(limits)

    def app_of(self, limits: Limits) -> ASGIApp:
        """The application with other limits, which asks the same processes."""
        return Endpoint(
            self.figures, self.freshness, self.workers, limits, "an-instance", LOCAL_NAMES
        ).app

    def outcomes(self) -> object:
        return self.figures.snapshot().queries["outcomes"]


@asynccontextmanager
async def live(directory: Path, limits: Limits = QUICK) -> AsyncIterator[Live]:
    one = Live(directory, limits)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(one.workers.tend)
        yield one
        nursery.cancel_scope.cancel()


@pytest.mark.shows("KPI-9")
async def test_a_question_is_answered(parquet: Path) -> None:
    async with live(parquet) as one:
        asked = await ask(one.app, "/query", {"sql": "SELECT count(*) n FROM item GROUP BY ALL"})
        assert asked.status == 200
        assert asked.headers["methrics-written"].startswith("2026-09-21T14:20")
        table = pa.ipc.open_stream(asked.body).read_all()
        assert sum(table["n"].to_pylist()) == 40
        asked = await ask(one.app, "/query", {"sql": "SELECT ? n", "parameters": ["x"], "floor": 1})
        assert pa.ipc.open_stream(asked.body).read_all().to_pylist() == [{"n": "x"}]
        assert one.outcomes() == {"answered": 2}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"sql": "DROP TABLE item"}, "only one SELECT"),
        ({"sql": "SELECT nothing"}, "nothing"),
        ({"sql": 1}, "a question is a JSON object"),
        (b"SELECT 1", "a question is a JSON object"),
        (b"[" * 100_000, "a question is a JSON object"),
        ({"sql": "SELECT '\ud800'"}, "a question is a JSON object"),
        ({"sql": "SELECT ?", "parameters": [[1]]}, "parameters are"),
        ({"sql": "SELECT 1", "floor": 0}, "the floor is"),
        ({"sql": "SELECT 1", "floor": 10**30}, "the floor is"),
        (b'{"sql": "SELECT 1", "floor": 1e999}', "the floor is"),
        ({"sql": "x" * 300_000}, "at most 262,144 bytes"),
        ({"sql": "x" * 200_000}, "at most 32,768 bytes"),
    ],
)
async def test_a_wrong_question_gets_a_sentence(parquet: Path, body: object, message: str) -> None:
    async with live(parquet) as one:
        asked = await ask(one.app, "/query", body)
        assert (asked.status, asked.json()["code"]) == (400, "query")
        assert message in asked.json()["message"]


async def test_attack_by_a_question_that_never_ends(parquet: Path) -> None:
    async with live(parquet, replace(QUICK, seconds=3)) as one:
        asked = await ask(one.app, "/query", {"sql": SLOW})
        assert "takes longer than 3 s" in asked.json()["message"]


async def test_attack_by_a_question_whose_first_rows_come_at_once(parquet: Path) -> None:
    """Rows that cost much come after some that cost nothing."""
    text = "repeat('x', 5000)"
    costly = f"CASE WHEN x > 400_000 THEN levenshtein({text} || x, 'y' || {text}) END"
    slow = {"sql": f"SELECT x, {costly} FROM range(500_000) t(x)"}
    async with live(parquet, replace(QUICK, processes=1)) as one:
        # The process has started: that may take longer than the first rows.
        assert (await ask(one.app, "/query", {"sql": "SELECT 1"})).status == 200
        hasty = one.app_of(replace(QUICK, seconds=5))
        with pytest.raises(CutError), trio.fail_after(60):
            await ask(hasty, "/query", slow)
        assert one.outcomes() == {"answered": 1, "broken": 1}
        assert (await ask(one.app, "/query", {"sql": "SELECT 1"})).status == 200


async def test_attack_by_a_question_that_takes_all_memory(parquet: Path) -> None:
    """Memory that DuckDB does not count; the next question is answered."""
    async with live(parquet, replace(QUICK, processes=1)) as one:
        asked = await ask(one.app, "/query", {"sql": "SELECT length(repeat('x', 3_000_000_000))"})
        assert (asked.status, asked.json()["code"]) == (400, "query")
        assert "memory" in asked.json()["message"].lower()
        assert (await ask(one.app, "/query", {"sql": "SELECT count(*) FROM item"})).status == 200


async def test_attack_by_many_questions_gets_busy(parquet: Path) -> None:
    limits = replace(QUICK, seconds=3, processes=1, waiting=1)
    async with live(parquet, limits) as one:
        statuses = []

        async def once() -> None:
            statuses.append((await ask(one.app, "/query", {"sql": SLOW})).status)

        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(once)
        assert sorted(statuses) == [400, 400, 503, 503]
        assert one.outcomes() == {"refused": 2, "busy": 2}


async def test_attack_a_question_finds_no_secret_of_the_environment(
    parquet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a secret")
    given: list[dict[str, str]] = []
    start = trio.lowlevel.open_process

    async def noted(command: list[str], *, env: dict[str, str], **more: int) -> trio.Process:
        given.append(env)
        return await start(command, env=env, **more)  # type: ignore[return-value]

    monkeypatch.setattr(trio.lowlevel, "open_process", noted)
    async with live(parquet) as one:
        assert (await ask(one.app, "/query", {"sql": "SELECT 1"})).status == 200
    (env,) = given
    assert "PATH" in env
    assert "AWS_SECRET_ACCESS_KEY" not in env


async def test_a_reader_that_leaves_frees_its_process(parquet: Path) -> None:
    async with live(parquet, replace(QUICK, processes=1)) as one:
        big = {"sql": "SELECT * FROM range(100_000_000)"}
        asked = await ask(one.app, "/query", big, leave_after=1_000_000)
        assert not asked.whole
        assert len(asked.body) < 2_000_000
        assert (await ask(one.app, "/query", {"sql": "SELECT 1"})).status == 200
        assert one.outcomes() == {"left": 1, "answered": 1}


async def test_attack_by_a_reader_that_takes_no_more_frees_its_process(parquet: Path) -> None:
    async with live(parquet, replace(QUICK, processes=1, stall_seconds=0.2)) as one:
        big = {"sql": "SELECT * FROM range(100_000_000)"}
        with trio.fail_after(60), pytest.RaisesGroup(trio.TooSlowError):
            await ask(one.app, "/query", big, stall_after=1_000_000)
        assert (await ask(one.app, "/query", {"sql": "SELECT 1"})).status == 200


async def test_attack_by_readers_that_leave_fills_no_disk(
    parquet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a killed process has spilled goes with it."""
    scratch_folder()  # of this process, elsewhere
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    async with live(parquet, replace(QUICK, processes=1)) as one:
        await ask(one.app, "/query", {"sql": "FROM range(100_000_000)"}, leave_after=1_000_000)
        assert not list(tmp_path.iterdir())


async def test_an_answer_that_is_too_large_is_cut_and_never_whole(parquet: Path) -> None:
    async with live(parquet, replace(QUICK, answer_bytes=1_000_000)) as one:
        with pytest.raises(ExceptionGroup) as caught, trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask, one.app, "/query", {"sql": "FROM range(1_000_000)"})
        assert "CutError" in repr(caught.value)
        assert one.outcomes() == {"broken": 1}


async def test_attack_by_a_web_page_reaches_nothing(parquet: Path) -> None:
    async with live(parquet) as one:
        for path in ("/status", "/metrics", "/tables"):
            rebound = [(b"host", b"evil.example")]
            assert (await ask(one.app, path, headers=rebound)).status == 403
        simple = [*LOCAL, (b"content-type", b"text/plain")]
        asked = await ask(one.app, "/query", {"sql": "SELECT 1"}, headers=simple)
        assert (asked.status, asked.json()["code"]) == (403, "live-refused")
        assert (await ask(one.app, "/query")).status == 405
        assert (await ask(one.app, "/nothing")).status == 404


async def test_contents_and_footnotes(parquet: Path) -> None:
    async with live(parquet) as one:
        found = (await ask(one.app, "/tables?floor=7")).json()
        assert found["floor"] == 7
        assert "test.beat_dau" in found["views"]
        asked = await ask(one.app, "/footnote?view=test.beat_dau&floor=7")
        assert "multiples of 7" in asked.json()
        assert (await ask(one.app, "/footnote?view=x")).status == 400
        assert (await ask(one.app, "/tables?floor=x")).status == 400


async def test_the_tables_are_as_new_as_an_answer(parquet: Path) -> None:
    """The views of an event type whose first reports have just come can be asked by name."""
    async with live(parquet, replace(QUICK, patience=60)) as one, trio.open_nursery() as nursery:
        exports: list[str] = []

        async def export() -> None:
            await one.freshness.wait(3600)
            one.freshness.end(one.freshness.begin())
            exports.append("asked for")

        nursery.start_soon(export)
        assert (await ask(one.app, "/tables")).status == 200
        assert exports == ["asked for"]
        nursery.cancel_scope.cancel()


async def test_status_and_metrics_tell_what_happened(parquet: Path) -> None:
    async with live(parquet) as one:
        one.figures.committed(
            Committed(reports=7, refused=3, reasons={Reason.EXPIRED: 3}, seconds=0.03, total=47)
        )
        one.figures.exported(0.5)
        one.figures.compared("12D3KooW", "an app", lacking=5, equal=False)
        found = (await ask(one.app, "/status")).json()
        assert (found["kind"], found["instance"]) == (KIND, "an-instance")
        assert (found["reports"], found["counts"]["reports"]) == (47, 7)
        assert found["refused"] == {"expired": 3}
        assert found["aggregators"][0]["lacking"] == 5
        assert found["disk"]["free"] > 0
        assert found["disk"]["parquet"] > 0
        one.figures.held(Held(DISK, "it is full"))
        record = RecordState("/methrics/1/a/cbor", 1, 1_800_000_000)
        one.figures.noted(Status(1, (record,), skew=Skew(behind=True, seconds=7200)))
        text = (await ask(one.app, "/metrics")).body.decode()
        for line in (
            "methrics_reports 47.0",
            'methrics_items_total{outcome="stored"} 7.0',
            'methrics_refused_items_total{reason="expired"} 3.0',
            'methrics_commit_seconds_bucket{le="0.05"} 1.0',
            'methrics_aggregator_equal{peer="12D3KooW"} 0.0',
            'methrics_aggregator_lacking_items{peer="12D3KooW"} 5.0',
            'methrics_held{cause="disk"} 1.0',
            'methrics_held{cause="store"} 0.0',
            'methrics_record_expires_timestamp_seconds{topic="/methrics/1/a/cbor"} 1.8e+09',
            "methrics_clock_skew_seconds -7200.0",
        ):
            assert line in text


def test_the_documentation_lists_every_metric(tmp_path: Path) -> None:
    page = Path(__file__).resolve().parents[3] / "docs" / "operate.md"
    text = page.read_text("utf-8")
    figures = Figures(tmp_path / "a.duckdb", tmp_path, Clock())
    for one in families(figures.snapshot()):
        name = f"{one.name}_total" if one.type == "counter" else one.name
        assert f"`{name}" in text, name


async def test_the_disk_is_measured_in_a_thread_and_not_for_each_request(
    parquet: Path, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = []

    def measured(path: Path, folder: Path) -> dict[str, int]:
        threads.append(threading.get_ident())
        return {"file": len(threads), "log": 0, "parquet": 0, "free": 0}

    monkeypatch.setattr(disk_use, "_measured", measured)
    async with live(parquet) as one:
        for path in ("/status", "/metrics", "/status"):
            assert (await ask(one.app, path)).status == 200
        assert len(threads) == 1
        assert threads[0] != threading.get_ident()
        await trio.sleep(disk_use.MEASURED_FOR)
        assert (await ask(one.app, "/status")).json()["disk"]["file"] == 2
