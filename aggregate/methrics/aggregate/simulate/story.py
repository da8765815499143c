"""Invents the behaviour of the demo's people: the days of use, and each sign-in. Pure."""

from __future__ import annotations

import random
from dataclasses import dataclass

DAY = 86_400

Script = tuple[tuple[str, int], ...]
"""Steps of one sign-in, each with the seconds that pass before it."""


def script(**steps: int) -> Script:
    """Write a script as `step=seconds`, in order."""
    return tuple(steps.items())


COMPLETE = script(shown=0, email_given=9, code_sent=1, code_given=35, signed_in=2)
SLOW = script(shown=0, email_given=40, code_sent=2, code_given=280, signed_in=3)
NO_CODE = script(shown=0, email_given=14, code_sent=1, cancelled=120)
SHY = script(shown=0, cancelled=6)


def scripts(variant: str) -> tuple[Script, ...]:
    """Return the possible scripts of a sign-in, all equally likely. Variant b asks for the code in
    a friendlier way, so fewer people give up at that step."""
    if variant == "b":
        return (COMPLETE, COMPLETE, SLOW, NO_CODE, SHY)
    return (COMPLETE, SLOW, NO_CODE, NO_CODE, SHY)


@dataclass(frozen=True, slots=True)
class Visit:
    """One day of use: its time (Unix seconds) and the script of its sign-in."""

    time: int
    signin: Script


@dataclass(frozen=True, slots=True)
class Person:
    """One installation of the app and its days of use."""

    number: int
    version: str
    variant: str
    visits: tuple[Visit, ...]


def person(number: int, *, today: int, days: int) -> Person:
    """Invent the last `days` whole days of a person before `today` (a midnight in Unix seconds).

    The same `number` gives the same days for each `today`. Every person uses the app on at least
    one day.
    """
    rng = random.Random(number)
    variant = "ab"[number % 2]
    chosen = [day for day in range(days) if rng.random() < 0.8] or [days - 1]
    visits = tuple(
        Visit(
            today - (days - day) * DAY + rng.randrange(6, 21) * 3600, rng.choice(scripts(variant))
        )
        for day in chosen
    )
    return Person(
        number,
        version=rng.choice(("1.4", "1.5", "1.5", "1.6")),
        variant=variant,
        visits=visits,
    )
