"""The contract of `Swarm`, for each implementation."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import pytest
import trio

from methrics.node.network.swarm import Swarm, Validator, Wait
from methrics.schema.errors import ConfigError, UnreachableError
from methrics.schema.wire.limits import BUNDLE_MAX
from methrics.schema.wire.verdict import Decision

TOPIC = "/methrics/1/contract-aaaaaaaaaaaaaaaa/cbor"
OTHER = "/methrics/1/other-bbbbbbbbbbbbbbbb/cbor"
PATIENCE = 60


class Network(Protocol):
    nowhere: str

    def open(self, *, listen: bool = True) -> AbstractAsyncContextManager[Any]: ...


class Inbox:
    """A validator that stores the messages it is given, in order."""

    def __init__(self, decide: Callable[[bytes], Decision] = lambda _: Decision.ACCEPT) -> None:
        self.got: list[bytes] = []
        self.peers: list[str] = []
        self._decide = decide
        self._changed = trio.Event()

    async def __call__(self, peer: str, data: bytes) -> Decision:
        self.got.append(data)
        self.peers.append(peer)
        self._changed.set()
        self._changed = trio.Event()
        return self._decide(data)

    async def wait_for(self, *wanted: bytes) -> None:
        with trio.fail_after(PATIENCE):
            while not set(wanted) <= set(self.got):
                await self._changed.wait()


async def connect(one: Swarm, two: Swarm, *, peers_of_one: int = 1) -> None:
    """`one` dials `two` and waits until it knows that `two` has joined."""
    await one.dial(two.addrs[0])
    with trio.fail_after(PATIENCE):
        await one.wait_for_peers(TOPIC, peers_of_one)


async def test_it_is_a_swarm(network: Network) -> None:
    async with network.open() as a, network.open(listen=False) as leaf:
        assert isinstance(a, Swarm)
        assert a.addrs[0].endswith(f"/p2p/{a.peer_id}")
        assert leaf.addrs == ()
        assert a.peer_id != leaf.peer_id


async def test_leaf_publishes_without_joining(network: Network) -> None:
    inbox = Inbox()
    async with network.open() as a, network.open(listen=False) as leaf:
        await a.join(TOPIC, inbox)
        await connect(leaf, a)
        assert leaf.peers(TOPIC) == {a.peer_id}
        assert await leaf.publish(TOPIC, b"one") == 1
        await inbox.wait_for(b"one")
        assert inbox.peers == [leaf.peer_id]
        assert a.peers(TOPIC) == frozenset()
        assert leaf.statistics().published == 1


async def test_message_travels_along_a_line(network: Network) -> None:
    b_inbox, c_inbox = Inbox(), Inbox()
    async with network.open() as a, network.open() as b, network.open() as c:
        await a.join(TOPIC, Inbox())
        await b.join(TOPIC, b_inbox)
        await c.join(TOPIC, c_inbox)
        await connect(a, b)
        await connect(c, b)
        with trio.fail_after(PATIENCE):
            await b.wait_for_peers(TOPIC, 2)
        await a.publish(TOPIC, b"far")
        await c_inbox.wait_for(b"far")
        assert b_inbox.got == [b"far"]
        assert c_inbox.peers == [b.peer_id]


@pytest.mark.parametrize("decision", [Decision.IGNORE, Decision.REJECT])
async def test_only_accepted_messages_are_forwarded(network: Network, decision: Decision) -> None:
    def decide(data: bytes) -> Decision:
        return decision if data == b"bad" else Decision.ACCEPT

    b_inbox, c_inbox = Inbox(decide), Inbox()
    async with network.open(listen=False) as a, network.open() as b, network.open() as c:
        await b.join(TOPIC, b_inbox)
        await c.join(TOPIC, c_inbox)
        await connect(a, b)
        await connect(c, b)
        with trio.fail_after(PATIENCE):
            await b.wait_for_peers(TOPIC, 1)
        await a.publish(TOPIC, b"bad")
        await b_inbox.wait_for(b"bad")
        await a.publish(TOPIC, b"good")
        await c_inbox.wait_for(b"good")
        assert c_inbox.got == [b"good"]
        counts = b.statistics()
        assert (counts.accepted, counts.ignored + counts.rejected) == (1, 1)


async def test_each_content_is_judged_once(network: Network) -> None:
    inboxes = [Inbox() for _ in range(4)]
    async with (
        network.open() as a,
        network.open() as b,
        network.open() as c,
        network.open() as d,
    ):
        swarms = [a, b, c, d]
        for swarm, inbox in zip(swarms, inboxes, strict=True):
            await swarm.join(TOPIC, inbox)
        for i, one in enumerate(swarms):
            for two in swarms[i + 1 :]:
                await one.dial(two.addrs[0])
        with trio.fail_after(PATIENCE):
            for swarm in swarms:
                await swarm.wait_for_peers(TOPIC, 3)
        for n in range(5):
            await a.publish(TOPIC, b"m%d" % n)
            await b.publish(TOPIC, b"m%d" % n)  # the same content from a second origin
        wanted = [b"m%d" % n for n in range(5)]
        for inbox in inboxes[2:]:
            await inbox.wait_for(*wanted)
        await trio.sleep(0.2)
        for inbox in inboxes[2:]:
            assert sorted(inbox.got) == wanted
        with trio.fail_after(PATIENCE):
            while c.statistics().duplicates + d.statistics().duplicates == 0:
                await trio.sleep(0.01)


async def test_own_messages_are_not_judged(network: Network) -> None:
    mine, theirs = Inbox(), Inbox()
    async with network.open() as a, network.open() as b:
        await a.join(TOPIC, mine)
        await b.join(TOPIC, theirs)
        await connect(a, b)
        await a.publish(TOPIC, b"mine")
        await theirs.wait_for(b"mine")
        await trio.sleep(0.1)
        assert mine.got == []


async def test_publishing_again_is_sent_and_known(network: Network) -> None:
    inbox = Inbox()
    async with network.open() as a, network.open(listen=False) as leaf:
        await a.join(TOPIC, inbox)
        await connect(leaf, a)
        assert await leaf.publish(TOPIC, b"once") == 1
        assert await leaf.publish(TOPIC, b"once") == 1
        await leaf.publish(TOPIC, b"last")
        await inbox.wait_for(b"last")
        assert sorted(inbox.got) == [b"last", b"once"]


async def test_same_bytes_on_two_topics_are_two_messages(network: Network) -> None:
    one, two = Inbox(), Inbox()
    async with network.open() as a, network.open(listen=False) as leaf:
        await a.join(TOPIC, one)
        await a.join(OTHER, two)
        await connect(leaf, a)
        with trio.fail_after(PATIENCE):
            await leaf.wait_for_peers(OTHER, 1)
        await leaf.publish(OTHER, b"bytes")
        await leaf.publish(TOPIC, b"bytes")
        await one.wait_for(b"bytes")
        await two.wait_for(b"bytes")


async def test_message_of_the_largest_size_arrives(network: Network) -> None:
    inbox = Inbox()
    async with network.open() as a, network.open(listen=False) as leaf:
        await a.join(TOPIC, inbox)
        await connect(leaf, a)
        largest = bytes(range(256)) * (BUNDLE_MAX // 256)
        await leaf.publish(TOPIC, largest)
        await inbox.wait_for(largest)


async def test_publish_without_peers_is_unreachable(network: Network) -> None:
    async with network.open() as a, network.open(listen=False) as leaf:
        with pytest.raises(UnreachableError):
            await leaf.publish(TOPIC, b"x")
        await leaf.dial(a.addrs[0])  # the peer is connected, but has joined no topic
        with pytest.raises(UnreachableError):
            await leaf.publish(TOPIC, b"x")


@pytest.mark.parametrize("size", [0, BUNDLE_MAX + 1])
async def test_message_of_a_wrong_size_is_our_own_fault(network: Network, size: int) -> None:
    async with network.open(listen=False) as leaf:
        with pytest.raises(ConfigError):
            await leaf.publish(TOPIC, bytes(size))


async def test_joining_or_serving_twice_is_our_own_fault(network: Network) -> None:
    async def echo(_: str, body: bytes) -> bytes:
        return body

    async with network.open() as a:
        await a.join(TOPIC, Inbox())
        with pytest.raises(ConfigError):
            await a.join(TOPIC, Inbox())
        a.serve("/test/1", echo, request_max=10)
        with pytest.raises(ConfigError):
            a.serve("/test/1", echo, request_max=10)


async def test_raising_validator_is_contained(
    network: Network, caplog: pytest.LogCaptureFixture
) -> None:
    inbox = Inbox()

    async def validate(peer: str, data: bytes) -> Decision:
        if data == b"bomb":
            raise RuntimeError("on purpose")
        return await inbox(peer, data)

    async with network.open() as a, network.open(listen=False) as leaf:
        await a.join(TOPIC, validate)
        await connect(leaf, a)
        await leaf.publish(TOPIC, b"bomb")
        await leaf.publish(TOPIC, b"after")
        await inbox.wait_for(b"after")
        with trio.fail_after(PATIENCE):
            while a.statistics().validator_errors == 0:
                await trio.sleep(0.01)
        assert a.statistics().ignored == 1
    assert "a validator failed" in caplog.text
    caplog.set_level(logging.CRITICAL)


async def test_slow_validator_does_not_hold_up_others(network: Network) -> None:
    inbox = Inbox()

    async def validate(peer: str, data: bytes) -> Decision:
        if data == b"slow":
            await trio.sleep(25)
        return await inbox(peer, data)

    async with (
        network.open() as a,
        network.open(listen=False) as one,
        network.open(listen=False) as two,
    ):
        await a.join(TOPIC, validate)
        await connect(one, a)
        await connect(two, a)
        await one.publish(TOPIC, b"slow")
        await one.publish(TOPIC, b"from one")
        await two.publish(TOPIC, b"from two")
        with trio.fail_after(24):
            await inbox.wait_for(b"from one", b"from two")
        assert b"slow" not in inbox.got


class Hesitant:
    """A validator that lets messages wait for what stands in front of the colon, until it came."""

    def __init__(self) -> None:
        self.come: set[bytes] = set()
        self.inbox = Inbox()
        self.asked = 0

    async def __call__(self, peer: str, data: bytes) -> Decision | Wait:
        self.asked += 1
        on = data.partition(b":")[0]
        return await self.inbox(peer, data) if on in self.come else Wait(on)


async def until_waiting(swarm: Swarm, n: int) -> None:
    with trio.fail_after(PATIENCE):
        while swarm.statistics().waiting != n:
            await trio.sleep(0.01)


async def test_message_that_waits_is_judged_again_and_then_forwarded(network: Network) -> None:
    hesitant, beyond = Hesitant(), Inbox()
    async with network.open(listen=False) as a, network.open() as b, network.open() as c:
        await b.join(TOPIC, hesitant)
        await c.join(TOPIC, beyond)
        await connect(a, b)
        await connect(c, b)
        with trio.fail_after(PATIENCE):
            await b.wait_for_peers(TOPIC, 1)
        for data in (b"x:1", b"x:2", b"y:1"):
            await a.publish(TOPIC, data)
        await until_waiting(b, 3)
        assert beyond.got == []
        assert b.judge_again(TOPIC, b"nothing") == 0
        hesitant.come.add(b"x")
        assert b.judge_again(TOPIC, b"x") == 2
        await beyond.wait_for(b"x:1", b"x:2")
        await until_waiting(b, 1)
        counts = b.statistics()
        assert (counts.accepted, counts.waiting_dropped) == (2, 0)
        assert b"y:1" not in beyond.got


async def test_message_that_waits_is_known(network: Network) -> None:
    hesitant = Hesitant()
    async with network.open() as a, network.open(listen=False) as leaf:
        await a.join(TOPIC, hesitant)
        await connect(leaf, a)
        await leaf.publish(TOPIC, b"x:1")
        await until_waiting(a, 1)
        for _ in range(2):
            await leaf.publish(TOPIC, b"x:1")
        with trio.fail_after(PATIENCE):
            while a.statistics().duplicates < 2:
                await trio.sleep(0.01)
        assert hesitant.asked == 1


async def test_message_may_wait_again(network: Network) -> None:
    hesitant = Hesitant()
    async with network.open() as a, network.open(listen=False) as leaf:
        await a.join(TOPIC, hesitant)
        await connect(leaf, a)
        await leaf.publish(TOPIC, b"x:1")
        await until_waiting(a, 1)
        for n in range(3):
            assert a.judge_again(TOPIC, b"x") == 1
            with trio.fail_after(PATIENCE):
                while hesitant.asked < n + 2:
                    await trio.sleep(0.01)
            await until_waiting(a, 1)
        hesitant.come.add(b"x")
        assert a.judge_again(TOPIC, b"x") == 1
        await hesitant.inbox.wait_for(b"x:1")


async def test_waiting_on_one_topic_is_not_ended_on_another(network: Network) -> None:
    one, two = Hesitant(), Hesitant()
    async with network.open() as a, network.open(listen=False) as leaf:
        await a.join(TOPIC, one)
        await a.join(OTHER, two)
        await connect(leaf, a)
        with trio.fail_after(PATIENCE):
            await leaf.wait_for_peers(OTHER, 1)
        await leaf.publish(TOPIC, b"x:1")
        await leaf.publish(OTHER, b"x:1")
        await until_waiting(a, 2)
        assert a.judge_again(OTHER, b"x") == 1


async def test_publishing_does_not_wait_for_a_peer_that_reads_nothing(network: Network) -> None:
    """Its validators are stuck, so its connection fills up; the other peer gets everything."""
    inbox, stuck = Inbox(), trio.Event()

    async def never(_: str, __: bytes) -> Decision:
        await stuck.wait()
        return Decision.IGNORE

    async with (
        network.open() as slow,
        network.open() as quick,
        network.open(listen=False) as source,
    ):
        await slow.join(TOPIC, never)
        await quick.join(TOPIC, inbox)
        await connect(source, slow)
        await connect(source, quick, peers_of_one=2)
        messages = [b"%d" % n + bytes(BUNDLE_MAX - 3) for n in range(100)]
        for data in messages:
            await source.publish(TOPIC, data)
            await inbox.wait_for(data)
        stuck.set()


async def test_room_is_there_at_once_without_peers(network: Network) -> None:
    async with network.open() as a:
        with trio.fail_after(PATIENCE):
            await a.wait_for_room(TOPIC)


async def test_origin_of_a_peer_is_no_address(network: Network) -> None:
    async with network.open() as a, network.open(listen=False) as leaf:
        await leaf.dial(a.addrs[0])
        assert b"127" not in leaf.origin(a.peer_id)
        assert leaf.origin("nobody") == b""


async def test_direct_and_dialled_peers_are_those_of_ones_own_choice(network: Network) -> None:
    async with network.open() as a, network.open() as kept, network.open(listen=False) as guest:
        for swarm in (a, kept, guest):
            await swarm.join(TOPIC, Inbox())
        a.keep(kept.addrs[0])
        await guest.dial(a.addrs[0])
        with trio.fail_after(PATIENCE):
            await a.wait_for_peers(TOPIC, 2)
            await guest.wait_for_peers(TOPIC, 1)
            await kept.wait_for_peers(TOPIC, 1)
        assert a.direct_peers(TOPIC) == a.dialled_peers(TOPIC) == {kept.peer_id}
        assert (guest.direct_peers(TOPIC), guest.dialled_peers(TOPIC)) == (set(), {a.peer_id})
        assert kept.direct_peers(TOPIC) == kept.dialled_peers(TOPIC) == set()
        assert a.direct_peers("other") == a.dialled_peers("other") == set()


async def test_request_and_reply(network: Network) -> None:
    asked: list[str] = []

    async def reverse(peer: str, body: bytes) -> bytes:
        asked.append(peer)
        return body[::-1]

    async with network.open() as a, network.open(listen=False) as leaf:
        a.serve("/test/1", reverse, request_max=100_000)
        peer = await leaf.dial(a.addrs[0])
        assert peer == a.peer_id
        for body in (b"", b"abc", bytes(100_000)):
            reply = await leaf.request(peer, "/test/1", body, reply_max=100_000, timeout=PATIENCE)
            assert reply == body[::-1]
        assert asked == [leaf.peer_id] * 3
        with trio.fail_after(PATIENCE):  # each is counted once its stream is closed
            while a.statistics().requests < 3:
                await trio.sleep(0.01)
        assert a.statistics().requests == 3


async def test_requests_run_both_ways_on_one_connection(network: Network) -> None:
    async def name(_: str, body: bytes) -> bytes:
        return b"leaf " + body

    async with network.open() as a, network.open(listen=False) as leaf:
        leaf.serve("/test/1", name, request_max=10)
        await leaf.dial(a.addrs[0])
        reply = await a.request(leaf.peer_id, "/test/1", b"x", reply_max=10, timeout=PATIENCE)
        assert reply == b"leaf x"


async def fail(_: str, body: bytes) -> bytes:
    raise RuntimeError("on purpose")


async def stall(_: str, body: bytes) -> bytes:
    await trio.sleep(20)
    return body


async def echo(_: str, body: bytes) -> bytes:
    return body


@pytest.mark.parametrize(
    ("handler", "body", "reply_max", "timeout"),
    [
        pytest.param(fail, b"x", 10, 10, id="handler raises"),
        pytest.param(stall, b"x", 10, 0.3, id="handler is slow"),
        pytest.param(echo, bytes(101), 1000, 10, id="request is oversize"),
        pytest.param(echo, bytes(50), 49, 10, id="reply is oversize"),
        pytest.param(None, b"x", 10, 10, id="protocol is not served"),
    ],
)
async def test_request_without_a_reply_is_unreachable(
    network: Network, handler: Any, body: bytes, reply_max: int, timeout: float
) -> None:
    async with network.open() as a, network.open(listen=False) as leaf:
        if handler is not None:
            a.serve("/test/1", handler, request_max=100)
        a.serve("/echo/1", echo, request_max=100)
        peer = await leaf.dial(a.addrs[0])
        with pytest.raises(UnreachableError):
            await leaf.request(peer, "/test/1", body, reply_max=reply_max, timeout=timeout)
        # the connection still works
        assert await leaf.request(peer, "/echo/1", b"y", reply_max=10, timeout=PATIENCE) == b"y"


async def test_request_to_a_stranger_is_unreachable(network: Network) -> None:
    async with network.open() as a, network.open(listen=False) as leaf:
        for peer in (a.peer_id, "no peer id at all", ""):
            with pytest.raises(UnreachableError):
                await leaf.request(peer, "/test/1", b"", reply_max=10, timeout=1)


async def test_dial_fails_clearly(network: Network) -> None:
    async with network.open() as a:
        with pytest.raises(UnreachableError):
            await a.dial(network.nowhere)
        with pytest.raises(UnreachableError):
            await a.dial(a.addrs[0])
        for addr in ("", "nonsense", "/ip4/1.2.3.4/tcp/99999/p2p/x", "/ip4/127.0.0.1/tcp/1"):
            with pytest.raises(ConfigError):
                await a.dial(addr)
            with pytest.raises(ConfigError):
                a.keep(addr)
        assert a.statistics().dials_failed >= 1


async def test_peers_go_when_they_leave(network: Network) -> None:
    async with network.open(listen=False) as leaf:
        async with network.open() as a:
            await a.join(TOPIC, Inbox())
            await connect(leaf, a)
            assert leaf.statistics().connections == 1
        with trio.fail_after(PATIENCE):
            while leaf.peers(TOPIC):
                await trio.sleep(0.01)
        with pytest.raises(UnreachableError):
            await leaf.publish(TOPIC, b"x")


async def test_joining_late_is_noticed(network: Network) -> None:
    inbox = Inbox()
    async with network.open() as a, network.open(listen=False) as leaf:
        await leaf.dial(a.addrs[0])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(leaf.wait_for_peers, TOPIC, 1)
            await trio.sleep(0.05)
            await a.join(TOPIC, inbox)
            nursery.cancel_scope.deadline = trio.current_time() + PATIENCE
        assert leaf.peers(TOPIC) == {a.peer_id}
        await leaf.publish(TOPIC, b"late")
        await inbox.wait_for(b"late")


async def test_keep_dials_the_kept_address(network: Network) -> None:
    async with network.open() as a, network.open(listen=False) as leaf:
        await a.join(TOPIC, Inbox())
        leaf.keep(a.addrs[0])
        leaf.keep(network.nowhere)
        with trio.fail_after(PATIENCE):
            await leaf.wait_for_peers(TOPIC, 1)


async def test_every_arrival_is_counted_once(network: Network) -> None:
    decisions = {b"a": Decision.ACCEPT, b"i": Decision.IGNORE, b"r": Decision.REJECT}
    inbox = Inbox(lambda data: decisions[data[:1]])
    async with network.open() as a, network.open(listen=False) as leaf:
        await a.join(TOPIC, inbox)
        await connect(leaf, a)
        messages = [b"a1", b"i1", b"r1", b"a2", b"a1"]
        for message in messages:
            await leaf.publish(TOPIC, message)
        await inbox.wait_for(b"a1", b"i1", b"r1", b"a2")
        with trio.fail_after(PATIENCE):
            while a.statistics().received < len(messages):
                await trio.sleep(0.01)
        s = a.statistics()
        with trio.fail_after(PATIENCE):
            while s.accepted + s.ignored + s.rejected + s.duplicates < len(messages):
                await trio.sleep(0.01)
                s = a.statistics()
        assert (s.accepted, s.ignored, s.rejected, s.duplicates) == (2, 1, 1, 1)
        assert s.received == 5
        assert s.received_bytes == 10


def test_inbox_is_a_validator() -> None:
    validator: Validator = Inbox()
    assert callable(validator)


async def test_a_peer_is_reached_at_an_address_that_a_stranger_named(network: Network) -> None:
    async with network.open() as a, network.open() as b:
        b.serve("/echo/1", echo, request_max=10)
        await a.connect(b.peer_id, [network.nowhere, *b.addrs])
        assert await a.request(b.peer_id, "/echo/1", b"1", reply_max=9, timeout=PATIENCE) == b"1"
        await a.connect(b.peer_id, [])  # it is connected
        await a.join(TOPIC, Inbox())
        await b.join(TOPIC, Inbox())
        await a.wait_for_peers(TOPIC, 1)
        assert not a.dialled_peers(TOPIC)  # it is still a stranger


async def test_an_address_of_another_peer_is_not_dialled(network: Network) -> None:
    async with network.open() as a, network.open() as b, network.open() as c:
        for addrs in (c.addrs, [network.nowhere], ["", "nonsense", "/ip4"], []):
            with pytest.raises(UnreachableError):
                await a.connect(b.peer_id, addrs)
        assert a.statistics().connections == 0
        assert c.statistics().connections == 0


async def echo(peer: str, body: bytes) -> bytes:
    return body
