"""Compute how often a randomized response is the true value, and describe it in words.

Source: Warner 1965; for k values Kairouz, Bonawitz and Ramage 2016. For a field with `randomize`,
some of 2^64 equally likely draws give the true value. The other draws give each other value equally
often. Because these are whole numbers, there is no rounding error: no answer is more than e^epsilon
times as likely for one true value as for another.
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Context, Decimal
from functools import cache

from methrics.schema.catalog.fields import Field

DRAWS = 1 << 64
"""The number of equally likely draws."""

# The precision is forty digits more than a share has. With a context of its own, the result does
# not depend on the decimal settings of the app.
_EXACT = Context(prec=60, rounding=ROUND_HALF_EVEN)


@cache
def shares(values: int, epsilon: int) -> tuple[int, int]:
    """Return how many of the `DRAWS` give the true value, and how many give each other value.

    `values` is the number of possible values, `epsilon` is in thousandths. truth + (values - 1) *
    other = DRAWS and, for epsilon as a number, other <= truth <= e^epsilon * other. Raises
    ValueError for fewer than two values or no epsilon.
    """
    if values < 2 or epsilon < 1:
        raise ValueError(f"no randomized response with {values} values and epsilon {epsilon}/1000")
    bound = _EXACT.next_minus(_EXACT.exp(_EXACT.divide(Decimal(epsilon), Decimal(1000))))
    exact = _EXACT.divide(Decimal(DRAWS), _EXACT.add(bound, Decimal(values - 1)))
    other = int(exact) + 1  # rounded up, so the ratio never exceeds e^epsilon
    return DRAWS - (values - 1) * other, other


def chances(field: Field) -> tuple[float, float]:
    """Return the probability of the true value, and the probability of each other value.

    Returns (1.0, 0.0) for a field without randomized response.
    """
    if field.randomize is None:
        return 1.0, 0.0
    truth, other = shares(field.domain, field.randomize)
    return truth / DRAWS, other / DRAWS


def randomized_words(field: Field) -> str:
    """Explain a field's randomized response to the person asked. Returns "" for other fields."""
    if field.randomize is None:
        return ""
    truth, _ = chances(field)
    others = field.domain - 1
    rest = "the other value" if others == 1 else f"one of the {others} other values at random"
    return (
        f"Uses randomized response: your machine reports the true value in {percent(truth)} of "
        f"cases, and otherwise {rest}. An answer changes the odds between two "
        f"possible true values by a factor of at most {odds(field.randomize)}. The same true value "
        "always gets the same answer, so repeated reports reveal no more."
    )


def truth_in(field: Field) -> str:
    """Describe randomized response in a few words, to print after a value: "(randomized: true in 35
    %)"."""
    return "" if field.randomize is None else f"(randomized: true in {percent(chances(field)[0])})"


def odds(epsilon: int) -> str:
    """Return e^epsilon as text, rounded up: the most by which an answer can change the odds."""
    factor = float(_EXACT.exp(_EXACT.divide(Decimal(epsilon), Decimal(1000))))
    digits = 1 if factor < 100 else 0
    scaled = factor * 10**digits
    return f"{(int(scaled) + 1) / 10**digits:,.{digits}f}"


def percent(chance: float) -> str:
    """Write a probability as a percentage that is never 0 % or 100 %: "46 %", "over 99 %"."""
    if chance < 0.01:
        return "under 1 %"
    return "over 99 %" if chance > 0.99 else f"{100 * chance:.0f} %"
