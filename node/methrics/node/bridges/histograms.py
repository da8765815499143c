"""Converts the buckets of a histogram to buckets of a declared field, without guessing (pure).

A histogram's bucket contains values above its lower bound and up to its upper bound. A field's
bucket contains values from its lower edge and below its upper edge. So a histogram's bucket is
counted only if all values that it can contain lie in one bucket of the field. Otherwise its values
are counted as unsure.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

INF = math.inf

SLACK = 1e-9
"""Largest relative error that is assumed for a bound of an exponential bucket, because libraries
compute it with logarithms. The narrowest bucket is 700 times as wide."""


class Piece(NamedTuple):
    """One bucket of a histogram: `n` values, each greater than `above` and at most `most`."""

    above: float
    most: float
    n: int


def explicit(bounds: Sequence[float], counts: Iterable[int]) -> Iterator[Piece]:
    """Yields the buckets of an explicit-bucket histogram that are not empty."""
    for above, most, n in zip((-INF, *bounds), (*bounds, INF), counts, strict=True):
        if n:
            yield Piece(above, most, n)


def exponential(
    scale: int,
    zeros: int,
    positive: tuple[int, Sequence[int]],
    negative: tuple[int, Sequence[int]],
) -> Iterator[Piece]:
    """Yields the buckets of an exponential histogram that are not empty.

    `zeros`: the number of values that are zero. `positive`, `negative`: (index of the first bucket,
    counts). Bucket i is from base**i to base**(i + 1), where base = 2**(2**-scale).
    """
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
    """Returns (number of values per bucket of the field, number of values whose bucket is unsure).

    `bucket`: returns the field's bucket for a value. `least`, `most`: the smallest and the largest
    of all values, if known; they narrow the outermost buckets of the histogram.
    """
    if least is None or most is None or not least <= most:  # not known, or NaN
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
    """Returns a value that lies in `bucket` of a field with these edges."""
    return edges[bucket - 1] if bucket else math.nextafter(edges[0], -INF)


def bounds_for(edges: Sequence[float]) -> list[float]:
    """Returns the bounds with which a histogram has exactly the buckets of a field with `edges`."""
    return [math.nextafter(edge, -INF) for edge in edges]


def _bound(index: int, scale: int, slack: float) -> float:
    """Returns the magnitude of a bucket's bound, times `slack`. It is 0 or infinite if a double
    cannot represent it."""
    try:
        return float(2.0 ** (index * 2.0**-scale)) * slack
    except OverflowError:
        return INF
