"""How many bits the values of reports reveal per event type, and how many a pseudonym would add."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable
from typing import NamedTuple

from linkage_people import DAY, HOUR
from linkage_world import Sighting, World

from methrics.schema.catalog.catalog import Catalog


class Bits(NamedTuple):
    """Bits of one event type: the maximum, the budget, the measured entropy of the values of one
    report, and the bits of the rarest report."""

    most: float
    budget: int
    measured: float
    rarest: float


class Held(NamedTuple):
    """What one pseudonym reveals: the mean number of reports that it links, the bits that their
    values reveal together about the install, and the share of pseudonyms whose values no other
    install has."""

    reports: float
    bits: float
    alone: float


def entropy(things: Iterable[Hashable]) -> float:
    """Entropy in bits, from the shares of equal items."""
    counts = Counter(things)
    total = counts.total()
    return -sum(n / total * math.log2(n / total) for n in counts.values())


def _said(one: Sighting) -> Hashable:
    return (one.report.type, tuple(sorted(one.report.values.items())), one.report.sequence)


def declared(catalog: Catalog) -> dict[str, tuple[float, int]]:
    """Event type -> (bits at most, budget), from the catalog alone."""
    return {name: (one.bits, one.entropy_bits) for name, one in sorted(catalog.types.items())}


def measure(world: World) -> dict[str, Bits]:
    """Event type -> its bits in this simulation."""
    found = {}
    for name, (most, budget) in declared(world.catalog).items():
        values = Counter(_said(one) for one in world.sightings if one.report.type == name)
        rarest = math.log2(values.total() / min(values.values()))
        found[name] = Bits(most, budget, entropy(values.elements()), rarest)
    return found


def pseudonyms(world: World) -> dict[str, Held]:
    """What one key would link if it lasted for one report, a session, a day, or the month."""
    by_install: dict[int, list[Sighting]] = defaultdict(list)
    for one in sorted(world.sightings, key=lambda one: one.report.time):
        by_install[one.install].append(one)
    spans = {
        "one report (none, the default)": [
            (install, [one]) for install, own in by_install.items() for one in own
        ],
        "a session": [
            (install, part) for install, own in by_install.items() for part in _sessions(own)
        ],
        "a day": [(install, part) for install, own in by_install.items() for part in _days(own)],
        "the month": list(by_install.items()),
    }
    return {name: _held(world, groups) for name, groups in spans.items()}


def _sessions(own: list[Sighting]) -> list[list[Sighting]]:
    """Groups of reports without a pause of an hour; a count covers a day, so it is a group of its
    own."""
    parts: list[list[Sighting]] = []
    for one in own:
        if one.report.count is not None:
            parts.append([one])
        elif parts and one.report.time - parts[-1][-1].report.time < HOUR:
            parts[-1].append(one)
        else:
            parts.append([one])
    return parts


def _days(own: list[Sighting]) -> list[list[Sighting]]:
    parts: dict[int, list[Sighting]] = defaultdict(list)
    for one in own:
        parts[one.report.time // DAY].append(one)
    return list(parts.values())


def _held(world: World, groups: list[tuple[int, list[Sighting]]]) -> Held:
    pairs = [(install, frozenset(_lasting(world, one) for one in part)) for install, part in groups]
    who: dict[frozenset[Hashable], set[int]] = defaultdict(set)
    for install, what in pairs:
        who[what].add(install)
    alone = sum(len(who[what]) == 1 for _, what in pairs)
    reports = sum(len(part) for _, part in groups) / len(groups)
    # Mutual information of install and values: H(install) + H(values) - H(both).
    bits = entropy(i for i, _ in pairs) + entropy(what for _, what in pairs) - entropy(pairs)
    return Held(reports, bits, alone / len(groups))


def _lasting(world: World, one: Sighting) -> Hashable:
    """The lasting values of a report, without flags of the day, steps and counts."""
    fields = world.catalog.types[one.report.type].fields
    passing = {field.name for field in fields if field.source is not None}
    kept = ((name, said) for name, said in one.report.values.items() if name not in passing)
    return (one.report.type, tuple(sorted(kept)))
