"""The behaviour of the demo's people: the days of use, and how each sign-in goes. Pure."""

from __future__ import annotations

import random
from dataclasses import dataclass

DAY = 86_400

LANGUAGES = ("de", "en", "en", "es", "fr", "nl")
BROWSERS = ("chrome", "chrome", "edge", "firefox", "safari")
WIDTHS = (390, 820, 1366, 1920, 2560)

Script = tuple[tuple[str, int], ...]
"""Steps of one sign-in, each with the seconds that pass before it."""


def script(**steps: int) -> Script:
    """A script from step=seconds, in order."""
    return tuple(steps.items())


COMPLETE = script(shown=0, email_given=9, code_sent=1, code_given=35, signed_in=2)
SLOW = script(shown=0, email_given=40, code_sent=2, code_given=280, signed_in=3)
NO_CODE = script(shown=0, email_given=14, code_sent=1, cancelled=120)
SHY = script(shown=0, cancelled=6)


def scripts(variant: str) -> tuple[Script, ...]:
    """How sign-ins go, each as likely as the others. Variant b asks for the code in a friendlier
    way, so that fewer give up on it."""
    if variant == "b":
        return (COMPLETE, COMPLETE, SLOW, NO_CODE, SHY)
    return (COMPLETE, SLOW, NO_CODE, NO_CODE, SHY)


@dataclass(frozen=True, slots=True)
class Visit:
    """One day on which the app is used: when (unix seconds) and how the sign-in goes."""

    time: int
    signin: Script


@dataclass(frozen=True, slots=True)
class Person:
    """One installation of the app and its days of use."""

    number: int
    version: str
    variant: str
    language: str
    browser: str
    width: int
    visits: tuple[Visit, ...]


def person(number: int, *, today: int, days: int) -> Person:
    """Person `number`'s last `days` whole days before `today` (a midnight, unix seconds).

    The same number gives the same days for each `today`. Everyone uses the app on at least one day.
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
        language=rng.choice(LANGUAGES),
        browser=rng.choice(BROWSERS),
        width=rng.choice(WIDTHS),
        visits=visits,
    )
