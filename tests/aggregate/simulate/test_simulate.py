"""Whole simulations: the same seed gives the same bytes, and the truth explains every report."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from methrics.aggregate.cli.simulate import simulate as command
from methrics.aggregate.read.dataset import open_dataset
from methrics.aggregate.read.verify import verify
from methrics.aggregate.simulate import DATA, TRUTH, Settings, Summary, run, simulate
from methrics.aggregate.store.digest import combine, digests
from methrics.aggregate.store.duck import attach_reader, memory
from methrics.schema.errors import ConfigError

HONEST = Settings(installs=60, days=16, seed=3, skew=0.0)
HARD = replace(
    HONEST,
    installs=30,
    days=26,
    skew=0.4,
    loss=0.1,
    flooders=6,
    forgers=10,
    replayers=30,
    squatters=2,
    one_in=5,
)


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Summary]:
    folder = tmp_path_factory.mktemp("honest")
    return folder, simulate(folder, HONEST)


@pytest.fixture(scope="module")
def hard(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Summary]:
    folder = tmp_path_factory.mktemp("hard")
    return folder, simulate(folder, HARD)


Row = tuple[Any, ...]


Ask = Callable[[str], list[Row]]


@contextmanager
def asking(file: Path) -> Iterator[Ask]:
    """The tables of a file, without the views that ship: opening those takes a while."""
    con = memory()
    attach_reader(con, file)
    con.execute("USE methrics")
    try:
        yield lambda sql: con.execute(sql).fetchall()
    finally:
        con.close()


def truth_of(folder: Path) -> AbstractContextManager[Ask]:
    return asking(folder / TRUTH)


def stored(folder: Path, sql: str) -> list[Row]:
    with asking(folder / DATA) as ask:
        return ask(sql)


def test_every_stored_report_is_one_that_left(honest: tuple[Path, Summary]) -> None:
    folder, summary = honest
    with truth_of(folder) as truth:
        left = truth("SELECT id FROM report")
        assert truth("SELECT DISTINCT fate FROM report") == [("stored",)]
        assert truth("SELECT count(*) FROM lost") == [(0,)]
    assert sorted(stored(folder, "SELECT id FROM item")) == sorted(left)
    assert len(left) == summary.reports == summary.stored > 200
    assert summary.refused == 0


def test_each_day_of_use_is_told_once_or_never_left(honest: tuple[Path, Summary]) -> None:
    folder, _ = honest
    with truth_of(folder) as truth:
        used = truth(
            "SELECT day, count(*) FROM active JOIN consent USING (install) "
            "WHERE type = 'heartbeat' AND (install, day) NOT IN "
            "(SELECT (install, day) FROM unsent WHERE type = 'heartbeat') GROUP BY day"
        )
        unsent = truth("SELECT sum(items) FROM unsent WHERE type = 'heartbeat'")[0][0]
    told = stored(folder, "SELECT day, count(*) FROM example.heartbeat WHERE daily GROUP BY day")
    assert sorted(told) == sorted(used)
    assert 0 < unsent < sum(count for _, count in used) / 3


def test_whoever_did_not_agree_is_in_no_report(honest: tuple[Path, Summary]) -> None:
    folder, summary = honest
    with truth_of(folder) as truth:
        assert truth(
            "SELECT count(*) FROM report ANTI JOIN consent "
            "ON consent.install = report.install AND consent.type = report.type"
        ) == [(0,)]
        silent = truth("SELECT count(*) FROM install WHERE NOT opted_in")[0][0]
    assert silent == summary.installs - summary.sharing > 0


def test_counts_and_sequences_say_what_was_done(honest: tuple[Path, Summary]) -> None:
    folder, _ = honest
    with truth_of(folder) as truth:
        done: dict[str, int] = dict(
            truth(
                "SELECT module, sum(n) FROM event JOIN consent USING (install) "
                "WHERE consent.type = 'module' GROUP BY module"
            )
        )
        left = truth("SELECT count(*) FROM report WHERE type = 'signin'")[0][0]
        unsent = truth("SELECT coalesce(sum(items), 0) FROM unsent WHERE type = 'signin'")[0][0]
        signed = truth(
            "SELECT count(*) FROM session JOIN consent USING (install) WHERE type = 'signin'"
        )[0][0]
    told: dict[str, int] = dict(
        stored(folder, "SELECT module, sum(count) FROM example.module GROUP BY module")
    )
    assert told.keys() == done.keys()
    assert all(told[module] <= done[module] for module in done)
    assert sum(told.values()) > 0.7 * sum(done.values())
    assert left + unsent == signed > 20


def test_every_attack_ends_where_the_truth_says(hard: tuple[Path, Summary]) -> None:
    folder, summary = hard
    with truth_of(folder) as truth:
        attacks = Counter(
            {
                (kind, why): n
                for kind, why, n in truth(
                    "SELECT kind, reason, sum(items) FROM attack GROUP BY ALL"
                )
            }
        )
        fates: dict[str, int] = dict(truth("SELECT fate, count(*) FROM report GROUP BY ALL"))
    refused: dict[str, int] = dict(
        stored(folder, "SELECT reason, sum(count) FROM refusal GROUP BY ALL")
    )
    by_reason = Counter(
        dict.fromkeys(refused, 0)
        | {why: count for why, count in fates.items() if why not in ("stored", "lost")}
    )
    for (_, why), count in attacks.items():
        if why not in ("ok", "known", "lost"):
            by_reason[why] += count
    assert refused == dict(by_reason)
    assert {"forged", "off-schema", "unrounded", "malformed", "foreign", "late", "duplicate"} <= (
        refused.keys()
    )
    assert attacks["replay", "known"] > 0, "what the judge forgot the store still knew"
    assert attacks["replay", "ok"] == 0
    assert attacks["poison", "forged"] == (HARD.days - 1) * (HARD.forgers // 5)
    # Nothing is kept of a bundle of a catalog that no record lists.
    assert attacks["squat", "unlisted"] == HARD.days
    floods = attacks["flood", "ok"]
    assert floods + attacks["flood", "lost"] == HARD.days * HARD.flooders
    assert summary.stored == fates["stored"] + floods


def test_losses_are_as_many_as_was_said(hard: tuple[Path, Summary]) -> None:
    folder, _ = hard
    with truth_of(folder) as truth:
        lost, left = truth("SELECT count(*) FILTER (WHERE fate = 'lost'), count(*) FROM report")[0]
        known = truth("SELECT id FROM report WHERE fate = 'stored'")
    assert 0.05 < lost / left < 0.17
    items = {row[0] for row in stored(folder, "SELECT id FROM item")}
    assert {row[0] for row in known} <= items


def test_the_data_set_verifies_and_has_the_digest_that_was_told(
    hard: tuple[Path, Summary],
) -> None:
    folder, summary = hard
    with open_dataset(folder / DATA) as dataset:
        found = verify(dataset)
        told = combine(digests(dataset.connection))
    assert found.ok
    assert found.reports == summary.stored
    assert [one.digest.hex() for one in told] == [summary.digest]


def test_the_same_seed_gives_the_same_bytes(hard: tuple[Path, Summary], tmp_path: Path) -> None:
    _, first = hard
    again = simulate(tmp_path / "again", HARD, processes=1)
    assert (again.digest, again.truth) == (first.digest, first.truth)
    rows = "SELECT id, raw FROM item ORDER BY n"
    assert stored(tmp_path / "again", rows) == stored(hard[0], rows)
    other = simulate(tmp_path / "other", replace(HONEST, seed=4, installs=20))
    assert other.digest != first.digest


@pytest.mark.slow
def test_processes_do_not_matter(
    hard: tuple[Path, Summary], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "ALONE", 0)
    monkeypatch.setattr(run, "TOGETHER", 7)
    spread = simulate(tmp_path / "spread", HARD, processes=3)
    assert (spread.digest, spread.truth) == (hard[1].digest, hard[1].truth)


def test_nobody_shares(tmp_path: Path) -> None:
    nobody = simulate(tmp_path, Settings(installs=5, days=3, opt_in=0.0))
    assert (nobody.sharing, nobody.reports, nobody.stored, nobody.digest) == (0, 0, 0, "")
    with truth_of(tmp_path) as truth:
        assert truth("SELECT count(*) FROM active")[0][0] > 0
        assert truth("SELECT count(*) FROM report") == [(0,)]


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    for name in (DATA, TRUTH):
        folder = tmp_path / name
        folder.mkdir()
        (folder / name).write_bytes(b"mine")
        with pytest.raises(ConfigError, match="is there already"):
            simulate(folder, Settings(installs=2, days=2))
        assert [one.name for one in folder.iterdir()] == [name]
        assert (folder / name).read_bytes() == b"mine"


def test_the_command_says_what_it_made(tmp_path: Path) -> None:
    options = ["--installs", "12", "--days", "5", "--seed", "2", "--flooders", "1", "--no-mix"]
    words = CliRunner().invoke(command, [str(tmp_path / "words"), *options])
    assert words.exit_code == 0, words.output
    told = CliRunner().invoke(command, [str(tmp_path / "json"), *options, "--json"])
    summary = json.loads(told.stdout)
    assert summary["digest"] in words.stdout
    assert summary["truth"] in words.stdout
    assert f"{summary['stored']} reports" in words.stdout
    assert "storing" in words.stderr
    assert not told.stderr
    assert 0 < summary["sign_ratio"] < 1


WITHOUT_NOTEBOOKS = """
import sys


class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"pandas", "polars", "matplotlib", "jupyterlab"}:
            raise ModuleNotFoundError(name, name=name)


sys.meta_path.insert(0, Absent())
from methrics.aggregate.cli.main import main

sys.exit(main(["simulate", "world", "--installs", "6", "--days", "3"]))
"""


def test_the_extra_aggregate_is_enough_to_simulate(tmp_path: Path) -> None:
    """What comes with the extra notebooks alone is not needed."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_NOTEBOOKS],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
