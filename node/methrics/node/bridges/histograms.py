"""What the buckets of a histogram truthfully say in those of a declared field (pure).

A histogram's bucket holds what is above its lower bound and at most its upper one; a field's bucket
holds what is at least its lower edge and under its upper one. So a bucket counts for a field's only
if nothing that it may hold lies in another one; what cannot be told is not guessed.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

INF = math.inf

SLACK = 1e-9
"""By how much, relatively, a bound of an exponential bucket may be off: those who fill and read it
work it out with logarithms. Its buckets are at least 700 times as wide."""


class Piece(NamedTuple):
    """`n` values, each of them above `above` and at most `most`."""

    above: float
    most: float
    n: int


def explicit(bounds: Sequence[float], counts: Iterable[int]) -> Iterator[Piece]:
    """The buckets of an explicit-bucket histogram that hold anything."""
    for above, most, n in zip((-INF, *bounds), (*bounds, INF), counts, strict=True):
        if n:
            yield Piece(above, most, n)


def exponential(
    scale: int,
    zeros: int,
    positive: tuple[int, Sequence[int]],
    negative: tuple[int, Sequence[int]],
) -> Iterator[Piece]:
    """Those of an exponential histogram. `positive`, `negative`: index of the first bucket, and
    counts; bucket `i` is from base ** i to base ** (i + 1), the base being 2 ** (2 ** -scale)."""
    if zeros:
        yield Piece(-math.ulp(0.0), 0.0, zeros)
    for i, n in enumerate(positive[1], positive[0]):
        if n:
            yield Piece(_bound(i, scale, 1 - SLACK), _bound(i + 1, scale, 1 + SLACK), n)
    for i, n in enumerate(negative[1], negative[0]):
        if n:
            yield Piece(-_bound(i + 1, scale, 1 + SLACK), -_bound(i, scale, 1 - SLACK), n)


def spread(
    pieces: Iterable[Piece],
    bucket: Callable[[float], int],
    least: float | None = None,
    most: float | None = None,
) -> tuple[Counter[int], int]:
    """How many values lie in which bucket of the field, and how many lie in none for certain.

    `bucket`: the index of a value. `least`, `most`: the extremes of all values, where they are
    known; they narrow the outermost pieces.
    """
    if least is None or most is None or not least <= most:  # nothing known; or NaN
        least, most = -INF, INF
    found: Counter[int] = Counter()
    unsure = 0
    for piece in pieces:
        low = max(math.nextafter(piece.above, INF) if piece.above > -INF else -INF, least)
        high = min(piece.most, most)
        if low <= high and bucket(low) == bucket(high):
            found[bucket(low)] += piece.n
        else:
            unsure += piece.n
    return found, unsure


def inside(edges: Sequence[float], bucket: int) -> float:
    """A value in that bucket of a field with these edges."""
    return edges[bucket - 1] if bucket else math.nextafter(edges[0], -INF)


def bounds_for(edges: Sequence[float]) -> list[float]:
    """Bounds of a histogram whose buckets are exactly those of a field with these edges."""
    return [math.nextafter(edge, -INF) for edge in edges]


def _bound(index: int, scale: int, slack: float) -> float:
    """Magnitude of a bucket's bound; 0 or infinite beyond a double's range."""
    try:
        return float(2.0 ** (index * 2.0**-scale)) * slack
    except OverflowError:
        return INF
