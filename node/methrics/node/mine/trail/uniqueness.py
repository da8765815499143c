"""How many others share each combination of values that left, from single fields to all of them.

Each distinct statement (event type and parts) is measured once, however often it was sent. Singles
and pairs show what is rare in itself; the growing combination adds, one after the other, whatever
shrinks the crowd most, then the parts that were not shared, then the day and the rounded time: that
is the way somebody would go who looks for one report.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

from methrics.node.mine.own import ReadableReport
from methrics.node.mine.trail.others import Others, Overlap, crowd, mask_of, sharing
from methrics.node.report.flags import DAY
from methrics.node.report.parts import part_names, stable_names
from methrics.node.report.threshold.crowd import PEOPLE, Crowd

ABSENT = "what is left out"
ON_THE_DAY = "that day"
AT_THE_TIME = "that time"
"""Steps of a growing combination that add no part: silence, and time."""


@dataclass(frozen=True, slots=True)
class Combination:
    """The crowd that shares these parts; in a growing combination `names` ends with the newest."""

    names: tuple[str, ...]
    crowd: Crowd


@dataclass(frozen=True, slots=True)
class Statement:
    """One distinct thing the person's reports said. `own` are the reports that said it, oldest
    first; `whole` is the crowd that says exactly this, at any time. `people` is the crowd of people
    with the same stable parts in the `period` of the newest report, where they can be counted."""

    own: tuple[ReadableReport, ...]
    singles: tuple[Combination, ...]
    pairs: tuple[Combination, ...]
    growing: tuple[Combination, ...]
    whole: Crowd
    people: Crowd | None
    period: str | None
    names: tuple[str, ...]
    overlap: Overlap

    @property
    def telling_pairs(self) -> list[Combination]:
        """Pairs that say more than either part does, the smallest crowds first."""
        alone = {one.names[0]: one.crowd.sharing for one in self.singles}
        return sorted(
            (
                pair
                for pair in self.pairs
                if pair.crowd.sharing < min(alone[name] for name in pair.names)
            ),
            key=lambda pair: pair.crowd.sharing,
        )

    @property
    def narrowing(self) -> tuple[Combination, ...]:
        """The growing combination, up to where nobody else is left."""
        for place, step in enumerate(self.growing):
            if not step.crowd.sharing:
                return self.growing[: place + 1]
        return self.growing

    @property
    def newest(self) -> ReadableReport:
        """The report that stands for all in what depends on time."""
        return self.own[-1]


def statements(own: Iterable[ReadableReport]) -> list[tuple[ReadableReport, ...]]:
    """Own reports that say the same, together, oldest first."""
    groups: dict[tuple[object, ...], list[ReadableReport]] = defaultdict(list)
    for one in own:
        # A flag and a number may be equal in Python, never on the wire.
        said = frozenset((name, type(value), value) for name, value in one.parts.items())
        groups[one.namespace, one.event_type.name, said].append(one)
    return [tuple(group) for group in groups.values()]


def measure(own: Iterable[ReadableReport], others: Others) -> list[Statement]:
    """Every distinct statement, the one with the smallest crowd first."""
    measured = [_measure(group, others) for group in statements(own)]
    return sorted(measured, key=lambda one: (one.whole.sharing, -one.whole.total, -one.newest.time))


def _measure(group: tuple[ReadableReport, ...], others: Others) -> Statement:
    newest = group[-1]
    names = part_names(newest.event_type)
    shared = [name for name in names if name in newest.parts]
    overlap = others.agreeing(newest, names)

    def together(chosen: Sequence[str]) -> Combination:
        return Combination(tuple(chosen), crowd(overlap, mask_of(names, chosen)))

    period = others.counts_people(newest)
    people = None
    if period is not None:
        stable = stable_names(newest.event_type)
        found = others.agreeing(newest, stable, people=True)
        people = crowd(found, mask_of(stable, stable), PEOPLE)
    return Statement(
        group,
        tuple(together([name]) for name in shared),
        tuple(together(pair) for pair in combinations(shared, 2)),
        tuple(_growing(newest, names, shared, overlap, others)),
        crowd(overlap, mask_of(names, names)),
        people,
        period,
        names,
        overlap,
    )


def _growing(
    newest: ReadableReport,
    names: Sequence[str],
    shared: Sequence[str],
    overlap: Overlap,
    others: Others,
) -> list[Combination]:
    steps: list[Combination] = []
    chosen: list[str] = []
    left = list(shared)
    while left:
        sizes = [crowd(overlap, mask_of(names, [*chosen, name])) for name in left]
        smallest = min(range(len(left)), key=lambda place: sizes[place].sharing)
        chosen.append(left.pop(smallest))
        steps.append(Combination(tuple(chosen), sizes[smallest]))
    everything = mask_of(names, names)
    if len(shared) < len(names):
        steps.append(Combination((*chosen, ABSENT), crowd(overlap, everything)))
    total = sum(overlap.values())
    day = newest.time - newest.time % DAY
    rounded = newest.time - newest.time % newest.event_type.resolution
    for word, start, length in (
        (ON_THE_DAY, day, DAY),
        (AT_THE_TIME, rounded, newest.event_type.resolution),
    ):
        found = others.agreeing(newest, names, window=(start, start + length))
        names_so_far = steps[-1].names if steps else ()
        count = sharing(found, everything)
        steps.append(Combination((*names_so_far, word), Crowd(count, total)))
    return steps
