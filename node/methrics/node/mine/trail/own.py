"""A person's own reports, read back from the journal's receipts, in plain words.

What a report says is a map of parts: its values by field name, and beside them `count`, `one_in`
(only when sampled) and `sequence` (as text), whose names no field can have. A declared part that
is not there was not shared, and everyone can see that it was not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from methrics.node.outbox.journal import ACKNOWLEDGED, DUE, SENT, STRUCK, Receipt
from methrics.schema.catalog.catalog import Catalog
from methrics.schema.catalog.chance import truth_in
from methrics.schema.catalog.event_type import EventType
from methrics.schema.catalog.fields import Wire
from methrics.schema.errors import RefusedError
from methrics.schema.wire.envelope import Kind, split
from methrics.schema.wire.items import Report, decode_report

Parts = Mapping[str, Wire]
"""What a report says, by name; a part that is absent was not shared."""

FLAGS = frozenset({"first_of_day", "first_of_week", "first_of_month"})
"""Sources of fields that say when a report came, not from whom: they change from day to day."""

_PASSING = frozenset({"count", "sequence"})
"""Parts that tell of one occurrence and so differ between reports of one person."""

_LEFT = {
    ACKNOWLEDGED: "left by {route}",
    SENT: "handed over by {route}",
    STRUCK: "may have left by {route}, not sent again",
    DUE: "tried by {route}, may have left, tried again",
}
_STAYED = {STRUCK: "struck out, never left", DUE: "waits to leave by {route}"}


@dataclass(frozen=True, slots=True)
class Own:
    """One of the person's reports. `index` is its key's; with `namespace` it names the report.

    `time` is what the report says, `made` when it was made: it left about then. `left` is False
    while nobody can have it. `key` is the public key it was signed with (32 bytes).
    """

    namespace: str
    index: int
    id: bytes
    key: bytes
    event_type: EventType
    time: int
    made: int
    route: str
    state: str
    left: bool
    parts: Parts = field(hash=False)

    @property
    def name(self) -> str:
        """The name in which links and pictures speak of it: `heartbeat 12`."""
        return f"{self.event_type.name} {self.index}"

    @property
    def stable(self) -> dict[str, Wire]:
        """The parts that are likely to be said again by the same person."""
        names = stable_names(self.event_type)
        return {name: self.parts[name] for name in names if name in self.parts}


def parts_of(report: Report) -> dict[str, Wire]:
    """What a report says."""
    parts: dict[str, Wire] = {
        name: value for name, value in report.values.items() if isinstance(value, str | int)
    }
    if report.count is not None:
        parts["count"] = report.count
    if report.one_in != 1:
        parts["one_in"] = report.one_in
    if report.sequence is not None:
        parts["sequence"] = sequence_text(report.sequence)
    return parts


def sequence_text(steps: Iterable[tuple[str, int]]) -> str:
    """Steps and offset buckets as one comparable text: `shown@0 signed_in@2`."""
    return " ".join(f"{step}@{offset}" for step, offset in steps)


def part_names(event_type: EventType) -> tuple[str, ...]:
    """Every part a report of this type may have, in the catalog's order."""
    names = [one.name for one in event_type.fields]
    names += ["count"] if event_type.max_count is not None else []
    names += ["one_in"] if event_type.one_in != (1,) else []
    names += ["sequence"] if event_type.sequence is not None else []
    return tuple(names)


def stable_names(event_type: EventType) -> tuple[str, ...]:
    """Those of `part_names` that tell about the person or machine, not about the moment."""
    passing = _PASSING | {one.name for one in event_type.fields if one.source in FLAGS}
    return tuple(name for name in part_names(event_type) if name not in passing)


def read_own(
    receipts: Iterable[Receipt], catalogs: Mapping[int, Catalog], namespace: str
) -> list[Own]:
    """The reports behind `receipts`, oldest first. One whose catalog is gone is left out."""
    found = []
    for receipt in receipts:
        catalog = catalogs.get(receipt.catalog)
        event_type = catalog.types.get(receipt.type) if catalog else None
        if event_type is None:
            continue
        try:
            item = split(receipt.raw)
            if item.kind is not Kind.REPORT:
                continue
            parts = parts_of(decode_report(item.payload))
        except RefusedError:
            continue
        left = receipt.state in (SENT, ACKNOWLEDGED) or receipt.attempts > 0
        found.append(
            Own(
                namespace,
                receipt.key_index,
                receipt.id,
                item.key,
                event_type,
                receipt.time,
                receipt.made,
                receipt.route,
                receipt.state,
                left,
                parts,
            )
        )
    return sorted(found, key=lambda own: (own.time, own.namespace, own.index))


def fate(own: Own) -> str:
    """What became of a report, in words."""
    words = (_LEFT if own.left else _STAYED).get(own.state, own.state)
    return words.format(route=own.route)


def label(event_type: EventType, name: str, value: Wire | None) -> str:
    """One part's value in words: `1.2`, `yes`, `4 to under 24 weeks`, `not shared`."""
    if value is None:
        return "not shared"
    declared = event_type.field(name)
    if declared is not None and declared.check(value):
        return declared.label(value)
    if name == "sequence":
        steps = (step.partition("@") for step in str(value).split())
        return ", ".join(f"{step} ({_since(event_type, offset)})" for step, _, offset in steps)
    return f"1 in {value}" if name == "one_in" else str(value)


def _since(event_type: EventType, offset: str) -> str:
    edges = event_type.sequence.offset_edges if event_type.sequence else ()
    reached = int(offset)
    return f"from {edges[reached - 1]} s" if 0 < reached <= len(edges) else "at once"


def meaning(event_type: EventType, name: str) -> str:
    """What a part tells about the person, as the catalog says it."""
    declared = event_type.field(name)
    if declared is not None:
        return f"{declared.says} {truth_in(declared)}".rstrip()
    return {
        "count": "How often it happened.",
        "one_in": "How many events this report stands for.",
        "sequence": "The steps you took, and roughly when.",
    }[name]


def said(event_type: EventType, parts: Parts, names: Iterable[str] | None = None) -> str:
    """Parts on one line: `version 1.2, os linux, daily yes`."""
    chosen = part_names(event_type) if names is None else names
    words = [
        f"{name} {label(event_type, name, parts.get(name))}"
        for name in chosen
        if names is not None or name in parts
    ]
    return ", ".join(words) or "nothing but its type"


def moment(time: int) -> str:
    """Unix seconds as `2026-09-21 14:20` UTC."""
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d %H:%M")
