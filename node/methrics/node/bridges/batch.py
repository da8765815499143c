"""Collects the result of one export: a sum per combination of fields, and one state per type."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from methrics.node.record.plan import COUNT_MAX


class Count(NamedTuple):
    """The arguments of one call of `Recorder.count`."""

    name: str
    fields: Mapping[str, object]
    n: int


class Batch:
    """The counts and states of one export.

    `counts`: sums by event type and combination of fields. `states`: the fields of a state, by
    event type. `clashes`: for each event type that got two different values for one field, the
    number of its data points.
    """

    def __init__(self) -> None:
        self.counts: dict[object, Count] = {}
        self.states: dict[str, dict[str, object]] = {}
        self.clashes: dict[str, int] = {}
        self._points: dict[str, int] = {}

    def add(self, name: str, fields: Mapping[str, object], n: int) -> None:
        """Adds `n` to the sum of this combination of fields. Several instruments may add to one
        sum."""
        key = (name, tuple(sorted((field, repr(value)) for field, value in fields.items())))
        before = self.counts.get(key)
        self.counts[key] = Count(name=name, fields=fields, n=n + (before.n if before else 0))

    def set(self, name: str, fields: Mapping[str, object]) -> None:
        """Sets fields of a state to the values of one instrument. Other instruments may set other
        fields of the same state."""
        state = self.states.setdefault(name, {})
        self._points[name] = self._points.get(name, 0) + 1
        if any(repr(state.get(field, value)) != repr(value) for field, value in fields.items()):
            self.clashes[name] = 0
        if name in self.clashes:
            self.clashes[name] = self._points[name]
        state.update(fields)


def parts(n: int) -> Iterator[int]:
    """Splits `n` into numbers, each small enough for one call of `Recorder.count`."""
    while n > 0:
        part = min(n, COUNT_MAX)
        yield part
        n -= part
