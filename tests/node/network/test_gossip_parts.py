"""The pure parts of the gossip node: contents, rates, recent messages, frames, signatures."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from methrics._vendor.libp2p.crypto.ed25519 import create_new_key_pair
from methrics._vendor.libp2p.io.exceptions import IncompleteReadError, MessageTooLarge
from methrics._vendor.libp2p.peer.id import ID
from methrics._vendor.libp2p.pubsub.pb import rpc_pb2
from methrics._vendor.libp2p.pubsub.validators import signature_validator
from methrics.node.network.contents import ID_SIZE, Contents, content_id
from methrics.node.network.libp2p import GossipSettings
from methrics.node.network.libp2p.dialing import parse_listen, parse_peer_addr
from methrics.node.network.libp2p.recent import Recent
from methrics.node.network.libp2p.requests import parse_peer
from methrics.node.network.libp2p.rpc import (
    FrameReader,
    count_parts,
    publish_frame,
    sign,
    uvarint,
    validly_signed,
)
from methrics.schema.errors import ConfigError
from methrics.schema.example import example_catalog
from methrics.schema.wire.verdict import Decision

KEYS = create_new_key_pair(bytes(32))
SENDER = ID.from_pubkey(KEYS.public_key).to_bytes()


def test_content_ids_differ_by_topic_and_data() -> None:
    ids = {content_id(topic, data) for topic in ("a", "ab") for data in (b"", b"b", b"\0b")}
    assert len(ids) == 6
    assert all(len(content) == ID_SIZE for content in ids)


def test_specification_says_how_messages_are_named() -> None:
    spec = (Path(__file__).parents[3] / "schema" / "SPEC.md").read_text("utf-8")
    topics = spec.split("\n## 6. ")[1].split("\n## ")[0]
    assert f"first {ID_SIZE} bytes of SHA-256(topic || 0x00 || data)" in topics
    (data, topic, content) = re.findall(
        r'data `"(\w+)"` [^`]*on\s`([^`]+)` has the id\s`([0-9a-f]+)`', topics
    )[0]
    assert topic == example_catalog().topic
    assert content_id(topic, data.encode()).hex() == content


def test_content_is_judged_once_and_its_forwarders_are_named() -> None:
    contents = Contents(ttl=10)
    assert contents.arrive(b"c", "one", 0)
    assert not contents.arrive(b"c", "two", 1)
    assert contents.decision(b"c") is None
    assert contents.settle(b"c", Decision.REJECT) == {"one", "two"}
    assert not contents.arrive(b"c", "three", 2)
    assert contents.decision(b"c") is Decision.REJECT
    assert contents.knows(b"c", 9.9)
    assert contents.arrive(b"c", "one", 10.1), "it is judged again once it was forgotten"


def test_content_under_judgement_outlives_its_ttl() -> None:
    contents = Contents(ttl=10)
    contents.arrive(b"slow", "one", 0)
    assert not contents.arrive(b"slow", "two", 50)
    assert contents.knows(b"slow", 50)


def test_own_and_forgotten_contents() -> None:
    contents = Contents()
    contents.own(b"mine", 0)
    assert not contents.arrive(b"mine", "one", 1)
    contents.arrive(b"dropped", "one", 1)
    contents.forget(b"dropped")
    assert contents.arrive(b"dropped", "one", 1)
    assert contents.settle(b"never", Decision.ACCEPT) == frozenset()


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=1), st.booleans()), max_size=200))
def test_contents_stay_bounded(arrivals: list[tuple[bytes, bool]]) -> None:
    contents = Contents(ttl=5, capacity=8)
    for now, (content, settled) in enumerate(arrivals):
        contents.arrive(content, "peer", now)
        if settled:
            contents.settle(content, Decision.ACCEPT)
        assert len(contents) <= 8


def test_recent_forgets_with_the_heartbeats() -> None:
    recent = Recent(window=2, history=3)
    recent.put(b"a", "t", b"frame a")
    recent.shift()
    recent.put(b"b", "t", b"frame b")
    recent.put(b"x", "other", b"frame x")
    assert recent.window("t") == [b"b", b"a"]
    recent.shift()
    assert recent.window("t") == [b"b"]
    kept = recent.get(b"a")
    assert kept is not None
    assert kept.frame == b"frame a"
    recent.shift()
    assert recent.get(b"a") is None
    recent.shift()
    assert len(recent) == 0


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=2), st.integers(0, 60)), max_size=80))
def test_recent_stays_within_its_bytes(puts: list[tuple[bytes, int]]) -> None:
    recent = Recent(bytes_max=100)
    for n, (content, size) in enumerate(puts):
        recent.put(content, "t", bytes(size))
        if n % 7 == 0:
            recent.shift()
        assert sum(len(recent.get(c).frame) for c in recent.window("t")) <= 100  # type: ignore[union-attr]


@given(st.integers(0, 2**63))
def test_uvarint_is_leb128(value: int) -> None:
    data = uvarint(value)
    assert sum((byte & 0x7F) << (7 * i) for i, byte in enumerate(data)) == value
    assert all(byte & 0x80 for byte in data[:-1])
    assert not data[-1] & 0x80


def read_frames(pieces: list[bytes], frame_max: int = 1000) -> list[bytes]:
    """All frames of a stream that arrives in `pieces`."""
    rest = list(pieces)
    counted: list[int] = []

    async def read(_: int) -> bytes:
        return rest.pop(0) if rest else b""

    async def main() -> list[bytes]:
        reader, out = FrameReader(read, frame_max, counted.append), []
        while True:
            try:
                out.append(await reader.next())
            except IncompleteReadError:
                reader.close()
                assert sum(counted) == 0, "each byte is counted as unread and then as read"
                return out

    return trio.run(main)


@given(st.lists(st.binary(max_size=300), max_size=10), st.data())
def test_frames_are_read_however_they_are_cut(bodies: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(uvarint(len(body)) + body for body in bodies)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True) if a < b]
    assert read_frames(pieces) == bodies


@pytest.mark.parametrize("start", [uvarint(1001), b"\xff" * 10, b"\xff" * 9 + b"\x01"])
def test_frame_over_the_limit_is_refused_before_it_is_read(start: bytes) -> None:
    with pytest.raises(MessageTooLarge):
        read_frames([start])


@given(st.binary(max_size=500), st.text(max_size=30), st.integers(0, 2**64 - 1))
def test_signed_messages_verify_here_and_in_stock(data: bytes, topic: str, seqno: int) -> None:
    frame = publish_frame(sign(topic, data, SENDER, seqno, KEYS.private_key))
    (body,) = read_frames([frame])
    (message,) = rpc_pb2.RPC.FromString(body).publish
    assert validly_signed(message)
    assert signature_validator(message)
    message.data += b"x"
    assert not validly_signed(message)


@pytest.mark.parametrize("seqno", [b"", bytes(7), bytes(9)])
def test_attack_message_number_that_others_refuse(seqno: bytes) -> None:
    """Signed well, so that it would pass; js refuses its length and would blame who forwards it."""
    message = rpc_pb2.Message(data=b"x", topicIDs=["t"], from_id=SENDER, seqno=seqno)
    prefix = b"libp2p-pubsub:"
    message.signature = KEYS.private_key.sign(prefix + message.SerializeToString())
    assert signature_validator(message)
    assert not validly_signed(message)


def test_attack_key_of_another_beside_a_good_signature() -> None:
    """The signature does not cover the key; go and js refuse one that is not the sender's."""
    message = rpc_pb2.Message.FromString(sign("t", b"x", SENDER, 1, KEYS.private_key))
    message.key = KEYS.public_key.serialize()
    assert validly_signed(message)
    for key in (create_new_key_pair(b"\1" * 32).public_key.serialize(), b"junk"):
        message.key = key
        assert not validly_signed(message)


RPCS = st.builds(
    lambda topics, messages, ids, peers: rpc_pb2.RPC(
        subscriptions=[rpc_pb2.RPC.SubOpts(subscribe=True, topicid=t) for t in topics],
        publish=[rpc_pb2.Message(data=data, topicIDs=topics) for data in messages],
        control=rpc_pb2.ControlMessage(
            ihave=[rpc_pb2.ControlIHave(topicID="t", messageIDs=ids)],
            iwant=[rpc_pb2.ControlIWant(messageIDs=ids)],
            graft=[rpc_pb2.ControlGraft(topicID=t) for t in topics],
            prune=[
                rpc_pb2.ControlPrune(
                    topicID="t",
                    backoff=2**40,
                    peers=[rpc_pb2.PeerInfo(peerID=p) for p in peers],
                )
            ],
        ),
    ),
    *(st.lists(item, max_size=5) for item in (st.text(max_size=9), *[st.binary(max_size=300)] * 3)),
)


def fields_of(message: Any, depth: int = 0) -> int:
    """Fields of a message and of its parts, as protobuf sees them; a peer of a PRUNE is one."""
    count = 0
    for descriptor, value in message.ListFields():
        repeated = isinstance(value, Sequence) and not isinstance(value, (str, bytes))
        values = value if repeated else [value]
        count += len(values)
        if descriptor.message_type is not None and descriptor.name != "peers":
            count += sum(fields_of(one, depth + 1) for one in values)
    return count


@given(RPCS)
def test_parts_of_a_frame_are_counted_without_decoding_it(rpc: rpc_pb2.RPC) -> None:
    frame = rpc.SerializeToString()
    parts = fields_of(rpc)
    assert count_parts(frame, 10_000) == parts
    assert count_parts(frame, 3) == min(parts, 4)


@given(st.binary(max_size=400))
def test_parts_of_any_bytes_are_counted_in_bounds(frame: bytes) -> None:
    assert 0 <= count_parts(frame, 50) <= 51


@given(st.binary(max_size=60), st.binary(max_size=70), st.binary(max_size=60))
def test_no_key_raises_out_of_the_signature_check(
    sender: bytes, signature: bytes, key: bytes
) -> None:
    message = rpc_pb2.Message(
        data=b"x", topicIDs=["t"], from_id=sender, seqno=bytes(8), signature=signature, key=key
    )
    assert not validly_signed(message)


@given(st.text(max_size=60))
def test_no_address_raises_anything_but_config_error(text: str) -> None:
    for parse in (parse_listen, parse_peer_addr):
        with pytest.raises(ConfigError):
            parse(text)
    parse_peer(text)


def test_addresses_that_are_good() -> None:
    assert str(parse_listen("/ip6/::/tcp/4001")) == "/ip6/::/tcp/4001"
    peer = "12D3KooWBTMi6ovWm2eXh4zUwY2QkrtcFPEZncmZD621TneDFd3K"
    info = parse_peer_addr(f"/dns4/relay.example.org/tcp/4001/p2p/{peer}")
    assert str(info.peer_id) == peer


@pytest.mark.parametrize(
    "wrong", [{"degree_low": 7}, {"message_max": 0}, {"frame_max": 1000}, {"queue_wait": 33}]
)
def test_settings_that_cannot_work_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigError):
        GossipSettings(**wrong)  # type: ignore[arg-type]
