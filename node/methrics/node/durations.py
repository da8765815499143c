"""Reads and writes durations as a person types them: a number and its unit, such as `90s`."""

from __future__ import annotations

import re

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


def about(seconds: float) -> str:
    """Returns a duration for a person, rounded to whole days, hours, minutes or seconds, such as
    `2 h` or `400 days`."""
    seconds = abs(seconds)
    for least, size, name in ((2 * 86_400, 86_400, "days"), (5400, 3600, "h"), (90, 60, "min")):
        if seconds >= least:
            return f"{round(seconds / size)} {name}"
    return f"{round(seconds)} s"


def duration_text(seconds: float) -> str:
    """Returns the shortest text that `read_duration` reads as `seconds`: `2d` for 172800, `0.5s`
    for 0.5."""
    for unit, size in UNITS.items():
        if seconds and seconds % size == 0:
            return f"{seconds // size:.0f}{unit}"
    return f"{seconds:.6f}".rstrip("0").rstrip(".") + "s"
