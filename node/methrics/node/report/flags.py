"""Derives flags such as "first report of the day", which count people without identifiers (NEW-4).

All functions are pure: they need only the pace of the event type, the week of installation and the
time of the report. Days, ISO weeks and months are in UTC. Brave's usage ping counts people in the
same way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from methrics.node.outbox.periods import day_number, month_number, week_number

if TYPE_CHECKING:
    from methrics.node.outbox.rows import Pace

SOURCES = ("first_of_day", "first_of_week", "first_of_month", "install_age", "milestone")
"""The field sources whose values the node derives; an app can never set such a field."""


def derived(source: str, *, pace: Pace, time: int, install_week: int) -> bool | int | str:
    """Returns the raw value of a field with this `source`, for a report of `time` (Unix seconds).

    `pace`: that of the type before this report. `install_week`: any time within the ISO week of the
    installation. A flag is a bool. `install_age` is the number of ISO weeks since the week of the
    installation, 0 in that week (MARS-9: the field's buckets make it coarse). A `milestone` is `d`
    and the number of days since the first report, such as `d7`. Raises ValueError for an unknown
    source.
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
    # Only a later period counts as new. Otherwise a clock that is set back would count a person
    # twice.
    if source == "first_of_day":
        return day_number(time) > day_number(last)
    if source == "first_of_week":
        return week_number(time) > week_number(last)
    return month_number(time) > month_number(last)


def after_first(pace: Pace, time: int) -> int | None:
    """Returns the number of days from the type's first report to a report of `time` (Unix seconds);
    0 if that report is the first.

    Returns None if the first day is not stored: all milestones have passed, or the type had reports
    before it had milestones.
    """
    if pace.first_day is not None:
        return day_number(time) - day_number(pace.first_day)
    return None if pace.last or pace.first_week is not None else 0


def latest(last: int, time: int) -> int:
    """Returns the new `Pace.last` after a report of `time`, which is never earlier than the old
    one."""
    return max(last, time)
