"""An attacker who links reports of one install, from the declared values or from everything
visible.

A trial has three reports: one report, a second one of the same install, and a third of another
install with the type and day of the second. The attacker has to tell the second from the third.
Two classifiers of the same kind are trained on some installs and tested on others. One sees the
declared values and times of the reports, the other sees everything. The difference between their
success rates is the information that the system leaks (METH-4).
"""

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from linkage_people import DAY, HOUR
from linkage_world import Sighting, World
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits

Numbers = np.ndarray
View = Callable[[Sighting, Sighting], list[float]]


@dataclass(frozen=True, slots=True)
class Trial:
    """One trial: which of two reports comes from the install of `anchor`?"""

    anchor: Sighting
    same: Sighting
    other: Sighting


@dataclass(frozen=True, slots=True)
class Score:
    """How often each classifier was right, per held-out install; a tie counts half."""

    declared: Numbers
    everything: Numbers
    trials: int

    @property
    def gain(self) -> Interval:
        """How much the share of right choices grows if the classifier sees everything."""
        return interval(self.everything - self.declared)


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and its confidence interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:+.3f} ({self.low:+.3f} to {self.high:+.3f})"


def interval(numbers: Iterable[float], confidence: float = 0.95) -> Interval:
    """Mean and interval by the normal approximation; `numbers` has one value per held-out
    install."""
    found = np.asarray(list(numbers), dtype=float)
    spread = float(found.std(ddof=1)) / math.sqrt(len(found))
    reach = NormalDist().inv_cdf(0.5 + confidence / 2) * spread
    mean = float(found.mean())
    return Interval(mean, mean - reach, mean + reach)


def trials(
    sightings: Sequence[Sighting], installs: Iterable[int], rng: random.Random, most: int
) -> list[Trial]:
    """About `most` trials among the reports of `installs`, equally many per install."""
    chosen = set(installs)
    own: dict[int, list[Sighting]] = defaultdict(list)
    alike: dict[tuple[str, int], list[Sighting]] = defaultdict(list)
    for one in sightings:
        if one.install in chosen:
            own[one.install].append(one)
            alike[one.report.type, one.report.time // DAY].append(one)
    found = []
    each = max(1, most // max(1, len(own)))
    for install in sorted(own):
        mine = own[install]
        if len(mine) < 4:
            continue
        for number in range(each):
            anchor = rng.choice(mine)
            # Half of the trials use reports of one day, because links between visits are strongest
            # there.
            near = [one for one in mine if abs(one.report.time - anchor.report.time) <= DAY]
            same = rng.choice(near if number % 2 else mine)
            others = [
                one
                for one in alike[same.report.type, same.report.time // DAY]
                if one.install != install
            ]
            if same is not anchor and others:
                found.append(Trial(anchor, same, rng.choice(others)))
    return found


class Features:
    """Turns pairs of reports into numbers."""

    def __init__(self, world: World) -> None:
        self._types = sorted(world.catalog.types)
        fields = {one.name for kind in world.catalog.types.values() for one in kind.fields}
        self._fields = sorted(fields)
        said: dict[tuple[str, str], Counter[object]] = defaultdict(Counter)
        for one in world.sightings:
            for name, value in one.report.values.items():
                said[one.report.type, name][value] += 1
        self._said = said

    def _rarity(self, one: Sighting, name: str) -> float:
        counts = self._said[one.report.type, name]
        return -math.log2(counts[one.report.values[name]] / counts.total())

    def declared(self, a: Sighting, b: Sighting) -> list[float]:
        """Features from the declared values and times."""
        one, two = a.report, b.report
        kinds = sorted((self._types.index(one.type), self._types.index(two.type)))
        row: list[float] = [*kinds, float(kinds[0] == kinds[1])]
        agree = differ = 0.0
        for name in self._fields:
            if name not in one.values or name not in two.values:
                row.append(0.5)
                continue
            equal = one.values[name] == two.values[name]
            row.append(float(equal))
            if equal:
                agree += min(self._rarity(a, name), self._rarity(b, name))
            else:
                differ += 1
        row += [agree, differ]
        row += _times(one.time, two.time)
        row.append(abs((one.count or 0) - (two.count or 0)))
        row.append(float(one.sequence == two.sequence and one.sequence is not None))
        return row

    def everything(self, a: Sighting, b: Sighting) -> list[float]:
        """The declared features, and keys, ids, signatures, sizes, timing, order, bundles and
        route."""
        row = self.declared(a, b)
        row += _times(a.seen, b.seen)
        row += [
            _gap(a.seen % 60, b.seen % 60, 60),
            _gap(a.seen % 600, b.seen % 600, 600),
            abs(a.bundle - b.bundle),
            float(a.bundle == b.bundle),
            abs(a.place - b.place) if a.bundle == b.bundle else -1,
            min(a.bundle_items, b.bundle_items),
            abs(a.bundle_bytes - b.bundle_bytes),
            float(a.relay == b.relay),
            abs(len(a.raw) - len(b.raw)),
            abs((a.seen - a.report.time) - (b.seen - b.report.time)),
            _distance(a.key, b.key),
            _distance(a.id, b.id),
            _distance(a.raw[-64:], b.raw[-64:]),
            _prefix(a.key, b.key),
            _prefix(a.id, b.id),
            _shared(a.key + a.raw[-64:], b.key + b.raw[-64:]),
        ]
        return row


def _gap(one: float, two: float, period: float) -> float:
    """The distance of two times on a circle, such as a day."""
    apart = abs(one - two) % period
    return min(apart, period - apart)


def _times(one: float, two: float) -> list[float]:
    apart = abs(one - two)
    return [
        math.log1p(apart),
        float(one // DAY == two // DAY),
        _gap(one % DAY, two % DAY, DAY),
        _gap(one % HOUR, two % HOUR, HOUR),
        _gap(one % (7 * DAY), two % (7 * DAY), 7 * DAY),
    ]


def _distance(one: bytes, two: bytes) -> int:
    """The number of bits that differ."""
    return (int.from_bytes(one, "big") ^ int.from_bytes(two, "big")).bit_count()


def _prefix(one: bytes, two: bytes) -> int:
    """The number of equal leading bits."""
    return len(one) * 8 - (int.from_bytes(one, "big") ^ int.from_bytes(two, "big")).bit_length()


def _shared(one: bytes, two: bytes) -> float:
    """The share of byte pairs that both contain."""
    left = {one[at : at + 2] for at in range(len(one) - 1)}
    right = {two[at : at + 2] for at in range(len(two) - 1)}
    return len(left & right) / len(left | right)


def attack(world: World, *, splits: int = 3, train: int = 6000, test: int = 3000) -> Score:
    """Train on half of the installs and test on the other half, then swap the halves; repeat this
    `splits` times. Each install counts once, with its mean."""
    features = Features(world)
    hits: dict[int, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    tried = 0
    for split in range(splits):
        rng = random.Random(f"{split}/attack")
        numbers = sorted({one.install for one in world.sightings})
        rng.shuffle(numbers)
        half = len(numbers) // 2
        for learners, held_out in (
            (numbers[:half], numbers[half:]),
            (numbers[half:], numbers[:half]),
        ):
            learn = trials(world.sightings, learners, rng, train)
            asked = trials(world.sightings, held_out, rng, test)
            tried += len(asked)
            for view in (features.declared, features.everything):
                for one, right in zip(asked, _choose(view, learn, asked), strict=True):
                    hits[one.anchor.install][view.__name__].append(right)
    by_install = [hits[install] for install in sorted(hits)]
    return Score(
        np.array([np.mean(one["declared"]) for one in by_install]),
        np.array([np.mean(one["everything"]) for one in by_install]),
        tried,
    )


def _choose(view: View, learn: Sequence[Trial], asked: Sequence[Trial]) -> list[float]:
    """For each trial: 1 if a classifier that sees `view` was right, 0.5 for a tie, else 0."""
    rows = [view(one.anchor, other) for one in learn for other in (one.same, one.other)]
    model = HistGradientBoostingClassifier(
        max_iter=80, max_leaf_nodes=15, min_samples_leaf=40, l2_regularization=1.0, random_state=1
    )
    mine, theirs = (
        np.array([view(one.anchor, other) for one, other in pairs])
        for pairs in ([(one, one.same) for one in asked], [(one, one.other) for one in asked])
    )
    # One thread, because on a busy machine several threads mostly wait for each other.
    with threadpool_limits(1):
        model.fit(np.array(rows), np.array([1, 0] * len(learn)))
        mine, theirs = (model.predict_proba(rows)[:, 1] for rows in (mine, theirs))
    return list((mine > theirs) + 0.5 * (mine == theirs))
