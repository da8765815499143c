"""Answers at random: how often they are the truth, in whole numbers and in words

Randomised response: Warner 1965; of k values: Kairouz, Bonawitz and Ramage 2016. A field with
`randomize` is answered with the truth in some share of all draws, and otherwise with any of its
other values, each as often. The shares are whole numbers out of 2^64, so that what is promised,
that no answer is more than e^epsilon times as likely for one truth as for another, holds exactly
and not only up to a rounding error.
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Context, Decimal
from functools import cache

from methrics.schema.catalog.fields import Field

DRAWS = 1 << 64
"""Equally likely draws."""

# Forty digits more than the shares have; its own, so that no app's settings change what it finds.
_EXACT = Context(prec=60, rounding=ROUND_HALF_EVEN)


@cache
def shares(values: int, epsilon: int) -> tuple[int, int]:
    """Of `DRAWS`: how many answer the truth, and how many each one of the `values` - 1 others.

    `epsilon` in thousandths. truth + (values - 1) * other = DRAWS and, for epsilon as a number,
    other <= truth <= e^epsilon * other. Raises ValueError for fewer than two values or no epsilon.
    """
    if values < 2 or epsilon < 1:
        raise ValueError(f"no random answer of {values} values with epsilon {epsilon}/1000")
    bound = _EXACT.next_minus(_EXACT.exp(_EXACT.divide(Decimal(epsilon), Decimal(1000))))
    exact = _EXACT.divide(Decimal(DRAWS), _EXACT.add(bound, Decimal(values - 1)))
    other = int(exact) + 1  # up: never more than promised
    return DRAWS - (values - 1) * other, other


def chances(field: Field) -> tuple[float, float]:
    """How likely a field's answer is the truth, and how likely it is one particular other value.

    (1.0, 0.0) of a field that is not answered at random.
    """
    if field.randomize is None:
        return 1.0, 0.0
    truth, other = shares(field.domain, field.randomize)
    return truth / DRAWS, other / DRAWS


def at_random(field: Field) -> str:
    """What a random answer means for the person who gives it, in words; "" of other fields."""
    if field.randomize is None:
        return ""
    truth, _ = chances(field)
    others = field.domain - 1
    rest = "the other value" if others == 1 else f"one of the {others} other values, by lot"
    return (
        f"Answered at random on your machine: the truth in {percent(truth)} of cases, else {rest}. "
        f"No answer shifts the odds of what is true of you more than {odds(field.randomize)}-fold. "
        "The same truth always gets the same answer, so asking again tells no more."
    )


def truth_in(field: Field) -> str:
    """The same in a few words, beside a value that was answered: "(random: true in 35 %)"."""
    return "" if field.randomize is None else f"(random: true in {percent(chances(field)[0])})"


def odds(epsilon: int) -> str:
    """e^epsilon in words, rounded up: how far an answer can shift what is thought of a person."""
    factor = float(_EXACT.exp(_EXACT.divide(Decimal(epsilon), Decimal(1000))))
    digits = 1 if factor < 100 else 0
    scaled = factor * 10**digits
    return f"{(int(scaled) + 1) / 10**digits:,.{digits}f}"


def percent(chance: float) -> str:
    """A chance in per cent, never rounded to none or to all: "46 %", "over 99 %"."""
    if chance < 0.01:
        return "under 1 %"
    return "over 99 %" if chance > 0.99 else f"{100 * chance:.0f} %"
