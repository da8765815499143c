"""Where the simulated people live: countries, their languages, and local time with its changes.

The rules stand here, and not in the machine's time zone files, so that the same seed gives the same
bytes everywhere, whatever parliaments decide next.
"""

from __future__ import annotations

import datetime
import functools
from typing import NamedTuple

HOUR = 3600
DAY = 86_400


class Zone(NamedTuple):
    """A country, how many of a hundred people live there, a language, hours ahead of UTC in
    winter, and by which rule clocks change (None: they do not)."""

    country: str
    weight: int
    language: str
    hours: float
    rule: str | None

    @property
    def name(self) -> str:
        """Short and readable, as in `DE+1eu`."""
        return f"{self.country}{self.hours:+g}{self.rule or ''}"

    def ahead(self, time: int) -> int:
        """Seconds by which local time is ahead of UTC at `time` (unix seconds)."""
        standard = int(self.hours * HOUR)
        if self.rule is None:
            return standard
        return standard + (HOUR if _summer(self.rule, standard, time) else 0)

    def utc(self, day: int, seconds: int) -> int:
        """The unix time of `seconds` after midnight on local day `day` (days since 1970-01-01).

        A time that a clock change skips is taken by the offset before it.
        """
        local = day * DAY + seconds
        return local - self.ahead(local - self.ahead(local - int(self.hours * HOUR)))


ZONES = (
    Zone("US", 16, "en", -5, "us"),
    Zone("US", 10, "en", -8, "us"),
    Zone("DE", 15, "de", 1, "eu"),
    Zone("FR", 9, "fr", 1, "eu"),
    Zone("GB", 8, "en", 0, "eu"),
    Zone("PL", 5, "pl", 1, "eu"),
    Zone("ES", 5, "es", 1, "eu"),
    Zone("UA", 4, "uk", 2, "eu"),
    Zone("IN", 10, "hi", 5.5, None),
    Zone("JP", 6, "ja", 9, None),
    Zone("BR", 6, "pt", -3, None),
    Zone("AU", 4, "en", 10, "au"),
    Zone("TR", 2, "tr", 3, None),
)
"""Two zones of one country, half hours, and three rules for the change of clocks."""


def _summer(rule: str, standard: int, time: int) -> bool:
    year = datetime.datetime.fromtimestamp(time, datetime.UTC).year
    if rule == "eu":  # last Sundays of March and October, 01:00 UTC
        return _sunday(year, 3, 5) + HOUR <= time < _sunday(year, 10, 5) + HOUR
    if rule == "us":  # second Sunday of March, first of November, 02:00 local time
        begin = _sunday(year, 3, 2) + 2 * HOUR - standard
        return begin <= time < _sunday(year, 11, 1) + HOUR - standard
    # au: from the first Sunday of October to the first of April, 02:00 standard time
    change = 2 * HOUR - standard
    return not _sunday(year, 4, 1) + change <= time < _sunday(year, 10, 1) + change


@functools.cache
def _sunday(year: int, month: int, which: int) -> int:
    """Midnight (as if UTC) of the `which`-th Sunday of a month; the last for 5."""
    first = datetime.date(year, month, 1)
    day = 1 + (6 - first.weekday()) % 7 + 7 * (which - 1)
    while day > 31:
        day -= 7
    found: int = first.toordinal() - datetime.date(1970, 1, 1).toordinal() + day - 1
    return found * DAY
