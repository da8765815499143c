"""`methrics rebuild`: a new file with the same digests, from a file or from Parquet."""

from __future__ import annotations

import json
from pathlib import Path

import aggregate_making as making
import pytest
from click.testing import CliRunner, Result

from methrics.aggregate.cli.root import root
from methrics.aggregate.parquet.export import Exporter
from methrics.aggregate.store.duck import memory
from methrics.aggregate.store.store import Store

CATALOG = making.catalog(replace=("retention_days = 365", "retention_days = 3653"))
"""The commands read the clock of the machine, so the reports have to be kept for long."""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a.duckdb"
    making.store_all(path, [CATALOG.raw, *(making.beat(CATALOG, i) for i in range(5))])
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(root, ["rebuild", *map(str, arguments)])


def test_both_digests_are_printed_and_equal(file: Path, tmp_path: Path) -> None:
    done = run(file, tmp_path / "b.duckdb")
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert "5 new reports" in lines[0]
    assert lines[-2].replace("SOURCE", "FILE") == lines[-1]
    assert lines[-1].startswith("FILE test ")
    again = run(file, tmp_path / "b.duckdb")
    assert "0 new reports" in again.stdout
    assert "7 items known already" in again.stdout


def test_the_parquet_of_a_lost_file_gives_it_back(file: Path, tmp_path: Path) -> None:
    with Store(file) as store:
        Exporter(store).export(making.NOW)
        digests = store.day_digests()
    file.unlink()
    done = run(tmp_path / "a.parquet", tmp_path / "b.duckdb", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["reports"] == 5
    with Store(tmp_path / "b.duckdb") as store:
        assert store.day_digests() == digests


def test_a_difference_is_told_by_the_exit_code(file: Path, tmp_path: Path) -> None:
    with memory() as con:
        con.execute(f"ATTACH '{file}' AS m")
        con.execute("UPDATE m.item SET raw = 'x'::BLOB WHERE n = 1")
    done = run(file, tmp_path / "b.duckdb")
    assert done.exit_code == 1
    assert "refused as malformed: 1" in done.stdout
    assert "the digests differ" in done.stderr


def test_a_damaged_source_is_told_and_the_rest_is_taken(file: Path, tmp_path: Path) -> None:
    with Store(file) as store:
        Exporter(store).export(making.NOW)
    file.unlink()
    (broken,) = (tmp_path / "a.parquet").glob("raw/test/beat/*/*.parquet")
    broken.write_bytes(broken.read_bytes()[:100])
    done = run(tmp_path / "a.parquet", tmp_path / "b.duckdb")
    assert done.exit_code == 1, done.output
    assert "it is not the listed file" in done.stderr
    assert "not all was read" in done.stderr
    assert "0 new reports, 0 erasures, 1 catalog, 1 record" in done.stdout


def test_no_file_is_made_for_a_source_that_cannot_be_read(file: Path, tmp_path: Path) -> None:
    assert run(tmp_path / "missing", tmp_path / "b.duckdb").exit_code != 0
    assert not (tmp_path / "b.duckdb").exists()
    assert run(file, file).exit_code != 0
