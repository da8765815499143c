"""What a node says about time so that a network without identifiers can count people (NEW-4).

Pure: from the time of the last report of a type, the week of installation and the time of this
report. Days, ISO weeks and months are UTC. Brave's usage ping counts this way.
"""

from __future__ import annotations

DAY = 86_400

SOURCES = ("first_of_day", "first_of_week", "first_of_month", "install_age", "milestone")
"""Names of the field sources that a node fills in; an app can never set them."""


def derived(
    source: str, *, last: int | None, time: int, install_week: int, first: int | None = None
) -> bool | int | str:
    """The raw value of a field of this `source`, for a report of `time`.

    `last` is the time of the last report of the same type (None: there was none), `install_week`
    any time within the ISO week of installation, `first` any time on the day of the first report of
    the type (None: this is it). The flags are bools; `install_age` is whole weeks since then, 0 in
    the first (MARS-9: the field's buckets make it rough); a `milestone` is `d` and whole days.
    Raises ValueError for an unknown source.
    """
    if source == "install_age":
        return max(0, week_number(time) - week_number(install_week))
    if source == "milestone":
        return f"d{0 if first is None else day_number(time) - day_number(first)}"
    if source not in SOURCES:
        raise ValueError(f"unknown field source {source!r}")
    if last is None:
        return True
    # A clock set back must not count a person twice: only a later period is a new one.
    if source == "first_of_day":
        return day_number(time) > day_number(last)
    if source == "first_of_week":
        return week_number(time) > week_number(last)
    return month_number(time) > month_number(last)


def latest(last: int | None, time: int) -> int:
    """What to keep as the new `last`: never an earlier time than before."""
    return time if last is None else max(last, time)


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
