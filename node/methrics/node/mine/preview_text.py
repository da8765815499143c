"""Words one entry of a preview for a person, in lines of at most about 100 characters (pure)."""

from __future__ import annotations

from collections.abc import Iterator

from methrics.node.mine.own import moment
from methrics.node.mine.preview import NEVER, PLANNED, SIGNED, UNDRAWN, WITHHELD, Leaving
from methrics.node.report.parts import label, meaning, part_names, parts_of

VALUE_WIDTH = 32
"""Widest column of values: the meaning of a longer one starts on the next line."""

_FIXED = {
    SIGNED: "signed and journaled: exactly these bytes leave",
    PLANNED: "not signed yet: its values are fixed, its key and signature follow",
}
_REASONS = {
    "not-allowed": "waits: your consent does not let it leave by this route now",
    "said-already": "makes no report: this day is in an earlier report",
    "no-milestone": "makes no report: only your first day and a few later ones are reported",
    UNDRAWN: "randomized values are drawn with the first report: those shown are examples",
    "withdrawn": "you said no to this type: dropped at the publisher's next pass",
    "revoked": "the app's owner has revoked this type: it never leaves, and is "
    "dropped when it is due",
    "unlisted": "waits: the app's owner does not list its catalog at its time",
    "record-expired": "waits: the record of the app's catalogs has expired",
    "equivocation": "waits: the app's owner has signed records that contradict each other",
}


def lines(one: Leaving) -> Iterator[str]:
    """Yields the name of an entry, when and why it leaves or does not, and each value with its
    meaning."""
    yield f"{one.id}  {one.type} of {moment(one.time)} UTC, {one.namespace}"
    if one.state in (SIGNED, PLANNED):
        earliest = f"{moment(one.earliest)} UTC"
        yield f"leaves by {one.route}, not before {earliest}; the publisher's passes"
        yield "and the relay's mixing then decide the moment"
        yield f"{_FIXED[one.state]} ({len(one.raw)} bytes)"
    if one.attempts:
        times = "once" if one.attempts == 1 else f"{one.attempts} times"
        yield f"sending was tried {times}: it may have left already"
    if one.reason:
        yield _why(one)
    event_type = one.catalog.types.get(one.type) if one.catalog else None
    if one.report is None or event_type is None:
        return
    parts = parts_of(one.report)
    shown = [
        (name, label(event_type, name, parts[name]))
        for name in part_names(event_type)
        if name in parts
    ]
    width = min(VALUE_WIDTH, max((len(value) for _, value in shown), default=0))
    for name, value in shown:
        meant = meaning(event_type, name)
        if len(value) > width:
            yield f"{name:<14} {value}"
            yield f"{'':<14} {'':<{width}}  {meant}"
        else:
            yield f"{name:<14} {value:<{width}}  {meant}"


def _why(one: Leaving) -> str:
    if one.state == WITHHELD:
        return f"withheld: {one.reason}"
    if one.state == NEVER:
        return _REASONS.get(one.reason, f"makes no report: {one.reason}")
    return _REASONS.get(one.reason, one.reason)
