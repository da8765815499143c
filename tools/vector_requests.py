"""Vectors of the requests between nodes: frames, relays, boxes, catalogs, gossip messages.

Expected results are written here, not computed by the code under test; tests compare the two.
Sealing is done from libsodium's parts: `crypto_box_seal` draws a key that nobody can repeat.
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

from methrics.schema.wire.bundle import pack
from methrics.schema.wire.codec import encode
from methrics.schema.wire.envelope import split

STEP = 1280
RELAY_PUBLIC, RELAY_SECRET = crypto_box_seed_keypair(seed("relay box"))
EXPIRES = NOW + 3600


def sealed(padded: bytes, number: int = 0) -> tuple[bytes, bytes]:
    """(box, secret key of e) for content that is already padded, or wrong on purpose."""
    public, secret = crypto_box_seed_keypair(seed(f"e {number}"))
    nonce = blake2b(public + RELAY_PUBLIC, digest_size=24).digest()
    return public + crypto_box(padded, nonce, RELAY_PUBLIC, secret), secret


def padded(item: bytes) -> bytes:
    """`item`, 0x80, and zeros up to a multiple of `STEP` bytes."""
    return item + b"\x80" + bytes(-(len(item) + 1) % STEP)


def box(item: bytes, number: int = 0) -> bytes:
    """The box that holds `item`, with the key pair e of that number."""
    return sealed(padded(item), number)[0]


def requests(w: World) -> Iterator[Scenario]:
    """All vectors: name (kind and special feature), description, input and expected result."""
    yield from _frames()
    yield from _descriptions(w)
    yield from _lists()
    yield from _boxes(w)
    yield from _submissions(w)
    yield from _catalogs(w)
    yield from _messages(w)


def _frames() -> Iterator[Scenario]:
    for name, says, stream, most, body in (
        ("one", "one byte", b"\x00\x00\x00\x01\xa0", 64, b"\xa0"),
        ("empty", "a body of no bytes", bytes(4), 32, b""),
        ("more", "what follows is not read", b"\x00\x00\x00\x01\xa0\xff\xff", 64, b"\xa0"),
        ("full", "exactly the limit", b"\x00\x00\x00\x20" + bytes(32), 32, bytes(32)),
        ("over", "a byte over the limit", b"\x00\x00\x00\x21" + bytes(33), 32, None),
        ("huge", "2^32 - 1 bytes announced", b"\xff\xff\xff\xff", 133_728, None),
        ("little-endian", "the length is big-endian", b"\x01\x00\x00\x00\xa0", 64, None),
        ("cut-short", "the stream ends in the body", b"\x00\x00\x00\x02\xa0", 64, None),
        ("no-length", "the stream ends in the length", b"\x00\x00\x00", 64, None),
        ("nothing", "an empty stream", b"", 64, None),
    ):
        expect = {"result": "none"} if body is None else {"result": "ok", "body": body}
        yield f"frame-{name}", says, {"stream": stream, "limit": most, "expect": expect}


def _descriptions(w: World) -> Iterator[Scenario]:
    for name, says, body, answered in (
        ("request", "the request", b"\xa0", True),
        ("request-key", "a key in the request", b"\xa1\x61a\x01", False),
        ("request-array", "an array", b"\x80", False),
        ("request-long", "an empty map in two bytes", b"\xb8\x00", False),
        ("request-empty", "no bytes", b"", False),
    ):
        said = {"box": RELAY_PUBLIC, "topics": [w.topic], "expires": EXPIRES}
        reply = encode(said) if answered else b""
        given = {"request": body, "now": NOW, "topics": [w.topic], "secret": RELAY_SECRET}
        expect = {"result": "ok", "reply": reply}
        yield f"describe-{name}", says, {**given, "life": 3600, "expect": expect}
    good = {"box": RELAY_PUBLIC, "topics": [w.topic], "expires": EXPIRES}
    for name, says, change, result in (
        ("ok", "a description", {}, "ok"),
        ("no-topics", "a relay that carries nothing yet", {"topics": []}, "ok"),
        ("key-short", "a box key of 31 bytes", {"box": bytes(31)}, "malformed"),
        ("expires-negative", "an end of -1", {"expires": -1}, "malformed"),
        ("expires-flag", "true for an end", {"expires": True}, "malformed"),
        ("topics-unsorted", "topics not in order", {"topics": ["b", "a"]}, "malformed"),
        ("topics-twice", "a topic twice", {"topics": ["a", "a"]}, "malformed"),
        ("topics-order", "the order is that of UTF-8", {"topics": ["\uffff", "\U00010000"]}, "ok"),
        ("topic-128", "a topic of 128 bytes in 64 characters", {"topics": ["µ" * 64]}, "ok"),
        ("topic-129", "129 bytes", {"topics": ["µ" * 64 + "s"]}, "malformed"),
        ("topics-256", "256 topics", {"topics": [f"{n:03}" for n in range(256)]}, "ok"),
        ("topics-257", "257 topics", {"topics": [f"{n:03}" for n in range(257)]}, "malformed"),
        ("more", "an unknown key", {"addrs": []}, "malformed"),
    ):
        said = good | change
        expect = {"result": result} | (said if result == "ok" else {})
        yield f"description-{name}", says, {"reply": encode(said), "expect": expect}
    yield "description-none", "no bytes", {"reply": b"", "expect": {"result": "malformed"}}


def _lists() -> Iterator[Scenario]:
    one = box(b"one")
    for name, says, body, boxes in (
        ("one", "one box", encode([one]), [one]),
        ("empty-box", "a box of no bytes is a box, which does not open", encode([b""]), [b""]),
        ("64", "64 boxes", encode([b""] * 64), [b""] * 64),
        ("65", "65 boxes", encode([b""] * 65), "malformed"),
        ("none", "no box", b"\x80", "malformed"),
        ("text", "a text for a box", b"\x81\x61a", "malformed"),
        ("map", "a map", b"\xa0", "malformed"),
        ("trailing-byte", "a byte behind it", encode([one]) + b"\x00", "malformed"),
        ("long-length", "a length of one byte in two", b"\x81\x58\x01\x00", "malformed"),
        ("empty", "no bytes", b"", "malformed"),
        ("large-box", "a box of 66,609 bytes", encode([bytes(66_609)]), "oversize"),
        ("large", "133,729 bytes", bytes(133_729), "oversize"),
    ):
        wrong = isinstance(boxes, str)
        expect = {"result": boxes} if wrong else {"result": "ok", "boxes": boxes}
        yield f"boxes-{name}", says, {"request": body, "expect": expect}
    for name, says, body, count, reasons in (
        ("ok", "one answer", b"\x81\x62ok", 1, ["ok"]),
        ("two", "two", encode(["quota", "late"]), 2, ["quota", "late"]),
        ("fewer", "one answer for two boxes", b"\x81\x62ok", 2, None),
        ("more", "two answers for one box", encode(["ok", "ok"]), 1, None),
        ("unknown", "no reason code", encode(["fine"]), 1, None),
        ("number", "a number", b"\x81\x00", 1, None),
        ("text", "a text", b"\x62ok", 1, None),
        ("empty", "no bytes", b"", 1, None),
    ):
        expect = {"result": "none"} if reasons is None else {"result": "ok", "reasons": reasons}
        yield f"answers-{name}", says, {"reply": body, "boxes": count, "expect": expect}


def _boxes(w: World) -> Iterator[Scenario]:
    report = w.report()
    for name, says, item in (
        ("report", "a report", report),
        ("1", "one byte", b"\x00"),
        ("empty", "an item of no bytes", b""),
        ("1279", "the largest content of one step", b"\x80" * 1279),
        ("1280", "the smallest of two", b"\x80" * 1280),
    ):
        made, secret = sealed(padded(item))
        given = {"secret": RELAY_SECRET, "public": RELAY_PUBLIC, "ephemeral": secret, "box": made}
        yield f"box-ok-{name}", says, {**given, "expect": {"result": "ok", "item": item}}
    spoilt = box(report)
    other = crypto_box_seed_keypair(seed("another relay"))[1]
    for name, says, raw, secret in (
        ("not-ours", "sealed for another relay", spoilt, other),
        ("tag", "one bit changed", spoilt[:-1] + bytes([spoilt[-1] ^ 1]), RELAY_SECRET),
        ("no-padding", "1,280 bytes without the byte 80", sealed(b"x" * STEP)[0], RELAY_SECRET),
        ("zeros", "zeros alone", sealed(bytes(STEP))[0], RELAY_SECRET),
        (
            "padding-long",
            "a step more than needed",
            sealed(padded(report) + bytes(STEP))[0],
            RELAY_SECRET,
        ),
        (
            "padding-other",
            "a byte other than 0 behind the byte 80",
            sealed(padded(report)[:-1] + b"\x01")[0],
            RELAY_SECRET,
        ),
        ("step", "padded to 64 bytes", sealed(report + b"\x80" + bytes(50))[0], RELAY_SECRET),
        ("short", "48 bytes", spoilt[:48], RELAY_SECRET),
        ("empty", "no bytes", b"", RELAY_SECRET),
    ):
        expect = {"result": "malformed"}
        yield f"box-{name}", says, {"secret": secret, "box": raw, "expect": expect}
    large = {"secret": RELAY_SECRET, "box": bytes(66_609), "expect": {"result": "oversize"}}
    yield "box-large", "66,609 bytes", large


def _submissions(w: World) -> Iterator[Scenario]:
    """A request to a relay that carries the topic of the vectors, and the reply."""
    report, other = w.report(), w.report(name="other")
    cases: tuple[tuple[str, str, list[bytes], list[str], list[str]], ...] = (
        ("ok", "a report", [report], ["ok"], ["ok-catalog"]),
        ("twice", "a report twice", [report, report], ["ok", "duplicate"], ["ok-catalog"]),
        (
            "behind",
            "its catalog behind it",
            [report, w.catalog],
            ["unknown-catalog", "ok"],
            [],
        ),
        ("catalog", "its catalog in front", [w.catalog, report], ["ok", "ok"], []),
        (
            "each-its-own",
            "a bad item harms no other",
            [malleable(report), other, b"no item", w.report(values={}), w.report(time=TIME + 6000)],
            ["forged", "ok", "malformed", "empty", "early"],
            ["ok-catalog"],
        ),
        ("erasure", "an erasure", [w.erasure()], ["ok"], ["ok-catalog"]),
    )
    for name, says, items, reasons, catalogs in cases:
        boxes = [box(item, number) for number, item in enumerate(items)]
        yield f"submit-{name}", says, _submission(w, encode(boxes), reasons, catalogs)
    foreign = _submission(w, encode([box(report)]), ["foreign"], ["ok-catalog"])
    foreign["topics"] = ["/methrics/1/vectors-aaaaaaaaaaaaaaaa/cbor"]
    yield "submit-foreign", "a relay of another topic", foreign
    mixed = encode([b"no box", box(report)])
    said = ["malformed", "ok"]
    yield "submit-no-box", "what does not open", _submission(w, mixed, said, ["ok-catalog"])
    for name, says, body, reason in (
        ("none", "no boxes: one answer", b"\x80", "malformed"),
        ("broken", "not CBOR: one answer", b"\xff", "malformed"),
        ("large", "two boxes, one too large: one answer", encode([b"", bytes(66_609)]), "oversize"),
    ):
        yield f"submit-{name}", says, _submission(w, body, [reason], ["ok-catalog"])


def _submission(
    w: World, body: bytes, reasons: list[str], catalogs: list[str]
) -> dict[str, object]:
    return {
        "now": NOW,
        "topics": [w.topic],
        "catalogs": catalogs,
        "secret": RELAY_SECRET,
        "request": body,
        "expect": {"result": "ok", "reply": encode(reasons), "reasons": reasons},
    }


def _catalogs(w: World) -> Iterator[Scenario]:
    item = split(w.catalog)
    for name, says, body, known, reply in (
        ("known", "a catalog", item.id, ["ok-catalog"], w.catalog),
        ("unknown", "one that is not known", bytes(32), ["ok-catalog"], b""),
        ("lost", "one that is known to others", item.id, [], b""),
        ("short", "31 bytes", item.id[:31], ["ok-catalog"], b""),
        ("empty", "no bytes", b"", ["ok-catalog"], b""),
    ):
        expect = {"result": "ok", "reply": reply}
        yield f"catalog-{name}", says, {"request": body, "catalogs": known, "expect": expect}


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
    bundle = pack([w.report()])
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
        ("ok", "a message", good),
        ("ok-key", "with the key of its sender", good + _field(6, key)),
        ("ok-data-twice", "data twice, of which the last counts", _field(2, b"first") + good),
        ("ok-unknown", "an unknown field, which is not passed on", good + _field(15, b"\x00")),
    ):
        yield f"message-{name}", says, {"message": raw, "expect": right}
    for name, says, raw in (
        ("unsigned", "no signature", bare),
        ("signature", "one bit changed", good[:-1] + bytes([good[-1] ^ 1])),
        ("prefix", "signed without the prefix", message(prefix=b"")),
        ("data", "other data", good.replace(bundle, pack([w.report(name="other")]))),
        ("sequence", "a sequence number of 7 bytes", message(number=bytes(7))),
        ("no-sequence", "no sequence number", message(number=b"")),
        ("key", "the key of another", good + _field(6, b"\x08\x01\x12\x20" + stranger)),
        ("topic-twice", "two topics", two_topics),
        ("key-broken", "a key that is none", good + _field(6, b"\x00")),
    ):
        yield f"message-{name}", says, {"message": raw, "expect": {"result": "none"}}
