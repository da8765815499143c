"""Routes: what a submitter concludes from what relays say, or do not say."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from tests.listing import record_of

import methrics.schema
from methrics.node.clock import Clock
from methrics.node.network.memory import MemoryNetwork, MemorySwarm
from methrics.node.network.swarm import PeerId
from methrics.node.publish.direct_route import DirectRoute
from methrics.node.publish.relay_client import NOT_CARRIED
from methrics.node.publish.relay_route import RELAYS_AT_A_TIME, RELAYS_MORE, RelayRoute
from methrics.node.publish.routes import Fate, Outcome, Outgoing, merge, outcome_of
from methrics.node.relay import submit
from methrics.node.relay.boxes import BoxKey, unseal
from methrics.node.relay.record_exchange import PROTOCOL, REQUEST_MAX, encode_records
from methrics.schema.catalog.catalog import load, sign
from methrics.schema.catalog.source import parse_source
from methrics.schema.errors import ConfigError
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


class TrioClock(Clock):
    """Wall time that moves with the simulated clock."""

    def now(self) -> int:
        return BASE + int(trio.current_time())


def report(number: int) -> tuple[bytes, bytes]:
    payload = encode_report(Report(CATALOG.id, "heartbeat", BASE, {"os": "linux"}))
    raw = seal(Kind.REPORT, payload, number.to_bytes(32, "big"))
    return split(raw).id, raw


def outgoing_of(count: int) -> Outgoing:
    return Outgoing(TOPIC, CATALOG.raw, tuple(report(number) for number in range(count)))


class StandIn:
    """A relay that says what a test tells it to, and remembers what it was handed."""

    def __init__(self, swarm: MemorySwarm, say: Reason | str, knows: bool = True) -> None:
        self.addr = swarm.addrs[0]
        self.key = BoxKey.fresh()
        self.say = say
        self.knows = knows
        self.items: list[bytes] = []
        self.peers: set[PeerId] = set()
        self.topics: tuple[str, ...] = (TOPIC,)
        self.records: list[bytes] = [RECORD.raw]
        self.takes_records = True
        self.asked: list[str | None] = []
        self.again: int | None = None
        """When a relay that is full wants to be asked again."""
        self.time = BASE
        swarm.serve(submit.RELAY, self.describe, request_max=submit.DESCRIBE_MAX)
        swarm.serve(submit.SUBMIT, self.submit, request_max=submit.SUBMIT_MAX)

    async def describe(self, peer: PeerId, body: bytes) -> bytes:
        if self.say == "silent":
            await trio.sleep_forever()
        if self.say == "garbage":
            return b"\xff"
        self.asked.append(submit.decode_describe_request(body))
        description = submit.Description(
            self.key.public, self.topics, self.time, 3600, tuple(self.records), self.again
        )
        return submit.encode_description(description)

    async def submit(self, peer: PeerId, body: bytes) -> bytes:
        self.peers.add(peer)
        said: list[Reason] = []
        for box in submit.decode_request(body):
            raw = unseal(box, self.key)
            if split(raw).kind is Kind.RECORD:
                self.records = [raw] if self.takes_records else self.records
                said.append(Reason.OK if self.takes_records else Reason.UNKNOWN_KIND)
                continue
            if raw == CATALOG.raw:
                self.knows = True
                said.append(Reason.OK)
                continue
            self.items.append(raw)
            said.append(Reason(self.say) if self.knows else Reason.UNKNOWN_CATALOG)
        if self.say == "short":
            said.pop()
        return submit.encode_reply(submit.Reply(tuple(said), self.again))


@asynccontextmanager
async def relays(*says: Reason | str) -> AsyncIterator[tuple[MemorySwarm, list[StandIn]]]:
    network = MemoryNetwork(rng=random.Random(1))
    async with AsyncExitStack() as stack:
        swarms = [await stack.enter_async_context(network.open_swarm()) for _ in says]
        app = await stack.enter_async_context(network.open_swarm(listen=False))
        yield app, [StandIn(swarm, say) for swarm, say in zip(swarms, says, strict=True)]


def route_to(swarm: MemorySwarm, addrs: Sequence[str], seed: int = 1) -> RelayRoute:
    return RelayRoute(swarm, addrs, rng=random.Random(seed), timeout=10)


async def deliver(*says: Reason | str, count: int = 1, knows: bool = True) -> list[Outcome]:
    async with relays(*says) as (app, found):
        for one in found:
            one.knows = knows
        outcomes = await route_to(app, [one.addr for one in found]).deliver(outgoing_of(count))
        assert set(outcomes) == {report(number)[0] for number in range(count)}
        return list(outcomes.values())


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


async def test_two_relays_get_everything(autojump_clock: trio.testing.MockClock) -> None:
    async with relays(Reason.OK, Reason.OK, Reason.OK) as (app, found):
        outcomes = await route_to(app, [one.addr for one in found]).deliver(outgoing_of(3))
        assert {one.fate for one in outcomes.values()} == {Fate.ACKNOWLEDGED}
        assert sorted(len(one.items) for one in found) == [0, 3, 3]


async def test_dead_relays_are_passed_over(autojump_clock: trio.testing.MockClock) -> None:
    dead = "/memory/gone/p2p/gone"
    async with relays(Reason.OK) as (app, found):
        for seed in range(8):
            route = route_to(app, [dead, found[0].addr, dead + "1" * 0, dead], seed)
            (outcome,) = (await route.deliver(outgoing_of(1))).values()
            assert outcome.fate is Fate.ACKNOWLEDGED


@pytest.mark.parametrize("says", ["silent", "garbage", "short"])
async def test_attack_a_relay_that_breaks_the_rules_costs_nothing_but_time(
    autojump_clock: trio.testing.MockClock, says: str
) -> None:
    assert [one.fate for one in await deliver(says)] == [Fate.RETRY]
    assert [one.fate for one in await deliver(says, Reason.OK)] == [Fate.ACKNOWLEDGED]


async def test_attack_one_relay_cannot_override_the_acknowledgement_of_another(
    autojump_clock: trio.testing.MockClock,
) -> None:
    assert [one.fate for one in await deliver(Reason.FORGED, Reason.OK)] == [Fate.ACKNOWLEDGED]
    assert [one.fate for one in await deliver(Reason.FORGED, Reason.QUOTA)] == [Fate.RETRY]
    assert await deliver(Reason.FORGED, Reason.FORGED) == [Outcome(Fate.REFUSED, "forged")]
    assert await deliver(Reason.FORGED, "silent") == [Outcome(Fate.RETRY, "forged")]
    assert await deliver(Reason.FORGED) == [Outcome(Fate.RETRY, "forged")]


@pytest.mark.parametrize("reason", [Reason.EARLY, Reason.LATE, Reason.EXPIRED])
async def test_a_relay_with_a_wrong_clock_is_replaced_by_another(
    autojump_clock: trio.testing.MockClock, reason: Reason
) -> None:
    async with relays(reason, reason, Reason.OK) as (app, found):
        for seed in range(6):
            route = route_to(app, [one.addr for one in found], seed)
            (outcome,) = (await route.deliver(outgoing_of(1))).values()
            assert outcome.fate is Fate.ACKNOWLEDGED
    assert await deliver(reason, reason, reason, reason, reason) == [
        Outcome(Fate.RETRY, str(reason))
    ]


async def test_a_wrong_clock_makes_few_more_relays_see_the_address(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with relays(*[Reason.LATE] * 9) as (app, found):
        await route_to(app, [one.addr for one in found]).deliver(outgoing_of(1))
        assert sum(len(one.items) for one in found) == RELAYS_AT_A_TIME * (1 + RELAYS_MORE)


async def test_relays_tell_their_time(autojump_clock: trio.testing.MockClock) -> None:
    told: list[int] = []
    async with relays(Reason.OK, Reason.OK) as (app, found):
        found[0].time = BASE - 7200
        outgoing = replace(outgoing_of(1), told=told.append)
        await route_to(app, [one.addr for one in found]).deliver(outgoing)
    assert sorted(told) == [BASE - 7200, BASE]


async def test_unreachable_relays_mean_retry(autojump_clock: trio.testing.MockClock) -> None:
    async with relays() as (app, _):
        route = route_to(app, ["/memory/gone/p2p/gone"])
        assert list((await route.deliver(outgoing_of(1))).values()) == [
            Outcome(Fate.RETRY, "unreachable")
        ]


async def test_relays_that_cannot_be_used_are_named_with_the_reason(
    autojump_clock: trio.testing.MockClock,
) -> None:
    gone = "/memory/gone/p2p/gone"
    async with relays("silent", Reason.OK) as (app, (silent, foreign)):
        foreign.topics = ("other",)
        for ask in (
            lambda route: route.records(TOPIC, ()),
            lambda route: route.deliver(outgoing_of(1)),
        ):
            unusable: dict[str, str] = {}
            addrs = [gone, silent.addr, foreign.addr]
            rng = random.Random(1)
            await ask(RelayRoute(app, addrs, rng=rng, timeout=10, unusable=unusable))
            assert unusable == {
                gone: "the peer does not answer at that address",
                silent.addr: "the relay did not answer in time",
                foreign.addr: NOT_CARRIED,
            }


async def test_an_unknown_catalog_is_sent_and_the_reports_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    assert {one.fate for one in await deliver(Reason.OK, count=5, knows=False)} == {
        Fate.ACKNOWLEDGED
    }


async def test_many_reports_take_several_requests(autojump_clock: trio.testing.MockClock) -> None:
    assert [one.fate for one in await deliver(Reason.OK, count=150)] == [Fate.ACKNOWLEDGED] * 150


async def test_a_relay_that_does_not_carry_the_topic_gets_nothing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with relays(Reason.OK) as (app, found):
        found[0].topics = ("other",)
        (outcome,) = (await route_to(app, [found[0].addr]).deliver(outgoing_of(1))).values()
        assert outcome.fate is Fate.RETRY
        assert found[0].items == []


def test_a_relay_route_needs_a_relay() -> None:
    with pytest.raises(ConfigError):
        RelayRoute(None, [], rng=random.Random(1))  # type: ignore[arg-type]


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


async def test_two_relays_are_asked_and_the_same_two_get_the_reports(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with relays(*[Reason.OK] * 5) as (app, found):
        route = route_to(app, [one.addr for one in found])
        assert await route.records(TOPIC, ()) == [(RECORD.raw,)] * 2
        await route.deliver(outgoing_of(1))
        asked = [one for one in found if one.asked]
        assert [one.asked for one in asked] == [[TOPIC]] * 2
        assert [len(one.items) for one in asked] == [1, 1]


async def test_attack_what_the_publisher_itself_hands_to_a_relay_does_not_count_as_agreement(
    autojump_clock: trio.testing.MockClock,
) -> None:
    newer = newer_than(RECORD)
    async with relays(Reason.OK, Reason.OK) as (app, found):
        found[0].records = [newer.raw]
        route = route_to(app, [one.addr for one in found])
        assert sorted(await route.records(TOPIC, ())) == sorted([(newer.raw,), (RECORD.raw,)])
        assert found[1].records == [newer.raw], "the relay with the older one was handed the newer"
        assert await route.records(TOPIC, ()) == [(newer.raw,)] * 2, "a later answer counts"


async def test_the_record_that_this_machine_kept_is_handed_on(
    autojump_clock: trio.testing.MockClock,
) -> None:
    newer = newer_than(RECORD)
    async with relays(Reason.OK, Reason.OK) as (app, found):
        heard = await route_to(app, [one.addr for one in found]).records(TOPIC, (newer.raw,))
        assert heard == [(RECORD.raw,)] * 2
        assert [one.records for one in found] == [[newer.raw]] * 2


async def test_attack_the_only_relay_that_is_known_is_handed_no_record(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with relays(Reason.OK) as (app, found):
        found[0].records = []
        assert await route_to(app, [found[0].addr]).records(TOPIC, (RECORD.raw,)) == [()]
        assert found[0].records == []


async def test_attack_a_relay_that_withholds_a_record_cannot_hide_that(
    autojump_clock: trio.testing.MockClock,
) -> None:
    newer = newer_than(RECORD)
    async with relays(Reason.OK, Reason.OK) as (app, found):
        found[0].records, found[1].takes_records = [newer.raw], False
        heard = await route_to(app, [one.addr for one in found]).records(TOPIC, ())
        assert sorted(heard) == sorted([(newer.raw,), (RECORD.raw,)])


async def test_attack_one_relay_with_two_addresses_is_asked_once(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with relays(Reason.OK) as (app, found):
        dial = app.dial
        monkeypatch.setattr(app, "dial", lambda addr: dial(addr.removesuffix("?")))
        heard = await route_to(app, [found[0].addr, f"{found[0].addr}?"]).records(TOPIC, ())
        assert heard == [(RECORD.raw,)]


async def test_a_relay_that_lacks_the_record_is_handed_it_with_the_reports(
    autojump_clock: trio.testing.MockClock,
) -> None:
    class Unlisted(StandIn):
        async def submit(self, peer: PeerId, body: bytes) -> bytes:
            self.say = Reason.OK if self.records else Reason.UNLISTED
            return await super().submit(peer, body)

    network = MemoryNetwork(rng=random.Random(1))
    async with network.open_swarm() as one, network.open_swarm(listen=False) as app:
        relay = Unlisted(one, Reason.OK)
        relay.records = []
        outgoing = replace(outgoing_of(2), records=(RECORD.raw,))
        outcomes = await route_to(app, [relay.addr]).deliver(outgoing)
        assert {one.fate for one in outcomes.values()} == {Fate.ACKNOWLEDGED}
        assert relay.records == [RECORD.raw]


async def test_a_full_relay_gets_nothing_and_another_one_does(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with relays(Reason.OK, Reason.OK, Reason.OK) as (app, found):
        found[0].again = 600
        for seed in range(6):
            route = route_to(app, [one.addr for one in found], seed)
            (outcome,) = (await route.deliver(outgoing_of(1))).values()
            assert outcome.fate is Fate.ACKNOWLEDGED
        assert found[0].items == []
        alone = await route_to(app, [found[0].addr]).deliver(outgoing_of(1))
        assert list(alone.values()) == [Outcome(Fate.RETRY, "quota", 600)]


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
