"""How many public reports of other people agree with an own report, and in which parts."""

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
"""From (inclusive) and to (exclusive), Unix seconds."""


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
        """How many others' reports of the event type of `own` agree with it in which of its parts
        `names`.

        A part that is absent from both reports agrees. `window` limits the times of the reports.
        `people` counts only first reports of the period of `own` (month, else week, else day).
        """
        ...

    def counts_people(self, own: ReadableReport) -> str | None:
        """`month`, `week` or `day` if the first report of that period is flagged in this type."""
        ...


def mask_of(names: Sequence[str], chosen: Collection[str]) -> int:
    """The bits of `chosen` among `names`."""
    return sum(1 << place for place, name in enumerate(names) if name in chosen)


def agreement(names: Sequence[str], mine: Parts, theirs: Mapping[str, Wire | None]) -> int:
    """The bits of `names` in which two reports are equal; a part absent from both is equal."""
    mask = 0
    for place, name in enumerate(names):
        if same(mine.get(name), theirs.get(name)):
            mask |= 1 << place
    return mask


def sharing(overlap: Overlap, mask: int) -> int:
    """How many others agree in all parts of `mask`."""
    return sum(count for agreed, count in overlap.items() if agreed & mask == mask)


def crowd(overlap: Overlap, mask: int, unit: str = REPORTS) -> Crowd:
    """The crowd that agrees in all parts of `mask`."""
    return Crowd(sharing(overlap, mask), sum(overlap.values()), unit)
