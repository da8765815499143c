"""No bundle makes a relay drop, forget or not pass on an item that it would have passed on alone.

In each attack, somebody holds a report X that an honest relay has in its pool, or has never heard
of, and sends it in a bundle by which the relay might lose it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest
import trio
import trio.testing
from relay_making import (
    CATALOG,
    NAMESPACE,
    SOURCE,
    TODAY,
    TOPIC,
    Scene,
    hand_in,
    listing,
    report,
    scene,
)
from tests.listing import listed_book

from methrics.node.network.memory import MemorySwarm
from methrics.node.network.swarm import UNSEEN, PeerId, Wait
from methrics.node.relay.catalog_exchange import PROTOCOL as CATALOGS
from methrics.node.relay.mixer import MixLimits
from methrics.node.relay.record_exchange import RecordExchange
from methrics.schema.catalog.catalog import load, sign
from methrics.schema.judging.book import CatalogBook
from methrics.schema.judging.gate import BundleVerdict
from methrics.schema.wire.bundle import pack, pack_notice
from methrics.schema.wire.envelope import Kind, inner_hash, seal, split
from methrics.schema.wire.items import Erasure, encode_erasure
from methrics.schema.wire.record import Revoked, decode_record
from methrics.schema.wire.verdict import Decision, Reason

X = report(1)
NEW = load(sign(SOURCE, NAMESPACE, CATALOG))
"""The next catalog of the namespace, which the relay does not know yet."""

DAY = 86_400


def bundle(*items: bytes, about: bytes = CATALOG.id) -> bytes:
    return pack(about, items)


def erasure_of(raw: bytes, number: int) -> bytes:
    erasure = Erasure(CATALOG.id, inner_hash(split(raw)), TODAY // DAY)
    return seal(Kind.ERASURE, encode_erasure(erasure), number.to_bytes(32, "big"))


async def accept(_peer: PeerId, _data: bytes) -> Decision:
    await trio.lowlevel.checkpoint()
    return Decision.ACCEPT


async def joined(relay: Scene, swarm: MemorySwarm) -> None:
    await swarm.join(TOPIC, accept)
    await swarm.dial(relay.swarm.addrs[0])
    await relay.swarm.wait_for_peers(TOPIC, 1)


COMPANY = {
    "early": lambda: bundle(X, report(2, time=TODAY + 3 * DAY)),
    "late": lambda: bundle(X, report(2, time=TODAY - 30 * DAY)),
    "a duplicate": lambda: bundle(X, report(7)),
    "X twice": lambda: bundle(X, X),
    "erased": lambda: bundle(X, report(2), erasure_of(report(2), 2)),
    "revoked": lambda: bundle(X, report(2, type="system", values={"os": "linux"})),
    "an erasure of the future": lambda: bundle(
        X,
        seal(
            Kind.ERASURE,
            encode_erasure(Erasure(CATALOG.id, bytes(32), TODAY // DAY + 9)),
            bytes(32),
        ),
    ),
    "forged": lambda: bundle(X, report(2)[:-1] + bytes([report(2)[-1] ^ 1])),
    "off-schema": lambda: bundle(X, report(2, values={"os": "plan9"})),
    "no item": lambda: bundle(X, b"no item"),
    "an invented catalog": lambda: bundle(X, report(2, load(sign(SOURCE, b"i" * 32)))),
    "the next catalog": lambda: bundle(X, report(2, NEW)),
    "a wrong head": lambda: bundle(X, about=NEW.id),
    "an invented head": lambda: bundle(X, about=b"i" * 32),
    "a catalog": lambda: bundle(X, CATALOG.raw),
    "a record": lambda: bundle(X, listing(CATALOG)),
}
"""Bundles with X and something else, by what that is."""


@pytest.mark.parametrize("company", COMPANY)
@pytest.mark.parametrize("pooled", [True, False], ids=["pooled", "not yet submitted"])
async def test_attack_a_poisoned_bundle_does_not_make_a_relay_forget(
    autojump_clock: trio.testing.MockClock, company: str, pooled: bool
) -> None:
    """Whether the relay accepts, ignores, rejects or keeps the bundle, everybody gets X."""
    poison: Callable[[], bytes] = COMPANY[company]
    revoking = listing(CATALOG, time=600, revoked={"system": Revoked(TODAY, "no")})
    async with scene() as relay, relay.network.open_swarm() as attacker:
        await joined(relay, attacker)
        assert await hand_in(relay, revoking, report(7)) == [Reason.OK] * 2
        await trio.sleep(31)
        if pooled:
            assert await hand_in(relay, X) == [Reason.OK]
        await attacker.publish(TOPIC, poison())
        await trio.sleep(5)
        if not pooled:
            await hand_in(relay, X)
        await trio.sleep(31)
        assert relay.collected.count(X) >= 1


async def test_attack_what_only_the_forwarder_has_heard_stays_in_the_pool(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """An attacker is the only peer, and sends X; so nobody else heard it. Somebody comes later."""
    async with scene(collector=False) as relay, relay.network.open_swarm() as attacker:
        await joined(relay, attacker)
        assert await hand_in(relay, X) == [Reason.OK]
        await attacker.publish(TOPIC, bundle(X))
        await trio.sleep(1)
        assert relay.relay.statistics.gossip == {"ok": 1}
        assert (relay.relay.pooled, relay.relay.statistics.elsewhere) == (1, 0)
        async with relay.network.open_swarm() as late:
            await late.join(TOPIC, relay.collect)
            await late.dial(relay.swarm.addrs[0])
            await trio.sleep(31)
            assert relay.collected == [X]


@pytest.mark.parametrize("accomplices", [1, 3, 20])
async def test_attack_what_only_an_attackers_own_peers_have_heard_stays_in_the_pool(
    autojump_clock: trio.testing.MockClock, accomplices: int
) -> None:
    """The attacker has a second peer beside the forwarder, or a few, which pass nothing on."""
    async with scene(collector=False) as relay, contextlib.AsyncExitStack() as stack:
        peers = [
            await stack.enter_async_context(relay.network.open_swarm())
            for _ in range(1 + accomplices)
        ]
        for peer in peers:
            await joined(relay, peer)
        assert await hand_in(relay, X) == [Reason.OK]
        await peers[0].publish(TOPIC, bundle(X))
        await trio.sleep(1)
        assert (relay.relay.pooled, relay.relay.statistics.elsewhere) == (1, 0)
        assert split(X).id not in relay.relay._seen


async def test_attack_what_rests_is_not_lost_while_the_honest_peers_are_away(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Six peers of an attacker are there, and one of them sends X. When the honest peer returns, no
    peer tells it of X any more; so the relay publishes X when its rest ends."""
    async with (
        scene(mix=MixLimits(batch_window=30, rest=600)) as relay,
        contextlib.AsyncExitStack() as stack,
    ):
        peers = [await stack.enter_async_context(relay.network.open_swarm()) for _ in range(6)]
        for peer in peers:
            await joined(relay, peer)
        assert await hand_in(relay, X) == [Reason.OK]
        relay.network.cut(relay.collector, relay.swarm)
        await peers[0].publish(TOPIC, bundle(X))
        for number in range(90):
            await peers[1].publish(TOPIC, bundle(report(500 + number)))
            await trio.sleep(1)
        assert await hand_in(relay, X) == [Reason.DUPLICATE]
        await relay.collector.dial(relay.swarm.addrs[0])
        await trio.sleep(1300)
        assert relay.collected.count(X) == 1
        assert (relay.relay.pooled, relay.relay.statistics.elsewhere) == (0, 0)


@pytest.mark.parametrize("tie", ["direct", "dialled", "forwarder"])
async def test_what_another_relay_published_leaves_the_pool_if_a_chosen_peer_gets_it(
    autojump_clock: trio.testing.MockClock, tie: str
) -> None:
    async with scene() as relay, relay.network.open_swarm() as other:
        await joined(relay, other)
        chosen = other if tie == "forwarder" else relay.collector
        if tie == "dialled":
            relay.swarm._dialled = {chosen.peer_id}
        else:
            relay.swarm.keep(chosen.addrs[0])
        assert await hand_in(relay, X, report(2)) == [Reason.OK] * 2
        await other.publish(TOPIC, bundle(X))
        await trio.sleep(1)
        assert relay.relay.statistics.elsewhere == (tie != "forwarder")
        await trio.sleep(31)
        assert relay.collected.count(X) == (2 if tie == "forwarder" else 1)


@pytest.mark.parametrize("lacking", ["catalog", "record"])
async def test_attack_what_comes_while_a_bundle_is_judged_does_not_strand_it(
    autojump_clock: trio.testing.MockClock, lacking: str
) -> None:
    """A thread judges a bundle; what it waits for arrives before its task goes on."""
    book = CatalogBook({TOPIC})
    listed = split(listing(CATALOG))
    if lacking == "catalog":
        book.records.add(listed, decode_record(listed.payload))
    else:
        book.add(CATALOG, given=True)
    came = CATALOG.raw if lacking == "catalog" else listed.raw
    async with scene(book=book) as relay, relay.network.open_swarm() as other:
        await joined(relay, other)
        judged = trio.Event()

        async def held(call: Callable[[], BundleVerdict]) -> BundleVerdict:
            verdict = call()
            if verdict.waits_for is not None and not judged.is_set():
                await judged.wait()
            await trio.lowlevel.checkpoint()
            return verdict

        relay.relay._worker = held  # type: ignore[assignment]
        await other.publish(TOPIC, bundle(X))
        await trio.sleep(0.1)
        await other.publish(TOPIC, pack_notice(came))
        await trio.sleep(0.1)
        judged.set()
        await trio.sleep(1)
        assert X in relay.collected
        assert relay.swarm.statistics().waiting == 0


async def test_attack_what_is_handed_in_while_another_copy_is_judged_is_kept(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A thread has accepted X, but it is not decided yet that only the attacker is there."""
    async with scene(collector=False) as relay, relay.network.open_swarm() as attacker:
        await joined(relay, attacker)
        judged = trio.Event()

        async def held(call: Callable[[], BundleVerdict]) -> BundleVerdict:
            verdict = call()
            await judged.wait()
            return verdict

        relay.relay._worker = held  # type: ignore[assignment]
        await attacker.publish(TOPIC, bundle(X))
        await trio.sleep(0.1)
        assert await hand_in(relay, X) == [Reason.OK]
        judged.set()
        await trio.sleep(1)
        assert relay.relay.pooled == 1
        assert not relay.relay._seen._undecided


@pytest.mark.parametrize("late", [False, True])
async def test_attack_what_is_judged_too_late_is_judged_again(
    autojump_clock: trio.testing.MockClock, late: bool
) -> None:
    """Threads are so busy that the swarm may have given a bundle up when its verdict comes."""
    async with scene() as relay, relay.network.open_swarm() as other:
        relay.swarm.keep(relay.collector.addrs[0])
        await joined(relay, other)
        assert await hand_in(relay, X) == [Reason.OK]

        async def busy(call: Callable[[], BundleVerdict]) -> BundleVerdict:
            with trio.CancelScope(shield=True):
                await trio.sleep(25 if late else 15)
            return call()

        relay.relay._worker = busy  # type: ignore[assignment]
        with trio.move_on_after(20):
            assert await relay.relay.validate(TOPIC, other.peer_id, bundle(X)) is Decision.ACCEPT
        assert relay.relay.pooled == late
        assert (split(X).id in relay.relay._seen) is not late


async def test_attack_what_was_passed_on_to_nobody_is_passed_on_when_it_comes_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with scene(collector=False) as relay, relay.network.open_swarm() as attacker:
        await joined(relay, attacker)
        await attacker.publish(TOPIC, bundle(X))
        await trio.sleep(1)
        async with relay.network.open_swarm() as late, relay.network.open_swarm() as honest:
            await late.join(TOPIC, relay.collect)
            await late.dial(relay.swarm.addrs[0])
            await joined(relay, honest)
            await honest.publish(TOPIC, bundle(report(2), X))
            await trio.sleep(5)
            assert set(relay.collected) == {X, report(2)}


async def test_what_found_no_peer_is_passed_on_when_another_relay_publishes_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with scene(collector=False) as relay:
        assert await hand_in(relay, X, CATALOG.raw) == [Reason.OK] * 2
        await trio.sleep(31)
        assert relay.relay.statistics.put_back == 1
        assert await relay.relay.validate(TOPIC, "", bundle(X)) is Decision.ACCEPT
        assert await relay.relay.validate(TOPIC, "", pack_notice(CATALOG.raw)) is Decision.ACCEPT


@pytest.mark.parametrize("attacked", [False, True])
async def test_attack_during_a_catalog_upgrade_nothing_is_forgotten(
    autojump_clock: trio.testing.MockClock, attacked: bool
) -> None:
    """Reports of the next catalog arrive before its record and itself. They wait, and are passed
    on; meanwhile an attacker sends them in other bundles, too."""
    reports = [report(number, NEW) for number in range(5)]
    async with (
        scene() as relay,
        relay.network.open_swarm() as other,
        relay.network.open_swarm() as attacker,
    ):
        await joined(relay, other)
        await joined(relay, attacker)
        await other.publish(TOPIC, bundle(*reports, about=NEW.id))
        if attacked:
            for one in reports:
                await attacker.publish(TOPIC, bundle(one, X, about=NEW.id))
                await attacker.publish(TOPIC, bundle(X, one))
        assert await hand_in(relay, X) == [Reason.OK]
        await trio.sleep(15)
        assert relay.collected == []
        assert relay.swarm.statistics().waiting > 0
        other.serve(CATALOGS, lambda _peer, _body: served(NEW.raw), request_max=32)
        await other.publish(TOPIC, pack_notice(listing(CATALOG, NEW, time=600)))
        await trio.sleep(60)
        assert sorted(relay.collected) == sorted([*reports, X])
        assert relay.swarm.statistics().waiting == 0


async def served(reply: bytes) -> bytes:
    await trio.lowlevel.checkpoint()
    return reply


@pytest.mark.parametrize("count", [300, 5000])
async def test_attack_bundles_of_invented_catalogs_do_not_displace_honest_waiters(
    autojump_clock: trio.testing.MockClock, count: int
) -> None:
    """One peer fills the waiting room; the bundle that another peer forwarded stays in it."""
    async with (
        scene() as relay,
        relay.network.open_swarm() as other,
        relay.network.open_swarm() as attacker,
    ):
        await joined(relay, other)
        await joined(relay, attacker)
        await other.publish(TOPIC, bundle(report(1, NEW), about=NEW.id))
        for number in range(count):
            await attacker.publish(TOPIC, bundle(b"junk", about=number.to_bytes(32, "big")))
        await trio.sleep(5)
        assert relay.swarm.statistics().waiting <= 65
        assert await hand_in(relay, listing(CATALOG, NEW, time=600), NEW.raw) == [Reason.OK] * 2
        await trio.sleep(5)
        assert sorted(relay.collected) == sorted([NEW.raw, report(1, NEW)])
        # The invented ones took no place where catalogs are looked for.
        assert await hand_in(relay, report(2, NEW)) == [Reason.OK]


async def test_a_bundle_that_stays_unlisted_is_forgotten_and_may_come_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with scene() as relay, relay.network.open_swarm() as other:
        await joined(relay, other)
        await trio.sleep(31)
        unlisted = bundle(report(1, NEW), about=NEW.id)
        assert await relay.relay.validate(TOPIC, other.peer_id, unlisted) == Wait(
            b"record:" + CATALOG.short_key.encode()
        )
        await trio.sleep(29)
        assert await relay.relay.validate(TOPIC, other.peer_id, unlisted) is UNSEEN
        assert isinstance(await relay.relay.validate(TOPIC, other.peer_id, unlisted), Wait)


async def test_a_record_from_a_peer_is_passed_on_and_its_reports_are_accepted(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A relay that was not connected when the record was published asks for it."""
    book = CatalogBook({TOPIC})
    book.add(CATALOG, given=True)
    async with scene(book=book) as relay, relay.network.open_swarm() as other:
        source = listed_book(CATALOG, seed=NAMESPACE, topics={TOPIC})
        await joined(relay, other)
        RecordExchange(other, source, [TOPIC], lambda: 0.5, lambda *_: served(b"")).serve()
        await other.publish(TOPIC, bundle(X))
        await trio.sleep(62)
        assert relay.collected == [X]
        assert relay.records == [listing(CATALOG)]
