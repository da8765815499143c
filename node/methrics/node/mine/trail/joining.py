"""Finds own reports that could be linked to one another, with the reason and the probability.

No key, address or identifier links the reports, because each report has a fresh key. Only their
values and times could link them. An observer has one report and looks for another of the same
person. The reports that fit are the person's own and those of others; the proportion of own reports
among them is the probability of a right guess. It is a lower bound, because an observer who knows
more about the person can do better.

Each finding is a set of reports, so the order of reports does not matter.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

from methrics.node.mine.own import ReadableReport, moment
from methrics.node.mine.trail.others import Others, mask_of, sharing
from methrics.node.mine.trail.uniqueness import Statement
from methrics.node.report.parts import said, stable_names

SAME_KEY, SAME_VALUES, ACROSS, FOLLOWS, SAME_TIME = (
    "same-key",
    "same-values",
    "across-types",
    "follows",
    "same-time",
)
"""Ways to link reports. SAME_KEY: they have the same key. SAME_VALUES: their stable values are
equal. ACROSS: reports of two event types have equal values. FOLLOWS: one report is at the declared
interval after another, with flags that fit. SAME_TIME: they have the same rounded time."""

FLOOR = 0.05
"""Least probability of a finding. Most pairs of reports have a lower one and are left out."""

LIKELY = 0.5
"""Least probability of each step in a run of reports. A run is shown as one finding."""


@dataclass(frozen=True, slots=True)
class Joint:
    """Own reports that could be recognized as those of one person.

    `way`: one of the ways to link. `names`: the parts that link the reports. `others`: how many
    reports of other people fit as well, None if the data do not show it. `probability`: that a
    guess is right; for a run, that the guesses at all of its steps are right. `says`: the reason,
    in words for a person.
    """

    way: str
    own: tuple[ReadableReport, ...]
    names: tuple[str, ...]
    others: int | None
    probability: float | None
    says: str


def join(
    own: Sequence[ReadableReport], measured: Sequence[Statement], others: Others
) -> list[Joint]:
    """Returns all findings, the most probable first. `measured`: the statements of `own`."""
    found = [
        *_same_key(own),
        *_same_values(measured),
        *_across(measured),
        *_follows(own, others),
        *_same_time(own, others),
    ]
    worth = [one for one in found if one.probability is None or one.probability >= FLOOR]
    return sorted(worth, key=lambda one: (-(one.probability or 0.0), -len(one.own), one.way))


def joined(found: Iterable[Joint], one: ReadableReport, other: ReadableReport) -> list[Joint]:
    """Returns the findings that contain both reports, which must be different."""
    return [joint for joint in found if one in joint.own and other in joint.own and one != other]


def _same_key(own: Sequence[ReadableReport]) -> list[Joint]:
    groups: dict[bytes, list[ReadableReport]] = defaultdict(list)
    for one in own:
        groups[one.key].append(one)
    says = "they were signed with the same key"
    return [
        Joint(SAME_KEY, tuple(group), (), 0, 1.0, says)
        for group in groups.values()
        if len(group) > 1
    ]


def _same_values(measured: Sequence[Statement]) -> list[Joint]:
    groups: dict[tuple[object, ...], list[Statement]] = defaultdict(list)
    for one in measured:
        stable = frozenset((name, type(value), value) for name, value in one.newest.stable.items())
        if stable:
            groups[one.newest.namespace, one.newest.event_type.name, stable].append(one)
    found = []
    for group in groups.values():
        own = _in_order(report for one in group for report in one.own)
        if len(own) < 2:
            continue
        first = group[0]
        names = stable_names(first.newest.event_type)
        count = sharing(first.overlap, mask_of(first.names, names))
        words = said(first.newest.event_type, first.newest.stable)
        says = f"all have {words}; so {_others(count)}"
        shown = tuple(name for name in names if name in first.newest.stable)
        chance = (len(own) - 1) / (len(own) - 1 + count)
        found.append(Joint(SAME_VALUES, own, shown, count, chance, says))
    return found


def _across(measured: Sequence[Statement]) -> list[Joint]:
    """Finds reports of two event types of one app that have equal values in all stable parts that
    both types have."""
    best: dict[
        tuple[object, ...], tuple[set[ReadableReport], set[ReadableReport], Statement, Statement]
    ] = {}
    for one, other in combinations(measured, 2):
        left, right = one.newest, other.newest
        if left.namespace != right.namespace or left.event_type.name == right.event_type.name:
            continue
        common = sorted(set(left.stable) & set(right.stable))
        if not common or any(left.parts[name] != right.parts[name] for name in common):
            continue
        if left.event_type.name > right.event_type.name:
            one, other, left, right = other, one, right, left
        values = tuple((name, type(left.parts[name]), left.parts[name]) for name in common)
        key = (left.namespace, left.event_type.name, right.event_type.name, values)
        entry = best.setdefault(key, (set(), set(), one, other))
        entry[0].update(one.own)
        entry[1].update(other.own)
    found = []
    for lefts, rights, one, other in best.values():
        common = sorted(set(one.newest.stable) & set(other.newest.stable))
        chances = []
        for side, mine in ((one, len(lefts)), (other, len(rights))):
            count = sharing(side.overlap, mask_of(side.names, common))
            chances.append((mine / (mine + count), count))
        chance, count = max(chances)
        types = f"{one.newest.event_type.name} and {other.newest.event_type.name}"
        words = said(one.newest.event_type, one.newest.parts, common)
        says = f"{types} both have {words}; in the easier direction, so {_others(count)}"
        own = _in_order(lefts | rights)
        found.append(Joint(ACROSS, own, tuple(common), count, chance, says))
    return found


def _follows(own: Sequence[ReadableReport], others: Others) -> list[Joint]:
    """Finds runs of reports of one state, each at the declared interval after the one before."""
    groups: dict[tuple[str, str], list[ReadableReport]] = defaultdict(list)
    for one in own:
        if one.event_type.release.every is not None:
            groups[one.namespace, one.event_type.name].append(one)
    found: list[Joint] = []
    for group in groups.values():
        run: list[tuple[ReadableReport, ReadableReport, int]] = []
        for before, after in pairwise(_in_order(group)):
            count = _successors(before, after, others)
            if count is not None and 1 / (1 + count) >= LIKELY:
                run.append((before, after, count))
                continue
            found += _run(run)
            run = []
            if count is not None:
                found += _run([(before, after, count)])
        found += _run(run)
    return found


def _successors(before: ReadableReport, after: ReadableReport, others: Others) -> int | None:
    """Returns how many reports of others could be the successor of `before` as well as `after`.
    Returns None if `after` cannot be the successor: its time is not in the window in which an
    observer would look, or its stable parts differ."""
    release, resolution = before.event_type.release, before.event_type.resolution
    least, most = release.every or (0, 0)
    window = (
        before.time + least - resolution,
        before.time + most + release.jitter + 2 * resolution,
    )
    if not window[0] <= after.time < window[1] or before.stable != after.stable:
        return None
    names = [*stable_names(after.event_type), *_flag_names(after)]
    return sharing(others.agreeing(after, names, window=window), mask_of(names, names))


def _flag_names(own: ReadableReport) -> list[str]:
    stable = stable_names(own.event_type)
    return [field.name for field in own.event_type.fields if field.name not in stable]


def _run(steps: Sequence[tuple[ReadableReport, ReadableReport, int]]) -> list[Joint]:
    if not steps:
        return []
    own = (steps[0][0], *(after for _, after, _ in steps))
    chance = 1.0
    for _, _, count in steps:
        chance *= 1 / (1 + count)
    most = max(count for _, _, count in steps)
    flags = _flag_names(own[0])
    fit = f", with {', '.join(flags)} as they must be" if flags else ""
    others = f"up to {most:,} other reports fit a step too" if most else "no other report fits"
    says = f"each comes at the declared interval after the one before{fit}; {others}"
    return [Joint(FOLLOWS, own, tuple(flags), most, chance, says)]


def _same_time(own: Sequence[ReadableReport], others: Others) -> list[Joint]:
    groups: dict[tuple[str, int], list[ReadableReport]] = defaultdict(list)
    for one in own:
        groups[one.namespace, one.time].append(one)
    found = []
    for (_, time), group in groups.items():
        if len({one.event_type.name for one in group}) < 2:
            continue
        counts = []
        for one in _in_order({report.event_type.name: report for report in group}.values()):
            window = (time, time + one.event_type.resolution)
            counts.append(sum(others.agreeing(one, (), window=window).values()))
        # An observer who has one of the reports searches for another among these. The direction
        # with the fewest candidates is the easiest, so it decides.
        fewest = min(counts)
        says = (
            f"all have the time {moment(time)} UTC; in the easier direction, so {_others(fewest)}"
        )
        found.append(Joint(SAME_TIME, _in_order(group), (), fewest, 1 / (1 + fewest), says))
    return found


def _in_order(own: Iterable[ReadableReport]) -> tuple[ReadableReport, ...]:
    return tuple(sorted(own, key=lambda one: (one.time, one.namespace, one.number)))


def _others(count: int) -> str:
    if not count:
        return "does no other report"
    return "does 1 other report" if count == 1 else f"do {count:,} other reports"
