"""Simulated populations for comparing views with the truth, and how they are made.

A machine that is switched off tells nothing, and who gives an app up leaves a last day untold.
Where a test asks for exact numbers it has to wait for them: in a world that `waits`, every machine
is switched on now and then after its last use, until all is published (`methrics publish` by cron).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

from truth_queries import Truth, write_known

from methrics.aggregate.read.dataset import Dataset, open_dataset
from methrics.aggregate.simulate import DATA, TRUTH, Settings, lives, simulate
from methrics.aggregate.simulate.install import Install

HOUR = 3600

STARTED = 60
"""Times that a publisher is started, a quarter of a day apart."""


@dataclass
class World:
    """A population: its data set as anyone sees it, each number shown as it is, and the truth."""

    settings: Settings
    data: Dataset
    truth: Truth
    folder: Path = field(repr=False)

    def close(self) -> None:
        """Lets go of the files."""
        self.data.close()
        self.truth.close()


def make(folder: Path, settings: Settings, *, waits: bool, processes: int = 1) -> World:
    """Simulate a population; `waits`: see above, with one process only."""
    collect: Callable[..., None] = lives._collect

    def collect_all(install: Install, *rest: object) -> None:
        drain(install)
        collect(install, *rest)

    with patch.object(lives, "_collect", collect_all if waits else collect):
        simulate(folder, settings, processes=processes)
    truth = Truth(folder / TRUTH)
    write_known(truth, folder / "known.csv")
    data = open_dataset(folder / DATA, floor=1, known=folder / "known.csv")
    return World(settings, data, truth, folder)


def drain(install: Install) -> None:
    """Time passes, and four times a day the publisher is started on a machine that is on."""
    for _ in range(STARTED):
        if install.journal.next_due() is None:
            return
        install.to(install.time + 5 * HOUR)
        install.nudge()
        install.off(install.time + HOUR)
