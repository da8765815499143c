"""Compares metrics by Mixpanel's definitions with the views here, and explains differences."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from methrics.aggregate.mixpanel import theirs
from methrics.aggregate.mixpanel.activity import Plan
from methrics.aggregate.mixpanel.replay import IDLE
from methrics.aggregate.mixpanel.theirs import Numbers
from methrics.aggregate.read.dataset import Dataset
from methrics.aggregate.store.duck import Connection, literal, name
from methrics.schema.catalog.event_type import EventType
from methrics.schema.catalog.fields import Field
from methrics.schema.errors import StoreError

WEEK = 7 * 86_400

_SHARED = ("enum", "flag", "country", "language")


@dataclasses.dataclass(frozen=True, slots=True)
class Metric:
    """One metric on both sides, by label. `here` is None if Methrics cannot measure it. `why`
    explains how the definitions differ. `low` and `high` are bounds of the figures in `here`."""

    title: str
    theirs: Numbers
    here: Numbers | None
    why: str
    low: Numbers = dataclasses.field(default_factory=dict)
    high: Numbers = dataclasses.field(default_factory=dict)

    def same(self, label: str) -> bool:
        """Whether both sides agree: the numbers are equal, or Mixpanel's number is within the
        bounds of the bucket here."""
        if self.here is None:
            return False
        found = self.theirs.get(label, 0)
        if label in self.low or label in self.high:
            low = self.low.get(label, float("-inf"))
            return low <= found < self.high.get(label, float("inf"))
        return found == self.here.get(label, 0)

    def labels(self) -> list[str]:
        """The labels of both sides."""
        return sorted({*self.theirs, *(self.here or ())})


def compare(con: Connection, data: Dataset, how: Plan, zone: str) -> Iterator[Metric]:
    """Compare all metrics that the catalog can express. `data` is the result of `replay`, opened
    with a floor of 1."""
    days = "" if zone == "UTC" else f"Mixpanel's days are those of {zone}, here they are UTC"
    ids = "events without a distinct_id are left out here"
    for sign in how.signs:
        sources = {known.source for known in sign.fields}
        if "first_of_day" in sources:
            yield from _activity(con, data, sign, days)
        if sign.milestones is not None:
            yield from _retention(con, data, sign, days)
        yield from _shares(con, data, sign, days)
    for one in how.sequences:
        yield from _funnel(con, data, one)
    for one in how.catalog.types.values():
        if one.kind in ("event", "count"):
            yield from _events(con, data, one, "; ".join(filter(None, (days, ids))))


def _activity(con: Connection, data: Dataset, sign: EventType, days: str) -> Iterator[Metric]:
    dau = _here(data, sign, "dau", "day", "installs")
    wau = _here(data, sign, "wau", "week", "installs")
    mau = _here(data, sign, "mau", "month", "installs")
    yield Metric("DAU", theirs.active(con, "day"), dau, days)
    if wau is not None:
        why = "Mixpanel's last 7 days up to each day; here a calendar week, once"
        yield Metric("WAU, ISO weeks", theirs.active(con, "week"), wau, days)
        yield Metric("WAU, rolling", theirs.rolling(con, 7), None, why)
    if mau is not None:
        why = "Mixpanel's last 30 days up to each day; here a calendar month, once"
        yield Metric("MAU, calendar months", theirs.active(con, "month"), mau, days)
        yield Metric("MAU, rolling", theirs.rolling(con, 30), None, why)
    view = _view(data, sign, "new_and_returning")
    if view is not None:
        sql = (
            f"SELECT week || ' new', new_installs FROM {view} "
            f"UNION ALL SELECT week || ' returning', returning_installs FROM {view}"
        )
        both = {label: n for label, n in data.rows(sql) if n}
        yield Metric("New and returning, by week", theirs.new_and_returning(con), both, days)


def _retention(con: Connection, data: Dataset, sign: EventType, days: str) -> Iterator[Metric]:
    after = sign.milestones or ()
    here = _here(data, sign, "retention", "cohort || ' d' || after", "installs")
    same = theirs.retention(con, after, calendar=True)
    yield Metric("Retention, calendar days", same, here, days)
    why = "Mixpanel's default counts 24 hours from the first event; here days are UTC days"
    yield Metric(
        "Retention, 24-hour windows", theirs.retention(con, after, calendar=False), here, why
    )


def _shares(con: Connection, data: Dataset, sign: EventType, days: str) -> Iterator[Metric]:
    why = "Mixpanel counts a person with two values under both, here under the period's first"
    why = "; ".join(filter(None, (why, days)))
    for field in sign.fields:
        if field.source is not None or field.randomize is not None:
            continue
        if field.type in _SHARED:
            view, period = "platform_shares", "month"
        elif field.type == "version":
            view, period = "version_adoption", "week"
        else:
            continue
        here = _of_field(data, sign, view, field, f"{period} || ' ' || value", "installs")
        if here is not None:
            title = f"People by {field.name}, each {period}"
            yield Metric(title, theirs.shares(con, field.name, period), here, why)


def _funnel(con: Connection, data: Dataset, one: EventType) -> Iterator[Metric]:
    assert one.sequence is not None
    view = _view(data, one, "funnel")
    if view is None:
        return
    steps = one.sequence.steps
    here = _numbers(data, f"SELECT step, interactions FROM {view} WHERE field = ''")
    title = f"Funnel {one.name}"
    why = "here steps count in any order, as long as the report has room for them"
    same = theirs.funnel(con, steps, IDLE, people=False)
    yield Metric(f"{title}, totals", same, here, why)
    why = "Mixpanel counts each person once, within 7 days; here each interaction is one"
    each = theirs.funnel(con, steps, WEEK, people=True)
    yield Metric(f"{title}, uniques", each, here, why)


def _events(con: Connection, data: Dataset, one: EventType, why: str) -> Iterator[Metric]:
    counted = one.kind == "count"
    if counted:
        sql = "SELECT month, counted FROM {} WHERE field = ''"
        more = "; ".join(filter(None, (why, f"a report counts {one.max_count} at most")))
    else:
        sql, more = "SELECT day, events FROM {}", why
    view = _view(data, one, "counts" if counted else "events")
    if view is not None:
        period = "month" if counted else "day"
        same = theirs.totals(con, one.name, period)
        title = f"Events {one.name}, each {period}"
        yield Metric(title, same, _numbers(data, sql.format(view)), more)
    people = "without an identifier, one person who did it twice counts as two"
    yield Metric(f"Events {one.name}, uniques", theirs.uniques(con, one.name), None, people)
    what, shares = ("counted", "counts") if counted else ("reports", "report_shares")
    for field in one.fields:
        if field.randomize is not None:
            continue
        if field.type in _SHARED or field.type == "version":
            here = _of_field(data, one, shares, field, "month || ' ' || value", what)
            if here is not None:
                title = f"Events {one.name} by {field.name}, each month"
                yield Metric(title, theirs.breakdown(con, one.name, field.name), here, more)
        elif field.type == "bucket":
            yield from _quantiles(con, data, one, field)


def _quantiles(con: Connection, data: Dataset, one: EventType, field: Field) -> Iterator[Metric]:
    view = _view(data, one, "quantiles")
    if view is None:
        return
    sql = f"SELECT 'p' || quantile, estimate, low, high FROM {view} WHERE field = ?"
    rows = data.rows(sql, [field.name])
    edge = {label: low if low is not None else high for label, _, low, high in rows}
    yield Metric(
        f"{field.name} of {one.name}",
        theirs.percentiles(con, one.name, field.name),
        {label: edge[label] if found is None else found for label, found, _, _ in rows},
        "only the bucket is known, and the estimate lies within it",
        {label: low for label, _, low, _ in rows if low is not None},
        {label: high for label, _, _, high in rows if high is not None},
    )


def _here(data: Dataset, one: EventType, view: str, label: str, number: str) -> Numbers | None:
    found = _view(data, one, view)
    return None if found is None else _numbers(data, f"SELECT {label}, {number} FROM {found}")


def _of_field(
    data: Dataset, one: EventType, view: str, field: Field, label: str, number: str
) -> Numbers | None:
    where = f"WHERE field = {literal(field.name)}"
    found = _view(data, one, view)
    if found is None:
        return None
    return _numbers(data, f"SELECT {label}, {number} FROM {found} {where}")


def _numbers(data: Dataset, sql: str) -> Numbers:
    return {str(label): number for label, number in data.rows(sql)}


def _view(data: Dataset, one: EventType, view: str) -> str | None:
    """Return the view's quoted name; None if this type has no such view."""
    try:
        full = data.find_view(f"{one.name}_{view}")
    except StoreError:
        return None
    return name(*full.split(".")) if full else None
