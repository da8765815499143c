"""Flags such as 'first report of the day', by which people are counted without identifiers (NEW-4).

Pure functions of the pace of the event type, the week of installation and the time of the report.
Days, ISO weeks and months are in UTC. Brave's usage ping counts the same way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from methrics.node.outbox.rows import Pace
    from methrics.schema.catalog.event_type import EventType

DAY = 86_400

SOURCES = ("first_of_day", "first_of_week", "first_of_month", "install_age", "milestone")
"""Names of the field sources that a node fills in; an app can never set them."""


def derived(source: str, *, pace: Pace, time: int, install_week: int) -> bool | int | str:
    """The raw value of a field of this `source`, for a report of `time` (Unix seconds).

    `pace` is that of the type before this report. `install_week` is any time within the ISO week of
    the installation. Flags are bools. `install_age` is the number of whole weeks since that week, 0
    in the week itself (MARS-9: the field's buckets make it coarse). A `milestone` is `d` followed
    by whole days. Raises ValueError for an unknown source.
    """
    if source == "install_age":
        return max(0, week_number(time) - week_number(install_week))
    if source == "milestone":
        return f"d{after_first(pace, time)}"
    if source not in SOURCES:
        raise ValueError(f"unknown field source {source!r}")
    last = pace.last
    if not last:
        return True
    # If the clock is set back, a person must not be counted twice: only a later period is new.
    if source == "first_of_day":
        return day_number(time) > day_number(last)
    if source == "first_of_week":
        return week_number(time) > week_number(last)
    return month_number(time) > month_number(last)


def after_first(pace: Pace, time: int) -> int | None:
    """Whole days from the type's first report to one of `time`; 0 if that one is the first.

    None if the first day is not kept: all milestones have passed, or the type had reports before it
    had milestones.
    """
    if pace.first_day is not None:
        return day_number(time) - day_number(pace.first_day)
    return None if pace.last or pace.first_week is not None else 0


def period(event_type: EventType, time: int) -> int:
    """The number of the day, ISO week or month of `time`: the shortest period by which reports of
    the type are counted. 0 for a type of which only the latest state matters."""
    sources = event_type.sources
    if event_type.daily:
        return day_number(time)
    if "first_of_week" in sources:
        return week_number(time)
    return month_number(time) if "first_of_month" in sources else 0


def latest(last: int, time: int) -> int:
    """The new `Pace.last` after a report of `time`: never earlier than the old one."""
    return max(last, time)


def day_number(time: int) -> int:
    """Days since 1970-01-01 UTC."""
    return time // DAY


def week_number(time: int) -> int:
    """ISO weeks since that of 1970-01-01, a Thursday. Weeks begin on Monday."""
    return (time // DAY + 3) // 7


def month_number(time: int) -> int:
    """Months since year 0, by the proleptic Gregorian calendar (days-from-civil, reversed)."""
    days = time // DAY + 719_468
    era, of_era = divmod(days, 146_097)
    year_of_era = (of_era - of_era // 1460 + of_era // 36_524 - of_era // 146_096) // 365
    day_of_year = of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    shifted = (5 * day_of_year + 2) // 153
    month = shifted + 3 if shifted < 10 else shifted - 9
    year = year_of_era + era * 400 + (month <= 2)
    return year * 12 + month - 1
