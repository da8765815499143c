"""Kills aggregators in each operation in turn, until enough kills have landed."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.kills.scene import AGES, OPERATIONS, Scene, Tally, hosting

CLEAN_EVERY = 20
"""Kills after which an aggregator runs unharmed, and the disk is searched for erased bytes."""

TRIES = 4
"""Jobs for each kill that is wanted, at most: some jobs end before the kill comes."""


def kill(
    folder: Path,
    times: int,
    seed: int,
    say: Callable[[str], None] = lambda line: None,
    operations: Sequence[str] = OPERATIONS,
) -> Tally:
    """Kill `times` processes at random moments of the operations; check their files each time.

    Raises AssertionError for what a check finds, with the folder left as it is.
    """
    rng = random.Random(seed)
    tally, scene = Tally(), None
    with hosting() as main, hosting() as side:
        for turn in range(TRIES * times):
            if tally.kills >= times and not _lacking(tally, operations, times):
                break
            if scene is None or scene.ages >= AGES:
                if scene is not None:
                    scene.finish()
                scene = Scene(folder / f"scene-{turn}", rng, main, side, tally)
            op = _next(tally, operations, rng)
            before = tally.kills
            scene.kill_in(op)
            if tally.kills % CLEAN_EVERY == 0 and tally.kills > before:
                scene.clean()
                for line in tally.lines():
                    say(line)
        if scene is not None:
            scene.finish()
    return tally


def _next(tally: Tally, operations: Sequence[str], rng: random.Random) -> str:
    """Choose the operation with the fewest kills so far."""
    fewest = min(tally.landed[one] for one in operations)
    return rng.choice([one for one in operations if tally.landed[one] == fewest])


def _lacking(tally: Tally, operations: Sequence[str], times: int) -> list[str]:
    """Return the operations in which too few kills have landed."""
    least = max(1, times // (4 * len(operations)))
    return [one for one in operations if tally.landed[one] < least]
