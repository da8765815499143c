"""How many people report the same, and how many bits of identification that amounts to.

A crowd is the set of reports with the same parts, the person's own report included. If k of n
others report the same, the person is one of k + 1 among n + 1, which is -log2((k + 1) / (n + 1))
bits. Adding one (Laplace's rule of succession) keeps the estimate finite if k is 0. The uncertainty
is given as the 95 % score interval of k of n, which is wide if n is small (E. B. Wilson, Journal of
the American Statistical Association 22, 1927, p. 209; for small n see L. D. Brown, T. T. Cai,
A. DasGupta, Statistical Science 16, 2001, p. 101).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf, log2, sqrt

from methrics.schema.catalog.fields import Wire

Z = 1.959963984540054
"""Standard normal quantile of 97.5 %, for intervals of 95 %."""

ALONE, FEW, GROUP = 1, 10, 100
"""Sizes of a crowd, with the person in it: only the person; the least that public views may show
(MARS-15); the least that is called a crowd in texts."""

DAYS_MIN = 3
"""The fewest days on which equal reports must have arrived, so that they count for a person's
threshold. Invented reports cost nothing, so a crowd of one or two days is no evidence of people."""

REPORTS, PEOPLE = "reports", "people"
"""The unit of a crowd. People are counted by their first report of a period (NEW-4)."""


@dataclass(frozen=True, slots=True)
class Crowd:
    """`sharing` of `total` others report the same, counted in `unit`. Neither number includes the
    person."""

    sharing: int
    total: int
    unit: str = REPORTS

    @property
    def bits(self) -> float:
        """Estimated bits of identification: 0 if everyone reports the same."""
        return max(0.0, -log2((self.sharing + 1) / (self.total + 1)))

    @property
    def bounds(self) -> tuple[float, float]:
        """The 95 % interval of the bits: (least, most). The most is infinite if no other reports
        the same."""
        low, high = interval(self.sharing, self.total)
        return max(0.0, -log2(high)), -log2(low) if low > 0 else inf

    @property
    def size(self) -> int:
        """How many report the same, the person included."""
        return self.sharing + 1

    @property
    def verdict(self) -> str:
        """The size of the crowd in words: `1 of 3 reports; stands out`."""
        if not self.total:
            return f"nothing to compare with: no other {self.unit} in the data"
        if self.sharing == self.total:
            return f"the same for all {self.size:,} {self.unit} in the data"
        return f"{self.size:,} of {self.total + 1:,} {self.unit}; {judged(self.size)}"


def lasting(daily: Iterable[int]) -> int:
    """Returns how many equal reports count as a crowd for a person's threshold.

    `daily`: how many arrived on each day. No day counts for more than the day with the DAYS_MIN
    most, so a flood counts as an ordinary day. The result is 0 for fewer than DAYS_MIN days.
    """
    fullest = sorted(daily, reverse=True)
    if len(fullest) < DAYS_MIN:
        return 0
    most = fullest[DAYS_MIN - 1]
    return sum(min(count, most) for count in fullest)


def judged(size: int) -> str:
    """Returns a judgement in words of a crowd of `size`, the person included."""
    if size <= ALONE:
        return "stands out"
    if size < FEW:
        return "nearly stands out"
    return "one of a small group" if size < GROUP else "lost in the crowd"


def interval(sharing: int, total: int) -> tuple[float, float]:
    """Returns Wilson's 95 % interval (low, high) of a proportion, if `sharing` of `total` were
    seen."""
    if total <= 0:
        return 0.0, 1.0
    share, square = sharing / total, Z * Z
    middle = share + square / (2 * total)
    spread = Z * sqrt(share * (1 - share) / total + square / (4 * total * total))
    scale = 1 + square / total
    # At 0 and 1 the formula is exact, but its rounding is not.
    low = 0.0 if sharing == 0 else max(0.0, (middle - spread) / scale)
    high = 1.0 if sharing == total else min(1.0, (middle + spread) / scale)
    return low, high


def same(one: Wire | None, other: Wire | None) -> bool:
    """Returns whether two values are equal on the wire, where True is not equal to 1."""
    return type(one) is type(other) and one == other
