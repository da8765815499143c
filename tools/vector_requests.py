"""Vectors of the requests between nodes: frames, catalogs, records, gossip messages.

Expected results are written here, not computed by the code under test; tests compare the two.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256

from nacl.bindings import (
    crypto_sign,
    crypto_sign_seed_keypair,
)
from vector_world import Scenario, World, seed

from methrics.schema.wire.codec import encode
from methrics.schema.wire.envelope import split


def requests(w: World) -> Iterator[Scenario]:
    """All vectors: name (kind and special feature), description, input and expected result."""
    yield from _frames()
    yield from _catalogs(w)
    yield from _records(w)
    yield from _messages(w)


def _frames() -> Iterator[Scenario]:
    for name, says, stream, most, body in (
        ("one", "a body of one byte", b"\x00\x00\x00\x01\xa0", 64, b"\xa0"),
        ("empty", "a body of no bytes", bytes(4), 32, b""),
        (
            "more",
            "bytes behind the body, which are not read",
            b"\x00\x00\x00\x01\xa0\xff\xff",
            64,
            b"\xa0",
        ),
        ("full", "a body of exactly the limit", b"\x00\x00\x00\x20" + bytes(32), 32, bytes(32)),
        ("over", "a body one byte over the limit", b"\x00\x00\x00\x21" + bytes(33), 32, None),
        ("huge", "a length of 2^32 - 1", b"\xff\xff\xff\xff", 133_728, None),
        (
            "little-endian",
            "a length in little-endian order, which reads as too large",
            b"\x01\x00\x00\x00\xa0",
            64,
            None,
        ),
        ("cut-short", "the stream ends in the body", b"\x00\x00\x00\x02\xa0", 64, None),
        ("no-length", "the stream ends in the length", b"\x00\x00\x00", 64, None),
        ("nothing", "an empty stream", b"", 64, None),
    ):
        expect = {"result": "none"} if body is None else {"result": "ok", "body": body}
        yield f"frame-{name}", says, {"stream": stream, "limit": most, "expect": expect}


def _catalogs(w: World) -> Iterator[Scenario]:
    item = split(w.catalog)
    for name, says, body, known, reply in (
        ("known", "the id of a known catalog", item.id, ["ok-catalog"], w.catalog),
        ("unknown", "an id of no catalog", bytes(32), ["ok-catalog"], b""),
        ("lost", "the id of a catalog that this node does not have", item.id, [], b""),
        ("short", "an id of 31 bytes", item.id[:31], ["ok-catalog"], b""),
        ("empty", "a request of no bytes", b"", ["ok-catalog"], b""),
    ):
        expect = {"result": "ok", "reply": reply}
        yield f"catalog-{name}", says, {"request": body, "catalogs": known, "expect": expect}


def _records(w: World) -> Iterator[Scenario]:
    """Requests of a topic's records to a node that has joined the topic."""
    records = {name: raw for name, (_, raw) in w.records().items()}
    first, one, other = "ok-record", "ok-record-revoked", "ok-record-empty"
    older, newer = sorted((one, other), key=lambda name: split(records[name]).id)
    fork = [records[newer], records[older]]
    for name, says, topic, known, reply in (
        ("one", "a topic with one record", w.topic, [first], [records[first]]),
        ("newest", "a topic with two records", w.topic, [first, one], [records[one]]),
        ("equivocation", "a topic with an equivocation", w.topic, [first, one, other], fork),
        ("none", "a topic without a record", w.topic, [], []),
        ("other-topic", "a topic that the node has not joined", "/methrics/1/o/cbor", [first], []),
        ("empty", "a request of no bytes", "", [first], []),
    ):
        given = {"request": topic.encode(), "topics": [w.topic], "records": known}
        yield f"record-{name}", says, {**given, "expect": {"result": "ok", "reply": encode(reply)}}


def _field(number: int, value: bytes) -> bytes:
    """A length-delimited field of protobuf."""
    size, length = b"", len(value)
    while length > 127:
        size += bytes([length & 127 | 128])
        length >>= 7
    return bytes([number << 3 | 2]) + size + bytes([length]) + value


def _messages(w: World) -> Iterator[Scenario]:
    """Gossip messages as protobuf: signed as StrictSign requires, unsigned, or wrongly signed."""
    public, secret = crypto_sign_seed_keypair(seed("host"))
    stranger = crypto_sign_seed_keypair(seed("another host"))[0]
    key = b"\x08\x01\x12\x20" + public
    peer = b"\x00\x24" + key
    bundle = w.bundle(w.report())
    topic = w.topic.encode()
    sequence = (1).to_bytes(8, "big")

    def message(
        *,
        data: bytes = bundle,
        number: bytes = sequence,
        topics: int = 1,
        prefix: bytes = b"libp2p-pubsub:",
    ) -> bytes:
        body = _field(1, peer) + _field(2, data) + _field(3, number) + _field(4, topic) * topics
        return body + _field(5, crypto_sign(prefix + body, secret)[:64])

    good, two_topics = message(), message(topics=2)
    bare = good[: -len(_field(5, bytes(64)))]
    content = sha256(topic + b"\x00" + bundle).digest()[:20]
    right = {"result": "ok", "topic": w.topic, "data": bundle, "from": peer, "id": content}
    for name, says, raw in (
        ("ok", "a valid message", good),
        ("ok-key", "a message with the key of its sender", good + _field(6, key)),
        (
            "ok-data-twice",
            "a message with data twice, of which the last counts",
            _field(2, b"first") + good,
        ),
        (
            "ok-unknown",
            "a message with an unknown field, which is not forwarded",
            good + _field(15, b"\x00"),
        ),
    ):
        yield f"message-{name}", says, {"message": raw, "expect": right}
    for name, says, raw in (
        ("unsigned", "a message without a signature", bare),
        (
            "signature",
            "a message with one bit of its signature changed",
            good[:-1] + bytes([good[-1] ^ 1]),
        ),
        ("prefix", "a message signed without the prefix", message(prefix=b"")),
        (
            "data",
            "a message whose data was replaced after signing",
            good.replace(bundle, w.bundle(w.report(name="other"))),
        ),
        ("sequence", "a message with a sequence number of 7 bytes", message(number=bytes(7))),
        ("no-sequence", "a message without a sequence number", message(number=b"")),
        (
            "key",
            "a message with the key of another host",
            good + _field(6, b"\x08\x01\x12\x20" + stranger),
        ),
        ("topic-twice", "a message with two topics", two_topics),
        ("key-broken", "a message with a key that does not decode", good + _field(6, b"\x00")),
    ):
        yield f"message-{name}", says, {"message": raw, "expect": {"result": "none"}}
