"""Vectors of the requests between nodes: frames, relays, boxes, catalogs, gossip messages.

Expected results are written here, not computed by the code under test; tests compare the two.
Boxes are sealed from parts of libsodium, because `crypto_box_seal` draws a random key, and vectors
must be reproducible.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b, sha256

from nacl.bindings import (
    crypto_box,
    crypto_box_seed_keypair,
    crypto_sign,
    crypto_sign_seed_keypair,
)
from vector_world import NOW, TIME, Scenario, World, malleable, seed

from methrics.schema.wire.codec import encode
from methrics.schema.wire.envelope import split

STEP = 1280
RELAY_PUBLIC, RELAY_SECRET = crypto_box_seed_keypair(seed("relay box"))
LIFE = 3600


def sealed(padded: bytes, number: int = 0) -> tuple[bytes, bytes]:
    """(box, secret key of e) for content that is already padded, or wrong on purpose."""
    public, secret = crypto_box_seed_keypair(seed(f"e {number}"))
    nonce = blake2b(public + RELAY_PUBLIC, digest_size=24).digest()
    return public + crypto_box(padded, nonce, RELAY_PUBLIC, secret), secret


def padded(item: bytes) -> bytes:
    """`item`, 0x80, and zeros up to a multiple of `STEP` bytes."""
    return item + b"\x80" + bytes(-(len(item) + 1) % STEP)


def box(item: bytes, number: int = 0) -> bytes:
    """The box that contains `item`, sealed with the key pair e number `number`."""
    return sealed(padded(item), number)[0]


def requests(w: World) -> Iterator[Scenario]:
    """All vectors: name (kind and special feature), description, input and expected result."""
    yield from _frames()
    yield from _descriptions(w)
    yield from _lists()
    yield from _boxes(w)
    yield from _submissions(w)
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


def _descriptions(w: World) -> Iterator[Scenario]:
    said = {"box": RELAY_PUBLIC, "topics": [w.topic], "time": NOW, "life": LIFE}
    listed = encode(said | {"records": [w.record()]})
    about = encode({"topic": w.topic})
    for name, says, body, reply in (
        ("request", "a valid request", b"\xa0", encode(said)),
        ("request-topic", "a request that names a topic", about, listed),
        (
            "request-topic-other",
            "a request that names a topic which the relay does not carry",
            encode({"topic": "/methrics/1/other-aaaaaaaaaaaaaaaa/cbor"}),
            encode(said),
        ),
        ("request-topic-129", "a topic of 129 bytes", encode({"topic": "t" * 129}), b""),
        ("request-topic-bytes", "a byte string as the topic", encode({"topic": b"t"}), b""),
        ("request-topic-more", "a topic and an unknown key", encode({"topic": "t", "a": 1}), b""),
        ("request-key", "a request with a key in its map", b"\xa1\x61a\x01", b""),
        ("request-array", "an array as the request", b"\x80", b""),
        ("request-long", "a request with its empty map in two bytes", b"\xb8\x00", b""),
        ("request-empty", "a request of no bytes", b"", b""),
    ):
        given = {"request": body, "now": NOW, "topics": [w.topic], "secret": RELAY_SECRET}
        given |= {"records": ["ok-record"], "life": LIFE}
        yield f"describe-{name}", says, {**given, "expect": {"result": "ok", "reply": reply}}
    good = {"box": RELAY_PUBLIC, "topics": [w.topic], "time": NOW, "life": LIFE}
    for name, says, change, result in (
        ("ok", "a valid description", {}, "ok"),
        ("no-topics", "a relay that carries no topics yet", {"topics": []}, "ok"),
        ("key-short", "a box key of 31 bytes", {"box": bytes(31)}, "malformed"),
        ("time-negative", "a time of -1", {"time": -1}, "malformed"),
        ("time-flag", "true as the time", {"time": True}, "malformed"),
        ("life-negative", "a life of -1", {"life": -1}, "malformed"),
        ("life-flag", "true as the life", {"life": True}, "malformed"),
        ("expires", "an expiry in place of the life", {"expires": NOW}, "malformed"),
        ("topics-unsorted", "topics that are not in order", {"topics": ["b", "a"]}, "malformed"),
        ("topics-twice", "a topic twice", {"topics": ["a", "a"]}, "malformed"),
        (
            "topics-order",
            "topics in the order of their UTF-8 bytes",
            {"topics": ["\uffff", "\U00010000"]},
            "ok",
        ),
        ("topic-128", "a topic of 128 bytes in 64 characters", {"topics": ["µ" * 64]}, "ok"),
        (
            "topic-129",
            "a topic of 129 bytes in 65 characters",
            {"topics": ["µ" * 64 + "s"]},
            "malformed",
        ),
        ("topics-256", "256 topics", {"topics": [f"{n:03}" for n in range(256)]}, "ok"),
        ("topics-257", "257 topics", {"topics": [f"{n:03}" for n in range(257)]}, "malformed"),
        ("more", "an unknown key", {"addrs": []}, "malformed"),
        ("records-0", "an empty list of records", {"records": []}, "ok"),
        ("records-4", "four records", {"records": [b"r"] * 4}, "ok"),
        ("records-5", "five records", {"records": [b"r"] * 5}, "malformed"),
        ("records-text", "text in place of a record", {"records": ["r"]}, "malformed"),
        ("record-16384", "a record of 16,384 bytes", {"records": [bytes(16_384)]}, "ok"),
        ("record-16385", "a record of 16,385 bytes", {"records": [bytes(16_385)]}, "malformed"),
        ("again", "a hint to come back in 30 seconds", {"again": 30}, "ok"),
        ("again-negative", "a hint of -1", {"again": -1}, "malformed"),
        ("again-flag", "true as the hint", {"again": True}, "malformed"),
    ):
        said = good | change
        expect = {"result": result} | (said if result == "ok" else {})
        yield f"description-{name}", says, {"reply": encode(said), "expect": expect}
    yield (
        "description-none",
        "a reply of no bytes",
        {"reply": b"", "expect": {"result": "malformed"}},
    )


def _lists() -> Iterator[Scenario]:
    one = box(b"one")
    large_and_text = encode([bytes(66_609), "a"])
    large_and_65 = encode([bytes(66_609), *[b""] * 64])
    for name, says, body, boxes in (
        ("one", "a request with one box", encode([one]), [one]),
        (
            "empty-box",
            "a box of no bytes, which is valid here but does not open",
            encode([b""]),
            [b""],
        ),
        ("64", "64 boxes", encode([b""] * 64), [b""] * 64),
        ("65", "65 boxes", encode([b""] * 65), "malformed"),
        ("none", "a request without boxes", b"\x80", "malformed"),
        ("text", "text in place of a box", b"\x81\x61a", "malformed"),
        ("map", "a map in place of the array", b"\xa0", "malformed"),
        ("trailing-byte", "a byte behind the request", encode([one]) + b"\x00", "malformed"),
        (
            "long-length",
            "the length of a box in two bytes where one is enough",
            b"\x81\x58\x01\x00",
            "malformed",
        ),
        ("empty", "a request of no bytes", b"", "malformed"),
        ("large-box", "a box of 66,609 bytes", encode([bytes(66_609)]), "oversize"),
        ("large-and-text", "a box of 66,609 bytes and a text", large_and_text, "malformed"),
        ("large-and-65", "a box of 66,609 bytes among 65", large_and_65, "malformed"),
        ("large", "a request of 133,729 bytes", bytes(133_729), "oversize"),
    ):
        wrong = isinstance(boxes, str)
        expect = {"result": boxes} if wrong else {"result": "ok", "boxes": boxes}
        yield f"boxes-{name}", says, {"request": body, "expect": expect}
    for name, says, given, count, right in (
        ("ok", "one answer for one box", {"answers": ["ok"]}, 1, True),
        ("two", "two answers for two boxes", {"answers": ["quota", "late"]}, 2, True),
        ("again", "a hint to come back", {"answers": ["quota"], "again": 60}, 1, True),
        ("again-flag", "true as the hint", {"answers": ["quota"], "again": True}, 1, False),
        ("again-negative", "a hint of -1", {"answers": ["quota"], "again": -1}, 1, False),
        ("fewer", "one answer for two boxes", {"answers": ["ok"]}, 2, False),
        ("more", "two answers for one box", {"answers": ["ok", "ok"]}, 1, False),
        ("unknown", "an answer that is not a reason code", {"answers": ["fine"]}, 1, False),
        ("number", "a number in place of an answer", {"answers": [0]}, 1, False),
        ("text", "text in place of the array", {"answers": "ok"}, 1, False),
        ("key", "an unknown key", {"answers": ["ok"], "peers": []}, 1, False),
        ("none", "a map without answers", {"again": 60}, 1, False),
        ("array", "an array in place of the map", ["ok"], 1, False),
    ):
        expect = {"result": "none"}
        if right:
            expect = {"result": "ok", "reasons": given["answers"], "again": given.get("again")}
        yield f"answers-{name}", says, {"reply": encode(given), "boxes": count, "expect": expect}
    nothing = {"reply": b"", "boxes": 1, "expect": {"result": "none"}}
    yield "answers-empty", "a reply of no bytes", nothing


def _boxes(w: World) -> Iterator[Scenario]:
    report = w.report()
    for name, says, item in (
        ("report", "a box with a report", report),
        ("1", "a box with an item of one byte", b"\x00"),
        ("empty", "a box with an item of no bytes", b""),
        ("1279", "1,279 bytes, the longest item that is padded to 1,280 bytes", b"\x80" * 1279),
        ("1280", "1,280 bytes, the shortest item that is padded to 2,560 bytes", b"\x80" * 1280),
    ):
        made, secret = sealed(padded(item))
        given = {"secret": RELAY_SECRET, "public": RELAY_PUBLIC, "ephemeral": secret, "box": made}
        yield f"box-ok-{name}", says, {**given, "expect": {"result": "ok", "item": item}}
    spoilt = box(report)
    other = crypto_box_seed_keypair(seed("another relay"))[1]
    for name, says, raw, secret in (
        ("not-ours", "a box sealed for another relay", spoilt, other),
        ("tag", "a box with one bit changed", spoilt[:-1] + bytes([spoilt[-1] ^ 1]), RELAY_SECRET),
        (
            "no-padding",
            "a box whose content lacks the byte 80",
            sealed(b"x" * STEP)[0],
            RELAY_SECRET,
        ),
        ("zeros", "a box whose content is all zeros", sealed(bytes(STEP))[0], RELAY_SECRET),
        (
            "padding-long",
            "a box with 1,280 bytes of padding more than needed",
            sealed(padded(report) + bytes(STEP))[0],
            RELAY_SECRET,
        ),
        (
            "padding-other",
            "padding with a byte other than 0 behind the byte 80",
            sealed(padded(report)[:-1] + b"\x01")[0],
            RELAY_SECRET,
        ),
        (
            "step",
            "content padded to a multiple of 64 bytes, not of 1,280",
            sealed(report + b"\x80" + bytes(50))[0],
            RELAY_SECRET,
        ),
        ("short", "a box of 48 bytes", spoilt[:48], RELAY_SECRET),
        ("empty", "a box of no bytes", b"", RELAY_SECRET),
    ):
        expect = {"result": "malformed"}
        yield f"box-{name}", says, {"secret": secret, "box": raw, "expect": expect}
    large = {"secret": RELAY_SECRET, "box": bytes(66_609), "expect": {"result": "oversize"}}
    yield "box-large", "a box of 66,609 bytes", large


def _submissions(w: World) -> Iterator[Scenario]:
    """A request to a relay that carries the topic of the vectors, and the reply."""
    report, other = w.report(), w.report(name="other")
    cases: tuple[tuple[str, str, list[bytes], list[str], list[str]], ...] = (
        ("ok", "a box with a report", [report], ["ok"], ["ok-catalog"]),
        (
            "twice",
            "the same report in two boxes",
            [report, report],
            ["ok", "duplicate"],
            ["ok-catalog"],
        ),
        (
            "behind",
            "a report, then its catalog",
            [report, w.catalog],
            ["unknown-catalog", "ok"],
            [],
        ),
        ("catalog", "a catalog, then a report of it", [w.catalog, report], ["ok", "ok"], []),
        (
            "each-its-own",
            "good and bad items, each with its own answer",
            [malleable(report), other, b"no item", w.report(values={}), w.report(time=TIME + 6000)],
            ["forged", "ok", "malformed", "empty", "early"],
            ["ok-catalog"],
        ),
        ("erasure", "a box with an erasure", [w.erasure()], ["ok"], ["ok-catalog"]),
    )
    for name, says, items, reasons, catalogs in cases:
        boxes = [box(item, number) for number, item in enumerate(items)]
        yield f"submit-{name}", says, _submission(w, encode(boxes), reasons, catalogs)
    foreign = _submission(w, encode([box(report)]), ["foreign"], ["ok-catalog"])
    foreign["topics"] = ["/methrics/1/vectors-aaaaaaaaaaaaaaaa/cbor"]
    yield "submit-foreign", "a report to a relay that does not carry its topic", foreign
    mixed = encode([b"no box", box(report)])
    said = ["malformed", "ok"]
    yield (
        "submit-no-box",
        "a box that does not open, and a box with a report",
        _submission(w, mixed, said, ["ok-catalog"]),
    )
    for name, says, body, reason in (
        ("none", "a request without boxes, which gets one answer", b"\x80", "malformed"),
        ("broken", "a request that is not CBOR, which gets one answer", b"\xff", "malformed"),
        (
            "large",
            "a request with an oversize box, which gets one answer for all",
            encode([b"", bytes(66_609)]),
            "oversize",
        ),
    ):
        yield f"submit-{name}", says, _submission(w, body, [reason], ["ok-catalog"])


def _submission(
    w: World, body: bytes, reasons: list[str], catalogs: list[str]
) -> dict[str, object]:
    return {
        "now": NOW,
        "topics": [w.topic],
        "catalogs": catalogs,
        "records": ["ok-record"],
        "secret": RELAY_SECRET,
        "request": body,
        "expect": {"result": "ok", "reply": encode({"answers": reasons}), "reasons": reasons},
    }


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
