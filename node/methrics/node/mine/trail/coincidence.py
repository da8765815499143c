"""Which own reports stand so close in time to other public traces that they could be linked.

A report tells two times: that of the fact, rounded, and roughly that of its release, which anyone
who watches the network sees. A trace inside either window may be of the same person; the other
reports that share the window are the anonymity set, and 1 / (1 + others) is the probability of a
right guess from that one trace. One coincidence says little. A label whose traces stand beside many
reports, far more than chance would have it, says a lot: hence the count for each label.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from methrics.node.mine.own import ReadableReport
from methrics.node.mine.trail.others import Others, Window
from methrics.node.mine.trail.traces import Trace

FACT, RELEASE = "fact", "release"
"""The window in which it happened; the one in which its report came out."""

SPREAD = 600
"""Seconds in which a report becomes public once it is made: connecting, mixing, spreading."""

WORTH = 3
"""A label stands beside the person's reports by more than chance from this many times as often."""


@dataclass(frozen=True, slots=True)
class Coincidence:
    """One own report and the nearest trace of one label in one of its windows. `others` share the
    window; None without public data."""

    own: ReadableReport
    trace: Trace
    window: str
    others: int | None

    @property
    def probability(self) -> float | None:
        """Of a right guess from this trace alone."""
        return None if self.others is None else 1 / (1 + self.others)


@dataclass(frozen=True, slots=True)
class Beside:
    """How often the traces of one label stand beside the facts of own reports: `close` of `total`,
    where traces spread evenly over the same time would give `expected`."""

    label: str
    close: int
    total: int
    expected: float

    @property
    def telling(self) -> bool:
        """Whether that is more than chance would have it."""
        return self.close >= 2 and self.close >= WORTH * self.expected


def fact_window(own: ReadableReport) -> Window:
    """When what the report tells may have happened."""
    return own.time, own.time + own.event_type.resolution


def release_window(own: ReadableReport) -> Window:
    """When the report itself became public."""
    return own.made, own.made + SPREAD


def released_with(own: ReadableReport) -> Window:
    """Times that reports of this type may say which became public in the same window."""
    release = own.event_type.release
    waited = release.delay + release.jitter + (release.every[1] if release.every else 0)
    start, end = release_window(own)
    return start - waited - own.event_type.resolution, max(own.time + 1, end - release.delay)


def coincide(
    own: Sequence[ReadableReport], traces: Sequence[Trace], others: Others | None
) -> list[Coincidence]:
    """Every own report that has a trace in a window, the smallest anonymity set first. `traces`
    oldest first."""
    found = []
    times = [trace.time for trace in traces]
    for one in own:
        for name, window, crowd in (
            (FACT, fact_window(one), fact_window(one)),
            (RELEASE, release_window(one), released_with(one)),
        ):
            first, last = bisect_left(times, window[0]), bisect_left(times, window[1])
            if first == last:
                continue
            count = None
            if others is not None:
                count = sum(others.agreeing(one, (), window=crowd).values())
            labels: dict[str, Trace] = {}
            for trace in traces[first:last]:
                labels.setdefault(trace.label, trace)
            found += [Coincidence(one, trace, name, count) for trace in labels.values()]
    return sorted(
        found, key=lambda one: (one.others is None, one.others or 0, one.own.time, one.trace)
    )


def beside(own: Sequence[ReadableReport], traces: Sequence[Trace]) -> list[Beside]:
    """For each label, how often it stands beside own reports; the least likely by chance first."""
    if not own:
        return []
    slots = [fact_window(one) for one in own]
    start, end = min(slot[0] for slot in slots), max(slot[1] for slot in slots)
    by_label: dict[str, list[int]] = defaultdict(list)
    for trace in traces:
        if start <= trace.time < end:
            by_label[trace.label].append(trace.time)
    found = []
    for label, times in by_label.items():
        close = sum(bisect_left(times, a) < bisect_left(times, b) for a, b in slots)
        # A window of length l holds one of n even traces with probability 1 - (1 - l / span)^n.
        expected = sum(1 - (1 - (b - a) / (end - start)) ** len(times) for a, b in slots)
        if close:
            found.append(Beside(label, close, len(slots), expected))
    return sorted(found, key=lambda one: (one.expected / one.close, -one.close, one.label))
