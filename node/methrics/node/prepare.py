"""From what an app recorded to what leaves the machine: a pure function.

Waiting rows, catalogs, consent, the node's own state and the time go in; signed reports and the
state after them come out. Nothing else builds reports, so what this module leaves out never leaves
the machine: only types and fields that are consented to now, whatever was recorded before (METH-2,
METH-5); times rounded down to the type's resolution (KPI-3); a fresh key for each report (METH-4).
A catalog's `pseudonym` says how long reports *may* be told to belong together; we never need that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from methrics.node.clock import Rng
from methrics.node.flags import DAY, day_number, derived, latest
from methrics.node.identity import report_seed
from methrics.node.journal import Made, Pace, Pending
from methrics.node.pacing import next_due
from methrics.node.trail.meter import Generalise, Hold, Meter
from methrics.schema.catalog import Catalog
from methrics.schema.codec import decode
from methrics.schema.envelope import Kind, seal, split
from methrics.schema.errors import RefusedError
from methrics.schema.event_type import EventType
from methrics.schema.items import Report, encode_report
from methrics.schema.limits import REPORT_MAX
from methrics.schema.verdict import Reason

Allowed = Mapping[str, frozenset[str] | None]
"""The person's consent at this moment: event types by name and, for each, the names of its fields
(None: every field). A type that is absent is off."""

GLITCH = 31 * DAY
"""Seconds: a last report further ahead than this was made while the clock was wrong."""

HELD_AGAIN = 6 * 3600
"""Seconds until the meter is asked again about a type of which it held everything back."""


class Identity(NamedTuple):
    """What only this node knows: the seed of its keys (32 bytes), the first index not used yet, and
    a time in the ISO week of its installation. The shape of `Journal.identity`."""

    seed: bytes
    next_index: int
    install_week: int


class Held(NamedTuple):
    """A waiting row whose report the meter would not let go, what it would say, and why not."""

    row: Pending
    report: Report
    reason: str


@dataclass(slots=True)
class Prepared:
    """What to journal, in one transaction. `dropped` counts rows that make no report, by reason.
    `held` rows wait on: they are neither made nor consumed."""

    made: list[Made] = field(default_factory=list)
    consumed: list[Pending] = field(default_factory=list)
    paces: dict[str, Pace] = field(default_factory=dict)
    dropped: Counter[str] = field(default_factory=Counter)
    held: list[Held] = field(default_factory=list)


def prepare(
    pending: Iterable[Pending],
    *,
    catalogs: Mapping[int, Catalog],
    allowed: Allowed,
    identity: Identity,
    paces: Mapping[str, Pace],
    route: str,
    now: int,
    rng: Rng,
    meter: Meter | None = None,
) -> Prepared:
    """The reports to be made of `pending` at `now` (unix seconds).

    Rows that wait longer are in neither `made` nor `consumed`: those whose type is not allowed now,
    those that `meter` holds back (NEW-5), and a second heartbeat of one UTC day (MARS-5), whose
    pace then says when to look again.
    """
    done = Prepared()
    for row in pending:
        pace = done.paces.get(row.type) or paces.get(row.type)
        if pace is not None and pace.next > now:
            continue
        catalog = catalogs.get(row.catalog)
        event_type = catalog.types.get(row.type) if catalog else None
        if catalog is None or event_type is None:
            _drop(done, row, "unknown-type")
            continue
        time = row.time - row.time % event_type.resolution
        last = _credible(pace.last if pace else None, now)
        if row.type not in allowed:
            continue
        late = now - time > event_type.lateness
        if not late and _said_today(event_type, time, last):
            tomorrow = (now // DAY + 1) * DAY + int(rng() * event_type.resolution)
            done.paces[row.type] = Pace(row.type, last or 0, tomorrow)
            continue
        report, why = _report(row, event_type, catalog.id, time, last, allowed, identity, now)
        if report is None:
            _drop(done, row, why)
            continue
        ruling = meter(event_type, report) if meter is not None else None
        if isinstance(ruling, Hold):
            done.held.append(Held(row, report, ruling.reason))
            continue
        if isinstance(ruling, Generalise):
            report = replace(report, values=ruling.values)
        index = identity.next_index + len(done.made)
        raw = seal(
            Kind.REPORT,
            encode_report(report),
            report_seed(identity.seed, index),
            work_bits=event_type.work,
        )
        done.made.append(
            Made(index, split(raw).id, raw, row.catalog, row.type, time, now, now, route)
        )
        done.consumed.append(row)
        then = next_due(event_type.release, now, rng, last=now)
        done.paces[row.type] = Pace(row.type, latest(last, time), then)
    _look_again(done, paces, now)
    return done


def _look_again(done: Prepared, paces: Mapping[str, Pace], now: int) -> None:
    """Types of which everything was held wait a while, or they would be due all the time."""
    for name in {held.row.type for held in done.held} - done.paces.keys():
        pace = paces.get(name)
        last = _credible(pace.last if pace else None, now)
        done.paces[name] = Pace(name, last or 0, now + HELD_AGAIN)


def _drop(done: Prepared, row: Pending, why: str) -> None:
    done.consumed.append(row)
    done.dropped[why] += 1


def _credible(last: int | None, now: int) -> int | None:
    """The time of the last report, forgotten if it lies so far ahead that the clock was wrong:
    otherwise one bad battery would silence a machine for years."""
    return None if last is None or last > now + GLITCH else last


def _said_today(event_type: EventType, time: int, last: int | None) -> bool:
    """Whether a state with a first-of-day flag, which is a daily sign of life, is told already."""
    daily = event_type.kind == "state" and any(
        one.source == "first_of_day" for one in event_type.fields
    )
    return daily and last is not None and day_number(time) <= day_number(last)


def _report(
    row: Pending,
    event_type: EventType,
    catalog_id: bytes,
    time: int,
    last: int | None,
    allowed: Allowed,
    identity: Identity,
    now: int,
) -> tuple[Report | None, str]:
    """The report of one row, or None and why there is none."""
    if now >= event_type.expires:
        return None, Reason.EXPIRED
    if now - time > event_type.lateness:
        return None, Reason.LATE
    try:
        values = _values(row, event_type, allowed[row.type], time, last, identity.install_week)
        sequence = _steps(row.steps)
    except (RefusedError, ValueError):
        return None, "damaged"
    count = None
    if event_type.max_count is not None:
        count = min(row.total or 0, event_type.max_count)
    reason = event_type.check_report(values, count, row.one_in, sequence, time)
    if reason is not Reason.OK:
        return None, reason
    report = Report(catalog_id, row.type, time, values, count, row.one_in, sequence)
    return report, Reason.OK


def _values(
    row: Pending,
    event_type: EventType,
    fields: frozenset[str] | None,
    time: int,
    last: int | None,
    install_week: int,
) -> dict[str, object]:
    """The consented fields: as recorded, or filled in here where the catalog names a source."""
    recorded = decode(row.fields, limit=REPORT_MAX)
    if not isinstance(recorded, dict):
        raise ValueError("the recorded values are not a map")
    values: dict[str, object] = {}
    for one in event_type.fields:
        if fields is not None and one.name not in fields:
            continue
        if one.source is not None:
            values[one.name] = one.coerce(
                derived(one.source, last=last, time=time, install_week=install_week)
            )
        elif one.name in recorded:
            values[one.name] = recorded[one.name]
    return values


def _steps(steps: bytes | None) -> tuple[tuple[str, int], ...] | None:
    if steps is None:
        return None
    pairs = decode(steps, limit=REPORT_MAX)
    if not isinstance(pairs, list):
        raise ValueError("the recorded steps are not a list")
    found = []
    for pair in pairs:
        if not isinstance(pair, list) or len(pair) != 2:
            raise ValueError("a recorded step is a name and an offset")
        name, offset = pair
        if not isinstance(name, str) or not isinstance(offset, int):
            raise ValueError("a recorded step is a name and an offset")
        found.append((name, offset))
    return tuple(found)
