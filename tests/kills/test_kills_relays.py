"""A few kills of relays; `tools/kills.py --relays` does hundreds."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.kills.relays import kill_relays


@pytest.mark.wire
@pytest.mark.slow
def test_attack_kills_of_relays_lose_and_double_nothing(tmp_path: Path) -> None:
    tally = kill_relays(tmp_path, 10, seed=7)
    assert tally.kills == 10
    assert tally.landed["commit"], tally.line()
    assert tally.acknowledged, tally.line()
