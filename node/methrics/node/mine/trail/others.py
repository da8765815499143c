"""What other people's public reports have in common with one's own, counted by parts."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from methrics.node.mine.own import ReadableReport
from methrics.node.report.parts import Parts
from methrics.node.report.threshold.crowd import REPORTS, Crowd, same
from methrics.schema.catalog.fields import Wire

Overlap = Mapping[int, int]
"""Others' reports by agreement with given names: bit i is set where the i-th part is the same."""

Window = tuple[int, int]
"""Unix seconds, from the first up to but not including the second."""


class Others(Protocol):
    """Public reports of other people. Who implements it leaves the person's own reports out."""

    def agreeing(
        self,
        own: ReadableReport,
        names: Sequence[str],
        *,
        window: Window | None = None,
        people: bool = False,
    ) -> Overlap:
        """How many others' reports of `own`'s event type agree with which of its parts `names`; a
        part absent on both sides agrees. `window` limits their times; `people` counts only first
        reports of the period (month, else week, else day) in which `own` lies."""
        ...

    def counts_people(self, own: ReadableReport) -> str | None:
        """`month`, `week` or `day` if reports of this type say that they are the first of it."""
        ...


def mask_of(names: Sequence[str], chosen: Collection[str]) -> int:
    """The bits of `chosen` among `names`."""
    return sum(1 << place for place, name in enumerate(names) if name in chosen)


def agreement(names: Sequence[str], mine: Parts, theirs: Mapping[str, Wire | None]) -> int:
    """The bits of `names` in which two reports say the same, or both say nothing."""
    mask = 0
    for place, name in enumerate(names):
        if same(mine.get(name), theirs.get(name)):
            mask |= 1 << place
    return mask


def sharing(overlap: Overlap, mask: int) -> int:
    """How many others agree in all of `mask`."""
    return sum(count for agreed, count in overlap.items() if agreed & mask == mask)


def crowd(overlap: Overlap, mask: int, unit: str = REPORTS) -> Crowd:
    """The crowd that agrees in all of `mask`."""
    return Crowd(sharing(overlap, mask), sum(overlap.values()), unit)
