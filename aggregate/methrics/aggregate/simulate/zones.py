"""Describes the countries of the simulated people: languages, and local time with clock changes.

The rules are written here and not read from the machine's time zone files, so that the same seed
gives the same bytes on every machine.
"""

from __future__ import annotations

import datetime
import functools
from dataclasses import dataclass

HOUR = 3600
DAY = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Zone:
    """A part of a country with one time zone.

    `weight`: of a hundred people, so many live there. `hours`: winter time minus UTC. `rule`: the
    rule for clock changes, None if clocks do not change.
    """

    country: str
    weight: int
    language: str
    hours: float
    rule: str | None

    @property
    def name(self) -> str:
        """A short name, such as `DE+1eu`."""
        return f"{self.country}{self.hours:+g}{self.rule or ''}"

    def ahead(self, time: int) -> int:
        """Return the seconds by which local time is ahead of UTC at `time` (Unix seconds)."""
        standard = int(self.hours * HOUR)
        if self.rule is None:
            return standard
        return standard + (HOUR if _summer(self.rule, standard, time) else 0)

    def utc(self, day: int, seconds: int) -> int:
        """Return the Unix time of `seconds` after midnight on local day `day` (since 1970-01-01).

        If a clock change skips that time, the offset before the change is used.
        """
        local = day * DAY + seconds
        return local - self.ahead(local - self.ahead(local - int(self.hours * HOUR)))


ZONES = (
    Zone(country="US", weight=16, language="en", hours=-5, rule="us"),
    Zone(country="US", weight=10, language="en", hours=-8, rule="us"),
    Zone(country="DE", weight=15, language="de", hours=1, rule="eu"),
    Zone(country="FR", weight=9, language="fr", hours=1, rule="eu"),
    Zone(country="GB", weight=8, language="en", hours=0, rule="eu"),
    Zone(country="PL", weight=5, language="pl", hours=1, rule="eu"),
    Zone(country="ES", weight=5, language="es", hours=1, rule="eu"),
    Zone(country="UA", weight=4, language="uk", hours=2, rule="eu"),
    Zone(country="IN", weight=10, language="hi", hours=5.5, rule=None),
    Zone(country="JP", weight=6, language="ja", hours=9, rule=None),
    Zone(country="BR", weight=6, language="pt", hours=-3, rule=None),
    Zone(country="AU", weight=4, language="en", hours=10, rule="au"),
    Zone(country="TR", weight=2, language="tr", hours=3, rule=None),
)
"""The zones of the simulated people. They include two zones of one country, an offset of half an
hour, and three rules for clock changes."""


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
    """Return the midnight (as if in UTC) of the `which`-th Sunday of a month; 5 is the last one."""
    first = datetime.date(year, month, 1)
    day = 1 + (6 - first.weekday()) % 7 + 7 * (which - 1)
    while day > 31:
        day -= 7
    found: int = first.toordinal() - datetime.date(1970, 1, 1).toordinal() + day - 1
    return found * DAY
