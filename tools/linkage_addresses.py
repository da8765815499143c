"""Attackers who see addresses and the topic, and say from which address each report came.

None of them sees the content of a box. One knows the days of each address's visits, a wire watcher
the moments, and the entry the exit of each box and the moment at which it left. Each names the
addresses whose visits fit best to the exit and day of publication; ties count by their share.
The learning of a person's values over many days is not part of it.
"""

from __future__ import annotations

from collections import Counter, defaultdict

from linkage_way import Crowd, Way

DAY = 86_400


def assign(crowd: Crowd, way: Way | None = None) -> dict[str, float]:
    """Attacker -> the share of reports whose address it names, from 0 to 1."""
    spread = (way or Way()).spread
    days: dict[int, Counter[int]] = defaultdict(Counter)
    wire: dict[int, Counter[int]] = defaultdict(Counter)
    entry: dict[tuple[int, int], Counter[int]] = defaultdict(Counter)
    for call in crowd.calls:
        day = call.time // DAY
        days[day][call.install] = 1
        # In thousandths: how likely a box of this visit comes to its exit on the same day.
        today = 1000 if not spread else int(1000 * min(1, (DAY - call.time % DAY) / spread))
        wire[day][call.install] += today
        wire[day + 1][call.install] += 1000 - today
        for exit_, moment in call.boxes:
            entry[moment // DAY, exit_][call.install] += 1
    hits: dict[str, float] = defaultdict(float)
    for one in crowd.reports:
        arrived = one.seen // DAY - 1
        present = Counter(dict.fromkeys(days[arrived] | days[arrived - 1], 1))
        present.update(days[arrived])
        hits["knows the days of visits"] += _share(present, one.install)
        hits["watches the wire"] += _share(wire[arrived], one.install)
        seen = entry[arrived, one.exit]
        hits["is the entry"] += _share(seen, one.install)
    return {name: hit / len(crowd.reports) for name, hit in hits.items()}


def _share(weights: Counter[int], install: int) -> float:
    """The chance that one of the addresses with the highest weight is that of `install`."""
    best = max(weights.values(), default=0)
    named = [one for one, weight in weights.items() if weight == best]
    return (install in named) / len(named) if named else 0.0
