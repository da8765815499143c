"""Reads durations on the command line: a number and its unit, such as `90s`, `10m` or `1w`."""

from __future__ import annotations

import re

import click

UNITS = {"w": 604_800, "d": 86_400, "h": 3600, "m": 60, "s": 1}
"""Seconds of each unit, largest first."""

EXAMPLES = "such as 90s, 10m, 2h, 3d or 1w"

_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)([smhdw])", re.ASCII)
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?", re.ASCII)


def read_duration(text: str) -> float:
    """Returns the seconds of a duration such as `2h` or `0.5s`.

    Raises ValueError with a sentence for the person. A number without a unit is refused, because
    seconds and days are easily confused.
    """
    found = _DURATION.fullmatch(text.strip())
    if found:
        return float(found[1]) * UNITS[found[2]]
    if _NUMBER.fullmatch(text.strip()):
        raise ValueError(f"{text!r} has no unit: {text.strip()}s is seconds, {text.strip()}d days")
    raise ValueError(f"{text!r} is not a duration, {EXAMPLES}")


def duration_text(seconds: float) -> str:
    """Returns the shortest text that `read_duration` reads as `seconds`: `2d` for 172800, `0.5s`
    for 0.5."""
    for unit, size in UNITS.items():
        if seconds and seconds % size == 0:
            return f"{seconds // size:.0f}{unit}"
    return f"{seconds:.6f}".rstrip("0").rstrip(".") + "s"


class Duration(click.ParamType[float]):
    """The type of an option whose value is typed as a duration of `least` to `most` seconds."""

    name = "duration"

    def __init__(self, *, least: float = 0.0, most: float) -> None:
        self._least = least
        self._most = most

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Returns the seconds. Fails with one sentence if the value is not such a duration."""
        try:
            seconds = read_duration(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if not self._least <= seconds <= self._most:
            least, most = duration_text(self._least), duration_text(self._most)
            self.fail(f"{value!r} is not between {least} and {most}", param, ctx)
        return seconds
