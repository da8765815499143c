"""Measures metrics by Mixpanel's own definitions, in SQL over the table `did` (see `activity`).

People are distinguished by their distinct_id. Sources: docs.mixpanel.com, reports Insights, Funnels
and Retention. Each function returns label -> number for one metric.
"""

from __future__ import annotations

from collections.abc import Sequence

from methrics.aggregate.store.duck import Connection, literal

Numbers = dict[str, float]
"""A label, such as a day -> the metric's number."""

_DAY = 86_400
_PERIODS = {"day": "day", "week": "date_trunc('week', day)", "month": "date_trunc('month', day)"}
_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEF"
"""One letter for each step that a sequence may have."""


def _numbers(con: Connection, sql: str) -> Numbers:
    return {str(row[0]): row[1] for row in con.execute(sql).fetchall()}


def active(con: Connection, period: str) -> Numbers:
    """Count the people with any event, per calendar day, ISO week or month."""
    return _numbers(
        con,
        f"SELECT ({_PERIODS[period]})::DATE, count(DISTINCT person) FROM did "
        "WHERE person IS NOT NULL GROUP BY ALL",
    )


def rolling(con: Connection, days: int) -> Numbers:
    """Count the people with any event in the last `days` days up to each day: Mixpanel's WAU and
    MAU."""
    return _numbers(
        con,
        "WITH days AS (SELECT DISTINCT person, day FROM did WHERE person IS NOT NULL) "
        "SELECT ends.day, count(DISTINCT person) FROM (SELECT DISTINCT day FROM days) ends "
        f"JOIN days ON days.day <= ends.day AND days.day > ends.day - {days} GROUP BY ALL",
    )


def new_and_returning(con: Connection) -> Numbers:
    """Count the people of each ISO week: those with their first event in it, and the others."""
    return _numbers(
        con,
        "WITH weeks AS (SELECT DISTINCT person, date_trunc('week', day)::DATE AS week FROM did "
        "WHERE person IS NOT NULL), "
        "born AS (SELECT person, min(week) AS first FROM weeks GROUP BY person) "
        "SELECT week || CASE WHEN week = first THEN ' new' ELSE ' returning' END, count(*) "
        "FROM weeks JOIN born USING (person) GROUP BY ALL",
    )


def retention(con: Connection, days: Sequence[int], *, calendar: bool) -> Numbers:
    """Count the people who came back a number of days after their first event, by the ISO week of
    that event.

    With `calendar`, they came back on that calendar day. Otherwise (Mixpanel's default) they came
    back in the 24 hours that begin that many days after their first event.
    """
    again = (
        "bool_or(did.day = first + after)"
        if calendar
        else f"bool_or(time >= second + after * {_DAY} AND time < second + (after + 1) * {_DAY})"
    )
    born = "SELECT person, min(day) AS first, min(time) AS second FROM did WHERE person IS NOT NULL"
    afters = f"SELECT unnest({list(days)}) AS after"
    return _numbers(
        con,
        f"WITH born AS ({born} GROUP BY person), "
        "back AS (SELECT date_trunc('week', first)::DATE AS cohort, after, person, "
        f"{again} AS came FROM did JOIN born USING (person), ({afters}) GROUP BY ALL) "
        "SELECT cohort || ' d' || after, count(*) FROM back WHERE came GROUP BY ALL",
    )


def totals(con: Connection, name: str, period: str) -> Numbers:
    """Count the events of one type in each period."""
    return _numbers(
        con,
        f"SELECT ({_PERIODS[period]})::DATE, count(*) FROM did WHERE type = {literal(name)} "
        "GROUP BY ALL",
    )


def uniques(con: Connection, name: str) -> Numbers:
    """Count the people with an event of one type."""
    return _numbers(
        con, f"SELECT 'all days', count(DISTINCT person) FROM did WHERE type = {literal(name)}"
    )


def breakdown(con: Connection, name: str, field: str) -> Numbers:
    """Count the events of one type by the value of a property, for each month."""
    return _numbers(
        con,
        f"SELECT date_trunc('month', day)::DATE || ' ' || {_value('own', field)}, count(*) "
        f"FROM did WHERE type = {literal(name)} GROUP BY ALL",
    )


def shares(con: Connection, field: str, period: str) -> Numbers:
    """Count people by the value of a property, per month or week. A person with two values counts
    twice."""
    return _numbers(
        con,
        f"SELECT ({_PERIODS[period]})::DATE || ' ' || {_value('sign', field)}, "
        "count(DISTINCT person) FROM did WHERE person IS NOT NULL GROUP BY ALL",
    )


def percentiles(con: Connection, name: str, field: str) -> Numbers:
    """Compute the median and the 90th percentile of a property that is a number."""
    number = f"TRY_CAST(json_extract_string(raw, '$.{field}') AS DOUBLE)"
    return _numbers(
        con,
        "SELECT 'p' || q, quantile FROM (SELECT unnest([50, 90]) AS q, "
        f"unnest(quantile_disc({number}, [0.5, 0.9])) AS quantile FROM did "
        f"WHERE type = {literal(name)}) WHERE quantile IS NOT NULL",
    )


def funnel(con: Connection, steps: Sequence[str], seconds: float, *, people: bool) -> Numbers:
    """Count how many reached each step in order, within `seconds` after their first step.

    With `people`, each person counts once (Mixpanel's default, "uniques"). Otherwise each start
    counts ("totals"), and a start ends at the next one.
    """
    letters = dict(zip(steps, _LETTERS, strict=False))
    case = " ".join(f"WHEN {literal(step)} THEN '{letter}'" for step, letter in letters.items())
    inside = ", ".join(literal(step) for step in steps)
    ends = "" if people else " AND e.place < s.until"
    paths = (
        f"WITH e AS (SELECT person, time, CASE step {case} END AS letter, row_number() OVER "
        "(PARTITION BY person ORDER BY time, n) AS place FROM did "
        f"WHERE person IS NOT NULL AND step IN ({inside})), "
        "s AS (SELECT person, time, place, lead(place, 1, 9223372036854775807) OVER "
        "(PARTITION BY person ORDER BY place) AS until FROM e WHERE letter = 'a'), "
        "paths AS (SELECT s.person, s.place, string_agg(e.letter, '' ORDER BY e.place) AS path "
        "FROM s JOIN e ON e.person = s.person AND e.place >= s.place "
        f"AND e.time < s.time + {seconds}{ends} GROUP BY ALL) "
    )
    found: Numbers = {}
    for n, step in enumerate(steps, 1):
        reached = literal(".*".join(_LETTERS[:n]))
        what = "count(DISTINCT person)" if people else "count(*)"
        sql = f"SELECT {literal(step)}, {what} FROM paths WHERE regexp_matches(path, {reached})"
        found.update(_numbers(con, paths + sql))
    return found


def _value(column: str, field: str) -> str:
    return f"coalesce(json_extract_string({column}, '$.{field}'), '(not shared)')"
