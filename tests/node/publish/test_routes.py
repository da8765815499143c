"""Routes: what a submitter concludes from what relays say, or do not say."""

from __future__ import annotations

import random
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from tests.listing import record_of

import methrics.schema
from methrics.node.network.memory import MemoryNetwork
from methrics.node.network.swarm import PeerId
from methrics.node.publish.direct_route import DirectRoute
from methrics.node.publish.routes import Fate, Outcome, Outgoing, merge, outcome_of
from methrics.node.relay.record_exchange import PROTOCOL, REQUEST_MAX, encode_records
from methrics.schema.catalog.catalog import load, sign
from methrics.schema.catalog.source import parse_source
from methrics.schema.wire.bundle import unpack
from methrics.schema.wire.envelope import Item, Kind, seal, split
from methrics.schema.wire.items import Report, encode_report
from methrics.schema.wire.limits import TIME_MAX
from methrics.schema.wire.record import sign_record
from methrics.schema.wire.verdict import Decision, Reason

EXAMPLE = Path(methrics.schema.__file__).parent / "example" / "example.toml"
CATALOG = load(sign(parse_source(EXAMPLE.read_text("utf-8")), b"s" * 32))
TOPIC = CATALOG.topic
BASE = 1_800_000_000
RECORD = record_of(CATALOG, seed=b"s" * 32)


def report(number: int) -> tuple[bytes, bytes]:
    payload = encode_report(Report(CATALOG.id, "heartbeat", BASE, {"os": "linux"}))
    raw = seal(Kind.REPORT, payload, number.to_bytes(32, "big"))
    return split(raw).id, raw


def outgoing_of(count: int) -> Outgoing:
    return Outgoing(TOPIC, (CATALOG.raw,), tuple(report(number) for number in range(count)))


@pytest.mark.parametrize(
    ("reason", "fate"),
    [
        (Reason.OK, Fate.ACKNOWLEDGED),
        (Reason.DUPLICATE, Fate.ACKNOWLEDGED),
        (Reason.QUOTA, Fate.RETRY),
        (Reason.EARLY, Fate.RETRY),
        (Reason.UNKNOWN_CATALOG, Fate.RETRY),
        (Reason.FOREIGN, Fate.RETRY),
        (Reason.LATE, Fate.RETRY),
        (Reason.EXPIRED, Fate.RETRY),
        (Reason.REVOKED, Fate.REFUSED),
        (Reason.OFF_SCHEMA, Fate.REFUSED),
    ],
)
def test_what_a_reason_means(reason: Reason, fate: Fate) -> None:
    assert outcome_of(reason) == Outcome(fate, str(reason))


@given(st.lists(st.sampled_from(list(Reason)), min_size=1, max_size=4))
def test_the_best_word_counts_and_one_refusal_is_not_final(reasons: list[Reason]) -> None:
    merged = merge(outcome_of(reason) for reason in reasons)
    fates = [outcome_of(reason).fate for reason in reasons]
    best = next(fate for fate in Fate if fate in fates)
    assert merged.fate is (Fate.RETRY if fates == [Fate.REFUSED] else best)
    assert merged.reason in map(str, reasons)


async def collect(messages: list[bytes], _peer: PeerId, message: bytes) -> Decision:
    messages.append(message)
    return Decision.ACCEPT


async def test_the_direct_route_publishes_without_joining(
    autojump_clock: trio.testing.MockClock,
) -> None:
    network = MemoryNetwork(rng=random.Random(1))
    messages: list[bytes] = []
    async with network.open_swarm() as peer, network.open_swarm(listen=False) as app:
        await peer.join(TOPIC, partial(collect, messages))
        route = DirectRoute(app, [peer.addrs[0]])
        outcomes = await route.deliver(outgoing_of(3))
        await trio.sleep(1)
        assert {one.fate for one in outcomes.values()} == {Fate.ACKNOWLEDGED}
        reports, notice = map(unpack, messages)
        assert (notice.about, notice.items) == (b"", [CATALOG.raw])
        assert reports.about == CATALOG.id
        assert sorted(reports.items) == sorted(raw for _, raw in outgoing_of(3).items)
        assert peer.peers(TOPIC) == frozenset()


async def test_the_direct_route_gives_up_without_peers(
    autojump_clock: trio.testing.MockClock,
) -> None:
    network = MemoryNetwork(rng=random.Random(1))
    async with network.open_swarm(listen=False) as app:
        gone, unusable = "/memory/gone/p2p/gone", dict[str, str]()
        route = DirectRoute(app, [gone], unusable=unusable)
        assert {one.fate for one in (await route.deliver(outgoing_of(2))).values()} == {Fate.RETRY}
        assert unusable == {gone: "the peer does not answer at that address"}


def newer_than(*before: Item, time: int = 1) -> Item:
    return sign_record(
        [CATALOG.id], b"s" * 32, time=time, expires=TIME_MAX, previous=[one.id for one in before]
    )


def test_the_first_relay_that_has_room_again_decides_when_to_try() -> None:
    full = [Outcome(Fate.RETRY, "quota", again) for again in (900, 60)]
    assert merge(full).again == 60
    assert merge([*full, Outcome(Fate.RETRY, "early")]).again == 0


async def test_the_direct_route_asks_its_peers_for_records(
    autojump_clock: trio.testing.MockClock,
) -> None:
    network, newer = MemoryNetwork(rng=random.Random(1)), newer_than(RECORD)
    async with (
        network.open_swarm() as first,
        network.open_swarm() as second,
        network.open_swarm(listen=False) as app,
    ):
        held = {first.peer_id: newer.raw, second.peer_id: RECORD.raw}

        async def answer(name: PeerId, _peer: PeerId, body: bytes) -> bytes:
            assert body.decode() == TOPIC
            await trio.lowlevel.checkpoint()
            return encode_records([held[name]])

        async def hear(name: PeerId, _peer: PeerId, message: bytes) -> Decision:
            await trio.lowlevel.checkpoint()
            held[name] = unpack(message).items[0]
            return Decision.ACCEPT

        for one in (first, second):
            await one.join(TOPIC, partial(hear, one.peer_id))
            one.serve(PROTOCOL, partial(answer, one.peer_id), request_max=REQUEST_MAX)
        route = DirectRoute(app, [*first.addrs, *second.addrs])
        assert sorted(await route.records(TOPIC, ())) == sorted([(newer.raw,), (RECORD.raw,)])
        assert set(held.values()) == {newer.raw}, "each peer was handed it, and may say so later"
