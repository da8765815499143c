"""Finds own reports so close in time to other public traces that they could be linked.

A report reveals two times: the rounded time of the fact in it, and roughly the time of its release,
which anyone who watches the network sees. Each gives a window, and a trace in one of them may be of
the same person. The other reports in that window are the anonymity set, so a guess from that one
trace is right with probability 1 / (1 + others). One coincidence is weak evidence. The evidence is
strong if traces of one label are close to many more reports than by chance, so this module also
counts the coincidences of each label.
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
"""Names of the two windows: that of the reported fact, and that in which the report became public.
"""

SPREAD = 600
"""Most seconds from making a report until it is public: connecting, mixing and forwarding it."""

WORTH = 3
"""A label is telling if its traces are close to own reports at least this many times as often as by
chance."""


@dataclass(frozen=True, slots=True)
class Coincidence:
    """An own report, and the first trace of one label in one of the report's windows. `window`:
    FACT or RELEASE. `others`: how many other reports are in the window, None without public data.
    """

    own: ReadableReport
    trace: Trace
    window: str
    others: int | None

    @property
    def probability(self) -> float | None:
        """The probability that a guess from this trace alone is right."""
        return None if self.others is None else 1 / (1 + self.others)


@dataclass(frozen=True, slots=True)
class Beside:
    """How many own reports have a trace of one label in their fact window: `close` of `total`.
    `expected`: the mean of that number if the traces were spread evenly over the same time."""

    label: str
    close: int
    total: int
    expected: float

    @property
    def telling(self) -> bool:
        """Whether `close` is much larger than chance explains: at least 2, and at least WORTH times
        `expected`."""
        return self.close >= 2 and self.close >= WORTH * self.expected


def fact_window(own: ReadableReport) -> Window:
    """Returns the window in which the fact in the report may have happened."""
    return own.time, own.time + own.event_type.resolution


def release_window(own: ReadableReport) -> Window:
    """Returns the window in which the report became public."""
    return own.made, own.made + SPREAD


def released_with(own: ReadableReport) -> Window:
    """Returns the window of the times that can be in reports of the same type which became public
    in the same window as `own`."""
    release = own.event_type.release
    waited = release.delay + release.jitter + (release.every[1] if release.every else 0)
    start, end = release_window(own)
    return start - waited - own.event_type.resolution, max(own.time + 1, end - release.delay)


def coincide(
    own: Sequence[ReadableReport], traces: Sequence[Trace], others: Others | None
) -> list[Coincidence]:
    """Returns the coincidences of own reports and traces, those with the smallest anonymity set
    first. `traces` must be sorted, oldest first."""
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
    """Counts, for each label, how many own reports its traces are close to. Returns the labels
    sorted, the least likely by chance first, without those that are close to no report."""
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
        # A window of length l contains one of n evenly spread traces, or several, with probability
        # 1 - (1 - l / span)^n.
        expected = sum(1 - (1 - (b - a) / (end - start)) ** len(times) for a, b in slots)
        if close:
            found.append(Beside(label, close, len(slots), expected))
    return sorted(found, key=lambda one: (one.expected / one.close, -one.close, one.label))
