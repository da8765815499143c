"""Says what an app's publisher is waiting for: the next report, and why others do not leave."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from methrics.node.cli.counted import counted
from methrics.node.durations import about
from methrics.node.mine.own import moment
from methrics.node.mine.preview import NEVER, PLANNED, SIGNED, WAITS, WITHHELD, Leaving, Preview

REASONS_MAX = 20
"""Lines of reasons for one app; `methrics preview` lists every report."""

_WORDS = {
    "not-allowed": "not allowed by this route now",
    "withdrawn": "you said no to it",
    "said-already": "its day is reported already",
    "no-milestone": "its day is not a milestone",
    "out-of-order": "a later day was reported before",
    "late": "too old for receivers to accept it",
    "expired": "its event type has ended",
    "revoked": "the app's owner has revoked it",
    "unlisted": "the app's owner does not list its catalog at its time",
    "record-expired": "the record of the app's catalogs has expired",
    "equivocation": "the app's owner has signed records that contradict each other",
}


_BY_RECORD = frozenset({"unlisted", "record-expired", "equivocation", "unchecked", "no-record"})
"""Reasons for which the relays are asked for a newer record again."""


def next_look(found: Preview) -> int | None:
    """Returns when the relays are asked for the record again (Unix seconds), None if no report
    waits for it. `methrics publish --once` asks at once."""
    times = [one.earliest for one in found.leaving if one.reason in _BY_RECORD]
    return min(times, default=None)


def next_due(found: Preview) -> int | None:
    """Returns when the next report or erasure may leave (Unix seconds), None if none will."""
    times = [one.earliest for one in found.leaving if one.state in (SIGNED, PLANNED)]
    return min([*times, *found.erasures[:1]], default=None)


def waiting_lines(found: Preview, now: int) -> Iterator[str]:
    """Yields one line for the next report, and one for each kind of report that does not leave."""
    leaving = [one for one in found.leaving if one.state in (SIGNED, PLANNED)]
    when = next_due(found)
    if when is not None:
        first = min(leaving, key=lambda one: one.earliest, default=None)
        what = "an erasure" if first is None or first.earliest > when else first.type
        late = "now" if when <= now else f"in {about(when - now)}"
        more = f", {counted(len(leaving), 'report')} in all" if len(leaving) > 1 else ""
        yield f"next: {what}, {moment(when)} UTC, {late}{more}"
    elif not found.leaving:
        yield "nothing waits"
    if (again := next_look(found)) is not None:
        yield f"the record is asked for again at {moment(again)} UTC, and by each publish --once"
    for number, ((state, name, reason), times) in enumerate(held(found)):
        if number == REASONS_MAX:
            yield "more: methrics preview"
            return
        yield f"{state}: {name}{f', {times} times' if times > 1 else ''}: {reason}"


def held(found: Preview) -> list[tuple[tuple[str, str, str], int]]:
    """Returns how many reports do not leave, by state, event type and reason in words."""
    kept = [one for one in found.leaving if one.state not in (SIGNED, PLANNED)]
    return sorted(Counter(map(_held, kept)).items())


def _held(one: Leaving) -> tuple[str, str, str]:
    states = {WITHHELD: "withheld", WAITS: "waits", NEVER: "makes no report"}
    return states[one.state], one.type, _WORDS.get(one.reason, one.reason)
