"""The program that checks a Parquet directory without Methrics (docs/examples/analyse)."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import aggregate_making as making
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest
from nacl.exceptions import BadSignatureError

from methrics.aggregate.parquet.export import Exporter
from methrics.aggregate.parquet.lake import join_lake
from methrics.aggregate.store.store import Store
from methrics.schema.judging.book import CatalogBook
from methrics.schema.wire.shard import shards_of

PROGRAM = Path(__file__).parents[3] / "docs" / "examples" / "analyse" / "check_days.py"
CATALOG = making.catalog()
TIME = making.NOW - 7200
BEATS = [making.beat(CATALOG, i, TIME - making.DAY * (i % 2)) for i in range(6)]
ERASURE = making.erasure(CATALOG, BEATS[0], "beat", 0, TIME)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Reports of two days; the first one was erased."""
    with Store(tmp_path / "a.duckdb") as store:
        store.commit(making.batch([CATALOG.raw, *BEATS, ERASURE], CatalogBook()))
        Exporter(store).export(making.NOW)
        return store.directory


def check(directory: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    wrong = runpy.run_path(str(PROGRAM))["main"](directory)
    return wrong, capsys.readouterr().out


def publish(
    directory: Path, change: Callable[[list[bytes]], list[bytes]], name: str = "manifest.json"
) -> None:
    """Publish other reports, in a file that a manifest lists."""
    manifest: dict[str, Any] = json.loads((directory / name).read_text("utf-8"))
    file = next(one for one in manifest["files"] if one["table"] == "item" and one["rows"])
    path = directory / file["name"]
    raws = pq.read_table(path)["raw"].to_pylist()
    pq.write_table(pa.table({"raw": pa.array(change(raws), pa.binary())}), path)
    file["sha256"] = sha256(path.read_bytes()).hexdigest()
    (directory / name).write_text(json.dumps(manifest), "utf-8")


def test_the_program_says_how_it_is_called(tmp_path: Path) -> None:
    for given in ([], [tmp_path], [tmp_path, tmp_path]):
        done = subprocess.run(
            [sys.executable, PROGRAM, *given], capture_output=True, text=True, check=False
        )
        assert done.returncode == 1
        assert done.stderr.startswith("usage: python ")


def test_what_an_aggregator_publishes_agrees(
    directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong, said = check(directory, capsys)
    assert (wrong, said.count(": 2 reports"), said.count(": 3 reports")) == (0, 1, 1)
    assert said.endswith("Everything agrees.\n")


def test_each_shard_of_a_lake_is_checked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lake = tmp_path / "lake"
    for shard in shards_of(2):
        file = tmp_path / f"{shard.folder}.duckdb"
        with Store(file, shard) as store:
            join_lake(file, lake, shard)
            store.commit(making.batch([CATALOG.raw, *BEATS, ERASURE], CatalogBook()))
            Exporter(store).export(making.NOW)
    wrong, said = check(lake, capsys)
    counts = [int(line.split()[-2]) for line in said.splitlines() if line.endswith(" reports")]
    assert (wrong, sum(counts), said.count("Everything agrees.")) == (0, 5, 2)
    publish(lake, lambda raws: raws[1:], "manifest.1-of-2.json")
    wrong, said = check(lake, capsys)
    assert (wrong, said.count("Everything agrees.")) == (1, 1)


def test_a_missing_an_erased_and_a_strange_report_are_noticed(
    directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(directory, lambda raws: raws[:-1])
    wrong, said = check(directory, capsys)
    assert wrong == 1
    assert "not those of the digest" in said
    publish(directory, lambda raws: [*raws, BEATS[0]])
    assert "was erased" in check(directory, capsys)[1]
    strange = making.beat(CATALOG, 9, TIME - 9 * making.DAY)
    publish(directory, lambda raws: [*raws, strange])
    assert "reports that manifest.json does not list" in check(directory, capsys)[1]


def test_a_changed_file_and_a_changed_report_are_noticed(
    directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = next((directory / "dictionary").glob("code.*.parquet"))
    path.write_bytes(path.read_bytes() + b"\x00")
    assert "is another file" in check(directory, capsys)[1]
    publish(directory, lambda raws: [raws[0][:-1] + bytes([raws[0][-1] ^ 1]), *raws[1:]])
    with pytest.raises(BadSignatureError):
        check(directory, capsys)
