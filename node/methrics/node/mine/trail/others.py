"""Counts the public reports of other people that agree with an own report, by agreeing parts."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from methrics.node.mine.own import ReadableReport
from methrics.node.report.parts import Parts
from methrics.node.report.threshold.crowd import REPORTS, Crowd, same
from methrics.schema.catalog.fields import Wire

Overlap = Mapping[int, int]
"""The number of others' reports for each set of equal parts: bit i is set if the i-th part is
equal."""

Window = tuple[int, int]
"""A period of time: its start (inclusive) and end (exclusive) in Unix seconds."""


class Others(Protocol):
    """Public reports of other people. An implementation must leave out the person's own reports."""

    def agreeing(
        self,
        own: ReadableReport,
        names: Sequence[str],
        *,
        window: Window | None = None,
        people: bool = False,
    ) -> Overlap:
        """Counts others' reports of the same event type, for each set of the parts `names` in which
        they agree with `own`.

        A part that is absent from both reports agrees. `window` limits the times of the reports.
        With `people`, only reports that are the first of the period of `own` are counted (month,
        else week, else day).
        """
        ...

    def counts_people(self, own: ReadableReport) -> str | None:
        """Returns the period by which people can be counted: `month`, `week` or `day`, if the type
        flags the first report of that period; otherwise None."""
        ...


def mask_of(names: Sequence[str], chosen: Collection[str]) -> int:
    """Returns the bits of the `chosen` parts among `names`, as in an Overlap."""
    return sum(1 << place for place, name in enumerate(names) if name in chosen)


def agreement(names: Sequence[str], mine: Parts, theirs: Mapping[str, Wire | None]) -> int:
    """Returns the bits of the parts `names` in which two reports are equal. A part that is absent
    from both is equal."""
    mask = 0
    for place, name in enumerate(names):
        if same(mine.get(name), theirs.get(name)):
            mask |= 1 << place
    return mask


def sharing(overlap: Overlap, mask: int) -> int:
    """Returns how many others agree in all parts of `mask`."""
    return sum(count for agreed, count in overlap.items() if agreed & mask == mask)


def crowd(overlap: Overlap, mask: int, unit: str = REPORTS) -> Crowd:
    """Returns the crowd that agrees in all parts of `mask`."""
    return Crowd(sharing(overlap, mask), sum(overlap.values()), unit)
