"""METH-4: keys, ids, sizes, timing, order and route reveal no more than the declared values.

The real code runs days of many installs under a virtual clock (`tools/linkage_world.py`). A
classifier that sees the whole topic is compared with one that sees the declared values only
(`tools/linkage_attack.py`). Runs with one protection switched off show that the comparison would
detect a leak.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest
from tests.needed import need

TOOLS = Path(__file__).resolve().parents[3] / "tools"
sys.path.insert(0, str(TOOLS))

need("sklearn")

import linkage  # noqa: E402
from linkage_attack import Features, Score, attack, interval, trials  # noqa: E402
from linkage_bits import entropy, measure, pseudonyms  # noqa: E402
from linkage_world import Leak, World, fingerprint, simulate  # noqa: E402

MARGIN_SMALL = 0.06
"""With seven installs for training and fourteen for testing, chance alone moves the mean by a few
percent. The large variant checks the real margin."""


@pytest.fixture(scope="module")
def usual() -> World:
    """Default settings."""
    return simulate(installs=14, days=7, seed=1)


def small(world: World) -> Score:
    return attack(world, splits=1, train=1500, test=1000)


def test_everything_that_was_made_is_seen_and_only_that(usual: World) -> None:
    assert len(usual.sightings) == usual.made > 200
    assert {one.report.type for one in usual.sightings} == set(usual.catalog.types)
    assert len({one.key for one in usual.sightings}) == usual.made


@pytest.mark.shows("METH-4")
def test_meth_4_seeing_everything_pairs_no_better_than_seeing_the_values(usual: World) -> None:
    score = small(usual)
    assert score.gain.mean < MARGIN_SMALL
    assert score.gain.low < 0.02
    assert interval(score.declared).low > 0.55, "the classifier must learn something to be a proof"


def test_attack_the_comparison_notices_what_leaves_together() -> None:
    world = simulate(installs=14, days=7, seed=1, leak=Leak.NO_REST)
    assert small(world).gain.low > MARGIN_SMALL


def test_attack_the_comparison_notices_one_key_for_all_reports() -> None:
    world = simulate(installs=8, days=5, seed=1, leak=Leak.REUSED_KEY)
    score = small(world)
    assert interval(score.everything).low > 0.99
    assert score.gain.low > MARGIN_SMALL


def test_a_trial_offers_one_of_the_same_install_and_one_alike_of_another(usual: World) -> None:
    found = trials(usual.sightings, range(7), random.Random(1), 300)
    assert len(found) > 200
    for one in found:
        assert one.anchor.install == one.same.install != one.other.install
        assert one.anchor is not one.same
        assert one.same.report.type == one.other.report.type
        assert one.same.report.time // 86_400 == one.other.report.time // 86_400


def test_who_sees_everything_sees_the_values_too(usual: World) -> None:
    features = Features(usual)
    one, two = usual.sightings[:2]
    declared, everything = features.declared(one, two), features.everything(one, two)
    assert everything[: len(declared)] == declared
    assert len(everything) > len(declared) + 15
    assert declared == features.declared(two, one), "the order of the two reveals nothing"


def test_values_stay_within_the_bits_that_the_catalog_declares(usual: World) -> None:
    for name, bits in measure(usual).items():
        assert bits.measured <= bits.rarest + 1e-9, name
        assert bits.measured <= bits.most
        # The bytes of a randomized response have more bits than it reveals. The budget limits the
        # latter.
        assert usual.catalog.types[name].revealed_bits <= bits.budget


def test_a_longer_pseudonym_costs_bits(usual: World) -> None:
    one, _, day, month = pseudonyms(usual).values()
    assert one.reports == 1
    assert one.bits < day.bits
    assert one.alone <= day.alone <= month.alone


def test_entropy() -> None:
    assert entropy("aabb") == 1
    assert entropy("abcd") == 2
    assert entropy("aaaa") == 0


def test_the_page_names_the_budgets_that_the_catalog_has() -> None:
    assert linkage.main(["--check"]) == 0, "run python tools/linkage.py --write"


@pytest.mark.shows("METH-4")
@pytest.mark.slow
def test_meth_4_with_many_installs() -> None:
    world = simulate(installs=36, days=8, seed=2)
    score = attack(world, splits=3)
    assert score.trials > 5000
    assert score.gain.high < linkage.MARGIN
    assert score.gain.low < 0.01


@pytest.mark.slow
def test_the_same_seed_gives_the_same_days() -> None:
    one, two = (simulate(installs=4, days=4, seed=3) for _ in range(2))
    assert fingerprint(one) == fingerprint(two)
    assert fingerprint(one) != fingerprint(simulate(installs=4, days=4, seed=4))
