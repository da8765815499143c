"""What one export comes to: sums for each combination of fields, and one latest state per type."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from methrics.node.record.compiled import COUNT_MAX


class Count(NamedTuple):
    """`n` of an event type with these values, as `Recorder.count` takes them."""

    name: str
    fields: Mapping[str, object]
    n: int


class Batch:
    """`counts` by combination; `states` by type; `clashes`: for a type of which different things
    were said at once, how many."""

    def __init__(self) -> None:
        self.counts: dict[object, Count] = {}
        self.states: dict[str, dict[str, object]] = {}
        self.clashes: dict[str, int] = {}
        self._points: dict[str, int] = {}

    def add(self, name: str, fields: Mapping[str, object], n: int) -> None:
        """`n` more, beside what other instruments and other attributes came to."""
        key = (name, tuple(sorted((field, repr(value)) for field, value in fields.items())))
        before = self.counts.get(key)
        self.counts[key] = Count(name, fields, n + (before.n if before else 0))

    def set(self, name: str, fields: Mapping[str, object]) -> None:
        """One instrument's part of a state: several may tell different fields of it."""
        state = self.states.setdefault(name, {})
        self._points[name] = self._points.get(name, 0) + 1
        if any(repr(state.get(field, value)) != repr(value) for field, value in fields.items()):
            self.clashes[name] = 0
        if name in self.clashes:
            self.clashes[name] = self._points[name]
        state.update(fields)


def parts(n: int) -> Iterator[int]:
    """`n` in numbers that one call of `Recorder.count` takes."""
    while n > 0:
        part = min(n, COUNT_MAX)
        yield part
        n -= part
