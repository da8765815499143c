"""Scenarios with wrong bytes: encoding, envelope, key, signature."""

from __future__ import annotations

from collections.abc import Iterator

from vector_manifests import sealed_manifest
from vector_world import Scenario, World, malleable, protected, seed, sign_by_hand

from methrics.schema.wire.codec import encode, head
from methrics.schema.wire.envelope import CONTENT_TYPE, Kind, public_key, split
from methrics.schema.wire.limits import DEPTH_MAX


def encoding(w: World) -> Iterator[Scenario]:
    good = encode(w.body())
    bad = {
        "trailing-byte": ("a byte behind the value", good + b"\x00"),
        "cut-short": ("the last byte is missing", good[:-1]),
        "long-integer": ("the number 2 in two bytes", good.replace(b"dsize\x02", b"dsize\x18\x02")),
        "long-length": ("a text length in two bytes", good.replace(b"elinux", b"\x78\x05linux")),
        "indefinite-map": ("a map of indefinite length", b"\xbf" + good[1:] + b"\xff"),
        "indefinite-text": ("text in chunks", good.replace(b"elinux", b"\x7felinux\xff")),
        "unsorted-keys": ("keys not in ascending order", b"\xa4" + good[11:] + good[1:11]),
        "duplicate-key": ("a map with a key twice", b"\xa5" + good[1:11] + good[1:11] + good[11:]),
        "float": ("a floating point number", good.replace(b"dsize\x02", b"dsize\xf9\x40\x00")),
        "null": ("null as the value of a field", good.replace(b"cnew\xf5", b"cnew\xf6")),
        "undefined": ("undefined as the value of a field", good.replace(b"cnew\xf5", b"cnew\xf7")),
        "simple": ("an unassigned simple value", good.replace(b"cnew\xf5", b"cnew\xf8\xff")),
        "tag-bignum": (
            "the number 2 as a bignum",
            good.replace(b"dsize\x02", b"dsize\xc2\x41\x02"),
        ),
        "tag-date": ("a date tag", good.replace(b"elinux", b"\xc0elinux")),
        "tag-regex": ("a regular expression tag", good.replace(b"elinux", b"\xd8\x23elinux")),
        "tag-self": ("the self-described tag", b"\xd9\xd9\xf7" + good),
        "not-utf8": ("text that is not UTF-8", good.replace(b"elinux", b"elin\xffx")),
        "surrogate": ("text with a surrogate", good.replace(b"elinux", b"eli\xed\xa0\x80")),
        "integer-key": ("a key that is not text", good.replace(b"bos", b"\x01", 1)),
        "huge-length": (
            "a text of 2**64 - 1 bytes",
            good.replace(b"elinux", b"\x7b" + b"\xff" * 8),
        ),
        "huge-array": (
            "an array of 2**32 values",
            good.replace(b"elinux", b"\x9a\xff\xff\xff\xff"),
        ),
        "nested": ("arrays nested 500 deep", b"\x81" * 500 + b"\x00"),
        "empty": ("no payload", b""),
        "not-a-map": ("a number as payload", b"\x01"),
    }
    for name, (says, payload) in bad.items():
        assert payload != good, name
        yield f"malformed-encoding-{name}", says, {"bytes": sign_by_hand(protected(), payload)}
    yield from _depths(w)


def _depths(w: World) -> Iterator[Scenario]:
    """Records that are nested to the limit and one deeper, the innermost empty or not."""
    payload = split(w.record(later=0)).payload
    header = protected(Kind.RECORD, public_key(seed("namespace")))
    for depth, reason in ((DEPTH_MAX, "ok"), (DEPTH_MAX + 1, "malformed")):
        for name, says, inner in (
            ("array", "an array of a number", b"\x81\x00"),
            ("array-empty", "an empty array", b"\x80"),
            ("map", "a map of a number", b"\xa1\x61a\x00"),
            ("map-empty", "an empty map", b"\xa0"),
        ):
            # The payload itself is the outermost map, and `inner` is the innermost.
            nested = payload.replace(b"elater\x00", b"elater" + b"\x81" * (depth - 2) + inner)
            yield (
                f"{reason}-record-depth-{depth}-{name}",
                f"a record nested {depth} deep; the innermost is {says}",
                {"bytes": sign_by_hand(header, nested, name="namespace")},
            )


def envelope(w: World) -> Iterator[Scenario]:
    good, payload = protected(), encode(w.body())
    hand = sign_by_hand
    content = head(0, CONTENT_TYPE + Kind.REPORT)
    key = good[-32:]
    cases = {
        "tagged": ("an item with COSE's tag 18", b"\xd2" + w.report()),
        "array-of-five": ("an array of five elements", b"\x85" + w.report()[1:] + b"\x00"),
        "trailing-byte": ("a byte behind the item", w.report() + b"\x00"),
        "cut-short": ("the last byte is missing", w.report()[:-1]),
        "empty": ("an item of no bytes", b""),
        "unprotected": (
            "an unprotected header that is not empty",
            hand(good, payload, unprotected=b"\xa1\x04\x41\x00"),
        ),
        "unprotected-long": (
            "an empty unprotected header in two bytes",
            hand(good, payload, unprotected=b"\xb8\x00"),
        ),
        "payload-detached": (
            "null in place of the payload",
            b"\x84\x58\x2a" + good + b"\xa0\xf6\x58\x40" + bytes(64),
        ),
        "payload-long-length": (
            "a payload length in three bytes",
            hand(good, payload, payload_head=b"\x59\x00" + bytes([len(payload)])),
        ),
        "protected-unsorted": (
            "a protected header with the key before the content type",
            hand(b"\xa3\x01\x27\x04\x58\x20" + key + b"\x03" + content, payload),
        ),
        "protected-extra": (
            "a protected header with an unknown entry",
            hand(b"\xa4" + good[1:] + b"\x05\x00", payload),
        ),
        "protected-no-key": (
            "a protected header without a key",
            hand(b"\xa2\x01\x27\x03" + content, payload),
        ),
        "key-short": ("a key of 31 bytes", hand(protected(key=key[:31]), payload)),
        "algorithm": (
            "ES256 as the algorithm",
            hand(good.replace(b"\x01\x27", b"\x01\x26", 1), payload),
        ),
        "content-type": (
            "JSON as the content type",
            hand(b"\xa3\x01\x27\x03\x18\x32\x04\x58\x20" + key, payload),
        ),
        "work-long": (
            "a work stamp of 1 in two bytes",
            hand(b"\xa4" + good[1:] + b"\x64work\x18\x01", payload),
        ),
        "work-negative": (
            "a work stamp of -1",
            hand(b"\xa4" + good[1:] + b"\x64work\x20", payload),
        ),
    }
    for name, (says, raw) in cases.items():
        yield f"malformed-envelope-{name}", says, {"bytes": raw}
    yield (
        "malformed-manifest",
        "a manifest, which is no item of a topic",
        {"bytes": sealed_manifest(w)},
    )
    future = hand(protected(kind=9), payload)
    yield (
        "unknown-kind-9",
        "an item of kind 9 of version 1, which is not assigned",
        {"bytes": future},
    )
    later = hand(protected(kind=11), payload)
    yield "unknown-kind-of-version-2", "a report of version 2", {"bytes": later}


def signature(w: World) -> Iterator[Scenario]:
    raw, payload = w.report(), encode(w.body())
    identity = b"\x01" + bytes(31)
    flipped = raw[:-1] + bytes([raw[-1] ^ 1])
    yield "forged-signature", "one bit of the signature changed", {"bytes": flipped}
    larger = raw.replace(b"dsize\x02", b"dsize\x03")
    yield "forged-payload", "a bucket changed after signing", {"bytes": larger}
    swapped = raw.replace(split(raw).key, split(w.report(name="other")).key)
    yield "forged-key", "the key replaced after signing", {"bytes": swapped}
    yield (
        "forged-malleable",
        "a malleable signature: S + L in place of S",
        {"bytes": malleable(raw)},
    )
    other = sign_by_hand(protected(), payload, domain=b"methrics/2")
    yield "forged-domain", "a signature for another domain", {"bytes": other}
    bare = sign_by_hand(protected(), payload, domain=b"")
    yield "forged-no-domain", "a signature without external data", {"bytes": bare}
    context = sign_by_hand(protected(), payload, context=b"\x69Signature")
    yield "forged-context", "a signature for COSE_Sign in place of COSE_Sign1", {"bytes": context}
    kind = raw.replace(head(0, CONTENT_TYPE + 1), head(0, CONTENT_TYPE + 2), 1)
    yield (
        "forged-kind",
        "the signature of a report on an erasure",
        {
            "bytes": kind[:46] + w.erasure()[46:-64] + kind[-64:],
        },
    )
    start = sign_by_hand(protected(key=identity), payload)[:-64]
    yield (
        "bad-key-identity",
        "the identity as the key, S = 0",
        {"bytes": start + identity + bytes(32)},
    )
    order4 = bytes(32)
    start = sign_by_hand(protected(key=order4), payload)[:-64]
    yield "bad-key-small-order", "a key of order 4", {"bytes": start + identity + bytes(32)}
    too_large = b"\xff" * 31 + b"\x7f"
    start = sign_by_hand(protected(key=too_large), payload)[:-64]
    yield (
        "bad-key-not-canonical",
        "a key with a coordinate over the prime",
        {"bytes": start + raw[-64:]},
    )
    off_curve = b"\x02" + bytes(31)
    start = sign_by_hand(protected(key=off_curve), payload)[:-64]
    yield (
        "bad-key-off-curve",
        "a key that is not a point of the curve",
        {"bytes": start + raw[-64:]},
    )
