"""Strangers' bytes never do more than be refused. `make fuzz` looks for longer."""

from __future__ import annotations

import contextlib
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.fuzz.mutation import mutate
from tests.fuzz.targets import TARGETS, Target

EXAMPLES = 150
"""Inputs for each target in CI: seconds in all. The same ones in each run."""


def inputs(target: Target) -> st.SearchStrategy[bytes]:
    """Valid inputs changed a few times, and some bytes without any structure."""
    seeds = target.seeds()
    valid = st.integers(0, len(seeds) - 1).map(seeds.__getitem__)
    changed = st.builds(
        lambda data, seed: mutate(data, random.Random(seed), seeds),
        valid,
        st.integers(0, 2**32 - 1),
    )
    return st.one_of(changed, changed, changed, valid, st.binary(max_size=64))


@pytest.mark.parametrize("name", TARGETS)
def test_a_reader_of_strangers_bytes_returns_or_refuses(name: str) -> None:
    target = TARGETS[name]

    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(inputs(target))
    def run(data: bytes) -> None:
        with contextlib.suppress(*target.refusals):
            target.read(data)

    run()


def test_every_target_takes_at_least_one_of_its_seeds() -> None:
    """A table of seeds that all are refused would look for nothing."""
    for name, target in TARGETS.items():
        taken = 0
        for data in target.seeds():
            with contextlib.suppress(*target.refusals):
                target.read(data)
                taken += 1
        assert taken, name


def test_mutation_depends_on_its_generator_only() -> None:
    (data, *others) = TARGETS["item"].seeds()
    one, two = (mutate(data, random.Random(5), others) for _ in range(2))
    assert one == two
