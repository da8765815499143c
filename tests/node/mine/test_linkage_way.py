"""The model of the way over two hops, and the attackers who are measured on it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tests.needed import need

TOOLS = Path(__file__).resolve().parents[3] / "tools"
sys.path.insert(0, str(TOOLS))

need("sklearn")

import numpy as np  # noqa: E402
from linkage_addresses import assign  # noqa: E402
from linkage_pairs import DAY, Pairs, Ranking, scores  # noqa: E402
from linkage_way import WINDOW, Crowd, Way, simulate  # noqa: E402

from methrics.aggregate.simulate.settings import Settings  # noqa: E402
from methrics.node.relay.spreader import TICK, SpreadLimits  # noqa: E402
from methrics.node.relay.visits import VISIT_BOXES  # noqa: E402

SMALL = Settings(installs=40, days=10, seed=1)


@pytest.fixture(scope="module")
def usual() -> Crowd:
    """The numbers of the real code."""
    return simulate(SMALL)


def test_all_visits_are_equal_and_come_at_their_times(usual: Crowd) -> None:
    last: dict[int, int] = {}
    assert len(usual.calls) > len(usual.installs)
    for call in usual.calls:
        assert len(call.boxes) == VISIT_BOXES
        if call.install in last:
            assert call.time - last[call.install] >= Way().gap[0]
        last[call.install] = call.time
    assert sum(call.held for call in usual.calls) >= len(usual.reports) > 100


def test_boxes_are_spread_and_reports_rest_until_the_next_day(usual: Crowd) -> None:
    spreads = []
    for one in usual.reports:
        call = usual.calls[one.visit]
        assert call.install == one.install
        assert (one.exit, one.forwarded) in call.boxes
        spreads.append(one.forwarded - call.time)
        assert DAY <= one.seen - one.forwarded // DAY * DAY <= 2 * DAY + WINDOW
    assert 0 < min(spreads) <= max(spreads) <= SpreadLimits().spread + TICK
    assert max(spreads) > SpreadLimits().spread / 2


def test_attack_exits_link_what_is_neither_spread_nor_rests(usual: Crowd) -> None:
    open_way = simulate(SMALL, Way(spread=0, rest=0))
    gains = []
    for crowd in (usual, open_way):
        found = scores(crowd, seed=1, late=False, tested=20_000, draws=0).found
        gains.append(found["values, time and the exits"][0] - found["values and time"][0])
    assert gains[1] > gains[0] + 0.05


def test_attack_the_entry_names_more_addresses_if_nothing_is_spread(usual: Crowd) -> None:
    found = assign(usual)
    assert all(0 < share < 1 for share in found.values())
    few = simulate(SMALL, Way(full=False, spread=0))
    assert assign(few)["is the entry"] > found["is the entry"]


def test_a_perfect_order_of_pairs_has_precision_one() -> None:
    same = np.array([True, True, False, False])
    judged = Pairs(np.array([0, 0, 0, 1]), np.array([1, 1, 2, 2]), same, np.ones(4))
    owner = np.array([0, 0, 1])
    ends = np.arange(4)
    assert Ranking(judged, np.arange(4), ends).score(owner) == (1, 1, 1)
    assert Ranking(judged, np.arange(4)[::-1], ends).score(owner)[0] < 0.5
