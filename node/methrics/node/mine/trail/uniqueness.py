"""Counts how many others reported each combination of the person's values, from one part to all.

A statement is an event type with certain parts. It is measured once, even if it was sent often.
Single parts and pairs show which values are rare by themselves. The growing combination starts
empty. Each step adds the part that shrinks the crowd most; then come the parts that were not
shared, the day and the rounded time. An observer who looks for one report would proceed in this
way.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

from methrics.node.mine.own import ReadableReport
from methrics.node.mine.trail.others import Others, Overlap, crowd, mask_of, sharing
from methrics.node.outbox.periods import DAY
from methrics.node.report.parts import part_names, stable_names
from methrics.node.report.threshold.crowd import PEOPLE, Crowd

ABSENT = "the fields not shared"
ON_THE_DAY = "the day"
AT_THE_TIME = "the rounded time"
"""Names of the steps of a growing combination that add no part: which parts are absent, the day,
and the rounded time."""


@dataclass(frozen=True, slots=True)
class Combination:
    """The crowd that has the same values in the parts `names`. In a growing combination, the part
    that was added last is the last of `names`."""

    names: tuple[str, ...]
    crowd: Crowd


@dataclass(frozen=True, slots=True)
class Statement:
    """One combination of event type and parts that the person reported.

    `own`: the reports that state it, oldest first. `whole`: the crowd that reports exactly the
    same, at any time. `people`: the people with the same stable parts in the `period` of the newest
    report, None if people cannot be counted.
    """

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
        """Pairs with a smaller crowd than either part has, the smallest first."""
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
        """The growing combination up to the step at which no other report is left."""
        for place, step in enumerate(self.growing):
            if not step.crowd.sharing:
                return self.growing[: place + 1]
        return self.growing

    @property
    def newest(self) -> ReadableReport:
        """The newest report, which is used where times matter."""
        return self.own[-1]


def statements(own: Iterable[ReadableReport]) -> list[tuple[ReadableReport, ...]]:
    """Groups own reports by equal type and parts. The order of `own` stays in each group."""
    groups: dict[tuple[object, ...], list[ReadableReport]] = defaultdict(list)
    for one in own:
        # True equals 1 in Python, but not on the wire.
        said = frozenset((name, type(value), value) for name, value in one.parts.items())
        groups[one.namespace, one.event_type.name, said].append(one)
    return [tuple(group) for group in groups.values()]


def measure(own: Iterable[ReadableReport], others: Others) -> list[Statement]:
    """Measures every distinct statement. Returns those with the smallest crowd first."""
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
