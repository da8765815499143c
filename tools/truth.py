"""Measures how attacks and losses change each number: `python tools/truth.py --write`.

Runs simulated populations through the real code and compares the views with the truth. Takes some
minutes on two cores. `--print` does the same with few installs and prints the page.
"""

from __future__ import annotations

import math
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from unittest.mock import patch

from truth_measures import INSTALLS, USE, errors
from truth_queries import ANSWERS, EXACT, EXEMPT, LOOSE, VALUES
from truth_words import TEXT
from truth_worlds import make

from methrics.aggregate.read.views import facts, templates
from methrics.aggregate.simulate import Settings, run

PAGE = Path(__file__).resolve().parent.parent / "docs" / "numbers-measured.md"


@dataclass(frozen=True, slots=True)
class Size:
    """The size of the simulated populations."""

    installs: int
    days: int
    seeds: tuple[int, ...]


USUAL = Size(250, 60, (1, 2))
SMALL = Size(100, 50, (1,))

BASE = "default"

LIVES: Mapping[str, tuple[Mapping[str, object], bool]] = {
    # name -> settings that differ from the default, and whether machines run until all is published
    BASE: ({}, False),
    "all is published": ({"skew": 0.0}, True),
    "no clock is wrong": ({"skew": 0.0}, False),
    "1 clock in 10 is wrong": ({"skew": 0.1}, False),
    "1 sign-in in 10 is reported": ({"one_in": 10}, False),
    "3 of 10 agree": ({"opt_in": 0.3}, False),
    "9 of 10 agree": ({"opt_in": 0.9}, False),
    "everybody has one device": ({"devices": 1.0}, False),
    "two devices each": ({"devices": 2.0}, False),
}

FLOOD = 4
"""False reports per day: a tenth of the honest ones."""

WAYS: Mapping[str, Mapping[str, object]] = {
    "loss of 1 %": {"loss": 0.01},
    "loss of 5 %": {"loss": 0.05},
    "loss of 20 %": {"loss": 0.2},
    "flooders, 1 a day": {"flooders": 1},
    "flooders, 4 a day": {"flooders": FLOOD},
    "forgers": {"forgers": 20},
    "replayers": {"replayers": 100},
    "squatters": {"squatters": 20},
}
"""The reports of the default lives again, with losses or attackers on their way."""

AGREE = (BASE, "3 of 10 agree", "9 of 10 agree", "everybody has one device", "two devices each")

Found = dict[str, dict[str, float]]
"""scenario -> number -> error."""


def live_once(job: tuple[str, Size, int]) -> tuple[int, Found]:
    """The errors of all scenarios that share `lives` and a seed; lives are simulated once."""
    lives, size, seed = job
    other, waits = LIVES[lives]
    usual = Settings(installs=size.installs, days=size.days, seed=seed, **other)  # type: ignore[arg-type]
    ways = {lives: {}, **(WAYS if lives == BASE else {})}
    real, kept, found = run._lives, [], {}

    def remembered(*arguments: object) -> list[run.Lived]:
        if not kept:
            kept.extend(real(*arguments))  # type: ignore[arg-type]
        return kept

    with tempfile.TemporaryDirectory() as folder, patch.object(run, "_lives", remembered):
        for place, (name, way) in enumerate(ways.items()):
            world = make(Path(folder) / str(place), replace(usual, **way), waits=waits)
            found[name] = errors(world)
            world.close()
            print(f"seed {seed}: {name}", file=sys.stderr, flush=True)
    return seed, found


def measure(size: Size, *, processes: int = 2, only: Sequence[str] = tuple(LIVES)) -> list[Found]:
    """The errors of all scenarios, one dictionary for each seed."""
    jobs = [(lives, size, seed) for seed in size.seeds for lives in only]
    if processes == 1:
        done = list(map(live_once, jobs))
    else:
        with ProcessPoolExecutor(processes) as pool:
            done = list(pool.map(live_once, jobs))
    by_seed = groupby(sorted(done, key=lambda one: one[0]), key=lambda one: one[0])
    return [{name: row for _, part in group for name, row in part.items()} for _, group in by_seed]


def cell(worlds: Sequence[Found], scenario: str, number: str) -> str:
    """The mean over seeds, and the largest distance from it unless that rounds to zero."""
    values = [world[scenario][number] for world in worlds if scenario in world]
    if not values or any(math.isnan(value) for value in values):
        return "–"
    mean = statistics.fmean(values)
    spread = max(abs(value - mean) for value in values)
    signed = number.endswith("%") or number in SIGNED
    text = "0" if abs(mean) < 0.05 else f"{mean:+.1f}" if signed else f"{mean:.1f}"
    return text if spread < 0.05 else f"{text} ±{spread:.1f}"


SIGNED = ("d1", "d7", "d30", "succeed", "b minus a")


def table(worlds: Sequence[Found], rows: Sequence[str], numbers: Sequence[str]) -> str:
    """A Markdown table of scenarios by numbers."""
    lines = [["", *numbers], ["---"] * (len(numbers) + 1)]
    lines += [[row, *(cell(worlds, row, number) for number in numbers)] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


COMPARED = {
    "exact": "equal to the truth, row by row",
    "loose": "equal, except around midnight, where the truth allows two answers",
    "bounds": "the true quantile lies within the stated bounds",
    "interval": "95 % of the intervals contain the true value",
}


def compared() -> str:
    """The table of views and how a test compares each with the truth; needs no simulation."""
    how: dict[str, set[str]] = {}
    for kind, views in (("exact", EXACT), ("bounds", VALUES), ("interval", ANSWERS)):
        for view in views:
            words = COMPARED["loose" if view in LOOSE else kind]
            how.setdefault(_template(view), set()).add(words)
    for view, why in EXEMPT.items():
        how.setdefault(_template(view), set()).add(f"not compared: {why}")
    lines = ["| view | without losses and attacks |", "| --- | --- |"]
    lines += [f"| `{view}` | {'; '.join(sorted(how[view]))} |" for view in sorted(how)]
    return "\n".join(lines) + "\n"


def _template(view: str) -> str:
    own = (*templates(), *facts())
    names = sorted((one.name for one in own), key=len, reverse=True)
    return next(name for name in names if view == name or view.endswith(f"_{name}"))


def page(size: Size, worlds: Sequence[Found]) -> str:
    """The whole page."""
    first = [BASE, *WAYS, *(name for name in LIVES if name not in AGREE)]
    return TEXT.format(
        installs=size.installs,
        days=size.days,
        seeds=" and ".join(map(str, size.seeds)),
        installs_table=table(worlds, first, list(INSTALLS)),
        use_table=table(worlds, first, list(USE)),
        agree_table=table(worlds, AGREE, ["agreed", "seen", "of people", "bias"]),
        compared=compared(),
        **quoted(worlds),
    )


def quoted(worlds: Sequence[Found]) -> dict[str, float]:
    """The figures that the text of the page repeats."""

    def mean(scenario: str, number: str) -> float:
        values = [world[scenario][number] for world in worlds if scenario in world]
        return statistics.fmean(values) if values else math.nan

    def flooded(number: str) -> float:
        """Percent that one false report per hundred honest ones adds to `number`."""
        added = mean("flooders, 4 a day", number) - mean(BASE, number)
        return added * mean(BASE, "beats") / (100 * FLOOD)

    answering, random = mean(BASE, "answering"), mean(BASE, "random")
    return {
        "untold": -mean(BASE, "DAU, %"),
        "lost": -mean("loss of 20 %", "DAU, %"),
        "beats": mean(BASE, "beats"),
        "flood_week": flooded("WAU, %"),
        "flood_month": flooded("MAU, %"),
        "flood_new": flooded("new, %"),
        "sampled": abs(mean("1 sign-in in 10 is reported", "b minus a")),
        "answering": answering,
        "random": random,
        "random_many": random * math.sqrt(answering / 10_000),
        "seen": mean(BASE, "seen"),
        "bias": mean(BASE, "bias"),
    }


def main(arguments: Sequence[str]) -> int:
    """Exit code: 0 if written or printed, 2 for wrong use."""
    if list(arguments) not in (["--write"], ["--print"]):
        print("usage: python tools/truth.py --write|--print", file=sys.stderr)
        return 2
    size = USUAL if arguments[0] == "--write" else SMALL
    text = page(size, measure(size))
    if arguments[0] == "--write":
        PAGE.write_text(text, "utf-8")
    else:
        print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
