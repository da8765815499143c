"""Numbers the days, ISO weeks and months of times, and the period of a state (pure, UTC)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from methrics.schema.catalog.event_type import EventType

DAY = 86_400
WEEK = 7 * DAY
EPOCH_WEEK_SHIFT = 3 * DAY
"""1970-01-01 was a Thursday; ISO weeks begin on Monday."""


def period(event_type: EventType, time: int) -> int:
    """Returns the number of the day, ISO week or month that contains `time` (Unix seconds),
    whichever is the shortest period by which reports of the type count people. Returns 0 for a type
    that does not count people, because then only its latest state matters."""
    sources = event_type.sources
    if event_type.daily:
        return day_number(time)
    if "first_of_week" in sources:
        return week_number(time)
    return month_number(time) if "first_of_month" in sources else 0


def day_number(time: int) -> int:
    """Returns the number of days from 1970-01-01 to `time` (Unix seconds), in UTC."""
    return time // DAY


def week_number(time: int) -> int:
    """Returns the number of ISO weeks, which begin on Monday, from the week of 1970-01-01 (a
    Thursday) to the week of `time` (Unix seconds)."""
    return (time // DAY + 3) // 7


def month_number(time: int) -> int:
    """Returns the number of months from year 0 to `time` (Unix seconds), by the proleptic Gregorian
    calendar (the days-from-civil algorithm, reversed)."""
    days = time // DAY + 719_468
    era, of_era = divmod(days, 146_097)
    year_of_era = (of_era - of_era // 1460 + of_era // 36_524 - of_era // 146_096) // 365
    day_of_year = of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    shifted = (5 * day_of_year + 2) // 153
    month = shifted + 3 if shifted < 10 else shifted - 9
    year = year_of_era + era * 400 + (month <= 2)
    return year * 12 + month - 1


def week_start(now: int) -> int:
    """Returns the start of the ISO week of `now`: Monday 00:00 UTC, in Unix seconds."""
    return now - (now + EPOCH_WEEK_SHIFT) % WEEK
