"""What an aggregator says about itself."""

from __future__ import annotations

from pathlib import Path

from methrics.aggregate.collect import figures as module
from methrics.aggregate.collect.figures import Figures
from methrics.aggregate.store.batch import Committed
from methrics.node.clock import ManualClock
from methrics.schema.wire.verdict import Reason


def test_a_peer_is_equal_only_if_it_is_for_all_apps(tmp_path: Path) -> None:
    clock = ManualClock(1_800_000_000)
    figures = Figures(tmp_path / "a.duckdb", tmp_path, clock)
    figures.compared("peer", "one", lacking=840, equal=False)
    clock.advance(60)
    figures.compared("peer", "other", lacking=0, equal=True)
    (found,) = figures.snapshot().aggregators
    assert found == {
        "peer": "peer",
        "at": 1_800_000_060,
        "equal": False,
        "lacking": 840,
        "lag": 60,
    }
    figures.compared("peer", "one", lacking=0, equal=True)
    (found,) = figures.snapshot().aggregators
    assert (found["equal"], found["lacking"], found["lag"]) == (True, 0, 0)


def test_each_commit_counts_once(tmp_path: Path) -> None:
    figures = Figures(tmp_path / "a.duckdb", tmp_path, ManualClock(1_800_000_000))
    figures.begin(40)
    for total in (45, 50):
        done = Committed(reports=5, duplicates=2, erased=1, refused=3, known=1, total=total)
        done.reasons.update({Reason.LATE: 3})
        figures.committed(done)
    found = figures.snapshot()
    assert found.reports == 50
    assert {name: one for name, one in found.counts.items() if one} == {
        "reports": 10,
        "duplicates": 4,
        "erased": 2,
        "refused": 6,
        "known": 2,
    }
    assert found.refused == {"late": 6}
    assert found.commits["count"] == 2


def test_the_rate_is_that_of_the_last_minute(tmp_path: Path) -> None:
    clock = ManualClock(1_800_000_000)
    figures = Figures(tmp_path / "a.duckdb", tmp_path, clock)
    for _ in range(10):
        clock.advance(30)
        figures.committed(Committed(reports=60))
    assert figures.snapshot().rate == 2.0
    clock.advance(30)
    assert figures.snapshot().rate == 1.0
    clock.advance(30)
    assert figures.snapshot().rate == 0.0


def test_the_oldest_comparisons_make_room(tmp_path: Path) -> None:
    figures = Figures(tmp_path / "a.duckdb", tmp_path, ManualClock(1_800_000_000))
    for number in range(module.COMPARED_MAX + 3):
        figures.compared(f"peer {number}", "app", lacking=1, equal=False)
    found = figures.snapshot().aggregators
    assert len(found) == module.COMPARED_MAX
    assert found[0]["peer"] == "peer 3"
