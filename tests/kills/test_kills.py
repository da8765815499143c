"""A few kills in each operation; `tools/kills.py` does hundreds."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.kills.run import kill
from tests.kills.scene import OPERATIONS


@pytest.mark.wire
@pytest.mark.slow
def test_attack_kills_in_every_operation_lose_and_double_nothing(tmp_path: Path) -> None:
    tally = kill(tmp_path, len(OPERATIONS), seed=7)
    assert all(tally.landed[one] for one in OPERATIONS), list(tally.lines())
    assert tally.checks >= len(OPERATIONS)
