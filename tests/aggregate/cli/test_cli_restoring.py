"""`methrics aggregate --from`: restores first, then collects."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import aggregate_making as making
import pytest

from methrics.aggregate.cli.main import main
from methrics.aggregate.parquet.export import Exporter
from methrics.aggregate.store.store import Store

CATALOG = making.catalog(replace=("retention_days = 365", "retention_days = 3653"))
"""The commands read the clock of the machine, so the reports have to be kept for long."""


@pytest.mark.wire
def test_a_lost_file_comes_back_from_its_parquet(tmp_path: Path) -> None:
    file, old = tmp_path / "a.duckdb", tmp_path / "old.parquet"
    making.store_all(file, [CATALOG.raw, *(making.beat(CATALOG, i) for i in range(9))])
    with Store(file) as store:
        Exporter(store).export(making.NOW)
        digests = store.day_digests()
    file.unlink()
    (tmp_path / "a.parquet").rename(old)
    command = [sys.executable, "-m", "methrics.aggregate", "aggregate", str(file)]
    command += ["--from", str(old), "--listen", "/ip4/127.0.0.1/tcp/0", "--keep-free", "0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONUNBUFFERED": "1"}
    ) as running:
        assert running.stdout is not None
        said: list[str] = []
        for line in running.stdout:
            said.append(line)
            if "collecting from" in line:
                running.send_signal(signal.SIGTERM)
                break
        running.stdout.read()
    assert running.returncode == 0, said
    assert any("Z from " in line and "9 new reports" in line for line in said), "with a time"
    with Store(file) as store:
        assert store.day_digests() == digests
    assert (tmp_path / "a.parquet" / "manifest.json").exists()


def test_a_source_that_cannot_be_read_makes_no_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = tmp_path / "new.duckdb"
    assert main(["aggregate", str(new), "--from", str(tmp_path / "missing")]) == 3
    assert "no such file" in capsys.readouterr().err
    assert list(tmp_path.glob("new*")) == []


@pytest.mark.parametrize("command", ["aggregate", "rebuild"])
def test_an_address_that_cannot_be_read_makes_no_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    new, address = str(tmp_path / "new.duckdb"), "http://127.0.0.1:9/a.parquet/"
    arguments = [new, "--from", address] if command == "aggregate" else [address, new]
    assert main([command, *arguments]) == 4
    assert "cannot be fetched" in capsys.readouterr().err
    assert list(tmp_path.glob("new*")) == []


def test_a_file_is_no_source_of_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, link = tmp_path / "a.duckdb", tmp_path / "link.duckdb"
    making.store_all(file, [CATALOG.raw, making.beat(CATALOG, 1)])
    link.symlink_to(file)
    for source in (file, link):
        assert main(["aggregate", str(file), "--from", str(source)]) == 2
        assert "are the same file (name a new FILE)" in capsys.readouterr().err
    assert not (tmp_path / "a.duckdb.lock").exists()


def test_a_lost_file_is_not_made_anew_beside_its_own_parquet(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It would collect, and every export would fail: the directory is that of another file."""
    file, beside = tmp_path / "a.duckdb", tmp_path / "a.parquet"
    making.store_all(file, [CATALOG.raw, making.beat(CATALOG, 1)])
    with Store(file) as store:
        Exporter(store).export(making.NOW)
    file.unlink()
    assert main(["aggregate", str(file), "--from", str(beside)]) == 2
    assert "rename the directory, and name it by --from" in capsys.readouterr().err
    assert not file.exists()
