"""Draws the trail as one HTML file, which has no scripts and loads no other file."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from math import isfinite, log10

from methrics.node.html.templates import render
from methrics.node.mine.own import ReadableReport, moment
from methrics.node.mine.trail.text import count_words, names_of, percent, step_words
from methrics.node.mine.trail.timeline import Timeline, level, timeline
from methrics.node.mine.trail.uniqueness import Combination, Statement
from methrics.node.mine.trail.whole import Trail
from methrics.node.report.parts import label, meaning, said
from methrics.node.report.threshold.crowd import Crowd, interval, judged

_PACKAGE = "methrics.node.mine.trail"
OPEN_MAX = 4
"""How many statements are shown at once, those with the smallest crowds; the others are folded."""
PAIRS_SHOWN = 3
LISTED_MAX = 200

_LEVELS = (
    ("alone", "only you report it"),
    ("few", "fewer than 10 report it, you included"),
    ("group", "10 to 99 report it"),
    ("crowd", "100 or more report it"),
)


@dataclass(frozen=True, slots=True)
class Row:
    """One combination of values in a table. `words`: the combination. `span`: the interval of its
    bits. The other numbers describe the bar, in percent of the table's column: its `width`, the
    grid lines at powers of ten (`decades`), and the ends of the interval (`low`, `high`)."""

    crowd: Crowd
    words: str
    name: str
    title: str
    span: str
    decades: tuple[float, ...]
    width: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Tick:
    """A crowd size on the axis above the bars, at `percent` of the width."""

    percent: float
    size: int


@dataclass(frozen=True, slots=True)
class Card:
    """One statement, with how many others report it, by parts and as a whole. `people`: the verdict
    on the people with the same stable parts in that `period`, empty if they cannot be counted."""

    name: str
    whole: Crowd
    times: str
    people: str
    period: str | None
    axis: tuple[Tick, ...]
    singles: tuple[Row, ...]
    pairs: tuple[Row, ...]
    steps: tuple[Row, ...]


def page(trail: Trail, *, made: int) -> str:
    """Returns the HTML document. `made`: the time now (Unix seconds). Needs the extra `node`."""
    left = trail.left
    crowds = {own: one.whole for one in trail.statements or () for own in one.own}
    shown = [own for own in left if own in crowds] if crowds else left[-LISTED_MAX:]
    return render(
        _PACKAGE,
        "picture.html",
        trail=trail,
        made=made,
        style=style(),
        facts=_facts(trail),
        line=_line(trail, shown, crowds),
        cards=[_card(one) for one in trail.statements or ()],
        levels=_LEVELS,
        open_max=OPEN_MAX,
        listed_max=LISTED_MAX,
        chance=_chance,
        count_words=count_words,
        judged=judged,
        level=level,
        moment=moment,
        names_of=names_of,
        number=_number,
        said=said,
    )


@cache
def style() -> str:
    """Returns the style sheet. Each of the four levels of a crowd has its own colour and shape, so
    that a reader needs only one of them. All text has a contrast of at least 4.5 to 1 in both
    themes (WCAG 2.2, 1.4.3)."""
    return files(_PACKAGE).joinpath("style.css").read_text("utf-8").strip()


def _facts(trail: Trail) -> list[tuple[str, str]]:
    left = trail.left
    facts = [(f"{len(left):,}", f"report{'' if len(left) == 1 else 's'} left this machine")]
    if trail.statements:
        compared = [one for one in trail.statements if one.whole.total]
        compared.sort(key=lambda one: -one.whole.bits)
        alone = sum(len(one.own) for one in compared if one.whole.sharing == 0)
        facts.append((f"{alone:,}", "have values that no other report has"))
        if compared:
            worst = compared[0].whole
            facts.append((f"{worst.bits:.1f} bits", f"the most revealing: {worst.verdict}"))
    if trail.joints is not None:
        sure = {
            own for joint in trail.joints if (joint.probability or 0) >= 0.5 for own in joint.own
        }
        facts.append((f"{len(sure):,}", "can be linked to another at even odds or better"))
    if trail.threshold:
        words = f"withheld: fewer than {trail.threshold} report it"
        facts.append((f"{len(trail.withheld):,}", words))
    return facts


def _line(
    trail: Trail, shown: list[ReadableReport], crowds: dict[ReadableReport, Crowd]
) -> Timeline | None:
    """Returns the timeline of the reports to show; None if there are none."""
    if not shown:
        return None
    drawn = set(shown)
    joints = [joint for joint in trail.joints or () if all(own in drawn for own in joint.own)]
    close = [one for one in trail.coincidences or () if one.own in drawn]
    return timeline(shown, crowds, joints, close)


def _card(one: Statement) -> Card:
    newest = one.newest
    event_type, parts = newest.event_type, newest.parts
    times = f"reported {len(one.own)} times, last of" if len(one.own) > 1 else "reported once,"
    singles = []
    for single in one.singles:
        (name,) = single.names
        words = label(event_type, name, parts[name])
        singles.append(_row(single, words, name=name, title=meaning(event_type, name)))
    counted = one.people is not None and one.people.total
    return Card(
        name=newest.name,
        whole=one.whole,
        times=f"{times} {moment(newest.time)} UTC",
        people=one.people.verdict if one.people is not None and counted else "",
        period=one.period,
        axis=_axis(one.whole),
        singles=tuple(singles),
        pairs=tuple(
            _row(pair, said(event_type, parts, pair.names))
            for pair in one.telling_pairs[:PAIRS_SHOWN]
        ),
        steps=tuple(_row(step, step_words(newest, step.names[-1])) for step in one.narrowing),
    )


def _row(one: Combination, words: str, *, name: str = "", title: str = "") -> Row:
    crowd = one.crowd
    least, most = crowd.bounds
    top = log10(max(10, crowd.total + 1))
    low, high = (share * (crowd.total + 1) for share in interval(crowd.sharing, crowd.total))

    def at(size: float) -> float:
        return round(100 * log10(max(1.0, size)) / top, 2)

    return Row(
        crowd=crowd,
        words=words,
        name=name,
        title=title,
        span=f"{least:.1f}–{most:.1f}" if isfinite(most) else f"{least:.1f} or more",
        decades=tuple(at(10**power) for power in range(1, int(top) + 1)),
        width=max(1.2, at(crowd.size)),
        low=at(low),
        high=at(high),
    )


def _axis(crowd: Crowd) -> tuple[Tick, ...]:
    """Returns the marks of the scale above the bars: 1, 10, 100, … up to the whole crowd."""
    top = log10(max(10, crowd.total + 1))
    powers = range(int(top) + 1)
    return tuple(Tick(100 * power / top, 10**power) for power in powers if power / top < 0.96)


def _chance(probability: float | None, unknown: str) -> str:
    return unknown if probability is None else percent(probability)


def _number(count: int) -> str:
    return f"{count:,}"
