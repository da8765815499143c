"""`methrics status` tells how much each aggregator had in time, and what is contested."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from methrics.aggregate.cli.status import lines
from methrics.aggregate.closing.coverage import Coverage
from methrics.aggregate.closing.service import Closed
from methrics.aggregate.collect.figures import Figures
from methrics.node.clock import ManualClock
from methrics.node.network.peer_ids import peer_id_of


def shown(figures: Figures) -> dict[str, str]:
    return dict(lines(asdict(figures.snapshot())))


def test_coverage_and_contested_reports_are_told(tmp_path: Path) -> None:
    figures = Figures(tmp_path / "metrics.duckdb", tmp_path / "metrics.parquet", ManualClock())
    assert not {"coverage", "contested", "unanswered"} & shown(figures).keys()
    coverage = Coverage(b"s" * 32, b"k" * 32, 30, 20_000, 20_029, 400, 3)
    figures.closed(Closed(contested=1200, coverage=(coverage,), unanswered={"quota": 1300}))
    found = shown(figures)
    assert found["contested"] == "1,200 reports of days that are over"
    assert found["unanswered"] == "requests for manifests: quota 1,300"
    assert found["coverage"] == (
        f"{peer_id_of(b's' * 32)}: 99.25% of 400 reports in time, "
        f"on 30 closed days of {b'kkkkkkkk'.hex()}…"
    )
