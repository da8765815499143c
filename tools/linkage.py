"""Measures what reports give away and writes it down: `python tools/linkage.py --write|--check`.

Needs scikit-learn (dependency group `test`) and some minutes: six simulated months. `--check`
compares only what needs no simulation; the tests under tests/node/mine/test_linkage.py do the rest.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

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
"""Installs and days: the controls show at once."""

MARGIN = 0.03
"""The most that the upper end of the interval of the gain may be: three points of a hundred."""

BEGIN, END = "<!-- from the catalog -->\n", "<!-- end -->\n"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def budgets() -> str:
    """The part of the page that follows from the catalog alone."""
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
            ["a key lasts for", "reports joined", "bits about whose", "said by one install only"],
            held,
        ),
        installs=SIZES[Leak.NONE][0],
    )


_TEXT = """# What reports give away, measured

This page is written by `python tools/linkage.py --write`, from simulated months of many installs;
the seed is fixed. People's habits are invented, all else is the code that runs: recorder, outbox,
publisher, boxes, two relays, gossip. `tests/node/mine/test_linkage.py` measures it again, smaller.

## Can reports of one install be told?

Somebody holds one report, and is shown two more: one of the same install, one of another, of the
same type and day. A classifier (gradient boosted trees), trained on other installs, says which is
which. Guessing is right in 50 of 100 trials. One classifier sees what the reports declare, their
times included; the other sees everything that the topic shows: keys, ids, signatures, sizes, the
moment of publication, the bundle and the place in it, the relay. METH-4 asks that it does no
better; the test fails if the upper end of the interval of the gain reaches {margin} points on
default settings.

{linkage}
The lines under the first are controls, which switch one protection off. The second line is how
relays worked at first: a machine that was off hands in all that came due at its next start, which
then left in one window of 30 seconds. Since then [reports rest](decisions/0009-linger.md). The
third shows what a relay used by few tells: the route by which a report came. Two relays that many
use tell nothing.

## What do the values themselves tell?

That classifiers are right so often from the values alone is no fault of the network: a stable
combination of version, system and country, said every day, links itself. So types have a budget:

{budgets}
Fewer bits are needed, because not all combinations occur. Measured among {installs} invented
installs, for the values of one report (a bit halves the crowd; among few, the rarest reports
stand alone):

{bits}
## What would a longer pseudonym cost?

One key for several reports joins what they say. The more is joined, the more it says about whose
they are, and the more often nobody else says it:

{held}
Here, as everywhere on this page, {installs} installs are a small crowd: in a larger one, fewer
stand alone. `methrics trail` measures the same on your own reports against a real public file.

## What this does not show

- The relay that opens a box sees which reports came over one connection. Rest and mixing protect
  against everybody else; see the [threat model](threat-model.md#not-stopped).
- The `direct` route has no relay, so nothing rests: its peers see who sends what, and when.
- Whoever watches the wires of many people sees when they reach a relay. With a day of rest that
  says on which days somebody used the app, not which reports are theirs.
- The gain is a mean over installs with invented habits. Somebody who is away for weeks, and comes
  back, hands in old reports of known days: those arrive later than others of that day, and that
  shows.
- A relay whose memory is full lets reports go early, and one that is told not to linger does so
  always.
"""


def main(arguments: Sequence[str]) -> int:
    """0 when written or up to date, 1 when `--check` found a difference, 2 for wrong use."""
    if list(arguments) == ["--write"]:
        PAGE.write_text(page(), "utf-8")
        return 0
    if list(arguments) != ["--check"]:
        print("usage: python tools/linkage.py --write|--check", file=sys.stderr)
        return 2
    return 0 if budgets() in PAGE.read_text("utf-8") else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
