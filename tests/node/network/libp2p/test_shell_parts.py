"""The pure parts that carry the mesh: send queues, the least pace, tokens of networks, records."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multiaddr import Multiaddr

from methrics._vendor.libp2p.crypto.ed25519 import create_new_key_pair
from methrics._vendor.libp2p.peer.envelope import seal_record
from methrics._vendor.libp2p.peer.id import ID
from methrics._vendor.libp2p.peer.peer_record import PeerRecord
from methrics.node.mesh.rpc import Graft, IHave, IWant, Message, Prune, Rpc, Subscription
from methrics.node.network.libp2p.pace import Pace
from methrics.node.network.libp2p.reach import Reach, dialable, reach_of
from methrics.node.network.libp2p.sendqueue import Held, SendQueue
from methrics.node.network.origins import Origins

KEYS = create_new_key_pair(bytes(32))
PEER = ID.from_pubkey(KEYS.public_key).to_bytes()


def message(data: bytes) -> Rpc:
    return Rpc(messages=(Message(b"sender", data, bytes(8), "t"),))


def queue(frames: int = 3, size: int = 1000, ids: int = 10, held: Held | None = None) -> SendQueue:
    return SendQueue(frames, size, ids, held or Held())


def test_control_goes_before_messages_and_then_a_message_has_its_turn() -> None:
    waiting, first = queue(), message(b"first")
    assert waiting.put(first) is None
    waiting.put(Rpc(graft=(Graft("t"),)))
    assert waiting.pop() == Rpc(graft=(Graft("t"),))
    assert waiting.pop() is first
    assert waiting.pop() is None


def test_control_that_waits_is_one_frame_with_the_newest_state() -> None:
    waiting = queue()
    for rpc in (
        Rpc((Subscription("t", True),), ihave=(IHave("t", (b"a",)),), graft=(Graft("t"),)),
        Rpc((Subscription("t", False),), iwant=(IWant((b"w",)),), prune=(Prune("t", 60),)),
        Rpc(ihave=(IHave("t", (b"a", b"b")), IHave("u", (b"c",))), iwant=(IWant((b"w",)),)),
    ):
        assert waiting.put(rpc) is None
    assert len(waiting) == 1
    assert waiting.pop() == Rpc(
        subscriptions=(Subscription("t", False),),
        ihave=(IHave("t", (b"a", b"b")), IHave("u", (b"c",))),
        iwant=(IWant((b"w",)),),
        prune=(Prune("t", 60),),
    )
    assert waiting.pop() is None


def test_ids_beyond_the_limit_of_a_frame_come_in_the_next() -> None:
    waiting = queue(ids=2)
    waiting.put(Rpc(ihave=(IHave("t", (b"a", b"b", b"c")),)))
    assert waiting.pop() == Rpc(ihave=(IHave("t", (b"a", b"b")),))
    assert waiting.pop() == Rpc(ihave=(IHave("t", (b"c",)),))


def test_full_queue_returns_the_messages_and_keeps_the_control() -> None:
    waiting = queue(frames=1)
    waiting.put(message(b"1"))
    both = Rpc(graft=(Graft("t"),), messages=message(b"2").messages)
    assert waiting.put(both) == message(b"2")
    assert waiting.pop() == Rpc(graft=(Graft("t"),))


@given(st.lists(st.one_of(st.binary(max_size=300), st.none()), max_size=40))
def test_queue_stays_within_its_frames_and_bytes(steps: list[bytes | None]) -> None:
    held = Held()
    waiting = queue(frames=5, size=700, held=held)
    for step in steps:
        if step is None:
            waiting.pop()
        else:
            waiting.put(message(step))
        assert len(waiting) <= 5
        assert waiting.bytes == held.bytes <= 700
    assert len(waiting.clear()) <= 5
    assert (held.bytes, waiting.bytes) == (0, 0)


def test_frame_for_many_peers_is_counted_once() -> None:
    held, shared = Held(), message(bytes(100))
    queues = [queue(held=held) for _ in range(40)]
    for one in queues:
        one.put(shared)
    assert 100 < held.bytes < 200
    for one in queues:
        one.pop()
    assert held.bytes == 0


def test_endless_control_does_not_fill_the_memory() -> None:
    waiting = queue()
    for n in range(20):
        waiting.put(Rpc(ihave=(IHave("t", tuple(b"%d %d" % (n, i) for i in range(1000))),)))
        waiting.put(Rpc(tuple(Subscription(f"{n} {i}", True) for i in range(100))))
    frames = 0
    while waiting.pop() is not None:
        frames += 1
    assert frames <= 5_000 / 10


def test_pace_gives_up_what_stops_and_what_crawls_but_not_what_is_slow() -> None:
    assert Pace(100, grace=5, rate=1000).deadline == 105
    crawling = Pace(0, grace=5, rate=1000)
    seconds = 0
    while seconds < crawling.deadline:
        seconds += 1
        crawling.moved(1, seconds)
    assert seconds <= 6
    slow = Pace(0, grace=5, rate=1000)
    for second in range(1, 1000):
        assert second < slow.deadline
        slow.moved(1001, second)
    quick = Pace(0, grace=5, rate=1000)
    quick.moved(10**9, 1)
    assert quick.deadline == 6, "no credit for standing still later"


@pytest.mark.parametrize(
    ("one", "two", "same"),
    [
        ("8.8.8.8", "8.8.8.9", True),
        ("8.8.8.8", "8.8.9.8", False),
        ("2001:4860:1::1", "2001:4860:1:ffff::1", True),
        ("2001:4860:1::1", "2001:4860:2::1", False),
        ("8.8.8.8", "::ffff:8.8.8.1", True),
    ],
)
def test_token_tells_whether_two_peers_have_the_same_network(
    one: str, two: str, same: bool
) -> None:
    origins = Origins(b"key")
    assert (origins.token(one) == origins.token(two)) is same
    assert origins.token(one) != Origins(b"other key").token(one)


@pytest.mark.parametrize("host", ["127.0.0.1", "10.1.2.3", "::1", "fe80::1%eth0", "", None, "x"])
def test_private_address_has_no_token(host: str | None) -> None:
    assert Origins(b"key").token(host) == b""


@given(st.ip_addresses())
def test_token_reveals_no_address(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    token = Origins(b"key").token(str(address))
    assert len(token) in (0, 8)
    assert address.packed[:3] not in token or address.packed[:3] == bytes(3)


def record(*addrs: str, peer: bytes = PEER) -> bytes:
    content = PeerRecord(ID(peer), [Multiaddr(addr) for addr in addrs], 1)
    return bytes(seal_record(content, KEYS.private_key).marshal_envelope())


@pytest.mark.parametrize(
    ("hosts", "reach"),
    [
        (["127.0.0.1", "::1"], Reach.LOOPBACK),
        (["192.168.1.5"], Reach.PRIVATE),
        (["192.168.1.5", "127.0.0.1"], Reach.PRIVATE),
        (["0.0.0.0"], Reach.PUBLIC),
        (["8.8.8.8", "10.0.0.1"], Reach.PUBLIC),
        (["::"], Reach.PUBLIC),
    ],
)
def test_reach_follows_from_the_addresses_to_listen_on(hosts: list[str], reach: Reach) -> None:
    assert reach_of(hosts) is reach


PUBLIC = "/ip4/8.8.8.8/tcp/4001"


@pytest.mark.parametrize(
    ("addr", "reach"),
    [
        (PUBLIC, Reach.PUBLIC),
        (PUBLIC, Reach.LOOPBACK),
        ("/ip6/2001:4860::1/tcp/4001", Reach.PUBLIC),
        ("/ip4/10.0.0.1/tcp/4001", Reach.PRIVATE),
        ("/ip4/127.0.0.1/tcp/4001", Reach.LOOPBACK),
    ],
)
def test_address_within_reach_is_dialled(addr: str, reach: Reach) -> None:
    assert [str(one) for one in dialable(record(addr), PEER, reach)] == [addr]


@pytest.mark.parametrize(
    ("addr", "reach"),
    [
        ("/ip4/127.0.0.1/tcp/22", Reach.PUBLIC),
        ("/ip4/127.0.0.1/tcp/22", Reach.PRIVATE),
        ("/ip6/::ffff:127.0.0.1/tcp/22", Reach.PUBLIC),
        ("/ip6/::1/tcp/22", Reach.PUBLIC),
        ("/ip4/10.0.0.1/tcp/80", Reach.PUBLIC),
        ("/ip4/10.0.0.1/tcp/80", Reach.LOOPBACK),
        ("/ip6/fd00::1/tcp/80", Reach.PUBLIC),
        ("/ip4/169.254.169.254/tcp/80", Reach.PUBLIC),
        ("/ip4/169.254.169.254/tcp/80", Reach.PRIVATE),
        ("/ip4/100.64.0.1/tcp/80", Reach.PUBLIC),
        ("/ip4/0.0.0.0/tcp/80", Reach.PRIVATE),
        ("/ip4/224.0.0.1/tcp/80", Reach.PUBLIC),
        ("/ip6/64:ff9b::7f00:1/tcp/80", Reach.PUBLIC),
        ("/ip4/8.8.8.8/tcp/0", Reach.PUBLIC),
        ("/ip4/8.8.8.8/udp/4001", Reach.PUBLIC),
        ("/ip4/8.8.8.8/udp/4001/quic-v1", Reach.PUBLIC),
        ("/ip4/8.8.8.8/tcp/80/ws", Reach.PUBLIC),
        ("/dns4/internal.example/tcp/80", Reach.PUBLIC),
    ],
)
def test_attack_record_that_names_an_address_inside(addr: str, reach: Reach) -> None:
    assert dialable(record(addr), PEER, reach) == []


def test_attack_record_with_a_thousand_addresses() -> None:
    many = record(*(f"/ip4/8.8.{n}.1/tcp/4001" for n in range(100)))
    assert len(dialable(many, PEER, Reach.PUBLIC)) <= 4


def test_attack_only_some_addresses_of_a_record_are_examined() -> None:
    inside = [f"/ip4/10.8.{n}.1/tcp/4001" for n in range(32)]
    assert dialable(record(*inside[1:], PUBLIC), PEER, Reach.PUBLIC)
    assert not dialable(record(*inside, PUBLIC), PEER, Reach.PUBLIC)


def test_attack_record_of_another_peer() -> None:
    other = ID.from_pubkey(create_new_key_pair(b"\1" * 32).public_key).to_bytes()
    assert dialable(record(PUBLIC), other, Reach.PUBLIC) == []
    assert dialable(record(PUBLIC, peer=other), other, Reach.PUBLIC) == []
    assert dialable(record(PUBLIC, peer=other), PEER, Reach.PUBLIC) == []


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_attack_record_that_was_changed(at: int, change: int) -> None:
    good = bytearray(record(PUBLIC))
    good[at % len(good)] ^= change
    assert dialable(bytes(good), PEER, Reach.PUBLIC) == []


@given(st.binary(max_size=300))
def test_no_record_raises(data: bytes) -> None:
    assert dialable(data, PEER, Reach.PUBLIC) == []
