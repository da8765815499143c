"""Computes what a network of many installs needs, for docs/scale.md. Pure.

Everything follows from docs/measured.toml, that is from what benchmarks measured and what it says
to be assumed, and from limits in the code. `section()` is the part of the page; `make docs` writes
it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import measured
from measured import Measured

from methrics.node.relay.mixer import ITEM_COST, MixLimits
from methrics.schema.example import example_catalog
from methrics.schema.wire.limits import BUNDLE_AIM

INSTALLS = (1_000_000, 100_000_000, 1_000_000_000)
"""Numbers of installs that share."""

DAY, YEAR_DAYS = 86_400, 365

HEADS = 5
"""Bytes that a bundle adds to each report."""

RELAYS_LEAST = 3
"""An app submits to two relays, and one may fail."""

SUBMITTED = 2
"""Relays to which an app hands each report."""

LARGE = 16 * 2**30
"""Memory of relays that are shown for comparison, in bytes."""

LEAVES = 100
"""Listeners of the relay whose traffic `leaf_copies` is. A shard listens in the same way."""

SHARDS = (1, 2, 4, 8, 16)
"""Aggregators among which the ids can be divided (docs/decisions/0026-shards.md)."""

ROOM = 0.7
"""Share of the measured rate that one aggregator should be used to in the busiest hour."""


@dataclass(frozen=True, kw_only=True)
class Use:
    """What an install that shares sends."""

    title: str
    per_day: float
    """Reports of an install and day."""
    bytes: float
    """Signed bytes of a report."""


@dataclass(frozen=True, kw_only=True)
class Need:
    """What one app with `installs` installs needs. Rates are per second, and means unless their
    name says otherwise."""

    installs: int
    per_day: float
    """Reports a day."""
    rate: float
    busiest: float
    """Reports a second in the busiest hour."""
    relays: int
    bundles: float
    """Bundles a second."""
    traffic: float
    """Bytes a second that a relay or a whole aggregator receives; it sends about as many."""
    shards: int
    """Aggregators among which the ids are divided; 0 if the most there can be are too few."""
    cores: float
    """Cores that are busy in the busiest hour, over all shards, with the gossip of the whole
    aggregator, or of the relay that feeds the shards."""
    received: float
    """Bytes a second that these receive together."""
    relay_cores: float
    """The same of one relay."""
    file: float
    """Bytes of the DuckDB file: the open months."""
    raw: float
    """Bytes of Parquet of the exact bytes, a year."""
    types: float
    """Bytes of Parquet of the columns, a year."""
    day_seconds: float
    """Seconds until an aggregator that was off for a day has what it missed."""
    day_bytes: float
    """Bytes on the network for that."""
    aggregator_cost: float
    """Cost of an aggregator in its first year."""
    relays_cost: float
    """Cost of all relays, a year."""


def uses(known: Measured) -> tuple[Use, Use]:
    """Return the two kinds of use for which the page has a table."""
    return (
        Use(
            title="A heartbeat a week (MARS-14)",
            per_day=known["user_per_day"],
            bytes=known["report_bytes"],
        ),
        Use(
            title="All event types of the example catalog",
            per_day=known["mix_per_day"],
            bytes=known["mix_report_bytes"],
        ),
    )


def need(known: Measured, installs: int, use: Use, relay_bytes: int = 0) -> Need:
    """Compute what `installs` installs need, with relays that have `relay_bytes` of memory for what
    rests; 0 for the limit in the code."""
    relay_bytes = relay_bytes or MixLimits().bytes_max
    per_day = installs * use.per_day
    rate = per_day / DAY
    busiest = rate * known["busiest"]
    relays, bundles = _relays(per_day, use, relay_bytes)
    bundle_bytes = rate * (use.bytes + HEADS)
    traffic = bundle_bytes * known["mesh_copies"]
    gossip_cores = known["busiest"] * bundles * known["mesh_copies"] * known["gossip_ms"] / 1e3
    relay_cores = SUBMITTED * busiest / relays * known["relay_share"] * known["ingest_us"] / 1e6
    relay_cores += gossip_cores
    shards = shards_for(known, busiest, gossip_cores)
    each = shards or SHARDS[-1]
    cores = each * busiest * shard_us(known, each) / 1e6 + gossip_cores
    received = traffic if each == 1 else each * bundle_bytes * known["leaf_copies"] / LEAVES
    year = per_day * YEAR_DAYS
    raw, types = year * known["raw_bytes"], year * known["types_bytes"]
    file = per_day * open_days() * known["file_bytes"]
    terabytes = traffic * DAY * YEAR_DAYS / 1e12
    return Need(
        installs=installs,
        per_day=per_day,
        rate=rate,
        busiest=busiest,
        relays=relays,
        bundles=bundles,
        traffic=traffic,
        shards=shards,
        cores=cores,
        received=received,
        relay_cores=relay_cores,
        file=file,
        raw=raw,
        types=types,
        day_seconds=per_day / known["backfill_rate"],
        day_bytes=per_day * known["backfill_bytes"],
        aggregator_cost=12 * math.ceil(cores) * known["core_price"]
        + 12 * each * known["memory"] / 1024 * known["memory_price"]
        + 12 * (2 * file + (raw + types) / 2) / 1e9 * known["disk_price"]
        + (terabytes * known["traffic_price"] if each == 1 else 0),
        relays_cost=relays
        * (
            12 * math.ceil(relay_cores) * known["core_price"]
            + 12 * relay_bytes / 2**30 * known["memory_price"]
            + terabytes * known["traffic_price"]
        ),
    )


def shard_us(known: Measured, shards: int) -> float:
    """Return the microseconds of CPU that one shard needs for each report that arrives: it splits
    every bundle, and judges and stores its own part of the reports."""
    own = 1 / shards
    return known["ingest_us"] * own + known["split_us"] * (1 - own)


def shards_for(known: Measured, busiest: float, gossip_cores: float = 0.0) -> int:
    """Return the least number of shards that keep up with `busiest` reports a second, with room to
    spare; 0 if there is none. `gossip_cores`: what gossip costs an aggregator without shards;
    shards are leaves, which get each bundle once."""
    able = ROOM * known["ingest_rate"] * known["ingest_us"]
    for shards in SHARDS:
        left = able - (gossip_cores * 1e6 if shards == 1 else 0.0)
        if busiest * shard_us(known, shards) <= left:
            return shards
    return 0


def _relays(per_day: float, use: Use, relay_bytes: int) -> tuple[int, float]:
    """Return the number of relays whose memory has room for all reports that rest, and the bundles
    that they publish in a second.

    A report rests until a moment of the day after its arrival, so on average for one day.
    """
    limits = MixLimits()
    resting = SUBMITTED * per_day * limits.rest / DAY
    relays = max(RELAYS_LEAST, math.ceil(resting * (use.bytes + ITEM_COST) / relay_bytes))
    leaving = per_day / DAY * limits.batch_window / relays
    whole = BUNDLE_AIM / (use.bytes + HEADS)
    each = 1 - math.exp(-leaving) if leaving < whole else leaving / whole
    return relays, relays * each / limits.batch_window


def open_days() -> int:
    """Return for how many days a report of the first day of a month is in the DuckDB file: until
    the month is over, and the longest lateness and one more day."""
    lateness = max(one.lateness for one in example_catalog().types.values())
    return 31 + math.ceil(lateness / DAY) + 1


ROWS: Sequence[tuple[str, str]] = (
    ("reports a day", "per_day"),
    ("reports a second, mean and busiest hour", "rates"),
    ("topics", "topics"),
    ("relays of {mixing} MiB", "relays"),
    ("bundles a second", "bundles"),
    ("traffic into a relay, and about the same out", "traffic"),
    ("cores of a relay, busiest hour", "relay_cores"),
    ("shards of an aggregator", "shards"),
    ("cores of all of them, busiest hour", "cores"),
    ("traffic into all of them", "received"),
    ("DuckDB file, open months", "file"),
    ("Parquet of the exact bytes, a year", "raw"),
    ("Parquet of the columns, a year", "types"),
    ("to catch up after a day off: time", "day_seconds"),
    ("to catch up after a day off: bytes", "day_bytes"),
    ("cost of an aggregator, first year", "aggregator_cost"),
    ("cost of all relays, a year", "relays_cost"),
)
"""The rows of a table: their title, and what `_cell` shows."""

LARGE_ROWS: Sequence[tuple[str, str]] = (
    ("relays, if each had 16 GiB", "relays"),
    ("cost of all of these, a year", "relays_cost"),
)
"""More rows, which show relays of `LARGE` memory."""

MESH_NODES = 1000
"""Nodes of the largest network that was simulated: see the figure `mesh_copies`."""

BEYOND_RATE = ("relays", "bundles", "traffic", "relay_cores", "shards", "cores", "received")
"""Rows that are extrapolated if the rate is beyond the measured one, or if there are more relays
than that: gossip is a part of each."""
BEYOND_SET = ("file", "raw", "types", "day_seconds", "day_bytes")
"""Rows that are extrapolated if a day has more reports than the measured sets."""
COSTS = ("aggregator_cost", "relays_cost")


def extrapolated(known: Measured, one: Need, row: str) -> bool:
    """Tell whether a figure lies beyond what was measured."""
    rate, days = one.busiest > known["ingest_rate"], one.per_day > known["set_size"]
    mesh = one.relays > MESH_NODES
    if row in COSTS:
        return rate or days or mesh
    return ((rate or mesh) and row in BEYOND_RATE) or (days and row in BEYOND_SET)


def section() -> str:
    """Return the generated part of docs/scale.md."""
    known = measured.load()
    return "\n".join([*_tables(known), *_figures(known), *_limits(), *_assumptions(known)])


def _tables(known: Measured) -> Iterator[str]:
    for use in uses(known):
        needs = [need(known, installs, use) for installs in INSTALLS]
        large = [need(known, installs, use, LARGE) for installs in INSTALLS]
        yield f"### {use.title}\n"
        yield f"{use.per_day:.3g} reports of an install and day, each {use.bytes:.0f} bytes.\n"
        yield _line("installs that share", *(_short(one.installs) for one in needs))
        yield _line(*["---"] * (len(needs) + 1))
        for rows, of in ((ROWS, needs), (LARGE_ROWS, large)):
            for title, row in rows:
                cells = [_shown(known, one, row) for one in of]
                yield _line(title.format(mixing=MixLimits().bytes_max >> 20), *cells)
        yield ""


def _shown(known: Measured, one: Need, row: str) -> str:
    text = _cell(one, row)
    return f"*{text}*" if extrapolated(known, one, row) else text


def _cell(one: Need, row: str) -> str:
    match row:
        case "topics":
            return "1"
        case "rates":
            return f"{_short(one.rate)}, {_short(one.busiest)}"
        case "traffic" | "received":
            return f"{_bytes(getattr(one, row))}/s"
        case "shards":
            return f"{one.shards}" if one.shards else f"{SHARDS[-1]}, too few"
        case "relays":
            return f"{one.relays:,}"
        case "file" | "raw" | "types" | "day_bytes":
            return _bytes(getattr(one, row))
        case "day_seconds":
            return _time(one.day_seconds)
        case "aggregator_cost" | "relays_cost":
            return f"${_short(getattr(one, row))}"
    return _short(getattr(one, row))


def _figures(known: Measured) -> Iterator[str]:
    yield "### What was measured\n"
    yield _line("figure", "value", "measured by", "on")
    yield _line(*["---"] * 4)
    for one in known.figures.values():
        value = f"{one.value:,} {one.unit}".removesuffix(" 1")
        yield _line(one.says, value, f"`{one.command}`", f"{one.date}, {one.machine}")
    yield ""
    for name, says in known.machines.items():
        yield f"*{name}*: {says}."
    yield ""


def _limits() -> Iterator[str]:
    limits = MixLimits()
    yield "### What follows from the code\n"
    yield _line("limit", "value")
    yield _line(*["---"] * 2)
    yield _line(
        "memory of a relay for a report that rests, besides its bytes", f"{ITEM_COST} bytes"
    )
    yield _line("a bundle adds to each report", f"{HEADS} bytes")
    yield _line("reports of a full bundle", f"{BUNDLE_AIM:,} bytes")
    yield _line("a relay collects a bundle for", f"{limits.batch_window:g} s")
    yield _line("relays to which an app hands each report", f"{SUBMITTED}")
    yield _line("least number of relays", f"{RELAYS_LEAST}")
    yield _line("an aggregator is used to this share of its measured rate, at most", f"{ROOM:g}")
    yield _line("a report is in the DuckDB file for at most", f"{open_days()} days")
    yield ""


def _assumptions(known: Measured) -> Iterator[str]:
    yield "### What is assumed\n"
    yield _line("assumption", "value")
    yield _line(*["---"] * 2)
    for one in known.assumptions.values():
        value = f"${one.value:g}" if one.unit == "$" else f"{one.value:g}"
        yield _line(one.says, value)
    yield ""


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _short(number: float) -> str:
    """Format a number with two digits: `0.14`, `3.3`, `1,700`, `14 million`."""
    for size, name in ((1e9, " billion"), (1e6, " million")):
        if number >= size:
            return f"{_two(number / size)}{name}"
    return _two(number)


def _two(number: float) -> str:
    """Format a number, rounded to two digits."""
    if number == 0:
        return "0"
    digits = 1 - math.floor(math.log10(abs(number)))
    rounded = round(number, digits)
    return f"{rounded:,.{max(0, digits)}f}".removesuffix(".0")


def _bytes(size: float) -> str:
    for unit, name in ((1e15, "PB"), (1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if size >= unit:
            return f"{_two(size / unit)} {name}"
    return f"{_two(size)} bytes"


def _time(seconds: float) -> str:
    for unit, name in ((2 * DAY, "days"), (3600, "h"), (60, "min")):
        if seconds >= unit:
            return f"{_two(seconds / (DAY if name == 'days' else unit))} {name}"
    return f"{_two(seconds)} s"
