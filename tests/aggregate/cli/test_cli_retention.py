"""`methrics retention`: what is kept for how long, and what is over, of a file and of Parquet."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aggregate_making as making
import pytest
from click.testing import CliRunner

from methrics.aggregate.cli.root import root

CATALOG = making.catalog()
DAYS = CATALOG.types["beat"].retention_days
OLD = making.NOW - 20 * making.DAY


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("retention") / "a.duckdb"
    old = [making.beat(CATALOG, i, OLD) for i in range(3)]
    new = [making.beat(CATALOG, i) for i in range(3, 5)]
    making.store_all(path, [CATALOG.raw, *old, *new, making.clicks(CATALOG, 9)])
    return path


def run(*arguments: object) -> str:
    done = CliRunner().invoke(root, ["retention", *map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def day(time: int, days: int) -> str:
    return datetime.fromtimestamp(time + days * making.DAY, UTC).date().isoformat()


@pytest.mark.shows("METH-16", "KPI-11")
def test_the_plan_names_what_goes_and_when(file: Path) -> None:
    at = day(OLD, DAYS + 1)
    found: dict[str, Any] = json.loads(run(file, "--plan", "--json", "--at", at))
    beat, clicks = found["types"]
    assert (beat["type"], beat["retention_days"], beat["over"]) == ("test.beat", [DAYS], 3)
    assert beat["days"] == {day(OLD, 0): 3}
    assert beat["next"] == day(making.NOW - 7200, DAYS + 1)
    assert found["bytes"] == sum(len(making.beat(CATALOG, i, OLD)) for i in range(3))
    assert (clicks["over"], clicks["reports"], clicks["days"]) == (0, 1, {})


def test_a_day_earlier_nothing_is_over(file: Path) -> None:
    at = day(OLD, DAYS)
    assert f"nothing is over on {at}" in run(file, "--at", at)
    found = json.loads(run(file, "--json", "--at", at))
    assert found["types"][0]["next"] == day(OLD, DAYS + 1)
    assert "bytes" not in found


def test_the_table_says_how_many_are_over(file: Path) -> None:
    at = day(OLD, DAYS + 1)
    assert f"3 reports are over on {at}; --plan lists them" in run(file, "--at", at)
    shown = run(file, "--plan", "--at", at)
    assert f"test.beat   {day(OLD, 0)}  " in shown
    assert "3 reports are over" in shown
