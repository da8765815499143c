"""Makes signed reports of the rows that an app recorded (pure).

`prepare` gets pending rows, catalogs, consent, the node's state and the time. It returns signed
reports and the new state. No other module builds reports, so these rules hold for every report that
leaves the machine: its type and fields have consent now, even if more was recorded before (METH-2,
METH-5); its time is rounded down to the type's resolution (KPI-3); its key is fresh (METH-4). A
catalog's `pseudonym` would allow a key to be used longer; this node never does that.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from operator import attrgetter

from methrics.node.clock import Entropy, Rng
from methrics.node.outbox.periods import DAY, day_number, week_start
from methrics.node.outbox.rows import (
    CLOCK_SLACK,
    PACE_MAX,
    Identity,
    Pace,
    Pending,
    Receipt,
)
from methrics.node.report.flags import after_first, derived, latest
from methrics.node.report.identity import SALT_SIZE, report_seed
from methrics.node.report.pacing import next_due
from methrics.node.report.randomize import respond
from methrics.node.report.threshold.meter import Generalise, Meter, Withhold
from methrics.schema.catalog.catalog import Catalog
from methrics.schema.catalog.event_type import EventType
from methrics.schema.errors import RefusedError
from methrics.schema.wire.codec import decode
from methrics.schema.wire.envelope import Kind, sign_item
from methrics.schema.wire.items import Report, encode_report
from methrics.schema.wire.limits import REPORT_MAX
from methrics.schema.wire.verdict import Reason

Allowed = Mapping[str, frozenset[str] | None]
"""The person's consent now: for each allowed event type, by name, the names of the allowed fields
(None: every field). A type that is absent is not allowed."""

GLITCH = 31 * DAY
"""If the stored time of the last report is more than this many seconds in the future, the clock was
wrong when it was stored."""

WITHHELD_AGAIN = 6 * 3600
"""If the meter withheld every row of a type, seconds until the publisher asks it about that type
again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Withheld:
    """A pending row whose report the meter withheld. `report`: the report that was not signed.
    `reason`: the cause, in words."""

    row: Pending
    report: Report
    reason: str


def _no_counts() -> dict[str, int]:
    return defaultdict(int)  # made for each pass, and a Counter takes ten times as long


@dataclass(slots=True)
class Prepared:
    """The changes to journal in one transaction.

    `made`: the new reports. `consumed`: the rows to delete. `paces`: the new paces, by type.
    `dropped`: how many rows were lost, by reason. `quiet`: how many rows need no report, by reason:
    their day was reported before, or it is not a milestone. `withheld`: rows that stay pending.
    """

    made: list[Receipt] = field(default_factory=list)
    consumed: list[Pending] = field(default_factory=list)
    paces: dict[str, Pace] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=_no_counts)
    quiet: dict[str, int] = field(default_factory=_no_counts)
    withheld: list[Withheld] = field(default_factory=list)


SAID, NO_MILESTONE = "said-already", "no-milestone"
"""Reasons in `Prepared.quiet`."""
OUT_OF_ORDER = "out-of-order"
"""Reason in `Prepared.dropped`: a later day was reported before, because the clock was set back."""


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
    entropy: Entropy,
    meter: Meter | None = None,
) -> Prepared:
    """Makes the reports of `pending` rows that may be made at `now` (Unix seconds).

    Reports are made in the order of the rows' own times, so that the flags of each report are right
    for its day, even if it is made late. A row stays pending, in neither `made` nor `consumed`, if
    its type is not allowed now, if `meter` withholds its report (NEW-5), or if the next report of
    its type is due later. `rng` draws the times of later reports; `entropy` draws the salts of the
    keys.
    """
    done = Prepared()
    for row in sorted(pending, key=attrgetter("time")):
        known = done.paces.get(row.type) or paces.get(row.type)
        if known is not None:
            known = credible(known, now)
        if known is not None and known.next > now:
            continue
        catalog = catalogs.get(row.catalog)
        event_type = catalog.types.get(row.type) if catalog else None
        if catalog is None or event_type is None:
            _drop(done, row, "unknown-type")
            continue
        if row.type not in allowed:
            continue
        time = row.time - row.time % event_type.resolution
        pace = known if known is not None else Pace(type=row.type)
        if event_type.daily and _nothing_to_say(done, row, event_type, time, pace):
            continue
        report, why = _report(row, event_type, catalog, time, pace, allowed, identity, now)
        if report is None:
            _drop(done, row, why)
            continue
        ruling = meter(event_type, report) if meter is not None else None
        if isinstance(ruling, Withhold):
            done.withheld.append(Withheld(row=row, report=report, reason=ruling.reason))
            continue
        if isinstance(ruling, Generalise):
            report = replace(report, values=ruling.values)
        index = identity.next_index + len(done.made)
        salt = entropy(SALT_SIZE)
        seed = report_seed(identity.seed, index, salt)
        item = sign_item(Kind.REPORT, encode_report(report), seed, work_bits=event_type.work)
        done.made.append(
            Receipt(
                key_index=index,
                salt=salt,
                id=item.id,
                raw=item.raw,
                catalog=row.catalog,
                type=row.type,
                time=time,
                made=now,
                due=now,
                route=route,
            )
        )
        done.consumed.append(row)
        then = next_due(event_type.release, now, rng, last=now)
        done.paces[row.type] = _next_pace(event_type, pace, time, then)
    if done.withheld:
        _look_again(done, paces, now)
    _forget_days(done, paces, catalogs, now)
    return done


def _nothing_to_say(
    done: Prepared, row: Pending, event_type: EventType, time: int, pace: Pace
) -> bool:
    """Consumes the row of a type that counts days if no report is needed: its day was reported
    before (MARS-5) or is not a milestone. Returns whether the row was consumed."""
    if pace.last and day_number(time) <= day_number(pace.last):
        if day_number(time) == day_number(pace.last):
            done.quiet[SAID] += 1
        else:
            done.dropped[OUT_OF_ORDER] += 1
        done.consumed.append(row)
        return True
    milestones = event_type.milestones
    if milestones is None or (after := after_first(pace, time)) in milestones:
        return False
    done.quiet[NO_MILESTONE] += 1
    done.consumed.append(row)
    if after is not None and after > milestones[-1]:
        done.paces[row.type] = _without_day(pace)
    return True


def _next_pace(event_type: EventType, pace: Pace, time: int, then: int) -> Pace:
    """Returns the pace of the type after a report of `time`, with the next report due at `then`.
    For a type with milestones, it contains the first day until the last milestone."""
    after = Pace(
        type=pace.type,
        last=latest(pace.last, time),
        next=then,
        first_day=pace.first_day,
        first_week=pace.first_week,
    )
    if event_type.milestones is None:
        return after
    if pace.first_day is None:
        after = replace(after, first_day=day_number(time) * DAY, first_week=None)
    if after_first(after, time) == event_type.milestones[-1]:
        return _without_day(after)
    return after


def _without_day(pace: Pace) -> Pace:
    """Returns `pace` with the first day replaced by the ISO week that contains it, because the node
    may not store the day for longer than it needs it (MARS-7)."""
    week = None if pace.first_day is None else week_start(pace.first_day)
    return replace(pace, first_day=None, first_week=week)


def _forget_days(
    done: Prepared, paces: Mapping[str, Pace], catalogs: Mapping[int, Catalog], now: int
) -> None:
    """Deletes the first day of each type whose last milestone passed without a report, because the
    app was not used."""
    for pace in paces.values():
        if pace.first_day is None or pace.type in done.paces:
            continue
        found = [one.types[pace.type] for one in catalogs.values() if pace.type in one.types]
        ends = [one.milestones[-1] * DAY + one.lateness for one in found if one.milestones]
        if ends and now > pace.first_day + DAY + max(ends):
            done.paces[pace.type] = _without_day(pace)


def _look_again(done: Prepared, paces: Mapping[str, Pace], now: int) -> None:
    """Postpones the types of which every row was withheld. Otherwise they would be due in each
    pass."""
    for name in {one.row.type for one in done.withheld} - done.paces.keys():
        pace = credible(paces.get(name) or Pace(type=name), now)
        done.paces[name] = replace(pace, next=now + WITHHELD_AGAIN)


def _drop(done: Prepared, row: Pending, why: str) -> None:
    done.consumed.append(row)
    done.dropped[why] += 1


def credible(pace: Pace, now: int) -> Pace:
    """Returns `pace` without times that are far in the future, because the clock was wrong when
    they were stored. Otherwise a machine with an empty clock battery might not report for years."""
    if pace.last > now + CLOCK_SLACK or pace.next > now + PACE_MAX:
        pace = replace(pace, next=0)
    if pace.last > now + GLITCH:
        pace = replace(pace, last=0)
    if pace.first_day is not None and pace.first_day > now + GLITCH:
        pace = replace(pace, first_day=None)
    return pace


def _report(
    row: Pending,
    event_type: EventType,
    catalog: Catalog,
    time: int,
    pace: Pace,
    allowed: Allowed,
    identity: Identity,
    now: int,
) -> tuple[Report | None, str]:
    """Returns the report of one row and `Reason.OK`, or None and the reason why there is none."""
    if now >= event_type.expires:
        return None, Reason.EXPIRED
    if now - time > event_type.lateness:
        return None, Reason.LATE
    try:
        values = _values(row, event_type, catalog, allowed[row.type], time, pace, identity)
        sequence = _steps(row.steps)
    except (RefusedError, ValueError):
        return None, "damaged"
    count = None
    if event_type.max_count is not None:
        count = min(row.total or 0, event_type.max_count)
    reason = event_type.check_report(values, count, row.one_in, sequence, time)
    if reason is not Reason.OK:
        return None, reason
    report = Report(catalog.id, row.type, time, values, count, row.one_in, sequence)
    return report, Reason.OK


def _values(
    row: Pending,
    event_type: EventType,
    catalog: Catalog,
    fields: frozenset[str] | None,
    time: int,
    pace: Pace,
    identity: Identity,
) -> dict[str, object]:
    """Returns the values of the fields with consent. If the catalog names a source for a field, the
    value is derived here. Otherwise it is the recorded value, or its randomized response if the
    catalog asks for that."""
    recorded = _recorded(row.fields)
    values: dict[str, object] = {}
    for one in event_type.fields:
        if fields is not None and one.name not in fields:
            continue
        if one.source is not None:
            values[one.name] = one.coerce(
                derived(one.source, pace=pace, time=time, install_week=identity.install_week)
            )
        elif one.name in recorded:
            wire = recorded[one.name]
            if one.randomize is not None:
                seed, key = identity.seed, catalog.key
                wire = respond(one, wire, seed=seed, namespace=key, type=event_type.name)
            values[one.name] = wire
    return values


@lru_cache(1024)
def _recorded(fields: bytes) -> Mapping[str, object]:
    """Decodes the recorded values. Cached, because a machine often records the same values every
    day."""
    recorded = decode(fields, limit=REPORT_MAX)
    if not isinstance(recorded, dict):
        raise ValueError("the recorded values are not a map")
    return recorded


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
