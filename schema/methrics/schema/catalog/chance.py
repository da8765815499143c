"""Randomized response: how often an answer is true, in whole numbers and in words.

Source: Warner 1965; for k values Kairouz, Bonawitz and Ramage 2016. A field with `randomize` gives
the true value in some share of all draws, and each other value equally often in the rest. The
shares are whole numbers out of 2^64, so this holds exactly, without a rounding error: no answer is
more than e^epsilon times as likely for one true value as for another.
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Context, Decimal
from functools import cache

from methrics.schema.catalog.fields import Field

DRAWS = 1 << 64
"""Equally likely draws."""

# Forty digits more than the shares have. A context of our own, so an app's settings cannot change
# the result.
_EXACT = Context(prec=60, rounding=ROUND_HALF_EVEN)


@cache
def shares(values: int, epsilon: int) -> tuple[int, int]:
    """How many of `DRAWS` give the true value, and how many each of the `values` - 1 others.

    `epsilon` in thousandths. truth + (values - 1) * other = DRAWS and, for epsilon as a number,
    other <= truth <= e^epsilon * other. Raises ValueError for fewer than two values or no epsilon.
    """
    if values < 2 or epsilon < 1:
        raise ValueError(f"no randomized response with {values} values and epsilon {epsilon}/1000")
    bound = _EXACT.next_minus(_EXACT.exp(_EXACT.divide(Decimal(epsilon), Decimal(1000))))
    exact = _EXACT.divide(Decimal(DRAWS), _EXACT.add(bound, Decimal(values - 1)))
    other = int(exact) + 1  # rounded up, so the ratio never exceeds e^epsilon
    return DRAWS - (values - 1) * other, other


def chances(field: Field) -> tuple[float, float]:
    """The probabilities that a field's answer is the true value, or one particular other value.

    (1.0, 0.0) for a field without randomized response.
    """
    if field.randomize is None:
        return 1.0, 0.0
    truth, other = shares(field.domain, field.randomize)
    return truth / DRAWS, other / DRAWS


def randomized_words(field: Field) -> str:
    """Explains a field's randomized response to the person asked; "" for other fields."""
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
    """The same in a few words, to print after a value: "(randomized: true in 35 %)"."""
    return "" if field.randomize is None else f"(randomized: true in {percent(chances(field)[0])})"


def odds(epsilon: int) -> str:
    """e^epsilon as text, rounded up: the factor by which an answer can change the odds."""
    factor = float(_EXACT.exp(_EXACT.divide(Decimal(epsilon), Decimal(1000))))
    digits = 1 if factor < 100 else 0
    scaled = factor * 10**digits
    return f"{(int(scaled) + 1) / 10**digits:,.{digits}f}"


def percent(chance: float) -> str:
    """A probability as a percentage, never rounded to 0 % or 100 %: "46 %", "over 99 %"."""
    if chance < 0.01:
        return "under 1 %"
    return "over 99 %" if chance > 0.99 else f"{100 * chance:.0f} %"
