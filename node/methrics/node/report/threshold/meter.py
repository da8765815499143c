"""The uniqueness meter: before a report is signed, is its crowd large enough to send it? (NEW-5)

The person sets a threshold: send only what at least so many others say as well, exactly, silence
included. Under it the report is made to say what a large enough crowd says, by the fewest changes:
a word, version or language becomes `other`, a country `ZZ`, or a field is left out. Nothing else
may change, so nothing is invented, and what the person does not share stays unshared. If no such
crowd is known, the report is held back.

A candidate is always a row that was seen, so its crowd needs no model. Flags that count people say
when a report came and not from whom; where people are counted, they are not compared.
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
"""What a field of this type may say instead. A neighbouring bucket would be a false statement about
the person, so a bucket, flag or count can only be left out."""


@dataclass(frozen=True, slots=True)
class Send:
    """Its crowd is large enough."""

    crowd: Crowd


@dataclass(frozen=True, slots=True)
class Generalise:
    """Send these `values` instead; `changed` fields say less or nothing now."""

    values: dict[str, object]
    changed: tuple[str, ...]
    crowd: Crowd


@dataclass(frozen=True, slots=True)
class Withhold:
    """Do not send it; why, in words."""

    reason: str
    crowd: Crowd | None = None


_KNOWN_MAX = 10_000
"""Rulings remembered by one meter: it lives for one pass of the publisher."""

Ruling = Send | Generalise | Withhold
Meter = Callable[[EventType, Report], Ruling]
"""What the publisher asks about each report before it is signed."""


def meter(event_type: EventType, report: Report, table: Table | None, threshold: int) -> Ruling:
    """What may be done with `report` so that at least `threshold` others say what it says.

    `table` is what is known of others' reports of this type, None if nothing is. Never returns Send
    or Generalise with a smaller crowd; generalised values always pass `EventType.check_report`.
    """
    if table is None:
        return Withhold("nothing is known of what others say; see methrics threshold remember FILE")
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
        f"{words}: said by {crowd.sharing} other {table.unit}, fewer than {threshold}, and no less "
        "telling version is said by enough",
        crowd,
    )


def meter_of(types: Mapping[str, Table], threshold: int) -> Meter:
    """A meter over what is remembered of one namespace, for reports that are otherwise valid.

    What says the same gets the same ruling, so thousands of equal events cost one search.
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
    """Parts that are compared: those of the table, and those the table does not know yet."""
    known = set(table.names)
    uncounted = set() if table.unit == REPORTS else _flags(event_type)
    return tuple(
        name for name in part_names(event_type) if name in known or name not in uncounted
    ) + tuple(name for name in table.names if name not in part_names(event_type))


def _flags(event_type: EventType) -> set[str]:
    return {one.name for one in event_type.fields if one.source in FLAGS}


def _aligned(table: Table, names: tuple[str, ...]) -> Mapping[Row, int]:
    """The table's rows in the order of `names`; what the table does not know was not said."""
    if names == table.names:
        return table.rows
    place = {name: at for at, name in enumerate(table.names)}
    places = [place.get(name) for name in names]
    return {
        tuple(None if at is None else row[at] for at in places): count
        for row, count in table.rows.items()
    }


def _count(rows: Mapping[Row, int], own: Row) -> int:
    # A dictionary takes True for 1, the wire does not, and a field may have changed its type.
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
    """The report as one of the crowd that says `row`; None if that would be no valid report."""
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
