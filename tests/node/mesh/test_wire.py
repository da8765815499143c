"""Gossip frames as bytes: the same as protobuf writes and reads, within bounds."""

from __future__ import annotations

import pytest
from google.protobuf.message import DecodeError
from hypothesis import example, given
from hypothesis import strategies as st

from methrics._vendor.libp2p.pubsub.pb import rpc_pb2
from methrics.node.mesh import wire
from methrics.node.mesh.rpc import (
    Graft,
    IHave,
    IWant,
    Message,
    PeerInfo,
    Prune,
    Rpc,
    Subscription,
    content_id,
)

topics = st.text(max_size=150).filter(lambda text: not any("\ud800" <= c <= "\udfff" for c in text))
ids = st.lists(st.binary(max_size=40) | st.binary(min_size=20, max_size=20), max_size=8).map(tuple)
blobs = st.binary(max_size=200)

messages = st.builds(
    Message,
    sender=blobs,
    data=blobs,
    seqno=st.binary(max_size=9),
    topic=topics.filter(bool),
    signature=st.binary(max_size=64),
    key=st.binary(max_size=40),
)
prunes = st.builds(
    Prune,
    topics,
    st.integers(0, 2**64 - 1),
    st.lists(st.builds(PeerInfo, blobs, blobs), max_size=4).map(tuple),
)


def tuples(one: st.SearchStrategy[object]) -> st.SearchStrategy[tuple[object, ...]]:
    return st.lists(one, max_size=4).map(tuple)


rpcs = st.builds(
    Rpc,
    subscriptions=tuples(st.builds(Subscription, topics, st.booleans())),
    messages=tuples(messages),
    ihave=tuples(st.builds(IHave, topics, ids)),
    iwant=tuples(st.builds(IWant, ids)),
    graft=tuples(st.builds(Graft, topics)),
    prune=tuples(prunes),
)


def body(rpc: Rpc) -> bytes:
    """The frame without its length."""
    frame = wire.encode(rpc)
    start = next(at for at, byte in enumerate(frame) if byte < 128) + 1
    assert wire.uvarint(len(frame) - start) == frame[:start]
    return frame[start:]


def from_protobuf(rpc: rpc_pb2.RPC) -> Rpc:
    """What `decode` should return, from what protobuf has read."""

    def message(one: rpc_pb2.Message) -> Message:
        topic = one.topicIDs[0] if len(one.topicIDs) == 1 else ""
        return Message(one.from_id, one.data, one.seqno, topic, one.signature, one.key)

    control = rpc.control
    return Rpc(
        tuple(Subscription(one.topicid, one.subscribe) for one in rpc.subscriptions),
        tuple(message(one) for one in rpc.publish),
        tuple(IHave(one.topicID, tuple(one.messageIDs)) for one in control.ihave),
        tuple(IWant(tuple(one.messageIDs)) for one in control.iwant),
        tuple(Graft(one.topicID) for one in control.graft),
        tuple(
            Prune(
                one.topicID,
                one.backoff,
                tuple(PeerInfo(peer.peerID, peer.signedPeerRecord) for peer in one.peers),
            )
            for one in control.prune
        ),
    )


def parsed(data: bytes) -> rpc_pb2.RPC:
    rpc = rpc_pb2.RPC()
    rpc.ParseFromString(data)
    return rpc


@given(rpcs)
def test_what_is_encoded_is_decoded_again(rpc: Rpc) -> None:
    assert wire.decode(body(rpc)) == rpc


@given(rpcs)
def test_protobuf_reads_what_is_encoded(rpc: Rpc) -> None:
    assert from_protobuf(parsed(body(rpc))) == rpc


@given(rpcs)
def test_the_size_is_known_without_encoding(rpc: Rpc) -> None:
    expected = wire.frame_size(rpc)
    assert len(wire.encode(rpc)) == expected
    assert wire.frame_size(rpc) == expected


@given(st.binary(max_size=300) | rpcs.map(body))
@example(b"\x0b\x0c")
@example(b"\x1a\x0c\x0a\x0a\x12\x00\x0a\x00\x0a\x04abcd")
def test_any_bytes_decode_as_protobuf_decodes_them_or_are_refused(data: bytes) -> None:
    try:
        rpc = wire.decode(data)
    except wire.WireError:
        return
    try:
        other = parsed(data)
    except DecodeError:
        return  # protobuf also refuses what it does not need
    assert rpc == from_protobuf(other)


@given(rpcs.map(body), st.data())
def test_damaged_frames_raise_no_other_error(frame: bytes, data: st.DataObject) -> None:
    damaged = bytearray(frame)
    for _ in range(data.draw(st.integers(1, 4))):
        if damaged:
            damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(damaged[: data.draw(st.integers(0, len(damaged)))])
    try:
        rpc = wire.decode(cut)
    except wire.WireError:
        return
    assert wire.decode(body(rpc)) == rpc or any(not one.topic for one in rpc.messages)


@given(messages)
def test_the_signed_bytes_are_those_of_protobuf(message: Message) -> None:
    unsigned = rpc_pb2.Message(
        data=message.data,
        topicIDs=[message.topic],
        from_id=message.sender,
        seqno=message.seqno,
    )
    assert wire.signed_bytes(message) == b"libp2p-pubsub:" + unsigned.SerializeToString()


def test_the_content_id_depends_on_topic_and_data_only() -> None:
    one = Message(b"a", b"data", b"1", "topic")
    assert one.content == Message(b"b", b"data", b"2", "topic", b"s").content
    assert one.content == content_id("topic", b"data")
    assert len(one.content) == 20
    assert one.content != content_id("topic2", b"data")


def test_a_frame_is_encoded_once() -> None:
    rpc = Rpc(messages=(Message(b"a", b"data", b"1", "topic"),))
    assert wire.encode(rpc) is wire.encode(rpc)


@pytest.mark.parametrize("topics", [[], ["a", "b"], ["a", "a"]])
def test_a_message_without_one_topic_gets_none(topics: list[str]) -> None:
    message = rpc_pb2.Message(data=b"x", topicIDs=topics)
    frame = rpc_pb2.RPC(publish=[message]).SerializeToString()
    assert [one.topic for one in wire.decode(frame).messages] == [""]


def test_unknown_fields_are_dropped() -> None:
    frame = rpc_pb2.RPC(publish=[rpc_pb2.Message(data=b"x", topicIDs=["t"])]).SerializeToString()
    inside = frame[2:] + b"\x7a\x03abc" + b"\x79" + bytes(8) + b"\x7d" + bytes(4) + b"\x78\x05"
    data = b"\x12" + wire.uvarint(len(inside)) + inside + b"\x62\x01z"
    assert wire.decode(data) == wire.decode(frame)
    assert body(wire.decode(data)) == body(wire.decode(frame))


def test_a_topic_that_is_not_utf8_is_refused() -> None:
    with pytest.raises(wire.WireError):
        wire.decode(b"\x0a\x03\x12\x01\xff")


@pytest.mark.parametrize(
    "data",
    [
        b"\x12",
        b"\x12\x05a",
        b"\x12\x80",
        b"\x12" + b"\x80" * 10 + b"\x01",
        b"\x00\x00",
        b"\x0b\x0c",
        b"\x0d\x00",
        b"\x09" + bytes(7),
        b"\x0f",
    ],
)
def test_bytes_that_are_not_protobuf_are_refused(data: bytes) -> None:
    with pytest.raises(wire.WireError):
        wire.decode(data)


def test_attack_too_many_parts_are_refused_early() -> None:
    for part in (b"\x12\x00", b"\x0a\x00", b"\x1a\x00", b"\x38\x00", b"\x1a\x02\x0a\x00"):
        with pytest.raises(wire.WireError):
            wire.decode(part * 10_001)
    for content in (b"", bytes(19), bytes(20)):
        for control in (
            Rpc(iwant=(IWant((content,) * 10_001),)),
            Rpc(ihave=(IHave("t", (content,) * 10_001),)),
        ):
            with pytest.raises(wire.WireError):
                wire.decode(body(control))


def test_attack_too_many_messages_or_subscriptions_in_one_frame_are_refused() -> None:
    message = Message(b"s", b"d", b"n", "t")
    assert len(wire.decode(body(Rpc(messages=(message,) * 256))).messages) == 256
    with pytest.raises(wire.WireError):
        wire.decode(body(Rpc(messages=(message,) * 257)))
    with pytest.raises(wire.WireError):
        wire.decode(body(Rpc(subscriptions=(Subscription("t", True),) * 129)))


def test_the_cost_of_a_frame_grows_with_its_parts() -> None:
    assert wire.cost(wire.decode(body(Rpc(graft=(Graft("t"),))))) == 1
    message = Message(b"s", b"d", b"n", "t")
    assert wire.cost(wire.decode(body(Rpc(messages=(message,) * 9)))) == 9
    assert wire.cost(wire.decode(body(Rpc(iwant=(IWant((bytes(20),) * 5000),))))) == 100
    assert wire.cost(wire.decode(b"\x38\x00" * 5000)) == 100


def test_the_longest_ihave_of_other_implementations_is_read() -> None:
    ids = tuple(at.to_bytes(20, "big") for at in range(5000))
    rpc = Rpc(ihave=(IHave("t", ids),))
    assert wire.decode(body(rpc)) == rpc
