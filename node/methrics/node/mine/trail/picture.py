"""The trail as a picture: one HTML file with nothing to fetch and no script, for any browser."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from math import isfinite, log10

from methrics.node.mine.trail.joining import Joint
from methrics.node.mine.trail.own import Own, fate, moment
from methrics.node.mine.trail.style import CSS
from methrics.node.mine.trail.text import count_words, names_of, percent, step_words
from methrics.node.mine.trail.timeline import level, shape, timeline
from methrics.node.mine.trail.uniqueness import Combination, Statement
from methrics.node.mine.trail.whole import Trail
from methrics.node.report.parts import label, meaning, said
from methrics.node.report.threshold.crowd import Crowd, interval, judged

OPEN_MAX = 4
"""Statements shown open, the smallest crowds first; the others unfold."""
PAIRS_SHOWN = 3
LISTED_MAX = 200

_LEVELS = (
    ("alone", "you alone say it"),
    ("few", "fewer than 10 say it, you included"),
    ("group", "10 to 99 say it"),
    ("crowd", "100 or more say it"),
)


def page(trail: Trail, *, made: int) -> str:
    """The whole document. `made` is now (unix seconds)."""
    left = trail.left
    crowds = {own: one.whole for one in trail.statements or () for own in one.own}
    shown = [own for own in left if own in crowds] if crowds else left[-LISTED_MAX:]
    body = [
        _top(trail),
        '<section aria-labelledby="h-line"><h2 id="h-line">When you spoke</h2>',
        '<p class="soft">Each mark is one of your reports, at the time it tells, rounded. '
        "A thick arc joins reports that somebody could tell to be yours.</p>",
        f'<div class="card wide">{_line(trail, shown, crowds)}{_key(trail)}</div></section>',
        _statements(trail),
        _joints(trail),
        _coincidences(trail),
        _meter(trail),
        _reports(trail.own),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "style-src 'unsafe-inline'\"><title>Your trail</title>"
        f"<style>{CSS}</style></head><body><main>{''.join(body)}"
        f"<footer>Made on this machine on {moment(made)} UTC by <code>methrics trail</code>. "
        "Nobody was asked about you. This file lists your own reports: keep it to yourself."
        "</footer></main></body></html>\n"
    )


def _top(trail: Trail) -> str:
    left = trail.left
    facts = [(f"{len(left):,}", f"report{'' if len(left) == 1 else 's'} left this machine")]
    told = "Compare them with public data (<code>--data</code>) to see how far they stand out."
    if trail.statements:
        compared = [one for one in trail.statements if one.whole.total]
        compared.sort(key=lambda one: -one.whole.bits)
        alone = sum(len(one.own) for one in compared if one.whole.sharing == 0)
        told = f"Compared with other people’s reports in <code>{escape(trail.source or '')}</code>."
        facts.append((f"{alone:,}", "say what nobody else says"))
        if compared:
            worst = compared[0].whole
            facts.append((f"{worst.bits:.1f} bits", f"the most telling: {worst.verdict}"))
    if trail.joints is not None:
        sure = {
            own for joint in trail.joints if (joint.probability or 0) >= 0.5 for own in joint.own
        }
        facts.append((f"{len(sure):,}", "can be joined with another at even odds or better"))
    if trail.threshold:
        facts.append((f"{len(trail.held):,}", f"held back: fewer than {trail.threshold} say it"))
    items = "".join(f"<li><b>{number}</b><span>{words}</span></li>" for number, words in facts)
    return (
        f'<header><h1>Your trail</h1><p class="soft">What your reports say, who else says it, '
        f'and what links them. {told}</p><ul class="facts">{items}</ul></header>'
    )


def _line(trail: Trail, shown: list[Own], crowds: dict[Own, Crowd]) -> str:
    drawn = set(shown)
    joints = [joint for joint in trail.joints or () if all(own in drawn for own in joint.own)]
    close = [one for one in trail.coincidences or () if one.own in drawn]
    return timeline(shown, crowds, joints, close) or "<p>No report has left yet.</p>"


def _key(trail: Trail) -> str:
    if trail.statements is None:
        return ""
    items = "".join(
        f'<li><svg viewBox="0 0 16 16" aria-hidden="true">{shape(name, 8, 8, 6)}</svg>{words}</li>'
        for name, words in _LEVELS
    )
    return f'<ul class="key" aria-label="Key">{items}</ul>'


def _statements(trail: Trail) -> str:
    if not trail.statements:
        return ""
    cards = [_statement(one) for one in trail.statements]
    more = ""
    if len(cards) > OPEN_MAX:
        rest = len(cards) - OPEN_MAX
        more = f"<details><summary>{rest} more</summary>{''.join(cards[OPEN_MAX:])}</details>"
    return (
        '<section aria-labelledby="h-crowd"><h2 id="h-crowd">Who else says it</h2>'
        '<p class="soft">A bar is the crowd that you stand in, on a scale where each line is ten '
        "times the one before; the thin line is what the data leave open. Each bit halves the "
        f"crowd that somebody has to look through.</p>{''.join(cards[:OPEN_MAX])}{more}</section>"
    )


def _statement(one: Statement) -> str:
    newest = one.newest
    times = f"said {len(one.own)} times, last of" if len(one.own) > 1 else "said once,"
    rows = [_title("Each by itself")]
    for single in one.singles:
        (name,) = single.names
        words = f"{name} <b>{escape(label(newest.event_type, name, newest.parts[name]))}</b>"
        rows.append(_row(words, single, escape(meaning(newest.event_type, name))))
    rarest = one.telling_pairs[:PAIRS_SHOWN]
    if rarest:
        rows.append(_title("Pairs that tell more than either part"))
        rows += [
            _row(escape(said(newest.event_type, newest.parts, pair.names)), pair) for pair in rarest
        ]
    rows.append(_title("One after the other"))
    rows += [
        _row(f'<span class="plus">+</span> {escape(step_words(newest, step.names[-1]))}', step)
        for step in one.narrowing
    ]
    people = ""
    if one.people is not None and one.people.total:
        people = (
            f"<p>People of that {one.period} with your set-up: <b>{one.people.verdict}</b>.</p>"
        )
    return (
        f'<article class="card"><div class="head"><h3>{escape(newest.name)}</h3>'
        f'<span class="badge {level(one.whole)}">{escape(one.whole.verdict)}</span>'
        f'<span class="soft">{times} {moment(newest.time)} UTC</span></div>{people}'
        '<table><thead><tr><th scope="col">combination</th>'
        f'<th scope="col" class="bar">{_axis(one.whole)}</th>'
        '<th scope="col" class="number">with you</th><th scope="col" class="number">bits</th>'
        f"</tr></thead><tbody>{''.join(rows)}</tbody></table></article>"
    )


def _title(words: str) -> str:
    return f'<tr class="title"><th scope="rowgroup" colspan="4">{words}</th></tr>'


def _row(words: str, one: Combination, title: str = "") -> str:
    crowd = one.crowd
    least, most = crowd.bounds
    span = f"{least:.1f}–{most:.1f}" if isfinite(most) else f"{least:.1f} or more"
    hint = f' title="{title}"' if title else ""
    return (
        f'<tr><th scope="row"{hint}>{words}</th><td class="bar">{_bar(crowd)}</td>'
        f'<td class="number">{crowd.size:,} of {crowd.total + 1:,}</td>'
        f'<td class="number" title="{span}">{crowd.bits:.1f}</td></tr>'
    )


def _axis(crowd: Crowd) -> str:
    """The scale above the bars: 1, 10, 100, … up to everyone."""
    top = log10(max(10, crowd.total + 1))
    powers = range(int(top) + 1)
    marks = "".join(
        f'<span style="left:{100 * power / top:.1f}%">{10**power:,}</span>'
        for power in powers
        if power / top < 0.96
    )
    return f'<span class="axis" aria-label="crowd, you included">{marks}</span>'


def _bar(crowd: Crowd) -> str:
    top = log10(max(10, crowd.total + 1))
    low, high = (share * (crowd.total + 1) for share in interval(crowd.sharing, crowd.total))

    def at(size: float) -> float:
        return round(100 * log10(max(1.0, size)) / top, 2)

    decades = "".join(
        f'<line class="grid" x1="{at(10**power)}" y1="0" x2="{at(10**power)}" y2="16"/>'
        for power in range(1, int(top) + 1)
    )
    return (
        '<svg viewBox="0 0 100 16" preserveAspectRatio="none" role="img" '
        f'aria-label="{judged(crowd.size)}"><rect class="ground" width="100" height="16"/>'
        f'{decades}<rect class="fill {level(crowd)}" y="3" height="10" '
        f'width="{max(1.2, at(crowd.size))}"/>'
        f'<line class="whisker" x1="{at(low)}" y1="8" x2="{at(high)}" y2="8"/></svg>'
    )


def _joints(trail: Trail) -> str:
    if trail.joints is None:
        return ""
    text = "Your reports carry no name, but what they say and when may still connect them."
    listed = _listed(
        (percent(joint.probability) if joint.probability is not None else "", _joint(joint))
        for joint in trail.joints
    )
    none = "<p>No two of your reports, as far as these data tell: under 5 % each.</p>"
    return (
        '<section aria-labelledby="h-join"><h2 id="h-join">What could be joined</h2>'
        f'<p class="soft">{text} The number is the chance that a guess is right.</p>'
        f'<div class="card">{listed or none}</div></section>'
    )


def _joint(joint: Joint) -> str:
    return f"<b>{escape(names_of(joint.own))}</b>: {escape(joint.says)}"


def _coincidences(trail: Trail) -> str:
    if trail.coincidences is None:
        return ""
    notes = "".join(
        f'<p class="note"><b>{escape(one.label)}</b> stands beside {one.close} of {one.total} '
        f"reports; {one.expected:.1f} would be chance. Whoever knows that label can guess that "
        "these reports are of the same person.</p>"
        for one in trail.beside or ()
        if one.telling
    )
    listed = _listed(
        (
            percent(one.probability) if one.probability is not None else "?",
            f"<b>{escape(one.own.name)}</b> and {escape(one.trace.label)} at "
            f"{moment(one.trace.time)} UTC; "
            + (
                "others in that window are unknown without public data"
                if one.others is None
                else f"{count_words(one.others, 'other report')} in that window"
            ),
        )
        for one in trail.coincidences
    )
    return (
        '<section aria-labelledby="h-time"><h2 id="h-time">Close in time</h2>'
        '<p class="soft">Other traces of the file you gave that lie in the window of a report. '
        "The number is the chance that a guess from that one trace is right.</p>"
        f'{notes}<div class="card">{listed or "<p>None.</p>"}</div></section>'
    )


def _meter(trail: Trail) -> str:
    if not trail.threshold:
        words = (
            "<p>No threshold is set: everything that you consented to is sent. "
            "<code>methrics trail --threshold 20</code> sends only what 20 others say as well.</p>"
        )
    else:
        words = f"<p>At least {trail.threshold} others must say the same.</p>" + _listed(
            (
                "held",
                f"<b>{escape(one.event_type.name)}</b> of {moment(one.time)} UTC: "
                f"{escape(one.reason)}",
            )
            for one in trail.held
        )
    return (
        '<section aria-labelledby="h-meter"><h2 id="h-meter">Before sending</h2>'
        f'<div class="card">{words}</div></section>'
    )


def _reports(own: list[Own]) -> str:
    listed = _listed(
        (
            escape(one.name),
            f"{escape(said(one.event_type, one.parts))}<br><span class='soft'>of "
            f"{moment(one.time)} UTC, made {moment(one.made)} UTC; {escape(fate(one))}</span>",
        )
        for one in reversed(own)
    )
    return (
        '<section aria-labelledby="h-all"><h2 id="h-all">Word for word</h2><details>'
        f"<summary>All {len(own):,} reports, newest first</summary>"
        f'<div class="card">{listed}</div></details></section>'
    )


def _listed(rows: Iterable[tuple[str, str]]) -> str:
    items = [
        f'<li><span class="chance">{first}</span><span>{words}</span></li>' for first, words in rows
    ]
    if not items:
        return ""
    more = len(items) - LISTED_MAX
    note = f"<p class='soft'>… and {more:,} more: --json lists them.</p>" if more > 0 else ""
    return f'<ul class="list">{"".join(items[:LISTED_MAX])}</ul>{note}'
