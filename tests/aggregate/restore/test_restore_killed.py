"""A restore that is killed anywhere goes on where it was: nothing twice, nothing missing."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import aggregate_making as making
import pytest

from methrics.aggregate.parquet.export import Exporter
from methrics.aggregate.read.dataset import open_dataset
from methrics.aggregate.read.verify import verify
from methrics.aggregate.store.store import Store

PROGRAM = Path(__file__).with_name("restoring.py")
CATALOG = making.catalog()


@pytest.mark.wire
def test_attack_kill_a_restore_again_and_again(tmp_path: Path) -> None:
    raws = [making.beat(CATALOG, i, making.NOW - 7200 - i % 3 * making.DAY) for i in range(120)]
    making.store_all(tmp_path / "old.duckdb", [CATALOG.raw, *raws])
    with Store(tmp_path / "old.duckdb") as old:
        Exporter(old).export(making.NOW)
        digests = old.day_digests()
    new = tmp_path / "new.duckdb"
    totals = []
    for items in (2, 40, 90, 1 << 40):
        command = [sys.executable, PROGRAM, tmp_path / "old.parquet", new, making.NOW, items]
        done = subprocess.run([*map(str, command)], capture_output=True, check=False)
        assert done.returncode == (0 if items > 1000 else -signal.SIGKILL), done.stderr
        with Store(new) as store:
            totals.append(store.total)
    assert totals == sorted(totals)
    assert totals[0] < totals[1] < totals[-1] == len(raws)
    with Store(new) as store:
        assert store.day_digests() == digests
    with open_dataset(new) as dataset:
        assert verify(dataset).mismatches == []
