"""Every reader of strangers' bytes, in one table: `TARGETS`.

A target returns, or raises one of its refusals. Anything else that happens is a finding.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any

import trio
from Crypto.PublicKey import RSA
from multiaddr import Multiaddr

from methrics._vendor.libp2p.crypto.ed25519 import create_new_key_pair
from methrics._vendor.libp2p.crypto.serialization import deserialize_public_key
from methrics._vendor.libp2p.custom_types import TProtocol
from methrics._vendor.libp2p.identity.identify.pb.identify_pb2 import Identify
from methrics._vendor.libp2p.io.exceptions import IOException
from methrics._vendor.libp2p.peer.envelope import seal_record
from methrics._vendor.libp2p.peer.id import ID
from methrics._vendor.libp2p.peer.peer_record import PeerRecord
from methrics._vendor.libp2p.protocol_muxer.exceptions import (
    MultiselectClientError,
    MultiselectError,
)
from methrics._vendor.libp2p.protocol_muxer.multiselect import Multiselect
from methrics._vendor.libp2p.protocol_muxer.multiselect_client import MultiselectClient
from methrics._vendor.libp2p.protocol_muxer.multiselect_communicator import MultiselectCommunicator
from methrics._vendor.libp2p.pubsub.pb import rpc_pb2
from methrics._vendor.libp2p.security.noise.messages import NoiseHandshakePayload
from methrics._vendor.libp2p.utils import encode_delim, encode_varint_prefixed
from methrics.aggregate.closing.exchange import (
    Ask,
    decode_ask,
    decode_page,
    encode_ask,
    encode_page,
)
from methrics.aggregate.parquet.directory import read_directory
from methrics.aggregate.parquet.manifest import (
    MANIFEST,
    ClosedDays,
    Day,
    File,
    Manifest,
    encode_manifest,
)
from methrics.node.mesh import wire as mesh_wire
from methrics.node.mesh.rpc import Rpc
from methrics.node.network.libp2p import frames
from methrics.node.network.libp2p.reach import Reach, dialable
from methrics.node.network.libp2p.requests import OversizeError, read_message
from methrics.node.network.libp2p.signing import sign, validly_signed
from methrics.node.ohttp import binary_http, inner
from methrics.node.ohttp.envelope import open_box, seal
from methrics.node.ohttp.key_config import ExitKey, decode_key_configs, encode_key_configs
from methrics.node.relay import doors, visits
from methrics.node.relay.record_exchange import decode_records
from methrics.schema.catalog.catalog import load
from methrics.schema.errors import CatalogError, RefusedError, StoreError
from methrics.schema.example import example_bytes, example_catalog
from methrics.schema.judging.book import CatalogBook
from methrics.schema.judging.gate import judge_bundle
from methrics.schema.judging.judge import judge
from methrics.schema.judging.seen import Seen
from methrics.schema.wire import bundle, codec, envelope, items, record, topic
from methrics.schema.wire.descriptor import decode_descriptor, encode_descriptor, read_descriptor
from methrics.schema.wire.manifest import Manifest as SignedBody
from methrics.schema.wire.manifest import read_manifest, sign_manifest
from methrics.schema.wire.shard import Shard
from methrics.schema.wire.verdict import Reason

ROOT = Path(__file__).resolve().parents[2]
VECTORS = ROOT / "schema" / "vectors" / "v1"
NOW = 1_800_000_000

Read = Callable[[bytes], object]


@dataclass(frozen=True)
class Target:
    """A reader, what it may raise, and valid inputs to start from."""

    read: Read
    seeds: Callable[[], list[bytes]]
    refusals: tuple[type[Exception], ...] = (RefusedError,)


def _hex(value: Any) -> Iterator[bytes]:
    """Every string of hex digits in a vector."""
    if isinstance(value, dict):
        for part in value.values():
            yield from _hex(part)
    elif isinstance(value, list):
        for part in value:
            yield from _hex(part)
    elif isinstance(value, str) and len(value) >= 2:
        try:
            yield bytes.fromhex(value)
        except ValueError:
            return


@lru_cache(1)
def vectors() -> dict[str, list[bytes]]:
    """The byte strings of all vectors, by the first word of the file's name, small ones only."""
    found: dict[str, list[bytes]] = {}
    for path in sorted(VECTORS.rglob("*.json")):
        group = "requests" if path.parent.name == "requests" else path.stem.partition("-")[0]
        parts = (part for part in _hex(json.loads(path.read_text())) if len(part) < 20_000)
        found.setdefault(group, []).extend(parts)
    return found


@lru_cache(1)
def item_seeds() -> list[bytes]:
    """Items and bundles: all that is accepted, and some of what is refused."""
    found = vectors()
    return [example_bytes(), *found["ok"], *found["malformed"], *found["early"]]


def request_seeds() -> list[bytes]:
    return vectors()["requests"]


@lru_cache(1)
def payload_seeds() -> list[bytes]:
    """The payloads of all items that split."""
    found = []
    for raw in item_seeds():
        try:
            found.append(bytes(envelope.split(raw).payload))
        except RefusedError:
            continue
    return found


CATALOG = example_catalog()


def book() -> CatalogBook:
    """A new book, as what is learnt from one input must not help the next."""
    made = CatalogBook()
    made.add(CATALOG)
    return made


def decode(data: bytes) -> None:
    """What decodes has no other encoding."""
    assert codec.encode(codec.decode(data, limit=65_536)) == data


def split(data: bytes) -> None:
    item = envelope.split(data)
    envelope.verify(item)


def unpack(data: bytes) -> None:
    bundle.unpack(data)


def judged(data: bytes) -> None:
    judge(data, book(), NOW)
    judge(data, book(), NOW, live=False)


def gate(data: bytes) -> None:
    judge_bundle(data, book(), NOW, Seen(1000))
    judge_bundle(data, book(), NOW, Seen(1000), topic=CATALOG.topic)


EXIT_KEY = ExitKey.from_seed(7, bytes(32))


def opened(data: bytes) -> None:
    """A box for an exit, as an entry or anyone else sends it."""
    inner.decode_question(open_box(data, {7: EXIT_KEY}).message)


def opened_seeds() -> list[bytes]:
    return [seal(EXIT_KEY.config, one).box for one in question_seeds()]


def question(data: bytes) -> None:
    """What is read has one encoding."""
    found = inner.decode_question(data)
    assert inner.encode_question(found.resource, found.content) == data


def question_seeds() -> list[bytes]:
    asked = [(inner.RECORDS, CATALOG.topic.encode()), (inner.DESCRIPTORS, b""), (inner.BOX, b"")]
    items = [(inner.BOX, raw) for raw in item_seeds()[:20]]
    return [inner.encode_question(resource, content) for resource, content in asked + items]


def exit_answer_seeds() -> list[bytes]:
    ok, full = inner.Answer(Reason.OK, NOW), inner.Answer(Reason.QUOTA, NOW, again=60)
    records = inner.Answer(Reason.OK, NOW, items=(b"record", bytes(300)))
    found = [inner.encode_answer(one, box=True) for one in (ok, full)]
    return [*found, *(inner.encode_answer(one, box=False) for one in (ok, records))]


def http_request(data: bytes) -> None:
    """What is read can be written and read again."""
    found = binary_http.decode_request(data)
    assert binary_http.decode_request(binary_http.encode_request(found)) == found


def http_response(data: bytes) -> None:
    found = binary_http.decode_response(data)
    assert binary_http.decode_response(binary_http.encode_response(found)) == found


def key_configs_seeds() -> list[bytes]:
    return [encode_key_configs([EXIT_KEY.config] * count) for count in (1, 2)]


def reply(data: bytes) -> None:
    doors.decode_reply(data, boxes=2)


def exit_request_seeds() -> list[bytes]:
    return [doors.encode_exit_request(opened_seeds()[:count]) for count in (1, 2)]


def entry_request_seeds() -> list[bytes]:
    return [doors.encode_entry_request(bytes(32), opened_seeds()[:count]) for count in (1, 2)]


def reply_seeds() -> list[bytes]:
    answers = (bytes(doors.BOX_ANSWER_SIZE), b"")
    return [
        doors.encode_reply(doors.DoorReply(answers)),
        doors.encode_reply(doors.DoorReply((), 9)),
    ]


def named_topic(data: bytes) -> None:
    topic.parse_topic(data.decode("utf-8", errors="surrogateescape"))


def topic_seeds() -> list[bytes]:
    return [CATALOG.topic.encode(), b"/methrics/1/a-aaaaaaaaaaaaaaaa/cbor"]


def gossip(data: bytes) -> None:
    """What decodes can be written and read again."""
    rpc = mesh_wire.decode(data)
    again = mesh_wire.encode(rpc)
    assert mesh_wire.frame_size(rpc) == len(again)
    mesh_wire.cost(rpc)
    for message in rpc.messages:
        mesh_wire.signed_bytes(message)


def gossip_seeds() -> list[bytes]:
    """Frames of each kind, as another implementation of protobuf writes them."""
    topic_name = CATALOG.topic
    ids = [bytes([n] * 20) for n in range(3)]
    signed = {"from_id": bytes(38), "data": b"data", "seqno": bytes(8), "topicIDs": [topic_name]}
    info = rpc_pb2.PeerInfo(peerID=bytes(38), signedPeerRecord=b"record")
    control = rpc_pb2.ControlMessage(
        ihave=[rpc_pb2.ControlIHave(topicID=topic_name, messageIDs=ids)],
        iwant=[rpc_pb2.ControlIWant(messageIDs=ids)],
        graft=[rpc_pb2.ControlGraft(topicID=topic_name)],
        prune=[rpc_pb2.ControlPrune(topicID=topic_name, backoff=60, peers=[info])],
    )
    joined = rpc_pb2.RPC.SubOpts(subscribe=True, topicid=topic_name)
    frames = (
        rpc_pb2.RPC(subscriptions=[joined]),
        rpc_pb2.RPC(publish=[rpc_pb2.Message(**signed, signature=bytes(64), key=bytes(36))] * 2),
        rpc_pb2.RPC(control=control),
    )
    return [one.SerializeToString() for one in frames]


def peer_record(data: bytes) -> None:
    """A record that a stranger hands on; it never raises."""
    dialable(data, PEER.to_bytes(), Reach.LOOPBACK)


KEYS = create_new_key_pair(bytes(32))
PEER = ID.from_pubkey(KEYS.public_key)


def peer_record_seeds() -> list[bytes]:
    """Signed records with addresses that may be dialled."""
    addrs = [Multiaddr("/ip4/127.0.0.1/tcp/4001"), Multiaddr("/ip6/::1/tcp/4001")]
    found = [PeerRecord(PEER, addrs[:count], seq=count) for count in (1, 2)]
    return [seal_record(one, KEYS.private_key).marshal_envelope() for one in found]


def message(data: bytes) -> None:
    """The signatures of all messages in a frame; checking them never raises."""
    for one in mesh_wire.decode(data).messages:
        validly_signed(one)


def message_seeds() -> list[bytes]:
    """Messages that are signed, with the key in the message and without it."""
    made = [sign(CATALOG.topic, b"data", PEER.to_bytes(), n, KEYS.private_key) for n in range(2)]
    made[1].key = KEYS.public_key.serialize()
    return [mesh_wire.encode(Rpc(messages=(one,)))[2:] for one in made] + gossip_seeds()


def signed_manifest_seeds() -> list[bytes]:
    digest = bytes(range(32))
    closed = SignedBody(digest, 20_000, 20_003 * 86_400, True, 7, digest, 2, digest, 1, digest)
    return [sign_manifest(closed, digest).item.raw]


def descriptor(data: bytes) -> None:
    """A descriptor as a stranger hands it on."""
    read_descriptor(data, NOW)


def described(data: bytes) -> None:
    """What a payload says can be written and read again; keys that are not known are lost."""
    found = decode_descriptor(data)
    assert decode_descriptor(encode_descriptor(found)) == found


@lru_cache(1)
def descriptor_seeds() -> list[bytes]:
    """The descriptors of all vectors: the fields of each make changes to others."""
    paths = sorted((VECTORS / "descriptors").glob("*.json"))
    return [bytes.fromhex(json.loads(path.read_text())["bytes"]) for path in paths]


def described_seeds() -> list[bytes]:
    paths = sorted((VECTORS / "descriptors").glob("ok-*.json"))
    found = [bytes.fromhex(json.loads(path.read_text())["bytes"]) for path in paths]
    return [bytes(envelope.split(raw).payload) for raw in found]


def descriptors_reply_seeds() -> list[bytes]:
    raws = tuple(descriptor_seeds()[-12:])
    return [doors.encode_descriptors(doors.Descriptors(NOW, some)) for some in ((), raws)]


def record_reply_seeds() -> list[bytes]:
    return [codec.encode([]), codec.encode([b"record", bytes(300)]), *request_seeds()]


def visit_request(data: bytes) -> None:
    """What is read has one encoding."""
    assert visits.encode_visit_request(visits.decode_visit_request(data)) == data


def visit_request_seeds() -> list[bytes]:
    """Visits with as many boxes, handles, and bytes of each, as there have to be."""
    pairs = [visits.VisitBox(bytes([n]) * 32, bytes([n]) * inner.BOX_SIZE) for n in range(16)]
    handles = [visits.handle_of(bytes([n])) for n in range(visits.VISIT_ASKED)]
    return [
        visits.encode_visit_request(visits.VisitRequest(tuple(some), tuple(asked)))
        for some, asked in ((pairs, handles), (pairs[::-1], handles[:1] * visits.VISIT_ASKED))
    ]


def visit_reply(data: bytes) -> None:
    """What is read can be written and read again; a long wait is cut."""
    found = visits.decode_visit_reply(data)
    assert visits.decode_visit_reply(visits.encode_visit_reply(found)) == found


def visit_reply_seeds() -> list[bytes]:
    some = tuple(b"" if n % 3 else bytes([n + 1]) * 176 for n in range(visits.VISIT_ASKED))
    return [
        visits.encode_visit_reply(visits.VisitReply(some, NOW, again))
        for again in (None, 0, 600, 10**9)
    ]


def manifest(data: bytes) -> None:
    """The list of days beside public data that somebody has fetched."""
    with tempfile.TemporaryDirectory(dir=shared_memory()) as folder:
        (Path(folder) / MANIFEST).write_bytes(data)
        read_directory(Path(folder))


def shared_memory() -> str | None:
    """A folder in memory, if the system has one."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


def manifest_seeds() -> list[bytes]:
    day, month = date(2027, 1, 15), date(2027, 1, 1)
    files = (
        File("dictionary/catalog.3f2a9c01.parquet", "catalog", None, 1, 900, "00" * 32, False),
        File("raw/example/ping/2027-01/0b5c.parquet", "item", month, 3, 4000, "11" * 32, True),
    )
    days = {"example": {day: Day(bytes(32), 3, bytes(32))}}
    closed = {"example": {"12D3KooW": ClosedDays(1, 3, 0)}}
    full = Manifest("2027-01-15T00:00:00+00:00", files, days, 2, closed=closed)
    part = replace(full, shard=Shard(2, 4))
    least = Manifest(full.written, files)
    return [encode_manifest(one) for one in (full, part, least)]


def yamux(data: bytes) -> None:
    parser = frames.Parser()
    for start in range(0, len(data), 1000):
        for _ in parser.feed(data[start : start + 1000]):
            pass


def yamux_seeds() -> list[bytes]:
    kinds, flags = frames.Type, frames.Flag
    return [
        frames.pack(kinds.WINDOW, flags.SYN, 1, 0) + frames.pack(kinds.DATA, 0, 1, 5) + b"hello",
        frames.pack(kinds.PING, flags.SYN, 0, 77) + frames.pack(kinds.GO_AWAY, 0, 0, 1),
        frames.pack(kinds.DATA, flags.FIN, 3, 0) + frames.pack(kinds.DATA, flags.RST, 2, 0),
    ]


class _Bytes:
    """A stream that ends."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    async def read(self, n: int) -> bytes:
        part, self._data = self._data[:n], self._data[n:]
        return part


def request(data: bytes) -> None:
    reading = read_message(_Bytes(data), 4096)  # type: ignore[arg-type]
    try:
        reading.send(None)
    except StopIteration:
        return
    raise AssertionError("the reading of bytes that are there waits")


def prefixed_seeds() -> list[bytes]:
    return [len(one).to_bytes(4, "big") + one for one in request_seeds() if len(one) < 4096]


class _Answers(_Bytes):
    """A stream whose other side says the same whatever it is sent."""

    async def write(self, data: bytes) -> None: ...


PROTOCOL = TProtocol("/methrics/record/1")


def asked(data: bytes) -> None:
    """The answers to us when we ask a peer to speak a protocol."""
    communicator = MultiselectCommunicator(_Answers(data))  # type: ignore[arg-type]
    trio.run(MultiselectClient().select_one_of, [PROTOCOL], communicator)


def proposed(data: bytes) -> None:
    """The protocols that a peer proposes to us."""
    communicator = MultiselectCommunicator(_Answers(data))  # type: ignore[arg-type]
    trio.run(Multiselect({PROTOCOL: None}).negotiate, communicator)


def negotiation_seeds() -> list[bytes]:
    hello, name = (encode_delim(one.encode()) for one in ("/multistream/1.0.0", PROTOCOL))
    return [hello + name, hello + encode_delim(b"na") + name, hello + encode_delim(b"ls") + name]


def noise_payload(data: bytes) -> None:
    payload = NoiseHandshakePayload.deserialize(data)
    payload.id_pubkey.serialize()


def public_key(data: bytes) -> None:
    deserialize_public_key(data)


def key_seeds() -> list[bytes]:
    """Keys of each kind. Nobody can sign with the RSA key; its modulus is no product of primes."""
    modulus = int.from_bytes(b"\xab" * 255 + b"\xad", "big")
    keys = (bytes(range(32)), b"\x02" + bytes(range(32)), RSA.RsaKey(n=modulus, e=65_537))
    return [
        b"\x08\x01\x12" + encode_varint_prefixed(keys[0]),
        b"\x08\x02\x12" + encode_varint_prefixed(keys[1]),
        b"\x08\x00\x12" + encode_varint_prefixed(keys[2].export_key("DER")),
    ]


def noise_seeds() -> list[bytes]:
    return [b"\x0a" + encode_varint_prefixed(key) + b"\x12\x40" + bytes(64) for key in key_seeds()]


GUARDED: tuple[type[Exception], ...] = (Exception,)
"""The refusals of copied code, which runs inside a guard that drops the peer."""

TARGETS: dict[str, Target] = {
    "cbor": Target(decode, payload_seeds),
    "item": Target(split, item_seeds),
    "report": Target(items.decode_report, payload_seeds),
    "erasure": Target(items.decode_erasure, payload_seeds),
    "record": Target(record.decode_record, payload_seeds),
    "announcement": Target(items.decode_announcement, payload_seeds),
    "catalog": Target(load, item_seeds, (CatalogError,)),
    "bundle": Target(unpack, item_seeds),
    "judge": Target(judged, item_seeds, ()),
    "gate": Target(gate, item_seeds, ()),
    "topic": Target(named_topic, topic_seeds),
    "box for an exit": Target(opened, opened_seeds),
    "question": Target(question, question_seeds),
    "answer of an exit": Target(inner.decode_answer, exit_answer_seeds),
    "binary HTTP request": Target(http_request, question_seeds),
    "binary HTTP response": Target(http_response, exit_answer_seeds),
    "key configurations": Target(decode_key_configs, key_configs_seeds),
    "exit request": Target(doors.decode_exit_request, exit_request_seeds),
    "entry request": Target(doors.decode_entry_request, entry_request_seeds),
    "door reply": Target(reply, reply_seeds),
    "request": Target(request, prefixed_seeds, (OversizeError, IOException)),
    "gossip": Target(gossip, gossip_seeds, (mesh_wire.WireError,)),
    "message": Target(message, message_seeds, (mesh_wire.WireError,)),
    "peer record": Target(peer_record, peer_record_seeds, ()),
    "record reply": Target(decode_records, record_reply_seeds),
    "manifest": Target(manifest, manifest_seeds, (StoreError,)),
    "signed manifest": Target(read_manifest, signed_manifest_seeds),
    "descriptor": Target(descriptor, descriptor_seeds),
    "payload of a descriptor": Target(described, described_seeds),
    "descriptors reply": Target(doors.decode_descriptors, descriptors_reply_seeds),
    "visit": Target(visit_request, visit_request_seeds),
    "reply to a visit": Target(visit_reply, visit_reply_seeds),
    "manifests request": Target(decode_ask, lambda: [encode_ask(Ask(bytes(32), 1, 2))]),
    "manifests reply": Target(decode_page, lambda: [encode_page(signed_manifest_seeds())]),
    "yamux": Target(yamux, yamux_seeds, (frames.BrokenError,)),
    "negotiation, asked": Target(asked, negotiation_seeds, (MultiselectClientError,)),
    "negotiation, proposed": Target(proposed, negotiation_seeds, (MultiselectError,)),
    "noise payload": Target(noise_payload, noise_seeds, GUARDED),
    "public key": Target(public_key, key_seeds, GUARDED),
    "identify": Target(Identify.FromString, noise_seeds, GUARDED),
}
