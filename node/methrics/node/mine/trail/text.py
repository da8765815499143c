"""Prints the trail as lines of text for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from math import isfinite, log2

from methrics.node.mine.own import ReadableReport, moment
from methrics.node.mine.trail.coincidence import FACT
from methrics.node.mine.trail.joining import Joint
from methrics.node.mine.trail.uniqueness import Statement, statements
from methrics.node.mine.trail.whole import LAST_MAX, Trail
from methrics.node.report.parts import label, meaning, said
from methrics.node.report.threshold.crowd import DAYS_MIN, Crowd
from methrics.schema.wire.limits import LISTED_MAX

REPORTS_SHOWN = 6
STATEMENTS_SHOWN = 12
DETAILED = 3
PAIRS_SHOWN = 3
FINDINGS_SHOWN = 20
"""Most entries of each kind that are printed. --json and the picture show the rest."""


def lines(trail: Trail) -> Iterator[str]:
    """Yields the trail as text, line by line."""
    yield from _reports(trail)
    if trail.statements is not None:
        yield from _statements(trail, trail.statements)
    if trail.joints is not None:
        yield from _joints(trail.joints)
    if trail.coincidences is not None:
        yield from _coincidences(trail)
    yield from _meter(trail)


def _reports(trail: Trail) -> Iterator[str]:
    left = len(trail.left)
    yield f"YOUR REPORTS: {left} left this machine, {len(trail.own) - left} did not"
    if not trail.own:
        yield "  No report was made on this machine yet."
        return
    for namespace, group in groupby(
        sorted(trail.own, key=lambda own: own.namespace), key=lambda own: own.namespace
    ):
        yield f"  {namespace}"
        own = list(group)
        for alike in sorted(statements(own), key=lambda one: one[-1].time):
            yield from _alike(alike)


def _alike(own: tuple[ReadableReport, ...]) -> Iterator[str]:
    """Yields the lines about reports with equal parts: the parts, then when and how each report
    left."""
    newest = own[-1]
    yield f"    {newest.event_type.name}: {said(newest.event_type, newest.parts)}"
    if len(own) > REPORTS_SHOWN:
        yield f"      … {len(own) - REPORTS_SHOWN} older ones: --json lists them"
    for one in own[-REPORTS_SHOWN:]:
        yield f"      {one.name}: of {moment(one.time)} UTC, made {moment(one.made)}; {one.fate}"


def _statements(trail: Trail, measured: list[Statement]) -> Iterator[str]:
    yield ""
    yield f"WHO REPORTS THE SAME: other people's reports in {trail.source}"
    if len(trail.left) > LAST_MAX:
        yield f"  Measured: your newest {LAST_MAX} reports."
    if measured:
        yield "  Anyone can invent reports, so fewer people than these numbers may report the same."
        yield (
            "  Bits: without the catalog that a report names, which adds up to "
            f"{log2(LISTED_MAX):.0f}: `methrics consent ask` shows them."
        )
    if not measured:
        yield "  No report has left, so there is nothing to compare."
    for one in measured[:DETAILED]:
        yield from _statement(one)
    for one in measured[DETAILED:STATEMENTS_SHOWN]:
        yield f"  {_heading(one)}"
        yield f"    all parts: {with_bits(one.whole)}"
    if len(measured) > DETAILED:
        yield "  --html shows each of them in full, --json everything"


def _statement(one: Statement) -> Iterator[str]:
    newest = one.newest
    event_type, parts = newest.event_type, newest.parts
    yield f"  {_heading(one)}"
    yield f"    {said(event_type, parts)}"
    yield f"    all parts: {with_bits(one.whole)}"
    if one.people is not None:
        yield f"    people of that {one.period} with your set-up: {with_bits(one.people)}"
    for single in one.singles:
        (name,) = single.names
        value = label(event_type, name, parts[name])
        yield f"      {name} {value}: {with_bits(single.crowd)}. {meaning(event_type, name)}"
    pairs = one.telling_pairs[:PAIRS_SHOWN]
    if pairs:
        yield "    pairs that are rarer than either part:"
    for pair in pairs:
        yield f"      {said(event_type, parts, pair.names)}: {with_bits(pair.crowd)}"
    yield "    one after the other:"
    for step in one.narrowing:
        yield f"      + {step_words(newest, step.names[-1])}: {step.crowd.verdict}"
    if len(one.narrowing) < len(one.growing):
        yield "      and no other report is left"


def _heading(one: Statement) -> str:
    times = f"{len(one.own)} times, last" if len(one.own) > 1 else "once,"
    return f"{one.newest.name}, reported {times} of {moment(one.newest.time)} UTC"


def step_words(own: ReadableReport, name: str) -> str:
    """Returns the name of a step of a growing combination, with the value of its part, in words."""
    if name in own.parts:
        return f"{name} {label(own.event_type, name, own.parts[name])}"
    return name


def with_bits(crowd: Crowd) -> str:
    """Returns the verdict on a crowd, with its bits and their uncertainty."""
    return f"{crowd.verdict} ({bits_words(crowd)})" if crowd.total else crowd.verdict


def bits_words(crowd: Crowd) -> str:
    """Returns the bits and their interval in words, such as `4.2 bits, 3.1 to 6.0`."""
    least, most = crowd.bounds
    span = f"{least:.1f} to {most:.1f}" if isfinite(most) else f"{least:.1f} or more"
    return f"{crowd.bits:.1f} bits, {span}"


def joint_words(joint: Joint) -> str:
    """Returns a finding as one line of text."""
    chance = "" if joint.probability is None else f"{percent(joint.probability)}: "
    return f"{chance}{names_of(joint.own)}: {joint.says}"


def names_of(own: Iterable[ReadableReport]) -> str:
    """Returns the names of reports, such as `heartbeat 3, 4, 7 and system 5`. Of each type, at most
    six numbers are listed."""
    parts = []
    for kind, group in groupby(
        sorted(own, key=lambda one: (one.event_type.name, one.number)),
        key=lambda one: one.event_type.name,
    ):
        indices = [one.number for one in group]
        few = ", ".join(map(str, indices[:6]))
        more = f" and {len(indices) - 6} more" if len(indices) > 6 else ""
        parts.append(f"{kind} {few}{more}")
    return " and ".join(parts)


def count_words(count: int, what: str) -> str:
    """Returns a number and its noun `what`, such as `no other report`, `1 other report` or `1,204
    other reports`."""
    return f"{count:,} {what}{'' if count == 1 else 's'}" if count else f"no {what}"


def percent(probability: float) -> str:
    """Returns a probability in words. It is never rounded to 0 or 100 %, because the data are
    incomplete."""
    if probability >= 1:
        return "no other fits"
    return f"{min(99, max(1, round(100 * probability)))} %"


def _joints(joints: list[Joint]) -> Iterator[str]:
    yield ""
    yield "REPORTS THAT COULD BE LINKED, with the chance that a guess is right"
    if not joints:
        yield "  No two of your reports can be linked by these data (each chance is under 5 %)."
    yield from (f"  {joint_words(joint)}" for joint in joints[:FINDINGS_SHOWN])
    if len(joints) > FINDINGS_SHOWN:
        yield f"  … {len(joints) - FINDINGS_SHOWN} weaker ones: --json lists them"


def _coincidences(trail: Trail) -> Iterator[str]:
    found, labels = trail.coincidences or [], trail.beside or []
    yield ""
    yield "CLOSE IN TIME to the other traces"
    if not found:
        yield "  None of your reports is close to one."
    for beside in labels[:FINDINGS_SHOWN]:
        note = "far more than by chance" if beside.telling else "no more than by chance"
        yield (
            f"  {beside.label}: close to {beside.close} of {beside.total} reports, "
            f"{beside.expected:.1f} expected; {note}"
        )
    for one in found[:FINDINGS_SHOWN]:
        window = "the reported fact happened" if one.window == FACT else "the report came out"
        if one.others is None:
            crowd = "with public data (--data) the others in that window could be counted"
        else:
            crowd = f"{count_words(one.others, 'other report')} in that window" + (
                f", a guess is right {percent(one.probability or 0)}" if one.others else ""
            )
        yield (
            f"  {one.own.name}: {one.trace.label} at {moment(one.trace.time)} UTC, "
            f"when {window}; {crowd}"
        )
    if len(found) > FINDINGS_SHOWN:
        yield f"  … {len(found) - FINDINGS_SHOWN} with larger crowds: --json lists them"


def _meter(trail: Trail) -> Iterator[str]:
    yield ""
    if not trail.threshold:
        yield "BEFORE SENDING: no threshold is set, so every report that you agreed to is sent"
        yield "  `methrics threshold set 20` sends a report only if 20 others report the same."
        return
    yield f"BEFORE SENDING: at least {trail.threshold} others must report the same"
    yield (
        f"  Others count if equal reports arrived on {DAYS_MIN} days or more. A patient attacker "
        "can still invent them."
    )
    for namespace, (source, made) in sorted(trail.remembered.items()):
        yield f"  {namespace}: compared with {source} as of {moment(made)} UTC"
    if not trail.remembered:
        yield "  There is no summary of public data yet, so every report is withheld:"
        yield "  `methrics threshold remember FILE` makes one."
    yield f"  {len(trail.withheld)} withheld"
    for one in trail.withheld[:FINDINGS_SHOWN]:
        yield f"    {one.event_type.name} of {moment(one.time)} UTC: {one.reason}"
