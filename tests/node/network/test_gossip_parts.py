"""The pure parts of the gossip node: contents, frames, signatures, addresses."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from methrics._vendor.libp2p.crypto.ed25519 import create_new_key_pair
from methrics._vendor.libp2p.crypto.rsa import create_new_key_pair as create_new_rsa_key_pair
from methrics._vendor.libp2p.io.exceptions import IncompleteReadError, MessageTooLarge
from methrics._vendor.libp2p.peer.id import ID
from methrics._vendor.libp2p.utils.varint import encode_uvarint
from methrics.node.mesh.limits import MeshSettings
from methrics.node.mesh.rpc import ID_SIZE, Message, Rpc, content_id
from methrics.node.mesh.wire import decode, encode, signed_bytes
from methrics.node.network.libp2p import GossipSettings
from methrics.node.network.libp2p.dialing import parse_listen, parse_peer_addr
from methrics.node.network.libp2p.framing import FrameReader, SlowFrameError
from methrics.node.network.libp2p.requests import parse_peer
from methrics.node.network.libp2p.signing import sign, validly_signed
from methrics.schema.errors import ConfigError
from methrics.schema.example import example_catalog

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
    stream = b"".join(encode_uvarint(len(body)) + body for body in bodies)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True) if a < b]
    assert read_frames(pieces) == bodies


@pytest.mark.parametrize("start", [encode_uvarint(1001), b"\xff" * 10, b"\xff" * 9 + b"\x01"])
def test_frame_over_the_limit_is_refused_before_it_is_read(start: bytes) -> None:
    with pytest.raises(MessageTooLarge):
        read_frames([start])


async def test_attack_frame_that_stops_half_way(autojump_clock: object) -> None:
    pieces = [b"\x20", b"half of it"]

    async def read(_: int) -> bytes:
        return pieces.pop(0) if pieces else await trio.sleep_forever()

    reader = FrameReader(read, 1000, grace=5, rate=1000)
    with pytest.raises(SlowFrameError):
        await reader.next()
    assert trio.current_time() < 10


async def test_attack_frame_of_a_byte_a_second(autojump_clock: object) -> None:
    async def read(_: int) -> bytes:
        await trio.sleep(1)
        return b"\x7f"

    began = trio.current_time()
    with pytest.raises(SlowFrameError):
        await FrameReader(read, 1000, grace=5, rate=1000).next()
    assert trio.current_time() - began < 10


async def test_peer_may_stay_silent_between_frames(autojump_clock: object) -> None:
    async def read(_: int) -> bytes:
        await trio.sleep(1000)
        return b"\x02ab"

    reader = FrameReader(read, 1000, grace=5, rate=1000)
    assert [await reader.next(), await reader.next()] == [b"ab", b"ab"]


@given(st.binary(max_size=500), st.text(min_size=1, max_size=30), st.integers(0, 2**64 - 1))
def test_signed_messages_verify_after_the_way_over_the_wire(
    data: bytes, topic: str, seqno: int
) -> None:
    frame = encode(Rpc(messages=(sign(topic, data, SENDER, seqno, KEYS.private_key),)))
    (body,) = read_frames([frame])
    (message,) = decode(body).messages
    assert validly_signed(message)
    message.data += b"x"
    assert not validly_signed(message)


def test_message_signed_by_a_key_that_its_sender_id_does_not_hold() -> None:
    keys = create_new_rsa_key_pair()
    sender = ID.from_pubkey(keys.public_key).to_bytes()
    message = sign("t", b"x", sender, 1, keys.private_key)
    assert not validly_signed(message), "the id is a hash, so the key has to come along"
    message.key = keys.public_key.serialize()
    assert validly_signed(message)
    message.key = KEYS.public_key.serialize()
    assert not validly_signed(message)


@pytest.mark.parametrize("seqno", [b"", bytes(7), bytes(9)])
def test_attack_message_number_that_others_refuse(seqno: bytes) -> None:
    """Signed well, so that it would pass; js refuses its length and would blame who forwards it."""
    message = Message(SENDER, b"x", seqno, "t")
    message.signature = KEYS.private_key.sign(signed_bytes(message))
    assert not validly_signed(message)


def test_attack_key_of_another_beside_a_good_signature() -> None:
    """The signature does not cover the key; go and js refuse one that is not the sender's."""
    message = sign("t", b"x", SENDER, 1, KEYS.private_key)
    message.key = KEYS.public_key.serialize()
    assert validly_signed(message)
    for key in (create_new_key_pair(b"\1" * 32).public_key.serialize(), b"junk"):
        message.key = key
        assert not validly_signed(message)


@given(st.binary(max_size=60), st.binary(max_size=70), st.binary(max_size=60))
def test_no_key_raises_out_of_the_signature_check(
    sender: bytes, signature: bytes, key: bytes
) -> None:
    assert not validly_signed(Message(sender, b"x", bytes(8), "t", signature, key))


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
    "wrong",
    [
        {"frame_max": 1000},
        {"queue_bytes": 1000},
        {"queue_frames": 1},
        {"connections_listed": 300},
        {"requests_listed": 64},
        {"mesh": MeshSettings(message_max=1_048_576)},
    ],
)
def test_settings_that_cannot_work_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        GossipSettings(**wrong)
