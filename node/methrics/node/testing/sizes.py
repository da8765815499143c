"""Counts what an object keeps, so that a test can show that strangers cannot make it grow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Kept(NamedTuple):
    """What can be reached from an object."""

    entries: int
    """Elements of all its containers."""
    bytes: int
    """Length of all its byte strings, each counted once."""


def kept_by(kept: object) -> Kept:
    """Measure an object."""
    count = size = 0
    known: set[int] = set()
    waiting: list[Any] = [kept]
    while waiting:
        one = waiting.pop()
        if id(one) in known or one is None or isinstance(one, int | float | str | type):
            continue
        known.add(id(one))
        if isinstance(one, bytes):
            size += len(one)
        elif isinstance(one, Mapping):
            count += len(one)
            waiting += one.keys()
            waiting += one.values()
        elif hasattr(one, "__iter__") and hasattr(one, "__len__"):
            count += len(one)
            waiting += one
        else:
            waiting += _attributes(one)
    return Kept(count, size)


def _attributes(one: object) -> list[Any]:
    found = list(getattr(one, "__dict__", {}).values())
    for kind in type(one).__mro__:
        names = getattr(kind, "__slots__", ())
        found += [
            getattr(one, name, None) for name in ((names,) if isinstance(names, str) else names)
        ]
    return found
