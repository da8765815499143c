"""The attacks of test_gossip_stock.py, and more, on ours: it lives, and honest messages arrive."""

from __future__ import annotations

import contextlib
import logging
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator

import attacker
import pytest
import trio
from attacker import attack, framed, rpc, uvarint
from tests.ports import free_port

from methrics._vendor.libp2p.exceptions import BaseLibp2pError
from methrics._vendor.libp2p.pubsub.pb import rpc_pb2
from methrics.node.mesh.rpc import Message, Rpc, content_id
from methrics.node.network.libp2p import GossipSettings, open_swarm
from methrics.node.network.libp2p.signing import validly_signed
from methrics.schema.errors import ConfigError, UnreachableError
from methrics.schema.wire.limits import BUNDLE_MAX
from methrics.schema.wire.verdict import Decision

TOPIC = "/methrics/1/attack-aaaaaaaaaaaaaaaa/cbor"
LOOPBACK = ["/ip4/127.0.0.1/tcp/0"]
PATIENCE = 60


class Scene:
    """A victim that has joined, and an honest leaf connected to it."""

    def __init__(self, victim, honest) -> None:  # type: ignore[no-untyped-def]
        self.victim = victim
        self.honest = honest
        self.got: list[bytes] = []
        self._sent = 0

    @property
    def addr(self) -> str:
        return str(self.victim.addrs[0])

    async def validate(self, _: str, data: bytes) -> Decision:
        self.got.append(data)
        if data.startswith(b"raise"):
            raise RuntimeError("on purpose")
        return Decision.REJECT if data.startswith(b"reject") else Decision.ACCEPT

    async def wait_for(self, data: bytes) -> None:
        with trio.fail_after(PATIENCE):
            while data not in self.got:
                await trio.sleep(0.01)

    async def check_alive(self) -> None:
        """An honest message arrives."""
        self._sent += 1
        data = b"honest %d" % self._sent
        with trio.fail_after(PATIENCE):
            await self.honest.wait_for_peers(TOPIC, 1)
        await self.honest.publish(TOPIC, data)
        await self.wait_for(data)


@contextlib.asynccontextmanager
async def scene(settings: GossipSettings | None = None) -> AsyncIterator[Scene]:
    async with (
        open_swarm(listen=LOOPBACK, settings=settings) as victim,
        open_swarm() as honest,
    ):
        the_scene = Scene(victim, honest)
        await victim.join(TOPIC, the_scene.validate)
        honest.keep(victim.addrs[0])
        await the_scene.check_alive()
        yield the_scene
        await the_scene.check_alive()


async def until_dropped(peer: attacker.Attacker) -> None:
    with trio.fail_after(PATIENCE):
        while peer.connected:
            await trio.sleep(0.02)


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(b"\x05\xff\xff\xff\xff\xff", id="bad protobuf"),
        pytest.param(b"\xff" * 12, id="endless length"),
        pytest.param(uvarint(2**40), id="huge length"),
        pytest.param(uvarint(1_048_577) + bytes(1000), id="oversize frame"),
        pytest.param(rpc(publish=[rpc_pb2.Message()] * 300), id="too many messages"),
        pytest.param(
            rpc(control=rpc_pb2.ControlMessage(ihave=[rpc_pb2.ControlIHave()] * 400_000)),
            id="too many parts",
        ),
    ],
)
async def test_undecodable_frame_drops_its_sender_only(frame: bytes) -> None:  # C1
    async with scene() as s, attack(s.addr) as peer:
        await peer.send(frame)
        await until_dropped(peer)
        assert s.victim.statistics().malformed == 1
        await s.check_alive()


@pytest.mark.parametrize(
    ("sender", "key"),
    [
        (b"\x12\x20" + bytes(32), b"\x08\x09\x12\x01\x00"),
        (b"\x12\x20" + bytes(32), b""),
        (b"", b""),
        (b"\x00\x24\x08\x01\x12\x20" + bytes(32), b""),
        (b"\xff" * 300, b"\xff" * 300),
    ],
)
async def test_undecodable_key_is_refused(sender: bytes, key: bytes) -> None:  # C1
    message = rpc_pb2.Message(
        data=b"x",
        topicIDs=[TOPIC],
        from_id=sender,
        seqno=bytes(8),
        key=key,
        signature=bytes(64),
    )
    async with scene() as s, attack(s.addr) as peer:
        await peer.send(rpc(publish=[message]))
        with trio.fail_after(PATIENCE):
            while not s.victim.statistics().malformed:
                await trio.sleep(0.01)
        assert b"x" not in s.got


async def test_topic_that_is_no_text_is_not_noted() -> None:
    async with scene() as s, attack(s.addr) as peer:
        await peer.send(uvarint(8) + b"\x0a\x06\x08\x01\x12\x02\xff\xfe")
        await s.check_alive()
        assert s.victim.peers(TOPIC) == frozenset()


async def test_tampered_message_does_not_shadow_the_true_one() -> None:
    """A bad signature on honest content must not make that content known."""
    async with scene() as s, attack(s.addr) as peer:
        forged = peer.message(TOPIC, b"true")
        forged.signature = bytes(64)
        await peer.send(rpc(publish=[forged]))
        with trio.fail_after(PATIENCE):
            while not s.victim.statistics().malformed:
                await trio.sleep(0.01)
        assert b"true" not in s.got
        await s.honest.publish(TOPIC, b"true")
        await s.wait_for(b"true")


async def test_attack_a_forged_copy_behind_messages_that_are_judged_slowly() -> None:
    """It must not make its content look as if it were being judged, until the others are."""
    released = trio.Event()

    async def validate(_: str, data: bytes) -> Decision:
        if data.startswith(b"slow"):
            await released.wait()
        return Decision.ACCEPT

    patient = GossipSettings(validator_time_max=10 * PATIENCE)
    async with scene(patient) as s, attack(s.addr) as peer:
        topic = TOPIC.replace("attack", "other")
        await s.victim.join(topic, validate)
        slow = [peer.message(topic, b"slow %d" % at, at) for at in range(9)]
        forged = peer.message(topic, b"true")
        forged.signature = bytes(64)
        await peer.send(rpc(publish=[*slow, forged]))
        with trio.fail_after(PATIENCE):
            while not s.victim.statistics().malformed:
                await trio.sleep(0.01)
        assert not released.is_set()
        released.set()


async def test_attack_unsigned_addition_to_a_signed_message() -> None:
    """No signature covers fields that protobuf does not know; go refuses a message that has some,
    and would blame us for passing it on."""
    async with scene() as s, attack(s.addr) as peer, attack(s.addr, hold_streams=True) as other:
        await other.join(TOPIC)
        message = peer.message(TOPIC, b"padded").SerializeToString() + b"\xfa\x3f\x03pad"
        await peer.send(framed(b"\x12" + uvarint(len(message)) + message))
        await s.wait_for(b"padded")
        await other.send(want(content_id(TOPIC, b"padded")))
        with trio.fail_after(PATIENCE):
            while not (passed := await other.messages()):
                await trio.sleep(0.05)
        assert passed[0].SerializeToString() == peer.message(TOPIC, b"padded").SerializeToString()


async def test_attack_asking_for_the_same_message_for_ever() -> None:
    """20 bytes ask for up to 128 KiB; gossipsub 1.1 sends a message again three times at most."""
    async with scene() as s, attack(s.addr, hold_streams=True) as peer:
        await peer.join(TOPIC)
        await s.honest.publish(TOPIC, b"big")
        await s.wait_for(b"big")
        await peer.send(*[want(content_id(TOPIC, b"big"))] * 20)
        await s.check_alive()
        with trio.fail_after(PATIENCE):
            while not (sent := [one for one in await peer.messages() if one.data == b"big"]):
                await trio.sleep(0.01)
        assert len(sent) <= 1 + 3, "the first time as gossip, or by the first IWANT"


def want(content: bytes) -> bytes:
    """A frame that asks for one message."""
    return rpc(control=rpc_pb2.ControlMessage(iwant=[rpc_pb2.ControlIWant(messageIDs=[content])]))


async def test_attack_joining_and_leaving_for_ever() -> None:
    """Each join starts three tasks; they count in the peer's rate of messages."""
    async with scene() as s, attack(s.addr) as peer:
        both = [rpc_pb2.RPC.SubOpts(subscribe=n % 2 == 0, topicid=TOPIC) for n in range(100)]
        await peer.send(*[rpc(subscriptions=both)] * 5)
        with trio.fail_after(PATIENCE):
            while not s.victim.statistics().slowed:
                await trio.sleep(0.01)


async def test_stream_that_its_handler_leaves_open_is_given_back() -> None:
    async def leave(_: object) -> None:
        """Neither closes nor resets its stream."""

    async with scene() as s, attack(s.addr) as peer:
        s.victim._host.set_stream_handler("/test/left/1", leave)
        opened = [(await peer.stream("/test/left/1")).muxed_stream for _ in range(100)]
        with trio.fail_after(PATIENCE):
            while not all(stream.closed for stream in opened):
                await trio.sleep(0.01)


async def test_raising_validator_and_handler_do_not_end_the_host() -> None:  # C2
    async def handle(_: str, body: bytes) -> bytes:
        raise RuntimeError("on purpose")

    async with scene() as s:
        s.victim.serve("/test/1", handle, request_max=10)
        await s.honest.publish(TOPIC, b"raise this")
        with pytest.raises(UnreachableError):
            await s.honest.request(
                s.victim.peer_id, "/test/1", b"x", reply_max=10, timeout=PATIENCE
            )
        await s.wait_for(b"raise this")
        await s.check_alive()
        assert s.victim.statistics().handler_errors == 1
        assert s.victim.statistics().validator_errors == 1


@pytest.mark.parametrize(
    ("connections", "cap"), [(18, 8), pytest.param(350, 100, marks=pytest.mark.slow)]
)
async def test_connections_that_come_and_go_use_up_no_slots(
    connections: int, cap: int
) -> None:  # C3
    async with scene(GossipSettings(connections_max=cap, connections_listed=1)) as s:
        left = iter(range(connections))

        async def come_and_go() -> None:
            for n in left:
                if n % 3 == 2:  # and some that never say a word
                    host, port = s.addr.split("/")[2], int(s.addr.split("/")[4])
                    stream = await trio.open_tcp_stream(host, port)
                    await stream.aclose()
                else:
                    async with attack(s.addr) as peer:
                        assert peer.connected

        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(come_and_go)
        await s.check_alive()
        with trio.fail_after(PATIENCE):
            while s.victim.statistics().connections > 1:
                await trio.sleep(0.05)
        store = s.victim._host.get_peerstore()
        assert len(store.peer_ids()) <= 2, "only we and the honest peer are known"


async def test_oversize_frame_does_not_partition() -> None:  # C4
    got: list[bytes] = []

    async def validate(_: str, data: bytes) -> Decision:
        got.append(data)
        return Decision.ACCEPT

    async with open_swarm(listen=LOOPBACK) as a, open_swarm() as b:
        await a.join(TOPIC, validate)
        b.keep(a.addrs[0])
        with trio.fail_after(PATIENCE):
            await b.wait_for_peers(TOPIC, 1)
        b._gossip._peers[a.peer_id].put(Rpc(messages=(Message(b"", bytes(2_000_000), b"", "t"),)))
        with trio.fail_after(PATIENCE):
            while b.peers(TOPIC):
                await trio.sleep(0.01)
            await b.wait_for_peers(TOPIC, 1)
            await b.publish(TOPIC, b"healed")
            while b"healed" not in got:
                await trio.sleep(0.01)


async def test_dead_stream_on_a_living_connection_heals() -> None:  # C4
    async with scene() as s:
        peers = s.honest._gossip._peers
        dead = peers[s.victim.peer_id]
        (stream,) = [one for one in dead.muxer._streams.values() if not one.inbound]
        await stream.reset()
        with trio.fail_after(PATIENCE):
            while peers.get(s.victim.peer_id, dead) is dead:
                await trio.sleep(0.01)
        await s.check_alive()


async def test_message_over_the_cap_is_refused_and_costs_its_sender() -> None:
    async with scene() as s, attack(s.addr) as peer:
        await peer.send(rpc(publish=[peer.message(TOPIC, bytes(BUNDLE_MAX + 1))]))
        with trio.fail_after(PATIENCE):
            while not s.victim.statistics().malformed:
                await trio.sleep(0.01)
        assert peer.connected
        await peer.send(rpc(publish=[peer.message(TOPIC, bytes(BUNDLE_MAX), 2)]))
        await s.wait_for(bytes(BUNDLE_MAX))


async def test_five_hundred_messages_at_once_all_arrive() -> None:  # C5, C6
    async with scene() as s:
        for n in range(500):
            await s.honest.wait_for_room(TOPIC)
            await s.honest.publish(TOPIC, b"burst %d" % n)
        for n in range(500):
            await s.wait_for(b"burst %d" % n)


@pytest.mark.shows("MARS-2")
async def test_messages_are_signed_and_hold_no_address() -> None:  # C7
    async with scene() as s, attack(s.addr, hold_streams=True) as peer:
        await peer.join(TOPIC)
        await s.victim.wait_for_peers(TOPIC, 1)
        await s.victim.publish(TOPIC, b"look")
        with trio.fail_after(PATIENCE):
            while not (got := await peer.messages()):
                await trio.sleep(0.05)
        assert got[0].from_id == s.victim._host.get_id().to_bytes()
        message = Message(got[0].from_id, got[0].data, got[0].seqno, TOPIC, got[0].signature)
        assert validly_signed(message)
        frames = await peer.frames()
        assert not any(frame.HasField("senderRecord") for frame in frames)
        assert not any(socket.inet_aton("127.0.0.1") in f.SerializeToString() for f in frames)


async def test_fresh_host_key_per_swarm_unless_a_seed_is_given() -> None:
    ids = []
    for seed in (None, None, bytes(32), bytes(32)):
        async with open_swarm(seed=seed) as swarm:
            ids.append(swarm.peer_id)
    assert len(set(ids)) == 3
    assert ids[2] == ids[3]
    with pytest.raises(ConfigError):
        async with open_swarm(seed=b"short"):
            pass


async def test_streams_that_arrive_at_once_are_served() -> None:  # C8
    """Peers that dial the very moment the port is open find the services running."""
    listen = [f"/ip4/127.0.0.1/tcp/{free_port()}"]
    async with open_swarm(listen=listen, seed=bytes(32)) as first:
        addr = first.addrs[0]
    async with trio.open_nursery() as nursery, open_swarm() as eager:
        eager.keep(addr)
        await trio.sleep(0.2)
        async with open_swarm(listen=listen, seed=bytes(32)) as again:

            async def accept(_: str, __: bytes) -> Decision:
                return Decision.ACCEPT

            await again.join(TOPIC, accept)
            with trio.fail_after(PATIENCE):
                await eager.wait_for_peers(TOPIC, 1)
        nursery.cancel_scope.cancel()


async def test_only_noise_and_yamux_are_offered() -> None:  # C9
    async with open_swarm() as swarm:
        upgrader = swarm._host.get_network().upgrader
        assert list(upgrader.security_multistream.transports) == ["/noise"]
        assert list(upgrader.muxer_multistream.transports) == ["/yamux/1.0.0"]


async def test_rejected_messages_lower_the_peer_score_and_ignored_ones_do_not() -> None:
    async with scene() as s, attack(s.addr) as peer:
        stream = await peer.stream()
        for n in range(30):
            frame = rpc(publish=[peer.message(TOPIC, b"reject %d" % n, n)])
            await stream.write(frame)
        with trio.fail_after(PATIENCE):
            while not s.victim.statistics().limited:
                await stream.write(rpc(publish=[peer.message(TOPIC, b"more", 99)]))
                await trio.sleep(0.05)
        assert 10 <= s.victim.statistics().rejected < 30
        await s.check_alive()


async def test_stalled_reader_does_not_hold_up_others() -> None:
    got: list[bytes] = []

    async def validate(_: str, data: bytes) -> Decision:
        got.append(data)
        return Decision.ACCEPT

    async with (
        open_swarm(listen=LOOPBACK) as source,
        open_swarm() as reader,
        attack(source.addrs[0], hold_streams=True) as staller,
    ):
        await reader.join(TOPIC, validate)
        await reader.dial(source.addrs[0])
        await staller.join(TOPIC)
        with trio.fail_after(PATIENCE):
            await source.wait_for_peers(TOPIC, 2)
            n = 0
            while not source.statistics().unsent:
                assert await source.publish(TOPIC, b"%4d" % n + bytes(100_000)) >= 1
                n += 1
                while len(got) < n:
                    await trio.sleep(0.001)


async def test_prune_with_addresses_makes_us_dial_nobody() -> None:
    """Stock would connect to whatever address a stranger's PRUNE names."""
    with socket.create_server(("127.0.0.1", 0)) as bait:
        bait.setblocking(False)
        async with scene() as s, attack(s.addr) as peer, attack(s.addr) as other:
            envelope = other.host.get_peerstore().get_local_record()
            info = rpc_pb2.PeerInfo(
                peerID=other.host.get_id().to_bytes(),
                signedPeerRecord=envelope.marshal_envelope(),
            )
            prune = rpc_pb2.ControlPrune(topicID=TOPIC, peers=[info], backoff=2**40)
            control = rpc_pb2.ControlMessage(prune=[prune])
            await peer.send(rpc(control=control))
            await s.check_alive()
        with pytest.raises(BlockingIOError):
            bait.accept()


async def test_control_flood_leaves_no_state() -> None:
    async with scene() as s, attack(s.addr) as peer:
        stream = await peer.stream()
        for n in range(10):
            topics = [f"/flood/{n}/{i}" for i in range(100)]
            ids = [bytes([n, i]) * 10 for i in range(20)]
            control = rpc_pb2.ControlMessage(
                graft=[rpc_pb2.ControlGraft(topicID=t) for t in topics],
                prune=[rpc_pb2.ControlPrune(topicID=t, backoff=99) for t in topics],
                ihave=[rpc_pb2.ControlIHave(topicID=t, messageIDs=ids) for t in [*topics, TOPIC]],
                iwant=[rpc_pb2.ControlIWant(messageIDs=ids)],
            )
            subscriptions = [rpc_pb2.RPC.SubOpts(subscribe=True, topicid=t) for t in topics]
            await stream.write(rpc(control=control, subscriptions=subscriptions))
        await s.check_alive()
        state = s.victim._gossip.mesh._state
        assert len(state.topics) <= 1 + 64
        assert not any(topic.joined for name, topic in state.topics.items() if name != TOPIC)


async def test_streams_beyond_the_limit_are_refused() -> None:
    settings = GossipSettings(streams_per_peer=8)
    async with scene(settings) as s, attack(s.addr) as peer:
        opened = [await peer.muxer.open_stream() for _ in range(100)]
        with trio.fail_after(PATIENCE):
            while sum(stream.closed for stream in opened) < 90:
                await trio.sleep(0.01)
        await s.check_alive()


async def test_requests_beyond_the_limit_are_refused() -> None:
    release = trio.Event()

    async def wait(_: str, body: bytes) -> bytes:
        await release.wait()
        return body

    replies: list[bytes] = []

    async def ask(s: Scene) -> None:
        with contextlib.suppress(UnreachableError):
            replies.append(
                await s.honest.request(
                    s.victim.peer_id, "/test/1", b"x", reply_max=9, timeout=PATIENCE
                )
            )

    async with scene() as s:
        s.victim.serve("/test/1", wait, request_max=10)
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(ask, s)
            with trio.fail_after(PATIENCE):
                while s.victim.statistics().requests_refused < 6:
                    await trio.sleep(0.01)
            release.set()
        assert replies == [b"x"] * 4


@pytest.mark.parametrize(
    "addr",
    [
        "",
        "nonsense",
        "/ip4/127.0.0.1",
        "/ip4/127.0.0.1/udp/1",
        "/ip4/127.0.0.1/tcp/99999",
        "/ip4/999.0.0.1/tcp/1",
        "/ip4/203.0.113.7/tcp/0",
        "/dns4/localhost/tcp/0",
    ],
)
async def test_address_that_cannot_be_listened_on_is_one_clear_line(addr: str) -> None:
    with pytest.raises(ConfigError) as caught:
        async with open_swarm(listen=[addr]):
            pass
    assert "\n" not in str(caught.value)
    assert addr in str(caught.value)


async def test_port_in_use_is_one_clear_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match="in use"):
            async with open_swarm(listen=[f"/ip4/127.0.0.1/tcp/{port}"]):
                pass


async def test_port_of_another_swarm_is_in_use() -> None:
    async with open_swarm(listen=LOOPBACK) as first:
        port = first.addrs[0].split("/")[4]
        with pytest.raises(ConfigError, match="in use"):
            async with open_swarm(listen=[f"/ip4/127.0.0.1/tcp/{port}"]):
                pass


async def test_killed_peer_is_noticed_and_dialled_again() -> None:
    """SIGKILL of the other process; it comes back on the same port with the same key."""
    code = (
        "import sys, trio\n"
        "from methrics.node.network.libp2p import open_swarm\n"
        "from methrics.schema.wire.verdict import Decision\n"
        "async def accept(peer, data): return Decision.ACCEPT\n"
        "async def main():\n"
        "    async with open_swarm(listen=[sys.argv[1]], seed=bytes(32)) as swarm:\n"
        f"        await swarm.join({TOPIC!r}, accept)\n"
        "        print(swarm.addrs[0], flush=True)\n"
        "        await trio.sleep_forever()\n"
        "trio.run(main)\n"
    )

    def start(addr: str) -> tuple[subprocess.Popen[str], str]:
        process = subprocess.Popen(
            [sys.executable, "-c", code, addr], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        return process, process.stdout.readline().strip()

    def stop(process: subprocess.Popen[str]) -> None:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()

    settings = GossipSettings(redial_least=0.1, redial_most=0.5)
    async with open_swarm(settings=settings) as swarm:
        listen = f"/ip4/127.0.0.1/tcp/{free_port()}"
        process, addr = await trio.to_thread.run_sync(start, listen)
        try:
            swarm.keep(addr)
            with trio.fail_after(PATIENCE):
                await swarm.wait_for_peers(TOPIC, 1)
            stop(process)
            with trio.fail_after(PATIENCE):
                while swarm.peers(TOPIC):
                    await trio.sleep(0.02)
            process, _ = await trio.to_thread.run_sync(start, listen)
            with trio.fail_after(PATIENCE):
                await swarm.wait_for_peers(TOPIC, 1)
            assert await swarm.publish(TOPIC, b"back") == 1
        finally:
            stop(process)


class _Lines(logging.Handler):
    """What an app sees that logs everything that reaches the root logger."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@pytest.mark.shows("DEB-9")
async def test_no_trace_of_a_peer_is_kept_when_it_has_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root, lines = logging.getLogger(), _Lines()
    monkeypatch.setattr(root, "handlers", [*root.handlers, lines])
    monkeypatch.setattr(root, "level", logging.DEBUG)
    async with scene() as s:
        async with attack(s.addr) as peer:
            stranger = peer.host.get_id()
            await peer.send(rpc(publish=[peer.message(TOPIC, b"hi")]))
            await s.wait_for(b"hi")
        network = s.victim._host.get_network()
        with trio.fail_after(PATIENCE):
            while network.get_connections(stranger) or stranger in network.peerstore.peer_ids():
                await trio.sleep(0.01)
        assert stranger not in network.auto_connector._recent_disconnects
        assert not network.places._of or stranger not in {m.peer_id for m in network.places._of}
        assert str(stranger) not in s.victim._gossip._peers
    assert [line for line in lines.lines if "127.0.0.1" in line] == []


async def test_closing_leaves_no_threads_behind() -> None:
    def ours() -> int:
        return sum("_background_cleanup" in thread.name for thread in threading.enumerate())

    before = ours()
    async with open_swarm(listen=LOOPBACK):
        assert ours() == before
    assert ours() == before


async def test_raw_garbage_before_any_handshake() -> None:
    async with scene() as s:
        host, port = s.addr.split("/")[2], int(s.addr.split("/")[4])
        for garbage in (
            b"",
            b"\xff" * 5000,
            b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f" + bytes(100_000),
            b"\x13/multistream/1.0.0\n\x07/noise\n" + b"\xff" * 70_000,
            b"\x13/multistream/1.0.0\n\x05\xff\xfe\xfd\xfc\n",
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        ):
            stream = await trio.open_tcp_stream(host, port)
            with contextlib.suppress(trio.BrokenResourceError):
                await stream.send_all(garbage)
                await trio.sleep(0.02)
            await stream.aclose()
        await s.check_alive()


async def test_garbage_after_the_handshake_drops_its_sender_only() -> None:
    async with scene() as s:
        for garbage in (
            b"\xff" * 12,
            b"\x00\x00\x00\x00\x00\x00\x00\x01\xff\xff\xff\xff",
            bytes(99),
        ):
            async with attack(s.addr) as peer:
                with contextlib.suppress(BaseLibp2pError):
                    await peer.muxer.secured_conn.write(garbage)
                await until_dropped(peer)
        await s.check_alive()
