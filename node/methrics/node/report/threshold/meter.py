"""The uniqueness meter decides, before a report is signed, whether enough others report the same.

The person sets a threshold (NEW-5): a report is sent only if at least that many others report
exactly the same, with the same fields left out. If fewer do, the meter makes the fewest changes
that turn the report into one that enough others sent: a word, version or language becomes `other`,
a country becomes `ZZ`, or a field is left out. Other changes are not allowed, so the report stays
true, and fields that the person does not share stay absent. If no such changes suffice, the report
is withheld.

The meter only considers combinations that were seen in public data, so it needs no statistical
model. Flags by which people are counted depend on the time of a report, not on the person, so they
are not compared if the table counts people.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from methrics.node.report.parts import FLAGS, Parts, part_names, parts_of, said
from methrics.node.report.threshold.crowd import REPORTS, Crowd, same
from methrics.node.report.threshold.public import Row, Table
from methrics.schema.catalog.event_type import EventType
from methrics.schema.catalog.fields import OTHER, Wire
from methrics.schema.catalog.regions import NOWHERE
from methrics.schema.wire.items import Report
from methrics.schema.wire.verdict import Reason

COARSE = {"enum": OTHER, "version": OTHER, "language": OTHER, "country": NOWHERE}
"""The less specific value that a field of each type may get. A bucket, flag or count can only be
left out, because the neighbouring bucket or another value would be a false statement."""


@dataclass(frozen=True, slots=True)
class Send:
    """Send the report as it is: its `crowd` is large enough."""

    crowd: Crowd


@dataclass(frozen=True, slots=True)
class Generalise:
    """Send the report with these `values`: the `changed` fields are less specific or absent."""

    values: dict[str, object]
    changed: tuple[str, ...]
    crowd: Crowd


@dataclass(frozen=True, slots=True)
class Withhold:
    """Do not send the report. `reason`: the cause, for a person. `crowd` is None if there is no
    public data of the type."""

    reason: str
    crowd: Crowd | None = None


_KNOWN_MAX = 10_000
"""Most rulings that one meter caches. A meter is used for one pass of the publisher."""

Ruling = Send | Generalise | Withhold
Meter = Callable[[EventType, Report], Ruling]
"""The function that the publisher calls for each report before the report is signed."""


def meter(event_type: EventType, report: Report, table: Table | None, threshold: int) -> Ruling:
    """Returns whether to send, change or withhold `report`, so that at least `threshold` others
    report the same as the report that is sent.

    `table`: counts of others' reports of this type, None if there is no public data of it. The
    crowd of a Send or Generalise has at least `threshold` others. The values of a Generalise always
    pass `EventType.check_report`.
    """
    if table is None:
        return Withhold(
            "there is no summary of public data yet; see methrics threshold remember FILE"
        )
    mine = parts_of(report)
    compared = _compared(event_type, table)
    own = tuple(mine.get(name) for name in compared)
    rows = _aligned(table, compared)
    crowd = Crowd(_count(rows, own), table.others, table.unit)
    if crowd.sharing >= threshold:
        return Send(crowd)
    best: tuple[tuple[int, int, int, str], Generalise] | None = None
    for row, count in rows.items():
        if count < threshold or not _reachable(event_type, compared, own, row):
            continue
        ruling = _become(event_type, report, compared, own, row, count, table)
        if ruling is None:
            continue
        silent = sum(1 for name in ruling.changed if name not in ruling.values)
        cost = (len(ruling.changed), silent, -count, repr(row))
        if best is None or cost < best[0]:
            best = (cost, ruling)
    if best is not None:
        return best[1]
    words = said(event_type, mine, [name for name in compared if name in mine])
    return Withhold(
        f"{words}: the same in {crowd.sharing} other {table.unit}, fewer than your threshold of "
        f"{threshold}, and no less specific version is common enough",
        crowd,
    )


def meter_of(types: Mapping[str, Table], threshold: int) -> Meter:
    """Returns a meter for the reports of one namespace. `types`: a table for each event type.

    Rulings are cached, so thousands of equal events need only one search.
    """
    known: dict[object, Ruling] = {}

    def ask(event_type: EventType, report: Report) -> Ruling:
        parts = parts_of(report)
        said = frozenset((name, type(value), value) for name, value in parts.items())
        ruling = known.get((event_type, said))
        if ruling is None:
            ruling = meter(event_type, report, types.get(event_type.name), threshold)
            if len(known) < _KNOWN_MAX:
                known[event_type, said] = ruling
        return ruling

    return ask


def _compared(event_type: EventType, table: Table) -> tuple[str, ...]:
    """Returns the names of the parts to compare: those of the table, and those of the type that the
    table does not have yet. Flags are left out if the table has none and counts people."""
    known = set(table.names)
    uncounted = set() if table.unit == REPORTS else _flags(event_type)
    return tuple(
        name for name in part_names(event_type) if name in known or name not in uncounted
    ) + tuple(name for name in table.names if name not in part_names(event_type))


def _flags(event_type: EventType) -> set[str]:
    return {one.name for one in event_type.fields if one.source in FLAGS}


def _aligned(table: Table, names: tuple[str, ...]) -> Mapping[Row, int]:
    """Returns the table's rows with the parts in the order of `names`. A part that the table does
    not have is absent (None)."""
    if names == table.names:
        return table.rows
    position = {name: at for at, name in enumerate(table.names)}
    positions = [position.get(name) for name in names]
    return {
        tuple(None if at is None else row[at] for at in positions): count
        for row, count in table.rows.items()
    }


def _count(rows: Mapping[Row, int], own: Row) -> int:
    # As a key of a dictionary, True equals 1, but on the wire it does not; and a field may have
    # changed its type.
    if own not in rows:
        return 0
    return next((count for row, count in rows.items() if all(map(same, row, own))), 0)


def _reachable(event_type: EventType, names: tuple[str, ...], own: Row, row: Row) -> bool:
    return all(
        same(mine, theirs) or _may_become(event_type, name, mine, theirs)
        for name, mine, theirs in zip(names, own, row, strict=True)
    )


def _may_become(event_type: EventType, name: str, mine: Wire | None, theirs: Wire | None) -> bool:
    field = event_type.field(name)
    if field is None or mine is None:
        return False
    return theirs is None or theirs == COARSE.get(field.type)


def _become(
    event_type: EventType,
    report: Report,
    names: tuple[str, ...],
    own: Row,
    row: Row,
    count: int,
    table: Table,
) -> Generalise | None:
    """Returns the report changed to the parts of `row`; None if that is not a valid report."""
    values = dict(report.values)
    changed = []
    for name, mine, theirs in zip(names, own, row, strict=True):
        if same(mine, theirs):
            continue
        changed.append(name)
        if theirs is None:
            del values[name]
        else:
            values[name] = theirs
    lesser: Parts = parts_of(replace(report, values=values))
    reason = event_type.check_report(
        values, report.count, report.one_in, report.sequence, report.time
    )
    if reason is not Reason.OK or not lesser:
        return None
    return Generalise(values, tuple(changed), Crowd(count, table.others, table.unit))
