"""What a node says about time so that a network without identifiers can count people (NEW-4).

Pure: from what is kept of a type's reports, the week of installation and the time of this report.
Days, ISO weeks and months are UTC. Brave's usage ping counts this way.
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
    """The raw value of a field of this `source`, for a report of `time`.

    `pace` tells of the reports of the type before it, `install_week` is any time within the ISO
    week of installation. The flags are bools; `install_age` is whole weeks since then, 0 in the
    first (MARS-9: the field's buckets make it rough); a `milestone` is `d` and whole days.
    Raises ValueError for an unknown source.
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
    # A clock set back must not count a person twice: only a later period is a new one.
    if source == "first_of_day":
        return day_number(time) > day_number(last)
    if source == "first_of_week":
        return week_number(time) > week_number(last)
    return month_number(time) > month_number(last)


def after_first(pace: Pace, time: int) -> int | None:
    """Whole days from the type's first report to one of `time`; 0 if that is the first.

    None if nobody knows any more: all milestones have passed, or there were reports before the
    type had milestones.
    """
    if pace.first_day is not None:
        return day_number(time) - day_number(pace.first_day)
    return None if pace.last or pace.first_week is not None else 0


def period(event_type: EventType, time: int) -> int:
    """Which day, ISO week or month `time` lies in, whatever the shortest is that the type's reports
    are counted by; 0 for a type of which only the latest state matters."""
    sources = event_type.sources
    if event_type.daily:
        return day_number(time)
    if "first_of_week" in sources:
        return week_number(time)
    return month_number(time) if "first_of_month" in sources else 0


def latest(last: int, time: int) -> int:
    """What to keep as the new `last`: never an earlier time than before."""
    return max(last, time)


def day_number(time: int) -> int:
    """Days since 1970-01-01 UTC."""
    return time // DAY


def week_number(time: int) -> int:
    """ISO weeks (Monday first) since the one that holds 1970-01-01, a Thursday."""
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
