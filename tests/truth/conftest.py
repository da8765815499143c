"""Simulated populations, each made once for all tests. The truth queries are in tools/."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

from truth_worlds import World, make

from methrics.aggregate.simulate import Settings

SIZE = {"installs": 150, "days": 40, "skew": 0.0}

WORLDS: dict[str, tuple[Settings, bool]] = {
    # name -> settings, and whether machines stay on until everything is published
    "honest-1": (Settings(seed=1, **SIZE), True),
    "honest-2": (Settings(seed=2, **SIZE), True),
    "honest-3": (Settings(seed=3, **SIZE), True),
    "sampled": (Settings(seed=4, one_in=5, **SIZE), True),
    "lossy": (Settings(seed=5, loss=0.1, **SIZE), False),
    "attacked": (
        Settings(
            seed=6,
            installs=60,
            days=25,
            skew=0.0,
            flooders=5,
            forgers=6,
            replayers=30,
            squatters=4,
        ),
        True,
    ),
}


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], World]]:
    """Gives the population of a name; makes it on the first call."""
    made: dict[str, World] = {}

    def get(name: str) -> World:
        if name not in made:
            settings, waits = WORLDS[name]
            made[name] = make(tmp_path_factory.mktemp(name), settings, waits=waits)
        return made[name]

    yield get
    for one in made.values():
        one.close()
