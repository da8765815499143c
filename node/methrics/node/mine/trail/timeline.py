"""Draws the timeline of own reports: a lane for each event type, arcs between reports that could be
linked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise

from methrics.node.mine.own import ReadableReport, moment
from methrics.node.mine.trail.coincidence import Coincidence
from methrics.node.mine.trail.joining import LIKELY, Joint
from methrics.node.mine.trail.text import percent
from methrics.node.outbox.periods import DAY
from methrics.node.report.parts import said
from methrics.node.report.threshold.crowd import ALONE, FEW, GROUP, Crowd

WIDTH, LEFT, RIGHT = 1000, 150, 26
TOP, LANE, FOOT = 58, 86, 34
_STEPS = (3600, 6 * 3600, DAY, 2 * DAY, 7 * DAY, 14 * DAY, 30 * DAY, 91 * DAY, 365 * DAY)
_TICKS = 8
ARCS_MAX = 150
"""Most arcs that are drawn, the most probable links first."""


def level(crowd: Crowd | None) -> str:
    """Returns the CSS class for a crowd's size: alone, few, group or crowd; unknown without public
    data."""
    if crowd is None or not crowd.total:
        return "unknown"
    if crowd.size <= ALONE:
        return "alone"
    return "few" if crowd.size < FEW else "group" if crowd.size < GROUP else "crowd"


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark of the time axis, at `x`. `words`: the time."""

    x: float
    words: str


@dataclass(frozen=True, slots=True)
class Lane:
    """The line of one event type, at `y`. `app` is empty while there is only one app."""

    y: float
    type_name: str
    app: str


@dataclass(frozen=True, slots=True)
class Arc:
    """A link between two reports. `kind`: CSS classes; `thick`: stroke width; `path`: SVG path."""

    kind: str
    thick: float
    path: str
    title: str


@dataclass(frozen=True, slots=True)
class Beam:
    """A line from a public trace at `x` to the report close in time at (`to_x`, `to_y`)."""

    x: float
    to_x: float
    to_y: float
    title: str


@dataclass(frozen=True, slots=True)
class Mark:
    """One report. `level`: the CSS class of its crowd's size."""

    level: str
    x: float
    y: float
    title: str


@dataclass(frozen=True, slots=True)
class Timeline:
    """The drawing, in units of its view box. `about`: a description in words. `left`, `right`: the
    x at which lanes start and end. `foot`: the y of the axis."""

    width: int
    height: int
    left: int
    right: int
    foot: int
    about: str
    ticks: tuple[Tick, ...]
    lanes: tuple[Lane, ...]
    arcs: tuple[Arc, ...]
    beams: tuple[Beam, ...]
    marks: tuple[Mark, ...]


class _Scale:
    """Maps a time to x, and an event type to y."""

    def __init__(self, own: Sequence[ReadableReport], lanes: Sequence[tuple[str, str]]) -> None:
        times = [one.time for one in own]
        self.start, self.end = min(times), max(times)
        self.end = max(self.end, self.start + 3600)
        self._lanes = {lane: place for place, lane in enumerate(lanes)}

    def x(self, time: int) -> float:
        share = (time - self.start) / (self.end - self.start)
        return round(LEFT + 14 + share * (WIDTH - LEFT - RIGHT - 28), 1)

    def y(self, own: ReadableReport) -> float:
        return self.lane(lane_of(own))

    def lane(self, lane: tuple[str, str]) -> float:
        return TOP + LANE * self._lanes[lane]

    def ticks(self) -> list[int]:
        span = self.end - self.start
        step = next((one for one in _STEPS if span / one <= _TICKS), span // _TICKS)
        first = self.start - self.start % step + (step if self.start % step else 0)
        return list(range(first, self.end + 1, step))


def lane_of(own: ReadableReport) -> tuple[str, str]:
    """Returns the lane of a report. Reports of one event type of one namespace share a lane."""
    return own.namespace, own.event_type.name


def timeline(
    own: Sequence[ReadableReport],
    crowds: Mapping[ReadableReport, Crowd],
    joints: Iterable[Joint],
    coincidences: Iterable[Coincidence],
) -> Timeline:
    """Returns the drawing of `own`, which must not be empty. `crowds`: the crowd that reports the
    same as each report."""
    lanes = list(dict.fromkeys(lane_of(one) for one in own))
    scale = _Scale(own, lanes)
    close = list(coincidences)
    height = TOP + LANE * (len(lanes) - 1) + (70 if close else 30) + FOOT
    alone = sum(level(crowds.get(one)) == "alone" for one in own)
    return Timeline(
        width=WIDTH,
        height=height,
        left=LEFT,
        right=WIDTH - RIGHT,
        foot=height - FOOT + 4,
        about=(
            f"{len(own)} reports from {moment(own[0].time)} to {moment(own[-1].time)} UTC in "
            f"{len(lanes)} event types. No other report is the same as {alone} of them. Arcs "
            "connect reports that could be linked; the list below names them all."
        ),
        ticks=_ticks(scale),
        lanes=_lanes(scale, lanes),
        arcs=_arcs(scale, joints),
        beams=_beams(scale, close),
        marks=tuple(_mark(scale, one, crowds.get(one)) for one in own),
    )


def _mark(scale: _Scale, one: ReadableReport, crowd: Crowd | None) -> Mark:
    says = said(one.event_type, one.parts)
    verdict = f"\n{crowd.verdict}" if crowd is not None else ""
    title = f"{one.name}, {moment(one.time)} UTC\n{says}{verdict}"
    return Mark(level(crowd), scale.x(one.time), scale.y(one), title)


def _ticks(scale: _Scale) -> tuple[Tick, ...]:
    times = scale.ticks()
    days = all(time % DAY == 0 for time in times)
    ticks = []
    for time in times:
        when = datetime.fromtimestamp(time, UTC)
        ticks.append(Tick(scale.x(time), f"{when.day} {when:%b}" if days else f"{when:%H:%M}"))
    return tuple(ticks)


def _lanes(scale: _Scale, lanes: Sequence[tuple[str, str]]) -> tuple[Lane, ...]:
    several = len({namespace for namespace, _ in lanes}) > 1
    return tuple(
        Lane(
            scale.lane((namespace, name)),
            name[:18],
            namespace.rpartition("-")[0][:20] if several else "",
        )
        for namespace, name in lanes
    )


def _arcs(scale: _Scale, joints: Iterable[Joint]) -> tuple[Arc, ...]:
    arcs: dict[tuple[ReadableReport, ReadableReport], Arc] = {}
    for joint in joints:
        if joint.probability is None:
            continue
        for pair in pairwise(joint.own):
            if len(arcs) >= ARCS_MAX:
                break
            if pair not in arcs:
                arcs[pair] = _arc(scale, *pair, joint.probability, joint.says)
    return tuple(arcs.values())


def _arc(
    scale: _Scale, one: ReadableReport, other: ReadableReport, probability: float, why: str
) -> Arc:
    x1, y1, x2, y2 = scale.x(one.time), scale.y(one), scale.x(other.time), scale.y(other)
    lift = min(46, 12 + abs(x2 - x1) / 7) if y1 == y2 else 0
    middle = (x1 + x2) / 2 + (18 if y1 != y2 and abs(x2 - x1) < 4 else 0)
    return Arc(
        kind="arc" if probability >= LIKELY else "arc weak",
        thick=round(1 + 2 * probability, 1),
        path=f"M{x1},{y1} Q{middle},{(y1 + y2) / 2 - 2 * lift} {x2},{y2}",
        title=f"{percent(probability)}: {why}",
    )


def _beams(scale: _Scale, close: Sequence[Coincidence]) -> tuple[Beam, ...]:
    return tuple(
        Beam(
            x=scale.x(min(max(one.trace.time, scale.start), scale.end)),
            to_x=scale.x(one.own.time),
            to_y=scale.y(one.own) + 8,
            title=f"{one.trace.label}, {moment(one.trace.time)} UTC, beside {one.own.name}",
        )
        for one in close
    )
