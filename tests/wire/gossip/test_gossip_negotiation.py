"""Strangers that agree on no protocol: before the handshake, on a stream, or when asked."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from attacker import MESHSUB, attack, uvarint

from methrics._vendor.libp2p.exceptions import BaseLibp2pError
from methrics._vendor.libp2p.utils import encode_delim
from methrics.node.network.libp2p import GossipSettings, open_swarm
from methrics.schema.errors import UnreachableError
from methrics.schema.wire.verdict import Decision

TOPIC = "/methrics/1/names-aaaaaaaaaaaaaaaa/cbor"
LOOPBACK = ["/ip4/127.0.0.1/tcp/0"]
PATIENCE = 60
PATIENT = GossipSettings(negotiate_time_max=10 * PATIENCE, dial_time_max=10 * PATIENCE)
"""No time limit ends what these tests wait for."""

NOBODY = "12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp"

HELLO = encode_delim(b"/multistream/1.0.0")
ANSWERS = {
    "bytes that are no text": HELLO + encode_delim(b"\xff\xfe\xfd"),
    "a huge length": HELLO + uvarint(2**40) + bytes(10_000),
    "no newline": HELLO + b"\x05hello",
    "nothing that it was asked": encode_delim(b"\xc3\x28"),
}


@pytest.mark.parametrize("answer", ANSWERS)
async def test_attack_an_answer_that_is_no_name_ends_no_asker(answer: str) -> None:
    """The peer joins the topic, as for a relay that asks its peers for records."""

    async def negotiate(communicator: Any, *_: object) -> None:
        await communicator.read_writer.write(ANSWERS[answer])
        await trio.sleep_forever()

    async def accept(*_: object) -> Decision:
        return Decision.ACCEPT

    async with (
        open_swarm(listen=LOOPBACK, settings=PATIENT) as victim,
        attack(victim.addrs[0], hold_streams=True) as peer,
    ):
        await victim.join(TOPIC, accept)
        await peer.join(TOPIC)
        with trio.fail_after(PATIENCE):
            await victim.wait_for_peers(TOPIC, 1)
        peer.host.multiselect.negotiate = negotiate
        with pytest.raises(UnreachableError, match="no reply"):
            await victim.request(
                peer.peer_id, "/methrics/record/1", b"", reply_max=100, timeout=PATIENCE
            )
        assert victim.peers(TOPIC) == {peer.peer_id}


async def test_attack_an_address_where_something_else_answers_ends_no_dialler() -> None:
    async def answer(stream: trio.SocketStream) -> None:
        await stream.send_all(ANSWERS["bytes that are no text"])
        async for _ in stream:
            pass

    async with trio.open_nursery() as nursery, open_swarm() as victim:
        listeners = await nursery.start(trio.serve_tcp, answer, 0)
        port = listeners[0].socket.getsockname()[1]
        with pytest.raises(UnreachableError):
            await victim.dial(f"/ip4/127.0.0.1/tcp/{port}/p2p/{NOBODY}")
        nursery.cancel_scope.cancel()


async def test_attack_a_huge_name_before_the_handshake_ends_the_connection() -> None:
    """Nothing is read of it; the sender learns that at once."""
    async with open_swarm(listen=LOOPBACK, settings=PATIENT) as victim:
        host, port = victim.addrs[0].split("/")[2], int(victim.addrs[0].split("/")[4])
        async with await trio.open_tcp_stream(host, port) as stream:
            await stream.send_all(uvarint(2**40))
            with trio.fail_after(PATIENCE):
                while await stream.receive_some():
                    pass


@pytest.mark.parametrize("start", [b"", HELLO, HELLO + encode_delim(b"/none/1")])
async def test_attack_a_huge_name_on_a_stream_ends_the_stream(start: bytes) -> None:
    async with (
        open_swarm(listen=LOOPBACK, settings=PATIENT) as victim,
        attack(victim.addrs[0]) as peer,
    ):
        stream = await peer.muxer.open_stream()
        await stream.write(start + uvarint(2**40))
        with trio.fail_after(PATIENCE), pytest.raises(BaseLibp2pError):
            while True:
                await stream.read(100)
        assert await peer.stream(MESHSUB), "the connection carries on"
