"""Puts a trail together: own reports, how many others report the same, and possible links. Converts
it to JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite

from methrics.node.mine.own import ReadableReport
from methrics.node.mine.trail.coincidence import Beside, Coincidence, beside, coincide
from methrics.node.mine.trail.gather import Gathered, WithheldRow
from methrics.node.mine.trail.joining import Joint, join
from methrics.node.mine.trail.others import Others
from methrics.node.mine.trail.traces import Trace
from methrics.node.mine.trail.uniqueness import Combination, Statement, measure
from methrics.node.report.parts import label, said
from methrics.node.report.threshold.crowd import Crowd

LAST_MAX = 200
"""Only the newest LAST_MAX reports are measured, because each needs queries of the public data."""


@dataclass(slots=True)
class Trail:
    """Everything that `methrics trail` shows. `own`: all reports, oldest first. `statements`,
    `joints`, `coincidences` and `beside` only cover the newest LAST_MAX reports that may have left.
    The first two are None without public data, the last two without traces."""

    own: list[ReadableReport]
    withheld: list[WithheldRow]
    threshold: int = 0
    source: str | None = None
    """The file or address of the public data."""
    remembered: dict[str, tuple[str, int]] = field(default_factory=dict)
    """For each namespace, the source of the summary that the meter uses, and when the summary was
    made (Unix seconds)."""
    statements: list[Statement] | None = None
    joints: list[Joint] | None = None
    coincidences: list[Coincidence] | None = None
    beside: list[Beside] | None = None

    @property
    def left(self) -> list[ReadableReport]:
        """The reports that may have left."""
        return [one for one in self.own if one.may_have_left]


def trace(
    gathered: Gathered,
    others: Others | None = None,
    traces: Sequence[Trace] | None = None,
    *,
    source: str | None = None,
    threshold: int = 0,
    remembered: Mapping[str, tuple[str, int]] | None = None,
) -> Trail:
    """Returns the trail of the gathered reports. If public data (`others`) or `traces` are given,
    the reports are compared with them."""
    trail = Trail(gathered.own, gathered.withheld, threshold, source, dict(remembered or {}))
    newest = trail.left[-LAST_MAX:]
    if others is not None:
        trail.statements = measure(newest, others)
        trail.joints = join(newest, trail.statements, others)
    if traces is not None:
        trail.coincidences = coincide(newest, traces, others)
        trail.beside = beside(newest, traces)
    return trail


def to_json(trail: Trail) -> dict[str, object]:
    """Returns the trail as a JSON document."""
    document: dict[str, object] = {
        "threshold": trail.threshold,
        "public_data": trail.source,
        "remembered": {
            namespace: {"source": source, "time": made}
            for namespace, (source, made) in trail.remembered.items()
        },
        "reports": [_own(one) for one in trail.own],
        "withheld": [
            {
                "app": one.namespace,
                "type": one.event_type.name,
                "time": one.time,
                "values": dict(one.parts),
                "reason": one.reason,
            }
            for one in trail.withheld
        ],
    }
    if trail.statements is not None:
        document["statements"] = [_statement(one) for one in trail.statements]
    if trail.joints is not None:
        document["joined"] = [
            {
                "way": one.way,
                "reports": [_ref(own) for own in one.own],
                "names": list(one.names),
                "others": one.others,
                "probability": one.probability,
                "says": one.says,
            }
            for one in trail.joints
        ]
    if trail.coincidences is not None:
        document["coincidences"] = [
            {
                "report": _ref(one.own),
                "label": one.trace.label,
                "time": one.trace.time,
                "window": one.window,
                "others": one.others,
                "probability": one.probability,
            }
            for one in trail.coincidences
        ]
    if trail.beside is not None:
        document["labels"] = [
            {
                "label": one.label,
                "close": one.close,
                "of": one.total,
                "expected": round(one.expected, 3),
                "telling": one.telling,
            }
            for one in trail.beside
        ]
    return document


def _ref(own: ReadableReport) -> dict[str, object]:
    return {"app": own.namespace, "number": own.number}


def _own(own: ReadableReport) -> dict[str, object]:
    return {
        **_ref(own),
        "id": own.id.hex(),
        "type": own.event_type.name,
        "time": own.time,
        "made": own.made,
        "route": own.receipt.route,
        "state": own.receipt.state,
        "left": own.may_have_left,
        "fate": own.fate,
        "values": dict(own.parts),
        "words": said(own.event_type, own.parts),
    }


def _statement(one: Statement) -> dict[str, object]:
    newest = one.newest
    return {
        "app": newest.namespace,
        "type": newest.event_type.name,
        "reports": [own.number for own in one.own],
        "values": dict(newest.parts),
        "whole": _crowd(one.whole),
        "people": None if one.people is None else {**_crowd(one.people), "period": one.period},
        "singles": [_combination(newest, combination) for combination in one.singles],
        "pairs": [_combination(newest, combination) for combination in one.pairs],
        "growing": [_combination(newest, combination) for combination in one.growing],
    }


def _combination(own: ReadableReport, one: Combination) -> dict[str, object]:
    words = {
        name: label(own.event_type, name, own.parts[name])
        for name in one.names
        if name in own.parts
    }
    return {"names": list(one.names), "words": words, **_crowd(one.crowd)}


def _crowd(crowd: Crowd) -> dict[str, object]:
    least, most = crowd.bounds
    return {
        "others": crowd.sharing,
        "of_others": crowd.total,
        "unit": crowd.unit,
        "bits": round(crowd.bits, 3),
        "bits_least": round(least, 3),
        "bits_most": round(most, 3) if isfinite(most) else None,
        "verdict": crowd.verdict,
    }
