"""Flags and install age, which count people without identifying them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from methrics.node.outbox.periods import DAY, day_number, month_number, week_number
from methrics.node.outbox.rows import Pace
from methrics.node.report.flags import SOURCES, derived, latest

NEVER = Pace(type="visit", last=0, next=0)
TIMES = st.integers(min_value=DAY, max_value=4_000_000_000)


def moment(*when: int) -> int:
    return int(datetime(*when, tzinfo=UTC).timestamp())


@given(TIMES)
def test_days_weeks_and_months_are_those_of_the_calendar(time: int) -> None:
    day = datetime.fromtimestamp(time, UTC)
    assert month_number(time) == day.year * 12 + day.month - 1
    monday = (day - timedelta(days=day.weekday())).date()
    assert week_number(time) == week_number(moment(monday.year, monday.month, monday.day))
    assert week_number(time) - 1 == week_number(max(0, time - 7 * DAY)) or time < 7 * DAY
    assert day_number(time) == (day.date() - datetime(1970, 1, 1, tzinfo=UTC).date()).days


@given(st.lists(TIMES, min_size=1, max_size=40), st.sampled_from(SOURCES[:3]))
def test_one_first_report_per_period_whatever_the_clock_does(times: list[int], source: str) -> None:
    number = {
        "first_of_day": day_number,
        "first_of_week": week_number,
        "first_of_month": month_number,
    }[source]
    pace, firsts = Pace(type="visit", last=0, next=0), []
    for time in times:
        if derived(source, pace=pace, time=time, install_week=0):
            firsts.append(number(time))
        pace = replace(pace, last=latest(pace.last, time))
    assert len(firsts) == len(set(firsts))
    assert max(map(number, times)) in firsts


def test_a_month_begins_in_the_middle_of_a_week() -> None:
    tuesday, wednesday = moment(2026, 6, 30), moment(2026, 7, 1)
    pace = Pace(type="visit", last=tuesday, next=0, first_day=tuesday)
    said = {name: derived(name, pace=pace, time=wednesday, install_week=0) for name in SOURCES}
    assert said["first_of_day"] is True
    assert said["first_of_week"] is False
    assert said["first_of_month"] is True
    assert said["milestone"] == "d1"


@pytest.mark.shows("MARS-9")
@pytest.mark.parametrize(
    ("weeks", "bucket"), [(0, 0), (1, 1), (3, 1), (4, 2), (23, 2), (24, 3), (500, 3)]
)
def test_install_age_falls_into_the_declared_buckets(weeks: int, bucket: int) -> None:
    from bisect import bisect_right

    from methrics.schema.catalog.fields import INSTALL_AGE_EDGES

    installed = moment(2026, 1, 1)
    age = derived(
        "install_age", pace=NEVER, time=installed + weeks * 7 * DAY, install_week=installed
    )
    assert age == weeks
    assert bisect_right(INSTALL_AGE_EDGES, age) == bucket


def test_install_age_is_never_negative() -> None:
    assert derived("install_age", pace=NEVER, time=5, install_week=moment(2026, 1, 1)) == 0


def test_unknown_source() -> None:
    with pytest.raises(ValueError, match="shoe_size"):
        derived("shoe_size", pace=NEVER, time=0, install_week=0)


def test_the_sources_are_those_of_the_schema() -> None:
    from methrics.schema.catalog.fields import SOURCES as DECLARED

    assert set(SOURCES) == set(DECLARED)
