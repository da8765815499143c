"""The result of one export: a sum per combination of fields, and a latest state per type."""

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
    """`counts`: by combination of fields. `states`: by type. `clashes`: for each type with
    contradicting states, the number of those."""

    def __init__(self) -> None:
        self.counts: dict[object, Count] = {}
        self.states: dict[str, dict[str, object]] = {}
        self.clashes: dict[str, int] = {}
        self._points: dict[str, int] = {}

    def add(self, name: str, fields: Mapping[str, object], n: int) -> None:
        """Adds `n` to the sum of this combination, to which other instruments may add, too."""
        key = (name, tuple(sorted((field, repr(value)) for field, value in fields.items())))
        before = self.counts.get(key)
        self.counts[key] = Count(name=name, fields=fields, n=n + (before.n if before else 0))

    def set(self, name: str, fields: Mapping[str, object]) -> None:
        """Sets the fields of a state that one instrument gives; others may give other fields."""
        state = self.states.setdefault(name, {})
        self._points[name] = self._points.get(name, 0) + 1
        if any(repr(state.get(field, value)) != repr(value) for field, value in fields.items()):
            self.clashes[name] = 0
        if name in self.clashes:
            self.clashes[name] = self._points[name]
        state.update(fields)


def parts(n: int) -> Iterator[int]:
    """Splits `n` into numbers that one call of `Recorder.count` accepts."""
    while n > 0:
        part = min(n, COUNT_MAX)
        yield part
        n -= part
