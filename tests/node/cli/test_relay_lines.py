"""What a relay prints while it runs: counts, records, and a clock that is wrong."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import pytest
from tests.listing import listed_book, record_of

from methrics.node.cli.relay_lines import RelayLines
from methrics.node.clock import ManualClock
from methrics.node.network.memory import MemoryNetwork
from methrics.node.relay.clock_watch import Skew
from methrics.node.relay.mixer import MixLimits
from methrics.node.relay.relay import Relay, RelaySettings
from methrics.schema.catalog.catalog import load, sign
from methrics.schema.catalog.source import parse_source
from methrics.schema.example import example_source
from methrics.schema.judging.book import CatalogBook
from methrics.schema.wire.record import decode_record

SEED = b"s" * 32
SOURCE = parse_source(example_source())
CATALOG = load(sign(SOURCE, SEED))
TOPIC = CATALOG.topic
SETTINGS = RelaySettings(topics=(TOPIC,))
AT = "2027-01-15T08:00:00Z "
"""The time of a `ManualClock`, at the beginning of each line for people."""


async def lines_of(
    capsys: pytest.CaptureFixture[str], book: CatalogBook, *, as_json: bool = False
) -> list[str]:
    """The lines at the start, and at two times of counts with a wrong clock."""
    clock = ManualClock()
    lines = RelayLines(SETTINGS, book, clock, as_json=as_json)
    async with MemoryNetwork().open_swarm() as swarm:
        relay = Relay(swarm, book, SETTINGS, clock=clock, rng=random.Random(1))
        relay.statistics.skew = Skew(behind=True, seconds=7200)
        relay.statistics.answers.update({"quota": 3, "unlisted": 1})
        relay.statistics.gossip.update({"unlisted": 2})
        lines.listening(swarm.addrs)
        lines.counts(relay, swarm)
        lines.counts(relay, swarm, "stopped")
    return capsys.readouterr().out.replace(AT, "").splitlines()


async def test_the_lines_for_a_person(capsys: pytest.CaptureFixture[str]) -> None:
    book = CatalogBook([TOPIC])
    book.add(CATALOG, given=True)
    assert await lines_of(capsys, book) == [
        "listening on /memory/memory0001/p2p/memory0001",
        f"carrying {TOPIC}",
        "each report rests for up to 1d and leaves at a random moment "
        "(to try things out, --rest 0s: it leaves within 30s)",
        f"{TOPIC}: no record yet; its reports are refused until one arrives",
        "counts: pooled 0, published 0, bundles 0, elsewhere 0, waiting 0, unlisted 3, quota 3, "
        "opened 0, unopened 0, forwarded 0, unanswered 0, spreading 0",
        "clock: this machine's clock is probably 2 h behind, or more",
        "stopped: pooled 0, published 0, bundles 0, elsewhere 0, waiting 0, unlisted 3, quota 3, "
        "opened 0, unopened 0, forwarded 0, unanswered 0, spreading 0",
        "clock: this machine's clock is probably 2 h behind, or more",
    ]


async def test_a_catalog_that_is_not_listed_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    book = listed_book(CATALOG, seed=SEED, topics=[TOPIC])
    later = load(sign(SOURCE, SEED, CATALOG))
    book.add(later, given=True)
    said = await lines_of(capsys, book)
    short = later.id.hex()[:16]
    assert f"catalog {short} is not in the record of {TOPIC}; it is not used" in said
    assert f"{TOPIC}: record of 1970-01-01 00:00 UTC, catalogs 1" in said


async def test_the_lines_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    book = listed_book(CATALOG, seed=SEED, topics=[TOPIC])
    item = record_of(seed=SEED, time=600)
    book.records.add(item, decode_record(item.payload))
    listening, counts, stopped = map(json.loads, await lines_of(capsys, book, as_json=True))
    (record,) = listening["records"]
    assert (record["topic"], record["time"], record["equivocation"]) == (TOPIC, 600, True)
    assert "used twice" in record["warning"]
    assert (counts["event"], stopped["event"]) == ("counts", "stopped")
    for name, value in (("waiting", 0), ("unlisted", 3), ("quota", 3)):
        assert counts[name] == value
    assert counts["clock"] == {"behind": True, "seconds": 7200}
    assert counts["records"] == [record]
    assert counts["swarm"]["waiting"] == 0
    assert MixLimits().rest == listening["rest"]


@pytest.mark.parametrize("as_json", [False, True])
async def test_a_change_of_a_record_is_said_without_waiting_for_counts(
    capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    book = CatalogBook([TOPIC])
    lines = RelayLines(SETTINGS, book, ManualClock(), as_json=as_json)
    lines.listening(())
    capsys.readouterr()
    lines.changes()
    assert capsys.readouterr().out == ""
    item = record_of(CATALOG, seed=SEED)
    book.records.add(item, decode_record(item.payload))
    lines.changes()
    (said,) = capsys.readouterr().out.splitlines()
    if as_json:
        event = json.loads(said)
        assert (event["event"], event["records"][0]["catalogs"]) == ("records", 1)
    else:
        assert said == f"{AT}{TOPIC}: record of 1970-01-01 00:00 UTC, catalogs 1"
    lines.changes()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("announce", "hints"), [((), 1), (("/ip4/203.0.113.5/tcp/1",), 1), (("https://r.example/",), 0)]
)
def test_who_opens_http_doors_is_told_to_announce_their_url(
    capsys: pytest.CaptureFixture[str], announce: tuple[str, ...], hints: int
) -> None:
    settings = replace(SETTINGS, announce=announce)
    lines = RelayLines(settings, CatalogBook([TOPIC]), ManualClock(), as_json=False)
    lines.doors("https://0.0.0.0:443/")
    first, *others = capsys.readouterr().out.splitlines()
    assert first == f"{AT}doors over HTTP at https://0.0.0.0:443/"
    assert len(others) == hints
    assert all("--announce https://" in one for one in others)
