"""An attacker who says of all pairs of reports how likely both are of one install.

A classifier (gradient boosted trees) learns from half of the installs and orders the pairs of the
other half; then the halves change places. Several of them see more and more: the declared values,
the reports' times, what the topic shows, and what all exits see together. Precision is the share of
right pairs among those that the attacker names; the average precision is its mean over all recalls.
Of the wrong pairs, a random part is tested, and counted with its weight.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from linkage_way import Crowd, Seen
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits

DAY, HOUR = 86_400, 3600
Numbers = np.ndarray[Any, Any]

LATE = 4
"""A report is late if it is published so many UTC days after its own: machines that run every day
are done by then."""

RIGHT_MAX, WRONG_MAX = 40_000, 100_000
"""Most right and wrong pairs from which a classifier learns."""

VIEWS: dict[str, tuple[str, ...]] = {
    "values": ("values",),
    "values and time": ("values", "time"),
    "values, time and the topic": ("values", "time", "topic"),
    "values, time and the exits": ("values", "time", "topic", "exit"),
}
"""What each attacker sees. One who watches the exits reads the topic, too."""

GAINS = {
    "values and time": "values",
    "values, time and the topic": "values and time",
    "values, time and the exits": "values and time",
}
"""With what each attacker is compared."""


class Features:
    """Numbers about pairs of reports, by what one has to see to know them."""

    def __init__(self, reports: Sequence[Seen]) -> None:
        self.kind = _codes([one.report.type for one in reports])
        names = sorted({name for one in reports for name in one.report.values})
        self.fields = [_field(reports, name) for name in names]
        self.count = np.array([one.report.count or 0 for one in reports], float)
        self.steps = np.array([len(one.report.sequence or ()) for one in reports], float)
        self.time = np.array([one.report.time for one in reports], float)
        self.seen = np.array([one.seen for one in reports], float)
        self.forwarded = np.array([one.forwarded for one in reports], float)
        self.exit = np.array([one.exit for one in reports])

    def of(self, left: Numbers, right: Numbers) -> dict[str, Numbers]:
        """Group of features -> its numbers, a row for each pair."""
        groups = {
            "values": self._values(left, right),
            "time": _moments(self.time, left, right),
            "topic": self._topic(left, right),
            "exit": self._exit(left, right),
        }
        return {name: np.stack(rows, 1).astype(np.float32) for name, rows in groups.items()}

    def _values(self, left: Numbers, right: Numbers) -> list[Numbers]:
        one, two = self.kind[left], self.kind[right]
        rows: list[Numbers] = [np.minimum(one, two), np.maximum(one, two)]
        agree, differ = np.zeros(len(left)), np.zeros(len(left))
        for codes, rarity, sizes in self.fields:
            a, b = codes[left], codes[right]
            both, equal = (a >= 0) & (b >= 0), a == b
            rows.append(np.where(both, equal, -1))
            agree += np.where(both & equal, rarity[left], 0)
            differ += both & ~equal
            if sizes is not None:
                rows.append(np.where(both, abs(sizes[left] - sizes[right]), -1))
        rows += [agree, differ, abs(self.count[left] - self.count[right])]
        return [*rows, abs(self.steps[left] - self.steps[right])]

    def _topic(self, left: Numbers, right: Numbers) -> list[Numbers]:
        delay = self.seen // DAY - self.time // DAY
        same = self.exit[left] == self.exit[right]
        return [
            *_moments(self.seen, left, right),
            same,
            same & (self.seen[left] == self.seen[right]),
            *_both(delay, left, right),
        ]

    def _exit(self, left: Numbers, right: Numbers) -> list[Numbers]:
        delay = self.forwarded // HOUR - self.time // HOUR
        same = self.exit[left] == self.exit[right]
        return [
            *_moments(self.forwarded, left, right),
            same & (self.forwarded[left] == self.forwarded[right]),
            *_both(delay, left, right),
        ]


def _codes(things: Sequence[object]) -> Numbers:
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(repr(one), len(numbers)) for one in things])


def _field(reports: Sequence[Seen], name: str) -> tuple[Numbers, Numbers, Numbers | None]:
    """A field's code in each report (-1: absent), the rarity of its value in bits, and its size."""
    values = [one.report.values.get(name) for one in reports]
    present = [repr(value) for value in values if value is not None]
    counts = Counter(present)
    codes = {value: code for code, value in enumerate(sorted(counts))}
    found = np.array([-1 if value is None else codes[repr(value)] for value in values])
    bits = {one: -math.log2(n / len(present)) for one, n in counts.items()}
    rarity = np.array([0.0 if value is None else bits[repr(value)] for value in values])
    sizes = [_size(value) for value in values]
    if all(size is None for size in sizes):
        return found, rarity, None
    return found, rarity, np.array([np.nan if size is None else size for size in sizes], float)


def _size(value: object) -> float | None:
    """A number that is larger for larger numbers and later versions."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    parts = str(value).split(".")
    if len(parts) == 2 and all(part.isdigit() for part in parts):
        return int(parts[0]) * 1000.0 + int(parts[1])
    return None


def _moments(times: Numbers, left: Numbers, right: Numbers) -> list[Numbers]:
    a, b = times[left], times[right]
    apart = abs(a - b)
    around = apart % DAY
    return [
        np.log1p(apart),
        abs(a // DAY - b // DAY),
        np.minimum(around, DAY - around),
        abs((a // DAY) % 7 - (b // DAY) % 7),
    ]


def _both(delay: Numbers, left: Numbers, right: Numbers) -> list[Numbers]:
    a, b = delay[left], delay[right]
    return [np.minimum(a, b), np.maximum(a, b), abs(a - b)]


@dataclass(frozen=True, slots=True)
class Pairs:
    """Pairs to judge: the reports' numbers, whether they are right, and the weight of each."""

    left: Numbers
    right: Numbers
    same: Numbers
    weight: Numbers


def pairs(owner: Numbers, chosen: Numbers, rng: random.Random, most: tuple[int, int]) -> Pairs:
    """Pairs among the `chosen` reports; at most so many right and so many wrong ones, at random.
    `owner`: the install of each report."""
    size, draw = len(chosen), np.random.default_rng(rng.getrandbits(64))
    total = size * (size - 1) // 2
    by_owner: dict[int, list[int]] = {}
    for number in chosen:
        by_owner.setdefault(int(owner[number]), []).append(int(number))
    grid = [np.array(own)[np.array(np.triu_indices(len(own), 1))] for own in by_owner.values()]
    right = np.concatenate([one.reshape(2, -1) for one in grid], 1)
    rights, wrongs = right.shape[1], total - right.shape[1]
    if rights > most[0]:
        right = right[:, draw.choice(rights, most[0], replace=False)]
    if total <= 3 * most[1]:
        wrong = chosen[np.array(np.triu_indices(size, 1))]
    else:
        wrong = chosen[draw.integers(0, size, (2, int(1.2 * most[1])))]
    wrong = wrong[:, owner[wrong[0]] != owner[wrong[1]]]
    if wrong.shape[1] > most[1]:
        wrong = wrong[:, draw.choice(wrong.shape[1], most[1], replace=False)]
    left, other = np.concatenate([right, wrong], 1)
    same = np.arange(len(left)) < right.shape[1]
    weight = np.where(same, rights / right.shape[1], wrongs / max(1, wrong.shape[1]))
    return Pairs(left, other, same, weight)


@dataclass(frozen=True, slots=True)
class Ranking:
    """The judged pairs of one half, the most likely one first. `ends`: where the score changes."""

    judged: Pairs
    order: Numbers
    ends: Numbers

    def score(self, owner: Numbers, times: Numbers | None = None) -> tuple[float, float, float]:
        """Average precision, and precision at 10 and at 25 % recall. `times`: how often the
        bootstrap drew each install."""
        weight = self.judged.weight
        if times is not None:
            one, two = times[owner[self.judged.left]], times[owner[self.judged.right]]
            weight = weight * np.where(self.judged.same, one, one * two)
        weight = weight[self.order]
        same = self.judged.same[self.order]
        right = np.cumsum(np.where(same, weight, 0))[self.ends]
        named = np.cumsum(weight)[self.ends]
        if not right[-1]:
            return math.nan, math.nan, math.nan
        recall = right / right[-1]
        precision = right / np.maximum(named, 1e-9)
        average = float(np.sum(np.diff(recall, prepend=0) * precision))
        at = [float(precision[np.searchsorted(recall, share)]) for share in (0.1, 0.25)]
        return average, at[0], at[1]


def _rank(model: HistGradientBoostingClassifier, seen: Numbers, judged: Pairs) -> Ranking:
    score = np.concatenate(
        [model.decision_function(seen[at : at + 500_000]) for at in range(0, len(seen), 500_000)]
    )
    order = np.argsort(-score, kind="stable")
    ends = np.flatnonzero(np.diff(score[order], append=-np.inf))
    return Ranking(judged, order, ends)


def _columns(groups: Mapping[str, Numbers], view: str) -> Numbers:
    return np.concatenate([groups[name] for name in VIEWS[view]], 1)


def rankings(crowd: Crowd, *, seed: int, late: bool, tested: int) -> list[dict[str, Ranking]]:
    """For each half: view -> how it orders the pairs. `late`: only pairs of two late reports.
    `tested`: most wrong pairs that are tested."""
    reports = crowd.reports
    features = Features(reports)
    owner = np.array([one.install for one in reports])
    usable = np.array([not late or is_late(one) for one in reports])
    rng = random.Random(f"{seed}/pairs/{late}")
    installs = sorted(crowd.installs)
    rng.shuffle(installs)
    halves = [set(installs[::2]), set(installs[1::2])]
    numbers = [np.flatnonzero(usable & np.isin(owner, sorted(half))) for half in halves]
    found = []
    for learn, judge in (numbers, numbers[::-1]):
        known = pairs(owner, learn, rng, (RIGHT_MAX, WRONG_MAX))
        judged = pairs(owner, judge, rng, (2 * RIGHT_MAX, tested))
        taught, asked = (features.of(one.left, one.right) for one in (known, judged))
        ranked = {}
        for view in VIEWS:
            model = HistGradientBoostingClassifier(
                max_iter=60, max_leaf_nodes=31, min_samples_leaf=100, random_state=1
            )
            # One thread, because on a busy machine several threads mostly wait for each other.
            with threadpool_limits(1):
                model.fit(_columns(taught, view), known.same)
                ranked[view] = _rank(model, _columns(asked, view), judged)
        found.append(ranked)
    return found


def is_late(one: Seen) -> bool:
    """Whether a report was published later than those of machines that run every day."""
    return one.seen // DAY - one.report.time // DAY > LATE


@dataclass(frozen=True, slots=True)
class Scores:
    """View -> average precision, and precision at 10 and 25 % recall. `drawn`: the same average
    precision for each draw of the bootstrap over installs."""

    found: dict[str, tuple[float, float, float]]
    drawn: dict[str, Numbers]


def scores(crowd: Crowd, *, seed: int, late: bool, tested: int, draws: int) -> Scores:
    """Let all attackers order the pairs of a crowd."""
    halves = rankings(crowd, seed=seed, late=late, tested=tested)
    numbers = {install: number for number, install in enumerate(crowd.installs)}
    owner = np.array([numbers[one.install] for one in crowd.reports])
    draw = np.random.default_rng(seed)
    size = len(crowd.installs)
    counts = [np.bincount(draw.integers(0, size, size), minlength=size) for _ in range(draws)]
    found, drawn = {}, {}
    for view in VIEWS:
        every = np.array([half[view].score(owner) for half in halves]).mean(0)
        found[view] = (float(every[0]), float(every[1]), float(every[2]))
        drawn[view] = np.array(
            [np.mean([half[view].score(owner, one)[0] for half in halves]) for one in counts]
        )
    return Scores(found, drawn)
