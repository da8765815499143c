"""The timeline of own reports as SVG: a lane per event type, arcs between what can be joined."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from itertools import pairwise

from methrics.node.mine.trail.coincidence import Coincidence
from methrics.node.mine.trail.joining import LIKELY, Joint
from methrics.node.mine.trail.own import Own, moment
from methrics.node.mine.trail.text import percent
from methrics.node.report.flags import DAY
from methrics.node.report.parts import said
from methrics.node.report.threshold.crowd import ALONE, FEW, GROUP, Crowd

WIDTH, LEFT, RIGHT = 1000, 150, 26
TOP, LANE, FOOT = 58, 86, 34
_STEPS = (3600, 6 * 3600, DAY, 2 * DAY, 7 * DAY, 14 * DAY, 30 * DAY, 91 * DAY, 365 * DAY)
_TICKS = 8
ARCS_MAX = 150
"""Lines drawn at most, the surest first."""


def level(crowd: Crowd | None) -> str:
    """The class of a crowd's size: alone, few, group, crowd; unknown without public data."""
    if crowd is None or not crowd.total:
        return "unknown"
    if crowd.size <= ALONE:
        return "alone"
    return "few" if crowd.size < FEW else "group" if crowd.size < GROUP else "crowd"


def shape(kind: str, x: float, y: float, size: float, title: str = "") -> str:
    """The mark of a level: diamond, triangle, square, circle; a ring where nothing is known."""
    inner = f"<title>{escape(title)}</title>" if title else ""
    name = f'class="mark {kind}"'
    if kind == "alone":
        points = f"{x},{y - size} {x + size},{y} {x},{y + size} {x - size},{y}"
        return f'<polygon {name} points="{points}">{inner}</polygon>'
    if kind == "few":
        points = f"{x},{y - size} {x + size},{y + size * 0.8} {x - size},{y + size * 0.8}"
        return f'<polygon {name} points="{points}">{inner}</polygon>'
    if kind == "group":
        half = size * 0.8
        return (
            f'<rect {name} x="{x - half}" y="{y - half}" width="{2 * half}" height="{2 * half}">'
            f"{inner}</rect>"
        )
    return f'<circle {name} cx="{x}" cy="{y}" r="{size * 0.85}">{inner}</circle>'


class _Scale:
    """Time to x, event type to y."""

    def __init__(self, own: Sequence[Own], lanes: Sequence[tuple[str, str]]) -> None:
        times = [one.time for one in own]
        self.start, self.end = min(times), max(times)
        self.end = max(self.end, self.start + 3600)
        self._lanes = {lane: place for place, lane in enumerate(lanes)}

    def x(self, time: int) -> float:
        share = (time - self.start) / (self.end - self.start)
        return round(LEFT + 14 + share * (WIDTH - LEFT - RIGHT - 28), 1)

    def y(self, own: Own) -> float:
        return self.lane(lane_of(own))

    def lane(self, lane: tuple[str, str]) -> float:
        return TOP + LANE * self._lanes[lane]

    def ticks(self) -> list[int]:
        span = self.end - self.start
        step = next((one for one in _STEPS if span / one <= _TICKS), span // _TICKS)
        first = self.start - self.start % step + (step if self.start % step else 0)
        return list(range(first, self.end + 1, step))


def lane_of(own: Own) -> tuple[str, str]:
    """Reports of one event type of one namespace share a lane."""
    return own.namespace, own.event_type.name


def timeline(
    own: Sequence[Own],
    crowds: Mapping[Own, Crowd],
    joints: Iterable[Joint],
    coincidences: Iterable[Coincidence],
) -> str:
    """The SVG; empty text if there is no report. `crowds` is who else says what a report says."""
    if not own:
        return ""
    lanes = list(dict.fromkeys(lane_of(one) for one in own))
    scale = _Scale(own, lanes)
    close = list(coincidences)
    height = TOP + LANE * (len(lanes) - 1) + (70 if close else 30) + FOOT
    alone = sum(level(crowds.get(one)) == "alone" for one in own)
    desc = (
        f"{len(own)} reports from {moment(own[0].time)} to {moment(own[-1].time)} UTC in "
        f"{len(lanes)} event types. {alone} of them say what nobody else says. Arcs connect "
        "reports that could be joined with one another; the list below names them all."
    )
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-labelledby="line-t line-d">',
        f'<title id="line-t">Timeline of your reports</title><desc id="line-d">{desc}</desc>',
        *_axis(scale, height),
        *_rails(scale, lanes),
        *_arcs(scale, joints),
        *_traces(scale, close, height),
    ]
    for one in own:
        crowd = crowds.get(one)
        says = said(one.event_type, one.parts)
        verdict = f"\n{crowd.verdict}" if crowd is not None else ""
        title = f"{one.name}, {moment(one.time)} UTC\n{says}{verdict}"
        parts.append(shape(level(crowd), scale.x(one.time), scale.y(one), 7, title))
    return "".join([*parts, "</svg>"])


def _axis(scale: _Scale, height: int) -> list[str]:
    parts = []
    foot = height - FOOT + 4
    ticks = scale.ticks()
    days = all(tick % DAY == 0 for tick in ticks)
    for tick in ticks:
        x = scale.x(tick)
        when = datetime.fromtimestamp(tick, UTC)
        words = f"{when.day} {when:%b}" if days else f"{when:%H:%M}"
        parts.append(f'<line class="grid" x1="{x}" y1="12" x2="{x}" y2="{foot}"/>')
        parts.append(f'<text x="{x}" y="{foot + 18}" text-anchor="middle">{words}</text>')
    return parts


def _rails(scale: _Scale, lanes: Sequence[tuple[str, str]]) -> list[str]:
    parts = []
    apps = {namespace for namespace, _ in lanes}
    for lane in lanes:
        y = scale.lane(lane)
        parts.append(
            f'<line class="rail" x1="{LEFT}" y1="{y}" x2="{WIDTH - RIGHT}" y2="{y}"/>'
            f'<text class="lane" x="8" y="{y + 4}">{escape(lane[1][:18])}</text>'
        )
        if len(apps) > 1:
            app = lane[0].rpartition("-")[0][:20]
            parts.append(f'<text x="8" y="{y + 20}">{escape(app)}</text>')
    return parts


def _arcs(scale: _Scale, joints: Iterable[Joint]) -> list[str]:
    parts: list[str] = []
    drawn: set[tuple[Own, Own]] = set()
    for joint in joints:
        if joint.probability is None:
            continue
        kind = "arc" if joint.probability >= LIKELY else "arc weak"
        thick = round(1 + 2 * joint.probability, 1)
        for one, other in pairwise(joint.own):
            if len(parts) >= ARCS_MAX:
                return parts
            if (one, other) in drawn:
                continue
            drawn.add((one, other))
            x1, y1, x2, y2 = scale.x(one.time), scale.y(one), scale.x(other.time), scale.y(other)
            lift = min(46, 12 + abs(x2 - x1) / 7) if y1 == y2 else 0
            middle = (x1 + x2) / 2 + (18 if y1 != y2 and abs(x2 - x1) < 4 else 0)
            title = escape(f"{percent(joint.probability)}: {joint.says}")
            parts.append(
                f'<path class="{kind}" stroke-width="{thick}" opacity=".75" '
                f'd="M{x1},{y1} Q{middle},{(y1 + y2) / 2 - 2 * lift} {x2},{y2}">'
                f"<title>{title}</title></path>"
            )
    return parts


def _traces(scale: _Scale, close: Sequence[Coincidence], height: int) -> list[str]:
    if not close:
        return []
    base = height - FOOT - 12
    parts = [f'<text class="lane" x="8" y="{base + 4}">other traces</text>']
    for one in close:
        x = scale.x(min(max(one.trace.time, scale.start), scale.end))
        title = escape(f"{one.trace.label}, {moment(one.trace.time)} UTC, beside {one.own.name}")
        parts.append(
            f'<line class="beam" x1="{x}" y1="{base - 10}" x2="{scale.x(one.own.time)}" '
            f'y2="{scale.y(one.own) + 8}"/><line class="trace" x1="{x}" y1="{base - 10}" x2="{x}" '
            f'y2="{base + 6}"><title>{title}</title></line>'
        )
    return parts
