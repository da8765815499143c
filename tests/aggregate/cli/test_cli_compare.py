"""`methrics compare`: files, directories and running aggregators, equal or not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path

import aggregate_making as making
import pytest
from click.testing import CliRunner, Result
from reconcile_making import MemorySet, ask_of, reports
from serving import FolderServer

from methrics.aggregate.cli import compare_peer
from methrics.aggregate.cli.compare_ids import Wanted, ids_of_peer
from methrics.aggregate.cli.compare_peer import days_of, is_peer
from methrics.aggregate.cli.root import root
from methrics.aggregate.parquet.export import Exporter
from methrics.aggregate.reconcile.fingerprint import IdIndex
from methrics.aggregate.reconcile.wire import (
    PROTOCOL,
    REQUEST_MAX,
    DaySum,
    Open,
    Opened,
    decode_request,
    encode_busy,
    encode_opened,
)
from methrics.aggregate.store.digest import ids_of
from methrics.aggregate.store.store import Store
from methrics.node.network.memory import MemoryNetwork
from methrics.schema.errors import ConfigError, RefusedError, UnreachableError
from methrics.schema.judging.book import CatalogBook
from methrics.schema.wire.envelope import split
from methrics.schema.wire.shard import Shard
from methrics.schema.wire.verdict import Reason

CATALOG = making.catalog()
EARLIER = making.NOW - 2 * making.DAY
PEER = "/ip4/192.0.2.7/tcp/4001/p2p/12D3KooWRBy97UB99e3J6hiPesre1MZeuNQvfan4gBziswrRJsNK"


def make(path: Path, beats: Iterable[int], clicks: Iterable[int] = ()) -> Path:
    old = [making.clicks(CATALOG, i, EARLIER) for i in clicks]
    making.store_all(path, [CATALOG.raw, *(making.beat(CATALOG, i) for i in beats), *old])
    return path


def export(path: Path) -> Path:
    with Store(path) as store:
        exporter = Exporter(store)
        exporter.export(making.NOW)
        exporter.close()
    return path.with_suffix(".parquet")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(root, ["compare", *map(str, arguments)], catch_exceptions=False)


@pytest.mark.shows("NEW-2")
def test_the_same_reports_in_another_order_are_equal(tmp_path: Path) -> None:
    a, b = make(tmp_path / "a.duckdb", range(9)), make(tmp_path / "b.duckdb", range(8, -1, -1))
    done = run(a, b)
    assert done.exit_code == 0
    assert "equal: test, 9 reports on 1 day, digest " in done.output
    digest = done.output.split()[-1]
    assert digest in run(a, export(b)).output
    assert digest in run(export(a), b, "--check").output
    assert json.loads(run(a, b, "--json").output)["equal"] is True


def test_the_days_that_differ_are_told(tmp_path: Path) -> None:
    a = make(tmp_path / "a.duckdb", range(9), range(2))
    b = make(tmp_path / "b.duckdb", range(7))
    done = run(a, b)
    assert done.exit_code == 1
    assert "A has 9, B has 7" in done.output
    assert "only A has reports: 2" in done.output
    assert "test: 2 of 2 days differ" in done.output
    found = json.loads(run(a, b, "--json").output)
    assert found["equal"] is False
    [app] = found["namespaces"]
    first = app["differences"][0]
    assert (first["a"]["reports"], first["b"]) == (2, None)


def test_why_two_may_differ_is_told(tmp_path: Path) -> None:
    a = make(tmp_path / "a.duckdb", range(9))
    parquet = export(make(tmp_path / "b.duckdb", range(7)))
    said = "A and B are not of the same moment: what came in between is a difference\n"
    assert run(a, parquet).output.endswith(said)
    assert "moment" not in run(a, export(a)).output, "they are equal"
    half = tmp_path / "half.duckdb"
    Store(half, Shard(1, 2)).close()
    assert "B is shard 1/2: it has one range of all ids\n" in run(a, half).output


def test_as_many_but_other_reports_differ(tmp_path: Path) -> None:
    a, b = make(tmp_path / "a.duckdb", range(3)), make(tmp_path / "b.duckdb", range(3, 6))
    assert "both have 3 reports, but not the same" in run(a, b).output


def test_attack_a_manifest_that_lies_is_found_by_check(tmp_path: Path) -> None:
    a = make(tmp_path / "a.duckdb", range(3))
    honest = export(a)
    lying = tmp_path / "lying.parquet"
    shutil.copytree(honest, lying)
    text = json.loads((lying / "manifest.json").read_bytes())
    for day in text["days"]["test"].values():
        day["digest"] = "00" * 32
    (lying / "manifest.json").write_text(json.dumps(text))
    assert run(a, lying).exit_code == 1
    assert run(a, lying, "--check").exit_code == 0


def test_an_address_is_compared_without_fetching_its_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    a, b = make(tmp_path / "a.duckdb", range(9)), make(tmp_path / "b.duckdb", range(8))
    export(a)
    asked: list[str] = []
    web = FolderServer(tmp_path, lambda request: asked.append(request.path))
    try:
        assert run(a, f"{web.address}/a.parquet/").exit_code == 0
        assert "/a.parquet/manifest.json" in asked
        assert not any("/raw/" in path for path in asked)
        assert "A has 8, B has 9" in run(b, f"{web.address}/a.parquet/", "--check").output
    finally:
        web.close()


def test_empty_sides_are_equal(tmp_path: Path) -> None:
    a, b = make(tmp_path / "a.duckdb", ()), make(tmp_path / "b.duckdb", ())
    assert run(a, b).output == "equal: neither has a report\n"


def test_two_peers_need_a_file() -> None:
    assert is_peer(PEER)
    assert not is_peer("/home/me/p2p/metrics.duckdb")
    done = CliRunner().invoke(root, ["compare", PEER, PEER])
    assert isinstance(done.exception, ConfigError)
    assert done.exception.code == "no-namespace"


async def test_a_running_aggregator_is_asked_for_its_days(monkeypatch: pytest.MonkeyPatch) -> None:
    replies = [encode_busy(0), b"", b"\x81\x01"]
    asked: list[Open] = []

    async def answer(_peer: str, body: bytes) -> bytes:
        request = decode_request(body)
        assert isinstance(request, Open)
        asked.append(request)
        return replies.pop(0)

    async def no_sleep(_seconds: float) -> None:
        return None

    monkeypatch.setattr(compare_peer.trio, "sleep", no_sleep)
    network = MemoryNetwork()
    async with network.open_swarm() as one, network.open_swarm() as other:
        other.serve(PROTOCOL, answer, request_max=REQUEST_MAX)
        peer = await one.dial(other.addrs[0])
        days = (DaySum(20_000, 3, b"d" * 32), DaySum(20_001, 1, b"e" * 32))
        replies[1] = encode_opened(Opened(b"s" * 16, b"", (), days))
        found = await days_of(one, peer, CATALOG.key, making.NOW)
        assert [DaySum(day.day, day.count, day.digest) for day in found] == list(days)
        assert {request.key for request in asked} == {CATALOG.key}
        with pytest.raises(UnreachableError) as caught:
            await days_of(one, peer, CATALOG.key, making.NOW)
        assert caught.value.code == "bad-answer"


async def test_attack_a_request_that_is_refused_leaves_no_line_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def refuse(_peer: str, _body: bytes) -> bytes:
        raise RefusedError(Reason.FOREIGN, "a namespace that is not collected")

    network = MemoryNetwork()
    async with network.open_swarm() as one, network.open_swarm() as other:
        other.serve(PROTOCOL, refuse, request_max=REQUEST_MAX)
        peer = await one.dial(other.addrs[0])
        with pytest.raises(UnreachableError) as caught:
            await days_of(one, peer, CATALOG.key, making.NOW)
        assert CATALOG.key.hex() in caught.value.message
        assert "may not collect this app" in caught.value.hint
        assert other.statistics().handler_errors == 1
    assert not caplog.records


@pytest.mark.shows("NEW-2")
def test_reports_that_only_one_side_has_are_named(tmp_path: Path) -> None:
    a = make(tmp_path / "a.duckdb", range(30), range(2))
    b = make(tmp_path / "b.duckdb", range(4, 31))
    beats = [split(making.beat(CATALOG, i)).id.hex() for i in range(31)]
    words = run(a, export(b), "--ids", 9).output
    assert words.count("only in A: ") == 4 + 2
    assert [line for line in words.splitlines() if "only in B" in line] == [
        f"  only in B: {beats[30]}"
    ]
    [app] = json.loads(run(b, a, "--json", "--ids", 9).output)["namespaces"]
    assert app["differences"][1]["only_a"] == [beats[30]]
    assert app["differences"][1]["only_b"] == sorted(beats[:4])
    assert run(a, b).output.count("only in A: ") == 2 + 3
    assert "only in" not in run(a, b, "--ids", 0).output


async def test_the_ids_of_a_running_aggregator_are_compared(tmp_path: Path) -> None:
    pool = reports(600, days=2)
    own, theirs = pool[7:], pool[:-5]
    reply = ask_of(MemorySet(theirs))

    async def answer(_peer: str, body: bytes) -> bytes:
        return reply(body)

    with Store(tmp_path / "a.duckdb") as store:
        store.commit(making.batch([CATALOG.raw], CatalogBook()))
        store.commit(making.batch(own, making.book(CATALOG)))
        days = {(one.key, one.day) for one in store.day_digests()}
        wanted = {Wanted(*day): own_ids(store, *day) for day in days}
    network = MemoryNetwork()
    async with network.open_swarm() as one, network.open_swarm() as other:
        other.serve(PROTOCOL, answer, request_max=REQUEST_MAX)
        peer = await one.dial(other.addrs[0])
        found = await ids_of_peer(one, peer, wanted, 20, making.NOW)
    for mine, only in ((True, pool[-5:]), (False, pool[:7])):
        ids = {one for both in found.values() for one in (both.mine if mine else both.theirs)}
        assert ids == {split(raw).id for raw in only}


def own_ids(store: Store, key: bytes, day: int) -> IdIndex:
    with store.reading() as con:
        return IdIndex(b"".join(ids_of(con, store.items_sql(con=con), key, day)))
