"""Measures how many people a bad pair of relays touches: `python tools/ways.py --write|--check`.

One of five entries and one of five exits are bad and work together. Installs send boxes, and the
code that publishers run chooses entry and exit. Other designs choose by the few lines below. The
table is a section of docs/privacy-measured.md; tests/house/test_bad_pairs.py repeats it with fewer
installs.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import mean
from typing import NamedTuple

from methrics.node.publish.entries import (
    DAY,
    KeptEntries,
    Offer,
    next_entry,
    note_answer,
    note_silence,
)
from methrics.node.publish.ways import KnownRelay, Named, draw_exit, exits

PAGE = Path(__file__).resolve().parent.parent / "docs" / "privacy-measured.md"
BEGIN, END = "<!-- from tools/ways.py -->\n", "<!-- end of ways -->\n"

RELAYS = 5
"""Entries, and as many exits. Number 0 of each is bad."""

INSTALLS, VISITS, BOXES, SEEDS = 600, 45, 3, (1, 2, 3, 4, 5)
"""Installs of one run, their visits (one a day), the boxes of each visit, and the runs."""

YEAR = 365

START = 1_800_000_000
TOPIC = "/methrics/1/example-0/cbor"

Way = tuple[int, int]
"""The numbers of an entry and an exit."""

Design = Callable[[random.Random, int], Iterator[list[list[Way]]]]
"""Yields for each visit, of which it gets the count, the ways of each box."""


def _relay(number: int, role: str) -> KnownRelay:
    """A relay of its own operator in its own network."""
    net = number + (100 if role == "exit" else 0)
    return KnownRelay(
        net.to_bytes(32, "big"),
        (f"/ip4/10.{net}.0.1/tcp/1/p2p/{role}{number}",),
        frozenset({role}),
        frozenset({TOPIC}) if role == "exit" else frozenset(),
        f"operator {net}",
        b"key" if role == "exit" else b"",
    )


KNOWN = [_relay(number, role) for role in ("entry", "exit") for number in range(RELAYS)]
ENTRIES = {one.addresses[0]: number for number, one in enumerate(KNOWN[:RELAYS])}
EXITS = {one.id: number for number, one in enumerate(KNOWN[RELAYS:])}


def kept_entry(
    rng: random.Random, visits: int, *, blocked: bool = False
) -> Iterator[list[list[Way]]]:
    """What publishers do: one entry for months, an exit for each box. `blocked`: somebody blocks
    the connections to all entries but the bad one."""
    kept, offer = KeptEntries(), Offer(found=tuple(ENTRIES))
    for visit in range(visits):
        now, tried = START + visit * DAY, list[str]()
        kept, entry = next_entry(kept, offer, tried, now, rng)
        while entry is not None and blocked and ENTRIES[entry.address] != 0:
            kept = note_silence(kept, entry.address, now)
            tried.append(entry.address)
            kept, entry = next_entry(kept, offer, tried, now, rng)
        if entry is None:
            yield []
            continue
        kept = note_answer(kept, entry.address)
        drawn = exits(entry.address, TOPIC, KNOWN, Named()).relays
        yield [[(ENTRIES[entry.address], _exit(drawn, rng))] for _ in range(BOXES)]


def _exit(drawn: Sequence[KnownRelay], rng: random.Random) -> int:
    one = draw_exit(drawn, rng)
    assert one is not None
    return EXITS[one.id]


def blocked_entries(rng: random.Random, visits: int) -> Iterator[list[list[Way]]]:
    """What publishers do while all entries but the bad one are blocked."""
    return kept_entry(rng, visits, blocked=True)


def pair_for_each_visit(rng: random.Random, visits: int) -> Iterator[list[list[Way]]]:
    """One entry and one exit for all boxes of a visit."""
    for _ in range(visits):
        way = rng.randrange(RELAYS), rng.randrange(RELAYS)
        yield [[way]] * BOXES


def two_pairs_for_each_visit(rng: random.Random, visits: int) -> Iterator[list[list[Way]]]:
    """Two pairs without a common relay; each gets all boxes of a visit."""
    for _ in range(visits):
        ways = zip(rng.sample(range(RELAYS), 2), rng.sample(range(RELAYS), 2), strict=True)
        yield [list(ways)] * BOXES


def two_kept_entries(rng: random.Random, visits: int) -> Iterator[list[list[Way]]]:
    """Two entries are kept; each box goes over one of them, to an exit of its own."""
    two = rng.sample(range(RELAYS), 2)
    for _ in range(visits):
        yield [[(rng.choice(two), rng.randrange(RELAYS))] for _ in range(BOXES)]


def one_relay(rng: random.Random, visits: int) -> Iterator[list[list[Way]]]:
    """The only relay is entry and exit, or one operator runs all relays, and is bad."""
    del rng
    for _ in range(visits):
        yield [[(0, 0)]] * BOXES


DESIGNS: dict[str, tuple[Design, int]] = {
    "**one kept entry, an exit for each box**": (kept_entry, VISITS),
    "the same, for a year": (kept_entry, YEAR),
    "the same, and all entries but the bad one are blocked": (blocked_entries, VISITS),
    "two kept entries, an exit for each box": (two_kept_entries, VISITS),
    "a pair drawn anew at each visit": (pair_for_each_visit, VISITS),
    "two pairs drawn anew at each visit, each box to both": (two_pairs_for_each_visit, VISITS),
    "one relay alone, or one operator of all relays": (one_relay, VISITS),
}
"""The rows of the table: the design, and the visits of each install."""


class Touched(NamedTuple):
    """Shares, from 0 to 1. `linked`: installs of which the bad pair saw address and content of a
    report at some time. `seen`: reports of which it did. `times`: the same among the reports of
    installs that are linked."""

    linked: float
    seen: float
    times: float


def run(design: Design, visits: int, *, installs: int, seed: int) -> Touched:
    """Simulates `installs` that each visit `visits` times."""
    rng = random.Random(f"{design.__name__} {visits} {seed}")
    counts = [
        [(0, 0) in ways for boxes in design(rng, visits) for ways in boxes] for _ in range(installs)
    ]
    total = sum(map(len, counts))
    linked = [one for one in counts if any(one)]
    seen = sum(map(sum, linked))
    return Touched(len(linked) / installs, seen / total, seen / max(1, sum(map(len, linked))))


def measure(name: str, installs: int, seeds: Sequence[int]) -> list[Touched]:
    """Runs a row of the table with each seed."""
    design, visits = DESIGNS[name]
    return [run(design, visits, installs=installs, seed=seed) for seed in seeds]


def _percent(values: Sequence[float]) -> str:
    low, high = (f"{100 * one:.0f}" for one in (min(values), max(values)))
    middle = f"{100 * mean(values):.0f} %"
    return middle if low == high else f"{middle} ({low} to {high})"


def section(installs: int = INSTALLS, seeds: Sequence[int] = SEEDS) -> str:
    """The table, with the marks around it."""
    lines = [
        "| how the relays are chosen | visits | installs linked at some time "
        "| reports seen | reports seen of a linked install |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name in DESIGNS:
        found = measure(name, installs, seeds)
        shares = (_percent(values) for values in zip(*found, strict=True))
        lines.append(f"| {name} | {DESIGNS[name][1]} | {' | '.join(shares)} |")
    return BEGIN + "".join(f"{line}\n" for line in lines) + END


def replaced(page: str, table: str) -> str:
    """The page with another table. Raises ValueError if it has no place for one."""
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    return before + table + after


def main(arguments: Sequence[str]) -> int:
    """Exit code: 0 if written or up to date, 1 if `--check` found a difference, 2 for wrong use."""
    page = PAGE.read_text("utf-8")
    if list(arguments) == ["--write"]:
        PAGE.write_text(replaced(page, section()), "utf-8")
        return 0
    if list(arguments) != ["--check"]:
        print("usage: python tools/ways.py --write|--check", file=sys.stderr)
        return 2
    return 0 if section() in page else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
