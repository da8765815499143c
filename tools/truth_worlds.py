"""Makes simulated populations for comparing views with the truth.

A machine that is off sends nothing, and a person who stops using an app never reports the last
day. A test of exact numbers must wait for them: in a population that `waits`, each machine is
switched on from time to time after its last use until everything is published (like `methrics
publish` by cron).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

from truth_queries import Truth, write_known

from methrics.aggregate.read.dataset import Dataset, open_dataset
from methrics.aggregate.simulate import DATA, TRUTH, Settings, days, simulate
from methrics.aggregate.simulate.install import Install

HOUR = 3600

STARTED = 60
"""How often a publisher is started, six hours apart, at most."""


@dataclass
class World:
    """A population: its data set, opened with exact counts, and its truth."""

    settings: Settings
    data: Dataset
    truth: Truth
    folder: Path = field(repr=False)

    def close(self) -> None:
        """Closes the files."""
        self.data.close()
        self.truth.close()


def make(folder: Path, settings: Settings, *, waits: bool, processes: int = 1) -> World:
    """Simulates a population. `waits`: see the module; needs `processes` = 1."""
    collect: Callable[..., None] = days._collect

    def collect_all(install: Install, *rest: object) -> None:
        drain(install)
        collect(install, *rest)

    with patch.object(days, "_collect", collect_all if waits else collect):
        simulate(folder, settings, processes=processes)
    truth = Truth(folder / TRUTH)
    write_known(truth, folder / "known.csv")
    data = open_dataset(folder / DATA, floor=1, known=folder / "known.csv")
    return World(settings, data, truth, folder)


def drain(install: Install) -> None:
    """Starts the publisher four times a day until the install has nothing left to send."""
    for _ in range(STARTED):
        if install.journal.next_due() is None:
            return
        install.to(install.time + 5 * HOUR)
        install.nudge()
        install.off(install.time + HOUR)
