"""Three minutes of a network under kills; `make soak` runs for half an hour."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.soak.run import Plan, soak
from tests.soak.watch import median_slope

SLOPE_MAX = 8.0
"""MiB per minute in a short run, in which caches and DuckDB's buffers still fill."""


def test_a_slope_is_that_of_most_points() -> None:
    line = [(float(x), 0.5 * x) for x in range(100)]
    assert median_slope(line) == pytest.approx(30)
    assert median_slope([*line, (50.5, 900.0)]) == pytest.approx(30, abs=1)
    assert median_slope([]) == 0


@pytest.mark.wire
@pytest.mark.slow
async def test_soak_nothing_acknowledged_is_lost_and_nothing_leaks(tmp_path: Path) -> None:
    result = await soak(tmp_path, Plan(seconds=150, warm_up=45, kill_every=15))
    said = "\n".join(result.lines())
    assert result.acknowledged > 50, said
    assert result.kills, said
    assert (result.lost, result.uncommitted) == (0, 0), said
    assert max(result.slopes.values()) < SLOPE_MAX, said
    for before, after in (*result.descriptors.values(), *result.threads.values()):
        assert after <= before + 16, said
