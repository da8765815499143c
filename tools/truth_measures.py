"""Measures how far each number in the views is from the truth, in one simulated population."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import ceil, nan
from typing import Any

from truth_queries import ANSWERS, EXACT, VALUES
from truth_worlds import World

Rows = list[tuple[Any, ...]]

HEARTBEAT, SIGNIN = "example.heartbeat", "example.signin"


def found(world: World, view: str) -> Rows:
    """The rows of a view."""
    return world.data.rows(f"FROM {view}")


def true(world: World, view: str) -> Rows:
    """The true rows: the rows of the view without losses and false reports."""
    return world.truth.rows(EXACT[view])


def added(view: str, column: int) -> Callable[[World], float]:
    """Percent by which a count, summed over all rows, differs from the truth."""

    def measure(world: World) -> float:
        ours = sum(row[column] or 0 for row in found(world, view))
        theirs = sum(row[column] or 0 for row in true(world, view))
        return 100 * (ours / theirs - 1)

    return measure


def retained(after: int) -> Callable[[World], float]:
    """Error in points of the share of installs active so many days later, over all complete
    cohorts; NaN if there is none."""

    def share(rows: Rows, cohorts: set[Any]) -> float:
        part = sum(row[2] for row in rows if row[1] == after and row[0] in cohorts)
        whole = sum(row[2] for row in rows if row[1] == 0 and row[0] in cohorts)
        return 100 * part / whole if whole else nan

    def measure(world: World) -> float:
        rows = true(world, "example.retention_retention")
        cohorts = {row[0] for row in rows if row[1] == after and row[5]}
        return share(found(world, "example.retention_retention"), cohorts) - share(rows, cohorts)

    return measure


def shares(view: str, field: str) -> Callable[[World], float]:
    """Mean absolute error in points of the shares of a field's values."""

    def of(rows: Rows) -> Mapping[object, float]:
        return {(row[0], row[2]): 100 * row[3] / row[4] for row in rows if row[1] == field}

    def measure(world: World) -> float:
        ours, theirs = of(found(world, view)), of(true(world, view))
        off = [abs(ours.get(key, 0) - theirs.get(key, 0)) for key in ours.keys() | theirs.keys()]
        return sum(off) / len(off)

    return measure


def _signed_in(rows: Rows, field: str, value: str) -> float:
    """Percent of interactions that succeed."""
    row = next(row for row in rows if row[:3] == (field, value, "signed_in"))
    return 100 * row[3] / row[4]


def converted(world: World) -> float:
    """Error in points of the share of successful sign-ins."""
    view = f"{SIGNIN}_funnel"
    return _signed_in(found(world, view), "", "") - _signed_in(true(world, view), "", "")


def compared(world: World) -> float:
    """Error in points of the gain of variant b over a."""

    def gain(rows: Rows) -> float:
        return _signed_in(rows, "variant", "b") - _signed_in(rows, "variant", "a")

    return gain(found(world, f"{SIGNIN}_funnel")) - gain(true(world, f"{SIGNIN}_funnel"))


def bounded(world: World) -> float:
    """Percent of true quantiles within the bounds in the views."""
    held = []
    for view, sql in VALUES.items():
        values: dict[str, list[float]] = {}
        for about, value in world.truth.rows(sql):
            values.setdefault(about, []).append(value)
        for about, _, quantile, low, _, high in found(world, view):
            own = sorted(values[about])
            exact = own[ceil(len(own) * quantile / 100) - 1]
            held.append((low is None or low <= exact) and (high is None or exact < high))
    return 100 * sum(held) / len(held)


def days_held(world: World) -> float:
    """Percent of days whose true number of sign-ins lies in the interval of the view."""
    truth = dict(row[:2] for row in true(world, f"{SIGNIN}_events"))
    rows = found(world, f"{SIGNIN}_events")
    return 100 * sum(low <= truth[day] <= high for day, _, _, low, high in rows) / len(rows)


def _answers(world: World) -> list[tuple[int, Any]]:
    """(true number, row of the view) for each value and month."""
    pairs = []
    for view, sql in ANSWERS.items():
        truth = {row[:3]: row[3] for row in world.truth.rows(sql)}
        pairs += [(truth.get(row[:3], 0), row) for row in found(world, view)]
    return pairs


def random_off(world: World) -> float:
    """Mean absolute error of randomized estimates, in points of those who answered."""
    off = [100 * abs(row[4] - number) / row[3] for number, row in _answers(world)]
    return sum(off) / len(off)


def random_held(world: World) -> float:
    """Percent of intervals of randomized estimates that contain the true number."""
    held = [row[5] <= number <= row[6] for number, row in _answers(world)]
    return 100 * sum(held) / len(held)


INSTALLS: Mapping[str, Callable[[World], float]] = {
    "DAU, %": added(f"{HEARTBEAT}_dau", 1),
    "WAU, %": added(f"{HEARTBEAT}_wau", 1),
    "MAU, %": added(f"{HEARTBEAT}_mau", 1),
    "new, %": added(f"{HEARTBEAT}_new_and_returning", 1),
    "d1": retained(1),
    "d7": retained(7),
    "d30": retained(30),
    "versions": shares(f"{HEARTBEAT}_version_adoption", "version"),
    "systems": shares(f"{HEARTBEAT}_platform_shares", "os"),
}
"""Measures of installs: percent of a count if the name ends in %, else points."""

USE: Mapping[str, Callable[[World], float]] = {
    "sign-ins, %": added(f"{SIGNIN}_events", 2),
    "days covered": days_held,
    "succeed": converted,
    "b minus a": compared,
    "modules, %": added("example.module_counts", 4),
    "quantiles covered": bounded,
    "random": random_off,
    "random covered": random_held,
}
"""Measures of use, in the same units."""


def coverage(world: World) -> dict[str, float]:
    """Who is counted: percentages of the activity of all installs, whether they agreed or not."""
    everybody = world.truth.one("SELECT count(*) FROM active")
    people = world.truth.one(
        "SELECT count(DISTINCT (person, day)) FROM active JOIN install ON n = install"
    )
    agreed = world.truth.one("SELECT count(*) FROM beats")
    seen = sum(row[1] for row in found(world, f"{HEARTBEAT}_dau"))
    bias = [abs(row[4] - row[5]) for row in found(world, f"{HEARTBEAT}_bias")]
    return {
        "agreed": 100 * agreed / everybody,
        "seen": 100 * seen / everybody,
        "of people": 100 * seen / people,
        "bias": max(bias),
    }


def errors(world: World) -> dict[str, float]:
    """Name -> value of all measures above."""
    measures = {**INSTALLS, **USE}
    found = {name: measure(world) for name, measure in measures.items()} | coverage(world)
    answered = [row[3] for _, row in _answers(world)]
    beats = world.truth.one("SELECT count(*) FROM beats") / world.settings.days
    return found | {"answering": sum(answered) / len(answered), "beats": beats}
