"""Measures what reports give away and writes the page: `python tools/linkage.py --write|--check`.

Needs scikit-learn (dependency group `test`) and some minutes, for four simulated populations.
`--check` compares only the table that needs no simulation; tests/node/mine/test_linkage.py checks
the rest.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import linkage_crowd
import ways
from linkage_bits import declared, measure, pseudonyms
from linkage_world import Leak, World, simulate

from methrics.schema.example import example_catalog

PAGE = Path(__file__).resolve().parent.parent / "docs" / "privacy-measured.md"

SEED = 1
SIZES = {
    Leak.NONE: (60, 30),
    Leak.NO_REST: (40, 14),
    Leak.OWN_RELAY: (40, 14),
    Leak.REUSED_KEY: (24, 10),
}
"""Installs and days. Smaller populations suffice for the controls, whose effect is large."""

MARGIN = 0.03
"""The upper end of the gain's interval must stay below this: three percentage points."""

BEGIN, END = "<!-- from the catalog -->\n", "<!-- end -->\n"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def budgets() -> str:
    """The table of the page that needs only the catalog, no simulation."""
    rows = [
        [f"`{name}`", f"{most:.1f}", str(budget)]
        for name, (most, budget) in declared(example_catalog()).items()
    ]
    return BEGIN + table(["report", "bits at most", "budget"], rows) + END


def _points(number: float) -> str:
    return f"{100 * number:+.1f}"


def _row(leak: Leak, world: World) -> list[str]:
    from linkage_attack import attack, interval

    score = attack(world)
    installs, days = SIZES[leak]
    gain = score.gain
    return [
        "default settings" if leak is Leak.NONE else leak.value,
        f"{installs} × {days}",
        f"{len(world.sightings):,}",
        f"{100 * interval(score.declared).mean:.1f}",
        f"{100 * interval(score.everything).mean:.1f}",
        f"{_points(gain.mean)} ({_points(gain.low)} to {_points(gain.high)})",
    ]


def page() -> str:
    """The whole page, from simulations."""
    worlds = {
        leak: simulate(installs=installs, days=days, seed=SEED, leak=leak)
        for leak, (installs, days) in SIZES.items()
    }
    usual = worlds[Leak.NONE]
    rows = [_row(leak, world) for leak, world in worlds.items()]
    bits = [
        [f"`{name}`", f"{one.measured:.1f}", f"{one.rarest:.1f}", f"{one.most:.1f}"]
        for name, one in measure(usual).items()
    ]
    held = [
        [name, f"{one.reports:.1f}", f"{one.bits:.1f}", f"{100 * one.alone:.0f} %"]
        for name, one in pseudonyms(usual).items()
    ]
    head = ["what runs", "installs × days", "reports", "from values, %", "from everything, %"]
    return _TEXT.format(
        margin=f"{100 * MARGIN:.0f}",
        linkage=table([*head, "gain, points (95 %)"], rows),
        budgets=budgets(),
        bits=table(["report", "measured", "rarest report", "at most"], bits),
        held=table(
            [
                "a key lasts for",
                "reports linked",
                "bits about the install",
                "unique to one install",
            ],
            held,
        ),
        installs=SIZES[Leak.NONE][0],
        ways=ways.section(),
        crowd=linkage_crowd.written(PAGE.read_text("utf-8")),
    )


_TEXT = """# What reports give away, measured

`python tools/linkage.py --write` writes this page from simulated months of many installs, with a
fixed seed. People's habits are invented; all other parts are the real code: recorder, outbox,
publisher, boxes, two relays, gossip. `tests/node/mine/test_linkage.py` repeats the measurement
with fewer installs.

## Can two reports of one install be linked?

An attacker holds one report and sees two more of the same type and day: one of the same install,
one of another install. A classifier (gradient boosted trees), trained on other installs, decides
which of the two is from the same install. Guessing would be right in 50 of 100 trials. One
classifier sees only the declared values and times of the reports. The other sees everything that
the topic shows: keys, ids, signatures, sizes, the moment of publication, the bundle and the
position in it, the relay. METH-4 requires that the second classifier does no better than the
first. With default settings, the test fails if the upper end of the gain's interval reaches
{margin} percentage points.

{linkage}
Each line below the first is a control that switches one protection off. The second line shows
relays without rest: a machine that was off submits all due reports at its next start, and they
leave in one batch window of 30 seconds. With default settings [reports
rest](decisions/0009-rest.md). In the third
line each relay has few installs, so the relay that publishes a report helps to recognise its
install. If many installs share two relays, the relay reveals nothing.

## How much do the values reveal?

The classifiers are often right from the values alone, and no network can prevent that: an install
that reports the same combination of version, system and country every day can be recognised by
it. So each event type has an entropy budget:

{budgets}
Real reports reveal fewer bits than that, because not all combinations occur. The next table shows
the bits of one report's values among {installs} simulated installs. Each bit halves the number of
installs that could have sent the report. In a population this small, the rarest reports are
unique:

{bits}
## What would a longer pseudonym cost?

If one key signed several reports, it would link their values. The more reports a key links, the
more bits they reveal together about their install, and the more often only one install has these
values:

{held}
As everywhere on this page, {installs} installs are a small population; in a larger one, fewer
installs are unique. `methrics trail` makes the same measurement for your own reports and a real
public data set.

## Which relays see what

A report goes through an entry, which sees the address, and an exit, which sees the content
([decision 29](decisions/0029-two-hops.md)). Here one of five entries and one of five exits are bad
and work together. Each of 600 installs visits once a day and sends three boxes each time;
publishers' own code chooses the relays. An install is linked once the pair has seen address and
content of one of its reports. `python tools/ways.py --write` writes the table: means of five runs,
with the lowest and the highest.

{ways}
A kept entry does not lower the share of reports that a bad pair sees. It lowers the number of
people who are touched at all, and those who are touched are so more often. An entry lasts 60 to
120 days, so in a year most installs have met each kind. Somebody who blocks connections can push
an install to three entries, not further.

## On the way over two hops, with many installs

`python tools/linkage_crowd.py --write` writes these tables: 600 installs for 45 days, four seeds,
with the recorder and the outbox of the real code and a model of visits, entry and exits
(`tools/linkage_way.py`). Each visit has 16 boxes; the entry spreads them over 6 hours, and each
report rests at one of five exits until the next UTC day. A classifier that learnt from half of the
installs orders all pairs of reports of the other half. The average precision is the mean share of
right pairs among those that it names. Numbers in brackets are the lowest and the highest seed; a
gain has its 95 % interval from a bootstrap over installs. Who sees the exits sees all of them
together, and the topic.

{crowd}
**The aim is not met.** It is that the upper end of a gain's interval is at most 0.005. What is left
is the day on which a report was handed in: a machine that was off, or whose app ran once in two
days, hands in reports of several days at one visit, they come to exits within six hours, and are
published on the next UTC day. A report's own `time` has a row of its own; `methrics catalog lint`
proposes a resolution of a day.

The last table compares who sees addresses: each names, for a report on the topic, the address that
fits best, without learning over many days. The product has no issuer of tokens, so there is no row
for one. A wire watcher sees visits of one size only; the entry also sees the exit of each box and
when it left.

## What this does not show

- The relay that opens a box sees which reports came over one connection. Rest and mixing protect
  against everyone else; see the [threat model](threat-model.md#not-stopped).
- The `direct` route has no relay, so reports do not rest: the peers see who sends which report,
  and when.
- An observer of many people's connections sees when each of them reaches a relay. Because reports
  rest for a day, this reveals the days on which a person used the app, but not which reports are
  theirs.
- The gain is a mean over installs with invented habits. A machine that was off for weeks submits
  old reports, and these can be recognised because they arrive later than other reports of the
  same day.
- A relay whose memory is full publishes reports early. A relay that is configured without rest
  always publishes at the next batch window.
"""


def main(arguments: Sequence[str]) -> int:
    """Exit code: 0 if written or up to date, 1 if `--check` found a difference, 2 for wrong use."""
    if list(arguments) == ["--write"]:
        PAGE.write_text(page(), "utf-8")
        return 0
    if list(arguments) != ["--check"]:
        print("usage: python tools/linkage.py --write|--check", file=sys.stderr)
        return 2
    return 0 if budgets() in PAGE.read_text("utf-8") else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
