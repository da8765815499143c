"""Splits a report into its parts by name, and words each part for a person.

The parts are the values, each under the name of its field, and `count`, `one_in` (only when
sampled) and `sequence` (as text). No field can have one of these three names. If a declared part is
absent, the person did not share it, and every reader of the report can see that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from methrics.schema.catalog.chance import truth_in
from methrics.schema.catalog.event_type import EventType
from methrics.schema.catalog.fields import Wire
from methrics.schema.wire.items import Report

Parts = Mapping[str, Wire]
"""The parts of a report by name. A part that is absent was not shared."""

FLAGS = frozenset({"first_of_day", "first_of_week", "first_of_month"})
"""Sources of fields that depend on when a report was made, not on who made it."""

_PASSING = frozenset({"count", "sequence"})
"""Parts that describe one event, so they differ between the reports of one person."""


def parts_of(report: Report) -> dict[str, Wire]:
    """Returns the parts of a report, by name."""
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
    """Returns steps and their offset buckets as one text that can be compared, such as
    `shown@0 signed_in@2`."""
    return " ".join(f"{step}@{offset}" for step, offset in steps)


def part_names(event_type: EventType) -> tuple[str, ...]:
    """Returns the names of all parts that a report of the type may have, in the catalog's order."""
    names = [one.name for one in event_type.fields]
    names += ["count"] if event_type.max_count is not None else []
    names += ["one_in"] if event_type.one_in != (1,) else []
    names += ["sequence"] if event_type.sequence is not None else []
    return tuple(names)


def stable_names(event_type: EventType) -> tuple[str, ...]:
    """Returns the names in `part_names` of the parts that describe the person or machine, and not
    one event or its time."""
    passing = _PASSING | {one.name for one in event_type.fields if one.source in FLAGS}
    return tuple(name for name in part_names(event_type) if name not in passing)


def label(event_type: EventType, name: str, value: Wire | None) -> str:
    """Returns one part's value in words, such as `1.2`, `yes`, `4 to under 24 weeks` or `not
    shared` (None)."""
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
    """Returns the meaning of a part for the person, in the catalog's words."""
    declared = event_type.field(name)
    if declared is not None:
        return f"{declared.says} {truth_in(declared)}".rstrip()
    return {
        "count": "How often it happened.",
        "one_in": "How many events this report stands for.",
        "sequence": "The steps you took, and roughly when.",
    }[name]


def said(event_type: EventType, parts: Parts, names: Iterable[str] | None = None) -> str:
    """Returns parts on one line, such as `version 1.2, os linux, daily yes`. `names`: the parts to
    show, also if they are absent; without it, all that are present."""
    chosen = part_names(event_type) if names is None else names
    words = [
        f"{name} {label(event_type, name, parts.get(name))}"
        for name in chosen
        if names is not None or name in parts
    ]
    return ", ".join(words) or "nothing but its type"
